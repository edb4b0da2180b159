"""Running a coroutine up to its first suspension without paying for an exception.

`coroutine.send(None)` tells the result of a coroutine that has ended by raising `StopIteration`, which costs as much as
the rest of a short call. `yield from` gets the result without one. So a generator that lives on is sent one coroutine
after another, runs each by `yield from`, and yields a sign when the coroutine has ended. If the coroutine yields
something itself, it has suspended: then it is driven directly, and the generator is left where it is, for good.
That costs more than an exception, so a tool that suspends again and again is begun by `coroutine.send` after all.
"""

from __future__ import annotations

import ctypes
import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from .tool_drive import Suspended
from .tool_scopes import Scopes

ENDED = object()
"""What `Hand.send` gives when the coroutine has ended: `value` is its result."""

PATIENCE = 4
"""Suspensions after which a tool is taken for one that suspends."""


class Hand:
    """`send` runs a coroutine; after it has raised, call `renew`, and when it has suspended, `suspended`."""

    __slots__ = ("_generator", "_left", "send", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self._left = PATIENCE
        self.renew()

    def renew(self) -> None:
        """Begin again with a new generator."""
        self.send: Callable[[Coroutine[Any, Any, object] | None], object] = self._directly
        if self._left:
            self._generator = _run(self)
            self.send = self._generator.send
            self.send(None)

    def suspended(self, coroutine: Coroutine[Any, Any, object], message: object, scopes: Scopes) -> Suspended:
        """What `drive` needs to go on with the coroutine, which has yielded `message`."""
        if not self._left:
            return Suspended(coroutine, message, scopes)
        found = _Held(coroutine, message, scopes, self._generator)
        self._left -= 1
        self.renew()
        return found

    def _directly(self, coroutine: Coroutine[Any, Any, object] | None) -> object:
        assert coroutine is not None  # noqa: S101 - only a generator has to be begun
        try:
            return coroutine.send(None)
        except StopIteration as done:
            self.value = done.value
            return ENDED


@types.coroutine
def _run(hand: Hand) -> Generator[Any, Any, None]:
    coroutine = yield
    while True:
        hand.value = yield from coroutine
        coroutine = yield ENDED


class _Held(Suspended):
    """Keeps the generator that waits for the coroutine, as long as that may be driven: its end would be the other's."""

    __slots__ = ("_generator",)

    def __init__(self, coroutine: Any, message: object, scopes: Scopes, generator: object) -> None:
        super().__init__(coroutine, message, scopes)
        self._generator = generator

    def __del__(self) -> None:
        if self.coroutine is not None and inspect.getcoroutinestate(self.coroutine) != inspect.CORO_CLOSED:
            # It could not be closed (see `tool_drive`): then nobody must try again.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._generator))
