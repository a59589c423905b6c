#!/usr/bin/env bash
# The same question while the state ages: before and after a refresh, a change of the definitions or the data, a delete, a
# restart. Both ways of running a feature's SQL are asked beside each other and must agree.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"

one() { get "/v1/features/$1?entity_id=$2" | json 'json.dumps(d.get("value", "-"))'; } # JSON, "-" when there is none
status() { code "$url/v1/features/$1?entity_id=$2"; }
put() { curl -s -m 10 -X PUT -d "$2" "$url/v1/features/User/$1"; }
restart() { stop; serve "$work/store.lua"; }
metric() { get /metrics | sed -n "s/^$1 //p"; }

# What the program makes of the definitions is in store.lua; the table is a file that the test changes between two lives.
define() { # CODE VERSION_OF_COUNTER TTL_OF_STATED
  cat >"$work/store.lua" <<LUA
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.table { name = "facts", file = "facts.csv" }
fabra.feature { name = "fact", entity = User, materialize = true, refresh = "1s", sql = "SELECT user_id, fact FROM facts" }
fabra.feature { name = "fact_asked", entity = User, sql = "SELECT user_id, fact AS fact_asked FROM facts" }
fabra.feature { name = "kept", entity = User, materialize = true, sql = "SELECT user_id, fact AS kept FROM facts" }
fabra.feature { name = "computed", entity = User, ttl = "1h",
  compute = function(id) return "$1 of " .. id end }
fabra.feature { name = "each", entity = User, compute = function(id) return "$1 of " .. id end }
fabra.feature { name = "stated", entity = User, ttl = "1h", sql = "SELECT user_id, '$1' AS stated FROM facts" }
fabra.feature { name = "counter", entity = User, trigger = "tick", $2
  -- an edit that says $1
  compute = function(id, event, previous) return (previous or 0) + 1 end }
fabra.feature { name = "pushed", entity = User }
-- Follows the projection: it changes while the server runs, so that a refresh has something to see.
fabra.feature { name = "live", entity = User, materialize = true, refresh = "200ms",
  sql = [[SELECT entity_id AS user_id, max(CAST(value AS BIGINT)) AS live FROM fabra.feature_history
          WHERE feature = 'pushed' AND value NOT LIKE '"%' GROUP BY entity_id
          HAVING max(event_time) FILTER (value = '-1') IS NULL]] }
LUA
}
facts() { printf 'user_id,fact\n%s\n' "$1" >"$work/facts.csv"; }

define old "" ""
facts $'a,1\nb,2\nc,3'
serve "$work/store.lua"
wait_for '[ "$(one kept c)" = 3 ]' "materialisation"
expect '2 2 2' "$(one fact b) $(one fact_asked b) $(one kept b)" "a value, in both modes"
expect '"old of x" "old of x" "old"' "$(one computed x) $(one each x) $(one stated a)" "computed"
for i in 1 2 3; do post '/v1/ingest/tick?entity_id=a' '{}' >/dev/null; done
wait_for '[ "$(one counter a)" = 3 ]' "events"
put n1 '{"values":{"pushed":5}}' >/dev/null
put n2 '{"values":{"pushed":6}}' >/dev/null
wait_for '[ "$(one live n1)$(one live n2)" = 56 ]' "a refresh that sees new rows"

# A row that leaves the result: gone at the next refresh, while others stay.
put n1 '{"values":{"pushed":-1}}' >/dev/null
wait_for '[ "$(status live n1)" = 404 ]' "a row that left is gone"
expect 6 "$(one live n2)" "the others stay"

# Unchanged values are not written again: many refreshes later the history has no more of them.
wait_for '[ "$(grep -c "\"feature materialised\"" "$work/server.log")" -ge 20 ]' "many refreshes"
restart
expect 404 "$(status live n1)" "what left stays away after a restart"
expect 6 "$(one live n2)" "what stayed is there after a restart"
cat >"$work/count.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "written", entity = User,
  sql = "SELECT feature AS user_id, count(*) AS written FROM fabra.feature_history GROUP BY feature" }
LUA
stop
serve "$work/count.lua"
expect '3 3 2' "$(one written fact) $(one written kept) $(one written live)" "values in the history after many refreshes"

# A restart with the same definitions changes nothing, but what is computed at each read is computed.
stop
serve "$work/store.lua"
expect '"old of x" 3' "$(one computed x) $(one counter a)" "after a restart"
expect online "$(get '/v1/features/computed?entity_id=x' | json 'd["served_from"]')" "what has a ttl was kept"
expect computed "$(get '/v1/features/each?entity_id=x' | json 'd["served_from"]')" "what has none is computed, also after a restart"
expect computed "$(get '/v1/features/fact_asked?entity_id=a' | json 'd["served_from"]')" "and so is SQL"

# Changed code and changed data: nothing of the old is served. A trigger begins anew by its version only.
define new "" ""
facts $'a,10\nc,30'
restart
expect '"new of x" "new of x" "new" 3' "$(one computed x) $(one each x) $(one stated a) $(one counter a)" "changed code"
expect 10 "$(one fact_asked a)" "changed data, on demand"
wait_for '[ "$(one fact a)$(one kept a)$(status fact b)$(status kept b)" = 1010404404 ]' "changed data, materialised"
post '/v1/ingest/tick?entity_id=a' '{}' >/dev/null
wait_for '[ "$(one counter a)" = 4 ]' "a trigger builds on what it had"
define new 'version = "2",' ""
restart
expect 404 "$(status counter a)" "a new version begins anew"
post '/v1/ingest/tick?entity_id=a' '{}' >/dev/null
wait_for '[ "$(one counter a)" = 1 ]' "from nothing"
crash
serve "$work/store.lua"
expect '1 404' "$(one counter a) $(status kept b)" "after a crash"

# Several rows for one id: an error that names it, in both modes, and nothing of the run is used.
facts $'a,11\nc,31\nc,32'
restart
wait_for 'get /ready | grep -q "\"failing\":.*fact"' "/ready names what cannot be materialised"
expect 200 "$(code "$url/ready")" "and is ready all the same"
expect '30 10' "$(one fact c) $(one fact a)" "the old values stay"
expect '404 11' "$(status fact_asked c) $(one fact_asked a)" "on demand only that id fails"
wait_for 'grep "could not be materialised" "$work/server.log" | grep "\"feature\":\"fact\"" | grep -q "several rows for user_id .c."' \
  "a line of the log that names the feature and the id"
[ "$(metric 'fabra_feature_materialize_failures_total{feature="fact"}')" -ge 1 ] || { echo "FAILED: no metric"; failures=$((failures + 1)); }

# Deletes: also what lies ahead, also after a restart; and what comes later is not refused.
ahead=$(date -u -d '+4 minutes' +%Y-%m-%dT%H:%M:%SZ)
put d1 "{\"values\":{\"pushed\":\"ahead\"},\"timestamp\":\"$ahead\"}" >/dev/null
put d2 "{\"values\":{\"pushed\":\"ahead\"},\"timestamp\":\"$ahead\"}" >/dev/null
expect '"ahead"' "$(one pushed d1)" "a value that lies ahead"
curl -s -m 10 -X DELETE "$url/v1/cache/User/d1" >/dev/null
curl -s -m 10 -X DELETE "$url/v1/cache/User/d2" >/dev/null
expect 404 "$(status pushed d1)" "is deleted"
put d2 '{"values":{"pushed":"later"}}' >/dev/null
expect '"later"' "$(one pushed d2)" "and refuses nothing"

# Nanoseconds order.
expect '["pushed"]' "$(put ns '{"values":{"pushed":"second"},"timestamp":"2026-01-01T00:00:00.000000002Z"}' | json 'json.dumps(d["written"])')" "2 ns"
expect '["pushed"]' "$(put ns '{"values":{"pushed":"first"},"timestamp":"2026-01-01T00:00:00.000000001Z"}' | json 'json.dumps(d["stale"])')" "1 ns is older"
contains '"timestamp":"2026-01-01T00:00:00.000000003Z"' "$(put ns '{"values":{"pushed":"third"},"timestamp":"2026-01-01T00:00:00.000000003Z"}')" "3 ns"
put ns '{"values":{"pushed":"first"},"timestamp":"2026-01-01T00:00:00.000000001Z"}' >/dev/null
restart
expect '404 "later" "third"' "$(status pushed d1) $(one pushed d2) $(one pushed ns)" "deletes and nanoseconds after a restart"
stop

# Size: wide rows are materialised, a batch of 1,000 ids is one statement.
cat >"$work/large.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.table { name = "wide", sql = "SELECT 'u' || i AS user_id, repeat('x', 3000) || i AS wide FROM range(5000) t(i)" }
fabra.table { name = "long", sql = "SELECT i AS user_id, i % 1000 AS n FROM range(500000) t(i)" }
fabra.feature { name = "wide", entity = User, materialize = true, sql = "SELECT user_id, wide FROM wide" }
fabra.feature { name = "asked", entity = User, ttl = "1h", sql = "SELECT user_id, sum(n) AS asked FROM long GROUP BY user_id" }
fabra.feature { name = "wide_asked", entity = User, sql = "SELECT user_id, wide AS wide_asked FROM wide" }
LUA
serve "$work/large.lua"
wait_for '[ "$(code "$url/ready")" = 200 ]' "/ready"
contains 'x4999"' "$(get '/v1/features/wide?entity_id=u4999')" "who waits for /ready finds what is materialised"
contains '"awaited":[]' "$(get /ready)" "nothing is awaited then"
wait_for '[ "$(get /ready | json "d[\"materialized\"][\"done\"]")" = 1 ]' "5,000 rows of 3 KB"
contains 'x4999"' "$(get '/v1/features/wide?entity_id=u4999')" "the last of them"
python3 - "$url" <<'PY' || failures=$((failures + 1))
import json, sys, urllib.request
def batch(ids, feature):
    body = json.dumps({"name": "User", "ids": ids, "features": [feature]}).encode()
    with urllib.request.urlopen(urllib.request.Request(sys.argv[1] + "/v1/features/batch", body, {"Content-Type": "application/json"}), timeout=20) as r:
        return json.load(r)
got = batch([str(i) for i in range(1000)], "asked")
assert all(got[str(i)]["asked"] == i for i in range(1000)), "values of 1,000 ids"
got = batch([f"u{i}" for i in range(1000)], "wide_asked")
assert all(got[f"u{i}"]["wide_asked"].endswith(f"x{i}") for i in range(1000)), "wide values of 1,000 ids"
PY
stop

# Types: what numbers do not keep exact is text, and ids are spelled as the table has them.
cat >"$work/types.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
local function both(name, type, values)
  fabra.feature { name = name, entity = User, materialize = true,
    sql = "SELECT v::" .. type .. " AS user_id, v::" .. type .. " AS " .. name .. " FROM (VALUES " .. values .. ") t(v)" }
  fabra.feature { name = name .. "_asked", entity = User,
    sql = "SELECT v::" .. type .. " AS user_id, v::" .. type .. " AS " .. name .. "_asked FROM (VALUES " .. values .. ") t(v)" }
end
both("big", "UBIGINT", "('18446744073709551614'), ('18446744073709551615'), ('7')")
both("dec", "DECIMAL(20,0)", "('9007199254740993')")
both("money", "DECIMAL(10,2)", "('1.10')")
both("real", "FLOAT", "('1.111')")
LUA
serve "$work/types.lua"
wait_for '[ "$(get /ready | json "d[\"materialized\"][\"done\"]")" = 4 ]' "materialisation of types"
for mode in "" _asked; do
  expect '"18446744073709551614" "18446744073709551615" 7' "$(one big$mode 18446744073709551614) $(one big$mode 18446744073709551615) $(one big$mode 7)" "UBIGINT$mode"
  expect 9007199254740993 "$(one dec$mode 9007199254740993)" "DECIMAL(20,0)$mode"
  expect '1.1 404' "$(one money$mode 1.10) $(status money$mode 1.1)" "DECIMAL(10,2)$mode"
  expect 1.111 "$(one real$mode 1.111)" "FLOAT$mode"
done
stop

# Parquet types that are read as microseconds: the log says so. (One row each; Apache Arrow wrote them.)
base64 -d >"$work/int96.parquet" <<'B64'
UEFSMRUEFQoVCkwVAhUAEgAAAQAAAGEVABUSFRIsFQIVEBUGFQYcAAAAAgAAAAIBAQIAFQQVGBUYTBUCFQASAAABAJVzwkgAAGeKJQAVABUSFR
IsFQIVEBUGFQYcAAAAAgAAAAIBAQIAFQQZPDUAGAZzY2hlbWEVBAAVDCUCGAd1c2VyX2lkJQBMHAAAABUGJQIYAWkAFgIZHBksJgAcFQwZNQAG
EBkYB3VzZXJfaWQVABYCFl4WXiYuJggpLBUEFQAVAgAVABUQFQIAPBYCGQYZJgACAAAAJgAcFQYZNQAGEBkYAWkVABYCFmwWbCaaASZmKSwVBB
UAFQIAFQAVEBUCADwpBhkmAAIAAAAWygEWAiYIFsoBACggcGFycXVldC1jcHAtYXJyb3cgdmVyc2lvbiAyNi4wLjEZLBwAABwAAADaAAAAUEFS
MQ==
B64
base64 -d >"$work/time_ns.parquet" <<'B64'
UEFSMRUEFQoVCkwVAhUAEgAAAQAAAGEVABUSFRIsFQIVEBUGFQYcAAAAAgAAAAIBAQIAFQQVEBUQTBUCFQASAAABAAAAAAAAABUAFRIVEiwVAh
UQFQYVBhwAAAACAAAAAgEBAgAVBBUQFRBMFQIVABIAAAEAKjb+nJcXFQAVEhUSLBUCFRAVBhUGHAAAAAIAAAACAQECABUEFRAVEEwVAhUAEgAA
AQAAAAAAAAAVABUSFRIsFQIVEBUGFQYcAAAAAgAAAAIBAQIAFQQZXDUAGAZzY2hlbWEVCAAVDCUCGAd1c2VyX2lkJQBMHAAAABUEJQIYAXRsfB
IcPAAAAAAAFQQlAhgBbmyMEhw8AAAAAAAVBCUCGAVwbGFpbgAWAhkcGUwmABwVDBk1AAYQGRgHdXNlcl9pZBUAFgIWXhZeJi4mCCksFQQVABUC
ABUAFRAVAgA8FgIZBhkmAAIAAAAmABwVBBk1AAYQGRgBdBUAFgIWZBZkJpIBJmYpLBUEFQAVAgAVABUQFQIAPCkGGSYAAgAAACYAHBUEGTUABh
AZGAFuFQAWAhZkFmQm9gEmygEpLBUEFQAVAgAVABUQFQIAPCkGGSYAAgAAACYAHBUEGTUABhAZGAVwbGFpbhUAFgIWZBZkJtoCJq4CKSwVBBUA
FQIAFQAVEBUCADwpBhkmAAIAAAAWigMWAiYIFooDACggcGFycXVldC1jcHAtYXJyb3cgdmVyc2lvbiAyNi4wLjEZTBwAABwAABwAABwAAAB2AQ
AAUEFSMQ==
B64
cat >"$work/parquet.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.table { name = "old_times", file = "int96.parquet" }
fabra.table { name = "clock", file = "time_ns.parquet" }
LUA
serve "$work/parquet.lua"
for column in '"table":"old_times","column":"i"' '"table":"clock","column":"t"'; do
  contains "$column" "$(grep 'nanoseconds of this column are cut off' "$work/server.log" || true)" "a warning of $column"
done
expect 2 "$(grep -c 'are cut off' "$work/server.log")" "and of no other column"
stop

cat >"$work/bad.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "f", entity = User, sql = "SELECT [1] AS user_id, 1 AS f" }
LUA
contains "cannot name an entity; cast it to VARCHAR" "$("$fabra" serve "$work/bad.lua" --port 0 2>&1 || true)" "a list is no id"
done_testing
