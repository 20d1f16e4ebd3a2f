"""The socket door in the test's own process, over a real socket pair and loop, with the clock in the test's hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from stash_daemon.assembly import open_embedded
from stash_daemon.doors.connection import Connection
from stash_daemon.doors.socket import SocketDoor
from stash_daemon.doors.turn import Turn
from stash_daemon.engine import Engine
from stash_daemon.settings import Settings
from stash_daemon.sweeper import Sweeper
from stash_protocol.frames import HEADER, HEADER_SIZE, PROTOCOL_VERSION, pack
from stash_protocol.operations import Hello, Request
from tests.support.clock import ManualClock

PATIENCE = 10.0  # seconds until a test gives up waiting


async def until(holds: Callable[[], object]) -> None:
    """Let the loop run until something holds that no event tells of."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  (there is no event to wait for)
            await asyncio.sleep(0.001)


class Wire:
    """The client's end of one connection, and the door's."""

    def __init__(self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection = connection
        self.reader = reader
        self.writer = writer

    def send(self, *frames: tuple[Request, bytes]) -> None:
        """Send requests in one piece, so that they arrive in one turn."""
        self.writer.write(b"".join(pack(msgspec.msgpack.encode(request), payload) for request, payload in frames))

    async def read(self) -> tuple[dict[str, Any], bytes]:
        async with asyncio.timeout(PATIENCE):
            envelope, payload = HEADER.unpack(await self.reader.readexactly(HEADER_SIZE))
            return msgspec.msgpack.decode(await self.reader.readexactly(envelope)), await self.reader.readexactly(
                payload
            )

    async def call(self, request: Request, payload: bytes = b"") -> dict[str, Any]:
        self.send((request, payload))
        return (await self.read())[0]

    async def ended(self) -> bool:
        async with asyncio.timeout(PATIENCE):
            return not await self.reader.read(1)


class Desk:
    """An engine behind a door."""

    def __init__(self, engine: Engine, clock: ManualClock) -> None:
        self.loop = asyncio.get_running_loop()
        self.engine = engine
        self.clock = clock
        self.turn = Turn(engine, self.loop)
        self.door = SocketDoor(engine, self.turn, self.loop, most=100, stop=lambda: None)
        self.sweeper: Sweeper | None = None
        self.wires: list[Wire] = []

    async def connect(self, *, hello: bool = True, small: bool = False) -> Wire:
        """A connection; ``small``: whose socket buffers hold next to nothing."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs) if small else ():
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        _, connection = await self.loop.connect_accepted_socket(self.door.local, sock=theirs)
        reader, writer = await asyncio.open_connection(sock=ours, limit=4096)
        wire = Wire(connection, reader, writer)
        self.wires.append(wire)
        if hello:
            assert "reply" in await wire.call(Hello(version=PROTOCOL_VERSION))
        return wire


@asynccontextmanager
async def open_door(path: str = "", *, sweeping: bool = False, **settings: Any) -> AsyncIterator[Desk]:
    """A door with its engine; the database at ``path``, or none."""
    clock = ManualClock()
    engine = open_embedded(Settings(**settings), path, clock=clock)
    desk = Desk(engine, clock)
    if sweeping:
        desk.sweeper = Sweeper(engine, desk.turn, desk.loop)
    try:
        yield desk
    finally:
        if desk.sweeper is not None:
            desk.sweeper.stop()
        desk.door.threads.shutdown(cancel_futures=True)
        for wire in desk.wires:
            wire.writer.close()
            wire.connection.drop()
        await asyncio.sleep(0)
        engine.close()
