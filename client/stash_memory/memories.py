"""Memories: what an entry is remembered by, searches, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack, overload

import msgspec

from stash_memory.conditions import Where, conditions
from stash_memory.results import Entry
from stash_memory.values import Duration, milliseconds, moment, pack_json
from stash_protocol import memories, operations
from stash_protocol.errors import BadRequest
from stash_protocol.memories import Kind, Mode, Order, Role
from stash_protocol.reader import Payload
from stash_protocol.replies import EmbeddingStatus
from stash_protocol.vectors import check_vector

Vector = bytes | Sequence[float]
"""Numbers, or float32 little-endian bytes."""

Moment = datetime | float
"""A point in time: a datetime with a time zone, or seconds since the epoch."""


class MemoryFields(TypedDict, total=False):
    """What `Stash.set` and `Stash.update` take to make an entry searchable.

    Attributes:
        text: what it is found by.
        embed: True: by its own value, which is text; False: by words only, no vector is made.
        embedding: a vector of your own; none is made then.
        model: what made that vector; vectors of different models are never compared.
        group: what belongs together: a conversation, a task.
        role: whose words it is.
        score: how good it was; an episode calls it its reward.
        importance: 0 to 1, in place of the one that is computed.
        metadata: anything JSON can say, to filter by.
        at: when it happened; now, unless given.
        kind: ``"memory"``, ``"message"`` or ``"episode"``.
    """

    text: str
    embed: bool
    embedding: Vector
    model: str
    group: str
    role: Role
    score: float
    importance: float
    metadata: Mapping[str, Any]
    at: Moment
    kind: Kind


class Filters(TypedDict, total=False):
    """Which memories a search is about; all of it must hold.

    Attributes:
        prefix: of the key; with ``segments`` only where a segment (``/``) ends.
        keys: only these.
        group, group_prefix: the conversation or task.
        roles, kind: whose words, what kind.
        tags_any, tags_all: any of these tags, all of these.
        after, before: when it happened.
        min_score: a score of its own, at least this.
        where: conditions on metadata: ``"reward>=0.5"``, ``{"lang": "en", "n": {"gt": 1}}``, or several.
        archived: also what retention has archived.
    """

    prefix: str
    segments: bool
    keys: Sequence[str]
    group: str
    group_prefix: str
    roles: Sequence[Role]
    kind: Kind
    tags_any: Sequence[str]
    tags_all: Sequence[str]
    after: Moment
    before: Moment
    min_score: float
    where: Where
    archived: bool


class Hit:
    """One memory that was found."""

    __slots__ = ("_hit",)

    def __init__(self, hit: memories.Hit) -> None:
        self._hit = hit

    @property
    def entry(self) -> Entry:
        """The entry it belongs to."""
        return Entry(self._hit.entry)

    @property
    def key(self) -> str:
        """The entry's key."""
        return self._hit.entry.key

    @property
    def score(self) -> float:
        """What it was ranked by."""
        return self._hit.score

    @property
    def similarity(self) -> float | None:
        """How near it is to what was searched; None when nothing was compared."""
        return self._hit.similarity

    @property
    def importance(self) -> float:
        """0 to 1."""
        return self._hit.importance

    @property
    def content(self) -> str:
        """Its text."""
        return self._hit.content

    @property
    def created_at(self) -> datetime:
        """When it happened."""
        return moment(self._hit.at)

    @property
    def role(self) -> Role | None:
        """Whose words it is."""
        return self._hit.role

    @property
    def kind(self) -> Kind:
        """A memory, a message or an episode."""
        return self._hit.kind

    @property
    def group(self) -> str | None:
        """Its conversation or task."""
        return self._hit.group

    @property
    def reward(self) -> float | None:
        """The score it was stored with."""
        return self._hit.reward

    @property
    def tags(self) -> list[str]:
        """Sorted."""
        return self._hit.tags

    @property
    def metadata(self) -> dict[str, Any]:
        """What it was stored with."""
        found: dict[str, Any] = msgspec.json.decode(self._hit.metadata) if self._hit.metadata else {}
        return found

    @property
    def embedding_status(self) -> EmbeddingStatus:
        """How far an embedder is with it."""
        return self._hit.embedding_status

    @property
    def archived_at(self) -> datetime | None:
        """When retention took it out of search."""
        return None if self._hit.archived_at is None else moment(self._hit.archived_at)

    @property
    def parts(self) -> dict[str, float] | None:
        """With ``explain``: what score and importance are made of."""
        return self._hit.parts

    def __repr__(self) -> str:
        return f"Hit(key={self.key!r}, score={self.score:.3f}, content={self.content[:60]!r})"


One = TypeVar("One", bound=Hit)


class Findings(Sequence[One]):
    """What a search found, best first.

    Attributes:
        total: memories the filter lets through; for keywords those of them that have any of the words.
        mode: how it was searched.
        note: what could not be done as asked, and what was done instead.
        truncated: there was more than ``k`` or the budget let in; only with a budget.
        tokens: of the contents, about; with a budget.
    """

    def __init__(self, body: memories.Found, payload: Payload, each: Callable[[memories.Hit], One]) -> None:
        self.hits = [each(hit) for hit in _read_hits(payload)]
        self.total = body.total
        self.mode = body.mode
        self.note = body.note
        self.truncated = body.truncated
        self.tokens = body.tokens
        self.embedded, self.candidates = body.embedded, body.candidates

    @property
    def coverage(self) -> str:
        """How many of the memories that were looked at have a vector of the model searched with."""
        return f"{self.embedded:,} of {self.candidates:,} embedded"

    @property
    def context(self) -> str:
        """The contents there are, as a model is given them: one after the other, with an empty line between."""
        told = [hit for hit in self.hits if hit.content.strip()]
        return "\n\n".join(f"{hit.role}: {hit.content}" if hit.role else hit.content for hit in told)

    @overload
    def __getitem__(self, place: int) -> One: ...
    @overload
    def __getitem__(self, place: slice) -> list[One]: ...
    def __getitem__(self, place: int | slice) -> One | list[One]:
        return self.hits[place]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[One]:
        return iter(self.hits)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} of {self.total}, mode={self.mode!r}, {self.coverage})"


class Hits(Findings[Hit]):
    """What `Stash.search` found, best first."""

    def __init__(self, body: memories.Found, payload: Payload) -> None:
        super().__init__(body, payload, Hit)


# ── arguments into requests ──


def memory_of(fields: MemoryFields) -> memories.Memory | None:
    """What an entry is to be remembered by; None when nothing was said.

    Raises:
        BadRequest: a field that is none, a vector that is none, metadata that JSON cannot say.
    """
    if not fields:
        return None
    known = MemoryFields.__optional_keys__
    for name in fields:
        if name not in known:
            raise BadRequest(f"there is no field {name}; there are {', '.join(sorted(known))}")
    given: dict[str, Any] = {
        name: fields[name]
        for name in ("text", "model", "group", "role", "score", "importance", "kind")
        if fields.get(name) is not None
    }
    embed = fields.get("embed")
    if embed is not None:
        given["embed"] = embed
        given["text_is_value"] = bool(embed) and fields.get("text") is None
    if fields.get("embedding") is not None:
        given["vector"] = check_vector(fields["embedding"])
    if fields.get("metadata") is not None:
        given["metadata"] = pack_json(dict(fields["metadata"])).decode()
    if fields.get("at") is not None:
        given["at"] = instant(fields["at"])
    return memories.Memory(**given)


def filter_of(fields: Filters) -> memories.Filter:
    """Which memories are meant.

    Raises:
        BadRequest: a condition or a time that is none.
    """
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    for name in given:
        if name not in Filters.__optional_keys__:
            raise BadRequest(f"there is no filter {name}; there are {', '.join(sorted(Filters.__optional_keys__))}")
    for name in ("keys", "roles", "tags_any", "tags_all"):
        if isinstance(given.get(name), str):
            raise BadRequest(f"{name} is a list; write {name}=[{given[name]!r}]")
        if name in given:
            given[name] = list(given[name])
    for name in ("after", "before"):
        if name in given:
            given[name] = instant(given[name])
    if "where" in given:
        given["where"] = conditions(given["where"])
    return memories.Filter(**given)


def instant(when: Moment) -> int:
    """Milliseconds since the epoch.

    Raises:
        BadRequest: no point in time.
    """
    try:
        return round((when.timestamp() if isinstance(when, datetime) else float(when)) * 1000)
    except (TypeError, ValueError, OverflowError):
        raise BadRequest(f"{when!r} is not a point in time; write a datetime or seconds since the epoch") from None


def search_request(
    query: str | None,
    *,
    embedding: Vector | None = None,
    model: str | None = None,
    like: str | None = None,
    k: int = 10,
    offset: int = 0,
    mode: Mode = "auto",
    order: Order = "rank",
    importance_weight: float | None = None,
    half_life: Duration | None = None,
    budget: int | None = None,
    explain: bool = False,
    **filters: Unpack[Filters],
) -> operations.Search:
    """The request behind `Stash.search`."""
    return operations.Search(
        query=query,
        vector=None if embedding is None else check_vector(embedding),
        model=model,
        like=like,
        k=k,
        offset=offset,
        mode=mode,
        order=order,
        filter=filter_of(filters),
        importance_weight=importance_weight,
        half_life_ms=milliseconds(half_life),
        budget=budget,
        explain=explain,
    )


_read_hits: Callable[[Payload], list[memories.Hit]] = msgspec.msgpack.Decoder(list[memories.Hit]).decode
