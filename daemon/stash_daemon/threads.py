"""The daemon's other threads: what may take long, and must not hold up the loop."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICENESS = 10  # of 19: where cores are few, the loop goes first


def step_back() -> None:
    """Let the thread that calls this have the processor only when the loop does not want it.

    Where threads have no niceness of their own (it is Linux that gives them one), nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
