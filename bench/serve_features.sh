#!/usr/bin/env bash
# Starts `fabra serve bench/features.lua` on one loop with a home of its own and prints "port N"; for bench_features.sh.
#     bench/serve_features.sh BUILD
set -euo pipefail
home=$(mktemp -d)
log=$home/log
FABRA_HOME=$home "$1/fabra" serve "$(dirname "$0")/features.lua" --loops 1 --port 0 >"$log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$home"' EXIT
trap 'exit 0' TERM INT
until port=$(grep -o '"message":"listening".*"port":[0-9]*' "$log" | grep -o '[0-9]*$'); do
  kill -0 $server || { cat "$log" >&2; exit 1; }
  sleep 0.05
done
echo "pid $server port $port"
wait $server
