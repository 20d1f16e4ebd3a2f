"""What errors say: which limit, whose, and what to do now."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.conftest import free_port


def test_a_clamped_time_names_the_longest_ttl_and_its_tier(stash) -> None:
    stash.ok("set", "words/cut", "v")
    done = stash("extend", "words/cut", "400d")
    assert done.returncode == 0
    assert done.stderr == b"stash: 365d is the longest TTL of tier local; it was clamped\n"
    done = stash("update", "words/cut", "w", "--extend", "400d")
    assert done.stderr == b"stash: 365d is the longest TTL of tier local; it was clamped\n"


def test_an_item_that_is_no_text_is_refused_with_what_to_do(stash) -> None:
    done = stash("append", "words/list", stdin=b"\xff")
    assert done.returncode == 2
    assert b"base64" in done.stderr
    assert b"stash set" in done.stderr


def test_a_wait_is_said_once(own) -> None:
    own.configure("[tiers.local]\nrate = 1\nburst = 1\n")
    own.ok("set", "k", "v")
    done = own("get", "k")
    assert done.returncode == 7
    assert re.fullmatch(rb"stash: tier local allows 1 requests a minute \(try again in [0-9.]+ s\)\n", done.stderr)


def test_another_host_is_not_to_be_mended_by_a_daemon_here(own) -> None:
    port = free_port()
    done = own("get", "k", "--url", f"tcp://127.0.0.1:{port}", STASH_API_KEY="sk_x")
    assert done.returncode == 5
    assert b"`stash serve` starts one" not in done.stderr
    assert f"--tcp HOST:{port}".encode() in done.stderr
    assert b"`stash serve` starts one" in own("get", "k", STASH_AUTOSTART="0").stderr


def test_where_an_api_key_is_needed_both_ways_to_give_one_are_named(own) -> None:
    own.ok("key", "create", "ops", STASH_REQUIRE_API_KEY="1")
    done = own("get", "k")
    assert done.returncode == 4
    assert b"STASH_API_KEY" in done.stderr
    assert b"--api-key-file" in done.stderr


def test_a_relative_home_is_refused(own) -> None:
    for words in (["set", "k", "v"], ["serve"], ["config", "path"], ["doctor", "--json"]):
        done = own(*words, STASH_HOME="here")
        assert done.returncode in (2, 9), words
        said = (done.stdout + done.stderr).decode()
        assert "STASH_HOME must be an absolute path, not 'here'" in said
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "x", "-k", "5000"], "--limit: must be at most 4,096"),
        (["search", "x", "--group", ""], "--group: must have at least 1 character"),
        (["set", "k", "v", "--text", "x" * 40_000], "--text: must have at most 32,768 characters"),
        (["set", "k", "v", *["--tag", "t"] * 33], "--tag: must have at most 32 items"),
        (["append", "k", "v", "--max-len", "9999999"], "--max-len: must be at most 1,000,000"),
        (["message", "list", ""], "ID: must have at least 1 character"),
        (["set", "k", "v", "--model", "m"], "--model: must come with an embedding, whose maker it names"),
        (["search", "x", "--model", "m"], "--model: must come with an embedding, whose maker it names"),
    ],
    ids=lambda part: " ".join(part)[:30] if isinstance(part, list) else None,
)
def test_what_the_daemon_refuses_is_called_as_it_was_typed(stash, words, said) -> None:
    code, error = stash.error(*words)
    assert (code, error) == (2, {"code": "bad_request", "message": said})


def test_what_the_daemon_refuses_in_a_batch_is_called_as_the_line_has_it(stash) -> None:
    done = stash("batch", stdin=b'{"op": "set", "key": "k", "value": "v", "group": ""}\n')
    assert json.loads(done.stdout)["error"]["message"] == "group must have at least 1 character"


def test_a_condition_with_a_sign_that_means_nothing_is_told_the_signs_there_are(stash) -> None:
    done = stash("search", "--where", "a=>2")
    assert done.returncode == 2
    assert b"--where: 'a=>2' has no operator there is; there are >= <= != == = > <, " in done.stderr


def test_vectors_of_other_dimensions_are_told_to_name_their_model(own, tmp_path) -> None:
    for size in (2, 3):
        (tmp_path / f"{size}").write_text(json.dumps([1.0] * size))
    own.ok("set", "a", "v", "--embedding", str(tmp_path / "2"))
    for words in (["set", "b", "v"], ["search"]):
        code, error = own.error(*words, "--embedding", str(tmp_path / "3"))
        assert code == 2
        assert "model 'own'" in error["message"]
        assert "--model" in error["message"]
    own.ok("set", "b", "v", "--embedding", str(tmp_path / "3"), "--model", "three")
