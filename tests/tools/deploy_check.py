#!/usr/bin/python3
"""Looks at deploy/ with what others wrote: JSON Schema, YAML, promtool. Debian's python3-yaml and python3-jsonschema.

    deploy_check.py compose SOURCE SCHEMA      compose.yaml against the schema of the Compose specification
    deploy_check.py dashboard SOURCE           the dashboard: shape, ids, places, and its queries by promtool
    deploy_check.py metrics SOURCE EXPOSITION  every metric that rules and dashboard name is in what a server exposes, or in the
                                               table of deploy/README.md, which has nothing that a server exposes already

Exit code 1 and a line for each fault; 77 when what it needs is not installed.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

try:
    import jsonschema
    import yaml
except ImportError as e:
    print(f"{e.name} is not installed; run tools/setup")
    sys.exit(77)

faults = 0
is_lacking = False


def lacks(what):  # what can be looked at without it still is
    global is_lacking
    is_lacking = True
    print(f"{what}; run tools/setup")


def fault(text):
    global faults
    faults += 1
    print("FAILED:", text)


def compose(source, schema_file):
    with open(source + "/deploy/compose.yaml") as f:
        text = f.read()
    settings = {}
    with open(source + "/deploy/env.example") as f:
        for line in f:
            if match := re.match(r"#?([A-Z_]+)=", line):
                settings[match[1]] = True
    for name, operator in re.findall(r"(?<!\$)\$\{([A-Z_]+)(:[-?])?", text):
        if name not in settings:
            fault(f"compose.yaml uses ${{{name}}}, which env.example does not have")
    file = yaml.safe_load(text)
    if os.path.exists(schema_file):
        with open(schema_file) as f:
            schema = json.load(f)
        validator = (jsonschema.Draft7Validator if "draft-07" in schema["$schema"] else jsonschema.Draft201909Validator)(schema)
        for error in validator.iter_errors(file):
            fault(f"compose.yaml: {'/'.join(map(str, error.absolute_path))}: {error.message}")
    else:
        lacks(f"{schema_file} is not there")
    # What no schema says.
    services = file["services"]
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            if other not in services:
                fault(f"{name} depends on {other}, which is no service")
            elif isinstance(service["depends_on"], dict):
                if service["depends_on"][other].get("condition") == "service_healthy" and "healthcheck" not in services[other]:
                    fault(f"{name} waits for {other} to be healthy, which has no health check")
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                fault(f"{name} publishes {port} beyond loopback")
        for volume in service.get("volumes", []):
            place = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            place = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", place)
            if place.startswith("."):
                if not os.path.exists(os.path.join(source, "deploy", place)):
                    fault(f"{name} mounts {place}, which does not exist")
            elif place not in file["volumes"]:
                fault(f"{name} mounts {place}, which is no volume")
    with open(source + "/deploy/prometheus/prometheus.yml") as f:
        for job in yaml.safe_load(f)["scrape_configs"]:
            for target in (t for c in job["static_configs"] for t in c["targets"]):
                if target.split(":")[0] not in services:
                    fault(f"Prometheus scrapes {target}, which is no service")


def dashboard_file(source):
    with open(source + "/deploy/grafana/dashboards/fabra.json") as f:
        return json.load(f)


PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "type": {"enum": ["row", "timeseries", "stat"]},
        "title": {"type": "string", "minLength": 1},
        "gridPos": {
            "type": "object",
            "required": ["x", "y", "w", "h"],
            "properties": {
                "x": {"type": "integer", "minimum": 0, "maximum": 23},
                "y": {"type": "integer", "minimum": 0},
                "w": {"type": "integer", "minimum": 1, "maximum": 24},
                "h": {"type": "integer", "minimum": 1},
            },
        },
        "targets": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["refId", "expr", "legendFormat", "datasource"],
                "properties": {"datasource": {"const": {"type": "prometheus", "uid": "prometheus"}}},
            },
        },
    },
    "if": {"properties": {"type": {"not": {"const": "row"}}}},
    "then": {"required": ["targets", "fieldConfig", "options", "datasource"]},
}
DASHBOARD = {
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "panels", "templating", "time"],
    "properties": {
        "uid": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$"},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "panels": {"type": "array", "minItems": 1, "items": PANEL},
        "templating": {
            "type": "object",
            "required": ["list"],
            "properties": {"list": {"items": {"required": ["name", "type", "query", "datasource"]}}},
        },
        "id": {"type": "null"},
    },
}


def queries(board):
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"]
            for name, value in (("$__rate_interval", "5m"), ("$instance", ".*"), ("$job", "fabra")):
                text = text.replace(name, value)
            yield panel["title"], text


def dashboard(source):
    board = dashboard_file(source)
    for error in jsonschema.Draft7Validator(DASHBOARD).iter_errors(board):
        fault(f"fabra.json: {'/'.join(map(str, error.absolute_path))}: {error.message}")
    ids = [p["id"] for p in board["panels"]]
    if len(set(ids)) != len(ids):
        fault("fabra.json: two panels have one id")
    taken = {}
    for p in board["panels"]:
        at = p["gridPos"]
        if at["x"] + at["w"] > 24:
            fault(f"fabra.json: {p['title']} is wider than the page")
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                if (x, y) in taken:
                    fault(f"fabra.json: {p['title']} lies over {taken[x, y]}")
                    break
                taken[x, y] = p["title"]
    names = {v["name"] for v in board["templating"]["list"]} | {"__rate_interval"}
    for used in set(re.findall(r"\$(\w+)", json.dumps(board["panels"]))) - names:
        fault(f"fabra.json: ${used} is no variable")
    if not shutil.which("promtool"):
        print("promtool is not installed; run tools/setup")
        sys.exit(1 if faults else 77)
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as f:
        rules = [{"record": f"panel:number:{i}", "expr": text} for i, (_, text) in enumerate(queries(board))]
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, f)
        f.flush()
        told = subprocess.run(["promtool", "check", "rules", f.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if told.returncode != 0:
            fault(f"queries of fabra.json: {told.stdout}")
        elif f"{len(rules)} rules found" not in told.stdout:
            fault(f"promtool looked at something else: {told.stdout}")


def names_of(text):
    return {re.sub(r"_(bucket|sum|count)$", "", n) for n in re.findall(r"\b(?:fabra|process)_[a-z0-9_]+", text)}


def metrics(source, exposition_file):
    with open(exposition_file) as f:
        exposed = {m[1] for m in re.finditer(r"^# TYPE (\S+)", f.read(), re.M)}
    if not exposed:
        fault("the server exposes nothing")
    planned = set()
    with open(source + "/deploy/README.md") as f:
        part = f.read().split("## Metrics of production mode")
    if len(part) != 2:
        fault('deploy/README.md has no part "Metrics of production mode"')
    else:
        planned = set(re.findall(r"^\| `(fabra_[a-z_]+)`", part[1], re.M))
    for name in sorted(planned & exposed):
        fault(f"{name} is in the table of deploy/README.md, and the server has it: move it to docs/observability.md")
    used = {}
    for rules in ("alerts.yml", "alerts-production.yml"):
        with open(f"{source}/deploy/prometheus/{rules}") as f:
            for group in yaml.safe_load(f)["groups"]:
                for rule in group["rules"]:
                    for name in names_of(rule["expr"]):
                        used.setdefault(name, []).append(f"{rules}: {rule.get('alert') or rule.get('record')}")
                        if rules == "alerts.yml" and name in planned:
                            fault(f"{rules}: {rule.get('alert')} uses {name}, which no server has yet: it belongs into alerts-production.yml")
    for title, text in queries(dashboard_file(source)):
        for name in names_of(text):
            used.setdefault(name, []).append(f"fabra.json: {title}")
    for name in sorted(set(used) - exposed - planned):
        fault(f"{name} is no metric of the server ({used[name][0]})")
    for name in sorted(planned - set(used)):
        fault(f"{name} is in the table of deploy/README.md, and nothing uses it")


{"compose": compose, "dashboard": dashboard, "metrics": metrics}[sys.argv[1]](*sys.argv[2:])
sys.exit(1 if faults else 77 if is_lacking else 0)
