"""A real daemon for tests: its own process, in a short private directory of its own, stopped by its pid.

::

    with RunningDaemon() as daemon, daemon.connect() as line:
        reply, payload = line.call(Get(key="k"))
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from stash_protocol.frames import HEADER, HEADER_SIZE, PROTOCOL_VERSION, pack
from stash_protocol.operations import Hello, Request

START_PATIENCE = 20.0  # seconds: two cores shared by many tests
STOP_PATIENCE = 10.0  # seconds: the daemon's own drain takes 5 at most
REPLY_PATIENCE = 10.0  # seconds

ENTRY = """
import sys
from stash_daemon.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


class StartFailed(Exception):
    """The daemon ended instead of becoming ready; carries its exit status and what it said."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"the daemon exited with {status}: {said}")
        self.status = status
        self.said = said


class RunningDaemon:
    """A daemon that is ready when the constructor returns.

    Args:
        flags: of the daemon, such as ``"--tcp", "127.0.0.1:0"``.
        home: its ``STASH_HOME``; a fresh directory, removed at the end, unless given.
        environ: more of its environment. No ``STASH_…`` of the tests' own environment reaches it.
        before: Python code that its process runs first: limits, and faults to be survived.

    Attributes:
        home, socket: paths.
        pid: of the process.
        tcp: host and port it listens on, with ``--tcp``.
    """

    def __init__(
        self, *flags: str, home: str | Path | None = None, environ: dict[str, str] | None = None, before: str = ""
    ) -> None:
        self._owns_home = home is None
        self.home = Path(home) if home is not None else Path(tempfile.mkdtemp(prefix="st"))
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("STASH_")}
        self._environ |= {"STASH_HOME": str(self.home), **(environ or {})}
        self.socket = Path(self._environ.get("STASH_SOCKET", self.home / "stash.sock"))
        self._flags = flags
        self._program = ["-c", before + ENTRY] if before else ["-m", "stash_daemon"]
        self._stderr = self.home / "stderr.txt"
        try:
            self._process = self._start()
        except BaseException:
            self._remove_home()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def said(self) -> str:
        """What it wrote to stderr so far."""
        return self._stderr.read_text()

    @property
    def tcp(self) -> tuple[str, int]:
        url = next(word for word in self.said.split() if word.startswith(("tcp://", "tls://")))
        host, _, port = url.partition("://")[2].rpartition(":")
        return host.strip("[]"), int(port)

    def connect(self, *, hello: bool = True, api_key: str | None = None, tcp: bool = False) -> Line:
        """A connection to it, after its hello unless told otherwise."""
        line = Line(self.tcp if tcp else str(self.socket))
        if hello:
            try:
                line.hello(api_key=api_key)
            except BaseException:
                line.close()
                raise
        return line

    def stop(self) -> int:
        """SIGTERM, and wait; the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, and wait."""
        return self._end(signal.SIGKILL)

    def wait(self) -> int:
        """Wait for it to end by itself; the exit status."""
        return self._process.wait(STOP_PATIENCE)

    def restart(self) -> None:
        """Start it again, on the same data; it must have ended."""
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._remove_home()

    def _start(self) -> subprocess.Popen[bytes]:
        reading, writing = os.pipe()
        command = [sys.executable, "-P", *self._program, "--ready-fd", str(writing), *self._flags]
        with self._stderr.open("wb") as stderr:
            process = subprocess.Popen(
                command, env=self._environ, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, pass_fds=[writing]
            )
        os.close(writing)
        try:
            heard = select.select([reading], [], [], START_PATIENCE)[0]
            if not heard:
                process.kill()
            if not heard or os.read(reading, 1) != b"1":
                raise StartFailed(process.wait(STOP_PATIENCE), self.said)
        finally:
            os.close(reading)
        return process

    def _end(self, number: signal.Signals) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_PATIENCE)
            raise

    def _remove_home(self) -> None:
        if self._owns_home:
            shutil.rmtree(self.home, ignore_errors=True)


class Line:
    """One connection, as raw as a test wants it: bytes, frames or whole calls."""

    def __init__(self, where: str | tuple[str, int]) -> None:
        family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.settimeout(REPLY_PATIENCE)
        self.sock.connect(where)
        self._next_id = 1

    def hello(self, *, api_key: str | None = None, check: bool = True) -> dict[str, Any]:
        """Say hello; the answer's envelope, which must be a welcome unless ``check`` is off."""
        try:
            envelope, _ = self.call(Hello(version=PROTOCOL_VERSION, api_key=api_key), check=check)
        except (BrokenPipeError, ConnectionResetError):  # refused before the hello was sent: the answer is there
            envelope, _ = self.read()
        assert not check or "reply" in envelope, envelope
        return envelope

    def send(self, request: Request, payload: bytes = b"") -> int:
        """Send a request; without an id it gets the next one, which is returned."""
        if not request.id:
            request.id = self._next_id
            self._next_id += 1
        self.send_bytes(pack(msgspec.msgpack.encode(request), payload))
        return request.id

    def send_bytes(self, data: bytes) -> None:
        """Send anything."""
        self.sock.sendall(data)

    def read(self) -> tuple[dict[str, Any], bytes]:
        """The next frame: its envelope, decoded, and its payload.

        Raises:
            EOFError: the daemon closed the connection.
        """
        envelope_length, payload_length = HEADER.unpack(self._read_exactly(HEADER_SIZE))
        envelope = msgspec.msgpack.decode(self._read_exactly(envelope_length))
        return envelope, self._read_exactly(payload_length)

    def call(self, request: Request, payload: bytes = b"", *, check: bool = True) -> tuple[dict[str, Any], bytes]:
        """Send a request and read the next frame, which must answer it (unless ``check`` is off)."""
        number = self.send(request, payload)
        envelope, answer = self.read()
        assert not check or envelope["id"] == number, envelope
        return envelope, answer

    def ended(self) -> bool:
        """Whether the daemon closes the connection, without another frame, within the patience of a reply."""
        with contextlib.suppress(ConnectionResetError):
            return self.sock.recv(1) == b""
        return True

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self.sock.recv(min(size - len(parts), 1 << 20))
            if not part:
                raise EOFError(f"the daemon closed the connection after {len(parts)} of {size} bytes")
            parts += part
        return bytes(parts)


def code(answer: tuple[dict[str, Any], bytes]) -> str:
    """Which error a call was answered with."""
    return str(answer[0]["error"]["code"])


def eventually(holds: Any, patience: float = REPLY_PATIENCE) -> Any:
    """Call ``holds`` until what it returns is true, and return that; fail after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{holds} did not become true within {patience} s")
        time.sleep(0.005)
    return found
