#!/bin/sh
# bench_commit.sh BUILD [RUNS [BYTES [DIR]]]: bench_raw_commit and bench_ledger in turn, and the medians of their figures.
set -eu
build=$1 runs=${2:-7} bytes=${3:-8600} dir=${4:-.}
for writers in 16 64; do
	for program in raw_commit ledger; do : >"$dir/bench_commit.$program"; done
	for run in $(seq "$runs"); do
		for program in raw_commit ledger; do
			"$build/bench/bench_$program" --writers $writers --bytes "$bytes" --seconds 1 --dir "$dir" 2>/dev/null |
				grep rec/s >>"$dir/bench_commit.$program"
		done
	done
	for program in raw_commit ledger; do
		for field in 6 10 12; do
			awk "{ print \$$field }" "$dir/bench_commit.$program" | sort -n | awk '{ v[NR] = $1 } END { printf "%s ", v[int((NR + 1) / 2)] }'
		done | awk -v name="$program" -v n=$writers '{ print name, n, "writers: rec/s", $1, " p50 ms", $2, " p99 ms", $3 }'
		rm "$dir/bench_commit.$program"
	done
done
