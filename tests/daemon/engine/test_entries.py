"""set, get, update, extend, forget, ttl and exists, as the engine means them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stash_daemon.engine import entries
from stash_daemon.settings import DAY, HOUR
from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.errors import BadRequest, Conflict, Forbidden, NotFound, OverQuota, TooLarge
from tests.support.engine import Bench

MINUTE = 60_000


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.engine.close()


def test_a_value_comes_back_bit_for_bit(bench: Bench) -> None:
    value = bytes(range(256)) * 5
    bench.set("k", value)
    assert bench.get("k") == value


def test_an_empty_value_is_a_value(bench: Bench) -> None:
    bench.set("k", b"")
    assert bench.get("k") == b""


def test_an_entry_says_when_it_was_written_and_when_it_ends(bench: Bench) -> None:
    entry = bench.set("k", b"abc", ttl_ms=MINUTE, type="text")
    now = bench.clock.now()
    assert entry == replies.Entry("k", "text", 3, 1, MINUTE, now + MINUTE, now, now)


def test_without_a_ttl_the_tiers_default_holds(bench: Bench) -> None:
    assert bench.set("k").ttl_ms == HOUR


def test_a_ttl_beyond_the_tiers_maximum_is_refused_and_nothing_is_stored(bench: Bench) -> None:
    with pytest.raises(BadRequest, match="1d"):
        bench.set("k", ttl_ms=DAY + 1)
    with pytest.raises(NotFound):
        bench.get("k")


def test_an_entry_is_there_until_its_last_millisecond_and_not_at_its_end(bench: Bench) -> None:
    bench.set("k", ttl_ms=MINUTE)
    bench.clock.advance(ms=MINUTE - 1)
    assert bench.get("k") == b"v"
    bench.clock.advance(ms=1)
    with pytest.raises(NotFound):
        bench.get("k")


@pytest.mark.parametrize(
    "request_",
    [
        op.Get(key="k"),
        op.Get(key="k", touch=True),
        op.Update(key="k", extend_ms=HOUR),
        op.Extend(key="k", by_ms=HOUR),
        op.Ttl(key="k"),
    ],
    ids=lambda request: type(request).__name__,
)
def test_an_expired_entry_answers_as_one_that_never_was(bench: Bench, request_: op.Request) -> None:
    with pytest.raises(NotFound) as never:
        bench.ask(request_)
    bench.set("k", ttl_ms=MINUTE)
    bench.clock.advance(ms=MINUTE)
    with pytest.raises(NotFound) as expired:
        bench.ask(request_)
    assert str(expired.value) == str(never.value)
    bench.sweep()
    with pytest.raises(NotFound) as swept:
        bench.ask(request_)
    assert str(swept.value) == str(never.value)


def test_a_set_on_an_expired_key_makes_a_new_entry(bench: Bench) -> None:
    bench.set("k", ttl_ms=MINUTE)
    bench.clock.advance(ms=MINUTE)
    entry = bench.set("k", b"new", if_absent=True)
    assert entry.created_at == bench.clock.now()
    assert entry.version > 1


def test_a_set_on_a_live_key_replaces_it_and_keeps_when_it_was_created(bench: Bench) -> None:
    first = bench.set("k")
    bench.clock.advance(seconds=5)
    second = bench.set("k", b"w", type="json", ttl_ms=MINUTE)
    assert (second.created_at, second.updated_at) == (first.created_at, bench.clock.now())
    assert (second.version, second.ttl_ms, second.type) == (2, MINUTE, "json")


def test_a_version_never_comes_back_with_another_value(bench: Bench) -> None:
    seen = bench.set("k").version
    bench.ask(op.Forget(keys=["k"]))
    assert bench.set("k", b"other").version > seen
    bench.clock.advance(ms=HOUR)
    bench.sweep()
    assert bench.set("k", b"third").version > seen + 1


def test_a_read_does_not_renew(bench: Bench) -> None:
    expires_at = bench.set("k").expires_at
    bench.clock.advance(ms=MINUTE)
    bench.get("k")
    assert bench.ask(op.Ttl(key="k")).body.expires_at == expires_at


def test_touch_restores_the_entrys_own_ttl(bench: Bench) -> None:
    bench.set("k", ttl_ms=MINUTE)
    bench.clock.advance(ms=MINUTE - 1)
    assert bench.ask(op.Get(key="k", touch=True)).body.ttl_ms == MINUTE
    assert bench.ask(op.Ttl(key="k")).body.ttl_ms == MINUTE


def test_touch_never_goes_beyond_the_tiers_maximum_and_never_shortens(bench: Bench) -> None:
    bench.set("k", ttl_ms=2 * HOUR)
    small = bench.someone("default", max_ttl=HOUR)
    bench.clock.advance(ms=HOUR + HOUR // 2)
    assert bench.ask(op.Get(key="k", touch=True), caller=small).body.ttl_ms == HOUR
    bench.ask(op.Extend(key="k", by_ms=5 * HOUR))
    assert bench.ask(op.Get(key="k", touch=True), caller=small).body.ttl_ms == 6 * HOUR


def test_touch_needs_scope_write(bench: Bench) -> None:
    reader = bench.someone("default", frozenset({"read"}))
    bench.set("k")
    with pytest.raises(Forbidden):
        bench.ask(op.Get(key="k", touch=True), caller=reader)


def test_extend_adds_to_the_remaining_time(bench: Bench) -> None:
    bench.set("k", ttl_ms=MINUTE)
    bench.clock.advance(ms=MINUTE // 2)
    assert bench.ask(op.Extend(key="k", by_ms=MINUTE)).body.ttl_ms == MINUTE + MINUTE // 2


def test_a_hundred_extends_add_up(bench: Bench) -> None:
    bench.set("k", ttl_ms=MINUTE)
    for _ in range(100):
        bench.ask(op.Extend(key="k", by_ms=1000))
    assert bench.ask(op.Ttl(key="k")).body.ttl_ms == MINUTE + 100_000


def test_extend_is_clamped_at_the_tiers_maximum_and_says_so(bench: Bench) -> None:
    bench.set("k")
    remaining = bench.ask(op.Extend(key="k", by_ms=30 * DAY)).body
    assert (remaining.ttl_ms, remaining.clamped) == (DAY, True)


def test_extend_under_a_smaller_tier_never_shortens(bench: Bench) -> None:
    bench.set("k", ttl_ms=10 * HOUR)
    remaining = bench.ask(op.Extend(key="k", by_ms=HOUR), caller=bench.someone("default", max_ttl=HOUR)).body
    assert (remaining.ttl_ms, remaining.clamped) == (10 * HOUR, True)


def test_update_keeps_the_time_unless_told_to_extend(bench: Bench) -> None:
    before = bench.set("k", ttl_ms=MINUTE)
    bench.clock.advance(seconds=10)
    after = bench.ask(op.Update(key="k", type="text"), b"new").body
    assert (after.expires_at, after.version, after.updated_at) == (before.expires_at, 2, bench.clock.now())
    assert bench.get("k") == b"new"


def test_update_changes_value_and_time_in_one_step(bench: Bench) -> None:
    bench.set("k", ttl_ms=MINUTE)
    after = bench.ask(op.Update(key="k", type="text", extend_ms=MINUTE), b"new").body
    assert (after.ttl_ms, after.version, bench.get("k")) == (2 * MINUTE, 2, b"new")


def test_update_of_the_time_alone_keeps_the_value(bench: Bench) -> None:
    bench.set("k", b"old", ttl_ms=MINUTE)
    after = bench.ask(op.Update(key="k", extend_ms=MINUTE)).body
    assert (after.ttl_ms, after.size, bench.get("k")) == (2 * MINUTE, 3, b"old")


@pytest.mark.parametrize(("request_", "payload"), [(op.Update(key="k"), b""), (op.Update(key="k", extend_ms=1), b"x")])
def test_an_update_that_says_neither_or_a_value_without_its_type_is_refused(
    bench: Bench, request_: op.Update, payload: bytes
) -> None:
    bench.set("k", b"old")
    with pytest.raises(BadRequest):
        bench.ask(request_, payload)
    assert bench.get("k") == b"old"


def test_if_absent_refuses_a_live_key_and_changes_nothing(bench: Bench) -> None:
    bench.set("k", b"old")
    with pytest.raises(Conflict):
        bench.set("k", b"new", if_absent=True)
    assert bench.get("k") == b"old"


@pytest.mark.parametrize("version", [2, 7])
def test_if_version_refuses_any_other_version_and_changes_nothing(bench: Bench, version: int) -> None:
    bench.set("k", b"old")
    with pytest.raises(Conflict):
        bench.set("k", b"new", if_version=version)
    with pytest.raises(Conflict):
        bench.ask(op.Update(key="k", type="bytes", if_version=version), b"new")
    assert bench.get("k") == b"old"


def test_if_version_lets_exactly_that_version_be_written(bench: Bench) -> None:
    bench.set("k", b"old")
    assert bench.set("k", b"new", if_version=1).version == 2


def test_if_version_on_an_absent_key_is_a_conflict(bench: Bench) -> None:
    with pytest.raises(Conflict):
        bench.set("k", if_version=1)


def test_forget_counts_the_live_entries_it_deleted(bench: Bench) -> None:
    bench.set("a")
    bench.set("b", ttl_ms=1)
    bench.clock.advance(ms=1)
    assert bench.ask(op.Forget(keys=["a", "a", "b", "c"])).body.forgotten == 1
    assert bench.keys() == []


def test_exists_says_so(bench: Bench) -> None:
    bench.set("k", ttl_ms=5)
    assert bench.ask(op.Exists(key="k")).body.exists
    bench.clock.advance(ms=5)
    assert not bench.ask(op.Exists(key="k")).body.exists


def test_without_a_key_one_of_eight_base62_characters_is_made(bench: Bench) -> None:
    made = [bench.ask(op.Set(), b"v").body.key for _ in range(50)]
    assert len(set(made)) == 50
    assert all(len(key) == 8 and set(key) <= set(entries.BASE62) for key in made)


def test_after_three_collisions_the_key_is_a_uuid(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries.secrets, "choice", lambda _alphabet: "a")
    assert bench.ask(op.Set(), b"1").body.key == "aaaaaaaa"
    second = bench.ask(op.Set(), b"2").body.key
    assert len(second) == 36
    assert (bench.get("aaaaaaaa"), bench.get(second)) == (b"1", b"2")


@pytest.mark.parametrize("key", ["a\0b", "ключ", "🗝", "a\nb", " ", "x" * 2048, "é" * 1024])
def test_a_key_is_any_utf8_of_up_to_2048_bytes(bench: Bench, key: str) -> None:
    bench.set(key, key.encode())
    assert bench.get(key) == key.encode()
    assert bench.keys() == [key]


@pytest.mark.parametrize("key", ["é" * 1025, "\ud800"])
def test_a_key_that_is_too_long_in_bytes_or_no_utf8_is_refused(bench: Bench, key: str) -> None:
    with pytest.raises(BadRequest):
        bench.set(key)


def test_a_value_over_the_tiers_limit_is_refused_before_and_after_it_arrived(bench: Bench) -> None:
    tiny = bench.someone("default", max_value=10)
    bench.set("k", b"old")
    with pytest.raises(TooLarge, match="11"):
        bench.engine.admit(op.Set(key="k"), 11, tiny)
    bench.engine.begin()
    for request in (op.Set(key="k"), op.Update(key="k", type="bytes")):
        with pytest.raises(TooLarge):
            bench.engine.execute(request, b"x" * 11, tiny)
    bench.engine.commit()
    assert bench.get("k") == b"old"


def test_over_quota_is_refused_and_changes_nothing(bench: Bench) -> None:
    small = bench.someone("small", quota=100)
    bench.set("a", b"x" * 60, small)
    with pytest.raises(OverQuota, match="test"):
        bench.set("b", b"x" * 41, small)
    with pytest.raises(OverQuota):
        bench.ask(op.Update(key="a", type="bytes"), b"x" * 101, small)
    bench.set("b", b"x" * 40, small)
    assert bench.get("a", small) == b"x" * 60


def test_what_is_expired_takes_no_room_whether_or_not_it_is_deleted_yet(bench: Bench) -> None:
    small = bench.someone("small", quota=100)
    bench.set("a", b"x" * 100, small, ttl_ms=5)
    bench.clock.advance(ms=5)
    bench.set("b", b"x" * 100, small)
    assert bench.keys(small) == ["b"]


def test_another_namespaces_bytes_do_not_count(bench: Bench) -> None:
    bench.set("a", b"x" * 100, bench.someone("one", quota=100))
    bench.set("a", b"x" * 100, bench.someone("two", quota=100))


def test_evict_soonest_makes_room_by_deleting_what_expires_first(bench: Bench) -> None:
    keen = bench.someone("keen", quota=100, evict="soonest")
    bench.set("late", b"x" * 40, keen, ttl_ms=3000)
    bench.set("soon", b"x" * 40, keen, ttl_ms=1000)
    bench.set("mid", b"x" * 20, keen, ttl_ms=2000)
    bench.set("new", b"x" * 30, keen, ttl_ms=9000)
    assert bench.keys(keen) == ["late", "mid", "new"]


@pytest.mark.parametrize("request_", [op.Update(key="a", type="bytes"), op.Set(key="a", ttl_ms=1000)])
def test_evict_soonest_never_takes_the_entry_that_is_written(bench: Bench, request_: op.Request) -> None:
    keen = bench.someone("keen", quota=1000, evict="soonest")
    bench.set("a", b"x" * 500, keen, ttl_ms=1000)
    bench.set("b", b"x" * 400, keen, ttl_ms=2000)
    bench.ask(request_, b"x" * 900, keen)
    assert (bench.keys(keen), len(bench.get("a", keen))) == (["a"], 900)
    with pytest.raises(OverQuota):
        bench.ask(request_, b"x" * 1001, keen)
    assert len(bench.get("a", keen)) == 900


def test_a_namespace_never_holds_more_than_its_quota_however_often_it_evicts(bench: Bench) -> None:
    keen = bench.someone("keen", quota=1000, evict="soonest")
    for n in range(50):
        bench.set(f"k{n % 7}", b"x" * (100 + 37 * n % 600), keen, ttl_ms=1000 + n * 7919 % 5000)
        usage = bench.engine.store.usage(bench.engine.store.namespace("keen"), bench.clock.now())
        assert usage.bytes <= 1000


def test_evict_soonest_deletes_nothing_where_it_could_not_make_enough_room(bench: Bench) -> None:
    keen = bench.someone("keen", quota=100, evict="soonest")
    bench.set("a", b"x" * 90, keen)
    with pytest.raises(OverQuota):
        bench.set("b", b"x" * 101, keen)
    assert bench.keys(keen) == ["a"]
