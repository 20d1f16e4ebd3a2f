"""Hostile peers: frames that are almost right, crowds that hold on to what they get. `make torture` takes longer."""

from __future__ import annotations

import pytest

from stash_protocol import operations as op
from tests.support.daemon import RunningDaemon
from tests.support.tenants import answer
from tests.torture import crowd, hostile

MUTATIONS = 2500  # for each of four seeds: ten thousand


@pytest.mark.parametrize("start", range(0, 4 * MUTATIONS, MUTATIONS))
def test_of_ten_thousand_mutated_frames_none_does_harm(start: int) -> None:
    answers = hostile.mutations(MUTATIONS, start)
    assert answers["bad_request"] > MUTATIONS // 3
    assert answers["reply"] > MUTATIONS // 20, "hardly any came through to an operation"


def test_what_a_fuzzer_makes_up_does_no_harm() -> None:
    assert sum(hostile.fuzz(0, examples=60).values()) >= 60


def test_a_crowd_that_stalls_is_shown_out_while_others_are_served() -> None:
    """With less patience than is shipped: how long that is changes nothing else."""
    with RunningDaemon(before=crowd.impatient(hello=1, stall=2)) as daemon:
        p99, _took, grown = crowd.stand(daemon, within=15)
    assert p99 <= crowd.P99
    assert grown <= crowd.MOST_GROWTH


def test_fifteen_hundred_idle_connections_are_served_or_refused_politely() -> None:
    with RunningDaemon("--max-connections", "1000") as daemon:
        assert crowd.idle(daemon, 1500) == (1000, 500)
        with daemon.connect() as line:
            assert answer(line, op.Ping())


def test_without_descriptors_it_neither_dies_nor_spins_nor_floods_its_log() -> None:
    with RunningDaemon() as daemon:
        assert crowd.out_of_descriptors(daemon, 100, 1.0) < 0.5
        log = daemon.home / "stash.log"
        assert not log.exists() or log.read_text().count("\n") < 50
