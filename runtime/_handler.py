"""`@handler`, and the route from a class of message to the method that handles it.

Routes are resolved when the actor's class is created: the message class is read from the annotation of the first
parameter (also when annotations are strings, and for message classes local to a function), and a mistake is a
`TypeError` there, with the wrong line and the right one, not at the first message.

What a route says lies flat in attributes and booleans: the kernel reads some of them for each message, and an enum
compared behind two attributes costs three times a boolean.
"""

from __future__ import annotations

import enum
import inspect
import sys
import types
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Literal, TypeVar, cast, overload

import attrs
import trio

from ._annotations import answer_type, evaluate, fits, item_type
from ._envelope import Ask, Stream, Tell
from ._handler_form import check_form, head, line
from ._mistakes import check_message_class, kind_of, lines, short, written

F = TypeVar("F", bound="Callable[..., Awaitable[Any] | AsyncIterator[Any]]")
P = TypeVar("P", bound="Callable[..., object]")

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
    inline: bool = False
    context: bool = False
    on_cancel: OnCancel = OnCancel.CANCEL
    raises: tuple[type[Exception], ...] = ()


class Route:
    """One resolved handler: the function, the class of message it takes, and how it is to be run."""

    __slots__ = (
        "concurrent",
        "context",
        "exclusive",
        "finish",
        "function",
        "inline",
        "is_ask",
        "is_stream",
        "is_tell",
        "kind",
        "message",
        "options",
        "plain",
        "plain_tell",
        "raises",
        "simple",
        "special",
    )

    def __init__(self, function: Callable[[Any, Any], Any], message: type, options: HandlerOptions) -> None:
        # A handler is the user's: Ctrl-C reaches it, although what calls it is protected.
        if isinstance(function, types.FunctionType):
            trio.lowlevel.disable_ki_protection(function)
        self.function: Callable[[Any, Any], Any] = function
        self.message: type = message
        self.options: HandlerOptions = options
        self.kind = kind_of(message)
        self.is_ask: bool = self.kind == "ask"
        self.is_tell: bool = self.kind == "tell"
        self.is_stream: bool = self.kind == "stream"
        self.inline: bool = options.inline
        self.context: bool = options.context
        self.concurrent: int | None = options.concurrent
        self.exclusive: bool = options.concurrent is None
        self.finish: bool = options.on_cancel is OnCancel.FINISH
        self.raises: tuple[type[Exception], ...] = options.raises
        self.special: bool = options.inline or options.context
        """Sending it needs more than an envelope."""
        self.plain: bool = not self.special and not self.is_stream
        """Handling it is one awaited call."""
        self.simple: bool = self.plain and self.exclusive
        """The same, and no other handler of its actor runs meanwhile."""
        self.plain_tell: bool = self.is_tell and not options.context
        """It may be queued without an envelope."""

    def __repr__(self) -> str:
        return f"<Route {self.message.__qualname__} -> {self.function.__qualname__}>"


@overload
def handler(function: F, /) -> F: ...
@overload
def handler(*, inline: Literal[True], raises: tuple[type[Exception], ...] = ()) -> Callable[[P], P]: ...
@overload
def handler(
    *,
    concurrent: int | None = None,
    inline: Literal[False] = False,
    context: bool = False,
    on_cancel: OnCancel = OnCancel.CANCEL,
    raises: tuple[type[Exception], ...] = (),
) -> Callable[[F], F]: ...


def handler(
    function: P | None = None,
    /,
    *,
    concurrent: int | None = None,
    inline: bool = False,
    context: bool = False,
    on_cancel: OnCancel = OnCancel.CANCEL,
    raises: tuple[type[Exception], ...] = (),
) -> P | Callable[[P], P]:
    """Mark a method as the handler of the message class that its parameter is annotated with.

    It is an `async def`; for a `Stream[T]` an async generator, `-> AsyncIterator[T]`; with `inline` a plain `def`.

    Args:
        function: The method, when the decorator is used bare.
        concurrent: At most so many of this handler's messages at once, each in a task of its own in the
            actor's nursery. Without it the actor handles this message alone.
        inline: The handler is a plain function: it runs in the sender's own task when nothing is ahead of the
            message. It cannot wait and cannot be cancelled.
        context: The handler sees the contextvars of whoever sent the message; costs a checkpoint a message.
        on_cancel: What happens to the handler when its asker is cancelled or times out.
        raises: Exceptions that are answers: re-raised at the asker as themselves; the actor lives on.
            Everything else is a crash.

    Raises:
        TypeError: the method and the options do not go together.
        ValueError: `concurrent` is not a whole number of at least 1.
    """
    options = _options(concurrent=concurrent, inline=inline, context=context, on_cancel=on_cancel, raises=raises)

    def mark(method: P) -> P:
        check_form(method, inline=options.inline)
        _check_name(method)
        setattr(method, _MARK, options)
        return method

    return mark if function is None else mark(function)


# ------------------------------------------------------------------ what `@handler(...)` was given
def _options(*, concurrent: Any, inline: bool, context: bool, on_cancel: object, raises: object) -> HandlerOptions:
    if concurrent is not None and (type(concurrent) is not int or concurrent < 1):
        raise ValueError(
            lines(
                "`concurrent` is how many messages are handled at once: a whole number of at least 1",
                wrong=f"@handler(concurrent={concurrent!r})",
                right="@handler(concurrent=8)",
            )
        )
    if not isinstance(on_cancel, OnCancel):
        raise TypeError(
            lines(
                "`on_cancel` is a member of OnCancel",
                wrong=f"@handler(on_cancel={on_cancel!r})",
                right="@handler(on_cancel=OnCancel.FINISH)",
            )
        )
    options = HandlerOptions(
        concurrent=concurrent, inline=bool(inline), context=bool(context), on_cancel=on_cancel, raises=_answers(raises)
    )
    if options.inline:
        _check_inline(options)
    return options


def _check_inline(options: HandlerOptions) -> None:
    """An inline handler runs from its beginning to its end in the sender's task: most options mean nothing there."""
    for given, name, option in (
        (options.concurrent is not None, "concurrent", f"concurrent={options.concurrent}"),
        (options.context, "context", "context=True"),
        (options.on_cancel is OnCancel.FINISH, "on_cancel", "on_cancel=OnCancel.FINISH"),
    ):
        if given:
            raise TypeError(
                lines(
                    "an inline handler runs in the sender's own task, and nothing comes between its beginning and "
                    f"its end: leave `{name}` out",
                    wrong=f"@handler(inline=True, {option})",
                    right=f"@handler(inline=True)    or for an `async def`    @handler({option})",
                )
            )


def _answers(raises: object) -> tuple[type[Exception], ...]:
    several = isinstance(raises, tuple | list | set | frozenset)
    given: tuple[Any, ...] = tuple(cast("Iterable[object]", raises)) if several else (raises,)
    names = ", ".join(getattr(kind, "__name__", None) or repr(kind) for kind in given)
    wrong = f"@handler(raises=({names},))" if several else f"@handler(raises={names})"
    for kind in given:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            name = getattr(cast("object", kind), "__name__", None) or repr(cast("object", kind))
            raise TypeError(
                lines(
                    f"`raises` names the exceptions that are answers, and {name} does not derive from Exception",
                    wrong=wrong,
                    right="@handler(raises=(LookupError,))",
                )
            )
    if not several:
        raise TypeError(
            lines("`raises` is a tuple of exception classes", wrong=wrong, right=f"@handler(raises=({names},))")
        )
    return given


def _check_name(method: Any) -> None:
    """Whether the class body has a handler of that name already: Python would drop it without a word."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals is globals():
        frame = frame.f_back
    if frame is None or not method.__qualname__.endswith(f"{frame.f_code.co_qualname}.{method.__name__}"):
        return  # not written in a class body
    first: Any = frame.f_locals.get(method.__name__)
    if _is_marked(first):
        other = f"{method.__name__}_too"
        raise TypeError(
            lines(
                f"{short(method.__qualname__)}: two handlers have this name, and the second hides the first",
                wrong=f"{line(first)}\n{line(method)}",
                right=f"{line(first)}\n{line(method).replace(method.__name__, other, 1)}",
            )
        )


# ------------------------------------------------------------------ from a class to its routes
def routes_of(cls: type) -> dict[type, Route]:
    """The handlers of an actor's class, its own and those of its bases and mixins.

    The nearest class in the MRO wins. A method that overrides a handler takes its place, with its messages and options
    if no `@handler` stands above it; `name = None` drops the handler.

    Raises:
        TypeError: a handler is written wrongly.
    """
    routes: dict[type, Route] = {}
    named: dict[str, Route] = {}
    for klass in reversed(cls.__mro__):
        # A base that is an actor has been resolved, in the scope where it was defined.
        ready = {} if klass is cls else {id(r.function): r for r in vars(klass).get("__handlers__", {}).values()}
        own: dict[type, str] = {}
        for name, method in vars(klass).items():
            route = ready.get(id(method))
            overridden = named.get(name)
            if route is None and _is_marked(method):
                route = _resolve(klass, name, method)
            elif route is None and overridden is not None and method is not None:
                check_form(method, inline=overridden.inline)
                route = Route(method, overridden.message, overridden.options)
                _check_kind(f"{short(klass.__qualname__)}.{name}", route)
            if overridden is not None:
                if route is not None and not issubclass(overridden.message, route.message):
                    raise TypeError(_hidden(klass, overridden, route))
                if routes.get(overridden.message) is overridden:
                    del routes[overridden.message]
            if route is None:
                continue
            if route.message in own:
                raise TypeError(_twice(klass, own[route.message], name, route.message))
            own[route.message] = name
            named[name] = routes[route.message] = route
    return routes


def _hidden(klass: type, overridden: Route, route: Route) -> str:
    was = short(overridden.function.__qualname__)
    name = route.function.__name__
    return lines(
        f"{short(klass.__qualname__)}.{name} handles {short(route.message.__qualname__)} and hides {was}, "
        f"which handles {short(overridden.message.__qualname__)}: give it another name",
        wrong=line(route.function),
        right=line(route.function).replace(name, f"{name}_{route.message.__name__.lower()}", 1),
    )


def _is_marked(method: object) -> bool:
    inner = cast("Any", method).__func__ if isinstance(method, staticmethod | classmethod) else method
    return isinstance(getattr(inner, _MARK, None), HandlerOptions)


def _twice(klass: type, first: str, second: str, message: type) -> str:
    each = "@handler\nasync def {}(self, message: {}): ..."
    return lines(
        f"{short(klass.__qualname__)}: both {first!r} and {second!r} handle {short(message.__qualname__)}; keep one",
        wrong=f"{each.format(first, message.__name__)}\n{each.format(second, message.__name__)}",
        right=each.format(first, message.__name__),
    )


def _resolve(klass: type, name: str, method: Any) -> Route:
    options: HandlerOptions = getattr(method, _MARK, HandlerOptions())
    where = f"{short(klass.__qualname__)}.{name}"
    check_form(method, inline=options.inline)
    message = _message_class(where, klass, method)
    check_message_class(message)
    route = Route(method, message, options)
    _check_kind(where, route)
    returns = inspect.signature(method).return_annotation
    if returns is not inspect.Signature.empty:
        _check_return(where, route, _evaluated(returns, f"{where}: the return annotation", klass, method))
    return route


def _evaluated(annotation: object, what: str, klass: type, method: Callable[..., Any]) -> Any:
    try:
        return evaluate(annotation, klass, method)
    except Exception as error:
        name = getattr(error, "name", None) or written(annotation)
        raise TypeError(
            lines(
                f"{what}, {annotation!r}, is unknown there ({error}); import it at run time",
                wrong=f"if TYPE_CHECKING:\n    from ... import {name}",
                right=f"from ... import {name}",
            )
        ) from error


def _message_class(where: str, klass: type, method: Callable[..., Any]) -> type:
    """The class that the handler's one parameter is annotated with."""
    parameters = list(inspect.signature(method).parameters.values())
    plain = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    if len(parameters) != 2 or any(p.kind not in plain for p in parameters):
        raise TypeError(
            lines(
                f"{where} does not take one message: a handler has `self` and one annotated parameter",
                wrong=line(method),
                right=line(method, message="YourMessage"),
            )
        )
    if parameters[1].annotation is inspect.Parameter.empty:
        raise TypeError(
            lines(
                f"{where} does not say which messages it handles: a handler has `self` and one annotated parameter",
                wrong=line(method),
                right=line(method, message="YourMessage"),
            )
        )
    parameter = parameters[1]
    message = _evaluated(parameter.annotation, f"{where}: the annotation of {parameter.name!r}", klass, method)
    if typing.get_origin(message) in {typing.Union, types.UnionType}:
        kinds = [written(kind) for kind in typing.get_args(message)]
        raise TypeError(
            lines(
                f"{where}: a handler takes one class of messages, not {written(message)}; write one for each, "
                "or let them share a base",
                wrong=line(method),
                right="\n".join(line(method, message=kind) for kind in kinds),
            )
        )
    message = typing.get_origin(message) or message
    if not _is_message(message):
        name = message.__name__ if inspect.isclass(message) and message.__module__ != "builtins" else "YourMessage"
        raise TypeError(
            lines(
                f"{where}: {written(message)} is not a message; derive it from Ask[T], Tell or Stream[T]",
                wrong=line(method),
                right=f"@attrs.frozen\nclass {name}(Tell): ...\n{line(method, message=name)}",
            )
        )
    return cast("type", message)


def _is_message(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Ask | Tell | Stream)


def _check_kind(where: str, route: Route) -> None:
    """A stream's handler is an async generator, and nobody else's is."""
    method, name, answer = route.function, route.message.__name__, _shown_answer(route)
    yields = inspect.isasyncgenfunction(method)
    if route.is_stream and not yields:
        raise TypeError(
            lines(
                f"{where} does not yield: {name} is a Stream, whose handler is an async generator",
                wrong=line(method, body="return ..."),
                right=f"async {head(method, returns=f'AsyncIterator[{answer}]', body='yield ...')}",
            )
        )
    if yields and not route.is_stream:
        raise TypeError(
            lines(
                f"{where} yields: {name} is {'an Ask' if route.is_ask else 'a Tell'}, whose handler returns once. "
                "If there are many answers, it is a Stream",
                wrong=line(method, body="yield ..."),
                right=f"{line(method, returns=answer, body='return ...' if route.is_ask else '...')}"
                f"    or    class {name}(Stream[{answer if route.is_ask else '...'}]): ...",
            )
        )


def _shown_answer(route: Route) -> str:
    if route.is_tell:
        return "None"
    answer = answer_type(route.message)
    return "..." if answer is Any else written(answer)


def _check_return(where: str, route: Route, returns: object) -> None:
    wanted = None if route.is_tell else answer_type(route.message)
    if fits(item_type(returns) if route.is_stream else returns, wanted):
        return
    shown = _shown_answer(route)
    answered = "has no answer" if route.is_tell else f"is answered with {shown}"
    raise TypeError(
        lines(
            f"{where} returns {written(returns)}, but {short(route.message.__qualname__)} {answered}",
            wrong=line(route.function),
            right=line(route.function, returns=f"AsyncIterator[{shown}]" if route.is_stream else shown),
        )
    )
