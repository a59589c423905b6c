#!/usr/bin/env python3
"""Contexts against a bare group commit of the same bytes, in one run.

    bench/contexts.py BUILD [--runs 5] [--requests 20000] [--minute] [--h2load]

Serves bench/contexts.lua (three features, ten items of about 100 tokens, two dropped by the budget, evidence required,
projection running) on one loop, and measures at 16 and at 64 clients, interleaved with bench_raw_commit, which commits as
many bytes as the record has, with as many writers. Prints each run and the medians: latency, records per second, CPU per
request of the whole server by thread, and the two ratios. Before each pair the server has done all that it had left to do, so that it
does not share the disk with bench_raw_commit. --minute holds the load of 16 clients for a minute and says how far the projection is
behind. The client is bench_http_load, or with --h2load that, which shares the machine and uses 20 us of CPU a request instead of
10: read differences under a fifth as noise.
"""
import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
BODY = {"user_id": "u1", "query": "what happened at the harbour?"}


class Server:
    def __init__(self, build, use_h2load=False):
        self.client = None if use_h2load else os.path.join(build, "bench", "bench_http_load")
        self.home = tempfile.mkdtemp(prefix="fabra-bench-", dir=build)
        self.log = os.path.join(self.home, "log")
        env = dict(os.environ, FABRA_HOME=self.home, FABRA_EVIDENCE_MODE="required")
        self.process = subprocess.Popen(
            [os.path.join(build, "fabra"), "serve", os.path.join(HERE, "contexts.lua"), "--loops", "1", "--port", "0"],
            env=env, stderr=open(self.log, "w"), stdout=subprocess.DEVNULL)
        port = None
        while port is None:
            if self.process.poll() is not None:
                sys.exit("the server did not start: " + open(self.log).read())
            found = re.search(r'"message":"listening".*?"port":(\d+)', open(self.log).read())
            port = found and found[1]
            time.sleep(0.05)
        self.url = "http://127.0.0.1:" + port

    def ask(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode() if body else None, method=method)
        return urllib.request.urlopen(request, timeout=10).read()

    def cpu(self):
        """Nanoseconds of processor time by thread name."""
        spent = {}
        for task in os.listdir("/proc/%d/task" % self.process.pid):
            base = "/proc/%d/task/%s/" % (self.process.pid, task)
            name = open(base + "comm").read().strip()
            spent[name] = spent.get(name, 0) + int(open(base + "schedstat").read().split()[0])
        return spent

    def settle(self):
        """Until nothing is left to do: what measures itself next shall not share the disk."""
        spent = None
        while True:
            before, spent = spent, sum(self.cpu().values())
            if before is not None and spent - before < 3e6 and self.lag() == 0:
                return
            time.sleep(.3)

    def lag(self):
        return json.loads(self.ask("GET", "/ready"))["projection"]["lag"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.home)


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


def with_h2load(url, work, clients, requests):
    body, log = os.path.join(work, "body"), os.path.join(work, "log")
    with open(body, "w") as f:
        json.dump(BODY, f)
    if os.path.exists(log):
        os.remove(log)
    started = time.monotonic()
    out = subprocess.run(["h2load", "-t1", "-c%d" % clients, "-m1", "-n%d" % requests, "-d", body, "--log-file=" + log,
                          url + "/v1/context/bench"], capture_output=True, text=True).stdout
    took = time.monotonic() - started
    if "%d succeeded" % requests not in out:
        sys.exit("not every request was answered:\n" + out)
    times = sorted(int(line.split()[2]) / 1000 for line in open(log))
    return percentile(times, .5), percentile(times, .99), requests / took


def with_http_load(program, url, clients, requests):
    run = subprocess.run([program, url.rsplit(":", 1)[1], "/v1/context/bench", "--ids", "0", "--streams", "1", "--connections",
                          str(clients), "--requests", str(requests), "--body", json.dumps(BODY)], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit("not every request was answered:\n" + run.stderr)
    rate, p50, p99 = re.search(r"([\d.]+) requests/s, p50 ([\d.]+) p99 ([\d.]+)", run.stdout).groups()
    return float(p50), float(p99), float(rate)


def load(server, work, clients, requests):
    """p50 and p99 in ms, requests per second, CPU us per request by thread."""
    before = server.cpu()
    if server.client:
        figures = with_http_load(server.client, server.url, clients, requests)
    else:
        figures = with_h2load(server.url, work, clients, requests)
    after = server.cpu()
    return *figures, {name: (after[name] - before.get(name, 0)) / 1000 / requests for name in after}


def raw(build, work, writers, size):
    out = subprocess.run([os.path.join(build, "bench", "bench_raw_commit"), "--writers", str(writers), "--bytes", str(size),
                          "--seconds", "2", "--dir", work], capture_output=True, text=True).stdout
    rate = float(re.search(r"([\d.]+) rec/s", out)[1])
    return float(re.search(r"p50\D+([\d.]+)", out)[1]), float(re.search(r"p99\D+([\d.]+)", out)[1]), rate


def stages(cpu):
    return "  ".join("%s %.1f" % (name, us) for name, us in sorted(cpu.items(), key=lambda x: -x[1]) if us >= 0.1)


def measure(server, build, work, clients, runs, requests, size):
    print("\n%d clients" % clients)
    rows = []
    for run in range(runs):
        server.settle()
        floor = raw(build, work, clients, size)
        ours = load(server, work, clients, requests)
        rows.append((ours[1] / floor[1], ours[2] / floor[2], ours, floor))
        print("run %d: p50 %.2f p99 %.2f ms, %.0f/s, CPU %.1f us | raw p50 %.2f p99 %.2f ms, %.0f/s | p99 x%.2f, rate x%.3f"
              % (run + 1, ours[0], ours[1], ours[2], sum(ours[3].values()), *floor, rows[-1][0], rows[-1][1]), flush=True)
    middle = lambda pick: statistics.median(pick(r) for r in rows)
    cpu = {name: statistics.median(r[2][3].get(name, 0) for r in rows) for name in rows[0][2][3]}
    print("median: p99 %.2f ms, %.0f/s, p99 ratio %.2f, rate ratio %.3f" %
          (middle(lambda r: r[2][1]), middle(lambda r: r[2][2]), middle(lambda r: r[0]), middle(lambda r: r[1])))
    print("CPU us per request: %.1f = %s" % (sum(cpu.values()), stages(cpu)))


def minute(server, work):
    print("\na minute at 16 clients")
    ends = time.monotonic() + 60
    rows, behind = [], []
    while time.monotonic() < ends:
        rows.append(load(server, work, 16, 20000))
        behind.append(server.lag())
    middle = lambda i: statistics.median(r[i] for r in rows)
    print("%d loads: p50 %.2f p99 %.2f ms, %.0f/s; at most %d entries behind between them" %
          (len(rows), middle(0), middle(1), middle(2), max(behind)))
    ready = json.loads(server.ask("GET", "/ready"))
    started = time.monotonic()
    print("at the end of the load:", json.dumps(ready["projection"]))
    while server.lag():
        time.sleep(0.02)
    print("caught up after %.2f s" % (time.monotonic() - started))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--minute", action="store_true")
    parser.add_argument("--h2load", action="store_true")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    server = Server(build, options.h2load)
    work = tempfile.mkdtemp(dir=build)
    try:
        server.ask("PUT", "/v1/features/User/u1", {"values": {"plan": "pro", "score": 17.5, "city": "Oslo"}})
        answer = json.loads(server.ask("POST", "/v1/context/bench", BODY))
        record = server.ask("GET", "/v1/record/" + answer["id"])
        print("record %d bytes, reply %d bytes, %d tokens, %d items dropped" %
              (len(record), len(json.dumps(answer)), answer["meta"]["token_usage"], answer["meta"]["dropped_items"]))
        load(server, work, 16, 40000)
        for clients in (16, 64):
            measure(server, build, work, clients, options.runs, options.requests, len(record))
        if options.minute:
            minute(server, work)
    finally:
        server.stop()
        shutil.rmtree(work)


main()
