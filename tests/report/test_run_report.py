"""What a run's times say: the critical path, what waiting cost, rows for the Gantt."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.made_runs import graphs, outcome_of, scheduled, step
from trouper.actors.outcome import ErrorInfo, Outcome, Replan, RunStatus, StepStatus
from trouper.actors.run_advice import Scheduling
from trouper.actors.run_report import Held, report_of
from trouper.runtime import parse_plan


def links(report) -> list[tuple[int, Held]]:
    return [(link.step, link.held_by) for link in report.path]


def waited(report) -> dict[str, tuple[float, float | None]]:
    return {wait.kind: (wait.total, wait.cost) for wait in report.waits}


# ------------------------------------------------------------------ the critical path
def test_the_path_goes_back_along_the_dependency_that_ended_last():
    needs = {1: [], 2: [], 3: [1, 2], 4: [3]}
    times = {1: (0, 0, 1), 2: (0, 0, 3), 3: (3, 3, 4), 4: (4, 4, 6)}

    report = report_of(outcome_of(needs, times))

    assert links(report) == [(2, Held.START), (3, Held.DEPENDENCY), (4, Held.DEPENDENCY)]
    assert [link.took for link in report.path] == [3, 1, 2]
    assert [row.label for row in report.rows if row.critical] == ["2", "3", "4"]
    assert (report.span, report.chain) == (6, 6)


def test_the_path_goes_back_to_the_step_that_gave_its_slot_where_the_inputs_were_there_before():
    needs = {1: [], 2: [], 3: [1]}
    times = {1: (0, 0, 1), 2: (0, 1, 5), 3: (1, 5, 6)}

    report = report_of(outcome_of(needs, times))

    assert links(report) == [(1, Held.START), (2, Held.SLOT), (3, Held.SLOT)]
    assert report.span == 6
    assert report.chain == 4


@pytest.mark.parametrize(("slots", "held"), [(1, Held.SLOT), (2, Held.BUSY), (5, Held.BUSY)])
def test_where_there_were_slots_it_was_not_a_slot_that_a_step_waited_for(slots, held):
    """A tool that held up the event loop, or a limit of its tool. Was: told as a slot, whatever their number."""
    needs = {1: [], 2: []}
    times = {1: (0, 0, 5), 2: (0, 5, 6)}

    report = report_of(outcome_of(needs, times), Scheduling(max_parallel_steps=slots))

    assert links(report) == [(1, Held.START), (2, held)]


def test_a_slot_that_was_given_back_before_the_step_was_ready_did_not_hold_it():
    """2 ended while 3 still waited for 1; what 3 waited for after that was something else."""
    needs = {1: [], 2: [], 3: [1]}
    times = {1: (0, 0, 2), 2: (0, 0, 1), 3: (2, 3, 4)}

    assert links(report_of(outcome_of(needs, times))) == [(1, Held.START), (3, Held.DEPENDENCY)]


def test_a_step_that_was_kept_back_by_a_level_says_so():
    needs = {1: [], 2: [], 3: [1]}
    times = {1: (0, 0, 1), 2: (0, 0, 5), 3: (1, 5, 6)}

    report = report_of(outcome_of(needs, times), Scheduling(level_barrier=True))

    assert links(report) == [(2, Held.START), (3, Held.BARRIER)]
    assert waited(report)["barrier"] == (4, pytest.approx(1))
    assert "slots" not in waited(report)


def test_a_step_behind_any_of_two_waited_only_for_the_one_that_was_there():
    needs = {1: [], 2: [], 3: [1, 2]}
    times = {1: (0, 0, 1), 2: (0, 0, 9), 3: (1, 1, 10)}

    report = report_of(outcome_of(needs, times))

    assert links(report) == [(1, Held.START), (3, Held.DEPENDENCY)]
    assert report.chain == 10


def test_a_slot_is_given_back_before_the_verdict_is_there():
    """What 2 waited for is the work of 1, not the verdict on it."""
    outcome = outcome_of({1: [], 2: []}, {2: (0.0, 2.0, 9.0)})
    outcome = attrs.evolve(outcome, steps={**outcome.steps, 1: step(1, 0.0, 0.0, 5.0, waits={"verifier": 3.0})})

    report = report_of(outcome)

    assert [(link.step, link.held_by, link.took) for link in report.path] == [(1, Held.START, 2), (2, Held.SLOT, 7)]


@given(graphs(), st.integers(1, 4))
def test_without_gaps_the_path_is_as_long_as_the_run_and_no_chain_is_longer(graph, slots):
    needs, seconds = graph
    times = scheduled(needs, seconds, slots)

    report = report_of(outcome_of(needs, times), Scheduling(max_parallel_steps=slots))

    assert sum(link.took for link in report.path) == pytest.approx(report.span)
    assert report.span == max(ended for _, _, ended in times.values())
    assert max(seconds.values()) <= report.chain <= report.span


times_of_anything = st.tuples(*[st.floats(0, 1e6) | st.none()] * 3)


@settings(max_examples=40)
@given(graphs(), st.data())
def test_any_times_at_all_give_a_report(graph, data):
    """A journal of a program that was killed, or of another version, may say anything."""
    needs, _ = graph
    times = {i: data.draw(times_of_anything) for i in needs}
    waits = st.dictionaries(st.sampled_from(["approval", "verifier", "backoff", "other"]), st.floats(0, 1e6))
    outcome = outcome_of(needs, times)
    outcome = attrs.evolve(
        outcome, steps={i: attrs.evolve(s, waits=data.draw(waits)) for i, s in outcome.steps.items()}
    )

    for scheduling in (None, Scheduling(), Scheduling(level_barrier=True, enabled=False)):
        report = report_of(outcome, scheduling)

        assert len(report.rows) == len(needs)
        assert len({link.step for link in report.path}) == len(report.path)
        assert sum(link.took for link in report.path) <= report.span * (1 + 1e-9) + 1e-3
        assert report.chain <= report.span
        assert all(wait.total > 0 and (wait.cost is None or wait.cost >= 0) for wait in report.waits)


# ------------------------------------------------------------------ what waiting cost
def test_each_kind_of_waiting_is_counted_with_what_it_cost_the_run():
    """4 waited long and cost nothing; without the verdict on 2 the run would have been a second shorter."""
    plan = parse_plan(
        [
            {"id": 1, "action": "work"},
            {"id": 2, "action": "work", "critical": True},
            {"id": 3, "action": "work", "dependencies": [2]},
            {"id": 4, "action": "work", "approval": True},
        ]
    )
    steps = {
        1: step(1, 0.0, 0.0, 2.0, waits={"backoff": 0.5}),
        2: step(2, 0.0, 0.0, 3.0, waits={"verifier": 1.0}),
        3: step(3, 3.0, 3.0, 9.0),
        4: step(4, 0.0, 4.0, 5.0, waits={"approval": 4.0}),
    }
    outcome = Outcome(run_id="r", status=RunStatus.SUCCESS, plan=plan, steps=steps)

    assert waited(report_of(outcome, Scheduling(max_parallel_steps=9))) == {
        "dependencies": (3, None),
        "backoff": (0.5, 0),
        "verifier": (1, 1),
        "approval": (4, 0),
    }


def test_what_the_whole_run_waited_for_is_told_beside_the_steps():
    outcome = outcome_of({1: []}, {1: (2.0, 2.0, 3.0)}, waits={"planner": 2.0, "limiter": 0.5, "backoff": 1.0})
    steps = {1: attrs.evolve(outcome.steps[1], waits={"backoff": 0.25, "model": 0.125})}

    found = waited(report_of(attrs.evolve(outcome, steps=steps), Scheduling()))

    assert {kind: total for kind, (total, _) in found.items()} == {
        "planner": 2,
        "limiter": 0.5,
        "backoff": 1.25,
        "model": 0.125,
    }
    assert found["planner"] == (2, 2)


def test_no_wait_costs_more_than_it_took():
    """Between 1 and 3 a step of the plan before was still at work; the planner needed half a second of that."""
    outcome = outcome_of({1: [], 3: [1]}, {1: (0.0, 0.0, 1.0), 3: (4.0, 4.0, 5.0)}, waits={"planner": 0.5})

    assert waited(report_of(outcome, Scheduling()))["planner"] == (0.5, 0.5)


def test_no_cost_is_said_without_the_flags_or_where_they_do_not_explain_the_run():
    """Eight steps that ran one by one with eight slots: a limit of the tool, which the model does not know."""
    needs: dict[int, list[int]] = {i: [] for i in range(8)}
    outcome = outcome_of(needs, {i: (0.0, float(i), float(i + 1)) for i in needs})

    assert waited(report_of(outcome)) == {"slots": (28, None)}
    assert waited(report_of(outcome, Scheduling(max_parallel_steps=8))) == {"slots": (28, None)}
    assert report_of(outcome, Scheduling(max_parallel_steps=8)).advice == ()
    assert waited(report_of(outcome, Scheduling(max_parallel_steps=1))) == {"slots": (28, 7)}


def test_the_elements_of_a_for_each_compete_for_slots():
    items = tuple(step(1, 0.0, float(n // 2), float(n // 2 + 1)) for n in range(6))
    outcome = attrs.evolve(outcome_of({1: []}, {}), steps={1: step(1, 0.0, 0.0, 3.0, items=items)})

    report = report_of(outcome, Scheduling(max_parallel_steps=2))

    assert waited(report) == {"slots": (6, pytest.approx(2))}
    assert [(list(advice.flags.values()), advice.saves) for advice in report.advice] == [([6], pytest.approx(2))]


def test_a_sub_plan_takes_no_slot_by_itself():
    """Otherwise one slot would not explain two of them side by side, and no cost could be said."""
    inside = {i: {10 + i: step(10 + i, 0.0, 0.0, 2.0)} for i in (1, 2)}
    steps = {
        1: step(1, 0.0, 0.0, 2.0, steps=inside[1]),
        2: step(2, 0.0, 0.0, 2.0, steps=inside[2]),
        3: step(3, 2.0, 3.0, 4.0, waits={"approval": 1.0}),
    }
    outcome = attrs.evolve(outcome_of({1: [], 2: [], 3: [1, 2]}, {}), steps=steps)

    assert waited(report_of(outcome, Scheduling(max_parallel_steps=1)))["approval"] == (1, pytest.approx(1))


# ------------------------------------------------------------------ rows
def test_every_step_has_a_row_with_its_elements_inner_steps_and_what_undid_it():
    outer = step(
        1,
        0.0,
        0.0,
        4.0,
        items=(step(1, 0.0, 0.0, 1.0), step(1, 1.0, 1.0, 2.0, steps={7: step(7, 1.0, 1.0, 2.0)})),
        compensation=step(1, 5.0, 5.0, 6.0, action="undo"),
    )
    outcome = outcome_of({1: []}, {})
    outcome = attrs.evolve(outcome, steps={1: outer})

    rows = report_of(outcome).rows

    assert [(row.label, row.depth, row.action) for row in rows] == [
        ("1", 0, "work"),
        ("1[0]", 1, "work"),
        ("1[1]", 1, "work"),
        ("1[1].7", 2, "work"),
        ("1 undone", 1, "undo"),
    ]


def test_a_row_says_why_its_step_is_not_ok():
    skipped = step(2, status=StepStatus.SKIPPED, reason="dependency", cause=1)
    failed = step(1, 0.0, 0.0, 1.0, status=StepStatus.FAILED, error=ErrorInfo("timeout", "too slow"))
    outcome = attrs.evolve(outcome_of({1: [], 2: [1]}, {}), steps={1: failed, 2: skipped})

    rows = report_of(outcome).rows

    assert [row.note for row in rows] == ["timeout", "dependency 1"]
    assert [row.seconds for row in rows] == [1, None]


def test_what_failed_in_a_plan_that_was_given_up_is_told_before_the_plan_that_took_its_place():
    given_up = outcome_of({1: [], 2: [1]}, {})
    failed = step(2, 1.0, 1.0, 2.0, status=StepStatus.FAILED)
    outcome = outcome_of(
        {1: [], 3: [1]},
        {1: (0.0, 0.0, 1.0), 3: (2.5, 2.5, 3.0)},
        replans=(Replan(plan=given_up.plan, failed={2: failed}),),
    )

    assert [row.label for row in report_of(outcome).rows] == ["2 (plan 1)", "1", "3"]


def test_a_run_without_a_plan_has_an_empty_report():
    report = report_of(Outcome(run_id="r", status=RunStatus.FAILED), Scheduling())

    assert (report.rows, report.path, report.waits, report.advice, report.span) == ((), (), (), (), 0)
