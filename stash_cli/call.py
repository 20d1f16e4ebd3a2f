"""One command: what was typed, the connection it needs, and how it ends. Light: the hot verbs load it."""

from __future__ import annotations

import os

from stash_cli import render, streams
from stash_cli.options import Argument, Option, Verb, read_all
from stash_cli.wire import Connection
from stash_memory import given
from stash_memory.autostart import connect as dial
from stash_memory.autostart import may_start
from stash_protocol.address import Address, directory
from stash_protocol.errors import BadRequest, Internal, StashError, Unreachable
from stash_protocol.types import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEFAULT_TIMEOUT = 30.0  # seconds
SIGINT, SIGPIPE = 2, 13  # the same on every Unix; `signal` costs a millisecond
ERROR_LOG = "cli.err"  # in the log directory: what went wrong that should not

_warned: set[str] = set()  # files this process has warned of: some commands connect more than once


class Call:
    """One command.

    Attributes:
        values: what was typed, read, by name; only what was given.
        as_json: whether the answer is to be JSON.
    """

    __slots__ = ("_connection", "as_json", "values", "verb")

    def __init__(self, verb: Verb, values: dict[str, Any]) -> None:
        self.verb = verb
        self.values = values
        self.as_json: bool = "json" in values
        self._connection: Connection | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """A value, or the default if it was not given."""
        return self.values.get(name, default)

    def fields(self) -> dict[str, Any]:
        """The fields of the verb's request that were given."""
        return wire_fields(self.verb, self.values)

    @property
    def timeout(self) -> float:
        """Seconds all of the command may take."""
        given: int | None = self.get("timeout")
        return DEFAULT_TIMEOUT if given is None else given / 1000

    def connect(self, timeout: float | None = None, *, autostart: bool = True) -> Connection:
        """The connection of this command.

        Raises:
            Unreachable: no daemon answers, and none could be started.
            Timeout: or not in time.
        """
        if self._connection is None:
            self._connection = connect(self.values, self.timeout if timeout is None else timeout, autostart=autostart)
        return self._connection

    def hang_up(self) -> None:
        """Close the connection; the next one is new."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self, fields: dict[str, Any] | None = None, payload: bytes = b"") -> tuple[Any, bytes]:
        """The reply to the verb's request, and its payload."""
        return self.connect().call(self.verb.op, self.fields() if fields is None else fields, payload)

    def print(self, text: str, members: Callable[[], render.Members]) -> None:
        """The answer: a line of text, or a JSON object."""
        streams.emit((render.object_of(members()) if self.as_json else text) + "\n")

    def note_clamped(self, reply: dict[str, Any]) -> None:
        """Say it if the entry got less time than was asked for."""
        if reply.get("clamped") and not self.as_json:
            caller = self.connect().welcome()
            longest = format_duration(caller["max_ttl_ms"])
            streams.say(f"{longest} is the longest TTL of tier {caller['tier']}; it was clamped")


def wire_fields(verb: Verb, values: dict[str, Any]) -> dict[str, Any]:
    """What the values become in the verb's request."""
    fields: dict[str, Any] = {}
    for row in verb.rows:
        if row.wire and row.name in values:
            put(fields, row.wire, values[row.name])
    return fields


def put(fields: dict[str, Any], wire: str, value: Any) -> None:
    """Set a field of a request, which may be one within another."""
    outer, dot, inner = wire.partition(".")
    if dot:
        fields.setdefault(outer, {})[inner] = value
    else:
        fields[wire] = value


def load(verb: Verb) -> Callable[[Call], int | None]:
    """What carries a verb out."""
    module, _, name = verb.run.partition(":")
    found: Callable[[Call], int | None] = getattr(__import__(f"stash_cli.{module}", fromlist=[name]), name)
    return found


def connect(values: dict[str, Any], timeout: float, *, autostart: bool) -> Connection:
    """A connection to the daemon the global options and the environment name."""
    config = given.read_config()
    where, credential = address(values, config), api_key(values, config)
    start = may_start(config) and autostart
    try:
        stream: Any = dial(where, timeout, autostart=start, verbose="verbose" in values)
    except Unreachable as problem:
        raise (_obstructed(problem) if start and where.scheme == "unix" else None) or problem from None
    if where.scheme == "tls":
        from stash_cli.tls import secure

        stream = secure(stream, where, timeout)
    return Connection(stream, where, credential, timeout)


def _obstructed(problem: Unreachable) -> Unreachable | None:
    """The error with the directory for want of which no daemon can start; None: that is not why."""
    from stash_cli.directories import obstacle

    said = obstacle(directory("data")) or obstacle(directory("log"))
    return Unreachable(f"{problem.message}; {said}") if said else None


def address(values: dict[str, Any], config: dict[str, str]) -> Address:
    """Where the daemon is: flags, then environment, then configuration.

    Raises:
        BadRequest: not an address.
    """
    url, path = values.get("url"), values.get("socket")
    if url is not None and path is not None:
        raise BadRequest("--url and --socket both say where the daemon is; give one")
    return given.address(url, path, config)


def api_key(values: dict[str, Any], config: dict[str, str]) -> str | None:
    """The caller's API key, if there is one; never from a command line, which anyone can read.

    Raises:
        BadRequest: the file cannot be read.
    """
    path = values.get("api_key_file")
    if path is None:
        return given.api_key(config)
    try:
        with open(path, encoding="utf-8") as file:
            _warn_of_readers(path, os.fstat(file.fileno()).st_mode)
            found = file.read(1024).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"--api-key-file: {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    if not found or "\n" in found or len(found) > 128:
        raise BadRequest(f"--api-key-file: {path} must hold one API key and nothing else")
    return found


def _warn_of_readers(path: str, mode: int) -> None:
    """Say once that others can read a file. It is used all the same: what a container mounts is often 0444."""
    if mode & 0o044 and path not in _warned:
        _warned.add(path)
        streams.say(f"--api-key-file: others can read {path}, which has mode {mode & 0o7777:04o}: chmod 0600 {path}")


def carry_out(verb: Verb, typed: dict[str, Any], run: Callable[[Call], int | None]) -> int:
    """Run a command to its end; its exit status.

    Args:
        verb: which.
        typed: as `options.read_all` takes it.
        run: what carries it out; may return an exit status.
    """
    try:
        call = Call(verb, read_all(verb, typed))
        try:
            return run(call) or 0
        finally:
            call.hang_up()
    except StashError as problem:
        _name_option(problem, verb.rows)
        return report(problem, as_json="json" in typed)
    except KeyboardInterrupt:
        die_of(SIGINT)
    except BrokenPipeError:
        die_of(SIGPIPE)
    except Exception as problem:  # noqa: BLE001  # the outermost door: a traceback is for the log, not for the user
        return report(_unexpected(problem), as_json="json" in typed)
    return 1


def _name_option(problem: StashError, rows: tuple[Argument | Option, ...]) -> None:
    """Call a field of the request, with which what is wrong with it begins, as the command line calls it."""
    for row in rows:
        field = row.wire.removesuffix("_ms")
        if field and problem.message.startswith((f"{field} must ", f"{field} cannot ")):
            problem.message = f"{row.label}: {problem.message[len(field) + 1 :]}"
            return


def report(problem: StashError, *, as_json: bool) -> int:
    """Tell the user; the exit status."""
    if as_json:
        try:
            streams.emit(render.error(problem) + "\n")
        except BrokenPipeError:
            pass  # whoever asked is gone; the exit status still says it
        except StashError:  # stdout cannot be written, and may be the problem itself
            streams.say(problem.message)
    else:
        wait = f" (try again in {problem.retry_after:.3g} s)" if problem.retry_after else ""
        streams.say(problem.message + wait)
    return problem.exit_status


def die_of(number: int) -> None:
    """End as if a signal had never been caught, so that whoever started us sees the truth."""
    import signal

    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _unexpected(problem: Exception) -> StashError:
    import traceback

    try:
        path = f"{directory('log')}/{ERROR_LOG}"
        os.makedirs(directory("log"), mode=0o700, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            traceback.print_exception(problem, file=file)
    except (OSError, StashError):
        path = "nowhere: the log directory cannot be written"
    said = " ".join(str(problem).split()) or type(problem).__name__
    return Internal(f"something went wrong that should not: {said}; its details are in {path}")
