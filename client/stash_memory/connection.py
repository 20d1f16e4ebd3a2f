"""One asyncio connection: any number of requests in flight, and watches among them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import cast

from msgspec import UNSET, Raw

from stash_memory import wire
from stash_memory.flight import STEP
from stash_memory.transport import MAX_EVENTS, overrun
from stash_memory.wire import GRACE, Answer, Garbled, Lost, Outcome
from stash_protocol import operations
from stash_protocol.errors import BadRequest, StashError, Timeout, Unreachable
from stash_protocol.frames import JOIN_LIMIT, pieces
from stash_protocol.operations import Get, Hello, Request
from stash_protocol.reader import FrameReader, Payload
from stash_protocol.replies import Event, Rate

Reply = asyncio.Future[tuple[Answer[Raw], Payload]]
Events = asyncio.Queue[Event | StashError | None]


class Connection(asyncio.Protocol):
    """One connection. A reply finds its request by id; one nobody waits for any more is dropped, unread.

    Attributes:
        loop: the one it lives on.
        closed: of no more use.
        rate: what the daemon last said of the caller's budget.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.closed = False
        self.rate: Rate | None = None
        self._pid = os.getpid()
        self._number = 0  # of the last request; the hello's is 0
        self._pending: dict[int, Reply] = {}
        self._watches: dict[int, Events] = {}
        self._reader = FrameReader[Answer[Raw]](self._admit)
        self._out: list[Payload] = []
        self._room = asyncio.Event()  # whether the daemon reads what we write
        self._room.set()
        self._transport: asyncio.Transport

    @property
    def usable(self) -> bool:
        """Whether the running loop may send on it."""
        return not self.closed and self.loop is asyncio.get_running_loop() and self._pid == os.getpid()

    # ── the loop calls ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for answer, payload in self._reader.feed(data):
                self._deliver(answer, payload)
        except (Garbled, BadRequest) as error:
            self._fail(Garbled(error.message))
            self._transport.abort()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exception: Exception | None) -> None:
        self._fail(str(exception or "the connection was closed").lower())

    # ── requests ──

    async def hello(self, api_key: str | None) -> None:
        """Say who we are; raises what the daemon answers."""
        reply = self._pending[0] = self.loop.create_future()
        self._write(wire.hello(api_key), b"")
        answer, _ = await self._answered(Hello(version=1), reply)
        wire.read_body(Hello(version=1), answer)

    async def ask(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        """Ask, and wait for the reply; raises Lost, and StashError."""
        deadline = self.loop.time() + timeout + GRACE
        reply = await self.begin(request, payload, deadline)
        timer = self.loop.call_at(deadline, _give_up, reply, request)
        try:
            answer, part = await self._answered(request, reply)
        except asyncio.CancelledError:
            if isinstance(request, Get) and request.wait_ms:
                self.cancel(request.id)
            raise
        finally:
            timer.cancel()
        return wire.read_body(request, answer), part

    async def ask_many(self, calls: Sequence[tuple[Request, Payload]]) -> list[Outcome | StashError]:
        """Ask all, then wait for all, for as long as the caller does; raises Lost when the connection breaks."""
        replies: list[tuple[Request, Reply | StashError]] = []
        outcomes: list[Outcome | StashError] = []
        try:
            for request, payload in calls:
                try:
                    replies.append((request, await self.begin(request, payload, None)))
                except StashError as error:  # it cannot be said on the wire
                    replies.append((request, error))
            for request, reply in replies:
                if isinstance(reply, StashError):
                    outcomes.append(reply)
                else:
                    outcomes.append(wire.outcome_of(request, *await self._answered(request, reply)))
        finally:
            for request, reply in replies[len(outcomes) :]:
                self._pending.pop(request.id, None)
                if not isinstance(reply, StashError):
                    reply.cancel()
        return outcomes

    async def begin(self, request: Request, payload: Payload, deadline: float | None) -> Reply:
        """Send a request, once the daemon reads; the future of its reply.

        Args:
            request: gets its id here.
            payload: of it.
            deadline: of the loop's clock, by which the daemon must read; None: the caller sees to that.
        """
        self._number = request.id = self._number + 1
        head = wire.head(request, len(payload))
        if not self._room.is_set():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._room.wait()
            except TimeoutError:
                raise Timeout(
                    f"the daemon read nothing for {request.timeout_ms / 1000:g} s; nothing was sent"
                ) from None
        if self.closed:
            raise Lost(wire.gone(request, "the connection was closed"), sent=False)
        reply = self._pending[request.id] = self.loop.create_future()
        self._write(head, payload)
        return reply

    async def watch(self, prefix: str, timeout: float) -> WatchSubscription:
        """Begin to watch; raises Lost, and StashError."""
        request = operations.Watch(prefix=prefix, id=self._number + 1)
        wire.set_deadline(request, timeout)
        events: Events = asyncio.Queue()
        self._watches[request.id] = events
        try:
            await self.ask(request, b"", timeout)
        except BaseException:
            self.end_watch(request.id)
            raise
        return WatchSubscription(self, request.id, events)

    def end_watch(self, number: int) -> None:
        """Hear no more of it, and let the daemon know."""
        if self._watches.pop(number, None) is not None:
            self.cancel(number)

    def cancel(self, number: int) -> None:
        """Let the daemon know that nobody waits for a reply any more."""
        if not self.closed:
            self._number += 1
            self._write(wire.head(operations.Cancel(target=number, id=self._number), 0), b"")

    def close(self) -> None:
        """Hang up."""
        if not self.closed:
            self._fail("this stash was closed")
            self._transport.close()

    # ── bytes ──

    async def _answered(self, request: Request, reply: Reply) -> tuple[Answer[Raw], Payload]:
        try:
            return await reply
        except ConnectionError as error:
            raise Lost(wire.gone(request, str(error)), sent=True) from None
        finally:
            self._pending.pop(request.id, None)

    def _admit(self, envelope: bytes, _payload_length: int) -> Answer[Raw] | None:
        answer = wire.read_any(envelope)
        return answer if answer.id in self._pending or answer.id in self._watches else None

    def _deliver(self, answer: Answer[Raw], payload: Payload) -> None:
        if answer.rate is not UNSET:
            self.rate = answer.rate
        reply = self._pending.pop(answer.id, None)
        if reply is not None:
            if not reply.done():
                reply.set_result((answer, payload))
            return
        events = self._watches.get(answer.id)
        if events is None:
            return
        if events.qsize() >= MAX_EVENTS:
            events.put_nowait(overrun())
            self.end_watch(answer.id)
        elif answer.push is not UNSET:
            events.put_nowait(answer.push)
        elif answer.error is not UNSET:
            events.put_nowait(wire.failure(answer.error))
            del self._watches[answer.id]

    def _write(self, head: bytes, payload: Payload) -> None:
        """Send in the next turn of the loop, together with what else is asked until then; much of it sooner."""
        if not self._out:
            self.loop.call_soon(self._flush)
        elif len(self._out) >= STEP:
            self._flush()
        if len(payload) <= JOIN_LIMIT:
            self._out.append(head + payload if payload else head)
        else:
            self._out += (head, payload)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self.closed:
            for piece in pieces(out):
                self._transport.write(piece)

    def _fail(self, reason: str | Garbled) -> None:
        self.closed = True
        self._room.set()
        pending, self._pending = self._pending, {}
        watches, self._watches = self._watches, {}
        error: Exception = reason if isinstance(reason, Garbled) else ConnectionError(reason)
        for reply in pending.values():
            if not reply.done():
                reply.set_exception(error)
        for events in watches.values():
            events.put_nowait(reason if isinstance(reason, Garbled) else Unreachable(f"the watch ended: {reason}"))


class WatchSubscription:
    """A watch among the other requests of its connection."""

    def __init__(self, connection: Connection, number: int, events: Events) -> None:
        self._connection = connection
        self._number = number
        self._events = events
        self._closed = False

    async def next_event(self, timeout: float | None) -> Event | None:
        """The next change."""
        if self._closed:
            return None
        try:
            async with asyncio.timeout(timeout):
                event = await self._events.get()  # in this very task: cancelled, it has taken nothing
        except TimeoutError:
            return None
        if event is None:
            self._events.put_nowait(None)  # for whoever else waits
            return None
        if isinstance(event, StashError):
            self._events.put_nowait(event)  # for whoever asks again
            raise event
        return event

    def close(self) -> None:
        """End it, and whoever waits for it."""
        if not self._closed:
            self._closed = True
            self._events.put_nowait(None)
            self._connection.end_watch(self._number)


def _give_up(reply: Reply, request: Request) -> None:
    if not reply.done():
        reply.set_exception(wire.overdue(request.timeout_ms / 1000))
