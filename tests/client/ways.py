"""Every way to reach the operations, behind the one interface of `Stash`, so that one suite runs over all of them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

from stash_memory import AsyncStash, Stash
from tests.support.daemon import RunningDaemon

EMBEDDED = ("memory", "sqlite")
DAEMON = ("unix", "tcp")
VIEWS = ("api_keys", "retention", "episodes", "messages", "conversations")
WAYS = [f"{mode}-{way}" for mode in ("sync", "async") for way in (*EMBEDDED, *DAEMON)]


def arguments(way: str, daemon: RunningDaemon, api_key: str, directory: Path) -> dict[str, Any]:
    """What `Stash` and `AsyncStash` are made with."""
    host, port = daemon.tcp
    options: dict[str, dict[str, Any]] = {
        "memory": {"backend": "memory"},
        "sqlite": {"backend": "sqlite", "path": directory / "own.db"},
        "unix": {"socket": daemon.socket},
        "tcp": {"url": f"tcp://{host}:{port}", "api_key": api_key},
    }
    return options[way]


@contextlib.contextmanager
def opened(mode: str, **options: Any) -> Iterator[Any]:
    """A `Stash`, or an `AsyncStash` that looks like one."""
    if mode == "sync":
        with Stash(**options) as stash:
            yield stash
        return
    with asyncio.Runner() as runner:
        awaited = Awaited(AsyncStash(**options), runner)
        try:
            yield awaited
        finally:
            awaited.close()


class Awaited:
    """Anything asynchronous, each of its methods awaited on the spot.

    Attributes:
        inner: what is awaited.
    """

    def __init__(self, inner: Any, runner: asyncio.Runner) -> None:
        self.inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return Awaited(found, self._runner) if name in VIEWS else found
        return lambda *args, **options: self.settle(found(*args, **options))

    def __len__(self) -> int:
        return len(self.inner)

    def __enter__(self) -> Self:
        self.settle(self.inner.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self.settle(self.inner.__aexit__(*error))

    def settle(self, result: Any) -> Any:
        """What a coroutine comes to."""
        if inspect.isasyncgen(result):
            return iter(self._runner.run(_all(result)))
        if inspect.isawaitable(result):
            result = self._runner.run(_wait(result))
        if result is self.inner:
            return self
        return Awaited(result, self._runner) if hasattr(result, "__aenter__") else result


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def _wait(result: Any) -> Any:
    return await result
