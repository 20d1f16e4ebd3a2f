"""What all tests share: no test reaches the user's own stash, and property tests are as strict on a busy machine."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A shared two-core machine may stall for longer than any example should take; the examples stay the same each run.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _nobodys_stash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that forgets to say where its data is finds no place for it, rather than the user's own."""
    for name in [name for name in os.environ if name.startswith("STASH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STASH_HOME", "/dev/null/nobody")
