"""Wall: another namespace's entries, counts, events and error texts are indistinguishable from absence.

The main test asks for everything twice, in a fresh namespace each: before the others hold anything, and after. Both
transcripts must be the same.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.errors import StashError
from stash_protocol.frames import PROTOCOL_VERSION, pack
from stash_protocol.operations import OPERATIONS, Access, Cargo, Pace, Request
from tests.support.cases import AIMED, API_KEY_NAME, PREY, Case
from tests.support.daemon import Line, RunningDaemon
from tests.support.engine import Bench
from tests.support.tenants import answer, exported, issue, packed, refusal, tenant, unframed, value

BEFORE, AFTER = "fop", "foo"  # as long as each other, so that replies that name them are too
OTHERS = ("fo", "foobar", "foo/", "foo.k", "FOO")  # beside "default", which is the local caller's

MOMENTS = frozenset(
    {"created_at", "updated_at", "expires_at", "ttl_ms", "now", "uptime_seconds", "began_at", "next_at"}
)
MEASURED = frozenset({"latency_ms"})  # how long it took: no two runs are alike

BY_NAME = sorted(OPERATIONS.values(), key=lambda row: row.name)


def name_of(row: object) -> str:
    return row.name if isinstance(row, op.Operation) else repr(row)


# ── the same questions, before and after ──


class Said(NamedTuple):
    """What the daemon answered to one request, up to and with the reply that ends it."""

    request: Request
    frames: list[str]


def masked(answered: Any) -> Any:
    """What is left of an answer when it does not matter when it was given."""
    if isinstance(answered, dict):
        return {
            name: "…" if name in MOMENTS | MEASURED or name == "namespace" else masked(part)
            for name, part in answered.items()
        }
    if isinstance(answered, list | tuple):
        return [masked(part) for part in answered]
    return answered.hex() if isinstance(answered, bytes) else answered


def unpacked(request: Request, payload: bytes) -> Any:
    if isinstance(request, op.Batch):
        return unframed(payload)
    pages = isinstance(request, op.List | op.Export | op.Prune)
    return msgspec.msgpack.decode(payload) if payload and pages else payload


def interrogate(line: Line) -> dict[type[Request], list[Said]]:
    """Ask everything there is to ask."""
    return {kind: [ask(line, case) for case in cases] for kind, cases in AIMED.items()}


def ask(line: Line, case: Case) -> Said:
    request, payload = copy.copy(case[0]), case[1]
    number = line.send(request, payload)
    frames: list[str] = []
    while True:
        envelope, body = line.read()
        frames.append(json.dumps([masked(envelope), masked(unpacked(request, body))]))
        if envelope["id"] == number and "push" not in envelope:
            return Said(request, frames)


class Inquiry(NamedTuple):
    """Both transcripts, and what the others hold, before and after they were asked for it."""

    before: dict[type[Request], list[Said]]
    after: dict[type[Request], list[Said]]
    held: dict[str, Any]
    left: dict[str, Any]


@pytest.fixture(scope="module")
def inquiry(daemon: RunningDaemon) -> Inquiry:
    spies = [tenant(daemon, namespace) for namespace in (BEFORE, AFTER)]
    others = {name: tenant(daemon, name) for name in OTHERS} | {"default": daemon.connect()}
    try:
        before = interrogate(spies[0])
        for number, line in enumerate(others.values()):
            assert (
                answer(line, op.Import(), packed([*PREY, [f"own{number}", "text", 9999, b"", []]]))["imported"]
                == len(PREY) + 1
            )
            answer(line, op.Update(key="k", extend_ms=1))  # to version 2
        issue(daemon, name=API_KEY_NAME)
        held = {name: exported(line) for name, line in others.items()}
        after = interrogate(spies[1])
        left = {name: exported(line) for name, line in others.items()}
    finally:
        for line in (*spies, *others.values()):
            line.close()
    return Inquiry(before, after, held, left)


@pytest.mark.parametrize("operation", BY_NAME, ids=name_of)
def test_every_operation_answers_as_if_nobody_else_were_there(inquiry: Inquiry, operation: op.Operation) -> None:
    assert operation.request in AIMED, f"{operation.name} has no wall case: add one to tests/support/cases.py"
    for before, after in zip(inquiry.before[operation.request], inquiry.after[operation.request], strict=True):
        assert after.frames == before.frames, after.request


def test_nobody_lost_or_gained_anything_by_being_asked_for(inquiry: Inquiry) -> None:
    assert all(len(rows) == len(PREY) + 1 for rows in inquiry.held.values())
    assert inquiry.left == inquiry.held


@pytest.mark.parametrize(
    "operation", [row for row in BY_NAME if row.pace is not Pace.DOOR and row.access is not Access.ADMIN], ids=name_of
)
def test_in_process_even_every_byte_of_the_answers_is_the_same(operation: op.Operation) -> None:
    for request, payload in AIMED[operation.request]:
        deserted, crowded = Bench(), Bench()
        prey = [crowded.someone(name) for name in (*OTHERS, "default")]
        for other in prey:
            crowded.ask(op.Import(), packed(PREY), other)
        held = [crowded.ask(op.Export(), caller=other) for other in prey]
        assert heard(crowded, request, payload) == heard(deserted, request, payload), request
        assert [crowded.ask(op.Export(), caller=other) for other in prey] == held
        for bench in (deserted, crowded):
            bench.engine.close()


def heard(bench: Bench, request: Request, payload: bytes) -> tuple[object, bytes]:
    """The answer, and every event that the namespace's watchers are told."""
    told: list[replies.Event] = []
    bench.engine.events.subscribe(AFTER, "", told.append)
    for other in OTHERS:
        bench.engine.events.subscribe(other, "", lambda _event: None)
    spy = bench.someone(AFTER, frozenset({"read", "write"}))
    try:
        reply = bench.ask(copy.copy(request), payload, spy)
    except StashError as error:
        return told, packed([error.code, error.message, error.retry_after])
    if isinstance(reply.body, replies.Status):
        reply.body.latency_ms = 0.0
    return told, packed([reply.body, bytes(reply.payload)])


# ── no way around ──


@pytest.mark.parametrize("operation", [row for row in BY_NAME if row.request is not op.KeyCreate], ids=name_of)
def test_no_request_can_name_a_namespace(daemon: RunningDaemon, operation: op.Operation) -> None:
    request, payload = AIMED[operation.request][0]
    fields = msgspec.msgpack.decode(packed(request)) | {"id": 7, "namespace": "default"}
    with tenant(daemon) as line:
        line.send_bytes(pack(packed(fields), payload))
        envelope, _ = line.read()
        assert (envelope["id"], envelope["error"]["code"]) == (7, "bad_request")
        assert "namespace" in envelope["error"]["message"]
        assert answer(line, op.Ping())


def test_no_hello_can_name_a_namespace(daemon: RunningDaemon) -> None:
    with daemon.connect(hello=False) as line:
        hello = {"op": "hello", "id": 1, "version": PROTOCOL_VERSION, "namespace": "other"}
        line.send_bytes(pack(packed(hello)))
        assert line.read()[0]["error"]["code"] == "bad_request"
        assert line.ended()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sib", "sibling"), ("case", "CASE"), ("dot", "dot.ted"), ("path", "path/a"), ("per%", "perc"),
        ("und_", "undr"), ("nul", "nul "),
        ("\u00e9", "e\u0301"), ("7", "07"), ("gl*b", "glob"), ("quote'", "quote''"), ("keys", "keys.keys"),
    ],
)  # fmt: skip
def test_names_that_look_alike_are_different_namespaces(daemon: RunningDaemon, one: str, other: str) -> None:
    with tenant(daemon, one) as first, tenant(daemon, other) as second:
        answer(first, op.Set(key="k"), b"first")
        assert value(second, "k") is None
        answer(second, op.Set(key="k"), b"second")
        assert answer(second, op.Clear(prefix=""))["forgotten"] == 1
        assert value(first, "k") == b"first"


def test_two_api_keys_may_share_a_namespace(daemon: RunningDaemon) -> None:
    with tenant(daemon, "shared") as first, tenant(daemon, "shared") as second:
        answer(first, op.Set(key="k"), b"ours")
        assert value(second, "k") == b"ours"


# ── watching and waiting ──


@pytest.fixture
def pair(daemon: RunningDaemon, request: pytest.FixtureRequest) -> Iterator[tuple[Line, Line]]:
    """Two callers in namespaces of which one begins with the other; the other has a watcher too, so events are made."""
    name = request.node.name[:100]
    with tenant(daemon, name) as one, tenant(daemon, name + "x") as other, tenant(daemon, name + "x") as fellow:
        answer(fellow, op.Watch())
        yield one, other


def disturb(line: Line) -> None:
    """Do everything that a watcher of the namespace is told of."""
    answer(line, op.Set(key="k"), b"1")
    answer(line, op.Set(key="gone", ttl_ms=1), b"1")
    answer(line, op.Update(key="k", type="text"), b"2")
    answer(line, op.Extend(key="k", by_ms=5))
    answer(line, op.Get(key="k", touch=True))
    answer(line, op.Append(key="l"), b"1")
    answer(line, op.Import(replace=True), packed(PREY))
    answer(line, op.Clear(prefix=""))
    answer(line, op.Prune())


@pytest.mark.parametrize("prefix", ["", "k"])
def test_a_watcher_hears_nothing_of_others(pair: tuple[Line, Line], prefix: str) -> None:
    watcher, other = pair
    answer(watcher, op.Watch(prefix=prefix))
    disturb(other)
    assert "now" in answer(watcher, op.Ping())  # the next frame there is: a push would stand before it
    watcher.send(op.Set(key="k"), b"own")
    assert {"push" in watcher.read()[0], "push" in watcher.read()[0]} == {True, False}


def test_a_waiting_get_is_not_woken_by_another_namespaces_write(pair: tuple[Line, Line]) -> None:
    waiting, other = pair
    number = waiting.send(op.Get(key="k", wait_ms=10_000))
    disturb(other)
    answer(other, op.Set(key="k"), b"theirs")
    assert "now" in answer(waiting, op.Ping())
    own = waiting.send(op.Set(key="k"), b"own")
    replies = {envelope["id"]: payload for envelope, payload in (waiting.read(), waiting.read())}
    assert replies == {own: b"", number: b"own"}


def test_nobody_can_cancel_what_another_waits_for(pair: tuple[Line, Line]) -> None:
    watcher, other = pair
    number = watcher.send(op.Watch(prefix=""))
    assert watcher.read()[0]["reply"] == {}
    for target in (0, number, number + 1):
        assert answer(other, op.Cancel(target=target)) == {}
    watcher.send(op.Set(key="k"), b"v")
    assert {"push" in watcher.read()[0], "push" in watcher.read()[0]} == {True, False}


# ── made keys, quotas, API keys ──


def test_a_made_key_says_nothing_about_others(daemon: RunningDaemon, pair: tuple[Line, Line]) -> None:
    one, other = pair
    made = answer(one, op.Set(), b"v")["key"]
    never = "z" * len(made)
    there, not_there = refusal(other, op.Get(key=made)), refusal(other, op.Get(key=never))
    assert json.dumps(there).replace(made, never) == json.dumps(not_there)


def test_another_namespace_may_have_the_same_made_key(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.set("aaaaaaaa", b"theirs", bench.someone("other"))
    monkeypatch.setattr(secrets, "choice", lambda _alphabet: "a")
    made = bench.ask(op.Set(), b"mine").body
    assert isinstance(made, replies.Entry)
    assert (made.key, made.version) == ("aaaaaaaa", 1)
    assert bench.get("aaaaaaaa", bench.someone("other")) == b"theirs"
    bench.engine.close()


def test_what_others_hold_does_not_count_against_a_quota() -> None:
    bench = Bench(quota=100)
    bench.set("k", b"x" * 100, bench.someone("other", quota=100))
    assert bench.set("k", b"x" * 100).version == 1
    bench.engine.close()


def test_unknown_expired_rotated_and_revoked_api_keys_are_refused_alike(daemon: RunningDaemon) -> None:
    expired, rotated, revoked = (issue(daemon, name=name, ttl_ms=ttl) for name, ttl in _ENDINGS)
    with daemon.connect() as admin:
        answer(admin, op.KeyRotate(name="rotated"))
        answer(admin, op.KeyRevoke(name="revoked"))
    said = {knock(daemon, api_key) for api_key in ("sk_" + "A" * 43, expired, rotated, revoked)}
    assert len(said) == 1
    assert "unauthenticated" in said.pop()
    tenant(daemon).close()  # one that is right: the daemon has not begun to slow this user down


_ENDINGS: tuple[tuple[str, int | None], ...] = (("expired", 1), ("rotated", None), ("revoked", None))


def knock(daemon: RunningDaemon, api_key: str) -> str:
    with daemon.connect(hello=False) as line:
        return json.dumps(line.call(op.Hello(version=PROTOCOL_VERSION, api_key=api_key))[0])


@pytest.mark.parametrize("name", [API_KEY_NAME, "nobody"])
def test_api_keys_of_others_cannot_be_administered_without_scope_admin(daemon: RunningDaemon, name: str) -> None:
    with tenant(daemon) as line:
        for request in (op.KeyCreate(name=name), op.KeyRotate(name=name), op.KeyRevoke(name=name), op.KeyList()):
            assert refusal(line, request)["code"] == "forbidden"


def test_every_operation_with_a_payload_is_asked_with_one() -> None:
    bare = [row.name for row in BY_NAME if row.cargo is not Cargo.NONE and not any(p for _, p in AIMED[row.request])]
    assert bare == []
