"""Every operation, declared once: its name, its fields with types and bounds, its reply, and who may call it.

A request's envelope is a msgpack map: ``op`` (the name), ``id``, ``timeout_ms`` and the operation's own fields. The
reply's envelope is ``{"id", "reply": {…}}`` or ``{"id", "error": {…}}``; `Envelope` is its shape. Values, pages of rows
and batches travel as the payload beside the envelope.

Times on the wire are integers: ``…_ms`` are durations in milliseconds, ``…_at`` are milliseconds since the Unix epoch.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from stash_protocol.replies import (
    ApiKeyIssued,
    ApiKeys,
    Done,
    Entry,
    Existence,
    Forgotten,
    Imported,
    Length,
    Number,
    Page,
    Pong,
    Pruned,
    Remaining,
    Scope,
    Stats,
    Status,
    ValueType,
    Welcome,
)
from stash_protocol.types import MAX_DURATION, MAX_KEY_BYTES

Key = Annotated[str, Meta(min_length=1, max_length=MAX_KEY_BYTES)]
Prefix = Annotated[str, Meta(max_length=MAX_KEY_BYTES)]
Tag = Annotated[str, Meta(min_length=1, max_length=128)]
Tags = Annotated[list[Tag], Meta(max_length=32)]
Duration = Annotated[int, Meta(gt=0, le=MAX_DURATION)]  # milliseconds
Version = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]  # of an API key, a namespace or a tier
Count = Annotated[int, Meta(ge=0)]

MAX_FORGET_KEYS = 256  # keys in one forget: one bounded statement each
MAX_PAGE = 1000  # rows in one page of list
MAX_BATCH = 1000  # operations in one atomic batch: one transaction nobody else can write beside
MAX_IMPORT = 1000  # rows in one import
DEFAULT_TIMEOUT = 30_000  # milliseconds


class Request(Struct, tag_field="op", kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every request carries.

    Attributes:
        id: chosen by the client, echoed in every reply and push; unique among its requests in flight.
        timeout_ms: the deadline, counted from the arrival; what is overdue is abandoned and answered ``timeout``.
    """

    id: Annotated[int, Meta(ge=0, le=2**53)] = 0
    timeout_ms: Duration = DEFAULT_TIMEOUT


class Access(Enum):
    """What a caller needs for an operation: a scope of its API key, or nothing but to be known."""

    KNOWN = "known"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Pace(Enum):
    """How long an operation can take, and so where it runs."""

    INLINE = "inline"  # a bounded number of statements: on the loop, in the turn's transaction
    STEPS = "steps"  # many bounded writes: a slice a turn, others served between slices
    SCAN = "scan"  # reads many rows: off the loop, on a snapshot of its own
    DOOR = "door"  # about the connection itself: answered by the door


class Cargo(Enum):
    """What a request's payload is."""

    NONE = "none"  # there must not be any
    VALUE = "value"  # the value, as it is to be stored
    ITEM = "item"  # one JSON document
    FRAMES = "frames"  # whole requests
    ROWS = "rows"  # a msgpack array


# ── entries ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Set(Request, tag="set"):
    """Store a value under a key. The payload is the value.

    An existing entry is replaced whole: value, type, time and tags. Without a key one is made; without a TTL the
    tier's default holds; a TTL beyond the tier's maximum is refused.
    """

    key: Key | None = None
    type: ValueType = "bytes"
    ttl_ms: Duration | None = None
    if_absent: bool = False
    if_version: Version | None = None
    tags: Tags = []


class Get(Request, tag="get"):
    """Read a value; the reply's payload is the value.

    ``touch`` restores the entry's own TTL (needs scope ``write``) and keeps the version: it is a read. ``wait_ms``
    waits that long for the key to appear.
    """

    key: Key
    touch: bool = False
    wait_ms: Duration | None = None


class Update(Request, tag="update"):
    """Replace the value, the time, or both, of a live entry in one step. The payload is the value.

    Without ``type`` the value stays (and the payload is empty); without ``extend_ms`` the time stays. One of the
    two must be given.
    """

    key: Key
    type: ValueType | None = None
    extend_ms: Duration | None = None
    if_version: Version | None = None


class Extend(Request, tag="extend"):
    """Add to the remaining time of a live entry; the tier's maximum clamps it, and the reply says so."""

    key: Key
    by_ms: Duration


class Forget(Request, tag="forget"):
    """Delete live entries by key. How many were there is the answer; none is not an error here."""

    keys: Annotated[list[Key], Meta(min_length=1, max_length=MAX_FORGET_KEYS)]


class Clear(Request, tag="clear"):
    """Delete every live entry that has the prefix and the tag. One of the two must be given.

    Runs in slices; entries that appear meanwhile may stay.
    """

    prefix: Prefix | None = None
    tag: Tag | None = None


class Ttl(Request, tag="ttl"):
    """The time a live entry has left."""

    key: Key


class Exists(Request, tag="exists"):
    """Whether a live entry has the key."""

    key: Key


class List(Request, tag="list"):
    """One page of the namespace's live entries in the order of their keys; the payload is an array of `Entry`."""

    prefix: Prefix = ""
    tag: Tag | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    cursor: Prefix = ""


class Incr(Request, tag="incr"):
    """Add to a counter: an entry that holds one integer. An absent one starts at 0, with ``ttl_ms``."""

    key: Key
    by: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] = 1
    ttl_ms: Duration | None = None


class Append(Request, tag="append"):
    """Add an item to a list: an entry that holds one JSON array. The payload is the item, as JSON.

    An absent list starts empty, with ``ttl_ms``; beyond ``max_len`` the oldest items go.
    """

    key: Key
    max_len: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    ttl_ms: Duration | None = None


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────────────────


class Batch(Request, tag="batch"):
    """Carry out all of several operations, or none. The payload is their frames, the reply's payload the replies'.

    Allowed inside: set, get, update, extend, forget, ttl, exists, incr, append. The first that fails undoes all; its
    error is the batch's, and its message names its place.
    """


class Export(Request, tag="export"):
    """One page of live entries with their values, in the order of their keys.

    The payload is an array of ``[Entry, value, tags]``; a page ends at about 1 MiB.
    """

    prefix: Prefix = ""
    cursor: Prefix = ""


class Import(Request, tag="import"):
    """Write one page of entries. The payload is an array of ``[key, type, ttl_ms, value, tags]``, at most 1,000.

    Their TTLs are bounded by the tier's maximum (clamped, and counted). What exists stays, unless ``replace``.
    """

    replace: bool = False


class Prune(Request, tag="prune"):
    """Delete what is expired, then what the policies choose, of the caller's namespace.

    ``older_than_ms``: by the time of the last write. ``keep_newest``: all but so many, by the last write, among those
    with the prefix and tag. ``dry_run`` deletes nothing; ``report`` puts the keys into the payload.
    """

    older_than_ms: Duration | None = None
    keep_newest: Count | None = None
    prefix: Prefix = ""
    tag: Tag | None = None
    dry_run: bool = False
    report: bool = False


class Watch(Request, tag="watch"):
    """Be told of every change and expiry under a prefix, until cancelled: pushes with this request's id."""

    prefix: Prefix = ""


class Cancel(Request, tag="cancel"):
    """End a watch or a waiting get of the same connection; its last reply is ``timeout``."""

    target: Count


# ── the daemon ───────────────────────────────────────────────────────────────────────────────────────────────────


class Hello(Request, tag="hello"):
    """The first request of every connection: the newest protocol version the client speaks, and its API key."""

    version: Version
    api_key: Annotated[str, Meta(max_length=128)] | None = None
    client: Annotated[str, Meta(max_length=128)] = ""


class Ping(Request, tag="ping"):
    """Liveness: whether the daemon answers at all."""


class Ready(Request, tag="ready"):
    """Readiness: whether a read and a write would succeed now; else the error they would meet."""


class GetStatus(Request, tag="status"):
    """The health of the daemon."""


class GetStats(Request, tag="stats"):
    """Counts, latencies and sizes since the start."""

    prometheus: bool = False


class Stop(Request, tag="stop"):
    """Drain and exit."""


class KeyCreate(Request, tag="key_create"):
    """Make an API key; the namespace is its name unless given."""

    name: Name
    namespace: Name | None = None
    tier: Name = "free"
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=3)] = msgspec.field(
        default_factory=lambda: ["read", "write"]
    )
    ttl_ms: Duration | None = None


class KeyList(Request, tag="key_list"):
    """All API keys, without their secrets."""


class KeyRotate(Request, tag="key_rotate"):
    """Give an API key a new secret; the old one is refused from now on."""

    name: Name


class KeyRevoke(Request, tag="key_revoke"):
    """Delete an API key; open connections that used it are refused from now on."""

    name: Name


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────


class Operation(NamedTuple):
    """One row of the table every door, client and page of the docs derives from or is checked against."""

    request: type[Request]
    reply: type[Struct]
    access: Access
    pace: Pace
    cargo: Cargo = Cargo.NONE

    @property
    def name(self) -> str:
        """The name on the wire."""
        return str(self.request.__struct_config__.tag)

    @property
    def writes(self) -> bool:
        """Whether the engine needs a transaction for it."""
        return self.access is Access.WRITE


OPERATIONS: dict[type[Request], Operation] = {
    row[0]: Operation(*row)
    for row in (
        (Hello, Welcome, Access.KNOWN, Pace.DOOR),
        (Set, Entry, Access.WRITE, Pace.INLINE, Cargo.VALUE),
        (Get, Entry, Access.READ, Pace.INLINE),
        (Update, Entry, Access.WRITE, Pace.INLINE, Cargo.VALUE),
        (Extend, Remaining, Access.WRITE, Pace.INLINE),
        (Forget, Forgotten, Access.WRITE, Pace.INLINE),
        (Clear, Forgotten, Access.WRITE, Pace.STEPS),
        (Ttl, Remaining, Access.READ, Pace.INLINE),
        (Exists, Existence, Access.READ, Pace.INLINE),
        (List, Page, Access.READ, Pace.SCAN),
        (Incr, Number, Access.WRITE, Pace.INLINE),
        (Append, Length, Access.WRITE, Pace.INLINE, Cargo.ITEM),
        (Batch, Done, Access.WRITE, Pace.INLINE, Cargo.FRAMES),
        (Export, Page, Access.READ, Pace.SCAN),
        (Import, Imported, Access.WRITE, Pace.STEPS, Cargo.ROWS),
        (Prune, Pruned, Access.WRITE, Pace.STEPS),
        (Watch, Done, Access.READ, Pace.DOOR),
        (Cancel, Done, Access.KNOWN, Pace.DOOR),
        (Ping, Pong, Access.KNOWN, Pace.INLINE),
        (Ready, Done, Access.KNOWN, Pace.INLINE),
        (GetStatus, Status, Access.READ, Pace.INLINE),
        (GetStats, Stats, Access.READ, Pace.SCAN),
        (Stop, Done, Access.ADMIN, Pace.DOOR),
        (KeyCreate, ApiKeyIssued, Access.ADMIN, Pace.INLINE),
        (KeyList, ApiKeys, Access.ADMIN, Pace.INLINE),
        (KeyRotate, ApiKeyIssued, Access.ADMIN, Pace.INLINE),
        (KeyRevoke, Done, Access.ADMIN, Pace.INLINE),
    )
}

AnyRequest = (
    Hello | Set | Get | Update | Extend | Forget | Clear | Ttl | Exists | List | Incr | Append | Batch | Export
    | Import | Prune | Watch | Cancel | Ping | Ready | GetStatus | GetStats | Stop | KeyCreate | KeyList | KeyRotate
    | KeyRevoke
)  # fmt: skip
