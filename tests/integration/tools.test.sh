#!/usr/bin/env bash
# Checking a file before it is served, and asking a running server: check, features, sql, context list and show.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"

cat >"$work/purchases.csv" <<'CSV'
user_id,amount
u1,3
u1,4
u2,5
CSV
cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.table { name = "purchases", file = "purchases.csv" }
fabra.table { name = "rich.users", sql = "SELECT user_id FROM purchases WHERE amount > 3" }
fabra.feature { name = "tier", entity = User, refresh = "1h", ttl = "24h", compute = function(id) return "gold" end }
fabra.feature { name = "n", entity = User, materialize = true, refresh = "1h", sql = "SELECT user_id, count(*) AS n FROM purchases GROUP BY 1" }
fabra.context { name = "chat", params = { user_id = "string" },
  items = { { text = "Tier {feature:tier}", entity_id = "{user_id}" } } }
LUA

run() { # COMMAND...: $said is stdout, $told stderr, $status the exit code
  status=0
  said=$("$@" 2>"$work/told") || status=$?
  told=$(cat "$work/told")
}

# fabra check
run "$fabra" check "$work/store.lua"
expect 0 "$status" "a good file"
contains "n of User, materialized, refresh 1h" "$said" "what is declared"
contains "no mistake found" "$told" "and that it is good"
run "$fabra" check "$work/store.lua" --json
expect 'tier n' "$(json '" ".join(f["name"] for f in d["features"])' <<<"$said")" "as JSON"
sed 's/count(\*) AS n/count(*) AS m/; s/WHERE amount > 3/WHERE amoun > 3/' "$work/store.lua" >"$work/bad.lua"
run "$fabra" check "$work/bad.lua"
expect 1 "$status" "a bad file"
expect "" "$said" "says nothing for a pipe"
contains "bad.lua:4: table \"rich.users\" from its sql: Binder Error" "$told" "the table's line"
contains "bad.lua:6: feature 'n': sql: the SQL gives no column \"n\"" "$told" "and the feature's, at once"
[ ! -e "$FABRA_HOME/fabra.duckdb" ] || expect "" "$FABRA_HOME/fabra.duckdb" "check keeps nothing"
run "$fabra" serve "$work/bad.lua" --port 0
expect 1 "$status" "the start says the same"
contains "bad.lua:4: table" "$told" "with the line"
printf 'from fabra.core import FeatureStore\n\nstore = FeatureStore()\n' >"$work/features.py"
for command in check serve; do
  run timeout 20 "$fabra" $command "$work/features.py"
  expect 1 "$status" "$command of Python"
  contains 'features.py: this is Python, and definitions are written in Lua here' "$told" "$command says so"
  echo 'x = 1' >"$work/empty.lua"
  run timeout 20 "$fabra" $command "$work/empty.lua"
  expect 1 "$status" "$command of a file that declares nothing"
  contains 'empty.lua: declares nothing to serve' "$told" "$command says so"
done
run "$fabra" check "$work/nowhere.lua"
expect 1 "$status" "no such file"
run "$fabra" check
expect 2 "$status" "no file"

serve "$work/store.lua"
u1=$(post /v1/context/chat '{"user_id":"u1"}' | json 'd["id"]')
u2=$(post /v1/context/chat '{"user_id":"u2"}' | json 'd["id"]')

# lists
run "$fabra" context list --input user_id=u2
contains "$u2" "$said" "by argument"
case "$said" in *"$u1"*) expect "only $u2" "$u1 too" "by argument" ;; esac
contains '{"user_id":"u2"}' "$said" "the arguments are shown"
contains 'CREATED (UTC)' "$said" "the zone is said"
run "$fabra" context list --since 1h --status guaranteed --name chat --json
expect 2 "$(json 'len(d)' <<<"$said")" "by age, status and name"
run "$fabra" context list --status degraded --json
expect 0 "$(json 'len(d)' <<<"$said")" "none is degraded"
run "$fabra" context list --end 1h --json
expect 0 "$(json 'len(d)' <<<"$said")" "none is older than an hour"
run "$fabra" context list --name chta
expect 1 "$status" "a context that nobody knows"
contains "none that is declared is called 'chta'; did you mean 'chat'?" "$told" "the nearest"
expect "" "$said" "and no table"
run "$fabra" context list --input usr_id=u1 --json
expect 1 "$status" "an argument that no context takes"
contains "takes an argument 'usr_id'; did you mean 'user_id'?" "$told" "the nearest"
run "$fabra" context list --name chat --input user_id=nobody
expect 0 "$status" "an empty list of names that are known"
run "$fabra" context list --since yesterday
expect 2 "$status" "no age"
contains "--since must be an age such as 30m, 1h or 2d, not 'yesterday'" "$told" "names the option that was written"
run "$fabra" context list --input user_id
expect 2 "$status" "an argument without a value"
expect 400 "$(code "$url/v1/contexts?input=%22=1")" "a name with a quote"
expect '["context_id", "timestamp", "name", "token_usage", "freshness_status", "version"]' \
  "$(get '/v1/contexts?limit=1' | json 'json.dumps(list(d[0]))')" "without detail the list is as Fabra's"

# ids by their beginning
short=${u1#ctx_}
run "$fabra" context show "${short:0:23}"
expect "$u1" "$(json 'd["context_id"]' <<<"$said")" "a beginning that one context has, JSON in a pipe"
run "$fabra" context verify "ctx_${short:0:30}"
expect 0 "$status" "verify by a beginning"
run "$fabra" context show "${short:0:8}"
expect 1 "$status" "a beginning that two have"
contains "$u2" "$told" "they are named"
run "$fabra" context show 00000000-0000
expect 1 "$status" "a beginning that none has"
contains "Not Found" "$told" "said so"
told=$(script -qec "$fabra context show $u1" /dev/null)
contains 'tier(u1) = "gold"' "$told" "readable on a terminal"

# features and sql
run "$fabra" features get tier u1
expect gold "$(json 'd["value"]' <<<"$said")" "a feature"
run "$fabra" features get nope u1
expect 1 "$status" "an unknown feature"
run "$fabra" features list
expect chat "$(json 'd["contexts"][0]["name"]' <<<"$said")" "what is served"
run "$fabra" sql 'SELECT sum(amount)::BIGINT AS s FROM purchases WHERE user_id = ? AND amount > ?' u1 3
expect '[{"s":4}]' "$said" "a statement with parameters"
run "$fabra" sql 'SELECT count(*) AS n FROM fabra.records'
expect '[{"n":2}]' "$said" "what was acknowledged before is seen"
run "$fabra" sql 'SELECT count(*) AS n FROM "rich.users"'
expect '[{"n":2}]' "$said" "a table with a dot in its name"
secret=$work/secret.csv
printf 'secret\n1\n' >"$secret"
for statement in "SELECT * FROM read_text('$secret')" "SELECT * FROM '$secret'" "FROM \"$secret\"" "SELECT * FROM glob('/*')" \
  "SELECT (SELECT max(content) FROM read_text('$secret'))" "SELECT * FROM query('FROM read_text(''$secret'')')" \
  "SELECT * FROM sniff_csv('$secret')" "WITH x AS (FROM read_csv('$secret')) FROM x" "FROM duckdb_settings()" \
  "FROM \"${secret%.csv}\".csv" "DESCRIBE '$secret'" "FROM pg_settings" "FROM pragma_database_list" "FROM information_schema.tables" \
  "FROM duckdb_databases" "SHOW DATABASES" "SELECT current_setting('temp_directory')" "SELECT getenv('HOME')" \
  "DELETE FROM purchases" "COPY purchases TO '$work/out.csv'" "ATTACH '$work/other.db'" "SET threads = 4" "SELECT 1; DROP TABLE purchases" \
  "SELECT nope FROM purchases" "SELECT" ""; do
  run "$fabra" sql "$statement"
  expect 1 "$status" "refused: $statement"
  contains "HTTP 4" "$told" "a client's mistake: $statement"
  case "$said" in *secret*) expect "nothing" "$said" "read a file: $statement" ;; esac
done
[ ! -e "$work/out.csv" ] || expect "no file" "$work/out.csv" "wrote a file"
expect '[{"n":3}]' "$(post /v1/sql '{"sql":"SELECT count(*) AS n FROM purchases"}')" "nothing was changed"
expect 422 "$(code -d '{"params":[]}' "$url/v1/sql")" "no statement"
stop
done_testing
