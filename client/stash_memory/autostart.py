"""Connects to a daemon, and starts one if none runs: exactly one, however many ask at the same time.

The hot verbs of the command line load this module, so it imports next to nothing.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import sys
import time
from errno import EAGAIN, ECONNREFUSED, ENOENT

from stash_protocol.address import Address, config_path, directory
from stash_protocol.errors import BadRequest, Busy, StashError, Timeout, Unreachable, from_code

START_TIMEOUT = 10.0  # seconds a daemon may take until it is ready; it needs about 0.3
DRAIN_TIMEOUT = 6.0  # seconds to try again while another daemon owns the data: one that is told to stop drains for 5
POLL = 0.01  # seconds between two looks at what cannot be waited for: another's lock, a full backlog, a drain
DRAIN_POLL = 0.1  # seconds between two such tries: each is a whole start
READY_FD = 3  # the daemon's end of the ready pipe: the first after stdin, stdout and stderr
FIRST_FD = (
    READY_FD + 1
)  # from here on descriptors are in nobody's way: not the caller's 0 to 2, not the daemon's 0 to 3

# SIGHUP, SIGINT, SIGQUIT, SIGTERM: a shell's background jobs ignore some of them, and the daemon must not inherit
# that. As numbers, for importing `signal` costs a millisecond; they are the same on every Unix.
SIGNALS = (1, 2, 3, 15)

SWITCH = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True, "off": False, "on": True}

_started: list[int] = []  # daemons this process is the parent of: reaped when it starts the next one


def may_start(config: dict[str, str]) -> bool:
    """Whether this user wants daemons started: ``STASH_AUTOSTART``, then the configuration file; yes unless set.

    Args:
        config: as `given.read_config` found it.

    Raises:
        BadRequest: it says neither yes nor no.
    """
    word, where = os.environ.get("STASH_AUTOSTART"), "STASH_AUTOSTART"
    if not word:
        word, where = config.get("autostart", "1"), f"{config_path()}: autostart"
    found = SWITCH.get(word.lower())
    if found is None:
        raise BadRequest(f"{where}: {word!r} is none of {', '.join(SWITCH)}")
    return found


def connect(address: Address, timeout: float, *, autostart: bool, verbose: bool = False) -> _socket.socket:
    """A connected socket. For ``tls``, the handshake is still to be made.

    Args:
        address: of the daemon.
        timeout: seconds for all of it.
        autostart: whether a daemon may be started where none runs, see `may_start`; only at a Unix socket.
        verbose: say on stderr when one was started.

    Raises:
        Unreachable: no daemon answers, and none was or could be started.
        Timeout: the time ran out.
        StashError: what kept the daemon from starting, as the daemon names it.
    """
    deadline = time.monotonic() + timeout
    try:
        return _dial(address, deadline)
    except TimeoutError:
        raise Timeout(f"{address} did not answer within {timeout:g} s") from None
    except OSError as error:
        if not (autostart and address.scheme == "unix" and error.errno in (ENOENT, ECONNREFUSED)):
            raise _unreachable(address, error) from None
    began = time.monotonic()
    try:
        return _start(address, deadline, verbose=verbose)
    except TimeoutError:
        waited = time.monotonic() - began
        raise Timeout(f"a daemon is being started, but was not ready within {waited:.1f} s") from None
    except OSError as error:
        raise Unreachable(f"no daemon could be started for {address}: {_reason(error)}") from None


def _dial(address: Address, deadline: float) -> _socket.socket:
    if address.scheme == "unix":
        return _dial_one(_socket.AF_UNIX, address.path, deadline)
    problem: OSError | None = None
    for family, *_, target in _socket.getaddrinfo(address.host, address.port, 0, _socket.SOCK_STREAM):
        try:
            connection = _dial_one(family, target, deadline)
        except OSError as error:
            problem = error
        else:
            connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            return connection
    raise problem or OSError(ENOENT, "no such host")


def _dial_one(family: int, target: object, deadline: float) -> _socket.socket:
    while True:
        connection = _socket.socket(family, _socket.SOCK_STREAM)
        try:
            connection.settimeout(max(POLL, deadline - time.monotonic()))
            connection.connect(target)  # type: ignore[arg-type]  # a path or an address, as the family wants it
            connection.settimeout(None)
        except BaseException as error:
            connection.close()
            if not isinstance(error, BlockingIOError) or error.errno != EAGAIN:
                raise
        else:
            return connection
        _pause(deadline)  # a Unix socket's backlog is full: nothing tells when it has room again


def _start(address: Address, deadline: float, *, verbose: bool) -> _socket.socket:
    began = time.monotonic()
    data_dir = _private_directory("data")
    lock = os.open(data_dir + "/autostart.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(lock, deadline)
        while True:
            try:
                return _dial(address, deadline)
            except OSError as error:
                if error.errno not in (ENOENT, ECONNREFUSED):
                    raise
            try:
                _spawn(address, min(deadline, time.monotonic() + START_TIMEOUT), verbose=verbose)
            except Busy:  # another owner: one that drains, or that was quicker
                if time.monotonic() > min(began + DRAIN_TIMEOUT, deadline - DRAIN_POLL):
                    raise
                time.sleep(DRAIN_POLL)
    finally:
        os.close(lock)


def _spawn(address: Address, deadline: float, *, verbose: bool) -> None:
    """Start a daemon and wait until it is ready; raises what keeps it from that."""
    log_path = _private_directory("log") + "/daemon.err"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    ready, ready_end = _pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log_path, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable_fds()),
            (os.POSIX_SPAWN_DUP2, ready_end, READY_FD),
        ]
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "stash_daemon", "--auto-started", "--ready-fd", str(READY_FD)],
            _environment(address),
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=SIGNALS,
        )
        os.close(ready_end)
        ready_end = -1
        _adopt(pid)
        verdict = _wait(ready, deadline)
        if verdict != b"1":
            _reap(pid)
            raise _failure(verdict, log_path)
    finally:
        os.close(ready)
        if ready_end >= 0:
            os.close(ready_end)
    if verbose:
        print(f"stash: started the daemon (pid {pid})", file=sys.stderr)


def _pipe() -> tuple[int, int]:
    """A pipe at numbers the daemon's own descriptors do not take: a caller may have closed its 0, 1 or 2."""
    ends = os.pipe()
    try:
        reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FIRST_FD) for end in ends)
    finally:
        for end in ends:
            os.close(end)
    return reading, writing


def _wait(ready: int, deadline: float) -> bytes:
    """What the daemon says: ``1`` once it is ready, else its error, or nothing when it could not even say that."""
    from select import POLLIN, poll  # only the one call in thousands that starts a daemon needs it

    poller = poll()
    poller.register(ready, POLLIN)
    if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
    word = b""
    while word != b"1" and (more := os.read(ready, 1024)):
        word += more
    return word


def _failure(verdict: bytes, log_path: str) -> StashError:
    """The error of a daemon that could not start."""
    code, _, message = verdict.decode(errors="replace").partition(" ")
    if not message:
        return Unreachable(f"the daemon could not start: {_last_line(log_path)}; `stash doctor` looks into it")
    return from_code(code, f"the daemon could not start: {message}")


def _environment(address: Address) -> dict[str, str]:
    environment = dict(os.environ)
    environment["STASH_SOCKET"] = address.path  # it must listen where it is looked for
    environment.pop("STASH_API_KEY", None)  # a caller's secret is none of the daemon's
    return environment


def _inheritable_fds() -> list[int]:
    """What the daemon would inherit and keep open for its whole life: a script's lock, the end of its pipe."""
    return [fd for fd in map(int, os.listdir("/dev/fd")) if fd > 2 and _is_inheritable(fd)]


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # the one the directory was read by
        return False


def _adopt(pid: int) -> None:
    """Keep a child's number, and reap those before it: no one else waits for them."""
    _started[:] = [child for child in _started if _reap(child, os.WNOHANG) is None] + [pid]


def _reap(pid: int, options: int = 0) -> int | None:
    """The exit status of a child that ended; None while it runs."""
    try:
        ended, status = os.waitpid(pid, options)
    except ChildProcessError:  # reaped by the program itself, or the child of a parent we were forked from
        return -1
    return os.waitstatus_to_exitcode(status) if ended else None


def _lock(fd: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _pause(deadline)
        else:
            return


def _pause(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError
    time.sleep(POLL)


def _private_directory(kind: str) -> str:
    path = directory(kind)
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def _last_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file.read()[-4096:].splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1].removeprefix("stash: ").rstrip(".") if lines else "it gave no reason"


def _unreachable(address: Address, error: OSError) -> Unreachable:
    if address.scheme == "unix":
        cure = "`stash serve` starts one"
    else:
        cure = f"one must run on that host, with --tcp HOST:{address.port}"
    return Unreachable(f"no daemon answers at {address}: {_reason(error)}; {cure}")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
