"""From a Python annotation to a `Shape`: which types a tool may use for its parameters and its result."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import pathlib
import types
import typing

import attrs

from .tool_shapes import Anything, Choice, DictOf, Field, Fixed, ListOf, OneOf, Record, Scalar, Shape, TextAs

_SCALARS: dict[object, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    None: "null",
    type(None): "null",
}
_LISTS: dict[object, tuple[type, bool]] = {
    list: (list, False),
    tuple: (tuple, False),
    set: (set, True),
    frozenset: (frozenset, True),
    collections.abc.Sequence: (list, False),
    collections.abc.Iterable: (list, False),
    collections.abc.Collection: (list, False),
    collections.abc.Set: (frozenset, True),
}
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_QUALIFIERS = {"Required", "NotRequired", "ReadOnly", "Annotated"}


class UnsupportedType(TypeError):
    """The annotation is none that JSON can carry."""


def shape_of(annotation: object, _inside: tuple[object, ...] = ()) -> Shape:
    """The shape of an annotation whose names are resolved.

    Raises:
        UnsupportedType: no JSON value has that type, or a class contains itself.
    """
    if annotation in (typing.Any, object):
        return Anything()
    if isinstance(annotation, typing.ForwardRef):
        # What resolving leaves over is an alias that contains itself, such as `Json`: any data fits.
        return Anything()
    if isinstance(annotation, typing.NewType):
        return shape_of(annotation.__supertype__, _inside)
    if type(annotation).__name__ == "TypeAliasType":  # `type X = ...`, Python 3.12 and newer
        return shape_of(getattr(annotation, "__value__"), _inside)  # noqa: B009 - unknown to 3.11's types
    if isinstance(annotation, collections.abc.Hashable) and annotation in _SCALARS:
        return Scalar(_SCALARS[annotation])
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return _class(annotation, _inside)
    return _generic(annotation, _inside)


def record_fields(shape: Shape | None) -> tuple[str, ...] | None:
    """The field names that a shape promises; None when it promises none."""
    return tuple(f.name for f in shape.fields) if isinstance(shape, Record) else None


def _generic(annotation: object, inside: tuple[object, ...]) -> Shape:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if getattr(origin, "__name__", getattr(origin, "_name", "")) in _QUALIFIERS or hasattr(annotation, "__metadata__"):
        return shape_of(arguments[0], inside)
    if origin is typing.Literal:
        return _literal(arguments)
    if origin in (typing.Union, types.UnionType):
        return _union(tuple(shape_of(a, inside) for a in arguments))
    if origin is tuple:
        return _tuple(arguments, inside)
    if origin in _LISTS:
        make, unique = _LISTS[origin]
        return ListOf(shape_of(arguments[0], inside), make, unique)
    if origin in _DICTS:
        if arguments[0] not in (str, typing.Any):
            raise UnsupportedType(f"{annotation}: the keys of a JSON object are text, write `dict[str, ...]`")
        return DictOf(shape_of(arguments[1], inside))
    raise UnsupportedType(
        f"{annotation} is nothing that JSON can carry; use str, int, float, bool, None, list, dict, Literal, "
        "TypedDict, an attrs class, or `object` for anything"
    )


def _literal(options: tuple[object, ...]) -> Shape:
    if wrong := [o for o in options if not isinstance(o, str | int | bool | None)]:
        raise UnsupportedType(f"Literal[{wrong[0]!r}]: only text, whole numbers, truth values and None")
    return Choice(tuple((o, o) for o in options))


def _union(members: tuple[Shape, ...]) -> Shape:
    if any(isinstance(m, Anything) for m in members):
        return Anything()
    # `float | int` given 3 is meant to stay 3: the exact type goes first.
    order = (Scalar("number"), Scalar("null"))
    return OneOf(tuple(sorted(members, key=lambda m: order.index(m) + 1 if m in order else 0)))


def _tuple(arguments: tuple[object, ...], inside: tuple[object, ...]) -> Shape:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return ListOf(shape_of(arguments[0], inside), tuple)
    return Fixed(tuple(shape_of(a, inside) for a in arguments if a != ()))


def _class(cls: type, inside: tuple[object, ...]) -> Shape:
    if cls in _LISTS:
        make, unique = _LISTS[cls]
        return ListOf(Anything(), make, unique)
    if cls in _DICTS:
        return DictOf(Anything())
    if cls in inside:
        raise UnsupportedType(f"{cls.__name__} contains itself; use `dict` or `object` for that part")
    if issubclass(cls, enum.Enum):
        return Choice(tuple((member.value, member) for member in cls))
    if issubclass(cls, pathlib.PurePath):
        return TextAs(cls)
    if typing.is_typeddict(cls):
        return _typed_dict(cls, (*inside, cls))
    if attrs.has(cls):
        return _attrs(cls, (*inside, cls))
    if dataclasses.is_dataclass(cls):
        return _dataclass(cls, (*inside, cls))
    raise UnsupportedType(
        f"{cls.__name__} is nothing that JSON can carry; use str, int, float, bool, None, list, dict, "
        "Literal, TypedDict, an attrs class, or `object` for anything"
    )


def _typed_dict(cls: type, inside: tuple[object, ...]) -> Shape:
    hints = typing.get_type_hints(cls, include_extras=True)
    required: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
    fields = (Field(n, shape_of(h, inside), n in required and not _optional(h)) for n, h in hints.items())
    return Record(cls.__name__, tuple(fields), dict)


def _optional(hint: object) -> bool:
    """`NotRequired` behind a string annotation: Python did not see it when it made the class."""
    return typing.get_origin(hint) is typing.NotRequired


def _attrs(cls: type[attrs.AttrsInstance], inside: tuple[object, ...]) -> Shape:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = tuple(
        Field(a.alias or a.name, shape_of(hints.get(a.name, object), inside), a.default is attrs.NOTHING)
        for a in attrs.fields(cls)
        if a.init
    )
    return Record(cls.__name__, fields, cls)


def _dataclass(cls: type, inside: tuple[object, ...]) -> Shape:
    hints = typing.get_type_hints(cls, include_extras=True)
    missing = dataclasses.MISSING
    fields = tuple(
        Field(
            f.name,
            shape_of(hints.get(f.name, object), inside),
            f.default is missing and f.default_factory is missing,
        )
        for f in dataclasses.fields(cls)
        if f.init
    )
    return Record(cls.__name__, fields, cls)
