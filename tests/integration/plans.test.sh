#!/usr/bin/env bash
# The same questions before and after growth: a plan that DuckDB keeps must not believe in the data that it was made for.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"

model=$source_dir/tests/tools/plans_model.py
for seed in 1 2 3; do
  mode=sql
  [ $seed != 3 ] || mode=features
  python3 "$model" definitions $mode >"$work/store.lua"
  FABRA_HOME=$work/home$seed serve "$work/store.lua"
  python3 "$model" $mode "$url" $seed 25 || expect "the oracle's answers" "others" "seed $seed"
  stop
done
done_testing
