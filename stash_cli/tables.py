"""Tables on a terminal. Only there is rich imported: it costs two hot verbs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stash_cli import render
from stash_cli.commands.search import first_line, parts_of


class Paged(Protocol):
    """Rows that come page by page."""

    def pages(self) -> Iterable[list[dict[str, Any]]]: ...


def print_entries(entries: Paged) -> None:
    """What `stash list -l` shows on a terminal: a table a page, its head once."""
    console = Console(highlight=False)
    head = True
    for page in entries.pages():
        table = plain_table(("SIZE", 10), ("TTL", 7), ("AGE", 7), ("KEY", 0), head=head)
        for row in page:
            size, left, age = render.long_row(row)
            soon = row["ttl_ms"] < 60_000
            table.add_row(size, Text(left, "yellow" if soon else ""), age, Text(render.printable(row["key"]), "bold"))
        console.print(table)
        head = False


def plain_table(*columns: tuple[str, int], head: bool = True) -> Table:
    """A table without lines; columns with a width are numbers and stand right."""
    table = Table(box=None, show_header=head, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name, width in columns:
        table.add_column(name, min_width=width, justify="right" if width else "left", overflow="fold")
    return table


def print_hits(hits: list[dict[str, Any]]) -> None:
    """What `stash search` shows on a terminal: a line a hit, its text cut where the terminal ends."""
    explained = any(hit.get("parts") for hit in hits)
    table = plain_table(("SCORE", 5), ("KEY", 0))
    table.add_column("TEXT", no_wrap=not explained, overflow="ellipsis", ratio=1)
    for hit in hits:
        text = Text(first_line(hit))
        for parts in parts_of(hit):
            text.append(f"\n{parts}", "dim")
        table.add_row(f"{hit['score']:.3f}", Text(render.printable(hit["entry"]["key"]), "bold"), text)
    Console(highlight=False).print(table)
