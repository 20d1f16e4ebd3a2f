"""What the daemon sends: the reply of every operation, errors, pushes, and the envelope around them.

Times are integers: ``…_ms`` are durations in milliseconds, ``…_at`` are milliseconds since the Unix epoch.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stash_protocol.analytics import Analytics

ValueType = Literal["bytes", "text", "json"]
"""What a value is, for whoever reads it back; the daemon itself never decodes one."""

Scope = Literal["read", "write", "admin"]

EmbeddingStatus = Literal["pending", "completed", "failed", "skipped"]
"""How far an embedder is with a memory: it has yet to come, there is a vector, it gave up, or there is none to make."""


class Done(Struct):
    """Nothing to say but that it is done."""


class Entry(Struct, omit_defaults=True):
    """An entry without its value.

    Attributes:
        key: as it is stored; made by the daemon when none was given.
        type: what the value is.
        size: bytes of the value.
        version: grows with each write.
        ttl_ms: milliseconds left.
        expires_at, created_at, updated_at: milliseconds since the epoch.
        clamped: the tier's maximum cut the time that was asked for.
        embedding_status: of a memory that was just written.
    """

    key: str
    type: ValueType
    size: int
    version: int
    ttl_ms: int
    expires_at: int
    created_at: int
    updated_at: int
    clamped: bool = False
    embedding_status: EmbeddingStatus | None = None


class Remaining(Struct, omit_defaults=True):
    """The time an entry has left."""

    ttl_ms: int
    expires_at: int
    version: int
    clamped: bool = False


class Existence(Struct):
    """Whether a live entry has the key."""

    exists: bool


class Forgotten(Struct):
    """How many live entries were deleted."""

    forgotten: int


class Number(Struct):
    """A counter after `Incr`, and the entry it lives in."""

    number: int
    entry: Entry


class Length(Struct):
    """How long a list is after `Append`, `Pop` or `Tail`, and the entry it lives in."""

    length: int
    entry: Entry


class Page(Struct, omit_defaults=True):
    """One page of rows; the payload is a msgpack array of them.

    Attributes:
        count: rows in the payload.
        cursor: give it back for the next page; None on the last one.
    """

    count: int
    cursor: str | None = None


class Pruned(Struct):
    """What a prune deleted, or would delete.

    Attributes:
        expired: entries whose time was over.
        pruned: live entries the policies chose.
        bytes: of all their values.
        keys: of the live ones, in the payload as a msgpack array, when ``report`` was asked for.
    """

    expired: int
    pruned: int
    bytes: int


class Imported(Struct):
    """What became of one page of an import.

    Attributes:
        imported: entries written.
        skipped: entries that are there already (without ``replace``) or whose time is over.
        clamped: entries whose time the tier's maximum cut.
    """

    imported: int
    skipped: int
    clamped: int


class Welcome(Struct):
    """The answer to `Hello`: who the daemon takes the caller for, and what it may do."""

    version: int
    server: str
    namespace: str
    tier: str
    scopes: list[Scope]
    max_value: int  # bytes
    default_ttl_ms: int
    max_ttl_ms: int


class Pong(Struct):
    """The daemon's loop turns."""

    now: int


class Status(Struct):
    """The health of the daemon. ``entries`` and ``bytes`` are the caller's own namespace's."""

    status: Literal["ok", "degraded"]
    database: str
    version: str
    environment: str
    uptime_seconds: float
    latency_ms: float
    sqlite_version: str
    connections: int
    entries: int
    bytes: int
    now: int
    pid: int
    durability: str


class Stats(Struct):
    """Figures since the start. A caller without scope ``admin`` sees its own namespace's only.

    Attributes:
        namespace: the caller's.
        entries, bytes: alive in it.
        figures: by name, see docs/observability.md; ``prometheus`` text comes as the payload when asked for.
        analytics: when asked for.
    """

    namespace: str
    entries: int
    bytes: int
    figures: dict[str, Any]
    analytics: Analytics | None = None


class ApiKeyInfo(Struct, omit_defaults=True):
    """One API key, without the secret."""

    name: str
    namespace: str
    tier: str
    scopes: list[Scope]
    created_at: int
    expires_at: int | None = None


class ApiKeyIssued(Struct):
    """A new API key and its secret, which nobody can show again."""

    api_key: str
    info: ApiKeyInfo


class ApiKeys(Struct):
    """All API keys."""

    keys: list[ApiKeyInfo]


# ── envelopes ────────────────────────────────────────────────────────────────────────────────────────────────────


class Failure(Struct, omit_defaults=True):
    """An error on the wire; `stash_protocol.errors` has the codes."""

    code: str
    message: str
    retry_after: float | None = None  # seconds


class Rate(Struct):
    """The state of the caller's token bucket, on every reply of a tier that has one."""

    limit: int  # requests a minute
    remaining: int
    reset_ms: int  # until the bucket is full again


class Event(Struct, omit_defaults=True):
    """One change, as `Watch` pushes it."""

    event: Literal["set", "update", "extend", "forget", "expire"]
    key: str
    at: int
    version: int = 0
    expires_at: int = 0


class Envelope(Struct, omit_defaults=True):
    """What the daemon sends: exactly one of ``reply``, ``error`` and ``push``, with the request's id.

    ``id`` is 0 where the request could not be read so far.
    """

    id: int
    reply: msgspec.Raw | Struct | UnsetType = UNSET
    error: Failure | UnsetType = UNSET
    push: Event | UnsetType = UNSET
    rate: Rate | UnsetType = UNSET
