"""Rows that were read lately. Until somebody changes one, reading it again asks nobody."""

from __future__ import annotations

from stash_daemon.store import Row
from stash_daemon.stores.reads import SqliteReads

MOST = 2_048  # rows; with `LARGEST`, at most 5 MiB
LARGEST = 2_048  # bytes of a value; of a larger one, the copy costs more than the search


class Recent:
    """The rows the writing connection has read, as they stand.

    Whoever reads one still has to look at its time; whoever changes one has to say so here.
    """

    __slots__ = ("_keys", "_rows")

    def __init__(self) -> None:
        self._rows: dict[tuple[int, str], Row] = {}
        self._keys: dict[int, tuple[int, str]] = {}  # by the row's id

    def get(self, namespace: int, key: str) -> Row | None:
        """The row, if it is here."""
        return self._rows.get((namespace, key))

    def keep(self, namespace: int, row: Row) -> None:
        """It was read just now."""
        if row.size > LARGEST:
            return
        if len(self._rows) >= MOST:
            self.forget(next(iter(self._keys)))
        place = namespace, row.key
        self._rows[place] = row
        self._keys[row.id] = place

    def forget(self, number: int) -> None:
        """The row with this id has changed, or is about to."""
        place = self._keys.pop(number, None)
        if place is not None:
            del self._rows[place]

    def clear(self) -> None:
        """Nobody knows which rows have changed."""
        self._rows.clear()
        self._keys.clear()


class RecentReads(SqliteReads):
    """Reads of the connection that alone writes, and so knows what has changed."""

    def __init__(self) -> None:
        self._recent = Recent()

    def find(self, namespace: int, key: str, now: int) -> Row | None:
        row = self._recent.get(namespace, key)
        if row is None:
            row = super().find(namespace, key, now)
            if row is not None:
                self._recent.keep(namespace, row)
        elif row.expires <= now:
            return None
        return row
