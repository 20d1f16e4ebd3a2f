"""Crowd: hundreds who write slowly, say nothing, or never read. Others are served, and the crowd is shown out."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon, eventually
from tests.support.tenants import announced, answer
from tests.torture.hostile import resident

MIB = 1 << 20
MANY = 200  # of each kind
READERS, UNREAD = 8, 64 * MIB  # who never read, and bytes of what each asked for
VALUE = 4 * MIB
MOST_GROWTH = 160 << 10  # KiB: a value for each reader, copied once on its way, and what a thousand connections need
P99 = 0.1  # seconds
STEP = 0.01  # seconds between two pings
PESTER = 50  # pings between two bytes of a slow writer

IMPATIENT = """
from stash_daemon.doors import connection, patience
connection.HELLO_PATIENCE = {hello}
patience.STALL_PATIENCE = {stall}
"""


def impatient(hello: float, stall: float) -> str:
    """What a daemon runs first that waits so many seconds only."""
    return IMPATIENT.format(hello=hello, stall=stall)


@contextlib.contextmanager
def gathered(daemon: RunningDaemon) -> Iterator[list[Line]]:
    """The crowd, at work."""
    with ExitStack() as stack:
        lines = [stack.enter_context(daemon.connect(hello=number % 2 == 0)) for number in range(2 * MANY)]
        for line in lines[::2]:  # a byte now and then: see `pester`
            line.send_bytes(announced(op.Set(key="slow", id=5), MIB))
        for _ in range(READERS):
            line = stack.enter_context(daemon.connect())
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(UNREAD // VALUE):
                line.send(op.Get(key="large"))
            lines.append(line)
        yield lines


def pester(lines: list[Line]) -> None:
    """A byte of each slow writer that is still connected."""
    for line in lines[: 2 * MANY : 2]:
        with contextlib.suppress(OSError):
            line.sock.send(b"x", socket.MSG_DONTWAIT)


def gone(lines: list[Line]) -> int:
    """How many the daemon has hung up on: those who never read are not told until they do."""
    poll = select.poll()
    for line in lines:
        poll.register(line.sock, select.POLLHUP | select.POLLRDHUP)
    return len(poll.poll(0))


def stand(daemon: RunningDaemon, within: float) -> tuple[float, float, int]:
    """Be served beside the crowd until it is gone; the p99 of a ping and how long it took, in seconds; KiB grown.

    Raises:
        AssertionError: somebody was still there after so many seconds.
    """
    with daemon.connect() as bystander:
        answer(bystander, op.Set(key="large"), bytes(VALUE))
        bystander.call(op.Get(key="large"))
        before = grown = resident(daemon)
        pings: list[float] = []
        with gathered(daemon) as lines:
            began = time.monotonic()
            while gone(lines) < len(lines):
                assert time.monotonic() - began <= within, f"{len(lines) - gone(lines)} are still there"
                if len(pings) % PESTER == 0:
                    pester(lines)
                grown = max(grown, resident(daemon))
                asked = time.monotonic()
                answer(bystander, op.Ping())
                pings.append(time.monotonic() - asked)
                time.sleep(STEP)
            took = time.monotonic() - began
        eventually(lambda: answer(bystander, op.GetStatus())["connections"] == 1)
    return sorted(pings)[int(len(pings) * 0.99)], took, grown - before


def idle(daemon: RunningDaemon, count: int) -> tuple[int, int]:
    """So many connections that do nothing: how many were served, how many refused; all others are an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 200)), hard))
    served = refused = 0
    with ExitStack() as stack:
        for _ in range(count):
            envelope = stack.enter_context(daemon.connect(hello=False)).hello(check=False)
            served += "reply" in envelope
            refused += envelope.get("error", {}).get("code") == "busy"
    assert served + refused == count
    return served, refused


def out_of_descriptors(daemon: RunningDaemon, crowd: int, seconds: float) -> float:
    """Take the daemon's descriptors away while so many connect; the share of a processor it spent on that."""
    few = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())) + 2
    with daemon.connect() as line, ExitStack() as stack:
        before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (few, before[1]))
        for _ in range(crowd):
            stack.enter_context(contextlib.closing(_knock(daemon)))
        spent, began = processor(daemon), time.monotonic()
        while time.monotonic() - began < seconds:
            assert answer(line, op.Ping())
            time.sleep(STEP)
        share = (processor(daemon) - spent) / (time.monotonic() - began)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
    eventually(lambda: _serves(daemon))
    return share


def _knock(daemon: RunningDaemon) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(daemon.socket))
    return sock


def _serves(daemon: RunningDaemon) -> bool:
    with contextlib.suppress(EOFError, ConnectionError), daemon.connect() as line:
        return bool(answer(line, op.Ping()))
    return False


def processor(daemon: RunningDaemon) -> float:
    """Seconds of a processor's time it has had."""
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


Told = Callable[[str], None]


def run(told: Told) -> None:
    """All of it as it is shipped: thirty seconds of patience, ten thousand connections."""
    with RunningDaemon() as daemon:
        p99, took, grown = stand(daemon, 30)
        told(f"crowd: p99 of others {p99 * 1000:.1f} ms, gone after {took:.1f} s, {grown >> 10} MiB more")
        assert p99 <= P99
        assert grown <= MOST_GROWTH
    with RunningDaemon() as daemon:
        served, refused = idle(daemon, 10_000)
        told(f"crowd: of 10,000 idle connections {served} served, {refused} refused politely")
        told(f"crowd: without descriptors {out_of_descriptors(daemon, 200, 10):.0%} of a processor")
