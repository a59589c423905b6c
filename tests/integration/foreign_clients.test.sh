#!/usr/bin/env bash
# Other people's clients get right answers and headers on long connections, over plain text and TLS: nghttp, curl, Node, and,
# where they are installed, Python's httpx, headless Chromium and the conformance suite h2spec. What is absent is said and
# skipped; none of them is needed to build or run anything.
#
# PYTHONPATH may name the folder that httpx is installed in (pip install --target DIR 'httpx[http2]'), H2SPEC the program
# (go install github.com/summerwind/h2spec/cmd/h2spec@latest). $1 is the build folder.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"
tools=$source_dir/tests/tools
skip() { echo "SKIPPED: $1 is not installed here: $2"; }

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "plain", entity = User, compute = function(id) return "value of " .. id end }
LUA
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

# Of each reply of one connection: a status, one date, one content-type, one request id of its own.
# stdin: "REPLY name: value" lines; $1 replies, $2 who says so. Ends a pipeline, so a failure is counted by its caller.
check_replies() {
  python3 - "$1" "$2" <(cat) <<'PY'
import collections, sys
wanted, who = int(sys.argv[1]), sys.argv[2]
replies = collections.defaultdict(list)
for line in open(sys.argv[3]):
    reply, _, header = line.strip().partition(" ")
    replies[reply].append(header.partition(": ")[::2])
ids = set()
for reply, headers in replies.items():
    names = [n for n, _ in headers]
    for name in "date", "content-type", "x-request-id":
        if names.count(name) != 1:
            sys.exit(f"FAILED: {who}: reply {reply} has {names.count(name)} times {name}: {headers}")
    if any(n == "content-type" and v not in ("application/json", "text/html; charset=utf-8") for n, v in headers):
        sys.exit(f"FAILED: {who}: reply {reply}: {headers}")
    ids.update(v for n, v in headers if n == "x-request-id")
if len(replies) != wanted or len(ids) != wanted:
    sys.exit(f"FAILED: {who}: {len(replies)} replies with {len(ids)} ids, not {wanted}")
print(f"{who}: {wanted} replies on one connection as expected")
PY
}

for certificate in "" "$work/cert.pem"; do
  serve "$work/store.lua" ${certificate:+--tls-cert "$certificate" --tls-key "$work/key.pem"}
  port=${url##*:}
  how="plain text" base=http://127.0.0.1:$port trust=()
  [ -z "$certificate" ] || how=TLS base=https://localhost:$port trust=(--cacert "$certificate" --resolve "localhost:$port:127.0.0.1")
  addresses=()
  for i in $(seq 25); do
    addresses+=("$base/health?n=$i" "$base/docs?n=$i" "$base/v1/features/plain?entity_id=u$i" "$base/nothing?n=$i")
  done

  nghttp -nv --no-verify-peer "${addresses[@]}" 2>&1 | sed 's/\x1b\[[0-9;]*m//g' |
    sed -n 's/^.*recv (stream_id=\([0-9]*\)[^)]*) \([a-z][a-z-]*: .*\)/\1 \2/p' | check_replies 100 "nghttp, $how" ||
    failures=$((failures + 1))
  # By Upgrade: curl 7.88 cannot use a connection of prior knowledge twice, with any server.
  curl -sS -m 30 "${trust[@]}" --http2 \
    -D "$work/headers" -w '%{stderr}%{num_connects}' "${addresses[@]}" >/dev/null 2>"$work/connects"
  expect 1 "$(tr -d 0 <"$work/connects")" "curl's connections, $how"
  tr -d '\r' <"$work/headers" | awk '/^HTTP\/2/{n++; next} n && /^[a-z]/{print n, $0}' | check_replies 100 "curl, $how" ||
    failures=$((failures + 1))
  node "$tools/foreign_node.mjs" "$port" $certificate && echo "Node, $how: as expected" || failures=$((failures + 1))

  if /usr/bin/python3 -c 'import httpx, h2' 2>/dev/null; then
    /usr/bin/python3 "$tools/foreign_httpx.py" "$port" $certificate && echo "httpx, $how: as expected" || failures=$((failures + 1))
  else
    skip "Python's httpx" "pip install --target DIR 'httpx[http2]' and PYTHONPATH=DIR"
  fi

  h2spec=${H2SPEC:-$(command -v h2spec || true)}
  if [ -n "$h2spec" ]; then # docs/http.md lists what may fail: nothing
    timeout 250 "$h2spec" ${certificate:+-t -k} -h 127.0.0.1 -p "$port" -P /health -o 5 >"$work/h2spec" 2>&1 || true
    contains " 0 failed" "$(tail -n 1 "$work/h2spec")" "h2spec, $how"
    grep -q " 0 failed" "$work/h2spec" || sed -n '/^Failures:/,$p' "$work/h2spec"
    echo "h2spec, $how: $(tail -n 1 "$work/h2spec")"
  else
    skip h2spec "go install github.com/summerwind/h2spec/cmd/h2spec@latest and H2SPEC=path"
  fi

  if [ -n "$certificate" ]; then
    if command -v chromium >/dev/null; then
      timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-web-security --ignore-certificate-errors \
        --user-data-dir="$work/profile" --log-net-log="$work/net.json" --virtual-time-budget=60000 --dump-dom "file://$tools/foreign_page.html#$port" \
        >"$work/page" 2>"$work/chromium.err" || true
      expect "all as expected" "$(tr '\n' ' ' <"$work/page" | sed 's/.*<pre id="result">\([^<]*\)<.*/\1/')" "Chromium"
      [ "$(grep -o '":path: /health"' "$work/net.json" | wc -l)" -ge 24 ] || { echo "FAILED: Chromium does not speak HTTP/2"; exit 1; }
      echo "Chromium: done"
    else
      skip Chromium "apt-get install chromium"
    fi
    crash
  else
    stop
  fi
done
done_testing
