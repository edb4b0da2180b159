"""Finding the plan in what a model said: clean JSON, a code fence, prose around it, two plans, half a plan.

Clean JSON is taken as it is. Otherwise every JSON value that stands in the text by itself is decoded, fences
or not, and the last one that looks like a plan counts: models correct themselves further down. Two rules keep
this from ever giving a *piece* of a plan: nothing inside a value that broke off is looked at, and a plan is
refused when something that was going to be a plan breaks off after it. Each character is read a
fixed number of times, whatever the text.
"""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

import re

import attrs

from ._errors import PlanError, PlanProblem
from ._plan_json import Document, JsonError, decode, decode_at

# Also an object with a key in single quotes or none: it will be refused, but nothing inside it must be taken.
_BEGINS = re.compile(r'\{\s*+(?:["}]|\'?\w++\'?\s*+:)|\[\s*+(?:[\[{"\]]|-?[0-9]|true|false|null)')
_PLAN_KEY = re.compile(r'"(?:steps|action|tool)"\s*+:')
_LOOSE_PLAN_KEY = re.compile(r"'?(?:steps|goal|reasoning|id|action|tool)'?\s*+:")
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_BEGINNING_SHOWN = 60


def read_text(source: str | bytes | bytearray, *, proven: bool = True) -> Document:
    """The JSON value in `source` that is, or most looks like, a plan; whether it must be `proven`: see `decode`.

    Raises:
        PlanError: of kind `invalid_json`: there is none, or it is broken; with line and column.
    """
    text = _text(source)
    try:
        return _find(text, proven=proven)
    except JsonError as error:
        raise _invalid(_worded(text, error)) from error


def _text(source: str | bytes | bytearray) -> str:
    try:
        text = source if isinstance(source, str) else bytes(source).decode("utf-8")
        if not text.isascii():
            text.encode("utf-8")
    except UnicodeDecodeError as error:
        bad = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise _invalid(f"the plan is not UTF-8 text: {bad}") from error
    except UnicodeEncodeError as error:
        raise _invalid(f"half a surrogate pair at character {error.start} is not text") from error
    return text.removeprefix("\ufeff")


def _find(text: str, *, proven: bool) -> Document:
    stripped = text.strip()
    if not stripped:
        raise JsonError("the text is empty", 0)
    try:
        return decode(text, proven=proven)
    except JsonError as error:
        clean = error
    begins = _BEGINS.search(text)
    if begins is None:
        raise clean if stripped[0] in "{[" else _no_plan(stripped)
    return _only_value(text, begins.start()) or _best_value(text, clean)


def _only_value(text: str, start: int) -> Document | None:
    """The usual case quickly: one value from the first bracket to the last, prose before and after."""
    end = max(text.rfind("}"), text.rfind("]")) + 1
    if end <= start or _BEGINS.search(text, end):
        return None
    try:
        document = decode(text[start:end])
    except JsonError:
        return None
    return document if _likeness(document.value) else None


@attrs.define
class _Best:
    """The last of the likeliest values so far."""

    document: Document | None = None
    likeness: int = 0
    start: int = -1

    def offer(self, document: Document, start: int) -> None:
        likeness = _likeness(document.value)
        if likeness and likeness >= self.likeness:
            self.document, self.likeness, self.start = document, likeness, start


def _best_value(text: str, clean: JsonError) -> Document:
    best = _Best()
    broken: tuple[int, JsonError] | None = None
    at = 0
    while begins := _BEGINS.search(text, at):
        start = begins.start()
        try:
            document, at = decode_at(text, start)
        except JsonError as error:
            at = max(error.position, start + 1)
            if _was_to_be_a_plan(text, start, error):
                if broken is None or broken[0] < best.start:
                    broken = (start, error)
                at = _end_of_broken(text, at, error.depth)
        else:
            best.offer(document, start)
    if broken and broken[0] > best.start:
        raise broken[1]
    if best.document is None:
        raise clean if text.lstrip()[0] in "{[" else _no_plan(text.strip())
    return best.document


def _was_to_be_a_plan(text: str, start: int, error: JsonError) -> bool:
    cut_off = error.truncated and "{" in text[start : start + 2]
    begun = _PLAN_KEY.search(text, start, error.position) or _LOOSE_PLAN_KEY.match(text, error.position)
    return cut_off or begun is not None


def _end_of_broken(text: str, at: int, depth: int) -> int:
    """Where the brackets that were open close again; the end of the text if they do not."""
    for found in _STRING_OR_BRACKET.finditer(text, at):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth <= 0:
            return found.end()
    return len(text)


def _likeness(value: object) -> int:
    """How much a value looks like a plan: 3 it has steps with actions, 2 nearly, 1 at a pinch, 0 not."""
    if isinstance(value, dict):
        if "steps" not in value:
            return 1
        return 3 if isinstance(value["steps"], list) else 2
    if not isinstance(value, list):
        return 0
    if any(map(is_like_a_step, value)):
        return 3
    return 2 if any(isinstance(item, dict) for item in value) else int(not value)


def is_like_a_step(item: object) -> bool:
    """Whether this in a list makes the list look like a plan."""
    if not isinstance(item, dict):
        return False
    named = "id" in item or "step" in item
    return "action" in item or "tool" in item or (named and isinstance(item.get("plan"), dict | list))


def _no_plan(text: str) -> JsonError:
    beginning = text[:_BEGINNING_SHOWN] + ("..." if len(text) > _BEGINNING_SHOWN else "")
    return JsonError(f"there is no JSON plan in the text; it begins {beginning!r}", 0)


def _worded(text: str, error: JsonError) -> str:
    line = text.count("\n", 0, error.position) + 1
    column = error.position - text.rfind("\n", 0, error.position)
    hint = "; the plan is cut off, the model may have hit its token limit" if error.truncated else ""
    return f"line {line}, column {column}: {error.message}{hint}"


def _invalid(message: str) -> PlanError:
    return PlanError([PlanProblem(kind="invalid_json", message=message)])
