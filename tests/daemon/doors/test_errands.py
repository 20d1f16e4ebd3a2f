"""The errands of the socket door, through a real daemon: what is not answered at once, and who is served meanwhile."""

from __future__ import annotations

import select

import msgspec

from stash_protocol.frames import HEADER, pack
from stash_protocol.operations import (
    Batch,
    Cancel,
    Clear,
    Extend,
    Get,
    KeyCreate,
    KeyRevoke,
    List,
    Ping,
    Prune,
    Set,
    Watch,
)
from tests.support.daemon import Line, RunningDaemon, code

encode = msgspec.msgpack.encode


def alive(line: Line) -> bool:
    return "reply" in line.call(Ping())[0]


def test_a_get_waits_for_its_key(daemon: RunningDaemon, line: Line) -> None:
    line.send(Get(id=5, key="late", wait_ms=10_000))
    with daemon.connect() as other:
        other.call(Set(key="later"), b"not this one")
        other.call(Set(key="late"), b"here")
    envelope, value = line.read()
    assert (envelope["id"], value) == (5, b"here")


def test_a_get_that_waited_in_vain_is_answered_timeout(line: Line) -> None:
    assert code(line.call(Get(key="never", wait_ms=30))) == "timeout"
    assert code(line.call(Get(key="never", wait_ms=30_000, timeout_ms=30))) == "timeout"
    assert code(line.call(Get(key="never"))) == "not_found"


def test_a_waiting_get_can_be_cancelled(line: Line) -> None:
    line.send(Get(id=5, key="never", wait_ms=60_000, timeout_ms=60_000))
    line.send(Cancel(id=6, target=5))
    answers = {envelope["id"]: envelope for envelope, _ in (line.read(), line.read())}
    assert answers[5]["error"]["code"] == "timeout"
    assert "reply" in answers[6]
    assert "reply" in line.call(Cancel(target=5))[0]


def test_a_watcher_is_told_what_happens_under_its_prefix_and_nothing_else(daemon: RunningDaemon, line: Line) -> None:
    assert line.call(Watch(id=50, prefix="w/"))[0] == {"id": 50, "reply": {}}
    with daemon.connect() as other:
        other.call(Set(key="w/a"), b"v")
        other.call(Set(key="x/a"), b"v")
        other.call(Extend(key="w/a", by_ms=1000))
        other.call(Clear(prefix="w/"))
    told = [line.read()[0] for _ in range(3)]
    assert [(push["id"], push["push"]["event"], push["push"]["key"]) for push in told] == [
        (50, "set", "w/a"),
        (50, "extend", "w/a"),
        (50, "forget", "w/a"),
    ]
    line.send(Cancel(id=51, target=50))
    assert line.read()[0]["error"]["code"] == "timeout"
    assert line.read()[0]["id"] == 51


def test_an_expiry_is_told_within_a_moment_of_it(daemon: RunningDaemon, line: Line) -> None:
    line.call(Watch(id=50, prefix="brief"))
    with daemon.connect() as other:
        expires = other.call(Set(key="brief", ttl_ms=60), b"v")[0]["reply"]["expires_at"]
        line.read()
        assert line.read()[0]["push"]["event"] == "expire"
        assert other.call(Ping())[0]["reply"]["now"] - expires < 500  # 50 ms on a machine with nothing else to do


def test_a_watcher_that_does_not_read_is_dropped_and_others_are_served(daemon: RunningDaemon) -> None:
    with daemon.connect() as slow, daemon.connect() as busy:
        slow.call(Watch(id=1, prefix="flood"))
        key = "flood" + "x" * 2000
        for _ in range(30):
            busy.send_bytes(b"".join(pack(encode(Set(id=number, key=key)), b"v") for number in range(1, 201)))
            for _ in range(200):
                busy.read()
        last = slow.read()[0]
        while "push" in last:
            last = slow.read()[0]
        assert last["error"]["code"] == "busy"
        assert alive(slow)


def test_others_are_served_between_the_slices_of_a_long_write(daemon: RunningDaemon, line: Line) -> None:
    for _ in range(10):
        line.send_bytes(b"".join(pack(encode(Set(id=number, tags=["long"])), b"v") for number in range(1, 501)))
        for _ in range(500):
            line.read()
    line.send(Prune(id=7, keep_newest=0, tag="long", timeout_ms=60_000))
    served = 0
    with daemon.connect() as other:
        line.sock.setblocking(False)
        while not readable(line):
            assert alive(other)
            served += 1
    line.sock.settimeout(10)
    assert line.read()[0]["reply"]["pruned"] == 5000
    assert served > 10


def test_a_list_sees_what_its_connection_wrote_just_before(line: Line) -> None:
    line.send_bytes(pack(encode(Set(id=1, key="seen/1")), b"v") + pack(encode(List(id=2, prefix="seen/"))))
    assert line.read()[0]["id"] == 1
    assert line.read()[0]["reply"]["count"] == 1


def test_a_request_whose_payload_comes_too_late_is_not_carried_out(daemon: RunningDaemon, line: Line) -> None:
    envelope = encode(Set(id=3, key="overdue", timeout_ms=20))
    line.send_bytes(HEADER.pack(len(envelope), 10) + envelope + b"12345")
    with daemon.connect() as other:
        assert code(other.call(Get(key="never", wait_ms=60))) == "timeout"
    line.send_bytes(b"67890")
    assert code(line.read()) == "timeout"
    assert code(line.call(Get(key="overdue"))) == "not_found"


def readable(line: Line) -> bool:
    return bool(select.select([line.sock], [], [], 0.05 if line.sock.gettimeout() else 0)[0])


def test_a_long_write_ends_when_its_api_key_is_revoked(daemon: RunningDaemon, line: Line) -> None:
    secret = line.call(KeyCreate(name="brief", tier="enterprise"))[0]["reply"]["api_key"]
    with daemon.connect(api_key=secret) as theirs:
        for part in range(40):
            lot = b"".join(pack(encode(Set(key=f"{part}/{n}")), b"v") for n in range(500))
            assert "reply" in theirs.call(Batch(), lot)[0]
        theirs.send(Clear(prefix="", timeout_ms=60_000))
        assert "reply" in line.call(KeyRevoke(name="brief"))[0]
        assert code(theirs.read()) == "unauthenticated"
