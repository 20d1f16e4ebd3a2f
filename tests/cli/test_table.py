"""The table of verbs, held against the operations and settings it stands for."""

from __future__ import annotations

import importlib
import typing

import pytest

from stash_cli import hot
from stash_cli.commands.batch import MAX_ATOMIC
from stash_cli.commands.search import MOST
from stash_cli.fast import SEARCHING
from stash_cli.hot_verbs import HOT_VERBS, KINDS, ROLES
from stash_cli.options import GLOBAL_OPTIONS, Argument, Option, Verb, read
from stash_cli.serve_options import SERVE_OPTIONS
from stash_cli.verbs import VERBS
from stash_daemon.settings import LOCAL_TIER, SETTINGS
from stash_protocol import memories, operations
from stash_protocol.errors import BadRequest, StashError
from stash_protocol.memories import Filter, Memory
from stash_protocol.operations import OPERATIONS


def fields_of(kind: type, within: str = "") -> set[str]:
    """The fields of a request, with those of a memory or a filter in place of it."""
    found: set[str] = set()
    for name, hint in typing.get_type_hints(kind).items():
        inner = next((part for part in (Memory, Filter) if part in (hint, *typing.get_args(hint))), None)
        found |= fields_of(inner, f"{name}.") if inner else {within + name}
    return found


FIELDS = {row.name: fields_of(row.request) for row in OPERATIONS.values()}
ENTERED_OTHERWISE = {  # fields no option is for, and why
    "id": "chosen by the connection",
    "timeout_ms": "--timeout",
    "type": "from the value and --json-value",
    "many": "an item a command; agents append several",
    "analytics": "stats always asks for it",
    "report": "--dry-run and --archive ask for it",
    "limit": "of a page; --limit counts all pages",
    "cursor": "export walks all pages; list has --cursor",
    "memory.text_is_value": "--embed without --text",
    "memory.made": "export says so",
    "memory.archived_at": "export says so",
    "whole": "message get always asks for it",
    "kind": "stash message and stash episode say it",
    "filter.keys": "get reads by key",
    "filter.prefix": "--prefix of prune",
    "filter.segments": "search has --segments; prune has --prefix",
    "tokens": "conversation stats counts them",
}
BY_OTHER_MEANS = {
    "hello",
    "cancel",
    "batch",
    "clear",
    "stop",
    "ready",
    "embedded",
}  # operations whose fields no verb shows

CONTRACT = [
    "set",
    "get",
    "update",
    "extend",
    "forget",
    "ttl",
    "exists",
    "list",
    "search",
    "context",
    "retention run",
    "retention show",
    "embed status",
    "embed retry",
    "embed rebuild",
    "episode add",
    "episode query",
    "episode prune",
    "episode save",
    "episode load",
    "message add",
    "message get",
    "message update",
    "message forget",
    "message list",
    "conversation list",
    "conversation show",
    "conversation update",
    "conversation forget",
    "conversation stats",
    "incr",
    "append",
    "pop",
    "tail",
    "batch",
    "watch",
    "prune",
    "export",
    "import",
    "mcp",
    "serve",
    "status",
    "ping",
    "ready",
    "stop",
    "stats",
    "top",
    "doctor",
    "key create",
    "key list",
    "key rotate",
    "key revoke",
    "config show",
    "config path",
    "completion",
]
"""Every verb, in the order of the help."""


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.op], ids=lambda verb: verb.name)
def test_every_option_that_goes_on_the_wire_is_a_field_of_the_operation(verb: Verb) -> None:
    for row in verb.rows:
        if row.wire:
            assert row.wire in FIELDS[verb.op], row.label
            assert row.wire.endswith("_ms") == (row.kind == "duration"), row.label


def test_every_field_of_every_operation_can_be_typed() -> None:
    for op, fields in FIELDS.items():
        if op not in BY_OTHER_MEANS:
            typed = {row.wire for verb in VERBS if verb.op == op for row in verb.rows}
            if op == "update":
                typed.add("memory.kind")  # which no update changes
            assert fields - typed - set(ENTERED_OTHERWISE) == set(), op


def test_serve_takes_every_setting() -> None:
    flags = {option.name for option in SERVE_OPTIONS} | {"socket"}
    assert flags - {"env_file"} == set(SETTINGS) | set(LOCAL_TIER)
    for option in SERVE_OPTIONS:
        if option.choices:
            assert sorted(option.choices) == sorted(SETTINGS[option.name].choices), option.label


def test_every_verb_has_somebody_who_carries_it_out() -> None:
    for verb in VERBS:
        module, _, name = verb.run.partition(":")
        assert callable(getattr(importlib.import_module(f"stash_cli.{module}"), name))
    assert {verb.run.partition(":")[0] for verb in HOT_VERBS} == {"hot"}
    assert [verb for verb in VERBS if verb.hot] == [*HOT_VERBS, *(verb for verb in VERBS if verb.name in SEARCHING)]


def test_no_flag_means_two_things_in_one_verb() -> None:
    for verb in VERBS:
        flags = [flag for option in (*GLOBAL_OPTIONS, *verb.options) for flag in option.flags]
        names = [row.name for row in (*verb.rows, *GLOBAL_OPTIONS)]
        assert len(flags) == len(set(flags)), verb.name
        assert len(names) == len(set(names)), verb.name


def test_every_verb_of_the_contract_is_there() -> None:
    assert [verb.name for verb in VERBS] == CONTRACT


def test_limits_the_light_modules_repeat_are_those_of_the_protocol() -> None:
    assert (hot.MAX_FORGET_KEYS, hot.MAX_PAGE) == (operations.MAX_FORGET_KEYS, operations.MAX_PAGE)
    assert MAX_ATOMIC == operations.MAX_BATCH
    assert (typing.get_args(memories.Kind), typing.get_args(memories.Role)) == (KINDS, ROLES)
    assert MOST <= memories.MAX_HITS
    choices = {row.name: row.choices for verb in VERBS if verb.name == "search" for row in verb.options if row.choices}
    assert choices["mode"] == typing.get_args(memories.Mode)
    assert choices["order"] == typing.get_args(memories.Order)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("duration", "1h30m", 5_400_000),
        ("duration", "250ms", 250),
        ("count", "0", 0),
        ("number", "1", 1),
        ("integer", "-9223372036854775808", -(2**63)),
        ("integer", "+5", 5),
        ("size", "16M", 16 << 20),
        ("prefix", "", ""),
        ("tag", "ü", "ü"),
        ("text", "", ""),
        ("words", "naïve", "naïve"),
        ("decimal", "-0.5", -0.5),
        ("share", "1", 1.0),
        ("moment", "1970-01-01", 0),
        ("moment", "2026-01-31T14:00:00.250+01:00", 1_769_864_400_250),
        ("moment", "2026-01-31T13:00:00.250", 1_769_864_400_250),
        ("moment", "1769864400.25", 1_769_864_400_250),
        ("condition", "a.b>=0.5", ["a.b", "gte", 0.5]),
        ("condition", "lang=en", ["lang", "eq", "en"]),
        ("condition", 'lang=">x"', ["lang", "eq", ">x"]),
        ("condition", "path= =x", ["path", "eq", "=x"]),
        ("pair", "n=1.0", ("n", "1.0")),
        ("pair", 's=a "text"=', ("s", '"a \\"text\\"="')),
        ("pair", "x=NaN", ("x", '"NaN"')),
    ],
)
def test_what_is_typed_is_read(kind: str, text: str, value: object) -> None:
    assert read(Argument("x", kind, ""), text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("duration", "0"),
        ("duration", "-1s"),
        ("duration", "1x"),
        ("duration", "NaN"),
        ("count", "-1"),
        ("number", "0"),
        ("integer", "9223372036854775808"),
        ("integer", "1_000"),
        ("integer", "１"),
        ("integer", "9" * 5000),
        ("integer", ""),
        ("key", ""),
        ("key", "x" * 2049),
        ("prefix", "x" * 2049),
        ("tag", ""),
        ("tag", "x" * 129),
        ("size", "12X"),
        ("choice", "other"),
        ("words", "\udcff"),
        ("decimal", "x"),
        ("decimal", "nan"),
        ("decimal", "1e999"),
        ("share", "1.01"),
        ("share", "-0.1"),
        ("moment", "soon"),
        ("moment", "1969-12-31"),
        ("moment", "2026-02-30"),
        ("moment", "99999999999999999"),
        ("moment", ""),
        ("condition", "no sign"),
        ("condition", "=1"),
        ("condition", "n=99999999999999999999"),
        ("condition", "n>1e999"),
        ("condition", "a=>2"),
        ("condition", "a==>2"),
        ("condition", "a=!b"),
        ("condition", "a<>b"),
        ("pair", "no sign"),
        ("pair", "=v"),
        ("pair", "a=\udcff"),
        ("vector", "-"),
        ("vector", "/dev/null/nobody"),
        ("vector", "/dev/null"),
        ("vector", "a\0b"),
    ],
)
def test_what_cannot_be_read_names_the_option(kind: str, text: str) -> None:
    with pytest.raises(BadRequest, match=r"^--given: "):
        read(Option("--given", kind, "", choices=("one",)), text)


def test_the_exit_statuses_of_the_help_are_those_of_the_errors() -> None:
    from stash_cli.help import EXIT_STATUSES

    assert {status for status, _ in EXIT_STATUSES} == {0, *(error.exit_status for error in StashError.__subclasses__())}
