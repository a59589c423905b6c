#!/bin/bash
# CPU per request of a server against the bare libh2o server that returns the same bytes: interleaved runs, medians.
#     bench_features.sh BUILD [--server 'COMMAND that prints "port N"'] [--path /v1/features/x?entity_id=] [--runs 5]
#                       [--requests 320000] [--ids 100000] [--body JSON]
# The whole process is measured (log thread included) from schedstat, after a warm-up. h2load shares the machine, so
# requests per second say little; CPU per request is the steady figure. ids: random values appended to the path; 0 = none.
set -euo pipefail
build=$1
shift
server= path='/v1/features/user_tier?entity_id=' runs=5 requests=320000 ids=100000
body='{"value":12.5,"freshness_ms":120,"served_from":"online"}'
while [ $# -gt 0 ]; do
	case $1 in
	--server) server=$2 ;;
	--path) path=$2 ;;
	--runs) runs=$2 ;;
	--requests) requests=$2 ;;
	--ids) ids=$2 ;;
	--body) body=$2 ;;
	*) echo "unknown option $1" >&2; exit 2 ;;
	esac
	shift 2
done
server=${server:-$build/tests/http_test_server --log}
work=$(mktemp -d)
pids=()
trap 'for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; rm -rf "$work"' EXIT

# The servers on one CPU, the client on another: whether they share one is otherwise left to chance, and changes what a
# request costs by half.
cpu= client=
[ "$(nproc)" -lt 2 ] || cpu="taskset -c 1" client="taskset -c 0"
start() { # name, command...
	local name=$1
	shift
	$cpu "$@" >"$work/$name.out" 2>/dev/null &
	pids+=($!)
	for _ in $(seq 200); do
		grep -qo 'port [0-9]*' "$work/$name.out" && return
		sleep 0.05
	done
	echo "$name did not start" >&2
	exit 1
}
port() { grep -o 'port [0-9]*' "$work/$1.out" | head -1 | cut -d' ' -f2; }
cpu_ns() { awk '{sum += $1} END {printf "%.0f", sum}' /proc/"$1"/task/*/schedstat; } # of all threads

start bare "$build/bench/bench_http_bare" "$body"
# shellcheck disable=SC2086
start server $server
load() { # name, more options: the requests, all of which must succeed
	$client "$build/bench/bench_http_load" "$(port "$1")" "$path" --ids "$ids" --requests "$requests" --connections 32 --streams 10 "${@:2}"
}
for name in bare server; do
	[ "$ids" = 0 ] || load $name --all
	load $name
done
# What the warm-up left to do in the background (the projection of computed values) is not the load to be measured.
for _ in $(seq 600); do
	pid=$(grep -o 'pid [0-9]*' "$work/server.out" | head -1 | cut -d' ' -f2 || true)
	[ -n "$pid" ] || break
	before=$(cpu_ns "$pid")
	sleep 0.5
	[ $(($(cpu_ns "$pid") - before)) -gt 20000000 ] || break
done
printf 'run\tbare us\tserver us\tratio\n'
for run in $(seq "$runs"); do
	declare -A us
	for name in bare server; do
		[ $name = bare ] && pid=${pids[0]} || pid=${pids[1]}
		named=$(grep -o 'pid [0-9]*' "$work/$name.out" | head -1 | cut -d' ' -f2) && pid=${named:-$pid}
		before=$(cpu_ns "$pid")
		load $name
		us[$name]=$(awk -v t=$(($(cpu_ns "$pid") - before)) -v n="$requests" 'BEGIN {print t / 1000 / n}')
	done
	awk -v r="$run" -v b="${us[bare]}" -v s="${us[server]}" 'BEGIN {printf "%d\t%.2f\t%.2f\t%.3f\n", r, b, s, s / b}' |
		tee -a "$work/ratios"
done
sort -k4 -n "$work/ratios" | awk '{r[NR] = $4} END {printf "median ratio %.3f\n", r[int((NR + 1) / 2)]}'
