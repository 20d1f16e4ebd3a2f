"""One blocking connection: one request at a time, or many in flight, or a watch."""

from __future__ import annotations

import _socket
import contextlib
import struct
import time
from collections.abc import Iterator, Sequence

from msgspec import UNSET, Raw

from stash_memory import wire
from stash_memory.flight import Flight
from stash_memory.target import Target
from stash_memory.wire import GRACE, Garbled, Lost, Outcome
from stash_protocol import operations
from stash_protocol.eager import Eager
from stash_protocol.errors import StashError
from stash_protocol.frames import HEADER, HEADER_SIZE, JOIN_LIMIT, MAX_ENVELOPE
from stash_protocol.operations import Request
from stash_protocol.reader import Payload
from stash_protocol.replies import Event, Rate

CHUNK = 64 * 1024  # bytes asked of the socket at once: most replies come whole
SLICE = 256 * 1024  # bytes given to the socket at once: it waits anew whenever a part of them was taken
MOMENT = 200_000  # nanoseconds a reply is looked for before sleeping: time for a memory by a daemon that has to wake

_TIMEVAL = struct.Struct("@ll")


class Link:
    """A connection that says hello together with its first request.

    Whatever breaks it, or leaves a reply on its way, closes it: no caller ever reads the reply to another's request.

    Attributes:
        closed: of no more use.
        rate: what the daemon last said of the caller's budget; None where it has no limit.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self.closed = True  # until it is open
        self.rate: Rate | None = None
        self._number = 0  # of the last request
        self._greeting = wire.hello(target.api_key)  # empty once it was said
        self._eager = Eager()
        self._armed: float | None = -1.0  # seconds; see `_arm`
        self._data = b""  # received, and not yet looked at from `_position` on
        self._position = 0
        self._remote = target.address.scheme != "unix"
        self._tls = target.tls is not None
        self._socket = target.connect(timeout)
        self.closed = False

    # ── one at a time ──

    def exchange(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        """Ask, and wait for the reply so many seconds.

        Raises:
            Lost: the connection broke.
            StashError: what the daemon answered, or Timeout.
        """
        self._number = request.id = self._number + 1
        data = wire.head(request, len(payload))
        if self._remote and not wire.repeatable(request):
            self._check_alive(request)
        sent = False
        try:
            deadline = self._begin(timeout)
            self._send(data, payload, deadline)
            sent = True
            if self._greeting:
                self._read_welcome(deadline)
            envelope, part = self._receive(deadline)
            answer = wire.read_answer(request, envelope)
        except BaseException as error:  # noqa: BLE001  # an interrupt, too, leaves a reply on its way
            raise self._judge(error, request, sent=sent) from None
        if answer.rate is not UNSET:
            self.rate = answer.rate
        return answer.reply, part

    # ── many in flight ──

    def exchange_many(self, calls: Sequence[tuple[Request, Payload]], timeout: float) -> list[Outcome | StashError]:
        """Ask all, and collect the replies in the order of the requests.

        Raises:
            Lost: the connection broke.
            Timeout: not all were answered in time.
        """
        self._check_alive(calls[0][0])
        deadline = self._begin(timeout)
        flight = Flight(calls, self._number + 1)
        self._number += len(calls)
        with self._conversation(calls[0][0]):
            while not flight.landed:
                while data := flight.more():
                    self._arm_until(deadline)
                    self._send(data, b"", deadline)
                    if self._greeting:
                        self._read_welcome(deadline)
                if not flight.landed:
                    self._collect(flight, deadline)
        return flight.outcomes

    def _collect(self, flight: Flight, deadline: float) -> None:
        """Take replies: those that are here, or else wait for one."""
        while True:
            if self._position + HEADER_SIZE > len(self._data):
                self._arm_until(deadline)
            rate = flight.land(*self._receive(deadline))
            if rate is not UNSET:
                self.rate = rate
            if self._position == len(self._data):
                return

    # ── watching ──

    def watch(self, prefix: str, timeout: float) -> None:
        """Begin to watch. From now on, `next_event` is all this link does.

        Raises:
            Lost: the connection broke.
            StashError: what the daemon answered, or Timeout.
        """
        request = operations.Watch(prefix=prefix, id=1)
        wire.set_deadline(request, timeout)
        with self._conversation(request):
            deadline = self._begin(timeout)
            self._send(wire.head(request, 0), b"", deadline)
            self._read_welcome(deadline)
            self._next_answer(deadline)

    def next_event(self, timeout: float | None) -> Event | None:
        """The next change; None when none comes in so many seconds.

        Raises:
            Lost: the connection broke.
            StashError: why the daemon ended the watch.
        """
        with self._conversation(operations.Watch()):
            try:
                self._arm(timeout)
                answer = self._next_answer(None if timeout is None else time.monotonic() + timeout)
            except (BlockingIOError, TimeoutError):
                return None
        return None if answer.push is UNSET else answer.push

    def _next_answer(self, deadline: float | None) -> wire.Answer[Raw]:
        answer = wire.read_any(self._receive(deadline)[0])
        if answer.error is not UNSET:
            raise wire.failure(answer.error)
        return answer

    # ── bytes ──

    def close(self) -> None:
        """Hang up; also from another thread, which ends a wait for events."""
        if not self.closed:
            self.closed = True
            with contextlib.suppress(OSError):  # the other side was first
                self._socket.shutdown(_socket.SHUT_RDWR)
            self._socket.close()

    def abandon(self) -> None:
        """Let go of a connection that belongs to the process we were forked from."""
        self.closed = True
        self._socket.close()  # this process's descriptor only: nothing is said to the daemon

    def __del__(self) -> None:
        if not self.closed:
            self.abandon()

    def _check_alive(self, request: Request) -> None:
        """See that the daemon has not hung up meanwhile: over TCP, a write alone would not tell."""
        if self._tls:
            self._arm(0.0)
        try:
            flags = _socket.MSG_PEEK | _socket.MSG_DONTWAIT
            hung_up = not _socket.socket.recv(self._socket, 1, flags)  # beneath TLS too: nothing is taken away
        except BlockingIOError:
            return
        except OSError:
            hung_up = True
        if hung_up:
            self.close()
            raise Lost(wire.gone(request, "the connection was closed"), sent=False)

    def _begin(self, timeout: float) -> float:
        """When, by the monotonic clock, what is asked now must have been answered."""
        self._arm(timeout + GRACE)
        return time.monotonic() + timeout + GRACE

    def _arm_until(self, deadline: float | None) -> None:
        """Let the socket keep us waiting for what is left of the time; raises TimeoutError when nothing is."""
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._arm(left)

    def _arm(self, seconds: float | None) -> None:
        """How long the socket may keep us waiting at a time; None: for ever."""
        if seconds == self._armed:
            return
        self._armed = seconds
        if self._tls:
            self._socket.settimeout(seconds)
            return
        # Unlike `settimeout`, the kernel's own timeouts cost no poll() before every send and recv.
        microseconds = 0 if seconds is None else max(1, round(seconds * 1_000_000))
        timeval = _TIMEVAL.pack(*divmod(microseconds, 1_000_000))
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, timeval)
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, timeval)

    def _send(self, data: bytes, payload: Payload, deadline: float) -> None:
        if self._greeting:
            if len(data) + len(payload) > JOIN_LIMIT:  # a daemon that turns us away would not read all of it
                self._send_all(self._greeting, deadline)
                self._read_welcome(deadline)
            else:
                data = self._greeting + data
        if len(payload) <= JOIN_LIMIT:
            self._send_all(data + payload if payload else data, deadline)
        else:
            self._send_all(data, deadline)
            self._send_all(payload, deadline)

    def _send_all(self, data: Payload, deadline: float) -> None:
        """Send by the deadline; `sendall` would wait for as long as the daemon takes a part now and then."""
        try:
            sent = self._socket.send(data) if len(data) <= SLICE else 0
            if sent < len(data):
                view = memoryview(data)
                while sent < len(data):
                    self._arm_until(deadline)
                    sent += self._socket.send(view[sent : sent + SLICE])
                self._arm_until(deadline)
        except (BrokenPipeError, ConnectionResetError):
            if self._greeting:  # turned away before the hello had left: the reason is here to be read
                self._read_welcome(deadline)
            raise

    def _read_welcome(self, deadline: float) -> None:
        answer = wire.read_any(self._receive(deadline)[0])
        self._arm_until(deadline)
        if answer.error is not UNSET:
            self.close()  # the daemon does, too
            raise wire.failure(answer.error)
        self._greeting = b""

    def _receive(self, deadline: float | None) -> tuple[bytes, Payload]:
        """The next frame's envelope and payload; the socket is armed until the deadline."""
        if self._position + HEADER_SIZE > len(self._data):
            self._fill()
            if len(self._data) < HEADER_SIZE:
                self._fill_to(HEADER_SIZE, deadline)
        data, start = self._data, self._position
        envelope_length, payload_length = HEADER.unpack_from(data, start)
        if not 0 < envelope_length <= MAX_ENVELOPE:
            raise Garbled(f"the daemon announced an envelope of {envelope_length:,} bytes")
        body = start + HEADER_SIZE + envelope_length
        end = body + payload_length
        if end > len(data):
            return self._receive_long(envelope_length, payload_length, deadline)
        self._position = end
        return data[start + HEADER_SIZE : body], data[body:end]

    def _receive_long(self, envelope_length: int, payload_length: int, deadline: float | None) -> tuple[bytes, Payload]:
        """A frame that is not here as a whole: its payload goes straight to where it stays."""
        self._fill_to(HEADER_SIZE + envelope_length, deadline)
        body = self._position + HEADER_SIZE + envelope_length
        envelope, have = self._data[body - envelope_length : body], self._data[body : body + payload_length]
        self._position = body + len(have)
        payload = bytearray(payload_length)
        payload[: len(have)] = have
        rest = memoryview(payload)[len(have) :]
        while rest:
            self._arm_until(deadline)
            size = self._socket.recv_into(rest)
            if not size:
                raise OSError("the connection was closed")
            rest = rest[size:]
        return envelope, payload

    def _fill_to(self, size: int, deadline: float | None) -> None:
        while len(self._data) - self._position < size:
            self._arm_until(deadline)
            self._fill()

    def _fill(self) -> None:
        """Receive more, behind what is left."""
        more = self._next_bytes()
        if not more:
            raise OSError("the connection was closed")
        self._data = self._data[self._position :] + more
        self._position = 0

    def _next_bytes(self) -> bytes:
        """What arrives next."""
        if not self._tls and self._eager.looks():
            end = time.perf_counter_ns() + MOMENT
            while time.perf_counter_ns() < end:
                with contextlib.suppress(BlockingIOError):
                    found = self._socket.recv(CHUNK, _socket.MSG_DONTWAIT)
                    self._eager.found()
                    return found
            self._eager.in_vain()
        return self._socket.recv(CHUNK)

    @contextlib.contextmanager
    def _conversation(self, request: Request) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # noqa: BLE001  # as in `exchange`
            raise self._judge(error, request, sent=True) from None

    def _judge(self, error: BaseException, request: Request, *, sent: bool) -> BaseException:
        """What to raise; closes the link unless the daemon's reply was whole."""
        if isinstance(error, StashError) and not isinstance(error, Garbled):
            return error
        self.close()
        if isinstance(error, (BlockingIOError, TimeoutError)):
            return wire.overdue(request.timeout_ms / 1000)
        if isinstance(error, OSError):
            return Lost(wire.gone(request, (error.strerror or str(error)).lower()), sent=sent)
        return error
