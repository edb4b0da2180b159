"""Plans nobody has seen before, of every kind there is, through an open troupe and through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import trio

from tests.execution import toolbox
from tests.execution.case import Bad, Case, compare
from tests.execution.stage import opened
from tests.execution.unseen_bad import FIELDS, GRAPHS, NESTED, TEXTS
from tests.execution.unseen_nested import FOR_EACH, SUB_PLANS
from tests.execution.unseen_policies import CONDITIONS, JOINS, TRIES, UNDOING
from tests.execution.unseen_shapes import SHAPES
from trouper import PlanError
from trouper.runtime import check_json, parse_plan

GOOD: dict[str, Case] = SHAPES | CONDITIONS | JOINS | TRIES | UNDOING | FOR_EACH | SUB_PLANS
BAD: dict[str, Bad] = GRAPHS | FIELDS | NESTED | TEXTS
CODES = {"success": 0, "success_with_failures": 0, "failed": 1, "waiting": 3}


def in_order(problems: list[tuple[str, int | None]]) -> list[tuple[str, int | None]]:
    """What is told is a set: in which order is told is not part of what is expected here."""
    return sorted(problems, key=repr)


# ------------------------------------------------------------------ in a troupe
@pytest.mark.parametrize("name", GOOD)
async def test_a_plan_gives_what_it_must(name, autojump_clock) -> None:
    """States, results, parameters as received, causes, attempts, what was undone, and the time it takes."""
    case = GOOD[name]
    async with opened(toolbox.tools, **case.sections) as troupe:
        began = trio.current_time()
        outcome = await troupe.run_plan(case.plan)
        took = trio.current_time() - began

    compare(case, outcome.as_json())
    if case.deps is not None:
        assert {i: list(outcome.plan.dependencies[i]) for i in case.deps} == case.deps
    if case.seconds is not None:
        assert took == pytest.approx(case.seconds)
    for step, at in (case.started or {}).items():
        assert outcome.steps[step].started == pytest.approx(at)


@pytest.mark.parametrize("name", GOOD)
def test_a_plan_is_the_same_after_a_round_trip_through_json(name) -> None:
    """What is shown, kept and sent on is the plan that ran."""
    plan = parse_plan(GOOD[name].plan)
    again = parse_plan(json.loads(json.dumps(plan.as_json())))

    assert again.as_json() == plan.as_json()
    assert check_json(again) == check_json(plan)


@pytest.mark.parametrize("name", BAD)
async def test_a_plan_that_cannot_be_run_is_refused_with_every_problem(name, autojump_clock) -> None:
    """All at once, each with its kind, step, path and message; no tool is called."""
    bad = BAD[name]
    async with opened(toolbox.tools) as troupe:
        with pytest.raises(PlanError) as caught:
            await troupe.run_plan(bad.plan)

    problems = caught.value.problems
    assert in_order([(p.kind, p.step) for p in problems]) == in_order(bad.problems)
    assert all(problem.message for problem in problems)
    assert all(word in str(caught.value) for word in bad.says)


# ------------------------------------------------------------------ on the command line
def at_home(here, plan: object) -> None:
    shutil.copy(Path(toolbox.__file__), here.cwd / "toolbox.py")
    (here.cwd / "plan.json").write_text(plan if isinstance(plan, str) else json.dumps(plan), "utf-8")


@pytest.mark.io
@pytest.mark.parametrize("name", GOOD)
def test_check_and_exec_give_what_they_must(here, name) -> None:
    """`check` without tools; `exec` with the tools in a file of the user's."""
    case = GOOD[name]
    at_home(here, case.plan)
    checked = here("check", "plan.json", "--json")
    given = [f"--set={path}={json.dumps(value)}" for path, value in flat(case.sections)]
    said = here("exec", "plan.json", "--tools", "toolbox:tools", "--json", "--quiet", *given)

    assert (checked.code, checked.json["ok"]) == (0, True)
    assert checked.json["levels"] == (case.levels or checked.json["levels"]) == said.json["levels"]
    assert {i: checked.json["dependencies"][str(i)] for i in case.deps or {}} == (case.deps or {})
    assert said.code == CODES[case.status]
    compare(case, said.json)


@pytest.mark.io
@pytest.mark.parametrize("name", BAD)
def test_check_and_exec_refuse_with_the_same_problems(here, name) -> None:
    """Exit code 2, and the JSON of the problems on stdout."""
    bad = BAD[name]
    at_home(here, bad.plan)
    for command in ("check", "exec"):
        said = here(command, "plan.json", "--tools", "toolbox:tools", "--json")

        assert (said.code, said.json["ok"]) == (2, False)
        assert in_order([(p["kind"], p["step"]) for p in said.json["problems"]]) == in_order(bad.problems)


def flat(sections: object, path: str = "") -> list[tuple[str, object]]:
    """The keys of a configuration as `--set` names them."""
    if not isinstance(sections, dict):
        return [(path, sections)]
    return [found for key, inner in sections.items() for found in flat(inner, f"{path}.{key}" if path else key)]
