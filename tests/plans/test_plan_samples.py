"""Every sample plan gives exactly what its expectation says: levels, dependencies, errors, resolved parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trouper.runtime._errors import PlanError, UnknownField
from trouper.runtime._plan import Plan, catalogue_from_json, check_json, parse_plan, problems_json

SAMPLES = Path(__file__).parent.parent / "data" / "plans"
NAMES = sorted(p.name.removesuffix(".expect.json") for p in SAMPLES.glob("*.expect.json"))
RAW = sorted(p.name.removesuffix(".expect.json") for p in (SAMPLES / "raw").glob("*.expect.json"))
PROMISED = {
    "levels", "deps", "n_steps", "n_levels", "widest", "errors", "fake_results", "resolved", "catalogue",
    "suggestion", "missing", "cycle", "outcome", "summary", "error",
}  # fmt: skip
OF_THE_EXECUTOR = {
    "scenarios", "fail", "step_status", "status", "timing", "steps_run", "tool_called", "max_wall_s",
    "step_1_may_start_after_chunk", "n_chunks", "rule", "note_self_reference",
}  # fmt: skip


def source_of(name: str) -> str:
    text = (SAMPLES / f"{name}.json").read_text("utf-8")
    decoded = json.loads(text)
    return "".join(decoded["chunks"]) if isinstance(decoded, dict) and "chunks" in decoded else text


def expectation(path: Path) -> dict[str, Any]:
    expected = json.loads(path.read_text("utf-8"))
    assert not expected.keys() - PROMISED - OF_THE_EXECUTOR
    return expected


def compare_plan(plan: Plan, expected: dict[str, Any]) -> None:
    said = check_json(plan)
    if "levels" in expected:
        assert said["levels"] == expected["levels"]
    if "deps" in expected:
        assert said["dependencies"] == expected["deps"]
    assert said["steps"] == expected.get("n_steps", said["steps"])
    assert len(plan.levels) == expected.get("n_levels", len(plan.levels))
    assert max(map(len, plan.levels)) == expected.get("widest", max(map(len, plan.levels)))


def compare_problems(error: PlanError, expected: dict[str, Any]) -> None:
    said = json.dumps(problems_json(error))
    assert [[problem.kind, problem.step] for problem in error.problems] == expected["errors"]
    assert all(f"$step{n}" in said for n in expected.get("missing", []))
    assert expected.get("suggestion", "") in said
    assert " -> ".join(map(str, expected.get("cycle", []))) in said


def compare(source: object, expected: dict[str, Any]) -> None:
    known = catalogue_from_json(expected["catalogue"]) if "catalogue" in expected else None
    outcome = expected["outcome"]
    if outcome == "error":
        with pytest.raises(PlanError) as caught:
            parse_plan(source, catalogue=known)  # type: ignore[arg-type]
        compare_problems(caught.value, expected)
    else:  # "ok_or_error" is "ok" with us: the last of two plans, and text ids coerced everywhere
        compare_plan(parse_plan(source, catalogue=known), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_the_text_of_a_sample_gives_what_is_expected(name: str) -> None:
    """The file as it is."""
    compare(source_of(name), expectation(SAMPLES / f"{name}.expect.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_decoded_sample_gives_the_same(name: str) -> None:
    """What the standard library makes of the file."""
    compare(json.loads(source_of(name)), expectation(SAMPLES / f"{name}.expect.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_in_prose_and_a_fence_gives_the_same(name: str) -> None:
    """What a chat model makes of the file."""
    text = f"Sure! Here's the plan [draft 2]:\n\n```json\n{source_of(name)}\n```\nIt's {{short}}, isn't it?"
    compare(text, expectation(SAMPLES / f"{name}.expect.json"))


@pytest.mark.parametrize("name", RAW)
def test_raw_planner_text_gives_what_is_expected(name: str) -> None:
    """Text that is not clean JSON."""
    text = (SAMPLES / "raw" / f"{name}.txt").read_bytes()
    compare(text, expectation(SAMPLES / "raw" / f"{name}.expect.json"))


@pytest.mark.parametrize("name", [n for n in NAMES if "resolved" in (SAMPLES / f"{n}.expect.json").read_text()])
def test_a_tool_receives_the_expected_parameters(name: str) -> None:
    """References resolved against the expectation's results, types kept."""
    expected = expectation(SAMPLES / f"{name}.expect.json")
    results = {int(step): result for step, result in expected["fake_results"].items()}
    plan = parse_plan(source_of(name))
    for step, parameters in expected["resolved"].items():
        received = plan.step(int(step)).inputs.resolve(results)

        assert received == parameters
        assert json.dumps(received) == json.dumps(parameters)  # 0 is not false, 1 not 1.0


def test_a_missing_field_is_an_error_and_never_the_literal_text() -> None:
    """Sample 80: found when resolving, since nobody declared the outputs."""
    expected = expectation(SAMPLES / "80_unknown_field_at_run.expect.json")
    plan = parse_plan(source_of("80_unknown_field_at_run"))
    results = {int(step): result for step, result in expected["fake_results"].items()}

    with pytest.raises(UnknownField, match=r"\$step1\.nope.*step 1.*'nope'.*yes"):
        plan.step(2).inputs.resolve(results)


def test_of_two_plans_the_last_counts_and_nothing_of_the_first() -> None:
    """A model that corrects itself."""
    plan = parse_plan((SAMPLES / "raw" / "two_plans.txt").read_text())

    assert [(step.id, step.action) for step in plan.steps] == [(1, "a")]
    assert plan.reasoning is None


@pytest.mark.parametrize("name", ["truncated", "too_deep"])
def test_a_broken_text_is_told_with_line_and_column(name: str) -> None:
    """So that whoever wrote it finds the place; a cut-off one says why that may be."""
    with pytest.raises(PlanError, match=r"line \d+, column \d+") as caught:
        parse_plan((SAMPLES / "raw" / f"{name}.txt").read_text())

    assert ("too deep" in str(caught.value)) == (name == "too_deep")
    assert ("token limit" in str(caught.value)) == (name == "truncated")
