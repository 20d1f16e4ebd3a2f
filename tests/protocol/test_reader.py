"""Any split of a stream gives the same frames; what is refused is never kept."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_protocol.errors import BadRequest, TooLarge
from stash_protocol.frames import HEADER, HEADER_SIZE, MAX_PAYLOAD, pack
from stash_protocol.reader import FrameReader

Frame = tuple[bytes, bytes]

ENVELOPES = st.binary(min_size=1, max_size=40)
PAYLOADS = st.binary(max_size=60)
REFUSED = b"no"  # an envelope that begins so is refused


def admit_all(envelope: bytes, _payload_length: int) -> bytes:
    return envelope


def admit_some(envelope: bytes, _payload_length: int) -> bytes | None:
    return None if envelope.startswith(REFUSED) else envelope


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds)]


def read(reader: FrameReader[bytes], pieces: list[bytes]) -> list[Frame]:
    return [(ticket, bytes(payload)) for piece in pieces for ticket, payload in reader.feed(piece)]


@given(st.lists(st.tuples(ENVELOPES, PAYLOADS), max_size=6), st.lists(st.integers(0, 1000), max_size=12))
def test_any_split_of_a_stream_gives_the_same_frames(frames: list[Frame], places: list[int]) -> None:
    reader = FrameReader(admit_all)
    stream = b"".join(pack(*frame) for frame in frames)
    assert read(reader, cut(stream, places)) == frames
    assert reader.idle
    assert reader.buffered == 0


@given(st.lists(st.tuples(ENVELOPES, PAYLOADS), min_size=1, max_size=4))
def test_a_stream_byte_by_byte_gives_the_same_frames(frames: list[Frame]) -> None:
    stream = b"".join(pack(*frame) for frame in frames)
    assert read(FrameReader(admit_all), [bytes([byte]) for byte in stream]) == frames


@given(
    st.lists(st.tuples(ENVELOPES | ENVELOPES.map(REFUSED.__add__), PAYLOADS), max_size=6),
    st.lists(st.integers(0, 1000), max_size=12),
)
def test_a_refused_payload_is_skipped_and_the_next_frame_is_read(frames: list[Frame], places: list[int]) -> None:
    reader = FrameReader(admit_some)
    stream = b"".join(pack(*frame) for frame in frames)
    assert read(reader, cut(stream, places)) == [frame for frame in frames if not frame[0].startswith(REFUSED)]
    assert reader.idle


@given(ENVELOPES, st.integers(1, MAX_PAYLOAD), st.lists(st.binary(max_size=50), max_size=20))
def test_nothing_of_a_refused_payload_is_ever_kept(envelope: bytes, length: int, pieces: list[bytes]) -> None:
    reader: FrameReader[bytes] = FrameReader(lambda _envelope, _length: None)
    assert read(reader, [HEADER.pack(len(envelope), length) + envelope]) == []
    left = length
    for piece in pieces:
        part = piece[:left]
        left -= len(part)
        assert read(reader, [part]) == []
        assert reader.buffered == 0
        assert reader.idle == (left == 0)


def test_a_payload_is_judged_before_a_byte_of_it_arrived() -> None:
    judged: list[tuple[bytes, int]] = []
    reader: FrameReader[bytes] = FrameReader(lambda envelope, length: judged.append((envelope, length)))
    assert read(reader, [HEADER.pack(1, 4_000_000_000) + b"e"]) == []
    assert judged == [(b"e", 4_000_000_000)]
    assert reader.buffered == 0


@pytest.mark.parametrize("length", [0, 101, 1 << 20, 0xFFFFFFFF])
def test_an_envelope_that_is_empty_or_too_long_ends_the_stream_before_it_is_kept(length: int) -> None:
    reader = FrameReader(admit_all, max_envelope=100)
    with pytest.raises(BadRequest, match="1 to 100 are allowed"):
        read(reader, [HEADER.pack(length, 0)])
    assert reader.buffered == 0


def test_an_envelope_of_the_longest_length_is_read() -> None:
    assert read(FrameReader(admit_all, max_envelope=100), [pack(b"e" * 100)]) == [(b"e" * 100, b"")]


def test_frames_before_a_broken_head_are_still_handed_out() -> None:
    reader = FrameReader(admit_all)
    got: list[bytes] = []
    with pytest.raises(BadRequest):
        got.extend(ticket for ticket, _payload in reader.feed(pack(b"first", b"v") + HEADER.pack(0, 0)))
    assert got == [b"first"]


def test_the_limit_may_be_raised_between_two_frames_that_came_together() -> None:
    reader = FrameReader(admit_all, max_envelope=5)
    got = []
    for ticket, _payload in reader.feed(pack(b"hello") + pack(b"a longer one")):
        got.append(ticket)
        reader.max_envelope = 100
    assert got == [b"hello", b"a longer one"]


def test_an_incomplete_head_is_kept_up_to_its_own_size() -> None:
    reader = FrameReader(admit_all)
    stream = pack(b"envelope", b"")
    assert read(reader, [stream[: HEADER_SIZE - 1]]) == []
    assert reader.buffered == HEADER_SIZE - 1
    assert not reader.idle
    assert read(reader, [stream[HEADER_SIZE - 1 :]]) == [(b"envelope", b"")]


def test_what_admit_raises_reaches_whoever_feeds() -> None:
    def refuse(_envelope: bytes, _length: int) -> bytes:
        raise TooLarge("no")

    with pytest.raises(TooLarge):
        read(FrameReader(refuse), [pack(b"e", b"v")])
