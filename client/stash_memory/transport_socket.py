"""The way to a daemon through blocking sockets."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Sequence

from stash_memory import wire
from stash_memory.link import Link
from stash_memory.target import Target
from stash_memory.transport import MOMENT
from stash_memory.wire import Lost, Outcome
from stash_protocol.errors import BadRequest, StashError
from stash_protocol.operations import Request
from stash_protocol.reader import Payload
from stash_protocol.replies import Event, Rate

MAX_IDLE = 8  # connections kept for the next calls: as many threads call without connecting anew


class SocketTransport:
    """Connections to one daemon: one for each thread that is in a call, kept for the next.

    There is no lock: taking a connection off the list and putting it back are atomic, and a `get` that waits half a
    minute for its key must not hold up the thread that is to set it.
    """

    def __init__(self, target: Target) -> None:
        self.rate: Rate | None = None
        self._target = target
        self._idle: list[Link] = []
        self._closed = False
        _transports.add(self)

    def exchange(self, request: Request, payload: Payload, timeout: float) -> Outcome:
        """Carry out one request. Retries once, only when that cannot do anything twice."""
        wire.set_deadline(request, timeout)
        deadline = time.monotonic() + timeout
        link, left = self._take(deadline, timeout)
        try:
            return link.exchange(request, payload, left)
        except Lost as lost:
            if not lost.may_repeat(request):
                raise lost.error from None
        finally:
            self._give_back(link)
        link, left = self._renew(deadline, timeout)
        try:
            return link.exchange(request, payload, left)
        except Lost as lost:
            raise lost.error from None
        finally:
            self._give_back(link)

    def exchange_many(self, calls: Sequence[tuple[Request, Payload]], timeout: float) -> list[Outcome | StashError]:
        """Carry out many. Retries all once, only when that cannot do anything twice."""
        for request, _ in calls:
            wire.set_deadline(request, timeout)
        deadline = time.monotonic() + timeout
        link, left = self._take(deadline, timeout)
        try:
            return link.exchange_many(calls, left)
        except Lost as lost:
            if not lost.may_repeat(*(request for request, _ in calls)):
                raise lost.error from None
        finally:
            self._give_back(link)
        link, left = self._renew(deadline, timeout)
        try:
            return link.exchange_many(calls, left)
        except Lost as lost:
            raise lost.error from None
        finally:
            self._give_back(link)

    def watch(self, prefix: str, timeout: float) -> LinkSubscription:
        """Begin to watch, over a connection of its own."""
        link, left = self._open(time.monotonic() + timeout, timeout)
        try:
            link.watch(prefix, left)
        except Lost as lost:
            raise lost.error from None
        except BaseException:
            link.close()
            raise
        return LinkSubscription(link)

    def close(self) -> None:
        """Hang up."""
        self._closed = True
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def abandon(self) -> None:
        """Let go of the connections of the process we were forked from."""
        idle, self._idle = self._idle, []
        for link in idle:
            link.abandon()

    def _take(self, deadline: float, timeout: float) -> tuple[Link, float]:
        """A connection, and the seconds that are left: all of them, unless it had to be made."""
        try:
            return self._idle.pop(), timeout
        except IndexError:
            return self._open(deadline, timeout)

    def _renew(self, deadline: float, timeout: float) -> tuple[Link, float]:
        """A new connection, once one broke: those from before it are no better."""
        idle, self._idle = self._idle, []
        for link in idle:
            link.close()
        return self._open(deadline, timeout)

    def _open(self, deadline: float, timeout: float) -> tuple[Link, float]:
        if self._closed:
            raise BadRequest("this stash was closed")
        left = deadline - time.monotonic()
        if left <= 0:
            raise wire.overdue(timeout)
        link = Link(self._target, left)
        return link, max(MOMENT, deadline - time.monotonic())

    def _give_back(self, link: Link) -> None:
        if link.closed:
            return
        self.rate = link.rate
        if self._closed or len(self._idle) >= MAX_IDLE:
            link.close()
        else:
            self._idle.append(link)


class LinkSubscription:
    """A watch over a connection of its own."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._ended = False

    def next_event(self, timeout: float | None) -> Event | None:
        """The next change."""
        try:
            return self._link.next_event(timeout)
        except Lost as lost:
            if self._ended:
                return None
            raise lost.error from None

    def close(self) -> None:
        """Hang up."""
        self._ended = True
        self._link.close()


_transports: weakref.WeakSet[SocketTransport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in _transports:
        transport.abandon()


os.register_at_fork(after_in_child=_after_fork)
