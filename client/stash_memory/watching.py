"""Watches: changes and expiries, one after another."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from stash_memory import calls, results
from stash_memory.transport import AsyncSubscription, Subscription


class Watch:
    """An iterator over changes; `close` ends it, also from another thread."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    def next(self, timeout: float | None = None) -> results.Event | None:
        """The next change; None when none comes in so many seconds, or after `close`.

        Raises:
            StashError: the daemon ended the watch, or went away.
        """
        event = self._subscription.next_event(timeout)
        return None if event is None else calls.event(event)

    def close(self) -> None:
        """End it."""
        self._subscription.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> results.Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncWatch:
    """An asynchronous iterator over changes; `close` ends it."""

    def __init__(self, subscription: AsyncSubscription) -> None:
        self._subscription = subscription

    async def next(self, timeout: float | None = None) -> results.Event | None:
        """The next change; see `Watch.next`."""
        event = await self._subscription.next_event(timeout)
        return None if event is None else calls.event(event)

    async def close(self) -> None:
        """End it."""
        self._subscription.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> results.Event:
        event = await self.next()
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
