"""What can be known without any I/O: values, times, frames, and what may be asked twice."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import stash_memory
from stash_memory import AsyncStash, BadRequest, Stash, calls, wire
from stash_memory.api_keys import ApiKeys, AsyncApiKeys
from stash_memory.collect import AsyncCollector, Collected, Collector
from stash_memory.conversations import AsyncConversations, Conversations
from stash_memory.episodes import AsyncEpisodes, Episodes
from stash_memory.messages import AsyncMessages, Messages
from stash_memory.pruning import AsyncPruning, Pruning
from stash_memory.retention import AsyncRetention, Retention
from stash_memory.values import milliseconds, pack_value, read_value
from stash_memory.watching import AsyncWatch, Watch
from stash_protocol import errors
from stash_protocol import operations as op
from stash_protocol.operations import OPERATIONS, Access

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_whatever_json_can_say_comes_back_as_it_was(value: Any) -> None:
    kind, payload = pack_value(value)
    assert kind == ("text" if isinstance(value, str) else "json")
    found = read_value(kind, payload)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("kind", "payload"), [("text", b"\xff"), ("json", b"{"), ("json", b"\xff"), ("json", b"")])
def test_bytes_that_are_not_what_they_are_called_are_an_error(kind: Any, payload: bytes) -> None:
    with pytest.raises(BadRequest, match=kind):
        read_value(kind, payload)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("1h30m", 5_400_000), (1, 1000), (0.0015, 2), (timedelta(days=1), 86_400_000), (None, None)],
)
def test_durations_become_milliseconds(duration: Any, expected: int | None) -> None:
    assert milliseconds(duration) == expected


def test_only_reads_and_plain_writes_may_be_asked_twice() -> None:
    repeatable = {kind for kind, operation in OPERATIONS.items() if operation.access in (Access.READ, Access.KNOWN)}
    for kind in OPERATIONS:
        fields: dict[str, Any] = {"version": 1} if kind is op.Hello else {}
        for name in kind.__struct_fields__:
            if name in ("key", "name"):
                fields[name] = "k"
            elif name in ("keys", "target", "by_ms"):
                fields[name] = {"keys": ["k"], "target": 1, "by_ms": 1}[name]
        plain_write = kind in (op.Set, op.Update)
        assert wire.repeatable(kind(**fields)) == (kind in repeatable or plain_write), kind


def test_the_frames_of_a_batch_are_told_apart() -> None:
    frames = wire.head(op.Ping(id=1), 3) + b"abc" + wire.head(op.Ping(id=2), 0)
    assert [payload for _, payload in wire.split_frames(frames)] == [b"abc", b""]
    with pytest.raises(errors.Internal):
        wire.split_frames(frames[:-1])


def test_an_import_is_cut_into_pages_by_count_and_by_size() -> None:
    small = [stash_memory.Portable(f"k{number}", "text", b"v", 60.0) for number in range(2500)]
    assert len(list(calls.import_pages(small, replace=False))) == 3
    large = [stash_memory.Portable(f"k{number}", "text", bytes(700_000), 60.0) for number in range(3)]
    assert len(list(calls.import_pages(large, replace=False))) == 3


# ── the two libraries are one ──

PAIRS = [
    (Stash, AsyncStash),
    (ApiKeys, AsyncApiKeys),
    (Retention, AsyncRetention),
    (Collector, AsyncCollector),
    (Watch, AsyncWatch),
    (Pruning, AsyncPruning),
    (Episodes, AsyncEpisodes),
    (Messages, AsyncMessages),
    (Conversations, AsyncConversations),
]


def methods(kind: type) -> dict[str, Any]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize(("waiting", "awaited"), PAIRS)
def test_what_is_awaited_has_the_same_methods_with_the_same_arguments(waiting: type, awaited: type) -> None:
    assert list(methods(waiting)) == list(methods(awaited))
    for name, member in methods(waiting).items():
        if inspect.isfunction(member):
            mine, other = inspect.signature(member), inspect.signature(methods(awaited)[name])
            assert mine.parameters.keys() == other.parameters.keys(), name
            for parameter in mine.parameters.values():
                assert parameter.replace(annotation="") == other.parameters[parameter.name].replace(annotation="")
                assert parameter.annotation == other.parameters[parameter.name].annotation


def test_what_can_be_collected_takes_what_the_stash_takes() -> None:
    left_out = {"timeout", "wait", "wait_embedding"}
    for name, member in methods(Collected).items():
        of_stash = inspect.signature(getattr(Stash, name)).parameters
        assert list(inspect.signature(member).parameters) == [name for name in of_stash if name not in left_out]


def test_every_operation_can_be_called() -> None:
    spoken = "".join(path.read_text() for path in Path(stash_memory.__file__).parent.glob("*.py"))
    missing = [kind.__name__ for kind in OPERATIONS if f"operations.{kind.__name__}(" not in spoken]
    assert missing == []


# ── the package ──


def test_everything_it_promises_can_be_imported() -> None:
    for name in dir(stash_memory):
        assert getattr(stash_memory, name) is not None
    for error in errors.ERRORS.values():
        assert getattr(stash_memory, error.__name__) is error
    with pytest.raises(AttributeError):
        _ = stash_memory.nonsense


def test_a_star_brings_all_of_it_and_nothing_else() -> None:
    found: dict[str, Any] = {}
    exec("from stash_memory import *", found)
    assert {error.__name__ for error in errors.ERRORS.values()} <= found.keys()
    assert {"Stash", "AsyncStash", "StashError", "Entry"} <= found.keys()
    assert not {name for name in found if name.startswith("_")} - {"__builtins__"}


def test_talking_to_a_daemon_imports_neither_the_engine_nor_asyncio() -> None:
    program = "import sys; from stash_memory import Stash; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in out if name.startswith(("stash_daemon", "apsw", "structlog", "ssl", "asyncio"))]


def test_a_users_program_passes_mypy_strict() -> None:
    sample = Path(__file__).with_name("typing_sample.py")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir=/dev/null", str(sample)]
    out = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert out.returncode == 0, out.stdout
