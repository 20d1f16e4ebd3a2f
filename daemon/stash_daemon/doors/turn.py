"""The turn: everything the loop does between two looks at the network shares one transaction (law 6).

The first request that writes opens it; the loop commits it as soon as it has read whatever had arrived. From the
opening on every reply is held back, those of reads too: they may have seen what is not committed yet. After the
commit the replies leave, one write per connection. When the storage fails, all of them become that error.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from stash_protocol.errors import Internal, StashError

if TYPE_CHECKING:
    from stash_daemon.doors.call import Call
    from stash_daemon.doors.connection import Connection
    from stash_daemon.engine import Engine, Reply

INTERNAL_MESSAGE = "something in stash went wrong; its log says what"


class Held(NamedTuple):
    """An answer that waits for the commit."""

    call: Call
    reply: Reply | None
    error: StashError | None


class Turn:
    """The one turn of a daemon, opened and ended over and over.

    Attributes:
        open: whether a transaction is.
        paused: none is to begin until `resume`. One that does all the same is as good as any, but may keep the loop
            waiting for the disk.
        committed: called after each commit.
    """

    def __init__(self, engine: Engine, loop: AbstractEventLoop) -> None:
        self.open = self.paused = False
        self.committed: Callable[[], None] = lambda: None
        self._engine = engine
        self._loop = loop
        self._held: list[Held] = []
        self._touched: set[Connection] = set()
        self._then: list[Callable[[StashError | None], None]] = []
        self._waiting: list[Callable[[], None]] = []

    def begin(self) -> None:
        """Open the turn, unless it is open.

        Raises:
            Busy, StorageFull, StorageDamaged: there can be no transaction now.
        """
        if not self.open:
            self._engine.begin()
            self.open = True
            self._loop.call_soon(self.commit)

    def hold(self, call: Call, reply: Reply | None, error: StashError | None) -> None:
        """Answer after the commit."""
        self._held.append(Held(call, reply, error))

    def flush_later(self, connection: Connection) -> None:
        """The connection has something to send when the turn ends."""
        self._touched.add(connection)

    def then(self, callback: Callable[[StashError | None], None]) -> None:
        """Call back after the turn, with what it failed with, or None."""
        self._then.append(callback)

    def commit(self) -> StashError | None:
        """End the turn, if it is open; what it failed with."""
        if not self.open:
            return None
        error: StashError | None = None
        try:
            self._engine.commit()
        except StashError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001  (a defect must not leave every client of this turn waiting)
            error = self.defect(failure)
        self._end(error)
        return error

    def fail(self, error: StashError) -> None:
        """Undo the turn; everyone in it is answered with the error."""
        if self.open:
            self._end(error)

    def broke(self, defect: Exception) -> Internal:
        """A request hit a defect: undo the turn it may have half written, and log it. The error to answer with."""
        error = self.defect(defect)
        self.fail(error)
        return error

    def pause(self) -> None:
        """End the turn, and let writes wait: reads go on."""
        self.commit()
        self.paused = True

    def resume(self) -> None:
        """Go on with all that waits, in one turn."""
        self.paused = False
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()

    def when_resumed(self, callback: Callable[[], None]) -> None:
        """Call back once turns may begin again."""
        self._waiting.append(callback)

    def alone(self, work: Callable[[], bool]) -> bool:
        """Do work in a turn of its own, at once.

        Raises:
            StashError: it failed, and left nothing.
        """
        self.commit()
        self._engine.begin()
        self.open = True
        try:
            result = work()
        except StashError as error:
            self.fail(error)
            raise
        except Exception as defect:
            raise self.broke(defect) from defect
        failure = self.commit()
        if failure is not None:
            raise failure
        return result

    def defect(self, defect: BaseException) -> Internal:
        """Log a defect of stash; the error to answer with."""
        self._engine.observer.log("ERROR", "defect", exc_info=defect)
        return Internal(INTERNAL_MESSAGE)

    def _end(self, error: StashError | None) -> None:
        if error is not None:
            self._roll_back()
        self.open = False
        held, self._held = self._held, []
        then, self._then = self._then, []
        touched, self._touched = self._touched, set()
        for call, reply, refusal in held:
            call.connection.deliver(call, reply, error or refusal)
            touched.add(call.connection)
        for connection in touched:
            connection.flush()
        for callback in then:
            callback(error)
        if error is None:
            self.committed()

    def _roll_back(self) -> None:
        try:
            self._engine.rollback()
        except StashError as failure:
            self._engine.observer.log("ERROR", "rollback_failed", error=str(failure))
