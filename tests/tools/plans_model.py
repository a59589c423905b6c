"""Asks a server the same questions over a history that grows, and SQLite over the same rows.

    plans_model.py definitions (sql|features)        the file to serve
    plans_model.py (sql|features) URL SEED ROUNDS    exit code 1 and the first differences when an answer is another one

sql asks through fabra.sql in a context's function, and lists contexts; features asks SQL features, whose own values
join the history.
Between rounds rows are appended whose texts grow and shrink and whose numbers take all widths, so that a plan kept
from an earlier round meets data that it was not made for. Prints what it compared."""
import json
import random
import sqlite3
import sys
import time
import urllib.request

# One text for both: schema fabra, and functions that DuckDB and SQLite have alike.
H = "fabra.feature_history"
QUESTIONS = {
    "count": f"SELECT count(*) AS n FROM {H}",
    "order by text": f"SELECT value FROM {H} ORDER BY value, entity_id, feature",
    "order by text, limit": f"SELECT value, entity_id FROM {H} ORDER BY value DESC, entity_id DESC, feature DESC LIMIT 5",
    "literal filter, numbers": f"SELECT count(*) AS n FROM {H} WHERE ttl_ms > 5",
    "literal filter, far": f"SELECT count(*) AS n FROM {H} WHERE ttl_ms > 3000000000",
    "literal filter, text": f"SELECT count(*) AS n FROM {H} WHERE entity_id > 'm'",
    "between": f"SELECT entity_id, ttl_ms FROM {H} WHERE ttl_ms BETWEEN 200 AND 70000 ORDER BY ttl_ms, entity_id, feature",
    "in": f"SELECT count(*) AS n FROM {H} WHERE length(value) IN (1, 7, 30, 300)",
    "equality": f"SELECT count(*) AS n FROM {H} WHERE feature = 'b' AND ttl_ms = 0",
    "group by text": f"SELECT entity_id, count(*) AS n, max(value) AS v FROM {H} GROUP BY entity_id ORDER BY entity_id",
    "group by number": f"SELECT ttl_ms, count(*) AS n FROM {H} GROUP BY ttl_ms ORDER BY ttl_ms",
    "group by two": f"SELECT feature, length(value) AS w, min(ttl_ms) AS t FROM {H} GROUP BY feature, length(value) ORDER BY 1, 2",
    "distinct text": f"SELECT DISTINCT value FROM {H} ORDER BY value",
    "distinct number": f"SELECT DISTINCT length(value) AS w FROM {H} ORDER BY w",
    "min and max": f"SELECT min(value) AS a, max(value) AS b, min(ttl_ms) AS c, max(ttl_ms) AS d FROM {H}",
    "is null": f"SELECT count(*) AS n FROM {H} WHERE nullif(ttl_ms, 0) IS NULL",
    "join": f"SELECT a.entity_id, count(*) AS n FROM {H} a JOIN {H} b ON a.value = b.value AND a.feature <> b.feature "
            "GROUP BY a.entity_id ORDER BY 1",
    "join on numbers": f"SELECT count(*) AS n FROM {H} a JOIN {H} b ON a.ttl_ms = b.ttl_ms",
    "left join": f"SELECT count(*) AS n FROM {H} a LEFT JOIN (SELECT * FROM {H} WHERE ttl_ms > 100) b ON a.entity_id = b.entity_id "
                 "WHERE b.value IS NULL",
    "anti join": f"SELECT count(*) AS n FROM {H} a WHERE NOT EXISTS (SELECT 1 FROM {H} b WHERE b.ttl_ms > a.ttl_ms)",
    "window": f"SELECT entity_id, value, row_number() OVER (PARTITION BY entity_id ORDER BY value, feature, ttl_ms) AS r FROM {H} "
              "ORDER BY entity_id, r",
    "window over numbers": f"SELECT entity_id, rank() OVER (ORDER BY ttl_ms) AS r FROM {H} ORDER BY r, entity_id, feature",
    "lag": f"SELECT value, coalesce(lag(value) OVER (ORDER BY value, entity_id, feature), '') AS before FROM {H} ORDER BY value, entity_id, feature",
    "offset": f"SELECT value FROM {H} ORDER BY ttl_ms DESC, value, entity_id, feature LIMIT 4 OFFSET 2",
    "union": f"SELECT entity_id AS k FROM {H} UNION SELECT value FROM {H} ORDER BY k",
    "having": f"SELECT entity_id, sum(ttl_ms % 1000) AS s FROM {H} GROUP BY entity_id HAVING count(*) > 2 ORDER BY entity_id",
    "subquery": f"SELECT count(*) AS n FROM {H} WHERE ttl_ms = (SELECT max(ttl_ms) FROM {H})",
}
BOUND = {
    "bound number": (f"SELECT count(*) AS n FROM {H} WHERE ttl_ms >= ?", lambda r: [r.choice([0, 5, 300, 70000, 2**40])]),
    "bound text": (f"SELECT value FROM {H} WHERE entity_id >= ? ORDER BY value, entity_id, feature",
                   lambda r: [r.choice(["a", "u05", "u15", "zz"])]),
    "bound both": (f"SELECT count(*) AS n FROM {H} WHERE value < ? OR ttl_ms < ?", lambda r: ["m" * r.randrange(1, 40), r.randrange(1000)]),
}
WIDTHS = [0, 1, 2, 7, 30, 12, 300, 3, 1, 3000]  # of texts: they grow and shrink
CONTEXTS = ["ab", "a_context_whose_name_is_much_longer_than_a_short_one", "middle_name"]
TTLS = [0, 100, 200, 0, 65000, 7, 2**31 - 1, 40, 2**33, 250, 10**12]  # one to six bytes


class Server:
    def __init__(self, url):
        self.url = url

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data, method=method), timeout=30) as r:
                return json.load(r)
        except urllib.error.HTTPError as e:
            raise SystemExit(f"{method} {path} {body}: {e.code} {e.read().decode()}")

    def ask(self, context, statement, params=()):
        """Through fabra.sql in a context's function."""
        return self.call("POST", f"/v1/context/{context}", {"sql": statement, "params": list(params)})


def definitions(mode):
    """The features whose values fill the history, one for each ttl; and the ways to ask."""
    lines = ['local fabra = require "fabra"', 'local User = fabra.entity { name = "User", id = "user_id" }']
    for i, ttl in enumerate(TTLS):
        option = f', ttl = "{ttl}ms"' if ttl else ""
        lines.append(f'fabra.feature {{ name = "f{i}", entity = User{option} }}')
    for name in CONTEXTS:
        lines.append(f'fabra.context {{ name = "{name}", build = function(args) '
                     'return fabra.json.encode(fabra.await(fabra.sql(args.sql, fabra.array(args.params)))) end }')
    longest = f"SELECT entity_id AS user_id, max(length(value)) AS longest FROM {H} WHERE feature LIKE 'f%' GROUP BY entity_id"
    newest = f"SELECT entity_id AS user_id, max(value) AS newest FROM {H} WHERE feature LIKE 'f%' GROUP BY entity_id"
    if mode == "sql":
        return "\n".join(lines) + "\n"
    lines.append(f'fabra.feature {{ name = "longest", entity = User, sql = "{longest}" }}')
    lines.append(f'fabra.feature {{ name = "newest", entity = User, refresh = "1s", materialize = true, sql = "{newest}" }}')
    return "\n".join(lines) + "\n"


def new_rows(rng, number):
    """The rows of one round: (entity id, feature, ttl, value)."""
    width = WIDTHS[number % len(WIDTHS)]
    rows = []
    for i in range(rng.randrange(1, 6)):
        letters = "".join(rng.choice("abcmxyz\u00e9") for _ in range(max(0, width + rng.randrange(-1, 2))))
        value = rng.choice([letters, letters, rng.randrange(-10**6, 10**6), number])
        at = (number + i) % len(TTLS)
        rows.append((f"u{rng.randrange(20):02d}", f"f{at}", TTLS[at], value))
    return rows


def append(server, db, rows, clock):
    for entity_id, feature, ttl, value in rows:
        clock[0] += 1
        stamp = f"2026-01-01T00:{clock[0] // 60:02d}:{clock[0] % 60:02d}Z"
        server.call("PUT", f"/v1/features/User/{entity_id}", {"values": {feature: value}, "timestamp": stamp})
        db.execute("INSERT INTO fabra.feature_history VALUES (?, ?, ?, ?)",
                   (entity_id, feature, json.dumps(value, ensure_ascii=False), ttl))


def oracle(db, statement, params=()):
    cursor = db.execute(statement, params)
    return [dict(zip([c[0] for c in cursor.description], row)) for row in cursor]


def main():
    if sys.argv[1] == "definitions":
        print(definitions(sys.argv[2]), end="")
        return 0
    mode, server, rng, rounds = sys.argv[1], Server(sys.argv[2]), random.Random(int(sys.argv[3])), int(sys.argv[4])
    db = sqlite3.connect(":memory:")
    db.execute("ATTACH ':memory:' AS fabra")
    db.execute("CREATE TABLE fabra.feature_history(entity_id TEXT, feature TEXT, value TEXT, ttl_ms INTEGER)")
    clock, asked, compared, wrong = [0], [], 0, []

    def compare(name, got, wanted):
        nonlocal compared
        compared += 1
        if got != wanted:
            wrong.append(f"round {number}, {name}:\n  got    {json.dumps(got)[:400]}\n  wanted {json.dumps(wanted)[:400]}")

    for number in range(rounds):
        append(server, db, new_rows(rng, number), clock)
        if mode == "sql":
            bound = {name: (statement, make(rng)) for name, (statement, make) in BOUND.items()}
            for name, (statement, params) in [*((n, (q, [])) for n, q in QUESTIONS.items()), *bound.items()]:
                context = CONTEXTS[rng.randrange(len(CONTEXTS))]
                answer = server.ask(context, statement, params)
                asked.insert(0, (answer["id"], context))
                compare(f"fabra.sql, {name}", json.loads(answer["content"]), oracle(db, statement, params))
            for limit in (1, 3, 50):
                rows = server.call("GET", f"/v1/contexts?limit={limit}")
                compare(f"list of {limit}", [(r["context_id"], r["name"]) for r in rows], asked[:limit])
            name = rng.choice(CONTEXTS)
            rows = server.call("GET", f"/v1/contexts?limit=5&name={name}")
            compare("list by name", [r["context_id"] for r in rows], [a[0] for a in asked if a[1] == name][:5])
        else:
            for row in oracle(db, "SELECT entity_id AS k, max(length(value)) AS v FROM fabra.feature_history GROUP BY entity_id"):
                got = server.call("GET", f"/v1/features/longest?entity_id={row['k']}")
                compare(f"SQL on demand, {row['k']}", got["value"], row["v"])
        if wrong:
            break
    print(f"{mode}, seed {sys.argv[3]}: {compared} answers compared over {number + 1} rounds, {clock[0]} rows; wrong: {len(wrong)}")
    for line in wrong[:5]:
        print(line)
    if wrong:
        return 1
    return check_materialised(server, db) if mode == "features" else 0


def check_materialised(server, db):
    """The materialised feature follows within its refresh, under the plan that it was first run with."""
    wanted = oracle(db, "SELECT entity_id AS k, max(value) AS v FROM fabra.feature_history GROUP BY entity_id")
    deadline = time.monotonic() + 20
    while True:
        answer = server.call("POST", "/v1/features/batch", {"name": "User", "features": ["newest"], "ids": [r["k"] for r in wanted]})
        got = [answer.get(row["k"], {}).get("newest") for row in wanted]
        if got == [row["v"] for row in wanted]:
            print(f"materialised: {len(got)} values as they should be")
            return 0
        if time.monotonic() > deadline:
            print(f"materialised: got {got}\n  wanted {[row['v'] for row in wanted]}")
            return 1
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
