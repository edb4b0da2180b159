"""What trio knows of the scopes that a tool is in: those of its step, from outside, and its own inside them.

trio has no public way to ask which of a task's scopes is cancelled, nor to leave a scope for somebody else; hence the
private names: they are all here, but for one that `Tool.call` cannot afford a function for.
"""

from __future__ import annotations

from typing import Any

from trio.lowlevel import current_task

Scopes = Any
"""trio's record of the innermost scope that a task is in, and of those around it: `current_task()._cancel_status`."""


def hears_cancellation_of(outer: Scopes) -> bool:
    """Whether `outer` is cancelled and nothing inside it shields the place where this task waits."""
    if not outer.effectively_cancelled:
        return False
    inner: Scopes = current_task()._cancel_status
    while inner is not None and inner is not outer:
        if inner._scope.shield:
            return False
        inner = inner.parent
    return True


def leave_scopes(outer: Scopes) -> None:
    """Make `outer` the innermost scope of this task again, after a tool that will never leave its own.

    Only for a coroutine that has ignored `Cancelled` a few hundred times, then `Dismissed`, then `GeneratorExit`, as
    `while True: ... except: pass` does. It will never run again, so its `with` blocks never end, and trio would take
    the step's scope for misnested. What still runs in its nurseries is cancelled with their scopes, and ends by itself.
    """
    task = current_task()
    for nursery in tuple(task._child_nurseries):
        status = nursery._cancel_status
        if status is not outer and outer.encloses(status):
            task._child_nurseries.remove(nursery)
    while task._cancel_status is not outer:
        task._cancel_status._scope.__exit__(None, None, None)
