"""`stash doctor`: looks, changes nothing, and says what to do."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple

from stash_cli import render, streams
from stash_cli.call import Call, address, connect
from stash_cli.directories import obstacle
from stash_memory.autostart import may_start
from stash_memory.given import read_config
from stash_protocol.errors import StashError, StorageDamaged, Unreachable
from stash_protocol.types import format_duration, format_size

if TYPE_CHECKING:
    from stash_daemon.settings import Settings
    from stash_protocol.address import Address

SQLITE_NEEDED = (3, 51, 3)  # before it two connections could lose acknowledged commits (the WAL-reset bug)
LITTLE_ROOM = 1 << 28  # bytes free on disk below which a warning is due: one namespace's quota in tier local
TIMEOUT = 5.0  # seconds for the daemon to answer
EMBEDDER_TIMEOUT = 15.0  # seconds: it may have to load its model
BY_KEYWORD = "so search goes by keyword and by vectors that clients bring"
NO_WORD = "by the configuration; no daemon told"
EMBEDDER_CURES = {
    "ollama": "run ollama serve, ollama pull the model, or set embedder_url and embedder_model",
    "openai": "look at embedder_url, embedder_model and STASH_EMBEDDER_API_KEY",
    "local": "install it again",
    "hash": "look at embedder_dimensions",
}


class Finding(NamedTuple):
    """One line: how it is, of what, and what to do about it."""

    verdict: str
    subject: str
    said: str


def ok(subject: str, said: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", subject, said)


def warn(subject: str, said: str) -> Finding:
    """It works, but."""
    return Finding("warn", subject, said)


def fail(subject: str, said: str) -> Finding:
    """It does not work."""
    return Finding("fail", subject, said)


def doctor(call: Call) -> int:
    """`stash doctor`."""
    findings = []
    for finding in examine(call):
        findings.append(finding)
        if not call.as_json:
            streams.emit(f"{_coloured(finding.verdict)} {finding.subject:<14} {finding.said}\n")
    healthy = all(finding.verdict != "fail" for finding in findings)
    if call.as_json:
        streams.emit(render.dump({"ok": healthy, "checks": [finding._asdict() for finding in findings]}) + "\n")
    return 0 if healthy else StorageDamaged.exit_status


def _coloured(verdict: str) -> str:
    shown = f"{verdict:<4}"
    if not streams.is_colourful(1):
        return shown
    return f"\033[{ {'ok': 32, 'warn': 33, 'fail': 31}[verdict] }m{shown}\033[0m"


def examine(call: Call) -> Iterator[Finding]:
    """All findings, one after the other."""
    yield _python()
    yield _sqlite()
    yield _sqlite_vec()
    settings, configuration = _configuration()
    yield configuration
    if settings is None:
        return
    readable = configuration.verdict == "ok"  # else API keys would fail for the same reason
    api_keys = [_api_keys(settings)] if readable else []
    yield from api_keys
    directories = [_directory("data", settings.data_dir), _directory("logs", settings.log_dir)]
    yield from directories
    yield _room(settings.data_dir)
    yield _socket(settings)
    idle, finding = _daemon(call)
    yield (_embedder_of_daemon(call, settings) if finding.verdict == "ok" and not idle else None) or _embedder(settings)
    database = list(_database(settings)) if idle else []
    if idle and any(other.verdict == "fail" for other in (configuration, *api_keys, *directories, *database)):
        finding = warn("daemon", "none runs, and none can start before what failed is mended")
    yield finding
    yield from database


def _configuration() -> tuple[Settings | None, Finding]:
    """The settings, also of a file that no daemon would take because others can read it; None: they make no sense."""
    from stash_daemon.settings import load

    try:
        settings = load({}, os.environ)
    except StashError as problem:
        finding = fail("configuration", problem.message)
        try:
            return load({}, os.environ, private=False), finding
        except StashError:
            return None, finding
    there = "" if os.path.exists(settings.config_path) else " (not there: defaults)"
    return settings, ok("configuration", settings.config_path + there)


def _python() -> Finding:
    try:
        release = version("stash-memory")
    except PackageNotFoundError:
        return fail("installation", "the package stash-memory is not installed for this Python; install it again")
    return ok("installation", f"stash {release}, Python {sys.version.split()[0]} at {sys.executable}")


def _sqlite() -> Finding:
    import apsw

    found = apsw.sqlite_lib_version()
    if tuple(map(int, found.split("."))) < SQLITE_NEEDED:
        needed = ".".join(map(str, SQLITE_NEEDED))
        return fail("sqlite", f"{found} can lose commits; {needed} or newer is needed: install a newer apsw")
    return ok("sqlite", f"{found}, by apsw {apsw.apsw_version()}")


def _sqlite_vec() -> Finding:
    try:
        import apsw
        import sqlite_vec

        memory = apsw.Connection(":memory:")
        memory.enable_load_extension(True)  # noqa: FBT003  # apsw's own signature
        memory.load_extension(sqlite_vec.loadable_path())
        found = next(memory.execute("select vec_version()"))[0]
        memory.close()
    except (ImportError, apsw.Error) as problem:
        return warn("sqlite-vec", f"cannot be loaded, so search by meaning will not work: {problem}")
    return ok("sqlite-vec", str(found))


def _api_keys(settings: Settings) -> Finding:
    from stash_daemon.clock import SystemClock
    from stash_daemon.keys import ApiKeys

    try:
        count = len(ApiKeys(settings, SystemClock()).list().keys)
    except StashError as problem:
        return fail("API keys", f"{problem.message}; mend or delete that section, no daemon starts with it")
    if settings.require_api_key and not count:
        return warn("API keys", "none yet, and every caller needs one: stash key create NAME makes the first")
    return ok("API keys", str(count) if count else "none")


def _directory(subject: str, path: str) -> Finding:
    try:
        facts = os.stat(path)
    except OSError as problem:
        if said := obstacle(path):
            return fail(subject, f"{said}; mend that, or set another path")
        if isinstance(problem, FileNotFoundError):
            return ok(subject, f"{path} is not there yet; the first start makes it")
        return fail(subject, f"{path} cannot be looked at: {problem.strerror}")
    if not stat.S_ISDIR(facts.st_mode):
        return fail(subject, f"{path} is not a directory; set another path, or move it away")
    if facts.st_uid != os.geteuid():
        return fail(subject, f"{path} belongs to uid {facts.st_uid}, not to you (uid {os.geteuid()}): chown it")
    if not os.access(path, os.W_OK | os.X_OK):
        return fail(subject, f"{path} cannot be written: chmod 700 {path}")
    if facts.st_mode & 0o077:
        return warn(subject, f"{path} has mode {stat.S_IMODE(facts.st_mode):04o}, others can look in: chmod 700 {path}")
    return ok(subject, f"{path}, mode {stat.S_IMODE(facts.st_mode):04o}")


def _room(path: str) -> Finding:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    facts = os.statvfs(path)
    free = facts.f_bavail * facts.f_frsize
    if free < LITTLE_ROOM:
        return warn("disk", f"{format_size(free)} free: make room, or forget something")
    return ok("disk", f"{format_size(free)} free")


def _embedder_of_daemon(call: Call, settings: Settings) -> Finding | None:
    """How the embedder is that the running daemon has, by a search; None: it does not tell this caller."""
    try:
        connection = connect(call.values, EMBEDDER_TIMEOUT, autostart=False)
        name = connection.call("embedding")[0].get("embedder")
        if name is None and settings.embedder != "none":
            return warn(
                "embedder", f"the daemon has none; here it is set to {settings.embedder}: stash stop, then any verb"
            )
        if name is None:
            return ok("embedder", f"none, {BY_KEYWORD}")
        query = f"hello {time.time_ns()}"  # one that nobody has asked before, whose vector would be kept
        began = time.monotonic()
        mode = connection.call("search", {"query": query, "mode": "vector", "k": 1})[0]["mode"]
        took = format_duration((time.monotonic() - began) * 1000)
        state = connection.call("embedding")[0]
    except StashError:
        return None
    if mode != "vector":
        cure = EMBEDDER_CURES.get(name.partition(":")[0], "stash embed status says more")
        return warn("embedder", f"{name} {state.get('error') or 'does not answer'}, says the daemon: {cure}")
    dimensions = f", {state['dimensions']} dimensions" if state.get("dimensions") else ""
    return ok("embedder", f"{name}{dimensions}, {took} for a search, says the daemon")


def _embedder(settings: Settings) -> Finding:
    """Has the one that is set here embed a word. Without one that works search still goes, by keyword."""
    from stash_daemon.search.embedders import EmbedderFailed, open_embedder

    try:
        embedder = open_embedder(settings)
    except StashError as problem:
        return fail("embedder", f"{problem.message}; no daemon starts with it")
    if embedder is None:
        return ok("embedder", f"none, {BY_KEYWORD}")
    began = time.monotonic()
    try:
        (vector,) = embedder.embed(["hello"], timeout=EMBEDDER_TIMEOUT)
    except EmbedderFailed as problem:
        cure = EMBEDDER_CURES[settings.embedder]
        return warn("embedder", f"{embedder.name} {problem.message}: {cure} ({NO_WORD})")
    finally:
        embedder.close()
    took = format_duration((time.monotonic() - began) * 1000)
    return ok("embedder", f"{embedder.name}, {len(vector)} dimensions, {took} for a word ({NO_WORD})")


def _socket(settings: Settings) -> Finding:
    path = settings.socket
    try:
        facts = os.lstat(path)
    except OSError:
        return ok("socket", f"{path} is not there; a daemon makes it")
    if not stat.S_ISSOCK(facts.st_mode):
        return fail("socket", f"{path} is not a socket: move it away, or set STASH_SOCKET")
    if facts.st_uid != os.geteuid():
        return fail("socket", f"{path} belongs to uid {facts.st_uid}, not to you (uid {os.geteuid()})")
    if facts.st_mode & 0o077:
        return fail("socket", f"{path} has mode {stat.S_IMODE(facts.st_mode):04o}: stop the daemon, it makes a new one")
    return ok("socket", path)


def _daemon(call: Call) -> tuple[bool, Finding]:
    """Whether the database has no daemon of ours, and how the one that is asked for is."""
    timeout = TIMEOUT if call.get("timeout") is None else call.timeout
    try:
        config = read_config()
        where = address(call.values, config)
        status, _ = connect(call.values, timeout, autostart=False).call("status")
    except Unreachable as problem:
        return where.scheme == "unix", _nobody(where, config, problem)
    except StashError as problem:
        return False, fail("daemon", f"{problem.message} ({problem.code})")
    said = f"{status['status']}, pid {status['pid']}, version {status['version']}, SQLite {status['sqlite_version']}"
    if status["status"] != "ok":
        return False, fail("daemon", f"{said}; database: {status['database']}")
    return False, ok("daemon", said)


def _nobody(where: Address, config: dict[str, str], problem: Unreachable) -> Finding:
    """What it means that no daemon answers there."""
    if where.scheme != "unix":
        return fail("daemon", f"{problem.message}; no verb starts that one")
    if not may_start(config):
        return warn("daemon", f"none runs at {where}, and autostart is off: run stash serve, or unset STASH_AUTOSTART")
    return ok("daemon", f"none runs at {where}; any verb starts one")


def _database(settings: Settings) -> Iterator[Finding]:
    """The file itself; only while no daemon owns it."""
    from stash_daemon.assembly import DATABASE, LOCK

    path = f"{settings.data_dir}/{DATABASE}"
    if not os.path.exists(path):
        yield ok("database", f"{path} is not there yet")
        return
    lock = f"{settings.data_dir}/{LOCK}"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        yield fail("database", f"{lock} cannot be opened: {problem.strerror}")
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield _integrity(path)
    except BlockingIOError:
        yield fail(
            "database", f"a daemon owns it, but none answers at {settings.socket}: is STASH_SOCKET the same for both?"
        )
    finally:
        os.close(descriptor)


def _integrity(path: str) -> Finding:
    import apsw

    from stash_daemon.stores.schema import verify

    cure = f"move it away (mv {path}* ELSEWHERE): the next start makes a new one, and stash import reads an export"
    try:
        if not os.path.getsize(path):
            return fail("database", f"{path} is empty, which no database is: {cure}")
        database = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)  # a log that was left is played back
        try:
            said = [" ".join(str(row[0]).split()) for row in database.execute("pragma integrity_check(3)")]
            if said == ["ok"]:
                verify(database, path)
        finally:
            database.close()
    except StorageDamaged as problem:
        return fail("database", problem.message.replace("run: stash doctor", cure))
    except (apsw.Error, OSError) as problem:
        return fail("database", f"{path}: {problem}; {cure}")
    if said != ["ok"]:
        return fail("database", f"{path}: {'; '.join(said)}; {cure}")
    return ok("database", f"{path}, {format_size(os.path.getsize(path))}, whole")
