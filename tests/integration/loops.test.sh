#!/usr/bin/env bash
# Several I/O loops write and read the same values at once: what is acknowledged stays, in the order of the log, and nobody sees
# an older value after a newer one, half of a write, or what a write has made untrue.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"

oracle=$source_dir/tests/tools/values_oracle.py
python3 "$oracle" definitions >"$work/store.lua"
serve "$work/store.lua" --loops 4
python3 "$oracle" run "$url" "$work/held" || expect "what an order of the writes explains" "others" "while many write"
crash
serve "$work/store.lua" --loops 4
python3 "$oracle" again "$url" "$work/held" || expect "the same" "others" "after kill -9"
stop
done_testing
