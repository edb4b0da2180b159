"""Annotations as shapes: what a value must look like, as JSON Schema and as a strict check.

One compiled `Shape` does both, so that the schema a model reads and the check its plan meets cannot drift
apart. The check is written here rather than built on a converter, because a converter's job is to convert:
`"false"` must not become `True`, `True` must not become `1`, and every mistake is to be told at once, each
with its path, in words that a model can act upon. The one widening is an integer where a float is wanted.
"""

from __future__ import annotations

import abc
import math
import reprlib
from collections.abc import Callable, Mapping
from typing import ClassVar

import attrs

Problems = list[str]
MISSING = object()
_SHORT = reprlib.Repr()
_SHORT.maxstring = 60


@attrs.frozen
class Taking:
    """One pass over a value: the mistakes found so far, and whether records are `closed`.

    A closed record refuses fields that it does not declare (arguments); a result may have more.
    """

    problems: Problems
    closed: bool = True

    def wrong(self, shape: Shape, value: object, where: str) -> object:
        """Note that the value is not of that shape."""
        self.problems.append(f"{where}: expected {shape.words()}, got {shown(value)}")
        return MISSING


class Unseen:
    """The class of no value: whatever comes must be looked at."""


class Shape(abc.ABC):
    """What a value must look like."""

    __slots__ = ()

    def schema(self) -> dict[str, object]:
        """The shape as JSON Schema."""
        return self._schema()

    def words(self) -> str:
        """The shape in a person's words: `a whole number`."""
        return self._words()

    def take(self, value: object, where: str, taking: Taking) -> object:
        """The value as the function wants it; mistakes go to `taking` and give `MISSING`."""
        return self._take(value, where, taking)

    def exact(self) -> type:
        """The class whose every member fits as it is (of `list`: a copy); `object` if anything does."""
        return Unseen

    @abc.abstractmethod
    def _schema(self) -> dict[str, object]: ...

    @abc.abstractmethod
    def _words(self) -> str: ...

    @abc.abstractmethod
    def _take(self, value: object, where: str, taking: Taking) -> object: ...


def shown(value: object) -> str:
    """A value as a message shows it: short, with its kind."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return f"{_SHORT.repr(value)} ({_kind(value)})"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (str, "text"),
        (int, "a whole number"),
        (float, "a number"),
        (Mapping, "an object"),
        ((list, tuple), "a list"),
    )
    return next((word for kind, word in kinds if isinstance(value, kind)), type(value).__name__)


@attrs.frozen
class Anything(Shape):
    """Any value at all."""

    def exact(self) -> type:
        """`object`."""
        return object

    def _schema(self) -> dict[str, object]:
        return {}

    def _words(self) -> str:
        return "anything"

    def _take(self, value: object, where: str, taking: Taking) -> object:  # noqa: ARG002 - anything goes
        return value


@attrs.frozen
class Scalar(Shape):
    """Text, a number, a truth value or null, by its exact type."""

    kind: str

    _WORDS: ClassVar = {
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "null": "null",
    }
    _EXACT: ClassVar[Mapping[str, type]] = {"string": str, "integer": int, "boolean": bool, "null": type(None)}

    def exact(self) -> type:
        """Its class; but numbers are looked at: a float may be infinite, a whole number becomes a float."""
        return self._EXACT.get(self.kind, Unseen)

    def _schema(self) -> dict[str, object]:
        return {"type": self.kind}

    def _words(self) -> str:
        return self._WORDS[self.kind]

    def _take(self, value: object, where: str, taking: Taking) -> object:
        if self.kind == "boolean":
            fits = isinstance(value, bool)
        elif self.kind == "null":
            fits = value is None
        elif self.kind == "string":
            fits = isinstance(value, str)
        elif self.kind == "integer":
            fits = isinstance(value, int) and not isinstance(value, bool)
        else:
            return self._number(value, where, taking)
        return value if fits else taking.wrong(self, value, where)

    def _number(self, value: object, where: str, taking: Taking) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return taking.wrong(self, value, where)
        try:
            number = float(value)
        except OverflowError:
            taking.problems.append(f"{where}: the number is larger than a float can hold")
            return MISSING
        if not math.isfinite(number):
            taking.problems.append(f"{where}: expected a finite number, got {number}")
            return MISSING
        return number


@attrs.frozen
class TextAs(Shape):
    """Text that the function receives as something else, such as a `Path`."""

    make: Callable[[str], object]

    def _schema(self) -> dict[str, object]:
        return {"type": "string"}

    def _words(self) -> str:
        return "text"

    def _take(self, value: object, where: str, taking: Taking) -> object:
        return self.make(value) if isinstance(value, str) else taking.wrong(self, value, where)


@attrs.frozen
class Choice(Shape):
    """One of a few values: a `Literal`, or an `Enum` by its values."""

    options: tuple[tuple[object, object], ...]
    """Pairs of the value as JSON has it and as the function wants it."""

    def _schema(self) -> dict[str, object]:
        return {"enum": [json for json, _ in self.options]}

    def _words(self) -> str:
        return "one of " + ", ".join(repr(json) for json, _ in self.options)

    def _take(self, value: object, where: str, taking: Taking) -> object:
        for json, python in self.options:
            # `1 == True`: the type decides first.
            if type(value) is type(json) and value == json:
                return python
        return taking.wrong(self, value, where)


@attrs.frozen
class ListOf(Shape):
    """A list of values of one shape, handed over as `make` (list, tuple, set, frozenset)."""

    item: Shape
    make: Callable[[list[object]], object] = list
    unique: bool = False

    def exact(self) -> type:
        """`list` for a list of anything."""
        return list if isinstance(self.item, Anything) and self.make is list else Unseen

    def _schema(self) -> dict[str, object]:
        schema: dict[str, object] = {"type": "array"}
        if item := self.item.schema():
            schema["items"] = item
        return schema | ({"uniqueItems": True} if self.unique else {})

    def _words(self) -> str:
        return "a list"

    def _take(self, value: object, where: str, taking: Taking) -> object:
        kinds = (list, tuple, set, frozenset) if self.unique else (list, tuple)
        if not isinstance(value, kinds):
            return taking.wrong(self, value, where)
        before = len(taking.problems)
        items = [self.item.take(v, f"{where}[{i}]", taking) for i, v in enumerate(value)]
        if len(taking.problems) > before:
            return MISSING
        try:
            return self.make(items)
        except TypeError:  # unhashable items of a set
            taking.problems.append(f"{where}: a set cannot hold lists or objects")
            return MISSING


@attrs.frozen
class Fixed(Shape):
    """A list of a fixed length, each place with its own shape: `tuple[str, int]`."""

    items: tuple[Shape, ...]

    def _schema(self) -> dict[str, object]:
        n = len(self.items)
        return {
            "type": "array",
            "prefixItems": [i.schema() for i in self.items],
            "minItems": n,
            "maxItems": n,
        }

    def _words(self) -> str:
        return f"a list of {len(self.items)} values"

    def _take(self, value: object, where: str, taking: Taking) -> object:
        if not isinstance(value, list | tuple) or len(value) != len(self.items):
            return taking.wrong(self, value, where)
        pairs = zip(self.items, value, strict=True)
        before = len(taking.problems)
        taken = tuple(s.take(v, f"{where}[{i}]", taking) for i, (s, v) in enumerate(pairs))
        return taken if len(taking.problems) == before else MISSING


@attrs.frozen
class DictOf(Shape):
    """An object with any field names, all values of one shape."""

    value: Shape

    def _schema(self) -> dict[str, object]:
        inner = self.value.schema()
        return {"type": "object"} | ({"additionalProperties": inner} if inner else {})

    def _words(self) -> str:
        return "an object"

    def _take(self, value: object, where: str, taking: Taking) -> object:
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            return taking.wrong(self, value, where)
        before = len(taking.problems)
        taken = {k: self.value.take(v, f"{where}.{k}", taking) for k, v in value.items()}
        return taken if len(taking.problems) == before else MISSING


@attrs.frozen
class OneOf(Shape):
    """A union. The first member that fits wins; whole numbers are tried before numbers."""

    members: tuple[Shape, ...]

    def _schema(self) -> dict[str, object]:
        schemas = [m.schema() for m in self.members]
        return {"anyOf": schemas} if all(schemas) else {}

    def _words(self) -> str:
        return " or ".join(m.words() for m in self.members)

    def _take(self, value: object, where: str, taking: Taking) -> object:
        inner: list[Problems] = []
        for member in self.members:
            trial = Taking([], taking.closed)
            taken = member.take(value, where, trial)
            if not trial.problems:
                return taken
            inner.append(trial.problems)
        # A union with null is one shape to a person: its own mistakes say more than "a list or null".
        deep = [found for found in inner if not found[0].startswith(f"{where}: expected")]
        if len(deep) == 1:
            taking.problems.extend(deep[0])
            return MISSING
        return taking.wrong(self, value, where)


@attrs.frozen
class Field:
    """One field of a record."""

    name: str
    shape: Shape
    required: bool = True


@attrs.frozen
class Record(Shape):
    """An object with known fields: a `TypedDict`, an attrs class or a dataclass."""

    name: str
    fields: tuple[Field, ...]
    make: Callable[..., object]

    def _schema(self) -> dict[str, object]:
        return {
            "type": "object",
            "properties": {f.name: f.shape.schema() for f in self.fields},
            "required": [f.name for f in self.fields if f.required],
            "additionalProperties": False,
        }

    def _words(self) -> str:
        return f"an object with {', '.join(f.name for f in self.fields) or 'no fields'}"

    def _take(self, value: object, where: str, taking: Taking) -> object:
        if not isinstance(value, Mapping):
            return taking.wrong(self, value, where)
        before = len(taking.problems)
        taken: dict[str, object] = {}
        for field in self.fields:
            if field.name in value:
                inside = f"{where}.{field.name}"
                taken[field.name] = field.shape.take(value[field.name], inside, taking)
            elif field.required:
                taking.problems.append(f"{where}: the field {field.name!r} is missing")
        if taking.closed:
            known = {f.name for f in self.fields}
            taking.problems.extend(f"{where}: there is no field {k!r}" for k in value if k not in known)
        return MISSING if len(taking.problems) > before else self._made(taken, where, taking)

    def _made(self, taken: dict[str, object], where: str, taking: Taking) -> object:
        try:
            return self.make(**taken)
        except (TypeError, ValueError) as error:  # an attrs validator, or a __post_init__
            taking.problems.append(f"{where}: {error}")
            return MISSING
