"""The engine inside this process, for `AsyncStash`: in threads of its own, so that the loop never waits for a disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TypeVar

from stash_daemon.engine import STEPS
from stash_memory import wire
from stash_memory.embedded import SETTLE_EVERY, EmbeddedTransport, unsettled
from stash_memory.transport import MAX_EVENTS, MOMENT, overrun
from stash_memory.wire import GRACE, Outcome, WaitedInVain
from stash_protocol.errors import BadRequest, NotFound, StashError
from stash_protocol.operations import Embedded, Get, Request, Search
from stash_protocol.reader import Payload
from stash_protocol.replies import Event, Rate

_Result = TypeVar("_Result")


class AsyncEmbeddedTransport:
    """`EmbeddedTransport`, awaited.

    Calls are carried out in the order they were made, in one thread; what goes slice by slice has a thread of its own,
    and the others are served between two slices.
    """

    rate: Rate | None = None

    def __init__(self, path: str) -> None:
        self._inner = EmbeddedTransport(path)
        self._thread = ThreadPoolExecutor(1, "stash")
        self._steps_thread = ThreadPoolExecutor(1, "stash-steps")
        self._closed = False

    async def exchange(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        """Carry out one request; one that waits for a key holds up no other."""
        wire.set_deadline(request, timeout)
        if type(request) is Get and request.wait_ms:
            return await self._wait(request, min(timeout, request.wait_ms / 1000))
        if type(request) is Embedded and request.wait_ms:
            await self._settle(request, min(timeout, request.wait_ms / 1000))
            request.wait_ms = None
        waits = self._inner.embeds and type(request) is Search  # for the embedder
        thread = self._steps_thread if waits or type(request) in STEPS else self._thread
        return await self._in_time(thread, timeout, lambda left: self._inner.exchange(request, payload, left))

    async def exchange_many(
        self, calls: Sequence[tuple[Request, Payload]], timeout: float
    ) -> list[Outcome | StashError]:
        """Carry out many, each on its own."""
        return await self._in_time(self._thread, timeout, lambda left: self._inner.exchange_many(calls, left))

    async def watch(self, prefix: str, timeout: float) -> AsyncEmbeddedSubscription:
        """Begin to watch."""
        subscription = AsyncEmbeddedSubscription(self)

        def begin(left: float) -> None:
            subscription.end = self._inner.subscribe(prefix, subscription.told, left)

        try:
            await self._in_time(self._thread, timeout, begin)
        except BaseException:
            subscription.close()
            raise
        return subscription

    async def close(self) -> None:
        """Leave the file whole and small."""
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._inner.close))
        finally:
            self._thread.shutdown(wait=False)
            self._steps_thread.shutdown(wait=False)

    async def sweep(self, timeout: float | None) -> float:
        """As `EmbeddedTransport.sweep`."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._inner.sweep, timeout)

    def later(self, work: Callable[[], None]) -> None:
        """Do it in the engine's thread, after all that was asked for before; a closed engine has nothing left to do."""
        with contextlib.suppress(RuntimeError):
            self._thread.submit(work)

    async def _in_time(self, thread: ThreadPoolExecutor, timeout: float, work: Callable[[float], _Result]) -> _Result:
        """Do it in a thread, with the seconds that are left when its turn comes."""
        self._check_open()
        deadline = monotonic() + timeout
        try:
            async with asyncio.timeout(timeout + GRACE):
                return await asyncio.get_running_loop().run_in_executor(
                    thread, lambda: work(max(MOMENT, deadline - monotonic()))
                )
        except TimeoutError:
            raise wire.overdue(timeout) from None

    def _check_open(self) -> None:
        if self._closed:
            raise BadRequest("this stash was closed")

    async def _wait(self, request: Get, seconds: float) -> Outcome:
        deadline = monotonic() + seconds
        request.wait_ms = None
        changes = await self.watch(request.key, seconds)
        try:
            while True:
                left = deadline - monotonic()
                with contextlib.suppress(NotFound):
                    return await self.exchange(request, b"", max(MOMENT, left))
                if left <= 0 or await changes.next_event(left) is None:
                    raise WaitedInVain(f"the key did not appear within {seconds:g} s")
        finally:
            changes.close()

    async def _settle(self, request: Embedded, seconds: float) -> None:
        deadline = monotonic() + seconds
        while not await self._in_time(self._thread, seconds, lambda left: self._inner.settled(request, left)):
            if monotonic() > deadline:
                raise unsettled()
            await asyncio.sleep(SETTLE_EVERY)


class AsyncEmbeddedSubscription:
    """A watch; also what a waiting get waits with.

    Attributes:
        end: ends the engine's part of it, once that has begun.
    """

    end: Callable[[], None] | None = None

    def __init__(self, transport: AsyncEmbeddedTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._events: SimpleQueue[Event | StashError] = SimpleQueue()
        self._news = asyncio.Event()
        self._ended = False

    def told(self, event: Event) -> bool:
        """A change, in the thread that made it; False when too many were not read."""
        fits = self._events.qsize() < MAX_EVENTS
        self._events.put(event if fits else overrun())
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody listens
            self._loop.call_soon_threadsafe(self._news.set)
        return fits

    async def next_event(self, timeout: float | None) -> Event | None:
        """The next change. Sweeps while it waits, for an expiry is a change as well."""
        deadline = None if timeout is None else monotonic() + timeout
        while not self._ended:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            self._news.clear()
            due = await self._transport.sweep(left)
            with contextlib.suppress(Empty):
                return self._next()
            if left == 0:
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due if left is None else min(left, due)):
                    await self._news.wait()
        return None

    def _next(self) -> Event:
        event = self._events.get_nowait()
        if isinstance(event, StashError):
            self._events.put(event)  # for whoever asks again
            raise event
        return event

    def close(self) -> None:
        """End it, and whoever waits for it."""
        if not self._ended:
            self._ended = True
            self._transport.later(self._end)
            self._news.set()

    def _end(self) -> None:
        if self.end is not None:
            self.end()
