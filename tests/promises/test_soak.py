"""Soak: under a load that comes and goes nothing grows with time. `make soak` takes hours of it."""

from __future__ import annotations

import pytest

from tests.torture import soak


def test_a_short_soak_leaves_the_daemon_as_large_as_it_was() -> None:
    samples = soak.run(6, 0.5, ttls=(20, 100, 400))
    assert samples[-1].calls > 500
    assert samples[-1].entries < 5000


def sample(**figures: int) -> soak.Sample:
    usual = {"rss_kib": 40 << 10, "descriptors": 20, "database_kib": 1 << 10, "log_kib": 0, "entries": 10, "calls": 0}
    return soak.Sample(seconds=0, **(usual | figures))


@pytest.mark.parametrize("figure", soak.GRAIN)
def test_what_grows_with_time_is_named(figure: str) -> None:
    growing = [sample(**{figure: (20 << 10) * (n + 1)}) for n in range(12)]
    with pytest.raises(AssertionError, match=f"{figure} grew"):
        soak.flat(growing)
    soak.flat([sample()] * 12)


def test_a_soak_that_was_too_short_shows_nothing() -> None:
    with pytest.raises(AssertionError, match="show nothing"):
        soak.flat([sample()] * 5)
