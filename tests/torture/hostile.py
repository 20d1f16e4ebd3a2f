"""Hostile: frames that are almost right. The daemon answers, closes, or does neither until it is hung up on; it lives.

The valid frames are those of `AIMED`, so that an operation that is added there is also mutated here.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from stash_protocol import operations as op
from stash_protocol.errors import ERRORS
from stash_protocol.frames import HEADER, HEADER_SIZE, MAX_ENVELOPE, PROTOCOL_VERSION, pack
from tests.support.cases import AIMED
from tests.support.daemon import Line, RunningDaemon
from tests.support.tenants import answer, issue, packed

MOST_GROWTH = 8 << 10  # KiB
WARMING_UP = 1000  # frames before the daemon's memory is first looked at
PATIENCE = 10.0  # seconds until a daemon that neither answers nor closes counts as hung
MUCH = 1 << 18  # bytes of an answer kept for a look

VALID = [(packed(request), payload) for cases in AIMED.values() for request, payload in cases]

EXTREMES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 1.5, float("nan"), float("inf"),
    "", "k", "\0", "\ud7ff", "x" * 2049, "é" * 1025, b"", b"\xff", b"x" * 5000,
    [], [[]], {}, {"op": "get"}, {1: 2}, [None] * 300, ["k"] * 300,
    msgspec.msgpack.Ext(5, b"x"), msgspec.msgpack.Ext(-1, b"\0" * 4),
]  # fmt: skip
PARTS = [
    b"\xc1", b"\xc0", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff", b"\xa2\xff\xfe", b"\xd9\x04\xed\xa0\x80\x80", b"\x91" * 200, b"\x81\xa1a" * 200,
    b"\x81\x01\x02", b"\xc7\x02\x05ab", b"\xd6\xff\0\0\0\0", b"\x82\xa2op\xa3get\xa2op\xa3set",
    b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\xc8\x01", b"\0" * 9,
]  # fmt: skip
LENGTHS = (0, 1, 7, MAX_ENVELOPE, MAX_ENVELOPE + 1, 0x7FFFFFFF, 0xFFFFFFFF)


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def put_in(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice(PARTS) + data[place + chance.choice((0, 0, 1, 4)) :]


def twice(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    end = chance.randint(start, len(data))
    return data[:end] + data[start:end] * chance.randint(1, 20) + data[end:]


BYTES = (cut, flip, put_in, twice)


def refield(envelope: bytes, chance: random.Random) -> bytes:
    """A map like it, but for a field or two."""
    fields: dict[Any, Any] = msgspec.msgpack.decode(envelope)
    for _ in range(chance.randint(1, 2)):
        name = chance.choice([*fields, "id", "timeout_ms", "op", "namespace", "", 7])
        match chance.randrange(4):
            case 0:
                fields.pop(name, None)
            case 1:
                fields[name] = packed(chance.choice(VALID)[0])
            case _:
                fields[name] = chance.choice(EXTREMES)
    return packed(fields)


def mutated(chance: random.Random) -> bytes:
    """A frame that was valid once."""
    envelope, payload = chance.choice(VALID)
    kind = chance.random()
    if kind < 0.45:
        envelope = refield(envelope, chance)
    elif kind < 0.7:
        envelope = chance.choice(BYTES)(envelope, chance)
    if payload and chance.random() < 0.5:
        payload = chance.choice(BYTES)(payload, chance)
    lengths = [len(envelope), len(payload)]
    if chance.random() < 0.2:
        lengths[chance.randrange(2)] = chance.choice(LENGTHS)
    frame = HEADER.pack(*lengths) + envelope + payload
    return chance.choice(BYTES)(frame, chance) if chance.random() < 0.15 else frame


class Siege:
    """One daemon, and what is thrown at it.

    Attributes:
        answers: how often each outcome came: an error's code, ``reply``, ``push``, or ``silence``.
    """

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        self.answers: Counter[str] = Counter()
        self._hello = pack(packed(op.Hello(version=PROTOCOL_VERSION, api_key=issue(daemon, "besieger"), id=1)))
        self._bystander = daemon.connect()
        self._thrown = 0
        self._size = 0

    def throw(self, data: bytes, *, stranger: bool = False) -> None:
        """Send it over a connection of its own, and take what comes back.

        Raises:
            AssertionError: it made the daemon hang, end, grow, or meet a defect.
        """
        self._take_in(data if stranger else self._hello + data, stranger=stranger)
        self._thrown += 1
        if self._thrown % 250 == 0:
            self.look_around()

    def look_around(self) -> None:
        """Whether others are served, and the daemon is as small as it was."""
        assert "now" in answer(self._bystander, op.Ping())
        if self._thrown <= WARMING_UP:
            self._size = resident(self.daemon)
        else:
            growth = resident(self.daemon) - self._size
            assert growth <= MOST_GROWTH, f"{growth} KiB more after {self._thrown} frames"

    def _take_in(self, data: bytes, *, stranger: bool) -> None:
        with Line(str(self.daemon.socket)) as line:
            line.sock.settimeout(PATIENCE)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.send_bytes(data)
            with contextlib.suppress(OSError):
                line.sock.shutdown(socket.SHUT_WR)
            try:
                received = everything(line.sock)
            except TimeoutError:
                raise AssertionError(f"the daemon hangs on {data!r}") from None
        kinds = [judged(envelope) for envelope in envelopes(received)]
        assert "internal" not in kinds, f"{data!r}: {received!r}"
        self.answers.update(kinds[not stranger :] or ["silence"])

    def close(self) -> None:
        self._bystander.close()


def everything(sock: socket.socket) -> bytes:
    """All that comes until the daemon closes."""
    parts = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(1 << 16):
            parts += part
            assert len(parts) < MUCH, "an answer is longer than anything that is held"
    return bytes(parts)


def envelopes(data: bytes) -> list[Any]:
    """Of all whole frames in it; a reset may have cut the last."""
    found = []
    while len(data) >= HEADER_SIZE:
        envelope, payload = HEADER.unpack_from(data)
        if len(data) < HEADER_SIZE + envelope + payload:
            break
        found.append(msgspec.msgpack.decode(data[HEADER_SIZE : HEADER_SIZE + envelope]))
        data = data[HEADER_SIZE + envelope + payload :]
    return found


def judged(envelope: Any) -> str:
    if "error" not in envelope:
        return "push" if "push" in envelope else "reply"
    error = envelope["error"]
    assert error["code"] in ERRORS, error
    assert 0 < len(error["message"]) < 4096, error
    return str(error["code"])


def resident(daemon: RunningDaemon) -> int:
    """KiB of memory."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{daemon.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def besieged(throw: Callable[[Siege], None]) -> Counter[str]:
    """Throw at a daemon of its own; what it answered. Its log must know of no defect, and it ends in order."""
    with RunningDaemon() as daemon:
        siege = Siege(daemon)
        try:
            throw(siege)
            siege.look_around()
        finally:
            siege.close()
        log = daemon.home / "stash.log"
        assert not log.exists() or "defect" not in log.read_text()
        assert "Traceback" not in daemon.said
        assert daemon.stop() == 0
        return siege.answers


def mutations(count: int, start: int) -> Counter[str]:
    """So many seeded mutations; one in ten by somebody who has not said hello."""

    def throw(siege: Siege) -> None:
        for number in range(count):
            chance = random.Random(start + number)
            siege.throw(mutated(chance), stranger=number % 10 == 0)

    return besieged(throw)


# ── with a fuzzer ──

_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=40),
    st.binary(max_size=40),
)
_anything = st.recursive(_leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner))
_names = st.sampled_from(sorted({field for kind in AIMED for field in kind.__struct_fields__}))
_request = st.builds(
    lambda name, fields: packed({"op": name, **fields}),
    st.sampled_from([row.name for row in op.OPERATIONS.values()]),
    st.dictionaries(_names, _anything, max_size=5),
)
_envelope = st.one_of(_request, _anything.map(packed), st.binary(min_size=1, max_size=200))
_payload = st.one_of(st.just(b""), st.binary(max_size=300), st.lists(_anything, max_size=4).map(packed))
FRAMES = st.lists(st.builds(pack, _envelope, _payload), min_size=1, max_size=4).map(b"".join)


def fuzz(seconds: float, begin: int = 0, examples: int = 100) -> Counter[str]:
    """Frames that Hypothesis makes up, and makes as small as it can when one does harm: so many, and on for so long."""
    deadline = time.monotonic() + seconds

    def throw(siege: Siege) -> None:
        number = begin
        while number == begin or time.monotonic() < deadline:
            number += 1

            @seed(number)
            @settings(
                max_examples=examples, database=None, derandomize=False, deadline=None,
                phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(data=FRAMES)
            def attack(data: bytes) -> None:
                siege.throw(data)

            attack()

    return besieged(throw)
