"""What keeps a directory of stash from being there."""

from __future__ import annotations

import os


def obstacle(path: str) -> str | None:
    """Why a directory cannot be made or written, in a sentence that names it; None: it can.

    Args:
        path: of the directory, which need not be there.
    """
    path = nearest = os.path.abspath(path)
    while not os.path.lexists(nearest):
        nearest = os.path.dirname(nearest)
    if not os.path.isdir(nearest):
        said = f"{nearest} is not a directory"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        said = f"{nearest} cannot be written"
    else:
        return None
    return said if nearest == path else f"{path} cannot be made: {said}"
