#!/usr/bin/env python3
"""tools/check_layers must pass a good tree and name what is wrong in each bad one. $1: the tree whose check is tested."""
import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys
import tempfile

CHECK = pathlib.Path(sys.argv[1]) / "tools" / "check_layers"
GOOD = {
    "runtime/loop.h": "",
    "store/text/json.h": '#include "runtime/loop.h"\n',
    "store/record/record.h": '#include "store/text/json.h"\n',
    "store/record/record_text.h": "",
    "store/online/online.c": '#include "store/online/online.h"\n#include "runtime/loop.h"\n',
    "store/online/online.h": '#include "store/text/json.h"\n',
    "store/ledger/ledger.h": '#include "store/record/record.h"\n#include <stdio.h>\n',
    "store/ledger/ledger_private.h": "",
    "actors/node.h": '#include "store/online/online.h"\n',
    "tools/serve.c": '#include "store/ledger/ledger.h"\n',
    "tests/unit/test_ledger.c": '#include "store/ledger/ledger_private.h"\n',
    "tools/ranks/make.c": '#include "runtime/loop.h"\n',
}
BAD = {  # a file, what it includes, what the check must say
    "a folder above": ("runtime/loop.c", "store/text/json.h", "runtime/loop.c:1: runtime/ may not include store/text/"),
    "a sibling": ("store/online/online_row.c", "store/ledger/ledger.h", "store/online/ may not include store/ledger/"),
    "a sibling above": ("store/text/json.c", "store/record/record.h", "store/text/ may not include store/record/"),
    "the folder that a room is in": ("store/text/json.c", "store/stores.h", "store/text/ may not include store/"),
    "a backend that actors do not know": ("actors/node.c", "store/ledger/ledger.h", "actors/ may not include store/ledger/"),
    "a private header": ("tools/main.c", "store/ledger/ledger_private.h", "private to store/ledger/"),
    "a header that is not for outside": ("store/ledger/ledger.c", "store/record/record_text.h", "private to store/record/"),
    "tests": ("tools/paths.c", "tests/unit/fixture.h", "tools/ may not include tests/"),
    "a bare name": ("store/text/json.c", "json.h", 'spell it from the root: "folder/json.h"'),
    "a folder without a row": ("store/cellar/wine.c", "runtime/loop.h", "store/cellar/wine.c: its folder has no row"),
    "a circle": ("store/text/json.c", "store/ledger/ledger.h",
                 "a circle of includes: store/text -> store/ledger -> store/record -> store/text"),
}


def run(files):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        done = subprocess.run([CHECK, root], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


def table_circle():
    """What is found when a row is added that closes a circle in the table."""
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("check_layers", str(CHECK))
    check = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_layers", loader))
    loader.exec_module(check)
    assert check.circle(check.MAY_INCLUDE) is None
    return check.circle({**check.MAY_INCLUDE, "runtime": ["store/text"]})


def main():
    wrong = []
    status, text = run(GOOD)
    if status != 0 or "only downward" not in text:
        wrong.append(f"a good tree: exit {status}: {text}")
    for name, (path, target, expected) in BAD.items():
        status, text = run({**GOOD, path: f'#include "{target}"\n'})
        if status != 1 or expected not in text:
            wrong.append(f"{name}: exit {status}, expected '{expected}', got: {text}")
    if sorted(set(table_circle() or [])) != ["runtime", "store/text"]:
        wrong.append(f"a circle in the table: {table_circle()}")
    print("\n".join(wrong) if wrong else f"{len(BAD) + 2} cases")
    return 1 if wrong else 0


sys.exit(main())
