"""`stash config show`, `stash config path` and `stash completion`."""

from __future__ import annotations

import os

from stash_cli import render, streams
from stash_cli.call import Call
from stash_cli.completion import SHELLS
from stash_protocol.address import config_path


def show(call: Call) -> None:
    """`stash config show`."""
    from stash_daemon.clock import SystemClock
    from stash_daemon.keys import ApiKeys
    from stash_daemon.settings import describe, load

    settings = load({}, os.environ)
    ApiKeys(settings, SystemClock())  # a section that is wrong keeps every daemon from starting
    lines = describe(settings)
    if call.as_json:
        streams.emit(render.dump({line.name: {"value": line.value, "source": line.source} for line in lines}) + "\n")
        return
    names, values = max(len(line.name) for line in lines), max(len(line.value) for line in lines)
    for line in lines:
        streams.emit(f"{line.name:<{names}}  {line.value:<{values}}  {line.source}\n")


def path(call: Call) -> None:
    """`stash config path`."""
    found = os.environ.get("STASH_CONFIG_PATH") or config_path()
    call.print(found, lambda: render.members_of({"path": found, "exists": os.path.exists(found)}))


def completion(call: Call) -> None:
    """`stash completion`."""
    script = SHELLS[call.get("shell")]()
    call.print(script.rstrip("\n"), lambda: render.members_of({"shell": call.get("shell"), "script": script}))
