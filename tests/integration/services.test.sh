#!/usr/bin/env bash
# tools/services: throw-away servers that start, die, freeze, come back and leave nothing.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"
services=$source_dir/tools/services
a=$(mktemp -d /tmp/fabra-servers.XXXXXX)
b=$(mktemp -d /tmp/fabra-servers.XXXXXX)
c=$(mktemp -d /tmp/fabra-servers.XXXXXX)
at_end="'$services' stop --dir $a; '$services' stop --dir $b; rm -rf $c"

run() { # COMMAND...: $said is stdout, $told stderr, $status the exit code
  status=0
  said=$("$@" 2>"$work/told") || status=$?
  told=$(cat "$work/told")
}
pid_of() { "$services" status --dir "$1" | sed -n "s/^$2: .*process \([0-9]*\).*/\1/p"; }
lives() { grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"; } # not what nobody has waited for
redis() { redis-cli -u "$FABRA_REDIS_URL" "$@" 2>&1; }
sql() { psql -X -qAt "$FABRA_POSTGRES_URL" -c "$1" 2>&1; }

# both, as whom, and where
run "$services" start --dir "$a" --while $$
expect 0 "$status" "start: $told"
first=$said
eval "$first"
expect PONG "$(redis ping)" "Redis answers at FABRA_REDIS_URL"
expect 15 "$(sql 'SHOW server_version' | cut -d. -f1)" "Postgres answers at FABRA_POSTGRES_URL"
expect fabra "$(sql 'SELECT current_user')" "as fabra"
for kind in redis postgres; do
  pid=$(pid_of "$a" $kind)
  [ -n "$pid" ] || expect "a process" "$("$services" status --dir "$a")" "$kind runs"
  case $(stat -c %U "/proc/$pid") in root) expect "no rights" root "$kind's user" ;; esac
  listens=$(ss -Hltnp | grep "pid=$pid," | awk '{print $4}')
  contains 127.0.0.1: "$listens" "$kind listens"
  case $listens in *0.0.0.0:* | *'[::'* | *'*:'*) expect "loopback only" "$listens" "$kind listens" ;; esac
done
expect on "$(sql 'SHOW fsync')" "Postgres syncs"

# again: the same
redis set here 1 >"$work/out"
sql 'CREATE TABLE t AS SELECT 1 AS n'
redis_pid=$(pid_of "$a" redis) postgres_pid=$(pid_of "$a" postgres)
run "$services" start --dir "$a"
expect "$first" "$said" "a second start says the same"
expect "$redis_pid $postgres_pid" "$(pid_of "$a" redis) $(pid_of "$a" postgres)" "and starts nothing"
run "$services" status --dir "$a"
expect 0 "$status" "status"
contains "redis: runs, process $redis_pid, port $(sed -n 's/.*:\([0-9]*\)\/0$/\1/p' <<<"$first")" "$said" "status names process and port"

# two side by side: each has its own; two starts at once agree
"$services" start --dir "$b" >"$work/one" 2>"$work/one.told" &
one=$!
run "$services" start --dir "$b"
wait $one
expect "$(cat "$work/one")" "$said" "two starts at once of the same folder: $told $(cat "$work/one.told")"
b_redis=$(sed -n 's/^export FABRA_REDIS_URL=//p' <<<"$said")
[ "$b_redis" != "$FABRA_REDIS_URL" ] || expect "another" "$b_redis" "the second folder's Redis"
expect "" "$(redis-cli -u "$b_redis" get here)" "the second folder's Redis has its own values"
run "$services" stop --dir "$b"
expect 0 "$status" "stop: $told"
[ ! -e "$b" ] || expect "no folder" "$b" "what stop leaves"
expect PONG "$(redis ping)" "the first folder's Redis runs on"

# kill -9, all processes; then the same place, Redis empty, Postgres with what was committed
backends=$(pgrep -P "$postgres_pid" | wc -l)
[ "$backends" -ge 3 ] || expect "processes of Postgres" "$backends" "there is something to kill"
children=$(pgrep -P "$postgres_pid")
run "$services" kill --dir "$a"
expect 0 "$status" "kill: $told"
for pid in $redis_pid $postgres_pid $children; do
  ! lives "$pid" || expect "gone" "$(tr '\0' ' ' <"/proc/$pid/cmdline")" "after kill"
done
run "$services" status --dir "$a"
expect 1 "$status" "status after kill"
contains "postgres: does not run" "$said" "status says which"
# The numbers are somebody else's by now: they are let live, and do not look like servers.
sleep 1000 &
sleeper=$!
echo $sleeper >"$a/redis.pid"
echo $sleeper >"$a/postgres.pid"
sed -i "1s/.*/$sleeper/" "$a/postgres/postmaster.pid"
run "$services" status --dir "$a"
expect 1 "$status" "status with the number of another process"
run "$services" start --dir "$a"
expect "$first" "$said" "the same URLs after kill: $told"
kill -0 $sleeper || expect "alive" "gone" "the process that has the number now"
kill $sleeper
expect "" "$(redis get here)" "Redis is empty"
expect 1 "$(sql 'SELECT n FROM t')" "Postgres has what was committed"

# frozen: the connection is accepted by the kernel, and nobody answers
run "$services" freeze postgres redis --dir "$a"
run "$services" status --dir "$a"
expect 1 "$status" "status of frozen servers"
contains "redis: frozen" "$said" "status says so"
contains "postgres: frozen" "$said" "status says so"
run timeout 0.5 redis-cli -u "$FABRA_REDIS_URL" ping
expect 124 "$status" "a frozen Redis does not answer"
run "$services" start --dir "$a"
expect 1 "$status" "start of what is frozen"
contains "redis is frozen; tools/services thaw redis" "$told" "start says what to do"
run "$services" thaw --dir "$a"
expect "PONG 1" "$(redis ping) $(sql 'SELECT n FROM t')" "thawed"

# a port that somebody else has taken: another one, and it is said
redis_port=$(sed -n 's/.*:\([0-9]*\)\/0$/\1/p' <<<"$first")
run "$services" kill redis --dir "$a"
python3 -c "
import signal, socket
s = socket.create_server(('127.0.0.1', $redis_port)); print('ready', flush=True); signal.pause()" >"$work/holder" &
holder=$!
wait_for 'grep -q ready "$work/holder"' "the port is held"
run "$services" start --dir "$a"
expect 0 "$status" "start without its port"
contains "port $redis_port is somebody else's by now" "$told" "it is said"
eval "$said"
expect PONG "$(redis ping)" "at another port"
kill $holder

# settings, TLS; remembered over kill
run "$services" start --dir "$b" --only redis --redis 'maxmemory 5mb' --redis 'requirepass it' --tls
eval "$said"
expect 5242880 "$(redis-cli -u "$FABRA_REDIS_URL" -a it --no-auth-warning config get maxmemory | tail -n 1)" "a line for Redis"
case $said in *POSTGRES*) expect "only Redis" "$said" "--only redis" ;; esac
"$services" kill redis --dir "$b"
run "$services" start --dir "$b" --only redis
contains SERVICES_REDIS_TLS_URL=rediss:// "$said" "TLS is remembered"
expect PONG "$(redis-cli -u "$SERVICES_REDIS_TLS_URL" -a it --no-auth-warning --cacert "$b/ca.crt" ping)" "with TLS and its password"
run "$services" start --dir "$b" --only postgres --postgres max_connections=7
eval "$said"
expect 7 "$(sql 'SHOW max_connections')" "a setting of Postgres"
expect 't TLSv1.3' "$(psql -X -qAt -F ' ' "$SERVICES_POSTGRES_TLS_URL" -c 'SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()')" "Postgres with TLS and its certificate checked"
# a backend that does not want to end, and one that is frozen: stop ends them all the same
psql -X -q "$FABRA_POSTGRES_URL" -c 'SELECT pg_sleep(1000)' >"$work/out" 2>&1 &
wait_for '[ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '"'SELECT pg_sleep%'"'")" = 1 ]' "a long statement runs"
all="$(pid_of "$b" redis) $(pid_of "$b" postgres) $(pgrep -P "$(pid_of "$b" postgres)")"
"$services" freeze postgres --dir "$b"
run "$services" stop --dir "$b"
expect 0 "$status" "stop of a frozen, busy Postgres: $told"
for pid in $all; do
  ! lives "$pid" || expect "gone" "$(tr '\0' ' ' <"/proc/$pid/cmdline")" "after stop"
done

# they end with whom they belong to, also when that is killed
sleep 1000 &
owner=$!
mkdir "$b"
run "$services" start --dir "$b" --only redis --while $owner
expect 0 "$status" "start --while"
pid=$(pid_of "$b" redis)
kill -KILL $owner
wait_for '[ ! -e "$b" ]' "the folder goes with its owner"
! lives "$pid" || expect "gone" "alive" "Redis after its owner"

# mistakes
run "$services"
expect 2 "$status" "no command"
run "$services" strt
expect 2 "$status" "an unknown command"
contains "unknown command 'strt'; try --help" "$told" "says so"
run "$services" start --dri x
contains "unknown argument '--dri'" "$told" "an unknown option"
run "$services" start --only mysql
contains "--only is redis or postgres, not 'mysql'" "$told" "an unknown server"
run "$services" start --postgres max_connections
contains "--postgres is NAME=VALUE" "$told" "half a setting"
run "$services" start --dir "/tmp/$(printf 'x%.0s' $(seq 80))"
contains "too long" "$told" "a folder whose sockets nobody could name"
echo mine >"$c/mine"
for what in start stop; do
  run "$services" $what --dir "$c"
  expect 1 "$status" "$what in somebody's folder"
done
expect mine "$(cat "$c/mine")" "somebody's folder stays"
run "$services" start --dir "$b" --only redis --redis 'maxmemoryy 5mb'
expect 1 "$status" "a line that Redis does not know"
contains "maxmemoryy" "$told" "Redis's own words are shown"
"$services" stop --dir "$b"
run env FABRA_PG_BIN="$c" "$services" start --dir "$b" --only postgres
contains "FABRA_PG_BIN=$c has no initdb" "$told" "Postgres somewhere else"
mkdir "$c/bin"
for program in bash id stat cat tr sed grep getent mkdir chmod chown date dirname basename; do ln -s "$(command -v $program)" "$c/bin/"; done
run env PATH="$c/bin" "$services" start --dir "$b" --only redis
expect 1 "$status" "without Redis"
contains "Redis is not installed; run tools/setup" "$told" "says what to do"
run "$services" --help
expect 0 "$status" "help"
contains 'eval "$(tools/services start)"' "$said" "help teaches"

# what a killed Postgres leaves in the kernel goes too
segment=$(sed -n '7s/.* //p' "$a/postgres/postmaster.pid")
run ipcs -m -i "$segment"
contains "shmid=$segment" "$said" "Postgres has a segment of shared memory"
"$services" kill postgres --dir "$a"
"$services" stop --dir "$a"
run ipcs -m -i "$segment"
contains "not found" "$said$told" "its segment after kill and stop"
[ ! -e "$a" ] || expect "no folder" "$a" "what stop leaves"
run "$services" stop --dir "$a"
expect 0 "$status" "stop of nothing"

# the helper in Python
python3 - "$source_dir" <<'PY' || failures=$((failures + 1))
import os, socket, sys
sys.path.insert(0, sys.argv[1] + "/tests/support")
from test_servers import Servers
def ask(servers, line):
    with socket.create_connection(("127.0.0.1", int(servers.redis_url.split(":")[2].split("/")[0])), timeout=10) as s:
        s.sendall(line + b"\r\n")
        return s.recv(100)
with Servers(only="redis") as servers:
    assert ask(servers, b"SET k v") == b"+OK\r\n"
    servers.kill("redis")
    assert servers.status() == ["redis: does not run"], servers.status()
    servers.start("redis")
    assert ask(servers, b"GET k") == b"$-1\r\n"
    servers.freeze("redis")
    assert servers.status()[0].startswith("redis: frozen"), servers.status()
    servers.thaw("redis")
    assert ask(servers, b"PING") == b"+PONG\r\n"
assert not os.path.exists(servers.dir)
PY
done_testing
