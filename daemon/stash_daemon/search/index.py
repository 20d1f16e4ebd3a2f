"""What search keeps in memory of one namespace: a column for each fact it filters or ranks by, and all vectors.

Everything here could be read from the rows again, and is when it is missing. Rows are only ever added: one that has
changed is added anew, and its old place is dead from then on (its time is over), until so many are dead that all are
moved together. So a place, once found, stays valid for as long as a search takes.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stash_daemon.memory_store import Column

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]

DTYPES = {
    "id": "i8", "expires": "i8", "at": "i8", "archived": "?", "kind": "i1", "role": "i1", "words": "i4", "score": "f8",
    "importance": "f8",
}  # fmt: skip
FIRST_ROWS = 256
FEW = 0.1  # of all vectors: so few are sooner copied out than all are compared
MOST_DEAD = 0.25  # of all places: more than that are worth moving the living together


class Block:
    """All vectors of one model, each of length 1, and whose they are."""

    def __init__(self, dimensions: int) -> None:
        self.places = array("q")
        self.matrix = np.empty((FIRST_ROWS, dimensions), dtype=np.float32)

    def add(self, places: Iterable[int], vectors: NDArray[np.float32]) -> None:
        """Add vectors, one a place."""
        used, needed = len(self.places), len(self.places) + len(vectors)
        if needed > len(self.matrix):
            larger = np.empty((max(needed, 2 * used), self.matrix.shape[1]), dtype=np.float32)
            larger[:used] = self.matrix[:used]
            self.matrix = larger
        self.matrix[used:needed] = vectors
        self.places.extend(places)

    def similarities(self, vector: NDArray[np.float32], wanted: Mask) -> tuple[Places, Numbers]:
        """The places of at least all wanted vectors, and the cosine of each with a vector of length 1."""
        places = np.array(self.places, dtype=np.int64)
        matrix = self.matrix[: len(places)]
        if np.count_nonzero(wanted) < FEW * len(places):
            few = np.flatnonzero(wanted[places])
            places, matrix = places[few], matrix[few]
        return places, (matrix @ vector).astype(np.float64)


class Index:
    """The memories of one namespace. One thread at a time uses it."""

    def __init__(self) -> None:
        self.used = 0
        self.blocks: dict[int, Block] = {}
        self._dead = 0
        self._columns = {name: np.zeros(FIRST_ROWS, dtype=kind) for name, kind in DTYPES.items()}
        self._place: dict[int, int] = {}  # by entry
        self._groups: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
        self._tags: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name][: self.used]

    @property
    def size(self) -> int:
        """Bytes, about."""
        return sum(column.nbytes for column in self._columns.values()) + sum(
            block.matrix.nbytes for block in self.blocks.values()
        )

    @property
    def groups(self) -> Iterable[str]:
        """All groups there are, or were."""
        return self._groups.keys()

    # ── change ──

    def put(self, rows: Sequence[Column]) -> None:
        """Add rows, in the place of those of the same entries."""
        if not rows:
            return
        self.drop(row.id for row in rows)
        first, self.used = self.used, self.used + len(rows)
        self._grow()
        columns = dict(zip(Column._fields, zip(*rows, strict=True), strict=True))
        for name in DTYPES:
            values = columns[name]
            if name in ("score", "importance"):
                values = tuple(np.nan if value is None else value for value in values)
            self._columns[name][first : self.used] = values
        self._place.update(zip(columns["id"], range(first, self.used), strict=True))
        for place, row in enumerate(rows, first):
            if row.group is not None:
                self._groups[row.group].append(place)
            for tag in row.tags:
                self._tags[tag].append(place)
        self._put_vectors(first, rows)

    def _put_vectors(self, first: int, rows: Sequence[Column]) -> None:
        by_model: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for place, row in enumerate(rows, first):
            if row.model is not None and row.vector is not None:
                by_model[row.model].append((place, row.vector))
        for model, found in by_model.items():
            matrix = np.frombuffer(b"".join(vector for _, vector in found), dtype="<f4").reshape(len(found), -1)
            block = self.blocks.get(model)
            if block is None or block.matrix.shape[1] != matrix.shape[1]:  # its model has other dimensions now
                block = self.blocks[model] = Block(matrix.shape[1])
            block.add((place for place, _ in found), unit(matrix))

    def drop(self, entries: Iterable[int]) -> None:
        """Forget entries."""
        for entry in entries:
            place = self._place.pop(entry, None)
            if place is not None:
                self._columns["expires"][place] = 0
                self._dead += 1

    @property
    def worn(self) -> bool:
        """Whether so many places are dead that a new index would do better."""
        return self._dead > FIRST_ROWS and self._dead > MOST_DEAD * self.used

    def _grow(self) -> None:
        if self.used > len(self._columns["id"]):
            for name, column in self._columns.items():
                larger = np.zeros(max(self.used, 2 * len(column)), dtype=column.dtype)
                larger[: len(column)] = column
                self._columns[name] = larger

    # ── look ──

    def compares(self, model: int, now: int) -> bool:
        """Whether a live memory has a vector of a model."""
        block = self.blocks.get(model)
        return block is not None and bool((self["expires"][_numbers(block.places)] > now).any())

    def places(self, entries: Iterable[int]) -> Places:
        """Where entries are, those that are memories."""
        found = map(self._place.get, entries)
        return np.array([place for place in found if place is not None], dtype=np.int64)

    def located(self, postings: Sequence[tuple[int, int]]) -> Places:
        """Place and count for each entry and count; of entries that are memories."""
        place = self._place
        found = [(place[entry], often) for entry, often in postings if entry in place]
        return np.array(found, dtype=np.int64).reshape(len(found), 2)

    def among(self, places: Places) -> Mask:
        """A mask of all places that is true at these."""
        mask = np.zeros(self.used, dtype=np.bool_)
        mask[places] = True
        return mask

    def tagged(self, *tags: str) -> Mask:
        """Where any of the tags is."""
        return self._any_of(self._tags, tags)

    def labels(self, groups: Sequence[str]) -> Places:
        """At each place, the number of its group among these; -1 where it is in none of them."""
        found = np.full(self.used, -1, dtype=np.int64)
        for number, group in enumerate(groups):
            found[_numbers(self._groups.get(group))] = number
        return found

    def grouped(self, *groups: str) -> Mask:
        """Where any of the groups is."""
        return self._any_of(self._groups, groups)

    def _any_of(self, known: Mapping[str, array[int]], names: Iterable[str]) -> Mask:
        mask = np.zeros(self.used, dtype=np.bool_)
        for name in names:
            mask[_numbers(known.get(name))] = True
        return mask


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length 1 in the same directions; lengths are taken in double, where no float32 overflows."""
    lengths: Numbers = np.sqrt(np.einsum("...i,...i->...", vectors, vectors, dtype=np.float64))
    return np.asarray(vectors / lengths[..., None], dtype=np.float32)


def _numbers(places: array[int] | None) -> Places:
    return np.array(places or (), dtype=np.int64)
