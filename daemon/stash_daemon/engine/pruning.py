"""sweep, clear and prune: what deletes many entries, a bounded slice at a time."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator
from itertools import groupby

import msgspec

from stash_daemon.engine.core import Core, Reply
from stash_daemon.engine.entries import forget
from stash_daemon.keys import Caller
from stash_daemon.store import Expired, Head
from stash_protocol.errors import BadRequest
from stash_protocol.operations import Clear, Prune
from stash_protocol.reader import Payload
from stash_protocol.replies import Forgotten, Pruned

SLICE = 8  # rows deleted in one turn: scattered ones change three pages each, which the commit writes: some 0.3 ms
LOOKS = 64  # rows looked at in one slice: some 0.1 ms

_pack = msgspec.msgpack.Encoder().encode


def sweep(core: Core) -> bool:
    """Delete a slice of what is expired, of all namespaces; True when there may be more."""
    rows = core.store.expired(core.clock.now(), SLICE)
    _delete_expired(core, rows)
    return len(rows) == SLICE


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

    Both policies come down to one bound: what was last written before it goes.
    """
    done = Pruned(0, 0, 0)
    keys: list[str] = []
    yield from _prune_expired(core, caller, request, done)
    bound = (core.clock.now() - request.older_than_ms, "") if request.older_than_ms is not None else (0, "")
    if request.keep_newest is not None:
        bound = max(bound, (yield from _oldest_kept(core, caller, request, request.keep_newest)))
    for heads in _slices(core, caller, request.prefix, request.tag) if bound > (0, "") else ():
        condemned = [head for head in heads if (head.updated, head.key) < bound]
        if not request.dry_run:
            forget(core, caller, condemned, core.clock.now())
        done.pruned += len(condemned)
        done.bytes += sum(head.size for head in condemned)
        if request.report:
            keys += [head.key for head in condemned]
        yield None
    if not request.dry_run:
        core.observer.pruned(done.pruned)
    yield Reply(done, _pack(keys) if request.report else b"")


def _prune_expired(core: Core, caller: Caller, request: Prune, done: Pruned) -> Iterator[None]:
    namespace = core.store.namespace(caller.namespace)
    over = core.store.overdue(namespace, core.clock.now())
    done.expired, done.bytes = over
    while not request.dry_run:
        rows = core.store.expired(core.clock.now(), SLICE, namespace)
        _delete_expired(core, rows)
        if len(rows) < SLICE:
            break
        yield None


def _oldest_kept(core: Core, caller: Caller, request: Prune, keep: int) -> Generator[None, None, tuple[int, str]]:
    """The last write and key of the oldest among the newest so many."""
    newest: list[tuple[int, str]] = []
    for heads in _slices(core, caller, request.prefix, request.tag, LOOKS):
        for head in heads:
            if len(newest) < keep:
                heapq.heappush(newest, (head.updated, head.key))
            elif keep:
                heapq.heappushpop(newest, (head.updated, head.key))
        yield None
    if len(newest) < keep:
        return (0, "")
    return newest[0] if keep else (core.clock.now() + 1, "")


def _slices(core: Core, caller: Caller, prefix: str, tag: str | None, limit: int = SLICE) -> Iterator[list[Head]]:
    """The caller's live heads under a prefix, a bounded number at a time, each valid until the next is asked for."""
    cursor: str | None = ""
    while cursor is not None:
        namespace = core.store.namespace(caller.namespace)
        heads, cursor = core.store.page(namespace, prefix, cursor, limit, now=core.clock.now(), tag=tag)
        yield heads


def _delete_expired(core: Core, rows: list[Expired]) -> None:
    for namespace, group in groupby(sorted(rows, key=lambda row: row.namespace), key=lambda row: row.namespace):
        batch = list(group)
        core.store.delete(namespace, batch)
        name = core.store.namespace_name(namespace)
        for row in batch:
            core.tell(name, "expire", row.key, at=row.expires, version=row.version, expires=row.expires)
    core.observer.swept(len(rows), sum(row.size for row in rows))
