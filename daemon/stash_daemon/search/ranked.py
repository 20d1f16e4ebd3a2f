"""One search over one index: filter, compare, rank, choose."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from stash_daemon.memory_store import MemoryReads
from stash_daemon.search.filters import let_through
from stash_daemon.search.index import Index, Mask, Numbers, Places, unit
from stash_daemon.search.ranking import best, bm25, fused, importance
from stash_protocol.memories import Filter, Order


class Wanted(NamedTuple):
    """What a search is to find.

    Attributes:
        words: to be found by keyword; None: not by keyword.
        vector: to be near to, float32 little-endian; None: not by vector.
        model: number of the model whose vectors are compared.
        itself: the entry the vector was taken from.
        first: hits to leave out.
        most: hits at most.
        importance_weight: 0 to 1.
        half_life: milliseconds.
    """

    filter: Filter
    words: str | None
    vector: bytes | None
    model: int | None
    itself: int | None
    order: Order
    first: int
    most: int
    importance_weight: float
    half_life: int


class Ranked(NamedTuple):
    """What was found: lists of the same length, best first.

    Attributes:
        similarities: empty when nothing was compared.
        parts: of each score, by name.
        mode, total, candidates, embedded: see `stash_protocol.memories.Found`.
    """

    entries: list[int]
    scores: list[float]
    similarities: list[float]
    importances: list[float]
    parts: dict[str, list[float]]
    mode: Literal["vector", "keyword", "hybrid", "filter"]
    total: int
    candidates: int
    embedded: int


class Compared(NamedTuple):
    """Similarity by place, where `mask` is true; and what it is made of."""

    mask: Mask
    similarity: Numbers
    parts: dict[str, Numbers]


def rank(index: Index, reads: MemoryReads, namespace: int, wanted: Wanted, now: int) -> Ranked:
    """Search an index with what its own snapshot says.

    Raises:
        BadRequest: a condition that makes no sense.
    """
    mask = let_through(index, reads, namespace, wanted.filter, now)
    if wanted.itself is not None:
        mask[index.places([wanted.itself])] = False
    candidates = int(mask.sum())
    near = _near(index, mask, wanted)
    worded = _worded(index, mask, reads.postings(namespace, wanted.words), now) if wanted.words else None
    mode, compared = _compare(near, worded, index.used)
    embedded = int(near.mask.sum()) if near else 0
    places = np.flatnonzero(compared.mask if compared else mask)
    chosen = _choose(index, places, compared, wanted, now)
    return Ranked(*chosen, mode, len(places) if mode != "hybrid" else candidates, candidates, embedded)


def _near(index: Index, mask: Mask, wanted: Wanted) -> Compared | None:
    if wanted.vector is None:
        return None
    block = index.blocks.get(wanted.model) if wanted.model is not None else None
    similarity = np.zeros(index.used)
    if block is None:
        return Compared(np.zeros(index.used, dtype=np.bool_), similarity, {"vector": similarity})
    places, cosines = block.similarities(unit(np.frombuffer(wanted.vector, dtype="<f4")), mask)
    similarity[places] = cosines
    return Compared(mask & index.among(places), similarity, {"vector": similarity})


def _worded(index: Index, mask: Mask, postings: list[list[tuple[int, int]]], now: int) -> Compared:
    found, scores = bm25(index, index["expires"] > now, postings)
    found &= mask
    highest = float(scores[found].max()) if found.any() else 1.0
    share = scores / highest
    return Compared(found, share, {"keyword": share})


def _compare(
    near: Compared | None, worded: Compared | None, used: int
) -> tuple[Literal["vector", "keyword", "hybrid", "filter"], Compared | None]:
    if near is not None and worded is not None:  # nothing is fused with nothing
        if not near.mask.any():
            near = None
        elif not worded.mask.any():
            worded = None
    if near is None or worded is None:
        return ("vector", near) if near else ("keyword", worded) if worded else ("filter", None)
    lists = []
    for compared in (near, worded):
        places = np.flatnonzero(compared.mask)
        lists.append((places, compared.similarity[places]))
    similarity = fused(lists, used)
    similarity[worded.mask & ~near.mask] *= len(lists)  # what has no vector (yet) could be in one of them only
    return "hybrid", Compared(similarity > 0, similarity, {**near.parts, **worded.parts})


def _choose(
    index: Index, places: Places, compared: Compared | None, wanted: Wanted, now: int
) -> tuple[list[int], list[float], list[float], list[float], dict[str, list[float]]]:
    end = wanted.first + wanted.most
    if wanted.order in ("newest", "oldest"):  # of the same millisecond, by which came first
        places = places[np.argsort(index["id"][places])]
        places = places[::-1] if wanted.order == "newest" else places
    if compared and not wanted.importance_weight and wanted.order == "rank":  # then few need an importance
        places = places[best(compared.similarity[places], end)]
    important, parts = importance(index, places, now, wanted.half_life)
    weight = wanted.importance_weight if compared else 1.0
    scores = weight * important
    if compared:
        scores = scores + (1 - weight) * compared.similarity[places]
    order = best(_keys(index, places, scores, important, wanted.order), end)[wanted.first :]
    chosen = places[order]
    if compared:
        parts = {**parts, **{name: values[places] for name, values in compared.parts.items()}}
    return (
        index["id"][chosen].tolist(),
        scores[order].tolist(),
        compared.similarity[chosen].tolist() if compared else [],
        important[order].tolist(),
        {name: values[order].tolist() for name, values in parts.items()},
    )


def _keys(index: Index, places: Places, scores: Numbers, important: Numbers, order: Order) -> Numbers:
    """What hits are sorted by, greatest first."""
    if order == "newest":
        return index["at"][places].astype(np.float64)
    if order == "oldest":
        return -index["at"][places].astype(np.float64)
    if order == "score":
        own = index["score"][places].astype(np.float64)
        return np.where(np.isnan(own), -np.inf, own)
    return important if order == "importance" else scores
