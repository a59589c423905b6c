#!/usr/bin/env bash
# A file of Fabra's Python program: its contexts answer on every route, by id, bare id and hash, and stay as they are; one that a
# newer DuckDB wrote is refused with both versions and the commands that convert it.
source "$(dirname "$0")/common.sh" "$1"

# The tables as Fabra 2.3 makes them; the record is of Fabra's own test fixture.
hash=$(sed -n 's/^#define VECTOR_CHAT_HASH "\(.*\)"/\1/p' "$source_dir/tests/unit/record_vectors.h")
[ -n "$hash" ] || hash=$(grep -A2 'define VECTOR_CHAT_HASH' "$source_dir/tests/unit/record_vectors.h" | grep -o 'sha256:[0-9a-f]*' | head -n 1)
mkdir -p "$FABRA_HOME"
"$build/tests/duckdb_sql" "$FABRA_HOME/fabra.duckdb" <<SQL
CREATE TABLE context_records AS SELECT 'ctx_00000000-0000-0000-0000-000000000001' AS context_id,
  TIMESTAMP '2025-01-01 00:00:00' AS created_at, 'development' AS environment, '1.0.0' AS schema_version,
  '{"user_id": "u1", "query": "test"}'::JSON AS inputs, 'chat_context' AS context_function,
  'User tier: premium' || chr(10) || 'Docs: ...' AS content, 42::INTEGER AS token_count, '[]'::JSON AS features,
  '[]'::JSON AS retrieved_items, '{"max_tokens": 4000, "tokens_used": 42, "items_provided": 2, "items_included": 2, "dropped_items": [],
  "required_items_included": true, "freshness_sla_ms": 300000, "freshness_status": "guaranteed", "freshness_violations": []}'::JSON AS assembly,
  '{"features_used": ["user_tier"], "retrievers_used": ["demo_docs"], "indexes_used": [], "code_version": null, "fabra_version": "2.1.2",
  "assembly_latency_ms": 12.3, "estimated_cost_usd": 0.0001}'::JSON AS lineage,
  '{"record_hash": "$hash", "content_hash": "sha256:ca55c427a31e4378f53941b6d77ae8b1a133ea37cbfb48a85bdaa66436f6bba8",
  "previous_context_id": null, "signed_at": null, "signing_key_id": null, "signature": null}'::JSON AS integrity, '$hash' AS record_hash
  UNION ALL SELECT 'ctx_00000000-0000-0000-0000-000000000002', TIMESTAMP '2025-01-02 00:00:00', 'development', '1.0.0', '{}'::JSON, 'only_record',
  'text', 7, '[]'::JSON, '[]'::JSON, '{}'::JSON, '{"fabra_version": "2.1.2", "assembly_latency_ms": 2.5}'::JSON, '{"record_hash": "sha256:00",
  "content_hash": "sha256:01"}'::JSON, 'sha256:$(printf '%064d' 2)';
CREATE TABLE context_log AS SELECT 'ctx_00000000-0000-0000-0000-000000000001' AS context_id,
  TIMESTAMP '2025-01-01 00:00:00.5' AS timestamp, 'User tier: premium' AS content,
  '{"context_id": "ctx_00000000-0000-0000-0000-000000000001", "context_name": "chat_context", "token_usage": 42}'::JSON AS lineage,
  '{"name": "chat_context", "token_usage": 42, "cost_usd": 0.0001, "freshness_status": "guaranteed", "stale_sources": [],
  "source_ids": ["d1"]}'::JSON AS meta, 'v1' AS version
  UNION ALL SELECT 'old-id', TIMESTAMP '2024-06-01 12:00:00', 'old text', '{}'::JSON, '{}'::JSON, 'v1';
SQL
echo 'local fabra = require "fabra" fabra.context { name = "chat", model = "gpt-4o", params = { q = "string" },
  items = { { text = "{q}", priority = 0, required = true } } }' >"$work/store.lua"
serve "$work/store.lua"
id=ctx_00000000-0000-0000-0000-000000000001
expect "$id old-id" "$(get '/v1/contexts' | json '" ".join(sorted(c["context_id"] for c in d))')" "both of the log are listed"
for ref in "$id" "${id#ctx_}" "$hash"; do
  expect "$id" "$(get "/v1/record/$ref" | json 'd["context_id"]')" "record by $ref"
  expect "$id" "$(get "/v1/context/$ref" | json 'd["context_id"]')" "context by $ref"
  expect "User tier: premium" "$(get "/v1/context/$ref" | json 'd["content"]')" "its content"
  expect "chat_context v1" "$(get "/v1/context/$ref" | json 'd["meta"]["name"] + " " + d["version"]')" "its meta"
  expect "$ref chat_context" "$(get "/v1/context/$ref/lineage" | json 'd["context_id"] + " " + d["lineage"]["context_name"]')" "lineage by $ref"
  for path in "/v1/context/$ref/explain" "/context/$ref/explain"; do
    expect "$id 12.3 42 0.0001 guaranteed ['d1']" "$(get "$path" |
      json '" ".join(str(d[k]) for k in ("context_id", "latency_ms", "token_usage", "cost_usd", "freshness_status", "source_ids"))')" "$path"
  done
done
expect 0 "$("$fabra" context verify "$id" >"$work/said" 2>&1; echo $?)" "it verifies"
expect "old text" "$(get /v1/context/old-id | json 'd["content"]')" "a context without a record"
expect None "$(get /v1/context/old-id/explain | json 'd["latency_ms"]')" "nobody knows how long it took"
expect 404 "$(code "$url/v1/record/old-id")" "it has no record"
only=ctx_00000000-0000-0000-0000-000000000002
expect "text only_record" "$(get "/v1/context/$only" | json 'd["content"] + " " + d["meta"]["name"]')" "a record without a context"
expect only_record "$(get "/v1/context/$only/lineage" | json 'd["lineage"]["context_name"]')" "its lineage"
expect 2.5 "$(get "/v1/context/$only/explain" | json 'd["latency_ms"]')" "its trace"
for path in /v1/record/ctx_9 /v1/context/ctx_9 /v1/context/ctx_9/lineage /v1/context/ctx_9/explain; do
  expect 404 "$(code "$url$path")" "$path is nowhere"
done
stop

# The header of a file that DuckDB 2.0.1 wrote; its first eight bytes are the checksum of the others.
python3 - "$FABRA_HOME/fabra.duckdb" <<'PY'
import sys
head = bytes.fromhex("47c56882b4b0ced64455434be703000000000000000000000000000000000000000000000000000000000000000000000000000076322e302e310000"
                     "000000000000000000000000000000000000000000000000386437383131346539300000000000000000000000000000000000000000000000000000"
                     "00000000578b6a4d2cc476ea2794bb0365a3e1fa")
with open(sys.argv[1], "r+b") as f:
    f.write(head.ljust(4096, b"\0"))
PY
status=0
said=$("$fabra" serve "$work/store.lua" --port 0 2>&1) || status=$?
expect 1 "$status" "a file of DuckDB 2"
contains "was written by DuckDB v2.0.1, and this server reads files of DuckDB v1." "$said" "names both"
contains "pip install duckdb==2.0.1" "$said" "and where to get it"
contains "STORAGE_VERSION" "$said" "and the commands"

# With a real one, where that DuckDB can be had: PYTHON_DUCKDB2 names a Python that has it.
if [ -n "${PYTHON_DUCKDB2:-}" ]; then
  rm -rf "$FABRA_HOME" && mkdir -p "$FABRA_HOME"
  "$PYTHON_DUCKDB2" - "$FABRA_HOME/fabra.duckdb" "$hash" <<'PY'
import duckdb, sys
c = duckdb.connect(sys.argv[1])
c.execute("CREATE TABLE context_log (context_id VARCHAR PRIMARY KEY, timestamp TIMESTAMP NOT NULL, content TEXT NOT NULL, lineage JSON NOT NULL, meta JSON NOT NULL, version VARCHAR DEFAULT 'v1')")
c.execute("INSERT INTO context_log VALUES ('ctx_7', '2025-01-01', 'text', '{}', '{}', 'v1')")
c.close()
PY
  status=0
  "$fabra" serve "$work/store.lua" --port 0 >"$work/said" 2>&1 || status=$?
  expect 1 "$status" "a real file of DuckDB 2"
  { echo "python3() { '$PYTHON_DUCKDB2' \"\$@\"; }"; sed -n '/^python3/,/^END/p' "$work/said"; } >"$work/convert.sh"
  expect 0 "$(bash -e "$work/convert.sh" >"$work/converted" 2>&1; echo $?)" "the commands convert it"
  serve "$work/store.lua"
  expect text "$(get /v1/context/ctx_7 | json 'd["content"]')" "and it is served"
  stop
else
  echo "SKIPPED: converting a real file of DuckDB 2 (set PYTHON_DUCKDB2 to a Python with duckdb 2)"
fi
done_testing
