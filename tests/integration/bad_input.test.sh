#!/usr/bin/env bash
# What goes wrong is refused with the cause, nothing is lost and the server goes on.
source "$(dirname "$0")/common.sh" "$1"

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
local function f(name, compute) fabra.feature { name = name, entity = User, compute = compute } end
f("endless", function() while true do end end)
f("stubborn", function() while true do pcall(function() while true do end end) end end)
f("recursive", function() local function r(n) return 1 + r(n + 1) end return r(1) end)
f("greedy", function() local t = {} for i = 1, 1e12 do t[i] = ("x"):rep(1000) .. i end end)
f("repeated", function() return ("x"):rep(1e9) end)
f("pattern", function() return (("a"):rep(27)):find(("a?"):rep(27) .. ("a"):rep(27)) end)
f("rubbish", function() return function() end end)
f("not_a_number", function() return 0 / 0 end)
f("fine", function() return 1 end)
fabra.feature { name = "city", entity = User }
fabra.feature { name = "count", entity = User, trigger = "tick",
  compute = function(id, event, previous) if event.payload.bad then error("bad event") end return (previous or 0) + 1 end }
fabra.context { name = "chat", model = "gpt-4o", params = { q = "string" },
  items = { { text = "Q: {q}", priority = 0, required = true } } }
fabra.context { name = "wrong", model = "gpt-4o", build = function(args) return 42 end }
fabra.context { name = "over", model = "gpt-4o", max_tokens = 3, on_budget = "fail",
  build = function(args) return "one two three four five six seven eight" end }
LUA
serve "$work/store.lua"
body() { cat "$work/body"; }
sent() { code -X POST -H 'Content-Type: application/json' --data-binary "$1" "$url/v1/context/chat"; }

# JSON
expect 422 "$(sent '{"q":')" "cut off"
contains json_invalid "$(body)" "says what"
expect 422 "$(sent "$(printf '%0.s[' $(seq 100))")" "deep"
expect 422 "$(sent '{"q":"a","q":"b"}')" "duplicate keys"
expect 422 "$(sent '{"q":NaN}')" "NaN"
expect 422 "$(sent '{"q":99999999999999999999}')" "beyond 64 bits"
printf '{"q":"\xff\xfe"}' >"$work/invalid"
expect 400 "$(sent "@$work/invalid")" "invalid UTF-8"
expect 422 "$(sent '[]')" "no object"
expect 422 "$(sent '')" "no body"
expect 200 "$(sent '{"q":"nul \u0000 inside"}')" "an escaped NUL is text"
head -c 1100000 /dev/zero | tr '\0' 'x' >"$work/huge"
expect 413 "$(sent "@$work/huge")" "huge body"
expect 200 "$(sent "{\"q\":\"$(head -c 100000 /dev/zero | tr '\0' 'a')\"}")" "100 KB of one letter"

# names and ids
long=$(head -c 300 /dev/zero | tr '\0' 'i')
expect 422 "$(code "$url/v1/features/city?entity_id=$long")" "long id"
expect 422 "$(code "$url/v1/features/city?entity_id=a%00b")" "NUL in an id"
expect 404 "$(code "$url/v1/features/%2e%2e%2fetc?entity_id=u")" "a path as a name"
expect 200 "$(code -X PUT -d '{"values":{"city":"x"}}' "$url/v1/features/User/a%2Fb%3Ac%7Bd%7D")" "an id with separators"
expect '"x"' "$(get '/v1/features/city?entity_id=a%2Fb%3Ac%7Bd%7D' | json 'json.dumps(d["value"])')" "is found by the same id"
expect 404 "$(code "$url/v1/features/city?entity_id=a")" "and by no other"
expect 404 "$(code -X PUT -d '{"values":{"city":"x"}}' "$url/v1/features/Nobody/u1")" "unknown entity"
expect 422 "$(code -X PUT -d '{"values":{"city":"x"},"timestamp":"yesterday"}' "$url/v1/features/User/u1")" "no time"
expect 422 "$(code -X POST -d '{"entity_name":"User","entity_id":7,"features":[]}' "$url/v1/features")" "an id that is a number"
expect 422 "$(code -X POST -d '{"entity_name":"User","entity_id":"u","features":[1]}' "$url/v1/features")" "a name that is a number"
expect 422 "$(code -X POST -d "{\"name\":\"User\",\"ids\":[$(printf '"a",%.0s' $(seq 1001))\"b\"],\"features\":[\"fine\"]}" "$url/v1/features/batch")" "too many ids"
expect 405 "$(code -X PATCH "$url/v1/contexts")" "wrong method"
expect 404 "$(code "$url/v1/nowhere")" "no such path"
expect 400 "$(code "$url/v1/contexts?start=noon")" "no time"
expect 422 "$(code "$url/v1/contexts?limit=many")" "no number"
expect 501 "$(code -X POST "$url/v1/context/ctx_1/replay")" "not yet"

# Lua that misbehaves: each is stopped, named in the log, and the loop goes on meanwhile
for name in endless stubborn recursive greedy repeated pattern rubbish not_a_number; do
  code "$url/v1/features/$name?entity_id=u1" >"$work/code.$name" &
  expect 200 "$(code -m 5 "$url/v1/features/fine?entity_id=u1")" "the server answers beside '$name'"
  wait $!
  status=$(cat "$work/code.$name")
  [ "$status" = 404 ] || [ "$status" = 504 ] || [ "$name" = pattern ] || { echo "FAILED: $name: $status"; failures=$((failures + 1)); }
done
contains "feature 'endless'" "$(cat "$work/server.log")" "stopped by name"
expect 500 "$(code -X POST -d '{}' "$url/v1/context/wrong")" "a context that returns a number"
expect 422 "$(code -X POST -d '{}' "$url/v1/context/over")" "over its budget, and says no"
contains "max_tokens is 3" "$(body)" "with the numbers"

# a failing event function changes nothing and holds back nothing
for payload in '{}' '{"bad":true}' '{}'; do
  expect 202 "$(code -X POST -d "$payload" "$url/v1/ingest/tick?entity_id=u1")" "ingest"
done
wait_for '[ "$(get "/v1/features/count?entity_id=u1" | json "d.get(\"value\")")" = 2 ]' "the good events"

# clients that go away at any moment
python3 - "$url" <<'PY'
import random, socket, sys, urllib.parse
u = urllib.parse.urlparse(sys.argv[1])
request = b"POST /v1/context/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{\"q\":\"a\"}"
random.seed(7)
for i in range(300):
    s = socket.create_connection((u.hostname, u.port), timeout=5)
    s.sendall(request[: random.randrange(1, len(request) + 1)])
    if i % 3 == 0:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    s.close()
PY
expect 200 "$(sent '{"q":"still here"}')" "after 300 clients that left"
expect 0 "$("$fabra" ledger verify >"$work/verify" 2>&1; echo $?)" "ledger verify"
stop

# definitions with mistakes: a line that names file, line and key; exit code 1
refused() { # LUA WANTED
  printf '%s\n' "$1" >"$work/bad.lua"
  local status=0
  "$fabra" serve "$work/bad.lua" --port 0 >"$work/said" 2>&1 || status=$?
  expect 1 "$status" "exit code for: $1"
  contains "$2" "$(cat "$work/said")" "message for: $1"
}
refused 'local fabra = require "fabra" fabra.entity { name = "U" }' 'bad.lua:1'
refused 'local fabra = require "fabra" fabra.entity { name = "U", id = "u", descripton = "x" }' "description"
refused 'this is not lua' 'bad.lua:1'
refused 'local fabra = require "fabra" fabra.index { name = "docs" }' 'bad.lua:1'
refused 'while true do end' 'bad.lua'
refused 'error("boom")' 'bad.lua:1: boom'
refused 'error("boom", 0)' 'bad.lua: boom'
refused 'error({})' 'bad.lua: the file raised an error'
refused 'local t = {} while true do t[#t + 1] = ("x"):rep(1000000) .. #t end' 'bad.lua:1: the file was stopped: the Lua state needs more than'
refused "$(printf '\033Lua')" 'bad.lua: attempt to load a binary chunk'
feature='local fabra = require "fabra" fabra.entity { name = "U", id = "u" } fabra.feature { name = "n", entity = "U", sql ='
export FABRA_HOME=$work/elsewhere
refused "$feature 'SELEC 1' }" "bad.lua:1: feature 'n': sql: Parser Error"
refused "$feature 'SELECT u, 1 AS n FROM nowhere' }" "nowhere"
refused "$feature 'SELECT 1 AS u', materialize = true, refresh = '1h' }" 'no column "n"'
refused "$feature 'SELECT ? AS u, 1 AS n' }" "parameter"
refused "$feature 'DROP TABLE t' }" "feature 'n'"
# All of them at once: tables in an order that their SQL asks for, and features.
many='local fabra = require "fabra" fabra.entity { name = "U", id = "u" }
fabra.table { name = "one", sql = "SELEC 1" }
fabra.table { name = "two", sql = "SELECT * FROM three" }
fabra.table { name = "three", sql = "SELECT 1 AS u" }
fabra.feature { name = "a", entity = "U", sql = "SELECT u, a FROM two" }
fabra.feature { name = "b", entity = "U", sql = "SELECT u, b FROM nowhere" }'
for said in 'bad.lua:2: table "one"' "bad.lua:5: feature 'a': sql:" "bad.lua:6: feature 'b': sql:"; do
  refused "$many" "$said"
done
for end in ' -- three' ' ; '; do
  printf '%s\n' "$feature [[SELECT 'a' AS u, 3 AS n$end]] }" >"$work/ends.lua"
  serve "$work/ends.lua"
  expect 3 "$(get '/v1/features/n?entity_id=a' | json 'd["value"]')" "SQL on demand that ends in '$end'"
  stop
done
status=0
"$fabra" serve "$work/missing.lua" >"$work/said" 2>&1 || status=$?
expect 1 "$status" "a missing file"
status=0
FABRA_EVIDENCE_MODE=sometimes "$fabra" serve "$work/store.lua" >"$work/said" 2>&1 || status=$?
expect 2 "$status" "a bad setting"
contains FABRA_EVIDENCE_MODE "$(cat "$work/said")" "names the variable"
status=0
FABRA_DUCKDB_PATH=:memory: FABRA_EVIDENCE_MODE=required "$fabra" serve "$work/store.lua" >"$work/said" 2>&1 || status=$?
expect 2 "$status" "required evidence with nowhere to keep it"
done_testing
