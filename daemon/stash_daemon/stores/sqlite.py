"""The store: SQLite through APSW, in a file (WAL) or in memory. Rows only; what they mean is the engine's business.

One connection writes, on one thread. Readers that may take long have connections of their own (`snapshot`), and so
has the checkpointer, so that neither holds up a write. Only this module and `schema` know SQL.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import apsw

from stash_daemon.memory_store import REMEMBERED, TAGGED
from stash_daemon.store import FULL, LARGE, Expired, Fresh, Head, Reads, Row, Usage
from stash_daemon.stores import schema
from stash_daemon.stores.embedding import EmbeddingWrites
from stash_daemon.stores.failures import of_system, translated
from stash_daemon.stores.memories import MemoryWrites
from stash_daemon.stores.pieces import IN_PIECES, PieceWrites
from stash_daemon.stores.reads import COUNTED, OVER, SqliteReads
from stash_daemon.stores.recent import RecentReads
from stash_daemon.stores.space import GROWTH, SqliteSpace
from stash_protocol.errors import StashError, StorageDamaged, StorageFull

VFS = "unix-excl"  # no other process may open the file (law 1), so a read needs no locks: it takes 0.6 of the time
BUSY_TIMEOUT = 5_000  # milliseconds a writer waits for a foreign process that holds the file
CACHE_SIZE = 16  # MiB of pages; keeps the inner nodes of a million entries at hand and an idle daemon small
MAX_REFILES = 16  # rounds after which `soonest` makes do with what it knows: some 30 ms
NEVER = 1 << 62  # milliseconds: after every expiry
MAX_IDLE_READERS = 2  # connections kept open for the next snapshot

REPLACE = (
    "UPDATE entries SET type = ?, created = ?, updated = ?, expires = ?, ttl = ?, version = ?, value = ?, tagged = ?"
)
RETIME = "UPDATE entries SET expires = ?, ttl = ?, version = ?"
FILED = "SELECT id, namespace, key, expires, version, size, tagged FROM entries INDEXED BY entries_by_due"


class SqliteStore(RecentReads, MemoryWrites, EmbeddingWrites, PieceWrites, SqliteSpace):
    """The rows of all namespaces in one SQLite database.

    Args:
        path: of the file, which is made when there is none; empty: in memory.
        durability: ``"full"`` syncs every commit, ``"normal"`` every checkpoint.
        reserve: the file that keeps room for deleting; empty: none does.

    Raises:
        StorageDamaged: the file is not a whole database of ours.
        Busy: another process holds it.
    """

    def __init__(
        self, path: str = "", durability: Literal["normal", "full", "memory"] = "normal", reserve: str = ""
    ) -> None:
        self.path = path
        self.version = apsw.sqlite_lib_version()
        SqliteSpace.__init__(self, reserve)
        self.off_thread = bool(path)
        self._readers: list[apsw.Connection] = []
        self._names: dict[str, int] = {}
        self._floors: dict[int, int] = {}
        self._usage: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        self._changes: list[tuple[int, int, int, int]] = []  # of the turn: namespace, entries, bytes, floor before
        self._made: list[str] = []  # namespaces the turn made
        RecentReads.__init__(self)
        with translated():
            if path and not Path(path).exists():
                schema.create(path)
            self._inode = Path(path).stat().st_ino if path else 0
            SqliteReads.__init__(self, self._open(durability))
        self._load()
        MemoryWrites.__init__(self)
        PieceWrites.__init__(self)
        self._changes.clear()  # nothing of what was loaded can be rolled back

    def _open(self, durability: str) -> apsw.Connection:
        connection = self._connect(apsw.SQLITE_OPEN_READWRITE)
        if self.path:
            schema.verify(connection, self.path)
            _pragmas(connection, journal_mode="WAL", synchronous="FULL" if durability == "full" else "NORMAL")
            _pragmas(connection, wal_autocheckpoint=0)
            self.keep_room(connection)
            schema.migrate(connection)
        else:
            schema.prepare(connection)
        _pragmas(connection, secure_delete="ON", cache_size=-CACHE_SIZE * 1024)
        return connection

    def _connect(self, mode: int) -> apsw.Connection:
        """A connection to the file, one of several of this process and of no other."""
        if self.path:
            connection = apsw.Connection(self.path, flags=mode | apsw.SQLITE_OPEN_NOFOLLOW, vfs=VFS)
        else:
            connection = apsw.Connection(":memory:")
        connection.set_busy_timeout(BUSY_TIMEOUT)
        _pragmas(connection, temp_store="MEMORY", trusted_schema="OFF")
        return connection

    def _load(self) -> None:
        for number, name, floor in self._rows("SELECT id, name, floor FROM namespaces"):
            self._names[name] = number
            self._floors[number] = floor
        counted = "SELECT namespace, count(*), sum(size) FROM entries INDEXED BY entries_by_due GROUP BY namespace"
        for number, entries, size in self._rows(counted):
            self._usage[number] = [entries, size]

    # ── turns ──

    @property
    def writing(self) -> bool:
        return self._connection.in_transaction

    def begin(self) -> None:
        if self._inode:
            self._check_file()
        if self._reserve is not None and self._reserve.low():
            self._relieve()
        self._rows("BEGIN IMMEDIATE")

    def _check_file(self) -> None:
        """A database that was unlinked would go on acknowledging writes nobody can read after a restart."""
        try:
            replaced = os.stat(self.path).st_ino != self._inode  # pathlib takes six times as long, in every turn
        except OSError:
            replaced = True
        if replaced:
            raise StorageDamaged(f"{self.path} was removed or replaced while the daemon runs; run: stash doctor")

    def commit(self) -> None:
        if self._grown > GROWTH:
            self._allocate()
        self._rows("COMMIT")
        self._changes.clear()
        self._made.clear()
        if self._touched:
            self._tell_followers()
            self._touched.clear()
        if self.full:
            with suppress(StashError):  # so that the log, which cannot grow, is written from its start again
                self.finish_checkpoint()

    def rollback(self) -> None:
        ran_out, self._ran_out = self._ran_out, False
        if self._connection.in_transaction:  # a full disk may have rolled back already
            with suppress(StashError):
                self._rows("ROLLBACK")
        self._forget_changes(0, 0)
        self._touched.clear()
        self._recent.clear()
        with suppress(StashError):
            self.recall_litter()
        if ran_out and self._reserve is not None:
            self._relieve()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        changes, made = len(self._changes), len(self._made)
        self._rows("SAVEPOINT operation")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._rows("ROLLBACK TO operation")
                self._rows("RELEASE operation")
                self._forget_changes(changes, made)
            self._recent.clear()
            raise
        self._rows("RELEASE operation")

    def _count(self, namespace: int, entries: int, size: int, floor: int = 0) -> None:
        """Keep the sums in step with the rows, and what is needed to undo that."""
        counts = self._usage[namespace]
        counts[0] += entries
        counts[1] += size
        if size > 0:
            self._grown += size
        self._changes.append((namespace, entries, size, self._floors[namespace]))
        self._floors[namespace] = max(floor, self._floors[namespace])

    def _forget_changes(self, changes: int, made: int) -> None:
        """Undo the sums of what was rolled back: all but so many changes and so many new namespaces."""
        for namespace, entries, size, floor in reversed(self._changes[changes:]):
            self._usage[namespace][0] -= entries
            self._usage[namespace][1] -= size
            self._floors[namespace] = floor
        for name in self._made[made:]:
            del self._names[name]
        del self._changes[changes:]
        del self._made[made:]
        self._tell_followers()

    # ── namespaces ──

    def namespace(self, name: str) -> int:
        return self._names.get(name, 0)

    def create_namespace(self, name: str) -> int:
        number = self._names.get(name, 0)
        if not number:
            self._rows("INSERT INTO namespaces (name) VALUES (?)", (name,))
            number = self._connection.last_insert_rowid()
            self._names[name], self._floors[number] = number, 0
            self._made.append(name)
        return number

    def namespace_name(self, namespace: int) -> str:
        return str(self._rows("SELECT name FROM namespaces WHERE id = ?", (namespace,))[0][0])

    def held(self, namespace: int) -> int:
        return self._usage[namespace][1]

    def overdue(self, namespace: int, now: int) -> Usage:
        entries, size = self._rows(f"SELECT {COUNTED} WHERE {OVER} AND namespace = ?2", (now, namespace))[0]
        return Usage(entries, size + self.overdue_memories(namespace, now))

    def usage(self, namespace: int, now: int) -> Usage:
        over, (entries, size) = self.overdue(namespace, now), self._usage[namespace]
        return Usage(entries - over.entries, size - over.bytes)

    def total(self, now: int) -> tuple[Usage, int]:
        sums = {namespace: (entries, size) for namespace, (entries, size) in self._usage.items() if entries}
        over = self._rows(f"SELECT namespace, {COUNTED} WHERE {OVER} GROUP BY namespace", (now,))
        for namespace, entries, size in over:
            held = sums[namespace]
            sums[namespace] = (held[0] - entries, held[1] - size - self.overdue_memories(namespace, now))
        alive = [Usage(entries, size) for entries, size in sums.values() if entries]
        return Usage(sum(usage.entries for usage in alive), sum(usage.bytes for usage in alive)), len(alive)

    def floor(self, namespace: int) -> int:
        return self._floors[namespace]

    # ── entries ──

    def insert(
        self, namespace: int, key: str, fresh: Fresh, tags: Sequence[str] = (), *, remembered: bool = False
    ) -> int:
        tagged = bool(tags) | (IN_PIECES if len(fresh.value) > LARGE else 0) | (REMEMBERED if remembered else 0)
        self._rows(
            "INSERT INTO entries (namespace, key, type, created, updated, expires, ttl, version, value, size, tagged,"
            " due, early) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            (namespace, key, *fresh[:-1], self.column(fresh.value), len(fresh.value), tagged, fresh.expires),
        )
        number = self._connection.last_insert_rowid()
        self._tag(number, tags)
        self._count(namespace, 1, len(fresh.value))
        return number

    def replace(self, namespace: int, head: Head | Row, fresh: Fresh, tags: Sequence[str] | None = None) -> None:
        self._recent.forget(head.id)
        tagged, size = head.tagged if tags is None else bool(tags), len(fresh.value)
        if head.tagged & IN_PIECES or size > LARGE:
            tagged = tagged & ~IN_PIECES | (IN_PIECES if size > LARGE else 0)
            if head.tagged & IN_PIECES:
                self.drop_pieces(head.id)
            fresh = fresh._replace(value=self.column(fresh.value))
        if 0 < head.due <= fresh.expires and size == head.size:
            self._rows(REPLACE + " WHERE id = ?", (*fresh, tagged, head.id))
        else:
            due, early = _filed(head, fresh.expires, fresh.updated)
            self._rows(
                REPLACE + ", size = ?, due = ?, early = ? WHERE id = ?", (*fresh, tagged, size, due, early, head.id)
            )
        if tags is not None:
            if head.tagged & TAGGED:
                self._rows("DELETE FROM tags WHERE entry = ?", (head.id,))
            if head.tagged & REMEMBERED:
                self.drop_memory(namespace, head.id)
            self._tag(head.id, tags)
        elif head.tagged & REMEMBERED:
            self.memory_retimed(head.id, fresh.expires)
        self._count(namespace, 0, size - head.size)

    def _tag(self, entry: int, tags: Sequence[str]) -> None:
        for tag in set(tags):
            self._rows("INSERT INTO tags (entry, tag) VALUES (?, ?)", (entry, tag))

    def retime(self, head: Head | Row, *, expires: int, ttl: int, version: int) -> None:
        self._recent.forget(head.id)
        if 0 < head.due <= expires:
            self._rows(RETIME + " WHERE id = ?", (expires, ttl, version, head.id))
        else:
            due, early = _filed(head, expires, 0)
            self._rows(RETIME + ", due = ?, early = ? WHERE id = ?", (expires, ttl, version, due, early, head.id))

        if head.tagged & REMEMBERED:
            self.memory_retimed(head.id, expires)

    def delete(self, namespace: int, rows: Sequence[Head | Row | Expired]) -> None:
        remembered = self.charge(namespace, [row.id for row in rows])
        for row in rows:
            self._recent.forget(row.id)
            if row.size > LARGE:
                self.drop_pieces(row.id)
            self._rows("DELETE FROM entries WHERE id = ?", (row.id,))
        highest = max((row.version for row in rows), default=0)
        if highest > self._floors[namespace]:
            self._rows("UPDATE namespaces SET floor = ? WHERE id = ?", (highest, namespace))
        self._count(namespace, -len(rows), -remembered - sum(row.size for row in rows), highest)

    def refile(self, now: int, limit: int, namespace: int | None = None) -> int:
        due = "SELECT id FROM entries WHERE early = 1 AND due <= ?1 AND ifnull(namespace = ?3, 1) ORDER BY due LIMIT ?2"
        self._rows(f"UPDATE entries SET due = expires, early = 0 WHERE id IN ({due})", (now, limit, namespace))
        if refiled := self._connection.changes():
            self._recent.clear()
        return refiled

    def expired(self, now: int, limit: int, namespace: int | None = None) -> list[Expired]:
        sql = FILED + " WHERE early = 0 AND due <= ?1 AND ifnull(namespace = ?3, 1) ORDER BY due LIMIT ?2"
        return [Expired._make(row) for row in self._rows(sql, (now, limit, namespace))]

    def soonest(self, namespace: int, now: int, limit: int) -> list[Expired]:
        sql = FILED + " WHERE early = 0 AND due > ? AND namespace = ? ORDER BY due LIMIT ?"
        for _ in range(MAX_REFILES):
            rows = [Expired._make(row) for row in self._rows(sql, (now, namespace, limit))]
            if not self.refile(rows[-1].expires if len(rows) == limit else NEVER, limit, namespace):
                break
        return rows

    def next_expiry(self) -> int | None:
        sql = "SELECT due FROM entries WHERE early = {} ORDER BY due LIMIT 1"
        return min((due for early in (0, 1) for (due,) in self._rows(sql.format(early))), default=None)

    # ── care ──

    @contextmanager
    def snapshot(self) -> Iterator[Reads]:
        if not self.off_thread:
            yield self
            return
        with translated():
            try:
                reader = self._readers.pop()  # no look before: another thread may take the last one
            except IndexError:
                reader = self._connect(apsw.SQLITE_OPEN_READONLY)
            reader.execute("BEGIN; SELECT 1 FROM meta LIMIT 1").fetchall()  # BEGIN alone waits for the first read
        try:
            yield SqliteReads(reader)
            reader.execute("ROLLBACK")
        except BaseException:  # it may be in any state
            reader.close()
            raise
        if len(self._readers) < MAX_IDLE_READERS:
            self._readers.append(reader)
        else:
            reader.close()

    def load_meta(self, name: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def save_meta(self, name: str, value: str) -> None:
        self._rows("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value))

    def sync(self) -> None:
        # A commit is in the log, or in the file, which every checkpoint syncs. The file must not be opened here:
        # closing it again would drop the locks that SQLite holds on it.
        for name in (self.path + "-wal", os.path.dirname(self.path)) if self.path else ():
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise of_system(error) from error

    def probe(self) -> None:
        if self._inode:
            self._check_file()
        self._rows("SELECT 1 FROM entries LIMIT 1")
        if not self.recover():
            raise StorageFull(FULL)
        if not self.writing:  # a page of the log: only a change can tell that there is room for one
            self._rows("INSERT OR REPLACE INTO meta VALUES ('probed', random())")

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._connection.close()
        self.let_go_of_room()


def _filed(head: Head | Row, expires: int, now: int) -> tuple[int, bool]:
    """Under which time to file a row that is to expire then, and whether that is early: where it stands, if it can.

    What moves a row in the index writes two more pages, so a row moves only when it has to: once it is due.
    """
    due = head.due or head.expires
    return (due, True) if now < due < expires else (expires, False)


def _pragmas(connection: apsw.Connection, **pragmas: str | int) -> None:
    for name, value in pragmas.items():
        connection.execute(f"PRAGMA {name} = {value}").fetchall()
