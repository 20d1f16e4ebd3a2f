"""The reads of the SQLite store, over any one connection to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import apsw

from stash_daemon.memory_store import TAGGED
from stash_daemon.store import Head, Row, Usage
from stash_daemon.stores.conditions import behind
from stash_daemon.stores.embedding import EmbeddingReads
from stash_daemon.stores.failures import translate
from stash_daemon.stores.memories import MemoryReads
from stash_daemon.stores.pieces import IN_PIECES, PieceReads
from stash_protocol.errors import StorageFull

HEAD = "id, key, type, created, updated, expires, ttl, version, size, tagged, due * early"
FIND = f"SELECT {HEAD}, value FROM entries WHERE namespace = ? AND key = ? AND expires > ?"
PEEK = f"SELECT {HEAD} FROM entries WHERE namespace = ? AND key = ?"
PAGE = " FROM entries WHERE namespace = ? AND key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?"
PAGE_BACK = " FROM entries WHERE namespace = ? AND key < ? AND key >= ? AND key < ? ORDER BY key DESC LIMIT ?"
COUNTED = "count(*), ifnull(sum(size), 0) FROM entries INDEXED BY entries_by_due"
ALIVE = "(due > ?1 OR early AND expires > ?1)"  # only a row that is filed early is itself looked at
OVER = "early IN (0, 1) AND due <= ?1 AND (NOT early OR expires <= ?1)"


# As `_make`, without its look at the length: the columns of both are counted here.
_head: Callable[[Any], Head] = partial(tuple.__new__, Head)
_row: Callable[[Any], Row] = partial(tuple.__new__, Row)


class SqliteReads(MemoryReads, EmbeddingReads, PieceReads):
    """Reads over one connection, which one thread uses at a time."""

    _ran_out = False  # the last statement that failed did so for lack of room

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._execute = connection.cursor().execute  # one cursor for all: each execute ends the one before

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        """All rows, so that no statement stays open and pins the log."""
        try:
            return self._execute(sql, bindings).fetchall()
        except apsw.Error as error:
            failure = translate(error, self._connection.system_errno)
            self._ran_out = isinstance(failure, StorageFull)
            raise failure from error

    def namespace(self, name: str) -> int:
        rows = self._rows("SELECT id FROM namespaces WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else 0

    def head(self, namespace: int, key: str) -> Head | None:
        rows = self._rows(PEEK, (namespace, key))
        return _head(rows[0]) if rows else None

    def find(self, namespace: int, key: str, now: int) -> Row | None:
        rows = self._rows(FIND, (namespace, key, now))
        if not rows:
            return None
        row = _row(rows[0])
        return row._replace(value=self.large(rows[0][-1], row.size)) if row.tagged & IN_PIECES else row

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
        end = behind(prefix)
        page, after = (PAGE_BACK, after or end) if reverse else (PAGE, after)
        rows = self._rows(f"SELECT {HEAD}" + page, (namespace, after, prefix, end, limit))
        heads = [head for row in rows if (head := Head._make(row)).expires > now]
        if tag is not None:
            heads = [head for head in heads if head.tagged & TAGGED and tag in self.tags(head.id)]
        return heads, rows[-1][1] if len(rows) == limit else None

    def values(
        self, namespace: int, prefix: str, after: str, limit: int, *, now: int, max_bytes: int
    ) -> tuple[list[tuple[Row, list[str]]], str | None]:
        heads, cursor = self.page(namespace, prefix, after, limit, now=now)
        found: list[tuple[Row, list[str]]] = []
        total = 0
        for head in heads:
            if found and total + head.size > max_bytes:
                return found, found[-1][0].key
            row = self.find(namespace, head.key, now)
            if row is not None:
                found.append((row, self.tags(row.id) if row.tagged & TAGGED else []))
                total += row.size
        return found, cursor

    def usage(self, namespace: int, now: int) -> Usage:
        return Usage(*self._rows(f"SELECT {COUNTED} WHERE {ALIVE} AND namespace = ?2", (now, namespace))[0])

    def total(self, now: int) -> tuple[Usage, int]:
        sums = self._rows(f"SELECT {COUNTED} WHERE {ALIVE} GROUP BY namespace", (now,))
        return Usage(sum(entries for entries, _ in sums), sum(size for _, size in sums)), len(sums)
