"""The tools for models: what a model is told is what is done, and errors are what a model can act on."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stash_memory import AsyncStash, Stash
from stash_memory.tool_results import HINTS
from stash_memory.tool_table import PAGE, TOOLS, VALUE_BYTES, Tool, schema_of
from stash_memory.tools import AsyncToolbox, Toolbox
from stash_protocol.errors import ERRORS

CALLS: dict[str, list[dict[str, Any]]] = {
    "set": [
        {"key": "k", "value": "v"},
        {"value": {"deep": [1, None]}, "ttl": "30m", "tags": ["a", "b"]},
        {"key": "new", "value": None, "if_absent": True},
    ],
    "get": [{"key": "there"}, {"key": "there", "max_bytes": 2}, {"key": "there", "wait": "1s"}, {"key": "bytes"}],
    "update": [{"key": "there", "value": 7}, {"key": "there", "extend": "10m"}],
    "extend": [{"key": "there", "by": "1h"}, {"key": "there", "by": "4000d"}],
    "forget": [{"keys": ["there", "nothing"]}, {"prefix": "the"}, {"tag": "t"}, {"prefix": "the", "tag": "t"}],
    "list": [{}, {"prefix": "the", "tag": "t", "limit": 1}],
    "search": [{"query": "value"}, {}, {"query": '"(*', "prefix": "the", "tags": ["t"], "k": 1, "budget": 1}],
    "context": [{"query": "value"}, {}, {"prefix": "the", "tags": ["t"], "budget": 1}],
}


@pytest.fixture
def stash() -> Iterator[Stash]:
    with Stash(backend="memory") as stash:
        stash.set("there", "value", ttl="1h", tags=["t"], embed=True)
        stash.set("bytes", b"\xff\x00", ttl="1h")
        yield stash


@pytest.fixture
def toolbox(stash: Stash) -> Toolbox:
    return Toolbox(stash)


def code(answer: dict[str, Any]) -> str:
    assert list(answer) == ["error"]
    return str(answer["error"]["code"])


@pytest.mark.parametrize(("name", "arguments"), [(name, each) for name in TOOLS for each in CALLS[name]])
def test_what_a_schema_allows_is_done_and_answered_as_its_schema_says(
    toolbox: Toolbox, name: str, arguments: dict[str, Any]
) -> None:
    Draft202012Validator(TOOLS[name].arguments()).validate(arguments)
    answer = toolbox.call(name, arguments)
    assert "error" not in answer
    Draft202012Validator(schema_of(TOOLS[name].result)).validate(answer)
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("set", {"key": "k"}),
        ("set", {"key": "", "value": 1}),
        ("set", {"key": "k", "value": 1, "colour": "red"}),
        ("set", {"key": 7, "value": 1}),
        ("get", {}),
        ("get", {"key": "there", "max_bytes": 0}),
        ("extend", {"key": "there"}),
        ("forget", {"prefix": ""}),
        ("list", {"limit": 1001}),
        ("search", {"k": 0}),
        ("search", {"query": "x" * 40_000}),
        ("context", {"budget": 0}),
    ],
)
def test_what_a_schema_forbids_is_refused_and_named(toolbox: Toolbox, name: str, arguments: dict[str, Any]) -> None:
    assert not Draft202012Validator(TOOLS[name].arguments()).is_valid(arguments)
    answer = toolbox.call(name, arguments)
    assert code(answer) == "bad_request"
    assert answer["error"]["message"].startswith(f"{name}: ")


@pytest.mark.parametrize("tool", TOOLS.values(), ids=list(TOOLS))
def test_a_tool_tells_a_model_all_it_needs_on_lines_of_their_own(tool: type[Tool]) -> None:
    assert tool.description().endswith(".")
    assert "  " not in tool.description()
    schema = tool.arguments()
    assert schema["type"] == "object"
    assert "$ref" not in json.dumps(schema)
    assert all(field.get("description") for name, field in schema["properties"].items() if name != "tags")


def test_definitions_are_functions_as_ollama_and_openai_take_them(toolbox: Toolbox) -> None:
    assert [each["type"] for each in toolbox.definitions] == ["function"] * len(TOOLS)
    assert [each["function"]["name"] for each in toolbox.definitions] == list(TOOLS)
    assert set(toolbox.definitions[0]["function"]) == {"name", "description", "parameters"}
    json.dumps(toolbox.definitions)


def test_tools_can_have_a_prefix_and_are_called_by_it(stash: Stash) -> None:
    toolbox = Toolbox(stash, prefix="stash_")
    assert toolbox.definitions[0]["function"]["name"] == "stash_set"
    assert toolbox.call("stash_get", {"key": "there"})["value"] == "value"
    assert code(toolbox.call("get", {"key": "there"})) == "bad_request"


def test_a_value_comes_back_as_what_it_was(toolbox: Toolbox, stash: Stash) -> None:
    for value in ("text", {"a": [1, 2.5, None, True]}, [1], 7, False, None):
        toolbox.call("set", {"key": "k", "value": value})
        answer = toolbox.call("get", {"key": "k"})
        assert answer["value"] == value
        assert stash.get("k") == value
    answer = toolbox.call("get", {"key": "bytes"})
    assert base64.b64decode(answer["value_base64"]) == b"\xff\x00"
    assert "value" not in answer


def test_a_value_that_is_not_what_its_writer_called_it_is_still_shown(toolbox: Toolbox, stash: Stash) -> None:
    from stash_memory import Portable

    stash.import_([Portable("j", "json", b"{broken", 60), Portable("t", "text", b"\xff", 60)])
    assert toolbox.call("get", {"key": "j"})["value"] == "{broken"
    assert toolbox.call("get", {"key": "t"})["value_base64"] == "/w=="


def test_a_long_value_is_cut_between_characters_and_says_so(toolbox: Toolbox) -> None:
    toolbox.call("set", {"key": "k", "value": "é" * VALUE_BYTES})
    answer = toolbox.call("get", {"key": "k"})
    assert answer["truncated"] is True
    assert answer["size"] == 2 * VALUE_BYTES
    assert len(answer["value"].encode()) == VALUE_BYTES
    assert toolbox.call("get", {"key": "k", "max_bytes": 3})["value"] == "é"
    assert "truncated" not in toolbox.call("get", {"key": "k", "max_bytes": 2 * VALUE_BYTES})
    toolbox.call("set", {"key": "j", "value": ["x" * 100]})
    assert toolbox.call("get", {"key": "j", "max_bytes": 4})["value"] == '["xx'


def test_a_list_has_pages_and_none_is_lost(toolbox: Toolbox, stash: Stash) -> None:
    keys = [f"many/{number:03}" for number in range(PAGE + 5)]
    for key in keys:
        stash.set(key, 1)
    first = toolbox.call("list", {"prefix": "many/"})
    rest = toolbox.call("list", {"prefix": "many/", "cursor": first["cursor"]})
    assert [row["key"] for row in first["entries"] + rest["entries"]] == keys
    assert "cursor" not in rest


def test_models_may_write_numbers_and_flags_as_text_and_nothing_as_null(toolbox: Toolbox) -> None:
    answer = toolbox.call("set", {"key": "k", "value": 1, "ttl": 90, "if_absent": "true", "tags": None})
    assert answer["ttl"] == 90
    assert code(toolbox.call("set", {"key": "k", "value": 1, "if_absent": "true"})) == "conflict"
    assert len(toolbox.call("list", {"limit": "1", "tag": None})["entries"]) == 1
    assert toolbox.call("update", {"key": "k", "value": None, "extend": "1m"})["ttl"] > 100
    assert toolbox.call("get", {"key": "k"})["value"] == 1, "null is as good as left out"


def test_arguments_may_still_be_json_text(toolbox: Toolbox) -> None:
    assert toolbox.call("get", '{"key": "there"}')["value"] == "value"
    assert len(toolbox.call("list", "")["entries"]) == 2
    for broken in ('{"key": ', "[1]", "null"):
        assert code(toolbox.call("get", broken)) == "bad_request"


def test_errors_say_what_a_model_can_do(toolbox: Toolbox) -> None:
    missing = toolbox.call("get", {"key": "nothing"})["error"]
    assert missing["code"] == "not_found"
    assert "expired" in missing["message"]
    assert "list" in missing["hint"]
    large = toolbox.call("set", {"value": "x" * (9 << 20)})["error"]
    assert large["code"] == "too_large"
    assert "(8.0 MiB)" in large["message"], "the limit is named"
    assert "365d" in toolbox.call("set", {"value": 1, "ttl": "400d"})["error"]["message"]
    assert code(toolbox.call("set", {"key": "there", "value": 1, "if_version": 99})) == "conflict"
    assert code(toolbox.call("set", {"value": 1, "ttl": "soon"})) == "bad_request"
    assert code(toolbox.call("get", {"key": "nothing", "wait": "20ms"})) == "timeout"
    assert (
        code(toolbox.call("forget", {})) == code(toolbox.call("forget", {"keys": ["a"], "tag": "t"})) == "bad_request"
    )
    unknown = toolbox.call("fetch", {})["error"]
    assert "there are set, get" in unknown["message"]
    assert set(HINTS) <= set(ERRORS)


def test_what_was_stored_is_found_by_what_it_says(toolbox: Toolbox) -> None:
    toolbox.call("set", {"key": "a/leak", "value": "the leak is in the cache", "tags": ["bug"]})
    toolbox.call("set", {"key": "a/plan", "value": {"next": "mend the cache"}})
    toolbox.call("set", {"key": "b/cache", "value": "another cache"})
    toolbox.call("set", {"key": "a/hidden", "value": "a cache to be found by its key alone", "searchable": False})

    def found(**arguments: Any) -> set[str]:
        return {hit["key"] for hit in toolbox.call("search", arguments)["hits"]}

    assert found(query="cache") == {"a/leak", "a/plan", "b/cache"}
    assert found(query="cache", prefix="a/") == {"a/leak", "a/plan"}
    assert found(query="cache", tags=["bug", "other"]) == {"a/leak"}
    assert len(found(query="cache", k=1)) == 1
    (hit,) = toolbox.call("search", {"query": "leak"})["hits"]
    assert (hit["content"], hit["tags"]) == ("the leak is in the cache", ["bug"])
    toolbox.call("update", {"key": "a/leak", "value": "it was the parser"})
    assert found(query="leak") == set()
    assert found(query="parser") == {"a/leak"}
    toolbox.call("forget", {"keys": ["a/leak"]})
    assert found(query="parser") == set()


def test_what_is_known_comes_as_one_text_within_its_budget(toolbox: Toolbox) -> None:
    for number in range(5):
        toolbox.call("set", {"key": f"fact/{number}", "value": f"fact {number} " + "word " * 40})
    whole = toolbox.call("context", {"query": "fact", "prefix": "fact/"})
    assert len(whole["keys"]) == 5
    assert "truncated" not in whole
    some = toolbox.call("context", {"query": "fact", "prefix": "fact/", "budget": 120})
    assert some["truncated"] is True
    assert 0 < len(some["keys"]) < 5
    assert some["tokens"] <= 120
    assert all(f"fact {key[-1]} " in some["context"] for key in some["keys"])
    least = toolbox.call("context", {"query": "fact", "prefix": "fact/", "budget": 1})
    assert len(least["keys"]) == 1, "one is always given"


def test_a_refused_call_changes_nothing(toolbox: Toolbox, stash: Stash) -> None:
    before = [(entry.key, entry.version) for entry in stash.list()]
    toolbox.call("forget", {"keys": ["there"], "prefix": "by"})
    toolbox.call("set", {"key": "there", "value": 1, "ttl": "nonsense"})
    toolbox.call("update", {"key": "there", "value": 1, "if_version": 99})
    assert [(entry.key, entry.version) for entry in stash.list()] == before


@pytest.mark.parametrize("name", [name for name, tool in TOOLS.items() if tool.reads])
def test_a_tool_that_says_it_only_reads_changes_nothing(toolbox: Toolbox, stash: Stash, name: str) -> None:
    before = [(entry.key, entry.version, entry.expires_at) for entry in stash.list()]
    for arguments in CALLS[name]:
        toolbox.call(name, arguments)
    assert [(entry.key, entry.version, entry.expires_at) for entry in stash.list()] == before


def test_the_awaited_toolbox_answers_alike() -> None:
    async def scenario() -> None:
        async with AsyncStash(backend="memory") as stash:
            toolbox = AsyncToolbox(stash, prefix="s.")
            assert toolbox.definitions[0]["function"]["name"] == "s.set"
            assert (await toolbox.call("s.set", {"key": "k", "value": [1]}))["type"] == "json"
            assert (await toolbox.call("s.get", {"key": "k"}))["value"] == [1]
            assert code(await toolbox.call("s.get", {"key": "nothing"})) == "not_found"
            waiting = asyncio.create_task(toolbox.call("s.get", {"key": "later", "wait": "30s"}))
            await toolbox.call("s.set", {"key": "later", "value": "came"})
            assert (await waiting)["value"] == "came"

    asyncio.run(scenario())
