from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stash_protocol.frames import HEADER_SIZE, JOIN_LIMIT, MAX_ENVELOPE, MAX_ENVELOPE_STRANGER, pack, pieces
from stash_protocol.types import MAX_KEY_BYTES


def test_a_frame_is_two_lengths_an_envelope_and_a_payload() -> None:
    assert pack(b"\x80", b"value") == b"\0\0\0\x01\0\0\0\x05\x80value"


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_lengths_say_where_everything_is(envelope: bytes, payload: bytes) -> None:
    frame = pack(envelope, payload)
    first, second = int.from_bytes(frame[:4], "big"), int.from_bytes(frame[4:8], "big")
    assert frame[HEADER_SIZE : HEADER_SIZE + first] == envelope
    assert frame[HEADER_SIZE + first :] == payload
    assert len(payload) == second


def test_the_limits_leave_room_for_what_is_to_be_said() -> None:
    assert MAX_ENVELOPE_STRANGER > 300 + MAX_KEY_BYTES  # a hello, whatever it says
    assert MAX_ENVELOPE >= 32 * MAX_KEY_BYTES


@given(st.lists(st.integers(0, 3 * JOIN_LIMIT), max_size=8))
def test_pieces_are_the_same_bytes_and_large_ones_are_not_copied(sizes: list[int]) -> None:
    parts: list[bytes | bytearray] = [bytes([number]) * size for number, size in enumerate(sizes)]
    sent = pieces(parts)
    assert b"".join(sent) == b"".join(parts)
    assert {id(part) for part in parts if len(part) > JOIN_LIMIT} <= {id(piece) for piece in sent}
