"""What taking note of one served read costs, by log level.

``.venv/bin/python -m bench.decisions.log_line``; prints microseconds, the best of several rounds.
"""

from __future__ import annotations

import tempfile
from timeit import repeat

from stash_daemon.clock import SystemClock
from stash_daemon.keys import Caller, Peer
from stash_daemon.observe import Observer
from stash_daemon.settings import load
from stash_protocol.operations import Get
from stash_protocol.replies import Entry

CALLS = 5_000


def cost(level: str) -> float:
    """Microseconds `Observer.served` takes for one read at this log level."""
    with tempfile.TemporaryDirectory() as home:
        settings = load({"log_level": level}, {"STASH_HOME": home})
        clock = SystemClock()
        observer = Observer(settings, clock)
        caller = Caller(namespace="default", tier=settings.tiers["local"], scopes=frozenset({"read"}))
        now = clock.now()
        request, reply = Get(id=1, key="task/42"), Entry("task/42", "text", 5, 1, 1000, now + 1000, now, now)
        peer = Peer("uid:1000", 1000, 1)

        def served() -> None:
            observer.served(
                request, caller, peer, request_id="1-1", reply=reply, error=None, payload_bytes=5, duration_ns=20_000
            )

        best = min(repeat(served, number=CALLS, repeat=5)) / CALLS * 1e6
        observer.close()
        return best


def main() -> None:
    """Print the figures."""
    for level in ("WARNING", "INFO", "DEBUG"):
        print(f"{level:8} {cost(level):6.1f} µs")


if __name__ == "__main__":
    main()
