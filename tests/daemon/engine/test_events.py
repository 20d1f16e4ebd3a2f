"""Who listens, as far as a figure tells."""

from __future__ import annotations

from stash_daemon.engine.events import Events


def test_those_who_wait_are_counted_in_their_namespace_and_in_all() -> None:
    events = Events()
    leave = events.subscribe("ours", "a/", lambda _: None)
    events.subscribe("theirs", "", lambda _: None)
    assert [events.waiting(whose) for whose in ("ours", "theirs", "nobody's", None)] == [1, 1, 0, 2]
    leave()
    assert [events.waiting(whose) for whose in ("ours", "theirs", None)] == [0, 1, 1]
