"""`stash stats` and `stash top`."""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stash_cli import render, streams
from stash_cli.call import Call
from stash_cli.commands import charts
from stash_protocol.errors import Forbidden
from stash_protocol.types import format_duration, format_size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stash_cli.wire import Connection

QUIT = b"q"
INTERVAL = 1.0  # seconds between two looks
TOP_ROWS = 12  # operations shown: a terminal has 24 lines

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Head and rows."""


def stats(call: Call) -> None:
    """`stash stats`."""
    reply, payload = call.ask({**call.fields(), **({} if call.get("prometheus") else {"analytics": True})})
    if call.get("prometheus"):
        if not payload:
            raise Forbidden("figures of the whole daemon need an API key with scope admin")
        text = bytes(payload).decode()
        call.print(text.rstrip("\n"), lambda: render.members_of({"prometheus": text}))
        return
    found = reply["analytics"]
    more = charts.rows(found)
    if call.as_json:
        streams.emit(render.dump({**reply, "analytics": charts.with_moments(found)}) + "\n")
    elif streams.is_colourful(1):
        from rich.console import Console, Group

        Console(highlight=False).print(Group(_shown(reply, []), "", _pairs(more)))
    else:
        streams.emit(_plain(_summary(reply), _requests(reply)))
        if more:
            streams.emit("\n" + "".join(f"{name:<24}{text}".rstrip() + "\n" for name, text in more))


def _summary(reply: dict[str, Any]) -> list[tuple[str, str]]:
    figures = reply["figures"]
    asked = figures["hits"] + figures["misses"]
    rows = [
        ("namespace", render.printable(reply["namespace"])),
        ("entries", f"{reply['entries']:,}"),
        ("bytes", format_size(reply["bytes"])),
        ("hits", f"{figures['hits']:,}" + (f" ({figures['hits'] / asked:.0%})" if asked else "")),
        ("misses", f"{figures['misses']:,}"),
        ("rate limited", f"{figures['rate_limited']:,}"),
    ]
    of_daemon = ("expired", "pruned", "evicted", "authentication_failures", "connections")  # for admins alone
    more = [name for name in ("waiting", *of_daemon) if name in figures]
    return rows + [(name.replace("_", " "), f"{figures[name]:,}") for name in more]


def _requests(reply: dict[str, Any], before: dict[str, Any] | None = None, seconds: float = 0) -> Table:
    """A row for each operation; with an earlier reply, the rate since then."""
    counts, earlier = _by_op(reply), _by_op(before) if before else {}
    latency = reply["figures"]["latency_ms"]
    rows = []
    for op, (count, failed) in sorted(counts.items(), key=lambda item: -item[1][0]):
        took = latency.get(op, {})
        rate = (f"{(count - earlier.get(op, (0, 0))[0]) / seconds:,.0f}",) if before and seconds else ()
        rows.append((op, f"{count:,}", *rate, f"{failed:,}", f"{took.get('p50', 0):.3f}", f"{took.get('p99', 0):.3f}"))
    return ("OP", "COUNT", *(("PER S",) if before and seconds else ()), "REFUSED", "P50 MS", "P99 MS"), rows


def _by_op(reply: dict[str, Any]) -> dict[str, tuple[int, int]]:
    counts: dict[str, tuple[int, int]] = {}
    for row in reply["figures"]["requests"]:
        count, failed = counts.get(row["op"], (0, 0))
        counts[row["op"]] = count + row["count"], failed + (0 if row["outcome"] == "ok" else row["count"])
    return counts


def _plain(summary: list[tuple[str, str]], table: Table) -> str:
    lines = [f"{name:<24}{value}" for name, value in summary]
    head, rows = table
    if rows:
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines.append("")
        for row in (head, *rows):
            cells = [f"{row[0]:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))]
            lines.append("  ".join(cells))
    return "\n".join(lines) + "\n"


def top(call: Call) -> None:
    """`stash top`."""
    connection = call.connect()
    status, _ = connection.call("status")
    now, _ = connection.call("stats")
    if call.as_json:
        streams.emit(render.dump({"status": status, "stats": now}) + "\n")
        return
    if not streams.is_colourful(1):
        streams.emit(_plain([*_health(status), *_summary(now)], _requests(now)))
        return
    _follow(connection, call.get("interval", INTERVAL * 1000) / 1000, status, now)


def _follow(connection: Connection, interval: float, status: dict[str, Any], now: dict[str, Any]) -> None:
    """Show the figures again and again, until somebody has had enough."""
    from rich.live import Live

    before, looked = now, time.monotonic()
    with _keyboard() as pressed, Live(_ending(_shown(now, _health(status))), auto_refresh=False, screen=True) as live:
        while pressed(interval).lower() != QUIT:
            connection.renew()
            status, _ = connection.call("status")
            now, _ = connection.call("stats")
            seconds, looked = time.monotonic() - looked, time.monotonic()
            live.update(_ending(_shown(now, _health(status), before, seconds)), refresh=True)
            before = now


def _ending(shown: RenderableType) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    return Group(shown, "", Text("q or Ctrl-C ends", "dim"))


@contextmanager
def _keyboard() -> Iterator[Callable[[float], bytes]]:
    """What waits so many seconds, or until a key is pressed, and says which; empty for none."""
    if not streams.is_terminal(0):
        yield _asleep
        return
    before = termios.tcgetattr(0)
    try:
        tty.setcbreak(0, termios.TCSADRAIN)  # keys one by one, not shown; Ctrl-C is still a signal
        yield _awake
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _asleep(seconds: float) -> bytes:
    time.sleep(seconds)
    return b""


def _awake(seconds: float) -> bytes:
    ready, _, _ = select.select([0], [], [], seconds)
    return os.read(0, 1) or QUIT if ready else b""  # a terminal that ends is nobody's any more


def _health(status: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("daemon", f"{status['status']}, pid {status['pid']}, version {status['version']}"),
        ("database", str(status["database"])),
        ("up", format_duration(status["uptime_seconds"] * 1000)),
        ("latency", f"{status['latency_ms']} ms"),
    ]


def _pairs(rows: list[tuple[str, str]]) -> RenderableType:
    from rich.text import Text

    from stash_cli.tables import plain_table

    table = plain_table(("", 0), ("", 0), head=False)
    for name, value in rows:
        table.add_row(Text(name, "dim"), Text(value))
    return table


def _shown(
    reply: dict[str, Any], health: list[tuple[str, str]], before: dict[str, Any] | None = None, seconds: float = 0
) -> RenderableType:
    from rich.console import Group

    from stash_cli.tables import plain_table

    summary = _pairs([*health, *_summary(reply)])
    head, rows = _requests(reply, before, seconds)
    requests = plain_table((head[0], 0), *((name, 8) for name in head[1:]))
    for row in rows[:TOP_ROWS]:
        requests.add_row(*row)
    return Group(summary, "", requests)
