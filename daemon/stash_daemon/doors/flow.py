"""Large values on their way out of a connection, piece by piece, as fast as the peer reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stash_daemon.engine import Large, Value
from stash_protocol.errors import StashError

if TYPE_CHECKING:
    from stash_daemon.doors.connection import Connection
    from stash_daemon.doors.socket import SocketDoor


class Flow:
    """What one connection has on its way, in or out, that what comes after it has to wait for.

    Attributes:
        engaged: how many large values.
        waiting: of those answered, how many have not begun to be sent.
        open: one is being sent.
    """

    __slots__ = ("_connection", "_door", "_pieces", "_pinned", "engaged", "open", "waiting")

    def __init__(self, connection: Connection, door: SocketDoor) -> None:
        self.engaged = self.waiting = 0
        self.open = False
        self._connection = connection
        self._door = door
        self._pinned: list[Large] = []
        self._pieces: Iterator[bytes] = iter(())

    def engage(self) -> None:
        """One more is on its way."""
        self.engaged += 1
        self._connection.pause_reading()

    def disengage(self) -> None:
        """It has arrived."""
        self.engaged -= 1
        if not (self.engaged or self._connection.closing):
            self._door.loop.call_soon(self._connection.take_up)

    def pin(self, value: Large) -> None:
        """One is to be sent: its pieces stay until then, whatever becomes of the entry."""
        if not self._connection.closing:
            self._door.engine.pin(value)
            self._pinned.append(value)
            self.engage()

    def unpin(self, value: Large) -> None:
        """It is not to be sent after all: its turn failed."""
        if value in self._pinned:
            self._pinned.remove(value)
            self._door.let_go(value)
            self.disengage()

    def begin(self, out: list[Value]) -> None:
        """Send what comes before the first large value, then its pieces; what comes after it stays in ``out``."""
        if self.open or self._connection.closing:
            return
        place = next(place for place, part in enumerate(out) if isinstance(part, Large))
        value = out[place]
        assert isinstance(value, Large)
        self._connection.write(out[:place])
        del out[: place + 1]
        self.waiting -= 1
        self.open = True
        self._pieces = value.pieces()
        self.pump()

    def pump(self) -> None:
        """Send the next piece; others are served between two."""
        connection = self._connection
        if not self.open or connection.backlogged or connection.closing:
            return
        try:
            piece = next(self._pieces, None)
        except StashError as error:  # half of the value is on its way, so nothing else can be said
            self._door.engine.observer.log("ERROR", "value_unreadable", error=str(error))
            connection.drop()
            return
        if piece is not None:
            connection.write([piece])
            self._door.loop.call_soon(self.pump)
            return
        self.open = False
        self._door.let_go(self._pinned.pop(0))
        self.disengage()
        connection.flush()

    def stop(self) -> None:
        """The connection is gone."""
        self.open = False
        for value in self._pinned:
            self._door.let_go(value)
        self._pinned.clear()
