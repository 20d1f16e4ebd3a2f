"""PROTOCOL.md says what the code does, and a client written from it works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stash_daemon.doors import connection, patience
from stash_daemon.engine import MAX_BULK
from stash_protocol.address import DEFAULT_PORT
from stash_protocol.frames import MAX_ENVELOPE, MAX_ENVELOPE_STRANGER, MAX_PAYLOAD
from stash_protocol.operations import DEFAULT_TIMEOUT, MAX_BATCH, MAX_FORGET_KEYS, MAX_IMPORT
from stash_protocol.replies import Event
from tests.protocol.page import PAGE, fields, rendered
from tests.support.daemon import RunningDaemon

CLIENT = Path(__file__).parents[2] / "examples" / "client.mjs"
NODE = shutil.which("node", path=os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])) or "node"


def test_the_generated_parts_are_what_the_code_says() -> None:
    page = PAGE.read_text()
    assert page == rendered(page), "python -m tests.protocol.page writes them anew"


@pytest.mark.parametrize(
    "sentence",
    [
        f"1 to {MAX_ENVELOPE:,}\n",
        f"0 to {MAX_PAYLOAD:,}\n",
        f"port {DEFAULT_PORT} unless",
        f"{DEFAULT_TIMEOUT:,} unless given",
        f"at most {MAX_ENVELOPE_STRANGER:,} bytes",
        f"within {connection.HELLO_PATIENCE:g} seconds",
        f"may have {connection.MAX_ERRANDS} requests",
        f"dropped after {patience.STALL_PATIENCE:g} seconds",
        f"| {MAX_BATCH:,} requests |",
        f"| {MAX_IMPORT:,} rows |",
        f"| {MAX_FORGET_KEYS} keys |",
        f"| {MAX_BULK >> 20} MiB, or",
    ],
)
def test_the_limits_in_the_prose_are_those_of_the_code(sentence: str) -> None:
    assert sentence in PAGE.read_text()


def test_the_table_of_events_has_every_field() -> None:
    for field in fields(Event):
        assert f"\n| `{field.strip('`').split(':')[0].rstrip('?')}` |" in PAGE.read_text()


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    with RunningDaemon() as running:
        yield running


def node(daemon: RunningDaemon, op: str, value: bytes = b"", **envelope: object) -> tuple[dict[str, object], bytes]:
    """Runs the example client once; the reply or error, and the payload."""
    done = subprocess.run(
        [NODE, str(CLIENT), op, json.dumps(envelope)],
        input=value,
        capture_output=True,
        timeout=30,
        env=os.environ | {"STASH_SOCKET": str(daemon.socket)},
    )
    return json.loads(done.stderr), done.stdout


def test_a_client_in_another_language_reads_back_what_it_wrote(daemon: RunningDaemon) -> None:
    value = bytes(range(256)) * 1000
    entry, _ = node(daemon, "set", value, key="é/😀", type="bytes", ttl_ms=60_000, tags=["a"])
    assert (entry["key"], entry["size"], entry["version"]) == ("é/😀", len(value), 1)
    again, payload = node(daemon, "get", key="é/😀")
    assert payload == value
    assert again["expires_at"] == entry["expires_at"]


def test_a_client_in_another_language_meets_errors_by_their_code(daemon: RunningDaemon) -> None:
    answer, _ = node(daemon, "get", key="never written")
    assert answer["error"]["code"] == "not_found"  # type: ignore[index]
    answer, _ = node(daemon, "set", b"x" * (16 * 1024 * 1024 + 1), key="big")
    assert answer["error"]["code"] == "too_large"  # type: ignore[index]


def test_a_client_in_another_language_counts_below_zero_and_reads_floats(daemon: RunningDaemon) -> None:
    answer, _ = node(daemon, "incr", key="n", by=-(10**12))
    assert answer["number"] == -(10**12)
    status, _ = node(daemon, "status")
    assert isinstance(status["uptime_seconds"], float)


def test_a_client_in_another_language_pipelines_and_watches(daemon: RunningDaemon) -> None:
    script = f"""
        import {{ Client }} from "{CLIENT.as_uri()}";
        const client = new Client("{daemon.socket}");
        const heard = [];
        const watching = client.call("watch", {{ prefix: "w/" }}, undefined, (e) => heard.push(e.event + e.key));
        const sets = Array.from({{ length: 20 }}, (_, n) => client.call("set", {{ key: "w/" + n }}, Buffer.from("v")));
        await Promise.all([watching, ...sets]);
        const {{ reply }} = await client.call("list", {{ prefix: "w/" }});
        console.log(JSON.stringify({{ heard, count: reply.count }}));
        client.close();
    """
    command = [NODE, "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert json.loads(done.stdout) == {"heard": [f"setw/{n}" for n in range(20)], "count": 20}


def test_the_example_client_is_as_short_as_the_page_says() -> None:
    assert len(CLIENT.read_text().splitlines()) < 100
