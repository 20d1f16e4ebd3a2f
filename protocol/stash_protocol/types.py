"""Durations and sizes as people write them, and the limits of keys. Light: the hot verbs load it."""

from __future__ import annotations

from stash_protocol.errors import BadRequest

MAX_KEY_BYTES = 2048  # bytes of UTF-8: long enough for a path or a URL, short enough to index

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}  # milliseconds
SIZES = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}  # bytes

MAX_DURATION = 36_500 * UNITS["d"]  # milliseconds: a hundred years; keeps every sum of times within 64 bits


def parse_duration(text: str) -> int:
    """Milliseconds in ``45`` (seconds), ``1.5s``, ``250ms``, ``30m``, ``2h``, ``7d`` or ``1h30m``.

    Raises:
        BadRequest: not a duration, or above a hundred years.
    """
    total, rest = 0.0, text.strip().lower()
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("dhms"))]
        rest = rest[len(unit) :]
        try:
            total += float(number) * UNITS[unit or "s"]
        except (ValueError, KeyError):
            total = -1
            break
    if total > MAX_DURATION:
        raise BadRequest(f"{text[:40]!r} is too long; a duration has at most 36,500d, a hundred years")
    if not text.strip() or total < 0:
        raise BadRequest(f"{text!r} is not a duration; write 45, 45s, 30m, 2h, 7d or 1h30m")
    return round(total)


def format_duration(milliseconds: float) -> str:
    """The two largest units of a duration, as `parse_duration` reads them: ``1h30m``, ``45s``, ``250ms``."""
    rest = max(0, round(milliseconds))
    if rest >= UNITS["s"]:
        rest -= rest % UNITS["s"]
    parts: list[str] = []
    for unit, size in reversed(UNITS.items()):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"


def parse_size(text: str) -> int:
    """Bytes in ``100``, ``512K``, ``16M``, ``1G``, ``16MiB``; a K is 1,024.

    Raises:
        BadRequest: not a size.
    """
    written = text.strip().upper()
    number = written.rstrip("BIKMG")
    unit = written[len(number) :].removesuffix("IB") or "B"
    if not (number.isascii() and number.isdigit() and unit in SIZES):
        raise BadRequest(f"{text!r} is not a size; write 100, 512K, 16M or 1G")
    return int(number) * SIZES[unit]


def format_size(size: float) -> str:
    """Bytes for people: ``812 B``, ``1.5 KiB``, ``16.0 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def check_key(key: str) -> str:
    """The key itself, when it may be one.

    Raises:
        BadRequest: empty, longer than `MAX_KEY_BYTES`, or not encodable as UTF-8.
    """
    if key.isascii() and 0 < len(key) <= MAX_KEY_BYTES:  # nearly all keys, without encoding them
        return key
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise BadRequest("a key must be valid UTF-8") from None
    if not 0 < size <= MAX_KEY_BYTES:
        raise BadRequest(f"a key has 1 to {MAX_KEY_BYTES:,} bytes of UTF-8; this one has {size:,}")
    return key
