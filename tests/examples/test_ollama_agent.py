"""The agent as a program of its own, between a real daemon and a server that speaks Ollama's API.

With OLLAMA_HOST set to a server that answers, the first test runs against it, with OLLAMA_MODEL or a model it has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stash_memory import Stash
from tests.docs.console import ROOT, environment
from tests.support.daemon import RunningDaemon
from tests.support.ollama import OllamaServer, asks, says

PATIENCE = 300  # seconds, for a real model on a slow machine; the other answers at once


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    with RunningDaemon() as daemon:
        yield daemon


@pytest.fixture
def stash(daemon: RunningDaemon) -> Iterator[Stash]:
    with Stash(socket=daemon.socket) as stash:
        stash.clear(prefix="")
        yield stash


def run(daemon: RunningDaemon, host: str, task: str, model: str = "qwen3") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "examples" / "ollama_agent.py", "--model", model, task],
        env={**environment(daemon.home), "OLLAMA_HOST": host}, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip


def model_of(host: str) -> str | None:
    """A model a real server has; None where none answers."""
    url = host if "://" in host else f"http://{host}"
    try:
        with urllib.request.urlopen(f"{url}/api/tags", timeout=2) as reply:
            names = [model["name"] for model in json.load(reply)["models"]]
    except (OSError, ValueError, KeyError):
        return None
    return os.environ.get("OLLAMA_MODEL") or next(iter(names), None)


@contextmanager
def real_or_written_down(messages: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Host and model: the real ones where they answer, else those that say what is written here."""
    host = os.environ.get("OLLAMA_HOST", "")
    model = model_of(host) if host else None
    if model:
        yield host, model
        return
    with OllamaServer(messages).running() as server:
        yield server.host, "qwen3"


@pytest.mark.timeout(PATIENCE + 20)
def test_what_a_model_stores_is_there_for_others(daemon: RunningDaemon, stash: Stash) -> None:
    written = [
        asks(("stash_list", {})),
        asks(("stash_set", {"key": "build/state", "value": "green", "ttl": "1h", "tags": None})),
        says("Stored."),
    ]
    with real_or_written_down(written) as (host, model):
        task = 'Call the tool stash_set once, with key "build/state", value "green" and ttl "1h". Then say: Stored.'
        done = run(daemon, host, task, model)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert stash.get("build/state") == "green"
    assert 3500 < stash.ttl("build/state") <= 3600


def test_a_model_is_told_its_tools_and_what_they_answered(daemon: RunningDaemon, stash: Stash) -> None:
    stash.set("todo/next", {"file": "cache.py", "line": 40})
    messages = [
        asks(("stash_get", {"key": "todo/next"}), ("stash_get", {"key": "todo/other"})),
        asks(("stash_forget", {"keys": ["todo/next"]})),
        says("  Done.\n"),
    ]
    with OllamaServer(messages).running() as server:
        done = run(daemon, server.host, "Go on.")
    assert (done.returncode, done.stdout) == (0, "Done.\n")
    assert not stash.exists("todo/next")
    first, second, third = server.requests
    assert (first["model"], first["stream"]) == ("qwen3", False)
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert first["messages"][1]["content"] == "Go on."
    assert "stash_set" in [tool["function"]["name"] for tool in first["tools"]]
    assert second["messages"][2] == messages[0], "its own words come back to it, thinking and all"
    found, missing = second["messages"][3:]
    assert (found["role"], found["tool_name"]) == ("tool", "stash_get")
    assert json.loads(found["content"])["value"] == {"file": "cache.py", "line": 40}
    assert json.loads(missing["content"])["error"]["code"] == "not_found"
    assert json.loads(third["messages"][-1]["content"]) == {"forgotten": 1}
    assert done.stderr.startswith('stash_get {"key": "todo/next"} -> ')


def test_a_model_that_makes_mistakes_is_told_and_goes_on(daemon: RunningDaemon, stash: Stash) -> None:
    messages = [
        asks(("search_web", {"q": "stash"}), ("stash_set", {"value": 1, "ttl": "soon"}), ("stash_get", {})),
        says("I see."),
    ]
    with OllamaServer(messages).running() as server:
        assert run(daemon, server.host, "Try.").stdout == "I see.\n"
    answers = [json.loads(message["content"])["error"] for message in server.requests[1]["messages"][3:]]
    assert [answer["code"] for answer in answers] == ["bad_request"] * 3


def test_a_model_that_comes_to_no_end_is_stopped(daemon: RunningDaemon, stash: Stash) -> None:
    with OllamaServer([asks(("stash_list", {}))]).running() as server:
        done = run(daemon, server.host, "Loop.")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("no end after 20 rounds\n")
    assert len(server.requests) == 20


def test_what_keeps_it_from_working_is_said_in_a_line(daemon: RunningDaemon, stash: Stash) -> None:
    with OllamaServer(refusal="gemma does not support tools").running() as server:
        done = run(daemon, server.host, "Go on.")
    assert (done.returncode, done.stdout) == (1, "")
    assert "gemma does not support tools" in done.stderr
    done = run(daemon, server.host, "Go on.")  # it is gone by now
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("no answer of Ollama at http://127.0.0.1:")
