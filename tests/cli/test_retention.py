"""`stash retention run`, `stash retention show`, and what `stash prune` does of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

RULES = """
[retention]
every = "off"

[[retention.rules]]
name = "drafts"
action = "delete"
tags = ["draft"]
older_than = "7d"

[[retention.rules]]
action = "extend"
roles = "user"
importance_from = 0.5
keep = "90d"
"""


@pytest.fixture
def remembering(own):
    """A daemon with a memory that is archived by the next run, and one that is not."""
    own.ok("set", "old/1", "v", "--ttl", "200d", "--text", "an old note", "--role", "tool", "--at", "40d")
    own.ok("set", "young", "v", "--ttl", "200d", "--text", "a young note")
    return own


def configure(own, text: str) -> None:
    file = Path(own.home, "config.toml")
    file.touch(0o600)
    file.write_text(text)


def test_a_dry_run_prints_what_a_run_would_choose(remembering) -> None:
    done = remembering("retention", "run", "--dry-run")
    assert done.stdout == b"archive\told/1\tarchive_after\n"
    assert b"archived 1, deleted 0, extended 0 of 2 memories" in done.stderr
    report = remembering.json("retention", "run", "--dry-run")
    assert report["chosen"] == [{"key": "old/1", "action": "archive", "rule": "archive_after"}]
    assert (report["dry_run"], report["archived"], report["rules"]) == (True, 1, {"archive_after": 1})
    assert remembering.json("search")["total"] == 2


def test_a_run_archives_and_says_how_many(remembering) -> None:
    assert remembering.json("retention", "show")["last"] is None
    assert remembering.ok("retention", "run") == b"archived 1, deleted 0, extended 0 of 2 memories\n"
    assert [hit["key"] for hit in remembering.json("search")["hits"]] == ["young"]
    assert remembering.json("search", "--archived")["total"] == 2
    shown = remembering.json("retention", "show")
    assert (shown["last"]["archived"], shown["last"]["scheduled"], shown["every"]) == (1, False, 86_400.0)
    assert datetime.fromisoformat(shown["last"]["began_at"]) <= datetime.fromisoformat(shown["next_at"])


def test_prune_carries_it_out_unless_something_narrows_it(remembering, tmp_path) -> None:
    for words in (["--prefix", "old/"], ["--tag", "t"], ["--archive", str(tmp_path / "x")]):
        assert "retention" not in remembering.json("prune", "--older-than", "1d", *words)
    dry = remembering.json("prune", "--dry-run")
    assert (dry["retention"]["archived"], dry["keys"]) == (1, [])
    done = remembering("prune")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert remembering.json("search")["total"] == 1
    assert remembering.json("prune")["retention"]["archived"] == 0


def test_rules_of_the_file_are_shown_and_followed(own) -> None:
    configure(own, RULES)
    own.ok("set", "d", "v", "--text", "t", "--tag", "draft", "--at", "8d")
    own.ok("set", "u", "v", "--text", "t", "--role", "user")
    assert own.json("prune", "--dry-run")["keys"] == ["d"]
    report = own.json("retention", "run")
    assert (report["deleted"], report["extended"], report["rules"]) == (1, 1, {"drafts": 1, "rule 2": 1})
    assert own.json("ttl", "u")["ttl"] == pytest.approx(90 * 86_400, abs=60)
    text = own.ok("retention", "show").decode()
    assert "drafts         delete   older than 7d, tag draft\n" in text
    assert "rule 2         extend   importance 0.5 or more, role user, to 90d left\n" in text
    assert "runs when somebody asks\n" in text
    rules = own.json("retention", "show")["rules"]
    assert rules[0] == {"name": "drafts", "action": "delete", "older_than": 604_800.0, "tags": ["draft"]}


def test_a_rule_that_is_wrong_keeps_the_daemon_from_starting(own) -> None:
    configure(own, '[[retention.rules]]\naction = "delete"\n')
    status, error = own.error("serve")
    assert (status, error["code"]) == (2, "bad_request")
    assert "config.toml: retention.rules[1] has no condition" in error["message"]
