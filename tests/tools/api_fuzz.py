"""Asks a running server what its own /openapi.json says, and checks each reply against it: the status is documented, and so
are the type and the schema of the body. Python's standard library alone.

    api_fuzz.py URL examples         every example of the document and every command of /docs is answered with success
    api_fuzz.py URL fuzz N [SEED]    N requests, valid ones and broken ones; a failure prints its request and the seed
"""
import base64, collections, html, http.client, json, random, re, string, subprocess, sys, urllib.parse

url, mode = sys.argv[1], sys.argv[2]
host = urllib.parse.urlsplit(url).netloc
conn = http.client.HTTPConnection(host, timeout=30)


def ask(method, target, headers, body):
    global conn
    try:
        conn.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            conn.putheader(name, value)
        if body is not None:
            conn.putheader("Content-Length", str(len(body)))
        conn.endheaders(body)
        reply = conn.getresponse()
        return reply.status, reply.headers, reply.read()
    except Exception:
        conn = http.client.HTTPConnection(host, timeout=30)
        raise


document = json.loads(ask("GET", "/openapi.json", [], None)[2])


def resolve(node):
    while isinstance(node, dict) and "$ref" in node:
        found = document
        for part in node["$ref"][2:].split("/"):
            found = found[part]
        node = found
    return node


operations = [(method.upper(), path, operation) for path, item in document["paths"].items()
              for method, operation in item.items()]

# ---- schemas ----
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}


def is_type(value, name):
    if name == "null":
        return value is None
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def mismatch(value, schema, at="$"):
    """Why the value does not fit; None when it does."""
    schema = resolve(schema)
    types = schema.get("type")
    if types and not any(is_type(value, t) for t in ([types] if isinstance(types, str) else types)):
        return f"{at} is {value!r:.60}, not {types}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{at} is {value!r:.60}, not one of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        return f"{at} is {value!r:.60}, not {schema['const']!r}"
    if "oneOf" in schema:
        reasons = [mismatch(value, s, at) for s in schema["oneOf"]]
        if reasons.count(None) != 1:
            return f"{at} fits {reasons.count(None)} of oneOf: {reasons}"
    if isinstance(value, (int, float)) and "minimum" in schema and value < schema["minimum"]:
        return f"{at} is {value}, below {schema['minimum']}"
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            return f"{at} has too few items"
        for i, v in enumerate(value):
            why = mismatch(v, schema.get("items", {}), f"{at}[{i}]")
            if why:
                return why
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                return f"{at} has no {name!r}"
        for name, v in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            if inner is False:
                return f"{at} has {name!r}"
            why = mismatch(v, inner if isinstance(inner, dict) else {}, f"{at}.{name}")
            if why:
                return why
    return None


def unique_keys(pairs):
    keys = [k for k, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"equal keys in {keys}")
    return dict(pairs)


def objection(operation, status, headers, body):
    """What the document does not say of this reply; None when it says it all."""
    response = operation["responses"].get(str(status))
    if response is None:
        return f"status {status} is not documented; {sorted(operation['responses'])} are"
    if len(headers.get_all("x-request-id") or []) != 1:
        return "it has no x-request-id, or several"
    content = resolve(response).get("content", {})
    kind = (headers.get("content-type") or "").split(";")[0]
    if content and kind not in content:
        return f"content type {kind!r} is not documented"
    if kind != "application/json":
        return None
    try:
        value = json.loads(body.decode(), object_pairs_hook=unique_keys)
    except ValueError as e:
        return f"its body is no JSON: {e}"
    return mismatch(value, content[kind]["schema"]) if content else None


# ---- the document itself ----
def check_document():
    ids = [o["operationId"] for _, _, o in operations]
    assert len(set(ids)) == len(ids), "an operationId comes twice"
    for method, path, operation in operations:
        declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert declared == set(re.findall(r"\{([^}]*)\}", path)), f"{path}: its path parameters are {declared}"
        assert any(s[0] == "2" for s in operation["responses"]), f"{method} {path} cannot succeed"
        for response in operation["responses"].values():
            assert resolve(response)["description"], f"{method} {path}: a response without description"
        if method in ("POST", "PUT"):
            content = operation["requestBody"]["content"]["application/json"]
            why = mismatch(content["example"], content["schema"])
            assert why is None, f"{method} {path}: its example: {why}"


def from_examples(path, operation):
    query, headers = [], []
    for p in operation.get("parameters", []):
        if not p.get("required"):
            continue
        if p["in"] == "path":
            path = path.replace("{" + p["name"] + "}", urllib.parse.quote(str(p["example"]), safe=""))
        elif p["in"] == "query":
            query.append((p["name"], p["example"]))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    return path + ("?" + urllib.parse.urlencode(query) if query else ""), body


def examples():
    check_document()
    failed = 0
    for method, path, operation in sorted(operations, key=lambda o: (o[0] == "DELETE", o[0] == "GET")):
        target, body = from_examples(path, operation)
        reply = ask(method, target, [], None if body is None else json.dumps(body).encode())
        why = objection(operation, *reply) or (None if reply[0] < 300 else "no success")
        if why:
            failed += 1
            print(f"FAILED: the example of {method} {target}: {reply[0]} {reply[2][:200]}: {why}")
    page = ask("GET", "/docs", [], None)[2].decode()
    commands = [html.unescape(c) for c in re.findall(r"<pre>(.*?)</pre>", page, re.S)]
    assert len(commands) == len(operations), f"{len(commands)} commands for {len(operations)} operations"
    for command in commands:
        script = command + " -s -o /dev/null -w '%{http_code}'"
        said = subprocess.run(["bash", "-c", script], env={"FABRA_URL": url, "PATH": "/usr/bin:/bin"}, capture_output=True,
                              text=True, timeout=60)
        if not said.stdout.startswith("2"):
            failed += 1
            print(f"FAILED: the command of /docs {command!r}: {said.stdout} {said.stderr}")
    print(f"{len(operations)} operations, {len(commands)} commands")
    return failed


# ---- the fuzzer ----
rng = random.Random()
ALPHABET = string.ascii_letters + string.digits + "_-.:/?&=%+ \"'\\{}[]<>\t\n\x7fäß漢😀\u2028"
ODD_TEXTS = ["", "0", "-1", "null", "true", "1e309", "9223372036854775808", "2026-01-31", "2026-01-31T12:00:00Z", "a" * 256,
             "a" * 257, "ctx_", "sha256:", "..", ".", "%00", "\x00", "ä" * 128, "ctx_00000000-0000-0000-0000-000000000001"]


def text():
    if rng.random() < 0.4:
        return rng.choice(ODD_TEXTS)
    return "".join(rng.choice(ALPHABET) for _ in range(rng.choice([1, 2, 5, 20, 80])))


def number():
    return rng.choice([0, 1, -1, 7, 1000, 1001, 2 ** 31, -2 ** 31, 2 ** 53, 2 ** 63 - 1, -2 ** 63, 2 ** 64 - 1, 0.5, -0.0, 1e300, 5e-324])


def anything(depth=0):
    kind = rng.randrange(7 if depth < 4 else 5)
    if kind < 5:
        return [None, rng.random() < 0.5, number(), text(), rng.randrange(-10, 10)][kind]
    if kind == 5:
        return [anything(depth + 1) for _ in range(rng.randrange(4))]
    return {text(): anything(depth + 1) for _ in range(rng.randrange(4))}


def fitting(schema, depth=0):
    schema = resolve(schema)
    if "enum" in schema:
        return rng.choice(schema["enum"])
    types = schema.get("type")
    kind = rng.choice(types) if isinstance(types, list) else types
    if kind == "string":
        return text()
    if kind == "integer":
        return rng.randrange(schema.get("minimum", -5), schema.get("maximum", 1000) + 1)
    if kind == "number":
        return number()
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "null":
        return None
    if kind == "array":
        return [fitting(schema.get("items", {}), depth + 1) for _ in range(rng.choice([0, 1, 2, 5, 200]) if depth < 2 else 1)]
    if kind == "object":
        value = {name: fitting(inner, depth + 1) for name, inner in schema.get("properties", {}).items()
                 if name in schema.get("required", []) or rng.random() < 0.5}
        if schema.get("additionalProperties", True) and not value:
            value = {text(): anything(1) for _ in range(rng.randrange(4))}
        return value
    return anything(depth)


def broken(value):
    """Something near the value."""
    if isinstance(value, dict) and value and rng.random() < 0.7:
        value = dict(value)
        name = rng.choice(list(value))
        change = rng.randrange(3)
        if change == 0:
            del value[name]
        elif change == 1:
            value[name] = broken(value[name])
        else:
            value[text()] = anything()
        return value
    if isinstance(value, list) and value and rng.random() < 0.7:
        i = rng.randrange(len(value))
        return value[:i] + [broken(value[i])] + value[i + 1:]
    return anything()


def body_of(operation):
    content = operation["requestBody"]["content"]["application/json"]
    value = content["example"] if rng.random() < 0.3 else fitting(content["schema"])
    if rng.random() < 0.3:
        value = broken(value)
    body = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:  # no JSON, or just so
        i = rng.randrange(len(body) + 1)
        body = body[:i] + rng.choice([b"", b"\x00", b"\xff", b"}", b"\"", b"NaN", b"[" * 70]) + body[i + rng.randrange(2):]
    return body


def quoted(value):
    """Percent-encoded, sometimes more than is needed and sometimes less."""
    raw = str(value).encode("utf-8", "surrogatepass") if not isinstance(value, bool) else str(value).lower().encode()
    if rng.random() < 0.02:
        return rng.choice(["%", "%zz", "%ff", "%C3", "%e2%82", "%00"])
    return urllib.parse.quote(raw, safe="" if rng.random() < 0.9 else ":@!$'()*,;")


def request_of(method, path, operation):
    query, headers = [], []
    for p in operation.get("parameters", []):
        schema = resolve(p.get("schema", {}))
        value = p["example"] if "example" in p and rng.random() < 0.4 else fitting(schema)
        if rng.random() < 0.15:
            value = text()
        if p["in"] == "path":
            path = path.replace("{" + p["name"] + "}", quoted("x" if value == "" else value))
        elif p["in"] == "query":
            if rng.random() < (0.95 if p.get("required") else 0.4):
                query.append(f"{p['name']}={quoted(value)}")
        elif rng.random() < 0.5:
            headers.append((p["name"], re.sub(r"[^\x20-\x7e]", "x", str(value)).strip()))
    if rng.random() < 0.05:
        query.append(quoted(text()) + rng.choice(["", "=", "=1"]))
    if query and rng.random() < 0.05:
        query.append(rng.choice(query))
    if rng.random() < 0.03:
        headers.append(("content-encoding", rng.choice(["gzip", "br", "identity", "identity, x", ""])))
    if rng.random() < 0.1:
        headers.append(("x-request-timeout-ms", rng.choice(["1", "50", "5000", "0", "-1", "x", "99999999999"])))
    if rng.random() < 0.05:
        headers.append(("x-request-id", rng.choice(["a", "a" * 128, "a" * 129, "with space"])))
    body = body_of(operation) if "requestBody" in operation and rng.random() < 0.98 else None
    return path + ("?" + "&".join(query) if query else ""), headers, body


def fuzz(requests, seed):
    rng.seed(seed)
    failed, seen = 0, collections.Counter()
    for i in range(requests):
        method, path, operation = rng.choice(operations)
        target, headers, body = request_of(method, path, operation)
        try:
            reply = ask(method, target, headers, body)
            why = objection(operation, *reply) or ("the server failed" if reply[0] == 500 else None)
            seen[reply[0]] += 1
        except Exception as e:
            reply, why = (None, None, b""), f"no answer: {e!r}"
        if why:
            failed += 1
            print(f"FAILED: request {i} of seed {seed}: {method} {target!r:.600} {headers} "
                  f"{base64.b64encode(body or b'')[:2000].decode()}: {reply[0]} {reply[2][:300]!r}: {why}")
            if failed == 10:
                break
    print(f"{sum(seen.values())} replies, seed {seed}: {dict(sorted(seen.items()))}")
    if mode == "fuzz" and requests >= 1000 and not ({200, 400, 404, 415, 422} <= set(seen)):
        print("FAILED: it did not reach the usual statuses")
        failed += 1
    return failed


sys.exit(1 if (examples() if mode == "examples" else
               fuzz(int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 1)) else 0)
