"""Writes at random, asks the server now and then what it serves, and notes when; afterwards asks for the values of those moments, which must be the
same. no_skew.py URL STATE.json write SEED STEPS, or no_skew.py URL STATE.json compare."""
import json
import random
import sys
import time
import urllib.parse
import urllib.request

url, state_file, what = sys.argv[1:4]
ids = [f"u{i}" for i in range(5)] + ["it's", "ö 7"]
features = ["plain", "brief", "sure", "score", "total"]


def call(method, path, body=None, accept="*/*"):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url + path, data, {"accept": accept}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def quoted(text):
    return urllib.parse.quote(text, safe="")


def instant(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"


def served(entity_id):
    body = {"entity_name": "User", "entity_id": entity_id, "features": features}
    answer = json.loads(call("POST", "/v1/features?detail=true", body))
    return {name: answer[name]["value"] for name in features}


def until(condition, what):
    for _ in range(400):
        if condition():
            return
        time.sleep(0.025)
    sys.exit(f"{what} did not happen in ten seconds")


def in_history(entity_id, value):
    rows = json.loads(call("POST", "/v1/sql", {
        "sql": "SELECT count(*) AS n FROM fabra.feature_history WHERE feature = 'score' AND entity_id = ? AND value = ?",
        "params": [entity_id, json.dumps(value)]}))
    return rows[0]["n"]


def write(rng, steps):
    state = json.load(open(state_file)) if rng.seed_of > 1 else []
    for entity_id in ids:  # from here on it is no read that makes it
        value = served(entity_id)["score"]
        until(lambda: in_history(entity_id, value) > 0, "that a computed value is in the history")
    call("POST", "/v1/ingest/sale?entity_id=nobody", {"amount": 1})  # from here on it shows which code is in force
    until(lambda: served("nobody")["total"] == 1, "that an event is applied")
    for step in range(steps):
        entity_id = rng.choice(ids)
        kind = rng.random()
        if kind < 0.6:
            values = {name: step * 10 + i for i, name in enumerate(["plain", "brief", "sure"]) if rng.random() < 0.6} or {"plain": None}
            body = {"values": values}
            if rng.random() < 0.4:  # late
                body["timestamp"] = instant(time.time_ns() - rng.randrange(3 * 10**9))
            call("PUT", "/v1/features/User/" + quoted(entity_id), body)
        elif kind < 0.7:
            value = served(entity_id)["score"]
            before = in_history(entity_id, value)
            call("DELETE", "/v1/cache/User/" + quoted(entity_id))
            served(entity_id)  # computes it anew
            until(lambda: in_history(entity_id, value) > before, "that a computed value is in the history")
        elif kind < 0.85:
            before = served(entity_id)["total"] or 0
            call("POST", "/v1/ingest/sale?entity_id=" + quoted(entity_id), {"amount": step + 1})
            until(lambda: served(entity_id)["total"] == before + step + 1, "that an event is applied")
        else:
            time.sleep(rng.random() * 0.1)
        entity_id = rng.choice(ids)
        from_ns = time.time_ns()
        values = served(entity_id)
        state.append({"id": entity_id, "from": instant(from_ns), "to": instant(time.time_ns()), "values": values})
    json.dump(state, open(state_file, "w"))
    print("written")


def compare():
    state = json.load(open(state_file))
    events = {"user_id": [], "at": []}
    for s in state:
        for end in ("from", "to"):
            events["user_id"].append(s["id"])
            events["at"].append(s[end])
    rows = [json.loads(line) for line in call("POST", "/v1/training-data", {"features": features, "at": "at", "events": events}).splitlines()]
    assert len(rows) == 2 * len(state)
    with open(state_file + ".csv", "w") as csv:
        csv.write("user_id,at\n" + "".join(f"{i},{t}\n" for i, t in zip(events["user_id"], events["at"])))
    with open(state_file + ".want", "w") as want:
        for row in rows:
            want.write(",".join("" if row[name] is None else str(row[name]) for name in ["user_id", "at"] + features) + "\n")
    wrong = moved = 0
    for i, s in enumerate(state):
        assert rows[2 * i]["user_id"] == s["id"]
        for name in features:
            past = [rows[2 * i][name], rows[2 * i + 1][name]]
            moved += past[0] != past[1]
            if s["values"][name] not in past:
                wrong += 1
                print(f"{s['id']} {name} from {s['from']} to {s['to']}: served {s['values'][name]}, history {past}")
    values = {name: len({json.dumps(s["values"][name]) for s in state}) for name in features}
    if wrong:
        print(f"{wrong} of {len(state) * len(features)} differ")
    elif moved > len(state) // 5 or min(values.values()) < 2:
        print(f"that shows nothing: {moved} moved during the read, and there were so many values: {values}")
    else:
        print("no skew")


if what == "write":
    generator = random.Random(int(sys.argv[4]))
    generator.seed_of = int(sys.argv[4])
    write(generator, int(sys.argv[5]))
else:
    compare()
