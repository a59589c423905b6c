#!/usr/bin/env bash
# deploy/: looked at with the ecosystem's own tools where they are installed, and against a server that runs.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"
deploy=$source_dir/deploy
deps=${FABRA_DEPS_DIR:-$source_dir/.deps}
check() { # what it says when it is not installed is loud, and no failure
  local status=0
  /usr/bin/python3 "$source_dir/tests/tools/deploy_check.py" "$@" >"$work/told" 2>&1 || status=$?
  case $status in
  0) ;;
  77) echo "NOT LOOKED AT: $1: $(cat "$work/told")" ;;
  *) expect "no fault" "$(cat "$work/told")" "deploy_check.py $1" ;;
  esac
}
has() { command -v "$1" >/dev/null || { echo "NOT LOOKED AT: $2: $1 is not installed"; return 1; }; }

if has promtool "Prometheus's files"; then
  expect 0 "$(promtool check config "$deploy/prometheus/prometheus.yml" >"$work/told" 2>&1; echo $?)" "promtool check config: $(cat "$work/told")"
  expect 0 "$(promtool test rules "$deploy/prometheus/alerts.test.yml" >"$work/told" 2>&1; echo $?)" "promtool test rules: $(cat "$work/told")"
  # It would see a rule that fires on nothing.
  mkdir "$work/prometheus"
  cp "$deploy"/prometheus/*.yml "$work/prometheus"
  sed -i 's/fabra_ledger_writable == 0/fabra_ledger_writable == 5/' "$work/prometheus/alerts.yml"
  expect 1 "$(promtool test rules "$work/prometheus/alerts.test.yml" >"$work/told" 2>&1; echo $?)" "promtool test rules with an alert that cannot fire"
fi
check dashboard "$source_dir"
check compose "$source_dir" "$deps/compose/compose-spec.json"

# The unit, with the programs in the place of the installed ones.
if has systemd-analyze "the unit"; then
  sed "s|^ExecStart=/usr/local/bin/fabra|ExecStart=$(cd "$build" && pwd)/fabra|; /^Documentation=/d" "$deploy/systemd/fabra.service" >"$work/fabra.service"
  expect 0 "$(systemd-analyze verify "$work/fabra.service" >"$work/told" 2>&1; echo $?)" "systemd-analyze verify"
  expect "" "$(cat "$work/told")" "what systemd-analyze verify says"
  expect 0 "$(systemd-analyze security --offline=true --threshold=20 "$work/fabra.service" >"$work/told" 2>&1; echo $?)" \
    "exposure of the unit: $(tail -n 1 "$work/told")"
fi

# The image has the packages of all that the program is linked with.
missing=
for library in $(objdump -p "$fabra" | awk '$1 == "NEEDED" {print $2}'); do
  case $library in libc.so* | libm.so* | ld-linux* | libduckdb.so | libyyjson.so* | libasan* | libubsan* | libtsan* | libgcc*) continue ;; esac
  path=$(ldd "$fabra" | awk -v l="$library" '$1 == l {print $3}')
  package=$(dpkg -S "$(readlink -f "$path")" "$path" 2>/dev/null | head -n 1 | cut -d: -f1) || :
  grep -qwF -- "${package:-nothing}" "$deploy/Dockerfile" || missing+=" $library(${package:-of no package})"
done
expect "" "$missing" "libraries that the image lacks"

serve "$source_dir/examples/support/store.lua"
get /v1/features/user_tier?entity_id=u1 >"$work/out"
post /v1/context/chat_context '{"user_id":"u1","query":"features"}' >"$work/out"
get /metrics >"$work/exposition"
check metrics "$source_dir" "$work/exposition"
stop
done_testing
