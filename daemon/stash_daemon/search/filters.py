"""Which memories a filter lets through."""

from __future__ import annotations

import numpy as np

from stash_daemon.memory_store import KINDS, ROLES, MemoryReads
from stash_daemon.search.index import Index, Mask
from stash_protocol.memories import Filter


def let_through(index: Index, reads: MemoryReads, namespace: int, wanted: Filter, now: int) -> Mask:
    """The places of all live memories that a filter lets through.

    Raises:
        BadRequest: a condition that makes no sense.
    """
    mask = np.asarray(index["expires"] > now)
    if not wanted.archived:
        mask &= ~index["archived"].astype(np.bool_)
    if wanted.kind is not None:
        mask &= index["kind"] == KINDS.index(wanted.kind)
    if wanted.roles:
        mask &= np.isin(index["role"], [ROLES.index(role) for role in wanted.roles])
    if wanted.after is not None:
        mask &= index["at"] >= wanted.after
    if wanted.before is not None:
        mask &= index["at"] < wanted.before
    if wanted.min_score is not None:
        mask &= index["score"] >= wanted.min_score  # NaN, which is no score, is never
    _groups(index, wanted, mask)
    _tags(index, wanted, mask)
    _keys(index, reads, namespace, wanted, mask)
    return mask


def _groups(index: Index, wanted: Filter, mask: Mask) -> None:
    if wanted.group is not None:
        mask &= index.grouped(wanted.group)
    if wanted.group_prefix:
        mask &= index.grouped(*(group for group in index.groups if group.startswith(wanted.group_prefix)))


def _tags(index: Index, wanted: Filter, mask: Mask) -> None:
    for tag in wanted.tags_all:
        mask &= index.tagged(tag)
    if wanted.tags_any:
        mask &= index.tagged(*wanted.tags_any)


def _keys(index: Index, reads: MemoryReads, namespace: int, wanted: Filter, mask: Mask) -> None:
    """What only the rows can tell."""
    if wanted.keys is not None:
        mask &= index.among(index.places(reads.entries_of(namespace, wanted.keys)))
    if wanted.prefix or wanted.where:
        entries = reads.matching(namespace, wanted.prefix, segments=wanted.segments, where=wanted.where)
        mask &= index.among(index.places(entries))
