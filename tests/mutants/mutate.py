#!/usr/bin/env python3
"""Mutants: one small mistake each, put into a copy of a source file, to prove that a suite sees it.

  mutate.py list FILE ROOT                prints a line for each mutant of FILE and each suite that is to see it: name of the test,
                                          mutant, source file, suite, its arguments, other sources to build with it, and "included"
                                          when the suite includes the source instead of being linked with it
  mutate.py apply FILE NAME ROOT OUTPUT   writes the source with the mistake

FILE holds blocks. `[name] file`, with what the mistake is in a comment before it; `run: suite arguments` for each suite; `with: files`
when other sources of the same folder have to be built with a header's mistake. Lines that begin with `-` are what stands in the source,
those with `+` what takes their place. Blanks do not count, so that a formatter changes nothing; what is not found exactly once
is an error, since a mutant that no longer fits proves nothing."""
import pathlib
import re
import sys

HEAD = re.compile(r"\[(\w+)\] (\S+)")


def mutants(path):
    found = []
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        if head := HEAD.fullmatch(line):
            found.append({"name": head[1], "file": head[2], "run": [], "with": [], "-": [], "+": []})
        elif line[:1] in ("-", "+"):
            found[-1][line[0]].append(line[1:])
        elif (key := line.partition(":")[0]) in ("run", "with"):
            found[-1][key].append(line.partition(":")[2].split())
        elif line.strip() and not line.startswith("#"):
            sys.exit(f"{path}: what is this line: {line}")
    return found


def source_of(root, name):
    found = [p for folder in ("runtime", "store", "actors", "http") for p in (root / folder).rglob(name)]
    if len(found) != 1:
        sys.exit(f"{name}: {len(found)} files of this name")
    return found[0]


def apply(m, text, path):
    tokens = re.findall(r"\w+|[^\w\s]", "\n".join(m["-"]))
    pattern = "".join(re.escape(t) + (r"\s+" if re.match(r"\w", t) and n and re.match(r"\w", n) else r"\s*")
                      for t, n in zip(tokens, tokens[1:] + [""]))
    found = list(re.finditer(pattern, text))
    if len(found) != 1:
        sys.exit(f"mutant {m['name']}: its lines are {len(found)} times in {path}, not once")
    at = found[0]
    line = text.count("\n", 0, at.start()) + 1
    rest = text.count("\n", 0, at.end()) + 1
    return (f'#line 1 "{path}"\n' + text[:at.start()] + "\n".join(m["+"]) + f'\n#line {rest} "{path}"\n' +
            text[at.end():]), line


def main():
    if sys.argv[1] == "list":
        root = pathlib.Path(sys.argv[3])
        for m in mutants(sys.argv[2]):
            path = source_of(root, m["file"]).relative_to(root)
            others = [str(path.parent / f) for line in m["with"] for f in line]
            for suite, *arguments in m["run"]:
                test = m["name"] + ("_" + suite.split("/")[1] if len(m["run"]) > 1 else "")
                text = (root / "tests" / f"{suite}.c").read_text(encoding="utf-8")
                how = "included" if path.suffix == ".h" or f'#include "{path}"' in text else "linked"
                print(test, m["name"], path, suite, " ".join(arguments), " ".join(others), how, sep=",")
        return
    _, _, file, name, root, output = sys.argv
    m = next(m for m in mutants(file) if m["name"] == name)
    path = source_of(pathlib.Path(root), m["file"])
    text, _ = apply(m, path.read_text(encoding="utf-8"), path)
    pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(output).write_text(text, encoding="utf-8")


main()
