"""docs/library.md says what there is."""

from __future__ import annotations

import re
from pathlib import Path

from stash_memory import Stash
from stash_memory.api_keys import ApiKeys
from stash_memory.collect import Collected
from stash_protocol.errors import ERRORS

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()


def test_every_method_and_every_error_is_on_the_page() -> None:
    names = [name for name in vars(Stash) if not name.startswith("_") and name not in ("carry_out", "api_keys")]
    assert [name for name in names if f"`{name}(" not in PAGE and f"stash.{name}`" not in PAGE] == []
    assert [name for name in vars(ApiKeys) if not name.startswith("_") and f".{name}(" not in PAGE] == []
    assert [error.__name__ for error in ERRORS.values() if f"`{error.__name__}`" not in PAGE] == []


def test_what_can_be_collected_is_on_the_page() -> None:
    found = re.search(r"Both take `([a-z ]+)`", PAGE)
    assert found
    assert found[1].split() == [name for name in vars(Collected) if not name.startswith("_")]
