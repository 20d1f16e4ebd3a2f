"""One daemon for the tests of a module, and a stash over each way."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stash_memory import Stash
from tests.client import ways
from tests.support.daemon import RunningDaemon

TIER = """
[tiers.tester]
max_value = "8M"
default_ttl = "1h"
max_ttl = "365d"
quota = "256M"
"""  # tier local, but for its largest value


@pytest.fixture(autouse=True)
def home(_nobodys_stash: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a daemon; nothing starts one by accident."""
    monkeypatch.setenv("STASH_HOME", str(tmp_path))
    monkeypatch.setenv("STASH_AUTOSTART", "0")
    monkeypatch.setenv("STASH_MAX_PAYLOAD_BYTES", "8M")  # what is embedded lives under tier local
    return tmp_path


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    home = Path(tempfile.mkdtemp(prefix="st"))
    config = home / "config.toml"
    config.write_text(TIER)
    config.chmod(0o600)
    try:
        with RunningDaemon("--tcp", "127.0.0.1:0", home=home) as daemon:
            yield daemon
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def the_api_key(daemon: RunningDaemon) -> str:
    with Stash(socket=daemon.socket) as admin:
        return admin.api_keys.create("tester", tier="tester", scopes=["read", "write", "admin"]).secret


@pytest.fixture
def api_key(daemon: RunningDaemon, the_api_key: str) -> Iterator[str]:
    """Of a namespace nobody else has, and with nothing in it."""
    yield the_api_key
    with Stash(socket=daemon.socket, api_key=the_api_key) as stash:
        stash.clear(prefix="")


@pytest.fixture(params=ways.WAYS)
def stash(request: pytest.FixtureRequest, daemon: RunningDaemon, api_key: str, tmp_path: Path) -> Iterator[Any]:
    """A stash with nothing in it."""
    mode, _, way = request.param.partition("-")
    options = ways.arguments(way, daemon, api_key, tmp_path)
    if way == "unix":
        options["api_key"] = api_key
    with ways.opened(mode, **options) as stash:
        yield stash
