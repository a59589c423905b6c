#!/bin/sh
# mutant.sh PROGRAM [ARGS]: passes if the program fails, whichever way: a failed check, a crash, or a hang (20 s).
set -u
[ -x "$1" ] || { echo "$1 is not built"; exit 1; }
timeout 20 "$@" >/dev/null 2>&1
status=$?
[ $status -ne 0 ] || { echo "the mutant lived: no check of $1 saw it"; exit 1; }
echo "caught, exit status $status"
