#!/usr/bin/env bash
# What a request may say, and what it is told when it says something else: names, lists of mistakes, times, limits that meet,
# idempotency.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
local Item = fabra.entity { name = "Item", id = "sku" }
fabra.feature { name = "city", entity = User }
fabra.feature { name = "brief", entity = User, ttl = "300ms" }
fabra.feature { name = "stock", entity = Item }
fabra.feature { name = "plan", entity = User, default = "free" }
fabra.feature { name = "length", entity = User, compute = function(id) return #id end }
fabra.feature { name = "down", entity = User, compute = function() error("down") end }
fabra.feature { name = "clicks", entity = User, trigger = "click", compute = function(id, event, previous)
  return (previous or 0) + 1 end }
fabra.feature { name = "when", entity = User, trigger = "click", compute = function(id, event) return event.timestamp end }
fabra.context { name = "sum", model = "gpt-4o", build = function(args) return tostring(#args.x) end }
fabra.context { name = "wide", model = "gpt-4o", build = function(args) return args.x end }
LUA
serve "$work/store.lua"
body() { cat "$work/body"; }
of_body() { json "$1" <"$work/body"; }
send() { code -X "$1" -d "$3" "$url$2"; }

# ---- unknown names
expect 404 "$(send POST '/v1/ingest/clikc?entity_id=u1' '{}')" "an event type that nothing knows"
contains "Did you mean: click?" "$(body)" "names the near one"
expect 400 "$(send POST '/v1/ingest/a-b?entity_id=u1' '{}')" "no event type at all"
expect 404 "$(send POST /v1/features '{"entity_name":"User","entity_id":"u1","features":["length","lenght"]}')" "an unknown feature"
contains "Feature 'lenght' not found for entity 'User'. Did you mean: length?" "$(body)" "says which"
expect 404 "$(send POST /v1/features/batch '{"name":"User","ids":["u1"],"features":["stock"]}')" "a feature of another entity"
contains "it is one of entity 'Item'" "$(body)" "says whose"
expect 404 "$(send PUT /v1/features/User/u1 '{"values":{"stock":1,"citty":2}}')" "two that cannot be pushed"
contains "it is one of entity 'Item'; Feature 'citty'" "$(body)" "both are named"
expect 422 "$(send PUT /v1/features/User/u1 '{"values":{"city":"x"},"timestmap":"2026-01-01"}')" "an unknown key"
expect "['body', 'timestmap']" "$(of_body 'd["detail"][0]["loc"]')" "its place"
expect 422 "$(code "$url/v1/features/length?entity_id=u1&entityid=2")" "an unknown query parameter"
expect "extra_forbidden ['query', 'entityid'] 2" "$(of_body '"%s %s %s" % (d["detail"][0]["type"], d["detail"][0]["loc"], d["detail"][0]["input"])')" "which one"
expect 422 "$(code "$url/v1/record/ctx_1?verbose=1")" "one of a route that knows none"
expect 422 "$(code "$url/v1/contexts?limits=3")" "one of a list"
expect 200 "$(code "$url/health?probe=1")" "probes may say what they like"
expect 200 "$(code "$url/v1/contexts?limit=10&start=&end=")" "what Fabra's command line sends"

# ---- all mistakes at once
expect 422 "$(send POST '/v1/features?detail=perhaps&more=1' '{"entity_name":7,"features":["a",1,null],"x":0}')" "many mistakes"
expect "[['query', 'more'], ['query', 'detail'], ['body', 'x'], ['body', 'entity_name'], ['body', 'entity_id'], ['body', 'features', 1], ['body', 'features', 2]]" \
  "$(of_body '[e["loc"] for e in d["detail"]]')" "all are listed"
expect 422 "$(send PUT /v1/features/User/u1 '{"values":{"length":1,"down":2},"timestamp":"noon"}')" "a PUT with three"
expect 3 "$(of_body 'len(d["detail"])')" "all are listed"
expect 422 "$(send POST '/v1/ingest/click?event_time=noon' '[]')" "an event with three"
expect 3 "$(of_body 'len(d["detail"])')" "all are listed"
expect 422 "$(code -X POST "$url/v1/features/batch")" "no body"
expect 1 "$(of_body 'len(d["detail"])')" "is one mistake, not four"
expect 422 "$(send POST '/v1/sql' '{"params":{},"statement":"SELECT 1"}')" "a statement under another name"
expect 3 "$(of_body 'len(d["detail"])')" "all are listed"
long=$(python3 -c 'print("SELECT " + " + ".join(["1"] * 200) + " AS n")')
expect 200 "$(send POST /v1/sql "{\"sql\":\"$long\"}")" "a statement is longer than a name"

# ---- detail
# The sweeper forgets what has expired, four times a second: "expired" is said of what it has not met yet.
ask='{"name":"User","ids":["d1"],"features":["city","brief","plan","length","down","clicks","nothing"]}'
for _ in 1 2 3 4 5 6 7 8 9 10; do
	expect 200 "$(send PUT /v1/features/User/d1 '{"values":{"city":"Rome","brief":1}}')" "values to look at"
	expect '"stale":[]' "$(grep -o '"stale":\[\]' "$work/body")" "both are written"
	wait_for '[ "$(code "$url/v1/features/brief?entity_id=d1")" = 404 ]' "the brief one's end"
	expect 200 "$(send POST '/v1/features/batch?detail=true' "$ask")" "a batch in detail"
	[ "$(of_body 'd["d1"]["brief"]["status"]')" = missing ] || break
done
expect "present expired default present failed missing unknown" "$(of_body '" ".join(v["status"] for v in d["d1"].values())')" "each status"
expect "online None default computed None None None" "$(of_body '" ".join(str(v["served_from"]) for v in d["d1"].values())')" "each source"
expect "Rome None free 2 None None None" "$(of_body '" ".join(str(v["value"]) for v in d["d1"].values())')" "each value"
expect True "$(of_body 'all((v["freshness_ms"] is None) == (v["served_from"] is None) and (v["freshness_ms"] or 0) >= 0 for v in d["d1"].values())')" "ages where there is a value"
expect 200 "$(send POST '/v1/features?detail=true' '{"entity_name":"User","entity_id":"d1","features":["nothing","city"]}')" "one id in detail"
expect "unknown present" "$(of_body '" ".join(v["status"] for v in d.values())')" "each status"
expect 200 "$(send POST '/v1/features?detail=false' '{"entity_name":"User","entity_id":"d1","features":["city"]}')" "without"
expect '{"city":"Rome"}' "$(body)" "as in Fabra"
expect 404 "$(code "$url/v1/features/down?entity_id=u1")" "a failing compute answers as in Fabra"
contains "could not be computed" "$(body)" "and says that it failed"

# ---- ids, texts, numbers, times
expect 200 "$(send POST /v1/features/batch '{"name":"User","ids":["a\u0000","a\u0000","b"],"features":["length"]}')" "a bad id twice"
expect 1 "$(grep -o 'a\\u0000' "$work/body" | wc -l)" "is one key of the reply"
for n in 240 241 242 243 244; do
  expect 404 "$(code "$url/v1/features/$(python3 -c "import urllib.parse; print(urllib.parse.quote('x' * $n + 'é' * 300))")?entity_id=u1")" "a long name"
  expect ok "$(python3 -c "import json; json.load(open('$work/body', encoding='utf-8')); print('ok')" 2>&1 | tail -n 1)" "is not cut inside a character ($n)"
done
python3 -c 'print("{\"x\":[" + ",".join(["1e9"] * 90000) + "]}")' >"$work/numbers"
expect 200 "$(code -X POST --data-binary "@$work/numbers" "$url/v1/context/sum")" "numbers that are longer when written again"
contains '"content":"90000"' "$(body)" "all arrive"
expect 200 "$(code "$url/v1/contexts?start=2026-01-31%2012:00")" "a time with a space"
expect 200 "$(code "$url/v1/contexts?start=2026-01-31T12:00:00+02:00")" "a zone whose plus became a space"
expect 400 "$(code "$url/v1/contexts?start=2026-01-31%2012:00%20x")" "no time"
for n in 0 1 999 1000; do expect 200 "$(code "$url/v1/contexts?limit=$n")" "limit=$n"; done
for n in 1001 -1 99999999999999; do expect 422 "$(code "$url/v1/contexts?limit=$n")" "limit=$n"; done
expect "less_than_equal {'le': 1000}" "$(code "$url/v1/contexts?limit=1001" >/dev/null; of_body '"%s %s" % (d["detail"][0]["type"], d["detail"][0]["ctx"])')" "says the bound"

# ---- values whose time has passed already
expect 200 "$(send PUT /v1/features/User/o1 '{"values":{"brief":1},"timestamp":"2026-01-01T00:00:00Z"}')" "an old value"
expect "[] ['brief']" "$(of_body '"%s %s" % (d["written"], d["stale"])')" "is not called written: nobody will see it"
ahead=$(python3 -c 'import datetime; print((datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=4)).isoformat().replace("+00:00", "Z"))')
expect 200 "$(send PUT /v1/features/User/o2 "{\"values\":{\"city\":\"soon\"},\"timestamp\":\"$ahead\"}")" "a value four minutes ahead"
expect 0 "$(get '/v1/features/city?entity_id=o2' | json 'd["freshness_ms"]')" "is not younger than now"
expect 0 "$(post /v1/features?detail=true '{"entity_name":"User","entity_id":"o2","features":["city"]}' | json 'd["city"]["freshness_ms"]')" "nor in detail"
expect 200 "$(send PUT /v1/features/User/o2 '{"values":{"city":"now"}}')" "a write without a time"
expect "['city'] []" "$(of_body '"%s %s" % (d["written"], d["stale"])')" "is the newest"
expect '"now"' "$(get '/v1/features/city?entity_id=o2' | json 'json.dumps(d["value"])')" "is served"

# ---- event time and idempotency
event() { code -X POST -H "Idempotency-Key: $1" -d "$2" "$url/v1/ingest/click?entity_id=$3${4:-}"; }
expect 202 "$(event k1 '{"a":1}' u1)" "a keyed event"
cp "$work/body" "$work/first"
for i in 1 2 3; do
  expect 202 "$(event k1 '{"a":1}' u1)" "again"
  expect "$(cat "$work/first")" "$(body)" "the first reply again"
done
expect 422 "$(event k1 '{"a":2}' u1)" "the key with another body"
expect 422 "$(event k1 '{"a":1}' u2)" "with another entity"
expect 422 "$(event k1 '{"a":1}' u1 '&event_time=2026-01-01')" "with another time"
expect 202 "$(code -X POST -H 'Idempotency-Key: k1' -H 'X-API-Key: other' -d '{"a":1}' "$url/v1/ingest/click?entity_id=u3")" "of another API key"
expect 422 "$(code -X POST -H 'Idempotency-Key;' -d '{}' "$url/v1/ingest/click?entity_id=u1")" "an empty key"
for n in 254 255; do expect 202 "$(event "$(printf 'k%.0s' $(seq $n))" '{}' u4)" "a key of $n bytes"; done
expect 422 "$(event "$(printf 'k%.0s' $(seq 256))" '{}' u4)" "a key of 256"
wait_for '[ "$(get "/v1/features/clicks?entity_id=u1" | json "d.get(\"value\")")" = 1 ]' "the event"
expect 202 "$(event k2 '{}' u5 '&event_time=2026-01-31%2012:00:00')" "an event time"
wait_for '[ "$(get "/v1/features/when?entity_id=u5" | json "d.get(\"value\")")" = 2026-01-31T12:00:00Z ]' "the event"
expect 422 "$(event k3 '{}' u5 '&event_time=2099-01-01')" "an event of the future"
expect 202 "$(event k3 '{}' u5)" "leaves its key free"
crash
serve "$work/store.lua"
expect 202 "$(event k1 '{"a":1}' u1)" "after kill -9"
expect "$(cat "$work/first")" "$(body)" "the first reply again"
expect 422 "$(event k1 '{"a":2}' u1)" "and no other"
stop
serve "$work/store.lua"
expect 202 "$(event k1 '{"a":1}' u1)" "after a stop"
expect "$(cat "$work/first")" "$(body)" "the first reply again"
expect 1 "$(get '/v1/features/clicks?entity_id=u1' | json 'd["value"]')" "counted once"
stop

code_of_race() { curl -s -m 10 -o /dev/null -w '%{http_code}\n' -X POST -H 'Idempotency-Key: race' -d '{}' "$url/v1/ingest/click?entity_id=r1"; }
# many at once with one key: one is done, the others are told so or wait
FABRA_IDEMPOTENCY_KEYS_MAX=7 serve "$work/store.lua"
racers=()
for i in 1 2 3 4; do
  for n in $(seq 10); do code_of_race; done >"$work/codes.$i" &
  racers+=($!)
done
wait "${racers[@]}"
expect 40 "$(cat "$work"/codes.* | grep -c '^202$\|^409$')" "nothing but 202 and 409"
wait_for '[ "$(get "/v1/features/clicks?entity_id=r1" | json "d.get(\"value\")")" = 1 ]' "the event"
expect 503 "$(event one-too-many '{}' u9)" "more keys than are kept"
contains FABRA_IDEMPOTENCY_KEYS_MAX "$(body)" "names the bound"
expect 202 "$(event k1 '{"a":1}' u1)" "known ones go on"
expect 202 "$(send POST '/v1/ingest/click?entity_id=u9' '{}')" "and those without a key"
stop

# ---- limits that meet
FABRA_EVIDENCE_MODE=required serve "$work/store.lua"
python3 -c 'print("{\"x\":\"" + "\x7f" * 900000 + "\"}", end="")' >"$work/wide" # six bytes each in a record, twice
expect 413 "$(code -X POST --data-binary "@$work/wide" "$url/v1/context/wide")" "a record that is larger than the ledger takes"
contains "larger than" "$(body)" "says why"
stop
serve "$work/store.lua"
expect 200 "$(code -X POST --data-binary "@$work/wide" "$url/v1/context/wide")" "best effort answers"
expect False "$(of_body 'd["meta"]["evidence_persisted"]')" "and says that nothing is recorded"
stop
refused() { # SETTINGS WANTED
  local status=0
  env $1 timeout 20 "$fabra" serve "$work/store.lua" --port 0 >"$work/said" 2>&1 </dev/null || status=$?
  expect 2 "$status" "$1 is refused"
  contains "$2" "$(cat "$work/said")" "$1 says why"
}
refused FABRA_BODY_BYTES=64MiB 'FABRA_BODY_BYTES is more than an entry of the ledger holds; give at most 8384512'
refused FABRA_BODY_BYTES=8384513 'give at most 8384512'
refused FABRA_BODY_BYTES=0 'FABRA_BODY_BYTES is 0'
refused "FABRA_LEDGER_SEGMENT_BYTES=1MiB FABRA_BODY_BYTES=1MiB" 'with FABRA_LEDGER_SEGMENT_BYTES=1MiB'
refused FABRA_LEDGER_SEGMENT_BYTES=65535 '65536 to 16GiB'
refused FABRA_ONLINE_BYTES=1048575 '1MiB to'
refused FABRA_DUCKDB_MEMORY=1MiB '16MiB to'
refused FABRA_REQUEST_TIMEOUT=0s 'FABRA_REQUEST_TIMEOUT is shorter than 1ms'
refused "FABRA_EVIDENCE_TIMEOUT=5s" 'FABRA_EVIDENCE_TIMEOUT (5000 ms) must be shorter than FABRA_REQUEST_TIMEOUT (5000 ms)'
refused FABRA_API_KYE=x 'FABRA_API_KYE is no setting; did you mean FABRA_API_KEY?'
refused "FABRA_BODY_BYTE=1 FABRA_ONLINE_BTYES=1" 'FABRA_ONLINE_BTYES is no setting'
contains 'did you mean FABRA_BODY_BYTES' "$(cat "$work/said")" "all at once"
refused FABRA_REDIS_URL=http://127.0.0.1:6379 'FABRA_REDIS_URL: '
refused REDIS_URL=redis://127.0.0.1:6379/x 'REDIS_URL: '
refused FABRA_ENV=Production 'FABRA_ENV=production runs on Redis and Postgres, which this version does not have yet'
for name in prodution prod PROD prd Prod-eu production_2; do
  refused FABRA_ENV=$name "FABRA_ENV is '$name'; did you mean production?"
done

# every name that the program reads is a known one
known=$(grep -rhoE '"FABRA_[A-Z_]+"' "$source_dir"/{tools,store,actors,http,runtime} --include='*.c' | tr -d '"' | sort -u | grep -v FABRA_DATA_DIR)
for name in $known; do [ -n "${!name:-}" ] || export "$name="; done
serve "$work/store.lua"
expect "" "$(grep 'no setting' "$work/server.log")" "all settings are known"
stop
for name in $known; do [ -n "${!name}" ] || unset "$name"; done

# at the largest body: accepted, or refused with a reason; the server goes on
export FABRA_BODY_BYTES=8384512 FABRA_SERVICE_HOST=10.0.0.1 FABRA_POSTGRES_URL=postgresql://x FABRA_ONLINE_BYTES=16MiB
serve "$work/store.lua"
contains 'FABRA_SERVICE_HOST is no setting and has no effect' "$(cat "$work/server.log")" "a name that is nobody's is said"
contains 'FABRA_POSTGRES_URL has no effect: there is no store on Postgres yet' "$(cat "$work/server.log")" "one of Fabra's too"
big() { python3 -c "import sys; n = int(sys.argv[1]); sys.stdout.write(sys.argv[2] + sys.argv[4] * ((n - len(sys.argv[2]) - len(sys.argv[3])) // len(sys.argv[4])) + sys.argv[3])" "$1" "$2" "$3" "$4" >"$work/big"; }
metric() { get /metrics | awk -v name="$1" '$1 == name { print $2 }'; }
upload() { code -m 60 -X "$1" --data-binary "@$work/big" "$url$2"; }
big 8384512 '{"x":"' '"}' x
expect 202 "$(upload POST '/v1/ingest/click?entity_id=big')" "an event as large as a body may be"
expect 8384512 "$(stat -c %s "$work/big")" "to the byte"
wait_for '[ "$(metric fabra_events_processed_total)" = 1 ]' "its turn"
expect 2 "$(metric fabra_events_failed_total)" "what Lua cannot take in is counted as failed, for both features"
big 8384513 '{"x":"' '"}' x
expect 413 "$(upload POST '/v1/ingest/click?entity_id=big')" "one byte more"
big 8384000 '{"x":[1' ']}' ',1e9'
expect 413 "$(upload POST '/v1/ingest/click?entity_id=big')" "one that is longer when it is written again"
big 1500000 '{"values":{"city":"' '"}}' x
expect 200 "$(upload PUT /v1/features/User/big)" "a value of less than an eighth of the online table"
big 2200000 '{"values":{"city":"' '"}}' x
expect 413 "$(upload PUT /v1/features/User/big)" "one of more"
contains FABRA_ONLINE_BYTES "$(body)" "names the setting"
big 8384000 '{"sql":"SELECT 1","params":[1' ']}' ',1e9'
case "$(upload POST /v1/sql)" in 400 | 413) ;; *) expect "400 or 413" "$(body | head -c 200)" "parameters without end" ;; esac
expect 200 "$(code "$url/health")" "the server goes on"
stop
unset FABRA_BODY_BYTES FABRA_SERVICE_HOST FABRA_POSTGRES_URL FABRA_ONLINE_BYTES
done_testing
