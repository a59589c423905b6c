#!/usr/bin/env bash
# The documents of a server describe that server: /openapi.json is valid, names its features, entities, events and contexts and
# nothing that is not there, every example in it and every command of /docs works, and a fuzzer that knows nothing else gets
# no reply that the document does not describe.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"
fuzz() { python3 "$source_dir/tests/tools/api_fuzz.py" "$@" || failures=$((failures + 1)); }

cp "$source_dir/tests/tools/documented.lua" "$work/store.lua"
serve "$work/store.lua"
get /openapi.json >"$work/openapi.json"
about() { json "$1" <"$work/openapi.json"; }
expect "['/context/{id}/explain', '/docs', '/health', '/metrics', '/openapi.json', '/ready', '/v1/cache/{entity}/{entity_id}', '/v1/context/chunks', '/v1/context/free', '/v1/context/greeting', '/v1/context/{id}', '/v1/context/{id}/explain', '/v1/context/{id}/lineage', '/v1/contexts', '/v1/definitions', '/v1/features', '/v1/features/Item/{entity_id}', '/v1/features/User/{entity_id}', '/v1/features/batch', '/v1/features/{name}', '/v1/ingest/click', '/v1/record', '/v1/record/{ref}', '/v1/sql', '/v1/training-data']" \
  "$(about 'sorted(d["paths"])')" "what is there, by name, and nothing else"
expect "['city', 'age', 'any', 'plan', 'length', 'down', 'clicks', 'rows', 'stock', 'twice']" \
  "$(about '[p["schema"]["enum"] for p in d["paths"]["/v1/features/{name}"]["get"]["parameters"] if p["name"] == "name"][0]')" "the features"
expect "['User', 'Item']" "$(about 'd["paths"]["/v1/features"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]["entity_name"]["enum"]')" "the entities"
schema='d["paths"]["/v1/context/greeting"]["post"]["requestBody"]["content"]["application/json"]["schema"]'
expect "{'f': {'type': 'number'}, 'flag': {'type': 'boolean'}, 'n': {'type': 'integer', 'default': 3}, 'user_id': {'type': 'string'}, 'x': {}} ['f', 'user_id', 'x']" \
  "$(about "*[{k: v for k, v in $schema['properties'].items() if 'description' not in v}, $schema['required']]")" "the arguments of a context"
expect "['call_id', 'consent_state', 'interaction_mode', 'interaction_ref', 'jurisdiction', 'mode', 'session_id', 'turn_id', 'turn_index']" \
  "$(about "sorted(k for k, v in $schema['properties'].items() if 'description' in v)")" "those that every context takes"
expect "{'type': ['integer', 'null']}" "$(about 'd["paths"]["/v1/features/User/{entity_id}"]["put"]["requestBody"]["content"]["application/json"]["schema"]["properties"]["values"]["properties"]["age"]')" "the type of a value"
expect "[False, False]" "$(about '["403" in o["responses"] or "security" in o for o in (d["paths"]["/v1/sql"]["post"], d["paths"]["/docs"]["get"])]')" "no key, no word of one"
contains "hello &amp; &lt;welcome&gt;" "$(get /docs)" "the page shows what a context is for"
case "$(get /docs)" in *replay* | *visualize*) expect "nothing of what is to come" "$(get /docs | grep -oE 'replay|visualize')" "/docs" ;; esac
fuzz "$url" examples
fuzz "$url" fuzz 2500 "${FUZZ_SEED:-1}"
stop

# with a key
serve "$work/store.lua" --api-key secret
get /openapi.json >"$work/openapi.json"
expect "[True, False]" "$(about '["403" in o["responses"] and "security" in o for o in (d["paths"]["/v1/sql"]["post"], d["paths"]["/docs"]["get"])]')" "a key, and where it is asked for"
expect "all are refused" "$(python3 - "$url" <<'PY'
import json, sys, urllib.error, urllib.request
document = json.load(urllib.request.urlopen(sys.argv[1] + "/openapi.json"))
said = set()
for path, item in document["paths"].items():
    for method, operation in item.items():
        if "security" not in operation:
            continue
        target = sys.argv[1] + path.replace("{", "").replace("}", "")
        try:
            said.add(urllib.request.urlopen(urllib.request.Request(target, b"{}" if method in ("post", "put") else None, method=method.upper())).status)
        except urllib.error.HTTPError as e:
            said.add(e.code)
print("all are refused" if said == {403} else said)
PY
)" "without the key"
stop

# with nothing declared
printf 'local fabra = require "fabra"\nfabra.entity { name = "User", id = "user_id" }\nfabra.retriever { name = "docs", run = function() return {} end }\n' >"$work/bare.lua"
serve "$work/bare.lua"
cp "$work/openapi.json" "$work/whole.json"
get /openapi.json >"$work/openapi.json"
expect "[]" "$(about '[p for p in d["paths"] if p.startswith(("/v1/features", "/v1/ingest", "/v1/context/{name}"))]')" "no features, no routes of features"
fuzz "$url" examples
stop

# an independent validator, where tools/setup --peers has fetched it
validator=${FABRA_DEPS_DIR:-$source_dir/.deps}/peers/node_modules/@seriousme/openapi-schema-validator
if [ -d "$validator" ]; then
  cat >"$work/validate.mjs" <<JS
import { readFileSync } from 'node:fs';
const { Validator } = await import('$validator/index.js');
const validator = new Validator(), result = await validator.validate(JSON.parse(readFileSync(process.argv[2])));
console.log(validator.version, result.valid, result.valid ? '' : JSON.stringify(result.errors).slice(0, 2000));
JS
  for file in whole openapi; do
    expect "3.1 true " "$(node "$work/validate.mjs" "$work/$file.json")" "an independent validator of $file.json"
  done
else
  echo "SKIPPED: @seriousme/openapi-schema-validator is not installed here: tools/setup --peers"
fi
done_testing
