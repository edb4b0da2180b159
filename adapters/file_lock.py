"""A lock on an open file that the death of its holder gives back."""

from __future__ import annotations

import sys


def lock_file(descriptor: int) -> bool:
    """Lock a file for as long as it is open; False if somebody else has it. Never waits.

    Where there are no such locks, on Windows and on some network file systems, everybody gets it.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
