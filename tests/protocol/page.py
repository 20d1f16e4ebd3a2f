"""The tables of PROTOCOL.md, made from the code. ``python -m tests.protocol.page`` writes them into the page."""

from __future__ import annotations

import json
import re
from inspect import getdoc
from pathlib import Path
from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect

from stash_protocol.analytics import Analytics, Day, ModelUse, Talk, Trend, Usage
from stash_protocol.errors import ERRORS
from stash_protocol.frames import HEADER
from stash_protocol.memories import Condition, Filter, Hit, Memory
from stash_protocol.operations import OPERATIONS, Access, Cargo, Operation, Request
from stash_protocol.replies import ApiKeyInfo, Entry
from stash_protocol.retention import Chosen, RetentionRule
from stash_protocol.searching import Conversation

PAGE = Path(__file__).parents[2] / "protocol" / "PROTOCOL.md"
GOLDEN = Path(__file__).parent / "golden"

MAPS: tuple[type[msgspec.Struct], ...] = (
    Entry,
    Memory,
    Filter,
    Condition,
    Hit,
    Conversation,
    ApiKeyInfo,
    RetentionRule,
    Chosen,
    Analytics,
    Usage,
    Trend,
    Day,
    Talk,
    ModelUse,
)
COMMON = frozenset(Request.__struct_fields__)  # said once, for all requests
EXAMPLES = ("hello", "welcome", "set", "set_reply", "get", "get_reply", "watch_push", "not_found", "rate_limited")


def type_name(kind: inspect.Type) -> str:
    """A type as the page writes it."""
    match kind:
        case inspect.StrType():
            return "text" + _between(kind.min_length, kind.max_length)
        case inspect.BytesType():
            return "bytes" + _between(kind.min_length, kind.max_length)
        case inspect.FloatType():
            return "float" + _between(kind.ge, kind.le)
        case inspect.IntType():
            return "int" + _between(kind.ge if kind.gt is None else kind.gt + 1, kind.le)
        case inspect.ListType():
            return f"array of {type_name(kind.item_type)}" + _between(kind.min_length, kind.max_length, "items ")
        case inspect.LiteralType():
            return " or ".join(json.dumps(value) for value in kind.values)
        case inspect.UnionType():
            return " or ".join(type_name(part) for part in kind.types)
        case inspect.StructType():
            return kind.cls.__name__
    names = {inspect.BoolType: "bool", inspect.NoneType: "nil", inspect.DictType: "map"}
    return names[type(kind)]


def fields(struct: type[msgspec.Struct], leave_out: frozenset[str] = frozenset()) -> list[str]:
    """The fields of a map, each as ``name: type`` or ``name?: type = default``."""
    shape = inspect.type_info(struct)
    assert isinstance(shape, inspect.StructType)
    return [_field(field) for field in shape.fields if field.name not in leave_out]


def operations() -> str:
    """A section for each operation."""
    return "\n\n".join(_operation(row) for row in OPERATIONS.values())


def maps() -> str:
    """What fields and payloads are made of, beside plain values."""
    return "\n\n".join(f"### {cls.__name__}\n\n{_text(cls)}\n\n- {_shape(cls)}" for cls in MAPS)


def _shape(cls: type[msgspec.Struct]) -> str:
    kind = "array" if cls.__struct_config__.array_like else "map"
    return f"{kind}: " + " · ".join(fields(cls))


def errors() -> str:
    """The table of codes."""
    rows = ["| code | meaning | exit status of the command |", "|---|---|---|"]
    rows += [f"| `{code}` | {_first_line(error.__doc__)} | {error.exit_status} |" for code, error in ERRORS.items()]
    return "\n".join(rows)


def examples() -> str:
    """Golden frames, with what they say."""
    return "\n\n".join(_example(name) for name in EXAMPLES)


def rendered(page: str) -> str:
    """The page with its generated parts made anew."""
    for name, make in (("errors", errors), ("operations", operations), ("maps", maps), ("examples", examples)):
        start, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
        before, found, rest = page.partition(start)
        assert found, f"{PAGE.name} has no {start.strip()}"
        page = f"{before}{start}\n{make()}\n\n{end}{rest.partition(end)[2]}"
    return page


def _field(field: inspect.Field) -> str:
    default: Any = field.default
    if default is NODEFAULT and field.default_factory is not NODEFAULT:
        default = field.default_factory()
    if default is NODEFAULT:
        return f"`{field.encode_name}: {type_name(field.type)}`"
    kind = type_name(field.type).removesuffix(" or nil")
    value = "" if default is None or isinstance(default, msgspec.Struct) else f" = {json.dumps(default)}"
    return f"`{field.encode_name}?: {kind}{value}`"


def _operation(row: Operation) -> str:
    text = _text(row.request)
    scope = "any caller" if row.access is Access.KNOWN else f"scope `{row.access.value}`"
    cargo = "none" if row.cargo is Cargo.NONE else f"`{row.cargo.value}`"
    asked = " · ".join(fields(row.request, COMMON)) or "none"
    answered = " · ".join(fields(row.reply)) or "an empty map"
    return f"### {row.name}\n\n{text}\n\n- for {scope}; payload: {cargo}\n- fields: {asked}\n- reply: {answered}"


def _text(cls: type[msgspec.Struct]) -> str:
    """A docstring; its attributes as a list."""
    paragraphs = (getdoc(cls) or "").replace("``", "`").split("\n\n")
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs)


def _paragraph(paragraph: str) -> str:
    if not paragraph.startswith("Attributes:"):
        return " ".join(paragraph.split())
    items = re.split(r"\n    (?=\w[\w, ]*: )", paragraph)[1:]
    return "\n".join(
        f"- `{name}`: {' '.join(meaning.split())}" for name, _, meaning in (i.partition(": ") for i in items)
    )


def _example(name: str) -> str:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    frame = bytes.fromhex(golden["hex"])
    first, _second = HEADER.unpack_from(frame)
    parts = (frame[:4], frame[4:8], frame[8 : 8 + first], frame[8 + first :])
    envelope = json.dumps(golden["envelope"], ensure_ascii=False)
    return f"{golden['about']} `{envelope}`\n\n```\n{' '.join(part.hex() for part in parts).strip()}\n```"


def _between(least: float | None, most: float | None, what: str = "") -> str:
    if least is None and most is None:
        return ""
    if most is None:
        return f"({what}from {least:,})"
    return f"({what}{least or 0:,} to {most:,})"


def _first_line(docstring: str | None) -> str:
    return re.sub("``", "`", (docstring or "").split("\n\n")[0]).strip()


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
