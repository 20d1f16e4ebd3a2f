"""The way to a daemon through asyncio: one connection, any number of requests in flight."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, cast

from msgspec import UNSET, Raw

from stash_memory import autostart, wire
from stash_memory.target import Target
from stash_memory.wire import GRACE, Answer, Garbled, Lost, Outcome
from stash_protocol import operations
from stash_protocol.errors import BadRequest, Busy, StashError, Unreachable
from stash_protocol.operations import Event, Get, Hello, Rate, Request
from stash_protocol.reader import FrameReader, Payload

CONNECT_TIMEOUT = (
    30.0  # seconds; a caller that waits for less gives up earlier, and the connection is there for the next
)
JOIN_LIMIT = 64 * 1024  # bytes of a value copied to go out in one piece with its head
MAX_EVENTS = 65_536  # of one watch that wait to be read

Reply = asyncio.Future[tuple[Answer[Raw], Payload]]


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
        self._watches: dict[int, asyncio.Queue[Event | StashError]] = {}
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
        reply = await self.begin(request, payload)
        timer = self.loop.call_later(timeout + GRACE, _give_up, reply, timeout)
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
        """Ask all, then wait for all; raises Lost when the connection breaks."""
        replies: list[tuple[Request, Reply]] = []
        outcomes: list[Outcome | StashError] = []
        try:
            for request, payload in calls:
                replies.append((request, await self.begin(request, payload)))
            for request, reply in replies:
                answer, part = await self._answered(request, reply)
                try:
                    outcomes.append((wire.read_body(request, answer), part))
                except StashError as error:
                    outcomes.append(error)
        finally:
            for request, reply in replies[len(outcomes) :]:
                self._pending.pop(request.id, None)
                reply.cancel()
        return outcomes

    async def begin(self, request: Request, payload: Payload) -> Reply:
        """Send a request, once the daemon reads; the future of its reply."""
        self._number = request.id = self._number + 1
        head = wire.head(request, len(payload))
        if not self._room.is_set():
            await self._room.wait()
        if self.closed:
            raise Lost(wire.gone(request, "the connection was closed"), sent=False)
        reply = self._pending[request.id] = self.loop.create_future()
        self._write(head, payload)
        return reply

    async def watch(self, prefix: str, timeout: float) -> WatchSubscription:
        """Begin to watch; raises Lost, and StashError."""
        request = operations.Watch(prefix=prefix, id=self._number + 1)
        events = self._watches[request.id] = asyncio.Queue()
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
            events.put_nowait(Busy(f"more than {MAX_EVENTS:,} events were not read; watch again"))
            self.end_watch(answer.id)
        elif answer.push is not UNSET:
            events.put_nowait(answer.push)
        elif answer.error is not UNSET:
            events.put_nowait(wire.failure(answer.error))
            del self._watches[answer.id]

    def _write(self, head: bytes, payload: Payload) -> None:
        """Send in the next turn of the loop, together with whatever else is asked until then."""
        if not self._out:
            self.loop.call_soon(self._flush)
        if len(payload) <= JOIN_LIMIT:
            self._out.append(head + payload if payload else head)
        else:
            self._out += (head, payload)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self.closed:
            self._transport.writelines(out)

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

    def __init__(self, connection: Connection, number: int, events: asyncio.Queue[Event | StashError]) -> None:
        self._connection = connection
        self._number = number
        self._events = events
        self._over: StashError | None = None
        self._closed = asyncio.Event()

    async def next_event(self, timeout: float | None) -> Event | None:
        """The next change."""
        if self._over is not None:
            raise self._over
        if self._closed.is_set():
            return None
        getting = asyncio.ensure_future(self._events.get())
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((getting, closing), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done() or self._closed.is_set():
                return None
            event = getting.result()
        finally:
            getting.cancel()
            closing.cancel()
        if isinstance(event, StashError):
            self._over = event
            raise event
        return event

    def close(self) -> None:
        """End it."""
        self._closed.set()
        self._connection.end_watch(self._number)


class AsyncSocketTransport:
    """The connection to one daemon, made when it is needed, and anew when it broke or the loop is another."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._closed = False

    @property
    def rate(self) -> Rate | None:
        """What the daemon last said of the caller's budget."""
        return self._connection.rate if self._connection else None

    async def exchange(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        """Carry out one request. Retries once, only when that cannot do anything twice."""
        wire.set_deadline(request, timeout)
        connection = self._connection
        started = time.monotonic()
        if connection is None or not connection.usable:
            connection = await self._connected(timeout)
        try:
            return await connection.ask(request, payload, timeout)
        except Lost as lost:
            if not lost.may_repeat(request):
                raise lost.error from None
        left = max(0.001, timeout - (time.monotonic() - started))
        connection = await self._connected(left)
        try:
            return await connection.ask(request, payload, left)
        except Lost as lost:
            raise lost.error from None

    async def exchange_many(
        self, calls: Sequence[tuple[Request, Payload]], timeout: float
    ) -> list[Outcome | StashError]:
        """Carry out many. Retries all once, only when that cannot do anything twice."""
        for request, _ in calls:
            wire.set_deadline(request, timeout)
        try:
            async with asyncio.timeout(timeout + GRACE):
                try:
                    return await (await self._connected(timeout)).ask_many(calls)
                except Lost as lost:
                    if not lost.may_repeat(*(request for request, _ in calls)):
                        raise lost.error from None
                try:
                    return await (await self._connected(timeout)).ask_many(calls)
                except Lost as lost:
                    raise lost.error from None
        except TimeoutError:
            raise wire.overdue(timeout) from None

    async def watch(self, prefix: str, timeout: float) -> WatchSubscription:
        """Begin to watch."""
        connection = await self._connected(timeout)
        try:
            return await connection.watch(prefix, timeout)
        except Lost:
            pass
        connection = await self._connected(timeout)
        try:
            return await connection.watch(prefix, timeout)
        except Lost as lost:
            raise lost.error from None

    async def close(self) -> None:
        """Hang up."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None and self._connection.usable:
            self._connection.close()
            await asyncio.sleep(0)  # the loop closes the socket in its next turn
        self._connection = None

    async def _connected(self, timeout: float) -> Connection:
        """A usable connection; several callers wait for the same one, and none of them can cancel it."""
        if self._closed:
            raise BadRequest("this stash was closed")
        if self._connection is not None and self._connection.usable:
            return self._connection
        task, loop = self._connecting, asyncio.get_running_loop()
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._connecting = loop.create_task(self._connect(loop))
            task.add_done_callback(_retrieve)
        try:
            self._connection = await asyncio.wait_for(asyncio.shield(task), timeout)
        except TimeoutError:
            raise wire.overdue(timeout) from None
        except Lost as lost:
            raise lost.error from None
        return self._connection

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        target = self._target
        dialing = loop.run_in_executor(None, _dial, target)
        try:
            plain = await asyncio.shield(dialing)
        except asyncio.CancelledError:
            dialing.add_done_callback(_hang_up)
            raise
        options: dict[str, Any] = {"ssl": target.tls, "server_hostname": target.address.host} if target.tls else {}
        try:
            _, connection = await loop.create_connection(lambda: Connection(loop), sock=plain, **options)
        except OSError as error:
            plain.close()
            raise Unreachable(f"no TLS with {target.address}: {error}") from None
        try:
            await connection.hello(target.api_key)
        except BaseException:
            connection.close()
            raise
        return connection


def _dial(target: Target) -> socket.socket:
    """Connect, and start the daemon where that is needed: both block, so this runs in a thread."""
    plain = autostart.connect(target.address, CONNECT_TIMEOUT, autostart=target.autostart)
    connection = socket.socket(fileno=plain.detach())
    connection.settimeout(0)
    return connection


def _hang_up(dialing: asyncio.Future[socket.socket]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        if dialing.exception() is None:
            dialing.result().close()


def _retrieve(task: asyncio.Task[Connection]) -> None:
    if not task.cancelled():
        task.exception()  # whoever waited has it; nobody may be left who did


def _give_up(reply: Reply, timeout: float) -> None:
    if not reply.done():
        reply.set_exception(wire.overdue(timeout))
