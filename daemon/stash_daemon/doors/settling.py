"""The errand of a caller who waits for the vector of a memory."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

from stash_daemon.doors.call import Call
from stash_daemon.doors.errands import Errand
from stash_daemon.engine.embedding import must_wait
from stash_protocol.errors import StashError, Timeout
from stash_protocol.operations import Embedded

if TYPE_CHECKING:
    from stash_daemon.doors.socket import SocketDoor

SETTLE_EVERY = 0.02  # seconds between two looks for a vector: the queue waits as long for more to embed at once


class Settling(Errand):
    """A wait for the vector of a memory: looked for now and then, because nobody is told when one is there."""

    endless = True

    def __init__(self, door: SocketDoor, call: Call, request: Embedded) -> None:
        super().__init__(door, call, min(call.seconds_left(perf_counter_ns()), (request.wait_ms or 0) / 1000))
        self._request = request
        self._again = door.loop.call_later(SETTLE_EVERY, self._look)

    def late(self) -> Timeout:
        return Timeout("the vector was not there in time; it is still to come")

    def let_go(self) -> None:
        self._again.cancel()

    def _look(self) -> None:
        caller = self.call.connection.caller
        if self.done or caller is None:
            return
        try:
            self.door.engine.admit(self._request, 0, caller)  # its API key may have been revoked since
            reply = self.door.perform(self.call, b"", caller)
        except StashError as error:
            self.finish(None, error)
            return
        if must_wait(self.door.engine, self._request, reply):
            self._again = self.door.loop.call_later(SETTLE_EVERY, self._look)
        else:
            self.finish(reply)
