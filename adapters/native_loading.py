"""A large native library is mapped before Python imports it, without holding up other threads.

Python opens an extension module under the interpreter's lock, so that an import in a worker thread stands the event
loop still as well: 25 to 70 ms for FAISS and for numpy (measured, 16 and 40 MB of code), 190 ms on a busy machine
with a cold disk. A foreign function that ctypes calls does not hold the lock. So the library is opened through
`dlopen` first, and the import finds it mapped: 6 ms, which is how long a thread may keep the lock anyway.

Whatever cannot be done this way is left to the import: it does the same thing, and has the better error message.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def map_ahead(package: str, pattern: str) -> bool:
    """Map the one file below the folder of `package` that fits `pattern`; whether that was done.

    For use before `package` is imported, in the thread that is going to. The library stays mapped.
    """
    if package in sys.modules or sys.platform == "win32":
        return False
    spec = importlib.util.find_spec(package)
    found = [
        file
        for folder in (spec.submodule_search_locations or () if spec else ())
        for file in Path(folder).glob(pattern)
    ]
    if len(found) != 1:  # none, or one for each kind of processor: the package knows which
        return False
    import ctypes

    try:
        opened = ctypes.CDLL(None).dlopen
    except (OSError, AttributeError):  # a Python that is one static file
        return False
    opened.argtypes, opened.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    return bool(opened(str(found[0]).encode(), sys.getdlopenflags()))


def map_numpy_ahead() -> bool:
    """Map what `import numpy` opens."""
    return map_ahead("numpy", "_core/_multiarray_umath*.so")
