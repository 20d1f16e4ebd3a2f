from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_protocol.errors import BadRequest
from stash_protocol.vectors import MAX_DIMENSIONS, check_vector, little_endian, numbers_of


@pytest.mark.parametrize("vector", [[1.0, -2.5, 0.0], (1, -2.5, 0), array("f", [1, -2.5, 0]), array("d", [1, -2.5, 0])])
def test_numbers_become_little_endian_float32(vector: Sequence[float]) -> None:
    assert check_vector(vector) == struct.pack("<3f", 1, -2.5, 0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_a_vector_are_taken_as_they_are(kind: Any) -> None:
    packed = struct.pack("<2f", 0.1, 0.2)
    assert check_vector(kind(packed), 2) == packed
    assert type(check_vector(kind(packed))) is bytes


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ([], "1 to 8,192 dimensions; this one has 0"),
        (b"", "1 to 8,192 dimensions; this one has 0"),
        ([1.0] * (MAX_DIMENSIONS + 1), "this one has 8,193"),
        (b"\0" * 7, "these are 7 bytes"),
        ([1.0, math.nan], "number 1 of the vector is nan"),
        ([math.inf, 1.0], "number 0 of the vector is inf"),
        ([1.0, -math.inf], "number 1 of the vector is -inf"),
        ([1e300], "number 0 of the vector is inf"),
        ([10**400], "too large for float32"),
        ([0.0, -0.0], "is zero"),
        ([1e-50], "is zero"),
        ([1e-30], "out of float32's range"),
        ([3e38, 3e38], "out of float32's range"),
        (["1"], "a list of numbers"),
        ([[1.0]], "a list of numbers"),
        ([None], "a list of numbers"),
        ("text", "a list of numbers"),
        (struct.pack("<f", math.nan), "is nan"),
        (b"\0\0\0\0", "is zero"),
    ],
)
def test_what_is_wrong_with_a_vector_is_named(vector: Any, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as refused:
        check_vector(vector)
    assert len(refused.value.message) < 150


def test_a_vector_of_another_size_than_needed_is_refused() -> None:
    with pytest.raises(BadRequest, match="has 2 dimensions; 3 are needed"):
        check_vector([1.0, 2.0], 3)


def test_the_largest_vector_is_one() -> None:
    assert len(check_vector([1.0] * MAX_DIMENSIONS)) == 4 * MAX_DIMENSIONS


@given(st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=1, max_size=50))
def test_a_vector_comes_back_bit_for_bit(numbers: list[float]) -> None:
    if math.hypot(*numbers) < 2.0**-60:
        return
    packed = check_vector(numbers)
    assert numbers_of(packed).tolist() == numbers
    assert little_endian(numbers_of(packed)) == packed
    assert check_vector(packed) == packed
