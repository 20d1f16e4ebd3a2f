from __future__ import annotations

import pytest

from stash_protocol import errors
from stash_protocol.errors import ERRORS, Internal, RateLimited, StashError, from_code

# code → exit status, as the contract with scripts has it
STATUSES = {
    "internal": 1,
    "bad_request": 2,
    "not_found": 3,
    "unauthenticated": 4,
    "forbidden": 4,
    "unreachable": 5,
    "conflict": 6,
    "rate_limited": 7,
    "over_quota": 7,
    "too_large": 8,
    "busy": 9,
    "storage_full": 9,
    "storage_damaged": 9,
    "timeout": 124,
}


def test_every_code_has_the_exit_status_scripts_rely_on() -> None:
    assert {code: error.exit_status for code, error in ERRORS.items()} == STATUSES


def test_every_error_of_the_tree_can_come_back_from_the_wire() -> None:
    assert set(StashError.__subclasses__()) == set(ERRORS.values())


@pytest.mark.parametrize("code", STATUSES)
def test_an_error_crosses_the_wire_as_itself(code: str) -> None:
    error = from_code(code, "why", 1.5)
    assert (type(error), error.code, error.message, error.retry_after) == (ERRORS[code], code, "why", 1.5)
    assert str(error) == "why"


def test_a_code_of_a_newer_version_is_an_internal_error() -> None:
    assert type(from_code("tired", "come back tomorrow")) is Internal


def test_waiting_helps_only_where_an_error_says_so() -> None:
    assert RateLimited("slow down").retry_after is None
    assert RateLimited("slow down", retry_after=2.0).retry_after == 2.0


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    lines = [line.split() for line in (errors.__doc__ or "").splitlines()]
    drawn = {tuple(words[1:4]) for words in lines if words and words[0] in ("├──", "└──")}
    assert drawn == {(error.__name__, code, str(error.exit_status)) for code, error in ERRORS.items()}
