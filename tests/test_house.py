"""The laws of the house that a linter does not know: see docs/architecture.md."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import stash_protocol
from stash_daemon import engine
from stash_daemon.doors import socket as socket_door
from stash_memory import AsyncStash, Stash
from stash_protocol.operations import OPERATIONS, Operation, Pace

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LISTED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
)
FILES = [ROOT / name for name in LISTED.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
MODULES = [path for path in FILES if path.suffix == ".py"]
PACKAGES = ("stash_cli", "stash_daemon", "stash_memory", "stash_protocol")
SOURCES = [path for path in MODULES if any(part in PACKAGES for part in path.relative_to(ROOT).parts)]

MAX_LINES = 400  # of a file
MAX_FUNCTION_LINES = 40  # without the docstring
MAX_POSITIONAL = 5  # parameters, self aside


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    documented = ast.get_docstring(node, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def positional(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    counts = {path.name: len(path.read_text().splitlines()) for path in MODULES}
    assert {name: count for name, count in counts.items() if count >= MAX_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {f"{path.name}:{node.name}": lines(node) for path in MODULES for node in functions(path)}
    assert {name: count for name, count in long.items() if count >= MAX_FUNCTION_LINES} == {}


def test_no_function_takes_more_by_position_than_a_caller_can_keep_apart() -> None:
    many = {f"{path.name}:{node.name}": positional(node) for path in SOURCES for node in functions(path)}
    assert {name: count for name, count in many.items() if count > MAX_POSITIONAL} == {}


def test_nothing_is_called_by_a_name_that_says_nothing() -> None:
    names = {path.stem for path in MODULES}
    assert not names & {"utils", "util", "helpers", "common", "misc", "manager", "handler"}
    classes = {
        node.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Handler|Util|Helper)s?$", node.name)
    }
    assert classes == set()


def test_no_test_is_skipped_and_none_expects_to_fail() -> None:
    marks = re.compile(r"pytest\.(mark\.)?(skip|xfail|importorskip)")
    assert {path.name for path in MODULES if path != Path(__file__) and marks.search(path.read_text())} == set()


def test_the_floors_are_under_contract() -> None:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} >= {
        "Imports run downwards only",
        "Doors never touch a store",
        "The hot verbs load next to nothing",
    }
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = {part.strip() for layer in layers for part in layer.split("|")}
    floors = {part.parent if part.stem == "__init__" else part.with_suffix("") for part in SOURCES}
    daemon = {f"stash_daemon.{floor.name}" for floor in floors if floor.parent.name == "stash_daemon"}
    assert daemon - named == set(), "a module of the daemon stands on no floor: name it in pyproject.toml"


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    places = [path for path in SOURCES if f'"{stash_protocol.__version__}"' in path.read_text()]
    assert places == [Path(stash_protocol.__file__)]


def test_completions_and_the_man_page_go_into_the_wheel() -> None:
    shared = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    made = {str(path.relative_to(ROOT)) for path in (ROOT / "completions").iterdir()} | {"docs/stash.1"}
    assert set(shared) == made


@pytest.mark.parametrize("row", OPERATIONS.values(), ids=lambda row: row.name)
def test_an_operation_has_its_place_in_the_daemon(row: Operation) -> None:
    tables = {
        Pace.INLINE: set(engine.INLINE),
        Pace.STEPS: set(engine.STEPS),
        Pace.SCAN: set(engine.SCANS),
        Pace.SEARCH: set(engine.SCANS),
    }
    if row.pace is Pace.DOOR:
        assert f"{row.request.__name__}:" in Path(socket_door.__file__).read_text(), f"the socket door lacks {row.name}"
    else:
        assert row.request in tables[row.pace], f"the engine's table for {row.pace} lacks {row.name}"


@pytest.mark.parametrize("row", OPERATIONS.values(), ids=lambda row: row.name)
def test_an_operation_can_be_called_from_the_library(row: Operation) -> None:
    library = [path for path in SOURCES if "stash_memory" in path.parts]
    used = re.compile(rf"\b{row.request.__name__}\(")
    assert any(used.search(path.read_text()) for path in library), f"stash_memory never makes a {row.name}"


def test_both_clients_have_the_same_methods() -> None:
    def public(client: type) -> set[str]:
        return {name for name in dir(client) if not name.startswith("_")}

    assert public(Stash) == public(AsyncStash)


@pytest.mark.parametrize("row", OPERATIONS.values(), ids=lambda row: row.name)
def test_an_operation_is_exercised_by_a_test(row: Operation) -> None:
    used = re.compile(rf"\b{row.request.__name__}\(")
    tests = [path for path in MODULES if (ROOT / "tests") in path.parents and path.parent.name != "protocol"]
    assert any(used.search(path.read_text()) for path in tests), f"no test makes a {row.name}"
