"""A frame: one request, reply or push on the wire.

::

    ┌───────────────────┬───────────────────┬──────────────┬─────────────┐
    │ envelope length   │ payload length    │ envelope     │ payload     │
    │ 4 bytes, unsigned │ 4 bytes, unsigned │ msgpack map  │ opaque      │
    │ big-endian        │ big-endian        │              │ bytes       │
    └───────────────────┴───────────────────┴──────────────┴─────────────┘

The hot verbs of the command line load this module, so it imports next to nothing; `reader` cuts frames out of
a stream.
"""

from __future__ import annotations

from struct import Struct

PROTOCOL_VERSION = 1

HEADER = Struct(">II")
HEADER_SIZE = 8  # bytes

MAX_ENVELOPE = 128 * 1024  # bytes: a 2 KiB key, 32 KiB of search text, 8,192 float32 and room to spare
MAX_ENVELOPE_STRANGER = 4 * 1024  # bytes, until the peer has said hello: a hello needs under 300
MAX_PAYLOAD = 0xFFFFFFFF  # bytes: what the length field can say; every tier's limit is far below


JOIN_LIMIT = 64 * 1024  # bytes worth copying into one piece: sending two pieces costs more


def pieces(parts: list[bytes | bytearray]) -> list[bytes | bytearray]:
    """The same bytes in as few pieces as pay: what is small is joined, what is large is not copied.

    For `Transport.write`: asyncio's own `writelines` never asks to pause, in Python 3.12.0 to 3.13.1 (CVE-2024-12254).
    """
    joined: list[bytes | bytearray] = []
    small: list[bytes | bytearray] = []
    for part in parts:
        if len(part) <= JOIN_LIMIT:
            small.append(part)
            continue
        joined += [b"".join(small), part] if small else [part]
        small = []
    if small:
        joined.append(b"".join(small) if len(small) > 1 else small[0])
    return joined


def pack(envelope: bytes, payload: bytes = b"") -> bytes:
    """One frame, ready to send."""
    return HEADER.pack(len(envelope), len(payload)) + envelope + payload
