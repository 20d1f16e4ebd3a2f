"""Disk: full, it is named, reads go on and writes come back; damaged, it is named and nothing is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import apsw
import pytest

from stash_daemon.stores.schema import PAGE_SIZE, SCHEMA_VERSION
from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon, StartFailed, code, eventually
from tests.support.disks import KIB, SMALL
from tests.support.tenants import answer, exported, framed, packed, refusal, value

BLOCK = 64 * KIB  # bytes
ENOUGH = 500  # blocks: more than any of the small disks has


def fill(line: Line) -> dict[str, bytes]:
    """Set until there is no room; what was acknowledged."""
    held: dict[str, bytes] = {}
    for number in range(ENOUGH):
        key, content = f"k{number}", os.urandom(BLOCK)
        envelope, _ = line.call(op.Set(key=key), content)
        if "error" in envelope:
            assert envelope["error"]["code"] == "storage_full", envelope
            assert "full" in envelope["error"]["message"]
            return held
        held[key] = content
    raise AssertionError("the disk is not small")


@pytest.mark.parametrize("small", SMALL.values(), ids=SMALL)
def test_a_full_disk_is_named_reads_go_on_and_writes_resume_without_a_restart(
    small: Callable[[], AbstractContextManager[Any]],
) -> None:
    with small() as disk, RunningDaemon(home=disk.home, before=disk.before) as daemon:
        with daemon.connect() as line, daemon.connect() as watcher:
            held = fill(line)
            answer(watcher, op.Watch())
            big = bytes(ENOUGH * BLOCK // 4)
            writes: list[tuple[op.Request, bytes]] = [
                (op.Set(key="more"), big), (op.Update(key="k0", type="bytes"), big),
                (op.Batch(), framed((op.Set(key="k0"), b"undone"), (op.Set(key="more"), big))),
                (op.Import(), packed([["more", "bytes", 60_000, big, []]])),
            ]  # fmt: skip
            for request, payload in writes:
                assert refusal(line, request, payload)["code"] == "storage_full"
            assert answer(line, op.Ping())
            assert answer(line, op.GetStatus())["pid"] == daemon.pid
            assert all(value(line, key) == content for key, content in held.items())
            assert "more" not in {entry["key"] for entry, *_ in exported(line)}
            disk.make_room(daemon)
            eventually(lambda: "reply" in line.call(op.Set(key="after"), b"x" * BLOCK)[0])
            assert answer(line, op.Ready()) == {}
            assert watcher.read()[0]["push"]["key"] == "after", "a watcher was told of what was refused"
        daemon.kill()
        daemon.restart()
        with daemon.connect() as line:
            kept = {entry["key"]: bytes(content) for entry, content, *_ in exported(line)}
        assert kept == held | {"after": b"x" * BLOCK}


@pytest.mark.parametrize("small", SMALL.values(), ids=SMALL)
def test_on_a_full_disk_forget_clear_and_prune_work_and_what_they_free_can_be_written_again(
    small: Callable[[], AbstractContextManager[Any]],
) -> None:
    with small() as disk, RunningDaemon(home=disk.home, before=disk.before) as daemon, daemon.connect() as line:
        held = list(fill(line))
        third = len(held) // 3
        assert third > 1
        for key in held[:third]:
            assert answer(line, op.Forget(keys=[key])) == {"forgotten": 1}
        assert answer(line, op.Prune(keep_newest=third))["pruned"] == len(held) - 2 * third
        assert answer(line, op.Clear(prefix=""))["forgotten"] == third
        assert exported(line) == []
        eventually(lambda: "reply" in line.call(op.Set(key="after"), b"x" * BLOCK)[0])
        assert answer(line, op.Ready()) == {}


@pytest.mark.parametrize("small", SMALL.values(), ids=SMALL)
def test_on_a_full_disk_a_value_can_be_forgotten_that_is_larger_than_what_is_kept_back_for_that(
    small: Callable[[], AbstractContextManager[Any]],
) -> None:
    with small() as disk, RunningDaemon(home=disk.home, before=disk.before) as daemon, daemon.connect() as line:
        answer(line, op.Set(key="large"), os.urandom(800 * KIB))
        fill(line)
        assert answer(line, op.Forget(keys=["large"])) == {"forgotten": 1}
        eventually(lambda: "reply" in line.call(op.Set(key="after"), b"x" * BLOCK)[0])


# ── not what it was: found at the start ──


@pytest.fixture
def home() -> Iterator[RunningDaemon]:
    """A daemon that has stopped in order, with some hundred entries in its database."""
    with RunningDaemon() as daemon:
        with daemon.connect() as line:
            rows = [[f"k{n}", "bytes", 3_600_000, b"%d" % n * 500, []] for n in range(300)]
            answer(line, op.Import(), packed(rows))
        assert daemon.stop() == 0
        yield daemon


def cut(size: int) -> Callable[[Path], None]:
    """All but so many bytes from the front; from the back, when negative."""
    return lambda path: os.truncate(path, size if size >= 0 else path.stat().st_size + size)


def flip(start: int, length: int = 16) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(start)
            part = file.read(length)
            file.seek(start)
            file.write(bytes(byte ^ 0xFF for byte in part))

    return damage


def newer(path: Path) -> None:
    apsw.Connection(str(path)).execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def replaced_by_a_link(path: Path) -> None:
    path.rename(path.with_name("real.db"))
    path.symlink_to("real.db")


def replaced_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def removed_but_for_its_log(path: Path) -> None:
    path.unlink()
    path.with_name("stash.db-wal").write_bytes(b"what was written last")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "of zero bytes": cut(0),
    "of a hundred bytes": cut(100),
    "of one page": cut(PAGE_SIZE),
    "without its last page": cut(-PAGE_SIZE),
    "with another beginning": flip(0),
    "with a flipped root": flip(100, 8),
    "with a flipped page of the schema's": flip(2 * PAGE_SIZE, 64),
    "all noise": lambda path: path.write_bytes(os.urandom(50_000)),
    "of something else": lambda path: (path.unlink(), apsw.Connection(str(path)).execute("CREATE TABLE t (x)"))[0],
    "of a newer stash": newer,
    "a link": replaced_by_a_link,
    "a directory": replaced_by_a_directory,
    "removed but for its log": removed_but_for_its_log,
}


def snapshot(directory: Path) -> dict[str, bytes | None]:
    return {
        path.name: path.read_bytes() if path.is_file() else None
        for path in directory.iterdir()
        if path.name.startswith("stash.db")
    }


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_database_that_cannot_be_believed_is_refused_in_one_line_and_left_as_it_is(
    home: RunningDaemon, damage: Callable[[Path], None]
) -> None:
    damage(home.home / "stash.db")
    found = snapshot(home.home)
    for _ in range(2):
        with pytest.raises(StartFailed) as failed:
            home.restart()
        assert failed.value.status in (2, 9)
        assert failed.value.said.count("\n") == 1
        assert "database" in failed.value.said or "stash.db" in failed.value.said
    assert snapshot(home.home) == found


@pytest.mark.parametrize("page", [5, 20, -3])
def test_a_page_that_was_flipped_is_named_by_whoever_meets_it_and_by_nobody_else(
    home: RunningDaemon, page: int
) -> None:
    path = home.home / "stash.db"
    flip(page * PAGE_SIZE % path.stat().st_size, 64)(path)
    try:
        home.restart()
    except StartFailed as failed:
        if failed.status == 9:  # it was met at the start already
            return
        raise
    with home.connect() as line:
        for n in range(300):
            envelope, content = line.call(op.Get(key=f"k{n}"))
            assert content == b"%d" % n * 500 if "reply" in envelope else envelope["error"]["code"] == "storage_damaged"
        for request in (op.List(), op.Export(), op.Prune(keep_newest=0), op.Clear(prefix=""), op.GetStats()):
            assert line.call(request)[0].get("error", {}).get("code", "ok") in ("ok", "storage_damaged")
        assert answer(line, op.Ping())


# ── not what it was: found while it runs ──


@pytest.fixture
def served() -> Iterator[tuple[RunningDaemon, Line]]:
    with RunningDaemon() as daemon, daemon.connect() as line:
        answer(line, op.Set(key="k"), b"v")
        yield daemon, line


def away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def another(path: Path) -> None:
    away(path)
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [Path.unlink, away, another])
def test_a_database_that_is_taken_away_meanwhile_takes_no_more_writes(
    served: tuple[RunningDaemon, Line], damage: Callable[[Path], None]
) -> None:
    """What was acknowledged into a file that is gone would be lost with the next restart."""
    daemon, line = served
    damage(daemon.home / "stash.db")
    for request, payload in ((op.Set(key="k2"), b"v"), (op.Incr(key="n"), b""), (op.Forget(keys=["k"]), b"")):
        error = refusal(line, request, payload)
        assert error["code"] == "storage_damaged"
        assert "removed or replaced" in error["message"]
    assert refusal(line, op.Ready())["code"] == "storage_damaged"
    assert answer(line, op.Ping())


# ── held by somebody else ──

HOLD = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


HASTE = "from stash_daemon.stores import sqlite\nsqlite.BUSY_TIMEOUT = 1_000\n"  # how long changes nothing else


def test_a_database_that_another_process_holds_is_waited_for_and_then_said_to_be_held() -> None:
    with RunningDaemon(before=HASTE) as home:
        with home.connect() as line:
            answer(line, op.Set(key="k"), b"v")
        home.stop()
        held_and_let_go(home)
        with home.connect() as line:
            assert value(line, "k") == b"v"


def held_and_let_go(home: RunningDaemon) -> None:
    command = [sys.executable, "-c", HOLD, str(home.home / "stash.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StartFailed, match="held by another process") as failed:
            home.restart()
        assert failed.value.status == 9
        waiting = threading.Thread(target=home.restart)
        waiting.start()
        holder.stdin.close()
        waiting.join()


def test_while_the_daemon_runs_no_other_process_gets_at_the_file(served: tuple[RunningDaemon, Line]) -> None:
    daemon, line = served
    other = apsw.Connection(str(daemon.home / "stash.db"))
    with pytest.raises((apsw.BusyError, apsw.CantOpenError)):
        other.execute("INSERT INTO meta VALUES ('x', 'y')")
    other.close()
    assert code(line.call(op.Get(key="nothing"))) == "not_found"
