"""Whether the tests can fail: ``python -m tests.mutants [NAME…]`` breaks a copy of stash in each of the seeded ways.

A defect that no test notices is the tests' own; so is a suite that is red without one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGES = (".", "protocol", "daemon", "client")
GREEN = 0  # pytest's exit status
FAILED = re.compile(
    r"^(?:FAILED|ERROR) (\S+::.*?)(?: - |$)", re.MULTILINE
)  # a module that cannot be read has no ``::``
PATIENCE = 600  # seconds for one suite


class Mutant(NamedTuple):
    """One seeded defect."""

    name: str
    said: str
    suite: str
    patch: Path


def mutants() -> list[Mutant]:
    """All of them, by name."""
    return [_read(path) for path in sorted(Path(__file__).parent.glob("*.patch"))]


def _read(path: Path) -> Mutant:
    said, caught = path.read_text().splitlines()[:2]
    return Mutant(path.stem, said, caught.removeprefix("Caught by: "), path)


@contextmanager
def copied() -> Iterator[Path]:
    """The tree as it stands here, committed or not, in a directory of its own."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    directory = Path(tempfile.mkdtemp(prefix="st"))
    try:
        for name in names:
            if name and (ROOT / name).is_file():
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, directory / name)
        yield directory
    finally:
        shutil.rmtree(directory)


def apply(patch: Path, directory: Path) -> None:
    """Break what is in the directory.

    Raises:
        SystemExit: the patch is of another time, and has to be made anew.
    """
    done = subprocess.run(["git", "apply", "-p1", str(patch)], cwd=directory, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{patch.name} does not apply any more: {done.stderr.strip()}")


def tested(directory: Path, suites: Sequence[str], *more: str) -> tuple[bool, list[str]]:
    """Run suites over the packages in the directory; whether all is well, and the tests that failed."""
    path = os.pathsep.join(str(directory / package) for package in PACKAGES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", *more, *suites],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    failed = FAILED.findall(done.stdout)
    if done.returncode != GREEN and not failed:
        sys.exit(f"the tests could not be run: {(done.stdout + done.stderr)[-1000:]}")
    return done.returncode == GREEN, failed


def main(names: Sequence[str]) -> int:
    """Whether any was not caught, as an exit status."""
    chosen = [mutant for mutant in mutants() if not names or mutant.name in names]
    with copied() as directory:
        green, failed = tested(directory, sorted({mutant.suite for mutant in chosen}))
    if not green:
        print("red without a defect:", *failed, sep="\n  ")
        return 1
    missed = 0
    for mutant in chosen:
        began = time.monotonic()
        with copied() as directory:
            apply(mutant.patch, directory)
            green, failed = tested(directory, [mutant.suite], "-x")
        missed += green
        by = f"by {failed[0].partition('::')[2]}" if failed else f"by {mutant.suite}"
        print(f"{'MISSED' if green else 'caught'} {mutant.name} {by} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{missed} of {len(chosen)} defects were missed" if missed else f"all {len(chosen)} defects were caught")
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
