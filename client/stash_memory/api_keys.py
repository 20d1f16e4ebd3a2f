"""The daemon's API keys, for callers with scope ``admin``."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Protocol, TypeVar

from stash_memory import calls
from stash_memory.calls import Call
from stash_memory.results import ApiKey, IssuedApiKey
from stash_memory.values import Duration
from stash_protocol.replies import Scope

Result = TypeVar("Result")


class Run(Protocol):
    """How a `Stash` carries out a call."""

    def __call__(self, call: Call[Result], timeout: float | None) -> Result: ...


class AsyncRun(Protocol):
    """How an `AsyncStash` carries out a call."""

    async def __call__(self, call: Call[Result], timeout: float | None) -> Result: ...


class ApiKeys:
    """The daemon's API keys; needs scope ``admin``."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def create(
        self,
        name: str,
        *,
        namespace: str | None = None,
        tier: str = "free",
        scopes: Sequence[Scope] = ("read", "write"),
        ttl: Duration | None = None,
        timeout: float | None = None,
    ) -> IssuedApiKey:
        """Make an API key; its namespace is its name unless given.

        Raises:
            Conflict: the name is taken.
            StashError: as every call.
        """
        call = calls.key_create(name, namespace=namespace, tier=tier, scopes=scopes, ttl=ttl)
        return self._run(call, timeout)

    def list(self, *, timeout: float | None = None) -> builtins.list[ApiKey]:
        """All API keys, without their secrets."""
        return self._run(calls.key_list(), timeout)

    def rotate(self, name: str, *, timeout: float | None = None) -> IssuedApiKey:
        """Give an API key a new secret; the old one is refused from now on.

        Raises:
            NotFound: there is none of that name.
            StashError: as every call.
        """
        return self._run(calls.key_rotate(name), timeout)

    def revoke(self, name: str, *, timeout: float | None = None) -> None:
        """Delete an API key; open connections that used it are refused from now on.

        Raises:
            NotFound: there is none of that name.
            StashError: as every call.
        """
        return self._run(calls.key_revoke(name), timeout)


class AsyncApiKeys:
    """`ApiKeys`, awaited."""

    def __init__(self, run: AsyncRun) -> None:
        self._run = run

    async def create(
        self,
        name: str,
        *,
        namespace: str | None = None,
        tier: str = "free",
        scopes: Sequence[Scope] = ("read", "write"),
        ttl: Duration | None = None,
        timeout: float | None = None,
    ) -> IssuedApiKey:
        """See `ApiKeys.create`."""
        call = calls.key_create(name, namespace=namespace, tier=tier, scopes=scopes, ttl=ttl)
        return await self._run(call, timeout)

    async def list(self, *, timeout: float | None = None) -> builtins.list[ApiKey]:
        """See `ApiKeys.list`."""
        return await self._run(calls.key_list(), timeout)

    async def rotate(self, name: str, *, timeout: float | None = None) -> IssuedApiKey:
        """See `ApiKeys.rotate`."""
        return await self._run(calls.key_rotate(name), timeout)

    async def revoke(self, name: str, *, timeout: float | None = None) -> None:
        """See `ApiKeys.revoke`."""
        return await self._run(calls.key_revoke(name), timeout)
