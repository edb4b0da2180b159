"""The likeliest mistakes, and what is said about each: the line as it was written and the line as it should be.

Only reached when something is wrong, so that the checks cost the right program nothing: `Ref` looks up a route, and
asks here for the reason when there is none. What is checked at a class (a handler, a message that can be changed) is
checked once, when the class is made or first met.

Python's own warning about a missing `await` quotes the `__qualname__` of the function, which is a text like any
other: `awaited` puts the wrong and the right line there.
"""

from __future__ import annotations

import functools
import inspect
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import attrs

from ._envelope import Ask, Stream, Tell
from ._errors import ActorStopped, AskCycle
from ._nearest import listed, nearest

if TYPE_CHECKING:
    from ._actor import Actor
    from ._handler import Route

F = TypeVar("F", bound="Callable[..., Any]")

Kind = Literal["ask", "tell", "stream"]

_BASES: dict[Kind, type] = {"ask": Ask, "tell": Tell, "stream": Stream}
_VERBS: dict[str, Kind] = {
    "ask": "ask",
    "ask_many": "ask",
    "tell": "tell",
    "tell_many": "tell",
    "tell_nowait": "tell",
    "stream": "stream",
}


def lines(what: str, *, wrong: str, right: str) -> str:
    """The shape of every message here: what is wrong, the line as it stands, the line as it should be."""
    return "\n".join([what, *_hanging("  wrong: ", wrong), *_hanging("  right: ", right)])


def _hanging(label: str, code: str) -> Iterable[str]:
    first, *rest = code.splitlines()
    yield label + first
    yield from (" " * len(label) + line for line in rest)


def written(annotation: object) -> str:
    """An annotation as people write it: `int`, `AsyncIterator[str]`, `A | B`."""
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation.__name__
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return " | ".join(map(written, typing.get_args(annotation)))
    return re.sub(r"[\w.<>]+\.", "", str(annotation))


def short(qualified: str) -> str:
    """A qualified name without the functions around it: `Counter.add`."""
    return qualified.rpartition("<locals>.")[2]


# ------------------------------------------------------------------ message classes
@attrs.frozen
class _Frozen:
    """Made only to know how attrs makes a class frozen."""


def check_message_class(message: type) -> None:
    """Refuse a message class that is two kinds at once, or whose fields can be assigned to.

    Raises:
        TypeError: with the class as it should be written.
    """
    kinds = [base for base in _BASES.values() if issubclass(message, base)]
    if len(kinds) > 1:
        raise TypeError(
            lines(
                f"{short(message.__qualname__)} is {' and '.join(kind.__name__ for kind in kinds)} at once: "
                "whoever sends it cannot know whether there is an answer",
                wrong=_class_line(message),
                right=f"class {message.__name__}({_base_of(kinds[0])}): ...",
            )
        )
    if kinds and _can_be_assigned_to(message):
        maker, frozen = "attrs.define", "attrs.frozen"
        if not attrs.has(message):
            maker, frozen = "dataclasses.dataclass", "dataclasses.dataclass(frozen=True)"
        raise TypeError(
            lines(
                f"{short(message.__qualname__)} can be changed after it was sent, while its actor works with it; "
                "a message is frozen, for example with @attrs.frozen",
                wrong=f"@{maker}\n{_class_line(message)}",
                right=f"@{frozen}\n{_class_line(message)}",
            )
        )


def _class_line(message: type) -> str:
    bases = getattr(message, "__orig_bases__", message.__bases__)
    return f"class {message.__name__}({', '.join(map(written, bases))}): ..."


def _base_of(kind: type) -> str:
    return "Tell" if kind is Tell else f"{kind.__name__}[...]"


def _can_be_assigned_to(message: type) -> bool:
    """Whether it is an attrs class or dataclass that has fields and is not frozen."""
    parameters = getattr(message, "__dataclass_params__", None)
    if parameters is not None:
        return not parameters.frozen and bool(getattr(message, "__dataclass_fields__", ()))
    return attrs.has(message) and bool(attrs.fields(message)) and message.__setattr__ is not _Frozen.__setattr__


# ------------------------------------------------------------------ sending
def wrong_message(verb: str, message: object, actor: type[Actor] | None, name: str) -> TypeError:
    """Why `ref.VERB(message)` cannot be sent to the actor `name` of class `actor`; a coroutine is closed."""
    kind = _VERBS[verb]
    if inspect.iscoroutine(message):
        called = _called(message)
        message.close()
        return TypeError(
            lines(
                f"`{called}` was called without `await`: it has not run, and `{verb}` got a coroutine, not a message",
                wrong=_call(verb, called),
                right=_call(verb, f"await {called}"),
            )
        )
    if inspect.isroutine(message):
        function = message.__name__
        wait = "await " if inspect.iscoroutinefunction(message) else ""
        return TypeError(
            lines(
                f"{function} is a function, not a message: was it to be called?",
                wrong=_call(verb, function),
                right=_call(verb, f"{wait}{function}(...)"),
            )
        )
    if isinstance(message, type):
        return TypeError(_a_class(verb, message))
    given = kind_of(type(message))
    if given is None:
        return TypeError(_no_message(verb, message))
    if given != kind:
        shown, what = _instance(type(message)), _BASES[given].__name__
        return TypeError(
            lines(
                f"{short(type(message).__qualname__)} is {'an' if given == 'ask' else 'a'} {what}: it cannot be sent "
                f"with `{verb}`, {_MEANT_FOR[given]}",
                wrong=_call(verb, shown),
                right=_call(given, shown),
            )
        )
    return TypeError(_unhandled(verb, type(message), actor, name))


def kind_of(message: type) -> Kind | None:
    """Whether a class is an ask, a tell or a stream; None for what is no message."""
    return next((name for name, base in _BASES.items() if issubclass(message, base)), None)


_MEANT_FOR = {
    "ask": "it has an answer that somebody must wait for",
    "tell": "it has no answer",
    "stream": "it has many answers",
}


def _several(message: object) -> list[object]:
    return list(cast("Any", message)) if isinstance(message, list | tuple) else []


def _no_message(verb: str, message: object) -> str:
    kind = _VERBS[verb]
    several = _several(message)
    if several and all(kind_of(type(one)) == kind for one in several):
        return lines(
            f"`{verb}` sends one message, this is a {type(message).__name__} of {len(several)}",
            wrong=_call(verb, "[...]"),
            right=f"await ref.{kind}_many([...])"
            if kind != "stream"
            else f"for message in [...]:\n    {_call(verb, 'message')}",
        )
    base = _BASES[kind]
    return lines(
        f"{reprlib.repr(message)} is not a message: its class does not derive from {base.__name__}",
        wrong=_call(verb, reprlib.repr(message)),
        right=f"@attrs.frozen\nclass YourMessage({_base_of(base)}): ...\n{_call(verb, 'YourMessage(...)')}",
    )


def _a_class(verb: str, message: type) -> str:
    kind = kind_of(message)
    if kind is not None:
        return lines(
            f"{short(message.__qualname__)} is a class: send an instance",
            wrong=_call(verb, message.__name__),
            right=_call(verb if _VERBS[verb] == kind else kind, _instance(message)),
        )
    base = _BASES[_VERBS[verb]]
    name = "YourMessage" if message.__module__ == "builtins" else message.__name__
    return lines(
        f"{short(message.__qualname__)} is a class, and not of messages: they derive from {base.__name__}",
        wrong=_call(verb, message.__name__),
        right=f"@attrs.frozen\nclass {name}({_base_of(base)}): ...\n{_call(verb, f'{name}(...)')}",
    )


def _unhandled(verb: str, message: type, actor: type[Actor] | None, name: str) -> str:
    known = [kind.__name__ for kind in actor.__handlers__] if actor is not None else []
    near = nearest(message.__name__, known)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    if actor is not None and message.__name__ in known:
        other = next(kind for kind in actor.__handlers__ if kind.__name__ == message.__name__)
        hint = f": that is {_full(other)}, this is {_full(message)}"
    who = short(actor.__qualname__) if actor is not None else repr(name)
    returns = {"tell": "None", "stream": "AsyncIterator[...]"}.get(_VERBS[verb], "...")
    return lines(
        f"{who} has no handler for {short(message.__qualname__)}; it handles {listed(known)}{hint}",
        wrong=_call(verb, _instance(message)),
        right=f"class {actor.__name__ if actor is not None else '...'}(Actor):\n"
        f"    @handler\n    async def {message.__name__.lower()}(self, message: {message.__name__}) -> {returns}: ...",
    )


def _full(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _instance(kind: type) -> str:
    """`Add(...)`, or `Ping()` for a class whose constructor takes nothing."""
    try:
        bare = not inspect.signature(kind).parameters
    except (TypeError, ValueError):
        bare = False
    return f"{kind.__name__}()" if bare else f"{kind.__name__}(...)"


def _call(verb: str, argument: str) -> str:
    """The whole line: `await ref.ask(Add(...))`."""
    if verb == "stream":
        return f"async with ref.stream({argument}) as items: ..."
    if verb.endswith("_many"):
        return f"await ref.{verb}([{argument}])"
    return f"{'' if verb == 'tell_nowait' else 'await '}ref.{verb}({argument})"


def _called(coroutine: types.CoroutineType[Any, Any, Any]) -> str:
    """The call that made a coroutine: `fetch(...)`; `other.ask(...)` for a method of a ref."""
    owner = "other." if coroutine.__qualname__.startswith("Ref.") else ""
    return f"{owner}{coroutine.__name__}(...)"


# ------------------------------------------------------------------ spawning
def check_factory(factory: object, call: str = "await system.spawn({})") -> None:
    """Refuse what cannot give an actor; a coroutine is closed.

    Raises:
        TypeError: with the line as it should be written.
    """
    if is_actor_class(factory):
        return
    right = call.format("Counter, 3")
    if inspect.iscoroutine(factory):
        wrong = _called(factory)
        factory.close()
        what = f"an actor is started from its class; `{wrong}` is a coroutine"
    elif inspect.iscoroutinefunction(factory) or inspect.isasyncgenfunction(factory):
        name = _name_of(factory)
        what = f"an actor is started from its class; {name} is an async function, which a nursery can run"
        wrong, right = name, f"{right}    or    nursery.start_soon({name})"
    elif is_actor_class(type(factory)):
        wrong, kind = _instance(type(factory)), type(factory).__name__
        what = f"an actor is started from its class, because each restart needs a new one; this {kind} is made already"
        right = call.format(kind if wrong.endswith("()") else f"{kind}, ...")
    elif isinstance(factory, type):
        wrong = factory.__name__
        what = f"an actor is started from its class; {short(factory.__qualname__)} does not derive from Actor"
        if factory.__module__ != "builtins":
            right = f"class {wrong}(Actor): ...\n{call.format(wrong)}"
    elif not callable(factory):
        what = f"an actor is started from its class; {reprlib.repr(factory)} cannot be called"
        wrong = reprlib.repr(factory)
    else:
        return
    raise TypeError(lines(what, wrong=call.format(wrong), right=right))


def no_actor(made: object, factory: object) -> TypeError:
    """The factory was called and gave something that is no actor."""
    name = _name_of(factory)
    wrong, gave = f"def {name}(): return {reprlib.repr(made)}", reprlib.repr(made)
    if inspect.iscoroutine(made):
        made.close()
        wrong, gave = f"async def {name}(): return Counter(3)", "a coroutine"
    return TypeError(
        lines(
            f"what starts an actor gives a new Actor each time it is called; {name} gave {gave}",
            wrong=wrong,
            right=f"def {name}(): return Counter(3)",
        )
    )


def is_actor_class(kind: object) -> bool:
    """Whether it is a subclass of Actor (which cannot be imported here: it imports us)."""
    return isinstance(kind, type) and hasattr(kind, "__handlers__")


def _name_of(factory: object) -> str:
    while isinstance(factory, functools.partial):
        factory = factory.func
    name = getattr(factory, "__name__", None) or type(factory).__name__
    return "start" if name == "<lambda>" else name


# ------------------------------------------------------------------ in handlers
def returned_coroutine(route: Route, value: types.CoroutineType[Any, Any, Any]) -> TypeError:
    """The handler gave back a coroutine instead of what it would give; it is closed."""
    called = _called(value)
    value.close()
    return TypeError(
        lines(
            f"{short(route.function.__qualname__)} gave back a coroutine: `{called}` was called without `await`",
            wrong=f"return {called}",
            right=f"return await {called}",
        )
    )


def ask_cycle(name: str, message: object, chain: tuple[str, ...], actor: type[Actor] | None = None) -> AskCycle:
    """The ask would wait for itself; `chain` names the actors from the one to itself."""
    circle = f"asking {name!r} would wait for itself: {' -> '.join(chain)}"
    own = len(chain) == 2
    if own and kind_of(type(message)) is None:  # an order: get_state, suspend ...
        text = lines(
            f"{circle}. A handler has its actor in its own hands",
            wrong="state = await self.ctx.ref.get_state()",
            right="state = self.snapshot()",
        )
    elif own:
        route = actor.__route__(type(message)) if actor is not None else None
        method, shown = route.function.__name__ if route is not None else "method", _instance(type(message))
        text = lines(
            f"{circle}. A handler that needs what another one does calls it",
            wrong=f"await self.ctx.ref.ask({shown})",
            right=f"await self.{method}({shown})",
        )
    else:
        shown = _instance(type(message))
        text = lines(
            f"{circle}. Each handles one message at a time: use tell for one leg, "
            "or make a handler on the way concurrent",
            wrong=f"await {chain[-1]}.ask({shown})    # in a handler of {chain[-2]!r}",
            right=f"@handler(concurrent=8)    # for the message that {chain[-1]!r} has in hand",
        )
    return AskCycle(text, actor=name, chain=chain)


# ------------------------------------------------------------------ systems
def closed_system(call: str, system: str) -> RuntimeError:
    """`call` was made on a system whose block has ended, or is ending."""
    return RuntimeError(
        lines(
            f"the system {system!r} is closed: its `async with` block has ended",
            wrong=f"async with trouper.open_system() as system: ...\nawait {call}",
            right=f"async with trouper.open_system() as system:\n    await {call}",
        )
    )


def stopped_with_system(verb: str, actor: str, system: str) -> ActorStopped:
    """A ref was used after its system had closed."""
    call = _call(verb, "...").removesuffix(" as items: ...")
    return ActorStopped(
        lines(
            f"actor {actor!r} has stopped with its system {system!r}, whose `async with` block has ended",
            wrong=f"async with trouper.open_system() as system:\n    ref = await system.spawn(...)\n{call}",
            right=f"async with trouper.open_system() as system:\n    ref = await system.spawn(...)\n    {call}",
        ),
        actor=actor,
    )


def awaited(wrong: str, right: str) -> Callable[[F], F]:
    """Make Python's "coroutine '...' was never awaited" show the right line, at no cost when it is called.

    The warning quotes the function's `__qualname__`; tracebacks and profilers take the name from its code.
    """

    def decorate(function: F) -> F:
        function.__qualname__ = f"{function.__qualname__} (wrong: {wrong}    right: {right})"
        return function

    return decorate
