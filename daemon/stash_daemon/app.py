"""The daemon as a process: wires store, engine and doors together, starts them, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from stash_daemon.assembly import open_engine
from stash_daemon.doors.socket import SocketDoor
from stash_daemon.doors.turn import Turn
from stash_daemon.engine import Engine
from stash_daemon.listen import (
    BACKLOG,
    UnixSocket,
    activated,
    private_directory,
    refuse_open_door,
    tcp_socket,
    tell_supervisor,
    tls_context,
)
from stash_daemon.schedule import Schedule
from stash_daemon.search.backfill import Backfill
from stash_daemon.search.embedders import open_embedder
from stash_daemon.search.embedders.query import QueryEmbedder
from stash_daemon.settings import Settings
from stash_daemon.starter import Starter
from stash_daemon.sweeper import Sweeper
from stash_protocol.errors import BadRequest, StashError
from stash_protocol.operations import Ready

DRAIN_PATIENCE = 4.0  # seconds for what is in flight when the daemon is told to stop: it is gone within five
HANDSHAKE_PATIENCE = 5.0  # seconds for TLS to begin, and to end
LEAST_CONNECTIONS = 16  # whatever the limits say: fewer make no daemon
SPARE_DESCRIPTORS = 64  # for the database, the log and the runtime, beside one for each connection
SWITCH_INTERVAL = 0.0005  # seconds a scan's thread may keep the loop from going on; Python's own is ten times that
LOOK_FOR_FILE = 5.0  # seconds between two looks whether the socket's file is still there
QUIET = 60.0  # seconds between two lines about trouble of the loop, however often it happens

# From 3.13 on a loop unlinks the files of its sockets; ours is taken away by whoever made it, and systemd's stays.
LEAVE_THE_FILE: dict[str, bool] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


def run(settings: Settings, *, auto_started: bool = False, starter: Starter | None = None) -> int:
    """The daemon, in the foreground, until it is told to stop; its exit status.

    Args:
        settings: of this start.
        auto_started: it may exit when nobody needs it (``idle_exit``), and says nothing on stderr.
        starter: is told as soon as a request would succeed.

    Raises:
        BadRequest: a setting cannot be used.
        Busy: another daemon owns the data, or listens on the socket; the message names it.
        StashError: the storage cannot be used.
    """
    os.umask(0o077)
    sys.setswitchinterval(SWITCH_INTERVAL)
    private_directory(settings.data_dir)
    if auto_started:
        os.chdir(settings.data_dir)  # whoever started it may want to unmount or delete where they stood
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        engine = open_engine(settings)
        try:
            daemon = Daemon(engine, runner.get_loop(), auto_started=auto_started)
            runner.run(daemon.serve(starter or Starter(None)))
        finally:
            engine.close()
    return 0


class Daemon:
    """One running daemon.

    Args:
        engine: open; closed by whoever opened it.
        loop: that will run it.
        auto_started: whether it ends by itself.
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, *, auto_started: bool) -> None:
        self._engine = engine
        self._loop = loop
        self._auto_started = auto_started
        self._stopped = asyncio.Event()
        self._emptied = asyncio.Event()
        self._turn = Turn(engine, loop)
        most = min(engine.settings.max_connections, max(LEAST_CONNECTIONS, _descriptors() - SPARE_DESCRIPTORS))
        self._door = SocketDoor(engine, self._turn, loop, most=most, stop=self._stopped.set)
        self._door.emptied = self._emptied.set
        self._sockets: list[socket.socket] = []
        self._file: UnixSocket | None = None
        self._servers: list[asyncio.AbstractServer] = []
        self._troubled = -QUIET
        self._embedder = open_embedder(engine.settings)

    async def serve(self, starter: Starter) -> None:
        """Listen, serve until told to stop, drain."""
        self._loop.set_exception_handler(self._trouble)
        self._listen()
        sweeper = Sweeper(self._engine, self._turn, self._loop)
        backfill = self._backfill(sweeper)
        schedule = Schedule(self._engine, self._turn, self._loop)
        try:
            await self._open()
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._stopped.set)
            self._loop.add_signal_handler(signal.SIGHUP, self._reload)
            self._announce(starter)
            self._consider_idle()
            self._consider_lost()
            await self._stopped.wait()
            await self._drain()
        finally:
            if backfill is not None:
                backfill.stop()
            schedule.stop()
            sweeper.stop()
            self._door.threads.shutdown(cancel_futures=True)
            self._close()

    # ── start ──

    def _backfill(self, sweeper: Sweeper) -> Backfill | None:
        """The queue, where an embedder is set; the engine asks the same one for what is searched for."""
        if self._embedder is None:
            return None
        self._engine.embedder = QueryEmbedder(self._embedder, self._engine.settings.embedder_query_timeout / 1000)
        backfill = self._engine.queue = Backfill(self._engine, self._turn, self._loop, self._embedder)

        def committed() -> None:
            sweeper.nudge()
            backfill.nudge()

        self._turn.committed = committed
        return backfill

    def _listen(self) -> None:
        settings = self._engine.settings
        tls = tls_context(settings)
        self._sockets = activated()
        for given in self._sockets:
            if given.family != socket.AF_UNIX:
                refuse_open_door(given.getsockname()[0], tls=tls is not None)
        if not self._sockets:
            self._file = UnixSocket(settings.socket)
            self._sockets.append(self._file.listener)
        if settings.tcp is not None:
            try:
                self._sockets.append(tcp_socket(settings.tcp, tls=tls is not None))
            except StashError:
                self._close()
                raise
        self._tls = tls

    async def _open(self) -> None:
        for listener in self._sockets:
            if listener.family == socket.AF_UNIX:
                server = await self._loop.create_unix_server(
                    self._door.local,
                    sock=listener,
                    backlog=BACKLOG,
                    **LEAVE_THE_FILE,  # type: ignore[arg-type]  # the stubs of 3.11 cannot know it
                )
            else:
                patience = HANDSHAKE_PATIENCE if self._tls else None
                server = await self._loop.create_server(
                    self._door.remote,
                    sock=listener,
                    backlog=BACKLOG,
                    ssl=self._tls,
                    ssl_handshake_timeout=patience,
                    ssl_shutdown_timeout=patience,
                )
            self._servers.append(server)

    def _announce(self, starter: Starter) -> None:
        """Tell everyone who waits, once a request would succeed."""
        self._engine.execute(Ready(), b"", self._engine.keys.local_caller())
        addresses = [_url(listener, tls=self._tls is not None) for listener in self._sockets]
        self._engine.observer.log("INFO", "ready", addresses=addresses, pid=os.getpid())
        if not self._auto_started:
            print(f"stash: pid {os.getpid()} listens on {' and '.join(addresses)}", file=sys.stderr, flush=True)
        tell_supervisor("READY=1")
        starter.ready()
        gc.freeze()  # what is there now stays: no collection needs to look through it again

    # ── while it runs ──

    def _reload(self) -> None:
        try:
            self._engine.keys.reload()
        except BadRequest as error:
            self._engine.observer.log("ERROR", "reload_refused", error=error.message)
        else:
            self._engine.observer.log("INFO", "reloaded")

    def _consider_idle(self) -> None:
        """Exit when nobody has been here for a while and nothing is kept; else look again when that could be so."""
        patience = self._engine.settings.idle_exit / 1000
        if not self._auto_started or not patience:
            return
        left = patience if self._door.connections else self._door.last_active + patience - self._loop.time()
        if left <= 0:
            if self._nothing_kept():
                self._engine.observer.log("INFO", "idle")
                self._stopped.set()
                return
            left = patience
        self._loop.call_later(left, self._consider_idle)

    def _consider_lost(self) -> None:
        """Stop when the socket's file is gone: no new caller finds this daemon, and none can be started beside it."""
        if self._file is not None and not self._file.stands:
            self._engine.observer.log("WARNING", "socket_lost", path=self._file.path)
            self._stopped.set()
            return
        self._loop.call_later(LOOK_FOR_FILE, self._consider_lost)

    def _nothing_kept(self) -> bool:
        with contextlib.suppress(StashError):
            usage, _ = self._engine.store.total(self._engine.clock.now())
            return not usage.entries
        return False

    def _trouble(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What no request can be blamed for, running out of descriptors above all: a line a minute says it too."""
        now = self._loop.time()
        if now - self._troubled >= QUIET:
            self._troubled = now
            self._engine.observer.log(
                "ERROR", "loop_trouble", message=context.get("message"), exc_info=context.get("exception")
            )

    # ── stop ──

    async def _drain(self) -> None:
        """Take nothing new; finish what is in flight, within `DRAIN_PATIENCE`."""
        tell_supervisor("STOPPING=1")
        self._engine.observer.log("INFO", "stopping")
        for server in self._servers:
            server.close()
        self._remove_socket()
        self._door.drain()
        if self._door.connections:
            self._emptied.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), DRAIN_PATIENCE)
        for connection in tuple(self._door.connections):
            connection.drop()
        self._turn.commit()
        await asyncio.sleep(0)  # lets the dropped connections be told

    def _remove_socket(self) -> None:
        if self._file is not None:
            self._file.remove()
            self._file = None

    def _close(self) -> None:
        for listener in self._sockets:
            listener.close()
        self._remove_socket()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # no build for this platform: asyncio's own loop, 1.2 to 2 times slower
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _descriptors() -> int:
    """How many files this process may have open, after asking for as many as it may ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


def _url(listener: socket.socket, *, tls: bool) -> str:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix://{name}"
    host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
    return f"{'tls' if tls else 'tcp'}://{host}:{name[1]}"
