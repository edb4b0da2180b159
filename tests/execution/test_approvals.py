"""Steps that wait for a person: only what depends on them waits, and all questions are asked together."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.execution.stage import FOREVER, Stage, opened, parallel, statuses
from trouper import Effect, NotWaiting, Outcome, RunStatus, StepStatus, Troupe, UnknownRun
from trouper.runtime import MemoryJournal

PATIENT = {"run": {"approval_wait": 10_000.0, "timeout": 80_000.0}}


def step(number: int, *needs: int, **more: object) -> dict[str, object]:
    return {"id": number, "action": "work", "dependencies": list(needs), **more}


PLAN = [
    step(1),
    step(2, 1, approval="Pay {$step1.price} EUR?"),
    step(3, 1),
    step(4, 3),
    step(5, 2, approval=True, parameters={"to": "ada"}),
    step(6, 1, approval=True, parameters={"n": "$step1.price"}),
    step(7, 5, 6),
]


def stage() -> Stage:
    return Stage({"1": {"price": 30}})


def open_stage(played: Stage, effect: Effect = Effect.KEYED, **sections: object):
    return opened([played.tool("work", effect)], **sections)


# ------------------------------------------------------------------ suspended
async def test_a_run_with_nothing_else_to_do_is_suspended_with_all_questions_together(autojump_clock) -> None:
    """Only one of several interrupts surfaced elsewhere."""
    played = stage()
    async with open_stage(played) as troupe:
        outcome = await troupe.run_plan(PLAN)

    assert outcome.status is RunStatus.WAITING
    assert not outcome.ok
    assert {question.step: question.question for question in outcome.questions}.keys() == {2, 6}
    assert {question.step: question.question for question in outcome.questions}[2] == "Pay 30 EUR?"
    assert "30" in {question.step: question.question for question in outcome.questions}[6]
    assert outcome.answer is None
    assert outcome.error is None
    assert sorted(played.order) == [1, 3, 4]
    states = statuses(outcome)
    assert (states[1], states[3], states[4]) == ("ok", "ok", "ok")
    assert (states[2], states[6]) == ("waiting", "waiting")
    assert outcome.as_json()["questions"] == [
        {"step": question.step, "question": question.question} for question in outcome.questions
    ]


async def test_answers_are_given_by_step_and_the_run_goes_on_where_it_was(autojump_clock) -> None:
    """Elsewhere answers reached the wrong tool, and tools ran twice after the resume."""
    played = stage()
    async with open_stage(played) as troupe:
        first = await troupe.run_plan(PLAN)
        await troupe.approve(first.run_id, 6, ok=True)
        second = await troupe.resume(first.run_id)
        assert second.status is RunStatus.WAITING
        assert {question.step for question in second.questions} == {2}
        await troupe.approve(first.run_id, 2, ok=True, note="go on")
        third = await troupe.resume(first.run_id)
        assert {question.step for question in third.questions} == {5}
        await troupe.approve(first.run_id, 5, ok=True)
        last = await troupe.resume(first.run_id)

    assert {first.run_id} == {outcome.run_id for outcome in (first, second, third, last)}
    assert last.status is RunStatus.SUCCESS
    assert sorted(played.order) == [1, 2, 3, 4, 5, 6, 7]  # each once
    assert set(statuses(last).values()) == {"ok"}


async def test_a_declined_step_has_failed_and_what_needs_it_is_skipped(autojump_clock) -> None:
    """With the note of whoever declined."""
    played = stage()
    async with open_stage(played) as troupe:
        waiting = await troupe.run_plan(PLAN)
        await troupe.approve(waiting.run_id, 2, ok=False, note="too dear")
        await troupe.approve(waiting.run_id, 6, ok=True)
        outcome = await troupe.resume(waiting.run_id)

    assert outcome.status is RunStatus.FAILED
    assert statuses(outcome) == {1: "ok", 2: "failed", 3: "ok", 4: "ok", 5: "skipped", 6: "ok", 7: "skipped"}
    assert outcome.steps[2].error.kind == "declined"
    assert "too dear" in outcome.steps[2].error.message
    assert 2 not in played.received


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"approval": "Pay {$step1.prize} EUR?"}, "unknown_field"),
        ({"parameters": {"n": "$step1.prize"}}, "unknown_field"),
        ({"for_each": "$step1", "parameters": {"n": "$item"}}, "step"),
    ],
)
async def test_nobody_is_asked_about_a_step_that_cannot_run(more, kind, autojump_clock) -> None:
    """Was: a person had to answer first, whatever the answer."""
    played = stage()
    async with open_stage(played) as troupe:
        outcome = await troupe.run_plan([step(1), step(2, 1, **{"approval": True, **more}), step(3, 2), step(4)])

    assert outcome.status is RunStatus.FAILED
    assert statuses(outcome) == {1: "ok", 2: "failed", 3: "skipped", 4: "ok"}
    assert (outcome.steps[2].error.kind, outcome.questions) == (kind, ())


async def test_a_question_about_elements_shows_them(autojump_clock) -> None:
    played = stage()
    async with open_stage(played) as troupe:
        outcome = await troupe.run_plan(
            [step(1), step(2, 1, approval=True, for_each=["$step1.price", 7], parameters={"n": "$item"})]
        )

    [question] = outcome.questions
    assert question.question == 'May step 2 (work) run with {"n": "$item"} for each of [30, 7]?'


async def test_a_declined_step_that_is_not_critical_is_tolerated(autojump_clock) -> None:
    played = stage()
    async with open_stage(played) as troupe:
        waiting = await troupe.run_plan([step(1), step(2, 1, approval=True, critical=False), step(3, 1)])
        await troupe.approve(waiting.run_id, 2, ok=False)
        outcome = await troupe.resume(waiting.run_id)

    assert outcome.status is RunStatus.SUCCESS_WITH_FAILURES
    assert statuses(outcome) == {1: "ok", 2: "failed", 3: "ok"}


async def test_another_program_can_answer_and_go_on(autojump_clock) -> None:
    """The journal has everything that is needed."""
    played, journal = stage(), MemoryJournal()
    async with opened([played.tool("work", Effect.KEYED)], journal=journal) as troupe:
        waiting = await troupe.run_plan(PLAN)
    async with opened([played.tool("work", Effect.KEYED)], journal=journal) as troupe:
        await troupe.approve(waiting.run_id, 2, ok=True)
        await troupe.approve(waiting.run_id, 6, ok=True)
    async with opened([played.tool("work", Effect.KEYED)], journal=journal) as troupe:
        again = await troupe.resume()
        assert {question.step for question in again.questions} == {5}
        await troupe.approve(waiting.run_id, 5, ok=True)
        outcome = await troupe.resume()

    assert outcome.run_id == waiting.run_id
    assert outcome.status is RunStatus.SUCCESS
    assert sorted(played.order) == [1, 2, 3, 4, 5, 6, 7]


async def test_questions_inside_sub_plans_are_asked_too(autojump_clock) -> None:
    """By the id of the inner step; the outer step waits with it."""
    plan = [
        step(1),
        {"id": 2, "plan": [step(21), step(22, 21, approval="Inside?"), step(23, 22)]},
        step(3, 2),
        step(4, 1),
    ]
    played = Stage()
    async with open_stage(played) as troupe:
        waiting = await troupe.run_plan(plan)
        assert [(question.step, question.question) for question in waiting.questions] == [(22, "Inside?")]
        assert statuses(waiting)[2] == "waiting"
        assert sorted(played.order) == [1, 4, 21]
        await troupe.approve(waiting.run_id, 22, ok=True)
        outcome = await troupe.resume(waiting.run_id)

    assert outcome.status is RunStatus.SUCCESS
    assert sorted(played.order) == [1, 3, 4, 21, 22, 23]


async def test_a_question_about_a_step_with_elements_is_asked_once(autojump_clock) -> None:
    played = Stage()
    async with open_stage(played) as troupe:
        waiting = await troupe.run_plan([step(1, for_each=[1, 2, 3], approval=True)])
        assert [question.step for question in waiting.questions] == [1]
        await troupe.approve(waiting.run_id, 1, ok=True)
        outcome = await troupe.resume(waiting.run_id)

    assert outcome.ok
    assert played.order == [1, 1, 1]


async def test_nobody_is_asked_about_a_step_that_will_not_run(autojump_clock) -> None:
    """Its condition is false, or what it needs has failed."""
    played = Stage()
    played.fail_times[1] = FOREVER
    plan = [step(1, critical=False), step(2, 1, approval=True), step(3, approval=True, condition=False)]
    async with open_stage(played) as troupe:
        outcome = await troupe.run_plan(plan)

    assert outcome.status is RunStatus.SUCCESS_WITH_FAILURES
    assert outcome.questions == ()
    assert statuses(outcome) == {1: "failed", 2: "skipped", 3: "skipped"}


# ------------------------------------------------------------------ waiting here
async def live(troupe: Troupe, plan: object, nursery: trio.Nursery) -> list[Outcome]:
    """A run beside the test; gives the list that its outcome comes into."""
    outcomes: list[Outcome] = []

    async def go() -> None:
        outcomes.append(await troupe.run_plan(plan))

    nursery.start_soon(go)
    await trio.testing.wait_all_tasks_blocked()
    return outcomes


async def the_run(journal: MemoryJournal) -> str:
    return (await journal.runs())[-1]


async def test_while_a_person_thinks_everything_else_runs_on(autojump_clock) -> None:
    """With one slot, which the question does not hold."""
    played, journal = stage(), MemoryJournal()
    played.seconds.update({3: 5.0, 4: 5.0})
    sections = {**PATIENT, **parallel(max_parallel_steps=1)}
    async with opened([played.tool("work")], journal=journal, **sections) as troupe, trio.open_nursery() as nursery:
        outcomes = await live(troupe, PLAN, nursery)
        await trio.sleep(7)
        run_id = await the_run(journal)
        assert 3 in dict(played.ended)
        await troupe.approve(run_id, 2, ok=True)
        await trio.sleep(10)
        assert 2 in dict(played.ended)
        await troupe.approve(run_id, 5, ok=True)
        await trio.sleep(100)
        assert 5 in dict(played.ended)
        assert 7 not in played.order
        await troupe.approve(run_id, 6, ok=True)
        await trio.testing.wait_all_tasks_blocked()

        [outcome] = outcomes
    assert outcome.status is RunStatus.SUCCESS
    assert outcome.steps[6].waits["approval"] == pytest.approx(117.0)
    assert outcome.steps[6].ended == pytest.approx(117.0)
    assert sorted(played.order) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_run_waits_so_long_and_is_suspended_then(autojump_clock) -> None:
    """`run.approval_wait`, from the moment on in which there is nothing else to do."""
    played = stage()
    played.seconds[4] = 50.0
    async with open_stage(played, run={"approval_wait": 20.0}) as troupe:
        outcome = await troupe.run_plan(PLAN)

    assert outcome.status is RunStatus.WAITING
    assert trio.current_time() == 70.0


@pytest.mark.parametrize("inside", [False, True])
async def test_with_a_barrier_a_run_waits_for_a_person_and_not_for_its_deadline(inside, autojump_clock) -> None:
    """Was: what the barrier keeps back counted as going on, so the run was never suspended and failed in the end."""
    played = stage()
    steps = [step(1, approval=True), step(2), step(3, 2), step(4, 3)]
    plan = [{"id": 9, "plan": steps}, step(10, 9)] if inside else steps
    async with open_stage(played, **parallel(level_barrier=True)) as troupe:
        outcome = await troupe.run_plan(plan)
        assert outcome.status is RunStatus.WAITING
        assert played.order == [2]
        assert trio.current_time() == 0.0

        await troupe.approve(outcome.run_id, 1, ok=True)
        outcome = await troupe.resume(outcome.run_id)

    assert outcome.status is RunStatus.SUCCESS
    assert played.order == [2, 1, 3, 4, *([10] if inside else [])]


async def test_with_a_barrier_the_next_level_starts_when_the_person_has_answered(autojump_clock) -> None:
    played, journal = stage(), MemoryJournal()
    plan = [step(1, approval=True), step(2), step(3, 2), step(4, approval=True)]
    sections = {**PATIENT, **parallel(level_barrier=True)}
    async with opened([played.tool("work")], journal=journal, **sections) as troupe, trio.open_nursery() as nursery:
        outcomes = await live(troupe, plan, nursery)
        run_id = await the_run(journal)
        await trio.sleep(100)
        await troupe.approve(run_id, 4, ok=True)
        await trio.sleep(100)
        assert played.order == [2, 4]
        await troupe.approve(run_id, 1, ok=False)

    [outcome] = outcomes
    assert outcome.steps[3].started == 200.0
    assert statuses(outcome) == {1: "failed", 2: "ok", 3: "ok", 4: "ok"}


async def test_a_cancelled_run_asks_nothing_any_more(autojump_clock) -> None:
    played, journal = stage(), MemoryJournal()
    async with opened([played.tool("work")], journal=journal, **PATIENT) as troupe:
        with trio.move_on_after(3):
            await troupe.run_plan(PLAN)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NotWaiting):
            await troupe.approve(await the_run(journal), 2, ok=True)


# ------------------------------------------------------------------ mistakes
async def test_answers_to_what_nobody_asked_are_refused(autojump_clock) -> None:
    """Another step, another run, a second time, after the end."""
    played = stage()
    async with open_stage(played) as troupe:
        waiting = await troupe.run_plan([step(1), step(2, 1, approval=True)])
        with pytest.raises(UnknownRun):
            await troupe.approve("run-nobody", 2, ok=True)
        for wrong in (1, 99):
            with pytest.raises(NotWaiting, match="2"):
                await troupe.approve(waiting.run_id, wrong, ok=True)
        await troupe.approve(waiting.run_id, 2, ok=True)
        with pytest.raises(NotWaiting):
            await troupe.approve(waiting.run_id, 2, ok=False)
        outcome = await troupe.resume(waiting.run_id)
        with pytest.raises(NotWaiting):
            await troupe.approve(waiting.run_id, 2, ok=False)
        with pytest.raises(UnknownRun):
            await troupe.resume()
        assert await troupe.resume(waiting.run_id) == outcome

    assert outcome.status is RunStatus.SUCCESS
    assert played.order == [1, 2]


async def test_a_resume_without_an_answer_asks_again_and_runs_nothing(autojump_clock) -> None:
    played = stage()
    async with open_stage(played) as troupe:
        waiting = await troupe.run_plan(PLAN)
        again = await troupe.resume(waiting.run_id)

    assert (again.status, again.questions) == (RunStatus.WAITING, waiting.questions)
    assert sorted(played.order) == [1, 3, 4]


async def test_an_approved_step_may_still_fail_be_retried_and_fall_back(autojump_clock) -> None:
    """It is asked about once, not at each attempt."""
    played = stage()
    played.fail_times[2] = 2
    plan = [step(1), step(2, 1, approval=True, max_retries=3, retry_backoff_s=1)]
    async with open_stage(played) as troupe:
        waiting = await troupe.run_plan(plan)
        await troupe.approve(waiting.run_id, 2, ok=True)
        outcome = await troupe.resume(waiting.run_id)

    assert outcome.steps[2].status is StepStatus.OK
    assert outcome.steps[2].attempts == 3


async def test_nothing_is_undone_while_a_person_is_asked(autojump_clock) -> None:
    """A failed sibling: the run has not failed before the question is answered."""
    played = Stage({"1": {"booking": "B"}})
    played.fail_times[3] = FOREVER
    undo = {"action": "undo", "parameters": {"booking": "$step1.booking"}}
    plan = [step(1, compensate=undo), step(2, 1, approval=True), step(3)]
    async with opened([played.tool("work", Effect.KEYED), played.tool("undo", Effect.KEYED)]) as troupe:
        waiting = await troupe.run_plan(plan)
        assert waiting.status is RunStatus.WAITING
        assert "undo" not in {call.action for call in played.calls}
        await troupe.approve(waiting.run_id, 2, ok=True)
        outcome = await troupe.resume(waiting.run_id)

    assert outcome.status is RunStatus.FAILED
    assert [call.parameters for call in played.calls if call.action == "undo"] == [{"booking": "B"}]


async def test_a_sub_plan_that_waits_too_long_for_a_person_has_failed_and_nothing_else_has(autojump_clock) -> None:
    """Its time is over, its question is nobody's any more, and a step beside it is not disturbed."""
    played = Stage()
    played.seconds[7] = 2.0
    plan = [
        {"id": 1, "timeout_s": 0.5, "critical": False, "plan": [step(2, approval=True)]},
        step(3, 1),
        step(7),
        step(8, 7),
    ]
    async with open_stage(played) as troupe:
        outcome = await troupe.run_plan(plan)

    assert outcome.status is RunStatus.SUCCESS_WITH_FAILURES
    assert statuses(outcome) == {1: "failed", 3: "skipped", 7: "ok", 8: "ok"}
    assert outcome.steps[1].error.kind == "timeout"
    assert outcome.questions == ()


async def test_a_step_that_was_declined_is_not_asked_about_again_by_a_retry(autojump_clock) -> None:
    """The sub-plan that it is in may be retried, but no is no."""
    played = Stage()
    plan = [{"id": 1, "max_retries": 3, "retry_backoff_s": 0, "plan": [step(2, approval=True)]}]
    async with open_stage(played) as troupe:
        waiting = await troupe.run_plan(plan)
        await troupe.approve(waiting.run_id, 2, ok=False)
        outcome = await troupe.resume(waiting.run_id)

    assert outcome.status is RunStatus.FAILED
    assert outcome.questions == ()
    assert played.order == []


async def test_a_step_that_was_approved_is_not_asked_about_again_by_a_retry(autojump_clock) -> None:
    played = Stage()
    played.fail_times[2] = 1
    plan = [{"id": 1, "max_retries": 3, "retry_backoff_s": 0, "plan": [step(2, approval=True)]}]
    async with open_stage(played) as troupe:
        waiting = await troupe.run_plan(plan)
        await troupe.approve(waiting.run_id, 2, ok=True)
        outcome = await troupe.resume(waiting.run_id)

    assert outcome.status is RunStatus.SUCCESS
    assert played.order == [2, 2]
