"""Room: in the file, in its log, and on the disk they lie on."""

from __future__ import annotations

import os
from contextlib import suppress

import apsw

from stash_daemon.store import FULL
from stash_daemon.stores import schema
from stash_daemon.stores.failures import translated
from stash_daemon.stores.reads import SqliteReads
from stash_daemon.stores.reserve import Reserve, allocate
from stash_protocol.errors import StashError, StorageFull

VACUUM_STEP = 16  # pages given back in one slice: about a tenth of a millisecond
VACUUM_SLACK = 64  # free pages that may stay: half a mebibyte that the next writes will use again
GROWTH = 256 << 10  # bytes of values the log may be ahead of the file's size: less than is kept back, see `reserve`


class SqliteSpace(SqliteReads):
    """What a store does so that there is room.

    Args:
        reserve: the file that keeps room for deleting; empty: none does.
    """

    path: str

    def __init__(self, reserve: str) -> None:
        self.log_pages = 0
        self.full = False
        self._grown = GROWTH  # bytes since the file was last made larger; it may be too small from the last run
        self._reserve = Reserve(reserve) if reserve else None
        self._file: int | None = None  # the database's, for `allocate` alone

    def _connect(self, mode: int) -> apsw.Connection:
        raise NotImplementedError

    def keep_room(self, connection: apsw.Connection) -> None:
        """Prepare the connection that writes."""
        connection.set_wal_hook(self._count_log)
        self._file = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)

    def let_go_of_room(self) -> None:
        """The store is closed. Only now: to close any descriptor of a file gives up the process's locks on it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._reserve is not None:
            self._reserve.remove()

    def _count_log(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.log_pages = pages
        return apsw.SQLITE_OK

    # ── on the disk ──

    def _allocate(self) -> None:
        """Have the file on the disk as large as the log will make it, so that a full disk can still take in the log."""
        self._grown = 0
        if self._file is not None:
            pages = int(self._rows("PRAGMA page_count")[0][0])
            try:
                allocate(self._file, pages * schema.PAGE_SIZE + GROWTH)
            except OSError as error:
                self._ran_out = True
                raise StorageFull(FULL) from error

    def _relieve(self) -> None:
        """The disk is full: make what room there is for deletions."""
        assert self._reserve is not None
        self._reserve.spend()
        self.full = True
        self._rows("PRAGMA secure_delete = OFF")  # or to delete a value would take as much room as it has
        with suppress(StashError):
            self.finish_checkpoint()

    def recover(self) -> bool:
        if self.full and self._reserve is not None and self._reserve.refill():
            self._rows("PRAGMA secure_delete = ON")
            self.full = False
        return not self.full

    # ── in the file and its log ──

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

    def renew_log(self) -> int:
        length = self.log_pages

        def written(_connection: apsw.Connection, _name: str, pages: int) -> int:
            nonlocal length
            length = pages
            return apsw.SQLITE_OK

        with translated(), suppress(apsw.BusyError):
            connection = self._connect(apsw.SQLITE_OPEN_READWRITE)
            try:
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("SELECT 1 FROM meta").fetchall()  # as above
                pages, moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                if pages == moved:
                    connection.set_wal_hook(written)
                    connection.execute("INSERT OR REPLACE INTO meta VALUES ('renewed', random())")  # the same: no write
            finally:
                connection.close()
        return length

    def finish_checkpoint(self) -> None:
        with translated(), suppress(apsw.BusyError):
            pages, moved = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            if pages == moved:
                self.log_pages = 0
