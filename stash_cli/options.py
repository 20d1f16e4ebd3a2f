"""What can be typed: every verb, its arguments, its options. The one table.

The fast parser, the Typer commands, `--help`, the completions, the man page and docs/cli.md are made from it. The hot
verbs load it, so it imports nothing but what reads durations and sizes.
"""

from __future__ import annotations

from stash_protocol.errors import BadRequest
from stash_protocol.types import MAX_KEY_BYTES, check_key, parse_duration, parse_size

TYPE_CHECKING = False  # `typing` has one too, for 8 ms
if TYPE_CHECKING:
    from typing import Any

MAX_DIGITS = 100  # zeros in front count; Python reads no more than 4,300

METAVARS = {
    "duration": "DURATION",
    "size": "SIZE",
    "count": "N",
    "number": "N",
    "integer": "N",
    "file": "FILE",
    "prefix": "PREFIX",
    "tag": "TAG",
    "key": "KEY",
    "text": "TEXT",
    "words": "TEXT",
    "decimal": "NUMBER",
    "share": "0..1",
    "moment": "WHEN",
    "condition": "CONDITION",
    "pair": "NAME=VALUE",
    "vector": "FILE",
}


class Argument:
    """A word after the verb.

    Attributes:
        name: under which its value is kept.
        kind: how its text is read, see `read`.
        wire: the field of the request it becomes, ``memory.text`` for one within another; empty for none.
        many: takes all words that are left; one of them is needed if it is required.
        joined: takes all words that are left as one text, with a space between them.
    """

    __slots__ = ("choices", "help", "joined", "kind", "many", "metavar", "name", "required", "wire")

    def __init__(  # a row of the table
        self,
        name: str,
        kind: str,
        help: str,  # noqa: A002  # the table reads better so
        wire: str = "",
        *,
        required: bool = False,
        many: bool = False,
        joined: bool = False,
        metavar: str = "",
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.help = help
        self.wire = wire
        self.required = required
        self.many = many
        self.joined = joined
        self.metavar = metavar or name.upper()
        self.choices = choices

    @property
    def label(self) -> str:
        """What an error calls it."""
        return self.metavar


class Option:
    """A flag.

    Attributes:
        flags: all spellings.
        name: the long one without dashes, under which its value is kept.
        kind: ``"flag"``, or how its text is read, see `read`.
        wire: the field of the request it becomes; empty for none.
        many: may be given again.
    """

    __slots__ = ("choices", "flags", "help", "kind", "many", "metavar", "name", "wire")

    def __init__(  # a row of the table
        self,
        flags: str,
        kind: str,
        help: str,  # noqa: A002  # the table reads better so
        wire: str = "",
        *,
        many: bool = False,
        metavar: str = "",
        choices: tuple[str, ...] = (),
    ) -> None:
        self.flags = tuple(flags.split())
        self.name = self.flags[-1][2:].replace("-", "_")
        self.kind = kind
        self.help = help
        self.wire = wire
        self.many = many
        self.metavar = metavar or "|".join(choices) or METAVARS.get(kind, "")
        self.choices = choices

    @property
    def label(self) -> str:
        """What an error calls it."""
        return self.flags[-1]


class Verb:
    """One verb.

    Attributes:
        name: as it is typed; two words for those in a group.
        about: what it does, in a sentence.
        more: what else there is to know.
        example: lines that work as they stand.
        op: the operation it sends, where it is one.
        run: ``module:function`` within stash_cli that carries it out.
        hot: whether the fast parser knows it.
        alias: another spelling.
    """

    __slots__ = ("about", "alias", "arguments", "example", "hot", "more", "name", "op", "options", "run")

    def __init__(  # a row of the table
        self,
        name: str,
        about: str,
        example: str,
        *,
        run: str,
        op: str = "",
        arguments: tuple[Argument, ...] = (),
        options: tuple[Option, ...] = (),
        more: str = "",
        hot: bool = False,
        alias: str = "",
    ) -> None:
        self.name = name
        self.about = about
        self.example = example
        self.run = run
        self.op = op
        self.arguments = arguments
        self.options = options
        self.more = more
        self.hot = hot
        self.alias = alias

    @property
    def rows(self) -> tuple[Argument | Option, ...]:
        """Arguments, then options."""
        return (*self.arguments, *self.options)


GLOBAL_OPTIONS = (
    Option("--json", "flag", "Answer with one JSON object on stdout, errors too."),
    Option("--timeout", "duration", "Give up after so long; the daemon does too. 30s unless set."),
    Option("--url", "text", "unix:///path, tcp://host:port or tls://host:port; else STASH_URL.", metavar="URL"),
    Option("--socket", "file", "The daemon's Unix socket; else STASH_SOCKET.", metavar="PATH"),
    Option("--api-key-file", "file", "A file that holds the API key; else STASH_API_KEY."),
    Option("-v --verbose", "flag", "Say on stderr when a daemon is started."),
)
"""For every verb, before or after it."""

VERSION = Option("-V --version", "flag", "Print the version.")
"""Before a verb or after it too, but answered before anything is read."""


def read(row: Argument | Option, text: str) -> Any:
    """The value somebody typed.

    Raises:
        BadRequest: it is not one of its kind; the message names the argument or option.
    """
    try:
        if row.kind not in _READERS:
            from stash_cli import readings

            return readings.READERS[row.kind](text)
        return _READERS[row.kind](row, text)
    except BadRequest as error:
        raise BadRequest(f"{row.label}: {error.message}") from None


def read_all(verb: Verb, typed: dict[str, Any]) -> dict[str, Any]:
    """All values of one command, in the order of the table.

    Args:
        verb: whose.
        typed: by name: text, a list of texts, or True; only what was given.

    Raises:
        BadRequest: the first that cannot be read.
    """
    values: dict[str, Any] = {}
    for row in (*verb.rows, *GLOBAL_OPTIONS):
        if row.name in typed:
            given = typed[row.name]
            if row.kind == "flag":
                values[row.name] = True
            else:
                values[row.name] = [read(row, text) for text in given] if row.many else read(row, given)
    return values


def _text(_row: Argument | Option, text: str) -> str:
    return text


def _words(_row: Argument | Option, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest("must be valid UTF-8") from None
    return text


def _key(_row: Argument | Option, text: str) -> str:
    return check_key(text)


def _prefix(_row: Argument | Option, text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise BadRequest("a prefix must be valid UTF-8") from None
    if size > MAX_KEY_BYTES:
        raise BadRequest(f"a prefix has at most {MAX_KEY_BYTES:,} bytes of UTF-8; this one has {size:,}")
    return text


def _tag(_row: Argument | Option, text: str) -> str:
    if not 0 < len(text) <= 128:
        raise BadRequest(f"a tag has 1 to 128 characters; this one has {len(text)}")
    return _prefix(_row, text)


def _duration(_row: Argument | Option, text: str) -> int:
    milliseconds = parse_duration(text)
    if not milliseconds:
        raise BadRequest("must be longer than nothing")
    return milliseconds


def _size(_row: Argument | Option, text: str) -> int:
    return parse_size(text)


def _integer(row: Argument | Option, text: str) -> int:
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()):
        raise BadRequest(f"{text!r} is not a whole number")
    if len(digits) > MAX_DIGITS or not -(2**63) <= int(text) < 2**63:
        raise BadRequest(f"{text[:40]} is out of range: a number lies between -2^63 and 2^63-1")
    least = {"count": 0, "number": 1}.get(row.kind)
    if least is not None and int(text) < least:
        raise BadRequest(f"must be {least} or more, not {text}")
    return int(text)


def _choice(row: Argument | Option, text: str) -> str:
    if text not in row.choices:
        raise BadRequest(f"{text!r} is none of {', '.join(row.choices)}")
    return text


_READERS = {
    "text": _text,
    "words": _words,
    "file": _text,
    "key": _key,
    "prefix": _prefix,
    "tag": _tag,
    "duration": _duration,
    "size": _size,
    "integer": _integer,
    "count": _integer,
    "number": _integer,
    "choice": _choice,
}
