"""Conversations, counted: what the messages of each group come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stash_daemon.memory_store import ROLES
from stash_daemon.search.index import Index, Mask, Numbers, Places
from stash_daemon.search.ranking import importance

Counts = NDArray[np.int64]


class Tally(NamedTuple):
    """A number for each conversation, in every column.

    Attributes:
        groups: their ids, the one with the latest message first.
        expires: when the last message that is left does, milliseconds since the epoch.
        roles: a column for each of `ROLES`.
    """

    groups: list[str]
    messages: Counts
    first: Counts
    last: Counts
    expires: Counts
    importance: Numbers
    roles: list[Counts]
    embedded: Counts


def tally(index: Index, mask: Mask, groups: Sequence[str], now: int, half_life: int) -> Tally:
    """Count the memories that a mask lets through, by group; groups without any are left out.

    Args:
        index: of the namespace.
        mask: the memories to count.
        groups: the groups to count.
        now: milliseconds since the epoch.
        half_life: of the recency in importance, milliseconds.
    """
    labels = index.labels(groups)
    places = np.flatnonzero(mask & (labels >= 0))
    found, which = np.unique(labels[places], return_inverse=True)
    count = len(found)
    messages = np.bincount(which, minlength=count)
    important, _ = importance(index, places, now, half_life)
    roles = index["role"][places]
    vectors = _embedded(index)[places]
    last = _extremes(which, index["at"][places], count, np.maximum)
    order = np.argsort(-last, kind="stable")
    return Tally(
        groups=[groups[label] for label in found[order]],
        messages=messages[order],
        first=_extremes(which, index["at"][places], count, np.minimum)[order],
        last=last[order],
        expires=_extremes(which, index["expires"][places], count, np.maximum)[order],
        importance=(np.bincount(which, weights=important, minlength=count) / np.maximum(messages, 1))[order],
        roles=[np.bincount(which[roles == role], minlength=count)[order] for role in range(len(ROLES))],
        embedded=np.bincount(which[vectors], minlength=count)[order],
    )


def _extremes(which: Places, values: Counts, count: int, better: np.ufunc) -> Counts:
    """The least or greatest value of each."""
    start = np.iinfo(np.int64).min if better is np.maximum else np.iinfo(np.int64).max
    found = np.full(count, start, dtype=np.int64)
    better.at(found, which, values)
    return found


def _embedded(index: Index) -> Mask:
    """Where there is a vector, of whatever model."""
    found = np.zeros(index.used, dtype=np.bool_)
    for block in index.blocks.values():
        found[np.array(block.places, dtype=np.int64)] = True
    return found
