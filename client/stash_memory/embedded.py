"""The operations without a daemon: the engine inside this process, one turn a call.

The one place in the library that knows the engine; whoever talks to a daemon never imports it.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter_ns, sleep
from typing import TYPE_CHECKING, Self, TypeVar

from stash_daemon.assembly import open_embedded
from stash_daemon.engine import INLINE, SCANS, Engine, Reply, Step
from stash_daemon.engine.embedding import must_wait
from stash_daemon.keys import Peer
from stash_daemon.search.embedders import open_embedder
from stash_daemon.settings import load
from stash_daemon.store import LOG_PAGES, Large
from stash_memory import wire
from stash_memory.transport import MAX_EVENTS, MOMENT, overrun
from stash_memory.wire import Outcome
from stash_protocol import operations
from stash_protocol.errors import STORAGE_ERRORS, BadRequest, NotFound, StashError, Timeout
from stash_protocol.operations import OPERATIONS, Embedded, Get, Request, Search
from stash_protocol.reader import Payload
from stash_protocol.replies import Event, Rate
from stash_protocol.requests import read_request

if TYPE_CHECKING:
    from stash_memory.embedded_queue import EmbeddingThread

SWEEP_EVERY = 16  # writes; a sweep deletes up to 32 rows, so it keeps up with whatever is written
CLOSING_SLICES = 256  # of sweeping and giving space back on close: some 50 ms at most
SETTLE_EVERY = 0.02  # seconds between two looks for a vector
LONGEST_NAP = 300.0  # seconds a watch waits for an expiry: the time asleep does not count as waiting, but as life

_DAEMONS_OWN = frozenset(
    (operations.Stop, operations.KeyCreate, operations.KeyList, operations.KeyRotate, operations.KeyRevoke)
)
_Result = TypeVar("_Result")


class EmbeddedTransport:
    """The engine, behind a lock.

    Args:
        path: of the database; empty: nothing is kept.

    Raises:
        Busy: another process has it open.
        StorageDamaged: it is no whole database of ours.
        BadRequest: a setting in the environment or in config.toml is not right.
    """

    rate: Rate | None = None

    def __init__(self, path: str) -> None:
        settings = load({}, os.environ)
        settings.log_dir = settings.config_path = ""  # the program's log and the daemon's API keys are not ours
        embedder = open_embedder(settings)
        self._engine: Engine = open_embedded(settings, os.path.abspath(path) if path else "")
        self._caller = self._engine.keys.local_caller()
        self._peer = Peer(name=f"uid:{os.getuid()}", uid=os.getuid(), pid=os.getpid())
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._served = 0  # requests
        self._writes = 0  # since the last sweep
        self._log_bound = LOG_PAGES  # pages after which the log is moved
        self._closed = False
        self._forked = False
        self._embedding: EmbeddingThread | None = None
        if embedder is not None:
            from stash_memory.embedded_queue import EmbeddingThread

            with self._lock:
                self._embedding = EmbeddingThread(self._engine, embedder, self._lock, self._in_turn)
        _transports.add(self)

    # ── calls ──

    def exchange(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        """Carry out one request."""
        wire.set_deadline(request, timeout)
        if type(request) is Get and request.wait_ms:
            return self._wait(request, min(timeout, request.wait_ms / 1000))
        if type(request) is Embedded and request.wait_ms:
            self._settle(request, min(timeout, request.wait_ms / 1000))
        if type(request) is Search and self._embedding is not None:
            self._embedding.prepare(request)
        return self._once(request, payload, timeout)

    def exchange_many(self, calls: Sequence[tuple[Request, Payload]], timeout: float) -> list[Outcome | StashError]:
        """Carry out many, each on its own."""
        self._enter(timeout)
        self._lock.release()
        deadline = monotonic() + timeout
        outcomes: list[Outcome | StashError] = []
        for request, payload in calls:
            if monotonic() > deadline:
                raise Timeout(f"not all was done within {timeout:g} s; what was done stays done")
            try:
                outcomes.append(self.exchange(request, payload, max(MOMENT, deadline - monotonic())))
            except StashError as error:
                outcomes.append(error)
        return outcomes

    def watch(self, prefix: str, timeout: float) -> EmbeddedSubscription:
        """Begin to watch."""
        return EmbeddedSubscription(self, prefix, timeout)

    def subscribe(self, prefix: str, notify: Callable[[Event], bool], timeout: float) -> Callable[[], None]:
        """Be told of changes, in the thread that makes them, until `notify` says False or the result is called."""

        def tell(event: Event) -> None:
            if not notify(event):
                unsubscribe()

        self._enter(timeout)
        try:
            self._admit(operations.Watch(prefix=prefix), b"")
            unsubscribe = self._engine.events.subscribe(self._caller.namespace, prefix, tell)
        finally:
            self._lock.release()

        def end() -> None:
            with self._lock:
                unsubscribe()

        return end

    def close(self) -> None:
        """Leave the file whole and small, and to whoever opens it next.

        Raises:
            StorageDamaged, StorageFull, Busy: what the storage says last; closed it is all the same.
        """
        if self._forked:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                if self._embedding is not None:
                    self._embedding.stop()
                self._tidy_up()
            finally:
                self._engine.close()
        if self._embedding is not None:
            self._embedding.join()

    def forked(self) -> None:
        """In a forked child: refuse every call, and never let SQLite close what the parent has open.

        It would take the parent's log for its own, move it and delete it.
        """
        self._forked = True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))

    # ── one request ──

    def _once(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        started = perf_counter_ns()
        self._enter(timeout)
        reply: Reply | None = None
        failure: StashError | None = None
        try:
            checked = self._admit(request, payload)
            reply = self._carry_out(checked, payload, timeout)
            value = reply.payload
            outcome = reply.body, bytes(value) if isinstance(value, Large) else value
        except StashError as error:
            failure = error
            raise
        finally:
            self._note(request, reply, failure, len(payload), started)
            self._lock.release()
        return outcome

    def _enter(self, timeout: float) -> None:
        if self._forked:
            raise BadRequest("this stash was opened before a fork; open another one in the new process")
        if not (self._lock.acquire(blocking=False) or self._lock.acquire(timeout=timeout)):
            raise Timeout(f"others kept the database busy for {timeout:g} s")
        if self._closed:
            self._lock.release()
            raise BadRequest("this stash was closed")

    def _admit(self, request: Request, payload: Payload) -> Request:
        """The request as a daemon would have read it, with every bound checked."""
        if type(request) in _DAEMONS_OWN:
            raise BadRequest(f"{OPERATIONS[type(request)].name} is for daemons; this stash runs in your own process")
        checked = read_request(wire.envelope(request))
        self._engine.admit(checked, len(payload), self._caller)
        return checked

    def _carry_out(self, request: Request, payload: Payload, timeout: float) -> Reply:
        engine, kind = self._engine, type(request)
        if kind in INLINE:
            if not engine.needs_turn(request):
                return engine.execute(request, payload, self._caller)
            return self._in_turn(lambda: engine.execute(request, payload, self._caller))
        if kind in SCANS:
            return engine.scan(request, self._caller)
        return self._carry_out_steps(engine.steps(request, payload, self._caller), monotonic() + timeout)

    def _carry_out_steps(self, steps: Iterator[Step], deadline: float) -> Reply:
        """A slice a turn, and whoever else calls is served between two slices."""
        while True:
            reply = self._in_turn(steps.__next__)
            if isinstance(reply, Reply):
                return reply
            if reply is not None:
                reply.work()
            if monotonic() > deadline:
                raise Timeout("not done in time; what was done stays done")
            self._lock.release()
            sleep(0)  # else this thread would have the lock again before any other wakes
            self._lock.acquire()
            if self._closed:
                raise BadRequest("this stash was closed meanwhile; what was done stays done")

    def _in_turn(self, work: Callable[[], _Result]) -> _Result:
        engine = self._engine
        engine.begin()
        try:
            result = work()
            self._writes += 1
            if self._writes >= SWEEP_EVERY:
                self._writes = 0
                engine.sweep()
        except BaseException as error:
            if isinstance(error, StashError) and not isinstance(error, STORAGE_ERRORS):
                engine.commit()  # a refusal has changed nothing; what it found expired may have gone
            else:
                engine.rollback()
            raise
        engine.commit()
        if engine.store.log_pages > self._log_bound:
            self._checkpoint()
        if self._embedding is not None:
            self._embedding.nudge()
        return result

    def _checkpoint(self) -> None:
        """Keep the log short. What was committed is durable without it, so a failure is nobody's answer."""
        try:
            self._engine.store.checkpoint()
            self._log_bound = LOG_PAGES
        except STORAGE_ERRORS as error:
            self._log_bound = self._engine.store.log_pages + LOG_PAGES
            self._engine.observer.log("WARNING", "checkpoint_failed", error=str(error))

    def _note(
        self, request: Request, reply: Reply | None, error: StashError | None, payload_bytes: int, started: int
    ) -> None:
        self._served += 1
        self._engine.observer.served(
            request,
            self._caller,
            self._peer,
            request_id=(self._pid, self._served),
            reply=reply.body if reply else None,
            error=error,
            payload_bytes=payload_bytes or (len(reply.payload) if reply else 0),
            duration_ns=perf_counter_ns() - started,
        )

    # ── waiting ──

    def _wait(self, request: Get, seconds: float) -> Outcome:
        deadline = monotonic() + seconds
        with EmbeddedSubscription(self, request.key, seconds) as changes:
            while True:
                left = deadline - monotonic()
                try:
                    return self._once(request, b"", max(MOMENT, left))
                except NotFound:
                    if left <= 0 or changes.next_event(left) is None:
                        raise wire.WaitedInVain(f"the key did not appear within {seconds:g} s") from None

    @property
    def embeds(self) -> bool:
        """Whether there is an embedder."""
        return self._embedding is not None

    def settled(self, request: Embedded, timeout: float) -> bool:
        """Whether there is nothing to wait for (any more)."""
        self._enter(timeout)
        try:
            return not must_wait(self._engine, request, self._engine.execute(request, b"", self._caller))
        except NotFound:
            return True
        finally:
            self._lock.release()

    def _settle(self, request: Embedded, seconds: float) -> None:
        deadline = monotonic() + seconds
        while not self.settled(request, max(MOMENT, deadline - monotonic())):
            if monotonic() > deadline:
                raise unsettled()
            sleep(SETTLE_EVERY)

    def sweep(self, timeout: float | None) -> float:
        """Delete what is expired, unless others keep the database busy; seconds until there is more of it."""
        if not self._lock.acquire(timeout=-1 if timeout is None else min(timeout, LONGEST_NAP)):
            return 0.0
        try:
            if self._closed:
                return LONGEST_NAP
            now, due = self._engine.clock.now(), self._engine.next_expiry()
            if due is not None and due <= now:
                more = self._in_turn(self._engine.sweep)
                due = self._engine.next_expiry() if not more else now
        finally:
            self._lock.release()
        return LONGEST_NAP if due is None else min(LONGEST_NAP, max(0.0, (due - now) / 1000))

    def _tidy_up(self) -> None:
        for _ in range(CLOSING_SLICES):
            more = self._in_turn(self._engine.sweep)
            more = self._in_turn(self._engine.store.tidy) or more
            if not more:
                break


def unsettled() -> Timeout:
    """What to say of a vector that does not come."""
    return Timeout("the vector was not there in time; it is still to come")


class EmbeddedSubscription:
    """A watch; also what a waiting get waits with."""

    def __init__(self, transport: EmbeddedTransport, prefix: str, timeout: float) -> None:
        self._transport = transport
        self._events: SimpleQueue[Event | StashError | None] = SimpleQueue()
        self._ended = False
        self._unsubscribe = transport.subscribe(prefix, self._told, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _told(self, event: Event) -> bool:
        fits = self._events.qsize() < MAX_EVENTS
        self._events.put(event if fits else overrun())
        return fits

    def next_event(self, timeout: float | None) -> Event | None:
        """The next change. Sweeps while it waits, for an expiry is a change as well."""
        deadline = None if timeout is None else monotonic() + timeout
        while not self._ended:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            due = self._transport.sweep(left)
            try:
                event = self._events.get(timeout=due if left is None else min(left, due))
            except Empty:
                if left == 0:
                    return None
                continue
            if isinstance(event, Event):
                return event
            self._events.put(event)  # the end: for whoever else waits, or asks again
            if event is not None:
                raise event
        return None

    def close(self) -> None:
        """End it, and whoever waits for it."""
        if not self._ended:
            self._ended = True
            self._unsubscribe()
            self._events.put(None)


_transports: weakref.WeakSet[EmbeddedTransport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in _transports:
        transport.forked()


os.register_at_fork(after_in_child=_after_fork)
