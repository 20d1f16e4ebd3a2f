"""What makes an entry searchable, what a search may ask for, and what it finds.

Vectors travel as float32, little-endian; metadata as the text of one JSON object, which nobody but a filter looks into.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from stash_protocol.replies import EmbeddingStatus, Entry
from stash_protocol.request import Key, Name, Prefix, Tag
from stash_protocol.vectors import MAX_DIMENSIONS

MAX_TEXT = 32 * 1024  # characters: what an embedder reads at most, several times over
MAX_METADATA = 16 * 1024  # characters of JSON
MAX_HITS = 4096  # of one search
MAX_CONDITIONS = 16  # on metadata, of one search
MAX_KEYS = 256  # named in one filter

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Vector = Annotated[bytes, Meta(min_length=4, max_length=4 * MAX_DIMENSIONS)]
Group = Annotated[str, Meta(min_length=1, max_length=512)]  # a conversation's id, a task's
GroupPrefix = Annotated[str, Meta(max_length=512)]
Role = Literal["system", "user", "assistant", "tool"]
Kind = Literal["memory", "message", "episode"]
Share = Annotated[float, Meta(ge=0, le=1)]
Moment = Annotated[int, Meta(ge=0, le=2**53)]  # milliseconds since the epoch
Scalar = str | int | float | bool | None


class Memory(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What makes an entry searchable. In an update, what is not given stays.

    Attributes:
        kind: how it is shown and kept; messages and episodes have a default TTL of their own.
        text: what keyword search reads and an embedder embeds.
        text_is_value: the value itself, as UTF-8, is the text, also after it is updated.
        vector: the caller's own; nothing is embedded then.
        model: names what made `vector`: vectors of different models are never compared.
        made: an embedder made `vector`, so that `embed_rebuild` may have it made anew; an export says so.
        archived_at: when retention took it out of search; an export says so, and nothing else changes it.
        embed: whether an embedder, if there is one, shall make a vector of the text.
        group: what belongs together: a conversation, a task.
        role: whose words a message is.
        score: how good it was: the reward of an episode.
        importance: in place of the one that is computed.
        at: when it happened; when it was stored, unless given.
        metadata: a JSON object.
    """

    kind: Kind = "memory"
    text: Text | None = None
    text_is_value: bool = False
    vector: Vector | None = None
    model: Name | None = None
    made: bool = False
    archived_at: Moment | None = None
    embed: bool = True
    group: Group | None = None
    role: Role | None = None
    score: float | None = None
    importance: Share | None = None
    at: Moment | None = None
    metadata: Annotated[str, Meta(max_length=MAX_METADATA)] | None = None


class Condition(Struct, array_like=True, forbid_unknown_fields=True):
    """One condition on metadata: a dotted path, an operator, and a JSON scalar or, for ``in``, a list of them.

    `score`, `reward` (the same), `role` and `group` mean the memory's own fields where its metadata has none of that
    name. What is absent equals null, and nothing else.
    """

    path: Annotated[str, Meta(min_length=1, max_length=256)]
    op: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in"]
    value: Scalar | Annotated[list[Scalar], Meta(max_length=256)]


class Filter(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Which memories are meant; all of it must hold.

    Attributes:
        segments: the prefix ends where a segment of the key (`/`) does: ``a`` means ``a`` and ``a/b``, not ``ab``.
        after, before: by `Memory.at`, milliseconds since the epoch; the first is included.
        min_score: has a score, at least this one.
        archived: also what retention has archived.
    """

    kind: Kind | None = None
    keys: Annotated[list[Key], Meta(max_length=MAX_KEYS)] | None = None
    prefix: Prefix = ""
    segments: bool = False
    group: Group | None = None
    group_prefix: GroupPrefix = ""
    roles: Annotated[list[Role], Meta(max_length=4)] = msgspec.field(default_factory=list)
    tags_any: Annotated[list[Tag], Meta(max_length=32)] = msgspec.field(default_factory=list)
    tags_all: Annotated[list[Tag], Meta(max_length=32)] = msgspec.field(default_factory=list)
    after: Moment | None = None
    before: Moment | None = None
    min_score: float | None = None
    where: Annotated[list[Condition], Meta(max_length=MAX_CONDITIONS)] = msgspec.field(default_factory=list)
    archived: bool = False


Mode = Literal["auto", "vector", "keyword", "hybrid"]
Order = Literal["rank", "newest", "oldest", "score", "importance"]


class Hit(Struct, omit_defaults=True):
    """One memory that was found.

    Attributes:
        entry: the entry it belongs to.
        score: what it was ranked by: similarity and importance, weighed.
        similarity: cosine for ``vector``; for ``keyword`` BM25 as a share of the best hit's; for ``hybrid`` the fused
            rank as a share of the best possible; None where nothing was asked for.
        importance: 0 to 1.
        at: when it happened, milliseconds since the epoch.
        content: its text; of a value that is its own text, what was searched: its first 32,768 characters.
        reward: its own score.
        parts: with ``explain``, what score and importance are made of.
    """

    entry: Entry
    score: float
    importance: float
    at: int
    content: str
    embedding_status: EmbeddingStatus
    kind: Kind = "memory"
    similarity: float | None = None
    role: Role | None = None
    group: str | None = None
    reward: float | None = None
    tags: list[str] = msgspec.field(default_factory=list)
    metadata: str | None = None
    archived_at: int | None = None
    parts: dict[str, float] | None = None


class Found(Struct, omit_defaults=True):
    """What a search found; the payload is an array of `Hit`, best first.

    Attributes:
        count: hits in the payload.
        total: memories the filter lets through; for keywords those of them that have any of the words.
        mode: how it was searched; ``filter`` when nothing but a filter was given.
        candidates: memories the filter lets through.
        embedded: how many of them have a vector of the model that was searched with.
        note: what could not be done as asked, and what was done instead.
        truncated: there was more than the budget allows.
        tokens: of the contents, about; when a budget was given.
    """

    count: int
    total: int
    mode: Literal["vector", "keyword", "hybrid", "filter"]
    candidates: int
    embedded: int
    note: str | None = None
    truncated: bool = False
    tokens: int = 0
