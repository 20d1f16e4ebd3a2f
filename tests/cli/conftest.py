"""A real command, a real daemon, a directory of their own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

START = "import sys; from stash_cli.main import main; sys.exit(main())"  # what the installed script does
BY_TYPER = "import sys; from stash_cli import app; sys.exit(app.run(sys.argv[1:]))"
PATIENCE = 30  # seconds


class Command:
    """`stash`, in one home."""

    def __init__(self, home: str) -> None:
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STASH_", "PYTHON"))}
        self.environment = {**kept, "STASH_HOME": home}

    def __call__(
        self, *words: str | bytes, stdin: bytes | None = None, by_typer: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end; without stdin, that is empty."""
        return subprocess.run(
            self.line(*words, by_typer=by_typer),
            input=b"" if stdin is None else stdin,
            capture_output=True,
            env={**self.environment, **environment},
            timeout=PATIENCE,
        )

    def line(self, *words: str | bytes, by_typer: bool = False) -> list[str | bytes]:
        return [sys.executable, "-P", "-c", BY_TYPER if by_typer else START, *words]

    def ok(self, *words: str | bytes, stdin: bytes | None = None, **environment: str) -> bytes:
        """What it prints, if all is well."""
        done = self(*words, stdin=stdin, **environment)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def json(self, *words: str | bytes, stdin: bytes | None = None) -> Any:
        """What it prints with ``--json``, if all is well."""
        return json.loads(self.ok("--json", *words, stdin=stdin))

    def error(self, *words: str | bytes, stdin: bytes | None = None) -> tuple[int, Any]:
        """How it fails: exit status, and the error as JSON."""
        done = self("--json", *words, stdin=stdin)
        assert done.stderr == b""
        return done.returncode, json.loads(done.stdout)["error"]

    def configure(self, text: str) -> None:
        """Write the configuration file."""
        path = Path(self.home, "config.toml")
        path.touch(0o600)
        path.write_text(text)


def free_port() -> int:
    """A port of this machine where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def end(home: str) -> None:
    """Kill the daemon of a home, if one runs, and remove the home."""
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(Path(home, "daemon.lock").read_text()), signal.SIGKILL)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def _shared_home() -> Iterator[str]:
    home = tempfile.mkdtemp(prefix="st")  # a socket's path must be short, and pytest's are not
    yield home
    end(home)


@pytest.fixture
def stash(_shared_home: str) -> Command:
    """A stash other tests use too: keys start with the test's own name."""
    return Command(_shared_home)


@pytest.fixture
def own() -> Iterator[Command]:
    """A stash for one test alone; nothing runs yet."""
    home = tempfile.mkdtemp(prefix="st")
    yield Command(home)
    end(home)


@pytest.fixture
def two() -> Iterator[tuple[Command, Command]]:
    """Two empty ones."""
    homes = [tempfile.mkdtemp(prefix="st") for _ in range(2)]
    yield Command(homes[0]), Command(homes[1])
    for home in homes:
        end(home)
