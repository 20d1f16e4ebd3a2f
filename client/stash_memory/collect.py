"""Operations collected to be sent together: a batch (all or none) or a pipeline (each on its own)."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from msgspec import UNSET

from stash_memory import calls
from stash_memory.calls import Call
from stash_memory.memories import MemoryFields, memory_of
from stash_memory.values import Duration
from stash_memory.wire import Outcome
from stash_protocol.errors import NotFound, StashError

if TYPE_CHECKING:
    from stash_memory.aio import AsyncStash
    from stash_memory.sync import Stash


class Collected:
    """What can be collected: the operations on single entries. Each method takes what `Stash`'s takes.

    Attributes:
        results: of the last run, in order.
    """

    def __init__(self, *, atomic: bool) -> None:
        self.results: list[Any] = []
        self._atomic = atomic
        self._calls: list[Call[Any]] = []

    def set(
        self,
        key: str | None = None,
        value: object = UNSET,
        *,
        ttl: Duration | None = None,
        if_absent: bool = False,
        if_version: int | None = None,
        tags: Sequence[str] = (),
        **memory: Unpack[MemoryFields],
    ) -> Self:
        """Store a value; see `Stash.set`."""
        return self._add(
            calls.set_(
                key, value, ttl=ttl, if_absent=if_absent, if_version=if_version, tags=tags, memory=memory_of(memory)
            )
        )

    def get(self, key: str, default: Any = None, *, touch: bool = False) -> Self:
        """Read a value; see `Stash.get`. In a batch, a key that is not there fails the batch."""
        return self._add(calls.get(key, default, touch=touch, wait=None))

    def entry(self, key: str, *, touch: bool = False) -> Self:
        """Read an entry with its value; see `Stash.entry`."""
        return self._add(calls.entry(key, touch=touch, wait=None))

    def update(
        self,
        key: str,
        value: object = UNSET,
        *,
        extend: Duration | None = None,
        if_version: int | None = None,
        **memory: Unpack[MemoryFields],
    ) -> Self:
        """Replace a value, extend its time, or both; see `Stash.update`."""
        return self._add(calls.update(key, value, extend=extend, if_version=if_version, memory=memory_of(memory)))

    def extend(self, key: str, by: Duration) -> Self:
        """Add to an entry's time; see `Stash.extend`."""
        return self._add(calls.extend(key, by))

    def forget(self, *keys: str) -> Self:
        """Delete entries; see `Stash.forget`. At most 256 at once."""
        return self._add(calls.forget(keys))

    def ttl(self, key: str) -> Self:
        """Seconds an entry has left; see `Stash.ttl`."""
        return self._add(calls.ttl(key))

    def exists(self, key: str) -> Self:
        """Whether an entry is there; see `Stash.exists`."""
        return self._add(calls.exists(key))

    def incr(self, key: str, by: int = 1, *, ttl: Duration | None = None) -> Self:
        """Add to a counter; see `Stash.incr`."""
        return self._add(calls.incr(key, by, ttl=ttl))

    def append(
        self,
        key: str,
        item: object,
        *,
        many: bool = False,
        max_len: int | None = None,
        ttl: Duration | None = None,
    ) -> Self:
        """Add an item to a list; see `Stash.append`."""
        return self._add(calls.append(key, item, many=many, max_len=max_len, ttl=ttl))

    def pop(self, key: str, default: Any = None, *, first: bool = False) -> Self:
        """Take an item off a list; see `Stash.pop`. In a batch, a list without one fails the batch."""
        return self._add(calls.pop(key, default, first=first))

    def tail(self, key: str, count: int, *, touch: bool = False) -> Self:
        """Read a list's last items; see `Stash.tail`. In a batch, a list that is not there fails the batch."""
        return self._add(calls.tail(key, count, touch=touch))

    def __len__(self) -> int:
        return len(self._calls)

    def _add(self, call: Call[Any]) -> Self:
        self._calls.append(call)
        return self

    def _take(self) -> list[Call[Any]]:
        taken, self._calls = self._calls, []
        return taken


class Collector(Collected):
    """A batch or a pipeline of `Stash`. As a context manager it runs when the block ends without an exception."""

    def __init__(self, stash: Stash, *, atomic: bool) -> None:
        super().__init__(atomic=atomic)
        self._stash = stash

    def run(self, *, timeout: float | None = None) -> list[Any]:
        """Send what was collected; the results, in order.

        A batch raises the error of the first operation that fails, and then has done nothing. A pipeline puts errors
        into the list, and raises only when it is not known what became of the operations.
        """
        taken = self._take()
        self.results = self._stash.carry_out(taken, atomic=self._atomic, timeout=timeout)
        return self.results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.run()


class AsyncCollector(Collected):
    """A batch or a pipeline of `AsyncStash`. As a context manager it runs when the block ends without an exception."""

    def __init__(self, stash: AsyncStash, *, atomic: bool) -> None:
        super().__init__(atomic=atomic)
        self._stash = stash

    async def run(self, *, timeout: float | None = None) -> list[Any]:
        """Send what was collected; see `Collector.run`."""
        taken = self._take()
        self.results = await self._stash.carry_out(taken, atomic=self._atomic, timeout=timeout)
        return self.results

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self.run()


def finish_each(taken: Sequence[Call[Any]], outcomes: Sequence[Outcome | StashError]) -> list[Any]:
    """The results of a pipeline; an error stands where its result would."""
    return [_finish(call, outcome) for call, outcome in zip(taken, outcomes, strict=True)]


def _finish(call: Call[Any], outcome: Outcome | StashError) -> Any:
    if isinstance(outcome, NotFound) and call.absent is not UNSET:
        return call.absent
    if isinstance(outcome, StashError):
        return outcome
    try:
        return call.finish(*outcome)
    except StashError as error:
        return error
