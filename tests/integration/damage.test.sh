#!/usr/bin/env bash
# Files that were damaged, deleted or mixed up between two runs: the server says so in its answers, in /ready, in /metrics and in
# `ledger verify`; nothing that was acknowledged is silently missing; each message names its cure, and the cure works.
source "$(dirname "$0")/common.sh" "$1"
export FABRA_EVIDENCE_MODE=required FABRA_LEDGER_SEGMENT_BYTES=64KiB

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "city", entity = User }
fabra.context { name = "chat", model = "gpt-4o", params = { q = "string" },
  items = { { text = "Question: {q}", priority = 0, required = true } } }
LUA
ledger() { echo "$FABRA_HOME/fabra.duckdb.ledger"; }
segment() { printf '%s/%016x.seg' "$(ledger)" "$1"; }
chat() { post /v1/context/chat "{\"q\":\"$1\"}" | json 'd["id"]'; }
fill() { # FIRST COUNT: ids into $work/ids, oldest first; some 20 are a segment of 64 KiB
  python3 - "$url" "$1" "$2" >>"$work/ids" <<'PY'
import http.client, json, sys, urllib.parse
url, first, count = urllib.parse.urlparse(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
c = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
for i in range(first, first + count):
    c.request("POST", "/v1/context/chat", json.dumps({"q": "%d " % i + "x" * 1200}))
    print(json.loads(c.getresponse().read())["id"])
PY
}
id_in() { # SEGMENT: the id of a record in its midst; ids sort by time
  grep -aoE 'ctx_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' "$1" | sort -u | head -n 4 | tail -n 1
}
metric() { get /metrics | sed -n "s/^$1 //p"; }
ready() { code "$url/ready"; }
why() { get /ready | json "d[\"$1\"].get(\"$2\", \"\")"; }
verify() { "$fabra" ledger verify >"$work/verify" 2>&1 && echo 0 || echo $?; }
flip() { # FILE OFFSET
  python3 - "$1" "$2" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2]))
    b = f.read(1)[0]
    f.seek(int(sys.argv[2]))
    f.write(bytes([b ^ 16]))
PY
}

# ---- what is sound says so; nobody else can read any of it ----
(umask 022 && mkdir -p "$FABRA_HOME")
serve "$work/store.lua"
fill 0 150
expect 200 "$(code -X PUT -d '{"values":{"city":"SEA"}}' "$url/v1/features/User/u1")" "a value"
expect 200 "$(ready)" "ready"
expect 150 "$(get '/v1/contexts?limit=1000' | json 'len(d)')" "all are listed"
expect 404 "$(code "$url/v1/record/ctx_00000000-0000-0000-0000-000000000000")" "nothing is missing, so a 404 is sure"
stop
expect "" "$(find "$FABRA_HOME" -mindepth 1 -perm /077)" "files of the state that others may read"
[ -f "$(segment 3)" ] || expect "three segments" "$(ls "$(ledger)")" "the ledger"
first=$(id_in "$(segment 1)")
second=$(id_in "$(segment 2)")
newest=$(id_in "$(ls "$(ledger)"/*.seg | tail -n 1)")
cp -a "$FABRA_HOME" "$work/sound"
restore() { rm -rf "$FABRA_HOME" && cp -a "$work/sound" "$FABRA_HOME"; }

# ---- segments ----
damaged() { # WHAT LOST KEPT: two ids
  local lost=$1
  serve "$work/store.lua"
  expect 500 "$(code "$url/v1/record/$2")" "$lost: a record that is gone is no 404"
  contains "ledger" "$(cat "$work/body")" "$lost: the answer says where"
  for path in /v1/context/$2 /v1/context/$2/lineage /v1/context/$2/explain; do
    expect 500 "$(code "$url$path")" "$lost: $path"
  done
  expect 200 "$(code "$url/v1/record/$3")" "$lost: the others are there"
  expect 503 "$(ready)" "$lost: /ready"
  contains "restore" "$(why ledger damage)" "$lost: /ready names the cure"
  expect yes "$([ "$(metric fabra_ledger_lost_entries)" -gt 0 ] && echo yes)" "$lost: the metric"
  expect 200 "$(code -X POST -d '{"q":"on"}' "$url/v1/context/chat")" "$lost: records are still taken"
  expect 1 "$(verify)" "$lost: ledger verify"
  stop
}
flip "$(segment 2)" 100
damaged "a flipped bit in a header" "$second" "$first"
restore
truncate -s 9000 "$(segment 2)"
damaged "a truncated segment" "$second" "$first"
restore
rm "$(segment 2)"
damaged "a missing segment" "$second" "$first"
restore
rm "$(segment 1)"
damaged "the oldest segment deleted" "$first" "$second"
restore
rm "$(ls "$(ledger)"/*.seg | tail -n 1)"
damaged "the newest segment deleted" "$newest" "$second"
restore
rm "$(segment 2)" && mkdir "$(segment 2)"
damaged "a segment that is a folder" "$second" "$first"
rmdir "$(segment 2)"

# ---- DuckDB knew all of them: the list is whole. Built again, it says how many it lacks, at once ----
serve "$work/store.lua"
expect 200 "$(code -D "$work/head" "$url/v1/contexts")" "a list"
expect "" "$(grep -i x-fabra-missing-entries "$work/head" || true)" "a whole list"
stop
rm -f "$FABRA_HOME"/fabra.duckdb*[!r] "$FABRA_HOME/fabra.duckdb"
serve "$work/store.lua"
curl -sS -m 4 -D "$work/head" -o "$work/body" "$url/v1/contexts?limit=1000"
contains "200 OK" "$(cat "$work/head")" "a list over damage"
contains "x-fabra-missing-entries" "$(cat "$work/head")" "says that it is not whole"
stop

# ---- nobody has a copy: the loss is accepted, and that is said ----
expect 0 "$("$fabra" ledger accept >"$work/accepted" 2>&1; echo $?)" "ledger accept"
contains '"accepted":{"from_lsn"' "$(cat "$work/accepted")" "which"
expect 0 "$(verify)" "then verify finds no problem"
serve "$work/store.lua"
expect 200 "$(ready)" "and the server is ready"
expect 404 "$(code "$url/v1/record/$second")" "what is gone is gone"
expect 1 "$("$fabra" ledger accept >"$work/accepted" 2>&1; echo $?)" "not beside a server"
contains "stop it first" "$(cat "$work/accepted")" "says why"
stop

# ---- the end of the last segment is damaged: lists do not spin ----
restore
last=$(ls "$(ledger)"/*.seg | tail -n 1)
serve "$work/store.lua"
fill 150 3
crash
rm -f "$FABRA_HOME/fabra.duckdb" "$FABRA_HOME/fabra.duckdb.wal"
tail=$(ls "$(ledger)"/*.seg | tail -n 1)
[ "$tail" != "$last" ] || expect "a new segment" "$tail" "a start goes on in a new segment"
flip "$tail" 8300
serve "$work/store.lua"
for i in 1 2 3; do expect 200 "$(code -m 3 "$url/v1/contexts?limit=1000")" "list $i over a damaged tail"; done
ticks() { cut -d' ' -f14,15 "/proc/$server/stat"; }
is_asleep() { local before; before=$(ticks); sleep 0.3; [ "$before" = "$(ticks)" ]; }
wait_for is_asleep "an end of the work for three lists"
expect 503 "$(ready)" "a damaged tail: /ready"
stop

# ---- ledger and DuckDB file are not of each other: what the ledger does not have is not called absent, nothing is written, and
# everything says why, in every life and whatever looks ----
city="/v1/features/city?entity_id=u1"
last_lsn() { "$fabra" ledger stat 2>/dev/null | grep -o "\"last_lsn\":[0-9]*" || echo "\"last_lsn\":0"; }
refused() { # WHAT WHY METHOD PATH BODY
  expect 503 "$(code -X "$3" -d "$5" "$url$4")" "$1: $3 $4"
  contains "$2" "$(cat "$work/body")" "$1: $3 $4 says why"
}
unfit() { # WHAT WHY CURE
  local life before
  for life in "$1" "$1, after a restart"; do
    before=$(last_lsn)
    serve "$work/store.lua"
    expect 503 "$(ready)" "$life: /ready"
    contains "$2" "$(why projection reason)" "$life: /ready says why"
    contains "$3" "$(why projection reason)" "$life: and the cure"
    expect False "$(get /ready | json 'd["ledger"]["writable"]')" "$life: the ledger takes nothing"
    expect 1 "$(metric fabra_projection_paused)" "$life: the metric"
    contains "$2" "$(cat "$work/server.log")" "$life: the log"
    refused "$life" "$2" GET "$city" ""
    refused "$life" "$2" POST /v1/features '{"entity_name":"User","entity_id":"u1","features":["city"]}'
    refused "$life" "$2" POST /v1/features/batch '{"name":"User","ids":["u1"],"features":["city"]}'
    refused "$life" "$2" PUT /v1/features/User/u1 '{"values":{"city":"JFK"}}'
    refused "$life" "$2" DELETE /v1/cache/User/u1 ""
    refused "$life" "$2" POST /v1/ingest/any?entity_id=u1 '{}'
    refused "$life" "$2" POST /v1/context/chat '{"q":"new"}'
    refused "$life" "$2" POST /v1/record '{}'
    expect 500 "$(code "$url/v1/contexts")" "$life: lists"
    contains "$2" "$(cat "$work/body")" "$life: lists say why"
    expect 500 "$(code "$url/v1/record/ctx_00000000-0000-0000-0000-000000000000")" "$life: no record is called absent"
    contains "$2" "$(cat "$work/body")" "$life: says why"
    expect 1 "$(verify)" "$life: verify beside the server"
    contains "$2" "$(cat "$work/verify")" "$life: verify beside the server says why"
    stop
    expect 1 "$(verify)" "$life: verify without a server"
    contains "$2" "$(cat "$work/verify")" "$life: verify without a server says why"
    expect "$before" "$(last_lsn)" "$life: nothing was written"
  done
}
file_of() { # HOME: its DuckDB file, with what is not checkpointed yet, in the place of ours
  rm -f "$FABRA_HOME/fabra.duckdb" "$FABRA_HOME/fabra.duckdb.wal"
  cp -a "$work/$1/fabra.duckdb" "$FABRA_HOME/"
  [ ! -f "$work/$1/fabra.duckdb.wal" ] || cp -a "$work/$1/fabra.duckdb.wal" "$FABRA_HOME/"
}
accept() { "$fabra" ledger accept >"$work/accepted" 2>&1 && echo 0 || echo $?; }
goes_on() { # WHAT COUNT: the rows are there, new ones come behind them, also in the next life
  serve "$work/store.lua"
  expect 200 "$(ready)" "$1: /ready"
  expect SEA "$(get "$city" | json 'd["value"]')" "$1: the value"
  expect "$2" "$(get '/v1/contexts?limit=1000' | json 'len(d)')" "$1: the list"
  expect 200 "$(code -X PUT -d '{"values":{"city":"JFK"}}' "$url/v1/features/User/u2")" "$1: a write"
  fill 900 1
  expect 200 "$(code "$url/v1/record/$(tail -n 1 "$work/ids")")" "$1: its record"
  stop
  serve "$work/store.lua"
  expect 200 "$(ready)" "$1: /ready of the next life"
  expect $(($2 + 1)) "$(get '/v1/contexts?limit=1000' | json 'len(d)')" "$1: the next life's list"
  expect JFK "$(get "/v1/features/city?entity_id=u2" | json 'd["value"]')" "$1: the next life's value"
  stop
  expect 0 "$(verify)" "$1: verify"
}

restore
rm -rf "$(ledger)"
expect 1 "$(verify)" "the folder of the ledger is lost: verify before any start"
contains "belongs to another ledger" "$(cat "$work/verify")" "says what DuckDB knows"
unfit "the folder of the ledger is lost" "belongs to another ledger" "fabra ledger accept"
rm -rf "$(ledger)" && cp -a "$work/sound/fabra.duckdb.ledger" "$(ledger)"
goes_on "the folder put back" 150
restore
rm -rf "$(ledger)"
serve "$work/store.lua"
expect 1 "$(accept)" "accept beside a server"
contains "stop it first" "$(cat "$work/accepted")" "says why"
stop
expect 0 "$(accept)" "a lost ledger is accepted"
contains '"accepted":{"from_lsn":1,' "$(cat "$work/accepted")" "which entries"
expect 0 "$(verify)" "then verify finds no problem"
serve "$work/store.lua"
expect 404 "$(code "$url/v1/record/$first")" "what is gone is gone"
stop
goes_on "after the loss was accepted" 150
restore
rm -rf "$(ledger)"
expect 0 "$(accept)" "a ledger that no start has made anew is accepted too"
goes_on "after it" 150

# an older copy, which ends before what DuckDB knows
restore
serve "$work/store.lua"
fill 150 10
get /v1/contexts >/dev/null
stop
cp -a "$FABRA_HOME" "$work/later"
rm -rf "$(ledger)" && cp -a "$work/sound/fabra.duckdb.ledger" "$(ledger)"
unfit "an older copy of the ledger" "but its ledger ends at" "fabra ledger accept"
expect 0 "$(accept)" "its end is accepted"
goes_on "after that" 160

# which went on from there in another way
restore
serve "$work/store.lua"
fill 160 30
get /v1/contexts >/dev/null
stop
file_of later
unfit "a ledger from a backup that went on otherwise" "put back from an older copy" "move the DuckDB file away"
expect 1 "$(accept)" "two histories are no loss"
contains "put back from an older copy" "$(cat "$work/accepted")" "says why"

# another ledger with entries of its own beside this file, and another file beside this ledger
rm -rf "$FABRA_HOME" && mkdir "$FABRA_HOME"
serve "$work/store.lua"
fill 500 5
get /v1/contexts >/dev/null # a file that knows no entry yet is of any ledger
stop
cp -a "$FABRA_HOME" "$work/another"
file_of sound
unfit "another ledger" "belongs to another ledger" "move the DuckDB file away"
expect 1 "$(accept)" "another ledger is no loss"
contains "move the ledger's folder away" "$(cat "$work/accepted")" "names both ways"
rm -f "$FABRA_HOME/fabra.duckdb" "$FABRA_HOME/fabra.duckdb.wal"
serve "$work/store.lua"
expect 5 "$(get /v1/contexts | json 'len(d)')" "the file moved away"
expect 200 "$(ready)" "/ready after it"
stop
restore
file_of another
unfit "another file" "belongs to another ledger" "move the DuckDB file away"
file_of sound
goes_on "the file put back" 150

# ---- limits ----
said=$(ulimit -n 64; "$fabra" serve "$work/store.lua" --port 0 2>&1) && status=0 || status=$?
expect 1 "$status" "64 file descriptors"
contains "ulimit -n 4096" "$said" "names cause and cure"
said=$(ulimit -n 1000; FABRA_CONNECTIONS_MAX=5000 "$fabra" serve "$work/store.lua" --port 0 2>&1) && status=0 || status=$?
expect 1 "$status" "more connections than file descriptors"
contains "FABRA_CONNECTIONS_MAX=5000" "$said" "names the setting"
contains "LimitNOFILE" "$said" "names the cure"
(export FABRA_HOME=$work/limits; ulimit -Sn 64; "$fabra" serve "$work/store.lua" --port 0 >"$work/soft.log" 2>&1 & echo $! >"$work/soft.pid"; wait) &
wait_for 'grep -q listening "$work/soft.log"' "a soft limit is raised"
kill -TERM "$(cat "$work/soft.pid")"
wait
# What a server writes to is taken from under it: nothing is acknowledged into a folder that nobody finds again.
under() { # WHAT COMMAND
  export FABRA_HOME=$work/under.$RANDOM
  serve "$work/store.lua"
  chat before >/dev/null
  eval "$2"
  expect 503 "$(code -X POST -d '{"q":"after"}' "$url/v1/context/chat")" "$1: a context"
  contains 'while the server runs' "$(cat "$work/body")" "$1: says why"
  expect 503 "$(ready)" "$1: /ready"
  stop
}
under "the folder deleted" 'rm -r "$(ledger)"'
under "the folder moved" 'mv "$(ledger)" "$work/moved"'
under "another in its place" 'mv "$(ledger)" "$work/moved.2"; cp -r "$work/moved.2" "$(ledger)"'
under "the segment deleted" 'rm "$(segment 1)"'

# Few descriptors, and clients that open more connections than there are: the ledger, which opens file after file, keeps its own.
export FABRA_HOME=$work/few
(ulimit -n 200; exec "$fabra" serve "$work/store.lua" --loops 2 --port 0 >"$work/few.log" 2>&1 </dev/null) &
few=$!
wait_for 'grep -q listening "$work/few.log"' "a start with 170 file descriptors"
python3 - "$(sed -n 's/.*"message":"listening".*"port":\([0-9]*\).*/\1/p' "$work/few.log")" <<'PY' || expect "all written" "not all" "while clients open connections"
import http.client, json, socket, sys, threading
port, is_over, opened = int(sys.argv[1]), threading.Event(), [0]
def flood(half):
    held = []
    while not is_over.is_set():
        try:
            s = socket.create_connection(("127.0.0.1", port), 5)
            if half:
                s.sendall(b"POST /v1/context/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
            held.append(s)
            opened[0] += 1
        except OSError:
            pass
        if len(held) > 400:
            held.pop(0).close()
threads = [threading.Thread(target=flood, args=(i % 2 == 0,), daemon=True) for i in range(4)]
for t in threads:
    t.start()
c, wrong = http.client.HTTPConnection("127.0.0.1", port, timeout=20), []
for i in range(600):  # some ten segments
    try:
        c.request("POST", "/v1/context/chat", json.dumps({"q": "%d " % i + "x" * 1200}))
        r = c.getresponse()
        body = r.read()
        if r.status != 200:
            wrong.append((i, r.status, body[:200]))
    except (OSError, http.client.HTTPException) as e:
        wrong.append((i, repr(e)))
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
is_over.set()
print("connections opened beside 600 contexts:", opened[0])
if wrong or opened[0] < 1000:
    print(len(wrong), "wrong:", wrong[:3])
    sys.exit(1)
PY
# (a reserve that is tried again while the one before is not full is no loss)
expect "" "$(grep "Too many open files" "$work/few.log" | grep -v "no room for the next segment yet")" "no file that could not be opened"
kill -TERM $few
wait $few || expect 0 $? "exit code after SIGTERM"
expect 0 "$(verify)" "verify after it"
done_testing
