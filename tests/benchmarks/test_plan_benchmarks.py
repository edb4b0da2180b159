"""The benches of the executor: every way does the same work, and every figure is measured. No time is judged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks import plan_peers, plan_raw, plan_shapes, plan_subjects, plans
from tests.benchmarks.interval import at_least
from tests.benchmarks.plan_figures import PLAN_MEASUREMENTS, plan_bounds
from tests.benchmarks.plan_shapes import Shape

SHAPES = {
    "wide": plan_shapes.wide(30),
    "chain": plan_shapes.chain(30),
    "grid": plan_shapes.grid(6, 5),
    "full": plan_shapes.full(6, 5),
    "lanes": plan_shapes.lanes(4, 6),
    "tangle": plan_shapes.tangle(30),
}


@pytest.mark.parametrize("name", SHAPES)
async def test_every_way_to_run_a_plan_gives_the_same_results(name: str, autojump_clock) -> None:
    """By hand with tasks, by hand with a nursery a level, by Trouper with everything on and without."""
    shape = SHAPES[name]
    rest, work = plan_raw.sleeping(shape), plan_subjects.sleeping(shape)
    plan = plan_subjects.plan_of(shape, work)

    found = [dict(await one(shape, rest)()) for one in (plan_raw.dataflow, plan_raw.nursery_per_level)]
    for full in (True, False):
        async with plan_subjects.executor(work, full=full, slots=len(shape)) as run:
            outcomes = await run(plan)
            assert plan_subjects.all_done(outcomes, plan)
            found.append({step: outcome.result for step, outcome in outcomes.items()})

    expected = {step: {"v": step, "n": len(needs)} for step, needs in shape.needs.items()}
    assert found == [expected] * 4


def test_the_ideals_of_a_plan_worked_out_by_hand() -> None:
    """1 (3 s) and 2 (1 s) at once, 3 (2 s) behind 2, 4 (4 s) behind both 1 and 3."""
    shape = Shape("by hand", {1: (), 2: (), 3: (2,), 4: (1, 3)}, {1: 3.0, 2: 1.0, 3: 2.0, 4: 4.0})

    assert shape.levels == [[1, 2], [3], [4]]
    assert shape.critical_path == 7.0
    assert shape.with_barriers == 3.0 + 2.0 + 4.0
    assert shape.at_slots(1) == 10.0
    assert shape.at_slots(2) == 7.0
    assert shape.dependants == {1: [4], 2: [3], 3: [4], 4: []}


@given(st.integers(1, 60), st.integers(1, 8))
def test_no_schedule_beats_the_ideal_and_one_with_barriers_is_no_better(steps: int, slots: int) -> None:
    shape = plan_shapes.tangle(steps)

    assert shape.at_slots(slots) >= shape.critical_path
    assert shape.critical_path <= shape.with_barriers + 1e-9
    assert shape.at_slots(steps) == pytest.approx(shape.critical_path)


@pytest.mark.parametrize("make", [plan_shapes.lanes, plan_shapes.tangle])
def test_a_barrier_costs_the_uneven_plans_more_than_twice_their_critical_path(make) -> None:
    """Else the figure that demands twice could not be met."""
    assert make().with_barriers > 2.2 * make().critical_path


def test_the_plans_are_the_same_on_every_call() -> None:
    for make in (plan_shapes.grid, plan_shapes.lanes, plan_shapes.tangle):
        assert (make().needs, make().seconds) == (make().needs, make().seconds)


def test_every_figure_is_measured_and_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--quick` goes through all of them; what is a count is judged, what is a time is not."""
    file = tmp_path / "figures.json"

    code = plans.main(["--quick", "--json", str(file)])

    printed = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(file.read_text(encoding="utf-8"))["figures"]}
    assert "NOT MEASURED" not in printed
    assert code == 0
    assert list(rows) == list(plan_bounds())
    assert all(name in printed and str(row["bound"]) in printed for name, row in rows.items())
    assert [name for name, row in rows.items() if not row["verdict"].startswith("not judged")] == ["cancel_left"]
    assert rows["cancel_left"]["median"] == 0


def test_an_unknown_figure_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plans.main(["--quick", "--only", "wider"])
    assert f"no such figures: wider; there are {', '.join(PLAN_MEASUREMENTS)}" in capsys.readouterr().err


@pytest.mark.io
def test_an_engine_that_is_not_installed_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With a Python that sees no installed package: the engine is named with the reason, and the command fails."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n', encoding="utf-8")
    bare.chmod(0o700)

    assert plans.main(["--peers", "--quick", "--python", str(bare), "--only", "wide_langgraph"]) == 1

    printed = capsys.readouterr().out
    assert "wide_langgraph" in printed
    assert "NOT MEASURED: ModuleNotFoundError: No module named" in printed


@pytest.mark.io
@pytest.mark.parametrize("wall", [True, False])
def test_an_engine_is_measured_in_a_process_of_its_own(
    wall: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio by hand, for which nothing must be installed, and where steps sleep in wall time."""
    shape = "lanes" if wall else "grid"
    monkeypatch.setattr(plan_peers, "COMPARISONS", (plan_peers.Comparison("asyncio", shape, at_least(0.0), wall=wall),))

    assert plans.main(["--peers", "--quick", "--python", sys.executable]) == 0
    printed = capsys.readouterr().out
    assert f"{shape}_asyncio" in printed
    assert f"not judged (2 of {plan_peers.PAIRS} samples)" in printed
    assert ("us a step" in printed) is not wall
