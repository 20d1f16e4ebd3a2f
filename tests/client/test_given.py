"""Which daemon and which API key: arguments beat environment beat file, for the library as for the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from stash_daemon.settings import CLIENT_SETTINGS
from stash_memory import Stash, Unauthenticated
from stash_memory.given import SETTINGS
from stash_memory.target import find
from tests.support.daemon import RunningDaemon

FILE = """
url = "tcp://file:1"  # above all tables
api_key = 'sk_file'

[tiers.local]
url = "tcp://nobody:1"
"""


@pytest.fixture
def configured(home: Path) -> Path:
    path = home / "config.toml"
    path.touch(0o600)
    path.write_text(FILE)
    return path


def test_the_daemon_leaves_to_clients_what_clients_read() -> None:
    assert SETTINGS == CLIENT_SETTINGS


def test_the_file_says_which_daemon_and_who_calls(configured: Path) -> None:
    found = find(None, None, None, None)
    assert (str(found.address), found.api_key) == ("tcp://file:1", "sk_file")


@pytest.mark.parametrize(
    ("variable", "value", "address"),
    [("STASH_URL", "tcp://environment:2", "tcp://environment:2"), ("STASH_SOCKET", "/tmp/s", "unix:///tmp/s")],
)
def test_the_environment_beats_the_file(
    configured: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, address: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("STASH_API_KEY", "sk_environment")
    found = find(None, None, None, None)
    assert (str(found.address), found.api_key) == (address, "sk_environment")


@pytest.mark.parametrize(
    ("url", "socket", "address"),
    [("tcp://argument:3", None, "tcp://argument:3"), (None, "/tmp/a", "unix:///tmp/a")],
)
def test_arguments_beat_both(
    configured: Path, monkeypatch: pytest.MonkeyPatch, url: str | None, socket: str | None, address: str
) -> None:
    monkeypatch.setenv("STASH_URL", "tcp://environment:2")
    monkeypatch.setenv("STASH_API_KEY", "sk_environment")
    found = find(url, socket, "sk_argument", None)
    assert (str(found.address), found.api_key) == (address, "sk_argument")


def test_a_stash_goes_where_the_file_says(configured: Path, daemon: RunningDaemon, api_key: str) -> None:
    configured.write_text(f'url = "unix://{daemon.socket}"\napi_key = "{api_key}"\n')
    with Stash() as stash:
        stash.set("k", "v")
        assert stash.status().pid == daemon.pid
    configured.write_text(f'url = "unix://{daemon.socket}"\napi_key = "sk_wrong"\n')
    with Stash() as stash, pytest.raises(Unauthenticated):
        stash.get("k")
