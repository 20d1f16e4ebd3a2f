"""A daemon with an embedder, as a process."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stash_protocol.memories import Memory
from stash_protocol.operations import Get, GetStats, Set
from tests.support.daemon import Line, RunningDaemon, StartFailed, eventually
from tests.support.fake_embedders import fake_embedder

API_KEY = "sk-very-secret"
STOPS_WITHIN = 3.0  # seconds, while a call of the embedder hangs


def embedding(line: Line) -> dict[str, Any]:
    return dict(line.call(GetStats())[0]["reply"]["figures"]["embedding"])


def test_memories_are_embedded_and_neither_text_nor_api_key_is_written_anywhere() -> None:
    environ = {"STASH_EMBEDDER_API_KEY": API_KEY, "STASH_LOG_LEVEL": "DEBUG"}
    with fake_embedder() as fake:
        flags = ("--embedder", "openai", "--embedder-url", fake.url + "/v1")
        with RunningDaemon(*flags, environ=environ) as daemon, daemon.connect() as line:
            line.call(Set(key="k", memory=Memory(text="a private text")), b"v")
            eventually(lambda: embedding(line)["completed"] == 1)
            assert fake.calls[0].headers["Authorization"] == f"Bearer {API_KEY}"
            fake.stop()
            line.call(Set(key="k", memory=Memory(text="another private text")), b"v")
            eventually(lambda: embedding(line)["failed_calls"])
            assert embedding(line)["queue"] == 1
            fake.start()
            eventually(lambda: embedding(line)["completed"] == 2)
            daemon.stop()
            written = daemon.said + "".join(path.read_text() for path in daemon.home.rglob("*.log"))
            assert "created" in written
            assert API_KEY not in written
            assert "private" not in written


def test_a_daemon_serves_and_stops_while_its_embedder_hangs() -> None:
    with fake_embedder() as fake:
        fake.reply = fake.held
        with RunningDaemon("--embedder", "ollama", environ={"OLLAMA_HOST": fake.url}) as daemon:
            with daemon.connect() as line:
                line.call(Set(key="k", memory=Memory(text="a text")), b"v")
                eventually(lambda: fake.calls)
                assert line.call(Get(key="k"))[1] == b"v"
                assert embedding(line)["queue"] == 1
            began = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began < STOPS_WITHIN
            fake.released.set()
            daemon.restart()
            with daemon.connect() as line:
                eventually(lambda: embedding(line)["completed"] == 1)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--embedder", "ollama", "--embedder-url", "nowhere"), "embedder_url is not a URL"),
        (("--embedder", "local", "--embedder-model", "other"), "embedder_model"),
        (("--embedder", "oracle"), "--embedder must be"),
    ],
)
def test_an_embedder_that_cannot_work_stops_the_start(flags: tuple[str, ...], said: str) -> None:
    with pytest.raises(StartFailed) as failed:
        RunningDaemon(*flags)
    assert failed.value.status == 2
    assert said in failed.value.said
    assert len(failed.value.said.splitlines()) == 1
