"""HTTP/2 by hand, for tests: frames as bytes, and each header block decoded twice.

The two decoders were written by others and know nothing of each other: nghttp2's library (by ctypes) and the Python
package hpack (Debian's python3-hpack). A block on which they disagree, or that one of them refuses, is an error. Each
keeps its table for the whole connection, as a real client does.
"""
import ctypes
import socket
import ssl
import struct

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WAIT_S, FRAME_MAX = 10, 16384


class Nghttp2Decoder:
    class Pair(ctypes.Structure):
        _fields_ = [("name", ctypes.POINTER(ctypes.c_char)), ("value", ctypes.POINTER(ctypes.c_char)),
                    ("name_n", ctypes.c_size_t), ("value_n", ctypes.c_size_t), ("flags", ctypes.c_uint8)]

    def __init__(self):
        self.lib = ctypes.CDLL("libnghttp2.so.14")
        self.lib.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
        self.lib.nghttp2_hd_inflate_hd2.argtypes = [ctypes.c_void_p, ctypes.POINTER(self.Pair), ctypes.POINTER(ctypes.c_int),
                                                    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
        self.lib.nghttp2_hd_inflate_end_headers.argtypes = [ctypes.c_void_p]
        self.inflater = ctypes.c_void_p()
        assert self.lib.nghttp2_hd_inflate_new(ctypes.byref(self.inflater)) == 0

    def decode(self, block):
        found, pair, flags = [], self.Pair(), ctypes.c_int()
        while True:
            flags.value = 0
            n = self.lib.nghttp2_hd_inflate_hd2(self.inflater, ctypes.byref(pair), ctypes.byref(flags), block, len(block), 1)
            if n < 0:
                raise AssertionError(f"nghttp2 refuses the header block: {n}")
            block = block[n:]
            if flags.value & 2:  # NGHTTP2_HD_INFLATE_EMIT
                found.append((pair.name[:pair.name_n], pair.value[:pair.value_n]))
            if flags.value & 1:  # NGHTTP2_HD_INFLATE_FINAL
                self.lib.nghttp2_hd_inflate_end_headers(self.inflater)
                return found
            if not flags.value and not block:
                raise AssertionError("nghttp2 wants more than the header block has")


class Stream:
    def __init__(self):
        self.headers, self.body, self.error, self.ended = None, b"", None, False

    @property
    def status(self):
        return int(dict(self.headers)[b":status"]) if self.headers else 0


def connect(port, cafile=None, alpn="h2", rcvbuf=0):
    """A socket to the server; over TLS when cafile (its certificate) is given."""
    sock = socket.socket()
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.settimeout(WAIT_S)
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if cafile is None:
        return sock
    context = ssl.create_default_context(cafile=cafile)
    context.set_alpn_protocols([alpn])
    sock = context.wrap_socket(sock, server_hostname="localhost")
    assert sock.selected_alpn_protocol() == alpn
    return sock


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Connection:
    def __init__(self, port, cafile=None, window=65535):
        self.sock = connect(port, cafile)
        self.decoders = [Nghttp2Decoder(), hpack.Decoder()]
        self.encoder = hpack.Encoder()
        self.streams, self.next_id, self.received, self.block = {}, 1, b"", b""
        self.goaway, self.is_closed, self.pongs, self.continuations = None, False, 0, 0
        self.send(PREFACE + frame(SETTINGS, payload=struct.pack(">HI", 4, window)) +
                  frame(WINDOW_UPDATE, payload=struct.pack(">I", (1 << 31) - 1 - 65535)))

    def send(self, data):
        self.sock.sendall(data)

    def header_block(self, headers):
        return self.encoder.encode(list(headers), huffman=False)

    def request(self, method, path, headers=(), body=None, authority="localhost"):
        """Returns the stream's id. authority None: the request has none."""
        stream, self.next_id = self.next_id, self.next_id + 2
        self.streams[stream] = Stream()
        host = [] if authority is None else [(":authority", authority)]
        block = self.header_block([(":method", method), (":scheme", "http"), *host, (":path", path), *headers])
        end = 0 if body is not None else END_STREAM
        first, rest = block[:FRAME_MAX], block[FRAME_MAX:]
        data = frame(HEADERS, end | (0 if rest else END_HEADERS), stream, first)
        if rest:
            data += frame(CONTINUATION, END_HEADERS, stream, rest)
        if body is not None:
            data += frame(DATA, END_STREAM, stream, body)
        self.send(data)
        return stream

    def decode(self, block):
        by_nghttp2 = self.decoders[0].decode(block)
        by_hpack = [(bytes(n), bytes(v)) for n, v in self.decoders[1].decode(block, raw=True)]
        assert by_nghttp2 == by_hpack, f"the decoders disagree: nghttp2 {by_nghttp2}, hpack {by_hpack}"
        return by_nghttp2

    def on_frame(self, kind, flags, stream, payload):
        s = self.streams.get(stream)
        if kind in (HEADERS, CONTINUATION):
            self.block += payload
            self.continuations += kind == CONTINUATION
            if flags & END_HEADERS:
                headers, self.block = self.decode(self.block), b""
                if s is not None:
                    s.headers = headers
        elif kind == DATA and s is not None:
            s.body += payload
        elif kind == RST_STREAM and s is not None:
            s.error, s.ended = struct.unpack(">I", payload)[0], True
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">I", payload[4:8])[0]
        elif kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK))
        elif kind == PING and flags & ACK:
            self.pongs += 1
        if kind in (HEADERS, DATA) and flags & END_STREAM and s is not None:
            s.ended = True

    def read(self):
        """One read of the socket and the frames in it. False: the server has closed."""
        try:
            data = self.sock.recv(1 << 16)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            self.is_closed = True
            return False
        self.received += data
        while len(self.received) >= 9:
            n = int.from_bytes(self.received[:3], "big")
            if len(self.received) < 9 + n:
                break
            kind, flags = self.received[3], self.received[4]
            stream = int.from_bytes(self.received[5:9], "big") & 0x7fffffff
            payload, self.received = self.received[9:9 + n], self.received[9 + n:]
            self.on_frame(kind, flags, stream, payload)
        return True

    def wait(self, *streams):
        """Until these streams have ended; the last one is returned."""
        while any(not self.streams[s].ended for s in streams) and self.read():
            pass
        for s in streams:
            assert self.streams[s].ended, f"stream {s} has no answer: closed, GOAWAY {self.goaway}"
        return self.streams[streams[-1]]

    def get(self, path, headers=()):
        return self.wait(self.request("GET", path, headers))


def http1(sock, request):
    """Sends bytes and reads one answer: (status, [(lower-case name, value)], body), or None when the server closes."""
    sock.sendall(request)
    return http1_answer(sock)


def http1_answer(sock, has_body=True):
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = sock.recv(1 << 16)
        except (ConnectionError, ssl.SSLError):
            more = b""
        if not more:
            return None
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.split(b"\r\n")
    headers = [(n.lower(), v.strip()) for n, v in (line.split(b":", 1) for line in lines[1:])]
    length = int(dict(headers).get(b"content-length", b"0")) if has_body else 0
    while len(body) < length:
        body += sock.recv(1 << 16)
    return int(lines[0].split()[1]), headers, body


def until_end(sock):
    """The bytes that come until the server closes; None when it does not."""
    data = b""
    try:
        while more := sock.recv(1 << 16):
            data += more
    except socket.timeout:
        return None
    except (ConnectionError, ssl.SSLError):
        pass
    return data
