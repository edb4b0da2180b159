"""The honest rate of `planner: rules`: run `python -m tests.goals.rate [SET...]`.

`-v` also names each possible goal that is refused and each plan that is wrong.

For every set of goals: how many possible goals are planned, how many of those plans are sensible (`judge.py`), and how
many impossible goals are planned although they must be refused. `first run` is what was measured when the
rules met that set for the first time; the numbers now are what they are after the rules were improved.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.goals.judge import verdict
from trouper.actors.rules.form_compiler import ACTIONS, compile_form
from trouper.actors.rules.grammar import parse_goal
from trouper.runtime import GoalRefused

DATA = Path(__file__).parent.parent / "data" / "goals"

Goal = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Rate:
    """What became of one set of goals."""

    possible: int
    planned: int
    sensible: int
    impossible: int
    impossible_planned: int
    wrong: tuple[tuple[str, str], ...]
    """Plans that are not sensible, or should not exist: goal and why."""
    refused: tuple[tuple[str, str], ...]
    """Possible goals that were refused, with the reason."""

    @property
    def planned_share(self) -> float:
        """Of the possible goals, how many are planned."""
        return self.planned / self.possible if self.possible else 1.0

    @property
    def sensible_share(self) -> float:
        """Of the planned possible goals, how many plans are sensible."""
        return self.sensible / self.planned if self.planned else 1.0

    @property
    def impossible_share(self) -> float:
        """Of the impossible goals, how many are planned all the same."""
        return self.impossible_planned / self.impossible if self.impossible else 0.0


def load(name: str, part: str | None = None) -> list[Goal]:
    """The goals of one data file, all or those of one `set`."""
    goals = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return [goal for goal in goals if part is None or goal["set"] == part]


def rate(goals: Iterable[Goal]) -> Rate:
    """Plan every goal with the rules and judge what comes out."""
    possible = impossible = planned = sensible = bad = 0
    wrong: list[tuple[str, str]] = []
    refused: list[tuple[str, str]] = []
    for goal in goals:
        can = goal.get("possible", True)
        possible, impossible = possible + can, impossible + (not can)
        try:
            steps = compile_form(parse_goal(goal["goal"]), actions=ACTIONS)
        except GoalRefused as refusal:
            if can:
                refused.append((goal["goal"], refusal.reason.split("\n")[0]))
            continue
        why = verdict(goal, steps) if can else "planned, though it cannot be done"
        planned, bad = planned + can, bad + (not can)
        sensible += can and not why
        if why:
            wrong.append((goal["goal"], f"{why}: {json.dumps(steps, ensure_ascii=False)}"))
    return Rate(
        possible=possible,
        planned=planned,
        sensible=sensible,
        impossible=impossible,
        impossible_planned=bad,
        wrong=tuple(wrong),
        refused=tuple(refused),
    )


SETS: dict[str, tuple[str, str | None]] = {
    "shared 40": ("shared", None),
    "own, seen": ("own", "seen"),
    "own, frozen": ("own", "frozen"),
    "fresh": ("fresh", None),
    "fresh2": ("fresh2", None),
    "fresh3": ("fresh3", None),
}


def main(arguments: list[str]) -> None:
    """Print the table."""
    first_run = json.loads((DATA / "first_run.json").read_text(encoding="utf-8"))
    print(
        f"{'set':<14}{'planned':>16}{'sensible':>16}{'impossible planned':>22}{'   first run, in the same order':<30}"
    )
    for name in [name for name in SETS if name in arguments] or list(SETS):
        found = rate(load(*SETS[name]))
        print(
            f"{name:<14}"
            f"{f'{found.planned}/{found.possible} ({found.planned_share:.0%})':>16}"
            f"{f'{found.sensible}/{found.planned} ({found.sensible_share:.0%})':>16}"
            f"{f'{found.impossible_planned}/{found.impossible} ({found.impossible_share:.0%})':>22}"
            f"   {_first(first_run.get(name))}"
        )
        if "-v" in arguments:
            for goal, why in (*found.wrong, *found.refused):
                print(f"    {goal}\n        {why}")


def _first(run: Mapping[str, int] | None) -> str:
    if run is None:
        return "seen while the rules were written"
    return "{planned}/{possible}, {sensible}/{planned}, {impossible_planned}/{impossible}".format(**run)


if __name__ == "__main__":
    main(sys.argv[1:])
