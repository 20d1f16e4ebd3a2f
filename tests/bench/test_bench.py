"""The bench itself: that it counts right, says what it must, and covers what docs/performance.md lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import report
from bench.crowd import work
from bench.measure import Figure, compare, in_turns, percentile
from bench.rows import rows

ROOT = Path(__file__).parents[2]


def test_every_row_is_in_the_documentation_and_the_other_way_round() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(rows())


def test_contenders_take_turns_and_get_the_same_arguments() -> None:
    seen: list[tuple[str, int]] = []
    operations = {name: lambda number, name=name: seen.append((name, number)) for name in ("one", "two")}
    spans = in_turns(operations, range(4), rounds=2, repeats=2)
    assert {name: [len(each) for each in found] for name, found in spans.items()} == {"one": [4, 4], "two": [4, 4]}
    rounds = [name for name, _ in seen[4::2]]  # behind what fills the caches, two calls a round
    assert rounds == ["one", "two", "two", "one"] * 2
    assert [number for name, number in seen if name == "one"] == [number for name, number in seen if name == "two"]


def test_a_client_of_many_counts_only_what_was_answered_in_the_time_all_share() -> None:
    asked: list[str] = []
    assert work(asked.append, start=0.0, end=0.0, keys=["k"]) == 0
    assert asked == []


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile(range(1, 101), 0.5) == 51
    assert percentile(range(1, 101), 0.99) == 100
    assert percentile([7], 0.99) == 7


def test_a_ratio_is_that_of_the_two_medians() -> None:
    figure = compare("get", "µs", [10.0, 30.0, 20.0], [40.0, 10.0, 20.0], "redis-py", at_most=0.8)
    assert (figure.ours, figure.theirs, figure.ratio, figure.met) == (20.0, 20.0, 1.0, False)


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure(name="f", unit="/s", ours=1, against="redis-py", theirs=1, ratio=1.3, at_least=1.3), True),
        (Figure(name="f", unit="/s", ours=1, against="redis-py", theirs=1, ratio=1.2, at_least=1.3), False),
        (Figure(name="f", unit="MiB", ours=20, at_most=20), True),
        (Figure(name="f", unit="MiB", ours=21, at_most=20), False),
        (Figure(name="f", unit="µs", ours=1, against="redis-py", theirs=1, ratio=1), None),
        (Figure(name="f", unit="µs", ours=1, against="redis-py", at_most=1), None),
    ],
    ids=["met", "not met", "a number met", "a number not met", "for information", "nobody to be held against"],
)
def test_a_figure_is_met_or_not_or_neither(figure: Figure, met: bool | None) -> None:
    assert figure.met is met


def test_an_absent_contender_is_said_and_not_judged() -> None:
    row = rows()["get"]
    line = report.cells(row, Figure(name="get p50", unit="µs", ours=70, against="redis-py", at_most=0.8))
    assert line == ("get", "get p50", "70 µs", "redis-py absent", "–", "≤ 0.8 ×", "–")


def test_the_results_say_who_where_and_when(tmp_path: Path) -> None:
    figure = compare("get p50", "µs", [70.0], [100.0], "redis-py", at_most=0.8)
    path = tmp_path / "RESULTS.md"
    report.write(path, [(rows()["get"], figure)], {"machine": "a machine"}, ["something was left out"])
    page = path.read_text(encoding="utf-8")
    assert "| get | get p50 | 70 µs | redis-py 100 µs | 0.70 × | ≤ 0.8 × | met |" in page
    assert "- machine: a machine" in page
    assert "- something was left out" in page
