#!/usr/bin/env bash
# What a context did not see, it says: features and retrievers that failed, were late or never written; reads inside retrievers and
# computations; cached answers after a write; ages of chunks.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "down", entity = User, compute = function() error("down") end }
fabra.feature { name = "slow", entity = User, compute = function() fabra.await(fabra.sql("SELECT count(*) FROM range(100000000000)", {})) end }
fabra.feature { name = "city", entity = User }
fabra.feature { name = "plan", entity = User, default = "free" }
fabra.feature { name = "derived", entity = User, compute = function(id) return "in " .. tostring(fabra.await(fabra.feature_value("city", id))) end }
fabra.feature { name = "quick", entity = User, compute = function(id) return "for " .. id end }
fabra.feature { name = "kept", entity = User, ttl = "1h", compute = function(id) return "in " .. tostring(fabra.await(fabra.feature_value("city", id))) end }
fabra.feature { name = "basket", entity = User, trigger = "shop", compute = function(id, event, previous)
    if event.payload.paid then return nil end return (previous or 0) + 1 end }
fabra.retriever { name = "cities", cache_ttl = "1h",
  run = function(args) return { "City " .. tostring(fabra.await(fabra.feature_value("city", args.id))) } end }
fabra.retriever { name = "outer", run = function(args) return { fabra.await(fabra.retrieve("cities", args))[1].content } end }
fabra.retriever { name = "broken", run = function() error("no index") end }
fabra.retriever { name = "aged", max_age = "1h", run = function(args) return { { content = "old", [args.key] = args.at } } end }
local id = { user_id = "string" }
local function context(name, items, more)
  local c = more or {}
  c.name, c.params, c.items = name, c.params or id, items
  fabra.context(c)
end
local function text(t, more)
  local item = more or {}
  item.text, item.entity_id = t, t:find("{feature:", 1, true) and "{user_id}" or nil
  return item
end
context("required", { text("It is {feature:down}", { required = true }) })
context("required_absent", { text("It is {feature:city}", { required = true }) })
context("dropped", { text("Hello"), text("It is {feature:down}"), text("In {feature:city}") })
context("empty", { text("It is [{feature:down}]", { on_missing = "empty" }) })
context("strict", { text("In {feature:city}", { on_missing = "empty" }) }, { freshness_sla = "1s", freshness_strict = true })
context("late", { text("Hello"), text("{feature:slow}"), text("{feature:plan}"), text("{feature:quick}") })
context("kept_strict", { text("{feature:kept}") }, { freshness_sla = "1h", freshness_strict = true })
context("kept", { text("{feature:kept}") })
local endless = "SELECT count(*) AS n FROM range(100000000000)"
fabra.retriever { name = "endless", run = function() return { tostring(fabra.await(fabra.sql(endless, {}))[1].n) } end }
fabra.context { name = "late_sql", build = function() return tostring(fabra.await(fabra.sql(endless, {}))[1].n) end }
fabra.context { name = "late_docs", build = function() return fabra.await(fabra.retrieve("endless", {}))[1].content end }
context("late_required", { text("{feature:slow}", { required = true }) })
context("docs", { text("Hello"), { retriever = "broken" } })
context("docs_required", { { retriever = "broken", required = true } })
context("nested", { { retriever = "outer", args = { id = "{user_id}" } } }, { freshness_sla = "1s" })
context("nested_strict", { { retriever = "outer", args = { id = "{user_id}" } } }, { freshness_sla = "1s", freshness_strict = true })
context("nested_cached", { { retriever = "outer", args = { id = "{user_id}" } } }, { cache_ttl = "1h" })
context("derived_cached", { text("{feature:derived}") }, { cache_ttl = "1h" })
context("cached", { text("Hello"), text("In {feature:city}") }, { cache_ttl = "1h" })
context("aged", { { retriever = "aged", args = { key = "{key}", at = "{at}" } } }, { params = { key = "string", at = "any" } })
fabra.context { name = "coded", params = { user_id = "string", n = { type = "integer", default = 3 } },
  build = function(args)
    local docs, why = fabra.try(fabra.retrieve("broken", {}))
    local all = fabra.await(fabra.features("User", args.user_id, { "city", "down", "plan" }))
    return "n " .. tostring(args.n) .. " " .. tostring(all.plan) .. " " .. tostring(docs)
  end }
fabra.context { name = "coded_down", params = id, build = function(args)
    local value, why = fabra.try(fabra.feature_value("down", args.user_id))
    return tostring(fabra.await(fabra.feature_value("down", args.user_id))) .. tostring(value) .. " " .. tostring(why:find("down") ~= nil)
  end }
LUA
serve "$work/store.lua"
ask() { post "/v1/context/$1" "${2:-{\"user_id\":\"u1\"\}}"; }
meta() { ask "$1" | json "$2"; }
missing='[(m["feature"], m["entity_id"], m["reason"]) for m in d["meta"]["missing_features"]]'

# on_missing
expect 503 "$(code -d '{"user_id":"u1"}' "$url/v1/context/required")" "a required item needs what failed"
contains "Context 'required' needs feature 'down' of 'u1', which is missing: failed" "$(cat "$work/body")" "names both"
expect 422 "$(code -d '{"user_id":"u1"}' "$url/v1/context/required_absent")" "a required item needs what was never written"
contains "feature 'city' of 'u1', which is missing: absent" "$(cat "$work/body")" "names both"
wait_for 'grep -q "\"message\":\"context failed\",\"context\":\"required\"" "$work/server.log"' "the log of the failed context"
contains '"logger":"assembler","message":"context failed","context":"required","reason":' "$(cat "$work/server.log")" "a failed context is logged"
contains 'store.lua:3: down' "$(grep '"context":"required"' "$work/server.log")" "with the line"
contains '"request_id":"' "$(grep '"context":"required"' "$work/server.log")" "and the request"

ask dropped >"$work/answer"
expect Hello "$(json 'd["content"]' <"$work/answer")" "optional items are left out"
expect "[('down', 'u1', 'failed'), ('city', 'u1', 'absent')]" "$(json "$missing" <"$work/answer")" "meta says why"
expect degraded "$(json 'd["meta"]["freshness_status"]' <"$work/answer")" "the context is degraded"
expect '[]' "$(json 'd["meta"]["freshness_violations"]' <"$work/answer")" "ages are those of values"
expect "[('down', 'priority_cutoff'), ('city', 'priority_cutoff')]" \
  "$(json '[(i["source_id"], i["reason"]) for i in d["lineage"]["dropped_items_detail"]]' <"$work/answer")" "lineage names what is left out"
id=$(json 'd["id"]' <"$work/answer")
get "/v1/record/$id" >"$work/record"
expect "[('down', None, 'fallback', 0), ('city', None, 'fallback', 0)]" \
  "$(json '[(f["name"], f["value"], f["source"], f["freshness_ms"]) for f in d["features"]]' <"$work/record")" "the record names them with null"
expect "['down', 'city']" "$(json 'd["assembly"]["freshness_violations"]' <"$work/record")" "and as violations"
expect 3 "$(json 'd["assembly"]["items_provided"]' <"$work/record")" "items provided"
expect 0 "$("$fabra" context verify "$id" >/dev/null 2>&1; echo $?)" "it verifies"
expect "['down', 'city'] False" "$(get "/v1/context/$id/explain" | json 'd["missing_features"], d["cache_hit"]' | tr -d '()' | sed 's/\], /] /')" "explain agrees"
expect "[('down', 'u1', 'failed'), ('city', 'u1', 'absent')]" "$(get "/v1/context/$id" | json "$missing")" "the stored meta agrees"
expect 'It is []' "$(meta empty 'd["content"]')" "empty keeps the item"
expect degraded "$(meta empty 'd["meta"]["freshness_status"]')" "and is degraded"
expect 500 "$(code -d '{"user_id":"u1"}' "$url/v1/context/strict")" "strict refuses what is missing"
contains 'city (missing: absent)' "$(cat "$work/body")" "by name"

# late: what is late is missing, what is in memory is not lost for that
late() { curl -s -m 10 -H 'x-request-timeout-ms: 800' -d '{"user_id":"u1"}' "$url/v1/context/late"; }
late >"$work/answer"
expect "[('slow', 'u1', 'timeout')]" "$(json "$missing" <"$work/answer")" "a late feature"
expect $'Hello\nfree\nfor u1' "$(json 'd["content"]' <"$work/answer")" "the others are there"
expect "[('plan', 'u1')]" "$(json '[(m["feature"], m["entity_id"]) for m in d["meta"]["default_features"]]' <"$work/answer")" "a default is said"

# what needs what is late has no answer: 504 each time, and it says what was late
for name in late_sql late_docs late_required late_sql late_docs late_required; do
  expect 504 "$(code -H 'x-request-timeout-ms: 400' -d '{"user_id":"u1"}' "$url/v1/context/$name")" "a late $name"
  case $name in
    late_sql) contains "the statement of fabra.sql did not end before the deadline" "$(cat "$work/body")" "the statement" ;;
    late_docs) contains "before the deadline" "$(cat "$work/body")" "the retriever" ;;
    late_required) contains "needs feature 'slow' of 'u1', which is missing: timeout" "$(cat "$work/body")" "the feature" ;;
  esac
done

# retrievers
expect "[('broken', 'failed')]" "$(meta docs '[(m["retriever"], m["reason"]) for m in d["meta"]["missing_retrievers"]]')" "a failed retriever"
expect degraded "$(meta docs 'd["meta"]["freshness_status"]')" "degrades"
expect 503 "$(code -d '{"user_id":"u1"}' "$url/v1/context/docs_required")" "a required one fails the request"
wait_for 'grep -q "\"message\":\"retriever failed\",\"retriever\":\"broken\"" "$work/server.log"' "the log of the failed retriever"
contains '"logger":"retriever","message":"retriever failed","retriever":"broken"' "$(cat "$work/server.log")" "and is logged"
curl -s -m 10 -H 'x-request-id: asks-the-broken' -d '{"user_id":"u1"}' "$url/v1/context/docs" >/dev/null
wait_for 'grep "context without a retriever" "$work/server.log" | grep -q asks-the-broken' "the log of the context that went without"
contains 'store.lua:15: no index' "$(grep '"request_id":"asks-the-broken"' "$work/server.log" | grep 'context without a retriever')" "with the line, and the request that went without"

# code
ask coded >"$work/answer"
expect 'n 3 free nil' "$(json 'd["content"]' <"$work/answer")" "defaults of params reach build"
expect "[('city', 'u1', 'absent'), ('down', 'u1', 'failed')]" "$(json "$missing" <"$work/answer")" "reported the same way"
expect "['broken']" "$(json '[m["retriever"] for m in d["meta"]["missing_retrievers"]]' <"$work/answer")" "also the retriever that was tried"

ask coded_down >"$work/answer"
expect 'nilnil True' "$(json 'd["content"]' <"$work/answer" | sed 's/true/True/')" "what failed is nil, and try has the reason"
expect "[('down', 'u1', 'failed')]" "$(json "$missing" <"$work/answer")" "and it is said"

# reads at any depth
put() { curl -s -m 10 -X PUT -d "$2" "$url/v1/features/User/$1" >/dev/null; }
hours_ago=$(date -u -d '3 hours ago' +%Y-%m-%dT%H:%M:%SZ)
ask nested_cached '{"user_id":"u2"}' | json 'd["content"]' >"$work/before"
expect 'City nil' "$(cat "$work/before")" "nobody has written a city"
put u2 "{\"values\":{\"city\":\"Oslo\"},\"timestamp\":\"$hours_ago\"}"
expect 'City Oslo' "$(ask nested_cached '{"user_id":"u2"}' | json 'd["content"]')" "what was not seen is forgotten when it arrives, two retrievers deep"
ask nested '{"user_id":"u2"}' >"$work/answer"
expect "['city']" "$(json '[f["feature_name"] for f in d["lineage"]["features_used"]]' <"$work/answer")" "the feature that a retriever read"
expect "['city']" "$(json 'd["meta"]["stale_sources"]' <"$work/answer")" "is stale"
expect degraded "$(json 'd["meta"]["freshness_status"]' <"$work/answer")" "and degrades"
expect "['cities', 'outer']" "$(json 'sorted(r["retriever_name"] for r in d["lineage"]["retrievers_used"])' <"$work/answer")" "both retrievers"
expect 500 "$(code -d '{"user_id":"u2"}' "$url/v1/context/nested_strict")" "strict sees it"
put u2 '{"values":{"city":"Rome"}}'
expect 'City Rome' "$(ask nested_cached '{"user_id":"u2"}' | json 'd["content"]')" "a cached retriever forgets what was written"
expect 'City Rome' "$(ask nested '{"user_id":"u2"}' | json 'd["content"]')" "also for others"
curl -s -m 10 -X DELETE "$url/v1/cache/User/u2" >/dev/null
expect 'City nil' "$(ask nested_cached '{"user_id":"u2"}' | json 'd["content"]')" "and what was deleted"
expect 'in nil' "$(ask derived_cached '{"user_id":"u3"}' | json 'd["content"]')" "a computed value over nothing"
put u3 '{"values":{"city":"Bern"}}'
expect 'in Bern' "$(ask derived_cached '{"user_id":"u3"}' | json 'd["content"]')" "what a computation read counts too"
put u5 "{\"values\":{\"city\":\"Bergen\"},\"timestamp\":\"$hours_ago\"}"
for i in 1 2 3 4 5 6; do # computed once, then from memory on both loops
  expect 500 "$(code -d '{"user_id":"u5"}' "$url/v1/context/kept_strict")" "what a stored value was made from counts each time"
done
expect "['kept', 'city']" "$(ask kept '{"user_id":"u5"}' | json '[f["feature_name"] for f in d["lineage"]["features_used"]]')" "and is named"
expect 'Hello' "$(ask cached '{"user_id":"u4"}' | json 'd["content"]')" "nothing yet"
for i in $(seq 50); do # each loop has a cache of its own
  ask cached '{"user_id":"u4"}' >"$work/answer"
  [ "$(json 'd["meta"].get("is_cached_response")' <"$work/answer")" != True ] || break
done
expect True "$(json 'd["meta"].get("is_cached_response")' <"$work/answer")" "cached"
id=$(json 'd["id"]' <"$work/answer")
expect True "$(get "/v1/context/$id/explain" | json 'd["cache_hit"]')" "explain says so"
put u4 '{"values":{"city":"Kyiv"}}'
expect $'Hello\nIn Kyiv' "$(ask cached '{"user_id":"u4"}' | json 'd["content"]')" "forgotten when the value arrives"

# chunks
aged() { post /v1/context/aged "{\"key\":\"$1\",\"at\":$2}" | json 'd["meta"]["freshness_status"], [m["reason"] for m in d["meta"]["missing_retrievers"]]'; }
for key in indexed_at last_updated; do
  expect "degraded []" "$(aged $key "\"$hours_ago\"")" "$key as text"
  expect "degraded []" "$(aged $key 1700000000)" "$key as unix seconds"
  expect "guaranteed []" "$(aged $key "$(date +%s)")" "$key now"
  expect "degraded ['failed']" "$(aged $key '"yesterday"')" "$key that is no time"
done

# a trigger that returns nil says that there is none
shop() { post "/v1/ingest/shop?entity_id=u7" "$1" >/dev/null; }
basket() { get "/v1/features/basket?entity_id=u7" | json 'd.get("value")'; }
shop '{}'
shop '{}'
wait_for '[ "$(basket)" = 2 ]' "two in the basket"
shop '{"paid":true}'
wait_for '[ "$(basket)" = None ]' "none after the event that says so"
stop
serve "$work/store.lua"
expect 404 "$(code "$url/v1/features/basket?entity_id=u7")" "nor after a restart"
shop '{}'
wait_for '[ "$(basket)" = 1 ]' "and it begins anew"
stop
done_testing
