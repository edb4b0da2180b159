"""Frozen records, made in a quarter of the time.

attrs cannot assign to a field of a frozen class, so its `__init__` goes through `object.__setattr__` for each of them:
75 ns a field, 2 us for the outcome of one step, more than everything else that is done for a step. A maker assigns to
an object of a class that is not frozen but has the same slots, and then tells the object that it is one of the frozen
class, which CPython allows between classes of equal layout. What comes out is an instance like any other: equal,
hashed, shown and frozen as its class says. `python -m tests.benchmarks.plans` shows what it saves.

The rejected alternatives: a frozen class with a `__dict__` (its `__init__` still costs three times as much, and every
instance a dict), a NamedTuple (equal to any tuple with the same values), not frozen (then anybody may write history).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, cast

import attrs

T = TypeVar("T", bound=attrs.AttrsInstance)


class _Factory(Protocol):
    factory: Callable[..., object]
    takes_self: bool


_FACTORY = cast("type[_Factory]", attrs.Factory)  # a class; the stubs call it a function


def maker(cls: type[T], *names: str) -> Callable[..., T]:
    """A function that makes instances of `cls` from the values of the fields `names`, by place, in that order.

    The other fields get their defaults. Make it once, at import: it compiles code. The base of the class gets one
    more subclass, `_Open...`, of which no instance is ever seen.

    Raises:
        TypeError: `cls` is no frozen attrs class with slots, it does more when it is made than set fields (a
            validator, a converter, a hook), it has the weak reference slot itself, or a field is unknown or
            without a value.
    """
    fields = cast("Sequence[attrs.Attribute[object]]", attrs.fields(cls))
    problem = _unfit(cls, fields, names)
    if problem:
        raise TypeError(f"maker({cls.__name__}): {problem}")
    # `__delattr__` too: one slot of the type serves both, and only if both are the plain ones is it the fast one.
    opened = type(
        f"_Open{cls.__name__}",
        cls.__bases__,
        {
            "__slots__": cls.__dict__["__slots__"],
            "__setattr__": object.__setattr__,
            "__delattr__": object.__delattr__,
            "__module__": __name__,
        },
    )
    known: dict[str, object] = {"_new": object.__new__, "_opened": opened, "_cls": cls}
    lines = [f"def make({', '.join(names)}):", " _made = _new(_opened)"]
    for number, field in enumerate(fields):
        value = field.name
        if field.name not in names:
            value = f"_default{number}"
            known[value] = field.default
            if isinstance(field.default, _FACTORY):
                known[value] = field.default.factory
                value += "()"
        lines.append(f" _made.{field.name} = {value}")
    lines += [" _made.__class__ = _cls", " return _made"]
    exec(compile("\n".join(lines), f"<maker of {cls.__name__}>", "exec"), known)  # noqa: S102 - attrs does the same
    return cast("Callable[..., T]", known["make"])


def _unfit(cls: type, fields: Sequence[attrs.Attribute[object]], names: Sequence[str]) -> str:
    """Why there can be no maker; empty if there can."""
    slots = cls.__dict__.get("__slots__")
    if slots is None or cls.__dictoffset__ or cast("object", cls.__setattr__) is object.__setattr__:
        return "it must be an attrs class that is frozen and has slots (@attrs.frozen)"
    if "__weakref__" in slots:
        # CPython puts it elsewhere if it is named among the slots, and then refuses the change of class.
        return "it has the weak reference slot itself; give it @attrs.frozen(weakref_slot=False)"
    hooks = [name for name in ("__attrs_pre_init__", "__attrs_post_init__") if hasattr(cls, name)]
    if hooks:
        return f"{hooks[0]} would not be called"
    for field in fields:
        hooks = [hook for hook in ("validator", "converter") if getattr(field, hook) is not None]
        if hooks:
            return f"the {hooks[0]} of {field.name!r} would not be called"
    known = {field.name: field for field in fields}
    strange = [name for name in names if name not in known]
    if strange:
        return f"it has no field {strange[0]!r}; it has {', '.join(known)}"
    if len(set(names)) < len(names):
        return "a field is named twice"
    for field in fields:
        default = field.default
        if field.name not in names and default is attrs.NOTHING:
            return f"{field.name!r} has no default: name it too"
        if field.name not in names and isinstance(default, _FACTORY) and default.takes_self:
            return f"the default of {field.name!r} is made from the other fields: name it too"
    return ""
