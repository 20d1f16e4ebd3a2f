"""Takes descriptors 0, 1 and 2 before anything else can get their numbers. Light: every verb loads it.

A process may be started with some of them closed (``stash get k >&-``). The next socket or file it opens would get that
number, and what is meant for a person would be sent down the socket.
"""

from __future__ import annotations

import os
import sys

# Opened the wrong way round on purpose: reading or writing such a stdin or stdout fails as it does on a closed one, so
# it is noticed. What goes to stderr may be lost.
_MODES = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)


def occupy_standard() -> None:
    """Open ``/dev/null`` in the place of each standard descriptor that is closed.

    To be called before anything else is opened.

    Raises:
        OSError: there is no ``/dev/null``.
    """
    for descriptor, mode in enumerate(_MODES):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # noqa: FBT003  # gets the lowest free number: this one
    if sys.stderr is None:  # `print(file=None)` would print to stdout
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  # for the life of the process
