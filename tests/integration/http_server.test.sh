#!/bin/bash
# The HTTP server with other people's clients: curl, nghttp, h2load, openssl. $1 is the build folder.
source "$(dirname "$0")/common.sh" "$1"
program=$1/tests/http_test_server

fail() { echo "FAILED: $*"; exit 1; }
is() { [ "$2" = "$3" ] || fail "$1: got '$2', not '$3'"; } # WHAT GOT WANTED: the first failure is the last

start() { # options of the server
	: >"$work/out" # the program opens it when it runs: the line of the one before would be taken for its own
	"$program" --log "$@" >"$work/out" 2>"$work/err" &
	server=$!
	for _ in $(seq 200); do
		grep -q '^port' "$work/out" && break
		kill -0 $server 2>/dev/null || fail "the server did not start"
		sleep 0.05
	done
	port=$(awk '/^port/ {print $2}' "$work/out")
}

stop() { # ends the server and checks that nothing is left in it
	kill -TERM "$server"
	wait "$server" || fail "the server ended with status $?"
	server=
	grep -q '^{"actors":0,"asks":0,"messages":0,' "$work/out" || fail "left over: $(tail -1 "$work/out")"
}

# ---- plain text: HTTP/1.1, prior knowledge, Upgrade ----
start --loops 2
url=http://127.0.0.1:$port
is "HTTP/1.1" "$(curl -sS -m 10 -w ' %{http_version}' "$url/sync/a?q=secret-value")" '{"name":"a","q":"secret-value"} 1.1'
is "prior knowledge" "$(curl -sS -m 10 --http2-prior-knowledge -w ' %{http_version}' "$url/sync/a")" '{"name":"a"} 2'
is "Upgrade: h2c" "$(curl -sS -m 10 --http2 -w ' %{http_version}' "$url/sync/a")" '{"name":"a"} 2'
is "Upgrade by nghttp" "$(nghttp -u "$url/sync/b")" '{"name":"b"}'
is "Upgrade with a body" "$(curl -sS -m 10 --http2 -d '[1]' "$url/echo")" '[1]'
is "two on one connection" "$(curl -sS -m 10 "$url/sync/a" "$url/slow?ms=5" -w '%{num_connects}')" \
	'{"name":"a"}1{"slept":true}0'
for how in --http1.1 --http2-prior-knowledge; do
	curl -sS -m 10 $how "$url/big?bytes=1500000" >"$work/plain"
	curl -sS -m 10 $how --compressed "$url/big?bytes=1500000" >"$work/unzipped"
	cmp "$work/plain" "$work/unzipped" || fail "compression changed the body ($how)"
	is "size $how" "$(stat -c %s "$work/plain")" 1500000
done
head -c 1048577 /dev/zero >"$work/too_large"
for how in --http1.1 --http2-prior-knowledge; do
	is "1 MiB + 1 $how" "$(curl -sS -m 10 $how -o "$work/answer" -w '%{http_code}' \
		--data-binary @"$work/too_large" "$url/bytes")" 413
done
h2load -n 20000 -c 8 -m 20 "$url/sync/x" >"$work/load" 2>&1 || fail "h2load"
grep -q '20000 succeeded, 0 failed' "$work/load" || fail "h2load: $(grep requests: "$work/load")"

# ---- the access log: the fields are there, what users sent is not ----
curl -sS -m 10 -H 'x-request-id: find-me' -H 'X-API-Key: some-key' "$url/sync/secret-name?q=secret-value" >/dev/null
stop
line=$(grep '"request_id":"find-me"' "$work/err") || fail "no log line"
for field in timestamp level logger message method status duration_ms request_bytes bytes; do
	[[ $line == *"\"$field\":"* ]] || fail "the log has no $field: $line"
done
[[ $line == *'"route":"/sync/{name}"'* ]] || fail "the route is not a template: $line"
[[ $line == *'"key":"key_'* ]] || fail "no fingerprint of the key: $line"
! grep -q 'secret-\|some-key' "$work/err" || fail "the log shows what a user sent"

# ---- TLS ----
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
	-keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
start --tls "$work/cert.pem" "$work/key.pem"
url=https://localhost:$port
tls() { curl -sS -m 10 --cacert "$work/cert.pem" --resolve "localhost:$port:127.0.0.1" "$@"; }
is "TLS, HTTP/2" "$(tls --http2 -w ' %{http_version}' "$url/sync/a")" '{"name":"a"} 2'
is "TLS, HTTP/1.1" "$(tls --http1.1 -w ' %{http_version}' "$url/sync/a")" '{"name":"a"} 1.1'
is "TLS 1.2" "$(tls --tls-max 1.2 -w ' %{http_version}' "$url/slow?ms=5")" '{"slept":true} 2'
alpn() { openssl s_client -connect "127.0.0.1:$port" -alpn "$1" </dev/null 2>/dev/null | grep ALPN || true; }
is "ALPN h2" "$(alpn h2)" 'ALPN protocol: h2'
is "ALPN http/1.1" "$(alpn http/1.1)" 'ALPN protocol: http/1.1'
is "ALPN picks HTTP/2" "$(alpn http/1.1,h2)" 'ALPN protocol: h2'
! openssl s_client -connect "127.0.0.1:$port" -tls1_1 -cipher ALL:@SECLEVEL=0 </dev/null >/dev/null 2>&1 ||
	fail "TLS 1.1 was accepted"
tls -d @"$work/plain" "$url/echo" -o "$work/answer" -w '%{http_code}' >"$work/code"
is "a body over TLS" "$(cat "$work/code")" 413
stop

# ---- draining under load: every request that was taken is answered ----
start --loops 2 --grace 5000
h2load -n 2000000 -c 8 -m 10 -D 30 "http://127.0.0.1:$port/slow?ms=2" >"$work/load" 2>&1 &
load=$!
for _ in $(seq 200); do
	[ "$(grep -c '"route":"/slow"' "$work/err" || true)" -lt 500 ] || break
	sleep 0.05
done
stop
kill "$load" 2>/dev/null || true
wait "$load" 2>/dev/null || true
! grep -q '"status":5' "$work/err" || is "only 503 may be refused" "$(grep -c '"status":50[0-24-9]' "$work/err")" 0
done_testing
