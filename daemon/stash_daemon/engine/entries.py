"""set, get, update, extend, forget, ttl, exists: what they mean for one entry.

Every check comes before the first write, so that an operation that fails has changed nothing.
"""

from __future__ import annotations

import secrets
import string
import uuid

from stash_daemon.engine.conversations import outlive
from stash_daemon.engine.core import Core, Reply, absent, check_size, entry, lifetime, prolonged, shown
from stash_daemon.engine.memories import default_ttl, keep, key_prefix, of_kind, prepare, revise, status_of
from stash_daemon.keys import Caller
from stash_daemon.memory_store import REMEMBERED
from stash_daemon.store import TYPES, Fresh, Head, Row, Value
from stash_protocol.errors import BadRequest, Conflict
from stash_protocol.memories import Memory
from stash_protocol.operations import Exists, Extend, Forget, Get, Set, Ttl, Update
from stash_protocol.reader import Payload
from stash_protocol.replies import Entry, Existence, Forgotten, Remaining, ValueType
from stash_protocol.types import check_key

BASE62 = string.digits + string.ascii_letters
MADE_KEY_LENGTH = 8  # 62^8 ≈ 2.2·10^14 keys
MADE_KEY_TRIES = 3

TYPE_NUMBERS: dict[ValueType, int] = {name: number for number, name in enumerate(TYPES)}


def set_entry(core: Core, caller: Caller, request: Set, payload: Value) -> Reply:
    """Store a value under a key, replacing what is there."""
    now = core.clock.now()
    memory = request.memory
    ttl = lifetime(caller.tier, request.ttl_ms, default_ttl(core, memory))
    namespace = core.store.namespace(caller.namespace)
    key = request.key if request.key is not None else check_key(_make_key(core, namespace, key_prefix(memory)))
    head = core.store.head(namespace, key)
    _check_conditions(
        head if head and head.expires > now else None, key, request.if_version, absent_only=request.if_absent
    )
    return Reply(
        write(core, caller, key, payload, head, now=now, type_=request.type, ttl=ttl, tags=request.tags, memory=memory)
    )


def write(
    core: Core,
    caller: Caller,
    key: str,
    value: Value,
    head: Head | None,
    *,
    now: int,
    type_: ValueType,
    ttl: int,
    tags: list[str],
    memory: Memory | None = None,
) -> Entry:
    """Put a whole new entry where ``head`` (alive, expired or none) stands."""
    check_size(caller.tier, len(value))
    store = core.store
    namespace = store.create_namespace(caller.namespace)
    alive = head is not None and head.expires > now
    prepared = prepare(core, namespace, memory, value, now=now) if memory is not None else None
    growth = len(value) + (prepared.size if prepared else 0) - (core.held_by(head) if head and alive else 0)
    core.make_room(caller, namespace, growth, now=now, spared=head.id if head else 0)
    version = head.version + 1 if head else store.floor(namespace) + 1
    created = head.created if head and alive else now
    fresh = Fresh(TYPE_NUMBERS[type_], created, now, now + ttl, ttl, version, value)
    if head is None:
        number = store.insert(namespace, key, fresh, tags, remembered=prepared is not None)
    else:
        number = head.id
        if not alive:
            core.tell(caller.namespace, "expire", key, at=head.expires, version=head.version, expires=head.expires)
        store.replace(namespace, head, fresh, tags)
    core.tell(caller.namespace, "set", key, at=now, version=version, expires=now + ttl)
    answer = Entry(key, type_, len(value), version, ttl, now + ttl, created, now)
    if prepared is not None:
        answer.embedding_status = keep(core, namespace, number, prepared, new=head is None)
        outlive(core, caller.namespace, prepared.row, expires=now + ttl, now=now)
    return answer


def get_entry(core: Core, caller: Caller, request: Get, _payload: Payload) -> Reply:
    """Read a value; with ``touch``, restore the entry's own TTL."""
    now = core.clock.now()
    namespace = core.store.namespace(caller.namespace)
    row = core.store.find(namespace, request.key, now)
    if row is None:
        raise absent(request.key)
    if request.touch:
        row = restore(core, caller, row, now)
    return Reply(entry(row, now), row.value)


def restore(core: Core, caller: Caller, row: Row, now: int) -> Row:
    """Give a live entry its own TTL again; one that was extended beyond it keeps that."""
    expires = now + min(row.ttl, caller.tier.max_ttl)
    if expires <= row.expires:
        return row
    core.store.retime(row, expires=expires, ttl=row.ttl, version=row.version)
    core.tell(caller.namespace, "extend", row.key, at=now, version=row.version, expires=expires)
    if row.tagged & REMEMBERED:
        outlive(core, caller.namespace, core.store.memory(row.id), expires=expires, now=now)
    return row._replace(expires=expires)


def update_entry(core: Core, caller: Caller, request: Update, payload: Value) -> Reply:
    """Replace the value, the time, or both, in one step."""
    if request.type is None and (payload or (request.extend_ms is None and request.memory is None)):
        raise BadRequest("an update needs a value (with its type), a time to extend by, or what to remember it by")
    now = core.clock.now()
    store, namespace = core.store, core.store.namespace(caller.namespace)
    head = core.live(namespace, request.key, now)
    if not of_kind(core, head, request.kind):
        raise absent(request.key, request.kind or "entry")
    _check_conditions(head, head.key, request.if_version)
    expires, clamped = head.expires, False
    if request.extend_ms is not None:
        expires, clamped = prolonged(head, request.extend_ms, caller.tier, now)
    version = head.version + 1
    changed: Head | Row
    if request.type is None:
        prepared = revise(core, namespace, head, request.memory, None, now=now) if request.memory is not None else None
        if prepared is not None:
            growth = head.size + prepared.size - core.held_by(head)
            core.make_room(caller, namespace, growth, now=now, spared=head.id)
        store.retime(head, expires=expires, ttl=head.ttl, version=version)
        changed = head._replace(expires=expires, version=version)
        if prepared is not None:
            keep(core, namespace, head.id, prepared)
    else:
        changed = rewrite(
            core, caller, head, payload, now=now, type_=request.type, expires=expires, patch=request.memory
        )
    core.tell(caller.namespace, "update", head.key, at=now, version=version, expires=expires)
    answer = entry(changed, now)
    answer.clamped = clamped
    if request.memory is not None:
        answer.embedding_status = status_of(core, head.id)
    if request.memory is not None or (request.extend_ms is not None and head.tagged & REMEMBERED):
        outlive(core, caller.namespace, core.store.memory(head.id), expires=expires, now=now)
    return Reply(answer)


def rewrite(
    core: Core,
    caller: Caller,
    head: Head | Row,
    value: Value,
    *,
    now: int,
    type_: ValueType,
    expires: int,
    patch: Memory | None = None,
) -> Head | Row:
    """Give a live entry another value and keep the rest: creation, own TTL, tags, and what ``patch`` does not give."""
    check_size(caller.tier, len(value))
    namespace = core.store.namespace(caller.namespace)
    remembered = patch is not None or head.tagged & REMEMBERED
    prepared = revise(core, namespace, head, patch, value, now=now) if remembered else None
    growth = len(value) + (prepared.size if prepared else 0) - core.held_by(head)
    core.make_room(caller, namespace, growth, now=now, spared=head.id)
    changed = head._replace(
        type=TYPE_NUMBERS[type_], updated=now, expires=expires, version=head.version + 1, size=len(value)
    )
    fresh = Fresh(changed.type, head.created, now, expires, head.ttl, changed.version, value)
    core.store.replace(namespace, head, fresh)
    if prepared is not None:
        keep(core, namespace, head.id, prepared)
    return changed


def extend_entry(core: Core, caller: Caller, request: Extend, _payload: Payload) -> Reply:
    """Add to the remaining time of a live entry."""
    now = core.clock.now()
    head = core.live(core.store.namespace(caller.namespace), request.key, now)
    expires, clamped = prolonged(head, request.by_ms, caller.tier, now)
    version = head.version + 1
    core.store.retime(head, expires=expires, ttl=head.ttl, version=version)
    core.tell(caller.namespace, "extend", head.key, at=now, version=version, expires=expires)
    if head.tagged & REMEMBERED:
        outlive(core, caller.namespace, core.store.memory(head.id), expires=expires, now=now)
    return Reply(Remaining(expires - now, expires, version, clamped))


def forget_entries(core: Core, caller: Caller, request: Forget, _payload: Payload) -> Reply:
    """Delete live entries by key."""
    now = core.clock.now()
    namespace = core.store.namespace(caller.namespace)
    found = [core.store.head(namespace, key) for key in dict.fromkeys(request.keys)]
    heads = [head for head in found if head is not None and head.expires > now and of_kind(core, head, request.kind)]
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


def _make_key(core: Core, namespace: int, prefix: str) -> str:
    """A key nobody uses: short if that can be had, else a UUID."""
    for attempt in range(1, MADE_KEY_TRIES + 1):
        key = prefix + "".join(secrets.choice(BASE62) for _ in range(MADE_KEY_LENGTH))
        core.observer.log("debug", "key_made", attempt=attempt)
        if core.store.head(namespace, key) is None:
            return key
    return prefix + str(uuid.uuid4())
