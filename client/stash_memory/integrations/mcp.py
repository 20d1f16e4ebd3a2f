"""An MCP server over a stash: the tools of `stash_memory.tools`, entries as resources, and two prompts.

``stash mcp`` runs it on stdin and stdout. It needs the extra ``mcp``, the official SDK.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.parse import quote, unquote

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from stash_memory.aio import AsyncStash
from stash_memory.integrations.mcp_stdio import stdio
from stash_memory.tool_results import as_text
from stash_memory.tool_table import TOOLS, Tool, schema_of
from stash_memory.tools import AsyncToolbox
from stash_protocol import __version__
from stash_protocol.errors import StashError
from stash_protocol.operations import MAX_PAGE

ENTRY_URI = "stash://entry/"
HANDOVERS = "handover/"
COMPLETIONS = 100  # the most MCP allows in one answer
MIME_TYPES = {"text": "text/plain", "json": "application/json", "bytes": "application/octet-stream"}

INSTRUCTIONS = """\
stash is working memory that outlives this conversation and is shared with other agents and shell scripts on this \
machine. Everything in it expires: give each entry a ttl that fits. Look with search or list before you start, store \
with set what you or another agent will need again, and forget what is done with. Group keys with slashes: \
project/topic/name."""

Context = ServerRequestContext[Any]


def run(stash: AsyncStash) -> None:
    """Serve MCP on stdin and stdout, until stdin ends."""
    anyio.run(_serve, stash)


async def _serve(stash: AsyncStash) -> None:
    async with stash, stdio() as (reading, writing):
        served = server(stash)
        await served.run(reading, writing, served.create_initialization_options())


def server(stash: AsyncStash) -> Server[Any]:
    """The server over a stash, for a transport of one's own."""
    desk = _Desk(stash)
    return Server(
        "stash",
        version=__version__,
        title="stash: working memory",
        instructions=INSTRUCTIONS,
        on_list_tools=desk.list_tools,
        on_call_tool=desk.call_tool,
        on_list_resources=desk.list_resources,
        on_list_resource_templates=desk.list_templates,
        on_read_resource=desk.read_resource,
        on_list_prompts=desk.list_prompts,
        on_get_prompt=desk.get_prompt,
        on_completion=desk.complete,
    )


class _Desk:
    """Answers requests."""

    def __init__(self, stash: AsyncStash) -> None:
        self._stash = stash
        self._toolbox = AsyncToolbox(stash)

    async def list_tools(self, _: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_tool(tool) for tool in TOOLS.values()])

    async def call_tool(self, _: Context, asked: types.CallToolRequestParams) -> types.CallToolResult:
        answer = await self._toolbox.call(asked.name, asked.arguments or {})
        content: list[types.ContentBlock] = [types.TextContent(text=as_text(answer))]
        if "error" in answer:
            return types.CallToolResult(content=content, is_error=True)
        return types.CallToolResult(content=content, structured_content=answer)

    async def list_resources(self, _: Context, asked: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        page = await self._list("", (asked and asked.cursor) or "", MAX_PAGE)
        found = [
            types.Resource(uri=_uri(row["key"]), name=row["key"], mime_type=MIME_TYPES[row["type"]], size=row["size"])
            for row in page["entries"]
        ]
        return types.ListResourcesResult(resources=found, next_cursor=page.get("cursor"))

    async def list_templates(
        self, _: Context, __: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(
            uri_template=ENTRY_URI + "{key}", name="entry", title="An entry", description="The value of a stash entry."
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(self, _: Context, asked: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        return types.ReadResourceResult(contents=[await self._contents(str(asked.uri))])

    async def list_prompts(self, _: Context, __: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        name = types.PromptArgument(name="name", description="What the work is called.", required=True)
        return types.ListPromptsResult(
            prompts=[
                types.Prompt(
                    name="hand_over",
                    title="Hand work over",
                    description="Write down what another agent, or the next session, needs to go on.",
                    arguments=[name],
                ),
                types.Prompt(
                    name="pick_up",
                    title="Pick work up",
                    description="Go on where another agent, or an earlier session, handed over.",
                    arguments=[name],
                ),
            ]
        )

    async def get_prompt(self, _: Context, asked: types.GetPromptRequestParams) -> types.GetPromptResult:
        name = (asked.arguments or {}).get("name")
        if asked.name not in ("hand_over", "pick_up") or not name:
            raise MCPError(types.INVALID_PARAMS, "the prompts are hand_over and pick_up, each with a name")
        key = HANDOVERS + name
        if asked.name == "hand_over":
            return _prompt(
                f"Store with set, under the key {json.dumps(key)}, what whoever goes on with this work needs: the "
                "goal, what is done, what was decided and why, what is open, the next step, and which files matter. "
                "Give it a ttl of 7d, or the longest that is allowed. Then say how long it will be there."
            )
        note = types.EmbeddedResource(resource=await self._contents(_uri(key)))
        return _prompt("Go on with this work, as it was handed over:", note)

    async def complete(self, _: Context, asked: types.CompleteRequestParams) -> types.CompleteResult:
        group = HANDOVERS if isinstance(asked.ref, types.PromptReference) else ""
        page = await self._list(group + asked.argument.value, "", COMPLETIONS)
        names = [row["key"].removeprefix(group) for row in page["entries"]]
        return types.CompleteResult(completion=types.Completion(values=names, has_more="cursor" in page))

    async def _list(self, prefix: str, cursor: str, limit: int) -> dict[str, Any]:
        answer = await self._toolbox.call("list", {"prefix": prefix, "cursor": cursor, "limit": limit})
        if "error" in answer:
            raise MCPError(types.INTERNAL_ERROR, answer["error"]["message"], answer["error"])
        return answer

    async def _contents(self, uri: str) -> types.TextResourceContents | types.BlobResourceContents:
        if not uri.startswith(ENTRY_URI):
            raise MCPError(types.INVALID_PARAMS, f"a resource here is {ENTRY_URI} and a key", {"uri": uri})
        try:
            entry = await self._stash.entry(unquote(uri.removeprefix(ENTRY_URI)))
        except StashError as problem:
            raise MCPError(types.INVALID_PARAMS, problem.message, {"uri": uri, "code": problem.code}) from None
        if entry.type != "bytes":
            try:
                return types.TextResourceContents(uri=uri, mime_type=MIME_TYPES[entry.type], text=entry.raw.decode())
            except UnicodeDecodeError:
                pass  # whoever set it called it text, and it is not
        return types.BlobResourceContents(uri=uri, mime_type=MIME_TYPES["bytes"], blob=b64encode(entry.raw).decode())


def _tool(tool: type[Tool]) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description(),
        input_schema=tool.arguments(),
        output_schema=schema_of(tool.result),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.reads,
            destructive_hint=tool.destroys,
            idempotent_hint=tool.repeats,
            open_world_hint=False,
        ),
    )


def _prompt(text: str, *more: types.ContentBlock) -> types.GetPromptResult:
    parts: list[types.ContentBlock] = [types.TextContent(text=text), *more]
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=part) for part in parts])


def _uri(key: str) -> str:
    return ENTRY_URI + quote(key, safe="")
