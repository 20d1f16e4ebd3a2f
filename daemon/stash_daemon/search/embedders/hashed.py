"""Vectors without a model: texts that share words, or parts of words, are near. For tests and first tries."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from stash_daemon.search.embedders import Embedder, labelled

DIMENSIONS = 256
PART = 3  # characters of a part of a word
PART_WEIGHT = 0.5  # of a word's own

_WORD = re.compile(r"\w+")


class Hashed(Embedder):
    """Each word, and each part of one, adds to a number of the vector that its hash chooses.

    Args:
        dimensions: of its vectors; None: `DIMENSIONS`.
    """

    def __init__(self, dimensions: int | None = None) -> None:
        self._dimensions = dimensions or DIMENSIONS
        self.name = labelled("hash", "words", self._dimensions)

    def embed(self, texts: Sequence[str], *, timeout: float) -> list[array[float]]:  # noqa: ARG002 (it takes none)
        return [self._vector(text) for text in texts]

    def close(self) -> None:
        """There is nothing to give up."""

    def _vector(self, text: str) -> array[float]:
        vector = array("f", bytes(4 * self._dimensions))
        for feature, weight in Counter(_features(text.lower())).items():
            self._add(vector, feature[0], weight * feature[1])
        if not any(vector):  # nothing but spaces, or words that cancel each other out
            self._add(vector, "\0" + text, 1.0)
        return vector

    def _add(self, vector: array[float], feature: str, weight: float) -> None:
        number = int.from_bytes(blake2b(feature.encode(errors="replace"), digest_size=8).digest(), "little")
        vector[number % self._dimensions] += weight if number >> 63 else -weight


def _features(text: str) -> Iterator[tuple[str, float]]:
    for word in _WORD.findall(text):
        yield word, 1.0
        marked = f"<{word}>"  # so that a beginning is another part than a middle
        for start in range(len(marked) - PART + 1):
            yield marked[start : start + PART] + "…", PART_WEIGHT
