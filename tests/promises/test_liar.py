"""Liar: what a peer announces is not what it sends. The daemon lives, serves others, keeps nothing, stays small."""

from __future__ import annotations

import contextlib
import re
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stash_protocol import operations as op
from stash_protocol.frames import HEADER, MAX_ENVELOPE, MAX_ENVELOPE_STRANGER, MAX_PAYLOAD, pack
from tests.support.daemon import Line, RunningDaemon, eventually
from tests.support.tenants import announced, answer, exported, packed, tenant

MIB = 1 << 20
FLOOD = b"\xee" * (5 * MIB)
MAX_GROWTH = 8 * 1024  # KiB of memory, over all lies together: a lie is not to be paid for with the daemon's

Lie = Callable[[Line], None]


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """One that has done some honest work, so that what it grows by is not its warming up."""
    with RunningDaemon() as daemon:
        with daemon.connect() as line:
            for _ in range(3):
                answer(line, op.Set(key="warm"), b"x" * MIB)
                line.call(op.Get(key="warm"))
                exported(line)
            answer(line, op.Forget(keys=["warm"]))
        yield daemon


def resident(daemon: RunningDaemon) -> int:
    """KiB of memory."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{daemon.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def pour(line: Line, data: bytes = FLOOD) -> None:
    """Send as much as the daemon takes."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        line.send_bytes(data)


def refused_and_closed(line: Line, code: str = "bad_request") -> None:
    envelope, _ = line.read()
    assert (envelope["id"], envelope["error"]["code"]) == (0, code)
    assert line.ended()


def refused(line: Line, code: str) -> None:
    assert line.read()[0]["error"]["code"] == code


# ── lies about the payload ──


def more_than_announced(line: Line) -> None:
    """A hundred bytes announced, five megabytes sent. What was announced is a value; the rest is no frame."""
    line.send_bytes(announced(op.Set(key="liar", ttl_ms=1), 100))
    pour(line)
    assert line.read()[0]["reply"]["size"] == 100
    refused_and_closed(line)


def four_gibibytes(line: Line) -> None:
    line.send_bytes(announced(op.Set(key="liar"), MAX_PAYLOAD))
    refused(line, "too_large")
    pour(line)


def four_gibibytes_of_rows(line: Line) -> None:
    line.send_bytes(announced(op.Import(), MAX_PAYLOAD))
    refused(line, "bad_request")
    pour(line)


def four_gibibytes_of_frames(line: Line) -> None:
    line.send_bytes(announced(op.Batch(), MAX_PAYLOAD))
    refused(line, "bad_request")
    pour(line)


def less_than_announced(line: Line) -> None:
    """Sixteen mebibytes announced, which may come; a thousand bytes, and then the peer is gone."""
    line.send_bytes(announced(op.Set(key="liar"), 16 * MIB) + b"x" * 1000)


def less_than_announced_and_half_closed(line: Line) -> None:
    line.send_bytes(announced(op.Set(key="liar"), 16 * MIB) + b"x" * 1000)
    line.sock.shutdown(socket.SHUT_WR)


def half_a_head(line: Line) -> None:
    line.send_bytes(HEADER.pack(20, 0)[:5])


def half_an_envelope(line: Line) -> None:
    line.send_bytes(announced(op.Set(key="liar"), 10)[:-3])


# ── lies about the envelope ──


def an_envelope_of(length: int) -> Lie:
    def lie(line: Line) -> None:
        line.send_bytes(HEADER.pack(length, 0))
        pour(line)
        refused_and_closed(line)

    return lie


def a_payload_in_the_envelopes_place(line: Line) -> None:
    line.send_bytes(pack(b"\xee" * 1000))
    refused(line, "bad_request")
    assert answer(line, op.Ping())


# ── lies within ──

INNER = {
    "text of 4 GiB": b"\x82\xa2op\xa3get\xa3key\xdb\xff\xff\xff\xff",
    "text beyond the frame": b"\x82\xa2op\xa3get\xa3key\xd9\xff" + b"x" * 10,
    "map of 4 billion": b"\xdf\xff\xff\xff\xff\xa2op\xa3get",
    "array of 4 billion": b"\x82\xa2op\xa6forget\xa4keys\xdd\xff\xff\xff\xff\xa1k",
    "nested arrays": b"\x82\xa2op\xa6forget\xa4keys" + b"\x91" * 50_000,
    "nested maps": b"\x81\xa1a" * 40_000,
    "unknown extension": b"\xc9\xff\xff\xff\xff\x05",
    "nothing known": b"\xc1",
}
ROWS = {
    "array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "row of 4 billion": b"\x91\xdd\xff\xff\xff\xff",
    "value of 4 GiB": b"\x91\x95\xa1k\xa5bytes\x05\xc6\xff\xff\xff\xff" + b"x" * 10,
    "nested arrays": b"\x91" * MIB,
    "a million empty maps": b"\xdd\x00\x0f\xff\xff" + b"\x80" * 0xFFFFF,
}
FRAMES = {
    "payload of 4 GiB": announced(op.Set(key="liar"), MAX_PAYLOAD) + b"x" * 100,
    "envelope of 4 GiB": HEADER.pack(0xFFFFFFFF, 0),
    "payload beyond the batch": announced(op.Set(key="liar"), 101) + b"x" * 100,
    "payload short of the batch": announced(op.Set(key="liar"), 99) + b"x" * 100,
    "batches in batches": pack(packed(op.Batch()), pack(packed(op.Batch()), pack(packed(op.Set(key="liar")), b"x"))),
}


def within(request: op.Request, payload: bytes) -> Lie:
    def lie(line: Line) -> None:
        line.send_bytes(announced(request, len(payload)) + payload)
        refused(line, "bad_request")
        assert answer(line, op.Ping())

    return lie


def as_envelope(envelope: bytes) -> Lie:
    def lie(line: Line) -> None:
        line.send_bytes(pack(envelope))
        refused(line, "bad_request")
        assert answer(line, op.Ping())

    return lie


LIES: dict[str, Lie] = {
    each.__name__.replace("_", " "): each
    for each in (
        more_than_announced, four_gibibytes, four_gibibytes_of_rows, four_gibibytes_of_frames, less_than_announced,
        less_than_announced_and_half_closed, half_a_head, half_an_envelope, a_payload_in_the_envelopes_place,
    )
}  # fmt: skip
LIES |= {f"an envelope of {length:,}": an_envelope_of(length) for length in (0, MAX_ENVELOPE + 1, 0xFFFFFFFF)}
LIES |= {f"envelope: {name}": as_envelope(envelope) for name, envelope in INNER.items()}
LIES |= {f"import: {name}": within(op.Import(replace=True), rows) for name, rows in ROWS.items()}
LIES |= {f"batch: {name}": within(op.Batch(), frames) for name, frames in FRAMES.items()}

STRANGERS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + b"\x5a" * 190,
    "Redis": b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    "zeros": b"\0" * 64,
    "an envelope a stranger may not send": HEADER.pack(MAX_ENVELOPE_STRANGER + 1, 0),
    "an envelope of 4 GiB": HEADER.pack(0xFFFFFFFF, 0xFFFFFFFF),
}
"""What comes instead of a hello."""


def others_are_served(daemon: RunningDaemon) -> None:
    with daemon.connect() as other:
        eventually(lambda: exported(other) == [])  # the one that kept to what it had announced did so for a millisecond


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_is_answered_and_nothing_is_kept(daemon: RunningDaemon, lie: Lie) -> None:
    with daemon.connect() as line:
        lie(line)
        others_are_served(daemon)
    others_are_served(daemon)


@pytest.mark.parametrize("data", STRANGERS.values(), ids=STRANGERS)
def test_who_speaks_another_protocol_is_told_so_and_shown_out(daemon: RunningDaemon, data: bytes) -> None:
    with daemon.connect(hello=False) as line:
        line.send_bytes(data)
        pour(line)
        refused_and_closed(line)
    others_are_served(daemon)


def test_nobody_uploads_before_saying_hello(daemon: RunningDaemon) -> None:
    with daemon.connect(hello=False) as line:
        line.send_bytes(announced(op.Set(key="liar", id=3), 5 * MIB))
        pour(line)
        envelope, _ = line.read()
        assert (envelope["id"], envelope["error"]["code"]) == (3, "bad_request")
        assert line.ended()
    with daemon.connect(hello=False) as line:
        line.send_bytes(announced(op.Hello(version=1, id=4), 5 * MIB))
        assert line.read()[0]["error"]["code"] == "bad_request"
        assert line.ended()


def readable(lines: list[Line]) -> list[Line]:
    """Those that have been answered."""
    ready, _, _ = select.select([line.sock for line in lines], [], [], 0)
    return [line for line in lines if line.sock in ready]


def test_a_crowd_that_announces_much_and_sends_little_holds_up_nobody(daemon: RunningDaemon) -> None:
    """Fifty times sixteen mebibytes are more than the daemon may hold: the last are refused, the first cost nothing."""
    before = resident(daemon)
    crowd = [daemon.connect() for _ in range(50)]
    try:
        for line in crowd:
            line.send_bytes(announced(op.Set(key="liar", id=9), 16 * MIB) + b"x" * 100)
        told = eventually(lambda: answered if len(answered := readable(crowd)) == 50 - 512 // 16 else None)
        for line in told:
            error = line.read()[0]["error"]
            assert (error["code"], error["retry_after"] > 0) == ("over_quota", True)
        with tenant(daemon) as other:
            assert answer(other, op.Ping())
        assert resident(daemon) - before < MAX_GROWTH
    finally:
        for line in crowd:
            line.close()
    others_are_served(daemon)
    with daemon.connect() as line:
        assert eventually(lambda: "reply" in line.call(op.Set(key="honest"), b"x" * 16 * MIB)[0])
        answer(line, op.Forget(keys=["honest"]))


def test_all_lies_together_leave_the_daemon_as_small_as_it_was() -> None:
    with RunningDaemon() as daemon:
        with daemon.connect() as line:
            for _ in range(3):
                answer(line, op.Set(key="warm", ttl_ms=1), b"x" * MIB)
        before = resident(daemon)
        for lie in LIES.values():
            with daemon.connect() as line:
                lie(line)
        for data in STRANGERS.values():
            with daemon.connect(hello=False) as line:
                pour(line, data + FLOOD)
        others_are_served(daemon)
        assert resident(daemon) - before < MAX_GROWTH
        assert daemon.stop() == 0
