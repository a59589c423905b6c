"""Requests that a strict server refuses, byte by byte, and such that it must not refuse.
    http_refusals.py PORT [CERTIFICATE]

Each refused HTTP/1 request is followed by another one in the same write: the answer must be JSON with a request id, the
connection must end, and what followed must never be answered. Each is sent at once and in pieces, and counted by kind.
"""
import json
import struct
import sys

from h2_raw import (CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, Connection, connect, frame, http1,
                    http1_answer, until_end)

H = b"Host: x\r\n"
POST = b"POST /bytes HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /sync/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

# what, bytes, status, kind
REFUSED = [
    ("both framings", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"),
    ("both, the other way round", POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
     "transfer_encoding"),
    ("two lengths", POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc", 400, "content_length"),
    ("two equal lengths", POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", 400, "content_length"),
    ("a list of lengths", POST + b"Content-Length: 2, 2\r\n\r\nab", 400, "content_length"),
    ("a signed length", POST + b"Content-Length: +2\r\n\r\nab", 400, "content_length"),
    ("a hexadecimal length", POST + b"Content-Length: 0x2\r\n\r\nab", 400, "content_length"),
    ("an empty length", POST + b"Content-Length:\r\n\r\n", 400, "content_length"),
    ("a huge length", POST + b"Content-Length: 184467440737095516170\r\n\r\n", 400, "content_length"),
    ("another coding", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"),
    ("chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"),
    ("two codings", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400,
     "transfer_encoding"),
    ("identity", POST + b"Transfer-Encoding: identity\r\n\r\n", 400, "transfer_encoding"),
    ("a coding with a vertical tab", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, "header"),
    ("a quoted coding", POST + b"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"),
    ("chunked in HTTP/1.0", b"POST /bytes HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"),
    ("chunk size with 0x", CHUNKED + b"0x1b\r\n" + b"a" * 27 + b"\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk size, CR without LF", CHUNKED + b"c\rXX" + b"a" * 12 + b"\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk size, LF without CR", CHUNKED + b"2\nab\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk size, signed", CHUNKED + b"+2\r\nab\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk size, empty", CHUNKED + b"\r\nab\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk size, a space before", CHUNKED + b" 2\r\nab\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk size, a space behind", CHUNKED + b"2 \r\nab\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk size, beyond 64 bits", CHUNKED + b"10000000000000002\r\nab\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk size, underscored", CHUNKED + b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk longer than its size", CHUNKED + b"2\r\nabc\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk data, LF without CR", CHUNKED + b"2\r\nab\n0\r\n\r\n", 400, "chunk"),
    ("chunk data, many CR", CHUNKED + b"2\r\nab\r\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk extension with LF", CHUNKED + b"2;a\nb\r\nab\r\n0\r\n\r\n", 400, "chunk"),
    ("chunk extensions without end", CHUNKED + b"2;" + b"a" * 20000, 400, "chunk"),
    ("trailer with LF", CHUNKED + b"0\r\nA: b\n\r\n", 400, "chunk"),
    ("trailer without a colon", CHUNKED + b"0\r\nGET / HTTP/1.1\r\n\r\n", 400, "chunk"),
    ("trailer, folded", CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n", 400, "chunk"),
    ("trailers without end", CHUNKED + b"0\r\n" + b"A: b\r\n" * 5000, 400, "chunk"),
    ("no CR in the request line", b"GET /sync/a HTTP/1.1\nHost: x\r\n\r\n", 400, "line_end"),
    ("no CR in a header", b"GET /sync/a HTTP/1.1\r\nHost: x\n\r\n", 400, "line_end"),
    ("no CR before the body", POST + b"Content-Length: 2\r\n\nab", 400, "line_end"),
    ("a CR inside a header", b"GET /sync/a HTTP/1.1\r\n" + H + b"A: b\rContent-Length: 9\r\n\r\n", 400, "header"),
    ("no Host", b"GET /sync/a HTTP/1.1\r\n\r\n", 400, "host"),
    ("two Hosts", b"GET /sync/a HTTP/1.1\r\n" + H + b"Host: y\r\n\r\n", 400, "host"),
    ("two equal Hosts", b"GET /sync/a HTTP/1.1\r\n" + H + H + b"\r\n", 400, "host"),
    ("two names in Host", b"GET /sync/a HTTP/1.1\r\nHost: x y\r\n\r\n", 400, "host"),
    ("a user in Host", b"GET /sync/a HTTP/1.1\r\nHost: u@x\r\n\r\n", 400, "host"),
    ("a path in Host", b"GET /sync/a HTTP/1.1\r\nHost: x/y\r\n\r\n", 400, "host"),
    ("two Hosts in HTTP/1.0", b"GET /sync/a HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400, "host"),
    ("a URL without a host", b"GET http:///sync/a HTTP/1.1\r\n" + H + b"\r\n", 400, "target"),
    ("a URL with a port alone", b"GET http://:80/sync/a HTTP/1.1\r\n" + H + b"\r\n", 400, "target"),
    ("a URL of nothing", b"GET HTTPS:// HTTP/1.1\r\n" + H + b"\r\n", 400, "target"),
    ("a user in a URL", b"GET http://u@x/sync/a HTTP/1.1\r\n" + H + b"\r\n", 400, "target"),
    ("a folded header", b"GET /sync/a HTTP/1.1\r\n" + H + b"A: b\r\n c\r\n\r\n", 400, "folded_header"),
    ("a folded first header", b"GET /sync/a HTTP/1.1\r\n " + H + b"\r\n", 400, "folded_header"),
    ("a space before the colon", POST + b"Content-Length : 2\r\n\r\nab", 400, "header"),
    ("a tab before the colon", POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400, "header"),
    ("a header without a name", b"GET /sync/a HTTP/1.1\r\n" + H + b": b\r\n\r\n", 400, "header"),
    ("a header without a colon", b"GET /sync/a HTTP/1.1\r\n" + H + b"abc\r\n\r\n", 400, "header"),
    ("NUL in a header", b"GET /sync/a HTTP/1.1\r\n" + H + b"A: b\0c\r\n\r\n", 400, "header"),
    ("NUL in a name", b"GET /sync/a HTTP/1.1\r\n" + H + b"A\0: b\r\n\r\n", 400, "header"),
    ("two spaces", b"GET  /sync/a HTTP/1.1\r\n" + H + b"\r\n", 400, "request_line"),
    ("a tab in the request line", b"GET\t/sync/a HTTP/1.1\r\n" + H + b"\r\n", 400, "request_line"),
    ("a space before the method", b" GET /sync/a HTTP/1.1\r\n" + H + b"\r\n", 400, "request_line"),
    ("a strange method", b"G(T /sync/a HTTP/1.1\r\n" + H + b"\r\n", 400, "request_line"),
    ("no version", b"GET /sync/a\r\n" + H + b"\r\n", 400, "request_line"),
    ("one word", b"GARBAGE\r\n\r\n", 400, "request_line"),
    ("a TLS greeting" , b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "request_line"),
    ("HTTP/2.0 in this form", b"GET /sync/a HTTP/2.0\r\n" + H + b"\r\n", 400, "version"),
    ("HTTP/1.10", b"GET /sync/a HTTP/1.10\r\n" + H + b"\r\n", 400, "version"),
    ("http/1.1", b"GET /sync/a http/1.1\r\n" + H + b"\r\n", None, "protocol"),
    ("another protocol", b"INVALID CONNECTION PREFACE\r\n\r\n", None, "protocol"),
    ("101 headers", b"GET /sync/a HTTP/1.1\r\n" + H + b"".join(b"A%d: b\r\n" % i for i in range(100)) + b"\r\n", 431,
     "too_large"),
    ("a header of 17,000 bytes", b"GET /sync/a HTTP/1.1\r\n" + H + b"A: " + b"b" * 17000 + b"\r\n\r\n", 431, "too_large"),
    ("a header without end", b"GET /sync/a HTTP/1.1\r\n" + H + b"A: " + b"b" * 40000, 431, "too_large"),
    ("a target without end", b"GET /sync/" + b"a" * 40000, 431, "too_large"),
]

# what, bytes, status, body or None
SOUND = [
    ("a plain one", b"GET /sync/a HTTP/1.1\r\n" + H + b"\r\n", 200, b'{"name":"a"}'),
    ("CR LF before it", b"\r\nGET /sync/a HTTP/1.1\r\n" + H + b"\r\n", 200, b'{"name":"a"}'),
    ("HTTP/1.0 without Host", b"GET /sync/a HTTP/1.0\r\n\r\n", 200, b'{"name":"a"}'),
    ("an empty Host", b"GET /sync/a HTTP/1.1\r\nHost:\r\n\r\n", 200, b'{"name":"a"}'),
    ("an address as Host", b"GET /sync/a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200, b'{"name":"a"}'),
    ("spaces around a value", POST + b"Content-Length: \t 2 \t\r\n\r\nab", 200, b'{"bytes":2}'),
    ("headers in capitals", b"POST /bytes HTTP/1.1\r\nHOST: x\r\nCONTENT-LENGTH: 2\r\n\r\nab", 200, b'{"bytes":2}'),
    ("leading zeros", POST + b"Content-Length: 002\r\n\r\nab", 200, b'{"bytes":2}'),
    ("Chunked", POST + b"Transfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 200, b'{"bytes":2}'),
    ("chunks", CHUNKED + b"1b\r\n" + b"a" * 27 + b"\r\n00A\r\n" + b"b" * 10 + b"\r\n0\r\n\r\n", 200, b'{"bytes":37}'),
    ("extensions and trailers", CHUNKED + b'2;a=b ; c="d e"\r\nab\r\n0\r\nA: b\r\nC:\r\n\r\n', 200, b'{"bytes":2}'),
    ("no chunk", CHUNKED + b"0\r\n\r\n", 200, b'{"bytes":0}'),
    ("absolute-form", b"GET http://other:81/sync/a?q=b HTTP/1.1\r\n" + H + b"\r\n", 200, b'{"name":"a","q":"b"}'),
    ("absolute-form, https", b"GET https://other/sync/a HTTP/1.1\r\n" + H + b"\r\n", 200, b'{"name":"a"}'),
    ("absolute-form, HTTP", b"GET HTTP://other/sync/a HTTP/1.1\r\n" + H + b"\r\n", 200, b'{"name":"a"}'),
    ("absolute-form, hTTpS", b"GET hTTpS://[::1]:8/sync/a?q=1 HTTP/1.1\r\n" + H + b"\r\n", 200, b'{"name":"a","q":"1"}'),
    ("absolute-form without a path", b"GET http://other HTTP/1.1\r\n" + H + b"\r\n", 404, b'{"detail":"Not Found"}'),
    ("absolute-form, only a query", b"GET http://other?q=/sync/a HTTP/1.1\r\n" + H + b"\r\n", 404, b'{"detail":"Not Found"}'),
    ("100 headers", b"GET /sync/a HTTP/1.1\r\n" + H + b"".join(b"A%d: b\r\n" % i for i in range(99)) + b"\r\n", 200, None),
    ("a header of 16,000 bytes", b"GET /sync/a HTTP/1.1\r\n" + H + b"A: " + b"b" * 16000 + b"\r\n\r\n", 200, None),
    ("Expect", POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", 100, None),
    ("Expect in HTTP/1.0", b"POST /bytes HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", 200, b'{"bytes":2}'),
    ("another Expect in HTTP/1.0", b"POST /bytes HTTP/1.0\r\nEXPECT: a\r\nContent-Length: 2\r\n\r\nab", 200, b'{"bytes":2}'),
    ("another Expect", POST + b"Expect: a\r\nContent-Length: 2\r\n\r\nab", 417, b'{"detail":"the expectation cannot be met"}'),
    ("dots and slashes in escapes", b"GET /a/..%2f..%2f../%2e%2e/b HTTP/1.1\r\n" + H + b"\r\n", 404, None),
    ("an escaped percent", b"GET /sync/%25%20%7e HTTP/1.1\r\n" + H + b"\r\n", 200, b'{"name":"% ~"}'),
]

ESCAPES = ["/sync/%", "/sync/%4", "/sync/%zz", "/sync/a%", "/sync/%4g?q=1", "/sync/a?q=%", "/sync/a?q=%1&b=2", "/%zz", "/sync/%%41"]


class Checker:
    def __init__(self):
        self.port, self.cafile = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
        self.failures = self.checks = 0

    def open(self):
        return connect(self.port, self.cafile, alpn="http/1.1")

    def expect(self, what, condition, got=""):
        self.checks += 1
        if not condition:
            self.failures += 1
            print(f"FAILED: {what}: {got}")

    def metrics(self):
        with self.open() as sock:
            text = http1(sock, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[2].decode()
        found = {}
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if not line.startswith("#"):
                found[name] = float(value)
        return found

    def malformed(self, kind):
        return self.metrics().get(f'fabra_http_malformed_requests_total{{kind="{kind}"}}', 0)

    def is_error(self, what, answer, status):
        self.expect(what, answer is not None, "no answer")
        if answer is None:
            return
        got, headers, body = answer
        fields = dict(headers)
        self.expect(what, got == status, f"status {got}, not {status}")
        self.expect(what, fields.get(b"content-type") == b"application/json", f"headers {headers}")
        self.expect(what, len(fields.get(b"x-request-id", b"")) > 0, f"no request id: {headers}")
        try:
            detail = json.loads(body)["detail"]
            self.expect(what, isinstance(detail, str) and detail, body)
        except (ValueError, KeyError, TypeError):
            self.expect(what, False, f"no JSON: {body}")


def send_in_pieces(sock, data, size):
    """Pieces of a write each; the server may end the connection in between."""
    try:
        for i in range(0, len(data), size):
            sock.sendall(data[i:i + size])
    except OSError:
        pass


def check_refused(t):
    for what, data, status, kind in REFUSED:
        before = t.malformed(kind)
        sizes = [len(data) + len(NEXT), 7] if len(data) > 500 else [len(data) + len(NEXT), 1, 7]
        for size in sizes:
            with t.open() as sock:
                send_in_pieces(sock, data + (NEXT if size > len(data) else b""), size)
                answer = http1_answer(sock)
                if status is None:
                    t.expect(what, answer is None, f"answered: {answer}")
                else:
                    t.is_error(what, answer, status)
                rest = until_end(sock)
                t.expect(what, rest == b"", "the connection stays open" if rest is None else f"it goes on: {rest}")
        counted = t.malformed(kind) - before
        t.expect(what, counted == len(sizes), f"{kind} counted {counted} times, not {len(sizes)}")
    with t.open() as sock: # the client's id comes back also from a refusal
        sock.sendall(POST + b"X-Request-Id: mine-1\r\nContent-Length: x\r\n\r\n")
        answer = http1_answer(sock)
        t.expect("the id of a refusal", dict(answer[1]).get(b"x-request-id") == b"mine-1", answer)


def check_sound(t):
    for what, data, status, body in SOUND:
        for size in [len(data), 7] if len(data) > 500 else [len(data), 1, 7]:
            with t.open() as sock:
                send_in_pieces(sock, data, size)
                answer = http1_answer(sock)
                t.expect(what, answer is not None and answer[0] == status, answer)
                if answer is not None and body is not None:
                    t.expect(what, answer[2] == body, answer[2])
    with t.open() as sock: # all of them that keep the connection, in one write
        batch = [s for s in SOUND if b"HTTP/1.0" not in s[1] and b"Expect" not in s[1]]
        sock.sendall(b"".join(s[1] for s in batch))
        data = b""
        while data.count(b"HTTP/1.1 ") < len(batch):
            more = sock.recv(1 << 16)
            if not more:
                break
            data += more
        got = [int(part.split()[0]) for part in data.split(b"HTTP/1.1 ")[1:]]
        t.expect("all on one connection", got == [s[2] for s in batch], got)


def check_escapes(t):
    before = t.malformed("escape")
    for target in ESCAPES:
        with t.open() as sock:
            t.is_error(target, http1(sock, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()), 400)
            again = http1(sock, b"GET /sync/a HTTP/1.1\r\nHost: x\r\n\r\n")
            t.expect(target, again is not None and again[0] == 200, "the connection does not go on")
        c = Connection(t.port, t.cafile)
        s = c.get(target)
        t.is_error(target, (s.status, s.headers, s.body), 400)
        t.expect(target, s.error is None and c.get("/sync/a").status == 200, "HTTP/2 does not go on")
        c.sock.close()
    counted = t.malformed("escape") - before
    t.expect("escapes", counted == 2 * len(ESCAPES), f"counted {counted} times")


def check_http2(t):
    before = t.malformed("target")
    c = Connection(t.port, t.cafile)
    for path in ["", "sync/a", "*", "http://x/sync/a"]:
        s = c.get(path)
        t.expect(f":path {path!r}", s.error == 1 and s.status == 400, f"{s.status}, error {s.error}")
    t.expect("after them", c.get("/sync/a").status == 200)
    counted = t.malformed("target") - before
    t.expect("targets", counted == 4, f"counted {counted} times")
    for authority in ["", "a b", "u@x", ":80", "a/b"]:
        before = t.malformed("host")
        s = c.wait(c.request("GET", "/sync/a", authority=authority))
        t.expect(f":authority {authority!r}", s.error == 1 and s.status == 400, f"{s.status}, error {s.error}")
        t.expect(f":authority {authority!r}", t.malformed("host") == before + 1, "not counted")
    for authority, headers in [("[::1]:80", []), (None, [("host", "x")]), ("default", []), ("a", [("host", "a")])]:
        s = c.wait(c.request("GET", "/sync/a", headers, authority=authority))
        t.expect(f":authority {authority!r}, {headers}", s.status == 200, s.status)
    for method in ["", "G ET", "G(T", "GET\t"]:
        before = t.malformed("method")
        s = c.wait(c.request(method, "/sync/a"))
        t.expect(f":method {method!r}", s.error == 1 and s.status == 400, f"{s.status}, error {s.error}")
        t.expect(f":method {method!r}", t.malformed("method") == before + 1, "not counted")
    s = c.wait(c.request("GET", "/sync/a", [(f"x-{i}", "b") for i in range(101)]))
    t.is_error("101 headers over HTTP/2", (s.status, s.headers, s.body), 431)
    t.expect("after them", s.error is None and c.get("/sync/a").status == 200)
    s = c.wait(c.request("POST", "/bytes", [("expect", "a")], b"ab"))
    t.is_error("another Expect over HTTP/2", (s.status, s.headers, s.body), 417)
    s = c.wait(c.request("POST", "/bytes", [("expect", "100-Continue")], b"ab"))
    t.expect("Expect over HTTP/2", s.body == b'{"bytes":2}', s.body)
    s = c.wait(c.request("GET", "/sync/a", [("x-a", "a\x01b")]))
    t.is_error("a control character over HTTP/2", (s.status, s.headers, s.body), 400)
    for line in [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n"]:
        with t.open() if t.cafile is None else connect(t.port, t.cafile) as sock:
            sock.sendall(line)
            t.expect("a broken preface", until_end(sock) is not None, "the connection stays open")


def check_head(t):
    """The answer to HEAD has no body, whatever its headers say, and the headers of GET's."""
    for size, accept, length, coding in [(60000, b"gzip;q=0.5", None, b"gzip"), (9000, b"*", None, b"gzip"),
                                         (9000, b"gzip;q=0", b"9000", None), (100, b"gzip", b"100", None)]:
        what = f"HEAD of {size} bytes, {accept.decode()}"
        with t.open() as sock:
            sock.sendall(b"HEAD /big?bytes=%d HTTP/1.1\r\n" % size + H + b"Accept-Encoding: " + accept + b"\r\n\r\n")
            answer = http1_answer(sock, has_body=False)
            fields = dict(answer[1])
            t.expect(what, (answer[0], answer[2]) == (200, b""), answer)
            t.expect(what, (fields.get(b"content-length"), fields.get(b"content-encoding")) == (length, coding), fields)
            again = http1(sock, b"GET /sync/a HTTP/1.1\r\n" + H + b"\r\n")
            t.expect(what, again is not None and again[2] == b'{"name":"a"}', again)
        c = Connection(t.port, t.cafile)
        for method in ("HEAD", "GET"):
            s = c.wait(c.request(method, f"/big?bytes={size}", [("accept-encoding", accept.decode())]))
            fields = dict(s.headers)
            t.expect(f"{what}, {method} over HTTP/2", (fields.get(b"content-length"), fields.get(b"content-encoding")) ==
                     (length, coding), fields)
            t.expect(f"{what}, {method} over HTTP/2", (s.body == b"") == (method == "HEAD"), len(s.body))
        c.sock.close()


def check_unknown_frames(t):
    name = "fabra_http_unknown_frames_total"
    before = t.metrics().get(name, 0)
    c = Connection(t.port, t.cafile)
    for kind in (0x0a, 0x42, 0xff):
        c.send(frame(kind, 0xff, 7, b"anything") * 100)
    stream = c.request("POST", "/bytes", body=b"abc")
    t.expect("after unknown frames", c.wait(stream).body == b'{"bytes":3}', c.streams[stream].body)
    counted = t.metrics().get(name, 0) - before
    t.expect("unknown frames", counted == 300, f"counted {counted}")
    stream = c.next_id # in the middle of a body it is ignored, in the middle of a header block it is an error
    c.request("GET", "/sync/a")
    block = c.header_block([(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/bytes")])
    c.streams[stream + 2] = type(c.streams[stream])()
    c.send(frame(HEADERS, END_HEADERS, stream + 2, block) + frame(0x42, 0, stream + 2, b"x") +
           frame(DATA, END_STREAM, stream + 2, b"abcd"))
    t.expect("an unknown frame inside a body", c.wait(stream + 2).body == b'{"bytes":4}')
    c.send(frame(HEADERS, END_STREAM, stream + 4, block) + frame(0x42, 0, stream + 4, b"x") +
           frame(CONTINUATION, END_HEADERS, stream + 4, b"") + frame(PING, 0, 0, struct.pack(">Q", 1)))
    while c.read():
        pass
    t.expect("an unknown frame inside a header block", c.goaway == 1, f"GOAWAY {c.goaway}")


def main():
    t = Checker()
    check_refused(t)
    check_sound(t)
    check_escapes(t)
    check_http2(t)
    check_head(t)
    check_unknown_frames(t)
    if t.failures:
        sys.exit(f"{t.failures} of {t.checks} checks failed ({'TLS' if t.cafile else 'plain text'})")
    print(f"{t.checks} checks of refusals: all as expected ({'TLS' if t.cafile else 'plain text'})")


main()
