"""The programs that run MCP servers: where each keeps its list of them, and what an entry looks like there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from stash_cli.outfile import writing
from stash_cli.streams import reason
from stash_protocol.errors import BadRequest

NAME = "stash"  # of the server, in every host

Entry = dict[str, Any]


class Server(NamedTuple):
    """How the server is started: a program, its arguments, and what is added to its environment."""

    command: str
    arguments: list[str]
    environment: dict[str, str]


class Host(NamedTuple):
    """One program.

    Attributes:
        title: what its users call it.
        path: its file, under the home directory on Linux; ``mac`` where macOS has another.
        section: the member of the file that lists the servers.
        entry: what it wants to know of one.
    """

    title: str
    path: str
    section: str
    entry: Callable[[Server], Entry]
    mac: str = ""

    @property
    def file(self) -> str:
        """The absolute path."""
        return os.path.expanduser("~/" + ((sys.platform == "darwin" and self.mac) or self.path))

    def shown(self, server: Server) -> str:
        """The part of the file that is about this server."""
        return self._write({self.section: {NAME: self.entry(server)}})

    def install(self, server: Server) -> None:
        """Put the server into the file, and leave all else in it as it is.

        Raises:
            BadRequest: the file cannot be read, understood or written; nothing was changed.
        """
        content = self._read()
        servers = content.setdefault(self.section, {})
        if not isinstance(servers, dict):
            raise BadRequest(f"{self.file}: {self.section} is not a table of servers; nothing was changed")
        servers[NAME] = self.entry(server)
        text = self._write(content)
        try:
            os.makedirs(os.path.dirname(self.file), mode=0o700, exist_ok=True)
        except OSError as error:
            raise BadRequest(f"{os.path.dirname(self.file)} cannot be made: {reason(error)}") from None
        with writing(self.file) as file:
            file.write(text.encode())

    @property
    def _is_toml(self) -> bool:
        return self.path.endswith(".toml")

    def _read(self) -> dict[str, Any]:
        try:
            with open(self.file, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            text = ""
        except (OSError, UnicodeDecodeError) as error:
            said = reason(error) if isinstance(error, OSError) else "not UTF-8"
            raise BadRequest(f"{self.file} cannot be read: {said}") from None
        try:
            content = _toml().parse(text) if self._is_toml else json.loads(text) if text.strip() else {}
        except ValueError as error:  # comments, mostly: some hosts allow them, and writing it anew would lose them
            raise BadRequest(
                f"{self.file} is not plain {'TOML' if self._is_toml else 'JSON'} ({error}), so it is left alone; "
                "without --write, what belongs into it is printed"
            ) from None
        if not isinstance(content, dict):
            raise BadRequest(f"{self.file} is not an object; nothing was changed")
        return content

    def _write(self, content: dict[str, Any]) -> str:
        if self._is_toml:
            text: str = _toml().dumps(content)
            return text
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _toml() -> Any:
    import tomlkit  # keeps comments

    return tomlkit


def _plain(server: Server) -> Entry:
    entry: Entry = {"command": server.command, "args": server.arguments}
    return {**entry, "env": server.environment} if server.environment else entry


def _typed(server: Server) -> Entry:
    return {"type": "stdio", **_plain(server)}


def _local(server: Server) -> Entry:
    entry: Entry = {"type": "local", "command": [server.command, *server.arguments], "enabled": True}
    return {**entry, "environment": server.environment} if server.environment else entry


CLAUDE = "Claude/claude_desktop_config.json"
CODE = "Code/User/mcp.json"
SUPPORT = "Library/Application Support/"

HOSTS = {
    "claude-code": Host("Claude Code", ".claude.json", "mcpServers", _typed),
    "claude-desktop": Host("Claude Desktop", ".config/" + CLAUDE, "mcpServers", _plain, mac=SUPPORT + CLAUDE),
    "codex": Host("Codex", ".codex/config.toml", "mcp_servers", _plain),
    "cursor": Host("Cursor", ".cursor/mcp.json", "mcpServers", _plain),
    "gemini": Host("Gemini CLI", ".gemini/settings.json", "mcpServers", _plain),
    "lm-studio": Host("LM Studio", ".lmstudio/mcp.json", "mcpServers", _plain),
    "opencode": Host("opencode", ".config/opencode/opencode.json", "mcp", _local),
    "vscode": Host("VS Code", ".config/" + CODE, "servers", _typed, mac=SUPPORT + CODE),
    "windsurf": Host("Windsurf", ".codeium/windsurf/mcp_config.json", "mcpServers", _plain),
    "zed": Host("Zed", ".config/zed/settings.json", "context_servers", _plain),
}
"""By the name `stash mcp install` takes."""
