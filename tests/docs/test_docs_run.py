from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.console import PAGES, ROOT, Block, blocks, environment, matches, run_console, run_python, steps
from tests.support.daemon import eventually

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.fixture
def home() -> Iterator[Path]:
    """A fresh user's directory; a daemon that was started in it is stopped, and nothing of it stays."""
    directory = Path(tempfile.mkdtemp(prefix="st"))
    socket = directory / "stash.sock"
    yield directory
    if socket.exists():
        os.kill(int((directory / "daemon.lock").read_text()), signal.SIGTERM)
        eventually(lambda: not socket.exists())
    eventually(lambda: shutil.rmtree(directory, ignore_errors=True) or not directory.exists())  # it may still tidy up


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_what_a_page_shows_is_what_happens(page: Path, home: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    environ = environment(home)
    shown = blocks(page)
    for block in shown:
        if block.language == "console":
            run_console(block, environ, tmp_path)
    run_python([block for block in shown if block.language == "python"], environ, tmp_path)


def test_vectors_of_all_pages_go_into_one_namespace() -> None:
    """Whoever follows two pages has one daemon, and its model `own` has one number of dimensions."""
    given = re.compile(r"embedding\"?[=:] ?\[([^\]]*)\]|\becho '\[([\d., ]+)\]'")
    shown = {page.name: [(a or b).count(",") + 1 for a, b in given.findall(page.read_text())] for page in PAGES}
    assert {size for sizes in shown.values() for size in sizes} == {3}, shown
    assert sum(map(len, shown.values())) >= 6, "the pattern finds them"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_commands_and_outputs_are_told_apart() -> None:
    text = "$ echo a \\\n>   b\na b\n$ false\n$ echo $?\n1\n"
    shown = Block(ROOT / "README.md", 1, "console", text)
    assert [tuple(step) for step in steps(shown)] == [("echo a \\\n  b", "a b"), ("false", ""), ("echo $?", "1")]


def test_a_page_that_shows_something_else_is_caught(tmp_path: Path) -> None:
    def run(text: str) -> None:
        run_console(Block(ROOT / "README.md", 1, "console", text), environment(tmp_path), tmp_path)

    run("$ echo a; echo b\na\nb\n$ false\n$ echo $?\n1\n")
    for wrong in ("$ echo a\nb\n", "$ false\n", "$ echo a; echo b\na\n", "$ exit 0\n$ echo a\na\n"):
        with pytest.raises(AssertionError):
            run(wrong)


def test_an_ellipsis_stands_for_anything() -> None:
    assert matches("a … c", "a b c")
    assert matches("…\nend", "one\ntwo\nend")
    assert not matches("a … c", "a b d")
