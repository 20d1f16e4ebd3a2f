"""Connecting, and starting exactly one daemon where none runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stash_daemon.lock import OwnerLock
from stash_memory import BadRequest, Busy, Stash, StorageDamaged, Timeout, Unreachable
from stash_memory.autostart import DRAIN_TIMEOUT, may_start
from tests.client.ways import opened
from tests.support.daemon import eventually

PROGRAM = """
import sys
from stash_memory import Stash
with Stash(timeout=30) as stash:
    print(stash.incr("n"), stash.status().pid)
"""
HEAVY = {"asyncio", "typing", "re", "json", "subprocess", "socket", "msgspec", "ssl", "select", "signal", "enum"}


@pytest.fixture
def fresh(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short home where nothing ever ran and a daemon may be started; whatever was is stopped."""
    directory = Path(tempfile.mkdtemp(prefix="st"))
    monkeypatch.setenv("STASH_HOME", str(directory))
    monkeypatch.delenv("STASH_AUTOSTART")
    try:
        yield directory
    finally:
        for pid in daemons(directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        wait_until_none(directory)
        shutil.rmtree(directory)


def daemons(home: Path) -> list[int]:
    """The pids of the daemons whose home this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().split(b"\0")
            environment = (process / "environ").read_bytes().split(b"\0")
            if b"stash_daemon" in command and f"STASH_HOME={home}".encode() in environment:
                found.append(int(process.name))
    return found


def wait_until_none(home: Path) -> None:
    deadline = time.monotonic() + 15
    while any(_runs(pid) for pid in daemons(home)):
        assert time.monotonic() < deadline, "the daemon does not end"
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return Path(f"/proc/{pid}/exe").exists()


def run(program: str, *, pass_fds: tuple[int, ...] = (), **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
    )


def test_importing_it_is_cheap() -> None:
    program = "import sys; before = set(sys.modules); import stash_memory.autostart; print(*set(sys.modules) - before)"
    out = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, env=path_only())
    assert out.returncode == 0, out.stderr
    assert "stash_memory.autostart" in out.stdout
    assert not HEAVY & set(out.stdout.split())


def path_only() -> dict[str, str]:
    """An environment in which Python finds the project without what `site` imports for an editable installation."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_many_who_start_at_the_same_time_share_one_daemon(fresh: Path) -> None:
    programs = [run(PROGRAM) for _ in range(8)]
    answers = [program.communicate(timeout=50) for program in programs]
    assert [error for _, error in answers] == [""] * 8
    numbers, pids = zip(*(out.split() for out, _ in answers), strict=True)
    assert sorted(map(int, numbers)) == list(range(1, 9))
    assert len(set(pids)) == 1
    assert daemons(fresh) == [int(pids[0])]
    assert "belongs to" not in (fresh / "daemon.err").read_text()  # nor was another one started, to be turned away


def test_while_one_starts_a_daemon_nobody_starts_a_second(fresh: Path) -> None:
    starting = os.open(fresh / "autostart.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(starting, fcntl.LOCK_EX)
        with Stash(timeout=0.1) as stash, pytest.raises(Timeout, match="being started"):
            stash.ping()
        assert daemons(fresh) == []
    finally:
        os.close(starting)


def test_the_daemon_outlives_who_started_it_and_is_private(fresh: Path) -> None:
    out, error = run(PROGRAM).communicate(timeout=30)
    assert error == ""
    pid = int(out.split()[1])
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
    assert (fresh / "daemon.err").stat().st_mode & 0o777 == 0o600
    assert (fresh / "autostart.lock").stat().st_mode & 0o777 == 0o600
    assert run(PROGRAM).communicate(timeout=30)[0].split() == ["2", str(pid)]


def test_the_daemon_inherits_neither_files_nor_the_api_key(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = os.open(fresh / "a-lock-of-the-script", os.O_CREAT | os.O_RDWR)
    monkeypatch.setenv("STASH_API_KEY", "sk_nobodys")
    _, error = run(PROGRAM, pass_fds=(kept,)).communicate(timeout=30)
    os.close(kept)
    assert "Unauthenticated" in error
    (pid,) = daemons(fresh)
    held = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    assert not [name for name in held if "a-lock-of-the-script" in name]
    assert b"sk_nobodys" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_the_daemon_listens_where_it_is_looked_for(fresh: Path) -> None:
    with Stash(socket=fresh / "elsewhere") as stash:
        stash.set("k", "v")
    assert (fresh / "elsewhere").is_socket()
    assert not (fresh / "stash.sock").exists()


def test_settings_that_keep_the_daemon_from_starting_are_the_callers_error(fresh: Path) -> None:
    (fresh / "config.toml").write_text("nonsense = 1\n")
    (fresh / "config.toml").chmod(0o600)
    with Stash() as stash, pytest.raises(BadRequest, match=r"could not start: .*nonsense"):
        stash.ping()


def test_a_damaged_database_is_told_at_once_by_the_one_daemon_that_found_it(fresh: Path) -> None:
    (fresh / "stash.db").write_bytes(os.urandom(20_000))
    began = time.monotonic()
    with Stash() as stash, pytest.raises(StorageDamaged, match="not a whole SQLite database"):
        stash.ping()
    assert time.monotonic() - began < DRAIN_TIMEOUT / 2
    assert (fresh / "daemon.err").read_text().count("\n") == 1


def test_the_owner_of_the_data_is_waited_for_and_then_named(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stash_memory.autostart.DRAIN_TIMEOUT", 1.0)
    lock = OwnerLock(str(fresh / "daemon.lock"), "the data belongs to somebody")
    lock.acquire()
    try:
        with Stash() as stash, pytest.raises(Busy, match=rf"could not start: .*pid {os.getpid()}"):
            stash.ping()
    finally:
        lock.release()


def test_a_daemon_that_ends_without_a_word_is_unreachable_with_the_last_of_its_log(fresh: Path) -> None:
    (fresh / "stash_daemon").mkdir()
    (fresh / "stash_daemon" / "__init__.py").touch()
    (fresh / "stash_daemon" / "__main__.py").write_text("raise SystemExit('cut short')\n")
    program = run(PROGRAM, PYTHONPATH=os.pathsep.join([str(fresh), *sys.path]))
    assert "Unreachable: the daemon could not start: cut short" in program.communicate(timeout=30)[1]


def test_a_program_whose_standard_streams_are_closed_starts_it_like_any_other(fresh: Path) -> None:
    program = f"from stash_memory import Stash; Stash().set('k', 'v'); open({str(fresh / 'done')!r}, 'w').close()"
    command = [sys.executable, "-c", program]
    subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], timeout=25, check=True)
    assert (fresh / "done").exists()
    (pid,) = daemons(fresh)
    assert Path(f"/proc/{pid}/fd/2").readlink() == fresh / "daemon.err"


@pytest.mark.parametrize("word", ["0", "false", "No", "OFF"])
def test_autostart_can_be_turned_off(fresh: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("STASH_AUTOSTART", word)
    with Stash() as stash, pytest.raises(Unreachable, match="stash serve"):
        stash.ping()
    assert daemons(fresh) == []


@pytest.mark.parametrize("word", ["", "1", "True", "yes", "on"])
def test_autostart_can_be_left_on(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STASH_AUTOSTART", word)
    assert may_start({})
    assert may_start({"autostart": "false"}) == bool(word)  # the environment beats the file; empty, it says nothing


def test_an_autostart_that_says_neither_is_refused(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("STASH_AUTOSTART", "never")
    with pytest.raises(BadRequest, match="STASH_AUTOSTART: 'never' is none of 0, 1"):
        Stash()
    monkeypatch.delenv("STASH_AUTOSTART")
    configure(home, "autostart = 2")
    with pytest.raises(BadRequest, match=r"config.toml: autostart: '2' is none of"):
        Stash()


def test_autostart_can_be_turned_off_in_the_file(fresh: Path) -> None:
    configure(fresh, "autostart = false  # here not")
    with Stash() as stash, pytest.raises(Unreachable, match="stash serve"):
        stash.ping()
    assert daemons(fresh) == []


def configure(home: Path, text: str) -> None:
    path = home / "config.toml"
    path.touch(0o600)
    path.write_text(text + "\n")


def test_a_stash_goes_on_after_its_daemon_was_stopped(fresh: Path) -> None:
    with Stash() as stash:
        stash.set("k", "v")
        before = stash.status().pid
        stash.stop()
        assert stash.get("k") == "v"
        assert stash.status().pid != before


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_whoever_waits_hears_that_the_daemon_was_stopped_and_starts_no_other(fresh: Path, mode: str) -> None:
    with Stash() as admin, opened(mode) as getter, opened(mode) as watcher, ThreadPoolExecutor() as threads:
        admin.ping()
        watch = watcher.watch()
        waiting = threads.submit(getter.get, "never", "the default of an absent key", wait=25)
        watching = threads.submit(watch.next, 25)
        eventually(lambda: admin.stats().figures["waiting"] == 2)
        admin.stop()
        for told in (waiting, watching):
            with pytest.raises(Unreachable):
                told.result(20)
        wait_until_none(fresh)


def test_a_write_goes_on_after_its_daemon_was_killed(fresh: Path) -> None:
    with Stash() as stash:
        assert stash.incr("n") == 1
        pid = stash.status().pid
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)  # its sockets are closed only when all of it is gone
        assert stash.incr("n") == 2
