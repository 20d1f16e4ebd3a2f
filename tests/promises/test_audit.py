"""Audit: a line for every operation and every refusal; never a value, never an API key; no write without its line."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stash_protocol import operations as op
from stash_protocol.frames import HEADER, PROTOCOL_VERSION, pack
from stash_protocol.operations import OPERATIONS, Request
from tests.support.cases import AIMED
from tests.support.daemon import RunningDaemon, StartFailed, eventually
from tests.support.tenants import answer, exported, framed, issue, packed, refusal, tenant

FIELDS = {"ts", "request_id", "namespace", "api_key_name", "peer", "op", "key", "outcome", "bytes"}
CANARY = "canary-4f1d"
NASTY = ["a\nb", "a\rb", "\x1b[31m", 'quote"\\', "\x00null", "\u2028", "\U0001f426", "\x85"]

Line = dict[str, Any]


class Audited:
    """A daemon that keeps an audit, and logs all it can."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        self.path = daemon.home / "audit" / "audit.log"

    @property
    def lines(self) -> list[Line]:
        return [json.loads(line) for line in self.path.read_bytes().split(b"\n") if line]

    def of(self, namespace: str) -> list[Line]:
        return [line for line in self.lines if line["namespace"] == namespace]

    def last(self, namespace: str) -> Line:
        return self.of(namespace)[-1]


@contextlib.contextmanager
def auditing() -> Iterator[Audited]:
    home = Path(tempfile.mkdtemp(prefix="st"))
    environ = {"STASH_AUDIT_LOG": str(home / "audit" / "audit.log"), "STASH_LOG_LEVEL": "DEBUG"}
    try:
        with RunningDaemon(home=home, environ=environ) as daemon:
            yield Audited(daemon)
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def audited() -> Iterator[Audited]:
    with auditing() as audited:
        yield audited


# ── what is written ──


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda row: row.name)
def test_every_operation_leaves_a_line_with_every_field(audited: Audited, operation: op.Operation) -> None:
    namespace = f"op-{operation.name}"
    request, payload = AIMED[operation.request][0]
    request.id = 0
    with tenant(audited.daemon, namespace, name=f"caller-{operation.name}") as line:
        envelope, _ = line.call(request, payload)
    found = [each for each in audited.of(namespace) if each["op"] == operation.name][-1]
    assert found.keys() >= FIELDS
    assert found["outcome"] == ("ok" if "reply" in envelope else envelope["error"]["code"])
    assert found["api_key_name"] == f"caller-{operation.name}"
    assert found["peer"]["uid"] == audited.daemon.home.stat().st_uid
    assert found["peer"]["pid"] > 0
    assert abs(datetime.fromisoformat(found["ts"]) - datetime.now(UTC)).total_seconds() < 60


def test_a_line_says_which_key_and_how_many_bytes(audited: Audited) -> None:
    with tenant(audited.daemon, "subjects") as line:
        answer(line, op.Set(key="k"), b"12345")
        assert (audited.last("subjects")["key"], audited.last("subjects")["bytes"]) == ("k", 5)
        line.call(op.Get(key="k"))
        assert (audited.last("subjects")["key"], audited.last("subjects")["bytes"]) == ("k", 5)
        made = answer(line, op.Set(), b"1")["key"]
        assert audited.last("subjects")["key"] == made
        answer(line, op.Forget(keys=["k", made]))
        assert (audited.last("subjects")["keys"], audited.last("subjects")["forgotten"]) == (["k", made], 2)
        answer(line, op.Batch(), framed((op.Set(key="a"), b"1"), (op.Get(key="a"), b"")))
        assert audited.last("subjects")["parts"] == [{"op": "set", "key": "a"}, {"op": "get", "key": "a"}]


REFUSED: dict[str, tuple[Request, bytes]] = {
    "not_found": (op.Extend(key="none", by_ms=1), b""),
    "conflict": (op.Set(key="k", if_version=9), b"v"),
    "bad_request": (op.Set(key="k", ttl_ms=10**11), b"v"),
    "too_large": (op.Set(key="k"), b"x" * (1 << 20) + b"x"),
    "forbidden": (op.Stop(), b""),
}


@pytest.mark.parametrize("code", REFUSED)
def test_every_refusal_leaves_a_line(audited: Audited, code: str) -> None:
    request, payload = REFUSED[code]
    with tenant(audited.daemon, f"refused {code}", tier="free") as line:
        assert refusal(line, request, payload)["code"] == code
    found = audited.last(f"refused {code}")
    assert (found["op"], found["outcome"]) == (OPERATIONS[type(request)].name, code)


def test_a_rate_that_is_exceeded_leaves_a_line(audited: Audited) -> None:
    with tenant(audited.daemon, "flooding", tier="free") as line:
        for _ in range(11):
            line.call(op.Ping())
    assert [each["outcome"] for each in audited.of("flooding")] == ["ok"] * 11 + ["rate_limited"]  # a hello and ten


def test_what_is_no_request_leaves_a_line(audited: Audited) -> None:
    with tenant(audited.daemon, "garbled") as line:
        line.send_bytes(pack(packed({"op": "nonsense", "id": 5})))
        line.read()
        assert (audited.last("garbled")["op"], audited.last("garbled")["outcome"]) == (None, "bad_request")
        line.send_bytes(HEADER.pack(0, 0))
        assert line.read()[0]["id"] == 0
        assert [each["outcome"] for each in audited.of("garbled")] == ["ok", "bad_request", "bad_request"]


def test_who_is_not_let_in_leaves_a_line(audited: Audited) -> None:
    before = len(audited.lines)
    with audited.daemon.connect(hello=False) as line:
        line.call(op.Hello(version=PROTOCOL_VERSION, api_key="sk_" + CANARY))
    found = audited.lines[before]
    assert (found["op"], found["outcome"], found["namespace"]) == ("hello", "unauthenticated", None)


def test_each_line_is_there_before_its_reply(audited: Audited) -> None:
    with tenant(audited.daemon, "prompt") as line:
        for n in range(20):
            answer(line, op.Set(key=f"k{n}"), b"v")
            assert audited.last("prompt")["key"] == f"k{n}"


@pytest.mark.parametrize("key", NASTY, ids=ascii)
def test_a_key_can_neither_break_a_line_nor_forge_one(audited: Audited, key: str) -> None:
    forged = key + '", "outcome": "ok"}\n{"ts": "forged"}'
    with tenant(audited.daemon, f"nasty {NASTY.index(key)}") as line:
        answer(line, op.Set(key=forged), b"v")
        answer(line, op.List(prefix=key))
    _, written, listed = audited.of(f"nasty {NASTY.index(key)}")
    assert (written["key"], listed["prefix"]) == (forged, key)
    raw = audited.path.read_bytes()
    assert raw.endswith(b"\n")
    assert not set(raw) & (set(range(32)) - {10})  # no control character reaches a terminal that shows the file


# ── what is never written ──


def test_neither_values_nor_api_keys_are_written_anywhere_even_at_debug(audited: Audited) -> None:
    value, item = f"value-{CANARY}".encode(), json.dumps(f"item-{CANARY}").encode()
    api_key = issue(audited.daemon, name="canary")
    with audited.daemon.connect(api_key=api_key) as line:
        answer(line, op.Set(key="k"), value)
        answer(line, op.Update(key="k", type="text"), value)
        answer(line, op.Append(key="l"), item)
        answer(line, op.Batch(), framed((op.Set(key="b"), value)))
        answer(line, op.Import(), packed([["i", "text", 1000, value, []]]))
        refusal(line, op.Append(key="l"), b"not JSON " + value)
        refusal(line, op.Import(), b"no rows " + value)
        line.call(op.Get(key="k"))
        exported(line)
    with audited.daemon.connect() as admin:
        rotated = answer(admin, op.KeyRotate(name="canary"))["api_key"]
        admin.call(op.Get(key=f"a key that quotes {rotated}"))
    with audited.daemon.connect(hello=False) as line:
        line.call(op.Hello(version=PROTOCOL_VERSION, api_key=api_key))
    files = [path for path in audited.daemon.home.rglob("*") if path.suffix in (".log", ".txt")]
    assert {path.name for path in files} >= {"audit.log", "stash.log", "stderr.txt"}
    for path in files:
        text = path.read_bytes()
        for secret in (CANARY.encode(), api_key.encode(), rotated.encode()):
            assert secret not in text, path


def test_the_audit_is_its_owners_alone(audited: Audited) -> None:
    assert stat.S_IMODE(audited.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(audited.path.parent.stat().st_mode) == 0o700


# ── no write without its line ──


@contextlib.contextmanager
def broken(audited: Audited) -> Iterator[None]:
    """Somebody moved the audit away and left a directory in its place."""
    aside = audited.path.with_suffix(".aside")
    audited.path.rename(aside)
    audited.path.mkdir()
    try:
        yield
    finally:
        audited.path.rmdir()
        aside.rename(audited.path)


def test_while_the_audit_cannot_be_written_nothing_is_written_and_all_is_read(audited: Audited) -> None:
    with tenant(audited.daemon, "broken") as line:
        answer(line, op.Set(key="k"), b"old")
        before = exported(line)
        with broken(audited):
            line.call(op.Ping())  # the line that cannot be written
            writes: list[tuple[Request, bytes]] = [
                (op.Set(key="k"), b"new"), (op.Set(), b"new"), (op.Update(key="k", type="text"), b"new"),
                (op.Extend(key="k", by_ms=5), b""), (op.Forget(keys=["k"]), b""), (op.Clear(prefix=""), b""),
                (op.Incr(key="n"), b""), (op.Append(key="l"), b"1"), (op.Get(key="k", touch=True), b""),
                (op.Pop(key="l"), b""), (op.Tail(key="l", touch=True), b""),
                (op.Batch(), framed((op.Set(key="k"), b"new"))), (op.Prune(keep_newest=0), b""),
                (op.Import(replace=True), packed([["k", "text", 5, b"new", []]])),
            ]  # fmt: skip
            for request, payload in writes:
                assert refusal(line, request, payload)["code"] == "busy", request
            assert refusal(line, op.Ready())["code"] == "busy"
            assert line.call(op.Get(key="k"))[1] == b"old"
        assert eventually(lambda: "reply" in line.call(op.Set(key="after"), b"v")[0])
        assert exported(line)[1:] == before
    outcomes = [each["outcome"] for each in audited.of("broken")]
    assert outcomes.count("busy") == len(writes) + 1, "what was refused meanwhile is written down afterwards"


def test_a_daemon_whose_required_audit_cannot_be_written_does_not_start() -> None:
    with pytest.raises(StartFailed, match="STASH_AUDIT_LOG") as failed:
        RunningDaemon(environ={"STASH_AUDIT_LOG": "/dev/null/nowhere/audit.log"})
    assert failed.value.status == 2
    assert failed.value.said.count("\n") == 1


def test_an_audit_goes_on_where_it_stood_after_a_restart() -> None:
    with auditing() as audited:
        with audited.daemon.connect() as line:
            answer(line, op.Set(key="before"), b"v")
        audited.daemon.kill()
        assert audited.last("default")["key"] == "before"
        audited.daemon.restart()
        with audited.daemon.connect() as line:
            answer(line, op.Set(key="after"), b"v")
        assert [each["key"] for each in audited.of("default") if each["op"] == "set"] == ["before", "after"]
