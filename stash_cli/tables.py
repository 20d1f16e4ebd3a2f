"""Tables on a terminal. Only there is rich imported: it costs two hot verbs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stash_cli import render


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
