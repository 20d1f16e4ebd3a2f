"""What a filter asks for is what it gets, however odd."""

from __future__ import annotations

import pytest

from stash_protocol.memories import Condition, Filter, Memory
from tests.support.engine import Bench

HUGE = 2**64 - 1  # more than SQLite's integers hold


@pytest.mark.parametrize(("op", "value", "found"), [("lt", HUGE, 2), ("gte", 2**63, 1), ("in", [HUGE, 1], 2)])
def test_numbers_beyond_what_a_row_can_hold_are_compared(op: str, value: int | list[int], found: int) -> None:
    bench = Bench()
    bench.set("one", memory=Memory(metadata='{"n": 1}'))
    bench.set("half", memory=Memory(metadata='{"n": 9223372036854775807}'))
    bench.set("huge", memory=Memory(metadata=f'{{"n": {HUGE}}}'))
    condition = Condition("n", op, value)  # type: ignore[arg-type]
    assert bench.find(filter=Filter(where=[condition])).found.count == found
    bench.engine.close()


def test_a_tag_of_two_lines_is_one_tag() -> None:
    bench = Bench()
    bench.set("m", tags=["a\nb", '"'], memory=Memory(text="x"))
    assert [bench.find(filter=Filter(tags_any=[tag])).keys for tag in ("a\nb", '"', "a")] == [["m"], ["m"], []]
    bench.engine.close()
