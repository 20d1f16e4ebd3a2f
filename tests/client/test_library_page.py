"""docs/library.md says what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

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


def test_its_first_example_runs() -> None:
    example = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with Stash(backend="memory") as stash:
        code = example[0].replace("stash = Stash()", "pass") + example[1]
        names: dict[str, Any] = {"stash": stash}
        stash.set("a", "before")
        exec(code, names)
        assert stash.get("plan") == {"step": 3}
        assert names["results"] == [1, 0]
