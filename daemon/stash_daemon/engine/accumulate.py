"""incr and append: atomic changes that depend on the value.

These two, and no other, look into a value (law 3): a counter is one integer in decimal, a list one JSON array. The
items of a list are never decoded, only told apart.
"""

from __future__ import annotations

import msgspec

from stash_daemon.engine.core import Core, Reply, check_size, entry, lifetime, shown
from stash_daemon.engine.entries import rewrite, write
from stash_daemon.keys import Caller
from stash_daemon.store import TYPES, Row
from stash_protocol.errors import BadRequest, TooLarge
from stash_protocol.operations import Append, Incr
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
    """Add an item to a list, or start one; beyond ``max_len`` the oldest go."""
    try:
        _item.decode(payload)
        payload.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the item is not a JSON document ({error})") from None
    now = core.clock.now()
    row = core.store.find(core.store.namespace(caller.namespace), request.key, now)
    items = [*(_list(row) if row else ()), msgspec.Raw(bytes(payload))]
    if request.max_len is not None:
        items = items[-request.max_len :]
    value = msgspec.json.encode(items)
    check_size(caller.tier, len(value))
    if len(value) > MAX_LIST:
        raise TooLarge(f"the list would have {len(value):,} bytes; a list has at most {MAX_LIST:,}: see max_len")
    written = _store(core, caller, request, value, row, now=now, type_="json")
    return Reply(Length(len(items), written))


def _number(row: Row) -> int:
    digits = row.value.removeprefix(b"-")
    if not (digits.isdigit() and len(row.value) <= MAX_DIGITS):
        raise BadRequest(f"{shown(row.key)} is not a counter: its value is not one integer in decimal")
    return int(row.value)


def _list(row: Row) -> list[msgspec.Raw]:
    if row.size > MAX_LIST:
        raise BadRequest(f"{shown(row.key)} is not a list: it has {row.size:,} bytes, a list at most {MAX_LIST:,}")
    try:
        return _items.decode(row.value)
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
    changed = rewrite(core, caller, row, value, now=now, type_=type_, expires=row.expires)
    core.tell(caller.namespace, "update", row.key, at=now, version=changed.version, expires=changed.expires)
    return entry(changed, now)
