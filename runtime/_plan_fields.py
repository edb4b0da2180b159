"""What each optional key of a step may hold. A check gives the value to keep, or says what is wrong with it.

`true` is never a number and `"true"` never a bool: a plan is written by a model, and a guess about what it
meant would be a decision nobody took.
"""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeGuard

import attrs

from ._budget import Budget
from ._nearest import listed, suggestion
from ._plan_data import Path
from ._plan_json import REPORTED
from ._plan_report import short, shown
from ._refs import Reference, split_references

MAX_ID: Final = 2**63 - 1
"""The largest step id: what every database keeps in one integer."""

_LIMITS: Final = tuple(field.name for field in attrs.fields(Budget))
_ID_TEXT = re.compile(r"(?:\$?step[ _-]?)?([0-9]{1,19})", re.IGNORECASE | re.ASCII)


class Unfit(ValueError):
    """The value does not fit its key; the message says why, beginning with a verb."""


def as_id(value: object) -> int | None:
    """The step id that `value` is, also spelt `"1"`, `"step1"` or `"step_1"`; None if it is none."""
    if isinstance(value, str) and (found := _ID_TEXT.fullmatch(value.strip())):
        value = int(found[1])
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ID:
        return value
    return None


def _critical(value: object) -> object:
    if isinstance(value, bool):
        return value
    raise Unfit(f"is {shown(value)}, not true or false")


def _number(value: object, wanted: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise Unfit(f"is {shown(value)}, not {wanted}")


def _timeout(value: object) -> object:
    wanted = "a number of seconds above 0"
    seconds = _number(value, wanted)
    if seconds > 0:
        return seconds
    raise Unfit(f"is {shown(value)}, not {wanted}")


def _backoff(value: object) -> object:
    wanted = "a number of seconds, 0 or more"
    seconds = _number(value, wanted)
    if seconds >= 0:
        return seconds
    raise Unfit(f"is {shown(value)}, not {wanted}")


def _retries(value: object) -> object:
    if _whole(value, 0):
        return value
    raise Unfit(f"is {shown(value)}, not a whole number, 0 or more")


def _text(value: object) -> object:
    if isinstance(value, str) and value.strip():
        return value
    raise Unfit(f"is {shown(value)}, not a text with something in it")


def _join(value: object) -> object:
    if (isinstance(value, str) and value in {"all", "any"}) or _whole(value, 1):
        return value
    raise Unfit(f"is {shown(value)}, not 'all', 'any' or how many of the dependencies are enough")


def _approval(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, str) and value.strip()):
        return value
    raise Unfit(f"is {shown(value)}, not true, false or the question to ask")


def one_reference(value: object, *, item: bool = False) -> bool:
    """Whether a value is a text that is exactly one bare reference."""
    if not isinstance(value, str) or not value.startswith("$"):
        return False
    parts = split_references(value, item=item)
    return len(parts) == 1 and isinstance(parts[0], Reference)


def read_budget(value: object) -> tuple[Budget | None, list[tuple[Path, str]]]:
    """The budget a plan gives, without what is wrong in it; the path of each problem begins below its key."""
    if not isinstance(value, dict):
        return None, [((), f"is {shown(value)}, not an object of limits: {listed(_LIMITS)}")]
    limits: dict[str, Any] = {}
    problems: list[tuple[Path, str]] = []
    for name, limit in value.items():
        if name not in _LIMITS:
            message = f"is not known here; there are {listed(_LIMITS)}{suggestion(short(name), _LIMITS)}"
            problems.append(((name,), message))
        elif limit is not None and limit is not REPORTED:
            try:
                limits[name] = _limit(name, limit)
            except Unfit as unfit:
                problems.append(((name,), str(unfit)))
    return Budget(**limits), problems


def _limit(name: str, value: object) -> int | float:
    if name in {"cost", "seconds"}:
        wanted = "a number above 0"
        number = _number(value, wanted)
        if number > 0:
            return number
    else:
        wanted = "a whole number, 1 or more"
        if _whole(value, 1):
            return value
    raise Unfit(f"is {shown(value)}, not {wanted}")


def _whole(value: object, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_ID


def _note(value: object) -> object:
    # Models put all sorts of things into their notes; nothing runs because of them.
    return value if isinstance(value, str) else None


POLICIES: Mapping[str, Callable[[object], object]] = {
    "critical": _critical,
    "timeout_s": _timeout,
    "max_retries": _retries,
    "retry_backoff_s": _backoff,
    "join": _join,
    "approval": _approval,
    "idempotency_key": _text,
    "reasoning": _note,
    "expected_output": _note,
}
"""The check of each optional key whose value is kept as it is. `null` is as good as absent and not checked."""
