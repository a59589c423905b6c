"""Do replies over one long HTTP/2 connection carry the headers that HTTP/1.1 carries?
    h2_headers.py PORT [CERTIFICATE]    (with a certificate: over TLS)

Asks routes of all sorts in turn, at least 96 replies and until the date has changed twice, so that entries of the header
tables are used again, replaced and evicted. h2_raw.py decodes each block with two decoders; their result must be what
HTTP/1.1 sent, header for header. One reply needs a CONTINUATION frame. Left out: Connection, Transfer-Encoding and Keep-Alive (HTTP/1.1 only), the values of
Date and of our own request ids (they differ by nature; form and number are checked).
"""
import email.utils
import re
import sys
import time

from h2_raw import Connection, connect, http1_answer

REQUESTS = [
    ("GET", "/health", [], None),
    ("GET", "/docs", [], None),
    ("GET", "/sync/a?q=b", [], None),
    ("GET", "/openapi.json", [("accept-encoding", "gzip")], None),
    ("GET", "/nothing/here", [], None),
    ("POST", "/echo", [("content-type", "application/json")], b"[1,2,3]"),
    ("POST", "/echo", [], b"[1,"),
    ("GET", "/echo", [], None),
    ("GET", "/health/", [], None),
    ("HEAD", "/sync/head", [], None),
    ("GET", "/header", [("x-test", "one")], None),
    ("GET", "/header", [("x-test", "a longer text than fits into a small place of a table")], None),
    ("GET", "/slow?ms=1", [], None),
    ("GET", "/big?bytes=20000", [], None),
    ("GET", "/slow?ms=1000", [("x-request-timeout-ms", "5")], None),
    ("GET", "/fail?ms=1", [], None),
    # Its location and a long id do not fit into one frame. '~' is a byte that Huffman's code does not shorten.
    ("GET", "/sync/" + "~" * 16230 + "/", [], None),
]
IDS = [None, "short", "exactly-19-letters-", "exactly-20-letters--", "x" * 128, "1"]
PER_CONNECTION = (b"connection", b"transfer-encoding", b"keep-alive", b"date", b"x-request-id", b":status")


def comparable(headers):
    return sorted((n, v) for n, v in headers if n not in PER_CONNECTION)


def over_http1(port, cafile, method, path, headers, body):
    with connect(port, cafile, alpn="http/1.1") as sock:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{n}: {v}" for n, v in headers)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        return http1_answer(sock, has_body=method != "HEAD")


def check_one(headers, sent_id, seen):
    names = [n for n, _ in headers]
    for once in (b":status", b"date", b"x-request-id"):
        assert names.count(once) == 1, f"{names.count(once)} times {once}"
    found = dict(headers)
    age = time.time() - email.utils.parsedate_to_datetime(found[b"date"].decode()).timestamp()
    assert -2 <= age <= 3, f"the date is {age} s old"
    given = found[b"x-request-id"].decode()
    if sent_id is not None:
        assert given == sent_id, f"sent the id {sent_id}, got {given}"
    else:
        assert re.fullmatch("[0-9a-f]{16}", given), f"no id of ours: {given}"
        assert given not in seen, f"the id {given} came twice"
        seen.add(given)
    return found[b"date"]


def main():
    port, cafile = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    wanted = [over_http1(port, cafile, *r) for r in REQUESTS]
    assert all(wanted), "HTTP/1.1 does not answer"
    c, seen, dates, n = Connection(port, cafile), set(), set(), 0
    while n < 6 * len(REQUESTS) or len(dates) < 3:
        at = n % len(REQUESTS)
        method, path, headers, body = REQUESTS[at]
        sent_id = IDS[(n // len(REQUESTS) + at) % len(IDS)]
        sent = headers + ([("x-request-id", sent_id)] if sent_id is not None else [])
        got = c.wait(c.request(method, path, sent, body))
        try:
            status, h1_headers, h1_body = wanted[at]
            assert got.error is None, f"reset: {got.error}"
            assert got.status == status, f"status {got.status}, not {status}"
            dates.add(check_one(got.headers, sent_id, seen))
            assert comparable(got.headers) == comparable(h1_headers), \
                f"HTTP/2 {comparable(got.headers)}\n  HTTP/1.1 {comparable(h1_headers)}"
            if b"content-encoding" not in dict(h1_headers):
                assert got.body == h1_body, f"another body: {got.body[:80]}"
        except AssertionError as e:
            sys.exit(f"FAILED: reply {n + 1}, {method} {path[:40]}: {e}")
        n += 1
    assert c.continuations > 0, "no header block was longer than a frame"
    print(f"{n} replies on one connection, {len(dates)} dates: as over HTTP/1.1 ({'TLS' if cafile else 'plain text'})")


main()
