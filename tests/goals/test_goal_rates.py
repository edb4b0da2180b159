"""How many goals the rules plan, and how many of those plans are right, on every set of goals there is."""

from __future__ import annotations

import json

import pytest

from tests.goals.judge import verdict
from tests.goals.rate import DATA, SETS, load, rate
from tests.goals.sketch import sketch
from trouper.actors.rules.grammar import parse_goal
from trouper.runtime import GoalRefused

FIRST_RUN = json.loads((DATA / "first_run.json").read_text(encoding="utf-8"))
REFUSED = (DATA / "refused.txt").read_text(encoding="utf-8").splitlines()
UNDERSTOOD = (DATA / "understood.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", SETS)
def test_most_goals_are_planned_and_no_plan_is_wrong(name) -> None:
    file, part = SETS[name]
    found = rate(load(file, part))

    assert found.planned_share >= 0.6, found.refused
    assert not found.wrong
    assert found.sensible_share >= 0.95
    assert found.impossible_share <= 0.05


@pytest.mark.parametrize("name", FIRST_RUN)
def test_the_first_run_on_unseen_goals_kept_the_promise(name) -> None:
    """What is recorded from the first meeting with a set is within the promise, and about this very set."""
    first, now = FIRST_RUN[name], rate(load(*SETS[name]))

    assert (first["possible"], first["impossible"]) == (now.possible, now.impossible)
    assert first["planned"] >= 0.6 * first["possible"]
    assert first["sensible"] >= 0.95 * first["planned"]
    assert first["impossible_planned"] <= 0.05 * first["impossible"]


@pytest.mark.parametrize("goal", REFUSED)
def test_what_cannot_be_done_is_refused(goal) -> None:
    with pytest.raises(GoalRefused) as refused:
        parse_goal(goal)

    assert refused.value.patterns


@pytest.mark.parametrize(
    ("goal", "meaning"), [(UNDERSTOOD[i], UNDERSTOOD[i + 1].strip()) for i in range(0, len(UNDERSTOOD), 2)]
)
def test_what_was_understood_stays_understood(goal, meaning) -> None:
    assert sketch(parse_goal(goal)) == meaning


# ------------------------------------------------------------------ the judge itself
GOAL = {
    "need": [
        {"action": "read_file", "parameters": {"path": "a.md"}},
        {"action": "summarise", "parameters": {}},
    ],
    "optional": [],
    "flow": [[0, 1]],
}
READ = {"id": 1, "action": "read_file", "parameters": {"path": "a.md"}}
SUMMARY = {"id": 2, "action": "summarize", "parameters": {"content": ["$step1"]}}


def test_the_judge_accepts_the_right_plan() -> None:
    assert verdict(GOAL, [READ, SUMMARY]) == ""


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([READ], "not all there"),
        ([READ | {"parameters": {"path": "b.md"}}, SUMMARY], "not all there"),
        ([READ, SUMMARY | {"parameters": {"content": ["no reference"]}}], "does not flow"),
        ([READ, SUMMARY, {"id": 3, "action": "remember", "parameters": {"fact": "$step2"}}], "nobody asked"),
        ([SUMMARY, READ], "not known before"),
    ],
)
def test_the_judge_finds_what_is_wrong(steps, why) -> None:
    assert why in verdict(GOAL, steps)


@pytest.mark.parametrize(("expression", "right"), [("3 * 24", True), ("3 * 25", False), ("3 *", False)])
def test_the_judge_calculates_by_itself(expression, right) -> None:
    goal = {"need": [{"action": "calculate", "parameters": {}}], "optional": [], "flow": [], "answers": [72]}
    steps = [{"id": 1, "action": "calculate", "parameters": {"expression": expression}}]

    assert (verdict(goal, steps) == "") is right
