"""The seeded defects can still be put in; that each is caught is what `make mutants` shows, in minutes."""

from __future__ import annotations

import subprocess

import pytest

from tests.mutants.__main__ import ROOT, Mutant, mutants

ALL = mutants()


@pytest.mark.parametrize("mutant", ALL, ids=[mutant.name for mutant in ALL])
def test_a_seeded_defect_fits_the_code_and_names_who_catches_it(mutant: Mutant) -> None:
    checked = ["git", "apply", "--check", "-p1", str(mutant.patch)]
    done = subprocess.run(checked, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"make the patch anew, the code it breaks has changed: {done.stderr}"
    assert mutant.said.endswith(".")
    assert (ROOT / mutant.suite).is_file()


def test_there_are_a_dozen_of_them() -> None:
    assert len(ALL) >= 12
