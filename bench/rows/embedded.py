"""In this process, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.contenders import directory
from bench.measure import Figure, compare_latency, in_turns
from bench.rows import row
from bench.setting import TTL, VALUE, Bench, check, key, some_keys
from stash_memory import Stash

ENTRIES = 1_000
ROUNDS = 20
AGAINST = "diskcache"


@row("embedded", 'in process (backend="sqlite")')
def embedded(bench: Bench) -> Iterator[Figure]:
    """Both keep their entries in an SQLite file of this process; every write commits."""
    try:
        from diskcache import Cache  # type: ignore[import-untyped]
    except ImportError:
        bench.note("diskcache is left out: it is not installed")
        Cache = None  # noqa: N806
    with directory() as home, Stash(backend="sqlite", path=home / "stash.db") as stash:
        cache = Cache(str(home / "diskcache")) if Cache else None
        sets: dict[str, Callable[[str], object]] = {"stash": lambda name: stash.set(name, VALUE, ttl=TTL)}
        gets: dict[str, Callable[[str], object]] = {"stash": stash.get}
        if cache is not None:
            sets[AGAINST] = lambda name: cache.set(name, VALUE, expire=TTL)
            gets[AGAINST] = cache.get
        for number in range(ENTRIES):
            for store in sets.values():
                store(key(number))
        for read in gets.values():
            check(read(key(0)), VALUE)
        keys = some_keys(bench.size(10_000, 2_000), ENTRIES)
        for name, operations, bound in (("get", gets, 0.8), ("set", sets, 0.5)):
            spans = in_turns(operations, keys, rounds=ROUNDS)
            yield from compare_latency(f"embedded {name}", spans["stash"], spans.get(AGAINST), AGAINST, p50=bound)
        if cache is not None:
            cache.close()
