"""One daemon for a module of tests, and a connection to it for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.daemon import Line, RunningDaemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    with RunningDaemon("--tcp", "127.0.0.1:0") as running:
        yield running


@pytest.fixture
def line(daemon: RunningDaemon) -> Iterator[Line]:
    with daemon.connect() as connected:
        yield connected
