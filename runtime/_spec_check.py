"""The mistakes of one spec, collected: each names the field, what was given and what is right."""

from __future__ import annotations

import enum
import math
import sys
from typing import TypeGuard

from ._errors import SpecError
from ._nearest import nearest
from ._shown import shown


class Mistakes:
    """What is wrong with one spec so far. Checks add to it; those that others build upon tell whether all is right."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        """One more mistake."""
        self.found.append(problem)

    def wrong(self, field: str, right: str, value: object, hint: str = "") -> bool:
        """`field` should be `right` but is `value`; always False."""
        self.add(f"{field} must be {right}, not {shown(value)}{hint}")
        return False

    def member(self, field: str, value: object, kind: type[enum.Enum]) -> bool:
        """`value` must be a member of `kind`; a text that is spelt like one gets it as a hint."""
        if isinstance(value, kind):
            return True
        choices = ", ".join(str(member) for member in kind)
        return self.wrong(field, f"one of {choices}", value, write_instead(value, kind))

    def flag(self, field: str, value: object) -> bool:
        """`value` must be True or False."""
        return isinstance(value, bool) or self.wrong(field, "True or False", value)

    def whole(self, field: str, value: object, least: int) -> None:
        """`value` must be an int of at least `least`; a bool is none."""
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self.wrong(field, f"a whole number of at least {least}", value)

    def number(
        self, field: str, value: object, *, zero: bool = False, endless: bool = False, right: str = "", hint: str = ""
    ) -> bool:
        """`value` must be a number above 0, or also 0 with `zero`, or also infinite with `endless`."""
        if is_number(value) and (value > 0 or (zero and value == 0)) and (endless or value <= sys.float_info.max):
            return True
        default = f"a {'' if endless else 'finite '}number {'that is not negative' if zero else 'above 0'}"
        return self.wrong(field, right or default, value, hint)

    def instance(self, field: str, value: object, kind: type, *, example: str) -> None:
        """`value` must be None or a `kind`."""
        if value is not None and not isinstance(value, kind):
            self.wrong(field, f"a {kind.__name__} or None", value, f"; write {field}={example}")

    def raise_all(self, spec: str) -> None:
        """Raise one `SpecError` with every mistake, if there is any."""
        if self.found:
            raise SpecError(self.found, spec=spec)


def is_number(value: object) -> TypeGuard[int | float]:
    """A real number that a clock could count with: no bool, no nan, no int too large for a float."""
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and abs(value) <= sys.float_info.max


def write_instead(value: object, kind: type[enum.Enum]) -> str:
    """`"; write Strategy.ONE_FOR_ALL"` for the text "one-for-all", or nothing when no member is near."""
    if not isinstance(value, str):
        return ""
    members = {str(member.value): member for member in kind}
    near = nearest(value[:100].strip().lower().replace("-", "_").replace(" ", "_"), members)
    return f"; write {members[near[0]]}" if near else ""
