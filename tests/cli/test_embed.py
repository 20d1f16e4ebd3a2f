"""`stash embed`, and `--wait-embedding`: real commands, a real daemon, an embedder over HTTP."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.support import fake_embedders as fakes
from tests.support.daemon import eventually
from tests.support.fake_embedders import FakeEmbedder, fake_embedder


@pytest.fixture
def fake() -> Iterator[FakeEmbedder]:
    with fake_embedder() as fake:
        yield fake


@pytest.fixture
def embedding(own: Command, fake: FakeEmbedder) -> Command:
    """A stash whose embedder is the fake."""
    own.configure(f'embedder = "ollama"\nembedder_url = "{fake.url}"\n')
    return own


def on_a_terminal(stash: Command, *words: str) -> str:
    """What a person sees on stderr."""
    ours, theirs = pty.openpty()
    environment = {**stash.environment, "TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    try:
        done = subprocess.run(stash.line(*words), stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL,
                              env=environment, timeout=30)  # fmt: skip
        os.close(theirs)
        seen = b""
        while part := _read(ours):
            seen += part
    finally:
        os.close(ours)
    assert done.returncode == 0, seen
    return seen.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # the other end is closed
        return b""


def test_set_waits_for_the_vector_when_asked(embedding: Command) -> None:
    entry = embedding.json("set", "k", "v", "--text", "a text", "--wait-embedding")
    assert (entry["key"], entry["embedding_status"]) == ("k", "completed")
    assert embedding.ok("update", "k", "--text", "another", "--wait-embedding") == b"k\n"
    assert embedding.json("embed", "status")["completed"] == 1
    assert embedding("set", "--wait-embedding", "k", "v", "--text", "t", by_typer=True).stdout == b"k\n"


def test_a_set_that_waits_in_vain_exits_with_124_and_has_stored(embedding: Command, fake: FakeEmbedder) -> None:
    embedding.ok("ping")
    fake.reply = fake.held
    words = ("set", "k", "v", "--text", "a text", "--wait-embedding", "--timeout", "500ms")
    status, error = embedding.error(*words)
    assert (status, error["code"]) == (124, "timeout")
    assert error["message"].startswith("k is stored, but its vector")
    assert embedding.ok("get", "k") == b"v"
    fake.released.set()


def test_a_text_that_is_given_up_is_said_and_tried_again(embedding: Command, fake: FakeEmbedder) -> None:
    embedding.ok("set", "well", "v", "--text", "fine", "--wait-embedding")
    fake.reply = fakes.status(400)
    done = embedding("set", "bad", "v", "--text", "a text", "--wait-embedding")
    assert (done.returncode, done.stdout) == (0, b"bad\n")
    assert b"gave this text up" in done.stderr
    state = embedding.json("embed", "status")
    assert (state["failed"], state["completed"], state["breaker"], state["retry"]) == (1, 1, "closed", None)
    assert "400" in state["error"]
    fake.reply = fakes.well
    assert embedding.ok("embed", "retry") == b"1\n"
    eventually(lambda: embedding.json("embed", "status")["completed"] == 2)
    assert embedding.json("embed", "retry") == {"requeued": 0}


def test_status_says_what_there_is(embedding: Command) -> None:
    embedding.ok("set", "k", "v", "--text", "a text", "--wait-embedding")
    text = embedding.ok("embed", "status").decode()
    assert f"embedder    ollama:nomic-embed-text ({fakes.DIMENSIONS} dimensions)\n" in text
    assert "pending     0\ncompleted   1\nfailed      0\nskipped     0\n" in text
    assert f"vectors     1 of ollama:nomic-embed-text ({fakes.DIMENSIONS})\n" in text
    assert text.endswith("breaker     closed\n")


def test_an_embedder_that_is_down_is_said_with_what_ails_it(embedding: Command, fake: FakeEmbedder) -> None:
    fake.reply = fakes.status(500)
    for number in range(6):
        embedding.ok("set", f"k{number}", "v", "--text", f"text {number}")
    eventually(lambda: embedding.json("embed", "status")["breaker"] == "open", 30)
    text = embedding.ok("embed", "status").decode()
    assert "last error  " in text
    assert "breaker     open: it fails, and is called again in " in text
    fake.reply = fakes.well


def test_rebuild_without_an_embedder_says_so(own: Command) -> None:
    own.ok("set", "k", "v", "--text", "a text", "--wait-embedding")
    status, error = own.error("embed", "rebuild")
    assert (status, error["code"]) == (2, "bad_request")
    assert "no embedder" in error["message"]
    assert own.ok("embed", "status").startswith(b"embedder    none\n")


def changed(stash: Command, fake: FakeEmbedder) -> None:
    """Memories of two embedders ago, of the one before, and one with a vector of its own; then the fake."""
    stash.ok("set", "early", "v", "--text", "stored without an embedder")
    stash.ok("stop")
    stash.configure('embedder = "hash"\n')
    stash.ok("set", "old", "v", "--text", "some words", "--wait-embedding")
    own = Path(stash.home, "own.json")
    own.write_text("[1, 2]")
    stash.ok("set", "own", "v", "--text", "my own", "--embedding", str(own))
    stash.ok("stop")
    stash.configure(f'embedder = "ollama"\nembedder_url = "{fake.url}"\n')


def test_rebuild_brings_over_what_another_embedder_made_or_none_and_waits(own: Command, fake: FakeEmbedder) -> None:
    changed(own, fake)
    assert own.json("search", "words")["coverage"] == "0 of 3 embedded"
    assert own.json("embed", "status")["outdated"] == 2
    report = own.json("embed", "rebuild")
    assert report == {"requeued": 2, "pending": 0, "completed": 3, "failed": 0, "skipped": 0}
    assert own.json("search", "words")["coverage"] == "2 of 3 embedded"
    assert own.ok("embed", "rebuild") == b"0\n"


def test_rebuild_shows_a_bar_to_a_person_and_can_be_left(own: Command, fake: FakeEmbedder) -> None:
    changed(own, fake)
    fake.reply = fake.held
    assert own.json("embed", "rebuild", "--no-wait") == {"requeued": 2}
    status, error = own.error("embed", "rebuild", "--timeout", "600ms")
    assert (status, error["message"].startswith("2 memories still wait")) == (124, True)
    fake.released.set()
    fake.reply = fakes.well
    eventually(lambda: own.json("embed", "status")["pending"] == 0)
    own.ok("set", "k", "v", "--text", "one more", "--no-embed")
    assert "embed" in on_a_terminal(own, "embed", "rebuild")
    assert json.loads(own.ok("--json", "embed", "status"))["current"] == 2
