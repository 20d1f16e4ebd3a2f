from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stash_daemon.keys import Caller, Peer
from stash_daemon.limits import RateLimiter
from stash_daemon.observe import MAX_REFUSALS, Observer
from stash_daemon.settings import SHIPPED_TIERS, Settings, Tier
from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.errors import ERRORS, BadRequest, RateLimited, StashError, TooLarge
from tests.support.clock import ManualClock

FREE = SHIPPED_TIERS[1]
CALLER = Caller(namespace="team", tier=FREE, scopes=frozenset({"read"}), api_key_name="ci")
PEER = Peer("uid:1000", uid=1000, pid=42)
API_KEY = "sk_" + "aZ9-_" * 8 + "abc"


def entry(**changes: Any) -> replies.Entry:
    fields = {"key": "k", "type": "text", "size": 3, "version": 1, "ttl_ms": 60_000, "expires_at": 9}
    return replies.Entry(**{**fields, "created_at": 5, "updated_at": 5, **changes})


class House:
    """An observer and the log it writes."""

    def __init__(self, directory: Path, level: str = "DEBUG", **changes: Any) -> None:
        self.path = directory / "log" / "stash.log"
        self.clock = ManualClock()
        settings = Settings(log_dir=str(self.path.parent), log_level=level, log_format="json", **changes)  # type: ignore[arg-type]
        self.observer = Observer(settings, self.clock)

    def serve(self, request: op.Request | None, reply: Any = None, **changes: Any) -> None:
        fields: dict[str, Any] = {"error": None, "payload_bytes": 0, "duration_ns": 250_000, "request_id": (10, 27)}
        caller = changes.pop("caller", CALLER)
        self.observer.served(request, caller, PEER, reply=reply, **{**fields, **changes})

    def lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def events(self) -> list[tuple[str, str]]:
        return [(line["level"], line["event"]) for line in self.lines()]


def test_a_line_has_the_fields_of_the_contract_and_never_the_value(tmp_path: Path) -> None:
    house = House(tmp_path, "INFO")
    house.serve(op.Set(key="k", tags=["t"]), entry(), payload_bytes=3)
    assert house.lines() == [
        {
            "timestamp": "2023-11-14T22:13:20.000Z",
            "level": "info",
            "event": "created",
            "op": "set",
            "request_id": "a-1b",
            "namespace": "team",
            "key": "k",
            "ttl_seconds": 60.0,
            "payload_bytes": 3,
            "tier": "free",
            "api_key_name": "ci",
            "peer": "uid:1000",
            "duration_ms": 0.25,
        }
    ]
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o600


def test_what_happened_is_told_at_info(tmp_path: Path) -> None:
    house = House(tmp_path, "INFO")
    done: list[tuple[op.Request, Any]] = [
        (op.Set(key="k"), entry()),
        (op.Set(key="k"), entry(updated_at=6)),
        (op.Get(key="k"), entry()),
        (op.Update(key="k", extend_ms=1), entry()),
        (op.Extend(key="k", by_ms=1), replies.Remaining(60_000, 9, 2)),
        (op.Incr(key="k"), replies.Number(1, entry())),
        (op.Forget(keys=["k"]), replies.Forgotten(1)),
        (op.Hello(version=1), replies.Done()),
        (op.Exists(key="k"), replies.Existence(exists=True)),
        (op.Ping(), replies.Pong(1)),
    ]
    for request, reply in done:
        house.serve(request, reply)
    events = ["created", "replaced", "read", "updated", "extended", "updated", "forgotten", "authenticated"]
    assert house.events() == [("info", event) for event in events]
    assert house.lines()[5]["ttl_seconds"] == 60.0


def test_debug_adds_the_rest_and_timings(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.serve(op.Exists(key="k"), replies.Existence(exists=True))
    assert house.events() == [("debug", "exists"), ("debug", "timing")]


LOUD = {
    "internal": "internal_error",
    "unauthenticated": "authentication_failed",
    "rate_limited": "rate_exceeded",
    "too_large": "size_refused",
    "over_quota": "quota_exceeded",
    "busy": "storage_busy",
    "storage_full": "storage_full",
    "storage_damaged": "storage_damaged",
}


@pytest.mark.parametrize("error", ERRORS.values())
def test_refusals_that_somebody_must_see_are_errors(tmp_path: Path, error: type[StashError]) -> None:
    house = House(tmp_path, "INFO")
    house.serve(op.Get(key="k"), error=error("a message may quote what was sent"))
    (line,) = house.lines()
    assert (line["level"], line["event"]) == (
        ("error", LOUD[error.code]) if error.code in LOUD else ("info", "refused")
    )
    assert line["code"] == error.code
    assert "quote" not in house.path.read_text()


def test_a_value_near_the_limit_is_a_warning(tmp_path: Path) -> None:
    house = House(tmp_path, "WARNING")
    limit = FREE.max_value
    house.serve(op.Set(key="k"), entry(), payload_bytes=-(-limit * 8 // 10) - 1)
    house.serve(op.Get(key="k"), entry(), payload_bytes=limit)
    house.serve(op.Set(key="k"), error=TooLarge("no"), payload_bytes=limit + 1)
    assert house.events() == [("error", "size_refused")]
    house.serve(op.Set(key="k"), entry(), payload_bytes=-(-limit * 8 // 10))
    assert house.events()[1:] == [("warning", "large_value")]
    assert house.lines()[1]["limit_bytes"] == limit


def test_an_extend_in_the_last_moment_is_a_warning(tmp_path: Path) -> None:
    house = House(tmp_path, "WARNING")
    house.serve(op.Extend(key="k", by_ms=60_000), replies.Remaining(70_001, 9, 2))
    assert house.events() == []
    house.serve(op.Extend(key="k", by_ms=60_000), replies.Remaining(70_000, 9, 2))
    assert house.events() == [("warning", "extended_late")]
    assert house.lines()[0]["left_seconds"] == 10.0


def test_80_percent_of_a_rate_is_a_warning(tmp_path: Path) -> None:
    house = House(tmp_path, "WARNING")
    limiter = RateLimiter(Settings(), house.clock, house.observer.rate_warning)
    for _ in range(10):
        limiter.take(CALLER, PEER)
    with pytest.raises(RateLimited):
        limiter.take(CALLER, PEER)
    (line,) = house.lines()
    assert (line["event"], line["limit"], line["remaining"], line["api_key_name"]) == ("rate_near_limit", 60, 2, "ci")


def test_a_level_that_is_off_writes_nothing_and_never_loads_structlog(tmp_path: Path) -> None:
    script = (
        "import sys; from stash_daemon.observe import Observer; from stash_daemon.settings import Settings\n"
        "from tests.support.clock import ManualClock\n"
        f"o = Observer(Settings(log_dir={str(tmp_path)!r}, log_level='ERROR'), ManualClock())\n"
        "o.log('warning', 'x'); o.log('INFO', 'x'); assert 'structlog' not in sys.modules\n"
        "o.log('error', 'x'); assert 'structlog' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])
    assert (tmp_path / "stash.log").read_text().count("\n") == 1


@pytest.mark.parametrize("key", ["a\nb", "\x1b[2J\x1b]0;x\x07", "\u2028\x85\x9b31m", "k" * 10_240, "\udc80", API_KEY])
def test_a_hostile_key_stays_one_harmless_line(tmp_path: Path, key: str) -> None:
    house = House(tmp_path, "INFO")
    house.serve(op.Get(key=key), entry(key=key))
    house.serve(op.Forget(keys=[key] * 256), replies.Forgotten(0))
    data = house.path.read_bytes()
    assert data.isascii()
    assert data.count(b"\n") == 2
    assert len(data) < 20_000
    assert all(byte >= 0x20 for byte in data.replace(b"\n", b""))
    assert API_KEY.encode() not in data
    house.lines()


def test_a_flood_of_refusals_is_no_flood_of_the_log(tmp_path: Path) -> None:
    house = House(tmp_path, "ERROR")
    for _ in range(MAX_REFUSALS + 50):
        house.serve(op.Get(key="k"), error=RateLimited("no"))
    assert len(house.lines()) == MAX_REFUSALS
    house.clock.advance(seconds=1)
    house.serve(op.Get(key="k"), error=RateLimited("no"))
    assert len(house.lines()) == MAX_REFUSALS + 1


def test_what_a_flood_left_out_is_counted_in_the_log(tmp_path: Path) -> None:
    house = House(tmp_path, "WARNING")
    for _ in range(MAX_REFUSALS + 50):
        house.serve(None, caller=None, error=TooLarge("no"))
    house.clock.advance(seconds=1)
    house.serve(None, caller=None, error=TooLarge("no"))
    assert house.lines()[-2]["event"] == "lines_left_out"
    assert house.lines()[-2]["count"] == 50


def test_a_defect_is_told_with_its_traceback_but_without_variables(tmp_path: Path) -> None:
    house = House(tmp_path)
    secret = "the value"
    try:
        dict[int, int]()[len(secret)]
    except KeyError as defect:
        house.observer.log("error", "defect", exc_info=defect)
    (line,) = house.lines()
    assert "KeyError: 9" in line["exception"]
    assert secret not in line["exception"]


def test_a_log_that_cannot_be_written_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where a directory is wanted")
    house = House(tmp_path)
    house.serve(op.Get(key="k"), error=BadRequest("no"))
    assert house.observer.figures(None)["lines_lost"]["log"] == 1


def test_an_embedded_engine_writes_nowhere() -> None:
    observer = Observer(Settings(), ManualClock())
    observer.log("error", "x")
    observer.close()


SCRIPT = """
from stash_daemon.observe import Observer
from stash_daemon.settings import Settings
from tests.support.clock import ManualClock
import sys
o = Observer(Settings(log_dir=sys.argv[1], log_format=sys.argv[2] or None), ManualClock())
try:
    hidden = "the value"
    1 / 0
except ZeroDivisionError as defect:
    o.log("error", "trouble", key="a\\n\\x1b[2J", number=7, exc_info=defect)
"""


def on_a_terminal(directory: Path, log_format: str, **environ: str) -> str:
    """What the script writes to a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SCRIPT, str(directory), log_format]
    try:
        subprocess.run(command, check=True, stderr=theirs, cwd=Path(__file__).parents[3], env={**os.environ, **environ})
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_gets_the_console_form_and_no_file(tmp_path: Path) -> None:
    text = on_a_terminal(tmp_path, "", NO_COLOR="1")
    assert re.match(
        r"2023-11-14T22:13:20\.000Z \[error    \] trouble +key='\"a\\\\n\\\\u001b\[2J\"' number=7\r\n", text
    )
    assert "ZeroDivisionError" in text
    assert "\x1b" not in text
    assert "the value" not in text
    assert "Warning" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_has_colors_unless_told_otherwise(tmp_path: Path) -> None:
    assert "\x1b[" in on_a_terminal(tmp_path, "", NO_COLOR="")
    assert "\x1b[2J" not in on_a_terminal(tmp_path, "", NO_COLOR="")


def test_json_can_be_asked_for_on_a_terminal(tmp_path: Path) -> None:
    assert json.loads(on_a_terminal(tmp_path, "json"))["event"] == "trouble"


def test_console_can_be_asked_for_off_a_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "console"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert "[error    ] trouble" in ran.stderr
    assert "\x1b" not in ran.stderr
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[3])
    assert "[error    ] trouble" in (tmp_path / "stash.log").read_text()


def test_the_tier_in_a_line_is_the_callers(tmp_path: Path) -> None:
    house = House(tmp_path, "INFO")
    tier = Tier(name="own", max_value=10, default_ttl=1, max_ttl=1, quota=10)
    house.serve(op.Get(key="k"), entry(), caller=Caller(namespace="n", tier=tier, scopes=frozenset()))
    assert (house.lines()[0]["tier"], "api_key_name" in house.lines()[0]) == ("own", False)
