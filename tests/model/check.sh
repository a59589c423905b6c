#!/bin/sh
# check.sh MODEL pass|fail [-DNAME]: runs Spin's verifier over MODEL in a scratch folder. `fail` expects an error: that is
# how a mutant of a model proves that the model can see the mistake.
set -eu
model=$(realpath "$1") want=$2
shift 2
command -v spin >/dev/null || { echo "spin is not installed: apt-get install spin"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
spin "$@" -a "$model" >spin.log
cc -O1 -DSAFETY -o pan pan.c
./pan -m100000 >pan.log
cat pan.log
grep -q "max search depth too small" pan.log && exit 1
errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log)
case $want in
pass) [ "$errors" = 0 ] ;;
fail) [ "$errors" -gt 0 ] ;;
esac
