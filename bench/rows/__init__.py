"""The rows of the table: each a function that measures one kind of work and yields its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.measure import Figure
from bench.setting import Bench

Measure = Callable[[Bench], Iterator[Figure]]


class Row(NamedTuple):
    """One row: what `--only` calls it, the work, and how it is measured."""

    name: str
    work: str
    measure: Measure


_found: dict[str, Row] = {}


def row(name: str, work: str) -> Callable[[Measure], Measure]:
    """Declare a function to be a row."""

    def declare(measure: Measure) -> Measure:
        _found[name] = Row(name, work, measure)
        return measure

    return declare


def rows() -> dict[str, Row]:
    """All rows by name, in the order of the table."""
    from bench.rows import latency, throughput, embedded, process, scale, expiry, beside, idle, mcp  # noqa: F401, I001
    from bench.rows import search, aged, vectors, relevance  # noqa: F401

    return _found
