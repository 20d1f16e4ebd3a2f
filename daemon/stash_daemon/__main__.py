"""``python -m stash_daemon [--auto-started] [--ready-fd N] [--setting value …]``: the daemon in the foreground."""

from __future__ import annotations

import os
import sys

from stash_daemon.settings import load
from stash_daemon.starter import Starter
from stash_protocol.errors import BadRequest, StashError


def main(arguments: list[str]) -> int:
    """Run the daemon; its exit status.

    What keeps it from starting is one line on stderr, and goes with its code to whoever waits at ``--ready-fd``.
    """
    # Before numpy is loaded: its threads would compete with the loop for the cores, and spin while they wait.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    starter = Starter(None)
    try:
        flags, auto_started, starter = _read(arguments)
        settings = load(flags, os.environ)
        from stash_daemon.app import run  # after the settings: what is wrong with them is said sooner

        return run(settings, auto_started=auto_started, starter=starter)
    except StashError as error:
        print(f"stash: {error.message}", file=sys.stderr)
        starter.failed(error)
        return error.exit_status


def _read(arguments: list[str]) -> tuple[dict[str, str], bool, Starter]:
    """Settings by name, and the two words that are none."""
    flags: dict[str, str] = {}
    auto_started = False
    rest = iter(arguments)
    for word in rest:
        name, equals, value = word.partition("=")
        if word == "--auto-started":
            auto_started = True
        elif not name.startswith("--") or len(name) == 2:
            raise BadRequest(f"{word!r} is not a setting; write --setting value")
        elif not equals and (value := next(rest, "")) == "":
            raise BadRequest(f"{name} needs a value")
        else:
            flags[name.removeprefix("--")] = value
    ready = flags.pop("ready-fd", None)
    if ready is not None and not ready.isdigit():
        raise BadRequest("--ready-fd needs the number of an open descriptor")
    return flags, auto_started, Starter(None if ready is None else int(ready))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
