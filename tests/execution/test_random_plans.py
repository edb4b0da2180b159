"""Random plans against a model of a few lines: the same states at the same times; and what every schedule must keep."""

from __future__ import annotations

from collections.abc import Sequence

import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.execution.model import Part, fates, longest_chain, plans, status_of
from tests.execution.stage import FOREVER, Stage, opened, parallel
from trouper import Outcome

careful = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow], print_blob=True)


def play(parts: Sequence[Part], **keys: object) -> tuple[Outcome, Stage]:
    """Run it on a clock of its own."""
    stage = Stage()
    for part in parts:
        stage.seconds[part.id] = float(part.seconds)
        stage.fail_times[part.id] = FOREVER if part.fails else 0

    async def main() -> Outcome:
        async with opened([stage.tool("work")], **parallel(**keys)) as troupe:
            return await troupe.run_plan([part.as_json() for part in parts])

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)), stage


@careful
@given(plans())
def test_states_reasons_and_times_are_those_of_the_model(parts) -> None:
    """With a slot for each step."""
    outcome, stage = play(parts, max_parallel_steps=64)
    wanted = fates(parts)

    assert {i: (one.status.value, one.reason) for i, one in outcome.steps.items()} == {
        part.id: (wanted[part.id].state, wanted[part.id].reason) for part in parts
    }
    for i, one in outcome.steps.items():
        if wanted[i].state in {"ok", "failed"}:
            assert (one.started, one.ended) == (wanted[i].start, wanted[i].end)
    assert outcome.status.value == status_of(parts, wanted)
    assert sorted(stage.order) == sorted(i for i, fate in wanted.items() if fate.state != "skipped")


@careful
@given(plans(), st.integers(1, 4))
def test_states_do_not_depend_on_the_number_of_slots(parts, slots) -> None:
    """Fewer slots change when a step runs, never what becomes of it."""
    outcome, stage = play(parts, max_parallel_steps=slots)
    wanted = fates(parts)

    assert {i: one.status.value for i, one in outcome.steps.items()} == {p.id: wanted[p.id].state for p in parts}
    assert outcome.status.value == status_of(parts, wanted)
    assert stage.most <= slots
    assert stage.running.total() == 0


@careful
@given(plans(plain=True), st.integers(1, 4))
def test_no_slot_is_idle_while_a_step_is_ready(parts, slots) -> None:
    """So it takes at most the work shared among the slots and the longest chain together."""
    outcome, _ = play(parts, max_parallel_steps=slots)
    work, chain = sum(part.seconds for part in parts), longest_chain(parts)
    makespan = max(one.ended for one in outcome.steps.values())

    assert max(chain, work / slots) <= makespan <= work / slots + chain
    for part in parts:
        ready = max((outcome.steps[n].ended for n in part.needs), default=0.0)
        assert outcome.steps[part.id].ready == ready
        assert outcome.steps[part.id].started >= ready


@careful
@given(plans(), st.integers(1, 6))
def test_with_a_barrier_a_level_starts_when_the_one_before_has_ended(parts, slots) -> None:
    """And the states are the same again."""
    outcome, _ = play(parts, max_parallel_steps=slots, level_barrier=True)
    wanted = fates(parts)

    assert {i: one.status.value for i, one in outcome.steps.items()} == {p.id: wanted[p.id].state for p in parts}
    over = 0.0
    for level in outcome.plan.levels:
        ran = [outcome.steps[i] for i in level if outcome.steps[i].attempts]
        assert all(one.started >= over for one in ran)
        over = max([over, *(one.ended for one in ran)])


@careful
@given(plans(), st.booleans())
def test_without_dependency_analysis_one_step_runs_after_another(parts, barrier) -> None:
    """In an order that keeps the dependencies, and it ends; with a barrier too."""
    outcome, stage = play(parts, dependency_analysis=False, level_barrier=barrier)
    wanted = fates(parts)

    assert {i: one.status.value for i, one in outcome.steps.items()} == {p.id: wanted[p.id].state for p in parts}
    assert stage.most <= 1


@careful
@given(plans(plain=True))
def test_the_same_plan_inside_a_step_gives_the_same(parts) -> None:
    """A sub-plan runs as a plan does: the same times, and no level of it waits for another."""
    stage = Stage()
    for part in parts:
        stage.seconds[part.id] = float(part.seconds)
    outer = 10**6 + 1

    async def main() -> Outcome:
        async with opened([stage.tool("work")], **parallel(max_parallel_steps=64)) as troupe:
            return await troupe.run_plan([{"id": outer, "plan": [part.as_json() for part in parts]}])

    outcome = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    wanted = fates(parts)

    assert outcome.ok
    assert {i: one.ended for i, one in outcome.steps[outer].steps.items()} == {i: f.end for i, f in wanted.items()}
    assert outcome.steps[outer].result == {"step": parts[-1].id}
