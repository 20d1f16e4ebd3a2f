"""The table, on the terminal and in RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.measure import Figure
from bench.rows import Row

RESULTS = Path(__file__).with_name("RESULTS.md")
COLUMNS = ("row", "figure", "stash", "held against", "ratio", "target", "met")
MET = {True: "met", False: "not met", None: "–"}
COLOURS = {"met": "green", "not met": "bold red", "–": "dim"}


def cells(row: Row, figure: Figure) -> tuple[str, ...]:
    """One line of the table."""
    theirs = "absent" if figure.against and figure.theirs is None else ""
    if figure.theirs is not None:
        theirs = number(figure.theirs, figure.unit)
    return (
        row.name,
        figure.name,
        number(figure.ours, figure.unit),
        f"{figure.against} {theirs}".strip() or "–",
        "–" if figure.ratio is None else f"{figure.ratio:.2f} ×",
        target(figure),
        MET[figure.met],
    )


def number(value: float, unit: str) -> str:
    """Three digits are all that a shared machine can tell."""
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text}{'' if unit.startswith('/') else ' '}{unit}"


def target(figure: Figure) -> str:
    """The bound, in words."""
    bound = figure.at_most if figure.at_most is not None else figure.at_least
    if bound is None:
        return "–"
    sign = "≤" if figure.at_most is not None else "≥"
    return f"{sign} {bound:g} ×" if figure.against else f"{sign} {number(bound, figure.unit)}"


def show(console: Console, found: Sequence[tuple[Row, Figure]]) -> None:
    """Print the table."""
    table = Table(*COLUMNS)
    for row, figure in found:
        *rest, met = cells(row, figure)
        table.add_row(*rest, f"[{COLOURS[met]}]{met}[/]")
    console.print(table)


def write(path: Path, found: Sequence[tuple[Row, Figure]], about: Mapping[str, str], notes: Sequence[str]) -> None:
    """Write the results down."""
    lines = ["# What was measured", "", "Written by the bench; docs/performance.md says what the figures mean.", ""]
    lines += [f"- {name}: {text}" for name, text in about.items()]
    lines += ["", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells(row, figure)) + " |" for row, figure in found]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
