"""The socket door: who is this, may they, how often; then the engine, at the pace the operation is declared with.

Everything here runs on the loop's thread, but for scans.
"""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop, Transport
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns
from typing import TypeVar

from stash_daemon.doors.call import NANOSECONDS, Call
from stash_daemon.doors.connection import Connection
from stash_daemon.doors.errands import Scanning, Stepping, Waiting, Watching
from stash_daemon.doors.linger import Linger
from stash_daemon.doors.memory import Memory
from stash_daemon.doors.patience import Patience
from stash_daemon.doors.settling import Settling
from stash_daemon.doors.storing import Delayed, Storing
from stash_daemon.doors.turn import Turn
from stash_daemon.engine import LARGE, Engine, Large, Reply, Value
from stash_daemon.engine.embedding import must_wait
from stash_daemon.keys import Caller, Peer
from stash_daemon.limits import AuthThrottle, RateLimiter
from stash_daemon.listen import peer_of
from stash_daemon.threads import step_back
from stash_protocol import __version__
from stash_protocol.errors import (
    STORAGE_ERRORS,
    BadRequest,
    Busy,
    Forbidden,
    NotFound,
    StashError,
    Timeout,
    Unauthenticated,
)
from stash_protocol.frames import PROTOCOL_VERSION
from stash_protocol.operations import (
    OPERATIONS,
    Access,
    Batch,
    Cancel,
    Embedded,
    Get,
    GetStatus,
    Hello,
    Pace,
    Ready,
    Request,
    Set,
    Stop,
    Update,
    Watch,
)
from stash_protocol.reader import Payload
from stash_protocol.replies import Done, Welcome

SCAN_THREADS = 2  # scans at once: they share the interpreter with the loop, more would only slow each other down
STOPPING = "the daemon is stopping; connect again"

INLINE = frozenset(request for request, row in OPERATIONS.items() if row.pace is Pace.INLINE) - {Embedded}
APART = frozenset(request for request, row in OPERATIONS.items() if row.access is Access.ADMIN) | {Ready, GetStatus}
"""What must neither undo the writes of others when it fails, nor be undone with them: it ends the turn before it."""

Result = TypeVar("Result")


class SocketDoor:
    """What all connections of one daemon share.

    Args:
        engine: carries out.
        turn: of the loop.
        loop: of the turn.
        most: connections at once.
        stop: what the operation ``stop`` calls.

    Attributes:
        connections: the open ones.
        scans: how many are under way or waiting for a thread.
        answers: how many were given.
        last_active: seconds of the loop, when a connection last opened or closed.
        emptied: called when the last connection has gone.
    """

    def __init__(
        self, engine: Engine, turn: Turn, loop: AbstractEventLoop, *, most: int, stop: Callable[[], None]
    ) -> None:
        self.engine = engine
        self.turn = turn
        self.loop = loop
        self.memory = Memory(engine.settings.max_memory)
        self.patience = Patience(loop)
        self.linger = Linger(loop)
        self.threads = ThreadPoolExecutor(SCAN_THREADS, "scan", initializer=step_back)
        self.limiter = RateLimiter(engine.settings, engine.clock, engine.observer.rate_warning)
        self.peers_limited = engine.settings.peer_rate is not None
        self.connections: set[Connection] = set()
        self.scans = 0
        self.answers = 0
        self.last_active = loop.time()
        self.emptied: Callable[[], None] = lambda: None
        self._most = most
        self._stop = stop
        self._throttle = AuthThrottle(engine.clock)
        self._serial = 0
        self._stopping = False
        self._elsewhere: dict[type[Request], Callable[[Call, Payload, Caller], None]] = {
            Hello: self._hello_again,
            Watch: self._watch,
            Cancel: self._cancel,
            Embedded: self._settle,
            Stop: self._stop_daemon,
        }
        for request, row in OPERATIONS.items():
            if row.pace is Pace.STEPS:
                self._elsewhere[request] = self._step
            elif row.pace in (Pace.SCAN, Pace.SEARCH):
                self._elsewhere[request] = self._scan

    # ── connections ──

    def local(self) -> Connection:
        """The protocol of a new connection over the Unix socket."""
        return Connection(self, local=True)

    def remote(self) -> Connection:
        """The protocol of a new connection over TCP."""
        return Connection(self, local=False)

    def welcome(self, connection: Connection, transport: Transport) -> None:
        """Take in a new connection.

        Raises:
            Busy: there are too many, or the daemon is stopping.
            Forbidden: the process at the other end of a Unix socket is another user's.
        """
        connection.peer = _peer(transport, local=connection.local)
        self._serial += 1
        connection.serial = self._serial
        self.connections.add(connection)
        self.engine.observer.connections = len(self.connections)
        self.last_active = self.loop.time()
        if self._stopping:
            raise Busy(STOPPING, retry_after=1.0)
        if len(self.connections) > self._most:
            raise Busy(f"the daemon has its {self._most:,} connections; try again later", retry_after=1.0)
        if connection.local and connection.peer.uid != os.geteuid():
            raise Forbidden("this socket serves its own user only; use TCP and an API key")
        self.patience.watch(connection)

    def goodbye(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        self.patience.forget(connection)
        self.engine.observer.connections = len(self.connections)
        self.last_active = self.loop.time()
        if not self.connections:
            self.emptied()

    def drain(self) -> None:
        """Take no more connections; finish what is asked for, then close each.

        Watches and waiting gets end with the connection and without an answer: to whoever waits, a daemon that was
        stopped is gone, and asking it again would not help.
        """
        self._stopping = True
        for connection in tuple(self.connections):
            connection.drain()

    # ── requests ──

    def dispatch(self, call: Call, payload: Payload) -> None:
        """Carry out an admitted request, or see that it will be."""
        connection, request = call.connection, call.request
        kind = request.__class__
        caller = connection.caller
        if caller is None:
            self._hello(call)
            return
        try:
            if perf_counter_ns() - call.arrived > request.timeout_ms * NANOSECONDS:
                raise Timeout(f"the request was not there in full within {request.timeout_ms / 1000:g} seconds")
            if kind is Batch:
                self._charge_whole(call, payload, caller)
            if call.payload_bytes > LARGE and (kind is Set or kind is Update):
                Storing(self, call, payload)
            elif self.turn.paused and kind in INLINE and self.engine.needs_turn(request):
                Delayed(self, call, payload)
            elif kind in INLINE:
                connection.answer(call, self.perform(call, payload, caller))
            else:
                self._elsewhere[kind](call, payload, caller)
        except StashError as error:
            self.refuse(call, error)

    def refuse(self, call: Call, error: StashError) -> None:
        """Answer with an error, unless that is an absence the request waits out."""
        request, caller = call.request, call.connection.caller
        if isinstance(error, NotFound) and isinstance(request, Get) and request.wait_ms and caller is not None:
            try:
                Waiting(self, call, request, caller.namespace)
            except StashError as refusal:
                error = refusal
            else:
                return
        call.connection.answer(call, None, error)

    def perform(self, call: Call, payload: Value, caller: Caller) -> Reply:
        """Carry out an operation whose pace is INLINE, in the turn when it writes.

        Raises:
            StashError: it failed; if the storage did, so did the turn.
        """
        request = call.request
        try:
            if request.__class__ in APART:
                self.turn.commit()
            if self.engine.needs_turn(request):
                self.turn.begin()
            return self.engine.execute(request, payload, caller)
        except STORAGE_ERRORS as error:
            self.turn.fail(error)
            raise
        except StashError:
            raise
        except Exception as defect:
            raise self.turn.broke(defect) from defect

    def _charge_whole(self, call: Call, payload: Payload, caller: Caller) -> None:
        """A batch is as many requests as it holds; one was counted when its envelope came.

        Raises:
            RateLimited: they are too many.
        """
        if not (self.peers_limited or caller.tier.rate is not None):
            return
        requests = self.engine.weight(call.request, payload)
        if requests > 1:
            call.rate = self.limiter.take(caller, call.connection.peer, requests, paid=1)

    def in_turn(self, work: Callable[[], Result]) -> Result:
        """Do a slice of a long write in the turn; raises like `perform`."""
        try:
            self.turn.begin()
            return work()
        except STORAGE_ERRORS as error:
            self.turn.fail(error)
            raise
        except StashError:
            raise
        except Exception as defect:
            raise self.turn.broke(defect) from defect

    def answered(self, call: Call, reply: Reply | None, error: StashError | None) -> None:
        """Let the observer know of an answer."""
        connection, request = call.connection, call.request
        self.answers += 1
        self.engine.observer.served(
            request,
            connection.caller,
            connection.peer,
            request_id=(connection.serial, request.id),
            reply=reply.body if reply else None,
            error=error,
            payload_bytes=call.payload_bytes or (len(reply.payload) if reply else 0),
            duration_ns=perf_counter_ns() - call.arrived,
        )

    def unreadable(self, connection: Connection, number: int, error: StashError) -> None:
        """Let the observer know of what was refused before it was a request."""
        self.engine.observer.served(
            None,
            connection.caller,
            connection.peer,
            request_id=(connection.serial, number),
            reply=None,
            error=error,
            payload_bytes=0,
            duration_ns=0,
        )

    def let_go(self, value: Large) -> None:
        """A large value was read, or will not be: its entry may be gone, and what is left of it is to be swept."""
        self.engine.unpin(value.number)
        self.turn.committed()

    # ── hello ──

    def _hello(self, call: Call) -> None:
        connection, request = call.connection, call.request
        assert isinstance(request, Hello)
        try:
            caller = self._authenticate(request.api_key, connection)
        except StashError as error:
            connection.deliver(call, None, error)
            connection.close()
            return
        connection.known(caller)
        tier = caller.tier
        welcome = Welcome(
            version=min(request.version, PROTOCOL_VERSION),
            server=f"stash {__version__}",
            namespace=caller.namespace,
            tier=tier.name,
            scopes=sorted(caller.scopes),
            max_value=tier.max_value,
            default_ttl_ms=tier.default_ttl,
            max_ttl_ms=tier.max_ttl,
        )
        connection.deliver(call, Reply(welcome), None)

    def _authenticate(self, api_key: str | None, connection: Connection) -> Caller:
        if api_key is None:
            keys = self.engine.keys
            caller = keys.first_caller() if self.engine.settings.require_api_key else keys.local_caller()
            if connection.local and caller is not None:
                return caller
            raise Unauthenticated("an API key is needed here: in STASH_API_KEY, or in a file that --api-key-file names")
        self._throttle.check(connection.peer)
        try:
            caller = self.engine.keys.authenticate(api_key)
        except Unauthenticated:
            self._throttle.failed(connection.peer)
            self.engine.observer.auth_failed(connection.peer)
            raise
        self._throttle.succeeded(connection.peer)
        return caller

    def _hello_again(self, call: Call, payload: Payload, caller: Caller) -> None:  # noqa: ARG002  (one signature)
        raise BadRequest("hello was said already; another caller needs another connection")

    # ── what takes longer ──

    def _settle(self, call: Call, payload: Payload, caller: Caller) -> None:
        request = call.request
        assert isinstance(request, Embedded)
        reply = self.perform(call, payload, caller)
        if must_wait(self.engine, request, reply):
            Settling(self, call, request)
        else:
            call.connection.answer(call, reply)

    def _watch(self, call: Call, payload: Payload, caller: Caller) -> None:  # noqa: ARG002
        assert isinstance(call.request, Watch)
        Watching(self, call, call.request, caller.namespace)

    def _cancel(self, call: Call, payload: Payload, caller: Caller) -> None:  # noqa: ARG002
        assert isinstance(call.request, Cancel)
        errand = call.connection.errands.get(call.request.target)
        if errand is not None:  # else it has just ended by itself
            errand.stop(Timeout("cancelled"))
        call.connection.answer(call, Reply(Done()))

    def _stop_daemon(self, call: Call, payload: Payload, caller: Caller) -> None:  # noqa: ARG002
        call.connection.answer(call, Reply(Done()))
        self.loop.call_soon(self._stop)

    def _step(self, call: Call, payload: Payload, caller: Caller) -> None:
        Stepping(self, call, self.engine.steps(call.request, payload, caller))

    def _scan(self, call: Call, payload: Payload, caller: Caller) -> None:  # noqa: ARG002
        if self.engine.scans_inline:
            call.connection.answer(call, self.engine.scan(call.request, caller))
        else:
            Scanning(self, call)


def _peer(transport: Transport, *, local: bool) -> Peer:
    if local:
        uid, pid = peer_of(transport.get_extra_info("socket"))
        return Peer(name=f"uid:{uid}", uid=uid, pid=pid)
    name = transport.get_extra_info("peername")
    return Peer(name=str(name[0]) if name else "unknown")
