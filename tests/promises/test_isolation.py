"""Isolation: what another namespace holds costs no step more or less, and a revoked API key opens nothing any more.

That nothing leaks by replies, errors, counts and events is in `test_wall`; both go through every operation there is.
"""

from __future__ import annotations

import copy
import os
import signal
import time
from collections.abc import Iterator

import pytest

from stash_protocol import operations as op
from stash_protocol.errors import StashError
from stash_protocol.operations import OPERATIONS, Access, Operation, Pace, Request
from tests.support.cases import AIMED, PREY
from tests.support.daemon import RunningDaemon, eventually
from tests.support.engine import Bench
from tests.support.tenants import answer, exported, issue, packed, refusal

WITHIN = 1.0  # seconds

BY_NAME = sorted(OPERATIONS.values(), key=lambda row: row.name)
IN_ENGINE = [row for row in BY_NAME if row.pace is not Pace.DOOR and row.access is not Access.ADMIN]


def name_of(row: object) -> str:
    return row.name if isinstance(row, Operation) else repr(row)


def cases(row: Operation) -> list[tuple[Request, bytes]]:
    assert row.request in AIMED, f"{row.name} has no row in tests/support/cases.py: add one"
    return [(copy.copy(request), payload) for request, payload in AIMED[row.request]]


# ── timing ──


def statements(bench: Bench, request: Request, payload: bytes) -> list[str]:
    """Every statement that the database is asked to run for a request, without what is bound to it."""
    ran: list[str] = []
    connection = bench.engine.store._connection  # type: ignore[attr-defined]
    connection.exec_trace = lambda _cursor, sql, _bindings: bool(ran.append(sql)) or True
    try:
        bench.ask(request, payload, bench.someone("spy", frozenset({"read", "write"})))
    except StashError as error:
        ran.append(error.code)
    finally:
        connection.exec_trace = None
    return ran


@pytest.mark.parametrize("operation", IN_ENGINE, ids=name_of)
def test_another_namespaces_entry_takes_the_same_steps_as_none(operation: Operation) -> None:
    for request, payload in cases(operation):
        deserted, crowded = Bench(), Bench()
        for bench, others in ((deserted, ()), (crowded, ("sp", "spyglass", "default"))):
            bench.set("own", caller=bench.someone("spy"))
            for other in others:
                bench.ask(op.Import(), packed(PREY), bench.someone(other))
        assert statements(crowded, request, payload) == statements(deserted, copy.copy(request), payload), request
        for bench in (deserted, crowded):
            bench.engine.close()


def test_statements_are_seen_where_there_are_some() -> None:
    bench = Bench()
    assert [sql for sql in statements(bench, op.Get(key="k"), b"") if "FROM entries" in sql]
    bench.engine.close()


# ── revoked ──


class Revoked:
    """A connection whose API key was revoked while it was open, in a namespace where others go on."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.owner = daemon.connect(api_key=issue(daemon, "house"))
        answer(self.owner, op.Import(), packed(PREY))
        scopes = ["read", "write", "admin"]
        self.line = daemon.connect(api_key=issue(daemon, "house", name="thief", scopes=scopes))
        answer(self.line, op.Ping())
        with daemon.connect() as admin:
            answer(admin, op.KeyRevoke(name="thief"))


@pytest.fixture(scope="module")
def revoked(daemon: RunningDaemon) -> Iterator[Revoked]:
    revoked = Revoked(daemon)
    yield revoked
    revoked.line.close()
    revoked.owner.close()


@pytest.mark.parametrize("operation", BY_NAME, ids=name_of)
def test_a_revoked_api_key_opens_no_operation_on_a_connection_that_is_open(
    revoked: Revoked, operation: Operation
) -> None:
    before = exported(revoked.owner)
    for request, payload in cases(operation):
        request.id = 0
        assert refusal(revoked.line, request, payload)["code"] == "unauthenticated"
    assert exported(revoked.owner) == before


def test_what_a_revoked_api_key_still_waits_for_ends_without_an_answer_to_it(daemon: RunningDaemon) -> None:
    with daemon.connect(api_key=issue(daemon, "waits", name="waiter")) as waiter, daemon.connect() as admin:
        with daemon.connect(api_key=issue(daemon, "waits")) as other:
            answer(waiter, op.Watch(id=1))
            waiter.send(op.Get(id=2, key="k", wait_ms=60_000))
            answer(waiter, op.Ping(id=3))
            answer(admin, op.KeyRevoke(name="waiter"))
            began = time.monotonic()
            answer(other, op.Set(key="k"), b"secret")
        ends = [waiter.read() for _ in range(2)]
    assert time.monotonic() - began <= WITHIN
    assert {envelope["id"]: envelope["error"]["code"] for envelope, _ in ends} == dict.fromkeys(
        (1, 2), "unauthenticated"
    )
    assert [payload for _, payload in ends] == [b"", b""]


def test_an_api_key_that_was_revoked_in_the_file_is_refused_within_a_second_of_the_reload(
    daemon: RunningDaemon,
) -> None:
    with daemon.connect(api_key=issue(daemon, name="filed")) as line:
        path = daemon.home / "config.toml"
        sections = path.read_text().split("[keys.")
        path.write_text("[keys.".join(part for part in sections if not part.startswith("filed")))
        os.kill(daemon.pid, signal.SIGHUP)
        eventually(lambda: line.call(op.Ping())[0].get("error", {}).get("code") == "unauthenticated", WITHIN)
