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

from stash_daemon.store import Expired, Fresh, Head, Reads, Row, Usage
from stash_daemon.stores import schema
from stash_daemon.stores.failures import translated
from stash_daemon.stores.reads import COUNTED, SqliteReads
from stash_protocol.errors import StashError, StorageDamaged

VFS = "unix-excl"  # no other process may open the file (law 1), so a read needs no locks: it takes 0.6 of the time
BUSY_TIMEOUT = 5_000  # milliseconds a writer waits for a foreign process that holds the file
CACHE_SIZE = 16  # MiB of pages; keeps the inner nodes of a million entries at hand and an idle daemon small
VACUUM_STEP = 16  # pages given back in one slice: about a tenth of a millisecond
VACUUM_SLACK = 64  # free pages that may stay: half a mebibyte that the next writes will use again
MAX_IDLE_READERS = 2  # connections kept open for the next snapshot


class SqliteStore(SqliteReads):
    """The rows of all namespaces in one SQLite database.

    Args:
        path: of the file, which is made when there is none; empty: in memory.
        durability: ``"full"`` syncs every commit, ``"normal"`` every checkpoint.

    Raises:
        StorageDamaged: the file is not a whole database of ours.
        Busy: another process holds it.
    """

    def __init__(self, path: str = "", durability: Literal["normal", "full", "memory"] = "normal") -> None:
        self.path = path
        self.version = apsw.sqlite_lib_version()
        self.log_pages = 0
        self.off_thread = bool(path)
        self._readers: list[apsw.Connection] = []
        self._names: dict[str, int] = {}
        self._floors: dict[int, int] = {}
        self._usage: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        self._changes: list[tuple[int, int, int, int]] = []  # of the turn: namespace, entries, bytes, floor before
        self._made: list[str] = []  # namespaces the turn made
        with translated():
            if path and not Path(path).exists():
                schema.create(path)
            self._inode = Path(path).stat().st_ino if path else 0
            super().__init__(self._open(durability))
        self._load()

    def _open(self, durability: str) -> apsw.Connection:
        connection = self._connect(apsw.SQLITE_OPEN_READWRITE)
        if self.path:
            schema.verify(connection, self.path)
            _pragmas(connection, journal_mode="WAL", synchronous="FULL" if durability == "full" else "NORMAL")
            _pragmas(connection, wal_autocheckpoint=0)
            connection.set_wal_hook(self._count_log)
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

    def _count_log(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.log_pages = pages
        return apsw.SQLITE_OK

    def _load(self) -> None:
        for number, name, floor in self._rows("SELECT id, name, floor FROM namespaces"):
            self._names[name] = number
            self._floors[number] = floor
        counted = "SELECT namespace, count(*), sum(size) FROM entries INDEXED BY entries_by_expiry GROUP BY namespace"
        for number, entries, size in self._rows(counted):
            self._usage[number] = [entries, size]

    # ── turns ──

    @property
    def writing(self) -> bool:
        return self._connection.in_transaction

    def begin(self) -> None:
        if self._inode:
            self._check_file()
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
        self._rows("COMMIT")
        self._changes.clear()
        self._made.clear()

    def rollback(self) -> None:
        if self._connection.in_transaction:  # a full disk may have rolled back already
            with suppress(StashError):
                self._rows("ROLLBACK")
        self._forget_changes(0, 0)

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
            raise
        self._rows("RELEASE operation")

    def _count(self, namespace: int, entries: int, size: int, floor: int = 0) -> None:
        """Keep the sums in step with the rows, and what is needed to undo that."""
        counts = self._usage[namespace]
        counts[0] += entries
        counts[1] += size
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
        return Usage(*self._rows(f"SELECT {COUNTED} WHERE expires <= ? AND namespace = ?", (now, namespace))[0])

    def usage(self, namespace: int, now: int) -> Usage:
        over, (entries, size) = self.overdue(namespace, now), self._usage[namespace]
        return Usage(entries - over.entries, size - over.bytes)

    def total(self, now: int) -> tuple[Usage, int]:
        sums = {namespace: (entries, size) for namespace, (entries, size) in self._usage.items() if entries}
        over = self._rows(f"SELECT namespace, {COUNTED} WHERE expires <= ? GROUP BY namespace", (now,))
        for namespace, entries, size in over:
            sums[namespace] = (sums[namespace][0] - entries, sums[namespace][1] - size)
        alive = [Usage(entries, size) for entries, size in sums.values() if entries]
        return Usage(sum(usage.entries for usage in alive), sum(usage.bytes for usage in alive)), len(alive)

    def floor(self, namespace: int) -> int:
        return self._floors[namespace]

    # ── entries ──

    def insert(self, namespace: int, key: str, fresh: Fresh, tags: Sequence[str] = ()) -> int:
        self._rows(
            "INSERT INTO entries (namespace, key, type, created, updated, expires, ttl, version, value, size, tagged)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (namespace, key, *fresh, len(fresh.value), bool(tags)),
        )
        number = self._connection.last_insert_rowid()
        self._tag(number, tags)
        self._count(namespace, 1, len(fresh.value))
        return number

    def replace(self, namespace: int, head: Head | Row, fresh: Fresh, tags: Sequence[str] | None = None) -> None:
        tagged = head.tagged if tags is None else bool(tags)
        self._rows(
            "UPDATE entries SET type = ?, created = ?, updated = ?, expires = ?, ttl = ?, version = ?, value = ?,"
            " size = ?, tagged = ? WHERE id = ?",
            (*fresh, len(fresh.value), tagged, head.id),
        )
        if tags is not None:
            if head.tagged:
                self._rows("DELETE FROM tags WHERE entry = ?", (head.id,))
            self._tag(head.id, tags)
        self._count(namespace, 0, len(fresh.value) - head.size)

    def _tag(self, entry: int, tags: Sequence[str]) -> None:
        for tag in set(tags):
            self._rows("INSERT INTO tags (entry, tag) VALUES (?, ?)", (entry, tag))

    def retime(self, head: Head | Row, *, expires: int, ttl: int, version: int) -> None:
        self._rows(
            "UPDATE entries SET expires = ?, ttl = ?, version = ? WHERE id = ?", (expires, ttl, version, head.id)
        )

    def delete(self, namespace: int, rows: Sequence[Head | Row | Expired]) -> None:
        for row in rows:
            self._rows("DELETE FROM entries WHERE id = ?", (row.id,))
        highest = max((row.version for row in rows), default=0)
        if highest > self._floors[namespace]:
            self._rows("UPDATE namespaces SET floor = ? WHERE id = ?", (highest, namespace))
        self._count(namespace, -len(rows), -sum(row.size for row in rows), highest)

    def expired(self, now: int, limit: int, namespace: int | None = None) -> list[Expired]:
        sql = "SELECT id, namespace, key, expires, version, size FROM entries WHERE expires <= ?"
        if namespace is None:
            return [Expired(*row) for row in self._rows(sql + " ORDER BY expires LIMIT ?", (now, limit))]
        sql += " AND namespace = ? ORDER BY expires LIMIT ?"
        return [Expired(*row) for row in self._rows(sql, (now, namespace, limit))]

    def soonest(self, namespace: int, now: int, limit: int) -> list[Expired]:
        sql = (
            "SELECT id, namespace, key, expires, version, size FROM entries INDEXED BY entries_by_expiry"
            " WHERE expires > ? AND namespace = ? ORDER BY expires LIMIT ?"
        )
        return [Expired(*row) for row in self._rows(sql, (now, namespace, limit))]

    def next_expiry(self) -> int | None:
        rows = self._rows("SELECT expires FROM entries INDEXED BY entries_by_expiry ORDER BY expires LIMIT 1")
        return rows[0][0] if rows else None

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
            reader.execute("BEGIN")
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

    def tidy(self) -> bool:
        free = int(self._rows("PRAGMA freelist_count")[0][0])
        if free <= VACUUM_SLACK:
            return False
        self._rows(f"PRAGMA incremental_vacuum({min(VACUUM_STEP, free - VACUUM_SLACK)})")
        return free - VACUUM_STEP > VACUUM_SLACK

    def checkpoint(self, *, truncate: bool = False) -> int:
        if not self.path:
            return 0
        moved = 0
        with translated(), suppress(apsw.BusyError):
            connection = self._connect(apsw.SQLITE_OPEN_READWRITE)
            try:
                connection.execute("SELECT 1 FROM meta").fetchall()  # else it does not know yet that there is a log
                moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)[1]
                if truncate:
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                    self.log_pages = 0
            finally:
                connection.close()
        return moved

    def finish_checkpoint(self) -> None:
        with translated(), suppress(apsw.BusyError):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def probe(self) -> None:
        if self._inode:
            self._check_file()
        self._rows("SELECT 1 FROM entries LIMIT 1")
        if not self.writing:
            self.save_meta("probed", "")  # a page of the log: only a write can tell that there is room for one

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._connection.close()


def _pragmas(connection: apsw.Connection, **pragmas: str | int) -> None:
    for name, value in pragmas.items():
        connection.execute(f"PRAGMA {name} = {value}").fetchall()
