from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_protocol.errors import BadRequest
from stash_protocol.types import (
    MAX_DURATION,
    MAX_KEY_BYTES,
    UNITS,
    check_key,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("45", 45_000),
        ("45s", 45_000),
        ("1.5s", 1_500),
        (".5s", 500),
        ("250ms", 250),
        ("30m", 1_800_000),
        ("2h", 7_200_000),
        ("7d", 604_800_000),
        ("1h30m", 5_400_000),
        (" 1H30M ", 5_400_000),
        ("0", 0),
        ("36500d", MAX_DURATION),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "1x", "s", "1 h", "h1", "1.2.3s", "1e3", "nan", "inf", "٣s", "99999999d1x"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36501d", "99999999d", "999999999999", "9" * 5000, "9" * 400 + "d"])
def test_a_duration_out_of_range_is_not_called_malformed(text: str) -> None:
    with pytest.raises(BadRequest, match="is too long; a duration has at most 36,500d") as refused:
        parse_duration(text)
    assert len(refused.value.message) < 150


@given(st.sampled_from(sorted(UNITS)), st.integers(0, 99), st.sampled_from(sorted(UNITS)), st.integers(0, 99))
def test_units_add_up(unit: str, count: int, other: str, more: int) -> None:
    assert parse_duration(f"{count}{unit}{more}{other}") == count * UNITS[unit] + more * UNITS[other]


@given(st.integers(0, MAX_DURATION))
def test_a_formatted_duration_reads_back_within_its_second_unit(milliseconds: int) -> None:
    shown = format_duration(milliseconds)
    back = parse_duration(shown)
    assert back <= milliseconds
    assert milliseconds - back < (UNITS["h"] if milliseconds >= UNITS["d"] else UNITS["m"])
    assert format_duration(back) == shown


def test_no_time_left_is_shown_as_zero() -> None:
    assert format_duration(0) == format_duration(-5) == "0s"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("100", 100),
        ("100B", 100),
        ("512K", 524_288),
        ("16m", 16_777_216),
        ("16MiB", 16_777_216),
        ("1G", 2**30),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "-1", "1.5M", "1T", "1KK", "1 0", "²"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (812, "812 B"), (1536, "1.5 KiB"), (16 << 20, "16.0 MiB"), (5 << 30, "5.0 GiB")]
)
def test_a_size_is_shown_in_its_largest_unit(size: int, shown: str) -> None:
    assert format_size(size) == shown


@given(st.text(min_size=1, max_size=700))
def test_a_key_is_judged_by_its_bytes(key: str) -> None:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = MAX_KEY_BYTES + 1
    if size <= MAX_KEY_BYTES:
        assert check_key(key) == key
    else:
        with pytest.raises(BadRequest):
            check_key(key)


@pytest.mark.parametrize("key", ["a" * 2048, "é" * 1024, "😀" * 512, "\0", " ", "a/b:c\n"])
def test_any_character_may_be_in_a_key(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "a" * 2049, "é" * 1024 + "a", "😀" * 513, "\ud800", "a\udfff"])
def test_a_key_that_is_empty_too_long_or_not_utf8_is_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="key"):
        check_key(key)
