"""What memories take on disk: after much has come and gone, and where many have little."""

from __future__ import annotations

import random
from collections.abc import Iterator

from bench.contenders import directory
from bench.measure import Figure
from bench.rows import row
from bench.rows.search import corpus, remember
from bench.setting import Bench, settle
from stash_daemon.assembly import open_embedded
from stash_daemon.keys import Caller
from stash_daemon.settings import HOUR, MIB, Settings, Tier
from stash_memory import Stash
from stash_protocol.memories import Memory
from stash_protocol.operations import Set

SETTLING = 30.0  # seconds
NAMESPACES = 200


@row("aged", "100 rounds that replace a random tenth of 10,000 memories; 200 namespaces of one memory each")
def aged(bench: Bench) -> Iterator[Figure]:
    """Every round forgets a random tenth and stores it anew, with the same vectors."""
    count, rounds = bench.size(10_000, 2_000), bench.size(100, 20)
    bench.fewer("aged", 100, rounds, "rounds")
    chance, known = random.Random(3), corpus(count)
    with bench.daemon() as daemon, Stash(socket=daemon.socket) as stash:
        remember(stash, known, range(count))
        first = settle(daemon, count * known.vectors.itemsize * known.vectors.shape[1], SETTLING)
        largest = 0
        for _ in range(rounds):
            chosen = chance.sample(range(count), count // 10)
            for start in range(0, len(chosen), 100):
                stash.forget(*(f"memory/{number}" for number in chosen[start : start + 100]))
            remember(stash, known, chosen)
            largest = max(largest, daemon.database.stat().st_size)
    yield Figure(name="file, at its largest", unit="MB", ours=largest / 1e6, against="its first size",
                 theirs=first / 1e6, ratio=largest / first, at_most=2.0)  # fmt: skip
    yield Figure(name=f"{NAMESPACES} namespaces", unit="MiB", ours=_namespaces(known.vectors[0].tobytes()) / MIB,
                 at_most=4.0)  # fmt: skip


def _namespaces(vector: bytes) -> int:
    """Bytes on disk of an engine in which each of many namespaces has one memory."""
    tier = Tier(name="local", max_value=MIB, default_ttl=HOUR, max_ttl=HOUR, quota=MIB)
    with directory() as home:
        engine = open_embedded(Settings(), str(home / "stash.db"))
        engine.begin()
        for number in range(NAMESPACES):
            caller = Caller(namespace=f"n{number}", tier=tier, scopes=frozenset({"read", "write"}))
            engine.execute(Set(key="k", memory=Memory(vector=vector)), b"v", caller)
        engine.commit()
        engine.close()
        return sum(file.stat().st_size for file in home.glob("stash.db*"))
