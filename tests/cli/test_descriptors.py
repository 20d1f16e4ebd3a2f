"""Standard descriptors that are closed, in a process of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

REPORT = """
import os, sys
from stash_cli.descriptors import occupy_standard
occupy_standard()
lowest = os.open("/dev/zero", os.O_RDONLY)
same = [os.path.samestat(os.fstat(fd), os.stat("/dev/null")) for fd in range(3)]
with open(sys.argv[1], "w") as file:
    print(lowest > 2, same, [os.get_inheritable(fd) for fd in range(3)], file=file)
print("for nobody", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("closing", "taken"),
    [("", []), ("<&-", [0]), (">&-", [1]), ("2>&-", [2]), ("<&- >&- 2>&-", [0, 1, 2])],
)
def test_only_what_is_closed_is_taken_and_children_have_it_too(tmp_path, closing: str, taken: list[int]) -> None:
    line = [sys.executable, "-P", "-c", REPORT, str(tmp_path / "report")]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closing}', "sh", *line], stdin=subprocess.PIPE, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == (b"" if 2 in taken else b"for nobody\n")
    same = [fd in taken for fd in range(3)]
    assert (tmp_path / "report").read_text() == f"True {same} [True, True, True]\n"
