from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_daemon.keys import Caller, Peer
from stash_daemon.observe import Observer
from stash_daemon.observe.lines import EVENTS, REFUSALS
from stash_daemon.observe.metrics import LATENCY_BOUNDS, PAYLOAD_BOUNDS, TTL_BOUNDS, Histogram
from stash_daemon.settings import SHIPPED_TIERS, Settings
from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.errors import BadRequest, NotFound, RateLimited, StashError
from tests.support.clock import ManualClock

OBSERVABILITY = Path(__file__).parents[3] / "docs/observability.md"
PEER = Peer("uid:1000")
ENTRY = replies.Entry("k", "text", 3, 1, 60_000, 9, 5, 5)
ALIVE = {"entries": 3, "bytes": 4096, "namespaces": 2}


def someone(namespace: str, tier: int = 1) -> Caller:
    return Caller(namespace=namespace, tier=SHIPPED_TIERS[tier], scopes=frozenset(), api_key_name=namespace)


class House:
    """An observer that saw two namespaces and a stranger."""

    def __init__(self) -> None:
        self.observer = Observer(Settings(log_level="ERROR"), ManualClock())

    def serve(
        self,
        caller: Caller | None,
        request: op.Request | None,
        error: StashError | None = None,
        reply: Any = ENTRY,
        **changes: int,
    ) -> None:
        fields = {"payload_bytes": 0, "duration_ns": 40_000, **changes}
        self.observer.served(
            request, caller, PEER, request_id=(1, 1), reply=None if error else reply, error=error, **fields
        )


@pytest.fixture
def house() -> House:
    house = House()
    red, blue = someone("red"), someone("blue", tier=2)
    for _ in range(3):
        house.serve(red, op.Get(key="k"), payload_bytes=100, duration_ns=40_000)
    house.serve(red, op.Get(key="k"), NotFound("no"))
    house.serve(red, op.Set(key="k"), payload_bytes=5_000)
    house.serve(blue, op.Get(key="k"), payload_bytes=7, duration_ns=3_000_000)
    house.serve(blue, op.Set(key="k"), RateLimited("no"))
    house.serve(blue, op.Extend(key="k", by_ms=1), reply=replies.Remaining(7_200_000, 9, 2))
    house.serve(None, None, BadRequest("no"))
    house.observer.connections += 2
    house.observer.swept(10, 1_000)
    house.observer.pruned(4)
    house.observer.evicted("red", "k", 1)
    house.observer.auth_failed(PEER)
    house.observer.embedding.queue = 7
    house.observer.embedding.completed += 3
    house.observer.embedding.called(30_000_000, failed=False)
    house.observer.embedding.called(2_000_000, failed=True)
    return house


def test_requests_are_counted_by_operation_tier_and_outcome(house: House) -> None:
    counts = {(c["op"], c["tier"], c["outcome"]): c["count"] for c in house.observer.figures(None)["requests"]}
    assert counts == {
        ("get", "free", "ok"): 3,
        ("get", "free", "not_found"): 1,
        ("get", "pro", "ok"): 1,
        ("set", "free", "ok"): 1,
        ("set", "pro", "rate_limited"): 1,
        ("extend", "pro", "ok"): 1,
        ("unreadable", "", "bad_request"): 1,
    }


def test_the_whole_has_all_figures(house: House) -> None:
    figures = house.observer.figures(None)
    assert {name: figures[name] for name in figures if isinstance(figures[name], int)} == {
        "hits": 4,
        "misses": 1,
        "rate_limited": 1,
        "expired": 10,
        "expired_bytes": 1_000,
        "pruned": 4,
        "evicted": 1,
        "authentication_failures": 1,
        "connections": 2,
    }
    assert figures["namespaces"] == {"blue": 3, "red": 5}
    assert figures["latency_ms"]["get"]["count"] == 5
    assert figures["latency_ms"]["get"]["p50"] == 0.05
    assert figures["latency_ms"]["get"]["p99"] == 5.0
    assert figures["payload_bytes"]["get"]["count"] == 4
    assert figures["ttl_seconds"]["count"] == 2
    embedding = figures["embedding"]
    assert (embedding["queue"], embedding["completed"], embedding["failed"], embedding["failed_calls"]) == (7, 3, 0, 1)
    assert embedding["latency_ms"]["mean"] == 16.0
    assert json.loads(json.dumps(figures)) == figures


def test_a_namespace_sees_its_own_figures_and_nothing_of_others(house: House) -> None:
    blue = house.observer.figures("blue")
    assert (blue["hits"], blue["misses"], blue["rate_limited"]) == (1, 0, 1)
    assert sum(request["count"] for request in blue["requests"]) == 3
    lonely = House()
    lonely.serve(someone("blue", tier=2), op.Get(key="k"), payload_bytes=7, duration_ns=3_000_000)
    lonely.serve(someone("blue", tier=2), op.Set(key="k"), RateLimited("no"))
    lonely.serve(someone("blue", tier=2), op.Extend(key="k", by_ms=1), reply=replies.Remaining(7_200_000, 9, 2))
    assert lonely.observer.figures("blue") == blue


def test_a_namespace_nobody_used_looks_like_an_absent_one(house: House) -> None:
    assert house.observer.figures("green") == House().observer.figures("red")
    assert "green" not in house.observer.figures(None)["namespaces"]


SAMPLE = re.compile(r'[a-z_]+(\{([a-z]+="(\\.|[^"\\\n])*",?)*\})? -?[0-9.e+-]+')


def test_prometheus_text_is_well_formed_and_complete(house: House) -> None:
    text = house.observer.prometheus(ALIVE, 3)
    names = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            assert line.split()[2] not in names
            names.add(line.split()[2])
        elif not line.startswith("# HELP "):
            assert SAMPLE.fullmatch(line), line
            assert re.sub(r"_(bucket|sum|count)$", "", re.split(r"[{ ]", line)[0]) in names
    assert text.endswith("\n")
    for sample in (
        'stash_requests_total{op="get",tier="free",outcome="ok"} 3',
        "stash_hits_total 4",
        "stash_misses_total 1",
        'stash_request_duration_seconds_bucket{op="get",le="5e-05"} 4',
        'stash_request_duration_seconds_bucket{op="get",le="+Inf"} 5',
        'stash_request_duration_seconds_count{op="get"} 5',
        'stash_payload_bytes_sum{op="get"} 307.0',
        'stash_ttl_seconds_bucket{le="60"} 1',
        "stash_entries 3",
        "stash_bytes 4096",
        "stash_namespaces 2",
        "stash_connections 2",
        "stash_waiting 3",
        "stash_expired_total 10",
        "stash_pruned_total 4",
        "stash_evicted_total 1",
        "stash_embedding_queue 7",
        "stash_embedded_total 3",
        "stash_embedder_failures_total 1",
        'stash_embedder_duration_seconds_bucket{le="0.05"} 2',
        "stash_rate_limited_total 1",
        "stash_authentication_failures_total 1",
        'stash_lines_lost_total{file="log"} 0',
    ):
        assert sample in text.splitlines(), sample


def test_a_tier_with_an_odd_name_breaks_no_line() -> None:
    house = House()
    caller = someone("n")
    caller.tier = type(caller.tier)(name='a"\n\\b', max_value=1, default_ttl=1, max_ttl=1, quota=1)
    house.serve(caller, op.Get(key="k"))
    assert 'tier="a\\"\\n\\\\b"' in house.observer.prometheus(ALIVE, 3)


bounds = st.sampled_from([LATENCY_BOUNDS, PAYLOAD_BOUNDS, TTL_BOUNDS])


@given(bounds=bounds, values=st.lists(st.integers(0, 10**11)), more=st.lists(st.integers(0, 10**11)))
def test_a_histogram_counts_what_is_at_most_each_bound(
    bounds: tuple[int, ...], values: list[int], more: list[int]
) -> None:
    histogram, other = Histogram(bounds), Histogram(bounds)
    for value in values:
        histogram.add(value)
    for value in more:
        other.add(value)
    histogram.merge(other)
    everything = values + more
    assert list(histogram.cumulative()) == [(bound, sum(v <= bound for v in everything)) for bound in bounds]
    assert (histogram.count, histogram.total) == (len(everything), sum(everything))


@given(bounds=bounds, values=st.lists(st.integers(0, 10**11), min_size=1), part=st.floats(0.01, 1))
def test_a_quantile_is_the_bound_the_exact_one_lies_under(
    bounds: tuple[int, ...], values: list[int], part: float
) -> None:
    histogram = Histogram(bounds)
    for value in values:
        histogram.add(value)
    quantile = histogram.quantile(part)
    assert sum(value <= quantile for value in values) >= part * len(values) or quantile == bounds[-1]


def test_the_page_of_the_docs_names_every_figure_metric_and_event(house: House) -> None:
    text = OBSERVABILITY.read_text()
    named = set(re.findall(r"`([a-z_]+)`", text))
    metrics = {
        line.split()[2] for line in house.observer.prometheus(ALIVE, 3).splitlines() if line.startswith("# TYPE")
    }
    assert set(house.observer.figures(None)) <= named
    assert metrics <= named
    assert {*EVENTS.values(), *(event for _, event in REFUSALS.values())} <= named
