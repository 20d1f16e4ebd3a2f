"""What decoding one request's envelope costs: declared and checked by msgspec, or by msgpack alone.

``.venv/bin/python -m bench.decisions.codecs``; prints microseconds, the best of several rounds.
"""

from __future__ import annotations

from timeit import repeat

import msgpack
import msgspec

from stash_protocol.operations import AnyRequest, Set

CALLS = 100_000
ENVELOPE = msgspec.msgpack.encode(Set(id=7, key="task/42/state", type="json", ttl_ms=1_800_000))

decode = msgspec.msgpack.Decoder(AnyRequest).decode


def main() -> None:
    """Print the figures."""
    for name, call in (
        ("msgspec, checked", lambda: decode(ENVELOPE)),
        ("msgpack, a dict", lambda: msgpack.unpackb(ENVELOPE)),
    ):
        print(f"{name:18} {min(repeat(call, number=CALLS, repeat=5)) / CALLS * 1e6:6.2f} µs")


if __name__ == "__main__":
    main()
