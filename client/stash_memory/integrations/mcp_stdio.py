"""The lines of MCP on stdin and stdout, read and written by the event loop itself.

The SDK's own files hand every line to a thread and back, three times a call: a third of what a call takes on an idle
machine, and half on a busy one.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import anyio
import msgspec
from mcp.server.stdio import stdio_server
from msgspec import Struct

LINE = 1 << 30  # bytes: more than the largest value of any tier in JSON; who writes here is the user's own host
GRACE = 1.5  # seconds for what is under way when the input ends; hosts kill after two


@asynccontextmanager
async def stdio() -> AsyncIterator[tuple[Any, Any]]:
    """The streams a server runs on. Meanwhile 0 is empty and 1 is stderr, so that nothing else gets in between.

    Both must be pipes or sockets, as every host makes them; for anything else, such as a file, the SDK's way is taken.
    """
    if not all(_can_be_polled(descriptor) for descriptor in (0, 1)):
        async with stdio_server() as streams:
            yield streams
        return
    reading, writing = _divert()
    try:
        async with _reader(reading) as reader, _writer(writing) as writer:
            # All the SDK does with its files is to go over the one, and to write to the other.
            wire = _Wire(reader, writer)
            stdin, stdout = cast(anyio.AsyncFile[str], wire.lines()), cast(anyio.AsyncFile[str], wire)
            async with stdio_server(stdin, stdout) as streams:
                yield streams
    finally:
        for private, standard in ((reading, 0), (writing, 1)):
            os.set_blocking(private, True)  # the loop has made it something else
            os.dup2(private, standard)
            os.close(private)


def _can_be_polled(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _divert() -> tuple[int, int]:
    """Private descriptors of stdin and stdout, whose places are taken by the empty file and by stderr."""
    private = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return private


class _Head(Struct):
    """What a message is: a request has both, an answer an id alone, a notification a method alone."""

    id: int | str | None = None
    method: str | None = None


_read_head = msgspec.json.Decoder(_Head).decode


class _Wire:
    """Lines both ways. At the end of the input, what was asked is still answered: the SDK would cancel it there."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._asked: set[int | str | None] = set()
        self._answered = asyncio.Event()

    async def lines(self) -> AsyncIterator[str]:
        async for line in self._reader:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):  # what is no message is the SDK's to refuse
                head = _read_head(line)
                if head.method is not None and head.id is not None:
                    self._asked.add(head.id)
            yield line.decode(errors="replace")
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                while self._asked:
                    self._answered.clear()
                    await self._answered.wait()

    async def write(self, text: str) -> None:
        self._writer.write(text.encode())
        head = _read_head(text)
        if head.method is None:
            self._asked.discard(head.id)
            self._answered.set()

    async def flush(self) -> None:
        with suppress(ConnectionError):  # the host is gone; the end of its input comes next, and ends the server
            await self._writer.drain()


@asynccontextmanager
async def _reader(descriptor: int) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader(LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(descriptor), "rb", 0)
    )
    try:
        yield reader
    finally:
        transport.close()


@asynccontextmanager
async def _writer(descriptor: int) -> AsyncIterator[asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(os.dup(descriptor), "wb", 0)
    )
    try:
        yield asyncio.StreamWriter(transport, protocol, None, loop)
    finally:
        transport.close()
