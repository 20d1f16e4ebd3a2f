"""Hygiene: deletes what is expired, gives freed space back, and keeps the log short.

None of it decides what a request sees; all of it waits for requests. The sweeper sleeps until the next expiry, or,
after a commit, looks whether that has come nearer. It does nothing, and wakes for nothing, while nothing is due.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING

from stash_daemon.engine.pruning import rest
from stash_daemon.store import LOG_PAGES
from stash_daemon.threads import step_back
from stash_protocol.errors import StashError

if TYPE_CHECKING:
    from stash_daemon.doors.turn import Turn
    from stash_daemon.engine import Engine

LOOK_AFTER = 0.02  # seconds from a commit to looking what it changed: many commits share one look
PAUSE = 0.001  # seconds between two slices: whoever waits is served first
LONGEST_NAP = 300.0  # seconds: the loop's timers stand still while the machine sleeps, expiry does not
IDLE_AFTER = 1.0  # seconds without a commit: time to give space back
RETRY_AFTER = 10.0  # seconds after the storage refused
REST_PAGES = 100  # pages that are worth no further pass before writes wait: a millisecond
LONG_AGAIN = 0.25  # seconds until a log that stayed long is tried again: a reader held it, and writers wait for it
MOST_PASSES = 4  # of the thread beside writes, each with less to do, before writes wait for it


class Sweeper:
    """The one sweeper of a daemon."""

    def __init__(self, engine: Engine, turn: Turn, loop: AbstractEventLoop) -> None:
        self._engine = engine
        self._turn = turn
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, "checkpoint", initializer=step_back)
        self._nap: TimerHandle | None = None  # until the next expiry
        self._look: TimerHandle | None = None  # after a commit
        self._idle: TimerHandle | None = None  # after the last of many commits
        self._again: TimerHandle | None = None  # while the log is long
        self._commits = 0
        self._checkpointing = False
        self._log_seen = 0  # pages of the log when it was last moved: a reader may pin them
        self._untidy = True
        self._tidying = False
        self._stopped = False
        turn.committed = self.nudge
        self._look_now()
        self.nudge()

    def nudge(self) -> None:
        """Something was committed."""
        if self._tidying:
            return
        self._commits += 1
        if self._look is None and not self._stopped:
            self._look = self._loop.call_later(LOOK_AFTER, self._look_now)
        if self._idle is None and not self._stopped:
            self._idle = self._loop.call_later(IDLE_AFTER, self._maybe_idle, self._commits)

    def stop(self) -> None:
        """Wake no more, and wait for a checkpoint that is under way."""
        self._stopped = True
        for timer in (self._nap, self._look, self._idle, self._again):
            if timer is not None:
                timer.cancel()
        self._thread.shutdown()

    # ── expiry ──

    def _look_now(self) -> None:
        """Find out when to wake next."""
        self._look = None
        try:
            due = self._engine.next_expiry()
        except StashError as error:
            self._sleep(RETRY_AFTER)
            self._complain(error)
            return
        grown = abs(self._engine.store.log_pages - self._log_seen) > LOG_PAGES
        if grown or (self._engine.log_is_long and self._again is None):
            self._checkpoint(truncate=False)
        if due is not None:
            self._sleep(max(0.0, (due - self._engine.clock.now()) / 1000))
        elif self._nap is not None:
            self._nap.cancel()
            self._nap = None

    def _sleep(self, seconds: float) -> None:
        if self._nap is not None:
            self._nap.cancel()
        self._nap = self._loop.call_later(min(seconds, LONGEST_NAP), self._wake) if not self._stopped else None

    def _wake(self) -> None:
        """Delete one slice of what is expired."""
        self._nap = None
        if self._turn.paused:
            self._sleep(PAUSE)
            return
        began = perf_counter()
        try:
            due = self._engine.next_expiry()
            if due is None or due > self._engine.clock.now():
                self._look_now()
                return
            more = self._turn.alone(self._engine.sweep)
        except StashError as error:
            self._complain(error)
            self._sleep(RETRY_AFTER)
            return
        self._untidy = True
        if more:
            self._sleep(rest(perf_counter() - began))
        else:
            self._look_now()

    # ── space ──

    def _maybe_idle(self, commits: int) -> None:
        self._idle = None
        if self._stopped:
            return
        if commits != self._commits:
            self._idle = self._loop.call_later(IDLE_AFTER, self._maybe_idle, self._commits)
        else:
            self._tidy()

    def _tidy(self) -> None:
        """Give back one slice of space; then the log's."""
        more = False
        if self._untidy:
            self._tidying = True  # its own commit is no activity
            try:
                more = self._turn.alone(self._engine.store.tidy)
            except StashError as error:
                self._complain(error)
                return
            finally:
                self._tidying = False
        if more:
            self._idle = self._loop.call_later(PAUSE, self._maybe_idle, self._commits)
            return
        self._untidy = False
        self._checkpoint(truncate=True)

    def _checkpoint(self, *, truncate: bool, passes: int = 1) -> None:
        if self._checkpointing or self._stopped or not self._engine.store.log_pages:
            return
        self._checkpointing = True
        self._log_seen = self._engine.store.log_pages

        def done(future: Future[int]) -> None:
            self._loop.call_soon_threadsafe(self._checkpointed, future, truncate, passes)

        self._thread.submit(self._engine.store.checkpoint, truncate=truncate).add_done_callback(done)

    def _checkpointed(self, future: Future[int], truncate: bool, passes: int) -> None:  # noqa: FBT001 (call_soon)
        """The thread has moved what was in the log when it began; the log starts anew only once nothing is missing."""
        self._checkpointing = False
        error = future.exception()
        if error is not None:
            self._complain(error)
            self._consider_again(RETRY_AFTER)
            return
        store = self._engine.store
        rest = store.log_pages - future.result()
        if truncate or self._stopped:
            if rest <= 0:
                store.log_pages = self._log_seen = 0
            self._consider_again(LONG_AGAIN)
        elif rest > REST_PAGES and passes < MOST_PASSES:
            self._checkpoint(truncate=False, passes=passes + 1)
        else:
            self._renew()

    def _renew(self) -> None:
        """Have the thread do the rest while writes wait: whoever syncs the disk must not be who answers reads."""
        self._checkpointing = True
        self._turn.pause()

        def done(future: Future[int]) -> None:
            self._loop.call_soon_threadsafe(self._renewed, future)

        self._thread.submit(self._engine.store.renew_log).add_done_callback(done)

    def _renewed(self, future: Future[int]) -> None:
        if self._stopped:  # the engine may be closed
            return
        self._checkpointing = False
        error = future.exception()
        if error is not None:
            self._complain(error)
            self._consider_again(RETRY_AFTER)
        else:
            self._engine.store.log_pages = self._log_seen = future.result()
            self._consider_again(LONG_AGAIN)
        self._turn.resume()

    def _consider_again(self, seconds: float) -> None:
        """A log that is still long is tried again, commits or not: large values wait until it is short."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._engine.log_is_long and not self._stopped:
            self._again = self._loop.call_later(seconds, self._try_again)

    def _try_again(self) -> None:
        self._again = None
        self._checkpoint(truncate=False)

    def _complain(self, error: BaseException) -> None:
        if isinstance(error, StashError):
            self._engine.observer.log("WARNING", "sweeper_held_up", error=error.message)
        else:
            self._turn.defect(error)
