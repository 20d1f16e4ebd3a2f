"""sweep, clear and prune: what deletes many entries, a bounded slice at a time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Generator, Iterator
from itertools import groupby
from typing import NamedTuple, TypeVar

import msgspec

from stash_daemon.engine.core import Core, Reply
from stash_daemon.engine.entries import forget
from stash_daemon.keys import Caller
from stash_daemon.memory_store import REMEMBERED
from stash_daemon.store import Expired, Head
from stash_protocol.errors import BadRequest
from stash_protocol.memories import Filter
from stash_protocol.operations import Clear, Prune
from stash_protocol.reader import Payload
from stash_protocol.replies import Forgotten, Pruned

SLICE = 96  # rows deleted in one turn: 1 ms, or 2 when they are scattered and change three pages each
MEMORY = 8  # rows that one memory counts as: its vector and its words go with it
LOOKS = 64  # rows looked at in one slice: some 0.1 ms

LEAST_REST = 0.012  # seconds between two slices while others are served: one request in several hundred meets one
SHARE = 4  # of the time, at most one such part

_pack = msgspec.msgpack.Encoder().encode


def rest(took: float) -> float:
    """Seconds that belong to others after a slice that took so many."""
    return max(LEAST_REST, (SHARE - 1) * took)


Doomed = TypeVar("Doomed", Head, Expired)

Bound = tuple[float, str]
"""A number, and for equal ones the key."""

NO_BOUND: Bound = (-math.inf, "")
EVERYTHING = Filter(archived=True)
NO_MEMORY = (0, None)


class Bounds(NamedTuple):
    """What was before, or scored less, goes."""

    at: Bound
    score: Bound


NOTHING = Bounds(NO_BOUND, NO_BOUND)


class Judged(NamedTuple):
    """An entry the policies choose among.

    Attributes:
        at: when it was last written, or happened, milliseconds since the epoch.
        score: of a memory that has one.
    """

    head: Head
    at: int
    score: float | None


class Best:
    """The greatest so many of what it has seen; None: it is not asked."""

    def __init__(self, keep: int | None) -> None:
        self._keep = keep
        self._kept: list[Bound] = []

    def see(self, value: Bound) -> None:
        """One more."""
        if self._keep is not None and len(self._kept) < self._keep:
            heapq.heappush(self._kept, value)
        elif self._keep:
            heapq.heappushpop(self._kept, value)

    @property
    def bound(self) -> Bound:
        """The least of them: what lies below it is not among them."""
        if self._keep is None or len(self._kept) < self._keep:
            return NO_BOUND
        return self._kept[0] if self._keep else (math.inf, "")


def sweep(core: Core) -> bool:
    """Delete a slice of what is expired, of all namespaces; True when there may be more."""
    now = core.clock.now()
    if core.store.refile(now, SLICE) == SLICE:
        return True
    rows = core.store.expired(now, SLICE)
    deleted = _slice_of(rows)
    _delete_expired(core, deleted)
    return len(rows) == SLICE or len(deleted) < len(rows) or core.store.collect()


def clear(core: Core, caller: Caller, request: Clear, _payload: Payload) -> Iterator[Reply | None]:
    """Delete every live entry with the prefix and the tag."""
    if request.prefix is None and request.tag is None:
        raise BadRequest("clear needs a prefix, a tag, or both; an empty prefix means every entry")
    forgotten = 0
    for heads in _slices(core, caller, request.prefix or "", request.tag):
        forget(core, caller, heads, core.clock.now())
        forgotten += len(heads)
        yield None
    yield Reply(Forgotten(forgotten))


def prune(core: Core, caller: Caller, request: Prune, _payload: Payload) -> Iterator[Reply | None]:
    """Delete what is expired, then what the policies choose.

    Each policy comes down to a bound: what lies below it goes.
    """
    done = Pruned(0, 0, 0)
    keys: list[str] = []
    yield from _prune_expired(core, caller, request, done)
    bounds = yield from _bounds(core, caller, request)
    for heads in _condemned(core, caller, request, bounds) if bounds != NOTHING else ():
        if not request.dry_run:
            forget(core, caller, heads, core.clock.now())
        done.pruned += len(heads)
        done.bytes += sum(head.size for head in heads)
        if request.report:
            keys += [head.key for head in heads]
        yield None
    if not request.dry_run:
        core.observer.pruned(done.pruned)
    yield Reply(done, _pack(keys) if request.report else b"")


def _prune_expired(core: Core, caller: Caller, request: Prune, done: Pruned) -> Iterator[None]:
    namespace = core.store.namespace(caller.namespace)
    over = core.store.overdue(namespace, core.clock.now())
    done.expired, done.bytes = over
    while not request.dry_run and core.store.refile(core.clock.now(), SLICE, namespace) == SLICE:
        yield None
    while not request.dry_run:
        rows = core.store.expired(core.clock.now(), SLICE, namespace)
        deleted = _slice_of(rows)
        _delete_expired(core, deleted)
        if len(deleted) == len(rows) < SLICE:
            break
        yield None


def _bounds(core: Core, caller: Caller, request: Prune) -> Generator[None, None, Bounds]:
    """What the policies come down to."""
    older: Bound = NO_BOUND
    if request.older_than_ms is not None:
        older = (core.clock.now() - request.older_than_ms, "")
    if request.keep_newest is None and request.keep_highest_score is None:
        return Bounds(older, NO_BOUND)
    newest, highest = Best(request.keep_newest), Best(request.keep_highest_score)
    cursor: str | None = ""
    while cursor is not None:
        looked_at, cursor = _look(core, caller, request, cursor)
        for one in looked_at:
            newest.see((one.at, one.head.key))
            if one.score is not None:
                highest.see((one.score, one.head.key))
        yield None
    return Bounds(max(older, newest.bound), highest.bound)


def _condemned(core: Core, caller: Caller, request: Prune, bounds: Bounds) -> Iterator[list[Head]]:
    """What lies below a bound, as much at a time as may be deleted in one turn."""
    cursor: str | None = ""
    while cursor is not None:
        looked_at, following = _look(core, caller, request, cursor)
        chosen = [
            head
            for head, at, score in looked_at
            if (at, head.key) < bounds.at or (score is not None and (score, head.key) < bounds.score)
        ]
        heads = _slice_of(chosen)
        if len(heads) < len(chosen):
            following = heads[-1].key
        yield heads
        cursor = following


def _look(core: Core, caller: Caller, request: Prune, cursor: str) -> tuple[list[Judged], str | None]:
    """Some of the entries the policies choose among, and where to go on."""
    store, now = core.store, core.clock.now()
    namespace = store.namespace(caller.namespace)
    heads, following = store.page(namespace, request.prefix, cursor, LOOKS, now=now, tag=request.tag)
    if request.filter is None and request.keep_highest_score is None:
        return [Judged(head, head.updated, None) for head in heads], following
    remembered = [head.id for head in heads if head.tagged & REMEMBERED]
    let_through = store.let_through(remembered, request.filter or EVERYTHING)
    if request.filter is not None:
        return [Judged(head, *let_through[head.id]) for head in heads if head.id in let_through], following
    return [Judged(head, head.updated, let_through.get(head.id, NO_MEMORY)[1]) for head in heads], following


def _slices(core: Core, caller: Caller, prefix: str, tag: str | None) -> Iterator[list[Head]]:
    """The caller's live heads under a prefix, a bounded number at a time, each valid until the next is asked for."""
    cursor: str | None = ""
    while cursor is not None:
        namespace = core.store.namespace(caller.namespace)
        found, cursor = core.store.page(namespace, prefix, cursor, SLICE, now=core.clock.now(), tag=tag)
        heads = _slice_of(found)
        if len(heads) < len(found):
            cursor = heads[-1].key
        yield heads


def _slice_of(rows: list[Doomed]) -> list[Doomed]:
    """As many of them as are deleted in one turn, the first ones."""
    weight = 0
    for place, row in enumerate(rows):
        weight += MEMORY if row.tagged & REMEMBERED else 1
        if weight > SLICE:
            return rows[:place]
    return rows


def _delete_expired(core: Core, rows: list[Expired]) -> None:
    for namespace, group in groupby(sorted(rows, key=lambda row: row.namespace), key=lambda row: row.namespace):
        batch = list(group)
        core.store.delete(namespace, batch)
        name = core.store.namespace_name(namespace)
        for row in batch:
            core.tell(name, "expire", row.key, at=row.expires, version=row.version, expires=row.expires)
    core.observer.swept(len(rows), sum(row.size for row in rows))
