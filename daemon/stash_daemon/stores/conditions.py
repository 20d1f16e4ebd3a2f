"""Conditions in SQL: on a range of keys, and on what memories say of themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from stash_daemon.memory_store import KINDS, ROLES
from stash_protocol.errors import BadRequest
from stash_protocol.memories import Condition, Filter

LAST = "\U0010ffff"  # the greatest character: no key sorts behind 513 of them (2,048 bytes)

OPERATORS = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
OWN_FIELDS = {
    "score": ("m.score", ("real", "integer")),
    "reward": ("m.score", ("real", "integer")),
    "group": ('m."group"', ("text",)),
    "role": (
        "CASE m.role WHEN 1 THEN 'system' WHEN 2 THEN 'user' WHEN 3 THEN 'assistant' WHEN 4 THEN 'tool' END",
        ("text",),
    ),
}
"""What may be asked for by name beside the metadata: the column, and its types."""


def behind(prefix: str) -> str:
    """The least string that sorts behind every key with the prefix; SQLite compares UTF-8, which is by code point."""
    stem = prefix.rstrip(LAST)
    if not stem:
        return LAST * 513
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are no characters


def meets(condition: Condition) -> tuple[str, list[Any]]:
    """Whether a row of ``memories m`` meets a condition, and what to bind.

    Values of different JSON types are never equal, greater or less; true is not 1.

    Raises:
        BadRequest: the operator does not go with the value.
    """
    path = json_path(condition.path)
    sql, values = _in_metadata(path, condition)
    if "." in condition.path:  # a name with a dot in it comes before a path
        flat = f'$."{condition.path}"'
        flat_sql, flat_values = _in_metadata(flat, condition)
        sql = f"CASE WHEN json_type(m.metadata, ?) IS NULL THEN {sql} ELSE {flat_sql} END"
        values = [flat, *values, *flat_values]
    own = OWN_FIELDS.get(condition.path)
    if own is None:
        return sql, values
    column, _ = own
    own_sql, own_values = _compared(f"typeof({column})", column, None, condition)
    return f"CASE WHEN json_type(m.metadata, ?) IS NULL THEN {own_sql} ELSE {sql} END", [path, *own_values, *values]


def passes(wanted: Filter) -> tuple[str, list[Any]]:
    """Whether a row of ``memories m`` with its ``entries e`` is let through by a filter, and what to bind.

    Raises:
        BadRequest: a condition that makes no sense.
    """
    parts: list[tuple[str, list[Any]]] = [meets(condition) for condition in wanted.where]
    if not wanted.archived:
        parts.append(("m.archived IS NULL", []))
    if wanted.kind is not None:
        parts.append(("m.kind = ?", [KINDS.index(wanted.kind)]))
    if wanted.roles:
        parts.append(_among("m.role", [ROLES.index(role) for role in wanted.roles]))
    if wanted.keys is not None:
        parts.append(_among("e.key", wanted.keys))
    for sql, value in (
        ("m.at >= ?", wanted.after),
        ("m.at < ?", wanted.before),
        ("m.score >= ?", wanted.min_score),
        ('m."group" = ?', wanted.group),
    ):
        if value is not None:
            parts.append((sql, [value]))
    if wanted.group_prefix:
        parts.append(('m."group" >= ? AND m."group" < ?', [wanted.group_prefix, behind(wanted.group_prefix)]))
    parts += [("EXISTS (SELECT 1 FROM tags WHERE entry = m.entry AND tag = ?)", [tag]) for tag in wanted.tags_all]
    if wanted.tags_any:
        sql, values = _among("tag", wanted.tags_any)
        parts.append((f"EXISTS (SELECT 1 FROM tags WHERE entry = m.entry AND {sql})", values))
    if wanted.prefix:
        parts.append(under(wanted.prefix, segments=wanted.segments))
    return " AND ".join(sql for sql, _ in parts) or "1", [value for _, values in parts for value in values]


def under(prefix: str, *, segments: bool) -> tuple[str, list[Any]]:
    """Whether the key of ``entries e`` has a prefix, or with ``segments`` those of its segments; and what to bind."""
    stem = prefix.rstrip("/") + "/" if segments else prefix
    sql, values = "e.key >= ? AND e.key < ?", [stem, behind(stem)]
    return (f"({sql} OR e.key = ?)", [*values, prefix.rstrip("/")]) if segments else (sql, values)


def _among(column: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    return f"{column} IN ({', '.join('?' * len(values))})", list(values)


def _in_metadata(path: str, condition: Condition) -> tuple[str, list[Any]]:
    return _compared("json_type(m.metadata, ?)", "json_extract(m.metadata, ?)", path, condition)


def json_path(dotted: str) -> str:
    """``a.b`` as SQLite writes it.

    Raises:
        BadRequest: a part is empty, or has a quotation mark.
    """
    parts = dotted.split(".")
    if '"' in dotted or not all(parts):
        raise BadRequest(f"{dotted!r} is not a path into metadata; write names with dots between them")
    return "$" + "".join(f'."{part}"' for part in parts)


def _compared(kind: str, value: str, path: str | None, condition: Condition) -> tuple[str, list[Any]]:
    place: list[Any] = [] if path is None else [path]
    if condition.op == "in":
        if not isinstance(condition.value, list):
            raise BadRequest(f"{condition.path}: in needs a list of values")
        parts = [_compared(kind, value, path, Condition(condition.path, "eq", item)) for item in condition.value]
        if not parts:
            return "0", []
        return "(" + " OR ".join(sql for sql, _ in parts) + ")", [item for _, items in parts for item in items]
    if isinstance(condition.value, list):
        raise BadRequest(f"{condition.path}: {condition.op} compares with one value, not with a list")
    if condition.op == "ne":
        sql, values = _compared(kind, value, path, Condition(condition.path, "eq", condition.value))
        return f"NOT ifnull({sql}, 0)", values
    if condition.value is None:
        if condition.op != "eq":
            raise BadRequest(f"{condition.path}: nothing is greater or less than null")
        return f"ifnull({kind}, 'null') = 'null'", place
    return _typed(kind, value, place, condition)


def _typed(kind: str, value: str, place: list[Any], condition: Condition) -> tuple[str, list[Any]]:
    wanted = condition.value
    operator = OPERATORS[condition.op]
    if isinstance(wanted, bool):
        if condition.op != "eq":
            raise BadRequest(f"{condition.path}: nothing is greater or less than {json.dumps(wanted)}")
        return f"ifnull({kind}, '') = ?", [*place, json.dumps(wanted)]
    if isinstance(wanted, int) and not -(2**63) <= wanted < 2**63:
        wanted = float(wanted)  # as SQLite takes such a number in the metadata
    types = "('text')" if isinstance(wanted, str) else "('integer', 'real')"
    return f"(ifnull({kind}, '') IN {types} AND {value} {operator} ?)", [*place, *place, wanted]
