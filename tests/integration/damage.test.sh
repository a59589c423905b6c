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

# ---- another ledger beside the file ----
restore
mv "$(ledger)" "$work/old.ledger"
serve "$work/store.lua"
expect 500 "$(code "$url/v1/contexts")" "the folder of the ledger was deleted: lists"
contains "belongs to another ledger" "$(cat "$work/body")" "says why"
contains "put the folder of its ledger" "$(cat "$work/body")" "and the cure"
expect 500 "$(code "$url/v1/record/$(head -n 1 "$work/ids")")" "a record that the deleted ledger had is not called absent"
contains "belongs to another ledger" "$(cat "$work/body")" "says why"
expect 503 "$(ready)" "/ready"
contains "belongs to another ledger" "$(why projection reason)" "/ready says why"
expect 1 "$(metric fabra_projection_paused)" "the metric"
contains "belongs to another ledger" "$(cat "$work/server.log")" "the log"
for i in $(seq 5); do chat "new $i" >/dev/null; done
stop
serve "$work/store.lua"
expect 500 "$(code "$url/v1/contexts")" "after more entries and a restart they do not mix"
stop
mkdir "$work/aside" && mv "$FABRA_HOME"/fabra.duckdb "$work/aside/"
serve "$work/store.lua"
expect 5 "$(get /v1/contexts | json 'len(d)')" "first cure: the file moved away"
expect 200 "$(ready)" "/ready after it"
stop
rm -rf "$(ledger)" && mv "$work/old.ledger" "$(ledger)" && mv "$work/aside/fabra.duckdb" "$FABRA_HOME/"
serve "$work/store.lua"
expect 150 "$(get '/v1/contexts?limit=1000' | json 'len(d)')" "second cure: the folder put back"
expect 200 "$(ready)" "/ready after it"
fill 150 10
get /v1/contexts >/dev/null
stop
# an older copy of the same ledger, which went on from there in another way
cp -a "$FABRA_HOME/fabra.duckdb" "$work/aside/" && restore
serve "$work/store.lua"
fill 160 30
get /v1/contexts >/dev/null
stop
cp -a "$work/aside/fabra.duckdb" "$FABRA_HOME/"
serve "$work/store.lua"
expect 500 "$(code "$url/v1/contexts")" "a ledger from a backup that went on otherwise"
contains "put back from an older copy" "$(cat "$work/body")" "says what it is"
stop

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
done_testing
