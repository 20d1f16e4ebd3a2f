"""The socket door, through a real daemon: who may speak, what is refused, and that a refusal costs nobody else."""

from __future__ import annotations

import select
import socket
from pathlib import Path

import msgspec
import pytest

from stash_daemon.doors.connection import MAX_ERRANDS
from stash_protocol.frames import HEADER, MAX_ENVELOPE, MAX_ENVELOPE_STRANGER, PROTOCOL_VERSION, pack
from stash_protocol.operations import Get, Hello, Incr, KeyCreate, KeyRevoke, List, Ping, Set, Watch
from tests.support.daemon import Line, RunningDaemon, code

MIB = 1 << 20
encode = msgspec.msgpack.encode


def alive(line: Line) -> bool:
    return "reply" in line.call(Ping())[0]


# ── hello ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_hello_and_the_first_request_may_come_in_one_piece(daemon: RunningDaemon) -> None:
    with daemon.connect(hello=False) as line:
        line.send_bytes(pack(encode(Hello(id=1, version=1))) + pack(encode(Ping(id=2))))
        welcome, _ = line.read()
        assert welcome["reply"] | {"server": ""} == {
            "version": 1,
            "server": "",
            "namespace": "default",
            "tier": "local",
            "scopes": ["admin", "read", "write"],
            "max_value": 16 * MIB,
            "default_ttl_ms": 3_600_000,
            "max_ttl_ms": 365 * 86_400_000,
        }
        assert line.read()[0]["id"] == 2


def test_a_newer_client_is_told_the_version_that_both_speak(daemon: RunningDaemon) -> None:
    with daemon.connect(hello=False) as line:
        assert line.call(Hello(version=99))[0]["reply"]["version"] == PROTOCOL_VERSION


@pytest.mark.parametrize(
    "first",
    [
        pack(encode(Ping(id=5))),
        pack(encode(Hello(id=5, version=1)), b"payload"),
        pack(encode({"op": "hello", "id": 5, "version": 0})),
        pack(encode({"op": "hello", "id": 5, "version": 1, "x": "y"})),
    ],
)
def test_what_is_no_hello_is_answered_with_its_id_then_the_connection_closes(
    daemon: RunningDaemon, first: bytes
) -> None:
    with daemon.connect(hello=False) as line:
        line.send_bytes(first + pack(encode(Ping(id=6))))
        answer, _ = line.read()
        assert (answer["id"], answer["error"]["code"]) == (5, "bad_request")
        assert line.ended()


def test_a_stranger_may_not_announce_more_than_a_hello_needs(daemon: RunningDaemon) -> None:
    with daemon.connect(hello=False) as line:
        line.send_bytes(HEADER.pack(MAX_ENVELOPE_STRANGER + 1, 0))
        assert code(line.read()) == "bad_request"
        assert line.ended()


def test_a_second_hello_is_refused_and_the_connection_lives(line: Line) -> None:
    assert code(line.call(Hello(version=1))) == "bad_request"
    assert alive(line)


def test_an_unknown_api_key_is_refused_and_guessing_is_slowed_down(daemon: RunningDaemon) -> None:
    answers = []
    for _ in range(7):
        with daemon.connect(hello=False, tcp=True) as line:
            answers.append(line.call(Hello(version=1, api_key="sk_wrong"))[0]["error"])
            assert line.ended()
    assert {answer["code"] for answer in answers} == {"unauthenticated"}
    assert "retry_after" not in answers[0]
    assert answers[-1]["retry_after"] > 0


# ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "envelope",
    [
        encode({"op": "explode", "id": 7}),
        encode({"op": "get", "id": 7}),
        encode({"op": "get", "id": 7, "key": "k", "colour": "blue"}),
        encode({"op": "get", "id": 7, "key": b"bytes"}),
        encode({"op": "extend", "id": 7, "key": "k", "by_ms": -1}),
        encode({"op": "set", "id": 7, "tags": ["t"] * 33}),
    ],
)
def test_a_malformed_envelope_is_answered_with_its_id_and_the_connection_lives(line: Line, envelope: bytes) -> None:
    line.send_bytes(pack(envelope, b"skipped"))
    answer, _ = line.read()
    assert (answer["id"], answer["error"]["code"]) == (7, "bad_request")
    assert alive(line)


@pytest.mark.parametrize(
    "envelope",
    [
        b"\xc1",
        b"\x93\x01\x02\x03",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa2id" + b"\x91" * 100_000,
        b"\x82\xa2op\xa3set\xa4tags\xdd\xff\xff\xff\xff",
        b"\x82\xa2op\xa3get\xa3key\xa2\xff\xfe",
        encode(Ping(id=1)) + b"trailing",
    ],
)
def test_an_envelope_that_is_not_even_msgpack_is_refused_and_the_connection_lives(line: Line, envelope: bytes) -> None:
    line.send_bytes(pack(envelope))
    assert code(line.read()) == "bad_request"
    assert alive(line)


@pytest.mark.parametrize("length", [0, MAX_ENVELOPE + 1, 0xFFFFFFFF])
def test_a_broken_head_is_answered_then_the_connection_closes(line: Line, length: int) -> None:
    line.send_bytes(pack(encode(Ping(id=3))) + HEADER.pack(length, 0))
    assert line.read()[0]["id"] == 3
    answer, _ = line.read()
    assert (answer["id"], answer["error"]["code"]) == (0, "bad_request")
    assert line.ended()


def test_a_frame_may_come_byte_by_byte(line: Line) -> None:
    for byte in pack(encode(Set(id=8, key="drip")), b"value"):
        line.send_bytes(bytes([byte]))
    assert "reply" in line.read()[0]
    assert line.call(Get(key="drip"))[1] == b"value"


def test_a_value_too_large_is_refused_before_it_is_sent_and_the_rest_is_skipped(line: Line) -> None:
    envelope = encode(Set(id=9, key="big"))
    line.send_bytes(HEADER.pack(len(envelope), 20 * MIB) + envelope)
    assert code(line.read()) == "too_large"
    line.send_bytes(b"x" * (20 * MIB))
    assert alive(line)


def test_four_announced_gibibytes_cost_nothing(daemon: RunningDaemon, line: Line) -> None:
    before = resident(daemon.pid)
    envelope = encode(Set(id=9, key="big"))
    line.send_bytes(HEADER.pack(len(envelope), 0xFFFFFFFF) + envelope)
    assert code(line.read()) == "too_large"
    line.send_bytes(b"x" * (32 * MIB))
    with daemon.connect() as other:
        assert alive(other)
    assert resident(daemon.pid) - before < 16 * MIB


# ── pipelining and bounds ────────────────────────────────────────────────────────────────────────────────────────


def test_thousands_of_requests_in_one_piece_are_all_answered(line: Line) -> None:
    requests = [
        pack(encode(Incr(id=number, key="n"))) if number % 2 else pack(encode(Get(id=number, key="n")))
        for number in range(1, 5001)
    ]
    line.send_bytes(b"".join(requests))
    answers = [line.read() for _ in range(5000)]
    assert [envelope["id"] for envelope, _ in answers] == list(range(1, 5001))
    assert answers[-1][1] == b"2500"


def test_a_peer_that_does_not_read_cannot_make_the_daemon_hold_its_answers(daemon: RunningDaemon, line: Line) -> None:
    line.call(Set(key="mib"), b"x" * MIB)
    before = resident(daemon.pid)
    line.send_bytes(b"".join(pack(encode(Get(id=number, key="mib"))) for number in range(1, 301)))
    with daemon.connect() as other:
        for _ in range(100):
            assert alive(other)
    assert resident(daemon.pid) - before < 32 * MIB
    for number in range(1, 301):
        envelope, value = line.read()
        assert (envelope["id"], len(value)) == (number, MIB)


def test_what_all_connections_send_together_has_a_ceiling() -> None:
    def announce(line: Line, key: str) -> None:
        envelope = encode(Set(id=1, key=key))
        line.send_bytes(HEADER.pack(len(envelope), 3 * MIB) + envelope + b"x" * MIB)

    with RunningDaemon("--max-memory", "4M") as small, small.connect() as first, small.connect() as second:
        announce(first, "a")
        announce(second, "b")
        refused, accepted = (second, first) if readable(second) else (first, second)
        assert code(refused.read()) == "over_quota"
        refused.send_bytes(b"x" * (2 * MIB))
        assert alive(refused)
        accepted.send_bytes(b"x" * (2 * MIB))
        assert "reply" in accepted.read()[0]
        announce(refused, "b")
        refused.send_bytes(b"x" * (2 * MIB))
        assert "reply" in refused.read()[0]


def test_a_payload_that_is_abandoned_gives_its_memory_back() -> None:
    with RunningDaemon("--max-memory", "4M") as small:
        envelope = encode(Set(id=1, key="k"))
        for _ in range(5):
            with small.connect() as line:
                line.send_bytes(HEADER.pack(len(envelope), 3 * MIB) + envelope + b"x" * MIB)
                with small.connect() as other:
                    alive(other)
        with small.connect() as line:
            line.send_bytes(HEADER.pack(len(envelope), 3 * MIB) + envelope + b"x" * (3 * MIB))
            assert "reply" in line.read()[0]


def test_a_client_that_shuts_its_half_gets_all_its_answers_and_then_the_end(daemon: RunningDaemon) -> None:
    with daemon.connect() as line:
        line.send(Set(id=1, key="half"), b"v")
        line.send(List(id=2))
        line.send(Get(id=3, key="never", wait_ms=60_000))
        line.sock.shutdown(socket.SHUT_WR)
        answered = {line.read()[0]["id"] for _ in range(3)}
        assert answered == {1, 2, 3}
        assert line.ended()


def test_a_connection_has_a_bound_on_what_it_waits_for(line: Line) -> None:
    for number in range(1, MAX_ERRANDS + 1):
        line.send(Get(id=number, key="never", wait_ms=60_000, timeout_ms=60_000))
    assert code(line.call(Watch(id=1000))) == "busy"
    assert "reply" in line.call(Ping(id=1001))[0]


def test_an_id_that_is_in_use_is_refused(line: Line) -> None:
    assert "reply" in line.call(Watch(id=4))[0]
    assert code(line.call(Watch(id=4))) == "bad_request"


# ── API keys ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_revoking_an_api_key_ends_what_open_connections_do_with_it(daemon: RunningDaemon, line: Line) -> None:
    secret = line.call(KeyCreate(name="gone", tier="enterprise"))[0]["reply"]["api_key"]
    with daemon.connect(api_key=secret, tcp=True) as theirs, daemon.connect(api_key=secret) as writer:
        theirs.call(Watch(id=1))
        theirs.send(Get(id=2, key="awaited", wait_ms=60_000, timeout_ms=60_000))
        assert alive(theirs)
        assert "reply" in line.call(KeyRevoke(name="gone"))[0]
        assert code(theirs.call(Ping())) == "unauthenticated"
        assert code(writer.call(Set(key="awaited"), b"v")) == "unauthenticated"


def test_a_tier_with_a_rate_says_on_each_answer_what_is_left(daemon: RunningDaemon, line: Line) -> None:
    secret = line.call(KeyCreate(name="metered", tier="free"))[0]["reply"]["api_key"]
    with daemon.connect(api_key=secret) as theirs:
        left = [theirs.call(Ping())[0]["rate"]["remaining"] for _ in range(10)]
        assert left == list(range(9, -1, -1))
    with daemon.connect(api_key=secret) as again:
        refused = again.call(Ping())[0]["error"]
        assert refused["code"] == "rate_limited"
        assert 0 < refused["retry_after"] <= 1


def readable(line: Line) -> bool:
    return bool(select.select([line.sock], [], [], 0.05 if line.sock.gettimeout() else 0)[0])


def resident(pid: int) -> int:
    """Bytes of memory a process has now; 0 where the system does not say."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_what_one_caller_cannot_change_in_the_configuration_undoes_nobodys_writes() -> None:
    with RunningDaemon() as daemon, daemon.connect() as line:
        (daemon.home / "config.toml").mkdir(mode=0o700)
        line.send(Set(key="k", id=1), b"v")
        line.send(KeyCreate(name="x", id=2))
        replies = {envelope["id"]: envelope for envelope, _ in (line.read(), line.read())}
        assert "reply" in replies[1]
        assert "error" in replies[2]
        assert line.call(Get(key="k"))[1] == b"v"
