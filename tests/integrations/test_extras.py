"""Every framework is an extra, which only its own module loads."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import stash_memory.integrations

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in Path(stash_memory.integrations.__path__[0]).glob("[a-z]*.py"))
FRAMEWORKS = {"agents", "key_value", "langchain_core", "langgraph", "mcp", "openai", "pydantic"}
MAX_LINES = 200  # of an adapter: it adapts, the engine means


def test_the_library_loads_no_framework() -> None:
    program = "import sys, stash_memory; stash_memory.Stash; stash_memory.AsyncStash; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert FRAMEWORKS & set(done.stdout.split()) == set()


@pytest.mark.parametrize("name", MODULES)
def test_an_adapter_is_thin(name: str) -> None:
    module = import_module(f"stash_memory.integrations.{name}")
    assert len(Path(str(module.__file__)).read_text().splitlines()) < MAX_LINES


def test_every_extra_of_a_framework_has_a_page_and_no_framework_is_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pages = {path.stem for path in (ROOT / "docs" / "integrations").glob("*.md")}
    assert {"key-value", "langchain", "langgraph", "mcp", "openai-agents"} <= set(extras) & pages
    assert not [each for each in project["dependencies"] if "lang" in each or "openai" in each]
