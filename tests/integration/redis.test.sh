#!/usr/bin/env bash
# Values in a real Redis, the ledger here: two servers see one another's writes; Redis killed and empty, flushed, and away for a
# while; counters go on, nothing acknowledged is gone, and what could not be asked is never called absent.
source "$(dirname "$0")/common.sh" "$1"

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "tier", entity = User }
fabra.feature { name = "clicks", entity = User, trigger = "click", compute = function(id, event, previous) return (previous or 0) + 1 end }
fabra.feature { name = "length", entity = User, ttl = "1h", compute = function(id) return #id end }
fabra.context { name = "hello", params = { user = "string" },
  items = { { text = "{feature:tier} {feature:clicks} {feature:length}", entity_id = "{user}", required = true } } }
LUA
start_services --only redis
value() { get "/v1/features/$1?entity_id=u1" | json 'd["value"]'; }
put_tier() { curl -sS -m 10 -X PUT -d "{\"values\":{\"tier\":\"$1\"}}" "$url/v1/features/User/u1"; }
click() { post "/v1/ingest/click?entity_id=u1" '{}' >/dev/null; }
redis_is() { [ "$(get /ready | json 'd["redis"]["connected"] == d["redis"]["connections"]')" = "$1" ]; }
redis() { redis-cli -u "$FABRA_REDIS_URL" "$@"; }

# two servers, each with a ledger of its own
FABRA_HOME=$work/other serve "$work/store.lua"
other=$server other_url=$url
at_end="kill $other 2>/dev/null || :"
serve "$work/store.lua"
wait_for 'redis_is True' "connections of both loops"
expect '["ledger", "projection", "redis"]' "$(get /ready | json 'd["needs"]' | tr "'" '"')" "/ready names the store"
expect '[]' "$(put_tier gold | json 'd["stale"]')" "a value through one"
expect gold "$(url=$other_url value tier)" "is read through the other at once"
expect gold "$(redis HGET User:u1 tier | json 'd["value"]')" "in the form of Fabra's Python program"
redis HSET User:u1 tier '{"__fabra_feature_value__": true, "value": "silver", "as_of": "2099-01-01T00:00:00+00:00"}' >/dev/null
expect silver "$(value tier)" "what that program writes is read"
redis HDEL User:u1 tier >/dev/null
expect gold "$(value tier)" "what Redis has no more, the history has"
# a delete through the other, too; and what the other has not written it does not call absent while Redis is away
expect 200 "$(code -X DELETE "$other_url/v1/cache/User/u1")" "a delete through the other"
expect 404 "$(code "$url/v1/features/tier?entity_id=u1")" "holds here"
put_tier gold >/dev/null
post '/v1/ingest/click?entity_id=shared' '{}' >/dev/null
wait_for '[ "$(get "/v1/features/clicks?entity_id=shared" | json "d[\"value\"]")" = 1 ]' "an event here"
services freeze redis >/dev/null
expect 503 "$(code "$other_url/v1/features/clicks?entity_id=shared")" "the other cannot know"
(url=$other_url; post '/v1/ingest/click?entity_id=shared' '{}' >/dev/null)
expect 503 "$(code "$other_url/v1/features/clicks?entity_id=shared")" "its event waits"
services thaw redis >/dev/null
wait_for '[ "$(get "/v1/features/clicks?entity_id=shared" | json "d[\"value\"]")" = 2 ]' "and builds on what was there"
redis SET User:foreign text >/dev/null
expect 503 "$(code "$url/v1/features/tier?entity_id=foreign")" "another type at one key"
expect ready "$(get /ready | json 'd["status"]')" "is no matter of Redis"
kill -TERM $other
wait $other || expect 0 $? "the other's end"

for _ in 1 2 3; do click; done
wait_for '[ "$(value clicks)" = 3 ]' "three events"
expect "gold 3 2" "$(post /v1/context/hello '{"user":"u1"}' | json 'd["content"]')" "a context"

# empty
redis FLUSHALL >/dev/null
click
wait_for '[ "$(value clicks)" = 4 ]' "a counter goes on in an empty Redis"
expect gold "$(value tier)" "the value, too"

# away
services kill redis >/dev/null
wait_for 'redis_is False' "the loss shows"
expect not_ready "$(get /ready | json 'd["status"]')" "/ready without Redis"
contains '"online":"pending"' "$(put_tier bronze)" "a write is kept, and says that it is pending"
expect bronze "$(value tier)" "and is read here"
expect "bronze 4 2" "$(post /v1/context/hello '{"user":"u1"}' | json 'd["content"]')" "a context from the history"
click
services start --only redis >/dev/null
wait_for 'redis_is True' "Redis is back, and empty"
wait_for '[ "$(value clicks)" = 5 ]' "the event meanwhile"
wait_for '[ "$(redis HGET User:u1 tier | json "d[\"value\"]")" = bronze ]' "what was pending is in Redis"

# a start puts what the history has into an empty Redis
stop
redis FLUSHALL >/dev/null
serve "$work/store.lua"
wait_for '[ "$(redis HGET User:u1 clicks | json "d[\"value\"]")" = 5 ]' "the start warms Redis"
expect "bronze 5 2" "$(post /v1/context/hello '{"user":"u1"}' | json 'd["content"]')" "a context after a restart"
expect 200 "$(code -X DELETE "$url/v1/cache/User/u1")" "a delete"
expect 404 "$(code "$url/v1/features/tier?entity_id=u1")" "holds"
redis FLUSHALL >/dev/null
expect 404 "$(code "$url/v1/features/tier?entity_id=u1")" "in an empty Redis, too"
stop

FABRA_REDIS_URL="${FABRA_REDIS_URL%%:*}://x:wrong@${FABRA_REDIS_URL#*//}" serve "$work/store.lua"
wait_for 'get /ready | grep -q WRONGPASS' "a wrong password shows, with Redis's words"
expect not_ready "$(get /ready | json 'd["status"]')" "and is no readiness"
stop
done_testing
