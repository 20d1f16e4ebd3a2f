"""The engine inside this process, for `AsyncStash`: in a thread of its own, so that the loop never waits for a disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from stash_memory.embedded import EmbeddedTransport
from stash_memory.wire import Outcome
from stash_protocol.errors import BadRequest, NotFound, StashError, Timeout
from stash_protocol.operations import Get, Request
from stash_protocol.reader import Payload
from stash_protocol.replies import Event, Rate

_Result = TypeVar("_Result")


class AsyncEmbeddedTransport:
    """`EmbeddedTransport`, awaited."""

    rate: Rate | None = None

    def __init__(self, path: str) -> None:
        self._inner = EmbeddedTransport(path)
        self._thread = ThreadPoolExecutor(1, "stash")
        self._closed = False

    async def exchange(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        """Carry out one request; one that waits for a key holds up no other."""
        if type(request) is Get and request.wait_ms:
            return await self._wait(request, min(timeout, request.wait_ms / 1000), timeout)
        return await self.run(self._inner.exchange, request, payload, timeout)

    async def exchange_many(
        self, calls: Sequence[tuple[Request, Payload]], timeout: float
    ) -> list[Outcome | StashError]:
        """Carry out many, each on its own."""
        return await self.run(self._inner.exchange_many, calls, timeout)

    async def watch(self, prefix: str, timeout: float) -> AsyncEmbeddedSubscription:
        """Begin to watch."""
        await self.run(self._inner.check_watch, prefix, timeout)
        subscription = AsyncEmbeddedSubscription(self)
        subscription.end = await self.run(self._inner.subscribe, prefix, subscription.told)
        return subscription

    async def close(self) -> None:
        """Leave the file whole and small."""
        if not self._closed:
            await self.run(self._inner.close)
            self._closed = True
            self._thread.shutdown(wait=False)

    async def sweep(self) -> float:
        """As `EmbeddedTransport.sweep`."""
        return await self.run(self._inner.sweep)

    async def run(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        """Do it in the engine's thread."""
        if self._closed:
            raise BadRequest("this stash was closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _wait(self, request: Get, seconds: float, timeout: float) -> Outcome:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        request.wait_ms = None
        changes = await self.watch(request.key, timeout)
        try:
            while True:
                with contextlib.suppress(NotFound):
                    return await self.run(self._inner.exchange, request, b"", timeout)
                left = deadline - loop.time()
                if left <= 0 or await changes.next_event(left) is None:
                    raise Timeout(f"the key did not appear within {seconds:g} s")
        finally:
            changes.close()


class AsyncEmbeddedSubscription:
    """A watch; also what a waiting get waits with.

    Attributes:
        end: ends the engine's part of it.
    """

    end: Callable[[], None]

    def __init__(self, transport: AsyncEmbeddedTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._ended = False

    def told(self, event: Event) -> None:
        """A change, in the engine's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody listens
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next_event(self, timeout: float | None) -> Event | None:
        """The next change. Sweeps while it waits, for an expiry is a change as well."""
        deadline = None if timeout is None else self._loop.time() + timeout
        while not self._ended:
            left = None if deadline is None else max(0.0, deadline - self._loop.time())
            due = await self._transport.sweep()
            try:
                return await asyncio.wait_for(self._events.get(), due if left is None else min(left, due))
            except TimeoutError:
                if left == 0:
                    return None
        return None

    def close(self) -> None:
        """End it, and whoever waits for it."""
        if not self._ended:
            self._ended = True
            self.end()
            self._events.put_nowait(None)
