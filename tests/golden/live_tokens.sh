#!/usr/bin/env bash
# Compares token ids with the npm package tiktoken on texts nobody has seen before: live_tokens.sh TEST DEPS_DIR [SEED].
# Exit 77 (skipped) when node or the package is not there.
set -euo pipefail
test=$1 package=$2/peers/node_modules/tiktoken seed=${3:-$RANDOM$RANDOM}
here=$(dirname "$(readlink -f "$0")")
if ! command -v node >/dev/null || [ ! -d "$package" ]; then
  echo "SKIPPED: THE LIVE COMPARISON NEEDS node AND $package; RUN ./tools/setup --peers" >&2
  exit 77
fi
golden=$(mktemp)
trap 'rm -f "$golden"' EXIT
echo "seed $seed"
node "$here/make_tokens.mjs" "$package" "$seed" 4000 >"$golden"
FABRA_TOKENS_GOLDEN=$golden "$test"
