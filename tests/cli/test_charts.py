"""`stash stats`: usage over time and what memories there are, and the bars they are shown by."""

from __future__ import annotations

import re
from datetime import datetime

from stash_cli.commands import charts
from stash_cli.commands.charts import DAY, HOUR


def test_a_bar_is_as_high_as_its_count_and_something_never_looks_like_nothing() -> None:
    assert charts.line([0, 1, 50, 100]) == " ▁▄█"
    assert charts.line([0, 0]) == "  "
    assert charts.line([]) == ""
    assert (charts.bar(0, 10), charts.bar(1, 1000), charts.bar(10, 10)) == ("", "█", "█" * 20)


def test_hours_without_requests_stand_between_those_with_some() -> None:
    now = 1000 * DAY
    found = {
        "now": now + 5,
        "hours": [{"at": now - 3 * HOUR, "reads": 8}, {"at": now, "reads": 4}],
        "days": [],
        "trends": [{"what": "requests", "days": 1, "last": 12, "before": 8}],
        "memories": 0,
        "conversations": [],
    }
    assert charts.rows(found) == [("reads, 48 hours", "█  ▄  12"), ("requests, a day", "12 after 8 (+50%)")]


def test_stats_shows_memories_and_usage(own) -> None:
    for number in range(3):
        words = ("--text", "words", "--kind", "message", "--role", "user", "--group", "chat/\x1b[31m")
        own.ok("set", f"m{number}", "v", *words)
    own.ok("set", "e", "v", "--text", "words", "--kind", "episode", "--at", "2d")
    text = own.ok("stats").decode()
    assert "memories                4, 0 of them archived\n" in text
    assert re.search(r"^waiting +0$", text, re.MULTILINE)
    assert re.search(r"^kind message +3  █{20}$", text, re.MULTILINE)
    assert re.search(r"^conversation +3  █{20}  chat/\\x1b\[31m$", text, re.MULTILINE)
    assert re.search(r"^writes, 48 hours +█  4$", text, re.MULTILINE)
    found = own.json("stats")["analytics"]
    assert (found["memories"], found["roles"], found["embedding"]) == (4, {"none": 1, "user": 3}, {"skipped": 4})
    assert found["conversations"][0]["messages"] == 3
    assert datetime.fromisoformat(found["hours"][-1]["at"]) <= datetime.fromisoformat(found["now"])
    assert [day["memories"] for day in found["stored"]] == [1, 3]


def test_without_memories_nothing_is_said_of_them(own) -> None:
    own.ok("set", "k", "v")
    assert "memories" not in own.ok("stats").decode()
    assert b"analytics" not in own.ok("stats", "--prometheus")
