"""What the daemon does by itself: runs of retention, and looks at the figures, for usage over time.

Retention is due once a day, and done a slice at a time, whoever waits being served first.

When the last run was is kept with the data, so that a daemon that is stopped every night still gets there.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING

from stash_daemon.engine import Aside, Step
from stash_daemon.engine.pruning import rest
from stash_daemon.threads import step_back
from stash_protocol.errors import StashError

if TYPE_CHECKING:
    from stash_daemon.doors.turn import Turn
    from stash_daemon.engine import Engine

FIRST_LOOK = 60.0  # seconds after the start: whoever started the daemon waits for something else
LONGEST_NAP = 300.0  # seconds: the loop's timers stand still while the machine sleeps
LOOK_EVERY = 300.0  # seconds between two looks at the figures: an hour's count is as exact as that
RETRY_AFTER = 60.0  # seconds after the storage refused, or the audit could not be written


class Schedule:
    """The one schedule of a daemon."""

    def __init__(self, engine: Engine, turn: Turn, loop: AbstractEventLoop, *, first_look: float = FIRST_LOOK) -> None:
        self._engine = engine
        self._turn = turn
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, "retention", initializer=step_back)
        self._steps: Iterator[Step] | None = None  # of the run that is under way
        self._timer: TimerHandle | None = None
        self._stopped = False
        self._looking = loop.call_later(LOOK_EVERY, self._look)
        if engine.settings.retention_every is not None:
            self._wake_in(first_look)

    def stop(self) -> None:
        """Wake no more, and wait for what the thread is at; the next start begins the run anew."""
        self._stopped = True
        self._looking.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown(cancel_futures=True)

    def _look(self) -> None:
        self._looking = self._loop.call_later(LOOK_EVERY, self._look)
        self._thread.submit(self._engine.observer.look)

    def _wake_in(self, seconds: float) -> None:
        if not self._stopped:
            self._timer = self._loop.call_later(min(seconds, LONGEST_NAP), self._wake)

    def _wake(self) -> None:
        """Go on with a run, or begin one that is due."""
        self._timer = None
        if self._turn.paused:
            self._turn.when_resumed(self._wake)
            return
        try:
            if self._steps is None:
                due = self._engine.next_retention()
                left = 0.0 if due is None else (due - self._engine.clock.now()) / 1000
                if left > 0:
                    self._wake_in(left)
                    return
                self._steps = self._engine.retain()
            self._step(self._steps)
        except StashError as error:
            self._give_up(error)

    def _step(self, steps: Iterator[Step]) -> None:
        """One slice, in a turn of its own."""
        done: list[Step] = []
        began = perf_counter()

        def work() -> bool:
            for step in steps:
                done.append(step)
                return True
            return False

        if not self._turn.alone(work):
            self._steps = None
            self._wake_in(0)
        elif isinstance(done[0], Aside):
            self._put_aside(done[0])
        else:
            self._wake_in(rest(perf_counter() - began))

    def _put_aside(self, aside: Aside) -> None:
        if self._engine.scans_inline:
            began = perf_counter()
            aside.work()
            self._wake_in(rest(perf_counter() - began))
        elif not self._stopped:
            self._thread.submit(aside.work).add_done_callback(self._came)

    def _came(self, future: Future[None]) -> None:
        """In the thread."""
        if not future.cancelled():
            self._loop.call_soon_threadsafe(self._judged, future)

    def _judged(self, future: Future[None]) -> None:
        error = future.exception()
        if error is not None:
            self._give_up(error)
        else:
            self._wake_in(0)

    def _give_up(self, error: BaseException) -> None:
        """Begin anew later."""
        self._steps = None
        if isinstance(error, StashError):
            self._engine.observer.log("WARNING", "retention_held_up", error=error.message)
        else:
            self._turn.defect(error)
        self._wake_in(RETRY_AFTER)
