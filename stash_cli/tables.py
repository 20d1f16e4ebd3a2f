"""Tables on a terminal. Only there is rich imported: it costs two hot verbs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stash_cli import render
from stash_cli.commands.search import first_line, parts_of

INDENT = "       "  # as wide as a score and the gap after it
GAP = 2  # columns
LEAST_TEXT = 20  # columns in which a text says something


class Paged(Protocol):
    """Rows that come page by page."""

    def pages(self) -> Iterable[list[dict[str, Any]]]: ...


def print_entries(entries: Paged) -> None:
    """What `stash list -l` shows on a terminal: a head, and a line an entry, its key last and whole."""
    console = Console(highlight=False)
    lines = [Text(render.LONG_HEAD, "dim")]
    for page in entries.pages():
        for row in page:
            size, left, age = render.long_row(row)
            soon = "yellow" if row["ttl_ms"] < 60_000 else ""
            key = render.printable(row["key"])
            lines.append(Text.assemble(f"{size:>10}  ", (f"{left:>7}", soon), f"  {age:>7}  ", (key, "bold")))
        _print(console, lines)
        lines = []


def _print(console: Console, lines: list[Text]) -> None:
    """Lines the terminal itself breaks where they are too long: what is copied from them is whole."""
    if lines:
        console.print(Text("\n").join(lines), soft_wrap=True)


def plain_table(*columns: tuple[str, int], head: bool = True) -> Table:
    """A table without lines; columns with a width are numbers and stand right."""
    table = Table(box=None, show_header=head, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name, width in columns:
        table.add_column(name, min_width=width, justify="right" if width else "left", overflow="fold")
    return table


def print_hits(hits: list[dict[str, Any]]) -> None:
    """What `stash search` shows on a terminal: score, key, and the text cut where the terminal ends.

    A key is never cut; where the widest leaves too little room beside it, each text has a line of its own.
    """
    console = Console(highlight=False)
    widest = max(len("KEY"), *(cell_len(render.printable(hit["entry"]["key"])) for hit in hits))
    room = console.width - len(INDENT) - widest - GAP
    beside = room >= LEAST_TEXT
    lines = [Text("SCORE  " + (f"{'KEY':<{widest + GAP}}TEXT" if beside else "KEY"), "dim")]
    for hit in hits:
        key = render.printable(hit["entry"]["key"])
        line = Text.assemble(f"{hit['score']:.3f}  ", (key, "bold"))
        text = Text(first_line(hit))
        text.truncate(room if beside else console.width - len(INDENT), overflow="ellipsis")
        lines.append(line)
        if beside:
            line.pad_right(widest + GAP - cell_len(key))
            line.append_text(text)
        elif text:
            lines.append(Text(INDENT).append_text(text))
        lines += [Text(INDENT + parts, "dim") for parts in parts_of(hit)]
    _print(console, lines)
