"""LangGraph's checkpointer: its own conformance suite, and what only stash promises."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator
from itertools import chain
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.conformance import validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES
from langgraph.checkpoint.conformance.initializer import RegisteredCheckpointer
from langgraph.checkpoint.serde.types import ERROR
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from stash_memory import BadRequest, Stash, TooLarge
from stash_memory.integrations.langgraph_checkpoint import StashSaver
from tests.support.daemon import RunningDaemon
from tests.support.tenants import issue


def test_the_conformance_suite_passes_with_every_capability(stash: Stash) -> None:
    async def fresh() -> AsyncIterator[BaseCheckpointSaver[Any]]:
        yield StashSaver(stash)

    report = asyncio.run(validate(RegisteredCheckpointer("stash", fresh)))
    assert {name: result.failures for name, result in report.results.items()} == {
        capability.value: [] for capability in ALL_CAPABILITIES
    }
    assert all(result.passed for result in report.results.values())


class Talk(TypedDict):
    said: Annotated[list[str], operator.add]


def ask(state: Talk) -> dict[str, list[str]]:
    return {"said": [f"{interrupt('your name?')} has said {len(state['said'])}"]}


def graph(stash: Stash, **options: Any) -> Any:
    """Says something, and then waits for a human."""
    builder = StateGraph(Talk)
    builder.add_node("hear", lambda _state: {"said": ["heard"]})
    builder.add_node("ask", ask)
    builder.add_edge(START, "hear")
    builder.add_edge("hear", "ask")
    return builder.compile(checkpointer=StashSaver(stash, **options))


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


def test_a_graph_that_was_interrupted_goes_on_in_another_process_of_its_own(stash: Stash) -> None:
    assert "__interrupt__" in graph(stash).invoke({"said": ["hi"]}, thread("a/b"))
    assert graph(stash).invoke(Command(resume="Ann"), thread("a/b"))["said"] == ["hi", "heard", "Ann has said 2"]
    assert len(list(graph(stash).get_state_history(thread("a/b")))) == 4
    assert graph(stash).get_state(thread("a")).values == {}


def test_threads_and_namespaces_are_told_apart_by_whole_segments(stash: Stash) -> None:
    for name in ("foo", "foobar", "foo/bar", "é %2F"):
        graph(stash).invoke({"said": [name]}, thread(name))
    saver = StashSaver(stash)
    saver.delete_thread("foo")
    left = {each.config["configurable"]["thread_id"] for each in saver.list(None)}
    assert left == {"foobar", "foo/bar", "é %2F"}
    assert graph(stash).get_state(thread("é %2F")).values["said"] == ["é %2F", "heard"]
    for name in left:
        saver.delete_thread(name)
    assert list(stash.list()) == [], "writes went with their checkpoints"


def test_one_saver_serves_an_event_loop_after_the_other(stash: Stash) -> None:
    talk = graph(stash)
    for number in range(3):
        asyncio.run(talk.ainvoke({"said": ["hi"]}, thread(f"t{number}")))
    assert talk.invoke(Command(resume="Bob"), thread("t1"))["said"][-1] == "Bob has said 2"


def test_a_checkpoint_and_its_writes_live_for_the_ttl(stash: Stash) -> None:
    graph(stash, ttl="2m").invoke({"said": ["hi"]}, thread("t"))
    left = [entry.ttl for entry in stash.list()]
    assert left
    assert all(110 < seconds <= 120 for seconds in left)


def test_the_writes_of_a_task_are_there_together_and_the_first_stand(stash: Stash) -> None:
    saver = StashSaver(stash)
    spot: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "1"}}
    spot = saver.put(spot, {**empty_checkpoint(), "id": "2"}, {}, {})
    saver.put_writes(spot, [("a", 1)], "task")
    saver.put_writes(spot, [("a", "again"), ("b", 2), (ERROR, "first")], "task", "path")
    saver.put_writes(spot, [("a", "again"), ("b", "again"), (ERROR, "second")], "task", "path")
    found = saver.get_tuple(spot)
    assert found is not None
    assert sorted(found.pending_writes or [], key=str) == [
        ("task", ERROR, "second"), ("task", "a", 1), ("task", "b", 2)
    ]  # fmt: skip
    assert found.parent_config == {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "1"}}


def test_of_writes_that_do_not_all_fit_none_is_kept(daemon: RunningDaemon) -> None:
    with Stash(socket=daemon.socket, api_key=issue(daemon, tier="free")) as stash:
        saver = StashSaver(stash)
        spot: Any = saver.put(thread("t"), empty_checkpoint(), {}, {})
        with pytest.raises(TooLarge):
            saver.put_writes(spot, [("a", 1), ("b", "x" * (2 << 20)), ("c", 3)], "task")
        found = saver.get_tuple(spot)
        assert found is not None
        assert found.pending_writes == []


def test_pruning_keeps_what_a_delta_channel_is_rebuilt_from(stash: Stash) -> None:
    class Log(TypedDict):
        lines: Annotated[
            list[str], DeltaChannel(lambda lines, news: [*lines, *chain(*news)], list, snapshot_frequency=3)
        ]

    builder = StateGraph(Log)
    builder.add_node("work", lambda _state: {"lines": ["worked"]})
    builder.add_edge(START, "work")
    saver = StashSaver(stash)
    log = builder.compile(checkpointer=saver)
    for number in range(7):
        log.invoke({"lines": [f"asked {number}"]}, thread("t"))
    before = log.get_state(thread("t")).values
    count = len(list(saver.list(thread("t"))))
    assert len(before["lines"]) == 14
    saver.prune(["t"])
    assert log.get_state(thread("t")).values == before
    assert len(list(saver.list(thread("t")))) < count


def test_an_unknown_way_to_prune_is_refused(stash: Stash) -> None:
    with pytest.raises(ValueError, match="keep_latest"):
        StashSaver(stash).prune(["t"], strategy="keep_some")


def test_a_thread_that_is_no_utf8_is_refused(stash: Stash) -> None:
    with pytest.raises(BadRequest, match="UTF-8"):
        StashSaver(stash).get_tuple(thread("\udcff"))
