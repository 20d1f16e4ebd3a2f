"""Writes that take more than one turn, or have to wait for one; everyone else is served meanwhile.

A large value is written piece by piece, one a turn.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

from stash_daemon.doors.call import Call
from stash_daemon.doors.errands import Errand
from stash_daemon.engine import Value
from stash_protocol.errors import StashError
from stash_protocol.reader import Payload

if TYPE_CHECKING:
    from stash_daemon.doors.socket import SocketDoor

LOG_PATIENCE = 0.005  # seconds until it is asked again whether the log has become shorter


class Writing(Errand):
    """A write that is not carried out at once; what its connection asks for next waits for it."""

    def __init__(self, door: SocketDoor, call: Call) -> None:
        super().__init__(door, call, call.seconds_left(perf_counter_ns()))
        self._held = call.payload_bytes
        door.memory.held += self._held  # admitted already: the door's own reservation ends with the dispatch
        call.connection.flow.engage()

    def let_go(self) -> None:
        self.door.memory.release(self._held)
        self.call.connection.flow.disengage()

    def carry_out(self, payload: Value) -> None:
        """Do it, in the turn, and answer."""
        caller = self.call.connection.caller
        if self.done or caller is None:
            return
        try:
            self.door.engine.admit(self.call.request, self._held, caller)  # its API key may have been revoked since
            reply = self.door.perform(self.call, payload, caller)
        except StashError as error:
            self.abandon()
            self.door.refuse(self.call, error)
            if not self.door.turn.open:
                self.call.connection.flush()
        else:
            self.finish(reply)


class Delayed(Writing):
    """A write that came while no turn may begin."""

    def __init__(self, door: SocketDoor, call: Call, payload: Payload) -> None:
        super().__init__(door, call)
        door.turn.when_resumed(lambda: self.carry_out(payload))


class Storing(Writing):
    """A set or an update with a large value."""

    def __init__(self, door: SocketDoor, call: Call, payload: Payload) -> None:
        super().__init__(door, call)
        self._draft = door.engine.draft(payload)
        door.loop.call_soon(self._step)

    def let_go(self) -> None:
        self._draft.drop()
        super().let_go()

    def _step(self) -> None:
        caller = self.call.connection.caller
        if self.done or caller is None:
            return
        if self.door.turn.paused:
            self.door.turn.when_resumed(self._step)
            return
        if self.door.engine.log_is_long:
            self.door.loop.call_later(LOG_PATIENCE, self._step)
            return
        try:
            self.door.engine.admit(self.call.request, self._held, caller)  # its API key may have been revoked since
            self.door.in_turn(self._draft.write)
        except StashError as error:
            self.finish(None, error)
        else:
            self.door.turn.then(self._went)

    def _went(self, error: StashError | None) -> None:
        if error is not None:
            self.finish(None, error)
        else:
            self.door.loop.call_soon(self._store if self._draft.complete else self._step)

    def _store(self) -> None:
        if not self.done:
            self.carry_out(self._draft.value())
