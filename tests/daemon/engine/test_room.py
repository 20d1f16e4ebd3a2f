"""What memories take: of a quota, and of a reply."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stash_protocol import operations as op
from stash_protocol.errors import BadRequest, TooLarge
from stash_protocol.memories import Memory
from tests.daemon.engine.test_search import remember
from tests.support.engine import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(str(tmp_path / "s.db"))
    yield made
    made.engine.close()


def test_what_a_memory_replaces_of_itself_does_not_count_twice(bench: Bench) -> None:
    small = bench.someone("small", quota=10_000)
    remember(bench, "a", "x " * 3_000, caller=small)
    remember(bench, "a", "y " * 3_000, caller=small)
    bench.ask(op.Update(key="a", memory=Memory(score=1.0)), caller=small)
    bench.ask(op.Update(key="a", type="text"), b"w", caller=small)
    bench.ask(op.Update(key="a", type="text", memory=Memory(score=2.0)), b"v", caller=small)


def test_memories_make_room_for_others_with_all_they_take(bench: Bench) -> None:
    small = bench.someone("small", quota=10_000, evict="soonest")
    for number in range(4):
        remember(bench, f"k{number}", "x " * 2_000, ttl_ms=1_000 + number, caller=small)
    assert bench.keys(caller=small) == ["k2", "k3"]


def test_hits_are_bounded_by_all_they_hold_and_read_no_further_than_a_budget_goes(bench: Bench) -> None:
    roomy = bench.someone("roomy", quota=1 << 30)
    metadata = '{"a": "' + "m" * 16_000 + '"}'
    for number in range(130):
        remember(bench, f"k{number}", "👍" * 32_768, metadata=metadata, caller=roomy)
    with pytest.raises(TooLarge):
        bench.find(k=130, caller=roomy)
    assert bench.find(k=110, caller=roomy).found.count == 110
    assert bench.find(k=130, budget=8_192 * 3, caller=roomy).found.count == 3


def test_a_key_that_is_made_is_no_longer_than_a_key_may_be(bench: Bench) -> None:
    with pytest.raises(BadRequest, match="2,048 bytes"):
        bench.ask(op.Set(memory=Memory(kind="message", group="👍" * 512)), b"v")
