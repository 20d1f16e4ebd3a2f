"""Counters and lists, as both clients have them: what changes with what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from stash_memory import calls
from stash_memory.calls import Call
from stash_memory.values import Duration

Result = TypeVar("Result")


class Accumulators:
    """The part of `Stash` that counts and keeps lists."""

    if TYPE_CHECKING:

        def _run(self, call: Call[Result], timeout: float | None) -> Result: ...

    def incr(self, key: str, by: int = 1, *, ttl: Duration | None = None, timeout: float | None = None) -> int:
        """Add to a counter, atomically; the new number. An absent one starts at 0, with ``ttl``.

        Raises:
            BadRequest: the entry is no counter, or the number would leave 64 bits.
            StashError: as every call.
        """
        return self._run(calls.incr(key, by, ttl=ttl), timeout)

    def append(
        self,
        key: str,
        item: object,
        *,
        many: bool = False,
        max_len: int | None = None,
        ttl: Duration | None = None,
        timeout: float | None = None,
    ) -> int:
        """Add an item to a list, atomically; the new length. An absent one starts empty, with ``ttl``.

        Args:
            key: of an entry that holds a JSON array.
            item: anything JSON can say.
            many: ``item`` is a list of them, to be added one after the other.
            max_len: beyond it, the oldest items go.
            ttl: of a list that is new.
            timeout: seconds the call may take.

        Raises:
            BadRequest: the entry is no list, or the item no JSON.
            StashError: as every call.
        """
        return self._run(calls.append(key, item, many=many, max_len=max_len, ttl=ttl), timeout)

    def pop(self, key: str, default: Any = None, *, first: bool = False, timeout: float | None = None) -> Any:
        """Take the last item off a list, or the ``first``, atomically; ``default`` where there is none.

        Raises:
            BadRequest: the entry is no list.
            StashError: as every call.
        """
        return self._run(calls.pop(key, default, first=first), timeout)

    def tail(self, key: str, count: int, *, touch: bool = False, timeout: float | None = None) -> list[Any]:
        """The last ``count`` items of a list, oldest first; none where there is no list.

        Args:
            key: of an entry that holds a JSON array.
            count: at least 1.
            touch: restore the entry's own TTL.
            timeout: seconds the call may take.

        Raises:
            BadRequest: the entry is no list.
            StashError: as every call.
        """
        return self._run(calls.tail(key, count, touch=touch), timeout)


class AsyncAccumulators:
    """The part of `AsyncStash` that counts and keeps lists."""

    if TYPE_CHECKING:

        async def _run(self, call: Call[Result], timeout: float | None) -> Result: ...

    async def incr(self, key: str, by: int = 1, *, ttl: Duration | None = None, timeout: float | None = None) -> int:
        """See `Stash.incr`."""
        return await self._run(calls.incr(key, by, ttl=ttl), timeout)

    async def append(
        self,
        key: str,
        item: object,
        *,
        many: bool = False,
        max_len: int | None = None,
        ttl: Duration | None = None,
        timeout: float | None = None,
    ) -> int:
        """See `Stash.append`."""
        return await self._run(calls.append(key, item, many=many, max_len=max_len, ttl=ttl), timeout)

    async def pop(self, key: str, default: Any = None, *, first: bool = False, timeout: float | None = None) -> Any:
        """See `Stash.pop`."""
        return await self._run(calls.pop(key, default, first=first), timeout)

    async def tail(self, key: str, count: int, *, touch: bool = False, timeout: float | None = None) -> list[Any]:
        """See `Stash.tail`."""
        return await self._run(calls.tail(key, count, touch=touch), timeout)
