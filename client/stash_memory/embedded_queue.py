"""The embedder of a stash inside this process: the daemon's queue, with a thread in place of the daemon's loop."""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import count
from time import monotonic
from typing import Any

from stash_daemon.engine import Engine
from stash_daemon.search.backfill import Backfill
from stash_daemon.search.embedders import Embedder
from stash_daemon.search.embedders.query import QueryEmbedder
from stash_protocol.errors import Internal, StashError
from stash_protocol.operations import Search

MAX_KNOWN = 64  # queries that were embedded ahead of their search: as many threads may search at once
ENDS_WITHIN = 5.0  # seconds: the thread is somewhere between two statements


class Timer:
    """Something to do at its time, unless it is cancelled."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work: Callable[[], object] | None = work

    def cancel(self) -> None:
        """Do not."""
        self.work = None


class EmbeddingThread:
    """Has memories and queries embedded until it is stopped. To the queue it is both loop and turn.

    Args:
        engine: gets its embedder and its queue from here.
        embedder: closed by `stop`.
        lock: whoever holds it may use the engine.
        in_turn: carries out a write; the lock is held.
    """

    open = False  # nobody lets go of the lock in the middle of a turn

    def __init__(
        self, engine: Engine, embedder: Embedder, lock: threading.Lock, in_turn: Callable[[Callable[[], bool]], bool]
    ) -> None:
        self._engine = engine
        self._lock = lock
        self._in_turn = in_turn
        self._news = threading.Condition()
        self._timers: list[tuple[float, int, Timer]] = []
        self._serial = count()
        self._ended = False
        self._queries = Queries(QueryEmbedder(embedder, engine.settings.embedder_query_timeout / 1000))
        engine.embedder = self._queries
        self._queue = engine.queue = Backfill(engine, self, self, embedder)
        self._thread = threading.Thread(target=self._run, name="stash-embedding", daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """Something was committed; the lock is held."""
        self._queue.nudge()

    def prepare(self, request: Search) -> None:
        """Embed a query before its search takes the lock: nobody else is to wait for an embedder."""
        if request.query and request.mode != "keyword" and request.vector is None and request.like is None:
            self._queries.prepare(request.query)

    def stop(self) -> None:
        """Begin to end; the lock is held."""
        self._queue.stop()
        with self._news:
            self._ended = True
            self._news.notify()

    def join(self) -> None:
        """See it end; the lock is not held."""
        if self._thread is not threading.current_thread():
            self._thread.join(ENDS_WITHIN)

    # ── what the queue needs of a loop ──

    def time(self) -> float:
        """Seconds of a clock that never goes back."""
        return monotonic()

    def call_later(self, seconds: float, callback: Callable[..., object], /, *arguments: Any) -> Timer:
        """Call back on the thread, with the lock held."""
        timer = Timer(partial(callback, *arguments))
        with self._news:
            heapq.heappush(self._timers, (monotonic() + seconds, next(self._serial), timer))
            self._news.notify()
        return timer

    def call_soon_threadsafe(self, callback: Callable[..., object], /, *arguments: Any) -> Timer:
        """The same, at once; from any thread."""
        return self.call_later(0.0, callback, *arguments)

    # ── what it needs of a turn ──

    def alone(self, work: Callable[[], bool]) -> bool:
        """Do work in a turn of its own."""
        try:
            return self._in_turn(work)
        except StashError:
            raise
        except Exception as defect:
            raise self.defect(defect) from defect

    def then(self, callback: Callable[[StashError | None], None]) -> None:
        """Call back after the turn: no turn is ever open."""
        callback(None)

    def defect(self, defect: BaseException) -> Internal:
        """Log a defect of stash."""
        self._engine.observer.log("ERROR", "defect", exc_info=defect)
        return Internal("something in stash went wrong")

    # ── the thread ──

    def _run(self) -> None:
        while (timer := self._next()) is not None:
            with self._lock:
                if self._ended:
                    return
                try:
                    if timer.work is not None:
                        timer.work()
                except Exception as defect:  # noqa: BLE001  (it must not end the queue unseen)
                    self.defect(defect)

    def _next(self) -> Timer | None:
        """What is due next, once it is; None: it was stopped."""
        with self._news:
            while not self._ended:
                left = self._timers[0][0] - monotonic() if self._timers else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._timers)[2]
                self._news.wait(left)
            return None


class Queries:
    """Vectors of queries, as an engine asks for them while its lock is held: they were made before.

    Attributes:
        name: the embedder's.
    """

    def __init__(self, inner: QueryEmbedder) -> None:
        self.name = inner.name
        self._inner = inner
        self._known: OrderedDict[str, bytes | None] = OrderedDict()
        self._lock = threading.Lock()

    def prepare(self, text: str) -> None:
        """Make the vector, or find out that there is none now."""
        vector = self._inner.vector(text)
        with self._lock:
            self._known[text] = vector
            self._known.move_to_end(text)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)

    def vector(self, text: str, namespace: str) -> bytes | None:  # noqa: ARG002  (in process there is but one)
        """What was made of it."""
        with self._lock:
            if text in self._known:
                return self._known[text]
        return self._inner.vector(text)
