"""Reads the command line of a hot verb without Typer, whose import alone costs four times what such a verb takes.

It understands what is right; whatever it does not understand (another verb, `--help`, an unknown option, a word too
many) is Typer's, which knows how to say what is wrong.
"""

from __future__ import annotations

from stash_cli.hot_verbs import HOT_VERBS
from stash_cli.options import GLOBAL_OPTIONS, Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SEARCHING = ("search", "context")  # verbs of a table of their own, which the others need not load


def parse(words: list[str]) -> tuple[Verb, dict[str, Any]] | None:
    """The hot verb of a command line and what was typed for it, as `options.read_all` takes it; None: not ours."""
    rest = iter(words)
    typed: dict[str, Any] = {}
    verb = _find_verb(rest, typed)
    if verb is None:
        return None
    options = _by_flag((*GLOBAL_OPTIONS, *verb.options))
    positional: list[str] = []
    for word in rest:
        if word == "--":
            positional.extend(rest)
        elif word[:1] != "-" or word == "-":
            positional.append(word)
        elif not _take_option(word, rest, options, typed):
            return None
    return (verb, typed) if _take_arguments(verb, positional, typed) else None


def _find_verb(rest: Iterator[str], typed: dict[str, Any]) -> Verb | None:
    options = _by_flag(GLOBAL_OPTIONS)
    for word in rest:
        if word[:1] != "-":
            return _named(word)
        if word in ("-", "--") or not _take_option(word, rest, options, typed):
            return None
    return None


def _named(word: str) -> Verb | None:
    if word in SEARCHING:
        from stash_cli.memory_verbs import MEMORY_VERBS

        return next(verb for verb in MEMORY_VERBS if word == verb.name)
    return next((verb for verb in HOT_VERBS if word in (verb.name, verb.alias)), None) if word else None


def _by_flag(options: tuple[Option, ...]) -> dict[str, Option]:
    return {flag: option for option in options for flag in option.flags}


def _take_option(word: str, rest: Iterator[str], options: dict[str, Option], typed: dict[str, Any]) -> bool:
    flag, equals, text = word.partition("=")
    option = options.get(flag)
    if option is None:
        return False
    if option.kind == "flag":
        typed[option.name] = True
        return not equals
    value = text if equals else next(rest, None)
    if value is None:
        return False
    if option.many:
        typed.setdefault(option.name, []).append(value)
    else:
        typed[option.name] = value
    return True


def _take_arguments(verb: Verb, words: list[str], typed: dict[str, Any]) -> bool:
    for argument in verb.arguments:
        if argument.many:
            if words:
                typed[argument.name] = words
            return bool(words) or not argument.required
        if words and argument.joined:
            typed[argument.name] = " ".join(words)
            return True
        if words:
            typed[argument.name] = words.pop(0)
        elif argument.required:
            return False
    return not words
