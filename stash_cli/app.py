"""The command line as Typer commands, made from the table: all verbs, and what the fast parser leaves to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import Exit, TyperException

from stash_cli import help as help_text
from stash_cli import streams
from stash_cli.call import carry_out, load, report
from stash_cli.options import GLOBAL_OPTIONS, VERSION, Argument, Option, Verb
from stash_cli.verbs import GROUPS, VERBS
from stash_protocol.errors import BadRequest, StashError

GROUP_SETTINGS = {"help_option_names": ["-h", "--help"]}


def run(words: list[str]) -> int:
    """Carry out a command line; the exit status."""
    if not words:
        streams.tell(help_text.overview())
        return BadRequest.exit_status
    if words[0] == "help":  # `stash help get` is `stash get --help`
        words = [*words[1:], "--help"]
    command = typer.main.get_command(build(_wanted(words)))
    try:
        status = command.main(words, prog_name="stash", standalone_mode=False)
    except Exit as ended:
        return ended.exit_code
    except TyperException as problem:  # a usage error: Typer says what, we say it like every other error
        return report(BadRequest(_sentence(problem)), as_json=_wants_json(words))
    except StashError as problem:  # help or version cannot be shown
        return report(problem, as_json=_wants_json(words))
    return status if isinstance(status, int) else 0


def build(verbs: Iterable[Verb] = VERBS) -> typer.Typer:
    """The application with these verbs."""
    app = typer.Typer(
        name="stash",
        cls=_Overview,
        add_completion=False,
        rich_markup_mode=None,
        context_settings=GROUP_SETTINGS,
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_global_options())
    groups: dict[str, typer.Typer] = {}
    for verb in verbs:
        group, _, name = verb.name.rpartition(" ")
        if group and group not in groups:
            groups[group] = typer.Typer(cls=_GroupOverview, rich_markup_mode=None, no_args_is_help=False)
            app.add_typer(groups[group], name=group, help=GROUPS[group], context_settings=GROUP_SETTINGS)
        home = groups[group] if group else app
        for spelling in filter(None, (name, verb.alias)):
            home.command(spelling, cls=_Command, help=verb.name, context_settings=GROUP_SETTINGS)(_command(verb))
    return app


def _wanted(words: Sequence[str]) -> list[Verb]:
    """The verb that was typed, or all: making every command of the table takes longer than most commands."""
    first = next((word for word in words if word[:1] != "-"), "")
    group = [verb for verb in VERBS if first in (verb.name.partition(" ")[0], verb.alias or verb.name)]
    return group or list(VERBS)


def _command(verb: Verb) -> Callable[..., int]:
    """A function with the signature Typer makes the command's parameters from."""

    def command(ctx: typer.Context, **given: Any) -> int:
        typed = {**(ctx.find_root().obj or {}), **_typed(given)}
        for argument in verb.arguments:
            if argument.joined and argument.name in typed:
                typed[argument.name] = " ".join(typed[argument.name])
        return carry_out(verb, typed, load(verb))

    rows = (*verb.rows, *GLOBAL_OPTIONS, VERSION)
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_context_parameter(), *(_parameter(row) for row in rows)]
    )
    return command


def _global_options() -> Callable[..., None]:
    def options(ctx: typer.Context, **given: Any) -> None:
        ctx.obj = _typed(given)
        if ctx.invoked_subcommand is None:
            ctx.fail("Missing command.")

    options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_context_parameter(), *(_parameter(row) for row in (*GLOBAL_OPTIONS, VERSION))]
    )
    return options


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # what Typer calls it with
    if wanted:
        streams.emit(f"stash {version('stash-memory')}\n")
        raise Exit(0)


def _print_help(ctx: typer.Context, _option: Any, wanted: bool) -> None:  # noqa: FBT001  # what Typer calls it with
    """Without the buffer of `sys.stdout`, which tells too late what keeps it from being written."""
    if wanted:
        streams.emit(ctx.get_help() + "\n")
        raise Exit(0)


def _context_parameter() -> inspect.Parameter:
    return inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)


def _parameter(row: Argument | Option) -> inspect.Parameter:
    """Everything is text here: `options.read` reads it, the same for both ways of parsing."""
    if isinstance(row, Option):
        kind: Any = bool if row.kind == "flag" else list[str] if row.many else str
        first: dict[str, Any] = {"is_eager": True, "callback": _print_version} if row is VERSION else {}
        info: Any = typer.Option(*row.flags, metavar=row.metavar or None, **first)
        default: Any = False if row.kind == "flag" else None
    else:
        kind = list[str] if row.many or row.joined else str
        info = typer.Argument(metavar=row.metavar)
        default = inspect.Parameter.empty if row.required else None
    optional = kind if kind is bool or default is inspect.Parameter.empty else kind | None
    return inspect.Parameter(
        row.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[optional, info]
    )


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value not in (None, False, [], ())}


def _wants_json(words: Sequence[str]) -> bool:
    return "--json" in words[: words.index("--") if "--" in words else len(words)]


def _sentence(problem: TyperException) -> str:
    message = problem.format_message().strip().rstrip(".")
    message = message[:1].lower() + message[1:]
    command = getattr(getattr(problem, "ctx", None), "command", None)
    if isinstance(command, _GroupOverview):
        return f"{message}; see `stash {command.name} --help`"
    if not isinstance(command, _Command):
        return f"{message}; see `stash --help`"
    hint = "a word that starts with - goes after --; " if "no such option" in message else ""
    return f"{message}; {hint}see `stash {command.help} --help`"


class _PrintsHelp:
    """A command whose help goes straight to stdout."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]  # of the command this is mixed into
        option.callback = _print_help
        return option


class _Command(_PrintsHelp, TyperCommand):
    """A command that shows the help made from the table; its own `help` is the verb's name."""

    def get_help(self, ctx: Any) -> str:  # noqa: ARG002  # the name Typer gives it
        return help_text.of_verb(next(verb for verb in VERBS if verb.name == self.help)).rstrip("\n")


class _Overview(_PrintsHelp, TyperGroup):
    """The whole command."""

    def get_help(self, ctx: Any) -> str:  # noqa: ARG002  # the name Typer gives it
        return help_text.overview().rstrip("\n")


class _GroupOverview(_PrintsHelp, TyperGroup):
    """The verbs that share a first word."""

    def get_help(self, ctx: Any) -> str:  # noqa: ARG002  # the name Typer gives it
        return help_text.of_group(self.name or "").rstrip("\n")
