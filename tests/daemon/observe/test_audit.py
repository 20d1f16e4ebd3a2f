from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from stash_daemon.keys import Caller, Peer
from stash_daemon.observe import Observer
from stash_daemon.observe import audit as page
from stash_daemon.settings import SHIPPED_TIERS, Settings
from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.errors import BadRequest, Busy, NotFound, StashError, Unauthenticated
from tests.support.clock import ManualClock

CALLER = Caller(namespace="team", tier=SHIPPED_TIERS[2], scopes=frozenset({"read"}), api_key_name="ci")
PEER = Peer("uid:1000", uid=1000, pid=42)
ENTRY = replies.Entry("made", "text", 3, 1, 60_000, 9, 5, 5)


class House:
    """An observer with an audit in a directory that a test can take away."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.path = directory / "audit" / "a.log"
        self.clock = ManualClock()
        self.settings = Settings(audit_log=str(self.path), **changes)
        self.observer = Observer(self.settings, self.clock)

    def serve(
        self,
        request: op.Request | None,
        reply: Any = None,
        error: StashError | None = None,
        caller: Caller | None = CALLER,
        payload_bytes: int = 0,
    ) -> None:
        self.observer.served(
            request,
            caller,
            PEER,
            request_id=(10, 27),
            reply=reply,
            error=error,
            payload_bytes=payload_bytes,
            duration_ns=1000,
        )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def block(self) -> None:
        """Put a directory where the file was: what root, too, cannot write."""
        self.path.rename(self.path.with_name("old"))
        self.path.mkdir()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_line_says_who_did_what_to_which_key_and_what_came_of_it(house: House) -> None:
    house.serve(op.Set(key="k\n\x1b[2J"), ENTRY, payload_bytes=3)
    assert house.lines() == [
        {
            "ts": "2023-11-14T22:13:20.000Z",
            "request_id": "a-1b",
            "namespace": "team",
            "api_key_name": "ci",
            "peer": {"name": "uid:1000", "pid": 42, "uid": 1000},
            "op": "set",
            "key": "k\n\x1b[2J",
            "outcome": "ok",
            "bytes": 3,
        }
    ]
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o600
    assert house.path.read_bytes().isascii()


def test_every_operation_and_every_refusal_has_its_line(house: House) -> None:
    house.serve(op.Get(key="gone"), error=NotFound("no"))
    house.serve(None, error=BadRequest("no"), caller=None)
    house.serve(op.Hello(version=1, api_key="sk_" + "a" * 43), error=Unauthenticated("no"), caller=None)
    house.serve(op.Set(), ENTRY)
    house.serve(op.Forget(keys=["a", "b"]), replies.Forgotten(1))
    house.serve(op.Clear(prefix="p/"), replies.Forgotten(7))
    house.serve(op.KeyRevoke(name="old"), replies.Done())
    seen = [{name: value for name, value in line.items() if name not in ("ts", "peer")} for line in house.lines()]
    common = {"request_id": "a-1b", "namespace": "team", "api_key_name": "ci", "key": None, "outcome": "ok", "bytes": 0}
    nobody = common | {"namespace": None, "api_key_name": None}
    assert seen == [
        common | {"op": "get", "key": "gone", "outcome": "not_found"},
        nobody | {"op": None, "outcome": "bad_request"},
        nobody | {"op": "hello", "outcome": "unauthenticated"},
        common | {"op": "set", "key": "made"},
        common | {"op": "forget", "keys": ["a", "b"], "forgotten": 1},
        common | {"op": "clear", "prefix": "p/", "forgotten": 7},
        common | {"op": "key_revoke", "name": "old"},
    ]
    assert "sk_" not in house.path.read_text()


def test_a_batch_tells_its_parts(house: House) -> None:
    batch = op.Batch()
    house.observer.consists_of(batch, [op.Set(key="a"), op.Forget(keys=["b"])])
    house.serve(batch, replies.Done())
    house.serve(op.Batch(), replies.Done())
    first, second = house.lines()
    assert first["parts"] == [{"op": "set", "key": "a"}, {"op": "forget", "key": "b"}]
    assert "parts" not in second


def test_what_was_evicted_is_told(house: House) -> None:
    house.observer.evicted("team", "old", 12)
    (line,) = house.lines()
    assert (line["op"], line["namespace"], line["key"], line["bytes"]) == ("evict", "team", "old", 12)


def test_a_required_audit_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file where a directory is wanted")
    with pytest.raises(BadRequest, match=r"^audit_log: .*a\.log cannot be written: "):
        House(tmp_path)
    House(tmp_path, audit_required=False).observer.require_audit()


def test_writes_are_refused_while_the_audit_cannot_be_written_and_no_line_is_lost(house: House) -> None:
    house.observer.require_audit()
    house.block()
    house.serve(op.Set(key="a"), ENTRY)
    with pytest.raises(Busy, match=r"the audit cannot be written \(Is a directory\), so nothing may be"):
        house.observer.require_audit()
    house.serve(op.Get(key="b"), ENTRY)
    house.path.rmdir()
    house.observer.require_audit()
    assert [line["key"] for line in house.lines()] == ["a", "b"]
    house.serve(op.Get(key="c"), ENTRY)
    assert [line["key"] for line in house.lines()] == ["a", "b", "c"]
    assert house.observer.figures(None)["lines_lost"]["audit"] == 0


def test_an_audit_that_is_not_required_counts_what_it_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path, audit_required=False)
    monkeypatch.setattr(page, "MAX_HELD", 2_000)
    house.block()
    for number in range(50):
        house.serve(op.Get(key=f"{number:02}"), ENTRY)
    house.observer.require_audit()
    lost = house.observer.figures(None)["lines_lost"]["audit"]
    assert lost > 0
    house.path.rmdir()
    house.observer.close()
    assert [line["key"] for line in house.lines()] == [f"{number:02}" for number in range(lost, 50)]


def test_without_a_path_there_is_no_audit(tmp_path: Path) -> None:
    observer = Observer(Settings(), ManualClock())
    observer.require_audit()
    observer.evicted("n", "k", 1)
    observer.close()
    assert list(tmp_path.iterdir()) == []
