"""Usage over time and what memories there are, as `stash stats` shows them: a line a row, a bar a count."""

from __future__ import annotations

from typing import Any

from stash_cli import render

BARS = "▁▂▃▄▅▆▇█"
NOTHING = " "
HOUR, DAY = 3_600_000, 86_400_000  # milliseconds
HOURS, DAYS = 48, 30  # shown: a terminal has 80 columns
WIDTH = 20  # of the longest bar

Rows = list[tuple[str, str]]
"""What it is, and the rest of the line."""


def rows(analytics: dict[str, Any]) -> Rows:
    """All there is to show; nothing where there is nothing."""
    return [*_usage(analytics), *_trends(analytics), *_memories(analytics), *_conversations(analytics)]


def with_moments(analytics: dict[str, Any]) -> dict[str, Any]:
    """For JSON: every time as ISO 8601."""

    def shown(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: shown(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [shown(each) for each in value]
        return render.moment(value) if name in ("at", "last_at", "now", "since") else value

    found: dict[str, Any] = shown(analytics)
    return found


def line(counts: list[int]) -> str:
    """Counts as bars beside each other, the largest being the highest; what is not nothing never looks like it."""
    most = max(counts, default=0)
    return "".join(BARS[-(-count * len(BARS) // most) - 1] if count else NOTHING for count in counts)


def bar(count: int, most: int) -> str:
    """A count as a bar from left to right."""
    return "█" * max(1, round(WIDTH * count / most)) if count else ""


def _usage(analytics: dict[str, Any]) -> Rows:
    now, found = analytics["now"], []
    for name, span, spans in (("hours", HOUR, HOURS), ("days", DAY, DAYS)):
        by_time = {each["at"]: each for each in analytics[name]}
        last = now - now % span
        shown = [by_time.get(last - ago * span, {}) for ago in range(spans - 1, -1, -1)]
        for what in ("reads", "writes", "searches", "refused"):
            counts = [each.get(what, 0) for each in shown]
            if any(counts):
                found.append((f"{what}, {spans} {name}", f"{line(counts).strip()}  {sum(counts):,}"))
    return found


def _trends(analytics: dict[str, Any]) -> Rows:
    found = []
    for trend in analytics["trends"]:
        last, before = trend["last"], trend["before"]
        if last or before:
            change = f"{(last - before) / before:+.0%}" if before else "new"
            length = "a day" if trend["days"] == 1 else f"{trend['days']} days"
            found.append((f"{trend['what']}, {length}", f"{last:,} after {before:,} ({change})"))
    return found


def _memories(analytics: dict[str, Any]) -> Rows:
    total = analytics["memories"]
    if not total:
        return []
    found = [("memories", f"{total:,}, {analytics['archived']:,} of them archived")]
    if analytics["stored"]:
        first, last = analytics["stored"][0]["at"], analytics["stored"][-1]["at"]
        by_day = {day["at"]: day["memories"] for day in analytics["stored"]}
        found.append(("stored a day", line([by_day.get(at, 0) for at in range(first, last + 1, DAY)])))
    for what, title in (("kinds", "kind"), ("roles", "role"), ("embedding", "embedding")):
        most = max(analytics[what].values())
        for name, count in sorted(analytics[what].items(), key=lambda item: -item[1]):
            found.append((f"{title} {name}", f"{count:>8,}  {bar(count, most)}"))
    for model in analytics["models"]:
        name = render.printable(model["model"])
        found.append(("vectors", f"{model['vectors']:>8,}  {name}, {model['dimensions']:,} dimensions"))
    return found


def _conversations(analytics: dict[str, Any]) -> Rows:
    talks = analytics["conversations"]
    most = max((talk["messages"] for talk in talks), default=0)
    return [
        (
            "conversation",
            f"{talk['messages']:>8,}  {bar(talk['messages'], most):<{WIDTH}}  {_short(talk['conversation'])}",
        )
        for talk in talks
    ]


def _short(name: str) -> str:
    shown = render.printable(name)
    return shown if len(shown) <= 40 else shown[:39] + "…"
