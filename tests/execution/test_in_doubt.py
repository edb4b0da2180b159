"""A program is killed with a ONCE tool in hand: what its run is then, who decides, and what follows from that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

import pytest
import trio
import trio.testing

from tests.execution.stage import FOREVER, Stage, opened, statuses
from trouper import Effect, Outcome, RunStatus, StepStatus, Tool, ToolContext, VerdictKind, tool
from trouper.actors.run_history import history_of
from trouper.runtime import MemoryJournal, NotWaiting

PLAN: list[dict[str, object]] = [
    {"id": 1, "action": "look"},
    {"id": 2, "action": "send", "dependencies": [1]},
    {"id": 3, "action": "look", "parameters": {"of": "$step2.receipt"}},
    {"id": 4, "action": "look"},
]
SENT = {"receipt": 7}

Reconcile = Callable[[Mapping[str, object], str], Awaitable[object]]


def chest(stage: Stage, reconcile: Reconcile | None = None) -> list[Tool]:
    @tool(reconcile=reconcile)
    async def send(ctx: ToolContext, **parameters: object) -> object:
        await stage.work("send", ctx, parameters)
        return SENT

    return [send, stage.tool("look", Effect.PURE)]


async def killed(plan: object, hangs: Iterable[int]) -> MemoryJournal:
    """The journal of a program that was killed while these steps hung."""
    stage, journal, left = Stage(), MemoryJournal(), MemoryJournal()
    stage.seconds.update(dict.fromkeys(hangs, float(FOREVER)))
    async with opened(chest(stage), journal=journal) as troupe, trio.open_nursery() as nursery:
        nursery.start_soon(troupe.run_plan, plan)
        await trio.sleep(5)
        [run_id] = await journal.runs()
        for record in await journal.read(run_id):
            left.append(record)
        nursery.cancel_scope.cancel()
    return left


class Next:
    """The program that goes on: each resume in a troupe of its own."""

    def __init__(self, journal: MemoryJournal, reconcile: Reconcile | None = None) -> None:
        self.stage = Stage()
        self.journal = journal
        self._reconcile = reconcile

    async def resume(self) -> Outcome:
        async with opened(chest(self.stage, self._reconcile), journal=self.journal) as troupe:
            return await troupe.resume()

    async def approve(self, step: int | str, *, ok: bool, result: object = None) -> None:
        async with opened(chest(self.stage), journal=self.journal) as troupe:
            [run_id] = await self.journal.runs()
            await troupe.approve(run_id, step, ok, "a note", result=result)

    @property
    def sent(self) -> int:
        return sum(call.action == "send" for call in self.stage.calls)


async def test_it_is_in_doubt_until_somebody_decides_and_everything_else_runs_on(autojump_clock) -> None:
    program = Next(await killed(PLAN, [2]))
    outcome = await program.resume()

    assert outcome.status is RunStatus.IN_DOUBT
    assert statuses(outcome) == {1: "ok", 2: "in_doubt", 3: "waiting", 4: "ok"}
    assert outcome.steps[2].in_doubt
    [question] = outcome.questions
    assert (question.step, question.address, question.doubt) == (2, "2", True)
    assert question.question == "Step 2 (send) was in hand with {} when the program ended. Has it happened?"
    assert program.sent == 0

    again = await program.resume()
    assert (again.status, again.questions) == (RunStatus.IN_DOUBT, outcome.questions)


async def test_what_has_happened_is_done_with_the_result_that_was_told_and_is_not_done_again(autojump_clock) -> None:
    program = Next(await killed(PLAN, [2]))
    await program.resume()
    await program.approve(2, ok=True, result={"receipt": 9})
    outcome = await program.resume()

    assert (outcome.status, outcome.steps[2].result, program.sent) == (RunStatus.SUCCESS, {"receipt": 9}, 0)
    assert outcome.steps[3].parameters == {"of": 9}
    assert outcome.verdicts[2].verdict is VerdictKind.OK
    assert outcome.verdicts[2].checks == ("a person says that it has happened",)
    assert not outcome.steps[2].in_doubt


async def test_without_a_result_what_needs_one_fails_and_nothing_is_repeated(autojump_clock) -> None:
    program = Next(await killed(PLAN, [2]))
    await program.approve(2, ok=True)
    outcome = await program.resume()

    assert statuses(outcome) == {1: "ok", 2: "ok", 3: "failed", 4: "ok"}
    assert program.sent == 0


async def test_what_has_not_happened_is_done_now_and_once(autojump_clock) -> None:
    program = Next(await killed(PLAN, [2]))
    await program.resume()
    await program.approve(2, ok=False)
    outcome = await program.resume()

    assert (outcome.status, outcome.steps[2].result, program.sent) == (RunStatus.SUCCESS, SENT, 1)


async def test_a_person_may_decide_before_anybody_goes_on(autojump_clock) -> None:
    program = Next(await killed(PLAN, [2]))
    await program.approve(2, ok=False)
    outcome = await program.resume()

    assert (outcome.status, program.sent) == (RunStatus.SUCCESS, 1)


async def test_a_run_in_doubt_asks_about_nothing_else(autojump_clock) -> None:
    program = Next(await killed(PLAN, [2]))
    for step in (1, 3, 99, "2.0"):
        with pytest.raises(NotWaiting, match="it asks about step 2"):
            await program.approve(step, ok=True)


async def test_killed_again_after_a_no_it_is_in_doubt_again(autojump_clock) -> None:
    """What was said of the first call says nothing of the second."""
    journal = await killed(PLAN, [2])
    program = Next(journal)
    await program.approve(2, ok=False)
    program.stage.seconds[2] = float(FOREVER)
    second = MemoryJournal()
    async with opened(chest(program.stage), journal=journal) as troupe, trio.open_nursery() as nursery:
        nursery.start_soon(troupe.resume)
        await trio.sleep(5)
        for record in await journal.read((await journal.runs())[0]):
            second.append(record)
        nursery.cancel_scope.cancel()
    outcome = await Next(second).resume()

    assert (outcome.status, statuses(outcome)[2]) == (RunStatus.IN_DOUBT, "in_doubt")


async def test_a_run_that_is_there_goes_on_at_once_when_it_is_said(autojump_clock) -> None:
    journal, stage = await killed(PLAN, [2]), Stage()
    outcomes: list[Outcome] = []

    async def resume(troupe) -> None:
        outcomes.append(await troupe.resume())

    opening = opened(chest(stage), journal=journal, run={"approval_wait": 100.0})
    async with opening as troupe, trio.open_nursery() as nursery:
        nursery.start_soon(resume, troupe)
        await trio.sleep(10)
        await troupe.approve((await journal.runs())[0], 2, ok=True, result=SENT)

    assert (outcomes[0].status, stage.order) == (RunStatus.SUCCESS, [3])


async def test_a_deadline_of_the_run_leaves_the_doubt_in_its_outcome(autojump_clock) -> None:
    program = Next(await killed([*PLAN, {"id": 5, "action": "look"}], [2, 5]))
    program.stage.seconds[5] = float(FOREVER)
    async with opened(chest(program.stage), journal=program.journal) as troupe:
        outcome = await troupe.resume(timeout=3)

    assert (outcome.status, outcome.error.kind) == (RunStatus.FAILED, "deadline")
    assert (outcome.steps[2].status, outcome.steps[2].in_doubt) == (StepStatus.IN_DOUBT, True)
    assert program.sent == 0


async def test_the_same_call_elsewhere_in_the_run_is_not_made_while_it_is_in_doubt(autojump_clock) -> None:
    plan = [{"id": 1, "action": "send"}, {"id": 2, "action": "look"}, {"id": 3, "action": "send", "dependencies": [2]}]
    program = Next(await killed(plan, [1, 2]))
    outcome = await program.resume()

    assert statuses(outcome) == {1: "in_doubt", 2: "ok", 3: "failed"}
    assert (outcome.steps[3].error.kind, program.sent) == ("in_doubt", 0)


async def test_the_history_of_a_killed_run_asks_already(autojump_clock) -> None:
    journal = await killed(PLAN, [2])
    history = history_of(await journal.read((await journal.runs())[0]))

    assert history is not None
    assert history.outcome.status is RunStatus.IN_DOUBT
    assert [question.address for question in history.outcome.questions] == ["2"]


# ------------------------------------------------------------------ the tool itself may know
@pytest.mark.parametrize(
    ("says", "status", "sent", "result"),
    [
        (SENT, RunStatus.SUCCESS, 0, SENT),
        (False, RunStatus.SUCCESS, 1, SENT),
        (None, RunStatus.IN_DOUBT, 0, None),
        (KeyError("a bug"), RunStatus.IN_DOUBT, 0, None),
        (TimeoutError, RunStatus.IN_DOUBT, 0, None),
    ],
    ids=["it has", "it has not", "cannot say", "raises", "hangs"],
)
async def test_the_reconcile_of_a_tool_decides_if_it_can(says, status, sent, result, autojump_clock) -> None:
    asked: list[tuple[Mapping[str, object], str]] = []

    async def reconcile(parameters: Mapping[str, object], key: str) -> object:
        asked.append((parameters, key))
        if isinstance(says, Exception):
            raise says
        if says is TimeoutError:
            await trio.sleep_forever()
        return says

    journal = await killed(PLAN, [2])
    program = Next(journal, reconcile)
    outcome = await program.resume()

    assert (outcome.status, program.sent, outcome.steps[2].result) == (status, sent, result)
    [run_id] = await journal.runs()
    assert asked == [({}, f"{run_id}:2")]


async def test_the_key_of_a_reconcile_is_the_one_that_the_tool_was_given(autojump_clock) -> None:
    plan = [{"id": 3, "action": "send", "for_each": ["a"], "parameters": {"to": "$item"}}]
    keys: list[str] = []

    async def reconcile(_: Mapping[str, object], key: str) -> object:
        keys.append(key)
        return False

    program = Next(await killed(plan, [3]), reconcile)
    await program.resume()

    assert keys == [program.stage.calls[0].key]


# ------------------------------------------------------------------ inside of steps
async def test_elements_have_addresses_and_are_decided_one_by_one(autojump_clock) -> None:
    plan = [{"id": 3, "action": "send", "for_each": ["a", "b"], "parameters": {"to": "$item"}}]
    program = Next(await killed(plan, [3]))
    outcome = await program.resume()

    assert statuses(outcome) == {3: "in_doubt"}
    assert [question.address for question in outcome.questions] == ["3.0", "3.1"]
    await program.approve("3.0", ok=True, result={"receipt": 1})
    assert (await program.resume()).status is RunStatus.IN_DOUBT
    await program.approve("3.1", ok=False)
    outcome = await program.resume()
    assert (outcome.status, outcome.steps[3].result) == (RunStatus.SUCCESS, [{"receipt": 1}, SENT])
    assert [call.parameters for call in program.stage.calls] == [{"to": "b"}]


async def test_a_step_of_a_sub_plan_in_an_element_has_an_address_of_its_own(autojump_clock) -> None:
    """Its id is there once for each element; the id alone is not enough then."""
    inner = [{"id": 7, "action": "send", "parameters": {"to": "$item"}}]
    plan = [{"id": 3, "plan": {"steps": inner, "output": "$step7"}, "for_each": ["a", "b"]}]
    program = Next(await killed(plan, [7]))
    outcome = await program.resume()

    assert [question.address for question in outcome.questions] == ["3.0.7", "3.1.7"]
    assert [question.as_json()["address"] for question in outcome.questions] == ["3.0.7", "3.1.7"]
    with pytest.raises(NotWaiting, match=r"asks about several steps 7: name one of 3\.0\.7, 3\.1\.7"):
        await program.approve(7, ok=True)
    await program.approve("3.1.7", ok=False)
    await program.approve(7, ok=True, result={"receipt": 1})  # the only one that is left
    outcome = await program.resume()
    assert (outcome.status, outcome.steps[3].result) == (RunStatus.SUCCESS, [{"receipt": 1}, SENT])
    assert [call.parameters for call in program.stage.calls] == [{"to": "b"}]


@pytest.mark.parametrize("live", [False, True], ids=["suspended", "there"])
async def test_an_approval_of_a_step_in_an_element_is_answered_by_its_address(live, autojump_clock) -> None:
    inner = [{"id": 7, "action": "look", "parameters": {"to": "$item"}, "approval": True}]
    plan = [{"id": 3, "plan": {"steps": inner}, "for_each": {"items": ["a", "b"], "on_failure": "continue"}}]
    stage, outcomes = Stage(), []
    wait = {"approval_wait": 100.0 if live else 0.0}
    journal = MemoryJournal()

    async def go(work: Callable[[], Awaitable[Outcome]]) -> None:
        outcomes.append(await work())

    async with opened(chest(stage), journal=journal, run=wait) as troupe:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(go, lambda: troupe.run_plan(plan))
            await trio.sleep(10)
            [run_id] = await journal.runs()
            await troupe.approve(run_id, "3.1.7", ok=True)
            await troupe.approve(run_id, "3.0.7", ok=False)
        if not live:
            assert [question.address for question in outcomes[0].questions] == ["3.0.7", "3.1.7"]
            await go(troupe.resume)

    assert [call.parameters for call in stage.calls] == [{"to": "b"}]
    assert [item.status.value for item in outcomes[-1].steps[3].items] == ["failed", "ok"]


async def test_elements_are_decided_while_the_run_is_there(autojump_clock) -> None:
    plan = [{"id": 3, "action": "send", "for_each": ["a", "b"], "parameters": {"to": "$item"}}]
    journal, stage = await killed(plan, [3]), Stage()
    outcomes: list[Outcome] = []

    async def resume(troupe) -> None:
        outcomes.append(await troupe.resume())

    opening = opened(chest(stage), journal=journal, run={"approval_wait": 100.0})
    async with opening as troupe, trio.open_nursery() as nursery:
        nursery.start_soon(resume, troupe)
        await trio.sleep(10)
        [run_id] = await journal.runs()
        for address in ("3.0", "3.1"):
            await troupe.approve(run_id, address, ok=True, result=SENT)
            await trio.sleep(1)

    assert (outcomes[0].status, outcomes[0].steps[3].result) == (RunStatus.SUCCESS, [SENT, SENT])
    assert stage.calls == []


async def test_a_tool_that_asks_for_nothing_is_in_doubt_like_any_other(autojump_clock) -> None:
    """Steps that need nothing but a call go a quicker way; not when they are in doubt."""
    calls: list[str] = []
    hangs = True

    @tool
    async def plain() -> str:
        calls.append("plain")
        if hangs:
            await trio.sleep_forever()
        return "done"

    journal, left = MemoryJournal(), MemoryJournal()
    async with opened([plain], journal=journal) as troupe, trio.open_nursery() as nursery:
        nursery.start_soon(troupe.run_plan, [{"id": 1, "action": "plain"}])
        await trio.sleep(5)
        for record in await journal.read((await journal.runs())[0]):
            left.append(record)
        nursery.cancel_scope.cancel()
    hangs = False
    async with opened([plain], journal=left) as troupe:
        outcome = await troupe.resume()

    assert (outcome.status, calls) == (RunStatus.IN_DOUBT, ["plain"])


@pytest.mark.parametrize(("to", "sent"), [("ann", 1), ("bob", 2)])
async def test_a_fallback_does_not_make_the_call_that_is_in_doubt_again(to, sent, autojump_clock) -> None:
    """Written into the plan or not: the same call twice could be the effect twice. Another call is made."""
    stage = Stage()
    stage.seconds[1] = 9.0
    plan = [
        {
            "id": 1,
            "action": "send",
            "parameters": {"to": "ann"},
            "timeout_s": 1,
            "fallback": {"action": "send", "parameters": {"to": to}},
        },
        {"id": 2, "action": "look"},
    ]
    async with opened(chest(stage)) as troupe:
        outcome = await troupe.run_plan(plan)

    assert statuses(outcome) == {1: "failed", 2: "ok"}
    assert (outcome.steps[1].in_doubt, outcome.steps[1].fallback) == (True, False)
    assert sum(call.action == "send" for call in stage.calls) == sent
