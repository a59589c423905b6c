#!/usr/bin/env python3
"""What the program takes where nothing is bounded: time to a first answer, idle memory, bytes per value and per record.

    bench/footprint.py BUILD [--runs 5]

Time to the first answer: from the start of the process to the whole answer of a context, for the two examples, with an empty
home and after a restart; medians. Memory: two seconds after that, DuckDB open. A value: 100,000 numbers of as many entities,
materialised by SQL. A record: 20,000 of bench/contexts.lua. Disk is measured after a clean stop.
"""
import argparse
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
FLIGHTS = ("examples/flights", os.path.join(ROOT, "examples/flights/store.lua"), "explain_delays", {"airport": "ORD"})
SUPPORT = ("examples/support", os.path.join(ROOT, "examples/support/store.lua"), "chat_context",
           {"user_id": "user_123", "query": "how do features work?"})
VALUES = """local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "score", entity = User, materialize = true, refresh = "1d",
  sql = "SELECT 'user_' || i AS user_id, i * 0.5 AS score FROM range(100000) t(i)" }
"""


class Server:
    running = set()

    def __init__(self, build, definitions, home, port):
        env = dict(os.environ, FABRA_HOME=home)
        self.port, self.started = port, time.monotonic()
        self.process = subprocess.Popen([os.path.join(build, "fabra"), "serve", definitions, "--port", str(port)], env=env,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        Server.running.add(self)

    def ask(self, method, path, body=None):
        """Status and body; status 0: nobody listens yet."""
        if self.process.poll() is not None:
            sys.exit("the server ended; run it by hand to see why: fabra serve " + " ".join(self.process.args[2:]))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            reply = connection.getresponse()
            return reply.status, reply.read()
        except ConnectionRefusedError:
            return 0, b""
        finally:
            connection.close()

    def until(self, method, path, body=None):
        """Seconds from the start to the first 200."""
        while self.ask(method, path, body)[0] != 200:
            time.sleep(0.001)
        return time.monotonic() - self.started

    def gauge(self, name):
        text = self.ask("GET", "/metrics")[1].decode()
        return float(re.search(r"^%s (\S+)$" % name, text, re.M)[1])

    def memory(self):
        """MiB resident, and of that what no other process shares."""
        text = open("/proc/%d/smaps_rollup" % self.process.pid).read()
        kib = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}
        return kib["Rss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024

    def stop(self):
        Server.running.remove(self)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def disk(home):
    """Bytes of the ledger and of DuckDB's file."""
    sizes = {"ledger": 0, "duckdb": 0}
    for folder, _, files in os.walk(home):
        for name in files:
            kind = "ledger" if folder.endswith(".ledger") else "duckdb"
            if name != "reserve":
                sizes[kind] += os.path.getsize(os.path.join(folder, name))
    return sizes["ledger"], sizes["duckdb"]


def first_answers(build, work, runs):
    for name, definitions, context, arguments in (FLIGHTS, SUPPORT):
        fresh, again = [], []
        for run in range(runs):
            home = os.path.join(work, "home%d" % run)
            for times in (fresh, again):
                server = Server(build, definitions, home, free_port())
                times.append(server.until("POST", "/v1/context/" + context, arguments) * 1000)
                if run == runs - 1 and times is again:
                    time.sleep(2)
                    print("%s, idle: %.0f MiB resident, %.0f of them its own" % (name, *server.memory()))
                server.stop()
            shutil.rmtree(home)
        print("%s, first answer: %.0f ms after the start with an empty home, %.0f after a restart" %
              (name, statistics.median(fresh), statistics.median(again)), flush=True)


def values(build, work):
    home, definitions = os.path.join(work, "values"), os.path.join(work, "values.lua")
    with open(definitions, "w") as f:
        f.write(VALUES)
    server = Server(build, definitions, home, free_port())
    server.until("GET", "/health")
    server.until("GET", "/ready")
    count = 100000
    while server.gauge("fabra_online_values") < count:
        time.sleep(0.05)
    online = server.gauge("fabra_online_bytes")
    server.stop()
    ledger, duckdb = disk(home)
    print("a value (a number, its id 6 to 10 bytes; %d of them): online %.0f bytes, ledger %.0f, history in DuckDB %.0f" %
          (count, online / count, ledger / count, duckdb / count), flush=True)


def records(build, work):
    home, port = os.path.join(work, "records"), free_port()
    server = Server(build, os.path.join(HERE, "contexts.lua"), home, port)
    server.until("GET", "/health")
    body = {"user_id": "u1", "query": "what happened at the harbour?"}
    server.ask("PUT", "/v1/features/User/u1", {"values": {"plan": "pro", "score": 17.5, "city": "Oslo"}})
    answer = json.loads(server.ask("POST", "/v1/context/bench", body)[1])
    record = server.ask("GET", "/v1/record/" + answer["id"])[1]
    with open(os.path.join(work, "body"), "w") as f:
        json.dump(body, f)
    count = 20000
    out = subprocess.run(["h2load", "-t1", "-c16", "-m1", "-n%d" % count, "-d", f.name,
                          "http://127.0.0.1:%d/v1/context/bench" % port], capture_output=True, text=True).stdout
    if "%d succeeded" % count not in out:
        sys.exit("not every request was answered:\n" + out)
    server.stop()
    ledger, duckdb = disk(home)
    print("a record of %d bytes (%d of them): ledger %.0f bytes, columns in DuckDB %.0f" %
          (len(record), count, ledger / count, duckdb / count))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    work = tempfile.mkdtemp(prefix="fabra-bench-", dir=build)
    try:
        first_answers(build, work, options.runs)
        values(build, work)
        records(build, work)
    finally:
        for server in list(Server.running):
            server.stop()
        shutil.rmtree(work)


main()
