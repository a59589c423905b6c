#!/usr/bin/env bash
# Backup and restore, by the commands that stand in docs/operations.md, beside a server that is written to.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"
export FABRA_EVIDENCE_MODE=required FABRA_LEDGER_SEGMENT_BYTES=64KiB
export BACKUP=$work/backup
block() { # NAME: the commands below its mark
  python3 - "$source_dir/docs/operations.md" "$1" <<'PY'
import re, sys
text = open(sys.argv[1]).read()
print(re.search(r"<!-- test: %s -->\n```\n(.*?)```" % sys.argv[2], text, re.S)[1])
PY
}
commands() { # NAME: runs them as an operator would; its exit code
  printf 'set -e\nfabra() { "%s" "$@"; }\n%s' "$fabra" "$(block "$1")" >"$work/commands.sh"
  bash "$work/commands.sh" >"$work/commands.log" 2>&1
}
chat() { post /v1/context/chat_context "{\"user_id\":\"$1\",\"query\":\"features\"}" | json 'd["id"]'; }

serve "$source_dir/examples/support/store.lua"
for i in $(seq 40); do chat "u$i"; done >"$work/before"
(
  trap - ERR EXIT
  while [ -e "$work/before" ]; do post /v1/context/chat_context '{"user_id":"w","query":"features"}' || break; done >"$work/meanwhile" 2>&1
) &
writer=$!
wait_for '[ -s "$work/meanwhile" ]' "writing goes on"
for try in 1 2 3 4 5; do # as the page says: again where a segment was finished in the middle
  rm -rf "$BACKUP"
  status=0
  commands backup || status=$?
  [ $status != 0 ] || break
done
expect 0 "$status" "the backup verifies: $(cat "$work/commands.log")"
[ "$(ls "$BACKUP"/*.seg | wc -l)" -ge 2 ] || expect "several segments" "$(ls "$BACKUP")" "there is something to copy"
mv "$work/before" "$work/ids"
wait $writer
crash

# The machine is lost; another one.
rm -rf "$FABRA_HOME"
expect 0 "$(commands restore; echo $?)" "restore: $(cat "$work/commands.log")"
serve "$source_dir/examples/support/store.lua"
expect 200 "$(code "$url/ready")" "ready"
while read -r id; do
  expect 200 "$(code "$url/v1/record/$id")" "record $id of before the backup"
done <"$work/ids"
expect 0 "$("$fabra" context verify "$(tail -n 1 "$work/ids")" >"$work/out" 2>&1; echo $?)" "it verifies"
wait_for '[ "$(get /metrics | sed -n "s/^fabra_projection_lag_entries //p")" = 0 ]' "lists are made anew"
first=$(head -n 1 "$work/ids")
contains "$first" "$(get '/v1/contexts?limit=1000')" "the oldest record is in the list again"
new=$(chat again)
expect 200 "$(code "$url/v1/record/$new")" "and it goes on"
stop
expect 0 "$("$fabra" ledger verify "$FABRA_HOME/fabra.duckdb.ledger" >"$work/out" 2>&1; echo $?)" "all of it verifies: $(tail -n 3 "$work/out")"

# Over what is left of an old one, which stays until somebody deletes it.
expect 0 "$(commands restore; echo $?)" "restore over an old state: $(cat "$work/commands.log")"
[ -d "$FABRA_HOME/fabra.duckdb.ledger.before-restore" ] || expect "kept" "$(ls "$FABRA_HOME")" "the old ledger"

# A backup that lacks a segment is seen.
rm "$(ls "$BACKUP"/*.seg | head -n 1)"
expect 1 "$("$fabra" ledger verify "$BACKUP" >"$work/out" 2>&1; echo $?)" "a segment is missing"
done_testing
