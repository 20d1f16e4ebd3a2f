"""Servers that embed, well or badly: real ones, over HTTP, in a thread of the test."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from stash_daemon.search.embedders.hashed import Hashed

DIMENSIONS = 16
SLOW_STEP = 0.02  # seconds between two bytes of a reply that drips
RELEASE_PATIENCE = 20.0  # seconds a held reply waits at the most

Reply = Callable[["Call"], None]


class Call(http.server.BaseHTTPRequestHandler):
    """One request that came in, and how to answer it."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        self.body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fake = self.server.fake
        with fake.lock:
            fake.calls.append(self)
        self.close_connection = True
        with suppress(OSError):  # whoever asked may have gone
            fake.reply(self)

    @property
    def texts(self) -> list[str]:
        given = self.body["input"]
        return given if isinstance(given, list) else [given]

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, vectors: list[Any]) -> bytes:
        """The body of a good answer, in the form that goes with the path."""
        if self.path.endswith("/api/embed"):
            return json.dumps({"model": self.body["model"], "embeddings": vectors}).encode()
        items = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
        return json.dumps({"object": "list", "data": items[::-1], "model": "m", "usage": {}}).encode()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its caller's name)
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeEmbedder


def vectors_of(texts: list[str], dimensions: int = DIMENSIONS) -> list[list[float]]:
    return [vector.tolist() for vector in Hashed(dimensions).embed(texts, timeout=1)]


def well(call: Call) -> None:
    call.send(call.answer(vectors_of(call.texts)))


def wrong_size(call: Call) -> None:
    call.send(call.answer(vectors_of(call.texts, DIMENSIONS + 1)))


def uneven(call: Call) -> None:
    call.send(call.answer([[1.0] * (place + 1) for place in range(len(call.texts))]))


def too_few(call: Call) -> None:
    call.send(call.answer(vectors_of(call.texts)[1:]))


def not_a_number(call: Call) -> None:
    call.send(call.answer([[float("nan")] * DIMENSIONS for _ in call.texts]))


def null(call: Call) -> None:
    call.send(call.answer([[None] * DIMENSIONS for _ in call.texts]))


def infinite(call: Call) -> None:
    call.send(call.answer([["X"] * DIMENSIONS for _ in call.texts]).replace(b'"X"', b"1e39"))


def zero(call: Call) -> None:
    call.send(call.answer([[0.0] * DIMENSIONS for _ in call.texts]))


def empty(call: Call) -> None:
    call.send(call.answer([[] for _ in call.texts]))


def not_json(call: Call) -> None:
    call.send(b"<html>It works!</html>")


def other_json(call: Call) -> None:
    call.send(b'{"error": "no"}')


def deep(call: Call) -> None:
    call.send(b"[" * 50_000)


def half(call: Call) -> None:
    """Announces all of an answer, and sends a half."""
    body = call.answer(vectors_of(call.texts))
    call.send_response(200)
    call.send_header("Content-Length", str(len(body)))
    call.end_headers()
    call.wfile.write(body[: len(body) // 2])


def half_in_whole(call: Call) -> None:
    body = call.answer(vectors_of(call.texts))
    call.send(body[: len(body) // 2])


def hangs_up(call: Call) -> None:
    call.connection.shutdown(socket.SHUT_RDWR)


def no_http(call: Call) -> None:
    call.wfile.write(b"220 mail.example ESMTP\r\n")


def huge(call: Call) -> None:
    call.send(b'{"embeddings": [[' + b"0.5," * 3_000_000 + b"1]]}")


def without_length(call: Call) -> None:
    """Good, and ends with the connection."""
    call.send_response(200)
    call.send_header("Connection", "close")
    call.end_headers()
    call.wfile.write(call.answer(vectors_of(call.texts)))


def in_chunks(call: Call) -> None:
    """Good, in pieces of 100 bytes."""
    body = call.answer(vectors_of(call.texts))
    call.send_response(200)
    call.send_header("Transfer-Encoding", "chunked")
    call.end_headers()
    for start in range(0, len(body), 100):
        part = body[start : start + 100]
        call.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
    call.wfile.write(b"0\r\n\r\n")


def announced_huge(call: Call) -> None:
    call.send_response(200)
    call.send_header("Content-Length", str(1 << 40))
    call.end_headers()


def endless(call: Call) -> None:
    """Without a length, and without an end."""
    call.send_response(200)
    call.end_headers()
    while True:
        call.wfile.write(b" " * 65_536)


def status(number: int, **headers: str) -> Reply:
    return lambda call: call.send(b'{"error": "sk-a-secret-that-was-sent"}', number, **headers)


class FakeEmbedder:
    """A server that embeds as it is told to, from one call to the next.

    Attributes:
        reply: how the next calls are answered.
        calls: all that came in.
        released: what `held` and `drips` wait for.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls: list[Call] = []
        self.reply: Reply = well
        self.released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), Call)
        self._server.fake = self
        self.port = int(self._server.server_address[1])
        self._thread: threading.Thread | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def texts(self) -> list[str]:
        """All that were sent, in order."""
        with self.lock:
            return [text for call in self.calls for text in call.texts]

    def held(self, call: Call) -> None:
        """Answers well, once released."""
        self.released.wait(RELEASE_PATIENCE)
        well(call)

    def drips(self, call: Call) -> None:
        """Sends a byte at a time, so that no single wait is long."""
        call.wfile.write(b"HTTP/1.1 200 OK\r\nX-")
        while not self.released.wait(SLOW_STEP):
            call.wfile.write(b"x")

    def drips_body(self, call: Call) -> None:
        call.send_response(200)
        call.send_header("Content-Length", "100000")
        call.end_headers()
        while not self.released.wait(SLOW_STEP):
            call.wfile.write(b" ")

    def start(self) -> None:
        """Listen again, on the same port."""
        if self._thread is None:
            if self._server.socket.fileno() < 0:
                self._server = _Server(("127.0.0.1", self.port), Call)
                self._server.fake = self
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Nobody listens any more."""
        if self._thread is not None:
            self.released.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(RELEASE_PATIENCE)
            self._thread = None


@contextmanager
def fake_embedder() -> Iterator[FakeEmbedder]:
    fake = FakeEmbedder()
    try:
        yield fake
    finally:
        fake.stop()


def cosine(one: array[float], other: array[float]) -> float:
    def length(vector: array[float]) -> float:
        return float(sum(number * number for number in vector) ** 0.5)

    return float(sum(a * b for a, b in zip(one, other, strict=True)) / (length(one) * length(other)))
