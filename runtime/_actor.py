"""`Actor`, the one class made to be subclassed, and `@handler`.

Handlers are resolved when the class is created: the message class is read from the annotation of the first
parameter (also when annotations are strings, and for message classes local to a function), and a mistake is a
`TypeError` there, not at the first message.
"""

from __future__ import annotations

import enum
import functools
import inspect
import sys
import typing
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, overload

import attrs

from ._envelope import Ask, Tell

if TYPE_CHECKING:
    from ._cell import Context
    from ._spec import ExitReason

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

_MARK = "__trouper_handler__"


class OnCancel(enum.Enum):
    """What happens to a handler whose asker has gone."""

    CANCEL = "cancel"
    """It is cancelled; the next message starts after its clean-up."""
    FINISH = "finish"
    """It ends in its own time; its answer is dropped. For changes that must not be half done."""


@attrs.frozen(kw_only=True)
class HandlerOptions:
    """What `@handler(...)` was given."""

    concurrent: int | None = None
    on_cancel: OnCancel = OnCancel.CANCEL
    raises: tuple[type[Exception], ...] = ()


@attrs.frozen
class HandlerSpec:
    """One resolved handler: the function, the class it takes, its options."""

    function: Callable[[Any, Any], Awaitable[object]]
    message: type
    options: HandlerOptions


@overload
def handler(function: F, /) -> F: ...
@overload
def handler(
    *,
    concurrent: int | None = None,
    on_cancel: OnCancel = OnCancel.CANCEL,
    raises: tuple[type[Exception], ...] = (),
) -> Callable[[F], F]: ...


def handler(
    function: F | None = None,
    /,
    *,
    concurrent: int | None = None,
    on_cancel: OnCancel = OnCancel.CANCEL,
    raises: tuple[type[Exception], ...] = (),
) -> F | Callable[[F], F]:
    """Mark a method as the handler of the message class that its parameter is annotated with.

    Args:
        function: The method, when the decorator is used bare.
        concurrent: At most so many of this handler's messages at once, each in a task of its own in the
            actor's nursery. Without it the actor handles this message alone.
        on_cancel: What happens to the handler when its asker is cancelled or times out.
        raises: Exceptions that are answers: re-raised at the asker as themselves; the actor lives on.
            Everything else is a crash.
    """
    if concurrent is not None and (isinstance(concurrent, bool) or concurrent < 1):
        raise ValueError(f"@handler(concurrent={concurrent!r}): give a whole number of at least 1")
    options = HandlerOptions(concurrent=concurrent, on_cancel=on_cancel, raises=tuple(raises))

    def mark(method: F) -> F:
        if not inspect.iscoroutinefunction(method):
            name = getattr(method, "__qualname__", repr(method))
            raise TypeError(f"@handler on {name}: a handler is an `async def` taking one message; write `async def`")
        setattr(method, _MARK, options)
        return cast("F", method)

    return mark if function is None else mark(function)


class Actor:
    """Subclass it, keep the state in `self`, and write one `@handler` method a message class.

    What starting does, in order: the constructor runs; `restore` gets the last snapshot, if there is one;
    `on_start` runs (`spawn` returns after it); then messages are handled one at a time until the actor is
    stopped or a handler raises; `on_stop` runs, shielded and with a time bound; waiting asks are failed.
    After a crash the supervisor starts a new instance: nothing of the old one is kept but the snapshot and
    the messages that were still waiting.
    """

    ctx: Context
    """Who and where this actor is; set before `on_start`."""

    __handlers__: ClassVar[dict[type, HandlerSpec]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        frame = sys._getframe(1)  # the scope that defines the class: its message classes may be local
        cls.__handlers__ = _collect(cls, {**frame.f_globals, **frame.f_locals})
        cls.__dispatch__ = functools.lru_cache(maxsize=256)(cls._find)

    async def on_start(self) -> None:
        """Run before the first message of each incarnation; raising means that the start failed."""

    async def on_stop(self, reason: ExitReason) -> None:
        """Run after the last message of each incarnation, shielded from cancellation, within a time bound."""

    @classmethod
    def _find(cls, message: type) -> HandlerSpec | None:
        for base in message.__mro__:
            found = cls.__handlers__.get(base)
            if found is not None:
                return found
        return None

    __dispatch__ = _find


def snapshots(actor: Actor) -> bool:
    """Whether the actor hands its state to its next incarnation."""
    return callable(getattr(actor, "snapshot", None)) and callable(getattr(actor, "restore", None))


def _collect(cls: type[Actor], names: dict[str, object]) -> dict[type, HandlerSpec]:
    handlers: dict[type, HandlerSpec] = {}
    for base in reversed(cls.__mro__[1:]):
        handlers.update(getattr(base, "__handlers__", {}))
    own: dict[type, str] = {}
    for name, method in vars(cls).items():
        options = getattr(method, _MARK, None)
        if options is None:
            continue
        spec = _resolve(cls, name, method, options, names)
        if spec.message in own:
            raise TypeError(
                f"{cls.__qualname__}: both {own[spec.message]!r} and {name!r} handle "
                f"{spec.message.__qualname__}; keep one"
            )
        own[spec.message] = name
        handlers[spec.message] = spec
    return handlers


def _resolve(
    cls: type[Actor],
    name: str,
    method: Callable[..., Any],
    options: HandlerOptions,
    names: dict[str, object],
) -> HandlerSpec:
    where = f"{cls.__qualname__}.{name}"
    parameters = list(inspect.signature(method).parameters.values())
    if len(parameters) != 2 or parameters[1].annotation is inspect.Parameter.empty:
        raise TypeError(f"{where}: write `async def {name}(self, message: YourMessage)`: one annotated parameter")
    scope = {**method.__globals__, **names, cls.__name__: cls}
    message = _evaluate(parameters[1].annotation, scope, f"{where}: the annotation of {parameters[1].name!r}")
    message = typing.get_origin(message) or message
    if not (isinstance(message, type) and issubclass(message, Ask | Tell)):
        raise TypeError(f"{where}: {message!r} is not a message; derive it from trouper.Ask[T] or trouper.Tell")
    returns = inspect.signature(method).return_annotation
    if returns is not inspect.Signature.empty:
        _check_return(where, message, _evaluate(returns, scope, f"{where}: the return annotation"))
    return HandlerSpec(method, message, options)


def _evaluate(annotation: object, scope: dict[str, object], what: str) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, scope)  # noqa: S307 - the class's own annotation, in its own scope
    except NameError as error:
        raise TypeError(f"{what}, {annotation!r}, is unknown there ({error}); import it at run time") from error


def _answer_type(message: type) -> object:
    for klass in message.__mro__:
        for base in getattr(klass, "__orig_bases__", ()):
            if typing.get_origin(base) is Ask:
                return typing.get_args(base)[0]
    return None


def _check_return(where: str, message: type, returns: object) -> None:
    if not issubclass(message, Ask):
        expected: object = None
    else:
        expected = _answer_type(message)
        if expected is None or isinstance(expected, str | TypeVar | typing.ForwardRef):
            return
    if not _fits(returns, type(None) if expected is None else expected):
        shown = getattr(expected, "__name__", None) or str(expected)
        raise TypeError(
            f"{where} returns {returns!r} but {message.__qualname__} is answered with {shown}; "
            f"annotate the handler `-> {shown}`"
        )


def _fits(given: object, wanted: object) -> bool:
    """Whether a plain class fits a plain class; anything more elaborate is left to the type checker."""
    given = type(None) if given is None else given
    if given == wanted or typing.Any in {given, wanted} or wanted is object or given is typing.NoReturn:
        return True
    if not (inspect.isclass(given) and inspect.isclass(wanted)) or getattr(wanted, "_is_protocol", False):
        return True
    if typing.get_origin(given) is not None or typing.get_origin(wanted) is not None:
        return True
    return issubclass(given, wanted) or (wanted is float and given is int)
