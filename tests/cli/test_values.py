"""Values in and out of the hot verbs, byte for byte."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.daemon import eventually


@pytest.mark.parametrize(
    "value", [b"", b"v", b"\n", b"a\nb\n", b"\x00\xff\xfe", "grüße\n".encode(), bytes(range(256)) * 1024], ids=len
)
def test_what_goes_in_comes_out_bit_for_bit(stash, value: bytes) -> None:
    assert stash.ok("set", "bits", stdin=value) == b"bits\n"
    assert stash.ok("get", "bits") == value


def test_a_value_larger_than_one_read_comes_out_whole(stash) -> None:
    value = b"0123456789abcdef" * (1 << 18)  # 4 MiB
    stash.ok("set", "large", stdin=value)
    assert stash.ok("get", "large") == value


def test_a_value_of_the_command_line_is_text_even_with_bytes_that_are_not(stash) -> None:
    stash.ok("set", "typed", "grüße")
    assert stash.json("get", "typed")["type"] == "text"
    stash.ok("set", b"typed", b"\xff\xfe")
    assert stash.ok("get", "typed") == b"\xff\xfe"
    assert stash.json("get", "typed")["value_base64"] == "//4="


def test_stdin_is_text_when_it_is_utf_8_and_else_bytes(stash) -> None:
    stash.ok("set", "piped", "-", stdin="grüße".encode())
    assert stash.json("get", "piped")["value"] == "grüße"
    stash.ok("set", "piped", stdin=b"\xff")
    assert stash.json("get", "piped")["value_base64"] == "/w=="


def test_json_is_shown_as_it_was_written(stash) -> None:
    stash.ok("set", "doc", '{"b": 1.10,\n "a": 12345678901234567890}', "--json-value")
    shown = stash.ok("get", "doc", "--json")
    assert b'"value": {"b": 1.10,  "a": 12345678901234567890}' in shown
    assert stash.ok("get", "doc") == b'{"b": 1.10,\n "a": 12345678901234567890}'


@pytest.mark.parametrize("bad", ["{", "NaN", "[1,]", "", "\x00", "[" * 100_000])
def test_a_value_that_is_not_json_is_refused(stash, bad: str) -> None:
    status, error = stash.error("set", "doc", "--json-value", stdin=bad.encode())
    assert (status, error["code"]) == (2, "bad_request")


def test_without_a_key_one_is_made(stash) -> None:
    for words in (("set",), ("set", "-")):
        key = stash.ok(*words, stdin=b"made").decode().strip()
        assert len(key) == 8
        assert key.isalnum()
        assert stash.ok("get", key) == b"made"


def test_the_json_of_an_entry_is_what_the_contract_says(stash) -> None:
    stash.ok("set", "shape", "v", "--ttl", "30m")
    entry = stash.json("get", "shape")
    assert list(entry) == ["key", "type", "value", "ttl", "expires_at", "created_at", "updated_at", "version", "size"]
    assert isinstance(entry["ttl"], float)
    assert 1790 < entry["ttl"] <= 1800
    assert entry["expires_at"].endswith("Z")
    assert len(entry["expires_at"]) == len("2026-01-01T00:00:00.000Z")
    assert entry["size"] == 1
    made = stash.json("set", "shape", "v2")
    assert "value" not in made
    assert made["version"] == entry["version"] + 1


def test_a_value_too_large_is_refused_without_reading_it_all(own) -> None:
    own.ok("ping", STASH_MAX_PAYLOAD_BYTES="1M")
    with open("/dev/zero", "rb") as endless:
        done = subprocess.run(
            own.line("set", "k", "--json"), stdin=endless, capture_output=True, env=own.environment, timeout=30
        )
    assert done.returncode == 8
    assert json.loads(done.stdout)["error"]["code"] == "too_large"
    assert own("get", "k").returncode == 3


def test_update_keeps_the_time_unless_told(stash) -> None:
    stash.ok("set", "up", "a", "--ttl", "60s")
    stash.ok("update", "up", "b")
    assert 50 < float(stash.ok("ttl", "up")) <= 60
    stash.ok("update", "up", "--extend", "1h")
    assert stash.ok("get", "up") == b"b"
    assert 3600 < float(stash.ok("ttl", "up")) <= 3660
    stash.ok("update", "up", "-", "--extend", "1h", stdin=b"c")
    assert stash.ok("get", "up") == b"c"


def test_extend_says_when_the_tier_cut_it(stash) -> None:
    stash.ok("set", "cut", "a")
    done = stash("extend", "cut", "900d")
    assert float(done.stdout) == 365 * 86400
    assert b"longest TTL" in done.stderr
    assert stash.json("extend", "cut", "1d")["clamped"] is True


def test_conflicts_change_nothing(stash) -> None:
    stash.ok("set", "conflict", "a")
    version = stash.json("get", "conflict")["version"]
    assert stash.error("set", "conflict", "b", "--if-absent")[0] == 6
    assert stash.error("update", "conflict", "b", "--if-version", str(version + 1))[0] == 6
    assert stash.ok("get", "conflict") == b"a"
    stash.ok("update", "conflict", "b", "--if-version", str(version))


def test_what_is_absent_is_said_with_3(stash) -> None:
    for words in (["get"], ["ttl"], ["extend", "1h"], ["forget"], ["update", "v"]):
        verb, *rest = words
        done = stash(verb, "nothing-here", *rest)
        assert (done.returncode, done.stdout) == (3, b""), words
        assert done.stderr.startswith(b"stash: ")
        assert stash.error(verb, "nothing-here", *rest)[1]["code"] == "not_found"
    assert stash("exists", "nothing-here").returncode == 3
    assert stash.ok("get", "nothing-here", "--default", "d") == b"d"
    assert stash.json("get", "nothing-here", "--default", "d")["value"] == "d"


def test_get_waits_for_a_key_that_comes(stash) -> None:
    waiting = subprocess.Popen(
        stash.line("get", "comes", "--wait", "20s"), stdout=subprocess.PIPE, env=stash.environment
    )
    stash.ok("set", "comes", "now")
    assert waiting.communicate(timeout=30)[0] == b"now"
    assert waiting.returncode == 0


def test_get_gives_up_waiting_with_124(stash) -> None:
    status, error = stash.error("get", "never-comes", "--wait", "50ms")
    assert (status, error["code"]) == (124, "timeout")
    assert error["message"] == "the key did not appear within 0.05 s"


def test_a_default_given_beside_a_wait_is_printed_when_the_wait_runs_out(stash) -> None:
    assert stash.ok("get", "never-comes", "--wait", "50ms", "--default", "d") == b"d"
    assert stash.json("get", "never-comes", "--wait", "50ms", "--default", "d")["default"] is True


@pytest.mark.parametrize("words", [("get", "never-comes", "--wait", "25s", "--default", "d"), ("watch",)])
def test_whoever_waits_when_the_daemon_is_stopped_exits_with_5(own, words) -> None:
    own.ok("set", "k", "v")
    waiting = subprocess.Popen(own.line(*words), stderr=subprocess.PIPE, env=own.environment)
    eventually(lambda: own.json("status")["connections"] == 2)
    own.ok("stop")
    assert b"it stopped, or was stopped" in waiting.communicate(timeout=30)[1]
    assert waiting.returncode == 5
    assert own("get", "k", STASH_AUTOSTART="0").returncode == 5, "and it started no other"


def test_forget_counts(own) -> None:
    keys = [f"k{number}" for number in range(300)]
    own.ok("batch", stdin="".join(json.dumps({"op": "set", "key": k, "value": ""}) + "\n" for k in keys).encode())
    own.ok("set", "tagged", "v", "--tag", "t", "--tag", "u")
    assert own.ok("forget", *keys, "absent") == b"300\n"
    assert own.json("forget", "--tag", "u") == {"forgotten": 1}
    assert own("forget", "--prefix", "", "--yes").returncode == 3
    assert own("forget").returncode == 2
    assert own("forget", "a", "--prefix", "b").returncode == 2


def test_list_prints_keys_as_they_are(own) -> None:
    for key in ("b", "a/ü", "a/1", "a b"):
        own.ok("set", key, "v")
    assert own.ok("list").decode().splitlines() == ["a b", "a/1", "a/ü", "b"]
    assert own.ok("ls", "a/").decode().splitlines() == ["a/1", "a/ü"]
    assert own.ok("ls", "a/", "--reverse", "--limit", "1").decode().splitlines() == ["a/ü"]
    long = own.ok("list", "-l").decode().splitlines()
    assert long[0].split() == ["SIZE", "TTL", "AGE", "KEY"]
    assert [line.split(maxsplit=4)[4] for line in long[1:]] == ["a b", "a/1", "a/ü", "b"]
    assert own.ok("list", "nothing") == b""
    assert own.json("list", "nothing") == {"entries": [], "cursor": None}


def test_list_goes_on_where_it_ended(own) -> None:
    lines = "".join(json.dumps({"op": "set", "key": f"k{n:04}", "value": ""}) + "\n" for n in range(1234))
    own.ok("batch", stdin=lines.encode())
    assert len(own.ok("list").splitlines()) == 1234
    seen, cursor = [], ""
    while cursor is not None:
        page = own.json("list", "--limit", "500", "--cursor", cursor)
        seen += [entry["key"] for entry in page["entries"]]
        cursor = page["cursor"]
    assert seen == sorted(f"k{n:04}" for n in range(1234))
    assert len(own.ok("list", "--limit", "1100").splitlines()) == 1100


def test_a_file_too_large_is_refused_by_its_length_alone(own, tmp_path) -> None:
    own.ok("ping", STASH_MAX_PAYLOAD_BYTES="1M")
    path = tmp_path / "large"
    path.write_bytes(b"x" * 5_000_000)
    with path.open("rb") as file:
        done = subprocess.run(own.line("set", "k"), stdin=file, capture_output=True, env=own.environment, timeout=30)
        assert file.tell() < 2_000_000, "it was read to the end"
    assert done.returncode == 8
    assert b"5,000,000" in done.stderr or b"4.8 MiB" in done.stderr


@pytest.mark.parametrize(
    "words", [["set", "k"], ["set", "k", "--json-value"], ["update", "k"], ["append", "k"]], ids=" ".join
)
def test_of_a_pipe_that_is_too_long_only_the_limit_is_known(own, words) -> None:
    own.ok("ping", STASH_MAX_PAYLOAD_BYTES="100K")
    if words[0] == "update":
        own.ok("set", "k", "v")
    done = own(*words, stdin=b"1" * 500_000)
    assert done.returncode == 8
    assert done.stderr == b"stash: the value has more than the 102,400 bytes tier local allows\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["incr", "c", "99999999999999999999999"], "out of range"),
        (["incr", "c", "9223372036854775808"], "out of range"),
        (["incr", "c", "--", "-9223372036854775809"], "out of range"),
        (["incr", "c", "9" * 5000], "out of range"),
        (["incr", "c", "1.5"], "is not a whole number"),
        (["list", "--limit", "99999999999999999999"], "out of range"),
        (["set", "k", "v", "--ttl", "99999999d"], "too long"),
        (["get", "k", "--timeout", "999999999999"], "too long"),
        (["get", "k", "--timeout", "soon"], "is not a duration"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else value,
)
def test_what_is_out_of_range_is_not_called_malformed(stash, words, said: str) -> None:
    status, error = stash.error(*words)
    assert (status, error["code"]) == (2, "bad_request")
    assert said in error["message"]


def test_a_number_may_have_zeros_in_front(own) -> None:
    assert own.ok("incr", "c", "0" * 30 + "7") == b"7\n"


def test_beside_a_value_a_dash_is_a_key(own) -> None:
    assert own.ok("set", "-", "v") == b"-\n"
    assert own.ok("get", "--", "-") == b"v"
