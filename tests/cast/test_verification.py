"""What a verdict does to a run: whom it blocks, what it marks, when it is planned again, how long it is waited for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio

from tests.execution.stage import opened, statuses
from trouper import Checked, Effect, RunStatus, StepStatus, Tool, ToolContext, VerdictKind, tool
from trouper.actors.records import VerdictGiven
from trouper.actors.secrets import MARK
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.runtime import MemoryJournal


class Lab:
    """A tool `measure` whose check says what it is told to and takes its time; `use` and `other` have no check."""

    def __init__(self, checked: object = None, *, seconds: float = 0.0) -> None:
        self.checked = Checked((), ("measured again",)) if checked is None else checked
        self.seconds = seconds
        self.calls: list[str] = []
        self.began: dict[str, float] = {}
        self.seen: list[tuple[Mapping[str, object], object]] = []

    def tools(self) -> list[Tool]:
        async def look(parameters: Mapping[str, object], result: object, evidence: object) -> object:
            self.seen.append((dict(parameters), result))
            await trio.sleep(self.seconds)
            if isinstance(self.checked, Exception):
                raise self.checked
            return self.checked

        def note(name: str) -> dict[str, object]:
            self.calls.append(name)
            self.began.setdefault(name, trio.current_time())
            return {"name": name}

        @tool(effect=Effect.PURE, verify=look)  # type: ignore[arg-type]  # some tests give back what no check may
        async def measure(**parameters: object) -> dict[str, object]:
            return note("measure")

        @tool(effect=Effect.PURE)
        async def use(**parameters: object) -> dict[str, object]:
            return note("use")

        @tool(effect=Effect.PURE)
        async def other(**parameters: object) -> dict[str, object]:
            return note("other")

        return [measure, use, other]


def plan(critical: bool | None = None) -> list[dict[str, object]]:
    first: dict[str, object] = {"id": 1, "action": "measure"}
    if critical is not None:
        first["critical"] = critical
    return [
        first,
        {"id": 2, "action": "use", "parameters": {"of": "$step1.name"}},
        {"id": 3, "action": "other"},
    ]


WRONG = Checked(("it measures 7",), ("measured again",))
UNSURE = Checked((), ("measured again",), confidence=0.5)
HALF_WRONG = Checked(("it may measure 7",), ("measured again",), confidence=0.5)


# ------------------------------------------------------------------ critical steps
async def test_the_dependants_of_a_critical_step_wait_for_its_verdict_and_nothing_else_does(autojump_clock) -> None:
    lab = Lab(seconds=5.0)
    async with opened(lab.tools()) as troupe:
        began = trio.current_time()
        outcome = await troupe.run_plan(plan(critical=True))

        assert outcome.status is RunStatus.SUCCESS
        assert (lab.began["other"] - began, lab.began["use"] - began) == (0.0, 5.0)
        assert outcome.steps[1].waits["verifier"] == 5.0


async def test_waiting_for_a_verdict_holds_no_slot(autojump_clock) -> None:
    lab = Lab(seconds=5.0)
    one_slot = {"parallel_execution": {"max_parallel_steps": 1}}
    async with opened(lab.tools(), performance=one_slot) as troupe:
        began = trio.current_time()
        await troupe.run_plan(plan(critical=True))

        assert (lab.began["other"] - began, lab.began["use"] - began) == (0.0, 5.0)


async def test_a_refuted_critical_step_has_failed_and_its_dependants_never_start(autojump_clock) -> None:
    lab = Lab(WRONG)
    async with opened(lab.tools()) as troupe:
        outcome = await troupe.run_plan(plan(critical=True))

    assert outcome.status is RunStatus.FAILED
    assert statuses(outcome) == {1: "failed", 2: "skipped", 3: "ok"}
    assert (outcome.steps[1].error.kind, outcome.steps[2].cause) == ("refuted", 1)
    assert "it measures 7" in outcome.steps[1].error.message
    assert "use" not in lab.calls


async def test_a_critical_step_whose_verdict_cannot_be_had_has_failed(autojump_clock) -> None:
    """Closed, not open: a verifier that does not answer vouches for nothing."""
    lab = Lab(seconds=1000.0)
    async with opened(lab.tools(), verifier={"timeout": 3.0}) as troupe:
        began = trio.current_time()
        outcome = await troupe.run_plan(plan(critical=True), timeout=100)

        assert trio.current_time() - began == pytest.approx(3.0, abs=0.1)
    assert statuses(outcome) == {1: "failed", 2: "skipped", 3: "ok"}
    assert outcome.steps[1].error.kind == "unverified"
    assert "use" not in lab.calls


@pytest.mark.parametrize("crash", [ZeroDivisionError("x"), "not a verdict"])
@pytest.mark.parametrize("inside", [False, True])
async def test_a_check_that_fails_itself_refutes_nothing_and_vouches_for_nothing(autojump_clock, crash, inside) -> None:
    """There is a check, and it has no answer: that is not the same as a tool without one. Also of an element."""
    for critical in (None, True):
        lab = Lab(crash)
        steps = plan(critical)
        if inside:
            steps[0]["for_each"] = [1, 2]
            steps[1]["parameters"] = {"of": "$step1"}
        async with opened(lab.tools()) as troupe:
            outcome = await troupe.run_plan(steps)

        assert outcome.status is (RunStatus.FAILED if critical else RunStatus.SUCCESS)
        assert ("use" in lab.calls) is (critical is None)
        assert outcome.verdicts[1].verdict is VerdictKind.UNVERIFIABLE
        assert outcome.verdicts[1].problems != ()
        if critical:
            assert outcome.steps[1].error.kind == "unverified"
            assert outcome.verdicts[1].problems[0] in outcome.steps[1].error.message


async def test_a_check_that_may_not_see_a_secret_blocks_nobody(autojump_clock) -> None:
    """It cannot agree, through no fault of anybody's; that is as if there were no check."""
    lab = Lab(WRONG)
    steps = plan(critical=True)
    steps[0]["parameters"] = {"url": "postgres://ann:hunter2@host/db"}
    async with opened(lab.tools()) as troupe:
        outcome = await troupe.run_plan(steps)

    assert outcome.status is RunStatus.SUCCESS
    assert outcome.verdicts[1].verdict is VerdictKind.UNVERIFIABLE
    assert "use" in lab.calls


async def test_a_critical_plan_of_its_own_needs_the_verdicts_inside_it(autojump_clock) -> None:
    """Was: one that could not be had in time inside it was passed over."""
    lab = Lab(seconds=1000.0)
    steps = [{"id": 1, "critical": True, "plan": [{"id": 11, "action": "measure"}]}, *plan()[1:]]
    steps[1] = {"id": 2, "action": "use", "dependencies": [1]}
    async with opened(lab.tools(), verifier={"timeout": 3.0}) as troupe:
        outcome = await troupe.run_plan(steps, timeout=100)

    assert statuses(outcome) == {1: "failed", 2: "skipped", 3: "ok"}
    assert outcome.steps[1].error.kind == "unverified"


# ------------------------------------------------------------------ behind
async def test_any_other_step_is_looked_at_beside_the_run_and_its_verdict_is_in_the_answer(autojump_clock) -> None:
    lab = Lab(seconds=5.0)
    async with opened(lab.tools()) as troupe:
        began = trio.current_time()
        outcome = await troupe.run_plan(plan())

        assert lab.began["use"] == began
        assert trio.current_time() - began == 5.0
    assert outcome.verdicts[1].verdict is VerdictKind.OK
    assert (outcome.verdicts[1].confidence, outcome.doubts) == (1.0, ())


async def test_a_refuted_step_fails_the_run_although_its_dependants_ran(autojump_clock) -> None:
    lab = Lab(WRONG, seconds=5.0)
    async with opened(lab.tools()) as troupe:
        outcome = await troupe.run_plan(plan())

    assert outcome.status is RunStatus.FAILED
    assert (outcome.steps[1].status, outcome.steps[1].error.kind) == (StepStatus.FAILED, "refuted")
    assert outcome.steps[2].status is StepStatus.OK
    assert outcome.steps[1].result == {"name": "measure"}  # kept, to look at


@pytest.mark.parametrize("refers", [True, False])
@pytest.mark.parametrize("plain", [True, False])
async def test_what_has_not_begun_when_a_step_is_refuted_is_skipped_behind_it(autojump_clock, plain, refers) -> None:
    """Was: it ran on what nobody believed any more, or failed because the result was not to be found."""
    used: list[int] = []

    @tool(effect=Effect.PURE)
    async def wait(seconds: int) -> dict[str, object]:
        await trio.sleep(seconds)
        return {"v": 1}

    @tool(effect=Effect.PURE, name="last")
    async def last_plain(n: int, of: str = "") -> dict[str, object]:
        used.append(n)
        return {"v": 1}

    @tool(effect=Effect.PURE, name="last")
    async def last_slow(n: int, ctx: ToolContext, of: str = "") -> dict[str, object]:
        used.append(n)
        return {"v": 1}

    of = {"of": "$step1.name"} if refers else {}
    steps = [
        {"id": 1, "action": "measure"},
        {"id": 2, "action": "wait", "parameters": {"seconds": 5}},
        {"id": 3, "action": "last", "parameters": {"n": 3, **of}, "dependencies": [1, 2]},
        {"id": 4, "action": "last", "parameters": {"n": 4}, "dependencies": [3]},
        {"id": 5, "action": "last", "parameters": {"n": 5}, "dependencies": [2]},
        {"id": 6, "action": "last", "parameters": {"n": 6}, "dependencies": [1, 2], "join": "any"},
        {"id": 7, "action": "wait", "parameters": {"seconds": 5}, "dependencies": [1]},
        {"id": 8, "action": "last", "parameters": {"n": 8}, "dependencies": [7]},
        {"id": 9, "action": "wait", "parameters": {"seconds": 5}, "dependencies": [1], "join": "any"},
        {"id": 10, "action": "last", "parameters": {"n": 10}, "dependencies": [9]},
    ]
    lab = Lab(WRONG, seconds=1.0)
    async with opened([*lab.tools(), wait, last_plain if plain else last_slow]) as troupe:
        outcome = await troupe.run_plan(steps)

    assert outcome.status is RunStatus.FAILED
    skipped = {3: 1, 4: 3, 8: 1}  # 8 stands on 1 through 7, which had begun before the verdict
    assert statuses(outcome) == {n: "failed" if n == 1 else "skipped" if n in skipped else "ok" for n in range(1, 11)}
    assert {n: (outcome.steps[n].reason, outcome.steps[n].cause) for n in skipped} == {
        n: ("dependency", cause) for n, cause in skipped.items()
    }
    assert "refuted" in outcome.steps[3].error.message
    assert sorted(used) == [5, 6, 10]


async def test_a_refuted_step_that_may_fail_fails_nobody_else(autojump_clock) -> None:
    lab = Lab(WRONG)
    async with opened(lab.tools()) as troupe:
        outcome = await troupe.run_plan(plan(critical=False))

    assert outcome.status is RunStatus.SUCCESS_WITH_FAILURES
    assert outcome.steps[1].status is StepStatus.FAILED


async def test_the_answer_waits_for_verdicts_no_longer_than_the_bound(autojump_clock) -> None:
    """Ten checks that hang: one bound for all of them, not one each; who has no verdict is told."""
    lab = Lab(seconds=1000.0)
    many = [{"id": n, "action": "measure"} for n in range(1, 11)]
    async with opened(lab.tools(), verifier={"timeout": 3.0}) as troupe:
        began = trio.current_time()
        outcome = await troupe.run_plan(many, timeout=100)

        assert trio.current_time() - began == pytest.approx(3.0, abs=0.1)
    assert outcome.status is RunStatus.SUCCESS
    assert {v.verdict for v in outcome.verdicts.values()} == {VerdictKind.UNVERIFIABLE}
    assert len(outcome.verdicts) == 10
    assert "could not be asked in time" in outcome.verdicts[10].problems[0]


async def test_every_verdict_is_in_the_journal(autojump_clock) -> None:
    lab, journal = Lab(WRONG), MemoryJournal()
    async with opened(lab.tools(), journal=journal) as troupe:
        outcome = await troupe.run_plan(plan())
        records = await journal.read(outcome.run_id)

    told = {r.step: r.verdict.verdict for r in records if isinstance(r, VerdictGiven)}
    assert told[1] is VerdictKind.REFUTED
    assert told.items() <= {step: v.verdict for step, v in outcome.verdicts.items()}.items()


# ------------------------------------------------------------------ doubts
@pytest.mark.parametrize("checked", [UNSURE, HALF_WRONG], ids=["ok", "refuted"])
async def test_a_verdict_below_the_threshold_marks_the_outcome(autojump_clock, checked: Checked) -> None:
    lab = Lab(checked)
    async with opened(lab.tools(), verifier={"threshold": 0.8, "below_threshold": "mark"}) as troupe:
        outcome = await troupe.run_plan(plan())

    assert (outcome.status, outcome.doubts) == (RunStatus.SUCCESS, (1,))
    assert outcome.as_json()["doubts"] == [1]


@pytest.mark.parametrize("checked", [UNSURE, HALF_WRONG], ids=["ok", "refuted"])
@pytest.mark.parametrize("critical", [None, True])
async def test_a_verdict_below_the_threshold_counts_as_refuted_where_that_is_wanted(
    autojump_clock, checked: Checked, critical
) -> None:
    lab = Lab(checked)
    async with opened(lab.tools(), verifier={"threshold": 0.8, "below_threshold": "replan"}) as troupe:
        outcome = await troupe.run_plan(plan(critical))

    assert outcome.status is RunStatus.FAILED
    assert outcome.steps[1].error.kind == "refuted"
    assert ("use" in lab.calls) == (critical is None)


async def test_a_verdict_at_the_threshold_is_no_doubt(autojump_clock) -> None:
    lab = Lab(UNSURE)
    async with opened(lab.tools(), verifier={"threshold": 0.5, "below_threshold": "replan"}) as troupe:
        outcome = await troupe.run_plan(plan())

    assert (outcome.status, outcome.doubts) == (RunStatus.SUCCESS, ())


async def test_what_nobody_could_check_is_no_doubt(autojump_clock) -> None:
    """Else each step of a tool without a check would be one."""
    lab = Lab()
    async with opened(lab.tools(), verifier={"below_threshold": "replan"}) as troupe:
        outcome = await troupe.run_plan([{"id": 1, "action": "other"}])

    assert outcome.verdicts[1].verdict is VerdictKind.UNVERIFIABLE
    assert (outcome.status, outcome.doubts) == (RunStatus.SUCCESS, ())


@pytest.mark.parametrize("checked", [WRONG, UNSURE], ids=["refuted", "doubtful"])
async def test_a_verdict_behind_the_run_makes_the_planner_plan_again(autojump_clock, checked: Checked) -> None:
    lab = Lab(checked)
    first = '{"steps": [{"id": 1, "action": "measure", "parameters": {}}]}'
    second = '{"steps": [{"id": 2, "action": "other", "parameters": {}}]}'
    settings = {"verifier": {"below_threshold": "replan"}}
    async with opened(lab.tools(), llm=ScriptedModel([first, second]), **settings) as troupe:
        outcome = await troupe.execute("Measure the length of the table and tell it")

    assert outcome.status is RunStatus.SUCCESS
    assert lab.calls == ["measure", "other"]
    assert [replan.failed[1].error.kind for replan in outcome.replans] == ["refuted"]


# ------------------------------------------------------------------ off, and secrets
async def test_verification_that_is_not_in_the_background_is_awaited_and_not_left_out(autojump_clock) -> None:
    lab = Lab(seconds=5.0)
    off = {"background_tasks": {"verification": False}}
    async with opened(lab.tools(), performance=off) as troupe:
        began = trio.current_time()
        outcome = await troupe.run_plan(plan())

        assert lab.began["use"] - began == 5.0
    assert outcome.verdicts[1].verdict is VerdictKind.OK


async def test_without_a_verifier_the_declared_output_is_the_verdict(autojump_clock) -> None:
    lab = Lab(WRONG)
    async with opened(lab.tools(), verifier={"enabled": False}) as troupe:
        outcome = await troupe.run_plan(plan(critical=True))

    assert (outcome.status, lab.seen) == (RunStatus.SUCCESS, [])
    assert outcome.verdicts[1].checks == ("the tool's declared output",)


async def test_the_verifier_never_sees_a_secret_nor_anything_of_other_steps(autojump_clock, monkeypatch) -> None:
    """The tool gets the password; the check gets a mark, and one for the key of the model too."""
    monkeypatch.setenv("OPENAI_API_KEY", "s3cr3t-key")
    lab = Lab()
    given = {"user": "ann", "password": "hunter2", "q": "say s3cr3t-key"}
    async with opened(lab.tools()) as troupe:
        outcome = await troupe.run_plan(
            [
                {"id": 1, "action": "measure", "parameters": given},
                {"id": 2, "action": "other", "parameters": {"note": "of another"}},
            ]
        )

    assert outcome.steps[1].parameters == given
    assert lab.seen == [({"user": "ann", "password": MARK, "q": f"say {MARK}"}, {"name": "measure"})]


# ------------------------------------------------------------------ inside a sub-plan
INSIDE = [{"id": 1, "plan": [{"id": 11, "action": "measure"}]}, {"id": 2, "action": "use", "dependencies": [1]}]


async def test_a_verdict_inside_a_sub_plan_holds_up_nothing_but_the_answer(autojump_clock) -> None:
    lab = Lab(seconds=5.0)
    async with opened(lab.tools()) as troupe:
        outcome = await troupe.run_plan(INSIDE)

    assert lab.began["use"] == 0.0
    assert trio.current_time() == 5.0
    assert outcome.status is RunStatus.SUCCESS


async def test_a_step_that_is_refuted_inside_takes_the_step_around_it_along(autojump_clock) -> None:
    """Also when that one had ended well already."""
    lab = Lab(WRONG, seconds=5.0)
    async with opened(lab.tools()) as troupe:
        outcome = await troupe.run_plan(INSIDE)

    assert outcome.status is RunStatus.FAILED
    assert outcome.steps[1].error is not None
    assert outcome.steps[1].error.kind == outcome.steps[1].steps[11].error.kind == "refuted"


@pytest.mark.parametrize("plain", [True, False])
async def test_a_verdict_on_a_call_that_was_not_ended_is_not_one_on_the_next(autojump_clock, plain) -> None:
    """The program was killed between the verdict and the end of its step; the step runs again and is looked at."""
    given: list[object] = ["seven", 7]

    @tool(effect=Effect.PURE)
    async def count() -> int:
        return given.pop(0)  # type: ignore[return-value]  # the first is what it declares not

    steps = [{"id": 1, "action": "count", **({} if plain else {"timeout_s": 5})}]
    journal, killed = MemoryJournal(), MemoryJournal()
    async with opened([count], journal=journal) as troupe:
        first = await troupe.run_plan(steps)
    assert (first.steps[1].error.kind, first.verdicts[1].verdict) == ("refuted", VerdictKind.REFUTED)
    for record in await journal.read(first.run_id):
        killed.append(record)
        if isinstance(record, VerdictGiven):
            break

    async with opened([count], journal=killed) as troupe:
        outcome = await troupe.resume(first.run_id)

    assert (outcome.status, outcome.steps[1].result) == (RunStatus.SUCCESS, 7)
    assert outcome.verdicts[1].verdict is not VerdictKind.REFUTED
