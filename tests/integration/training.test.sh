#!/usr/bin/env bash
# Training data: the example of docs/training-data.md, what was served at a moment is what the history says of it, and files of
# events that are not as they should be.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"
tools=$source_dir/tests/tools
run() { # COMMAND...: $said is stdout, $told stderr, $status the exit code
  status=0
  said=$("$@" 2>"$work/told") || status=$?
  told=$(cat "$work/told")
}

# the page
mkdir "$work/page"
python3 "$tools/transcript.py" "$source_dir/docs/training-data.md" file "$work/page"
serve "$work/page/store.lua"
expect "as printed" "$(PATH=$(cd "$build" && pwd):$PATH python3 "$tools/transcript.py" "$source_dir/docs/training-data.md" run "$work/page")" "docs/training-data.md"
stop
rm -rf "$work/home"

# no skew, across a restart with changed code
store() { # FACTOR VERSION
  cat >"$work/store.lua" <<LUA
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "plain", entity = User }
fabra.feature { name = "brief", entity = User, ttl = "300ms" }
fabra.feature { name = "sure", entity = User, default = -1 }
fabra.feature { name = "score", entity = User, ttl = "1h", compute = function(id) return #id * $1 end }
fabra.feature { name = "total", entity = User, trigger = "sale", version = "$2",
  compute = function(id, event, previous) return (previous or 0) + event.payload.amount end }
LUA
}
store 10 1
serve "$work/store.lua"
expect written "$(python3 "$tools/no_skew.py" "$url" "$work/state.json" write 1 150)" "the first life"
stop
store 100 2
serve "$work/store.lua"
expect written "$(python3 "$tools/no_skew.py" "$url" "$work/state.json" write 2 100)" "the second, with other code"
expect "no skew" "$(python3 "$tools/no_skew.py" "$url" "$work/state.json" compare)" "what was served, and what the history says"

# the command gives the same, in CSV and in Parquet
run "$fabra" training-data --events "$work/state.json.csv" --at at --features plain,brief,sure,score,total --output "$work/out.csv"
expect 0 "$status" "the command: $told"
contains "500 events, 5 features" "$told" "the line at its end"
expect "" "$said" "nothing for a pipe"
expect "" "$(tail -n +2 "$work/out.csv" | diff - "$work/state.json.want" | head -n 5)" "the rows, in the order of the events"
run "$fabra" training-data --events "$work/out.csv" --at at --features plain --output "$work/out.parquet"
contains "it has a column plain" "$told" "a name that is taken"
run "$fabra" training-data --events "$work/state.json.csv" --at at --features sure,plain --event-times --output "$work/out.parquet" --json
expect "500 ['sure', 'plain'] 0" "$(json '*[d["events"], [f["name"] for f in d["features"]], d["features"][0]["nulls"]]' <<<"$said")" "the summary"
run "$fabra" training-data --events "$work/out.parquet" --at at --features total --output "$work/again.csv"
expect 0 "$status" "Parquet goes out and in: $told"
expect "user_id,at,sure,sure__event_time,plain,plain__event_time,total" "$(head -n 1 "$work/again.csv")" "its columns"
run "$fabra" training-data --events "$work/state.json.csv" --at at --features sure --no-defaults --output "$work/bare.csv" --json
expect True "$(json 'd["features"][0]["nulls"] > 0' <<<"$said")" "no defaults"

# what is wrong is said, and nothing is written
bad() { # FEATURES WANTED WHAT, and the file on standard input
  cat >"$work/bad.csv"
  run "$fabra" training-data --events "$work/bad.csv" --features "$1" --output "$work/none.csv"
  expect 1 "$status" "$3"
  contains "$2" "$told" "$3"
  [ ! -e "$work/none.csv" ] || expect "no file" "a file" "$3"
}
bad plain "bad.csv, line 3, column event_time: 'yesterday' is no time" "a bad time" <<<$'user_id,event_time\nu1,2026-01-01\nu2,yesterday'
bad plain "bad.csv, line 4, column user_id: is empty" "a missing id" <<<$'user_id,event_time,note\nu1,2026-01-01,"a\nb"\n,2026-01-01,c'
bad plain "bad.csv, line 2, column event_time: is empty" "a missing time" <<<$'user_id,event_time\nu1,'
bad plain "bad.csv, line 2, column event_time: '2999-01-01' lies in the future" "the future" <<<$'user_id,event_time\nu1,2999-01-01'
bad plain "it has no column \"user_id\"; its columns are id, event_time" "a missing column" <<<$'id,event_time\nu1,2026-01-01'
bad plaun "the server has no feature 'plaun'; did you mean 'plain'?" "an unknown feature" <<<$'user_id,event_time\nu1,2026-01-01'
bad plain "Line: 3" "a line that is too long" <<<$'user_id,event_time\nu1,2026-01-01\nu1,2026-01-01,7'
bad plain "it has no events" "an empty file" <<<$'user_id,event_time'
bad plain "and 5 mistakes more" "many mistakes" <<<"user_id,event_time$(printf '\nu1,never%.0s' $(seq 15))"
run "$fabra" training-data --events "$work/nothing.csv" --features plain --output "$work/none.csv"
contains "nothing.csv: it cannot be opened: No such file" "$told" "a missing file"
run "$fabra" training-data --events "$work/bad.csv" --features plain --output "$work/none.txt"
expect 2 "$status" "a name with another end"
printf 'user_id,event_time\nu1,2026-01-01\n' >"$work/self.csv"
ln -s self.csv "$work/link.csv"
ln "$work/self.csv" "$work/hard.csv"
for output in self.csv link.csv hard.csv; do
  run "$fabra" training-data --events "$work/self.csv" --features plain --output "$work/$output"
  expect 2 "$status" "the events as the output, as $output"
  contains "--output is the file of the events" "$told" "the events as the output, as $output"
done
expect $'user_id,event_time\nu1,2026-01-01' "$(cat "$work/self.csv")" "the events are left alone"
run "$fabra" training-data --events "$work/bad.csv"
expect 2 "$status" "half of what is needed"
expect "" "$(ls -d "$work"/none* 2>/dev/null)" "nothing is left behind"

# by HTTP
wrong() { # BODY STATUS WANTED WHAT
  expect "$2" "$(code -d "$1" "$url/v1/training-data")" "$4"
  contains "$3" "$(cat "$work/body")" "$4"
}
wrong '{"features":["plain"],"events":[{"user_id":"u1","event_time":"2026-13-01"},{"event_time":"2026-01-01"}]}' 422 '["body","events",0,"event_time"]' "a bad time"
contains '["body","events",1,"user_id"]' "$(cat "$work/body")" "and a missing id"
wrong '{"features":["plain"],"events":{"user_id":["u1","u2"],"event_time":["2026-01-01"]}}' 422 "as long as the others" "columns of two lengths"
contains '"input":["2026-01-01"]' "$(cat "$work/body")" "the column as it was sent"
wrong '{"features":["plain","plian"],"extra":1,"events":[{"user_id":"u1","event_time":"never"},{"event_time":"2026-01-01"},7]}' 422 \
  '["body","extra"]' "all mistakes at once: an unknown member"
for wanted in "Did you mean: plain?" '["body","events",0,"event_time"]' '["body","events",1,"user_id"]' '["body","events",2]'; do
  contains "$wanted" "$(cat "$work/body")" "all mistakes at once"
done
wrong '{"features":["plain"],"events":{"user_id":["u1"],"event_time":["2999-01-01"]}}' 422 "in the future" "the future"
wrong '{"features":["plain","plian"],"events":[{"user_id":"u1","event_time":"2026-01-01"}]}' 404 "Did you mean: plain?" "an unknown feature"
wrong '{"features":["plain"],"events":[]}' 422 "at least 1 event" "no events"
wrong '{"features":["plain"],"events":[{"user_id":"u1","event_time":"2026-01-01","plain":1}]}' 422 "the name that a feature" "a name twice"
wrong '{"features":["plain"],"events":7,"defaults":1,"extra":2}' 422 "extra_forbidden" "other types"
expect '{"label":[1],"user_id":"u1","event_time":"2001-01-01","sure":-1,"sure__event_time":null}' \
  "$(post /v1/training-data '{"features":["sure"],"event_times":true,"events":[{"label":[1],"user_id":"u1","event_time":"2001-01-01"}]}')" "an event is answered with what it has"
stop
done_testing
