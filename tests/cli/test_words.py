"""What errors say: which limit, whose, and what to do now."""

from __future__ import annotations

import re

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
