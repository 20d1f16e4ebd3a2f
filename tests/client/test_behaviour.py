"""One behaviour, whichever way: in process, Unix socket, TCP; waiting or awaited."""

from __future__ import annotations

import datetime as dt
import threading
import time
from typing import Any

import pytest

from stash_memory import (
    BadRequest,
    Conflict,
    NotFound,
)
from stash_protocol.operations import MAX_PAGE

DAY = 86_400


def wait_until(condition: Any, patience: float = 10.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        threading.Event().wait(0.01)


# ── values ──


@pytest.mark.parametrize(
    "value",
    [
        "text",
        "",
        "☃ \0 \n",
        b"",
        b"\x00\xff\n",
        bytes(300_000),
        {"step": 3, "nested": [1, 2.5, None, True, "é"]},
        [],
        None,
        True,
        7,
        -1.5,
        2**70,
    ],
)
def test_a_value_comes_back_in_the_type_it_was_given(stash: Any, value: Any) -> None:
    stash.set("k", value)
    found = stash.get("k", "something else")
    assert found == value
    assert type(found) is type(value)


def test_a_bytearray_comes_back_as_bytes(stash: Any) -> None:
    stash.set("k", bytearray(b"\x01\x02"))
    assert stash.get("k") == b"\x01\x02"


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, {"a": b"bytes"}, object(), "\ud800", ["\ud800"]])
def test_what_json_cannot_say_is_refused(stash: Any, value: Any) -> None:
    with pytest.raises(BadRequest):
        stash.set("k", value)
    assert not stash.exists("k")


def test_an_absent_key_gives_none_or_the_default(stash: Any) -> None:
    assert stash.get("k") is None
    assert stash.get("k", "default") == "default"
    assert stash.get("k", default=7) == 7


def test_set_needs_a_value(stash: Any) -> None:
    with pytest.raises(BadRequest, match="value"):
        stash.set("k")


def test_a_key_is_made_when_none_is_given(stash: Any) -> None:
    entry = stash.set(value="v")
    assert len(entry.key) == 8
    assert entry.key.isalnum()
    assert stash.get(entry.key) == "v"


@pytest.mark.parametrize("key", ["", "k" * 2049, "é" * 1025, "\ud800", "k" * 200_000])
def test_a_key_that_cannot_be_is_refused_and_the_stash_stays_usable(stash: Any, key: str) -> None:
    with pytest.raises(BadRequest):
        stash.set(key, "v")
    stash.set("k", "v")
    assert stash.get("k") == "v"


@pytest.mark.parametrize("key", ["a b", "☃", "a\nb", "\0", "k" * 2048, "é" * 1024])
def test_a_key_may_have_any_character(stash: Any, key: str) -> None:
    assert stash.set(key, "v").key == key
    assert stash.get(key) == "v"


# ── entries ──


def test_set_says_what_became_of_the_entry(stash: Any) -> None:
    entry = stash.set("k", {"step": 3}, ttl="30m")
    assert (entry.key, entry.type, entry.size, entry.clamped) == ("k", "json", 10, False)
    assert 1799 < entry.ttl <= 1800
    assert entry.version >= 1
    assert entry.expires_at - entry.created_at == dt.timedelta(minutes=30)
    assert entry.expires_at.tzinfo is not None
    assert entry.updated_at == entry.created_at


@pytest.mark.parametrize("ttl", ["1m", 60, 60.0, dt.timedelta(minutes=1)])
def test_a_ttl_can_be_said_in_four_ways(stash: Any, ttl: Any) -> None:
    assert 59 < stash.set("k", "v", ttl=ttl).ttl <= 60


@pytest.mark.parametrize("ttl", [0, -1, "soon", float("inf"), float("nan"), "", 1e15])
def test_a_ttl_that_cannot_be_is_refused(stash: Any, ttl: Any) -> None:
    with pytest.raises(BadRequest):
        stash.set("k", "v", ttl=ttl)


def test_an_entry_is_gone_when_its_time_is_over(stash: Any) -> None:
    stash.set("k", "v", ttl=0.05)
    wait_until(lambda: stash.get("k") is None)
    assert not stash.exists("k")
    assert list(stash.list()) == []
    with pytest.raises(NotFound):
        stash.extend("k", 60)


def test_entry_is_get_with_everything_known(stash: Any) -> None:
    stash.set("k", {"a": 1}, ttl=60)
    entry = stash.entry("k")
    assert (entry.value, entry.raw, entry.key) == ({"a": 1}, b'{"a":1}', "k")
    with pytest.raises(NotFound):
        stash.entry("absent")


def test_touch_restores_the_time_and_a_plain_get_does_not(stash: Any) -> None:
    first = stash.set("k", "v", ttl=100)
    wait_until(lambda: stash.ttl("k") < 99.99)
    assert stash.entry("k").expires_at == first.expires_at
    assert stash.entry("k", touch=True).expires_at > first.expires_at


def test_update_keeps_the_time_unless_told_otherwise(stash: Any) -> None:
    first = stash.set("k", "v", ttl=60)
    second = stash.update("k", [1])
    assert (second.expires_at, second.type) == (first.expires_at, "json")
    assert second.version > first.version
    third = stash.update("k", "w", extend="1m")
    assert third.expires_at - first.expires_at == dt.timedelta(minutes=1)
    assert stash.update("k", extend=60).expires_at > third.expires_at
    assert stash.get("k") == "w"
    with pytest.raises(BadRequest):
        stash.update("k")
    with pytest.raises(NotFound):
        stash.update("absent", "v")


def test_extend_adds_to_the_time_and_says_when_it_was_clamped(stash: Any) -> None:
    first = stash.set("k", "v", ttl=60)
    longer = stash.extend("k", "1m")
    assert longer.expires_at - first.expires_at == dt.timedelta(minutes=1)
    assert 119 < longer.ttl <= 120
    assert not longer.clamped
    assert longer.version > first.version
    assert stash.extend("k", 3650 * DAY).clamped


def test_conditions_that_do_not_hold_change_nothing(stash: Any) -> None:
    first = stash.set("k", "v", if_absent=True)
    for conditions in ({"if_absent": True}, {"if_version": first.version + 1}):
        with pytest.raises(Conflict):
            stash.set("k", "w", **conditions)
    with pytest.raises(Conflict):
        stash.update("k", "w", if_version=first.version + 1)
    assert stash.get("k") == "v"
    stash.set("k", "w", if_version=first.version)
    assert stash.get("k") == "w"


def test_forget_counts_what_was_there(stash: Any) -> None:
    for key in "abcd":
        stash.set(key, "v")
    assert stash.forget("a", "absent") == 1
    assert stash.forget(["b", "c"], "d") == 3
    assert stash.forget() == 0


def test_forget_takes_more_keys_than_one_request_may_carry(stash: Any) -> None:
    keys = [f"k{number}" for number in range(600)]
    with stash.pipeline() as pipeline:
        for key in keys:
            pipeline.set(key, "v")
    assert stash.forget(keys) == 600


def test_clear_takes_a_prefix_a_tag_or_both(stash: Any) -> None:
    stash.set("a/1", "v", tags=["x"])
    stash.set("a/2", "v")
    stash.set("b/1", "v", tags=["x"])
    with pytest.raises(BadRequest):
        stash.clear()
    assert stash.clear(prefix="a/", tag="x") == 1
    assert stash.clear(tag="x") == 1
    assert stash.clear(prefix="") == 1


def test_ttl_and_exists_tell_what_is_there(stash: Any) -> None:
    stash.set("k", "v", ttl=60)
    assert 59 < stash.ttl("k") <= 60
    assert stash.exists("k") is True
    assert stash.exists("absent") is False
    with pytest.raises(NotFound):
        stash.ttl("absent")


def test_list_goes_over_all_pages_in_the_order_of_the_keys(stash: Any) -> None:
    count = MAX_PAGE + 7
    with stash.pipeline() as pipeline:
        for number in range(count):
            pipeline.set(f"a/{number:05}", "v", tags=["odd"] if number % 2 else [])
        pipeline.set("b", "v")
    entries = list(stash.list("a/"))
    assert [entry.key for entry in entries] == [f"a/{number:05}" for number in range(count)]
    assert entries[0].size == 1
    assert len(list(stash.list(tag="odd"))) == count // 2
    assert len(list(stash.list())) == count + 1


def test_tags_that_are_one_text_are_refused(stash: Any) -> None:
    with pytest.raises(BadRequest, match="list"):
        stash.set("k", "v", tags="tag")


# ── counters and lists ──


def test_incr_counts_from_nothing(stash: Any) -> None:
    assert [stash.incr("n"), stash.incr("n", 5), stash.incr("n", -10)] == [1, 6, -4]
    assert stash.get("n") == -4
    assert stash.incr("m", ttl=60) == 1
    assert stash.ttl("m") <= 60
    stash.set("text", "x")
    with pytest.raises(BadRequest):
        stash.incr("text")


def test_append_keeps_the_newest(stash: Any) -> None:
    assert [stash.append("l", item, max_len=2) for item in ("a", {"b": 1}, [3])] == [1, 2, 2]
    assert stash.get("l") == [{"b": 1}, [3]]
    with pytest.raises(BadRequest):
        stash.append("l", b"bytes")
