"""Whether what several clients saw of one key can have happened one after the other: linearizability, with expiry.

The search of Wing and Gong with Lowe's memory: take any call that began before every other unplaced one had ended, see
whether its outcome fits the state, go on; a set of placed calls beside a state is never tried twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

GRAIN = 2_000_000  # nanoseconds: the daemon reckons in milliseconds, and a clock may tick between two readings


class Call(NamedTuple):
    """One call on the key, as its client saw it.

    Attributes:
        called, returned: nanoseconds of one clock.
        kind: ``set``, ``add`` (set if absent), ``get``, ``update``, ``forget`` or ``incr``.
        value: what was to be written; of an incr: what is added.
        ttl: nanoseconds of a new entry.
        outcome: the value of a get, the number after an incr, True or False of the others: whether they did it.
    """

    called: int
    returned: int
    kind: str
    outcome: bytes | int | bool | None
    value: bytes = b""
    ttl: int = 0


class State(NamedTuple):
    """What the key holds; when at the earliest, and when at the latest, it ends. Value None: absent."""

    value: bytes | None = None
    earliest: int = 0
    latest: int = 0


ABSENT = State()


def linearizable(calls: Sequence[Call]) -> bool:
    """Whether there is an order of the calls that explains every outcome; expiry may step in between any two."""
    ordered = sorted(calls)
    everything = (1 << len(ordered)) - 1
    stack, seen = [(0, ABSENT)], {(0, ABSENT)}
    while stack:
        placed, state = stack.pop()
        if placed == everything:
            return True
        for number in _candidates(ordered, placed):
            for after in _after(state, ordered[number]):
                step = (placed | 1 << number, after)
                if step not in seen:
                    seen.add(step)
                    stack.append(step)
    return False


def _candidates(ordered: Sequence[Call], placed: int) -> Iterator[int]:
    """Unplaced calls that no other unplaced one precedes."""
    first_return: int | None = None
    number = _first_unplaced(placed)
    while number < len(ordered):
        if not placed >> number & 1:
            call = ordered[number]
            if first_return is not None and call.called > first_return:
                return
            first_return = call.returned if first_return is None else min(first_return, call.returned)
            yield number
        number += 1


def _first_unplaced(placed: int) -> int:
    return (~placed & placed + 1).bit_length() - 1


def _after(state: State, call: Call) -> Iterator[State]:
    """Every state the call can leave behind, given its outcome."""
    if state.value is not None and call.called <= state.latest + GRAIN:
        yield from _on_entry(state, call)
    if state.value is None or call.returned >= state.earliest - GRAIN:
        yield from _on_nothing(call)


def _on_entry(state: State, call: Call) -> Iterator[State]:
    value = state.value
    assert value is not None
    match call.kind, call.outcome:
        case ("set", True):
            yield _made(call, call.value)
        case ("update", True):
            yield state._replace(value=call.value)
        case ("incr", int(number)) if number == int(value) + int(call.value):
            yield state._replace(value=str(number).encode())
        case ("forget", True):
            yield ABSENT
        case ("add", False):
            yield state
        case ("get", found) if found == value:
            yield state


def _on_nothing(call: Call) -> Iterator[State]:
    match call.kind, call.outcome:
        case ("set" | "add", True):
            yield _made(call, call.value)
        case ("incr", int(number)) if number == int(call.value):
            yield _made(call, call.value)
        case ("forget" | "update", False) | ("get", None):
            yield ABSENT


def _made(call: Call, value: bytes) -> State:
    return State(value, call.called + call.ttl, call.returned + call.ttl)
