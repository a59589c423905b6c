#!/usr/bin/env bash
# Many clients at once, some of which reset their connections; then SIGTERM while they go on. Nothing is reported, the exit
# code is 0 and the ledger is whole. Meant for the sanitizer presets.
source "$(dirname "$0")/common.sh" "$1"

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "tier", entity = User, refresh = "1s", ttl = "24h", default = "free",
  compute = function(id) return #id % 2 == 0 and "premium" or "free" end }
fabra.feature { name = "seen", entity = User, trigger = "tick", compute = function(id, event, previous) return (previous or 0) + 1 end }
fabra.feature { name = "city", entity = User }
fabra.retriever { name = "docs", cache_ttl = "60s", run = function(args) return { { content = "About " .. args.query } } end }
fabra.context { name = "chat", max_tokens = 60, model = "gpt-4o", params = { user_id = "string", query = "string" }, cache_ttl = "100ms",
  items = { { text = "Tier: {feature:tier}, city: {feature:city}.", entity_id = "{user_id}", priority = 0, required = true, on_missing = "empty" },
            { retriever = "docs", args = { query = "{query}" }, priority = 1 } } }
LUA
serve "$work/store.lua" --loops 2

cat >"$work/clients.py" <<'PY'
"""Threads of HTTP/1.1 clients for some seconds or until the server has gone. Every third request is cut off by a reset, at
any point of it."""
import json, random, socket, struct, sys, threading, time, urllib.parse

url, seconds = urllib.parse.urlparse(sys.argv[1]), float(sys.argv[2])
until = time.monotonic() + seconds
counts, lock = {}, threading.Lock()

def request(method, path, body=None):
    text = json.dumps(body).encode() if body is not None else b""
    return ("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (method, path, len(text))).encode() + text

def client(seed):
    pick = random.Random(seed)
    while time.monotonic() < until:
        user = "u%d" % pick.randrange(50)
        sent = pick.choice([
            lambda: request("POST", "/v1/context/chat", {"user_id": user, "query": "q%d" % pick.randrange(20)}),
            lambda: request("PUT", "/v1/features/User/" + user, {"values": {"city": "c%d" % pick.randrange(99)}}),
            lambda: request("GET", "/v1/features/tier?entity_id=" + user),
            lambda: request("POST", "/v1/features/batch", {"name": "User", "ids": ["a%d" % i for i in range(40)], "features": ["tier", "city"]}),
            lambda: request("POST", "/v1/ingest/tick?entity_id=" + user, {}),
            lambda: request("DELETE", "/v1/cache/User/" + user),
            lambda: request("GET", "/v1/contexts?limit=3"),
        ])()
        try:
            with socket.create_connection((url.hostname, url.port), timeout=20) as s:
                if pick.randrange(3) == 0:
                    s.sendall(sent[:pick.randrange(len(sent)) + 1])
                    time.sleep(pick.random() / 100)
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    status = "reset"
                else:
                    s.sendall(sent)
                    status = s.recv(65536)[9:12].decode() or "closed"
        except OSError:
            status = "refused"
            time.sleep(0.01)
        with lock:
            counts[status] = counts.get(status, 0) + 1

threads = [threading.Thread(target=client, args=(i,)) for i in range(12)]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps(counts))
PY

python3 "$work/clients.py" "$url" 6 >"$work/counts" &
clients=$!
if command -v h2load >/dev/null; then
  echo '{"user_id":"u1","query":"how"}' >"$work/question"
  h2load -c16 -m4 -n 3000 -d "$work/question" "$url/v1/context/chat" >"$work/h2load" 2>&1
  contains "3000 succeeded, 0 failed, 0 errored" "$(cat "$work/h2load")" "contexts over HTTP/2"
fi
wait $clients
cat "$work/counts"
expect True "$(json 'd.get("200", 0) > 50 and not {"500", "504", "refused", "closed"} & d.keys()' <"$work/counts")" "answers: $(cat "$work/counts")"
expect 0 "$("$fabra" ledger verify >"$work/verify" 2>&1; echo $?)" "ledger verify"

# A write whose client has left (RST_STREAM) is either not made or visible like any other: the same before and after a start.
cat >"$work/leavers.py" <<'PY'
import random, socket, struct, sys, time, urllib.parse
url = urllib.parse.urlparse(sys.argv[1])
def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
def header(name, value):
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
pick = random.Random(5)
for i in range(60):
    if i % 20 == 0:
        s = socket.create_connection((url.hostname, url.port), timeout=10)
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    stream = 2 * (i % 20) + 1
    head = (header(":method", "PUT") + header(":scheme", "http") + header(":authority", "x") +
            header(":path", "/v1/features/User/leaver%d" % i))
    put = frame(1, 4, stream, head) + frame(0, 1, stream, b'{"values":{"city":"left"}}')
    reset = frame(3, 0, stream, struct.pack(">I", 8))
    if i % 2 == 0: # both in one read: gone before the ledger can have answered
        s.sendall(put + reset)
        continue
    s.sendall(put)
    time.sleep(pick.random() / 1000)
    s.sendall(reset)
PY
leavers() {
  local ids
  ids=$(seq -s, 0 59 | sed 's/[0-9]*/"leaver&"/g')
  post /v1/features/batch "{\"name\":\"User\",\"ids\":[$ids],\"features\":[\"city\"]}"
}
python3 "$work/leavers.py" "$url"
wait_for 'grep -q "PUT.*\"status\":499" "$work/server.log"' "a client that left in the middle of a write"
curl -s -m 10 -X PUT -d '{"values":{"city":"x"}}' "$url/v1/features/User/u1" >/dev/null # behind them all in the ledger
live=$(leavers)
contains '{"city":"left"}' "$live" "writes whose client left"
stop
serve "$work/store.lua" --loops 2
expect "$live" "$(leavers)" "the same after a start"

# the end, while they go on
python3 "$work/clients.py" "$url" 3 >"$work/counts" &
clients=$!
wait_for '[ "$(grep -c http.access "$work/server.log")" -gt 100 ]' "the load"
stop
wait $clients
expect 0 "$("$fabra" ledger verify >"$work/verify" 2>&1; echo $?)" "ledger verify after the end"
serve "$work/store.lua" --loops 2
expect 200 "$(code "$url/v1/features/tier?entity_id=u1")" "the next start"
stop
done_testing
