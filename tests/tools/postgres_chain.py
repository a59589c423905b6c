#!/usr/bin/env python3
"""Checks what Postgres keeps, without this program's code: every record's hash, every chain, and the heads that were taken of them.

    postgres_chain.py PSQL URL [RECORDS]

RECORDS: how many there must be at least. Prints one line; exit 1 with the faults when there are any."""
import hashlib
import json
import subprocess
import sys


def rows(psql, url, sql):
    done = subprocess.run([psql, url, "-XqAtF", "|", "-v", "ON_ERROR_STOP=1", "-c", sql], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return [line.split("|") for line in done.stdout.splitlines()]


def main():
    psql, url = sys.argv[1:3]
    at_least = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    faults, ends, count = [], {}, 0
    lanes = {lane: name for lane, name in rows(psql, url, "SELECT id, name FROM fabra.lanes")}
    for lane, seq, context_id, previous, digest, canonical in rows(psql, url, """
            SELECT lane, coalesce(seq::text, ''), context_id, coalesce(previous_context_id::text, ''), encode(record_hash, 'hex'),
                   encode(canonical, 'hex') FROM fabra.records ORDER BY lane, seq"""):
        if not seq:
            continue  # imported: outside of the chains
        count += 1
        text = bytes.fromhex(canonical)
        record = json.loads(text)
        said = record["integrity"]["previous_context_id"]
        number, last = ends.get(lane, (0, ""))[:2]
        if hashlib.sha256(text).hexdigest() != digest:
            faults.append(f"{context_id}: its hash is not that of its text")
        if record["context_id"] != "ctx_" + context_id:
            faults.append(f"{context_id}: its text names another")
        if (said or "") != ("ctx_" + previous if previous else ""):
            faults.append(f"{context_id}: column and text name different predecessors")
        if lane not in lanes:
            faults.append(f"{context_id}: its lane is unknown")
        if int(seq) != number + 1 or previous != last:
            faults.append(f"{lanes.get(lane)}: {context_id} is number {seq} behind {previous or 'nothing'}, and the chain is at {number}, {last}")
        ends[lane] = (int(seq), context_id, digest)
    for lane, records, last, digest in rows(psql, url, """
            SELECT id, records, coalesce(last_context_id::text, ''), coalesce(encode(last_hash, 'hex'), '') FROM fabra.lanes"""):
        if ends.get(lane, (0, "", ""))[0:3] != (int(records), last, digest):
            faults.append(f"{lanes[lane]}: the lane says {records} records up to {last}, and there are {ends.get(lane)}")
    before, heads = b"", 0
    for heads_text, digest in rows(psql, url, "SELECT encode(convert_to(heads, 'UTF8'), 'hex'), encode(hash, 'hex') FROM fabra.chain_heads ORDER BY id"):
        text = bytes.fromhex(heads_text)
        heads += 1
        if hashlib.sha256(before + text).hexdigest() != digest:
            faults.append(f"the heads number {heads} do not follow those before")
        before = bytes.fromhex(digest)
        for line in text.decode().splitlines():
            name, records, _ = line.split(" ")
            lane = next((lane for lane, other in lanes.items() if other == name), None)
            if ends.get(lane, (0,))[0] < int(records):
                faults.append(f"{name}: it had {records} records when its head was taken, and has fewer")
    if count < at_least:
        faults.append(f"there are {count} records, and there must be {at_least}")
    print("\n".join(faults) if faults else f"{count} records in {len(ends)} chains, {heads} rows of heads: all follow")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
