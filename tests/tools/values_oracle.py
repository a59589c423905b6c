"""Asks a server of several I/O loops what many clients wrote at once, and says what no order of the writes explains.

    values_oracle.py definitions            the file to serve
    values_oracle.py run URL FILE           writes and asks; what must hold from then on goes to FILE
    values_oracle.py again URL FILE         asks the same again: after a restart

Exit code 1 and the first differences when an answer is one that no order gives."""
import http.client
import json
import sys
import threading
import time
import urllib.parse

DEFINITIONS = """
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
local function count(id, event, previous) if not event.payload.none then return (previous or 0) + 1 end end
fabra.feature { name = "one", entity = User, trigger = "tick", compute = count }
fabra.feature { name = "two", entity = User, trigger = "tick", compute = count }
local function number(id, event) return event.payload.n end
for i = 1, 8 do
  fabra.feature { name = "part" .. i, entity = User, trigger = "all", compute = number }
end
fabra.feature { name = "made", entity = User, ttl = "40ms", compute = function() return fabra.now() end }
fabra.context { name = "made", params = { user_id = "string" },
  items = { { text = "{feature:made}", priority = 0, entity_id = "{user_id}" } } }
fabra.feature { name = "base", entity = User }
-- It reads, and works for a while.
fabra.feature { name = "slow", entity = User, ttl = "1h", compute = function(id)
  local base = fabra.await(fabra.feature_value("base", id))
  local n = 0
  for i = 1, 400000 do n = n + i % 7 end
  return base or "none"
end }
fabra.feature { name = "slow_of_other", entity = User, ttl = "1ms", compute = function(id)
  local base = fabra.await(fabra.feature_value("base", "other of " .. id))
  local n = 0
  for i = 1, 400000 do n = n + i % 7 end
  return base or "none"
end }
fabra.context { name = "parts", params = { user_id = "string" }, items = { { text = "{feature:part1}|{feature:part8}", priority = 0, entity_id = "{user_id}" } } }
"""
PARTS = [f"part{i}" for i in range(1, 9)]
wrong = []
checked = {}


def say(what, text):
    wrong.append((what, text))


class Client:
    """One connection."""

    def __init__(self, url):
        self.http = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)
        self.http.connect()

    def send(self, method, path, body=None):
        data = None if body is None else json.dumps(body)
        self.http.request(method, path, data, {"Content-Type": "application/json"} if data else {})

    def read(self):
        answer = self.http.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.startswith(b"{") else text.decode()

    def ask(self, method, path, body=None):
        self.send(method, path, body)
        return self.read()

    def put(self, id, **values):
        return self.ask("PUT", f"/v1/features/User/{id}", {"values": values})

    def value(self, name, id):
        status, answer = self.ask("GET", f"/v1/features/{name}?entity_id={id}")
        return answer["value"] if status == 200 else None

    def processed(self):
        _, text = self.ask("GET", "/metrics")
        return sum(int(float(line.split()[-1])) for line in text.splitlines()
                   if line.startswith("fabra_events_processed_total"))


def run_all(*functions):
    threads = [threading.Thread(target=f) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def await_events(c, count):
    deadline = time.monotonic() + 60
    while c.processed() < count:
        if time.monotonic() > deadline:
            say("events", f"{c.processed()} of {count} were applied within a minute")
            return


def write_against_event(url, rounds, held):
    """Writes and an event that meet. Any order is right, and it is the same for both features."""
    clients = [[Client(url) for _ in range(3)] for _ in range(3)]
    sent = clients[0][0].processed() + rounds

    def some(worker):
        a, b, c = clients[worker]
        for i in range(worker, rounds, 3):
            id = f"m{i}"
            _, answer = a.put(id, one=1000, two=1000)
            if answer.get("stale") != []:
                say("first PUT", answer)
            is_delete = i % 4 == 3
            event = ("POST", f"/v1/ingest/tick?entity_id={id}", {})
            write = ("DELETE", f"/v1/cache/User/{id}") if is_delete \
                else ("PUT", f"/v1/features/User/{id}", {"values": {"one": 5000, "two": 5000}})
            first, second = (b, event), (c, write)
            if i % 2:
                first, second = second, first
            first[0].send(*first[1])
            second[0].send(*second[1])
            status, answer = b.read()
            if status != 202:
                say("event", (status, answer))
            status, answer = c.read()
            if status != 200 or not is_delete and answer["stale"] != []:
                say("write against an event", (status, answer))
            held[id] = [None, 1] if is_delete else [5000, 5001]

    run_all(*(lambda w=w: some(w) for w in range(3)))
    await_events(clients[0][0], sent)
    for id, allowed in held.items():
        both = clients[1][0].ask("POST", "/v1/features", {"entity_name": "User", "entity_id": id, "features": ["one", "two"]})[1]
        one, two = both.get("one"), both.get("two")
        if one not in allowed or two not in allowed:
            say("an acknowledged write is lost", f"{id} has {one} and {two}, may have {allowed}")
        elif one != two:
            say("two features of one event disagree", f"{id} has {one} and {two}")
        held[id] = [one]
    checked["writes against events"] = rounds


def delete_what_lies_ahead(url, rounds, held):
    """An event that lies ahead takes a value away; what comes after a delete of the row counts from nothing, and stays."""
    c = Client(url)
    ahead = urllib.parse.quote(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 120)))
    for i in range(rounds):
        id = f"ahead{i}"

        def tick(body, query=""):
            sent = c.processed() + 1
            c.ask("POST", f"/v1/ingest/tick?entity_id={id}{query}", body)
            await_events(c, sent)

        tick({}, f"&event_time={ahead}")
        tick({"none": True}, f"&event_time={ahead}")
        if i % 2:
            c.put(id, one=1000, two=1000)
        c.ask("DELETE", f"/v1/cache/User/{id}")
        tick({})
        tick({})
        found = [c.value("one", id), c.value("two", id)]
        if found != [2, 2]:
            say("two events after a delete", f"{id} has {found}")
        held[id] = [2]
    checked["deletes of what lies ahead"] = rounds


def together(url, seconds):
    """What one PUT, or one event, writes to a row is seen together."""
    end = time.monotonic() + seconds
    Client(url).put("row", **{name: 0 for name in PARTS})
    reads = [0]

    def put():
        c, n = Client(url), 0
        while time.monotonic() < end:
            n += 1
            c.put("row", **{name: n for name in PARTS})

    def event():
        c, n = Client(url), 1000000
        while time.monotonic() < end:
            n += 1
            c.ask("POST", "/v1/ingest/all?entity_id=row", {"n": n})

    def read(path, body, parts):
        c = Client(url)
        while time.monotonic() < end:
            status, answer = c.ask("POST", path, body)
            seen = parts(answer) if status == 200 else [status]
            reads[0] += 1
            if len(set(seen)) != 1:
                say(f"torn read of {path}", seen)
                return

    run_all(put, event,
            *(lambda: read("/v1/features", {"entity_name": "User", "entity_id": "row", "features": PARTS},
                           lambda a: list(a.values())) for _ in range(3)),
            lambda: read("/v1/features/batch", {"name": "User", "ids": ["row"], "features": PARTS},
                         lambda a: list(a["row"].values())),
            *(lambda: read("/v1/context/parts", {"user_id": "row"}, lambda a: a["content"].split("|")) for _ in range(2)))
    checked["reads of one row"] = reads[0]


def forwards(url, seconds):
    """A computed value, seen through one connection, never becomes an older one. A context says how old each is; of what
    only GETs have seen nothing is known."""
    end = time.monotonic() + seconds
    made_at, seen = {}, []

    def read():
        c, values = Client(url), []
        seen.append(values)
        while time.monotonic() < end:
            status, answer = c.ask("POST", "/v1/context/made", {"user_id": "u1"})
            if status != 200:
                say("context", (status, answer))
                return
            used = answer["lineage"]["features_used"][0]
            made_at[used["value"]] = used["timestamp"]
            values.append(used["value"])
            values.extend(c.value("made", "u1") for _ in range(20))

    run_all(*[read] * 8)
    for values in seen:
        known = [(made_at[v], v) for v in values if v in made_at]
        for before, after in zip(known, known[1:]):
            if after[0] < before[0]:
                say("a computed value went backwards", f"from {before} to {after}")
    checked["reads of a computed value"] = sum(v in made_at for values in seen for v in values)


def no_stale_flight(url, rounds):
    """Who asks after a write was acknowledged does not get what began before it."""
    a, b, c = Client(url), Client(url), [Client(url) for _ in range(6)]
    for i in range(rounds):
        id = f"f{i}"
        is_delete, of_other = i % 3 == 1, i % 3 == 2
        row, name = (urllib.parse.quote(f"other of {id}"), "slow_of_other") if of_other else (id, "slow")
        a.put(row, base="old")
        for k in c[:3]:
            k.send("GET", f"/v1/features/{name}?entity_id={id}")
        time.sleep(0.0005 * (i % 8))  # any moment of the run
        if is_delete:
            b.ask("DELETE", f"/v1/cache/User/{row}")
        else:
            b.put(row, base="new")
        for k in c[3:]:
            k.send("GET", f"/v1/features/{name}?entity_id={id}")
        answers = [k.read()[1] for k in c]
        # After a PUT a value may still come from memory, for as long as its ttl says; a run may not be joined.
        late = [a["value"] for a in answers[3:] if is_delete or a["served_from"] == "computed"]
        if any(v != ("none" if is_delete else "new") for v in late):
            say(f"joined what began before the {'DELETE' if is_delete else 'PUT'}", f"{id}: {answers}")
        if is_delete and a.value("base", id) is not None:
            say("a deleted value came back", id)
        if is_delete and a.value("slow", id) != "none":
            say("a computed value outlived the DELETE", id)
    checked["runs that a write met"] = rounds


def main():
    if sys.argv[1] == "definitions":
        print(DEFINITIONS)
        return
    url, path, held = sys.argv[2], sys.argv[3], {}
    if sys.argv[1] == "run":
        write_against_event(url, 600, held)
        delete_what_lies_ahead(url, 4, held)
        together(url, 3)
        forwards(url, 3)
        no_stale_flight(url, 60)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(held, f)
    else:
        c = Client(url)
        with open(path, encoding="utf-8") as f:
            held = json.load(f)
        for id, allowed in held.items():
            found = [c.value("one", id), c.value("two", id)]
            if found != [allowed[0], allowed[0]]:
                say("another value after a restart", f"{id} has {found}, had {allowed[0]}")
        checked["values after a restart"] = len(held)
    print(checked)
    kinds = {}
    for what, text in wrong:
        kinds.setdefault(what, []).append(text)
    for what, texts in kinds.items():
        print(f"{what}: {len(texts)} times", *texts[:3], sep="\n  ")
    print(f"{len(wrong)} wrong")
    sys.exit(1 if wrong else 0)


main()
