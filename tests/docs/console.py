"""What the pages show is what happens: fenced ``console`` and ``python`` blocks, cut out of them and run.

In a ``console`` block a line that begins with ``$ `` is a command, ``> `` goes on with it, and what follows is what it
prints; ``…`` stands for anything. A command may fail only if the next one looks at ``$?``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PATIENCE = 50  # seconds one block may take

FENCE = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "\x1e"  # between two commands' outputs: the ASCII record separator, which no page shows


class Block(NamedTuple):
    """A fenced block, and where it stands."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Step(NamedTuple):
    """A command, and what it is to print."""

    command: str
    expected: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that can be run."""
    text = page.read_text()
    return [Block(page, text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in FENCE.finditer(text)]


def steps(block: Block) -> list[Step]:
    """The commands of a console block, with their outputs."""
    found: list[tuple[list[str], list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1][0].append(line[2:])
        else:
            assert found, f"{block}: a console block begins with a command, not with {line!r}"
            found[-1][1].append(line)
    return [Step("\n".join(command), "\n".join(output)) for command, output in found]


def run_python(shown: list[Block], environ: dict[str, str], directory: Path) -> None:
    """Run the python blocks of a page, one after the other, as one program: a reader goes on from block to block."""
    program = "\n".join(block.text for block in shown)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environ, cwd=directory, capture_output=True,
        text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, f"{', '.join(map(str, shown))}\n{done.stdout}{done.stderr}"


def run_console(block: Block, environ: dict[str, str], directory: Path) -> None:
    """Run a console block in one shell, and compare."""
    planned = steps(block)
    script = "\n".join(
        f"{step.command}\n__status=$?; printf '{MARK}%s{MARK}' $__status; (exit $__status)" for step in planned
    )
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}"], env=environ, cwd=directory, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True, timeout=PATIENCE,
    )  # fmt: skip
    parts = done.stdout.split(MARK)
    assert len(parts) == 2 * len(planned) + 1, f"{block}: the shell ended early:\n{done.stdout}"
    for number, step in enumerate(planned):
        printed, status = parts[2 * number].rstrip("\n"), parts[2 * number + 1]
        assert matches(step.expected, printed), f"{block}: $ {step.command}\nprints\n{printed}\nnot\n{step.expected}"
        excused = number + 1 < len(planned) and "$?" in planned[number + 1].command
        assert status == "0" or excused, f"{block}: $ {step.command}\nexits with {status}"


def matches(expected: str, printed: str) -> bool:
    """Whether the output is the expected one, ``…`` being anything."""
    pattern = ".*".join(re.escape(part) for part in expected.rstrip("\n").split("…"))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


def environment(home: Path) -> dict[str, str]:
    """What a new user's shell has, with everything of stash's in one directory."""
    kept = {name: value for name, value in os.environ.items() if name in ("LANG", "LC_ALL", "TMPDIR")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**kept, "HOME": str(home), "STASH_HOME": str(home), "PATH": path, "NO_COLOR": "1", "PYTHONUTF8": "1"}
