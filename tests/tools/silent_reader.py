"""A server whose log nobody reads goes on serving, whatever makes its libraries print.
    silent_reader.py FABRA STORE

Standard error and standard output are one small pipe. Once the server listens nobody reads it any more, and it is filled to
the brim, so that any write to it from an I/O loop stops that loop.
"""
import fcntl
import os
import re
import select
import signal
import subprocess
import sys

from h2_raw import Connection, connect, frame, http1

F_SETPIPE_SZ = 1031


def read_until_listening(fd):
    text = b""
    while True:
        found = re.search(rb'"message":"listening".*?"port":(\d+)[^\n]*\n', text)
        if found:
            return int(found[1])
        more = os.read(fd, 1 << 16)
        assert more, f"the server did not start: {text.decode()}"
        text += more


def fill(fd):
    fcntl.fcntl(fd, F_SETPIPE_SZ, 4096)
    while select.select([], [fd], [], 0)[1]:
        os.write(fd, b"\n")


def expect_alive(port, after):
    for _ in range(8):  # connections take turns on the loops
        with connect(port) as sock:
            sock.settimeout(5)
            try:
                answer = http1(sock, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            except TimeoutError:
                answer = None
            if answer is None or answer[0] != 200:
                sys.exit(f"FAILED: after {after} /health has no answer")


def many(port, request, times):
    """Over HTTP/1.1, on one connection."""
    with connect(port) as sock:
        for _ in range(times):
            assert http1(sock, request) is not None, f"no answer to {request[:60]}"


def main():
    fabra, store = sys.argv[1:3]
    out, child_end = os.pipe()
    server = subprocess.Popen([fabra, "serve", "--unsafe-lua", "--loops", "2", "--port", "0", store],
                              stdin=subprocess.DEVNULL, stdout=child_end, stderr=child_end)
    try:
        port = read_until_listening(out)
        fill(child_end)
        expect_alive(port, "the start")
        for _ in range(100):  # more on one connection are a flood, which is cut
            c = Connection(port)
            c.sock.sendall(frame(0x42, 0, 0, b"x") * 100)
            c.get("/health")
            c.sock.close()
        expect_alive(port, "10,000 frames of an unknown type")
        odd = b"/".join([b"/a", b"..%2f" * 100, b"b" * 500])
        for target in [odd, b"*", b"http:/" + odd, b"x"]:
            many(port, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n", 500)
            expect_alive(port, f"500 requests for {target[:20]}")
        c = Connection(port)
        for _ in range(500):
            c.get(odd.decode())
        expect_alive(port, "500 such requests over HTTP/2")
        many(port, b"GET /v1/features/printed?entity_id=u HTTP/1.1\r\nHost: x\r\n\r\n", 200)
        expect_alive(port, "200 times 4 KB printed by a definition")
        with connect(port) as sock:
            sock.settimeout(5)
            text = http1(sock, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")[2]
        assert b"\nfabra_http_unknown_frames_total 10000\n" in text, "the frames were not counted"
        assert not select.select([], [child_end], [], 0)[1], "somebody has read the log"
        server.send_signal(signal.SIGTERM)
        os.close(child_end)
        log = b""
        while True:  # the log thread ends what it has
            more = os.read(out, 1 << 16)
            if not more:
                break
            log += more
        status = server.wait(timeout=30)
        assert status == 0, f"exit code {status}"
        for text in [b"skipping frame", b"failed to normalize"]:
            assert text not in log, f"h2o printed: {text}"
        print("a server whose log nobody reads goes on serving")
    finally:
        if server.poll() is None:
            server.kill()


main()
