"""The log: structlog, imported when the first line is written and not before (it takes 100 ms)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

from stash_daemon.clock import Clock
from stash_daemon.observe.files import DAY, LineFile, line_of, stamp
from stash_daemon.settings import Settings

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
KEPT = 7 * DAY  # milliseconds that yesterday's logs stay
MAX_FIELD = 512  # characters of one text in a line; a key has up to 2,048, and strangers send anything

MAX_ITEMS = 16  # of a list in a line: a forget may name 256 keys

_TRACEBACK = "exception"  # structlog's name for it


class _Target(Protocol):
    def append(self, line: bytes, now: int) -> None: ...
    def close(self) -> None: ...


class _Nowhere:
    """For an engine inside somebody's program: what is written there is not ours to decide."""

    def append(self, line: bytes, now: int) -> None:
        """Not kept."""

    def close(self) -> None:
        """Nothing is open."""


class _Stderr:
    """The terminal, or whatever a service's standard error is."""

    def append(self, line: bytes, now: int) -> None:  # noqa: ARG002 (a file rotates by it)
        os.write(2, line)

    def close(self) -> None:
        """Nothing is ours to close."""


class Log:
    """Writes lines of at least ``settings.log_level``.

    They go to standard error when that is a terminal, or when ``log_format`` is ``console``; else to ``stash.log`` in
    ``log_dir``; without a ``log_dir``, as in an embedded engine, nowhere.

    Attributes:
        threshold: number of the least level that is written; compare before gathering fields.
        lost: lines that could not be written. A log that fails never stops a request.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.threshold = LEVELS[settings.log_level]
        self.lost = 0
        self._clock = clock
        self._terminal = _is_terminal()
        self._format = settings.log_format or ("console" if self._terminal else "json")
        self._target = self._choose_target(settings)
        self._logger: Any = None

    def _choose_target(self, settings: Settings) -> _Target:
        if settings.log_format == "console" and not _stderr_is_nowhere():
            return _Stderr()
        if not settings.log_dir:
            return _Nowhere()
        return _Stderr() if self._terminal else LineFile(f"{settings.log_dir}/stash.log", KEPT)

    def write(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """One line, if its level is on.

        Args:
            level: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``, in any case.
            event: what happened; a fixed text, so that lines can be counted by it.
            fields: what else; None is left out, long texts are cut, API keys blotted out.
        """
        name = level.upper()
        if LEVELS[name] < self.threshold:
            return
        if self._logger is None:
            self._logger = self._build()
        self._logger.log(LEVELS[name], event, **fields)

    def close(self) -> None:
        """Let go of the file."""
        self._target.close()

    def _build(self) -> Any:
        import structlog

        console = self._format == "console"
        renderer: Any = _as_json
        if console:
            colors = self._terminal and not os.environ.get("NO_COLOR")
            plain = structlog.dev.plain_traceback  # it is text by now; structlog 25 warns of any other
            renderer = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24, exception_formatter=plain)
        return structlog.wrap_logger(
            self,
            wrapper_class=structlog.make_filtering_bound_logger(self.threshold),
            processors=[
                self._stamped,
                structlog.processors.format_exc_info,
                _escaped if console else _tidied,
                renderer,
            ],
            cache_logger_on_first_use=True,
        )

    def _stamped(self, _logger: object, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"timestamp": stamp(self._clock.now()), "level": method, "event": line.pop("event"), **line}

    def _line(self, text: str) -> None:
        try:
            self._target.append(line_of(text), self._clock.now())
        except OSError:
            self.lost += 1

    debug = info = warning = error = _line  # what structlog calls with the rendered line


def _is_terminal() -> bool:
    try:
        return os.isatty(2)
    except OSError:
        return False


def _stderr_is_nowhere() -> bool:
    try:
        return os.path.samestat(os.fstat(2), os.stat(os.devnull))
    except OSError:
        return True


def _tidied(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: _cut(name, value) for name, value in line.items() if value is not None}


def _cut(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_cut(name, item) for item in value[:MAX_ITEMS]]
    if isinstance(value, str) and len(value) > MAX_FIELD and name != _TRACEBACK:
        return f"{value[:MAX_FIELD]}… ({len(value):,} characters)"
    return value


def _escaped(logger: object, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A key can hold what moves the cursor, or makes a line of its own; on a terminal nothing of it stays."""
    return {
        name: "\n".join(map(_printable, value.splitlines())) if name == _TRACEBACK else _printable(value)
        for name, value in _tidied(logger, method, line).items()
    }


def _printable(value: Any) -> Any:
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return json.dumps(value) if isinstance(value, str) and not value.isprintable() else value


def _as_json(_logger: object, _method: str, line: MutableMapping[str, Any]) -> str:
    return json.dumps(line, default=str)  # ASCII: what a key holds reaches no terminal raw
