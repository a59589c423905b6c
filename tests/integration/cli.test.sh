#!/usr/bin/env bash
# The command line: what it says and with which exit code, signatures, TLS, the API key, privacy mode, the demo.
source "$(dirname "$0")/common.sh" "$1"

cat >"$work/store.lua" <<'LUA'
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "city", entity = User }
fabra.context { name = "chat", model = "gpt-4o", params = { q = "string" },
  items = { { text = "Question: {q}", priority = 0, required = true } } }
LUA

status=0
said=
run() { # COMMAND...: sets said (both streams) and status
  status=0
  said=$("$@" 2>&1 </dev/null) || status=$?
}
chat() { post /v1/context/chat "{\"q\":\"$1\"}" | json 'd["id"]'; }

# ---- words and exit codes ----
run "$fabra" version
expect 0 $status "version"
contains "Fabra v" "$said" "version"
run "$fabra" help
expect 0 $status "help"
contains "context verify" "$said" "help"
for command in serve demo context ledger; do
  run "$fabra" help $command
  expect 0 $status "help $command"
  contains "usage: fabra $command" "$said" "help $command"
done
run "$fabra"
expect 2 $status "no command"
run "$fabra" contxt
expect 2 $status "unknown command"
contains "did you mean 'context'?" "$said" "suggests the nearest"
run "$fabra" zzzzzzzzzz
expect 2 $status "unknown command"
case "$said" in *"did you mean"*) expect nothing "$said" "no far-fetched suggestion" ;; esac
for words in version help "help ledger"; do
  status=0
  said=$("$fabra" $words 2>&1 >/dev/full) || status=$?
  expect 1 $status "$words to a full device"
  contains "standard output" "$said" "$words to a full device"
done
# A closed descriptor must not go to a file of the state: /dev/null stands there, and an answer that nobody gets is an error.
for words in version help "help ledger"; do
  status=0
  "$fabra" $words <&- >&- 2>&- || status=$?
  expect 1 $status "$words with closed descriptors"
done
for closed in '<&- >&- 2>&-' '2>&-'; do
  export FABRA_HOME=$work/closed
  rm -rf "$FABRA_HOME"
  eval '"$fabra" serve "$work/store.lua" --port 0 </dev/null >/dev/null 2>/dev/null' "$closed" '&'
  server=$!
  lock=$FABRA_HOME/fabra.duckdb.ledger/lock
  wait_for '[ -s "$lock" ]' "the ledger's lock with $closed"
  for fd in 0 1 2; do
    expect /dev/null "$(readlink "/proc/$server/fd/$fd" || true)" "descriptor $fd with $closed"
  done
  stop
  expect "" "$(tr -d '0-9\n' <"$lock")" "what is in the lock beside the process id, with $closed"
done
export FABRA_HOME=$work/home

# ---- the ledger's command has no options but --help ----
for sub in verify stat accept; do
  for option in --help -h; do
    run "$fabra" ledger $sub $option
    expect 0 $status "ledger $sub $option"
    contains "usage: fabra ledger verify" "$said" "ledger $sub $option"
  done
  run "$fabra" ledger $sub --dry-run
  expect 2 $status "ledger $sub --dry-run"
  contains "there is no option '--dry-run'" "$said" "ledger $sub --dry-run"
done
run "$fabra" context list --limit 5x
expect 2 $status "--limit"
run "$fabra" context list --port 80x
expect 2 $status "--port"
run "$fabra" serve "$work/store.lua" --port 70000
expect 2 $status "a port beyond the range"
run env FABRA_SIGNING_KEY=hex:zz "$fabra" serve "$work/store.lua" --port 0
expect 2 $status "a bad signing key"
contains "FABRA_SIGNING_KEY: what follows hex: is not pairs of hex digits" "$said" "says what and how"
# DuckDB and the ledger must mean the same place, whatever a path begins with.
mkdir "$work/cwd"
for setting in 'FABRA_HOME=~/st' 'FABRA_HOME=~' 'FABRA_DUCKDB_PATH=~/x.duckdb' FABRA_DUCKDB_PATH=:memory:x FABRA_DUCKDB_PATH=file:///tmp/x; do
  for words in "serve $work/store.lua --port 0" "ledger verify"; do
    wanted=2
    [ "${words%% *}" = serve ] || wanted=1
    run env -C "$work/cwd" HOME="$work/cwd/user" "$setting" timeout -s KILL 20 "$fabra" $words
    expect $wanted $status "$words with $setting"
    contains "${setting%%=*} " "$said" "$words names the setting of $setting"
    contains "; write " "$said" "$words names the cure for $setting"
  done
done
expect "" "$(ls -A "$work/cwd")" "nothing was made"
mkdir "$work/cwd/user"
for setting in 'FABRA_DUCKDB_PATH=file:x.duckdb' 'FABRA_DUCKDB_PATH=./~/x.duckdb' 'FABRA_HOME=st'; do
  (cd "$work/cwd" && HOME=$work/cwd/user && export HOME "$setting" && serve "$work/store.lua" && stop && expect 0 $failures "a stop") ||
    expect 0 1 "a server with $setting"
done
expect "./file:x.duckdb ./st/fabra.duckdb ./~/x.duckdb" "$(cd "$work/cwd" && echo $(find . -name '*.duckdb' | LC_ALL=C sort))" "DuckDB's files"
expect "./file:x.duckdb.ledger ./st/fabra.duckdb.ledger ./~/x.duckdb.ledger" \
  "$(cd "$work/cwd" && echo $(find . -name '*.ledger' | LC_ALL=C sort))" "the ledgers"
# A key that no request can match, or that is none although one was meant, is refused, and never shown.
printf 'local fabra = require "fabra"\nnot lua' >"$work/broken.lua" # nothing of this starts
for key in ' ' $'\t' $'\n' $'open-sesame\n' ' open-sesame' $'open\001sesame' "$(head -c 513 /dev/zero | tr '\0' k)"; do
  run env FABRA_API_KEY="$key" "$fabra" serve "$work/broken.lua" --port 0
  expect 2 $status "FABRA_API_KEY='$key'"
  contains "FABRA_API_KEY " "$said" "the setting of '$key'"
  contains "openssl rand -hex 32" "$said" "the cure for '$key'"
  case "$said" in *sesame*) expect "no key" "$said" "the key is not shown" ;; esac
  run "$fabra" serve "$work/broken.lua" --port 0 --api-key "$key"
  expect 2 $status "--api-key '$key'"
  contains "--api-key " "$said" "the option of '$key'"
  run env FABRA_API_KEY="$key" "$fabra" context list --url http://127.0.0.1:1
  expect 1 $status "a client with the key '$key'"
  contains "FABRA_API_KEY " "$said" "a client with the key '$key'"
done
run "$fabra" serve "$work/broken.lua" --port 0 --api-key ''
expect 2 $status "an empty --api-key"
run env FABRA_API_KEY= "$fabra" serve "$work/broken.lua" --port 0
expect 1 $status "an empty FABRA_API_KEY is none"
contains "FABRA_API_KEY is empty: no key is asked for" "$said" "and that is said"
run env FABRA_SIGNING_KEY=' ' "$fabra" serve "$work/broken.lua" --port 0
expect 2 $status "a blank signing key"
run env FABRA_SIGNATURE_MODE=requird "$fabra" serve "$work/broken.lua" --port 0
expect 2 $status "an unknown signature mode"

# ---- what stands in the way of a start ----
serve "$work/store.lua" --host localhost
port=${url##*:}
run env FABRA_HOME="$work/other" "$fabra" serve "$work/store.lua" --port "$port"
expect 1 $status "a taken port"
contains "choose one with --port" "$said" "names the cure"
run env FABRA_DUCKDB_PATH=:memory: TMPDIR="$work" "$fabra" serve "$work/store.lua" --port "$port"
expect 1 $status "a taken port, in memory"
expect "" "$(find "$work" -maxdepth 1 -name 'fabra-ledger-*')" "a failed start leaves no temporary folder"
run "$fabra" serve "$work/store.lua" --port 0
expect 1 $status "a second server on the same state"
contains "in use by process $server: stop that server, or choose another FABRA_DUCKDB_PATH" "$said" "says who and how"
run env FABRA_HOME=/proc/nothing "$fabra" serve "$work/store.lua" --port 0
expect 1 $status "a state folder that cannot be made"
contains "set FABRA_HOME to one that can be written" "$said" "names the cure"
mkdir "$work/file" && touch "$work/file/fabra.duckdb.ledger"
run env FABRA_HOME="$work/file" "$fabra" serve "$work/store.lua" --port 0
expect 1 $status "a ledger that is no folder"
contains "choose another FABRA_DUCKDB_PATH" "$said" "names the cure"
run env FABRA_HOME="$work/third" "$fabra" serve "$work/store.lua" --port 0 --tls-cert "$work/none.pem" --tls-key "$work/none.key"
expect 1 $status "a certificate that is not there"
contains "none.pem" "$said" "names the file"
run "$fabra" serve "$work/store.lua" --tls-cert "$work/none.pem"
expect 2 $status "a certificate without its key"

# ---- verify ----
id=$(chat "one")
other=$(chat "two")
run "$fabra" context list --limit 2
expect 0 $status "list"
contains "$id" "$said" "list"
get "/v1/record/$id" >"$work/record.json"
get "/v1/record/$other" >"$work/other.json"
cat >"$work/liar.py" <<'PY'
"""Answers with a record that was changed on the way, each path in its own manner; and with a list of nothing much."""
import http.server, json, sys
folder = sys.argv[1]
record = open(folder + "/record.json").read()
def changed(change):
    r = json.loads(record)
    change(r)
    return json.dumps(r)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
    def do_GET(self):
        kind = self.headers.get("X-API-Key")
        body = {"content": lambda: changed(lambda r: r.update(content="Question: none")),
                "time": lambda: changed(lambda r: r.update(created_at="2020-01-01T00:00:00Z")),
                "field": lambda: changed(lambda r: r.update(extra=1)),
                "other": lambda: open(folder + "/other.json").read(),
                "rubbish": lambda: "rubbish",
                "empty": lambda: "",
                "list": lambda: '[{"context_id": null}, {}, 7]',
                "string": lambda: '"hello"',
                "object": lambda: '{"status": "ok"}',
                "same": lambda: record}[kind]().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PY
python3 "$work/liar.py" "$work" >"$work/liar.port" &
liar=$!
wait_for '[ -s "$work/liar.port" ]' "the server that lies"
lie_to() { run env FABRA_URL="http://127.0.0.1:$(cat "$work/liar.port")" FABRA_API_KEY="$1" "$fabra" "${@:2}"; }
lie() { lie_to "$1" context "${@:2}"; }
lie same verify "$id"
expect 0 $status "the record as it is"
lie content verify "$id"
expect 1 $status "changed content"
contains "Content hash mismatch" "$said" "changed content"
lie time verify "$id"
expect 1 $status "changed time"
contains "Record hash mismatch" "$said" "changed time"
lie field verify "$id"
expect 1 $status "an added field"
lie other verify "$id"
expect 1 $status "another record, whole in itself"
contains "another record" "$said" "another record"
lie same verify "sha256:$(printf '%064d' 0)"
expect 1 $status "another hash"
lie rubbish verify "$id"
expect 1 $status "no JSON"
lie list list
expect 0 $status "a list with holes"
lie empty list --json
expect 1 $status "an empty answer"
# Another server's 200 is no success: not JSON, or JSON of another shape.
for answer in rubbish empty string list; do
  for words in "features list" "features get city u1" "context show $id" "context show $id --lineage"; do
    lie_to $answer $words
    expect 1 $status "$words: $answer"
    contains "the server's answer is no" "$said" "$words: $answer"
  done
done
for answer in rubbish empty string object; do
  for words in "sql 1" "context list --json" "context list"; do
    lie_to $answer $words
    expect 1 $status "$words: $answer"
    contains "the server's answer is no list" "$said" "$words: $answer"
  done
done
lie_to object features get city u1
expect 1 $status "an object without a value"
kill $liar
wait $liar 2>/dev/null || true

# ---- signatures ----
run env FABRA_SIGNATURE_MODE=required FABRA_SIGNING_KEY=secret "$fabra" context verify "$id"
expect 1 $status "required, and there is none"
stop
key=hex:00112233445566778899aabbccddeeff
FABRA_SIGNATURE_MODE=required FABRA_SIGNING_KEY=$key serve "$work/store.lua"
id=$(chat "signed")
get "/v1/record/$id" >"$work/signed.json"
run env FABRA_SIGNING_KEY=$key FABRA_SIGNATURE_MODE=required "$fabra" context verify "$id"
expect 0 $status "signature"
contains "Signature valid" "$said" "signature"
run env FABRA_SIGNING_KEY=hex:ff "$fabra" context verify "$id"
expect 1 $status "another key"
contains "Signature invalid" "$said" "another key"
run env FABRA_SIGNING_KEY=hex:ff FABRA_SIGNING_KEY_ID=k2 "$fabra" context verify "$id"
expect 0 $status "the key was replaced"
contains 'Signed by key "default", which is not at hand: FABRA_SIGNING_KEY is key k2' "$said" "the key was replaced"
contains '"signature":"unchecked"' "$said" "the key was replaced"
case "$said" in *"Integrity verified"* | *failed* | *invalid*) expect neither "$said" "the key was replaced" ;; esac
run env FABRA_SIGNING_KEY=hex:ff FABRA_SIGNING_KEY_ID=k2 FABRA_SIGNATURE_MODE=required "$fabra" context verify "$id"
expect 1 $status "required, and signed by a key that is not at hand"
contains "Not verified: a signature is required, and this one cannot be checked" "$said" "required, another key"
run env FABRA_SIGNING_KEY=$key FABRA_SIGNING_KEY_ID=k2 FABRA_SIGNATURE_MODE=required "$fabra" context verify "$id"
expect 0 $status "the same key under another name"
run "$fabra" context verify "$id"
expect 0 $status "without a key the hashes are verified"
contains "cannot be verified" "$said" "and it says that the signature is not"
run env FABRA_SIGNATURE_MODE=required "$fabra" context verify "$id"
expect 1 $status "required, and no key to verify with"
stop
run env FABRA_SIGNING_KEY=$key "$fabra" ledger verify
expect 0 $status "the ledger's signatures"
run env FABRA_SIGNING_KEY=hex:ff "$fabra" ledger verify
expect 1 $status "the ledger's signatures with another key"
run env FABRA_SIGNING_KEY=hex:ff FABRA_SIGNING_KEY_ID=k2 "$fabra" ledger verify
expect 0 $status "the ledger after the key was replaced"
contains "signature(s) could not be checked" "$said" "the ledger after the key was replaced"
run env FABRA_SIGNING_KEY=hex:ff FABRA_SIGNING_KEY_ID=k2 FABRA_SIGNATURE_MODE=required "$fabra" ledger verify
expect 1 $status "required, and no signature could be checked"
contains '{"problem":"signatures_unchecked"' "$said" "required, and no signature could be checked"
run env FABRA_SIGNING_KEY=hex:zz "$fabra" ledger verify
expect 2 $status "the ledger with a key that cannot be read"
contains "what follows hex: is not pairs of hex digits" "$said" "says what and how"
# Imported records keep the signature that they came with, and are looked at like the server's own.
FABRA_HOME=$work/imports serve "$work/store.lua"
expect 200 "$(code -X POST -H 'Content-Type: application/json' --data-binary "@$work/signed.json" "$url/v1/record")" "a signed record"
stop
imports=$work/imports/fabra.duckdb.ledger
run env FABRA_SIGNING_KEY=$key FABRA_SIGNATURE_MODE=required "$fabra" ledger verify "$imports"
expect 0 $status "an imported signature"
run env FABRA_SIGNING_KEY=hex:ff "$fabra" ledger verify "$imports"
expect 1 $status "an imported signature that is not the key's"
contains "the signature is not that of the key" "$said" "an imported signature that is not the key's"
FABRA_HOME=$work/imports serve "$work/store.lua"
expect 200 "$(code -X POST -H 'Content-Type: application/json' --data-binary "@$work/record.json" "$url/v1/record")" "a record without a signature"
stop
run env FABRA_SIGNING_KEY=$key "$fabra" ledger verify "$imports"
expect 0 $status "an imported record without a signature"
run env FABRA_SIGNING_KEY=$key FABRA_SIGNATURE_MODE=required "$fabra" ledger verify "$imports"
expect 1 $status "required, and an imported record has no signature"
run env FABRA_SIGNATURE_MODE=required "$fabra" ledger verify
expect 2 $status "the ledger, signatures required, and no key to verify with"
run env FABRA_SIGNATURE_MODE=required "$fabra" ledger stat
expect 0 $status "what the ledger holds needs no key"
run env FABRA_SIGNATURE_MODE=required "$fabra" serve "$work/store.lua" --port 0
expect 2 $status "required, and no key to sign with"

# ---- the API key ----
FABRA_API_KEY=open-sesame serve "$work/store.lua"
expect 403 "$(code "$url/v1/contexts")" "no key"
expect 403 "$(code -H 'X-API-Key: open-sesam' "$url/v1/contexts")" "wrong key"
expect 200 "$(code -H 'X-API-Key: open-sesame' "$url/v1/contexts")" "right key"
expect 200 "$(code "$url/health")" "health is public"
run "$fabra" context verify "$id"
expect 1 $status "verify without the key"
contains "set FABRA_API_KEY" "$said" "names the cure"
run env FABRA_API_KEY=open-sesame "$fabra" context verify "$id"
expect 0 $status "verify with the key"
stop

# ---- TLS ----
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
serve "$work/store.lua" --tls-cert "$work/cert.pem" --tls-key "$work/key.pem"
secure=https://127.0.0.1:${url##*:}
expect "200 2" "$(curl -s -m 10 --cacert "$work/cert.pem" -o /dev/null -w '%{http_code} %{http_version}' "$secure/health")" "HTTP/2 over TLS"
run "$fabra" context verify "$id" --url "$secure" --cacert "$work/cert.pem"
expect 0 $status "verify over TLS"
run "$fabra" context verify "$id" --url "$secure"
expect 1 $status "a certificate that nobody vouches for"
contains "--cacert FILE" "$said" "the cure for it"
run "$fabra" context verify "$id" --url "$secure" --cacert "$work/nowhere.pem"
expect 1 $status "no such file of certificates"
contains "--cacert must name" "$said" "the cure for it"
run "$fabra" context verify "$id" --url "http://${secure#https://}"
expect 1 $status "plain HTTP to a port with TLS"
contains "with https://" "$said" "the cure for it"
run "$fabra" context verify "$id" --url "$secure" --insecure
expect 0 $status "--insecure"
stop
run "$fabra" context verify "$id" --url "$secure"
expect 1 $status "nobody listens"
contains "Is the server running?" "$said" "the cure for it"

# ---- privacy mode: the text is nowhere in the state ----
cat >"$work/private.lua" <<'LUA'
local fabra = require "fabra"
fabra.retriever { name = "notes", cache_ttl = "1h", run = function(args) return { { content = "Of the xylotheque nobody knows" } } end }
fabra.context { name = "chat", model = "gpt-4o", params = { q = "string" }, cache_ttl = "1h",
  items = { { text = "Question about the quercetum: {q}", priority = 0, required = true },
            { retriever = "notes", args = { query = "{q}" }, priority = 1 } } }
LUA
export FABRA_HOME=$work/private
FABRA_RECORD_INCLUDE_CONTENT=0 serve "$work/private.lua"
for i in 1 2; do post /v1/context/chat '{"q":"why"}' >"$work/answer"; done
contains "Of the xylotheque" "$(json 'd["content"]' <"$work/answer")" "the answer has the text"
contains "quercetum: why" "$(json 'd["content"]' <"$work/answer")" "the answer has the text"
id=$(json 'd["id"]' <"$work/answer")
expect "" "$(get "/v1/record/$id" | json 'd["content"]')" "the record has not"
expect "" "$(get "/v1/context/$id" | json 'd["content"]')" "nor has the view"
get /v1/contexts >/dev/null # the projection has caught up
run "$fabra" context verify "$id"
expect 0 $status "and verifies"
holders() { grep -srlaE 'xylotheque|quercetum' "$FABRA_HOME" "$work/server.log" || true; }
expect "" "$(holders)" "no file and no log has the text"
stop
expect "" "$(holders)" "nor after the end"
serve "$work/private.lua" # the search itself must be able to find it
post /v1/context/chat '{"q":"why"}' >/dev/null
[ -n "$(holders)" ] || expect "a file" "nothing" "without privacy mode the text is there"
stop

# ---- the demo, and an end by Ctrl-C ----
export FABRA_HOME=$work/demo
interrupt() { # PID: SIGINT, then its exit code in status
  kill -INT "$1"
  status=0
  wait "$1" || status=$?
}
"$fabra" demo --port 0 >"$work/demo.out" 2>"$work/demo.log" </dev/null &
server=$!
wait_for 'grep -q "Ctrl-C stops" "$work/demo.out"' "the demo"
contains "Context ID: ctx_" "$(cat "$work/demo.out")" "a context id"
interrupt $server
server=
expect 0 $status "the demo ends on SIGINT"
run "$fabra" demo --mode neither
expect 1 $status "an unknown mode"
run "$fabra" ledger verify
expect 0 $status "the demo's ledger"

FABRA_REQUEST_TIMEOUT=100d run "$fabra" serve "$work/store.lua"
expect 2 $status "a timeout of 100 days"

# A lost terminal is an orderly end, and under nohup it is none.
serve "$work/store.lua"
kill -HUP "$server"
status=0
wait "$server" || status=$?
server=
expect 0 $status "SIGHUP"
contains '"message":"stopping","signal":1}' "$(cat "$work/server.log")" "SIGHUP"
trap '' HUP
serve "$work/store.lua"
trap - HUP
kill -HUP "$server"
expect 200 "$(code "$url/health")" "an ignored SIGHUP"
stop
contains '"message":"stopping","signal":15}' "$(cat "$work/server.log")" "SIGTERM after an ignored SIGHUP"

# An IPv6 address as --host: the clients' URL has it in brackets.
for host in ::1 '[::1]'; do
  run "$fabra" context list --host "$host" --port 1
  expect 1 $status "--host $host where nobody listens"
  contains "Connection failed: http://[::1]:1: " "$said" "--host $host"
  contains "Is the server running?" "$said" "--host $host: the cure is not about the URL"
  case "$said" in *[Bb]"ad "* | *alformed*) expect "a good URL" "$said" "--host $host" ;; esac
done
if grep -qs ' lo$' /proc/net/if_inet6; then
  serve "$work/store.lua" --host ::1
  for words in "context list" "features list"; do
    run "$fabra" $words --host ::1 --port "${url##*:}"
    expect 0 $status "$words --host ::1"
  done
  run "$fabra" sql "SELECT 1" --host ::1 --port "${url##*:}"
  expect 0 $status "sql --host ::1"
  stop
else
  echo "SKIPPED: the clients against ::1; this machine has no IPv6 on its loopback"
fi

# A signal during the start is kept until the start is over. The definitions come through a pipe: it opens when the server
# reads them, and the start cannot be over before they are written.
mkfifo "$work/slow.lua"
"$fabra" serve "$work/slow.lua" --port 0 >"$work/server.log" 2>&1 </dev/null &
server=$!
exec 9>"$work/slow.lua"
kill -TERM $server
cat "$work/store.lua" >&9
exec 9>&-
status=0
wait $server || status=$?
server=
expect 0 $status "SIGTERM during the start"
contains '"message":"stopping"' "$(cat "$work/server.log")" "an orderly end"
done_testing
