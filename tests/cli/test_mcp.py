"""`stash mcp install`: what it prints is what it writes, and what it writes starts a server."""

from __future__ import annotations

import asyncio
import json
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client

from stash_cli.mcp_hosts import HOSTS
from stash_cli.verbs import MCP_HOSTS

BLOCKED = "import sys; sys.modules['mcp'] = None; from stash_cli.main import main; sys.exit(main())"


@pytest.fixture
def host_home(own: Any) -> Path:
    """A home directory without a host."""
    own.environment["HOME"] = own.home + "/user"
    return Path(own.home, "user")


def read(path: Path) -> dict[str, Any]:
    text = path.read_text()
    return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)


def test_the_verb_knows_every_host_and_the_page_names_all() -> None:
    assert sorted(HOSTS) == list(MCP_HOSTS)
    page = (Path(__file__).parents[2] / "docs" / "integrations" / "mcp.md").read_text()
    assert all(f"`{name}`" in page for name in HOSTS)


def test_what_is_printed_is_what_is_written(own: Any, host_home: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(host_home))
    printed = own.ok("mcp", "install").decode()
    entries = own.json("mcp", "install")["hosts"]
    assert not host_home.exists()
    for name, host in HOSTS.items():
        assert host_home in Path(host.file).parents
        assert own.ok("mcp", "install", name, "--write").decode() == f"{host.file}\n"
        assert f"# {host.title}: {host.file}\n{Path(host.file).read_text()}" in printed
        assert stat.S_IMODE(Path(host.file).stat().st_mode) == 0o600
        entry = read(Path(host.file))[host.section]["stash"]
        assert entry == entries[name]["entry"]
        words = entry["command"] if isinstance(entry["command"], list) else [entry["command"], *entry["args"]]
        assert words[1:] == ["mcp"]
        assert Path(words[0]).is_absolute()


def test_writing_needs_a_host(own: Any, host_home: Path) -> None:
    status, error = own.error("mcp", "install", "--write")
    assert (status, error["code"]) == (2, "bad_request")
    assert not host_home.exists()


def test_a_written_entry_starts_a_server_of_the_same_stash(own: Any, host_home: Path) -> None:
    own.ok("set", "k", "from the shell")
    own.ok("mcp", "install", "cursor", "--write")
    entry = read(host_home / ".cursor" / "mcp.json")["mcpServers"]["stash"]
    kept = {name: own.environment[name] for name in ("PYTHONPATH",) if name in own.environment}

    async def scenario() -> str:
        program = StdioServerParameters(
            command=entry["command"], args=entry["args"], env={**kept, "HOME": "/", **entry["env"]}
        )
        async with Client(program) as client:
            return (await client.call_tool("get", {"key": "k"})).structured_content["value"]

    assert asyncio.run(scenario()) == "from the shell"


def test_writing_leaves_all_else_as_it_is_and_again_changes_nothing(own: Any, host_home: Path) -> None:
    path = host_home / ".claude.json"
    host_home.mkdir()
    before = {"numStartups": 7, "mcpServers": {"other": {"command": "ö", "args": []}}, "projects": {"/p": {}}}
    path.write_text(json.dumps(before))
    path.chmod(0o640)
    own.ok("mcp", "install", "claude-code", "--write")
    once = path.read_text()
    assert [{**read(path), "mcpServers": {"other": before["mcpServers"]["other"]}}] == [before]
    assert list(read(path)) == list(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    own.ok("mcp", "install", "claude-code", "--write")
    assert path.read_text() == once


def test_comments_in_toml_stay(own: Any, host_home: Path) -> None:
    path = host_home / ".codex" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('model = "x"  # the good one\n\n[mcp_servers.other]\ncommand = "o"\n')
    own.ok("mcp", "install", "codex", "--write")
    assert path.read_text().startswith('model = "x"  # the good one\n')
    assert set(read(path)["mcp_servers"]) == {"other", "stash"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("zed", '{\n  // comments are allowed here\n  "theme": "One"\n}\n'),
        ("cursor", "[]"),
        ("cursor", '{"mcpServers": []}'),
        ("codex", "model = \n"),
        ("codex", "mcp_servers = 7\n"),
        ("cursor", b"\xff\xfe"),
    ],
)
def test_a_file_that_is_not_understood_is_left_alone(own: Any, host_home: Path, name: str, text: str | bytes) -> None:
    path = Path(HOSTS[name].file.replace(str(Path.home()), str(host_home)))
    path.parent.mkdir(parents=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes()
    status, error = own.error("mcp", "install", name, "--write")
    assert (status, error["code"]) == (2, "bad_request")
    assert str(path) in error["message"]
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_api_key_is_never_written_but_the_file_that_holds_it_is_named(own: Any, host_home: Path) -> None:
    done = own("mcp", "install", "cursor", "--write", "--api-key-file", "agent.key", STASH_API_KEY="sk_secret")
    assert done.returncode == 0
    assert b"--api-key-file" in done.stderr
    text = (host_home / ".cursor" / "mcp.json").read_text()
    assert "sk_secret" not in text
    entry = json.loads(text)["mcpServers"]["stash"]
    assert entry["args"] == ["mcp", "--api-key-file", str(Path.cwd() / "agent.key")]
    assert entry["env"] == {"STASH_HOME": own.home}


def test_another_daemon_can_be_named(own: Any, host_home: Path) -> None:
    shown = own.json("mcp", "install", "zed", "--url", "tcp://127.0.0.1:7437")
    assert shown["hosts"]["zed"]["entry"]["args"] == ["mcp", "--url", "tcp://127.0.0.1:7437"]


def test_a_host_has_its_place_on_macos_too(monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setenv("HOME", "/Users/ada")
    support = "/Users/ada/Library/Application Support"
    assert HOSTS["claude-desktop"].file == f"{support}/Claude/claude_desktop_config.json"
    assert HOSTS["vscode"].file == f"{support}/Code/User/mcp.json"
    assert HOSTS["cursor"].file == "/Users/ada/.cursor/mcp.json"


def test_without_the_sdk_it_says_how_to_get_it(own: Any) -> None:
    line = own.line("mcp")
    own.line = lambda *words, **_: [*line[:3], BLOCKED, *words]
    done = own("mcp")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"pip install 'mcp" in done.stderr


def test_installing_without_the_sdk_says_what_is_missing(own: Any, host_home: Path) -> None:
    assert own("mcp", "install", "cursor", "--write").stderr == b""
    line = own.line("mcp")
    own.line = lambda *words, **_: [*line[:3], BLOCKED, *words]
    done = own("mcp", "install", "cursor", "--write")
    assert done.returncode == 0
    assert b"will not start yet: the MCP SDK is not installed; run: " in done.stderr
    assert b"pip install 'mcp" in done.stderr


def test_words_that_do_not_belong_together_are_refused(own: Any) -> None:
    for words in (["mcp", "--write"], ["mcp", "serve"], ["mcp", "install", "emacs"]):
        status, error = own.error(*words)
        assert (status, error["code"]) == (2, "bad_request")
