"""What the live memories of a namespace are, counted."""

from __future__ import annotations

from typing import Any

from stash_daemon.memory_store import KINDS, Census

MESSAGE = KINDS.index("message")
DAY = 86_400_000  # milliseconds
ALIVE = "m.namespace = ? AND m.expires > ?"


class CensusReads:
    """Counts over one connection."""

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        raise NotImplementedError

    def census(self, namespace: int, now: int, *, since: int, top: int) -> Census:
        live = (namespace, now)
        return Census(
            self._rows(
                "SELECT kind, role, state, archived IS NOT NULL, count(*) FROM memories m"
                f" WHERE {ALIVE} GROUP BY 1, 2, 3, 4",
                live,
            ),
            self._rows(
                f"SELECT at / {DAY} * {DAY}, count(*) FROM memories m WHERE {ALIVE} AND at >= ? AND at <= ?"
                " GROUP BY 1 ORDER BY 1",
                (*live, since, now),
            ),
            self._rows(
                f'SELECT "group", count(*), max(at) FROM memories m WHERE {ALIVE} AND kind = {MESSAGE}'
                ' AND "group" IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 3 DESC, 1 LIMIT ?',
                (*live, top),
            ),
            self._rows(
                "SELECT name, dimensions, count(*) FROM memories m JOIN vectors v ON v.entry = m.entry"
                f" JOIN models ON models.id = v.model WHERE {ALIVE} GROUP BY 1, 2 ORDER BY 3 DESC, 1",
                live,
            ),
        )
