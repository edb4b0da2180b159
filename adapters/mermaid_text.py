"""A plan as a Mermaid flowchart in which each step has the colour of its state."""

from __future__ import annotations

from collections.abc import Mapping

from trouper.actors.outcome import StepOutcome, StepStatus
from trouper.runtime import Plan

_COLOURS = {
    StepStatus.OK: "fill:#d5f5d5,stroke:#2e7d32",
    StepStatus.FAILED: "fill:#fbd5d5,stroke:#b71c1c",
    StepStatus.SKIPPED: "fill:#fff3cd,stroke:#8a6d00",
    StepStatus.CANCELLED: "fill:#fff3cd,stroke:#8a6d00",
    StepStatus.WAITING: "fill:#d6e4ff,stroke:#1a4b9c",
    StepStatus.IN_DOUBT: "fill:#f0d5f7,stroke:#6a1b9a",
}


def mermaid_of_run(plan: Plan, steps: Mapping[int, StepOutcome]) -> str:
    """The flowchart of the plan, with a class for each state that a step is in."""
    lines = [plan.as_mermaid().rstrip()]
    for status, colour in _COLOURS.items():
        found = [f"s{step.id}" for step in plan.steps if step.id in steps and steps[step.id].status is status]
        if found:
            lines += [f"  classDef {status.value} {colour}", f"  class {','.join(found)} {status.value}"]
    return "\n".join(lines)
