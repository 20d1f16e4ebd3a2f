"""Every operation, declared once: its name, its fields with types and bounds, its reply, and who may call it.

A request's envelope is a msgpack map: ``op`` (the name), ``id``, ``timeout_ms`` and the operation's own fields. The
reply's envelope is ``{"id", "reply": {…}}`` or ``{"id", "error": {…}}``; `Envelope` is its shape. Values, pages of rows
and batches travel as the payload beside the envelope.

Times on the wire are integers: ``…_ms`` are durations in milliseconds, ``…_at`` are milliseconds since the Unix epoch.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from stash_protocol.embedding import Embedded as Embedded
from stash_protocol.embedding import EmbeddingState, Requeued
from stash_protocol.embedding import EmbedRebuild as EmbedRebuild
from stash_protocol.embedding import EmbedRetry as EmbedRetry
from stash_protocol.embedding import GetEmbedding as GetEmbedding
from stash_protocol.memories import Filter, Found, Kind, Memory
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
from stash_protocol.request import (
    DEFAULT_TIMEOUT as DEFAULT_TIMEOUT,
    Access as Access,
    Cargo as Cargo,
    Count as Count,
    Duration as Duration,
    Key as Key,
    Name as Name,
    Operation as Operation,
    Pace as Pace,
    Prefix as Prefix,
    Request as Request,
    Tag as Tag,
    Tags as Tags,
    Version as Version,
)
from stash_protocol.retention import GetRetention as GetRetention
from stash_protocol.retention import Retained, RetentionState
from stash_protocol.retention import RetentionRun as RetentionRun
from stash_protocol.searching import Conversations as Conversations
from stash_protocol.searching import Conversed
from stash_protocol.searching import Search as Search

MAX_FORGET_KEYS = 256  # keys in one forget: one bounded statement each
MAX_PAGE = 1000  # rows in one page of list
MAX_BATCH = 1000  # operations in one atomic batch: one transaction nobody else can write beside
MAX_IMPORT = 1000  # rows in one import


# ── entries ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Set(Request, tag="set"):
    """Store a value under a key. The payload is the value.

    An existing entry is replaced whole: value, type, time and tags. Without a key one is made; without a TTL the
    tier's default holds; a TTL beyond the tier's maximum is refused. With ``memory`` the entry can be searched for.
    """

    key: Key | None = None
    type: ValueType = "bytes"
    ttl_ms: Duration | None = None
    if_absent: bool = False
    if_version: Version | None = None
    tags: Tags = msgspec.field(default_factory=list)
    memory: Memory | None = None


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

    Without ``type`` the value stays (and the payload is empty); without ``extend_ms`` the time stays; what ``memory``
    does not give stays. One of the three must be given. With ``kind``, only a memory of that kind is there.
    """

    key: Key
    type: ValueType | None = None
    extend_ms: Duration | None = None
    if_version: Version | None = None
    memory: Memory | None = None
    kind: Kind | None = None


class Extend(Request, tag="extend"):
    """Add to the remaining time of a live entry; the tier's maximum clamps it, and the reply says so."""

    key: Key
    by_ms: Duration


class Forget(Request, tag="forget"):
    """Delete live entries by key, with ``kind`` only memories of that kind.

    How many were there is the answer; none is not an error here.
    """

    keys: Annotated[list[Key], Meta(min_length=1, max_length=MAX_FORGET_KEYS)]
    kind: Kind | None = None


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
    """One page of the namespace's live entries in the order of their keys; the payload is an array of `Entry`.

    With ``reverse`` the last come first.
    """

    prefix: Prefix = ""
    tag: Tag | None = None
    reverse: bool = False
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    cursor: Prefix = ""


class Incr(Request, tag="incr"):
    """Add to a counter: an entry that holds one integer. An absent one starts at 0, with ``ttl_ms``."""

    key: Key
    by: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] = 1
    ttl_ms: Duration | None = None


class Append(Request, tag="append"):
    """Add an item to a list: an entry that holds one JSON array. The payload is the item, as JSON.

    With ``many`` it is an array of items, which are added one after the other. An absent list starts empty, with
    ``ttl_ms``; beyond ``max_len`` the oldest items go.
    """

    key: Key
    many: bool = False
    max_len: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    ttl_ms: Duration | None = None


class Pop(Request, tag="pop"):
    """Take an item off a list: the last, or the ``first``. The reply's payload is the item, as JSON.

    The list stays when it is empty, as long as its time lasts; an empty one is ``not_found``, as an absent one.
    """

    key: Key
    first: bool = False


class Tail(Request, tag="tail"):
    """Read the last ``count`` items of a list; the reply's payload is a JSON array.

    ``touch`` restores the entry's own TTL, as in `Get`.
    """

    key: Key
    count: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    touch: bool = False


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────────────────


class Batch(Request, tag="batch"):
    """Carry out all of several operations, or none. The payload is their frames, the reply's payload the replies'.

    Allowed inside: set, get, update, extend, forget, ttl, exists, incr, append, pop, tail. The first that fails undoes
    all; its error is the batch's, and its message names its place.
    """


class Export(Request, tag="export"):
    """One page of live entries with their values, in the order of their keys.

    The payload is an array of ``[Entry, value, tags, Memory or nil]``; a page ends at about 1 MiB.
    """

    prefix: Prefix = ""
    cursor: Prefix = ""


class Import(Request, tag="import"):
    """Write one page of entries: an array of ``[key, type, ttl_ms, value, tags, Memory or nil]``, at most 1,000.

    Their TTLs are bounded by the tier's maximum (clamped, and counted). What exists stays, unless ``replace``.
    """

    replace: bool = False


class Prune(Request, tag="prune"):
    """Delete what is expired, then what any of the policies chooses, of the caller's namespace.

    Attributes:
        older_than_ms: what was last written longer ago.
        keep_newest: all but so many, by the last write.
        keep_highest_score: all but so many of the memories that have a score; what has none stays.
        prefix, tag: the policies choose among these entries.
        filter: and among these memories; older and newer then go by `Memory.at`.
        dry_run: delete nothing.
        report: put the keys of what the policies choose into the payload.
    """

    older_than_ms: Duration | None = None
    keep_newest: Count | None = None
    keep_highest_score: Count | None = None
    prefix: Prefix = ""
    tag: Tag | None = None
    filter: Filter | None = None
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


class Checkpoint(Request, tag="checkpoint"):
    """See that all that was acknowledged before is on the disk, and survives the loss of power."""


class GetStatus(Request, tag="status"):
    """The health of the daemon."""


class GetStats(Request, tag="stats"):
    """Counts, latencies and sizes since the start; with ``analytics``, usage over time and what memories there are."""

    prometheus: bool = False
    analytics: bool = False


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
        (Pop, Length, Access.WRITE, Pace.INLINE),
        (Tail, Length, Access.READ, Pace.INLINE),
        (Batch, Done, Access.WRITE, Pace.INLINE, Cargo.FRAMES),
        (Export, Page, Access.READ, Pace.SCAN),
        (Import, Imported, Access.WRITE, Pace.STEPS, Cargo.ROWS),
        (Prune, Pruned, Access.WRITE, Pace.STEPS),
        (RetentionRun, Retained, Access.WRITE, Pace.STEPS),
        (GetRetention, RetentionState, Access.READ, Pace.INLINE),
        (Search, Found, Access.READ, Pace.SEARCH),
        (Conversations, Conversed, Access.READ, Pace.SEARCH),
        (GetEmbedding, EmbeddingState, Access.READ, Pace.SCAN),
        (Embedded, Entry, Access.READ, Pace.INLINE),
        (EmbedRetry, Requeued, Access.WRITE, Pace.STEPS),
        (EmbedRebuild, Requeued, Access.WRITE, Pace.STEPS),
        (Watch, Done, Access.READ, Pace.DOOR),
        (Cancel, Done, Access.KNOWN, Pace.DOOR),
        (Ping, Pong, Access.KNOWN, Pace.INLINE),
        (Ready, Done, Access.KNOWN, Pace.INLINE),
        (Checkpoint, Done, Access.READ, Pace.SCAN),
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
    Hello | Set | Get | Update | Extend | Forget | Clear | Ttl | Exists | List | Incr | Append | Pop | Tail | Batch
    | Export | Import | Prune | RetentionRun | GetRetention | Search | Conversations
    | GetEmbedding | Embedded | EmbedRetry | EmbedRebuild | Watch | Cancel | Ping | Ready
    | Checkpoint | GetStatus | GetStats | Stop | KeyCreate | KeyList | KeyRotate | KeyRevoke
)  # fmt: skip
