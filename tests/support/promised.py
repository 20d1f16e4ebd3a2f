"""What a daemon that may die at any moment has promised: for each key, every state it was asked to take, in order.

Up to the last one that was acknowledged nothing may be missing; what was asked for after it may have happened or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator


class Promises:
    """The promises made to one writer, who never asks before it knows the order of what it asked.

    Attributes:
        acknowledged: how many were, since the last `settle`.
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self._states: defaultdict[str, list[bytes | None]] = defaultdict(lambda: [None])
        self._kept: defaultdict[str, int] = defaultdict(int)

    def ask(self, key: str, state: bytes | None) -> tuple[str, int]:
        """Note that the key was asked to become the value, or absent (None); what to acknowledge it with."""
        self._states[key].append(state)
        return key, len(self._states[key]) - 1

    def keep(self, *asked: tuple[str, int]) -> None:
        """These were acknowledged, as one."""
        self.acknowledged += 1
        for key, number in asked:
            self._kept[key] = max(self._kept[key], number)

    def broken(self, held: dict[str, bytes]) -> Iterator[str]:
        """Every key whose state is one that it may not have."""
        for key, states in self._states.items():
            allowed, found = states[self._kept[key] :], held.get(key)
            if found not in allowed:
                yield f"{key} is {_short(found)} and not {' or '.join(map(_short, allowed))}"

    def settle(self, held: dict[str, bytes]) -> None:
        """Whatever is held now is what counts from here on."""
        for key in self._states:
            self._states[key] = [held.get(key)]
        self._kept.clear()
        self.acknowledged = 0


def _short(state: bytes | None) -> str:
    return "absent" if state is None else f"{state[:24]!r} ({len(state):,} bytes)"
