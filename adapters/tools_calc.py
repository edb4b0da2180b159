"""The tool that calculates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict

from trouper.actors.protocols import Evidence, Json
from trouper.actors.tool import Checked, Effect, Tool, tool

from .arithmetic import evaluate, number_text
from .arithmetic_check import value_of


class Calculated(TypedDict):
    """What calculate gives; `text` reads `17% of 2340 = 397.8`."""

    expression: str
    value: int | float
    text: str


def make() -> list[Tool]:
    """calculate, which needs nothing."""
    return [tool(effect=Effect.PURE, verify=_verify)(calculate)]


def calculate(expression: str) -> Calculated:
    """Calculate an arithmetic expression exactly.

    Args:
        expression: numbers, + - * / // % ** ( ), percentages (`17% of 2340`), pi, e, and functions such as
            sqrt, abs, round, floor, ceil, min, max, sum, mean, log, ln, exp, sin, cos, tan.
    """
    value = evaluate(expression)
    return Calculated(expression=expression, value=value, text=f"{expression.strip()} = {number_text(value)}")


async def _verify(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:  # noqa: ARG001 - the port's shape
    """Read and calculate the expression again by another parser, in decimals."""
    claimed = result.get("value") if isinstance(result, dict) else None
    try:
        value = value_of(str(parameters.get("expression", "")))
    except ValueError:
        return Checked()
    if isinstance(claimed, int | float) and math.isclose(claimed, value, rel_tol=1e-9, abs_tol=1e-12):
        return Checked((), ("calculated again",))
    return Checked((f"it claims {claimed}, calculated again it is {value!r}",), ("calculated again",))
