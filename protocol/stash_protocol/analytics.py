"""How a namespace is used, and what its memories are: what `stats` adds when it is asked to."""

from __future__ import annotations

from msgspec import Struct


class Usage(Struct, omit_defaults=True):
    """The requests of one hour or day that had any.

    Attributes:
        at: when it began, milliseconds since the epoch, UTC.
        reads, writes, searches: those that were carried out.
        refused: whatever they were.
    """

    at: int
    reads: int = 0
    writes: int = 0
    searches: int = 0
    refused: int = 0


class Trend(Struct):
    """A count of late, and in as long a time before it.

    Attributes:
        what: ``requests`` or ``memories``; those count by when they happened, and only while they live.
        days: how long.
    """

    what: str
    days: int
    last: int
    before: int


class Day(Struct):
    """How many of the live memories happened on a day.

    Attributes:
        at: when it began, milliseconds since the epoch, UTC.
    """

    at: int
    memories: int


class Talk(Struct):
    """A conversation with many messages.

    Attributes:
        last_at: of the last message, milliseconds since the epoch.
    """

    conversation: str
    messages: int
    last_at: int


class ModelUse(Struct):
    """What makes vectors, and how many live ones there are."""

    model: str
    dimensions: int
    vectors: int


class Analytics(Struct):
    """How a namespace is used, and what its memories are.

    Attributes:
        now: the daemon's time, milliseconds since the epoch.
        since: since when ``hours`` and ``days`` are counted, milliseconds since the epoch: the daemon's start.
        hours: of the last 7 days, oldest first; for a caller with scope ``admin``, of all namespaces together.
        days: of the last 90 days.
        memories, archived: live ones.
        kinds, roles: how many of each; ``none`` for those without a role.
        stored: of the last 30 days, oldest first.
        conversations: the ten with the most messages.
        embedding: memories by how far an embedder is with them.
        models: what made their vectors.
    """

    now: int
    since: int
    hours: list[Usage]
    days: list[Usage]
    trends: list[Trend]
    memories: int
    archived: int
    kinds: dict[str, int]
    roles: dict[str, int]
    stored: list[Day]
    conversations: list[Talk]
    embedding: dict[str, int]
    models: list[ModelUse]
