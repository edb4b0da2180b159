"""Keeping the garbage collector out of work that makes many objects and no garbage."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Generator[None]:
    """No collection inside; one that is due comes right afterwards.

    A plan of 10,000 steps is half a million objects, none of them garbage. The collector, which wakes up every 700 new
    ones, looks at all the earlier ones again and again: that doubled the time of reading such a plan (measured with
    `python -m tests.benchmarks.parsing`). Only for work that ends soon and never waits: the pause is the whole
    process's.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
