"""list, export and import: many entries, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from stash_daemon.engine.core import Core, Reply, entry
from stash_daemon.engine.entries import write
from stash_daemon.engine.memories import exported
from stash_daemon.keys import Caller
from stash_daemon.memory_store import REMEMBERED
from stash_daemon.store import Head
from stash_protocol.errors import STORAGE_ERRORS, BadRequest, StashError
from stash_protocol.memories import Memory
from stash_protocol.operations import MAX_IMPORT, Export, Import, List, Tags
from stash_protocol.reader import Payload
from stash_protocol.replies import Entry, Imported, Page, ValueType
from stash_protocol.types import check_key

MAX_LOOKS = 16_000  # rows one list looks at for a page: where most are expired, a page comes back short
EXPORT_BYTES = 1 << 20  # values in one page of an export
EXPORT_ROWS = 1_000  # rows in one page of an export
IMPORT_STEP = 16  # rows written in one slice

_pack = msgspec.msgpack.Encoder().encode


class ImportRow(msgspec.Struct, array_like=True):
    """One row of an import; ``ttl_ms`` is what was left when it was exported."""

    key: str
    type: ValueType
    ttl_ms: int
    value: bytes
    tags: Tags
    memory: Memory | None = None


_rows = msgspec.msgpack.Decoder(Annotated[list[ImportRow], msgspec.Meta(max_length=MAX_IMPORT)])


def list_entries(core: Core, caller: Caller, request: List) -> Reply:
    """One page of live entries in the order of their keys."""
    now = core.clock.now()
    found: list[Head] = []
    cursor: str | None = request.cursor
    with core.store.snapshot() as reads:
        namespace = reads.namespace(caller.namespace)
        for _ in range(MAX_LOOKS // request.limit + 1):
            limit = request.limit - len(found)
            heads, cursor = reads.page(
                namespace, request.prefix, cursor or "", limit, now=now, tag=request.tag, reverse=request.reverse
            )
            found += heads
            if cursor is None or len(found) == request.limit:
                break
    rows = [entry(head, now) for head in found]
    return Reply(Page(len(rows), cursor), _pack(rows))


def export_entries(core: Core, caller: Caller, request: Export) -> Reply:
    """One page of live entries with values and tags."""
    now = core.clock.now()
    with core.store.snapshot() as reads:
        namespace = reads.namespace(caller.namespace)
        found, cursor = reads.values(
            namespace, request.prefix, request.cursor, EXPORT_ROWS, now=now, max_bytes=EXPORT_BYTES
        )
        rows: list[tuple[Entry, bytes, list[str], Memory | None]] = [
            (entry(row, now), bytes(row.value), tags, exported(reads, row, now) if row.tagged & REMEMBERED else None)
            for row, tags in found
        ]
    return Reply(Page(len(rows), cursor), _pack(rows))


def import_entries(core: Core, caller: Caller, request: Import, payload: Payload) -> Iterator[Reply | None]:
    """Write one page, a slice at a time."""
    try:
        rows = _rows.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the rows cannot be read: {error}") from None
    done = Imported(0, 0, 0)
    for number, row in enumerate(rows, start=1):
        try:
            _import(core, caller, row, done, replace=request.replace)
        except STORAGE_ERRORS:
            raise
        except StashError as error:
            message = f"row {number} of {len(rows)}: {error.message}; the {done.imported} before it were imported"
            raise type(error)(message, retry_after=error.retry_after) from None
        if number % IMPORT_STEP == 0:
            yield None
    yield Reply(done)


def _import(core: Core, caller: Caller, row: ImportRow, done: Imported, *, replace: bool) -> None:
    now = core.clock.now()
    namespace = core.store.namespace(caller.namespace)
    head = core.store.head(namespace, check_key(row.key))
    alive = head is not None and head.expires > now
    if row.ttl_ms <= 0 or (alive and not replace):
        done.skipped += 1
        return
    ttl = min(row.ttl_ms, caller.tier.max_ttl)
    write(core, caller, row.key, row.value, head, now=now, type_=row.type, ttl=ttl, tags=row.tags, memory=row.memory)
    done.imported += 1
    done.clamped += ttl < row.ttl_ms
