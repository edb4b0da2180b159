"""The bench of the plan parser measures what it says. No time is judged."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import parsing
from tests.benchmarks.plan_shapes import tangle
from trouper import parse_plan


def test_every_figure_is_measured_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A try-out judges nothing, so it succeeds on any machine."""
    assert parsing.main(["--quick"]) == 0

    printed = capsys.readouterr().out
    for name in ("parse", "parse_catalogue", "chain_backwards", "nested_lists", "stream_step", "memory"):
        assert f"\n{name} " in printed
    assert "HOLDS" not in printed


def test_nearly_every_step_of_the_measured_plan_refers_to_others() -> None:
    plan = parse_plan(tangle(1000).text())

    assert sum(1 for step in plan.steps if step.inputs.references) >= 980


def test_the_plans_at_the_limits_are_what_they_are_called() -> None:
    assert len(parse_plan(parsing.backwards(50)).levels) == 50
    assert json.loads(parsing.backwards(3))[0]["dependencies"] == [2]
    assert parse_plan(parsing.nested(300)).dependencies == {1: (), 2: (1,)}


def test_all_steps_come_out_of_the_stream_however_it_is_cut() -> None:
    text = tangle(60).text()

    assert [parsing.streamed(text, piece) for piece in (1, 40, len(text))] == [60, 60, 60]


def test_the_weight_of_a_step_grows_with_what_it_holds() -> None:
    """Numbers would be no measure if they did not tell a heavy plan from a light one."""
    light, heavy = ([{"id": 1, "action": "a", "parameters": {"x": ["y"] * size}}] for size in (1, 10_000))

    assert parsing.weight(json.dumps(heavy), 1) > parsing.weight(json.dumps(light), 1) + 70
