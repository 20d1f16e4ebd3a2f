"""`stash status`, `ping`, `ready` and `stop`."""

from __future__ import annotations

import time

from stash_cli import render, streams
from stash_cli.call import Call
from stash_protocol.errors import Busy, StashError, Timeout, Unreachable
from stash_protocol.types import format_duration, format_size

READY_TIMEOUT = 5.0  # seconds, unless --timeout says more
POLL = 0.05  # seconds between two tries; nothing tells when a daemon that is not there comes


def status(call: Call) -> None:
    """`stash status`."""
    reply, _ = call.ask()
    call.print(_status_text(reply), lambda: render.members_of(reply))


def _status_text(reply: dict[str, object]) -> str:
    shown = dict(reply)
    shown["uptime"] = format_duration(float(str(shown.pop("uptime_seconds"))) * 1000)
    shown["latency"] = f"{shown.pop('latency_ms')} ms"
    shown["bytes"] = format_size(int(str(shown["bytes"])))
    shown["now"] = render.moment(int(str(shown["now"])))
    return "\n".join(f"{name.replace('_', ' '):<15} {value}" for name, value in shown.items())


def ping(call: Call) -> None:
    """`stash ping`."""
    started = time.perf_counter()
    reply, _ = call.ask()
    took = (time.perf_counter() - started) * 1000
    call.print("pong", lambda: render.members_of({"ok": True, "now": reply["now"], "latency_ms": round(took, 3)}))


def ready(call: Call) -> None:
    """`stash ready`."""
    timeout = READY_TIMEOUT if call.get("timeout") is None else call.timeout
    deadline = time.monotonic() + timeout
    while True:
        try:
            call.connect(max(POLL, deadline - time.monotonic()), autostart=False).call("ready")
        except (Unreachable, Busy) as problem:
            if time.monotonic() + POLL > deadline:
                raise Timeout(f"not ready within {timeout:g} s: {problem.message}") from None
            call.hang_up()
            time.sleep(POLL)
        else:
            call.print("ready", lambda: render.members_of({"ready": True}))
            return


def stop(call: Call) -> None:
    """`stash stop`."""
    try:
        connection = call.connect(autostart=False)
    except Unreachable:
        _stopped(call, was_running=False)
        return
    connection.call("stop")
    if not connection.gone():
        raise Timeout(f"the daemon was told to stop, and is still there after {connection.timeout:g} s")
    call.hang_up()
    deadline = time.monotonic() + connection.timeout
    while _still_listens(call):
        if time.monotonic() > deadline:
            raise Timeout(f"the daemon was told to stop, and still listens after {connection.timeout:g} s")
        time.sleep(POLL)
    _stopped(call, was_running=True)


def _still_listens(call: Call) -> bool:
    try:
        call.connect(autostart=False)
    except StashError:
        return False
    call.hang_up()
    return True


def _stopped(call: Call, *, was_running: bool) -> None:
    if call.as_json:
        streams.emit(render.object_of(render.members_of({"stopped": was_running})) + "\n")
    elif not was_running:
        streams.say("no daemon runs")
