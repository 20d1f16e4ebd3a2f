"""The sending half of a connection: answers in, bytes out; and a bound on what waits to be sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import msgspec
from msgspec import UNSET

from stash_daemon.doors.call import Call, failure_of
from stash_daemon.doors.flow import Flow
from stash_daemon.engine import Large, Value
from stash_protocol.errors import StashError
from stash_protocol.frames import HEADER, JOIN_LIMIT, pieces
from stash_protocol.reader import Payload
from stash_protocol.replies import Envelope, Event

if TYPE_CHECKING:
    from stash_daemon.doors.connection import Connection
    from stash_daemon.doors.socket import SocketDoor
    from stash_daemon.engine import Reply

HIGH_WATER = 256 * 1024  # bytes owed to a peer: enough to keep it busy; then it has to read before more is done for it
WATCH_HIGH_WATER = 4 << 20  # bytes owed to a watcher, who cannot be made to wait: some 40,000 events
_encode = msgspec.msgpack.Encoder().encode


class Sending:
    """What a connection answers with.

    Attributes:
        backlogged: the peer does not read as fast as it asks.
        closing: nothing more is sent.
        draining: it closes once it has answered.
        flow: large values on their way.
    """

    __slots__ = (
        "_charged", "_door", "_out", "_owed", "_queued", "_transport", "backlogged", "closing", "draining",
        "flow",
    )  # fmt: skip

    def __init__(self, door: SocketDoor) -> None:
        self.backlogged = self.closing = self.draining = False
        self.flow = Flow(cast("Connection", self), door)
        self._door = door
        self._transport: asyncio.Transport
        self._out: list[Value] = []
        self._owed = 0  # bytes of values answered in this go: what HIGH_WATER is compared with
        self._charged = 0  # bytes of memory taken for what the peer has not read
        self._queued = 0  # bytes written since the peer fell behind

    def close(self) -> None:
        """Close once everything is sent."""
        raise NotImplementedError

    def _close_when_done(self) -> None:
        raise NotImplementedError

    def answer(self, call: Call, reply: Reply | None, error: StashError | None = None) -> None:
        """Answer a call: after the turn, if one is open. `flush` sends it."""
        turn = self._door.turn
        if reply is not None:
            size = len(reply.payload)
            self._owed += size
            if isinstance(reply.payload, Large):
                self.flow.pin(reply.payload)
            elif size > JOIN_LIMIT:
                error = error or self._door.memory.refusal(size)
                if error is None and turn.open:
                    self._door.memory.held += size
                    call.reserved = size
        if turn.open:
            turn.hold(call, reply, error)
        else:
            self.deliver(call, reply, error)

    def answer_now(self, call: Call, reply: Reply | None, error: StashError | None = None) -> None:
        """The same from outside of `data_received`: nobody else would flush."""
        self.answer(call, reply, error)
        if not self._door.turn.open:
            self.flush()

    def deliver(self, call: Call, reply: Reply | None, error: StashError | None) -> None:
        """Put an answer, which is final, into the stream."""
        payload: Value = b""
        self._door.memory.release(call.reserved)
        rate = UNSET if call.rate is None else call.rate
        if error is None:
            assert reply is not None
            payload = reply.payload
            self.send(Envelope(call.request.id, reply.body, rate=rate), payload)
        else:
            if reply is not None and isinstance(reply.payload, Large):
                self.flow.unpin(reply.payload)
            self.send(Envelope(call.request.id, error=failure_of(error), rate=rate))
        self._door.answered(call, None if error else reply, error)

    def send(self, envelope: Envelope, payload: Value = b"") -> None:
        """Put a frame into the stream; `flush` sends it."""
        head = _encode(envelope)
        size = len(payload)
        if isinstance(payload, Large):
            self._out += (HEADER.pack(len(head), size) + head, payload)
            self.flow.waiting += 1
        elif size <= JOIN_LIMIT:
            self._out.append(HEADER.pack(len(head), size) + head + payload)
        else:
            self._out.append(HEADER.pack(len(head), size) + head)
            self._out.append(payload)

    def push(self, number: int, event: Event) -> None:
        """Tell a watcher; sent when the turn that made the event ends."""
        self.send(Envelope(number, push=event))
        self._door.turn.flush_later(cast("Connection", self))

    @property
    def overrun(self) -> bool:
        """Whether a watcher reads so slowly that it cannot be told any more."""
        return self.backlogged and self._transport.get_write_buffer_size() > WATCH_HIGH_WATER

    def flush(self) -> None:
        """Send what is in the stream: one write, however many answers."""
        out, self._owed = self._out, 0
        if self.flow.waiting or self.flow.open:
            self.flow.begin(out)
        elif out:
            self._out = []
            if not self._transport.is_closing():
                if self.backlogged:
                    self._queued += sum(map(len, out))
                self.write(out)
                if self.backlogged:
                    self._recharge()
                self._door.linger.answered()
        if self.draining:
            self._close_when_done()

    def write(self, parts: list[Value]) -> None:
        """Hand parts of the stream to the transport; none of them a large value."""
        for piece in pieces(cast(list[Payload], parts)):
            self._transport.write(piece)

    def _recharge(self) -> None:
        size = self._transport.get_write_buffer_size() if self.backlogged else 0
        self._door.memory.release(self._charged - size)
        self._charged = size
