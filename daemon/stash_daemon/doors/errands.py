"""Requests that are not answered at once: a get that waits, a watch, a long write in slices, a scan off the loop.

Each is one object in its connection's ``errands`` from the request to the last answer, so that it can be cancelled,
run into its deadline, or be abandoned with its connection, always by the same few lines of `Errand`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING

from stash_daemon.doors.call import Call, failure_of
from stash_daemon.engine import Aside, Reply, Step
from stash_daemon.engine.pruning import rest
from stash_protocol.errors import Busy, NotFound, StashError, Timeout
from stash_protocol.operations import Get, Watch
from stash_protocol.replies import Done, Envelope, Event

if TYPE_CHECKING:
    from stash_daemon.doors.socket import SocketDoor

MAX_SCANS = 256  # scans of all connections waiting for a thread: at 10 ms each, the last one waits a second


class Errand:
    """What every one of them does.

    Attributes:
        endless: it would not end by itself: a daemon that stops leaves it unanswered.

    Raises:
        Busy, BadRequest: the connection takes no more of them.
    """

    endless = False

    def __init__(self, door: SocketDoor, call: Call, seconds: float | None) -> None:
        self.door = door
        self.call = call
        self.done = False
        call.connection.enlist(self)
        self._timer = None
        if seconds is not None:
            self._timer = door.loop.call_later(max(0.0, seconds), self.stop, self.late())

    def late(self) -> Timeout:
        """What to answer when its time runs out."""
        return Timeout(f"not done within {self.call.request.timeout_ms / 1000:g} s")

    def finish(self, reply: Reply | None, error: StashError | None = None) -> None:
        """The last answer; whatever comes later is dropped."""
        if not self.done:
            self._end()
            self.call.connection.answer_now(self.call, reply, error)

    def stop(self, error: StashError) -> None:
        """End it early."""
        self.finish(None, error)

    def abandon(self) -> None:
        """The connection is gone: nobody is to be answered."""
        if not self.done:
            self._end()

    def _end(self) -> None:
        self.done = True
        if self._timer is not None:
            self._timer.cancel()
        self.call.connection.errands.pop(self.call.request.id, None)
        self.let_go()

    def let_go(self) -> None:
        """Give back what this kind of errand holds."""


class Waiting(Errand):
    """A get for a key that is not there yet: tried again whenever it is written."""

    endless = True

    def __init__(self, door: SocketDoor, call: Call, request: Get, namespace: str) -> None:
        seconds = min(call.seconds_left(perf_counter_ns()), (request.wait_ms or 0) / 1000)
        super().__init__(door, call, seconds)
        self._key = request.key
        self._retrying = False
        self._unsubscribe = door.engine.events.subscribe(namespace, request.key, self._told)
        if door.turn.open:  # what made the key absent may be rolled back, and nobody would tell
            door.turn.then(self._retry_later)

    def late(self) -> Timeout:
        request = self.call.request
        assert isinstance(request, Get)
        assert request.wait_ms is not None
        return Timeout(f"the key did not appear within {min(request.timeout_ms, request.wait_ms) / 1000:g} s")

    def let_go(self) -> None:
        self._unsubscribe()

    def _told(self, event: Event) -> None:
        if event.key == self._key and not self._retrying and event.event not in ("forget", "expire"):
            self._retrying = True
            self.door.loop.call_soon(self._retry)

    def _retry_later(self, _error: StashError | None) -> None:
        self.door.loop.call_soon(self._retry)  # it may open a turn of its own: not while this one ends

    def _retry(self) -> None:
        self._retrying = False
        caller = self.call.connection.caller
        if self.done or caller is None:
            return
        try:
            self.door.engine.admit(self.call.request, 0, caller)  # its API key may have been revoked since
            reply = self.door.perform(self.call, b"", caller)
        except NotFound:
            return
        except StashError as error:
            self.finish(None, error)
        else:
            self.finish(reply)


class Watching(Errand):
    """A watch: confirmed with `Done`, then a push for each event, and an error as the last answer."""

    endless = True

    def __init__(self, door: SocketDoor, call: Call, request: Watch, namespace: str) -> None:
        door.turn.commit()  # what was asked for before the watch is not told to it
        super().__init__(door, call, None)
        self._unsubscribe = door.engine.events.subscribe(namespace, request.prefix, self._told)
        call.connection.answer(call, Reply(Done()))

    def stop(self, error: StashError) -> None:
        if not self.done:
            self._end()
            self.call.connection.send(Envelope(self.call.request.id, error=failure_of(error)))
            if self.door.turn.open:
                self.door.turn.flush_later(self.call.connection)
            else:
                self.call.connection.flush()

    def let_go(self) -> None:
        self._unsubscribe()

    def _told(self, event: Event) -> None:
        connection, number = self.call.connection, self.call.request.id
        caller = connection.caller
        if self.done or caller is None:
            return
        try:
            self.door.engine.admit(self.call.request, 0, caller)  # its API key may have been revoked since
            if connection.overrun:
                raise Busy("more events than were read; watch again")
        except StashError as error:
            self.stop(error)
        else:
            connection.push(number, event)


class Stepping(Errand):
    """A long write: one slice a turn, and everyone else is served between two slices: a while, if there is anyone."""

    def __init__(self, door: SocketDoor, call: Call, steps: Iterator[Step]) -> None:
        super().__init__(door, call, call.seconds_left(perf_counter_ns()))
        self._steps = steps
        self._aside: Aside | None = None
        self._began = self._took = 0.0  # seconds: of the last slice, with its commit
        self._answers = 0  # of the door, when it began
        self._held = call.payload_bytes
        door.memory.held += self._held  # admitted already: the door's own reservation ends with the dispatch
        door.loop.call_soon(self._step)

    def let_go(self) -> None:
        self.door.memory.release(self._held)

    def _step(self) -> None:
        caller = self.call.connection.caller
        if self.done or caller is None:
            return
        if self.door.turn.paused:
            self.door.turn.when_resumed(self._step)
            return
        if self._took and self.door.answers != self._answers:
            self.door.loop.call_later(rest(self._took), self._step)
            self._took = 0.0
            return
        self._began, self._answers = perf_counter(), self.door.answers
        try:
            self.door.engine.admit(self.call.request, 0, caller)  # its API key may have been revoked since
            reply = self.door.in_turn(self._steps.__next__)
        except StashError as error:
            self.finish(None, error)
            return
        if isinstance(reply, Reply):
            self.finish(reply)
        else:
            self._aside = reply
            self.door.turn.then(self._went)

    def _went(self, error: StashError | None) -> None:
        if error is not None:
            self.finish(None, error)
            return
        self._took = perf_counter() - self._began
        if self._aside is None or self.done:
            self.door.loop.call_soon(self._step)
        elif self.door.engine.scans_inline:
            self.door.loop.call_soon(self._do_aside, self._aside)
        else:
            self.door.threads.submit(self._aside.work).add_done_callback(self._came)

    def _do_aside(self, aside: Aside) -> None:
        """A store in memory knows no other thread; what the turn wrote is committed first, as for one."""
        self.door.turn.commit()
        try:
            aside.work()
        except StashError as error:
            self.finish(None, error)
        else:
            self._step()

    def _came(self, future: Future[None]) -> None:
        """In the thread that did what was put aside."""
        self.door.loop.call_soon_threadsafe(self._take, future)

    def _take(self, future: Future[None]) -> None:
        if future.cancelled() or self.done:
            return
        error = future.exception()
        if error is None:
            self._step()
        else:
            self.finish(None, error if isinstance(error, StashError) else self.door.turn.defect(error))


class Scanning(Errand):
    """A read of many rows, on a snapshot and a thread of its own."""

    def __init__(self, door: SocketDoor, call: Call) -> None:
        if door.scans >= MAX_SCANS:
            raise Busy("too many lists, exports and statistics are being made; try again", retry_after=1.0)
        super().__init__(door, call, call.seconds_left(perf_counter_ns()))
        self._future: Future[Reply] | None = None
        if door.turn.open:  # its own connection's writes before it are to be seen
            door.turn.then(lambda _error: self._start())
        else:
            self._start()

    def let_go(self) -> None:
        if self._future is not None:
            self._future.cancel()

    def _start(self) -> None:
        caller = self.call.connection.caller
        if self.done or caller is None:
            return
        self.door.scans += 1
        self._future = self.door.threads.submit(self.door.engine.scan, self.call.request, caller)
        self._future.add_done_callback(self._came)

    def _came(self, future: Future[Reply]) -> None:
        """In the thread that made it."""
        self.door.loop.call_soon_threadsafe(self._take, future)

    def _take(self, future: Future[Reply]) -> None:
        self.door.scans -= 1
        if future.cancelled() or self.done:
            return
        error = future.exception()
        if error is None:
            self.finish(future.result())
        elif isinstance(error, StashError):
            self.finish(None, error)
        else:
            self.finish(None, self.door.turn.defect(error))
