"""`Stash`: the library for programs that wait."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

from msgspec import UNSET

from stash_memory import calls, results, target
from stash_memory.accumulate import Accumulators
from stash_memory.api_keys import ApiKeys
from stash_memory.calls import Call
from stash_memory.collect import Collector, finish_each
from stash_memory.conversations import Conversations
from stash_memory.embedding import Embedding
from stash_memory.episodes import Episodes
from stash_memory.memories import MemoryFields, memory_of
from stash_memory.messages import Messages
from stash_memory.pruning import Pruning
from stash_memory.results import Entry, ExportedEntry, Portable, StoredEntry
from stash_memory.retention import Retention
from stash_memory.searching import Searching
from stash_memory.transport import Transport
from stash_memory.transport_socket import SocketTransport
from stash_memory.values import Duration, seconds
from stash_memory.watching import Watch
from stash_memory.wire import WaitedInVain, check_timeout
from stash_protocol import replies
from stash_protocol.errors import NotFound
from stash_protocol.replies import Rate

Result = TypeVar("Result")

DEFAULT_TIMEOUT = 30.0  # seconds


class Stash(Accumulators, Embedding, Pruning, Searching):
    """Working memory: entries that live until their TTL is over.

    Without arguments it talks to the user's own daemon, and starts it if none runs. Threads may share it.

    Args:
        url: of another daemon: ``unix:///path``, ``tcp://host:port`` or ``tls://host:port``. Else ``STASH_URL``.
        socket: path of a daemon's Unix socket. Else ``STASH_SOCKET``.
        api_key: who we are; TCP always needs one. Else ``STASH_API_KEY``.
        backend: ``"sqlite"`` or ``"memory"``: no daemon, the entries are this process's own.
        path: the file of backend ``sqlite``.
        tls_ca: PEM file of the certificates to trust; else the system's.
        timeout: seconds every call may take that names none itself.

    Raises:
        BadRequest: the arguments contradict each other, or ``timeout`` is no time to wait.
        Busy: another process has ``path`` open.
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
        self._transport: Transport
        if target.is_embedded(backend, path, url=url, socket=socket, api_key=api_key):
            from stash_memory.embedded import EmbeddedTransport  # an engine, for those who asked for one

            self._transport = EmbeddedTransport(os.fspath(path or ""))
        else:
            self._transport = SocketTransport(target.find(url, socket, api_key, tls_ca))

    @property
    def rate(self) -> Rate | None:
        """What is left of the API key's requests, as the daemon last said; None where its tier has no limit."""
        return self._transport.rate

    @property
    def api_keys(self) -> ApiKeys:
        """The daemon's API keys."""
        return ApiKeys(self._run)

    @property
    def retention(self) -> Retention:
        """What becomes of old memories."""
        return Retention(self._run)

    @property
    def episodes(self) -> Episodes:
        """What agents went through, and what came of it."""
        return Episodes(self._run)

    @property
    def messages(self) -> Messages:
        """What was said in conversations."""
        return Messages(self._run)

    @property
    def conversations(self) -> Conversations:
        """What belongs together of what was said."""
        return Conversations(self._run)

    # ── entries ──

    def set(
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
        """Store a value, replacing what is there: value, type, time and tags.

        Args:
            key: 1 to 2,048 bytes of UTF-8; None: one is made.
            value: str, bytes, bytearray, or anything JSON can say.
            ttl: ``"30m"``, seconds or a timedelta; None: the tier's default.
            if_absent: only if no live entry has the key.
            if_version: only if the entry has this version.
            tags: names to find it by.
            wait_embedding: return once its vector is there or was given up; see ``embedding_status`` of the result.
            timeout: seconds the call may take, that included.
            memory: what it can be searched by; see `MemoryFields`.

        Raises:
            BadRequest: key, value or TTL cannot be, or the TTL is beyond the tier's maximum.
            Conflict: ``if_absent`` or ``if_version`` does not hold; nothing was changed.
            TooLarge, OverQuota, RateLimited: beyond the tier's limits.
            Timeout: with ``wait_embedding``: it is stored, and its vector was not there in time.
            StashError: as every call.
        """
        call = calls.set_(
            key, value, ttl=ttl, if_absent=if_absent, if_version=if_version, tags=tags, memory=memory_of(memory)
        )
        began = monotonic()
        entry = self._run(call, timeout)
        return self._settled(entry, began, timeout) if wait_embedding else entry

    def get(
        self,
        key: str,
        default: Any = UNSET,
        *,
        touch: bool = False,
        wait: Duration | None = None,
        timeout: float | None = None,
    ) -> Any:
        """The value, in the type it was given; ``default``, else None, when no live entry has the key.

        Args:
            key: the entry's.
            default: what to return when there is none, or none appeared while it waited.
            touch: restore the entry's own TTL.
            wait: wait so long for the key to appear.
            timeout: seconds the call may take, the waiting included.

        Raises:
            Timeout: ``wait`` ran out, and no ``default`` was given.
            StashError: as every call.
        """
        return self._run(calls.get(key, default, touch=touch, wait=wait), self._patience(wait, timeout))

    def entry(
        self, key: str, *, touch: bool = False, wait: Duration | None = None, timeout: float | None = None
    ) -> StoredEntry:
        """The entry with its ``.value``; arguments as for `get`.

        Raises:
            NotFound: no live entry has the key.
            Timeout: ``wait`` ran out.
            StashError: as every call.
        """
        return self._run(calls.entry(key, touch=touch, wait=wait), self._patience(wait, timeout))

    def update(
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
        """Replace the value, add to the time, change what it is remembered by, or all in one step; the rest stays.

        Raises:
            BadRequest: nothing was given.
            NotFound: no live entry has the key.
            Conflict: the entry has another version; nothing was changed.
            StashError: as every call.
        """
        call = calls.update(key, value, extend=extend, if_version=if_version, memory=memory_of(memory))
        began = monotonic()
        entry = self._run(call, timeout)
        return self._settled(entry, began, timeout) if wait_embedding else entry

    def extend(self, key: str, by: Duration, *, timeout: float | None = None) -> results.Remaining:
        """Add to the remaining time; the tier's maximum clamps it, and the result says so.

        Raises:
            NotFound: no live entry has the key: what expired is not revived.
            StashError: as every call.
        """
        return self._run(calls.extend(key, by), timeout)

    def forget(self, *keys: str | Iterable[str], timeout: float | None = None) -> int:
        """Delete entries, given as arguments or in lists; how many were there."""
        return sum(self._run(call, timeout) for call in calls.forget_all(keys))

    def clear(self, *, prefix: str | None = None, tag: str | None = None, timeout: float | None = None) -> int:
        """Delete every entry that has the prefix and the tag; how many. ``prefix=""`` means every entry.

        Raises:
            BadRequest: neither was given.
            StashError: as every call.
        """
        return self._run(calls.clear(prefix, tag), timeout)

    def ttl(self, key: str, *, timeout: float | None = None) -> float:
        """Seconds the entry has left.

        Raises:
            NotFound: no live entry has the key.
            StashError: as every call.
        """
        return self._run(calls.ttl(key), timeout)

    def exists(self, key: str, *, timeout: float | None = None) -> bool:
        """Whether a live entry has the key."""
        return self._run(calls.exists(key), timeout)

    def list(
        self,
        prefix: str = "",
        *,
        tag: str | None = None,
        limit: int | None = None,
        reverse: bool = False,
        timeout: float | None = None,
    ) -> Iterator[Entry]:
        """Live entries in the order of their keys, or the ``reverse``, without values; asks for pages as it goes."""
        cursor: str | None = ""
        left = sys.maxsize if limit is None else limit
        while cursor is not None and left > 0:
            page, cursor = self._run(calls.list_page(prefix, tag, cursor, limit=left, reverse=reverse), timeout)
            yield from page
            left -= len(page)

    # ── many at once ──

    def batch(self) -> Collector:
        """Collects operations to carry out all of them or none."""
        return Collector(self, atomic=True)

    def pipeline(self) -> Collector:
        """Collects operations to send without waiting for one reply before the next request."""
        return Collector(self, atomic=False)

    def carry_out(
        self, collected: Sequence[Call[Any]], *, atomic: bool, timeout: float | None = None
    ) -> builtins.list[Any]:
        """What `Collector.run` does."""
        if not collected:
            return []
        if atomic:
            return self._run(calls.batch(collected), timeout)
        pairs = [(call.request, call.payload) for call in collected]
        return finish_each(collected, self._transport.exchange_many(pairs, self._seconds(timeout)))

    def export(self, prefix: str = "", *, timeout: float | None = None) -> Iterator[ExportedEntry]:
        """Live entries with values and tags, in the order of their keys; asks for pages as it goes."""
        cursor: str | None = ""
        while cursor is not None:
            page, cursor = self._run(calls.export_page(prefix, cursor), timeout)
            yield from page

    def import_(
        self, entries: Iterable[ExportedEntry | Portable], *, replace: bool = False, timeout: float | None = None
    ) -> results.Imported:
        """Write entries with the time they have left, page by page; what exists stays, unless ``replace``.

        Raises:
            StashError: as every call; the pages before it were imported.
        """
        total = results.Imported(0, 0, 0)
        for call in calls.import_pages(entries, replace=replace):
            total = calls.add_imported(total, self._run(call, timeout))
        return total

    def watch(self, prefix: str = "", *, timeout: float | None = None) -> Watch:
        """Changes and expiries under a prefix from now on, until the watch is closed; ``timeout`` is for its start."""
        return Watch(self._transport.watch(prefix, self._seconds(timeout)))

    # ── the daemon ──

    def ping(self, *, timeout: float | None = None) -> None:
        """Liveness: returns if the daemon answers at all, else raises."""
        return self._run(calls.ping(), timeout)

    def ready(self, *, timeout: float | None = None) -> None:
        """Readiness: returns if a read and a write would succeed now, else raises what they would meet."""
        return self._run(calls.ready(), timeout)

    def checkpoint(self, *, timeout: float | None = None) -> None:
        """Returns once the disk has all that was written before: it survives the loss of power then, too.

        An acknowledged write survives the end of the daemon anyway; with ``durability = "full"``, this as well.
        """
        return self._run(calls.checkpoint(), timeout)

    def status(self, *, timeout: float | None = None) -> replies.Status:
        """The health of the daemon."""
        return self._run(calls.status(), timeout)

    def stats(self, *, analytics: bool = False, timeout: float | None = None) -> replies.Stats:
        """Counts, latencies and sizes since the daemon's start; with ``analytics``, usage and memories too."""
        return self._run(calls.stats(analytics=analytics), timeout)

    def prometheus(self, *, timeout: float | None = None) -> str:
        """The same as Prometheus text; needs scope ``admin``."""
        return self._run(calls.prometheus(), timeout)

    def stop(self, *, timeout: float | None = None) -> None:
        """Have the daemon finish what it does, and exit; needs scope ``admin``."""
        return self._run(calls.stop(), timeout)

    # ── itself ──

    def close(self) -> None:
        """Hang up, or close the file. Further calls raise BadRequest."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call[Result], timeout: float | None) -> Result:
        try:
            body, payload = self._transport.exchange(
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
