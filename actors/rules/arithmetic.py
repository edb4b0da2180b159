"""Arithmetic in signs and in words, as one expression with the goal's own numbers in it.

A recursive descent over spans with the usual precedence. What comes out uses only `+ - * / % **` and
parentheses, so any evaluator agrees about its value.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from .match import Reading
from .words import NUMBER_WORDS, words

_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4

_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000, "dozen": 12}
_MONEY = words("euro euros dollar dollars pound pounds usd eur gbp cents francs bucks")
_FRACTIONS = {"half": "2", "third": "3", "quarter": "4", "fifth": "5", "tenth": "10"}
_MULTIPLES = {"double": "2", "twice": "2", "triple": "3", "thrice": "3", "quadruple": "4"}
_DEEPEST = 40
_LONGEST_LIST = 40


@attrs.frozen
class Term:
    """A piece of an expression and how tightly it binds; `percent` while it waits for what it is a part of."""

    text: str
    binds: int
    end: int
    percent: bool = False

    def within(self, binds: int) -> str:
        """The text, in parentheses where it would otherwise be torn apart."""
        return self.text if self.binds >= binds else f"({self.text})"


def expression(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """An expression with at least one operation, as far as it goes."""
    found = _Arithmetic(reading).sum(at)
    if found is not None and not found.percent and (found.binds < _ATOM or found.text.startswith("(")):
        yield found.end, found.text


def operand(reading: Reading, at: int) -> Iterator[tuple[int, Term]]:
    """One number, or an expression in parentheses."""
    found = _Arithmetic(reading).unary(at)
    if found is not None:
        yield found.end, found


def operands(reading: Reading, at: int) -> Iterator[tuple[int, tuple[Term, ...]]]:
    """Two or more numbers in a row: `3, 4 and 5`."""
    listed = _Arithmetic(reading).listed(at)
    if listed is not None:
        yield listed[0], listed[1]


@attrs.define
class _Arithmetic:
    reading: Reading
    depth: int = 0

    def _any(self, at: int, *phrases: str) -> int:
        """The end of the first phrase that stands here, or `at`."""
        for phrase in phrases:
            said = phrase.split()
            if [self.reading.low(at + i) for i in range(len(said))] == said:
                return at + len(said)
        return at

    def sum(self, at: int) -> Term | None:
        left = self.product(at)
        while left is not None and not left.percent:
            sign, end = self._sign(left.end, {"+": ("+", "plus"), "-": ("-", "\u2212", "minus", "less")})
            right = self.product(end) if sign else None
            if right is None:
                break
            if right.percent:
                part = f"{left.within(_PRODUCT)} * {right.text} / 100"
                left = Term(f"{left.text} {sign} {part}", _SUM, right.end)
            else:
                shield = _PRODUCT if sign == "-" else _SUM
                left = Term(f"{left.text} {sign} {right.within(shield)}", _SUM, right.end)
        return left

    def _sign(self, at: int, signs: dict[str, tuple[str, ...]]) -> tuple[str, int]:
        for sign, phrases in signs.items():
            end = self._any(at, *phrases)
            if end > at:
                return sign, end
        return "", at

    def product(self, at: int) -> Term | None:
        left = self.power(at)
        while left is not None and not left.percent:
            sign, end = self._sign(
                left.end,
                {
                    "*": ("*", "x", "\u00d7", "times", "multiplied by", "multiplied with"),
                    "/": ("/", "\u00f7", "divided by", "over"),
                    "%": ("%", "mod", "modulo"),
                },
            )
            right = self.power(end) if sign else None
            if right is None or right.percent:
                break
            text = f"{left.within(_PRODUCT)} {sign} {right.within(_POWER)}"
            left = Term(text, _PRODUCT, right.end)
        return left

    def power(self, at: int) -> Term | None:
        base = self.unary(at)
        if base is None or base.percent:
            return base
        for word, exponent in (("squared", "2"), ("cubed", "3")):
            if self.reading.low(base.end) == word:
                return Term(f"{base.within(_ATOM)} ** {exponent}", _POWER, base.end + 1)
        end = self._any(base.end, "^", "**", "to the power of", "raised to the power of", "raised to", "to the power")
        exponent_term = self.power(end) if end > base.end else None
        if exponent_term is None or exponent_term.percent:
            return base
        return Term(f"{base.within(_ATOM)} ** {exponent_term.within(_POWER)}", _POWER, exponent_term.end)

    def unary(self, at: int) -> Term | None:
        if self.depth > _DEEPEST:
            return None
        self.depth += 1
        try:
            start = self._any(at, "the", "a", "an") if self.reading.low(at) != "a" else at
            return self._negative(at) or self._named(start) or self._multiple(at) or self._atom(at)
        finally:
            self.depth -= 1

    def _negative(self, at: int) -> Term | None:
        end = self._any(at, "-", "\u2212", "minus", "negative")
        inner = self._atom(end) if end > at else None
        if inner is None or inner.percent:
            return None
        return Term(f"(-{inner.within(_ATOM)})", _ATOM, inner.end)

    def _named(self, at: int) -> Term | None:
        """`square root of`, `sum of`, `average of` and their like."""
        for phrases, suffix in (
            (("square root of", "square root from", "sqrt of", "sqrt", "root of"), "** 0.5"),
            (("cube root of", "cubic root of", "third root of"), "** (1 / 3)"),
            (("square of",), "** 2"),
            (("cube of",), "** 3"),
        ):
            end = self._any(at, *phrases)
            inner = self.power(end) if end > at else None
            if inner is not None and not inner.percent:
                return Term(f"{inner.within(_ATOM)} {suffix}", _POWER, inner.end)
        for word, sign in (("sum of", " + "), ("total of", " + "), ("product of", " * ")):
            end = self._any(at, word)
            listed = self.listed(end) if end > at else None
            if listed is not None:
                return self._folded(listed[1], sign, listed[0])
        end = self._any(at, "average of", "mean of", "arithmetic mean of")
        listed = self.listed(end) if end > at else None
        if listed is not None:
            total = self._folded(listed[1], " + ", listed[0])
            return Term(f"({total.text}) / {len(listed[1])}", _PRODUCT, listed[0])
        end = self._any(at, "difference between", "difference of")
        listed = self.listed(end) if end > at else None
        if listed is not None and len(listed[1]) == 2:
            return self._folded(listed[1], " - ", listed[0])
        end = self._any(at, "quotient of")
        listed = self.listed(end) if end > at else None
        if listed is not None and len(listed[1]) == 2:
            return self._folded(listed[1], " / ", listed[0])
        return None

    def _folded(self, terms: tuple[Term, ...], sign: str, end: int) -> Term:
        binds = _SUM if sign.strip() in "+-" else _PRODUCT
        return Term(sign.join(term.within(binds + 1) for term in terms), binds, end)

    def _multiple(self, at: int) -> Term | None:
        """`half of 250`, `a third of 90`, `twice 14`."""
        start = self._any(at, "a", "one", "the")
        divisor = _FRACTIONS.get(self.reading.low(start))
        if divisor is not None:
            inner = self.power(self._any(start + 1, "of", "the"))
            if inner is not None and not inner.percent:
                return Term(f"{inner.within(_PRODUCT)} / {divisor}", _PRODUCT, inner.end)
        factor = _MULTIPLES.get(self.reading.low(self._any(at, "the")))
        if factor is not None:
            inner = self.power(self._any(self._any(at, "the") + 1, "of", "the"))
            if inner is not None and not inner.percent:
                return Term(f"{factor} * {inner.within(_POWER)}", _PRODUCT, inner.end)
        return None

    def _atom(self, at: int) -> Term | None:
        if self.reading.low(at) == "(":
            inner = self.sum(at + 1)
            if inner is None or inner.percent or self.reading.low(inner.end) != ")":
                return None
            return Term(f"({inner.text})", _ATOM, inner.end + 1)
        value, end = self._number(at)
        if not value:
            return None
        after = self._any(end, "%", "percent", "per cent")
        modulo = self.reading.low(end) == "%" and self._number(after)[0]
        if after > end and not modulo:
            return self._percent(value, after)
        if self.reading.low(end) in _MONEY:
            end += 1
        return Term(value, _ATOM, end)

    def _percent(self, value: str, at: int) -> Term | None:
        """`17% of 2340`, `20% off 80`; alone it waits for what it is added to."""
        for phrases, shape in (
            (("of", "tip on", "tax on", "vat on", "interest on", "from"), "{0} * {1} / 100"),
            (("off", "off of", "discount on", "less than"), "{0} - {0} * {1} / 100"),
            (("more than", "on top of"), "{0} + {0} * {1} / 100"),
        ):
            end = self._any(at, *phrases)
            whole = self.power(end) if end > at else None
            if whole is not None and not whole.percent:
                text = shape.format(whole.within(_POWER), value)
                return Term(text, _PRODUCT if shape.startswith("{0} *") else _SUM, whole.end)
        return Term(value, _ATOM, at, percent=True)

    def listed(self, at: int) -> tuple[int, tuple[Term, ...]] | None:
        """Two or more terms joined by commas, `and` or `to`."""
        first = self.product(at)
        if first is None or first.percent:
            return None
        terms = [first]
        while len(terms) < _LONGEST_LIST:
            end = self._any(terms[-1].end, ", and", ",", "and", "&", "plus", "+")
            following = self.product(end) if end > terms[-1].end else None
            if following is None or following.percent:
                break
            terms.append(following)
        return (terms[-1].end, tuple(terms)) if len(terms) > 1 else None

    def _number(self, at: int) -> tuple[str, int]:
        """A number in digits or words as digits, and where it ends."""
        spans = self.reading.spans
        if at < len(spans) and spans[at].kind == "number":
            low, end = spans[at].low, at + 1
            while self.reading.low(end) in _SCALES:
                low, end = f"{low}{str(_SCALES[self.reading.low(end)])[1:]}" if low.isdigit() else "", end + 1
            return low, end
        return self._worded(at)

    def _worded(self, at: int) -> tuple[str, int]:
        """`twenty-five`, `three hundred and ten`, `a dozen`."""
        total = current = 0
        end = at
        seen = False
        if self.reading.low(at) in {"a", "an"} and self.reading.low(at + 1) in _SCALES:
            current, end, seen = 1, at + 1, True
        while True:
            low = self.reading.low(end)
            parts = low.split("-")
            if all(part in NUMBER_WORDS for part in parts):
                value = sum(NUMBER_WORDS[part] for part in parts)
                if seen and current % 100 and not (current % 10 == 0 and value < 10):
                    break
                current, seen = current + value, True
            elif seen and low in _SCALES:
                current *= _SCALES[low]
                if _SCALES[low] >= 1000:
                    total, current = total + current, 0
            elif seen and low == "and" and self.reading.low(end - 1) in _SCALES:
                if self.reading.low(end + 1).split("-")[0] not in NUMBER_WORDS:
                    break
            else:
                break
            end += 1
        return (str(total + current), end) if seen else ("", at)
