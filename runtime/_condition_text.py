"""From the text of a condition to instructions: words first, then operator precedence with a stack of its own.

Loosest first: `or`, `and`, `not`, comparisons. Comparisons do not chain: `1 < x < 3` reads differently in every
language a model has seen, so it is refused. Whatever is not a condition is told with the character where it ceases
to be one, and with what was meant where that can be seen (`&&`, `=`, a reference in quotes).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal

import attrs

from ._nearest import suggestion
from ._plan_fields import Unfit
from ._plan_report import short, shown
from ._refs import Reference, reference_at, split_references


@attrs.frozen
class Constant:
    """Put this value on the stack."""

    value: object


@attrs.frozen
class Fetch:
    """Put what the reference stands for on the stack."""

    reference: Reference


@attrs.frozen
class Exists:
    """Put whether the reference leads anywhere on the stack."""

    reference: Reference


@attrs.frozen
class Compare:
    """Put the result of comparing the two uppermost values in their place."""

    name: str


@attrs.frozen
class Measure:
    """`len`: put its length in the place of the uppermost value."""


@attrs.frozen
class Check:
    """`empty`: put whether it is empty in the place of the uppermost value."""


@attrs.frozen
class Negate:
    """`not`."""


@attrs.frozen
class Truth:
    """Put its truth value in the place of the uppermost value."""


@attrs.frozen
class SkipIf:
    """If the truth of the uppermost value is `value`, that is the result: go on at `to`. Else drop it."""

    value: bool
    to: int


Instruction = Constant | Fetch | Exists | Compare | Measure | Check | Negate | Truth | SkipIf
_Kind = Literal["value", "reference", "symbol", "word", "end"]

_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "not in"})
_CONSTANTS: Final[dict[str, object]] = {
    "true": True, "false": False, "null": None, "True": True, "False": False, "None": None,
}  # fmt: skip
_FUNCTIONS: Final[dict[str, Callable[[], Instruction]]] = {"len": Measure, "empty": Check}
_WORDS: Final = ("and", "or", "not", "in", "true", "false", "null", "len", "exists", "empty")
_STRENGTH: Final = {"or": 1, "and": 2, "not": 3, **dict.fromkeys(_COMPARISONS, 4)}
_INSTEAD: Final = {
    "&&": "'and'", "||": "'or'", "!": "'not'", "=": "'=='", "===": "'=='", "!==": "'!='", "<>": "'!='", "&": "'and'",
    "|": "'or'", "is": "'=='", "AND": "'and'", "OR": "'or'", "NOT": "'not'", "IN": "'in'", "TRUE": "'true'",
    "FALSE": "'false'", "NULL": "'null'", "nil": "'null'", "undefined": "exists(...)", "contains": "'in'",
    "length": "'len'", "size": "'len'", "count": "'len'",
}  # fmt: skip

_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?[0-9]++(\.[0-9]++)?([eE][+-]?[0-9]++)?(?![\w.])")
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*+)'|"((?:[^"\\]|\\.)*+)\"""", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}
_SYMBOL = re.compile(r"==(?!=)|!=(?!=)|<=|<(?!>)|>=|>|[()\[\],]")
_WORD = re.compile(r"[^\W\d]\w*+")
_ODD = re.compile(r"[^\w\s()'\"$]++|[\w.]++|\S")
_LONGEST_NUMBER: Final = 400
_EXAMPLE: Final = "such as $step1.count > 3"


@attrs.frozen
class _Token:
    kind: _Kind
    text: str
    at: int
    value: object = None


def instructions(source: object, *, item: bool) -> tuple[bool | str, tuple[Instruction, ...]]:
    """The condition as written, and what decides it.

    Raises:
        Unfit: it is not a condition.
    """
    if isinstance(source, bool):
        return source, (Constant(source),)
    if not isinstance(source, str) or not source.strip():
        raise Unfit(f"is {shown(source)}, not true, false or a condition {_EXAMPLE}")
    return source, _Reading(source, _tokens(source, item=item)).code()


# ------------------------------------------------------------------ words


def _tokens(text: str, *, item: bool) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while True:
        at = _end(_SPACE, text, at)
        if at == len(text):
            found.append(_Token("end", "", at))
            return found
        token = _token(text, at, item=item)
        found.append(token)
        at += len(token.text)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _token(text: str, at: int, *, item: bool) -> _Token:
    if text[at] in "${":
        reference = reference_at(text, at, item=item)
        if reference is None:
            raise _odd_reference(text, at)
        return _Token("reference", reference.text, at, reference)
    if text[at] in "'\"":
        return _quoted(text, at, item=item)
    if number := _NUMBER.match(text, at):
        return _Token("value", number[0], at, _number(number, at))
    if symbol := _SYMBOL.match(text, at):
        return _Token("symbol", symbol[0], at)
    if word := _WORD.match(text, at):
        if word[0] in _CONSTANTS:
            return _Token("value", word[0], at, _CONSTANTS[word[0]])
        if text[at] != "n" or word[0] != "not":
            return _Token("word", word[0], at)
        following = _WORD.match(text, _end(_SPACE, text, word.end()))
        if following is not None and following[0] == "in":
            return _Token("word", text[at : following.end()], at, "not in")
        return _Token("word", "not", at)
    odd = _ODD.match(text, at)
    raise _unread(text, at, odd[0] if odd is not None else text[at], "")


def _number(found: re.Match[str], at: int) -> int | float:
    if len(found[0]) > _LONGEST_NUMBER:
        raise Unfit(f"does not parse at character {at + 1}: a number of more than {_LONGEST_NUMBER} digits")
    return float(found[0]) if found[1] or found[2] else int(found[0])


def _quoted(text: str, at: int, *, item: bool) -> _Token:
    found = _QUOTED.match(text, at)
    if found is None:
        raise Unfit(f"does not parse at character {at + 1}: the text that begins with {text[at]} has no end")
    inside = found[1] if found[1] is not None else found[2]
    plain = ""
    for part in split_references(_ESCAPE.sub(_unescaped, inside), item=item):
        if isinstance(part, Reference):
            raise Unfit(
                f"does not parse at character {at + 1}: in quotes {short(part.text)} is only text; write it without "
                f"quotes, or $${part.text.lstrip('{$').rstrip('}')} for the text itself"
            )
        plain += part
    return _Token("value", found[0], at, plain)


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    return chr(int(escape[1:], 16)) if len(escape) > 1 else _ESCAPES.get(escape, escape)


def _odd_reference(text: str, at: int) -> Unfit:
    where = f"does not parse at character {at + 1}"
    if reference := reference_at(text, at, item=True):
        return Unfit(f"{where}: there is no {reference.text} here; a condition is decided once, before 'for_each'")
    return Unfit(
        f"{where}: {short(text[at:].split(maxsplit=1)[0])} is no reference {_EXAMPLE.split(' >', maxsplit=1)[0]}"
    )


def _unread(text: str, at: int, said: str, expected: str) -> Unfit:
    """Not what can stand there; with a hint where the writer thought of another language."""
    hint = ""
    if said in _INSTEAD:
        hint = f"; write {_INSTEAD[said]}"
    elif said and said[0] in "+-*/%^":
        hint = "; there is no arithmetic in conditions"
    elif said.isidentifier() and said not in _WORDS:
        hint = suggestion(said, _WORDS)
    wanted = f", expected {expected}" if expected else ""
    found = f"{short(said)!r}" if said else "the end"
    return Unfit(f"does not parse at character {min(at, len(text)) + 1}: found {found}{wanted}{hint}")


# ------------------------------------------------------------------ precedence


@attrs.define
class _Open:
    """An operator that waits for its right side, or a bracket that waits for its end."""

    name: str
    at: int
    jump: int = -1
    """Where its `SkipIf` stands."""
    ends_with: Instruction | None = None
    """For the bracket of a function: the instruction."""


@attrs.define
class _Reading:
    _text: str
    _tokens: list[_Token]
    _at: int = 0
    _code: list[Instruction] = attrs.Factory(list[Instruction])
    _open: list[_Open] = attrs.Factory(list[_Open])

    def code(self) -> tuple[Instruction, ...]:
        """Operands and operators in turn, until the end."""
        while True:
            while self._begins_operand():
                pass
            if not self._continues():
                return tuple(self._code)

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _refuse(self, token: _Token, expected: str) -> Unfit:
        return _unread(self._text, token.at, token.text, expected)

    def _begins_operand(self) -> bool:
        """Take one token where a value is expected; whether a value is expected still."""
        token = self._next()
        if token.kind == "value":
            self._code.append(Constant(token.value))
            return False
        if isinstance(token.value, Reference):
            self._code.append(Fetch(token.value))
            return False
        if token.text == "[":
            self._code.append(Constant(self._list()))
            return False
        if token.text == "exists":
            self._code.append(Exists(self._only_reference()))
            return False
        if token.text == "(":
            self._open.append(_Open("(", token.at))
        elif token.text == "not" and not (self._open and self._open[-1].name in _COMPARISONS):
            self._open.append(_Open("not", token.at))
        elif token.text in _FUNCTIONS:
            self._expect("(", f"'(' after {token.text}")
            self._open.append(_Open("(", token.at, ends_with=_FUNCTIONS[token.text]()))
        else:
            raise self._refuse(token, f"a value or a reference, {_EXAMPLE}")
        return True

    def _continues(self) -> bool:
        """Take tokens where an operator is expected; whether a value is expected after it."""
        while True:
            token = self._next()
            name = "not in" if token.value == "not in" else token.text
            if token.kind == "end":
                self._close_operators(0)
                if self._open:
                    raise Unfit(f"does not parse: the '(' at character {self._open[-1].at + 1} is never closed")
                return False
            if name == ")" and token.kind == "symbol":
                self._close_bracket(token)
                continue
            if token.kind in {"symbol", "word"} and name in _STRENGTH and name != "not":
                self._operator(name, token)
                return True
            raise self._refuse(token, "a comparison such as ==, 'and', 'or' or the end")

    def _operator(self, name: str, token: _Token) -> None:
        self._close_operators(_STRENGTH[name] + (name in _COMPARISONS))
        if name in _COMPARISONS:
            if self._open and self._open[-1].name in _COMPARISONS:
                expected = "'and' or 'or': comparisons do not chain, join two of them with 'and'"
                raise self._refuse(token, expected)
            self._open.append(_Open(name, token.at))
            return
        self._open.append(_Open(name, token.at, jump=len(self._code)))
        self._code.append(Truth())  # its place; the jump is known when the right side has ended

    def _close_operators(self, strength: int) -> None:
        """Write out the open operators that are at least so strong, up to the last bracket."""
        while self._open and self._open[-1].name != "(" and _STRENGTH[self._open[-1].name] >= strength:
            closed = self._open.pop()
            if closed.jump >= 0:
                self._code.append(Truth())
                self._code[closed.jump] = SkipIf(closed.name == "or", len(self._code))
            else:
                self._code.append(Negate() if closed.name == "not" else Compare(closed.name))

    def _close_bracket(self, token: _Token) -> None:
        self._close_operators(0)
        if not self._open:
            raise self._refuse(token, "the end: no '(' is open")
        bracket = self._open.pop()
        if bracket.ends_with is not None:
            self._code.append(bracket.ends_with)

    def _expect(self, text: str, expected: str) -> None:
        token = self._next()
        if token.kind != "symbol" or token.text != text:
            raise self._refuse(token, expected)

    def _only_reference(self) -> Reference:
        """`($step1.x)`, all that `exists` takes."""
        self._expect("(", "'(' after exists")
        token = self._next()
        if not isinstance(token.value, Reference):
            raise self._refuse(token, "a reference in exists(...)")
        self._expect(")", "')' after the reference")
        return token.value

    def _list(self) -> list[object]:
        """A list of literals, after its bracket."""
        found: list[object] = []
        if self._tokens[self._at].text == "]" and self._tokens[self._at].kind == "symbol":
            self._at += 1
            return found
        while True:
            token = self._next()
            if token.kind != "value":
                raise self._refuse(token, "a number, a text, true, false or null in the list")
            found.append(token.value)
            token = self._next()
            if token.kind == "symbol" and token.text == "]":
                return found
            if token.kind != "symbol" or token.text != ",":
                raise self._refuse(token, "',' or ']' in the list")
