"""Conditions on what memories say of themselves, as people and programs write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from stash_protocol.errors import BadRequest
from stash_protocol.memories import Condition

Where = str | Mapping[str, object] | Iterable[str | tuple[str, str, Any] | Condition]
"""``"reward>=0.5"``; ``{"reward": {"gte": 0.5}, "lang": "en"}``; or several of ``"…"`` or ``(path, op, value)``."""

SIGNS = {">=": "gte", "<=": "lte", "!=": "ne", "==": "eq", "=": "eq", ">": "gt", "<": "lt"}
SIGN_CHARACTERS = ("<", ">", "=", "!")
NAMES = ("eq", "ne", "gt", "gte", "lt", "lte", "in")


def conditions(where: Where) -> list[Condition]:
    """What a search asks of metadata; all must hold.

    Raises:
        BadRequest: one of them cannot be read.
    """
    if isinstance(where, str):
        return [parse(where)]
    if isinstance(where, Mapping):
        return [condition for path, wanted in where.items() for condition in _of(path, wanted)]
    return [_one(item) for item in where]


def parse(text: str) -> Condition:
    """``path>=value``: the value is JSON, or a text as it stands.

    Raises:
        BadRequest: there is no sign in it, or one that means nothing, such as ``=>``.
    """
    place = min((found for sign in SIGNS if (found := text.find(sign)) > 0), default=-1)
    sign = next((sign for sign in SIGNS if place > 0 and text.startswith(sign, place)), None)
    if sign is None:
        raise BadRequest(f"{text!r} is no condition; write name>=0.5, name=text or name!=value")
    value = text[place + len(sign) :]
    if value[:1] in SIGN_CHARACTERS:
        raise BadRequest(
            f"{text!r} has no operator there is; there are {' '.join(SIGNS)}, and a text that begins like one is "
            f'written with quotes: name="{value[0]}…"'
        )
    return _condition(text[:place].strip(), SIGNS[sign], _value(value.strip()))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _one(item: str | tuple[str, str, Any] | Condition) -> Condition:
    if isinstance(item, Condition):
        return item
    return parse(item) if isinstance(item, str) else _condition(*item)


def _of(path: str, wanted: object) -> list[Condition]:
    if isinstance(wanted, Mapping):
        return [_condition(path, str(name).removeprefix("$"), value) for name, value in wanted.items()]
    return [_condition(path, "eq", wanted)]


def _condition(path: str, name: str, value: Any) -> Condition:
    if name not in NAMES:
        raise BadRequest(f"{name!r} is no operator of a condition; there are {', '.join(NAMES)}")
    if isinstance(value, (tuple, set, frozenset)):
        value = list(value)
    return Condition(path, name, value)  # type: ignore[arg-type]  # one of NAMES
