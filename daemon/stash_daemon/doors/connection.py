"""One connection of the socket door: frames in, calls out; answers in, bytes out; a bound on all it holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from time import perf_counter_ns
from typing import TYPE_CHECKING, cast

from stash_daemon.doors.call import Call, failure_of
from stash_daemon.doors.patience import Progress
from stash_daemon.doors.sending import HIGH_WATER, Sending
from stash_daemon.keys import Caller, Peer
from stash_protocol.errors import BadRequest, Busy, StashError, Timeout
from stash_protocol.frames import MAX_ENVELOPE, MAX_ENVELOPE_STRANGER
from stash_protocol.operations import Hello, Request
from stash_protocol.reader import FrameReader, Payload
from stash_protocol.replies import Envelope
from stash_protocol.requests import read_id, read_request

if TYPE_CHECKING:
    from stash_daemon.doors.errands import Errand
    from stash_daemon.doors.socket import SocketDoor

HELLO_PATIENCE = 5.0  # seconds until a new connection has said hello: it has it ready when it connects
MIN_PROGRESS = 1024  # bytes of an incomplete frame within `STALL_PATIENCE`: less is a way to hold memory
MAX_SLICE = 128  # requests of one connection in one go: about 2 ms in which nobody else is served
MAX_ERRANDS = 128  # watches, waits, scans and long writes of one connection at once; each costs a kilobyte or two


class Connection(Sending, asyncio.Protocol):
    """The protocol of one connection.

    Attributes:
        caller: who it is, since its hello; None before.
        peer: the other end.
        serial: names the connection in request ids.
        errands: what it waits for, by request id.
        flow: large values on their way.
        backlogged: the peer does not read as fast as it asks.
    """

    __slots__ = (
        "_arrived", "_ended", "_frames", "_late", "_opened", "_reader", "_received", "_receiving", "_reserved",
        "_sending", "caller", "errands", "local", "peer", "serial",
    )  # fmt: skip

    def __init__(self, door: SocketDoor, *, local: bool) -> None:
        super().__init__(door)
        self.caller: Caller | None = None
        self.peer = Peer(name="")
        self.local = local
        self.serial = 0
        self.errands: dict[int, Errand] = {}
        self._ended = False  # the peer sends no more
        self._reader: FrameReader[Call] = FrameReader(self._admit, MAX_ENVELOPE_STRANGER)
        self._frames: Iterator[tuple[Call, Payload]] | None = None  # set aside until the peer reads, or others had a go
        self._late: list[bytes] = []  # what a transport still delivered after it was asked to pause
        self._arrived = 0
        self._reserved = 0  # bytes of memory taken for the payload that is on its way in
        self._received = 0  # bytes received since the last whole frame
        self._sending, self._receiving = Progress(), Progress()
        self._opened = 0.0  # seconds of the loop

    # ── the transport calls ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._opened = self._door.loop.time()
        try:
            self._door.welcome(self, self._transport)
        except StashError as error:
            self.refuse(0, error)

    def data_received(self, data: bytes) -> None:
        if self._frames is not None or self.flow.engaged:
            self._late.append(data)
            return
        self._arrived = perf_counter_ns()
        self._frames = self._reader.feed(data)
        self._serve()
        if not self._reader.idle:
            self._received += len(data)
            self._door.patience.watch(self)

    def eof_received(self) -> bool:
        """The peer will send no more: once it has its answers, the connection closes."""
        self._ended = True
        self.drain(Timeout("the connection was closed"))
        return not self.closing and self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self.backlogged = True
        self._queued = 0
        self._recharge()
        self.pause_reading()
        self._door.patience.watch(self)

    def resume_writing(self) -> None:
        self.backlogged = False
        self._recharge()
        if self.flow.open:
            self._door.loop.call_soon(self.flow.pump)
        elif self._frames is not None:
            self._door.loop.call_soon(self._go_on)
        else:
            self._resume_reading()

    def connection_lost(self, _exception: Exception | None) -> None:
        self.closing = True
        self._frames = None
        for errand in tuple(self.errands.values()):
            errand.abandon()
        self.flow.stop()
        self._door.memory.release(self._charged + self._reserved)
        self._charged = self._reserved = 0
        self._door.goodbye(self)

    # ── requests ──

    def _admit(self, envelope: bytes, payload_length: int) -> Call | None:
        """Judge an envelope; the answer to one that is refused is on its way when this returns None."""
        caller, door = self.caller, self._door
        try:
            request = read_request(envelope)
        except BadRequest as error:
            self._refuse_envelope(envelope, error)
            return None
        if caller is None:
            return self._admit_stranger(request, payload_length)
        call = Call(self, request, self._arrived, payload_length)
        try:
            if door.peers_limited or caller.tier.rate is not None:
                call.rate = door.limiter.take(caller, self.peer)
            door.engine.admit(request, payload_length, caller)
            if payload_length:
                door.memory.reserve(payload_length)
                self._reserved = payload_length
        except StashError as error:
            if call.rate is None:
                call.rate = door.limiter.look(caller, self.peer)
            self.deliver(call, None, error)
            return None
        return call

    def _admit_stranger(self, request: Request, payload_length: int) -> Call | None:
        if self.closing:
            return None
        if isinstance(request, Hello) and not payload_length:
            return Call(self, request, self._arrived)
        self.refuse(request.id, BadRequest("the first frame of a connection is hello, without a payload"))
        return None

    def _refuse_envelope(self, envelope: bytes, error: BadRequest) -> None:
        number = read_id(envelope)
        if self.caller is None:
            if not self.closing:
                self.refuse(number, error)
            return
        self.send(Envelope(number, error=failure_of(error)))
        self._door.unreadable(self, number, error)

    def _serve(self) -> None:
        """Carry out what has arrived, up to a slice of it."""
        frames, dispatch, left = self._frames, self._door.dispatch, MAX_SLICE
        assert frames is not None
        try:
            for call, payload in frames:
                dispatch(call, payload)
                if self._reserved:
                    self._door.memory.release(self._reserved)
                    self._reserved = 0
                self._received = 0
                left -= 1
                if left <= 0 or self._owed > HIGH_WATER or self.closing or self.flow.engaged:
                    self._set_aside()
                    break
            else:
                self._frames = None
        except BadRequest as error:  # the stream cannot be followed any further
            self._frames = None
            self.refuse(0, error)
        if self._door.turn.open:
            self._door.turn.flush_later(self)
        else:
            self.flush()

    def _set_aside(self) -> None:
        if self.closing:
            self._frames = None
            return
        self.pause_reading()
        self._door.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take up what was set aside, once the peer has read its answers."""
        if self._frames is None or self.backlogged or self.closing or self.flow.engaged:
            return
        if self._owed > HIGH_WATER:  # the turn has not ended
            self._door.loop.call_soon(self._go_on)
            return
        self._serve()
        self._caught_up()

    def _caught_up(self) -> None:
        """Read on, if nothing is set aside any more."""
        if self._frames is None and self._late and not self.flow.engaged:
            late, self._late = b"".join(self._late), []
            self.data_received(late)
        if self._frames is None and not self.backlogged and not self.flow.engaged:
            self._resume_reading()

    def take_up(self) -> None:
        """Nothing is on its way any more that what the peer asks for had to wait for."""
        self._go_on()
        self._caught_up()

    # ── the end ──

    def refuse(self, number: int, error: StashError) -> None:
        """Say why, and close."""
        self._door.turn.commit()  # answers that are held for this connection come before the last word
        self._door.unreadable(self, number, error)
        self.send(Envelope(number, error=failure_of(error)))
        self.close()

    def close(self) -> None:
        """Close once everything is sent. A peer that does not read is dropped like any other."""
        if not self.closing:
            self._door.turn.commit()  # with the answers that are held for this connection
            self.closing = True
            self.flush()
            self._transport.close()
            self._door.patience.watch(self)

    def drop(self) -> None:
        """Close at once; what is not sent is lost."""
        self.closing = True
        self._transport.abort()

    def drain(self, error: StashError | None = None) -> None:
        """Finish what is asked for, end what would go on for ever, with the error or without a word, then close."""
        self.draining = True
        for errand in tuple(self.errands.values()):
            if errand.endless and error is not None:
                errand.stop(error)
            elif errand.endless:
                errand.abandon()
        if not self._door.turn.open:
            self.flush()
        else:
            self._door.turn.flush_later(self)

    def _close_when_done(self) -> None:
        halfway = not self._reader.idle and not self._ended
        busy = self._frames is not None or self.flow.open
        if not (halfway or busy or self.errands or self._out or self.closing):
            self.close()

    # ── bounds ──

    def judge(self, now: float) -> bool:
        """Drop the connection if it has stalled; whether it is still to be watched. What `patience.Suspect` asks."""
        if self.caller is None and not self.closing:
            if now - self._opened > HELLO_PATIENCE:
                self.refuse(0, Timeout(f"no hello within {HELLO_PATIENCE:g} seconds"))
            return True
        writing = self.backlogged or self.closing
        reading = not writing and not self._reader.idle and self._frames is None
        if writing:
            sent = self._queued - self._transport.get_write_buffer_size()
            stalled = self._sending.stalled(now, sent, 1)
        else:
            stalled = reading and self._receiving.stalled(now, self._received, MIN_PROGRESS)
        if not writing:
            self._sending.reset()
        if not reading:
            self._receiving.reset()
        if stalled:
            self._door.engine.observer.log("INFO", "connection_stalled", peer=self.peer.name)
            self.drop()
        return (writing or reading) and not stalled

    def pause_reading(self) -> None:
        """Hear no more from the peer, until `take_up`."""
        if not self._transport.is_closing():
            with contextlib.suppress(RuntimeError):  # uvloop: it is paused already, or closing
                self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._transport.is_closing():
            with contextlib.suppress(RuntimeError):
                self._transport.resume_reading()

    def enlist(self, errand: Errand) -> None:
        """Take on something that is not answered at once.

        Raises:
            Busy: there is too much of it already.
            BadRequest: the id is that of another one.
        """
        if len(self.errands) >= MAX_ERRANDS:
            raise Busy(f"a connection may wait for {MAX_ERRANDS} requests at once; finish or cancel some")
        number = errand.call.request.id
        if number in self.errands:
            raise BadRequest(f"request id {number} is in use on this connection")
        self.errands[number] = errand

    def known(self, caller: Caller) -> None:
        """The hello was accepted: envelopes may have their full size from now on."""
        self.caller = caller
        self._reader.max_envelope = MAX_ENVELOPE
