"""The reads of the SQLite store, over any one connection to it."""

from __future__ import annotations

from typing import Any

import apsw

from stash_daemon.store import Head, Row, Usage
from stash_daemon.stores.failures import translate

HEAD = "id, key, type, created, updated, expires, ttl, version, size, tagged"
FIND = f"SELECT {HEAD}, value FROM entries WHERE namespace = ? AND key = ? AND expires > ?"
PEEK = f"SELECT {HEAD} FROM entries WHERE namespace = ? AND key = ?"
PAGE = " FROM entries WHERE namespace = ? AND key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?"
COUNTED = "count(*), ifnull(sum(size), 0) FROM entries INDEXED BY entries_by_expiry"
LAST = "\U0010ffff"  # the greatest character: no key sorts behind 513 of them (2,048 bytes)


class SqliteReads:
    """Reads over one connection, which one thread uses at a time."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._execute = connection.cursor().execute  # one cursor for all: each execute ends the one before

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        """All rows, so that no statement stays open and pins the log."""
        try:
            return self._execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise translate(error, self._connection.system_errno) from error

    def namespace(self, name: str) -> int:
        rows = self._rows("SELECT id FROM namespaces WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else 0

    def head(self, namespace: int, key: str) -> Head | None:
        rows = self._rows(PEEK, (namespace, key))
        return Head._make(rows[0]) if rows else None

    def find(self, namespace: int, key: str, now: int) -> Row | None:
        rows = self._rows(FIND, (namespace, key, now))
        return Row._make(rows[0]) if rows else None

    def page(
        self, namespace: int, prefix: str, after: str, limit: int, *, now: int, tag: str | None = None
    ) -> tuple[list[Head], str | None]:
        rows = self._rows(f"SELECT {HEAD}" + PAGE, (namespace, after, prefix, _behind(prefix), limit))
        heads = [head for row in rows if (head := Head._make(row)).expires > now]
        if tag is not None:
            heads = [head for head in heads if head.tagged and tag in self.tags(head.id)]
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
                found.append((row, self.tags(row.id) if row.tagged else []))
                total += row.size
        return found, cursor

    def usage(self, namespace: int, now: int) -> Usage:
        return Usage(*self._rows(f"SELECT {COUNTED} WHERE expires > ? AND namespace = ?", (now, namespace))[0])

    def total(self, now: int) -> tuple[Usage, int]:
        sums = self._rows(f"SELECT {COUNTED} WHERE expires > ? GROUP BY namespace", (now,))
        return Usage(sum(entries for entries, _ in sums), sum(size for _, size in sums)), len(sums)

    def tags(self, entry: int) -> list[str]:
        """The tags of a row, sorted."""
        return [tag for (tag,) in self._rows("SELECT tag FROM tags WHERE entry = ? ORDER BY tag", (entry,))]


def _behind(prefix: str) -> str:
    """The least string that sorts behind every key with the prefix; SQLite compares UTF-8, which is by code point."""
    stem = prefix.rstrip(LAST)
    if not stem:
        return LAST * 513
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are no characters
