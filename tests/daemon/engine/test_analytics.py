from __future__ import annotations

from typing import Any

import pytest

from stash_daemon.keys import Caller, Peer
from stash_daemon.observe.usage import DAY, HOUR, KEPT, MAX_NAMESPACES, History
from stash_protocol import operations as op
from stash_protocol.analytics import Analytics, Day, ModelUse, Talk, Trend, Usage
from stash_protocol.errors import NotFound
from stash_protocol.memories import Memory
from stash_protocol.operations import Request
from stash_protocol.replies import Stats
from tests.support.cases import VECTOR
from tests.support.engine import ALL_SCOPES, Bench

TTL = 100 * DAY
PLAIN = ALL_SCOPES - {"admin"}


@pytest.fixture
def bench() -> Bench:
    found = Bench(max_ttl=365 * DAY)
    found.caller = found.someone("default", PLAIN, max_ttl=365 * DAY)
    return found


def stats(bench: Bench, caller: Caller | None = None, *, analytics: bool = True) -> Stats:
    body = bench.ask(op.GetStats(analytics=analytics), caller=caller).body
    assert isinstance(body, Stats)
    return body


def analytics(bench: Bench, caller: Caller | None = None) -> Analytics:
    found = stats(bench, caller).analytics
    assert found is not None
    return found


def remember(
    bench: Bench, key: str, *, age: float = 0, ttl: int = TTL, caller: Caller | None = None, **memory: Any
) -> None:
    what = {"text": "words", "at": bench.clock.now() - round(age * DAY), **memory}
    bench.set(key, b"v", caller, ttl_ms=ttl, memory=Memory(**what))


def serve(bench: Bench, *requests: Request, refused: bool = False, caller: Caller | None = None) -> None:
    """Have the observer see requests, as a door does."""
    for request in requests:
        bench.engine.observer.served(
            request, caller or bench.caller, Peer(name="uid:1", uid=1), request_id=(1, 1), reply=None,
            error=NotFound("no") if refused else None, payload_bytes=0, duration_ns=1000,
        )  # fmt: skip


def test_nobody_is_analysed_who_did_not_ask(bench: Bench) -> None:
    assert stats(bench, analytics=False).analytics is None


# ── memories ──


def test_memories_are_counted_by_what_they_are(bench: Bench) -> None:
    remember(bench, "a", kind="message", role="user", group="g")
    remember(bench, "b", kind="message", role="tool", group="g", vector=VECTOR)
    remember(bench, "c", kind="episode", vector=VECTOR, model="m")
    bench.set("plain")
    found = analytics(bench)
    assert (found.memories, found.kinds) == (3, {"message": 2, "episode": 1})
    assert found.roles == {"user": 1, "tool": 1, "none": 1}
    assert found.embedding == {"skipped": 1, "completed": 2}
    assert found.models == [ModelUse("m", 2, 1), ModelUse("own", 2, 1)]


def test_the_archived_are_counted_apart(bench: Bench) -> None:
    remember(bench, "old", age=31, role="tool")
    remember(bench, "young")
    bench.ask(op.RetentionRun())
    assert (analytics(bench).memories, analytics(bench).archived) == (2, 1)


def test_the_conversations_with_the_most_messages_come_first(bench: Bench) -> None:
    for number in range(12):
        for place in range(1 + number % 4):
            remember(bench, f"{number}/{place}", kind="message", group=f"g{number:02}", age=number)
    for number in range(9):
        remember(bench, f"episode/{number}", kind="episode", group="a task")
    talks = analytics(bench).conversations
    assert len(talks) == 10
    assert talks[:2] == [Talk("g03", 4, bench.clock.now() - 3 * DAY), Talk("g07", 4, bench.clock.now() - 7 * DAY)]


def test_days_are_those_on_which_it_happened(bench: Bench) -> None:
    bench.clock.time -= bench.clock.time % DAY
    today = bench.clock.now()
    for key, age in (("a", 0), ("b", 1), ("c", 0.5), ("d", 29), ("e", 29.5), ("f", -1)):
        remember(bench, key, age=age)
    assert analytics(bench).stored == [Day(today - 29 * DAY, 1), Day(today - DAY, 2), Day(today, 1)]


def test_what_is_expired_or_another_ones_is_not_there(bench: Bench) -> None:
    other = bench.someone("other", PLAIN, max_ttl=365 * DAY)
    remember(bench, "k", kind="message", group="g", ttl=1000, vector=VECTOR)
    remember(bench, "k", kind="message", group="g", vector=VECTOR, caller=other)
    serve(bench, op.Get(key="k"), caller=other)
    bench.clock.advance(ms=1000)
    found = analytics(bench)
    assert (found.memories, found.kinds, found.embedding, found.stored) == (0, {}, {}, [])
    assert (found.conversations, found.models, found.hours, found.days) == ([], [], [], [])
    assert analytics(bench, other).memories == 1


# ── usage ──


def test_requests_are_counted_by_hour_and_by_day(bench: Bench) -> None:
    bench.clock.time -= bench.clock.time % DAY
    start = bench.clock.now()
    serve(bench, op.Get(key="k"), op.Get(key="k"), op.Set(), op.Search(), op.Ping())
    assert analytics(bench).hours == [Usage(start, reads=2, writes=1, searches=1)]
    bench.clock.advance(ms=HOUR)
    serve(bench, op.Get(key="k"))
    serve(bench, op.Get(key="k"), refused=True)
    found = analytics(bench)
    assert found.hours == [Usage(start, 2, 1, 1), Usage(start + HOUR, 1, 0, 0, 1)]
    assert found.days == [Usage(start, 3, 1, 1, 1)]
    assert analytics(bench).hours == found.hours


def test_who_has_scope_admin_sees_all_together(bench: Bench) -> None:
    other = bench.someone("other", PLAIN)
    serve(bench, op.Get(key="k"))
    serve(bench, op.Get(key="k"), caller=other)
    assert analytics(bench, other).hours[0].reads == 1
    assert analytics(bench, bench.someone("third")).hours[0].reads == 2


def test_hours_end_after_a_week_and_days_after_a_quarter(bench: Bench) -> None:
    for _ in range(100):
        serve(bench, op.Get(key="k"))
        bench.engine.observer.look()
        bench.clock.advance(ms=DAY)
    found = analytics(bench)
    now = bench.clock.now()
    assert (len(found.hours), len(found.days)) == (6, 89)
    assert min(each.at for each in found.hours) > now - KEPT[HOUR]
    kept = bench.engine.observer._history._kept["default"]
    assert (len(kept[HOUR]) <= 8, len(kept[DAY]) <= 91) == (True, True)


def test_only_so_many_namespaces_have_a_history_of_their_own(bench: Bench) -> None:
    for number in range(MAX_NAMESPACES + 5):
        serve(bench, op.Get(key="k"), caller=bench.someone(f"n{number}", PLAIN))
    history = History()
    history.look(bench.engine.observer._meters, bench.clock.now())
    assert len(history._kept) == MAX_NAMESPACES + 1
    assert history.usage(None, DAY, bench.clock.now())[0].reads == MAX_NAMESPACES + 5


def test_a_trend_compares_with_the_time_before(bench: Bench) -> None:
    bench.clock.time -= bench.clock.time % DAY
    for count in (3, 2):
        serve(bench, *[op.Get(key="k")] * count)
        bench.engine.observer.look()
        bench.clock.advance(ms=DAY)
    bench.clock.advance(ms=-DAY)
    for number, age in enumerate((0, 1, 1, 6, 7, 13, 14)):
        remember(bench, f"k{number}", age=age)
    assert analytics(bench).trends == [
        Trend("requests", 1, 2, 3),
        Trend("requests", 7, 5, 0),
        Trend("memories", 1, 1, 2),
        Trend("memories", 7, 4, 2),
    ]
