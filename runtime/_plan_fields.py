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
from typing import Final

from ._plan_report import shown
from ._refs import Reference, split_references

MAX_ID: Final = 2**63 - 1
"""The largest step id: what every database keeps in one integer."""

_ID_TEXT = re.compile(r"(?:\$?step[ _-]?)?([0-9]{1,19})", re.IGNORECASE | re.ASCII)


class Unfit(Exception):
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
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ID:
        return value
    raise Unfit(f"is {shown(value)}, not a whole number, 0 or more")


def _text(value: object) -> object:
    if isinstance(value, str) and value.strip():
        return value
    raise Unfit(f"is {shown(value)}, not a text with something in it")


def _join(value: object) -> object:
    if isinstance(value, str) and value in {"all", "any"}:
        return value
    raise Unfit(f"is {shown(value)}, not 'all' or 'any'")


def _approval(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, str) and value.strip()):
        return value
    raise Unfit(f"is {shown(value)}, not true, false or the question to ask")


def _for_each(value: object) -> object:
    if isinstance(value, list):
        return value
    if isinstance(value, str) and value.startswith("$"):
        parts = split_references(value)
        if len(parts) == 1 and isinstance(parts[0], Reference):
            return value
    raise Unfit(f"is {shown(value)}, not a list or one bare reference such as $step1.items")


def _note(value: object) -> object:
    # Models put all sorts of things into their notes; nothing runs because of them.
    return value if isinstance(value, str) else None


POLICIES: Mapping[str, Callable[[object], object]] = {
    "critical": _critical,
    "timeout_s": _timeout,
    "max_retries": _retries,
    "retry_backoff_s": _backoff,
    "condition": _text,
    "for_each": _for_each,
    "join": _join,
    "approval": _approval,
    "idempotency_key": _text,
    "reasoning": _note,
    "expected_output": _note,
}
"""The check of each optional key whose value is not a call. `null` is as good as absent and not checked."""
