"""Vectors as they travel and lie in rows: float32, little-endian, judged before anything is done with them.

A NaN, an infinity or a zero vector has no cosine distance to anything, and sorts before real neighbours.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence

from stash_protocol.errors import BadRequest

MAX_DIMENSIONS = 8_192  # twice what today's largest models give; 32 KiB a vector
ITEM_SIZE = 4  # bytes of a float32

# Whoever computes a cosine in float32 squares the length: what overflows or vanishes there is as bad as zero.
_FLOAT32_TINY, _FLOAT32_HUGE = 2.0**-126, 2.0**127


def check_vector(vector: bytes | Sequence[float], dimensions: int | None = None) -> bytes:
    """The vector as float32 LE bytes, when it is one: finite, not zero, 1 to `MAX_DIMENSIONS` numbers.

    Args:
        vector: numbers, or bytes that are float32 LE already.
        dimensions: how many numbers it must have; None: any.

    Raises:
        BadRequest: names what is wrong with it.
    """
    numbers = _numbers(vector)
    if not 1 <= len(numbers) <= MAX_DIMENSIONS:
        raise BadRequest(f"a vector has 1 to {MAX_DIMENSIONS:,} dimensions; this one has {len(numbers):,}")
    if dimensions is not None and len(numbers) != dimensions:
        raise BadRequest(f"the vector has {len(numbers):,} dimensions; {dimensions:,} are needed here")
    length = math.hypot(*numbers) ** 2  # in double: no float32 overflows it
    if not math.isfinite(length):
        place = next(index for index, number in enumerate(numbers) if not math.isfinite(number))
        raise BadRequest(f"number {place} of the vector is {numbers[place]}; all must be finite as float32")
    if not _FLOAT32_TINY <= length <= _FLOAT32_HUGE:
        raise BadRequest("the vector is zero" if not length else "the vector's length is out of float32's range")
    return vector if isinstance(vector, bytes) else little_endian(numbers)


def little_endian(numbers: array[float]) -> bytes:
    """An array of float32 as bytes, on any machine."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def numbers_of(vector: bytes) -> array[float]:
    """The float32s that LE bytes hold; their number must be a multiple of `ITEM_SIZE`."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _numbers(vector: bytes | Sequence[float]) -> array[float]:
    if isinstance(vector, bytes | bytearray | memoryview):
        if len(vector) % ITEM_SIZE:
            raise BadRequest(f"a vector is float32s of {ITEM_SIZE} bytes each; these are {len(vector):,} bytes")
        return numbers_of(bytes(vector))
    if isinstance(vector, array) and vector.typecode == "f":
        return vector
    try:
        return array("f", vector)
    except OverflowError:
        raise BadRequest("a number of the vector is too large for float32") from None
    except TypeError:
        raise BadRequest("a vector is a list of numbers, or bytes of float32s") from None
