"""A pipeline on its way: whatever is asked and however it is answered, everything is sent once and nothing is stuck."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_memory.flight import STEP, WINDOW, WINDOW_BYTES, WINDOW_BYTES_BEHIND_VALUES, Flight
from stash_memory.wire import Garbled, head
from stash_protocol.errors import BadRequest
from stash_protocol.operations import Get, Incr, Pop, Request, Set, Tail
from stash_protocol.reader import FrameReader, Payload
from stash_protocol.replies import Entry, Length

FIRST = 7
ENTRY = Entry("k", "bytes", 0, 1, 1, 1, 1, 1)
VALUED = Get, Tail, Pop

Calls = list[tuple[Request, Payload]]


def asked(data: bytes) -> list[int]:
    """The ids of the requests in a stream."""
    reader: FrameReader[int] = FrameReader(lambda envelope, _: msgspec.msgpack.decode(envelope)["id"])
    return [number for number, _ in reader.feed(data)]


def answer(flight: Flight, calls: Calls, number: int) -> None:
    """Let a request have a reply whose payload is its id."""
    request, _ = calls[number - FIRST]
    reply = Length(1, ENTRY) if isinstance(request, (Tail, Pop)) else ENTRY
    flight.land(msgspec.msgpack.encode({"id": number, "reply": reply}), b"%d" % number)


def size(call: tuple[Request, Payload]) -> int:
    request, payload = call
    return len(head(request, len(payload))) + len(payload)


@st.composite
def calls(draw: st.DrawFn) -> Calls:
    def call(kind: str) -> tuple[Request, Payload]:
        match kind:
            case "get":
                return Get(key="k"), b""
            case "tail":
                return Tail(key="k", count=1), b""
            case "pop":
                return Pop(key="k"), b""
            case "unsayable":
                return Incr(key="k", by=1 << 70), b""
            case _:
                return Set(key="k"), bytes(draw(st.sampled_from([0, 100, 4_000, 200_000, 300_000])))

    kinds = st.lists(st.sampled_from(["get", "set", "set", "tail", "pop", "unsayable"]), min_size=1, max_size=200)
    return [call(kind) for kind in draw(kinds)]


@given(calls=calls(), chance=st.randoms(use_true_random=False))
def test_all_is_sent_once_within_bounds_and_each_reply_finds_its_request(calls: Calls, chance: Random) -> None:
    flight = Flight(calls, FIRST)
    sent: list[int] = []
    aloft: list[int] = []
    while not flight.landed:
        while data := flight.more():
            step = asked(data)
            assert len(step) <= STEP
            sent += step
            aloft += step
        assert len(aloft) <= WINDOW
        for place, number in enumerate(aloft):
            behind = sum(size(calls[other - FIRST]) for other in aloft[place + 1 :])
            valued = isinstance(calls[number - FIRST][0], VALUED)
            assert behind <= (WINDOW_BYTES_BEHIND_VALUES if valued else WINDOW_BYTES)
        if aloft:
            answer(flight, calls, aloft.pop(chance.randrange(len(aloft))))
    assert sent == [FIRST + place for place, (request, _) in enumerate(calls) if not isinstance(request, Incr)]
    for number, (outcome, (request, _)) in enumerate(zip(flight.outcomes, calls, strict=True), FIRST):
        if isinstance(request, Incr):
            assert isinstance(outcome, BadRequest)
        else:
            assert isinstance(outcome, tuple)
            assert outcome[1] == b"%d" % number


def test_the_first_requests_leave_before_the_last_are_made() -> None:
    calls: Calls = [(Get(key="k"), b"") for _ in range(WINDOW)]
    flight = Flight(calls, FIRST)
    assert asked(flight.more()) == list(range(FIRST, FIRST + STEP))
    assert calls[-1][0].id == 0
    assert len(asked(flight.more())) == STEP


@pytest.mark.parametrize("number", [FIRST - 1, FIRST, FIRST + 2])
def test_a_reply_to_nothing_that_is_in_flight_is_refused(number: int) -> None:
    calls: Calls = [(Get(key="k"), b""), (Get(key="k"), b"")]
    flight = Flight(calls, FIRST)
    flight.more()
    answer(flight, calls, FIRST)
    with pytest.raises(Garbled, match=f"request {number}, which is not in flight"):
        flight.land(msgspec.msgpack.encode({"id": number, "reply": ENTRY}), b"")


def test_no_more_is_in_flight_than_the_window_holds() -> None:
    calls: Calls = [(Set(key="k"), b"") for _ in range(2 * WINDOW)]
    flight = Flight(calls, FIRST)
    sent = 0
    while data := flight.more():
        sent += len(asked(data))
    assert WINDOW - STEP < sent <= WINDOW
    for number in range(FIRST, FIRST + STEP):
        answer(flight, calls, number)
    assert flight.more()


def test_once_a_value_has_come_more_may_be_sent_again() -> None:
    calls: Calls = [(Get(key="k"), b""), *((Set(key="k"), bytes(WINDOW_BYTES_BEHIND_VALUES)) for _ in range(5))]
    flight = Flight(calls, FIRST)
    assert asked(flight.more()) == [FIRST]
    answer(flight, calls, FIRST)
    assert len(asked(flight.more())) == 5
