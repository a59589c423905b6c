#!/bin/bash
# Clients that take their requests back at once leave nothing behind: an actor that each of them left filled a loop's table (65,536),
# after which the loop refused every context for good.
source "$(dirname "$0")/common.sh" "$1"
tools=$source_dir/tests/tools
cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
fabra.context { name = "plain", items = { { text = "Hello.", required = true } } }
LUA
serve "$work/store.lua" --loops 1
expect 200 "$(code -d '{}' "$url/v1/context/plain")" "a context before"
sent=$(python3 "$tools/h2_leavers.py" "$url" /v1/context/plain 100000)
[ "$sent" -ge 100000 ] || expect 100000 "$sent" "requests taken back"
expect 200 "$(code -d '{}' "$url/v1/context/plain")" "a context after"
stop
done_testing
