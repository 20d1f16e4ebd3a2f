"""Keeps the daemon busy with long work: ``python -m bench.background list|export|search|prune SOCKET``.

``go`` on stdin starts it. ``list`` and ``export`` go through all entries, ``search`` looks for what is nearest, over
and over, until ``pause``; ``prune`` deletes everything under ``dying/``, once. Then the number of requests is printed.
Replies are received but not decoded: it is the daemon that is to be kept busy, not the core its clients share.
"""

from __future__ import annotations

import select
import sys
from array import array

from stash_memory import target
from stash_memory.transport_socket import SocketTransport
from stash_protocol.memories import Filter
from stash_protocol.operations import Export, List, Prune, Search

DYING = "dying/"
TIMEOUT = 120.0  # seconds


def told() -> bool:
    """Whether there is another command."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def go_through(transport: SocketTransport, kind: type[List | Export]) -> int:
    """Ask for page after page until told to stop; how many."""
    cursor, pages = "", 0
    while not told():
        body, _ = transport.exchange(kind(cursor=cursor), b"", TIMEOUT)
        cursor = body.cursor or ""
        pages += 1
    sys.stdin.readline()
    return pages


def keep_searching(transport: SocketTransport) -> int:
    """Search by a vector until told to stop; how often."""
    nearest = Search(vector=array("f", [1.0] * 384).tobytes(), filter=Filter(min_score=0.1))
    searches = 0
    while not told():
        transport.exchange(nearest, b"", TIMEOUT)
        searches += 1
    sys.stdin.readline()
    return searches


def main(work: str, socket: str) -> None:
    """Serve the commands until there are no more."""
    transport = SocketTransport(target.find(None, socket, None, None))
    print("ready", flush=True)
    while sys.stdin.readline():
        if work == "prune":
            transport.exchange(Prune(prefix=DYING, keep_newest=0), b"", TIMEOUT)
            print(1, flush=True)
        elif work == "search":
            print(keep_searching(transport), flush=True)
        else:
            print(go_through(transport, List if work == "list" else Export), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
