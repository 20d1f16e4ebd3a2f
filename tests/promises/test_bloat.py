"""Bloat: five megabytes on a tier of one. Refused before they are read, and the connection is none the worse for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stash_protocol import operations as op
from stash_protocol.operations import OPERATIONS, Cargo, Request
from tests.support.daemon import Line, RunningDaemon
from tests.support.tenants import announced, answer, exported, framed, issue, packed, refusal, tenant, value

MIB = 1 << 20
BLOAT = b"x" * (5 * MIB)
ITEM = b'"' + b"x" * (5 * MIB) + b'"'

ONE_VALUE = {
    "set": op.Set(key="k"),
    "set of a made key": op.Set(),
    "set if absent": op.Set(key="new", if_absent=True),
    "update": op.Update(key="k", type="text"),
    "append": op.Append(key="l"),
    "append to nothing": op.Append(key="new"),
}
"""Requests whose payload is the value: its length says all there is to know."""

WITHIN = {
    "batch": (op.Batch(), framed((op.Set(key="first"), b"1"), (op.Set(key="k"), BLOAT))),
    "update in a batch": (op.Batch(), framed((op.Set(key="first"), b"1"), (op.Update(key="k", type="text"), BLOAT))),
    "append in a batch": (op.Batch(), framed((op.Set(key="first"), b"1"), (op.Append(key="l"), ITEM))),
    "import": (op.Import(replace=True), packed([["k", "bytes", 1000, BLOAT, []]])),
}
"""Requests that hold values among other things: judged by what arrived."""


@pytest.fixture
def line(daemon: RunningDaemon) -> Iterator[Line]:
    """A caller of tier free: a mebibyte, and ten requests at once."""
    with tenant(daemon, tier="free") as line:
        answer(line, op.Set(key="k"), b"small")
        answer(line, op.Append(key="l"), b"1")
        yield line


def unharmed(line: Line) -> None:
    """The connection serves, and all is as it was."""
    held = {entry["key"]: content for entry, content, *_ in exported(line)}
    assert held == {"k": b"small", "l": b"[1]"}
    answer(line, op.Set(key="k"), b"x" * MIB)
    assert value(line, "k") == b"x" * MIB


@pytest.mark.parametrize("request_", ONE_VALUE.values(), ids=ONE_VALUE)
def test_the_refusal_comes_before_the_value(line: Line, request_: Request) -> None:
    request_.id = 77
    line.send_bytes(announced(request_, len(BLOAT)))
    envelope, _ = line.read()
    assert (envelope["id"], envelope["error"]["code"]) == (77, "too_large")
    assert "5,242,880" in envelope["error"]["message"]
    assert "1,048,576" in envelope["error"]["message"]
    line.send_bytes(BLOAT)
    unharmed(line)


@pytest.mark.parametrize("request_", ONE_VALUE.values(), ids=ONE_VALUE)
def test_a_value_sent_all_the_same_is_skipped(line: Line, request_: Request) -> None:
    request_.id = 0
    assert refusal(line, request_, BLOAT)["code"] == "too_large"
    unharmed(line)


def test_requests_behind_a_refused_value_are_answered_in_their_turn(line: Line) -> None:
    line.send(op.Set(key="k"), BLOAT)
    line.send(op.Get(key="k"))
    assert line.read()[0]["error"]["code"] == "too_large"
    assert line.read()[1] == b"small"


@pytest.mark.parametrize(("request_", "payload"), WITHIN.values(), ids=WITHIN)
def test_a_value_among_others_is_refused_and_nothing_is_done(line: Line, request_: Request, payload: bytes) -> None:
    request_.id = 0
    error = refusal(line, request_, payload)
    assert error["code"] == "too_large"
    assert "1,048,576" in error["message"]
    unharmed(line)


def test_a_list_cannot_grow_beyond_the_tier_item_by_item(line: Line) -> None:
    item = b'"' + b"x" * (MIB // 2) + b'"'
    answer(line, op.Append(key="l"), item)
    assert refusal(line, op.Append(key="l"), item)["code"] == "too_large"
    assert answer(line, op.Append(key="l"), b"2")["length"] == 3


def test_exactly_the_largest_value_is_allowed_and_a_byte_more_is_not(line: Line) -> None:
    assert answer(line, op.Set(key="k"), b"x" * MIB)["size"] == MIB
    assert refusal(line, op.Set(key="k"), b"x" * (MIB + 1))["code"] == "too_large"


def test_the_limit_is_the_callers_tiers_and_no_other(daemon: RunningDaemon) -> None:
    with tenant(daemon, "two tiers", tier="free") as small, tenant(daemon, "two tiers", tier="pro") as large:
        assert refusal(small, op.Set(key="k"), BLOAT)["code"] == "too_large"
        assert answer(large, op.Set(key="k"), BLOAT)["size"] == len(BLOAT)
        assert value(small, "k") == BLOAT


def test_a_payload_that_nobody_asked_for_is_refused_unread(daemon: RunningDaemon) -> None:
    with tenant(daemon) as line:
        line.send_bytes(announced(op.Get(key="k", id=5), len(BLOAT)))
        assert line.read()[0]["error"]["code"] == "bad_request"
        line.send_bytes(BLOAT)
        assert answer(line, op.Ping())


def test_without_the_scope_to_write_not_a_byte_is_read(daemon: RunningDaemon) -> None:
    with daemon.connect(api_key=issue(daemon, scopes=["read"])) as line:
        line.send_bytes(announced(op.Set(key="k", id=5), 10))
        assert line.read()[0]["error"]["code"] == "forbidden"
        line.send_bytes(b"x" * 10)
        assert answer(line, op.Ping())


def test_no_operation_that_carries_a_value_is_left_out() -> None:
    tried = {type(request) for request in ONE_VALUE.values()} | {type(request) for request, _ in WITHIN.values()}
    assert tried == {kind for kind, row in OPERATIONS.items() if row.cargo is not Cargo.NONE}
