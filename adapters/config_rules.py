"""What one key of the configuration takes: its type, its range, its words, each said once.

A `Rule` stands on each field of `config_model`. attrs runs it when a section is built in Python; the
loader asks the same rule about each value of a file, so that a file's mistakes can be collected instead
of stopping at the first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn, TypeVar, cast

import attrs

S = TypeVar("S")
Kind = Literal["bool", "int", "float", "str", "secret", "names", "table"]

WORDS: dict[Kind, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "secret": "text or a reference such as ${OPENAI_API_KEY}",
    "names": "a list of names",
    "table": "names, each with keys of its own",
}

_SECTION = "section"
_ENTRY = "entry"

MOST_NAMES = 64
"""Of a list of names, and of a table."""


class Secret:
    """A value that is used but never shown: `reveal()` gives it, everything else gives `***`.

    Not an attrs class, so that `attrs.asdict` and friends cannot spell it out, and not picklable.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself: to be handed to the one who needs it, never to a log."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: read it again from the environment where it is needed")


def _is_kind(value: object, kind: Kind) -> bool:
    """Strictly: `"false"` and `1` are not true or false, `True`, `"7"` and 2.9 are not whole numbers."""
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "secret":
        return isinstance(value, Secret)
    if kind == "str":
        return isinstance(value, str)
    if kind == "names":
        return isinstance(value, list | tuple) and all(isinstance(name, str) and name.strip() for name in value)
    if kind == "table":
        return isinstance(value, Mapping)
    numbers = (int,) if kind == "int" else (int, float)
    return isinstance(value, numbers) and not isinstance(value, bool)


def spoken(value: object) -> str:
    """What was found, for a message: its type in YAML's words and, where short, itself."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, Secret):
        return "a secret"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    name = {bool: "", int: "the number ", float: "the number ", str: "the text "}.get(type(value))
    shown = str(value).lower() if isinstance(value, bool) else _short(value)
    return f"{type(value).__name__} {shown}" if name is None else name + shown


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) >= 10**40:
        return "of more than 40 digits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@attrs.frozen(kw_only=True)
class Rule:
    """What one key takes: its type, its range (inclusive unless `above`), its words."""

    kind: Kind
    low: float | None = None
    high: float | None = None
    above: bool = False
    """`low` itself is not allowed."""
    choices: tuple[str, ...] = ()
    optional: bool = False
    """`null` is allowed."""
    environ: str = ""
    """Of a secret: the environment variable that fills it when the key is absent."""
    check: Callable[[str], str | None] | None = None
    """A last look at a text: what is wrong with it, or `None`."""

    def problem(self, value: object) -> str | None:
        """Why `value` cannot stand here, or `None` if it can."""
        value = self.meant(value)
        if value is None:
            return None if self.optional else f"needs {self.wants()}, got {spoken(value)}"
        if not _is_kind(value, self.kind):
            return f"needs {self.wants()}, got {spoken(value)}{self._quotes(value)}"
        if isinstance(value, str):
            return self._text_problem(value)
        if isinstance(value, list | tuple | Mapping):
            return _names_problem(list(value))
        if isinstance(value, int | float) and not isinstance(value, bool) and not self._within(value):
            return f"must be {self.span()}, got {_short(value)}"
        return None

    def meant(self, value: object) -> object:
        """What somebody means who writes `off` without quotes where that is a word: YAML 1.1 reads it as false."""
        return "off" if value is False and "off" in self.choices else value

    def wants(self) -> str:
        """What the key takes, in words."""
        word = "one of " + ", ".join(self.choices) if self.choices else WORDS[self.kind]
        return f"{word} (or null)" if self.optional else word

    def span(self) -> str:
        """The allowed range, in words."""
        least = "" if self.low is None else f"{'more than' if self.above else 'at least'} {self.low:g}"
        most = "" if self.high is None else f"at most {self.high:,.15g}".replace(",", "")
        return " and ".join(part for part in (least, most) if part)

    def __call__(self, instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """As attrs' validator."""
        if why := self.problem(value):
            raise ValueError(f"{type(instance).__name__}.{attribute.name}: {why}")

    def _within(self, value: float) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            return False
        if self.low is not None and (value < self.low or (self.above and value == self.low)):
            return False
        return self.high is None or value <= self.high

    def _text_problem(self, value: str) -> str | None:
        if self.choices and value not in self.choices:
            return f"must be {self.wants()}, got {spoken(value)}"
        if not value.strip() or "\0" in value or len(value) > 4096:
            return "must be text of 1 to 4096 characters, without a NUL"
        return self.check(value) if self.check else None

    def _quotes(self, value: object) -> str:
        """What to change when a number or a flag was quoted, or a text was not."""
        if self.kind == "str" and isinstance(value, int | float):
            return "; put it in quotes"
        if not isinstance(value, str) or self.kind not in {"bool", "int", "float"}:
            return ""
        if self.kind == "bool":
            return "; write it without quotes" if value.lower() in {"true", "false"} else ""
        if re.fullmatch(r"[-+]?[0-9.]+", value):
            return "; write it without quotes"
        # YAML 1.1 takes 1e3 for text: its exponent needs a dot and a sign.
        return "; write it without exponent" if re.fullmatch(r"[-+]?[0-9.]+[eE][-+]?[0-9]+", value) else ""


def _names_problem(names: list[str]) -> str | None:
    if len(names) > MOST_NAMES:
        return f"has {len(names)} names, more than the {MOST_NAMES} that are allowed"
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    return f"names {twice!r} twice" if twice is not None else None


def _as_tuple(value: object) -> object:
    """A list of names as it is kept; everything else is left for the rule to judge."""
    return tuple(value) if isinstance(value, list) else value


def _as_float(value: object) -> object:
    """An int where a float stands is fine; everything else is left for the rule to judge."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    return value


def flag(*, default: bool) -> bool:
    """A key that is true or false."""
    return attrs.field(default=default, validator=Rule(kind="bool"))


def whole(default: int | None, *, low: int, high: int) -> Any:
    """A key that is a whole number within `low` and `high`; `None` as the default makes it optional."""
    rule = Rule(kind="int", low=low, high=high, optional=default is None)
    return attrs.field(default=default, validator=rule)


def real(default: float | None, *, low: float, high: float, above: bool = False) -> Any:
    """A key that is a number within `low` (excluded if `above`) and `high`; `None` as the default makes it optional."""
    rule = Rule(kind="float", low=low, high=high, above=above, optional=default is None)
    return attrs.field(default=default, converter=_as_float, validator=rule)


def text(
    default: str | None, *, choices: tuple[str, ...] = (), check: Callable[[str], str | None] | None = None
) -> Any:
    """A key that is text; `None` as the default makes it optional."""
    rule = Rule(kind="str", choices=choices, check=check, optional=default is None)
    return attrs.field(default=default, converter=rule.meant, validator=rule)


def names() -> Any:
    """A key that is a list of names, none of them twice; empty by default."""
    return attrs.field(default=(), converter=_as_tuple, validator=Rule(kind="names"))


def table(cls: type[S]) -> Any:
    """A key under which any name may stand, each with the keys of `cls`; empty by default."""
    return attrs.field(factory=dict, validator=Rule(kind="table"), metadata={_ENTRY: cls})


def entry_of(attribute: attrs.Attribute[Any]) -> type[Any] | None:
    """The class of a table's entries; `None` for every other key."""
    found: type[Any] | None = attribute.metadata.get(_ENTRY)
    return found


def secret(environ: str = "") -> Any:
    """A key that holds a secret; absent, the environment variable `environ` fills it, if there is one."""
    return attrs.field(default=None, validator=Rule(kind="secret", optional=True, environ=environ))


def section(cls: type[S]) -> S:
    """A key that is a section of its own."""
    return attrs.field(factory=cls, validator=attrs.validators.instance_of(cls), metadata={_SECTION: cls})


def section_of(attribute: attrs.Attribute[Any]) -> type[Any] | None:
    """The class of a section; `None` for a key that holds a value."""
    found: type[Any] | None = attribute.metadata.get(_SECTION)
    return found


def rule_of(attribute: attrs.Attribute[Any]) -> Rule:
    """The rule of a key that holds a value."""
    return cast("Rule", attribute.validator)
