"""What a tool-calling model can do with a stash: one table, for Ollama and its kin and for the MCP server.

::

    from stash_memory import Stash
    from stash_memory.tools import Toolbox

    toolbox = Toolbox(Stash())
    toolbox.definitions  # what the model is told: JSON Schema, as Ollama and OpenAI take it
    toolbox.call("set", {"key": "plan", "value": "find the leak", "ttl": "30m"})  # what the model asked for
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stash_memory import tool_results
from stash_memory.aio import AsyncStash
from stash_memory.sync import Stash
from stash_memory.tool_table import TOOLS, Span, Tool
from stash_protocol.errors import BadRequest, StashError


class _Named:
    """The table under names with a prefix."""

    def __init__(self, prefix: str) -> None:
        self._tools = {prefix + name: tool for name, tool in TOOLS.items()}

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """What a model is told, as the ``tools`` of Ollama and of OpenAI's chat completions."""
        return [
            {
                "type": "function",
                "function": {"name": name, "description": tool.description(), "parameters": tool.arguments()},
            }
            for name, tool in self._tools.items()
        ]

    def _read(self, name: str, arguments: Mapping[str, Any] | str) -> Tool:
        tool = self._tools.get(name)
        if tool is None:
            raise BadRequest(f"there is no tool {name!r}; there are {', '.join(self._tools)}")
        try:
            given = msgspec.json.decode(arguments or "{}") if isinstance(arguments, str) else arguments
            if isinstance(given, Mapping):
                given = {field: value for field, value in given.items() if value is not None or field in tool.needed()}
            return msgspec.convert(given, tool, strict=False, dec_hook=_read_span)
        except msgspec.MsgspecError as error:
            raise BadRequest(f"{name}: {error}") from None


class Toolbox(_Named):
    """The tools over one `Stash`.

    Args:
        stash: where they work; its namespace is all they can reach.
        prefix: of the tools' names, where others have tools called ``get`` too.
    """

    def __init__(self, stash: Stash, *, prefix: str = "") -> None:
        super().__init__(prefix)
        self._stash = stash

    def call(self, name: str, arguments: Mapping[str, Any] | str) -> dict[str, Any]:
        """Do what a model asked for; the answer for it, as JSON can say it.

        It does not raise what a model can act on: the answer then has one member, ``error``, with ``code``,
        ``message`` and, where they help, ``hint`` and ``retry_after`` in seconds.

        Args:
            name: of the tool.
            arguments: as the model gave them, as an object or still as its JSON.
        """
        try:
            tool = self._read(name, arguments)
            timeout = tool.patience(self._stash.timeout)
            return _answer(tool, self._stash.carry_out([tool.request()], atomic=False, timeout=timeout))
        except StashError as problem:
            return tool_results.error(problem)


class AsyncToolbox(_Named):
    """The tools over one `AsyncStash`; see `Toolbox`."""

    def __init__(self, stash: AsyncStash, *, prefix: str = "") -> None:
        super().__init__(prefix)
        self._stash = stash

    async def call(self, name: str, arguments: Mapping[str, Any] | str) -> dict[str, Any]:
        """See `Toolbox.call`."""
        try:
            tool = self._read(name, arguments)
            timeout = tool.patience(self._stash.timeout)
            return _answer(tool, await self._stash.carry_out([tool.request()], atomic=False, timeout=timeout))
        except StashError as problem:
            return tool_results.error(problem)


def _answer(tool: Tool, outcomes: list[Any]) -> dict[str, Any]:
    if isinstance(outcomes[0], StashError):
        raise outcomes[0]
    answer: dict[str, Any] = msgspec.to_builtins(tool.show(outcomes[0]))
    return answer


def _read_span(kind: type, given: Any) -> Any:
    if kind is Span and isinstance(given, str | int | float) and not isinstance(given, bool):
        return Span(given)
    raise ValueError(f"a duration is written 45s, 30m, 2h, 7d or 1h30m, not {given!r}")
