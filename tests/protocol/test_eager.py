"""Looking before sleeping is bounded, however often it is in vain."""

from __future__ import annotations

from stash_protocol.eager import MOST_NAPS, Eager


def naps(eager: Eager) -> int:
    """How often it sleeps before it looks again."""
    count = 0
    while not eager.looks():
        count += 1
    return count


def test_every_look_in_vain_doubles_how_often_it_sleeps_up_to_a_bound() -> None:
    eager, slept = Eager(), []
    for _ in range(9):
        slept.append(naps(eager))
        eager.in_vain()
    assert slept == [0, 1, 2, 4, 8, 16, 32, 64, 64]
    assert MOST_NAPS == 64


def test_what_was_found_once_is_looked_for_again_at_once_and_soon_after_the_next_miss() -> None:
    eager = Eager()
    for _ in range(5):
        naps(eager)
        eager.in_vain()
    naps(eager)
    eager.found()
    assert eager.looks()
    eager.in_vain()
    assert naps(eager) == 1
