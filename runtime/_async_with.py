"""An `asynccontextmanager` whose use without `async with` shows the right line.

What `open_system()` gives has none of a system's methods, and Python's own message about that speaks of an
`_AsyncGeneratorContextManager`.
"""

from __future__ import annotations

import functools
import types
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Generic, NoReturn, ParamSpec, TypeVar

from ._mistakes import lines

T = TypeVar("T")
P = ParamSpec("P")


def async_with(
    call: str, name: str
) -> Callable[[Callable[P, AsyncGenerator[T, None]]], Callable[P, AbstractAsyncContextManager[T]]]:
    """`asynccontextmanager`, but using what it gives without `async with` shows the right line.

    Args:
        call: The call as users write it.
        name: What they call its target.
    """

    def decorate(function: Callable[P, AsyncGenerator[T, None]]) -> Callable[P, AbstractAsyncContextManager[T]]:
        manager = asynccontextmanager(function)

        @functools.wraps(function)
        def opened(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
            return _Unentered(manager(*args, **kwargs), call, name)

        return opened

    return decorate


class _Unentered(AbstractAsyncContextManager[T], Generic[T]):
    """What `open_system()` is before `async with` has entered it: nothing that can be used."""

    __slots__ = ("_call", "_manager", "_name")

    def __init__(self, manager: AbstractAsyncContextManager[T], call: str, name: str) -> None:
        self._manager = manager
        self._call = call
        self._name = name

    async def __aenter__(self) -> T:
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)

    def _wrong(self, wrong: str, then: str = "...") -> str:
        return lines(
            f"`{self._call}` is entered with `async with`; until then there is nothing to use",
            wrong=wrong,
            right=f"async with {self._call} as {self._name}:\n    {then}",
        )

    if not TYPE_CHECKING:  # a type checker shall go on finding misspelt names

        def __getattr__(self, attribute: str) -> NoReturn:
            if attribute.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")
            used = f"{self._name}.{attribute}"
            raise AttributeError(self._wrong(f"{self._name} = {self._call}\n{used}", used), name=attribute, obj=self)

        def __await__(self) -> NoReturn:
            raise TypeError(self._wrong(f"{self._name} = await {self._call}"))

        def __aiter__(self) -> NoReturn:
            raise TypeError(self._wrong(f"async for item in {self._call}: ...", f"async for item in {self._name}: ..."))

        def __enter__(self) -> NoReturn:
            raise TypeError(self._wrong(f"with {self._call} as {self._name}: ..."))

        def __exit__(self, *_: object) -> None:
            """Never reached; `with` looks for it before it enters."""
