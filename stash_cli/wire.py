"""One connection to the daemon, for a process that lives as long as one command.

The client library can do more (reconnect, share a connection, await) and costs four hot verbs to import.
"""

from __future__ import annotations

import time

import msgpack

from stash_protocol.errors import BadRequest, Internal, StashError, Timeout, Unreachable, from_code
from stash_protocol.frames import HEADER, HEADER_SIZE, MAX_ENVELOPE, PROTOCOL_VERSION, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from stash_protocol.address import Address

    class Stream(Protocol):
        """A connected socket, of `_socket` or of `ssl`."""

        def sendall(self, data: Any, /) -> None: ...
        def recv(self, size: int, /) -> bytes: ...
        def recv_into(self, buffer: Any, size: int = 0, /) -> int: ...
        def settimeout(self, seconds: float | None, /) -> None: ...
        def close(self) -> None: ...


CHUNK = 1 << 16  # bytes read at once


class Late(Timeout):
    """The daemon has not answered in time, not even that the time ran out."""


class Connection:
    """A connection whose `hello` leaves together with the first request.

    Args:
        stream: connected.
        address: for errors.
        api_key: None for the user's own daemon.
        timeout: seconds all of the command may take, and each request is told.
    """

    __slots__ = ("_address", "_buffer", "_deadline", "_hello", "_last_id", "_stream", "_welcome", "timeout")

    def __init__(self, stream: Stream, address: Address, api_key: str | None, timeout: float) -> None:
        hello: dict[str, Any] = {"op": "hello", "version": PROTOCOL_VERSION, "client": "stash"}
        if api_key is not None:
            hello["api_key"] = api_key
        self.timeout = timeout
        self._stream = stream
        self._address = address
        self._hello: bytes = pack(msgpack.packb(hello))  # empty once it is sent
        self._welcome: dict[str, Any] | None = None
        self._deadline: float | None = time.monotonic() + timeout
        self._buffer = b""
        self._last_id = 0

    def call(self, op: str, fields: dict[str, Any] | None = None, payload: bytes = b"") -> tuple[Any, bytes]:
        """The reply to one request, and its payload.

        Raises:
            StashError: the daemon's, or Timeout or Unreachable.
        """
        self.send(self.frame(op, fields, len(payload))[1], payload)
        return self.receive()

    def frame(self, op: str, fields: dict[str, Any] | None, payload_length: int) -> tuple[int, bytes]:
        """A request's id, and the request up to its payload.

        Raises:
            BadRequest: beside its payload it has more than the daemon reads.
        """
        self._last_id += 1
        envelope = {**(fields or {}), "op": op, "id": self._last_id, "timeout_ms": max(1, round(self.timeout * 1000))}
        packed = msgpack.packb(envelope)
        if len(packed) > MAX_ENVELOPE:
            raise BadRequest(f"the request without its value has {len(packed):,} bytes; {MAX_ENVELOPE:,} are allowed")
        return self._last_id, HEADER.pack(len(packed), payload_length) + packed

    def send(self, frames: bytes, payload: bytes = b"") -> None:
        """Send whole frames, or one up to its payload and that."""
        frames, self._hello = self._hello + frames, b""
        try:
            self._hurry()
            if len(payload) > CHUNK:
                self._stream.sendall(frames)
                self._stream.sendall(payload)
            else:
                self._stream.sendall(frames + payload)
        except TimeoutError:
            raise self._late() from None
        except OSError:
            pass  # the daemon closed: it has said why, and `receive` reads that, or finds the end

    def welcome(self) -> dict[str, Any]:
        """What the daemon says of the caller: tier, limits."""
        if self._welcome is None:
            if self._hello:
                self.send(b"")
            envelope, _ = self._read()
            self._welcome = reply_in(envelope)
        return self._welcome

    def receive(self) -> tuple[Any, bytes]:
        """The next reply.

        Raises:
            StashError: the daemon's, or Timeout or Unreachable.
        """
        self.welcome()
        envelope, payload = self._read()
        return reply_in(envelope), payload

    def receive_any(self) -> tuple[dict[str, Any], bytes]:
        """The next envelope, whosever it is, and its payload: replies to long requests come when they are done."""
        self.welcome()
        return self._read()

    def renew(self) -> None:
        """Give what comes next the whole time again: many requests are one command."""
        self._deadline = time.monotonic() + self.timeout

    def without_deadline(self) -> None:
        """From now on the command may take for ever."""
        self._deadline = None

    def gone(self) -> bool:
        """Wait for the daemon to close; True once it has, False if the time ran out."""
        try:
            while self._recv():
                pass
        except Timeout:
            return False
        except Unreachable:
            pass
        return True

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def _hurry(self) -> None:
        if self._deadline is None:
            self._stream.settimeout(None)
            return
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._stream.settimeout(left)

    def _late(self) -> StashError:
        return Late(f"no reply from {self._address} within {self.timeout:g} s")

    def _recv(self) -> bytes:
        try:
            self._hurry()
            return self._stream.recv(CHUNK)
        except TimeoutError:
            raise self._late() from None
        except OSError as error:
            raise self._ended(error.strerror or str(error)) from None

    def _ended(self, reason: str) -> StashError:
        return Unreachable(f"the daemon at {self._address} ended the connection before its reply: {reason.lower()}")

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            part = self._recv()
            if not part:
                raise self._ended("it stopped, or was stopped")
            self._buffer += part

    def _read(self) -> tuple[dict[str, Any], bytes]:
        self._fill(HEADER_SIZE)
        envelope_length, payload_length = HEADER.unpack_from(self._buffer)
        if not 0 < envelope_length <= MAX_ENVELOPE:
            raise Internal(f"what answers at {self._address} does not speak this protocol")
        body = HEADER_SIZE + envelope_length
        self._fill(body)
        try:
            envelope = msgpack.unpackb(self._buffer[HEADER_SIZE:body])
        except ValueError as error:
            raise Internal(f"a reply from {self._address} cannot be read: {error}") from None
        end = body + payload_length
        if end <= len(self._buffer):
            payload, self._buffer = self._buffer[body:end], self._buffer[end:]
        else:
            payload, self._buffer = self._read_long(self._buffer[body:], payload_length), b""
        return envelope, payload

    def _read_long(self, start: bytes, length: int) -> bytes:
        payload = bytearray(length)
        payload[: len(start)] = start
        view, position = memoryview(payload), len(start)
        while position < length:
            try:
                self._hurry()
                count = self._stream.recv_into(view[position:])
            except TimeoutError:
                raise self._late() from None
            except OSError as error:
                raise self._ended(error.strerror or str(error)) from None
            if not count:
                raise self._ended("in the middle of it")
            position += count
        return payload  # type: ignore[return-value]  # a bytearray nobody changes: a copy would double the memory


def reply_in(envelope: dict[str, Any]) -> Any:
    """The reply an envelope holds.

    Raises:
        StashError: it holds an error.
    """
    error = envelope.get("error")
    if error is not None:
        raise from_code(error["code"], error["message"], error.get("retry_after"))
    return envelope.get("reply")
