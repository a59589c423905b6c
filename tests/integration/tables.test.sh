#!/usr/bin/env bash
# The user's files as tables: ids as written, types that fit every cell, changed files read again, errors that name the line.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local Customer = fabra.entity { name = "Customer", id = "customer_id" }
fabra.table { name = "orders", file = "orders [2024]*.csv", columns = { zip = "VARCHAR" } }
fabra.table { name = "totals", sql = "SELECT customer_id, sum(amount) AS total FROM orders GROUP BY customer_id" }
fabra.feature { name = "last_zip", entity = Customer, ttl = "1ms", default = "none",
  sql = "SELECT customer_id, max(zip) AS last_zip FROM orders GROUP BY customer_id" }
fabra.feature { name = "zip_now", entity = Customer, sql = "SELECT customer_id, max(zip) AS zip_now FROM orders GROUP BY customer_id" }
fabra.feature { name = "zip_soon", entity = Customer, ttl = "1s", sql = "SELECT customer_id, max(zip) AS zip_soon FROM orders GROUP BY customer_id" }
fabra.feature { name = "zip_code", entity = Customer, compute = function(id)
  return fabra.await(fabra.sql("SELECT max(zip) AS zip FROM orders WHERE customer_id = ?", { id }))[1].zip end }
fabra.feature { name = "total", entity = Customer, refresh = "1h", materialize = true, sql = "SELECT customer_id, total FROM totals" }
fabra.feature { name = "recent", entity = Customer, refresh = "100ms", materialize = true, sql = "SELECT customer_id, total AS recent FROM totals" }
LUA
orders="$work/orders [2024]*.csv"
{
  echo 'customer_id,amount,zip,ordered_at'
  for i in $(seq 25000); do echo "c$((i % 50)),$i,$((10000 + i % 1000)),2024-01-02 03:04:05"; done
  echo '007,12.75,01234,2024-02-03 10:20:30+02:00'
} >"$orders"
serve "$work/store.lua"

value() { get "/v1/features/$1?entity_id=$2" | json 'd.get("value")'; }
wait_for '[ "$(value total 007)" = 12.75 ]' "the materialised total of a late row"
expect 01234 "$(value last_zip 007)" "a declared text keeps its zero"
expect 404 "$(code "$url/v1/features/total?entity_id=7")" "an id is text as written"
contains '"column":"ordered_at","not":"TIMESTAMP","value":"2024-02-03 10:20:30+02:00","line":25002' "$(cat "$work/server.log")" "why a column is text"

# A changed file is read again, and what was made of it too, though its refresh is an hour away.
echo '008,3.5,00501,2024-02-03 10:20:30' >>"$orders"
wait_for '[ "$(value total 008)" = 3.5 ]' "the total of an appended row"
expect 00501 "$(value last_zip 008)" "SQL on demand over the appended row"

# A file that cannot be read leaves the table as it was, and says so.
cp "$orders" "$work/good.csv"
echo '009,1' >>"$orders"
wait_for 'grep -q "line 25004 has 2 cells, but line 1 names 4 columns" "$work/server.log"' "the error of a broken file"
expect 3.5 "$(value total 008)" "the old rows stay"
contains 'fabra_table_load_failures_total 1' "$(get /metrics)" "the failure is counted"
# What is materialised over the old rows does not become newer: a table made of one that fails has old rows too.
failing() { get /ready | json "' '.join(d['tables']['failing']) + '; ' + ' '.join(sorted(d['materialized']['failing']))"; }
age() { get "/v1/features/${1:-recent}?entity_id=008" | json 'd["freshness_ms"]'; }
wait_for '[ "$(failing)" = "orders totals; recent total" ]' "/ready names the tables and the features over them"
wait_for '[ "$(age)" -gt 1500 ]' "the values age, though their refresh is 100 ms"
# What is read of them at this moment is as old as they are.
for feature in zip_now zip_code; do
  expect 00501 "$(value "$feature" 008)" "$feature over the old rows"
  expect 1 "$(($(age "$feature") > 1500))" "$feature over the old rows is as old as they are"
done
expect 404 "$(code "$url/v1/features/zip_soon?entity_id=008")" "a value past its ttl is none"
expect none "$(value last_zip 008)" "nor with a default"
expect 200 "$(code "$url/ready")" "all others can be served"
cp "$work/good.csv" "$orders"
wait_for '[ "$(failing)" = "; " ]' "the same content again"
wait_for '[ "$(age)" -lt 1500 ]' "values over it are renewed"
for feature in zip_now zip_code zip_soon last_zip; do
  expect 00501 "$(value "$feature" 008)" "$feature over the same content again"
  expect 1 "$(($(age "$feature") < 1500))" "$feature over the same content again is fresh"
done
rm "$orders"
wait_for '[ "$(failing)" = "orders totals; recent total" ]' "a file that is gone"
cp "$work/good.csv" "$work/new.csv"
echo '010,7,00502,2024-02-03 10:20:30' >>"$work/new.csv"
mv "$work/new.csv" "$orders"
wait_for '[ "$(value total 010)" = 7.0 ]' "the mended file"
stop

# An unchanged file is kept over a restart.
serve "$work/store.lua"
contains '"message":"table kept: its source has not changed","table":"orders","rows":25003' "$(cat "$work/server.log")" "kept"
wait_for '[ "$(value total 010)" = 7.0 ]' "the total after a restart"
stop

# A declared type that a cell does not fit stops the start, with its place.
sed -i 's/zip = "VARCHAR"/amount = "BIGINT"/' "$work/store.lua"
status=0
"$fabra" serve "$work/store.lua" --port 0 >"$work/refused.log" 2>&1 || status=$?
expect 1 "$status" "the start is refused"
contains "table \"orders\" from orders [2024]*.csv: line 25002, column 'amount': '12.75' is no BIGINT without loss" "$(cat "$work/refused.log")" "why"

done_testing
