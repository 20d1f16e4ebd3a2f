"""Memories by how far an embedder is with them, and how they get back into its queue."""

from __future__ import annotations

from typing import Any

from stash_daemon.memory_store import COMPLETED, PENDING, SKIPPED, Embeddable, Place, text_of
from stash_daemon.stores.pieces import START


class EmbeddingReads:
    """Reads over one connection."""

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        raise NotImplementedError

    def embedding(self, namespace: int, now: int) -> list[tuple[int, bool, str | None, int | None, int]]:
        sql = (
            f"SELECT m.state, m.state = {SKIPPED} AND m.embed AND m.words > 0, models.name, models.dimensions, count(*)"
            " FROM memories m LEFT JOIN vectors v ON v.entry = m.entry LEFT JOIN models ON models.id = v.model"
            " WHERE m.namespace = ? AND m.expires > ? GROUP BY 1, 2, 3, 4"
        )
        return [(state, bool(wanted), *rest) for state, wanted, *rest in self._rows(sql, (namespace, now))]

    def embeddable(self, namespace: int, after: Place, limit: int) -> list[Embeddable]:
        sql = (
            "SELECT m.expires, m.bytes, m.entry, m.state, models.name,"
            f" CASE WHEN m.state = {SKIPPED} AND m.embed THEN CASE WHEN m.words > 0 THEN 'words' ELSE"
            f" (SELECT ifnull(m.text, {START}) FROM entries e WHERE e.id = m.entry) END END"
            " FROM memories m INDEXED BY memories_by_expiry"
            " LEFT JOIN vectors v ON v.entry = m.entry LEFT JOIN models ON models.id = v.model"
            " WHERE m.namespace = ? AND (m.expires, m.bytes, m.entry) > (?, ?, ?)"
            " ORDER BY m.expires, m.bytes, m.entry LIMIT ?"
        )
        return [
            Embeddable((expires, size, entry), state, name, _says_something(text))
            for expires, size, entry, state, name, text in self._rows(sql, (namespace, *after, limit))
        ]


class EmbeddingWrites(EmbeddingReads):
    """Writes within a turn."""

    def _touch(self, namespace: int, entry: int) -> None:
        raise NotImplementedError

    def _count(self, namespace: int, entries: int, size: int, floor: int = 0) -> None:
        raise NotImplementedError

    def requeue(self, namespace: int, entry: int, state: int, now: int) -> bool:
        changed = self._rows(
            f"UPDATE memories SET state = {PENDING}, attempts = 0, due = 0"
            " WHERE entry = ? AND namespace = ? AND state = ? AND expires > ? RETURNING 1",
            (entry, namespace, state, now),
        )
        if not changed:
            return False
        if state == COMPLETED:
            for (size,) in self._rows("DELETE FROM vectors WHERE entry = ? RETURNING length(vector)", (entry,)):
                self._rows("UPDATE memories SET bytes = bytes - ? WHERE entry = ?", (size, entry))
                self._count(namespace, 0, -size)
        self._touch(namespace, entry)
        return True


def _says_something(text: str | bytes | None) -> bool:
    """Whether there is anything to embed; ``None``: nothing is wanted."""
    if text is None:
        return False
    return bool((text if isinstance(text, str) else text_of(text)).strip())
