"""The conditions of steps: a small language over results, decided without running anything.

    $step1.rain > 60 and $step1.city in ['Oslo', 'Bergen']
    not empty($step2.rows) or exists($step3.error)

Comparisons, `and`, `or`, `not`, parentheses, literals, references, and three functions: `len`, `exists`, `empty`.
There is no arithmetic, no way to reach an attribute and no name that could be called: a plan is written by a model,
and nothing of it may become code. A reference is looked up while the condition is decided, never pasted into its
text, so a result that says `' or true` is only a text that says so.

What compares and what does not is strict where a guess would decide silently: `==` between types is false, `<`
between a text and a number is an error of the step. A condition in prose does not parse and is a mistake in the plan.

The text is turned into a flat list of instructions once (operator precedence with an explicit stack), with jumps so
that `exists($step1.x) and $step1.x > 3` does not look at what is not there. Nothing here recurses.
"""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from ._condition_text import (
    Check,
    Compare,
    Constant,
    Exists,
    Fetch,
    Instruction,
    Measure,
    Negate,
    SkipIf,
    Truth,
    instructions,
)
from ._errors import ConditionFailed, UnknownField
from ._plan_report import shown
from ._refs import Reference, look_up

Results = Mapping[int, object]


@attrs.frozen
class Condition:
    """A condition as written, and ready to be decided: made by `read_condition`."""

    source: bool | str
    _code: tuple[Instruction, ...] = attrs.field(eq=False, repr=False)

    @property
    def references(self) -> frozenset[int]:
        """The ids of the steps whose results it looks at; an element of `for_each` is nobody's result."""
        return frozenset(reference.step for reference in self.uses() if reference.step >= 0)

    def uses(self) -> Iterator[Reference]:
        """Every reference in it, in order."""
        for instruction in self._code:
            if isinstance(instruction, Fetch | Exists):
                yield instruction.reference

    def holds(self, results: Results, *, lenient: bool = False) -> bool:
        """Whether it is true of these results. With `lenient` a step that has no result counts as null.

        Raises:
            UnknownField: a step has no result, or its result has no such part.
            ConditionFailed: two values do not compare, or a function does not take what it is given.
        """
        stack: list[object] = []
        at = 0
        while at < len(self._code):
            instruction = self._code[at]
            at += 1
            match instruction:
                case Constant(value):
                    stack.append(value)
                case Fetch(reference):
                    stack.append(look_up(reference, results, lenient=lenient))
                case Exists(reference):
                    stack.append(_there(reference, results))
                case Compare(name):
                    right = stack.pop()
                    stack[-1] = _COMPARISONS[name](stack[-1], right)
                case Measure():
                    stack[-1] = _length(stack[-1])
                case Check():
                    stack[-1] = _is_empty(stack[-1])
                case Negate():
                    stack[-1] = not stack[-1]
                case Truth():
                    stack[-1] = bool(stack[-1])
                case SkipIf(value, to):
                    if bool(stack[-1]) is value:
                        stack[-1] = value
                        at = to
                    else:
                        stack.pop()
        return bool(stack[-1])


def read_condition(value: object, *, item: bool = False) -> Condition:
    """The condition that a plan gives; with `item` it may look at `$item` and `$index`.

    Raises:
        Unfit: it is none; the message says where it ceases to be one.
    """
    return Condition(*instructions(value, item=item))


# ------------------------------------------------------------------ what the words mean


def _there(reference: Reference, results: Results) -> bool:
    try:
        look_up(reference, results)
    except UnknownField:
        return False
    return True


def _length(value: object) -> int:
    if isinstance(value, str | list | tuple | Mapping):
        return len(value)
    raise ConditionFailed(f"len() takes a text, a list or an object, and this is {shown(value)}")


def _is_empty(value: object) -> bool:
    if value is None or isinstance(value, str | list | tuple | Mapping):
        return not value
    raise ConditionFailed(f"empty() takes a text, a list, an object or null, and this is {shown(value)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(one: object, other: object) -> bool:
    """Whether two JSON values say the same. 1 is 1.0; otherwise values of two types are different."""
    seen: set[tuple[int, int]] = set()  # shared parts are compared once, and what contains itself has an end
    work = [(one, other)]
    while work:
        a, b = work.pop()
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if (id(a), id(b)) in seen:
                continue
            seen.add((id(a), id(b)))
            if a.keys() != b.keys():
                return False
            work.extend((item, b[key]) for key, item in a.items())
        elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
            if (id(a), id(b)) in seen:
                continue
            seen.add((id(a), id(b)))
            if len(a) != len(b):
                return False
            work.extend(zip(a, b, strict=True))
        elif not (type(a) is type(b) or (_is_number(a) and _is_number(b))) or a != b:
            return False
    return True


def _differ(one: object, other: object) -> bool:
    return not equal(one, other)


def _ordered(name: str, compare: Callable[[Any, Any], object]) -> Callable[[object, object], bool]:
    def decide(one: object, other: object) -> bool:
        if (_is_number(one) and _is_number(other)) or (isinstance(one, str) and isinstance(other, str)):
            return bool(compare(one, other))
        raise ConditionFailed(
            f"{name!r} compares two numbers or two texts, and here are {shown(one)} and {shown(other)}"
        )

    return decide


def _contained(one: object, other: object) -> bool:
    if isinstance(other, list | tuple):
        return any(equal(one, item) for item in other)
    if isinstance(other, Mapping):
        return isinstance(one, str) and one in other
    if isinstance(other, str) and isinstance(one, str):
        return one in other
    raise ConditionFailed(
        f"'in' looks for a value in a list, a text in a text or a key in an object, "
        f"and here are {shown(one)} and {shown(other)}"
    )


def _not_contained(one: object, other: object) -> bool:
    return not _contained(one, other)


_COMPARISONS: Final[Mapping[str, Callable[[object, object], bool]]] = {
    "==": equal,
    "!=": _differ,
    "<": _ordered("<", operator.lt),
    "<=": _ordered("<=", operator.le),
    ">": _ordered(">", operator.gt),
    ">=": _ordered(">=", operator.ge),
    "in": _contained,
    "not in": _not_contained,
}
