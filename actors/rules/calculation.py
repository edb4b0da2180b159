"""Sentences that ask for a number which the numbers in them decide."""

from __future__ import annotations

from .arithmetic import Term
from .form import CalculationSource
from .match import Frame
from .meaning import Clause
from .units import converted

_PRODUCT, _POWER, _ATOM = 2, 3, 4


def calculated(expression: str) -> Clause:
    """The value of an expression."""
    return Clause(sources=(CalculationSource(expression=expression),))


def _binary(a: Term, b: Term, sign: str) -> Clause | None:
    if a.percent or b.percent:
        return None
    return calculated(f"{a.within(_PRODUCT)} {sign} {b.within(_POWER)}")


def _row(row: tuple[Term, ...], sign: str) -> Clause:
    return calculated(f" {sign} ".join(term.within(_POWER) for term in row))


def _change(a: Term, b: Term, sign: str) -> Clause | None:
    """`increase a by b`: by a number, or by so many percent of itself."""
    if a.percent:
        return None
    whole = a.within(_PRODUCT)
    return calculated(
        f"{whole} {sign} {whole} * {b.text} / 100" if b.percent else f"{whole} {sign} {b.within(_PRODUCT)}"
    )


def _share(a: Term, b: Term) -> Clause | None:
    """What percentage of `a` is `b`."""
    if a.percent or b.percent:
        return None
    return calculated(f"{b.within(_PRODUCT)} / {a.within(_POWER)} * 100")


def _converted(measures: tuple[tuple[str, str], ...], wanted: str) -> Clause | None:
    text = converted(measures, wanted)
    return None if text is None else calculated(text)


def _goes_on(sign: str, b: Term) -> Clause:
    if b.percent:
        return Clause(refers=True, operation=(f"{sign}%", b.text))
    return Clause(refers=True, operation=(sign, b.within(_POWER)))


CALCULATION_PHRASES: dict[str, tuple[str, ...]] = {
    "calc": (
        "(what / how much) is|are|was|does|do|would|will [be|the]",
        "calculate|compute|evaluate|determine|solve|find|add|get|give|tell|show|say [me|us] [out]",
        "work|figure|find out",
        "do the math|maths|calculation|sum [for|on|:]",
        "i [would|want|need] [like] [to] know",
        "let me know",
        "can you do",
        "quick math|maths|question [:|,]",
    ),
    "calc_wrap": (
        "[what] [is] the result|value|answer|outcome|solution of",
        "what",
        "how much|many [is]",
        "what is",
        "what you get for|from",
    ),
    "equals": (
        "=",
        "equal|equals|make|makes|give|gives|be|yield|yields",
        "come|comes|amount|amounts|add|adds|sum [up] to",
        "is|are [what / how much]",
    ),
    "them": (
        "it|that|this|them",
        "the result|answer|total|sum|product|value|number|quotient|outcome",
        "the whole thing",
    ),
}

CALCULATION_FRAMES: dict[str, tuple[Frame, ...]] = {
    "calculation": (
        ("[@calc] [@calc_wrap] {expression} [@equals]", calculated),
        ("[@calc] [@calc_wrap] {found:conversion}", lambda found: found),
        ("[@calc] {found:worked}", lambda found: found),
    ),
    "conversion": (
        ("how many {wanted:unit} (are|is|make|makes) [there] [up] [in] {measures:quantity}", _converted),
        ("how many {wanted:unit} (does|do) {measures:quantity} (have|make|contain|equal|last|take)", _converted),
        ("how many {wanted:unit} [there|we|i] [are|is|have|get] in {measures:quantity}", _converted),
        ("how many {wanted:unit} (go|fit) [in|into] {measures:quantity}", _converted),
        ("[the] (number|amount) of {wanted:unit} [there are] in {measures:quantity}", _converted),
        ("{measures:quantity} (in|to|into|as / expressed|converted in|to|into) {wanted:unit}", _converted),
        (
            "(convert|change|express|turn|transform|translate|switch) {measures:quantity} "
            "(in|to|into|as) {wanted:unit}",
            _converted,
        ),
        ("how (much|long|far|heavy|big|large) is {measures:quantity} (in|as) {wanted:unit}", _converted),
        ("{measures:quantity} (is|are|makes|make|equals) how many {wanted:unit}", _converted),
    ),
    "worked": (
        ("add|sum|total [up] [together] [the numbers] {row:operands} [together|up]", lambda row: _row(row, "+")),
        ("add {b:operand} to {a:operand}", lambda a, b: _binary(a, b, "+")),
        ("(subtract|deduct / take [away]) {b:operand} [away] from {a:operand}", lambda a, b: _binary(a, b, "-")),
        ("(subtract|deduct / take [away]) {b:operand} [away] from {a:operand}", lambda a, b: _change(a, b, "-")),
        ("multiply {a:operand} (by|with|and|times) {b:operand}", lambda a, b: _binary(a, b, "*")),
        ("multiply {row:operands} [together]", lambda row: _row(row, "*")),
        (
            "(divide|split|share) {a:operand} (by|between|among) {b:operand} [people / persons / "
            "friends / ways / parts / of us]",
            lambda a, b: _binary(a, b, "/"),
        ),
        (
            "{a:operand} (split|shared|divided) (by|between|among) {b:operand} [people|persons|friends|ways|parts]",
            lambda a, b: _binary(a, b, "/"),
        ),
        (
            "raise {a:operand} to the power of {b:operand}",
            lambda a, b: calculated(f"{a.within(_ATOM)} ** {b.within(_ATOM)}"),
        ),
        ("square {a:operand}", lambda a: calculated(f"{a.within(_ATOM)} ** 2")),
        ("cube {a:operand}", lambda a: calculated(f"{a.within(_ATOM)} ** 3")),
        ("halve {a:operand}", lambda a: calculated(f"{a.within(_PRODUCT)} / 2")),
        ("increase|raise {a:operand} by {b:operand}", lambda a, b: _change(a, b, "+")),
        ("{a:operand} (increased|raised) by {b:operand}", lambda a, b: _change(a, b, "+")),
        ("decrease|reduce|lower|discount {a:operand} by {b:operand}", lambda a, b: _change(a, b, "-")),
        ("{a:operand} (decreased|reduced|lowered|discounted) by {b:operand}", lambda a, b: _change(a, b, "-")),
        ("take {expression}", calculated),
        ("take {b:operand} off [of] {a:operand}", lambda a, b: _change(a, b, "-")),
        ("{a:operand} with [a] {b:operand} (discount|off)", lambda a, b: _change(a, b, "-") if b.percent else None),
        (
            "{a:operand} with [a] {b:operand} (tip|tax|vat|added|surcharge|interest)",
            lambda a, b: _change(a, b, "+") if b.percent else None,
        ),
        ("what (percent|percentage) of {a:operand} is {b:operand}", _share),
        ("(percent|percentage) of {a:operand} is {b:operand}", _share),
        ("what (percent|percentage) is {b:operand} [out] of {a:operand}", _share),
        ("{b:operand} is what (percent|percentage) of {a:operand}", _share),
        ("how many percent of {a:operand} is {b:operand}", _share),
        ("{b:operand} as a percentage of {a:operand}", _share),
        ("how many times (does|do) {b:operand} (go|fit) into {a:operand}", lambda a, b: _binary(a, b, "/")),
        (
            "[what] (do|does|is|are) {row:operands} (add|sum|come [up] to / "
            "make|give|equal|together|combined / in total)",
            lambda row: _row(row, "+"),
        ),
        ("{row:operands} (together|combined / added up|together / in total)", lambda row: _row(row, "+")),
        ("[the] remainder of {a:operand} divided by {b:operand}", lambda a, b: _binary(a, b, "%")),
        (
            "[the] remainder (when|if) [you] (divide|dividing) {a:operand} by {b:operand}",
            lambda a, b: _binary(a, b, "%"),
        ),
    ),
    "more_calculation": (
        ("add|plus {b:operand} [to @them]", lambda b: _goes_on("+", b)),
        ("add {b:operand}", lambda b: _goes_on("+", b)),
        ("(subtract|minus|deduct / take [away]) {b:operand} [from @them]", lambda b: _goes_on("-", b)),
        ("(multiply|times) [@them] (by|with) {b:operand}", lambda b: _goes_on("*", b)),
        ("divide|split [@them] (by|among|between) {b:operand} [people|persons]", lambda b: _goes_on("/", b)),
        ("double @them", lambda: Clause(refers=True, operation=("*", "2"))),
        ("halve @them", lambda: Clause(refers=True, operation=("/", "2"))),
        ("square @them", lambda: Clause(refers=True, operation=("**", "2"))),
    ),
}
