"""`stash pop` and `stash tail`: the items of a list."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cli.conftest import Command
from tests.cli.test_ends import Person


def filled(own: Command, *items: str) -> None:
    """A list ``l`` of JSON items."""
    for item in items:
        own.ok("append", "l", "--json-value", item)


def test_pop_prints_the_last_item_or_the_first_and_takes_it_off(own: Command) -> None:
    filled(own, '"a"', '"b"', '"c"')
    assert own.ok("pop", "l") == b"c"
    assert own.ok("pop", "l", "--first") == b"a"
    assert own.ok("get", "l") == b'["b"]'


@pytest.mark.parametrize("item", ['say "\u00fc"', "two\nlines\n", "", "1"])
def test_a_text_comes_off_a_list_as_it_was_appended(own: Command, item: str) -> None:
    own.ok("append", "l", stdin=item.encode())
    assert own.ok("pop", "l").decode() == item


@pytest.mark.parametrize("item", ["1.10", '{"a":[1E2]}', "null", "[]"])
def test_any_other_item_comes_off_a_list_as_json(own: Command, item: str) -> None:
    filled(own, item)
    assert own.ok("pop", "l").decode() == item


def test_a_list_without_items_is_not_found_by_pop_and_an_empty_one_by_tail(own: Command) -> None:
    assert own.error("pop", "l")[0] == own.error("tail", "l")[0] == 3
    own.ok("set", "l", "[]", "--json-value")
    done = own("pop", "l")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"is empty" in done.stderr
    assert own.ok("tail", "l") == b"[]"
    own.ok("set", "l", "no list")
    assert own.error("pop", "l")[0] == own.error("tail", "l")[0] == 2


def test_tail_prints_the_last_items_as_get_prints_the_list(own: Command) -> None:
    filled(own, '"a"', "1.10", '{"b":1}')
    assert own.ok("tail", "l") == b'[{"b":1}]'
    assert own.ok("tail", "l", "-n", "2") == b'[1.10,{"b":1}]'
    assert own.ok("tail", "l", "--count", "9") == own.ok("get", "l")
    assert Person(own, "tail", "l").end() == (0, b'[{"b":1}]\n')
    assert Person(own, "pop", "l").end() == (0, b'{"b":1}\n')
    assert own.error("tail", "l", "-n", "0")[0] == 2


def test_tail_restores_the_time_of_a_list_only_if_told_to(own: Command) -> None:
    own.ok("append", "l", "a", "--ttl", "1h")
    until = own.json("tail", "l")["expires_at"]
    assert own.json("tail", "l")["expires_at"] == until
    assert own.json("tail", "l", "--touch")["expires_at"] > until


def test_json_says_items_how_many_are_in_the_list_and_its_entry(own: Command) -> None:
    filled(own, '"a"', '{"b":\n1}')
    said = own.json("tail", "l", "-n", "2")
    assert (said["items"], said["length"], said["key"]) == (["a", {"b": 1}], 2, "l")
    said = own.json("pop", "l")
    assert (said["item"], said["length"], said["version"]) == ({"b": 1}, 1, 3)


@pytest.mark.parametrize("atomic", [[], ["--atomic"]], ids=["pipelined", "atomic"])
def test_a_batch_pops_and_tails(own: Command, atomic: list[str]) -> None:
    filled(own, "1.10", '{"b":\n2}', '"c"')
    ops = [
        {"op": "tail", "key": "l", "count": 2},
        {"op": "pop", "key": "l", "first": True},
        {"op": "pop", "key": "l"},
    ]
    done = own("batch", *atomic, stdin="\n".join(map(json.dumps, ops)).encode())
    tail, first, last = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0
    assert (tail["items"], tail["length"]) == ([{"b": 2}, "c"], 3)
    assert (first["item"], first["length"], last["item"], last["length"]) == (1.1, 2, "c", 1)


def test_many_who_pop_at_once_get_every_item_once(own: Command) -> None:
    items = [str(number) for number in range(12)]
    filled(own, *items)
    script = 'while job=$("$@"); do echo "$job"; done'
    workers = [
        subprocess.Popen(
            ["sh", "-c", script, "sh", *own.line("pop", "l", "--first")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=own.environment,
        )
        for _ in range(3)
    ]
    got = [worker.communicate(timeout=60)[0].decode().split() for worker in workers]
    assert sorted([job for jobs in got for job in jobs], key=int) == items
    assert own.ok("get", "l") == b"[]"
