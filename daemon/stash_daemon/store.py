"""What the engine needs of a store: rows, not operations. The engine and the stores know only this page of each other.

A store never judges time: `now` is an argument, and "expired" (`expires_at <= now`) a predicate of every read that
takes it. A store never judges callers either: a namespace comes in as its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from stash_protocol.reader import Payload
from stash_protocol.replies import ValueType

TYPES: tuple[ValueType, ...] = ("bytes", "text", "json")
"""Value types by the small number a row keeps."""

LOG_PAGES = 1_000  # pages of the log worth moving into the database while there are writes: 8 MiB; a longer log
# makes every commit slower (four times that: by half)


class Head(NamedTuple):
    """An entry without its value.

    Attributes:
        id: the row, valid within the turn that read it.
        type: index into `TYPES`.
        ttl: the entry's own TTL, milliseconds, which a touch restores.
        size: bytes of the value.
        tagged: whether rows of other tables belong to it.
    """

    id: int
    key: str
    type: int
    created: int
    updated: int
    expires: int
    ttl: int
    version: int
    size: int
    tagged: int


class Row(NamedTuple):
    """An entry with its value; the first ten fields are `Head`'s."""

    id: int
    key: str
    type: int
    created: int
    updated: int
    expires: int
    ttl: int
    version: int
    size: int
    tagged: int
    value: bytes


class Fresh(NamedTuple):
    """What an entry is to become: all of a row that a write decides."""

    type: int
    created: int
    updated: int
    expires: int
    ttl: int
    version: int
    value: Payload


class Expired(NamedTuple):
    """An entry that time, or the lack of room, deletes."""

    id: int
    namespace: int
    key: str
    expires: int
    version: int
    size: int


class Usage(NamedTuple):
    """What is alive in a namespace."""

    entries: int
    bytes: int


class Reads(Protocol):
    """Reads of many rows, page by page."""

    def namespace(self, name: str) -> int:
        """The number of a namespace, 0 for one that holds nothing yet."""
        ...

    def page(
        self, namespace: int, prefix: str, after: str, limit: int, *, now: int, tag: str | None = None
    ) -> tuple[list[Head], str | None]:
        """Live heads in the order of their keys, after `after`; and where to go on, None at the end.

        At most ``limit`` rows are looked at, so a page may be shorter than that and still not be the last.
        """
        ...

    def usage(self, namespace: int, now: int) -> Usage:
        """Live entries and bytes; on a snapshot, the cost grows with all rows there are."""
        ...

    def total(self, now: int) -> tuple[Usage, int]:
        """Live entries and bytes of all namespaces, and how many namespaces hold a live entry."""
        ...

    def values(
        self, namespace: int, prefix: str, after: str, limit: int, *, now: int, max_bytes: int
    ) -> tuple[list[tuple[Row, list[str]]], str | None]:
        """The same with values and tags; ends early once the values reach ``max_bytes``."""
        ...


class Store(Reads, Protocol):
    """The rows of all namespaces. One thread uses a store; `snapshot` is for others.

    Every method can raise StorageFull, StorageDamaged or Busy; then the turn is to be rolled back.

    Attributes:
        path: of the file; empty for a store in memory.
        version: of the engine below, for people.
        log_pages: pages of the log that `checkpoint` has not moved yet.
        off_thread: whether snapshots are independent of the thread that writes.
    """

    path: str
    version: str
    log_pages: int
    off_thread: bool

    # ── turns ──

    @property
    def writing(self) -> bool:
        """Whether a transaction is open."""
        ...

    def begin(self) -> None:
        """Open the transaction every write needs."""
        ...

    def commit(self) -> None:
        """Make the turn's writes durable. On failure nothing of the turn is kept."""
        ...

    def rollback(self) -> None:
        """Undo the turn, if one is open."""
        ...

    def savepoint(self) -> AbstractContextManager[None]:
        """Within a turn: undo what was written inside when an exception leaves it."""
        ...

    # ── namespaces ──

    def create_namespace(self, name: str) -> int:
        """The number of a namespace; makes one within the turn."""
        ...

    def namespace_name(self, namespace: int) -> str:
        """The name behind a number."""
        ...

    def held(self, namespace: int) -> int:
        """Bytes of all rows, expired ones included: what is alive is never more. Costs nothing."""
        ...

    def overdue(self, namespace: int, now: int) -> Usage:
        """Entries and bytes whose time is over and which are not deleted yet."""
        ...

    def usage(self, namespace: int, now: int) -> Usage:
        """Live entries and bytes; the cost grows with what is expired and not yet deleted."""
        ...

    def floor(self, namespace: int) -> int:
        """The highest version of any entry that was deleted.

        A new entry starts above it, so that a version, once seen, never comes back with another value.
        """
        ...

    # ── entries ──

    def head(self, namespace: int, key: str) -> Head | None:
        """The row of a key, alive or expired."""
        ...

    def find(self, namespace: int, key: str, now: int) -> Row | None:
        """The live entry of a key."""
        ...

    def insert(self, namespace: int, key: str, fresh: Fresh, tags: Sequence[str] = ()) -> int:
        """A new row; its id."""
        ...

    def replace(self, namespace: int, head: Head | Row, fresh: Fresh, tags: Sequence[str] | None = None) -> None:
        """Overwrite a row whole; ``tags`` None keeps them."""
        ...

    def retime(self, head: Head | Row, *, expires: int, ttl: int, version: int) -> None:
        """Change the time of a row, and nothing else."""
        ...

    def delete(self, namespace: int, rows: Sequence[Head | Row | Expired]) -> None:
        """Delete rows of one namespace."""
        ...

    def expired(self, now: int, limit: int, namespace: int | None = None) -> list[Expired]:
        """Rows whose time is over, those longest over first."""
        ...

    def soonest(self, namespace: int, now: int, limit: int) -> list[Expired]:
        """Live rows, nearest expiry first: what `evict = "soonest"` takes."""
        ...

    def next_expiry(self) -> int | None:
        """The earliest ``expires`` of all rows."""
        ...

    # ── care ──

    def snapshot(self) -> AbstractContextManager[Reads]:
        """Reads that see one moment of the store and may take long; thread-safe when ``off_thread``."""
        ...

    def load_meta(self, name: str) -> str | None:
        """A fact about the store itself."""
        ...

    def save_meta(self, name: str, value: str) -> None:
        """Keep a fact about the store itself; in the open turn, or at once."""
        ...

    def tidy(self) -> bool:
        """Within a turn: give a bounded slice of freed space back to the file system; True: there is more."""
        ...

    def checkpoint(self, *, truncate: bool = False) -> int:
        """Move the log into the database file; how many of its pages are there now.

        Thread-safe, may take long; readers and the writer go on.

        ``truncate``: also empty the log, when nobody is reading it: what was deleted is then gone from it too.
        """
        ...

    def finish_checkpoint(self) -> None:
        """Between turns: move what the writer added to the log during `checkpoint`.

        Only a log of which nothing is missing in the file is written from its start again.
        """
        ...

    def probe(self) -> None:
        """Raise what a read or a write would meet now."""
        ...

    def close(self) -> None:
        """Leave the file as small and whole as it can be."""
        ...
