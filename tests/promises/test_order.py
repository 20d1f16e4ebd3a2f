"""Order: no reply leaves before its commit, and what many clients see of one key has happened one after the other."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon
from tests.support.linear import Call, linearizable
from tests.support.tenants import answer, exported, framed, value
from tests.torture import order

LONG = 10**12  # nanoseconds
QUIET = 0.05  # seconds in which a reply that does not wait for its commit would long be there

GATE = """
import os
from stash_daemon.stores.sqlite import SqliteStore
through = SqliteStore.commit
def commit(store):
    if os.path.exists(os.environ["GATE"] + "/shut"):
        with open(os.environ["GATE"] + "/reached", "wb") as reached:
            reached.write(b"!")
        with open(os.environ["GATE"] + "/go", "rb") as go:
            go.read()
    through(store)
SqliteStore.commit = commit
"""
"""Run in the daemon before it starts: while there is a file ``shut``, each commit says so and waits to be let go."""


class Gate:
    """Stands before the commits of a daemon."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        os.mkfifo(directory / "reached")
        os.mkfifo(directory / "go")

    def shut(self) -> None:
        (self.directory / "shut").touch()

    def wait(self) -> None:
        """Until a commit stands before it."""
        with (self.directory / "reached").open("rb") as reached:
            assert reached.read() == b"!"

    def open(self) -> None:
        """Let everything through."""
        (self.directory / "shut").unlink()
        (self.directory / "go").write_bytes(b"")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


@pytest.fixture
def daemon(gate: Gate) -> Iterator[RunningDaemon]:
    with RunningDaemon(before=GATE, environ={"GATE": str(gate.directory)}) as daemon:
        with daemon.connect() as line:
            answer(line, op.Set(key="old"), b"1")
        try:
            yield daemon
        finally:
            daemon.kill()  # it may stand at the gate


WRITES: dict[str, tuple[op.Request, bytes]] = {
    "set": (op.Set(key="k"), b"v"),
    "update": (op.Update(key="old", type="bytes"), b"v"),
    "extend": (op.Extend(key="old", by_ms=1), b""),
    "touch": (op.Get(key="old", touch=True), b""),
    "forget": (op.Forget(keys=["old"]), b""),
    "incr": (op.Incr(key="n"), b""),
    "append": (op.Append(key="l"), b"1"),
    "batch": (op.Batch(), framed((op.Set(key="k"), b"v"))),
    "clear": (op.Clear(prefix=""), b""),
    "prune": (op.Prune(keep_newest=0), b""),
}


def silent(*lines: Line) -> bool:
    return select.select([line.sock for line in lines], [], [], QUIET)[0] == []


@pytest.mark.parametrize("name", WRITES)
def test_no_reply_leaves_before_its_commit(daemon: RunningDaemon, gate: Gate, name: str) -> None:
    with daemon.connect() as line, daemon.connect() as other:
        gate.shut()
        number = line.send(*WRITES[name])
        gate.wait()
        other.send(op.Ping())
        assert silent(line, other)
        gate.open()
        assert line.read()[0]["id"] == number
        assert "now" in other.read()[0]["reply"]


def test_no_reply_to_a_read_leaves_before_what_it_saw_is_committed(daemon: RunningDaemon, gate: Gate) -> None:
    with daemon.connect() as line:
        gate.shut()
        line.send_bytes(framed((op.Set(key="old", id=2), b"new"), (op.Get(key="old", id=3), b"")))
        gate.wait()
        assert silent(line)
        gate.open()
        assert line.read()[0]["id"] == 2
        assert line.read()[1] == b"new"


def test_who_dies_before_the_commit_had_told_nobody(daemon: RunningDaemon, gate: Gate) -> None:
    with daemon.connect() as line:
        gate.shut()
        for n in range(10):
            line.send(op.Set(key=f"k{n}"), b"v")
        gate.wait()
        assert silent(line)
        daemon.kill()
        assert line.ended()
    (gate.directory / "shut").unlink()
    daemon.restart()
    with daemon.connect() as line:
        assert {entry["key"] for entry, *_ in exported(line)} == {"old"}
        assert value(line, "old") == b"1"


# ── one after the other ──


@pytest.mark.parametrize("seed", range(6))
def test_what_eight_clients_see_of_a_key_has_an_order(seed: int) -> None:
    with RunningDaemon() as daemon:
        assert order.run(daemon, seed) >= 1000


def test_the_search_finds_the_order_of_calls_that_overlap() -> None:
    calls = [
        Call(0, 100, "set", True, b"a", LONG),
        Call(10, 90, "get", None),
        Call(20, 80, "get", b"b"),
        Call(15, 85, "set", True, b"b", LONG),
        Call(110, 120, "get", b"a"),
    ]
    assert linearizable(calls)
    assert linearizable([])


IMPOSSIBLE = {
    "a read of what was replaced before": [
        Call(0, 10, "set", True, b"a", LONG), Call(20, 30, "set", True, b"b", LONG), Call(40, 50, "get", b"a"),
    ],
    "a write that is lost": [Call(0, 10, "set", True, b"a", LONG), Call(20, 30, "get", None)],
    "a read of what nobody wrote": [Call(0, 10, "set", True, b"a", LONG), Call(5, 30, "get", b"b")],
    "an increment done twice": [Call(0, 10, "incr", 1, b"1", LONG), Call(20, 30, "incr", 3, b"1", LONG)],
    "two who were both first": [Call(0, 20, "add", True, b"a", LONG), Call(10, 30, "add", True, b"b", LONG)],
    "an update of nothing": [Call(0, 10, "update", True, b"a")],
    "an end before its time": [Call(0, 10, "set", True, b"a", LONG), Call(LONG // 2, LONG // 2 + 1, "get", None)],
    "an end that came late": [Call(0, 10, "set", True, b"a", 1000), Call(10**9, 10**9 + 1, "get", b"a")],
    "a new life after the end": [
        Call(0, 10, "set", True, b"a", 10**9), Call(2 * 10**9, 2 * 10**9 + 1, "update", True, b"b"),
    ],
    "two reads that saw different orders": [
        Call(0, 10, "set", True, b"a", LONG), Call(20, 90, "set", True, b"b", LONG),
        Call(30, 40, "get", b"b"), Call(50, 60, "get", b"a"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("calls", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_the_search_finds_no_order_where_there_is_none(calls: list[Call]) -> None:
    assert not linearizable(calls)
