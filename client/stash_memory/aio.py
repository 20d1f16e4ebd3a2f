"""`AsyncStash`: the library for programs on asyncio."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

from msgspec import UNSET

from stash_memory import calls, results, target
from stash_memory.accumulate import AsyncAccumulators
from stash_memory.api_keys import AsyncApiKeys
from stash_memory.calls import Call
from stash_memory.collect import AsyncCollector, finish_each
from stash_memory.conversations import AsyncConversations
from stash_memory.embedding import AsyncEmbedding
from stash_memory.episodes import AsyncEpisodes
from stash_memory.memories import MemoryFields, memory_of
from stash_memory.messages import AsyncMessages
from stash_memory.pruning import AsyncPruning
from stash_memory.results import Entry, ExportedEntry, Portable, StoredEntry
from stash_memory.retention import AsyncRetention
from stash_memory.searching import AsyncSearching
from stash_memory.sync import DEFAULT_TIMEOUT
from stash_memory.transport import AsyncTransport
from stash_memory.transport_async import AsyncSocketTransport
from stash_memory.values import Duration, seconds
from stash_memory.watching import AsyncWatch
from stash_memory.wire import WaitedInVain, check_timeout
from stash_protocol import replies
from stash_protocol.errors import NotFound
from stash_protocol.replies import Rate

Result = TypeVar("Result")


class AsyncStash(AsyncAccumulators, AsyncEmbedding, AsyncPruning, AsyncSearching):
    """`Stash`, awaited: the same methods, the same arguments, results and errors.

    The connection is made by the first call, and belongs to the event loop that makes it. Any number of calls may be
    under way at the same time; one that is cancelled never hands its reply to another.

    Args: as for `Stash`.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        socket: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        backend: Literal["sqlite", "memory"] | None = None,
        path: str | os.PathLike[str] | None = None,
        tls_ca: str | os.PathLike[str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self.timeout = check_timeout(timeout)
        self._transport: AsyncTransport
        if target.is_embedded(backend, path, url=url, socket=socket, api_key=api_key):
            from stash_memory.embedded_async import AsyncEmbeddedTransport  # an engine, for those who asked for one

            self._transport = AsyncEmbeddedTransport(os.fspath(path or ""))
        else:
            self._transport = AsyncSocketTransport(target.find(url, socket, api_key, tls_ca))

    @property
    def rate(self) -> Rate | None:
        """What is left of the API key's requests, as the daemon last said; None where its tier has no limit."""
        return self._transport.rate

    @property
    def api_keys(self) -> AsyncApiKeys:
        """The daemon's API keys."""
        return AsyncApiKeys(self._run)

    @property
    def retention(self) -> AsyncRetention:
        """What becomes of old memories."""
        return AsyncRetention(self._run)

    @property
    def episodes(self) -> AsyncEpisodes:
        """What agents went through, and what came of it."""
        return AsyncEpisodes(self._run)

    @property
    def messages(self) -> AsyncMessages:
        """What was said in conversations."""
        return AsyncMessages(self._run)

    @property
    def conversations(self) -> AsyncConversations:
        """What belongs together of what was said."""
        return AsyncConversations(self._run)

    # ── entries ──

    async def set(
        self,
        key: str | None = None,
        value: object = UNSET,
        *,
        ttl: Duration | None = None,
        if_absent: bool = False,
        if_version: int | None = None,
        tags: Sequence[str] = (),
        wait_embedding: bool = False,
        timeout: float | None = None,
        **memory: Unpack[MemoryFields],
    ) -> Entry:
        """See `Stash.set`."""
        call = calls.set_(
            key, value, ttl=ttl, if_absent=if_absent, if_version=if_version, tags=tags, memory=memory_of(memory)
        )
        began = monotonic()
        entry = await self._run(call, timeout)
        return await self._settled(entry, began, timeout) if wait_embedding else entry

    async def get(
        self,
        key: str,
        default: Any = UNSET,
        *,
        touch: bool = False,
        wait: Duration | None = None,
        timeout: float | None = None,
    ) -> Any:
        """See `Stash.get`."""
        return await self._run(calls.get(key, default, touch=touch, wait=wait), self._patience(wait, timeout))

    async def entry(
        self, key: str, *, touch: bool = False, wait: Duration | None = None, timeout: float | None = None
    ) -> StoredEntry:
        """See `Stash.entry`."""
        return await self._run(calls.entry(key, touch=touch, wait=wait), self._patience(wait, timeout))

    async def update(
        self,
        key: str,
        value: object = UNSET,
        *,
        extend: Duration | None = None,
        if_version: int | None = None,
        wait_embedding: bool = False,
        timeout: float | None = None,
        **memory: Unpack[MemoryFields],
    ) -> Entry:
        """See `Stash.update`."""
        call = calls.update(key, value, extend=extend, if_version=if_version, memory=memory_of(memory))
        began = monotonic()
        entry = await self._run(call, timeout)
        return await self._settled(entry, began, timeout) if wait_embedding else entry

    async def extend(self, key: str, by: Duration, *, timeout: float | None = None) -> results.Remaining:
        """See `Stash.extend`."""
        return await self._run(calls.extend(key, by), timeout)

    async def forget(self, *keys: str | Iterable[str], timeout: float | None = None) -> int:
        """See `Stash.forget`."""
        return sum([await self._run(call, timeout) for call in calls.forget_all(keys)])

    async def clear(self, *, prefix: str | None = None, tag: str | None = None, timeout: float | None = None) -> int:
        """See `Stash.clear`."""
        return await self._run(calls.clear(prefix, tag), timeout)

    async def ttl(self, key: str, *, timeout: float | None = None) -> float:
        """See `Stash.ttl`."""
        return await self._run(calls.ttl(key), timeout)

    async def exists(self, key: str, *, timeout: float | None = None) -> bool:
        """See `Stash.exists`."""
        return await self._run(calls.exists(key), timeout)

    async def list(
        self,
        prefix: str = "",
        *,
        tag: str | None = None,
        limit: int | None = None,
        reverse: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Entry]:
        """See `Stash.list`."""
        cursor: str | None = ""
        left = sys.maxsize if limit is None else limit
        while cursor is not None and left > 0:
            page, cursor = await self._run(calls.list_page(prefix, tag, cursor, limit=left, reverse=reverse), timeout)
            for entry in page:
                yield entry
            left -= len(page)

    # ── many at once ──

    def batch(self) -> AsyncCollector:
        """See `Stash.batch`."""
        return AsyncCollector(self, atomic=True)

    def pipeline(self) -> AsyncCollector:
        """See `Stash.pipeline`."""
        return AsyncCollector(self, atomic=False)

    async def carry_out(
        self, collected: Sequence[Call[Any]], *, atomic: bool, timeout: float | None = None
    ) -> builtins.list[Any]:
        """See `Stash.carry_out`."""
        if not collected:
            return []
        if atomic:
            return await self._run(calls.batch(collected), timeout)
        pairs = [(call.request, call.payload) for call in collected]
        return finish_each(collected, await self._transport.exchange_many(pairs, self._seconds(timeout)))

    async def export(self, prefix: str = "", *, timeout: float | None = None) -> AsyncIterator[ExportedEntry]:
        """See `Stash.export`."""
        cursor: str | None = ""
        while cursor is not None:
            page, cursor = await self._run(calls.export_page(prefix, cursor), timeout)
            for entry in page:
                yield entry

    async def import_(
        self, entries: Iterable[ExportedEntry | Portable], *, replace: bool = False, timeout: float | None = None
    ) -> results.Imported:
        """See `Stash.import_`."""
        total = results.Imported(0, 0, 0)
        for call in calls.import_pages(entries, replace=replace):
            total = calls.add_imported(total, await self._run(call, timeout))
        return total

    async def watch(self, prefix: str = "", *, timeout: float | None = None) -> AsyncWatch:
        """See `Stash.watch`."""
        return AsyncWatch(await self._transport.watch(prefix, self._seconds(timeout)))

    # ── the daemon ──

    async def ping(self, *, timeout: float | None = None) -> None:
        """See `Stash.ping`."""
        return await self._run(calls.ping(), timeout)

    async def ready(self, *, timeout: float | None = None) -> None:
        """See `Stash.ready`."""
        return await self._run(calls.ready(), timeout)

    async def checkpoint(self, *, timeout: float | None = None) -> None:
        """See `Stash.checkpoint`."""
        return await self._run(calls.checkpoint(), timeout)

    async def status(self, *, timeout: float | None = None) -> replies.Status:
        """See `Stash.status`."""
        return await self._run(calls.status(), timeout)

    async def stats(self, *, analytics: bool = False, timeout: float | None = None) -> replies.Stats:
        """See `Stash.stats`."""
        return await self._run(calls.stats(analytics=analytics), timeout)

    async def prometheus(self, *, timeout: float | None = None) -> str:
        """See `Stash.prometheus`."""
        return await self._run(calls.prometheus(), timeout)

    async def stop(self, *, timeout: float | None = None) -> None:
        """See `Stash.stop`."""
        return await self._run(calls.stop(), timeout)

    # ── itself ──

    async def close(self) -> None:
        """See `Stash.close`."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Call[Result], timeout: float | None) -> Result:
        try:
            body, payload = await self._transport.exchange(
                call.request, call.payload, self.timeout if timeout is None else timeout
            )
        except NotFound:
            if call.absent is UNSET:
                raise
            absent: Result = call.absent
            return absent
        except WaitedInVain:
            if call.late is UNSET:
                raise
            late: Result = call.late
            return late
        return call.finish(body, payload)

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    def _patience(self, wait: Duration | None, timeout: float | None) -> float | None:
        """What a call may take that waits: the waiting comes on top, unless the caller says how long in all."""
        return timeout if wait is None or timeout is not None else self.timeout + seconds(wait)
