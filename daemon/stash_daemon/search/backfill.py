"""The queue: makes the vectors of what was stored, after it was stored.

The queue is the rows themselves, so it survives a restart. Rows are read and written by the loop, in a turn of their
own; only the embedder's call is on a thread, one at a time. A write never waits for any of it.

A call that failed is made again later with half the texts, so that one bad text ends up alone and only it is given
up. While nothing succeeds a breaker holds all rows back, untried, and every now and then asks for the vector of one
harmless word: an embedder that is down, or wrongly set, costs no memory its vector.
"""

from __future__ import annotations

import contextlib
import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from stash_daemon.memory_store import Pending
from stash_daemon.search.embedders import Embedder, EmbedderFailed
from stash_daemon.search.embedders.breaker import Breaker, jittered
from stash_daemon.search.embedders.troubles import Health, Troubles
from stash_daemon.threads import step_back
from stash_protocol.errors import BadRequest, Internal, StashError
from stash_protocol.vectors import little_endian

if TYPE_CHECKING:
    from stash_daemon.engine import Engine

LOOK_AFTER = 0.02  # seconds from a commit to looking what it brought: many commits share one look, and one call
PAUSE = 0.001  # seconds between two slices of writing: whoever waits is served first
SLICE = 32  # rows written in one turn
LOOK_ROWS = 2  # times the batch that is read at once: identical texts count once
MAX_CHARACTERS = 1 << 18  # of all texts of one call
LONGEST_NAP = 300.0  # seconds: the loop's timers stand still while the machine sleeps
SHORTEST_NAP = 1.0  # seconds, when what is due is not worth it any more
COUNT_EVERY = 1.0  # seconds: counting looks at every row that waits
RETRY_AFTER = 10.0  # seconds after the storage refused
LEAST_LEFT = 5_000  # milliseconds: what expires sooner gets no vector
FAILURES = 5  # in a row, which open the breaker
FIRST_RETRY, LAST_RETRY = 1_000, 60_000  # milliseconds until a row is tried again; doubled each time
ALONE_AFTER = 2  # attempts, after which a row is tried by itself
MOST_ATTEMPTS = 8  # after which a row is given up, if it is the only one that fails
MAX_KEPT = 256  # vectors of texts embedded before: 8 MiB at the most
PROBE = "hello"


class Timer(Protocol):
    """What is to be called later."""

    def cancel(self) -> object: ...


class Loop(Protocol):
    """What it needs of a loop: everything but the embedder's calls happens there."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[..., object], /, *arguments: Any) -> Timer: ...

    def call_soon_threadsafe(self, callback: Callable[..., object], /, *arguments: Any) -> object: ...


class Turn(Protocol):
    """What it needs of the turn of that loop; see `doors.turn`."""

    @property
    def open(self) -> bool: ...

    def then(self, callback: Callable[[StashError | None], None], /) -> None: ...

    def alone(self, work: Callable[[], bool], /) -> bool: ...

    def defect(self, defect: BaseException, /) -> Internal: ...


class Backfill:
    """The one worker of a daemon, or of a stash inside a program.

    Args:
        embedder: called on a thread; closed by `stop`.
        breaker: for tests, with their clock.
    """

    def __init__(
        self,
        engine: Engine,
        turn: Turn,
        loop: Loop,
        embedder: Embedder,
        breaker: Breaker | None = None,
    ) -> None:
        self._engine = engine
        self._turn = turn
        self._loop = loop
        self._embedder = embedder
        self._breaker = breaker or Breaker(FAILURES)
        self._troubles = Troubles()
        self._timeout = engine.settings.embedder_timeout / 1000
        self._most = engine.settings.embedder_batch  # texts of the next call
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._timer: Timer | None = None
        self._soon = False  # the timer is one of `nudge`, or sooner
        self._busy = False  # a call or a write is under way
        self._counted = 0.0  # when the rows that wait were counted, in the loop's time
        self._proven = False  # it has made a vector since the start
        self._stopped = False
        self._wake_in(0)

    def nudge(self) -> None:
        """Something was committed."""
        if not (self._soon or self._busy) and self._breaker.closed:
            self._wake_in(LOOK_AFTER)

    def health(self, namespace: int) -> Health:
        """How the embedder is, as far as a namespace may know; from any thread."""
        at, error = self._troubles.last(namespace)
        return Health(error, at, None if self._breaker.closed else self._breaker.left)

    def stop(self) -> None:
        """Wake no more, and give up what is under way: its rows wait for the next start."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._embedder.close()

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._soon = seconds <= LOOK_AFTER
        self._timer = self._loop.call_later(min(seconds, LONGEST_NAP), self._look) if not self._stopped else None

    # ── what to do ──

    def _look(self) -> None:
        """Call for the rows that are due, if there are any and the breaker lets it."""
        self._timer, self._soon = None, False
        if self._busy or self._stopped:
            return
        if self._turn.open:  # what it wrote may yet be undone, and its rows' numbers given to others
            self._soon = True
            self._turn.then(lambda _: self._wake_in(0))
            return
        try:
            due = self._count()
            if due is None:
                return
            if self._breaker.closed:
                self._take(due)
            elif self._breaker.admits():
                self._call([], [PROBE])
            else:
                self._wake_in(self._breaker.left)
        except StashError as error:
            self._held_up(error)

    def _count(self) -> int | None:
        """When the next row is due; and now and then, for the figures, how many wait."""
        due = self._engine.store.next_pending()
        figures, now = self._engine.observer.embedding, self._loop.time()
        if due is None:
            figures.queue = 0
        elif not figures.queue or now - self._counted >= COUNT_EVERY:
            figures.queue, self._counted = self._engine.store.backlog(), now
        return due

    def _take(self, due: int) -> None:
        now = self._engine.clock.now()
        rows = self._engine.store.pending(now, LOOK_ROWS * self._most, least=LEAST_LEFT)
        if not rows:
            self._wake_in(max((due - now) / 1000, SHORTEST_NAP))
            return
        known = [row for row in rows if _digest(row.namespace, row.text) in self._kept]
        if known:
            self._write(known)
            return
        chosen, texts = _batch(rows, self._most)
        self._call(chosen, texts)

    def _call(self, rows: list[Pending], texts: list[str]) -> None:
        """Have the texts embedded on a thread; a daemonic one, because nobody can end a call that hangs in it."""
        self._busy = True
        threading.Thread(target=self._embed, args=(rows, texts), name="embedder", daemon=True).start()

    def _embed(self, rows: list[Pending], texts: list[str]) -> None:
        step_back()
        began = time.monotonic_ns()
        outcome: list[array[float]] | Exception
        try:
            outcome = self._embedder.embed(texts, timeout=self._timeout)
        except Exception as failure:  # noqa: BLE001  (the loop judges it: a defect must not end the queue unseen)
            outcome = failure
        with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon has stopped
            self._loop.call_soon_threadsafe(self._came, rows, texts, outcome, time.monotonic_ns() - began)

    # ── what came of it ──

    def _came(self, rows: list[Pending], texts: list[str], outcome: list[array[float]] | Exception, took: int) -> None:
        self._busy = False
        if self._stopped:
            return
        self._engine.observer.embedding.called(took, failed=isinstance(outcome, Exception))
        if isinstance(outcome, Exception):
            self._failed(rows, texts, outcome)
            return
        self._proven = True
        if self._breaker.succeeded():
            self._engine.observer.log("WARNING", "embedder_recovered", embedder=self._embedder.name)
        self._most = min(2 * self._most, self._engine.settings.embedder_batch)
        self._keep(rows, dict(zip(texts, outcome, strict=True)))
        if rows:
            self._write(rows)
        else:
            self._wake_in(0)

    def _failed(self, rows: list[Pending], texts: list[str], error: Exception) -> None:
        failure = error if isinstance(error, EmbedderFailed) else EmbedderFailed("broke; the log says how")
        if failure is not error:
            self._turn.defect(error)
        self._most = max(1, len(texts) // 2)
        if failure.permanent and len(texts) > 1:
            self._wake_in(0)  # nothing is said yet about any one of them
            return
        hopeless = failure.permanent and self._proven and bool(rows)
        alone = len(texts) == 1 and self._breaker.healthy
        opened = not hopeless and self._breaker.failed(failure.retry_after, at_once=failure.permanent)
        common = not rows or not (hopeless or self._breaker.closed)
        self._note({row.namespace for row in rows}, failure.message, common=common)
        if opened:
            self._engine.observer.log(
                "WARNING", "embedder_failing", embedder=self._embedder.name, error=failure.message
            )
        self._put_off(rows, failure, hopeless=hopeless, alone=alone)

    def _put_off(self, rows: list[Pending], failure: EmbedderFailed, *, hopeless: bool, alone: bool) -> None:
        now = self._engine.clock.now()

        def work() -> bool:
            for row in rows:
                if hopeless or (alone and row.attempts + 1 >= MOST_ATTEMPTS):
                    self._give_up(row, failure.message)
                else:
                    self._engine.store.embedding_failed(row, again_at=now + _backoff(row.attempts))
            return True

        try:
            if rows:
                self._turn.alone(work)
            self._wake_in(self._breaker.left)
        except StashError as error:
            self._held_up(error)

    def _write(self, rows: list[Pending]) -> None:
        """Store the vectors of rows whose texts are kept, slice by slice."""
        self._busy = True
        part, rest = rows[:SLICE], rows[SLICE:]
        name = self._embedder.name

        def work() -> bool:
            for row in part:
                self._store(row, name)
            return True

        try:
            self._turn.alone(work)
        except StashError as error:
            self._busy = False
            self._held_up(error)
            return
        if rest and not self._stopped:
            self._timer = self._loop.call_later(PAUSE, self._write, rest)
            return
        self._busy = False
        self._wake_in(PAUSE)

    def _store(self, row: Pending, name: str) -> None:
        try:
            if self._engine.store.embedded(row, name, self._kept[_digest(row.namespace, row.text)]):
                self._engine.observer.embedding.completed += 1
        except BadRequest as error:  # other dimensions than the namespace's vectors of this name have
            self._note((row.namespace,), error.message)
            self._give_up(row, error.message)

    def _note(self, namespaces: Iterable[int], why: str, *, common: bool = False) -> None:
        self._troubles.note(namespaces, why, self._engine.clock.now(), common=common)

    def _give_up(self, row: Pending, why: str) -> None:
        self._engine.store.embedding_failed(row, again_at=None)
        self._engine.observer.embedding.failed += 1
        self._engine.observer.log("WARNING", "embedding_failed", entry=row.entry, error=why)

    def _keep(self, rows: list[Pending], vectors: dict[str, array[float]]) -> None:
        """For each namespace by itself: how long a vector takes must not tell what another has stored."""
        for row in rows:
            self._kept[_digest(row.namespace, row.text)] = little_endian(vectors[row.text])
        while len(self._kept) > max(MAX_KEPT, len(rows)):
            self._kept.popitem(last=False)

    def _held_up(self, error: StashError) -> None:
        self._engine.observer.log("WARNING", "embedding_held_up", error=error.message)
        self._wake_in(RETRY_AFTER)


def _batch(rows: Sequence[Pending], most: int) -> tuple[list[Pending], list[str]]:
    """The rows to embed in one call, and their different texts; a row that has failed before goes by itself."""
    if rows[0].attempts >= ALONE_AFTER:
        return [rows[0]], [rows[0].text]
    texts: dict[str, None] = {}
    chosen: list[Pending] = []
    characters = 0
    for row in rows:
        if row.attempts >= ALONE_AFTER:
            continue
        if row.text not in texts:
            characters += len(row.text)
            if texts and (len(texts) == most or characters > MAX_CHARACTERS):
                break
            texts[row.text] = None
        chosen.append(row)
    return chosen, list(texts)


def _digest(namespace: int, text: str) -> bytes:
    return sha256(f"{namespace} {text}".encode(errors="surrogatepass")).digest()


def _backoff(attempts: int) -> int:
    """Milliseconds until the next attempt."""
    return round(jittered(min(FIRST_RETRY << min(attempts, 16), LAST_RETRY)))
