"""Large values lie in pieces, so that neither writing nor reading one keeps anybody else waiting.

Until an entry has taken them, and once it has let go of them, the pieces are litter: a row in `litter` says so from the
first piece on, so that a crash leaves nothing behind that is not swept. What is being written or read is pinned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import apsw

from stash_daemon.store import LARGE, PIECE, Large, Value
from stash_protocol.reader import Payload

IN_PIECES = 4  # the bit of `Head.tagged` that says that the value lies in pieces; `value` then holds their number
SWEPT_AT_ONCE = 2  # pieces: 2 MiB, some 5 ms

NUMBER = "CAST(CAST(e.value AS TEXT) AS INTEGER)"
START = (
    f"CASE WHEN e.tagged & {IN_PIECES} THEN (SELECT data FROM pieces p WHERE p.value = {NUMBER} AND place = 0)"
    " ELSE e.value END"
)
"""The value of an entry ``e``, or the first piece of it."""


class PieceReads:
    """Reads of large values over one connection."""

    _connection: apsw.Connection

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        raise NotImplementedError

    def large(self, number: bytes, size: int) -> Large:
        """The value whose pieces have that number, as a row keeps it."""
        return Large(int(number), size, partial(self._pieces, int(number), size))

    def _pieces(self, number: int, size: int) -> Iterator[bytes]:
        for place in range(-(-size // PIECE)):
            yield self._rows("SELECT data FROM pieces WHERE value = ? AND place = ?", (number, place))[0][0]


class PieceWrites(PieceReads):
    """Writes of large values, within a turn of the store they are part of."""

    _grown: int  # see `SqliteSpace`

    def __init__(self) -> None:
        self._pinned: Counter[int] = Counter()
        self._litter: set[int] = set()
        self.recall_litter()

    def recall_litter(self) -> None:
        """Know again of what may have been swept in a turn that was undone."""
        self._litter.update(number for (number,) in self._rows("SELECT value FROM litter"))

    def draft(self) -> int:
        """The number of a value that is to be written; pinned, and litter until an entry takes it."""
        self._rows("INSERT INTO litter DEFAULT VALUES")
        number = self._connection.last_insert_rowid()
        self._litter.add(number)
        self._pinned[number] += 1
        return number

    def add_piece(self, number: int, place: int, data: Payload | memoryview) -> None:
        """The piece at a place, counted from 0; all but the last have `PIECE` bytes."""
        self._rows("INSERT INTO pieces (value, place, data) VALUES (?, ?, ?)", (number, place, data))
        self._grown += len(data)

    def drafted(self, number: int, size: int) -> Large:
        """A value whose pieces are all there."""
        return self.large(b"%d" % number, size)

    def pin(self, value: Large) -> None:
        """Keep its pieces, whatever becomes of its entry."""
        self._pinned[value.number] += 1

    def unpin(self, number: int) -> None:
        """Let go of it."""
        self._pinned[number] -= 1
        if not self._pinned[number]:
            del self._pinned[number]

    @property
    def littered(self) -> bool:
        """Whether there are pieces nobody needs."""
        return any(number not in self._pinned for number in self._litter)

    def collect(self) -> bool:
        """Within a turn: delete a few pieces nobody needs; True when there may be more."""
        number = next((number for number in self._litter if number not in self._pinned), None)
        if number is None:
            return False
        places = "SELECT place FROM pieces WHERE value = ?1 ORDER BY place DESC LIMIT ?2"
        if self._rows("SELECT 1 FROM litter WHERE value = ?", (number,)):  # else an entry has it, or it was undone
            self._rows(f"DELETE FROM pieces WHERE value = ?1 AND place IN ({places})", (number, SWEPT_AT_ONCE))
            if self._connection.changes() == SWEPT_AT_ONCE:
                return True
            self._rows("DELETE FROM litter WHERE value = ?", (number,))
        self._litter.discard(number)
        return self.littered

    def column(self, value: Value) -> Payload:
        """What the row of an entry keeps of its value; pieces it takes are litter no more."""
        if len(value) <= LARGE and not isinstance(value, Large):
            return value
        number = value.number if isinstance(value, Large) else self._in_pieces(value)
        self._rows("DELETE FROM litter WHERE value = ?", (number,))
        return b"%d" % number

    def _in_pieces(self, value: Payload) -> int:
        number = self.draft()
        self.unpin(number)
        for place, start in enumerate(range(0, len(value), PIECE)):
            self.add_piece(number, place, memoryview(value)[start : start + PIECE])
        return number

    def drop_pieces(self, entry: int) -> None:
        """An entry lets go of its pieces, if it has any: a large value of an older schema has none."""
        sql = f"INSERT INTO litter SELECT {NUMBER} FROM entries e WHERE id = ? AND tagged & {IN_PIECES} RETURNING value"
        self._litter.update(number for (number,) in self._rows(sql, (entry,)))
