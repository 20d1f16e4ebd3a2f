"""How memories are ranked. Pure arithmetic over columns; every weight and formula search uses stands here.

::

    score       = (1 - w) · similarity + w · importance                     w = 0.3 unless set otherwise
    importance  = 0.4 · recency + 0.4 · role + 0.2 · substance              or the memory's own, where it has one
    recency     = 2 ^ (-age / half-life)                                    half-life: 7 days unless set otherwise
    role        = user 1.0 · system 0.8 · assistant 0.6 · none 0.5 · tool 0.3
    substance   = 1 - 2 ^ (-words / 20)                                     a text of 20 words: a half

    similarity  by vector:  the cosine
                by keyword: BM25 (k1 1.2, b 0.75), as a share of the best hit's
                hybrid:     Σ 1 / (60 + rank) over both lists, as a share of the best possible

BM25 after Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), with the idf that is never negative:
ln(1 + (N - n + 0.5) / (n + 0.5)). Reciprocal rank fusion and its 60 after Cormack, Clarke and Büttcher (2009). N, n
and the mean length are those of the memories that are alive in the caller's namespace, and of no other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stash_daemon.memory_store import ROLES
from stash_daemon.search.index import Index, Mask, Numbers, Places

RECENCY, ROLE, SUBSTANCE = 0.4, 0.4, 0.2
ROLE_WEIGHTS = {"user": 1.0, "system": 0.8, "assistant": 0.6, None: 0.5, "tool": 0.3}
HALF_SUBSTANCE = 20  # words

K1, B = 1.2, 0.75
FUSION = 60
FUSED = 1_000  # of each list: what comes later adds too little to matter

_ROLE_WEIGHTS = np.array([ROLE_WEIGHTS[role] for role in ROLES])


def importance(index: Index, places: Places, now: int, half_life: int) -> tuple[Numbers, dict[str, Numbers]]:
    """The importance of memories, and the parts it is computed from."""
    age = np.maximum(0, now - index["at"][places].astype(np.float64))
    parts = {
        "recency": np.exp2(-age / half_life),
        "role": _ROLE_WEIGHTS[index["role"][places]],
        "substance": 1 - np.exp2(-index["words"][places].astype(np.float64) / HALF_SUBSTANCE),
    }
    computed = RECENCY * parts["recency"] + ROLE * parts["role"] + SUBSTANCE * parts["substance"]
    own = index["importance"][places].astype(np.float64)
    return np.where(np.isnan(own), computed, own), parts


def bm25(index: Index, alive: Mask, postings: Sequence[Sequence[tuple[int, int]]]) -> tuple[Mask, Numbers]:
    """Which live memories have any of the words, and how well each place fits; 0 where none does.

    Args:
        index: of the namespace.
        alive: the live places.
        postings: for each word, entries and how often they have it.
    """
    scores = np.zeros(index.used)
    lengths = index["words"].astype(np.float64)
    texts = alive & (lengths > 0)
    count = int(texts.sum())
    mean = float(lengths[texts].mean()) if count else 1.0
    for word in postings:
        found = index.located(word)
        here = found[texts[found[:, 0]]]
        if len(here):
            places, often = here[:, 0], here[:, 1].astype(np.float64)
            rarity = np.log1p((count - len(here) + 0.5) / (len(here) + 0.5))
            scores[places] += rarity * often * (K1 + 1) / (often + K1 * (1 - B + B * lengths[places] / mean))
    return scores > 0, scores


def fused(lists: Sequence[tuple[Places, Numbers]], used: int) -> Numbers:
    """Reciprocal ranks of several lists, as a share of the best possible, by place.

    Args:
        lists: places and what they are ranked by, greatest first.
        used: places there are.
    """
    sums = np.zeros(used)
    for places, scores in lists:
        order = best(scores, FUSED)
        sums[places[order]] += 1 / (FUSION + np.arange(1, len(order) + 1))
    return sums * (FUSION + 1) / len(lists)


def best(scores: Numbers, count: int) -> NDArray[np.int64]:
    """Where the greatest are, greatest first; of equals, the first."""
    if count < len(scores):
        bound = np.partition(scores, len(scores) - count)[len(scores) - count]
        chosen = np.flatnonzero(scores >= bound)
    else:
        chosen = np.arange(len(scores))
    return chosen[np.argsort(-scores[chosen], kind="stable")][:count]
