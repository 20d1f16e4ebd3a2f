"""`stash batch`, `export`, `import`, `prune`, `incr`, `append` and `watch`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest

from stash_cli import portable
from stash_cli.call import Call
from stash_cli.commands import prune
from stash_cli.verbs import VERBS
from stash_daemon.settings import MAX_VALUE


def lines(*commands: object) -> bytes:
    return "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in commands).encode()


def replies(output: bytes) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def test_batch_answers_in_order_and_goes_on_after_an_error(own) -> None:
    done = own(
        "batch",
        stdin=lines(
            {"op": "set", "key": "k", "value": "v", "ttl": 60},
            "not json",
            {"op": "get", "key": "absent"},
            {"op": "get", "key": "k"},
            "",
            {"op": "list"},
            {"op": "forget", "key": "k"},
            {"op": "list"},
        ),
    )
    got = replies(done.stdout)
    assert [reply["ok"] for reply in got] == [True, False, False, True, True, True, True]
    assert [reply["error"]["code"] for reply in got if not reply["ok"]] == ["bad_request", "not_found"]
    assert got[3]["value"] == "v"
    assert 59 < got[3]["ttl"] <= 60
    assert [entry["key"] for entry in got[4]["entries"]] == ["k"]
    assert got[6]["entries"] == []
    assert done.returncode == 2, "the first that failed"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "not a JSON object"),
        ({"op": "hello"}, "op must be one of"),
        ({"op": []}, "op must be one of"),
        ({"op": "get"}, "needs 'key'"),
        ({"op": "get", "key": 5}, "must be a text"),
        ({"op": "get", "key": "k", "nonsense": 1}, "has no 'nonsense'"),
        ({"op": "set", "key": "k"}, "needs 'value'"),
        ({"op": "set", "key": "k", "value_base64": "?"}, "value_base64"),
        ({"op": "set", "key": "k", "value": "v", "ttl": True}, "ttl"),
        ({"op": "set", "key": "k", "value": "v", "ttl": -1}, "ttl: '-1' is not a duration"),
        ({"op": "extend", "key": "k", "by": "x"}, "by: 'x' is not"),
        pytest.param({"op": "list", "prefix": "p" * 3000}, "prefix: a prefix has", id="long prefix"),
        ({"op": "set", "key": "k", "value": "v", "tags": [""]}, "tags: a tag has"),
        ({"op": "set", "key": "k", "value": "v", "tags": "t"}, "must be a list"),
        ({"op": "set", "key": "k", "value": "v", "if_absent": 1}, "true or false"),
        ({"op": "update", "key": "k"}, "'extend'"),
        ({"op": "forget", "keys": []}, "must be a list"),
        ('{"op": "set", "key": "k", "value": NaN}', "NaN"),
        ('{"op": "set", "key": "k", "ttl": 1e999, "value": 1}', "finite"),
        ('{"op": "set", "key": "\\ud800", "value": 1}', "UTF-8"),
        ('{"op": "set", "key": "k", "value": "\\ud800"}', "Unicode"),
    ],
    ids=str,
)
def test_a_line_that_cannot_be_meant_is_answered_and_changes_nothing(stash, line: object, said: str) -> None:
    done = stash("batch", stdin=lines(line))
    (reply,) = replies(done.stdout)
    assert (reply["ok"], reply["error"]["code"], done.returncode) == (False, "bad_request", 2)
    assert said in reply["error"]["message"]


def test_batch_keeps_values_and_their_types(own) -> None:
    values = [{"value": "text"}, {"value": {"a": [1, None]}}, {"value": None}, {"value_base64": "/w=="}]
    commands = [{"op": "set", "key": f"k{n}", **value} for n, value in enumerate(values)]
    reads = [{"op": "get", "key": f"k{n}"} for n in range(len(values))]
    got = replies(own.ok("batch", stdin=lines(*commands, *reads)))[len(values) :]
    assert [reply["type"] for reply in got] == ["text", "json", "json", "bytes"]
    assert [{name: reply[name] for name in value} for value, reply in zip(values, got, strict=True)] == values


JSON_TEXTS = ["1.10", "12345678901234567890.5", "1e999", "9" * 5000, '{"a" :[1E2,\t-0.0] , "\\u00fc":"\\ud800"}', "[]"]


@pytest.mark.parametrize("atomic", [[], ["--atomic"]], ids=["pipelined", "atomic"])
def test_batch_keeps_json_as_it_is_written(own, atomic) -> None:
    commands = [f'{{"op": "set", "key": "k{n}", "value": {text}, "ttl": 60}}' for n, text in enumerate(JSON_TEXTS)]
    own.ok("batch", *atomic, stdin=lines(*commands))
    assert [own.ok("get", f"k{n}").decode() for n in range(len(JSON_TEXTS))] == JSON_TEXTS
    own.ok("batch", *atomic, stdin=lines('{"op": "append", "key": "l", "value": 1.10}'))
    assert own.ok("get", "l") == b"[1.10]"


def test_a_number_with_more_digits_than_python_reads_is_imported(own) -> None:
    own.ok("import", "-", stdin=b'{"key": "k", "value": ' + b"9" * 5000 + b"}")
    assert own.ok("get", "k") == b"9" * 5000


def test_the_longest_line_holds_the_largest_value_in_base64() -> None:
    assert MAX_VALUE * 4 / 3 < portable.MAX_LINE


@pytest.mark.parametrize("words", [["batch"], ["import", "-"]], ids=["batch", "import"])
def test_a_line_that_is_too_long_is_refused(stash, words) -> None:
    program = (
        "import sys; from stash_cli import app, portable; portable.MAX_LINE = 200_000; sys.exit(app.run(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *words],
        input=b"x" * 2_000_000,
        capture_output=True,
        env=stash.environment,
    )
    assert done.returncode == 2
    assert b"more than 200,000 bytes" in done.stderr


def test_large_values_among_small_ones_pass_through_a_batch(own) -> None:
    large = "x" * 3_000_000
    commands = [{"op": "set", "key": f"k{n}", "value": large if n % 7 == 0 else "small"} for n in range(15)]
    reads = [{"op": "get", "key": f"k{n}"} for n in range(15)]
    got = replies(own.ok("batch", stdin=lines(*commands, *reads)))
    assert [len(reply["value"]) for reply in got[15:]] == [3_000_000 if n % 7 == 0 else 5 for n in range(15)]


def test_an_atomic_batch_is_all_or_none(own) -> None:
    own.ok("set", "k", "before")
    done = own("batch", "--atomic", stdin=lines({"op": "update", "key": "k", "value": "x"}, {"op": "ttl", "key": "no"}))
    assert [reply["error"]["code"] for reply in replies(done.stdout)] == ["not_found", "not_found"]
    assert done.returncode == 3
    assert own.ok("get", "k") == b"before"
    assert own("batch", "--atomic", stdin=lines({"op": "set", "value": "v"}, "{")).returncode == 2
    got = replies(own.ok("batch", "--atomic", stdin=lines({"op": "incr", "key": "n"}, {"op": "incr", "key": "n"})))
    assert [reply["number"] for reply in got] == [1, 2]


def test_batch_answers_each_line_before_it_waits_for_the_next(stash) -> None:
    talk = subprocess.Popen(
        stash.line("batch"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=stash.environment, bufsize=0
    )
    assert talk.stdin is not None
    assert talk.stdout is not None
    for number in range(3):
        talk.stdin.write(lines({"op": "set", "key": "talk", "value": str(number)}))
        assert json.loads(talk.stdout.readline())["ok"]
    talk.stdin.close()
    talk.stdout.close()
    assert talk.wait(30) == 0


def test_ten_thousand_commands_are_25_times_as_fast_as_separate_calls(own) -> None:
    own.ok("set", "k", "v")
    started = time.perf_counter()
    for _ in range(10):
        own.ok("set", "k", "v")
    separate = (time.perf_counter() - started) / 10
    commands = lines({"op": "set", "key": "k", "value": "v"}) * 10_000
    started = time.perf_counter()
    assert own.ok("batch", stdin=commands).count(b'"ok": true') == 10_000
    assert separate * 10_000 >= 25 * (time.perf_counter() - started)


def test_counters_and_lists(stash) -> None:
    stash("forget", "n", "l")
    assert stash.ok("incr", "n") == b"1\n"
    assert stash.ok("incr", "n", "--", "-5") == b"-4\n"
    assert stash.json("incr", "n", "--ttl", "5m")["number"] == -3
    assert stash.error("incr", "n", "x")[0] == 2
    assert stash.ok("append", "l", 'say "ü"', "--max-len", "2") == b"1\n"
    assert stash.ok("append", "l", "--json-value", "--max-len", "2", stdin=b'{"a": 1}') == b"2\n"
    assert stash.json("append", "l", "last", "--max-len", "2")["length"] == 2
    assert json.loads(stash.ok("get", "l")) == [{"a": 1}, "last"]
    assert stash.error("append", "l", "{", "--json-value")[0] == 2
    assert stash.error("append", "l", stdin=b"\xff")[0] == 2


@pytest.mark.parametrize("verb", ["set", "append"])
@pytest.mark.parametrize("options", [[], ["--json-value"]], ids=["text", "json"])
def test_no_more_of_a_value_is_read_than_the_tier_allows(own, verb: str, options: list[str]) -> None:
    own.configure('[tiers.local]\nmax_value = "256K"\n')
    part, written = b"[" * (1 << 16), 0
    with subprocess.Popen(
        own.line(verb, "k", *options), stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=own.environment, bufsize=0
    ) as talk:
        assert talk.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            while written < 1 << 24:
                written += talk.stdin.write(part)
        said = talk.communicate(timeout=30)[1]
    assert talk.returncode == 8, said
    assert written < 1 << 23


def test_watch_tells_what_happens(own) -> None:
    own.ok("ping")
    watching = subprocess.Popen(
        own.line("watch", "w/", "--json", "--count", "4", "-v"), stdout=subprocess.PIPE, env=own.environment
    )
    events: list[dict] = []
    assert watching.stdout is not None
    os.set_blocking(watching.stdout.fileno(), False)
    deadline = time.monotonic() + 30
    while not events:  # the watch has begun once it tells of a write
        own.ok("set", "w/a", "v")
        events += replies(watching.stdout.read() or b"")
        assert time.monotonic() < deadline
    own.ok("set", "other", "v")
    own.ok("forget", "w/a")
    own.ok("set", "w/soon", "v", "--ttl", "20ms")
    os.set_blocking(watching.stdout.fileno(), True)
    events += replies(watching.stdout.read())
    assert watching.wait(30) == 0
    assert len(events) == 4
    assert all(event["key"].startswith("w/") and event["at"].endswith("Z") for event in events)
    watching.stdout.close()


def test_a_watch_ends_when_its_timeout_says(stash) -> None:
    started = time.monotonic()
    done = stash("watch", "nothing/", "--timeout", "300ms")
    assert (done.returncode, done.stderr) == (124, b"stash: the watch ended after 0.3 s, as --timeout said\n")
    assert 0.3 <= time.monotonic() - started < 10


VALUES = {
    "bytes": ([], b"\x00\xff\n"),
    "text": ([], "grüße\n".encode()),
    "compact": (["--json-value"], b'{"a":1.10,"b":[1e3,12345678901234567890]}'),
    "pretty": (["--json-value"], b'\n{"a":\t1,\r\n "b": "\xe2\x80\xa8"}\n'),
    "empty": ([], b""),
}


def test_an_export_comes_back_bit_for_bit_with_the_time_that_was_left(two, tmp_path) -> None:
    source, target = two
    for key, (options, value) in VALUES.items():
        source.ok("set", key, *options, "--ttl", "30m", "--tag", f"t-{key}", stdin=value)
    path = str(tmp_path / "all.jsonl")
    assert source.json("export", path) == {"exported": 5, "file": path}
    assert os.stat(path).st_mode & 0o777 == 0o600
    for words in (["export", "--prefix", "te"], ["export", "-", "--prefix", "te"]):
        assert [row["key"] for row in replies(source.ok(*words))] == ["text"]
    assert target.json("import", path) == {"imported": 5, "skipped": 0, "clamped": 0}
    for key, (options, value) in VALUES.items():
        assert target.ok("get", key) == value
        entry = target.json("get", key)
        assert entry["type"] == ("json" if options else key if key in ("bytes", "text") else "text")
        assert 1700 < entry["ttl"] < 1800
        assert target.ok("list", "--tag", f"t-{key}").decode().split() == [key]
    assert target.json("import", path)["skipped"] == 5
    assert target.json("import", path, "--replace")["imported"] == 5
    assert target.json("import", "-", stdin=b'{"key": "plain", "value": "v"}\n')["imported"] == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "JSON object"),
        ('{"key": "k", "value": "v"} more', "follows"),
        ('{"key": "k"', "JSON object"),
        ('{"value": "v"}', "no key"),
        ('{"key": "k"}', "neither"),
        ('{"key": "", "value": "v"}', "a key has"),
        ('{"key": "k", "value": "v", "ttl": "x"}', "ttl"),
        ('{"key": "k", "value": "v", "ttl": -1e999}', "ttl must be seconds"),
        ('{"key": "k", "value": "v", "ttl": -1' + "0" * 400 + "}", "ttl must be seconds"),
        ('{"key": "k", "value": "v", "ttl": -1' + "0" * 5000 + "}", "ttl must be seconds"),
        ('{"key": "k", "value": "v", "ttl": NaN}', "JSON has no NaN"),
        ('{"key": "k", "value": [Infinity]}', "JSON has no Infinity"),
        ('{"key": "k", "value": 5, "type": "text"}', "must be a text"),
        ('{"key": "k", "value": 5, "type": "other"}', "type must be"),
        ('{"key": "k", "value": "v", "tags": "t"}', "tags"),
        ('{"key": "k", "value_base64": "?"}', "value_base64"),
    ],
)
def test_a_line_no_export_wrote_is_named(stash, line: str, said: str) -> None:
    status, error = stash.error("import", "-", stdin=b'\n{"key": "import/before", "value": 1}\n' + line.encode())
    assert status == 2
    assert error["message"].startswith("line 3: ")
    assert said in error["message"]


def test_files_that_cannot_be_used_are_named(stash, tmp_path) -> None:
    for words in (["import", "/dev/null/x"], ["export", "/dev/null/x"], ["import", str(tmp_path)]):
        status, error = stash.error(*words)
        assert status == 2
        assert words[1] in error["message"]


def test_prune_is_silent_and_does_what_it_says(own, tmp_path) -> None:
    for number in range(5):
        own.ok("set", f"log/{number}", f"value {number}", "--tag", "t")
    own.ok("set", "other", "v")
    done = own("prune")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert own.ok("prune", "--prefix", "log/", "--keep-newest", "2", "--dry-run").decode().split() == [
        "log/0",
        "log/1",
        "log/2",
    ]
    archive = tmp_path / "old.jsonl"
    report = own.json("prune", "--prefix", "log/", "--keep-newest", "2", "--archive", str(archive))
    assert (report["pruned"], report["archive"]) == (3, str(archive))
    assert own.ok("list").decode().split() == ["log/3", "log/4", "other"]
    assert archive.stat().st_mode & 0o777 == 0o600
    assert own.json("import", str(archive)) == {"imported": 3, "skipped": 0, "clamped": 0}
    assert own.ok("get", "log/1") == b"value 1"
    assert own.ok("list", "--tag", "t").decode().split() == [f"log/{number}" for number in range(5)]
    assert own.json("prune", "--tag", "t", "--keep-newest", "0")["pruned"] == 5
    assert own.error("prune", "--keep-newest", "0", "--archive", "/dev/null/x")[0] == 2
    assert own.ok("list") == b"other\n"


def test_what_is_written_while_it_is_archived_stays(own, tmp_path, monkeypatch, capfd) -> None:
    """Between every two steps of a prune somebody writes; only what nobody wrote goes, with its tags in the archive."""
    for name in ("early", "late", "gone", "old", "new"):
        own.ok("set", name, f"first {name}", "--tag", "t")
    archive = tmp_path / "old.jsonl"
    writes = iter([("early",), ("late",)])
    asked = prune._condemned

    def ask_and_write(*arguments):
        answer = asked(*arguments)
        for name in next(writes, ()):
            own.ok("update", name, f"second {name}")
        own("forget", "gone")
        return answer

    monkeypatch.setattr(prune, "_condemned", ask_and_write)
    verb = next(verb for verb in VERBS if verb.name == "prune")
    socket = f"{own.home}/stash.sock"
    call = Call(verb, {"keep_newest": 1, "archive": str(archive), "json": True, "socket": socket})
    try:
        prune.prune(call)
    finally:
        call.hang_up()
    report = json.loads(capfd.readouterr().out)
    assert (report["pruned"], report["bytes"]) == (1, len("first old"))
    assert own.ok("list").decode().split() == ["early", "late", "new"]
    assert [own.ok("get", name) for name in ("early", "late")] == [b"second early", b"second late"]
    archived = {row["key"]: row for row in replies(archive.read_bytes())}
    assert archived["old"]["value"] == "first old"
    assert archived["old"]["tags"] == ["t"]
    assert own.json("prune")["pruned"] == 0


def test_an_archive_that_cannot_be_written_whole_deletes_nothing(own) -> None:
    own.ok("set", "k", "v")
    status, error = own.error("prune", "--keep-newest", "0", "--archive", "/dev/full")
    assert (status, error["code"]) == (2, "bad_request")
    assert "nothing was deleted" in error["message"]
    assert own.ok("get", "k") == b"v"
