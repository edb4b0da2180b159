"""Decides whether a plan is sensible for a goal; the same strict program for every planner.

Sensible: exactly the needed tools (plus the optional ones the goal allows), each needed text in the very
parameter it belongs to, arithmetic that comes out at the right number, and data that really flows from
sources to sinks, directly or through other steps. The arithmetic is evaluated with a library that only the
tests use, so that the grammar is not judged by itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from simpleeval import SimpleEval

KINDS = {
    "summarize": "summarise",
    "analyze_content": "summarise",
    "write_file": "create_report",
}
REFERENCE = re.compile(r"(?<!\$)\$step(\d+)")

Step = Mapping[str, Any]


def kind(action: str) -> str:
    """The goal files' word for one of our tools."""
    return KINDS.get(action, action)


def references(value: object) -> set[int]:
    """The steps that a parameter refers to."""
    if isinstance(value, str):
        return {int(found) for found in REFERENCE.findall(value)}
    if isinstance(value, Mapping):
        return set().union(*(references(v) for v in value.values()))
    if isinstance(value, list):
        return set().union(*(references(v) for v in value))
    return set()


def reaches(steps: Sequence[Step]) -> dict[int, set[int]]:
    """For each step every step it depends on, directly or not. Steps must come after what they need."""
    needs: dict[int, set[int]] = {}
    for step in steps:
        direct = references(step.get("parameters", {})) | set(step.get("dependencies", []))
        if not direct <= needs.keys():
            raise ValueError(f"step {step['id']} needs {sorted(direct - needs.keys())}, not known before it")
        needs[step["id"]] = direct.union(*(needs[d] for d in direct))
    return needs


def holds(step: Step, wanted: Mapping[str, str]) -> bool:
    """Whether each wanted text is in that very parameter of the step (case does not count)."""
    parameters = step.get("parameters", {})
    return all(text.casefold() in _text(parameters.get(name, "")).casefold() for name, text in wanted.items())


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def evaluates(steps: Sequence[Step], answers: Sequence[float]) -> bool:
    """Whether some calculation of the plan comes out at one of the expected numbers."""
    for step in steps:
        if step["action"] != "calculate":
            continue
        try:
            value = SimpleEval(functions={"sqrt": math.sqrt}).eval(step["parameters"]["expression"])
        except Exception:  # noqa: BLE001 - an expression that cannot be evaluated is simply wrong
            return False
        if any(math.isclose(value, answer, rel_tol=1e-9) for answer in answers):
            return True
    return False


def verdict(goal: Mapping[str, Any], steps: Sequence[Step]) -> str:
    """`""` for a sensible plan, else what is wrong with it."""
    try:
        needs = reaches(steps)
    except ValueError as wrong:
        return str(wrong)
    why = "the needed steps are not all there"
    for chosen in _matches(goal["need"], steps, ()):
        left = [kind(step["action"]) for step in steps if step["id"] not in chosen]
        extra = [action for action in left if action not in goal["optional"]]
        if extra or len(left) > len(set(left)):
            why = f"steps nobody asked for: {extra or left}"
        elif not all(chosen[i] in needs[chosen[j]] for i, j in goal["flow"]):
            why = "the data does not flow"
        elif "answers" in goal and not evaluates(steps, goal["answers"]):
            why = "the arithmetic is wrong"
        else:
            return ""
    return why


def _matches(need: Sequence[Step], steps: Sequence[Step], chosen: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every way to give each needed step its own step of the plan, as step ids in the order of `need`."""
    if len(chosen) == len(need):
        return [chosen]
    wanted = need[len(chosen)]
    return [
        match
        for step in steps
        if step["id"] not in chosen and kind(step["action"]) == wanted["action"] and holds(step, wanted["parameters"])
        for match in _matches(need, steps, (*chosen, step["id"]))
    ]
