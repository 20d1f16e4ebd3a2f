"""What `--help` says, made from the table; docs/cli.md and the man page are made from the same pieces."""

from __future__ import annotations

import textwrap

from stash_cli.hot_verbs import HOT_VERBS
from stash_cli.memory_verbs import MEMORY_VERBS
from stash_cli.options import GLOBAL_OPTIONS, VERSION, Argument, Option, Verb
from stash_cli.verbs import ADMIN_VERBS, DAEMON_VERBS, GROUPS, VALUE_VERBS, VERBS
from stash_cli.view_verbs import VIEW_VERBS

WIDTH = 100  # columns: the longest line that is still read with ease
INDENT = "  "

ABOUT = "Working memory for agents and shell scripts: a local key-value store where everything has a TTL."

SECTIONS = (
    ("Every day", HOT_VERBS),
    ("Memories", MEMORY_VERBS),
    ("Episodes, messages, conversations", VIEW_VERBS),
    ("More", VALUE_VERBS),
    ("The daemon", DAEMON_VERBS),
    ("API keys and settings", ADMIN_VERBS),
)

EXAMPLES = """\
stash set plan "find the leak, then fix it" --ttl 30m
stash get plan
stash get answer --wait 30s
stash list build/ -l"""

EXIT_STATUSES = (
    (0, "done"),
    (1, "unexpected failure"),
    (2, "usage or invalid input"),
    (3, "not found or expired"),
    (4, "not authenticated or not allowed"),
    (5, "daemon unreachable"),
    (6, "conflict (--if-absent, --if-version)"),
    (7, "rate limited or over quota"),
    (8, "too large"),
    (9, "storage busy, full or damaged"),
    (124, "--wait or --timeout ran out"),
)

VARIABLES = (
    ("STASH_HOME", "One directory for configuration, data, logs and socket."),
    ("STASH_SOCKET", "The daemon's Unix socket."),
    ("STASH_URL", "The daemon's address: unix:///path, tcp://host:port or tls://host:port."),
    ("STASH_API_KEY", "The API key; else --api-key-file, else api_key in the configuration file."),
    ("STASH_AUTOSTART", "0: start no daemon."),
    ("NO_COLOR", "Plain text on terminals too."),
)


def overview() -> str:
    """What `stash --help` says."""
    parts = ["Usage: stash VERB [ARGUMENTS] [OPTIONS]", ABOUT]
    for title, verbs in SECTIONS:
        parts.append(f"{title}:\n" + _rows([(_with_alias(verb), verb.about) for verb in verbs]))
    parts.append("Examples:\n" + textwrap.indent(EXAMPLES, INDENT))
    parts.append("Options of every verb:\n" + _rows([_option_row(option) for option in all_global_options()]))
    parts.append("Environment:\n" + _rows(VARIABLES))
    parts.append("Exit status:\n" + _rows([(str(status), meaning) for status, meaning in EXIT_STATUSES]))
    parts.append("Durations: 45, 45s, 30m, 2h, 7d, 1h30m. `stash VERB --help` says more about a verb.")
    return "\n\n".join(parts) + "\n"


def all_global_options() -> tuple[Option, ...]:
    """The options of every verb, and the two that are answered before any."""
    return (
        *GLOBAL_OPTIONS,
        VERSION,
        Option("-h --help", "flag", "Print this."),
    )


def of_group(name: str) -> str:
    """What `stash GROUP --help` says."""
    verbs = [verb for verb in VERBS if verb.name.startswith(name + " ")]
    rows = _rows([(verb.name.partition(" ")[2], verb.about) for verb in verbs])
    examples = textwrap.indent("\n".join(verb.example for verb in verbs), INDENT)
    return (
        f"Usage: stash {name} VERB [ARGUMENTS] [OPTIONS]\n\n{GROUPS[name]}\n\nVerbs:\n{rows}\n\nExamples:\n{examples}\n"
    )


def of_verb(verb: Verb) -> str:
    """What `stash VERB --help` says."""
    parts = [f"Usage: {usage(verb)}", textwrap.fill(verb.about, WIDTH)]
    if verb.alias:
        parts[0] += f"\n       (or stash {verb.alias})"
    if verb.more:
        parts[1] += "\n" + textwrap.fill(verb.more, WIDTH)
    if verb.arguments:
        parts.append("Arguments:\n" + _rows([(argument.metavar, argument.help) for argument in verb.arguments]))
    if verb.options:
        parts.append("Options:\n" + _rows([_option_row(option) for option in verb.options]))
    everywhere = " ".join(spelling(option) for option in GLOBAL_OPTIONS)
    parts.append(textwrap.fill(f"Of every verb: {everywhere}", WIDTH, subsequent_indent=INDENT, break_on_hyphens=False))
    parts.append("Example:\n" + textwrap.indent(verb.example, INDENT))
    return "\n\n".join(parts) + "\n"


def usage(verb: Verb) -> str:
    """How a verb is typed."""
    words = [f"stash {verb.name}", *(_placeholder(argument) for argument in verb.arguments)]
    return " ".join([*words, "[OPTIONS]"] if verb.options else words)


def spelling(option: Option) -> str:
    """An option's flags and what follows them."""
    return ", ".join(option.flags) + (f" {option.metavar}" if option.metavar else "")


def _placeholder(argument: Argument) -> str:
    name = argument.metavar + ("..." if argument.many or argument.joined else "")
    return name if argument.required else f"[{name}]"


def _with_alias(verb: Verb) -> str:
    return f"{verb.name}, {verb.alias}" if verb.alias else verb.name


def _option_row(option: Option) -> tuple[str, str]:
    return spelling(option), option.help


def _rows(rows: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str:
    width = max(len(name) for name, _ in rows)
    lines = []
    for name, text in rows:
        start = f"{INDENT}{name:<{width}}  "
        lines.append(
            textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)
        )
    return "\n".join(lines)
