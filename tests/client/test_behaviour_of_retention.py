"""Retention and analytics, the same over every way to reach an engine; see `ways`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from stash_protocol.retention import Chosen

TTL = 50 * 60  # seconds: within the longest of every way's tier


def remember(stash: Any) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=40)
    stash.set("old", "v", ttl=TTL, text="an old note", role="tool", at=long_ago)
    stash.set("young", "v", ttl=TTL, text="a young note")


def test_a_dry_run_reports_and_changes_nothing(stash: Any) -> None:
    remember(stash)
    report = stash.retention.run(dry_run=True, report=True)
    assert (report.looked, report.archived, report.deleted, report.extended) == (2, 1, 0, 0)
    assert report.chosen == [Chosen("old", "archive", "archive_after")]
    assert stash.retention.run(dry_run=True).chosen == []
    assert stash.search().total == 2
    assert stash.retention.show().last is None


def test_a_run_archives_what_is_old_and_matters_little(stash: Any) -> None:
    remember(stash)
    report = stash.retention.run()
    assert (report.archived, report.rules, report.skipped, report.bytes) == (1, {"archive_after": 1}, 0, 0)
    assert [hit.key for hit in stash.search()] == ["young"]
    assert stash.get("old") == "v"
    state = stash.retention.show()
    assert [rule.name for rule in state.rules] == ["archive_after", "delete_after"]
    assert state.last is not None
    assert (state.last.archived, state.last.scheduled) == (1, False)


def test_many_are_archived_in_one_run(stash: Any) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=40)
    with stash.batch() as batch:
        for number in range(600):
            batch.set(f"k{number}", "v", ttl=TTL, text="note", role="tool", at=long_ago)
    report = stash.retention.run()
    assert (report.looked, report.archived) == (600, 600)
    assert stash.search().total == 0


def test_analytics_come_with_the_figures_when_they_are_asked_for(stash: Any) -> None:
    remember(stash)
    assert stash.stats().analytics is None
    found = stash.stats(analytics=True).analytics
    assert (found.memories, found.archived, found.kinds) == (2, 0, {"memory": 2})
    assert found.roles == {"tool": 1, "none": 1}
    assert sum(hour.writes for hour in found.hours) >= 2
