"""One setting: what may be written for it, and how to read that."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

import msgspec.inspect
from msgspec import NODEFAULT, Struct

from stash_protocol.errors import BadRequest
from stash_protocol.types import SIZES, UNITS, parse_duration, parse_size

DURATION, SIZE, PATH = {"kind": "duration"}, {"kind": "size"}, {"kind": "path"}
"""For the ``extra`` of a field's type: what its number or text means, and so how people write it."""

MAX_TEXT = 4096  # characters of one setting: a path at its longest

_SWITCH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
BOUNDED = ("duration", "size", "number", "share")
"""Kinds that are numbers in the end."""

_UNSET = ("off", "none")  # TOML has no null


class Setting(NamedTuple):
    """What can be set, and to what.

    Attributes:
        kind: ``duration``, ``size``, ``number``, ``share``, ``switch``, ``choice``, ``path`` or ``text``.
        choices: for a choice.
        least, most: for what is a number in the end.
        optional: ``off`` unsets it.
    """

    name: str
    meaning: str
    kind: str
    choices: tuple[str, ...]
    least: int
    most: int
    optional: bool
    required: bool
    default: Any

    @property
    def allowed(self) -> str:
        """What may be written, in words."""
        words = {
            "duration": f"a duration such as 45s, 30m, 2h or 7d, {_duration(self.least)} to {_duration(self.most)}",
            "size": f"a size such as 512K, 16M or 1G, {_size(self.least)} to {_size(self.most)}",
            "number": f"a whole number, {self.least:,} to {self.most:,}",
            "share": f"a number, {self.least:g} to {self.most:g}",
            "switch": "true or false",
            "choice": ", ".join(self.choices[:-1]) + f" or {self.choices[-1]}" if self.choices else "",
            "path": "a path",
            "text": "a text",
        }[self.kind]
        return words + (", or off" if self.optional else "")


def table_of(struct: type[Struct], leave_out: tuple[str, ...]) -> dict[str, Setting]:
    """The settings that the fields of a struct declare, by name and in order."""
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    return {item.name: _setting(item) for item in info.fields if item.name not in leave_out}


def _setting(item: msgspec.inspect.Field) -> Setting:
    facts: dict[str, Any] = {"meaning": "", "kind": "", "choices": (), "least": 0, "most": 0, "optional": False}
    _collect(item.type, facts)
    return Setting(name=item.name, required=item.required, default=_default(item), **facts)


def _default(item: msgspec.inspect.Field) -> Any:
    return None if item.default is NODEFAULT else item.default


def _collect(kind: msgspec.inspect.Type, facts: dict[str, Any]) -> None:
    match kind:
        case msgspec.inspect.Metadata():
            _collect(kind.type, facts)
            facts["kind"] = (kind.extra or {}).get("kind", facts["kind"])
            facts["meaning"] = (kind.extra_json_schema or {}).get("description", facts["meaning"])
        case msgspec.inspect.UnionType():
            for part in kind.types:
                _collect(part, facts)
        case msgspec.inspect.NoneType():
            facts["optional"] = True
        case msgspec.inspect.IntType():
            facts["kind"], facts["least"], facts["most"] = "number", kind.ge, kind.le
        case msgspec.inspect.FloatType():
            facts["kind"], facts["least"], facts["most"] = "share", kind.ge, kind.le
        case msgspec.inspect.BoolType():
            facts["kind"] = "switch"
        case msgspec.inspect.LiteralType():
            facts["kind"], facts["choices"] = "choice", tuple(str(value) for value in kind.values)
        case msgspec.inspect.StrType():
            facts["kind"] = "text"
        case _:
            raise TypeError(f"no way to write a {kind} is known")


def read(setting: Setting, raw: object, where: str, *, base: str | None = None) -> object:
    """The value somebody wrote.

    Args:
        setting: which.
        raw: text, or what TOML made of it; numbers count seconds and bytes.
        where: file, variable or flag, for the error.
        base: the directory relative paths are meant from; None: the current one.

    Raises:
        BadRequest: not allowed; one line with ``where`` and what is.
    """
    text = str(raw).lower() if isinstance(raw, bool) else str(raw) if isinstance(raw, (str, int, float)) else ""
    text = text.strip()
    if setting.optional and text.lower() in _UNSET:
        return None
    try:
        value = _value(setting, text, base) if 0 < len(text) <= MAX_TEXT and "\0" not in text else None
    except BadRequest:
        value = None
    if value is None or (setting.kind in BOUNDED and not setting.least <= value <= setting.most):
        shown = repr(raw) if len(repr(raw)) <= 60 else repr(raw)[:60] + "…"
        raise BadRequest(f"{where} must be {setting.allowed}, not {shown}")
    return value


def _value(setting: Setting, text: str, base: str | None) -> Any:
    match setting.kind:
        case "duration":
            return parse_duration(text)
        case "size":
            return parse_size(text) if len(text) < 40 else None
        case "number":
            return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
        case "share":
            return float(text) if re.fullmatch(r"[0-9]*\.?[0-9]+", text) and len(text) < 20 else None
        case "switch":
            return _SWITCH.get(text.lower())
        case "choice":
            return next((choice for choice in setting.choices if choice.lower() == text.lower()), None)
        case "path":
            return os.path.abspath(os.path.join(base or "", os.path.expanduser(text)))
    return text


def written(setting: Setting, value: Any) -> str:
    """A value as `read` takes it back, unchanged."""
    if value is None:
        return "off"
    if setting.kind == "switch":
        return str(value).lower()
    if setting.kind == "duration":
        return _duration(value)
    if setting.kind == "share":
        return f"{value:g}"
    return _size(value) if setting.kind == "size" else str(value)


def _duration(milliseconds: int) -> str:
    return _exactly(milliseconds, UNITS) if milliseconds else "0s"


def _size(size: int) -> str:
    return _exactly(size, {unit: factor for unit, factor in SIZES.items() if unit != "B"})


def _exactly(number: int, units: dict[str, int]) -> str:
    unit, factor = max(
        ((unit, factor) for unit, factor in units.items() if number % factor == 0), key=lambda pair: pair[1]
    )
    return f"{number // factor}{unit}"
