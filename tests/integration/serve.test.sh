#!/usr/bin/env bash
# A user's first hour: features of every kind, a context, its record, the command line, a restart.
source "$(dirname "$0")/common.sh" "$1"

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "tier", entity = User, refresh = "1h", ttl = "24h", default = "free",
  compute = function(id) if id == "broken" then error("no tier") end return id:sub(1, 1) == "p" and "premium" or "free" end }
fabra.feature { name = "length", entity = User, compute = function(id) return #id end }
fabra.feature { name = "fragile", entity = User, compute = function(id) error("always") end }
fabra.feature { name = "spent", entity = User, trigger = "purchase",
  compute = function(id, event, previous) return (previous or 0) + event.payload.amount end }
fabra.feature { name = "city", entity = User }
fabra.feature { name = "stock", entity = User, dtype = "integer" }
fabra.table { name = "purchases", sql = "SELECT * FROM (VALUES ('u1', 3), ('u1', 4), ('u2', 5)) t(user_id, amount)" }
fabra.feature { name = "purchase_count", entity = User, refresh = "1h", materialize = true,
  sql = "SELECT user_id, count(*) AS purchase_count FROM purchases GROUP BY user_id" }
fabra.feature { name = "purchase_sum", entity = User, ttl = "1m",
  sql = "SELECT user_id, sum(amount)::BIGINT AS purchase_sum FROM purchases GROUP BY user_id" }
fabra.retriever { name = "docs", cache_ttl = "60s",
  run = function(args) return { { content = "About " .. args.query, metadata = { source_id = "d1" } }, "plain text" } end }
fabra.context { name = "chat", max_tokens = 200, freshness_sla = "5m", model = "gpt-4o",
  params = { user_id = "string", query = "string" },
  items = {
    { text = "You are helpful. {{literal}}", priority = 0, required = true },
    { text = "Tier: {feature:tier}, city: {feature:city}.", entity_id = "{user_id}", priority = 1 },
    { retriever = "docs", args = { query = "{query}" }, priority = 2 },
  } }
fabra.context { name = "coded", cache_ttl = "1m", model = "gpt-4",
  build = function(args)
    local tier, docs = fabra.all(fabra.feature_value("tier", args.user_id), fabra.retrieve("docs", { query = "q" }))
    return { fabra.item { content = "Tier " .. tier, priority = 1, source_id = "tier" }, fabra.item { content = docs[1].content, priority = 2 } }
  end }
LUA
serve "$work/store.lua"

# features
expect 'premium computed' "$(get '/v1/features/tier?entity_id=pat' | json 'd["value"], d["served_from"]' | tr -d "(),'")" "first read computes"
expect online "$(get '/v1/features/tier?entity_id=pat' | json 'd["served_from"]')" "second read is online"
expect '{"value":"free","freshness_ms":0,"served_from":"default"}' "$(get '/v1/features/tier?entity_id=broken')" "a failing compute gives the default"
expect 404 "$(code "$url/v1/features/fragile?entity_id=u1")" "a failing compute without default"
expect 5 "$(get '/v1/features/length?entity_id=12345' | json 'd["value"]')" "computed at each read"
expect 404 "$(code "$url/v1/features/city?entity_id=u1")" "nothing pushed yet"
expect 404 "$(code "$url/v1/features/nope?entity_id=u1")" "unknown feature"
expect 422 "$(code "$url/v1/features/tier")" "entity_id is required"
wait_for '[ "$(get "/v1/features/purchase_count?entity_id=u1" | json "d.get(\"value\")")" = 2 ]' "materialisation"
expect 7 "$(get '/v1/features/purchase_sum?entity_id=u1' | json 'd["value"]')" "SQL on demand"

put() { curl -s -m 10 -X PUT -d "$2" "$url/v1/features/User/$1"; }
expect '["city"]' "$(put u1 '{"values":{"city":"Oslo"},"timestamp":"2026-01-02T00:00:00Z"}' | json 'json.dumps(d["written"])')" "push"
expect '["city"]' "$(put u1 '{"values":{"city":"Rome"},"timestamp":"2026-01-01T00:00:00Z"}' | json 'json.dumps(d["stale"])')" "an older push is stale"
expect Oslo "$(get '/v1/features/city?entity_id=u1' | json 'd["value"]')" "the newer value stays"
put u3 '{"values":{"city":9007199254740993}}' >/dev/null
contains '"value":9007199254740993,' "$(get '/v1/features/city?entity_id=u3')" "integers stay exact"
put u4 '{"values":{"city":1.0}}' >/dev/null
contains '"value":1.0,' "$(get '/v1/features/city?entity_id=u4')" "floats stay floats"
expect 422 "$(code -X PUT -d '{"values":{"city":1},"timestamp":"2999-01-01T00:00:00Z"}' "$url/v1/features/User/u1")" "far future"
expect 422 "$(code -X PUT -d '{"values":{"city":123456789012345678901234567890}}' "$url/v1/features/User/u1")" "beyond 64 bits"
expect 422 "$(code -X PUT -d '{"values":{"city":NaN}}' "$url/v1/features/User/u1")" "NaN"
expect 422 "$(code -X PUT -d '{"values":{"stock":1.5}}' "$url/v1/features/User/u1")" "another type than the dtype"
expect 422 "$(code -X PUT -d '{"values":{"city":1,"stock":"1"}}' "$url/v1/features/User/u6")" "another type beside a good one"
expect 404 "$(code "$url/v1/features/city?entity_id=u6")" "nothing of it is written"
expect 200 "$(code -X PUT -d '{"values":{"stock":7}}' "$url/v1/features/User/u1")" "the dtype"
expect 404 "$(code -X PUT -d '{"values":{"cty":1}}' "$url/v1/features/User/u1")" "unknown feature"
contains 'city' "$(cat "$work/body")" "nearest name"

# events: in order, with the previous value
for i in 1 2 3 4 5; do
  expect 202 "$(code -X POST -d "{\"amount\":$i}" "$url/v1/ingest/purchase?entity_id=u1")" "ingest"
done
wait_for '[ "$(get "/v1/features/spent?entity_id=u1" | json "d.get(\"value\")")" = 15 ]' "five events"
expect 400 "$(code -X POST -d '{}' "$url/v1/ingest/a-b?entity_id=u1")" "bad event type"
expect 422 "$(code -X POST -d '[]' "$url/v1/ingest/purchase?entity_id=u1")" "a payload is an object"

# many at once
expect '{"tier": "free", "city": "Oslo"}' "$(post /v1/features '{"entity_name":"User","entity_id":"u1","features":["tier","city","fragile"]}' | json 'json.dumps(d)')" "several features, without the one that fails"
expect 3 "$(post /v1/features/batch '{"name":"User","ids":["a","b","a","c"],"features":["tier"]}' | json 'len(d)')" "batch"

# contexts
post /v1/context/chat '{"user_id":"u1","query":"x {feature:city}","call_id":"c1"}' >"$work/answer"
expect 'You are helpful. {literal}
Tier: free, city: Oslo.
About x {feature:city}
plain text' "$(json 'd["content"]' <"$work/answer")" "the text; what a caller sends is never expanded"
expect True "$(json 'd["meta"]["evidence_persisted"]' <"$work/answer")" "persisted"
expect c1 "$(json 'd["interaction_ref"]["call_id"]' <"$work/answer")" "interaction reference"
id=$(json 'd["id"]' <"$work/answer")
hash=$(json 'd["record_hash"]' <"$work/answer")
for ref in "$id" "${id#ctx_}" "$hash"; do
  expect "$id" "$(get "/v1/record/$ref" | json 'd["context_id"]')" "record by $ref"
done
expect 404 "$(code "$url/v1/record/ctx_00000000-0000-0000-0000-000000000000")" "no such record"
expect "$id" "$(get "/v1/context/$id" | json 'd["context_id"]')" "context view"
expect chat "$(get "/v1/context/$id/lineage" | json 'd["lineage"]["context_name"]')" "lineage"
expect "$id" "$(get "/context/$id/explain" | json 'd["context_id"]')" "trace"
expect 404 "$(code -X POST -d '{}' "$url/v1/context/nope")" "unknown context"
expect 400 "$(code -X POST -d '{"query":"x"}' "$url/v1/context/chat")" "missing argument"

# A value older than the context's freshness_sla: degraded, named in the record, counted.
curl -s -m 10 -X PUT -H 'Content-Type: application/json' "$url/v1/features/User/old" \
  -d "{\"values\":{\"city\":\"Rome\"},\"timestamp\":\"$(date -u -d '-1 hour' +%Y-%m-%dT%H:%M:%SZ)\"}" >"$work/put"
post /v1/context/chat '{"user_id":"old","query":"x"}' >"$work/answer"
expect degraded "$(json 'd["meta"]["freshness_status"]' <"$work/answer")" "freshness of an old value"
# Two: the first context's city was an old one as well.
expect 'fabra_context_freshness_violations_total{name="chat",feature="city"} 2' \
  "$(get /metrics | grep '^fabra_context_freshness_violations_total')" "the violations are counted"
contains "missing required argument 'user_id'" "$(cat "$work/body")" "says which"
expect 400 "$(code -X POST -d '{"user_id":1,"query":"x"}' "$url/v1/context/chat")" "wrong type"

# a cached answer has its own record
# (each loop has a cache of its own: both requests go over one connection)
curl -s -m 10 -d '{"user_id":"u1"}' "$url/v1/context/coded" -o "$work/a" --next -s -m 10 -d '{"user_id":"u1"}' "$url/v1/context/coded" -o "$work/b"
a=$(cat "$work/a")
b=$(cat "$work/b")
expect None "$(echo "$a" | json 'd["meta"].get("is_cached_response")')" "first is not cached"
expect True "$(echo "$b" | json 'd["meta"].get("is_cached_response")')" "second is"
[ "$(echo "$a" | json 'd["id"]')" != "$(echo "$b" | json 'd["id"]')" ] || { echo "FAILED: a cached answer reused an id"; failures=$((failures + 1)); }
b_id=$(echo "$b" | json 'd["id"]')
expect 200 "$(code "$url/v1/record/$b_id")" "and a record of its own"

# the command line
expect 0 "$("$fabra" context verify "$id" >/dev/null 2>&1; echo $?)" "verify"
expect 1 "$("$fabra" context verify ctx_00000000-0000-0000-0000-000000000000 >/dev/null 2>&1; echo $?)" "verify of nothing"
expect 2 "$("$fabra" context verify >/dev/null 2>&1; echo $?)" "verify without an id"
expect "$id" "$("$fabra" context show "$id" 2>/dev/null | json 'd["context_id"]')" "show is JSON when piped"
expect 3 "$("$fabra" context list --limit 3 --json 2>/dev/null | json 'len(d)')" "list"
expect 0 "$("$fabra" ledger verify >"$work/verify" 2>&1; echo $?)" "ledger verify while the server runs"

# deletes outlive a restart; everything else does too
expect 200 "$(code -X DELETE "$url/v1/cache/User/u3")" "delete"
expect 404 "$(code "$url/v1/features/city?entity_id=u3")" "deleted"
stop
serve "$work/store.lua"
expect Oslo "$(get '/v1/features/city?entity_id=u1' | json 'd["value"]')" "warm start: pushed"
expect 15 "$(get '/v1/features/spent?entity_id=u1' | json 'd["value"]')" "warm start: triggered"
expect online "$(get '/v1/features/tier?entity_id=pat' | json 'd["served_from"]')" "warm start: computed"
expect 404 "$(code "$url/v1/features/city?entity_id=u3")" "a delete stays a delete"
expect "$id" "$(get "/v1/record/$id" | json 'd["context_id"]')" "the record is still there"
new=$(post /v1/context/chat '{"user_id":"u1","query":"y"}' | json 'd["id"]')
previous=$(get "/v1/record/$new" | json 'd["integrity"]["previous_context_id"]')
expect "$b_id" "$previous" "the chain goes on over the restart"
stop
expect 0 "$("$fabra" ledger verify >"$work/verify" 2>&1; echo $?)" "ledger verify without a server"
done_testing
