"""What the engine needs of a store: rows, not operations. The engine and the stores know only this page of each other.

A store never judges time: `now` is an argument, and "expired" (`expires_at <= now`) a predicate of every read that
takes it. A store never judges callers either: a namespace comes in as its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from stash_daemon.memory_store import MemoryReads, MemoryStore
from stash_protocol.reader import Payload
from stash_protocol.replies import ValueType

TYPES: tuple[ValueType, ...] = ("bytes", "text", "json")
"""Value types by the small number a row keeps."""

FULL = "the disk is full: reads, forget and prune go on, and all else will once there is room"

LOG_PAGES = 1_000  # pages of the log worth moving into the database while there are writes: 8 MiB; a longer log
# makes every commit slower (four times that: by half)


PIECE = 1 << 20  # bytes: what is written or read of a large value at once: some 2 ms
LARGE = 2 * PIECE  # bytes of a value: beyond it, it lies in pieces


class Large:
    """A large value, in the store: what stands for its bytes.

    Args:
        number: of the value.
        size: bytes.
        pieces: reads them, `PIECE` bytes at a time.
    """

    __slots__ = ("_size", "number", "pieces")

    def __init__(self, number: int, size: int, pieces: Callable[[], Iterator[bytes]]) -> None:
        self.number = number
        self.pieces = pieces
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        """All of it, in memory."""
        return b"".join(self.pieces())


Value = Payload | Large


class Head(NamedTuple):
    """An entry without its value.

    Attributes:
        id: the row, valid within the turn that read it.
        type: index into `TYPES`.
        ttl: the entry's own TTL, milliseconds, which a touch restores.
        size: bytes of the value.
        tagged: rows of which other tables belong to it, see `memory_store.TAGGED`.
        due: the time it is filed under where that may be before `expires`; else 0.
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
    due: int


class Row(NamedTuple):
    """An entry with its value; the fields before that are `Head`'s."""

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
    due: int
    value: Value


class Fresh(NamedTuple):
    """What an entry is to become: all of a row that a write decides."""

    type: int
    created: int
    updated: int
    expires: int
    ttl: int
    version: int
    value: Value


class Expired(NamedTuple):
    """An entry that time, or the lack of room, deletes."""

    id: int
    namespace: int
    key: str
    expires: int
    version: int
    size: int
    tagged: int


class Usage(NamedTuple):
    """What is alive in a namespace."""

    entries: int
    bytes: int


class Reads(MemoryReads, Protocol):
    """Reads of many rows, page by page."""

    def namespace(self, name: str) -> int:
        """The number of a namespace, 0 for one that holds nothing yet."""
        ...

    def find(self, namespace: int, key: str, now: int) -> Row | None:
        """The live entry of a key."""
        ...

    def page(
        self,
        namespace: int,
        prefix: str,
        after: str,
        limit: int,
        *,
        now: int,
        tag: str | None = None,
        reverse: bool = False,
    ) -> tuple[list[Head], str | None]:
        """Live heads in the order of their keys, or the reverse, after `after`; and where to go on, None at the end.

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


class Store(Reads, MemoryStore, Protocol):
    """The rows of all namespaces. One thread uses a store; `snapshot` is for others.

    Every method can raise StorageFull, StorageDamaged or Busy; then the turn is to be rolled back.

    Attributes:
        path: of the file; empty for a store in memory.
        version: of the engine below, for people.
        log_pages: pages of the log that `checkpoint` has not moved yet.
        off_thread: whether snapshots are independent of the thread that writes.
        full: the disk is: there is room for what frees, and for nothing else; see `recover`.
    """

    path: str
    version: str
    log_pages: int
    off_thread: bool
    full: bool

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

    def insert(
        self, namespace: int, key: str, fresh: Fresh, tags: Sequence[str] = (), *, remembered: bool = False
    ) -> int:
        """A new row; its id. `remembered`: the turn goes on to `remember` it, as a new one."""
        ...

    def replace(self, namespace: int, head: Head | Row, fresh: Fresh, tags: Sequence[str] | None = None) -> None:
        """Overwrite a row whole; ``tags`` None keeps them."""
        ...

    def retime(self, head: Head | Row, *, expires: int, ttl: int, version: int) -> None:
        """Change the time of a row, and nothing else."""
        ...

    def draft(self) -> int:
        """Begin a large value: its number, pinned; within a turn, as each of these."""
        ...

    def add_piece(self, number: int, place: int, data: Payload | memoryview) -> None:
        """Add its next `PIECE` bytes, or the last of them; places count from 0."""
        ...

    def drafted(self, number: int, size: int) -> Large:
        """The value, once all its pieces are there, for `insert` and `replace`."""
        ...

    def pin(self, value: Large) -> None:
        """Keep its pieces, whatever becomes of its entry, until `unpin`."""
        ...

    def unpin(self, number: int) -> None:
        """Let go of a value."""
        ...

    @property
    def littered(self) -> bool:
        """Whether there are pieces nobody needs any more."""
        ...

    def collect(self) -> bool:
        """Within a turn: delete a few of them; True when there may be more."""
        ...

    def delete(self, namespace: int, rows: Sequence[Head | Row | Expired]) -> None:
        """Delete rows of one namespace."""
        ...

    def refile(self, now: int, limit: int, namespace: int | None = None) -> int:
        """Within a turn: find out when rows expire that are due and whose time was changed; how many.

        Until that is less than ``limit``, `expired` does not know of all.
        """
        ...

    def expired(self, now: int, limit: int, namespace: int | None = None) -> list[Expired]:
        """Rows whose time is over, those longest over first."""
        ...

    def soonest(self, namespace: int, now: int, limit: int) -> list[Expired]:
        """Within a turn: live rows, nearest expiry first: what `evict = "soonest"` takes."""
        ...

    def next_expiry(self) -> int | None:
        """When to look for expired rows: no row expires before."""
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

    def renew_log(self) -> int:
        """The same off the writer's thread, while no turn begins, and write the log's first page; its pages then.

        Three syncs, which the writer would otherwise wait for. A turn that begins all the same undoes nothing: it may
        have to wait, and the log may have to be renewed once more.
        """
        ...

    def recover(self) -> bool:
        """Whether the disk has room; looks every now and then, when it had none."""
        ...

    def sync(self) -> None:
        """Wait until the disk has all that was committed: it survives the loss of power then. Thread-safe.

        Raises:
            StorageFull, StorageDamaged: it may not have it.
        """
        ...

    def probe(self) -> None:
        """Raise what a read or a write would meet now."""
        ...

    def close(self) -> None:
        """Leave the file as small and whole as it can be."""
        ...
