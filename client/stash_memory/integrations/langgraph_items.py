"""How LangGraph's items are kept: what their keys say, and what filters look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from langgraph.store.base import MatchCondition

from stash_memory.values import utf8

ITEMS = "langgraph/store/"
MAX_FILTERED = 256  # characters of a text that a filter can look at: what is longer is prose, and metadata is bounded

Namespace = tuple[str, ...]


def prefix_of(namespace: Namespace) -> str:
    """What the keys of all items in a namespace, and in those below it, begin with; no other's do."""
    return ITEMS + "".join(quote(utf8(label), safe="") + "/" for label in namespace)


def key_of(namespace: Namespace, key: str) -> str:
    """The key of an item's entry."""
    return prefix_of(namespace) + quote(utf8(key), safe="")


def parse(key: str) -> tuple[Namespace, str]:
    """The namespace and the key of an item, from its entry's."""
    *labels, name = (unquote(part) for part in key.removeprefix(ITEMS).split("/"))
    return tuple(labels), name


def matches(namespace: Namespace, condition: MatchCondition) -> bool:
    """Whether a namespace begins or ends as the condition says; ``*`` is any label."""
    path = condition.path
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[-len(path) :]
    return len(part) == len(path) and all(wanted in ("*", label) for label, wanted in zip(part, path, strict=True))


def filtered(value: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a value that filters can look at: numbers, truths and short texts, however deep in objects."""
    kept: dict[str, Any] = {}
    for name, part in value.items():
        if isinstance(part, Mapping):
            kept[name] = filtered(part)
        elif part is None or isinstance(part, (int, float)) or (isinstance(part, str) and len(part) <= MAX_FILTERED):
            kept[name] = part
    return kept


def conditions(wanted: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, str, Any]]:
    """A filter of LangGraph as conditions on metadata: path, operator, value."""
    for name, value in wanted.items():
        if name.startswith("$"):
            yield path, name[1:], value
        elif isinstance(value, Mapping):
            yield from conditions(value, f"{path}.{name}" if path else name)
        else:
            yield f"{path}.{name}" if path else name, "eq", value
