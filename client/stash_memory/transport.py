"""What a way to reach the operations looks like: sockets, asyncio and the engine in this process are three.

Seconds everywhere. Who waits for a call tells the daemon how long, hence timeouts as arguments in coroutines, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stash_memory.wire import Outcome
from stash_protocol.errors import Busy, StashError
from stash_protocol.operations import Request
from stash_protocol.reader import Payload
from stash_protocol.replies import Event, Rate

MAX_EVENTS = 65_536  # of one watch that wait to be read
MOMENT = 0.001  # seconds that a call still has when its time went by before it began: whoever answers says why


def overrun() -> Busy:
    """Why a watch ended whose events were not read."""
    return Busy(f"more than {MAX_EVENTS:,} events were not read; watch again")


class Subscription(Protocol):
    """One watch."""

    def next_event(self, timeout: float | None) -> Event | None:
        """The next change; None when none comes in so many seconds, or after `close`."""
        ...

    def close(self) -> None:
        """End it; also from another thread."""
        ...


class Transport(Protocol):
    """A blocking way to the operations. Thread-safe."""

    @property
    def rate(self) -> Rate | None:
        """What is left of the caller's budget, as last heard; None where it has no limit."""
        ...

    def exchange(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        """Carry out one request within so many seconds; raises StashError."""
        ...

    def exchange_many(self, calls: Sequence[tuple[Request, Payload]], timeout: float) -> list[Outcome | StashError]:
        """Carry out many, each on its own; raises StashError when it is not known what became of them."""
        ...

    def watch(self, prefix: str, timeout: float) -> Subscription:
        """Begin to watch within so many seconds; raises StashError."""
        ...

    def close(self) -> None:
        """Let go of everything; further calls fail."""
        ...


class AsyncSubscription(Protocol):
    """One watch, awaited."""

    async def next_event(self, timeout: float | None) -> Event | None:
        """The next change; None when none comes in so many seconds, or after `close`."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class AsyncTransport(Protocol):
    """A way to the operations that is awaited."""

    @property
    def rate(self) -> Rate | None:
        """As in `Transport`."""
        ...

    async def exchange(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        """Carry out one request within so many seconds; raises StashError."""
        ...

    async def exchange_many(
        self,
        calls: Sequence[tuple[Request, Payload]],
        timeout: float,
    ) -> list[Outcome | StashError]:
        """Carry out many, each on its own; raises StashError when it is not known what became of them."""
        ...

    async def watch(self, prefix: str, timeout: float) -> AsyncSubscription:
        """Begin to watch within so many seconds; raises StashError."""
        ...

    async def close(self) -> None:
        """Let go of everything; further calls fail."""
        ...
