"""Runs the example of a page of docs/: transcript.py PAGE file FOLDER writes its definitions file, transcript.py PAGE run FOLDER runs each `$ command`
of its blocks in one shell in that folder and compares what is printed with what the page shows."""
import pathlib
import subprocess
import sys

page, what, folder = sys.argv[1:]
blocks, block = [], []
for line in pathlib.Path(page).read_text().splitlines() + [""]:
    if line.startswith("    "):
        block.append(line[4:])
    elif block:
        blocks.append(block)
        block = []
if what == "file":
    definitions = [b for b in blocks if b[0].startswith("local fabra")]
    assert len(definitions) == 1
    pathlib.Path(folder, "store.lua").write_text("\n".join(definitions[0]) + "\n")
    sys.exit()
commands, wanted = [], []
for line in (line for b in blocks if b[0].startswith("$ ") for line in b):
    if line.startswith("$ "):
        commands.append(line[2:])
        wanted.append([])
    else:
        wanted[-1].append(line)
assert len(commands) > 3
mark = "--- next command ---"
script = "set -e\n" + "".join(f"{c}\necho '{mark}'\n" for c in commands)
done = subprocess.run(["bash"], input=script, cwd=folder, capture_output=True, text=True)
printed = done.stdout.split(mark + "\n")
wrong = 0
for command, lines, got in zip(commands, wanted, printed):
    if got.splitlines() != lines:
        wrong += 1
        print(f"$ {command}\nprints {got!r}\nnot    {lines!r}")
if done.returncode or len(printed) != len(commands) + 1:
    wrong += 1
    print(f"the shell ended with {done.returncode} after {len(printed) - 1} of {len(commands)} commands: {done.stderr}")
print("as printed" if not wrong else "not as printed")
