"""How contenders are timed: in turns, in short rounds, so that what else the machine does hits all alike."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from time import perf_counter_ns
from typing import TypeVar

Argument = TypeVar("Argument")

REPEATS = 5  # of everything; a figure is the median of its repeats
MICROSECOND, MILLISECOND, SECOND = 1e3, 1e6, 1e9  # nanoseconds


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of stash, what it is held against, and how far it may be from that.

    Attributes:
        ours, theirs: in ``unit``; theirs is None where nobody can do it, or where stash is held against a number.
        ratio: of the two medians.
        at_most, at_least: the bound of the ratio where there is one, else of ours; neither: for information.
    """

    name: str
    unit: str
    ours: float
    against: str = ""
    theirs: float | None = None
    ratio: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the figure is within its bound; None where it has none, or nothing to be held against."""
        if self.at_most is None and self.at_least is None:
            return None
        if self.against and self.ratio is None:
            return None
        value = self.ours if self.ratio is None else self.ratio
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0.0)


def percentile(spans: Sequence[int], share: float) -> float:
    """The value that so large a share of the spans does not exceed."""
    ordered = sorted(spans)
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])


@contextmanager
def no_collections() -> Iterator[None]:
    """Keep one contender's garbage from being collected on another's time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def timed(operation: Callable[[Argument], object], arguments: Sequence[Argument]) -> list[int]:
    """Nanoseconds of each call."""
    moments = [perf_counter_ns()]
    for argument in arguments:
        operation(argument)
        moments.append(perf_counter_ns())
    return [after - before for before, after in pairwise(moments)]


def in_turns(
    operations: Mapping[str, Callable[[Argument], object]],
    arguments: Sequence[Argument],
    *,
    rounds: int,
    repeats: int = REPEATS,
) -> dict[str, list[list[int]]]:
    """Nanoseconds of each call, by contender and repeat; every contender gets the same arguments.

    In each repeat they take turns, ``rounds`` times, and who begins changes from round to round.
    """
    found: dict[str, list[list[int]]] = {name: [] for name in operations}
    size = max(1, len(arguments) // rounds)
    order = list(operations)
    with no_collections():
        for operation in operations.values():
            timed(operation, arguments[:size])  # connects, and fills the caches of all alike
        for _ in range(repeats):
            spans: dict[str, list[int]] = {name: [] for name in operations}
            for start in range(0, size * rounds, size):
                for name in order:
                    spans[name] += timed(operations[name], arguments[start : start + size])
                order.reverse()
            for name, values in spans.items():
                found[name].append(values)
    return found


def rates(
    operations: Mapping[str, Callable[[], object]], amount: float, *, rounds: int, repeats: int = REPEATS
) -> dict[str, list[float]]:
    """Units a second, by contender and repeat, of calls that each do ``amount`` of them."""
    spans = in_turns({name: _ignoring(call) for name, call in operations.items()}, range(rounds), rounds=rounds,
                     repeats=repeats)  # fmt: skip
    return {name: [amount * rounds * SECOND / sum(values) for values in each] for name, each in spans.items()}


def _ignoring(call: Callable[[], object]) -> Callable[[int], object]:
    return lambda _: call()


def compare(
    name: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float] | None,
    against: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Figure:
    """A figure from one value per repeat of each side."""
    if not theirs:
        return Figure(name=name, unit=unit, ours=median(ours), against=against, at_most=at_most, at_least=at_least)
    ratio = median(ours) / median(theirs)
    return Figure(
        name=name, unit=unit, ours=median(ours), against=against, theirs=median(theirs), ratio=ratio, at_most=at_most,
        at_least=at_least,
    )  # fmt: skip


def compare_latency(
    name: str,
    ours: Sequence[Sequence[int]],
    theirs: Sequence[Sequence[int]] | None,
    against: str,
    *,
    p50: float | None = None,
    p99: float | None = None,
) -> Iterator[Figure]:
    """The median and the 99th percentile, in microseconds."""
    for label, share, bound in (("p50", 0.5, p50), ("p99", 0.99, p99)):
        mine = [percentile(spans, share) / MICROSECOND for spans in ours]
        others = [percentile(spans, share) / MICROSECOND for spans in theirs] if theirs else None
        yield compare(f"{name} {label}", "µs", mine, others, against, at_most=bound)
