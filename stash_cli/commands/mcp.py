"""`stash mcp` and `stash mcp install`."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec

from stash_cli import render, streams
from stash_cli.call import Call, api_key
from stash_cli.mcp_hosts import HOSTS, Server
from stash_memory.given import read_config
from stash_protocol.errors import BadRequest

PASSED_ON = ("STASH_HOME", "STASH_SOCKET", "STASH_URL", "STASH_AUTOSTART", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
"""What says which stash is meant: hosts start their servers with little of the user's environment."""


NO_SDK = f"the MCP SDK is not installed; run: {sys.executable} -m pip install 'mcp>=2.3,<3'"


def mcp(call: Call) -> None:
    """`stash mcp`."""
    if call.get("action") == "install":
        _install(call)
    elif "write" in call.values or "host" in call.values:
        raise BadRequest("a host and --write belong to: stash mcp install")
    else:
        _serve(call)


def _serve(call: Call) -> None:
    if streams.is_terminal(0):
        raise BadRequest("stash mcp talks to a program, not to a person; stash mcp install says how to set that up")
    try:
        from stash_memory.integrations.mcp import run
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in ("mcp", "mcp_types", "anyio"):
            raise
        raise BadRequest(NO_SDK) from None
    from stash_memory import AsyncStash

    credential = api_key(call.values, read_config())
    run(AsyncStash(url=call.get("url"), socket=call.get("socket"), api_key=credential, timeout=call.timeout))


def _install(call: Call) -> None:
    server = Server(_program(), _arguments(call), _environment(call))
    chosen = [call.get("host")] if "host" in call.values else list(HOSTS)
    if "write" in call.values:
        if len(chosen) != 1:
            raise BadRequest(f"--write needs a host: {', '.join(HOSTS)}")
        HOSTS[chosen[0]].install(server)
    if find_spec("mcp") is None:
        streams.say(f"the server will not start yet: {NO_SDK}")
    if os.environ.get("STASH_API_KEY"):
        streams.say("STASH_API_KEY is not copied: put the API key into a file of mode 0600 and add --api-key-file FILE")
    if call.as_json:
        shown = {name: {"file": HOSTS[name].file, "entry": HOSTS[name].entry(server)} for name in chosen}
        streams.emit(render.dump({"hosts": shown, "written": "write" in call.values}) + "\n")
    elif "write" in call.values:
        streams.emit(HOSTS[chosen[0]].file + "\n")
    else:
        parts = [f"# {HOSTS[name].title}: {HOSTS[name].file}\n{HOSTS[name].shown(server)}" for name in chosen]
        streams.emit("\n".join(parts))


def _program() -> str:
    """The command's absolute path: a host that was not started from a shell knows no PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "stash")
    return shutil.which("stash") or (beside if os.access(beside, os.X_OK) else "stash")


def _arguments(call: Call) -> list[str]:
    arguments = ["mcp"]
    for flag, name in (("--url", "url"), ("--socket", "socket"), ("--api-key-file", "api_key_file")):
        if name in call.values:
            text = call.get(name)
            arguments += [flag, text if name == "url" else os.path.abspath(text)]
    return arguments


def _environment(call: Call) -> dict[str, str]:
    named = "url" in call.values or "socket" in call.values
    return {
        name: os.environ[name]
        for name in PASSED_ON
        if os.environ.get(name) and not (named and name in ("STASH_URL", "STASH_SOCKET"))
    }
