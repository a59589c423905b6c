#!/usr/bin/env bash
# kill -9 under load, three times: every acknowledged record is there and verifies, every acknowledged event is applied
# exactly once and in order, and the chain has no hole.
source "$(dirname "$0")/common.sh" "$1"
export FABRA_EVIDENCE_MODE=required FABRA_SIGNING_KEY=hex:00112233445566778899aabbccddeeff

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "seen", entity = User, trigger = "tick",
  compute = function(id, event, previous)
    local list = previous or fabra.array {}
    list[#list + 1] = event.payload.n
    return list
  end }
fabra.feature { name = "city", entity = User }
fabra.context { name = "chat", model = "gpt-4o", params = { q = "string" },
  items = { { text = "Question: {q}", priority = 0, required = true } } }
LUA

cat >"$work/load.py" <<'PY'
"""Four threads of contexts and two of events, until the server is gone; writes what was acknowledged."""
import http.client, json, sys, threading, urllib.parse

url, out, first = urllib.parse.urlparse(sys.argv[1]), sys.argv[2], int(sys.argv[3])
contexts, events, lock, enough = [], [], threading.Lock(), threading.Event()

def ask(connection, method, path, body):
    connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())

def run(work):
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
    try:
        for i in range(100000):
            work(connection, i)
    except (OSError, http.client.HTTPException, ValueError):
        pass

def context(connection, i):
    status, body = ask(connection, "POST", "/v1/context/chat", {"q": "question %d" % i})
    if status == 200:
        with lock:
            contexts.append(body["id"])
            if len(contexts) == 300:
                print("loaded", flush=True)

def event(user):
    def work(connection, i):
        n = first + i
        status, _ = ask(connection, "POST", "/v1/ingest/tick?entity_id=" + user, {"n": n})
        if status == 202:
            with lock:
                events.append((user, n))
    return work

threads = [threading.Thread(target=run, args=(w,)) for w in [context] * 4 + [event("u1"), event("u2")]]
[t.start() for t in threads]
[t.join() for t in threads]
json.dump({"contexts": contexts, "events": events}, open(out, "w"))
PY

cat >"$work/check.py" <<'PY'
import glob, json, sys, time, urllib.request
url, folder = sys.argv[1], sys.argv[2]
bad = 0
def get(path):
    return json.load(urllib.request.urlopen(url + path, timeout=10))
acknowledged = {"u1": [], "u2": []}
records = 0
for name in sorted(glob.glob(folder + "/acknowledged.*")):
    data = json.load(open(name))
    for id in data["contexts"]:
        records += 1
        try:
            if get("/v1/record/" + id)["context_id"] != id:
                raise ValueError("another record")
        except Exception as e:
            bad += 1
            print("record", id, "was acknowledged:", e)
    for user, n in data["events"]:
        acknowledged[user].append(n)
for user, wanted in acknowledged.items():
    for _ in range(200):
        seen = get("/v1/features/seen?entity_id=" + user)["value"]
        if set(wanted) <= set(seen):
            break
        time.sleep(0.05)
    if len(seen) != len(set(seen)):
        bad += 1
        print(user, "applied an event twice")
    if seen != sorted(seen):
        bad += 1
        print(user, "applied events out of order")
    if not set(wanted) <= set(seen):
        bad += 1
        print(user, "lost events:", sorted(set(wanted) - set(seen))[:5])
print("%d records and %d events were acknowledged; %d problems" % (records, sum(map(len, acknowledged.values())), bad))
sys.exit(bad != 0)
PY

for round in 1 2 3; do
  serve "$work/store.lua"
  python3 "$work/load.py" "$url" "$work/acknowledged.$round" $((round * 1000000)) >"$work/loaded" &
  load=$!
  wait_for 'grep -q loaded "$work/loaded"' "the load"
  crash
  wait $load
  serve "$work/store.lua"
  expect 0 "$(python3 "$work/check.py" "$url" "$work" >"$work/checked" 2>&1; echo $?)" "round $round"
  cat "$work/checked"
  expect 0 "$("$fabra" ledger verify >"$work/verify" 2>&1; echo $?)" "ledger verify after round $round"
  stop
done
cat "$work/verify"
done_testing
