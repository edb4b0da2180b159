"""A second reading of expressions, to check the first: own grammar, own parser, decimals instead of fractions.

Nothing is shared with `arithmetic`, and nothing of Python's parser or of `simpleeval` is used, so that a
mistake in any of them shows as a difference. It is no calculator: it raises `ValueError` for what it cannot
read, and the result then stays unchecked.
"""

from __future__ import annotations

import decimal
import math
import re
from collections.abc import Callable
from decimal import Decimal

_TOKEN = re.compile(r"\d[\d,]*\.?\d*(?:[eE][+-]?\d+)?|\.\d+|[xX](?=\d)|[A-Za-z]\w*|\*\*|//|\S")
_DIGITS = 60
_BINARY = {"+": 10, "-": 10, "*": 20, "x": 20, "/": 20, "//": 20, "mod": 20, "of": 25}
_SIGNS = (("\u00d7", "*"), ("\u00b7", "*"), ("\u00f7", "/"), ("\u2212", "-"), ("\u221a", "sqrt"), ("\u03c0", " pi "))
_POWER = ("**", "^")


def value_of(expression: str) -> float:
    """The value, to about fifteen digits.

    Raises:
        ValueError: this parser cannot read or compute it.
    """
    with decimal.localcontext(decimal.Context(prec=_DIGITS)):
        reader = _Reader(expression.strip().removesuffix("="))
        try:
            value = reader.sum(0)
            if reader.at < len(reader.tokens):
                raise ValueError(f"{reader.tokens[reader.at]!r} is left over")
            return float(value)
        except (ArithmeticError, IndexError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__} in {expression!r}") from error


def _plain(expression: str) -> str:
    for sign, plain in _SIGNS:
        expression = expression.replace(sign, plain)
    return expression


class _Reader:
    """Precedence climbing over the tokens."""

    def __init__(self, expression: str) -> None:
        self.tokens = _TOKEN.findall(_plain(expression))
        self.at = 0
        self.calls = 0

    def next(self) -> str:
        self.at += 1
        return str(self.tokens[self.at - 1]).lower()

    def peek(self) -> str:
        return self.tokens[self.at].lower() if self.at < len(self.tokens) else ""

    def sum(self, least: int) -> Decimal:
        left = self.signed()
        while (op := self.operator()) and _BINARY[op] >= least and op:
            self.at += 1
            left = _apply(op, left, self.sum(_BINARY[op] + 1))
        return left

    def operator(self) -> str:
        op = self.peek()
        return "mod" if op == "%" else op if op in _BINARY else ""

    def signed(self) -> Decimal:
        if self.peek() in ("-", "+"):
            return -self.signed() if self.next() == "-" else self.signed()
        base = self.percent(self.atom())
        if self.peek() in _POWER:
            self.at += 1
            return _power(base, self.signed())
        return base

    def percent(self, value: Decimal) -> Decimal:
        if self.peek() != "%":
            return value
        following = self.tokens[self.at + 1].lower() if self.at + 1 < len(self.tokens) else ""
        if following not in ("of", "x") and re.match(r"[\w.(]", following):
            return value  # what is left of a division
        self.at += 1
        return value / 100

    def atom(self) -> Decimal:
        text = self.next()
        if text == "(":
            outer, self.calls = self.calls, 0
            value = self.sum(0)
            self.calls = outer
            self.close()
            return value
        if text[0].isdigit() or text[0] == ".":
            return Decimal(text.replace(",", "")) if not self.calls else self.first_of(text)
        if text in ("pi", "e"):
            return Decimal(repr(math.pi if text == "pi" else math.e))
        return self.call(text)

    def first_of(self, token: str) -> Decimal:
        """Inside a call `1,2` is two arguments, although it was read as one token."""
        head, comma, rest = token.partition(",")
        if comma:
            self.at -= 1
            self.tokens[self.at : self.at + 1] = [head, ",", *([rest] if rest else [])]
            self.at += 1
        return Decimal(head)

    def call(self, name: str) -> Decimal:
        if self.next() != "(":
            raise ValueError(f"{name!r} is no number")
        self.calls += 1
        arguments = [self.sum(0)]
        while self.peek() == ",":
            self.at += 1
            arguments.append(self.sum(0))
        self.calls -= 1
        self.close()
        return _call(name, arguments)

    def close(self) -> None:
        if self.next() != ")":
            raise ValueError("a parenthesis is not closed")


def _apply(op: str, a: Decimal, b: Decimal) -> Decimal:
    if op in ("+", "-"):
        return a + b if op == "+" else a - b
    if op in ("*", "x", "of"):
        return a * b
    if op == "/":
        return a / b
    whole = (a / b).to_integral_value(rounding=decimal.ROUND_FLOOR)
    return whole if op == "//" else a - b * whole


def _power(base: Decimal, exponent: Decimal) -> Decimal:
    if exponent == exponent.to_integral_value() and abs(exponent) < 5000:
        return base ** int(exponent)
    return Decimal(math.pow(base, exponent))


_ONE: dict[str, Callable[[float], float]] = {
    "sqrt": lambda v: v**0.5 if v >= 0 else math.nan,
    "cbrt": lambda v: math.copysign(abs(v) ** (1 / 3), v),
    "exp": lambda v: math.pow(math.e, v),
    "ln": math.log,
    "log2": lambda v: math.log(v) / math.log(2),
    "log10": lambda v: math.log(v) / math.log(10),
    "sin": math.sin,
    "cos": math.cos,
    "tan": lambda v: math.sin(v) / math.cos(v),
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "degrees": lambda v: v * 180 / math.pi,
    "radians": lambda v: v * math.pi / 180,
}


def _call(name: str, arguments: list[Decimal]) -> Decimal:
    first = arguments[0]
    if name in _ONE and len(arguments) == 1:
        return Decimal(_ONE[name](float(first)))
    if name in ("min", "max"):
        return sorted(arguments)[0 if name == "min" else -1]
    if name in ("sum", "mean", "avg"):
        total = sum(arguments, Decimal(0))
        return total if name == "sum" else total / len(arguments)
    return _call_other(name, first, arguments[1:])


def _call_other(name: str, first: Decimal, more: list[Decimal]) -> Decimal:
    if name == "abs":
        return first.copy_abs()
    if name in ("floor", "ceil"):
        return first.to_integral_value(decimal.ROUND_FLOOR if name == "floor" else decimal.ROUND_CEILING)
    if name == "round":
        places = int(more[0]) if more else 0
        return first.scaleb(places).to_integral_value(decimal.ROUND_HALF_UP).scaleb(-places)
    if name == "factorial":
        return Decimal(math.prod(range(2, int(first) + 1)))
    if name == "log":
        return Decimal(math.log(float(first)) / (math.log(float(more[0])) if more else 1))
    if name in ("pow", "mod"):
        return _power(first, more[0]) if name == "pow" else _apply("mod", first, more[0])
    raise ValueError(f"{name!r} is no function")
