"""Python httpx: 120 requests on one HTTP/2 connection, their headers against those of HTTP/1.1.
    foreign_httpx.py PORT [CERTIFICATE]
"""
import ssl
import sys

import httpx

port, certificate = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
base = f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
verify = ssl.create_default_context(cafile=certificate) if certificate else True
paths = ["/health", "/v1/features/plain?entity_id=u", "/nothing", "/docs", "/openapi.json"]
skipped = ("date", "x-request-id", "connection", "transfer-encoding")


def comparable(answer):
    return sorted((n, v) for n, v in answer.headers.multi_items() if n not in skipped)


ids = set()
with httpx.Client(http1=True, http2=False, verify=verify, base_url=base) as one, \
        httpx.Client(http1=certificate is not None, http2=True, verify=verify, base_url=base) as two:
    for i in range(120):
        path = paths[i % len(paths)]
        a, b = one.get(path), two.get(path)
        assert (a.http_version, b.http_version) == ("HTTP/1.1", "HTTP/2"), (a.http_version, b.http_version)
        assert a.status_code == b.status_code, path
        assert a.text == b.text, path
        assert comparable(a) == comparable(b), f"{path}: {comparable(a)} {comparable(b)}"
        assert len(b.headers.get_list("date")) == 1 and len(b.headers.get_list("x-request-id")) == 1, path
        ids.add(b.headers["x-request-id"])
assert len(ids) == 120, len(ids)
