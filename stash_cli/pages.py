"""What is made from the table and kept in the repository: completions, the man page, docs/cli.md.

``python -m stash_cli.pages`` writes them; a test compares.
"""

from __future__ import annotations

import os

from stash_cli import completion
from stash_cli import help as help_text
from stash_cli.options import Verb
from stash_cli.verbs import VERBS


def all_pages() -> dict[str, str]:
    """The text of each page, by its path in the repository."""
    scripts = {f"completions/{completion.FILES[shell]}": make() for shell, make in completion.SHELLS.items()}
    return {**scripts, "docs/stash.1": man(), "docs/cli.md": markdown()}


def markdown() -> str:
    """docs/cli.md: what every `--help` says."""
    parts = [
        "# The command",
        "Made from the table of verbs by `python -m stash_cli.pages`; `stash VERB --help` says the same.",
        "```\n" + help_text.overview() + "```",
    ]
    for title, verbs in help_text.SECTIONS:
        parts.append(f"## {title}")
        parts += [f"### stash {verb.name}\n\n```\n{help_text.of_verb(verb)}```" for verb in verbs]
    return "\n\n".join(parts) + "\n"


def man() -> str:
    """docs/stash.1."""
    lines = [
        '.\\" Made from the table of verbs by `python -m stash_cli.pages`; do not edit.',
        ".TH STASH 1",
        ".SH NAME",
        "stash \\- working memory for agents and shell scripts",
        ".SH SYNOPSIS",
        ".B stash",
        ".I VERB",
        "[\\fIARGUMENTS\\fR] [\\fIOPTIONS\\fR]",
        ".SH DESCRIPTION",
        _roff(help_text.ABOUT),
        "Any verb starts the daemon if none runs. Durations are written 45, 45s, 30m, 2h, 7d or 1h30m.",
        ".SH VERBS",
    ]
    for verb in VERBS:
        lines += _man_verb(verb)
    lines.append(".SH OPTIONS OF EVERY VERB")
    for option in help_text.all_global_options():
        lines += [".TP", f".B {_roff(help_text.spelling(option))}", _roff(option.help)]
    lines.append(".SH ENVIRONMENT")
    for name, meaning in help_text.VARIABLES:
        lines += [".TP", f".B {name}", _roff(meaning)]
    lines.append(".SH EXIT STATUS")
    for status, meaning in help_text.EXIT_STATUSES:
        lines += [".TP", f".B {status}", _roff(meaning)]
    return "\n".join(lines) + "\n"


def _man_verb(verb: Verb) -> list[str]:
    lines = [f".SS {_roff(help_text.usage(verb))}", _roff(verb.about)]
    if verb.alias:
        lines.append(f"Also \\fBstash {verb.alias}\\fR.")
    if verb.more:
        lines.append(_roff(verb.more))
    for argument in verb.arguments:
        lines += [".TP", f".I {_roff(argument.metavar)}", _roff(argument.help)]
    for option in verb.options:
        lines += [".TP", f".B {_roff(help_text.spelling(option))}", _roff(option.help)]
    return [*lines, ".PP", "Example:", ".PP", ".nf", ".RS", *map(_roff, verb.example.split("\n")), ".RE", ".fi"]


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def main() -> None:
    """Write all pages, in the repository this file stands in."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for path, text in all_pages().items():
        with open(os.path.join(root, path), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
