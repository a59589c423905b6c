#!/usr/bin/env bash
# An independent fuzzer, schemathesis from PyPI, over /openapi.json: at least 10,000 requests, and then as many of ours. No reply
# may have a status, a type or a shape that the document does not describe, none may be a 500, and a sanitizer build reports
# nothing. $1 is the build folder. SCHEMATHESIS may name the program; else it is installed into a folder of its own, and where
# that cannot be done the test is skipped.
set -euo pipefail
source "$(dirname "$0")/integration/common.sh" "$1"

fuzzer=${SCHEMATHESIS:-$(command -v schemathesis || true)}
if [ -z "$fuzzer" ]; then
  if pip install --quiet --target "$work/python" 'schemathesis>=4,<5' >"$work/pip.log" 2>&1; then
    fuzzer=$work/python/bin/schemathesis
    export PYTHONPATH=$work/python
  else
    echo "SKIPPED: schemathesis is not installed here and pip cannot install it: $(tail -n 1 "$work/pip.log")"
    exit_status=77
  fi
fi

serve "$source_dir/tests/tools/documented.lua"
if [ -n "$fuzzer" ]; then
  requests=0
  for seed in 1 2 3 4 5 6 7 8; do
    (cd "$work" && "$fuzzer" run "$url/openapi.json" --no-color --seed $seed -n 250 --phases examples,coverage,fuzzing --continue-on-failure \
      --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
      --suppress-health-check all --no-shrink --request-timeout 60 --generation-database none) >"$work/fuzzer.log" 2>&1 ||
      { echo "FAILED: seed $seed:"; grep -v '^$' "$work/fuzzer.log" | tail -n 80; failures=$((failures + 1)); }
    n=$(sed -n 's/^ *\([0-9]*\) generated.*/\1/p' "$work/fuzzer.log")
    requests=$((requests + ${n:-0}))
    [ $requests -lt 10000 ] || break
  done
  echo "$requests requests by schemathesis"
  [ $requests -ge 10000 ] || { echo "FAILED: fewer than 10,000"; failures=$((failures + 1)); }
fi
python3 "$source_dir/tests/tools/api_fuzz.py" "$url" fuzz 10000 "${FUZZ_SEED:-$RANDOM}" || failures=$((failures + 1))
stop
[ -z "${exit_status:-}" ] || [ $failures != 0 ] || { is_done=yes; exit "$exit_status"; }
done_testing
