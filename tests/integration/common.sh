# Sourced by the integration tests: starts the built program on a free port with a home of its own and stops it by process
# id. Usage: source common.sh "$1"; serve FILE [options...]; expect WANTED GOT WHAT; ... done_testing
#
# A test that ends says why: a command that fails where nobody looks at its status is reported with its line, its status,
# what was written last, and the server's last words; so is a script that ends without done_testing.
set -Eeuo pipefail
build=$1
fabra=$build/fabra
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
export FABRA_HOME=$work/home
unset FABRA_URL FABRA_API_KEY FABRA_DUCKDB_PATH FABRA_EVIDENCE_MODE FABRA_SIGNING_KEY FABRA_SIGNATURE_MODE FABRA_ENV \
  FABRA_RECORD_INCLUDE_CONTENT FABRA_REDIS_URL FABRA_POSTGRES_URL
server=
failures=0
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=0:suppressions=$source_dir/tests/tools/tsan.supp}

# What the sanitizers of a build say fails the test, also when the program went on; the log is kept for the reader.
check_reports() {
  grep -qE 'ERROR: AddressSanitizer|LeakSanitizer|runtime error:|WARNING: ThreadSanitizer' "$work"/*.log 2>/dev/null || return 0
  echo "FAILED: a sanitizer reported:"
  grep -hE -A 40 'ERROR: AddressSanitizer|LeakSanitizer|runtime error:|WARNING: ThreadSanitizer' "$work"/*.log | head -n 120
  return 1
}

# Where a failure in a subshell matters, the command around it fails too.
on_error() { # STATUS COMMAND
  [ "$BASH_SUBSHELL" = 0 ] || return 0
  local i
  echo "FAILED: '$2' ended with status $1$([ "$1" -le 128 ] || echo " (signal $(kill -l $(($1 - 128))))")"
  for ((i = 1; i < ${#FUNCNAME[@]}; i++)); do
    echo "  at ${BASH_SOURCE[$i]##*/}:${BASH_LINENO[$((i - 1))]}"
  done
}
trap 'on_error $? "$BASH_COMMAND"' ERR

# A Redis and a Postgres of the test's own (options of `tools/services start`); sets FABRA_REDIS_URL and FABRA_POSTGRES_URL, and
# services_dir for `services kill redis` and its like. They end with the test.
services_dir=
services() { "$source_dir/tools/services" "$@" --dir "$services_dir"; }
start_services() {
  [ -n "$services_dir" ] || services_dir=$(mktemp -d /tmp/fabra-servers.XXXXXX)
  local said
  said=$(services start --while $$ "$@") || return 1
  eval "$said"
}

at_end= # a command for whatever else a test starts
is_done=
finish() {
  status=$?
  trap - ERR
  set +e
  if [ -z "$is_done" ]; then
    echo "FAILED: the test ended before its end, with status $status"
    [ $status -ne 0 ] || status=1
  fi
  if [ -n "$server" ]; then
    kill -KILL "$server" 2>/dev/null
    wait "$server" 2>/dev/null # or bash says "Killed", which was not the cause
  fi
  check_reports || status=1
  if [ $status -ne 0 ]; then
    echo "--- what was written last:"
    ls -t "$work" | head -n 4 | while read -r name; do
      [ ! -f "$work/$name" ] || { echo "$name:"; tail -c 600 "$work/$name" | tr -cd '[:print:]\n'; echo; }
    done
    [ ! -f "$work/server.log" ] || { echo "--- the server's last words:"; tail -n 15 "$work/server.log"; }
  fi
  [ -z "$services_dir" ] || services stop >/dev/null 2>&1
  [ -z "$at_end" ] || eval "$at_end" >/dev/null 2>&1
  rm -rf "$work"
  exit $status
}
trap finish EXIT

serve() { # FILE [options...]: waits until it answers; sets url. Two loops also on a machine whose default would be one
  [ ! -f "$work/server.log" ] || cat "$work/server.log" >>"$work/earlier.log"
  : >"$work/server.log" # the program opens it when it runs, which may be after the first look below
  "$fabra" serve --loops 2 "$@" --port 0 >"$work/server.log" 2>&1 </dev/null &
  server=$!
  local port= i
  for i in $(seq 600); do
    port=$(sed -n 's/.*"message":"listening".*"port":\([0-9]*\).*/\1/p' "$work/server.log" | tail -n 1)
    [ -n "$port" ] && break
    kill -0 $server 2>/dev/null || { wait $server || echo "the server did not start: it ended with status $?"; server=; return 1; }
    sleep 0.05
  done
  [ -n "$port" ] || { echo "the server did not listen within 30 seconds"; return 1; }
  url=http://127.0.0.1:$port
  export FABRA_URL=$url
}

stop() { # SIGTERM, and the exit code must be 0
  kill -TERM "$server"
  local status=0
  wait "$server" || status=$?
  server=
  expect 0 "$status" "exit code after SIGTERM"
}

crash() { # kill -9
  kill -KILL "$server"
  wait "$server" 2>/dev/null || true
  server=
}

expect() { # WANTED GOT WHAT
  if [ "$1" != "$2" ]; then
    echo "FAILED: $3: wanted '$1', got '$2'"
    failures=$((failures + 1))
  fi
}

contains() { # PART TEXT WHAT
  case "$2" in
    *"$1"*) ;;
    *) echo "FAILED: $3: '$1' is not in '${2:0:1000}'"; failures=$((failures + 1)) ;;
  esac
}

get() { curl -sS -m 10 "$url$1"; }
post() { curl -sS -m 10 -X POST -H 'Content-Type: application/json' -d "$2" "$url$1"; }
code() { curl -s -m 10 -o "$work/body" -w '%{http_code}' "$@"; }
json() { # EXPRESSION over d, what is read; says what it was when that is no JSON or lacks what is asked
  python3 -c "
import json, sys
text = sys.stdin.read()
try:
    d = json.loads(text)
    print($1)
except Exception as e:
    print('no answer to', sys.argv[1], 'in', repr(text[:300]) + ':', repr(e), file=sys.stderr)
    print('(' + repr(e) + ')')
" "$1"
}
wait_for() { # COMMAND WHAT: until it succeeds, ten seconds at most
  local i
  for i in $(seq 200); do
    eval "$1" && return 0
    sleep 0.05
  done
  echo "FAILED: $2 did not happen in ten seconds"
  failures=$((failures + 1))
}

done_testing() {
  is_done=yes
  [ $failures = 0 ] || { echo "$failures failure(s)"; exit 1; }
  echo "all as expected"
}
