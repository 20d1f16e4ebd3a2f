"""`Stash`: the library for programs that wait."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from msgspec import UNSET

from stash_memory import calls, results, target
from stash_memory.api_keys import ApiKeys
from stash_memory.calls import Call
from stash_memory.collect import Collector, finish_each
from stash_memory.results import Entry, ExportedEntry, Portable, StoredEntry
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


class Stash:
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
        timeout: float | None = None,
    ) -> Entry:
        """Store a value, replacing what is there: value, type, time and tags.

        Args:
            key: 1 to 2,048 bytes of UTF-8; None: one is made.
            value: str, bytes, bytearray, or anything JSON can say.
            ttl: ``"30m"``, seconds or a timedelta; None: the tier's default.
            if_absent: only if no live entry has the key.
            if_version: only if the entry has this version.
            tags: names to find it by.
            timeout: seconds the call may take.

        Raises:
            BadRequest: key, value or TTL cannot be, or the TTL is beyond the tier's maximum.
            Conflict: ``if_absent`` or ``if_version`` does not hold; nothing was changed.
            TooLarge, OverQuota, RateLimited: beyond the tier's limits.
            StashError: as every call.
        """
        call = calls.set_(key, value, ttl=ttl, if_absent=if_absent, if_version=if_version, tags=tags)
        return self._run(call, timeout)

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
        timeout: float | None = None,
    ) -> Entry:
        """Replace the value, add to the time, or both in one step. Without ``extend`` the time stays.

        Raises:
            BadRequest: neither was given.
            NotFound: no live entry has the key.
            Conflict: the entry has another version; nothing was changed.
            StashError: as every call.
        """
        return self._run(calls.update(key, value, extend=extend, if_version=if_version), timeout)

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

    def list(self, prefix: str = "", *, tag: str | None = None, timeout: float | None = None) -> Iterator[Entry]:
        """Live entries in the order of their keys, without their values; asks for pages as it goes."""
        cursor: str | None = ""
        while cursor is not None:
            page, cursor = self._run(calls.list_page(prefix, tag, cursor), timeout)
            yield from page

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
        max_len: int | None = None,
        ttl: Duration | None = None,
        timeout: float | None = None,
    ) -> int:
        """Add an item to a list, atomically; the new length. An absent one starts empty, with ``ttl``.

        Args:
            key: of an entry that holds a JSON array.
            item: anything JSON can say.
            max_len: beyond it, the oldest items go.
            ttl: of a list that is new.
            timeout: seconds the call may take.

        Raises:
            BadRequest: the entry is no list, or the item no JSON.
            StashError: as every call.
        """
        return self._run(calls.append(key, item, max_len=max_len, ttl=ttl), timeout)

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

    def prune(
        self,
        *,
        older_than: Duration | None = None,
        keep_newest: int | None = None,
        prefix: str = "",
        tag: str | None = None,
        dry_run: bool = False,
        report: bool = False,
        timeout: float | None = None,
    ) -> results.Pruned:
        """Delete what is expired, then what the policies choose.

        Args:
            older_than: entries last written before that.
            keep_newest: all but so many, by their last write.
            prefix: only entries under it.
            tag: only entries with it.
            dry_run: delete nothing, only say what would be.
            report: say which keys.
            timeout: seconds the call may take.
        """
        call = calls.prune(
            older_than=older_than, keep_newest=keep_newest, prefix=prefix, tag=tag, dry_run=dry_run, report=report
        )
        return self._run(call, timeout)

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

    def status(self, *, timeout: float | None = None) -> replies.Status:
        """The health of the daemon."""
        return self._run(calls.status(), timeout)

    def stats(self, *, timeout: float | None = None) -> replies.Stats:
        """Counts, latencies and sizes since the daemon's start."""
        return self._run(calls.stats(), timeout)

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
