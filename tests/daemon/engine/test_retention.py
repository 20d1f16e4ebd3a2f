from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stash_daemon.engine.core import Aside, Reply
from stash_daemon.keys import Caller
from stash_daemon.observe import Observer
from stash_daemon.rules import read_rules
from stash_daemon.settings import Settings
from stash_protocol import operations as op
from stash_protocol.memories import Filter, Memory
from stash_protocol.retention import Chosen, Retained, RetentionState
from tests.support.engine import Bench

DAY = 86_400_000  # milliseconds
TTL = 200 * DAY


@pytest.fixture
def bench() -> Bench:
    return Bench(max_ttl=365 * DAY)


_chosen = msgspec.msgpack.Decoder(list[Chosen]).decode


def remember(bench: Bench, key: str, *, age: float = 0, caller: Caller | None = None, **memory: Any) -> None:
    """A memory that matters little, once it is old."""
    what = {"text": "short", "role": "tool", "at": bench.clock.now() - round(age * DAY), **memory}
    fields = {name: what.pop(name) for name in ("ttl_ms", "tags") if name in what}
    bench.set(key, b"value", caller, **{"ttl_ms": TTL, **fields}, memory=Memory(**what))


def run(bench: Bench, caller: Caller | None = None, *, dry: bool = False) -> Retained:
    body = bench.ask(op.RetentionRun(dry_run=dry), caller=caller).body
    assert isinstance(body, Retained)
    return body


def chosen(bench: Bench, *, dry: bool = True) -> dict[str, tuple[str, str]]:
    rows = _chosen(bench.ask(op.RetentionRun(dry_run=dry, report=True)).payload)
    return {row.key: (row.action, row.rule) for row in rows}


def follow(bench: Bench, *rules: dict[str, Any]) -> None:
    bench.engine.settings.rules = read_rules("config.toml", list(rules))


def state(bench: Bench, caller: Caller | None = None) -> RetentionState:
    body = bench.ask(op.GetRetention(), caller=caller).body
    assert isinstance(body, RetentionState)
    return body


def scheduled(bench: Bench) -> None:
    """A run of the daemon's own."""
    for step in drive(bench):
        if isinstance(step, Aside):
            step.work()


def drive(bench: Bench) -> Any:
    steps = bench.engine.retain()
    while True:
        bench.engine.begin()
        try:
            step = next(steps)
        except StopIteration:
            return
        finally:
            bench.engine.commit()
        yield step


# ── the two rules that always stand ──


def test_what_is_old_and_matters_little_is_archived_and_out_of_search(bench: Bench) -> None:
    remember(bench, "old", age=30.1)
    remember(bench, "young", age=29.9)
    remember(bench, "important", age=30.1, importance=0.35)
    done = run(bench)
    assert (done.looked, done.archived, done.deleted, done.rules) == (3, 1, 0, {"archive_after": 1})
    assert sorted(bench.find().keys) == ["important", "young"]
    assert sorted(bench.find(filter=Filter(archived=True)).keys) == ["important", "old", "young"]
    assert bench.get("old") == b"value"
    assert run(bench).archived == 0


def test_importance_is_what_search_says_it_is(bench: Bench) -> None:
    for role in ("user", "system", "assistant", "tool"):
        remember(bench, role, age=31, role=role)
    computed = {hit.entry.key: hit.importance for hit in bench.find().hits}
    run(bench)
    assert sorted(bench.find().keys) == sorted(key for key, value in computed.items() if value >= 0.35)
    assert 0 < len(bench.find().keys) < 4


def test_what_was_archived_long_enough_is_deleted_and_its_watchers_are_told(bench: Bench) -> None:
    told: list[tuple[str, str]] = []
    bench.engine.events.subscribe("default", "", lambda event: told.append((event.event, event.key)))
    remember(bench, "k", age=31)
    run(bench)
    bench.clock.advance(ms=30 * DAY)
    assert run(bench).deleted == 0
    bench.clock.advance(ms=1)
    done = run(bench)
    assert (done.deleted, done.bytes, done.rules) == (1, len(b"value") + len("short"), {"delete_after": 1})
    assert bench.keys() == []
    assert told == [("set", "k"), ("forget", "k")]


def test_what_is_no_memory_is_left_alone(bench: Bench) -> None:
    bench.set("plain", ttl_ms=TTL)
    bench.clock.advance(ms=100 * DAY)
    assert run(bench) == Retained(began_at=bench.clock.now())
    assert bench.keys() == ["plain"]


def test_both_can_be_set_off(bench: Bench) -> None:
    remember(bench, "k", age=31)
    bench.engine.settings.retention_archive_after = None
    assert run(bench).archived == 0
    bench.engine.settings.retention_archive_after = DAY
    bench.engine.settings.retention_delete_after = None
    run(bench)
    bench.clock.advance(ms=100 * DAY)
    assert (run(bench).deleted, [rule.name for rule in state(bench).rules]) == (0, ["archive_after"])


def test_what_is_written_anew_is_archived_no_more(bench: Bench) -> None:
    remember(bench, "k", age=31)
    run(bench)
    remember(bench, "k")
    bench.clock.advance(ms=10 * DAY)
    assert bench.find().keys == ["k"]


# ── rules ──


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ({"older_than": "5d"}, {"old"}),
        ({"importance_below": 0.2}, {"little"}),
        ({"importance_from": 0.9}, {"much"}),
        ({"roles": ["assistant", "system"]}, {"assistant"}),
        ({"tags": ["t", "other"]}, {"tagged"}),
        ({"groups": "g"}, {"grouped"}),
        ({"groups": ["g"], "tags": "t"}, set()),
    ],
)
def test_each_condition_chooses_what_it_says(bench: Bench, condition: dict[str, Any], wanted: set[str]) -> None:
    remember(bench, "old", age=6, importance=0.5)
    remember(bench, "little", importance=0.1)
    remember(bench, "much", importance=0.9)
    remember(bench, "assistant", role="assistant", importance=0.5)
    remember(bench, "tagged", tags=["a", "t"], importance=0.5)
    remember(bench, "grouped", group="g", importance=0.5)
    remember(bench, "grouped/else", group="gg", importance=0.5)
    follow(bench, {"action": "delete", **condition})
    assert set(chosen(bench)) == wanted
    assert run(bench).deleted == len(wanted)


def test_the_first_rule_that_fits_decides(bench: Bench) -> None:
    remember(bench, "k", age=31, tags=["t"])
    remember(bench, "l", age=31)
    spare = {"action": "extend", "tags": "t", "keep": "1d", "name": "spared"}
    follow(bench, spare, {"action": "delete", "older_than": "1d", "name": "gone"})
    assert chosen(bench) == {"l": ("delete", "gone")}
    run(bench)
    assert bench.find().keys == ["k"]


def test_extend_sees_that_a_memory_has_so_much_left_and_no_more(bench: Bench) -> None:
    remember(bench, "short", ttl_ms=DAY)
    remember(bench, "long", ttl_ms=100 * DAY)
    follow(bench, {"action": "extend", "roles": "tool", "keep": "90d"})
    done = run(bench)
    assert (done.looked, done.extended) == (2, 1)
    assert bench.ask(op.Ttl(key="short")).body.ttl_ms == 90 * DAY  # type: ignore[attr-defined]
    assert bench.ask(op.Ttl(key="long")).body.ttl_ms == 100 * DAY  # type: ignore[attr-defined]
    assert run(bench).extended == 0
    bench.clock.advance(ms=90 * DAY - 1)
    assert bench.find().keys != []


def test_what_is_said_of_a_conversation_lives_as_long_as_its_extended_messages(bench: Bench) -> None:
    remember(bench, "m", kind="message", group="g", ttl_ms=DAY)
    bench.set("conversation/g", b"{}", ttl_ms=DAY)
    follow(bench, {"action": "extend", "groups": "g", "keep": "90d"})
    assert run(bench).extended == 1
    assert bench.ask(op.Ttl(key="conversation/g")).body.ttl_ms == 90 * DAY  # type: ignore[attr-defined]


def test_the_tiers_longest_ttl_bounds_what_extend_gives(bench: Bench) -> None:
    remember(bench, "k", ttl_ms=DAY)
    follow(bench, {"action": "extend", "roles": "tool", "keep": "90d"})
    run(bench, bench.someone("default", max_ttl=7 * DAY))
    assert bench.ask(op.Ttl(key="k")).body.ttl_ms == 7 * DAY  # type: ignore[attr-defined]


def test_what_is_expired_is_not_given_back(bench: Bench) -> None:
    remember(bench, "k", ttl_ms=DAY)
    follow(bench, {"action": "extend", "roles": "tool", "keep": "90d"})
    bench.clock.advance(ms=DAY)
    assert run(bench) == Retained(began_at=bench.clock.now())
    assert bench.keys() == []


# ── a run ──


def test_a_dry_run_says_what_it_would_do_and_does_nothing(bench: Bench) -> None:
    remember(bench, "k", age=31)
    before = bench.ask(op.Ttl(key="k")).body
    assert (run(bench, dry=True).archived, chosen(bench)) == (1, {"k": ("archive", "archive_after")})
    assert (bench.find().keys, bench.ask(op.Ttl(key="k")).body, state(bench).last) == (["k"], before, None)


def test_many_are_reached_piece_by_piece(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stash_daemon.engine.retention.LOOKS", 7)
    for number in range(50):  # some of them expire at the same time
        remember(bench, f"{number:02}", age=31, ttl_ms=TTL + number % 3)
    follow(bench, {"action": "extend", "keep": "300d", "tags": "none"})
    assert run(bench).archived == 50
    follow(bench, {"action": "extend", "keep": "300d", "roles": "tool"})
    done = run(bench)
    assert (done.looked, done.extended) == (50, 50)


@pytest.mark.parametrize("change", ["update", "forget", "expire", "replace"])
def test_what_changes_after_it_was_judged_is_left_alone(bench: Bench, change: str) -> None:
    remember(bench, "k", age=31, ttl_ms=DAY)
    follow(bench, {"action": "delete", "older_than": "1d"})
    steps = bench.engine.steps(op.RetentionRun(), b"", bench.caller)
    aside = next(steps)
    assert isinstance(aside, Aside)
    aside.work()
    if change == "update":
        bench.ask(op.Update(key="k", type="text"), b"new")
    elif change == "forget":
        bench.ask(op.Forget(keys=["k"]))
    elif change == "replace":
        bench.ask(op.Forget(keys=["k"]))
        remember(bench, "k", age=31)
    else:
        bench.clock.advance(ms=DAY)
    bench.engine.begin()
    *_, reply = steps
    bench.engine.commit()
    assert isinstance(reply, Reply)
    assert (reply.body.deleted, reply.body.skipped) == (0, 1)  # type: ignore[attr-defined]
    assert bench.keys() == (["k"] if change in ("update", "replace") else [])


def test_the_last_run_is_kept_and_shown_to_its_own_namespace(bench: Bench) -> None:
    other = bench.someone("other", max_ttl=365 * DAY)
    remember(bench, "k", age=31)
    remember(bench, "k", age=1, caller=other)
    done = run(bench)
    assert (state(bench).last, state(bench, other).last) == (done, None)
    assert bench.find(caller=other).keys == ["k"]


# ── the daemon's own runs ──


def test_a_scheduled_run_reaches_every_namespace_and_says_when_the_next_is(bench: Bench) -> None:
    other = bench.someone("other", max_ttl=365 * DAY)
    remember(bench, "k", age=31)
    remember(bench, "l", age=31, caller=other)
    assert bench.engine.next_retention() == bench.engine.started
    bench.clock.advance(ms=1000)
    scheduled(bench)
    assert bench.find().keys == bench.find(caller=other).keys == []
    assert bench.engine.next_retention() == bench.clock.now() + DAY
    last = state(bench, other).last
    assert last is not None
    assert (last.archived, last.scheduled) == (1, True)
    assert bench.engine.observer.figures(None)["retention"] == {"runs": 2, "archived": 2, "deleted": 0, "extended": 0}
    assert "stash_retention_archived_total 2" in bench.engine.observer.prometheus(
        {"entries": 0, "bytes": 0, "namespaces": 0}, 0
    )


def test_a_scheduled_run_is_in_the_audit_with_its_counts(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    settings = Settings(backend="memory", audit_log=str(path))
    bench = Bench(max_ttl=365 * DAY)
    bench.engine.observer = Observer(settings, bench.clock)
    remember(bench, "k", age=31)
    run(bench)
    bench.clock.advance(ms=31 * DAY)
    scheduled(bench)
    bench.engine.close()
    files = tmp_path.glob("audit.jsonl*")  # it is rotated at midnight
    [line] = [json.loads(text) for file in files for text in file.read_text().splitlines()]  # the door audits who asks
    assert (line["op"], line["namespace"], line["outcome"]) == ("retention_run", "default", "ok")
    assert (line["archived"], line["deleted"], line["extended"], line["bytes"]) == (0, 1, 0, 10)


def test_a_scheduled_run_extends_nothing_that_nobody_may_reach_any_more(bench: Bench) -> None:
    remember(bench, "k", ttl_ms=DAY)
    remember(bench, "l", ttl_ms=DAY, caller=bench.someone("nobody", max_ttl=365 * DAY))
    follow(bench, {"action": "extend", "roles": "tool", "keep": "30d"})
    scheduled(bench)
    assert bench.ask(op.Ttl(key="k")).body.ttl_ms == 30 * DAY  # type: ignore[attr-defined]
    assert bench.ask(op.Ttl(key="l"), caller=bench.someone("nobody")).body.ttl_ms == DAY  # type: ignore[attr-defined]


def test_it_is_never_due_when_it_is_set_off(bench: Bench) -> None:
    bench.engine.settings.retention_every = None
    assert (bench.engine.next_retention(), state(bench).next_at, state(bench).every_ms) == (None, None, None)
