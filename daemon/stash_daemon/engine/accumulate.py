"""incr and append: atomic changes that depend on the value.

These two, and no other, look into a value (law 3): a counter is one integer in decimal, a list one JSON array. The
items of a list are never decoded, only told apart.
"""

from __future__ import annotations

import msgspec

from stash_daemon.engine.core import Core, Reply, entry, lifetime, shown
from stash_daemon.engine.entries import rewrite, write
from stash_daemon.keys import Caller
from stash_daemon.store import TYPES, Row
from stash_protocol.errors import BadRequest
from stash_protocol.operations import Append, Incr
from stash_protocol.reader import Payload
from stash_protocol.replies import Entry, Length, Number, ValueType
from stash_protocol.types import check_key

LEAST, GREATEST = -(2**63), 2**63 - 1  # what every client's integers can hold
MAX_DIGITS = 20  # of such a number, with its sign

_items = msgspec.json.Decoder(list[msgspec.Raw])


def incr(core: Core, caller: Caller, request: Incr, _payload: Payload) -> Reply:
    """Add to a counter, or start one."""
    row = _find(core, caller, request.key)
    number = (_number(row) if row else 0) + request.by
    if not LEAST <= number <= GREATEST:
        raise BadRequest(f"{shown(request.key)} would leave the range of 64-bit integers")
    written = _store(core, caller, request, str(number).encode(), row, type_=TYPES[row.type] if row else "json")
    return Reply(Number(number, written))


def append(core: Core, caller: Caller, request: Append, payload: Payload) -> Reply:
    """Add an item to a list, or start one; beyond ``max_len`` the oldest go."""
    try:
        msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the item is not a JSON document ({error})") from None
    row = _find(core, caller, request.key)
    items = [*(_list(row) if row else ()), msgspec.Raw(bytes(payload))]
    if request.max_len is not None:
        items = items[-request.max_len :]
    written = _store(core, caller, request, msgspec.json.encode(items), row, type_="json")
    return Reply(Length(len(items), written))


def _find(core: Core, caller: Caller, key: str) -> Row | None:
    return core.store.find(core.store.namespace(caller.namespace), key, core.clock.now())


def _number(row: Row) -> int:
    digits = row.value.removeprefix(b"-")
    if not (digits.isdigit() and len(row.value) <= MAX_DIGITS):
        raise BadRequest(f"{shown(row.key)} is not a counter: its value is not one integer in decimal")
    return int(row.value)


def _list(row: Row) -> list[msgspec.Raw]:
    try:
        return _items.decode(row.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest(f"{shown(row.key)} is not a list: its value is not one JSON array") from None


def _store(
    core: Core, caller: Caller, request: Incr | Append, value: bytes, row: Row | None, *, type_: ValueType
) -> Entry:
    now = core.clock.now()
    namespace = core.store.namespace(caller.namespace)
    head = core.store.head(namespace, request.key)
    if row is None or head is None:
        ttl = lifetime(caller.tier, request.ttl_ms)
        return write(core, caller, check_key(request.key), value, head, now=now, type_=type_, ttl=ttl, tags=[])
    changed = rewrite(core, caller, head, value, now=now, type_=type_, expires=head.expires)
    core.tell(caller.namespace, "update", head.key, at=now, version=changed.version, expires=changed.expires)
    return entry(changed, now)
