"""set, get, update, extend, forget, ttl, exists: what they mean for one entry.

Every check comes before the first write, so that an operation that fails has changed nothing.
"""

from __future__ import annotations

import secrets
import string
import uuid

from stash_daemon.engine.core import Core, Reply, absent, check_size, entry, lifetime, prolonged, shown
from stash_daemon.keys import Caller
from stash_daemon.store import TYPES, Fresh, Head, Row
from stash_protocol.errors import BadRequest, Conflict
from stash_protocol.operations import Exists, Extend, Forget, Get, Set, Ttl, Update
from stash_protocol.reader import Payload
from stash_protocol.replies import Entry, Existence, Forgotten, Remaining, ValueType

BASE62 = string.digits + string.ascii_letters
MADE_KEY_LENGTH = 8  # 62^8 ≈ 2.2·10^14 keys
MADE_KEY_TRIES = 3

TYPE_NUMBERS: dict[ValueType, int] = {name: number for number, name in enumerate(TYPES)}


def set_entry(core: Core, caller: Caller, request: Set, payload: Payload) -> Reply:
    """Store a value under a key, replacing what is there."""
    now = core.clock.now()
    ttl = lifetime(caller.tier, request.ttl_ms)
    namespace = core.store.namespace(caller.namespace)
    key = request.key if request.key is not None else _make_key(core, namespace)
    head = core.store.head(namespace, key)
    _check_conditions(
        head if head and head.expires > now else None, key, request.if_version, absent_only=request.if_absent
    )
    return Reply(write(core, caller, key, payload, head, now=now, type_=request.type, ttl=ttl, tags=request.tags))


def write(
    core: Core,
    caller: Caller,
    key: str,
    value: Payload,
    head: Head | None,
    *,
    now: int,
    type_: ValueType,
    ttl: int,
    tags: list[str],
) -> Entry:
    """Put a whole new entry where ``head`` (alive, expired or none) stands."""
    check_size(caller.tier, len(value))
    store = core.store
    namespace = store.create_namespace(caller.namespace)
    alive = head is not None and head.expires > now
    growth = len(value) - (head.size if head and alive else 0)
    core.make_room(caller, namespace, growth, now=now, spared=head.id if head else 0)
    version = head.version + 1 if head else store.floor(namespace) + 1
    created = head.created if head and alive else now
    fresh = Fresh(TYPE_NUMBERS[type_], created, now, now + ttl, ttl, version, value)
    if head is None:
        store.insert(namespace, key, fresh, tags)
    else:
        if not alive:
            core.tell(caller.namespace, "expire", key, at=head.expires, version=head.version, expires=head.expires)
        store.replace(namespace, head, fresh, tags)
    core.tell(caller.namespace, "set", key, at=now, version=version, expires=now + ttl)
    return Entry(key, type_, len(value), version, ttl, now + ttl, created, now)


def get_entry(core: Core, caller: Caller, request: Get, _payload: Payload) -> Reply:
    """Read a value; with ``touch``, restore the entry's own TTL."""
    now = core.clock.now()
    namespace = core.store.namespace(caller.namespace)
    row = core.store.find(namespace, request.key, now)
    if row is None:
        raise absent(request.key)
    if request.touch:
        expires = now + min(row.ttl, caller.tier.max_ttl)
        if expires > row.expires:  # an entry that was extended beyond its own TTL keeps that
            row = row._replace(expires=expires)
            core.store.retime(row, expires=expires, ttl=row.ttl, version=row.version)
            core.tell(caller.namespace, "extend", row.key, at=now, version=row.version, expires=expires)
    return Reply(entry(row, now), row.value)


def update_entry(core: Core, caller: Caller, request: Update, payload: Payload) -> Reply:
    """Replace the value, the time, or both, in one step."""
    if request.type is None and (request.extend_ms is None or payload):
        raise BadRequest("an update needs a value (with its type), a time to extend by, or both")
    now = core.clock.now()
    store, namespace = core.store, core.store.namespace(caller.namespace)
    head = core.live(namespace, request.key, now)
    _check_conditions(head, head.key, request.if_version)
    expires, clamped = head.expires, False
    if request.extend_ms is not None:
        expires, clamped = prolonged(head, request.extend_ms, caller.tier, now)
    version = head.version + 1
    changed: Head | Row
    if request.type is None:
        store.retime(head, expires=expires, ttl=head.ttl, version=version)
        changed = head._replace(expires=expires, version=version)
    else:
        changed = rewrite(core, caller, head, payload, now=now, type_=request.type, expires=expires)
    core.tell(caller.namespace, "update", head.key, at=now, version=version, expires=expires)
    answer = entry(changed, now)
    answer.clamped = clamped
    return Reply(answer)


def rewrite(
    core: Core, caller: Caller, head: Head | Row, value: Payload, *, now: int, type_: ValueType, expires: int
) -> Head | Row:
    """Give a live entry another value and keep the rest: creation, own TTL and tags."""
    check_size(caller.tier, len(value))
    namespace = core.store.namespace(caller.namespace)
    core.make_room(caller, namespace, len(value) - head.size, now=now, spared=head.id)
    changed = head._replace(
        type=TYPE_NUMBERS[type_], updated=now, expires=expires, version=head.version + 1, size=len(value)
    )
    fresh = Fresh(changed.type, head.created, now, expires, head.ttl, changed.version, value)
    core.store.replace(namespace, head, fresh)
    return changed


def extend_entry(core: Core, caller: Caller, request: Extend, _payload: Payload) -> Reply:
    """Add to the remaining time of a live entry."""
    now = core.clock.now()
    head = core.live(core.store.namespace(caller.namespace), request.key, now)
    expires, clamped = prolonged(head, request.by_ms, caller.tier, now)
    version = head.version + 1
    core.store.retime(head, expires=expires, ttl=head.ttl, version=version)
    core.tell(caller.namespace, "extend", head.key, at=now, version=version, expires=expires)
    return Reply(Remaining(expires - now, expires, version, clamped))


def forget_entries(core: Core, caller: Caller, request: Forget, _payload: Payload) -> Reply:
    """Delete live entries by key."""
    now = core.clock.now()
    namespace = core.store.namespace(caller.namespace)
    found = [core.store.head(namespace, key) for key in dict.fromkeys(request.keys)]
    heads = [head for head in found if head is not None and head.expires > now]
    forget(core, caller, heads, now)
    return Reply(Forgotten(len(heads)))


def forget(core: Core, caller: Caller, heads: list[Head], now: int) -> None:
    """Delete these live entries, and say so."""
    if heads:
        core.store.delete(core.store.namespace(caller.namespace), heads)
    for head in heads:
        core.tell(caller.namespace, "forget", head.key, at=now, version=head.version, expires=head.expires)


def entry_ttl(core: Core, caller: Caller, request: Ttl, _payload: Payload) -> Reply:
    """The time a live entry has left."""
    now = core.clock.now()
    head = core.live(core.store.namespace(caller.namespace), request.key, now)
    return Reply(Remaining(head.expires - now, head.expires, head.version))


def entry_exists(core: Core, caller: Caller, request: Exists, _payload: Payload) -> Reply:
    """Whether a live entry has the key."""
    head = core.store.head(core.store.namespace(caller.namespace), request.key)
    return Reply(Existence(head is not None and head.expires > core.clock.now()))


def _check_conditions(live: Head | None, key: str, version: int | None, *, absent_only: bool = False) -> None:
    if absent_only and live is not None:
        raise Conflict(f"{shown(key)} exists already (version {live.version})")
    if version is not None and (live is None or live.version != version):
        stands = f"version {live.version}" if live else "absent"
        raise Conflict(f"{shown(key)} is {stands}, not version {version}; read it again and decide anew")


def _make_key(core: Core, namespace: int) -> str:
    """A key nobody uses: short if that can be had, else a UUID."""
    for attempt in range(1, MADE_KEY_TRIES + 1):
        key = "".join(secrets.choice(BASE62) for _ in range(MADE_KEY_LENGTH))
        core.observer.log("debug", "key_made", attempt=attempt)
        if core.store.head(namespace, key) is None:
            return key
    return str(uuid.uuid4())
