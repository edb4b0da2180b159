"""`Actor`, the one class made to be subclassed."""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, ClassVar

import trio

from ._handler import HandlerOptions, OnCancel, Route, handler, routes_of
from ._mistakes import check_message_class, lines, short

if TYPE_CHECKING:
    from ._context import Context
    from ._spec import ExitReason

_MOST_ROUTES = 1024
"""How many classes of messages one actor's class remembers the way of; more are looked up each time."""


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

    __handlers__: ClassVar[dict[type, Route]] = {}
    """The handlers, by the class that each is annotated with."""
    __routes__: ClassVar[dict[type, Route | None]] = {}
    """What `__route__` has found, by the class of message that came."""
    __starts__: ClassVar[bool] = False
    """`on_start` is overridden."""
    __stops__: ClassVar[bool] = False
    """`on_stop` is overridden."""
    __concurrent__: ClassVar[bool] = False
    """There is a concurrent handler."""
    __snapshots__: ClassVar[bool] = False
    """`snapshot` and `restore` are there: the state goes on to the next incarnation."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.__handlers__ = routes_of(cls)
        cls.__routes__ = dict(cls.__handlers__)
        _check_hooks(cls)
        for name in ("__init__", "on_start", "on_stop", "snapshot", "restore"):
            hook = vars(cls).get(name)
            if isinstance(hook, types.FunctionType):  # the user's, as handlers are: Ctrl-C reaches it
                trio.lowlevel.disable_ki_protection(hook)
        cls.__concurrent__ = any(route is not None and not route.exclusive for route in cls.__routes__.values())
        cls.__starts__ = cls.on_start is not Actor.on_start
        cls.__stops__ = cls.on_stop is not Actor.on_stop
        cls.__snapshots__ = callable(getattr(cls, "snapshot", None)) and callable(getattr(cls, "restore", None))

    async def on_start(self) -> None:
        """Run before the first message of each incarnation; raising means that the start failed."""

    async def on_stop(self, reason: ExitReason) -> None:
        """Run after the last message of each incarnation, shielded from cancellation, within a time bound."""

    @classmethod
    def __route__(cls, message: type) -> Route | None:
        """Where a message of that class goes: to the handler of the nearest class in its MRO.

        Raises:
            TypeError: the class is not fit for a message, because it can be changed after it was sent.
        """
        route = next((cls.__handlers__[base] for base in message.__mro__ if base in cls.__handlers__), None)
        if route is not None:
            check_message_class(message)
        if len(cls.__routes__) < _MOST_ROUTES:
            cls.__routes__[message] = route
        return route


def _check_hooks(cls: type[Actor]) -> None:
    """`on_start` and `on_stop` are awaited, `snapshot` and `restore` are not."""
    for name, is_async, parameters in (
        ("on_start", True, "self"),
        ("on_stop", True, "self, reason: ExitReason"),
        ("snapshot", False, "self"),
        ("restore", False, "self, state"),
    ):
        hook = vars(cls).get(name)
        if not inspect.isfunction(hook) or hasattr(hook, "__wrapped__"):
            continue
        if inspect.iscoroutinefunction(hook) is not is_async:
            words = ("def", "async def") if is_async else ("async def", "def")
            raise TypeError(
                lines(
                    f"{short(cls.__qualname__)}.{name} is {'awaited' if is_async else 'called, not awaited'}: "
                    f"write `{words[1]}`",
                    wrong=f"{words[0]} {name}({parameters}): ...",
                    right=f"{words[1]} {name}({parameters}): ...",
                )
            )


__all__ = ["Actor", "HandlerOptions", "OnCancel", "Route", "handler"]
