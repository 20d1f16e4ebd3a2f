"""ping, ready, status, stats: what the daemon says of itself."""

from __future__ import annotations

import os
import time

from stash_daemon.engine.analytics import analytics
from stash_daemon.engine.core import Core, Reply
from stash_daemon.keys import Caller
from stash_protocol import __version__
from stash_protocol.errors import StashError
from stash_protocol.operations import Checkpoint, GetStats, GetStatus, Ping, Ready
from stash_protocol.reader import Payload
from stash_protocol.replies import Done, Pong, Stats, Status


def ping(core: Core, _caller: Caller, _request: Ping, _payload: Payload) -> Reply:
    """Liveness."""
    return Reply(Pong(core.clock.now()))


def ready(core: Core, _caller: Caller, _request: Ready, _payload: Payload) -> Reply:
    """Readiness: raises what a read or a write would meet now."""
    core.store.probe()
    core.observer.require_audit()
    return Reply(Done())


def checkpoint(core: Core, _caller: Caller, _request: Checkpoint) -> Reply:
    """See that all that was acknowledged before survives the loss of power."""
    core.store.sync()
    return Reply(Done())


def status(core: Core, caller: Caller, _request: GetStatus, _payload: Payload) -> Reply:
    """The health of the daemon, and what the caller's namespace holds."""
    now = core.clock.now()
    before = time.perf_counter()
    database = "ok"
    try:
        core.store.probe()
    except StashError as error:
        database = error.code
    latency = time.perf_counter() - before
    usage = core.store.usage(core.store.namespace(caller.namespace), now)
    return Reply(
        Status(
            status="ok" if database == "ok" else "degraded",
            database=database,
            version=__version__,
            environment=core.settings.mode,
            uptime_seconds=(now - core.started) / 1000,
            latency_ms=round(latency * 1000, 3),
            sqlite_version=core.store.version,
            connections=core.observer.connections,
            entries=usage.entries,
            bytes=usage.bytes,
            now=now,
            pid=os.getpid(),
            durability=core.settings.durability if core.store.path else "memory",
        )
    )


def stats(core: Core, caller: Caller, request: GetStats) -> Reply:
    """Counts, latencies and sizes since the start."""
    now = core.clock.now()
    everyone = "admin" in caller.scopes
    with core.store.snapshot() as reads:
        usage = reads.usage(reads.namespace(caller.namespace), now)
        total, namespaces = reads.total(now) if everyone else (usage, 1)
        found = analytics(core, reads, caller.namespace, now, everyone=everyone) if request.analytics else None
    whose = None if everyone else caller.namespace
    figures = core.observer.figures(whose)
    figures["waiting"] = core.events.waiting(whose)
    text = b""
    if everyone:
        figures["alive"] = {"entries": total.entries, "bytes": total.bytes, "namespaces": namespaces}
        if request.prometheus:
            text = core.observer.prometheus(figures["alive"], figures["waiting"]).encode()
    return Reply(Stats(caller.namespace, usage.entries, usage.bytes, figures, found), text)
