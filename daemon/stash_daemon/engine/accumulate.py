"""incr, append, pop and tail: what depends on the value, in one step.

These four, and no other, look into a value (law 3): a counter is one integer in decimal, a list one JSON array. The
items of a list are never decoded, only told apart.
"""

from __future__ import annotations

import msgspec

from stash_daemon.engine.core import Core, Reply, absent, check_size, entry, lifetime, shown
from stash_daemon.engine.entries import restore, rewrite, write
from stash_daemon.keys import Caller
from stash_daemon.store import TYPES, Row
from stash_protocol.errors import BadRequest, NotFound, TooLarge
from stash_protocol.operations import Append, Incr, Pop, Tail
from stash_protocol.reader import Payload
from stash_protocol.replies import Entry, Length, Number, ValueType

LEAST, GREATEST = -(2**63), 2**63 - 1  # what every client's integers can hold
MAX_DIGITS = 20  # of such a number, with its sign

MAX_LIST = 4 << 20  # bytes: each append reads and writes the whole list, and nobody else is served meanwhile

_items = msgspec.json.Decoder(list[msgspec.Raw])
_item = msgspec.json.Decoder(msgspec.Raw)  # looks at the syntax and makes nothing of it


def incr(core: Core, caller: Caller, request: Incr, _payload: Payload) -> Reply:
    """Add to a counter, or start one."""
    now = core.clock.now()
    row = core.store.find(core.store.namespace(caller.namespace), request.key, now)
    number = (_number(row) if row else 0) + request.by
    if not LEAST <= number <= GREATEST:
        raise BadRequest(f"{shown(request.key)} would leave the range of 64-bit integers")
    written = _store(
        core, caller, request, str(number).encode(), row, now=now, type_=TYPES[row.type] if row else "json"
    )
    return Reply(Number(number, written))


def append(core: Core, caller: Caller, request: Append, payload: Payload) -> Reply:
    """Add an item to a list, or several, or start one; beyond ``max_len`` the oldest go."""
    try:
        added = _items.decode(payload) if request.many else [_item.decode(payload)]
        payload.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = "items are no JSON array" if request.many else "item is not a JSON document"
        raise BadRequest(f"the {what} ({error})") from None
    now = core.clock.now()
    row = core.store.find(core.store.namespace(caller.namespace), request.key, now)
    items = [*(_list(row) if row else ()), *added]
    if request.max_len is not None:
        items = items[-request.max_len :]
    value = msgspec.json.encode(items)
    check_size(caller.tier, len(value))
    if len(value) > MAX_LIST:
        raise TooLarge(f"the list would have {len(value):,} bytes; a list has at most {MAX_LIST:,}: see max_len")
    written = _store(core, caller, request, value, row, now=now, type_="json")
    return Reply(Length(len(items), written))


def pop(core: Core, caller: Caller, request: Pop, _payload: Payload) -> Reply:
    """Take the last item, or the first, off a list that has one."""
    now = core.clock.now()
    row, items = _existing(core, caller, request.key, now)
    if not items:
        raise NotFound(f"the list {shown(row.key)} is empty")
    item = items.pop(0 if request.first else -1)
    written = _change(core, caller, row, msgspec.json.encode(items), now=now, type_="json")
    return Reply(Length(len(items), written), bytes(item))


def tail(core: Core, caller: Caller, request: Tail, _payload: Payload) -> Reply:
    """Read the last items of a list; with ``touch``, restore the entry's own TTL."""
    now = core.clock.now()
    row, items = _existing(core, caller, request.key, now)
    if request.touch:
        row = restore(core, caller, row, now)
    return Reply(Length(len(items), entry(row, now)), msgspec.json.encode(items[-request.count :]))


def _existing(core: Core, caller: Caller, key: str, now: int) -> tuple[Row, list[msgspec.Raw]]:
    row = core.store.find(core.store.namespace(caller.namespace), key, now)
    if row is None:
        raise absent(key)
    return row, _list(row)


def _number(row: Row) -> int:
    value = bytes(row.value) if row.size <= MAX_DIGITS else b""
    if not value.removeprefix(b"-").isdigit():
        raise BadRequest(f"{shown(row.key)} is not a counter: its value is not one integer in decimal")
    return int(value)


def _list(row: Row) -> list[msgspec.Raw]:
    if row.size > MAX_LIST:
        raise BadRequest(f"{shown(row.key)} is not a list: it has {row.size:,} bytes, a list at most {MAX_LIST:,}")
    try:
        return _items.decode(bytes(row.value))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest(f"{shown(row.key)} is not a list: its value is not one JSON array") from None


def _store(
    core: Core,
    caller: Caller,
    request: Incr | Append,
    value: bytes,
    row: Row | None,
    *,
    now: int,
    type_: ValueType,
) -> Entry:
    if row is None:
        expired = core.store.head(core.store.namespace(caller.namespace), request.key)
        ttl = lifetime(caller.tier, request.ttl_ms)
        return write(core, caller, request.key, value, expired, now=now, type_=type_, ttl=ttl, tags=[])
    return _change(core, caller, row, value, now=now, type_=type_)


def _change(core: Core, caller: Caller, row: Row, value: bytes, *, now: int, type_: ValueType) -> Entry:
    changed = rewrite(core, caller, row, value, now=now, type_=type_, expires=row.expires)
    core.tell(caller.namespace, "update", row.key, at=now, version=changed.version, expires=changed.expires)
    return entry(changed, now)
