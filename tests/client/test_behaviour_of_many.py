"""The same behaviour for many entries at once, for waiting and watching, whichever way."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stash_memory import (
    BadRequest,
    NotFound,
    Portable,
    Stash,
    Timeout,
    TooLarge,
)
from stash_protocol import replies

DAY = 86_400


# ── many at once ──


def test_a_batch_is_all_or_nothing(stash: Any) -> None:
    with stash.batch() as batch:
        batch.set("a", {"x": 1}).incr("n", 3).get("a").append("l", 1).exists("zz").ttl("a")
        batch.update("a", "new").extend("a", 60).forget("n")
    entry, number, value, length, exists, ttl, updated, remaining, forgotten = batch.results
    assert (entry.key, number, value, length, exists) == ("a", 3, {"x": 1}, 1, False)
    assert ttl > 0
    assert updated.version > entry.version
    assert remaining.ttl > ttl
    assert forgotten == 1

    with pytest.raises(NotFound, match="operation 2 of 3"):
        stash.batch().set("b", "v").get("absent").set("c", "v").run()
    assert not stash.exists("b")
    assert stash.batch().run() == []


def test_lists_are_popped_and_their_tail_is_read(stash: Any) -> None:
    for item in (1, {"a": "ü"}, None, [2.5]):
        stash.append("l", item, ttl=60)
    assert stash.tail("l", 2) == [None, [2.5]]
    assert stash.append("many", [1, [2]], many=True, max_len=9) == 2
    assert stash.pipeline().append("many", (3, "x"), many=True).get("many").run() == [4, [1, [2], 3, "x"]]
    assert stash.tail("l", 99, touch=True) == [1, {"a": "ü"}, None, [2.5]]
    assert [stash.pop("l"), stash.pop("l", "empty"), stash.pop("l", first=True)] == [[2.5], None, 1]
    assert stash.batch().append("l", "new").pop("l", first=True).tail("l", 5).run() == [2, {"a": "ü"}, ["new"]]
    assert stash.pipeline().pop("l").pop("l", "empty").tail("absent", 5).run() == ["new", "empty", []]
    assert [stash.pop("absent"), stash.tail("l", 1), stash.get("l")] == [None, [], []]
    stash.set("text", "x")
    for refused in (lambda: stash.pop("text"), lambda: stash.tail("text", 1), lambda: stash.tail("l", 0)):
        with pytest.raises(BadRequest):
            refused()


def test_the_last_entries_can_be_had_first_and_no_more_than_wanted(stash: Any) -> None:
    with stash.pipeline() as pipeline:
        for number in range(1002):
            pipeline.set(f"n/{number:04}", b"")
    assert [entry.key for entry in stash.list("n/", limit=2, reverse=True)] == ["n/1001", "n/1000"]
    assert [entry.key for entry in stash.list("n/", limit=1001)][-1] == "n/1000"
    backwards = [entry.key for entry in stash.list("n/", reverse=True)]
    assert backwards == sorted(backwards, reverse=True)
    assert len(backwards) == 1002
    assert list(stash.list(limit=0)) == []


def test_a_block_that_fails_sends_no_batch(stash: Any) -> None:
    def fail() -> None:
        with stash.batch() as batch:
            batch.set("k", "v")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not stash.exists("k")


def test_a_batch_has_a_thousand_operations_at_most(stash: Any) -> None:
    batch = stash.batch()
    for number in range(1001):
        batch.set(f"k{number}", "v")
    with pytest.raises(BadRequest, match="1,000"):
        batch.run()


def test_a_pipeline_answers_each_on_its_own_and_in_order(stash: Any) -> None:
    stash.set("text", "x")
    results = stash.pipeline().set("a", 1).get("absent", "default").incr("text").ttl("absent").get("a").run()
    assert results[0].key == "a"
    assert results[1] == "default"
    assert isinstance(results[2], BadRequest)
    assert isinstance(results[3], NotFound)
    assert results[4] == 1
    [entry, missing] = stash.pipeline().entry("a").entry("absent").run()
    assert (entry.value, entry.version, isinstance(missing, NotFound)) == (1, results[0].version, True)


def test_what_cannot_be_said_on_the_wire_fails_alone_in_a_pipeline(stash: Any) -> None:
    set_, failed, got = stash.pipeline().set("a", 1).incr("n", 1 << 70).get("a").run()
    assert (set_.key, isinstance(failed, BadRequest), got) == ("a", True, 1)
    assert stash.pipeline().incr("n", 1 << 70).get("a").run()[1] == 1


def test_a_pipeline_of_large_values_both_ways_comes_through(stash: Any) -> None:
    value = bytes(range(256)) * 4096
    pipeline = stash.pipeline()
    for number in range(12):
        pipeline.set(f"k{number % 3}", value).get(f"k{number % 3}").set("small", number).get("small")
    results = pipeline.run()
    assert results[1::4] == [value] * 12
    assert results[3::4] == list(range(12))


def test_a_large_value_comes_through(stash: Any) -> None:
    value = bytes(range(256)) * 20_000
    stash.set("k", value)
    assert stash.get("k") == value


def test_a_value_beyond_the_tier_is_refused_and_the_stash_stays_usable(stash: Any) -> None:
    with pytest.raises(TooLarge, match=r"8\.0 MiB"):
        stash.set("k", bytes(9 << 20))
    assert stash.get("k") is None
    stash.set("k", bytes(8 << 20))
    with pytest.raises(TooLarge):
        stash.update("k", bytes((8 << 20) + 1))
    assert stash.entry("k").size == 8 << 20


@pytest.mark.parametrize("ttl", ["366d", dt.timedelta(days=400)])
def test_a_ttl_beyond_the_tier_is_refused(stash: Any, ttl: Any) -> None:
    with pytest.raises(BadRequest, match="365d"):
        stash.set("k", "v", ttl=ttl)
    assert not stash.exists("k")


def test_export_and_import_carry_everything(stash: Any) -> None:
    stash.set("a/text", "x", ttl=60, tags=["t", "u"])
    stash.set("a/bytes", b"\xff", ttl=60)
    stash.set("b", 1)
    exported = list(stash.export("a/"))
    assert [(entry.key, entry.value, entry.tags) for entry in exported] == [
        ("a/bytes", b"\xff", []),
        ("a/text", "x", ["t", "u"]),
    ]
    assert stash.import_(exported).skipped == 2
    stash.clear(prefix="a/")
    rows = [*exported, Portable("mine", "text", b"hi", 60.0), Portable("long", "json", b"1", 9e8), *exported[:1]]
    done = stash.import_(rows)
    assert (done.imported, done.skipped, done.clamped) == (4, 1, 1)
    assert stash.get("mine") == "hi"
    assert [entry.key for entry in stash.list("a/", tag="u")] == ["a/text"]
    assert stash.import_(exported, replace=True).imported == 2


def test_an_import_of_many_goes_page_by_page(stash: Any) -> None:
    rows = [Portable(f"k{number}", "bytes", bytes(2000), 60.0) for number in range(1500)]
    assert stash.import_(iter(rows)).imported == 1500
    assert len(list(stash.export())) == 1500


def test_prune_keeps_the_newest_and_reports(stash: Any) -> None:
    for key in "abc":
        stash.set(key, "vv")
    dry = stash.prune(keep_newest=1, dry_run=True, report=True)
    assert (dry.pruned, dry.bytes, sorted(dry.keys)) == (2, 4, ["a", "b"])
    assert stash.prune(keep_newest=1, prefix="x").pruned == 0
    assert stash.prune(older_than="1h").pruned == 0
    assert stash.prune(keep_newest=1).keys == []
    assert [entry.key for entry in stash.list()] == ["c"]


# ── refusals ──


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda stash: stash.set("k" * 3000, 1), "key must have 1 to 2,048 bytes of UTF-8"),
        (lambda stash: stash.get(""), "key must have 1 to 2,048 bytes of UTF-8"),
        (lambda stash: stash.set(5, 1), "key must be text, not a whole number"),
        (lambda stash: stash.get("\udcff"), "a text must be valid UTF-8; one of this request has lone surrogates"),
        (lambda stash: stash.set("k", {"\udcff": 1}), "a text must be valid UTF-8; this one has lone surrogates"),
        (lambda stash: stash.set("k", 1, ttl=0), "ttl must be longer than 0"),
        (lambda stash: stash.set("k", 1, tags=["a", ""]), "tags must have at least 1 character"),
    ],
)
def test_what_is_refused_says_which_field_and_which_limit(stash: Any, call: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        call(stash)
    assert refused.value.message == said


# ── waiting and watching ──


def test_a_wait_that_runs_out_says_what_did_not_happen_within_which_time(stash: Any) -> None:
    for wait_in_vain in (stash.get, stash.entry):
        with pytest.raises(Timeout, match=r"^the key did not appear within 0\.05 s$"):
            wait_in_vain("k", wait=0.05)
    with pytest.raises(Timeout, match=r"^the key did not appear within 0\.05 s$"):
        stash.get("k", wait=30, timeout=0.05)
    stash.set("k", "v")
    assert stash.get("k", wait=30) == "v"


def test_a_wait_that_runs_out_returns_the_default_that_was_given(stash: Any) -> None:
    assert stash.get("k", "mine", wait=0.05) == "mine"
    assert stash.get("k", None, wait=0.05) is None
    stash.set("k", "v")
    assert stash.get("k", "mine", wait=0.05) == "v"


def test_a_wait_holds_up_no_other_call_and_ends_when_the_key_is_set(stash: Any) -> None:
    if isinstance(stash, Stash):
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(stash.get, "k", wait=20)
            stash.set("other", "v")
            stash.set("k", "there")
            assert waiting.result(20) == "there"
        return

    async def both() -> Any:
        waiting = asyncio.create_task(stash.inner.get("k", wait=20))
        await stash.inner.set("other", "v")
        await stash.inner.set("k", "there")
        return await waiting

    assert stash.settle(both()) == "there"


def test_calls_at_the_same_time_all_get_their_own_answer(stash: Any) -> None:
    if isinstance(stash, Stash):
        with ThreadPoolExecutor(12) as threads:
            found = list(threads.map(lambda number: [stash.incr("n"), stash.get("absent", number)], range(200)))
    else:

        async def all_of_them() -> Any:
            calls = (
                call for number in range(200) for call in (stash.inner.incr("n"), stash.inner.get("absent", number))
            )
            return await asyncio.gather(*calls)

        flat = stash.settle(all_of_them())
        found = [flat[place : place + 2] for place in range(0, 400, 2)]
    assert sorted(number for number, _ in found) == list(range(1, 201))
    assert [default for _, default in found] == list(range(200))


def test_a_watch_tells_of_every_change_under_its_prefix(stash: Any) -> None:
    with stash.watch("a/") as watch:
        stash.set("b", "v")
        entry = stash.set("a/1", "v", ttl=60)
        stash.update("a/1", "w")
        stash.extend("a/1", 60)
        stash.forget("a/1")
        stash.set("a/2", "v", ttl=0.05)
        seen = [watch.next(10) for _ in range(6)]
        assert [(event.event, event.key) for event in seen] == [
            ("set", "a/1"),
            ("update", "a/1"),
            ("extend", "a/1"),
            ("forget", "a/1"),
            ("set", "a/2"),
            ("expire", "a/2"),
        ]
        assert (seen[0].version, seen[0].expires_at) == (entry.version, entry.expires_at)
        assert watch.next(0.01) is None
    assert watch.next() is None


# ── the daemon, or what stands for it ──


def test_it_says_how_it_is(stash: Any) -> None:
    stash.set("k", "vv")
    stash.ping()
    stash.ready()
    status = stash.status()
    assert (status.status, status.entries, status.bytes) == ("ok", 1, 2)
    stats = stash.stats()
    assert (stats.entries, stats.bytes) == (1, 2)
    assert isinstance(stats, replies.Stats)
    assert "stash_" in stash.prometheus()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), 1e12])
def test_a_timeout_that_cannot_be_is_refused(stash: Any, timeout: float) -> None:
    with pytest.raises(BadRequest):
        stash.get("k", timeout=timeout)


def test_after_close_every_call_is_refused(stash: Any) -> None:
    stash.set("k", "v")
    stash.close()
    stash.close()
    calls: list[Callable[[], Any]] = [
        lambda: stash.get("k"),
        lambda: stash.watch(""),
        lambda: stash.pipeline().get("k").run(),
    ]
    for call in calls:
        with pytest.raises(BadRequest, match="closed"):
            call()
