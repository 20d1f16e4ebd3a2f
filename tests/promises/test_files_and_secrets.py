"""Files and secrets: nothing is ever open to others, and a canary is found nowhere but in the database."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from stash_daemon.observe.files import LineFile, stamp
from stash_protocol import operations as op
from tests.support.daemon import RunningDaemon, StartFailed, code, eventually
from tests.support.tenants import answer, exported, framed, issue, packed, refusal

CANARY = b"canary-93e7-of-a-value"
NIGHT = 1_800_000_000_000  # milliseconds since the epoch
DAY = 86_400_000
UMASK = "import os\nos.umask(0)\n"

AUDITED = {"STASH_LOG_LEVEL": "DEBUG"}


@pytest.fixture
def nowhere() -> Iterator[Path]:
    """The path of a home that is still to be made, in a directory that others may look into."""
    directory = Path(tempfile.mkdtemp(prefix="st"))
    directory.chmod(0o755)
    yield directory / "home"
    shutil.rmtree(directory)


# ── files ──


class Lookout:
    """Looks at every file under a directory, over and over; notes what was ever open to others."""

    def __init__(self, directory: Path) -> None:
        self.open: set[str] = set()
        self.seen: set[str] = set()
        self.rounds = 0
        self._directory = directory
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stopped.wait(0.0005):
            self._look(str(self._directory))
            self.rounds += 1

    def _look(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            mode = os.lstat(path).st_mode
            self.seen.add(os.path.basename(path))
            if stat.S_IMODE(mode) & 0o077 and not stat.S_ISLNK(mode):
                self.open.add(f"{path} {stat.S_IMODE(mode):04o}")
            if stat.S_ISDIR(mode):
                for name in os.listdir(path):
                    self._look(f"{path}/{name}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()


def use(daemon: RunningDaemon) -> None:
    """Everything that makes a file, or makes one anew."""
    with daemon.connect() as line:
        for n in range(200):
            answer(line, op.Set(key=f"k{n}"), os.urandom(5000))
        issue(daemon, name="bot")
        answer(line, op.KeyRotate(name="bot"))
        exported(line)
        answer(line, op.Clear(prefix=""))
        answer(line, op.KeyRevoke(name="bot"))


@pytest.mark.parametrize("umask", [UMASK, "import os\nos.umask(0o077)\n"], ids=["000", "077"])
def test_nothing_is_open_to_others_at_any_moment(nowhere: Path, umask: str) -> None:
    environ = AUDITED | {"STASH_AUDIT_LOG": str(nowhere / "audit" / "audit.log"), "STASH_HOME": str(nowhere)}
    with RunningDaemon() as other:  # for a place where its stderr can be, which is the test's file
        stderr = other.home
    stderr.mkdir()
    try:
        with Lookout(nowhere) as lookout, RunningDaemon(home=stderr, environ=environ, before=umask) as daemon:
            daemon.socket = nowhere / "stash.sock"
            use(daemon)
            daemon.kill()
            daemon.restart()
            use(daemon)
            eventually(lambda rounds=lookout.rounds: lookout.rounds > rounds + 20)
    finally:
        shutil.rmtree(stderr)
    assert lookout.open == set()
    assert lookout.seen >= {
        "home", "stash.db", "stash.db-wal", "stash.sock", "daemon.lock", "config.toml", "stash.log", "audit",
        "audit.log",
    }  # fmt: skip


UNSAFE = {
    "a configuration that others can read": lambda home: (home / "config.toml").chmod(0o644),
    "a configuration behind a link": lambda home: _linked(home / "config.toml"),
    "a lock behind a link": lambda home: _linked(home / "daemon.lock"),
    "a database behind a link": lambda home: _linked(home / "stash.db"),
}


def _linked(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


@pytest.mark.parametrize("unsafe", UNSAFE)
def test_what_is_not_safe_is_refused_in_one_line(unsafe: str) -> None:
    with RunningDaemon() as daemon:
        issue(daemon, name="bot")
        daemon.stop()
        UNSAFE[unsafe](daemon.home)
        with pytest.raises(StartFailed) as failed:
            daemon.restart()
        assert failed.value.status in (2, 9)
        assert failed.value.said.count("\n") == 1
        assert str(daemon.home) in failed.value.said or "database" in failed.value.said


# ── secrets ──


def everywhere(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_value_is_found_in_the_database_alone_and_an_api_key_nowhere() -> None:
    home = Path(tempfile.mkdtemp(prefix="st"))
    environ = AUDITED | {"STASH_AUDIT_LOG": str(home / "audit.log")}
    try:
        with RunningDaemon(home=home, environ=environ) as daemon:
            secrets = [issue(daemon, "canaries", name="canary").encode()]
            with daemon.connect(api_key=secrets[0].decode()) as line:
                answer(line, op.Set(key="k"), CANARY)
                answer(line, op.Batch(), framed((op.Set(key="b"), CANARY), (op.Get(key="k"), b"")))
                answer(line, op.Import(), packed([["i", "text", 60_000, CANARY, []]]))
                refusal(line, op.Append(key="l"), b"no JSON " + CANARY)
                refusal(line, op.Set(key="k", if_absent=True), CANARY)
                assert code(line.call(op.Get(key=secrets[0].decode()))) == "not_found"
                exported(line)
            with daemon.connect() as admin:
                secrets.append(answer(admin, op.KeyRotate(name="canary"))["api_key"].encode())
            with daemon.connect(hello=False) as line:
                line.hello(api_key=secrets[0].decode(), check=False)
            title = b"".join(Path(f"/proc/{daemon.pid}/{name}").read_bytes() for name in ("cmdline", "environ", "comm"))
            assert not any(secret in title for secret in (CANARY, *secrets))
            daemon.stop()
            found = everywhere(home)
        assert {name for name, data in found.items() if CANARY in data} <= {"stash.db", "stash.db-wal"}
        assert {name for name, data in found.items() if any(secret in data for secret in secrets)} == set()
        assert {"audit.log", "stash.log", "config.toml", "stash.db"} <= found.keys()
    finally:
        shutil.rmtree(home)


NASTY = ["a\nb", "\x1b[2J\x1b[31m", 'x", "outcome": "ok"}\n{"forged": 1}', "\u2028", "\x85\x00", "é" * 1000, "x" * 2048]


def test_logs_and_audit_are_a_line_each_whatever_the_keys() -> None:
    home = Path(tempfile.mkdtemp(prefix="st"))
    environ = AUDITED | {"STASH_AUDIT_LOG": str(home / "audit.log")}
    try:
        with RunningDaemon(home=home, environ=environ) as daemon, daemon.connect() as line:
            for key in NASTY:
                answer(line, op.Set(key=key), b"v")
                answer(line, op.Forget(keys=[key] * 5))  # ten kilobytes of them
            assert code(line.call(op.Get(key="x" * 10_000))) == "bad_request"
            asked = 2 * len(NASTY) + 2  # and a hello
            audit = [json.loads(each) for each in (home / "audit.log").read_bytes().splitlines()]
            assert [each["key"] for each in audit if each["op"] == "set"] == NASTY
            assert len(audit) == asked
        for each in (home / "stash.log").read_bytes().split(b"\n")[:-1]:
            assert "event" in json.loads(each)
            assert not set(each) & set(range(32))
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize("number", ["", ".1"])
def test_a_link_planted_at_the_next_rotations_name_is_not_followed(tmp_path: Path, number: str) -> None:
    log, victim = LineFile(f"{tmp_path}/a", None, max_bytes=100), tmp_path / "victim"
    victim.write_text("mine")
    planted = tmp_path / f"a.{stamp(NIGHT)[:10]}{number}"
    planted.symlink_to(victim)
    for n in range(40):
        log.append(b"line %d\n" % n, NIGHT)
    log.close()
    assert victim.read_text() == "mine"
    assert planted.is_symlink()
    lines = [each for path in tmp_path.glob("a*") if not path.is_symlink() for each in path.read_text().splitlines()]
    assert sorted(lines) == sorted(f"line {n}" for n in range(40))
