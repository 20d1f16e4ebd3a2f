"""What makes stash fast and can be counted: imports, statements and transactions. Nothing here is timed."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stash_daemon.engine import Engine
from stash_protocol.memories import Memory
from stash_protocol.operations import Exists, Extend, Forget, Get, Ping, Request, Set, Ttl, Update
from tests.daemon.doors.inprocess import open_door
from tests.support.daemon import RunningDaemon
from tests.support.engine import Bench

ROOT = Path(__file__).parents[2]


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """The first words of every statement the writing connection runs meanwhile."""
    connection = engine.store._connection  # type: ignore[attr-defined]
    run: list[str] = []

    def note(_cursor: object, sql: str, _bindings: object) -> bool:
        run.append(sql.split(maxsplit=1)[0])
        return True

    connection.exec_trace = note
    try:
        yield run
    finally:
        connection.exec_trace = None


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Get(key="there"), ["SELECT"]),
        (Exists(key="there"), ["SELECT"]),
        (Ttl(key="there"), ["SELECT"]),
        (Set(key="new"), ["BEGIN", "SELECT", "INSERT", "COMMIT"]),
        (Set(key="there"), ["BEGIN", "SELECT", "UPDATE", "COMMIT"]),
        (
            Set(key="new", memory=Memory(kind="message", text_is_value=True)),
            ["BEGIN", "SELECT", "INSERT", "INSERT", "SELECT", "COMMIT"],
        ),
        (Update(key="there", type="text"), ["BEGIN", "SELECT", "UPDATE", "COMMIT"]),
        (Extend(key="there", by_ms=1000), ["BEGIN", "SELECT", "UPDATE", "COMMIT"]),
        (Forget(keys=["there"]), ["BEGIN", "SELECT", "DELETE", "UPDATE", "COMMIT"]),
    ],
    ids=["get", "exists", "ttl", "set of a new key", "set of a known key", "message", "update", "extend", "forget"],
)
def test_an_operation_runs_so_many_statements_and_no_more(request_: Request, expected: list[str]) -> None:
    bench = Bench()
    bench.set("there")
    first = Memory(text="what goes into the index of words at once")
    bench.set("elsewhere", memory=first, caller=bench.someone("other"))
    with statements(bench.engine) as run:
        bench.ask(request_, b"v" if isinstance(request_, (Set, Update)) else b"")
    assert run == expected


def test_all_that_arrives_in_one_turn_of_the_loop_shares_one_transaction() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wires = [await desk.connect() for _ in range(3)]
            await wires[0].call(Set(id=1, key="first"), b"v")  # makes the namespace
            with statements(desk.engine) as run:
                for wire in wires:
                    wire.send(*((Set(id=number, key=f"{id(wire)}:{number}"), b"v") for number in range(1, 65)))
                for wire in wires:
                    assert [(await wire.read())[0]["id"] for _ in range(64)] == list(range(1, 65))
            assert (run.count("BEGIN"), run.count("COMMIT"), run.count("INSERT")) == (1, 1, 3 * 64)

    asyncio.run(scenario())


def test_reads_alone_open_no_transaction_and_what_was_just_read_is_not_looked_for_again() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire = await desk.connect()
            await wire.call(Set(id=1, key="k"), b"v")
            with statements(desk.engine) as run:
                wire.send(*((Get(id=number, key="k"), b"") for number in range(2, 66)), (Ping(id=66), b""))
                for _ in range(65):
                    await wire.read()
            assert run == ["SELECT"]

    asyncio.run(scenario())


def loaded(statement: str, **environ: str) -> set[str]:
    """The modules a fresh interpreter imports for a statement."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], env=environ, capture_output=True, text=True, check=True
    )
    return set(re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", run.stderr, re.MULTILINE))


@pytest.mark.parametrize("words", [["set", "k", "v"], ["get", "k"], ["ttl", "k"], ["exists", "k"], ["list"]])
def test_a_hot_verb_loads_nothing_it_can_do_without(words: list[str]) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    forbidden = next(each for each in contracts if each["name"] == "The hot verbs load next to nothing")
    call = f"import sys; sys.argv = ['stash', *{words}]; from stash_cli.main import main; main()"
    with RunningDaemon() as daemon, daemon.connect() as line:
        line.call(Set(key="k"), b"v")
        found = loaded(call, STASH_HOME=str(daemon.home), STASH_AUTOSTART="0")
    assert "stash_cli.main" in found
    assert found & set(forbidden["forbidden_modules"]) - loaded("pass") == set()
