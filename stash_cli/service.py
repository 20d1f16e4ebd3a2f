"""`stash serve`: the daemon in the foreground."""

from __future__ import annotations

import os
import signal

from stash_cli.call import Call
from stash_cli.serve_options import SERVE_OPTIONS
from stash_protocol.errors import BadRequest

MAX_ENV_FILE = 1 << 16  # bytes: thirty settings and room to spare
NOT_SETTINGS = ("env_file",)


def serve(call: Call) -> int:
    """`stash serve`."""
    names = [option.name for option in SERVE_OPTIONS if option.name not in NOT_SETTINGS] + ["socket"]
    flags = {name: str(call.get(name)) for name in names if call.get(name) is not None}
    environment = {**_env_file(call.get("env_file")), **os.environ}
    from stash_daemon.settings import load

    settings = load(flags, environment)
    from stash_daemon.app import run  # after the settings: what is wrong with them is said sooner

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return run(settings)


def _env_file(path: str | None) -> dict[str, str]:
    """The variables in a file of ``NAME=value`` lines; quotes around a value are taken off.

    Raises:
        BadRequest: it cannot be read, or a line is not one.
    """
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read(MAX_ENV_FILE).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"--env-file: {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        if not equals or not name.strip().isidentifier():
            raise BadRequest(f"--env-file: {path}, line {number}: not NAME=value")
        value = value.strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        found[name.strip()] = value[1:-1] if quoted else value
    return found
