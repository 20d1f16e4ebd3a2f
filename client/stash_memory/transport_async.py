"""The way to a daemon through asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from typing import Any

from stash_memory import autostart, wire
from stash_memory.connection import Connection, WatchSubscription
from stash_memory.target import Target
from stash_memory.wire import GRACE, Lost, Outcome
from stash_protocol.errors import BadRequest, StashError, Unreachable
from stash_protocol.operations import Request
from stash_protocol.reader import Payload
from stash_protocol.replies import Rate

CONNECT_TIMEOUT = 30.0  # seconds; who waits for less gives up earlier, and the connection is there for the next call


class AsyncSocketTransport:
    """The connection to one daemon, made when it is needed, and anew when it broke or the loop is another."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._closed = False

    @property
    def rate(self) -> Rate | None:
        """What the daemon last said of the caller's budget."""
        return self._connection.rate if self._connection else None

    async def exchange(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        """Carry out one request. Retries once, only when that cannot do anything twice."""
        wire.set_deadline(request, timeout)
        deadline = time.monotonic() + timeout
        connection = self._connection
        if connection is None or not connection.usable:
            connection = await self._connected(timeout)
        try:
            return await connection.ask(request, payload, _left(deadline, timeout))
        except Lost as lost:
            if not lost.may_repeat(request):
                raise lost.error from None
        connection = await self._connected(_left(deadline, timeout))
        try:
            return await connection.ask(request, payload, _left(deadline, timeout))
        except Lost as lost:
            raise lost.error from None

    async def exchange_many(
        self, calls: Sequence[tuple[Request, Payload]], timeout: float
    ) -> list[Outcome | StashError]:
        """Carry out many. Retries all once, only when that cannot do anything twice."""
        for request, _ in calls:
            wire.set_deadline(request, timeout)
        try:
            async with asyncio.timeout(timeout + GRACE):
                try:
                    return await (await self._connected(timeout)).ask_many(calls)
                except Lost as lost:
                    if not lost.may_repeat(*(request for request, _ in calls)):
                        raise lost.error from None
                try:
                    return await (await self._connected(timeout)).ask_many(calls)
                except Lost as lost:
                    raise lost.error from None
        except TimeoutError:
            raise wire.overdue(timeout) from None

    async def watch(self, prefix: str, timeout: float) -> WatchSubscription:
        """Begin to watch."""
        deadline = time.monotonic() + timeout
        connection = await self._connected(timeout)
        with contextlib.suppress(Lost):
            return await connection.watch(prefix, _left(deadline, timeout))
        connection = await self._connected(_left(deadline, timeout))
        try:
            return await connection.watch(prefix, _left(deadline, timeout))
        except Lost as lost:
            raise lost.error from None

    async def close(self) -> None:
        """Hang up."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None and self._connection.usable:
            self._connection.close()
            await asyncio.sleep(0)  # the loop closes the socket in its next turn
        self._connection = None

    async def _connected(self, timeout: float) -> Connection:
        """A usable connection; several callers wait for the same one, and none of them can cancel it."""
        if self._closed:
            raise BadRequest("this stash was closed")
        if self._connection is not None and self._connection.usable:
            return self._connection
        task, loop = self._connecting, asyncio.get_running_loop()
        if task is None or task.get_loop() is not loop:
            task = self._connecting = loop.create_task(self._connect(loop))
            task.add_done_callback(self._arrived)
        try:
            return await asyncio.wait_for(asyncio.shield(task), timeout)
        except TimeoutError:
            raise wire.overdue(timeout) from None
        except Lost as lost:
            raise lost.error from None

    def _arrived(self, task: asyncio.Task[Connection]) -> None:
        """Keep the connection for the next call, though everybody who waited for it may have gone."""
        current = self._connecting is task
        if current:
            self._connecting = None
        if task.cancelled() or task.exception() is not None:  # whoever waited has it; nobody may be left who did
            return
        if current and not self._closed:
            self._connection = task.result()
        else:
            task.result().close()

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        target = self._target
        dialing = loop.run_in_executor(None, _dial, target)
        try:
            plain = await asyncio.shield(dialing)
        except asyncio.CancelledError:
            dialing.add_done_callback(_hang_up)
            raise
        options: dict[str, Any] = {"ssl": target.tls, "server_hostname": target.address.host} if target.tls else {}
        try:
            _, connection = await loop.create_connection(lambda: Connection(loop), sock=plain, **options)
        except OSError as error:
            plain.close()
            raise Unreachable(f"no TLS with {target.address}: {error}") from None
        try:
            await connection.hello(target.api_key)
        except BaseException:
            connection.close()
            raise
        return connection


def _dial(target: Target) -> socket.socket:
    """Connect, and start the daemon where that is needed: both block, so this runs in a thread."""
    plain = autostart.connect(target.address, CONNECT_TIMEOUT, autostart=target.autostart)
    connection = socket.socket(fileno=plain.detach())
    connection.settimeout(0)
    return connection


def _left(deadline: float, timeout: float) -> float:
    """Seconds of the caller's time that are left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise wire.overdue(timeout)
    return left


def _hang_up(dialing: asyncio.Future[socket.socket]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        if dialing.exception() is None:
            dialing.result().close()
