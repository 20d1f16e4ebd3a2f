"""Rules of retention: which memories, by age, importance, role, tags and group, and what becomes of them.

They stand in the configuration file as ``[[retention.rules]]``, in the order in which they are tried.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

from stash_daemon.setting import DURATION, read, table_of
from stash_protocol.errors import BadRequest
from stash_protocol.memories import Role
from stash_protocol.types import MAX_DURATION

MAX_RULES = 100  # each is tried on every memory
MAX_NAMES = 100  # in one list of a rule
MAX_NAME = 512  # characters: as long as a group may be

Age = Annotated[int, Meta(ge=1, le=MAX_DURATION, extra=DURATION)]
Share = Annotated[float, Meta(ge=0, le=1)]
Action = Literal["archive", "delete", "extend"]


class Rule(Struct, frozen=True, kw_only=True):
    """One rule; all of its conditions must hold. Times in milliseconds.

    Attributes:
        name: what reports call it.
        roles, tags, groups: any of these; empty: whichever.
    """

    name: str
    action: Annotated[Action, Meta(description="what becomes of the memories")]
    older_than: Annotated[Age | None, Meta(description="it happened longer ago")] = None
    importance_below: Annotated[Share | None, Meta(description="less important than that")] = None
    importance_from: Annotated[Share | None, Meta(description="as important as that, or more")] = None
    keep: Annotated[
        Age | None, Meta(description="with extend: how long it has left afterwards, within the tier's longest TTL")
    ] = None
    roles: tuple[Role, ...] = ()
    tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


LISTS = {
    "roles": "has one of these roles",
    "tags": "has one of these tags",
    "groups": "belongs to one of these groups: conversations, tasks",
}
"""Conditions that are a text or a list of texts."""

RULE_SETTINGS = table_of(Rule, leave_out=("name", *LISTS))
CONDITIONS = ("older_than", "importance_below", "importance_from", *LISTS)


def read_rules(path: str, given: object) -> tuple[Rule, ...]:
    """The rules somebody wrote.

    Args:
        path: of the file, for errors.
        given: what TOML made of ``[[retention.rules]]``.

    Raises:
        BadRequest: one line that names file, rule and setting, and what is allowed.
    """
    where = f"{path}: retention.rules"
    if not (isinstance(given, list) and all(isinstance(rule, dict) for rule in given)):
        raise BadRequest(f"{where} are written as sections [[retention.rules]]")
    if len(given) > MAX_RULES:
        raise BadRequest(f"{where}: {len(given)} rules; there may be {MAX_RULES}")
    rules = tuple(_rule(f"{where}[{number}]", f"rule {number}", rule) for number, rule in enumerate(given, 1))
    names = [rule.name for rule in rules]
    for number, name in enumerate(names, 1):
        if name in names[: number - 1]:
            raise BadRequest(f"{where}[{number}].name: there is another rule {name!r}")
    return rules


def unknown(name: str, known: Collection[str]) -> str:
    """Why a setting is refused that there is not, for the end of a message."""
    import difflib

    found = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {found[0]}?" if found else ""


def _rule(where: str, name: str, given: dict[str, Any]) -> Rule:
    values: dict[str, Any] = {"name": name}
    for key, raw in given.items():
        if key == "name":
            values[key] = _names(f"{where}.{key}", [raw])[0]
        elif key in LISTS:
            values[key] = _names(f"{where}.{key}", [raw] if isinstance(raw, str) else raw)
        elif key in RULE_SETTINGS:
            values[key] = read(RULE_SETTINGS[key], raw, f"{where}.{key}")
        else:
            known = ("name", *LISTS, *RULE_SETTINGS)
            raise BadRequest(f"{where}.{key}: there is no such setting of a rule{unknown(key, known)}")
    strangers = [role for role in values.get("roles", ()) if role not in get_args(Role)]
    if strangers:
        raise BadRequest(f"{where}.roles must be of {', '.join(get_args(Role))}, not {strangers[0]!r}")
    return _checked(where, values)


def _checked(where: str, values: dict[str, Any]) -> Rule:
    """The rule, if its settings go together."""
    action = values.get("action")
    if action is None:
        raise BadRequest(f"{where}.action is missing; it must be {RULE_SETTINGS['action'].allowed}")
    if not any(values.get(name) is not None for name in CONDITIONS):
        raise BadRequest(f"{where} has no condition, and would {action} every memory; give one of {_list(CONDITIONS)}")
    if (action == "extend") != (values.get("keep") is not None):
        said = "is missing" if action == "extend" else f"does not go with action {action}"
        raise BadRequest(f"{where}.keep {said}; it says how long an extended memory has left")
    return Rule(**values)


def _names(where: str, given: object) -> tuple[str, ...]:
    """Texts, at least one: an empty list would be no condition at all."""
    if isinstance(given, list) and 0 < len(given) <= MAX_NAMES:
        names = tuple(name for name in given if isinstance(name, str) and 0 < len(name) <= MAX_NAME)
        if len(names) == len(given):
            return names
    raise BadRequest(f"{where} must be a text of 1 to {MAX_NAME} characters, or a list of 1 to {MAX_NAMES} of them")


def _list(words: Collection[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"
