"""The figures as Prometheus reads them (text format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stash_daemon.observe.metrics import OK, Embedding, Histogram, Sums, Totals

Labels = Mapping[str, str]


def render(sums: Sums, totals: Totals, alive: Mapping[str, int], waiting: int, lost: Mapping[str, int]) -> str:
    """All figures of the daemon.

    Args:
        sums: of all namespaces.
        totals: of the daemon as a whole.
        alive: ``entries``, ``bytes`` and ``namespaces`` the store holds.
        waiting: gets and watches that wait.
        lost: lines that could not be written, by file (``log``, ``audit``).
    """
    lines: list[str] = []
    for block in (
        _requests(sums),
        _histograms(sums),
        _store(totals, alive, waiting),
        _embedding(totals.embedding),
        _trouble(sums, totals, lost),
    ):
        lines += block
    return "\n".join(lines) + "\n"


def _requests(sums: Sums) -> Iterator[str]:
    yield from _head("stash_requests_total", "counter", "Requests by operation, tier and outcome.")
    for label, count in sorted(sums.requests.items(), key=lambda item: (item[0].op, *item[0][1:])):
        labels = {"op": label.op, "tier": label.tier, "outcome": label.outcome}
        yield _sample("stash_requests_total", labels, count)
    yield from _single(
        "stash_hits_total", "counter", "Reads that found a live entry.", sums.count(op="get", outcome=OK)
    )
    missed = sums.count(op="get", outcome="not_found")
    yield from _single("stash_misses_total", "counter", "Reads that found none.", missed)


def _histograms(sums: Sums) -> Iterator[str]:
    name = "stash_request_duration_seconds"
    yield from _head(name, "histogram", "From the request's arrival to its reply.")
    for op, histogram in sorted(sums.latency.items()):
        yield from _buckets(name, {"op": op}, histogram, 1e9)
    name = "stash_payload_bytes"
    yield from _head(name, "histogram", "Payloads of requests and replies that had one.")
    for op, histogram in sorted(sums.payload.items()):
        yield from _buckets(name, {"op": op}, histogram, 1)
    name = "stash_ttl_seconds"
    yield from _head(name, "histogram", "The time entries had left after set, update and extend.")
    yield from _buckets(name, {}, sums.ttl, 1e3)


def _store(totals: Totals, alive: Mapping[str, int], waiting: int) -> Iterator[str]:
    yield from _single("stash_entries", "gauge", "Live entries.", alive["entries"])
    yield from _single("stash_bytes", "gauge", "Bytes of all live values.", alive["bytes"])
    yield from _single("stash_namespaces", "gauge", "Namespaces with a live entry.", alive["namespaces"])
    yield from _single("stash_connections", "gauge", "Open connections.", totals.connections)
    yield from _single("stash_waiting", "gauge", "Gets and watches that wait.", waiting)
    yield from _single("stash_expired_total", "counter", "Entries deleted after their time.", totals.expired)
    yield from _single("stash_expired_bytes_total", "counter", "Bytes of their values.", totals.expired_bytes)
    yield from _single("stash_pruned_total", "counter", "Live entries deleted by prune's policies.", totals.pruned)
    for name, count in totals.retention.figures().items():
        meaning = "Runs of retention." if name == "runs" else f"Memories that retention {name}."
        yield from _single(f"stash_retention_{name}_total", "counter", meaning, count)
    yield from _single("stash_evicted_total", "counter", "Live entries deleted to make room.", totals.evicted)


def _embedding(embedding: Embedding) -> Iterator[str]:
    yield from _single("stash_embedding_queue", "gauge", "Memories that wait for a vector.", embedding.queue)
    yield from _single("stash_embedded_total", "counter", "Memories that got a vector.", embedding.completed)
    yield from _single("stash_embedding_failed_total", "counter", "Memories that were given up.", embedding.failed)
    failed = embedding.failed_calls
    yield from _single("stash_embedder_failures_total", "counter", "Calls of the embedder that failed.", failed)
    name = "stash_embedder_duration_seconds"
    yield from _head(name, "histogram", "Calls of the embedder.")
    yield from _buckets(name, {}, embedding.latency, 1e9)


def _trouble(sums: Sums, totals: Totals, lost: Mapping[str, int]) -> Iterator[str]:
    refused = sums.count(outcome="rate_limited")
    yield from _single("stash_rate_limited_total", "counter", "Requests refused by a rate limit.", refused)
    failed = totals.auth_failures
    yield from _single("stash_authentication_failures_total", "counter", "Refused API keys.", failed)
    yield from _head("stash_lines_lost_total", "counter", "Lines of a file that could not be written.")
    for file, count in lost.items():
        yield _sample("stash_lines_lost_total", {"file": file}, count)


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"


def _single(name: str, kind: str, meaning: str, value: int) -> Iterator[str]:
    yield from _head(name, kind, meaning)
    yield _sample(name, {}, value)


def _buckets(name: str, labels: Labels, histogram: Histogram, unit: float) -> Iterator[str]:
    for bound, count in histogram.cumulative():
        yield _sample(f"{name}_bucket", {**labels, "le": f"{bound / unit:g}"}, count)
    yield _sample(f"{name}_bucket", {**labels, "le": "+Inf"}, histogram.count)
    yield _sample(f"{name}_sum", labels, histogram.total / unit)
    yield _sample(f"{name}_count", labels, histogram.count)


def _sample(name: str, labels: Labels, value: float) -> str:
    if not labels:
        return f"{name} {value}"
    pairs = ",".join(f'{label}="{_quoted(text)}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {value}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
