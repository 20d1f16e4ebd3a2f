"""A daemon that does only what a test's script says, frame by frame: for what a real one never does."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec

from stash_protocol.frames import HEADER, HEADER_SIZE, pack

PATIENCE = 10.0  # seconds

ENTRY = {
    "key": "k",
    "type": "text",
    "size": 1,
    "version": 1,
    "ttl_ms": 60_000,
    "expires_at": 1_700_000_060_000,
    "created_at": 1_700_000_000_000,
    "updated_at": 1_700_000_000_000,
}
WELCOME = {
    "version": 1,
    "server": "scripted",
    "namespace": "default",
    "tier": "local",
    "scopes": ["read", "write"],
    "max_value": 1 << 20,
    "default_ttl_ms": 60_000,
    "max_ttl_ms": 60_000,
}


class Gone(Exception):
    """The client hung up."""


class Conversation:
    """One connection, as the daemon sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)

    def request(self) -> dict[str, Any]:
        """The next request's envelope; raises Gone."""
        envelope_length, payload_length = HEADER.unpack(self._exactly(HEADER_SIZE))
        envelope = msgspec.msgpack.decode(self._exactly(envelope_length))
        envelope["payload"] = self._exactly(payload_length)
        assert isinstance(envelope, dict)
        return envelope

    def welcome(self) -> dict[str, Any]:
        """Take the hello, and accept it."""
        hello = self.request()
        assert hello["op"] == "hello"
        self.reply(hello, WELCOME)
        return hello

    def reply(self, request: dict[str, Any], body: dict[str, Any], payload: bytes = b"") -> None:
        self.send({"id": request.get("id", 0), "reply": body}, payload)

    def value(self, request: dict[str, Any], value: bytes) -> None:
        """Answer a get."""
        self.reply(request, {**ENTRY, "size": len(value)}, value)

    def send(self, envelope: dict[str, Any], payload: bytes = b"") -> None:
        self.sock.sendall(pack(msgspec.msgpack.encode(envelope), payload))

    def gone(self) -> bool:
        """Whether the client hangs up, without another word, within the patience of a test."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self.sock.recv(size - len(parts))
            if not part:
                raise Gone
            parts += part
        return bytes(parts)


class ScriptedPeer:
    """Listens; each connection is handed to the next script, and closed when that returns.

    Leaving the block waits for the scripts, and raises what went wrong in them.
    """

    def __init__(self, *scripts: Callable[[Conversation], None]) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="st"))
        self.socket = self._directory / "s"
        self._scripts = scripts
        self._problem: BaseException | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen()
        self._listener.settimeout(PATIENCE)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            for script in self._scripts:
                sock, _ = self._listener.accept()
                with sock:
                    script(Conversation(sock))
        except BaseException as problem:  # noqa: BLE001  # raised again where the test can see it
            self._problem = problem

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()
        shutil.rmtree(self._directory)
        if kind is None and self._problem is not None:
            raise self._problem
        assert kind is not None or not self._thread.is_alive(), "the script still waits for something"
