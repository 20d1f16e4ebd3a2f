"""What the engine and search need of a store for memories: rows beside entries, which live and die with them.

The hot verbs never touch these rows: an entry says itself whether it has any (`Head.tagged`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from stash_protocol.memories import MAX_TEXT, Condition, Filter, Kind, Role
from stash_protocol.replies import EmbeddingStatus

if TYPE_CHECKING:
    from stash_daemon.store import Head

TAGGED, REMEMBERED = 1, 2  # bits of `Head.tagged`: rows of which tables belong to the entry

KINDS: tuple[Kind, ...] = ("memory", "message", "episode")
ROLES: tuple[Role | None, ...] = (None, "system", "user", "assistant", "tool")
STATES: tuple[EmbeddingStatus, ...] = ("skipped", "pending", "completed", "failed", "completed")
SKIPPED, PENDING, COMPLETED, FAILED, GIVEN = range(5)
"""By the small numbers rows keep; given: completed by whoever stored it, and no embedder touches that."""

MAX_PLACE = 2**62  # behind all memories that expire at the same time

_tags = msgspec.json.Decoder(tuple[str, ...]).decode

OWN = "own"  # the model of vectors that clients made


class Remembered(NamedTuple):
    """What makes an entry a memory: a row beside its own.

    Attributes:
        kind, role, state: indices into `KINDS`, `ROLES` and `STATES`.
        at, archived: milliseconds since the epoch.
        text: None: the value is the text.
        embed: whether a vector is wanted of whatever embedder there is.
    """

    kind: int
    at: int
    group: str | None
    role: int
    score: float | None
    importance: float | None
    metadata: str | None
    text: str | None
    embed: bool
    state: int
    archived: int | None

    @property
    def size(self) -> int:
        """Bytes of what it says."""
        return len((self.text or "").encode()) + len((self.metadata or "").encode())


class Column(NamedTuple):
    """What search keeps in memory of one row.

    Attributes:
        words: how many the text has; 0: it has none.
        importance: the override; None: it is computed.
        model: number of the vector's model; None: there is no vector.
        vector: float32, little-endian.
    """

    id: int
    expires: int
    at: int
    kind: int
    role: int
    group: str | None
    score: float | None
    importance: float | None
    words: int
    archived: int | None
    model: int | None
    vector: bytes | None
    labels: str | None  # its tags, as a JSON array; None: there are none

    @property
    def tags(self) -> Sequence[str]:
        """Its tags."""
        return _tags(self.labels) if self.labels else ()


class Model(NamedTuple):
    """What makes vectors, in one namespace."""

    id: int
    name: str
    dimensions: int


class Pending(NamedTuple):
    """A memory that waits for its vector."""

    entry: int
    version: int
    namespace: int
    text: str
    expires: int
    attempts: int


class Candidate(NamedTuple):
    """A live memory that retention looks at.

    Attributes:
        column: what its importance is computed from, without vector.
        bytes: of the memory, beside its value.
        size: of the value, bytes.
    """

    column: Column
    key: str
    version: int
    size: int
    bytes: int

    @property
    def place(self) -> Place:
        """Where it stands in the order of `MemoryReads.candidates`."""
        return self.column.expires, self.bytes, self.column.id


Place = tuple[int, int, int]


class Embeddable(NamedTuple):
    """A memory, as far as its vector is concerned.

    Attributes:
        place: as `Candidate.place`.
        state: index into `STATES`.
        model: that made its vector; None: it has none.
        wanted: it was skipped only because there was no embedder.
    """

    place: Place
    state: int
    model: str | None
    wanted: bool

    @property
    def entry(self) -> int:
        """The row."""
        return self.place[2]


class Census(NamedTuple):
    """What the live memories of a namespace are, counted.

    Attributes:
        memories: kind, role, state (by their numbers), whether it is archived, how many.
        days: when a day began, milliseconds since the epoch, and how many happened on it.
        conversations: group, messages, when the last was; those with the most messages first.
        models: name, dimensions, vectors.
    """

    memories: list[tuple[int, int, int, int, int]]
    days: list[tuple[int, int]]
    conversations: list[tuple[str, int, int]]
    models: list[tuple[str, int, int]]


class Memorable(NamedTuple):
    """A memory as a hit shows it."""

    head: Head
    memory: Remembered
    text: str
    tags: list[str]


def text_of(value: bytes) -> str:
    """A value as text: as much of it as a text may have."""
    return value[: 4 * MAX_TEXT].decode(errors="replace")[:MAX_TEXT]


class MemoryReads(Protocol):
    """Reads of many memories, on a snapshot."""

    def columns(self, namespace: int, entries: Sequence[int] | None = None) -> Iterator[list[Column]]:
        """All memories of a namespace, or those of these entries, some at a time; expired ones included."""
        ...

    def models(self, namespace: int) -> list[Model]:
        """The models a namespace has vectors of."""
        ...

    def postings(self, namespace: int, text: str) -> list[list[tuple[int, int]]]:
        """For each different word of the text: the entries that have it, and how often."""
        ...

    def matching(self, namespace: int, prefix: str, *, segments: bool, where: Sequence[Condition]) -> list[int]:
        """Entries whose key has the prefix and whose metadata meets all conditions; expired ones included."""
        ...

    def let_through(self, entries: Sequence[int], wanted: Filter) -> dict[int, tuple[int, float | None]]:
        """When the memories of these entries happened that a filter lets through, and their score.

        `search.filters` says the same of a whole namespace, from what it keeps in memory.

        Raises:
            BadRequest: a condition that makes no sense.
        """
        ...

    def entries_of(self, namespace: int, keys: Sequence[str]) -> list[int]:
        """The entries of those keys that there are, expired ones included."""
        ...

    def memorable(self, entries: Sequence[int], now: int) -> list[Memorable]:
        """Those of the entries that are live memories, in the same order."""
        ...

    def candidates(self, namespace: int, after: Place, limit: int) -> list[Candidate]:
        """Memories in the order in which they expire, behind a place in it; ``(now, MAX_PLACE, 0)``: all live ones."""
        ...

    def census(self, namespace: int, now: int, *, since: int, top: int) -> Census:
        """What the live memories are; days from ``since`` on, and so many conversations."""
        ...

    def embedding(self, namespace: int, now: int) -> list[tuple[int, bool, str | None, int | None, int]]:
        """Live memories counted: state, as `Embeddable.wanted`, model, dimensions, how many."""
        ...

    def embeddable(self, namespace: int, after: Place, limit: int) -> list[Embeddable]:
        """Memories in the order of `candidates`, behind a place in it."""
        ...

    def vector(self, entry: int) -> tuple[str, bytes] | None:
        """Model name and vector of an entry."""
        ...

    def vector_of(self, namespace: int, key: str, now: int) -> tuple[int, str, bytes] | None:
        """Entry, model name and vector of a live memory; None: there is none of that key, or it has no vector."""
        ...


class MemoryStore(Protocol):
    """Writes of memories, within a turn; and what of them background jobs need."""

    def remember(
        self,
        namespace: int,
        entry: int,
        memory: Remembered,
        text: str,
        vector: tuple[str, bytes] | None,
        *,
        new: bool = False,
    ) -> None:
        """Make an entry a memory, or another one.

        Args:
            namespace: the entry's.
            entry: the row.
            memory: what to keep.
            text: for the keyword index.
            vector: model name and vector; None: there is none, and one that was there goes.
            new: the turn has inserted the entry, as one that is remembered.
        """
        ...

    def memory(self, entry: int) -> Remembered | None:
        """The memory of an entry."""
        ...

    def memory_bytes(self, entry: int) -> int:
        """What the memory of an entry takes beside its value; 0: it is none."""
        ...

    def check_dimensions(self, namespace: int, model: str, dimensions: int) -> None:
        """See that a model's vectors have as many dimensions.

        Raises:
            BadRequest: they have others.
        """
        ...

    def archive(self, namespace: int, entry: int, at: int | None) -> None:
        """Take a memory out of search, or back into it."""
        ...

    def remembering(self) -> list[int]:
        """Namespaces that have memories, or had some since the start."""
        ...

    def follow(self, namespace: int, most: int) -> deque[int]:
        """From now on, the entries whose memories have changed, or may have, are appended to this, the latest so many.

        An entry comes when its memory changes, and once more when that was committed or rolled back.
        """
        ...

    def unfollow(self, namespace: int) -> None:
        """No more."""
        ...

    def pending(self, now: int, limit: int, *, least: int) -> list[Pending]:
        """Memories to embed now: those that wait longest, none that expires within ``least`` milliseconds."""
        ...

    def next_pending(self) -> int | None:
        """When the next one is due, milliseconds since the epoch."""
        ...

    def backlog(self) -> int:
        """How many memories wait."""
        ...

    def embedded(self, row: Pending, model: str, vector: bytes) -> bool:
        """Keep a memory's vector; False: it has changed or is gone, and nothing was kept."""
        ...

    def requeue(self, namespace: int, entry: int, state: int, now: int) -> bool:
        """Let a live memory wait for a vector, and drop the one it has; False: it is not in that state any more."""
        ...

    def embedding_failed(self, row: Pending, *, again_at: int | None) -> None:
        """Try again then; None: never."""
        ...
