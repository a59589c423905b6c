#!/usr/bin/env bash
# More values than the online table has room for: those that it evicts are found in the history, by reads, contexts and events, and
# materialised values that have no row any more stay away.
source "$(dirname "$0")/common.sh" "$1"
export FABRA_ONLINE_BYTES=1MiB

cat >"$work/prices.csv" <<'CSV'
item,price
a,1
b,2
CSV
cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
local Item = fabra.entity { name = "Item", id = "item" }
fabra.feature { name = "note", entity = User }
fabra.feature { name = "visits", entity = User, trigger = "visit", compute = function(id, event, previous) return (previous or 0) + 1 end }
fabra.table { name = "prices", file = "prices.csv" }
fabra.feature { name = "price", entity = Item, sql = "SELECT item, price FROM prices", materialize = true, refresh = "1s" }
fabra.context { name = "hello", params = { user = "string" },
  items = { { text = "note {feature:note}, visits {feature:visits}", entity_id = "{user}", required = true } } }
LUA
value() { get "/v1/features/$1?entity_id=$2" | json 'd["value"]'; }
metric() { get /metrics | sed -n "s/^$1 //p"; }
flood() { # FIRST COUNT: notes of 20 KB
  python3 - "$url" "$1" "$2" <<'PY'
import http.client, json, sys, urllib.parse
url, first, count = urllib.parse.urlparse(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
c = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
for i in range(first, first + count):
    c.request("PUT", "/v1/features/User/u%d" % i, json.dumps({"values": {"note": "%d " % i + "x" * 20000}}))
    r = c.getresponse()
    assert r.status == 200 and r.read(), r.status
PY
}
visits() { # UNTIL: events are applied behind their answer
  for _ in $(seq 100); do
    [ "$(value visits u1)" = "$1" ] && return
    sleep 0.05
  done
  expect "$1" "$(value visits u1)" "visits of u1"
}

serve "$work/store.lua"
expect 404 "$(code "$url/v1/features/note?entity_id=nobody")" "what nobody wrote"
for n in 1 2 3; do post '/v1/ingest/visit?entity_id=u1' '{}' >/dev/null; done
visits 3
flood 1 120
for _ in $(seq 100); do # the sweeper brings the numbers up to date
  [ "$(metric fabra_online_evicted_total)" -gt 60 ] && break
  sleep 0.1
done
[ "$(metric fabra_online_evicted_total)" -gt 60 ] || expect "more than 60" "$(metric fabra_online_evicted_total)" "evicted values"
for i in 1 2 60 120; do
  expect "$i" "$(value note u$i | cut -d' ' -f1)" "a note that was evicted"
done
post '/v1/ingest/visit?entity_id=u1' '{}' >/dev/null
visits 4
flood 200 120
expect "note 1 x" "$(post /v1/context/hello '{"user":"u1"}' | json 'd["content"][:8]')" "the context"
expect 404 "$(code "$url/v1/features/note?entity_id=nobody")" "what nobody wrote, after evictions"
expect 200 "$(code -X DELETE "$url/v1/cache/User/u2")" "a delete"
flood 400 120
expect 404 "$(code "$url/v1/features/note?entity_id=u2")" "what was deleted"

# A row that is gone: the run that sees it ends what the history has from before.
expect 1 "$(value price a)" "a materialised value"
printf 'item,price\nb,3\n' >"$work/prices.csv.new" && mv "$work/prices.csv.new" "$work/prices.csv"
for _ in $(seq 200); do
  [ "$(code "$url/v1/features/price?entity_id=a")" = 404 ] && break
  sleep 0.1
done
flood 600 120
expect 404 "$(code "$url/v1/features/price?entity_id=a")" "a materialised value without a row"
expect 3 "$(value price b)" "the other"

# The same after a restart, whose table has no room for all.
stop
serve "$work/store.lua"
visits 4
for i in 1 60 319 719; do
  expect "$i" "$(value note u$i | cut -d' ' -f1)" "a note after a restart"
done
expect 404 "$(code "$url/v1/features/note?entity_id=u2")" "what was deleted, after a restart"
stop
done_testing
