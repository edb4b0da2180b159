"""What the annotations of a handler stand for, and whether what it returns fits what its message promises.

Annotations may be strings (`from __future__ import annotations`), and a string knows nothing of the functions around
it: a message class that is local to a function is in no closure unless somebody else uses it. While the function still
runs its frame has the name; when it has returned, another method of the class may have kept it.
"""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ._envelope import Ask, Stream

_ITERATORS = (collections.abc.AsyncGenerator, collections.abc.AsyncIterator, collections.abc.AsyncIterable)
_NUMBERS: dict[object, tuple[type, ...]] = {float: (int,), complex: (int, float)}  # as type checkers see it
_UNIONS = (typing.Union, types.UnionType)


def evaluate(annotation: object, klass: type, method: Callable[..., Any]) -> Any:
    """What an annotation of a method of `klass` stands for; called while the class is being made.

    Raises whatever the expression raises, mostly `NameError`.
    """
    for _ in range(2):  # a string in quotes is a string of a string where annotations are strings anyway
        if isinstance(annotation, str):
            annotation = eval(annotation, _scope(klass, inspect.unwrap(method)))  # noqa: S307 - the class's own
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _scope(klass: type, method: Any) -> dict[str, object]:
    """The names of the method's module, of the functions around it, and of its class, the nearest last."""
    names: dict[str, object] = dict(method.__globals__)
    for frame in reversed(list(_frames_around(klass, method))):
        names.update(frame.f_locals)
    for value in (*vars(klass).values(), method):
        function = inspect.unwrap(value) if inspect.isfunction(value) else None
        if function is not None:
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                with contextlib.suppress(ValueError):  # not assigned yet: `__class__`, for one
                    names[name] = cell.cell_contents
    names.update((name, value) for name, value in vars(klass).items() if isinstance(value, type))
    for owner in (klass, method):
        names.update((one.__name__, one) for one in getattr(owner, "__type_params__", ()))
    names[klass.__name__] = klass
    return names


def _frames_around(klass: type, method: Any) -> Iterator[types.FrameType]:
    """The running frames of what encloses the class in its source, the innermost first.

    Not simply the caller's: `attrs.define` makes the class a second time, from its own frames.
    """
    qualified = (klass.__qualname__, method.__qualname__)
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        prefix = f"{frame.f_code.co_qualname}."
        if frame.f_globals is method.__globals__ and any(name.startswith(prefix) for name in qualified):
            yield frame
        frame = frame.f_back


def answer_type(message: type) -> object:
    """The T of a message's `Ask[T]` or `Stream[T]`; Any if it is not known."""
    for klass in message.__mro__:
        for base in getattr(klass, "__orig_bases__", ()):
            if typing.get_origin(base) in {Ask, Stream}:
                return _known(typing.get_args(base)[0], klass)
    return Any


def _known(answer: object, klass: type) -> object:
    if isinstance(answer, typing.ForwardRef):
        answer = answer.__forward_arg__
    if isinstance(answer, str):
        try:
            return eval(answer, vars(sys.modules[klass.__module__]))  # noqa: S307 - the class's own annotation
        except Exception:  # noqa: BLE001 - defined further down or for type checkers only: they see to it
            return Any
    return Any if isinstance(answer, TypeVar) else answer


class Nothing:
    """What fits no answer: an async generator annotated with something that is no iterator."""


def item_type(returns: object) -> object:
    """What an async generator of that return annotation yields."""
    if returns is Any:
        return Any
    if (typing.get_origin(returns) or returns) not in _ITERATORS:
        return Nothing
    return (typing.get_args(returns) or (Any,))[0]


def fits(given: Any, wanted: Any) -> bool:
    """Whether a class fits a class, a union each of its members; what is more elaborate is left to the type checker."""
    given = type(None) if given is None else given
    wanted = type(None) if wanted is None else wanted
    if given is Nothing:
        return False
    if given is Any or wanted is Any or wanted is object or given is typing.NoReturn or given is typing.Never:
        return True
    if typing.get_origin(given) in _UNIONS:
        return all(fits(one, wanted) for one in typing.get_args(given))
    if typing.get_origin(wanted) in _UNIONS:
        return any(fits(given, one) for one in typing.get_args(wanted))
    given, wanted = typing.get_origin(given) or given, typing.get_origin(wanted) or wanted
    try:
        return issubclass(given, wanted) or given in _NUMBERS.get(wanted, ())
    except TypeError:  # no classes, or such as do not answer: a TypedDict, a protocol
        return True
