"""The requests that look at memories: which are near to something, and which conversations they make up."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from stash_protocol.memories import MAX_HITS, Filter, Group, GroupPrefix, Mode, Order, Role, Share, Text, Vector
from stash_protocol.request import Duration, Key, Name, Request

MAX_CONVERSATIONS = 1000  # of one page
MAX_ABOUT = 16 * 1024  # bytes of what is kept about a conversation: a page of them stays within 16 MiB

Offset = Annotated[int, Meta(ge=0, le=1_000_000)]


class Search(Request, tag="search"):
    """Find memories: by words, by a vector, like another one, or by a filter alone. The payload is an array of `Hit`.

    Attributes:
        query: words; with an embedder also what they mean.
        vector: what to be near to.
        model: what made ``vector``; what the caller's own vectors were stored with, unless given.
        like: the key of a memory to be near to; it is not among the hits.
        k: hits at most.
        offset: hits to leave out, from the first on.
        order: ``rank`` by score; without anything to be near to, that is by importance.
        importance_weight: what importance counts in the score; similarity counts the rest.
        half_life_ms: after which the recency part of importance is a half.
        budget: tokens (of 4 characters) the contents may have together; at least one hit is given all the same.
        explain: with the parts of every score.
        whole: with whole contents; else a value that is its own text counts with its first 32,768 characters.
    """

    query: Text | None = None
    vector: Vector | None = None
    model: Name | None = None
    like: Key | None = None
    k: Annotated[int, Meta(ge=1, le=MAX_HITS)] = 10
    offset: Offset = 0
    mode: Mode = "auto"
    order: Order = "rank"
    filter: Filter = msgspec.field(default_factory=Filter)
    importance_weight: Share | None = None
    half_life_ms: Duration | None = None
    budget: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    explain: bool = False
    whole: bool = False


class Conversations(Request, tag="conversations"):
    """One page of conversations, the one with the latest message first. The payload is an array of `Conversation`.

    A conversation is all live messages of one group; there is none without a message.

    Attributes:
        group: only this one.
        prefix: only those whose id starts with this.
        limit: conversations at most.
        offset: conversations to leave out, from the first on.
        archived: count messages too that retention has archived.
        tokens: count the tokens of each conversation; all its texts are read for that.
    """

    group: Group | None = None
    prefix: GroupPrefix = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_CONVERSATIONS)] = 100
    offset: Offset = 0
    archived: bool = False
    tokens: bool = False


class Conversation(Struct, omit_defaults=True):
    """What is known of one conversation.

    Attributes:
        group: its id.
        messages: how many there are.
        first_at, last_at: when the first and the last of them happened, milliseconds since the epoch.
        ttl_ms: what the one of them has left that lives longest.
        importance: the mean of theirs, 0 to 1.
        roles: how many messages each role has; those without one are not counted.
        embedded: messages that have a vector.
        tokens: of all texts, about 4 characters each; when asked for.
        about: the value of the entry ``conversation/<id>``, where there is one of at most 16 KiB.
        version: of that entry.
    """

    group: str
    messages: int
    first_at: int
    last_at: int
    ttl_ms: int
    importance: float
    roles: dict[Role, int] = msgspec.field(default_factory=dict)
    embedded: int = 0
    tokens: int | None = None
    about: bytes | None = None
    version: int | None = None


class Conversed(Struct):
    """A page of conversations.

    Attributes:
        count: conversations in the payload.
        total: conversations there are.
    """

    count: int
    total: int
