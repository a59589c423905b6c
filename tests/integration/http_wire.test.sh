#!/usr/bin/env bash
# What goes over the wire, byte by byte: headers of long HTTP/2 connections against HTTP/1.1's, requests that must be refused,
# and a server whose log nobody reads. $1 is the build folder.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"
python=/usr/bin/python3 # Debian's: it has hpack
tools=$source_dir/tests/tools
"$python" -c 'import hpack' || { echo "python3-hpack is missing: run ./tools/setup"; exit 1; }

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
for certificate in "" "$work/cert.pem"; do
  : >"$work/test_server.out" # the program opens it when it runs: the line of the one before would be taken for its own
  "$build/tests/http_test_server" --log --loops 2 ${certificate:+--tls "$certificate" "$work/key.pem"} \
    >"$work/test_server.out" 2>"$work/test_server.log" &
  server=$!
  wait_for 'grep -q "^port" "$work/test_server.out"' "the test server's start"
  port=$(awk '/^port/ {print $2}' "$work/test_server.out")
  for check in h2_headers http_refusals; do
    "$python" "$tools/$check.py" "$port" $certificate || failures=$((failures + 1))
  done
  # How connections end is not the subject here: over TLS the server is killed.
  if [ -z "$certificate" ]; then
    stop
    grep -q '^{"actors":0,"asks":0,"messages":0,' "$work/test_server.out" || { echo "FAILED: something is left"; exit 1; }
  else
    crash
  fi
  # Each line is the log's; the others are of the leak checker's list of what it was told to ignore.
  if printed=$(grep -m 1 -vE '^(\{|-*$|Suppressions used|  count| +[0-9]+ )' "$work/test_server.log"); then
    echo "FAILED: a library printed: $printed"
    exit 1
  fi
done

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "printed", entity = User, compute = function() print(("x"):rep(4096)) return 1 end }
LUA
"$python" "$tools/silent_reader.py" "$fabra" "$work/store.lua" || failures=$((failures + 1))
done_testing
