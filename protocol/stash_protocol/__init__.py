"""What can be said on the wire: operations, types, errors, frames and addresses. No I/O, no clock, no threads.

Nothing is imported here: the hot verbs of the command line load single modules of this package, and every
millisecond of start-up is theirs.
"""

__version__ = "0.1.0"
