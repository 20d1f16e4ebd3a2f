"""How LangGraph's checkpoints and writes are kept: what their keys say, and what their entries hold."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import get_checkpoint_id

from stash_memory.values import utf8

CHECKPOINTS = "langgraph/checkpoint/"
WRITES = "langgraph/write/"

pack = msgspec.msgpack.Encoder().encode


class Saved(msgspec.Struct, array_like=True):
    """A checkpoint as its entry holds it; ``parent`` is the id of the one before."""

    checkpoint: tuple[str, bytes]
    metadata: tuple[str, bytes]
    parent: str | None


class Write(msgspec.Struct, array_like=True):
    """One write of a task as its entry holds it."""

    path: str
    task: str
    place: int
    channel: str
    value: tuple[str, bytes]


read_saved = msgspec.msgpack.Decoder(Saved).decode
read_write = msgspec.msgpack.Decoder(Write).decode


class Spot(NamedTuple):
    """Where a checkpoint stands; its parts as LangGraph gives them."""

    thread: str
    namespace: str
    checkpoint: str = ""

    @property
    def path(self) -> str:
        """What follows the prefix in a key. Parts are quoted, so that ``/`` ends a part and nothing else does."""
        return "/".join(quote(utf8(part), safe=":|") for part in self)

    @property
    def config(self) -> RunnableConfig:
        """The same for LangGraph."""
        return {
            "configurable": {
                "thread_id": self.thread,
                "checkpoint_ns": self.namespace,
                "checkpoint_id": self.checkpoint,
            }
        }


def spot_of(config: RunnableConfig) -> Spot:
    """What a config points at; without a checkpoint's id, the newest."""
    given = config["configurable"]
    return Spot(str(given["thread_id"]), given.get("checkpoint_ns", ""), get_checkpoint_id(config) or "")


def thread_prefix(thread_id: str) -> str:
    """What the keys of a thread begin with, after their kind."""
    return quote(utf8(str(thread_id)), safe=":|") + "/"


def run_tag(run: object) -> str:
    """What the checkpoints of a run are tagged with."""
    return f"run:{run}"
