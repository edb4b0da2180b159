"""Random plans in which everything may come together, and what is true of every run of every plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import trio

from tests.execution.stage import Stage
from trouper import Checked, Effect, Outcome, StepOutcome, StepStatus, Tool, ToolContext, ToolError, tool
from trouper.actors.records import ApprovalAsked, ApprovalGiven, RunEnded, RunStarted, StepEnded, StepStarted
from trouper.actors.replay import replay
from trouper.runtime import Record

EFFECTS = {"pure": Effect.PURE, "keyed": Effect.KEYED, "once": Effect.ONCE, "capped": Effect.PURE, "wrong": Effect.PURE}
CAP = 2


def tools(stage: Stage) -> list[Tool]:
    """What the plans call: the plan says how long it takes and how often it fails."""

    async def look(parameters: object, result: object, evidence: object) -> Checked:
        await trio.sleep(1)
        return Checked(("it is not so",) if stage.liar else (), ("looked",))

    def make(name: str) -> Tool:
        @tool(
            name=name,
            effect=EFFECTS[name],
            max_concurrency=CAP if name == "capped" else None,
            verify=look if name == "wrong" else None,
        )
        async def work(ctx: ToolContext, seconds: int = 0, fails: int = 0, **rest: object) -> dict[str, object]:
            stage.seconds[ctx.step_id] = seconds
            stage.kinds[name] += 1
            stage.most_of[name] = max(stage.most_of[name], stage.kinds[name])
            try:
                await stage.work(name, ctx, rest)
            finally:
                stage.kinds[name] -= 1
            if ctx.attempt <= fails:
                raise ToolError("no")
            return {"step": ctx.step_id, "items": [1, 2], "rest": rest}

        return work

    return [make(name) for name in EFFECTS]


class Watched(Stage):
    """A stage that also counts calls by tool."""

    def __init__(self, *, liar: bool = False) -> None:
        super().__init__()
        self.liar = liar
        self.kinds: Counter[str] = Counter()
        self.most_of: Counter[str] = Counter()


class Writer:
    """Writes random plans that are valid."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.number = 0

    def plan(self, most: int = 8) -> list[dict[str, object]]:
        return self._steps(self.chance.randint(1, most), (), 0)

    def _steps(self, count: int, outer: tuple[int, ...], depth: int) -> list[dict[str, object]]:
        steps: list[dict[str, object]] = []
        known: list[int] = []
        for _ in range(count):
            step = self._step(outer, known, depth)
            known.append(step["id"])
            steps.append(step)
        if depth == 0:
            self.chance.shuffle(steps)
        return steps

    def _step(self, outer: tuple[int, ...], beside: list[int], depth: int) -> dict[str, object]:
        known = [*outer, *beside]
        chance, self.number = self.chance, self.number + 1
        step: dict[str, object] = {"id": self.number}
        needs = chance.sample(known, min(len(known), chance.choice((0, 0, 1, 1, 2, 3))))
        step["dependencies"] = needs
        if depth < 2 and chance.random() < 0.15:
            step["plan"] = self._steps(chance.randint(1, 3), tuple(known), depth + 1)
        else:
            step.update(self._call(known if chance.random() < 0.5 else []))
        self._policies(step, needs)
        own = len(set(needs) & set(beside))
        if own > 1 and chance.random() < 0.4:
            step["join"] = chance.choice(("any", 1, 2, "all"))
        return step

    def _call(self, known: list[int]) -> dict[str, object]:
        chance = self.chance
        parameters: dict[str, object] = {
            "seconds": chance.choice((0, 0, 1, 2)),
            "fails": chance.choice((0,) * 6 + (1, 9)),
        }
        if known:
            parameters["x"] = [f"$step{chance.choice(known)}", {"t": f"<{{$step{chance.choice(known)}}}>"}]
        return {"action": chance.choice(list(EFFECTS)), "parameters": parameters}

    def _policies(self, step: dict[str, object], needs: Sequence[int]) -> None:
        chance, simple = self.chance, "plan" not in step
        if chance.random() < 0.2:
            step["critical"] = chance.choice((True, False, False))
        if chance.random() < 0.15:
            step["timeout_s"] = chance.choice((0.5, 1.5, 5))
        if chance.random() < 0.2:
            step["max_retries"], step["retry_backoff_s"] = chance.randint(0, 2), chance.choice((0, 0.5))
        if chance.random() < 0.15:
            step["fallback"] = {"action": chance.choice(("pure", "keyed")), "parameters": {"seconds": 1}}
        if chance.random() < 0.2:
            first = needs[0] if needs else None
            holds = [True, False] if first is None else [True, False, f"$step{first}", f"exists($step{first}.step)"]
            step["condition"] = chance.choice(holds)
        if chance.random() < 0.15:
            items = [[], [1], [1, 2, 3], {"items": [1, 2, 3, 4], "max_parallel": 2, "on_failure": "continue"}]
            step["for_each"] = chance.choice(items)
            if simple:
                step["parameters"] = {**step["parameters"], "item": "$item"}
        if chance.random() < 0.08:
            step["approval"] = chance.choice((True, "May I?"))
        if simple and chance.random() < 0.15:
            step["compensate"] = {"action": "pure", "parameters": {"of": step["id"]}}


# ------------------------------------------------------------------ what must be true
def check(records: Sequence[Record], stage: Watched, slots: int, *, cut_off: bool = False) -> Outcome:
    """One start, one end, one state for each step, and the same story in the records, the outcome and the tools."""
    assert isinstance(records[0], RunStarted)
    assert isinstance(records[-1], RunEnded)
    outcome = records[-1].outcome
    assert outcome.plan is not None
    assert list(outcome.steps) == [step.id for step in outcome.plan.steps]
    assert stage.running.total() == 0
    assert len(stage.ended) == len(stage.calls)
    assert stage.most <= slots
    assert stage.most_of["capped"] <= CAP
    # A person decides whatever is asked; only inside a step whose time ran out first may a doubt be left.
    assert all(one.status is not StepStatus.IN_DOUBT for one in outcome.steps.values())
    for one in every(outcome):
        _check_one(one)
    _check_fold(records, outcome, cut_off=cut_off)
    _check_once(records)
    questions = {question.step for question in outcome.questions}
    assert questions <= {record.step for record in records if isinstance(record, ApprovalAsked)}
    return outcome


def _check_one(one: StepOutcome) -> None:
    if one.status is StepStatus.IN_DOUBT:
        assert one.in_doubt, one
    if one.status is StepStatus.SKIPPED:
        assert one.reason, one
        assert one.attempts == 0, one
    if one.status in {StepStatus.FAILED, StepStatus.CANCELLED}:
        assert one.error is not None, one
    if one.status is StepStatus.OK:
        assert one.error is None, one
    if one.in_doubt and not (one.items or one.steps or one.fallback):  # those may be tolerated or replaced
        assert one.status in {StepStatus.FAILED, StepStatus.IN_DOUBT}, one
    if one.started is not None:
        assert one.ended is not None, one
        assert (one.ready or 0.0) <= one.started <= one.ended, one


def _check_fold(records: Sequence[Record], outcome: Outcome, *, cut_off: bool) -> None:
    """Whoever reads the journal learns what the caller was told."""
    told = replay(records)
    for i, known in told.outcomes.items():
        assert (known.status, known.result, known.in_doubt) == (
            outcome.steps[i].status,
            outcome.steps[i].result,
            outcome.steps[i].in_doubt,
        ), i
    begun = {record.step for record in records if isinstance(record, StepStarted) and not record.inside}
    for i in begun & outcome.steps.keys():
        # What was cut off by a crash or a kill may have lost what it needs by the time that it could run again.
        if not (cut_off and outcome.steps[i].reason == "dependency"):
            assert outcome.steps[i].status not in {StepStatus.SKIPPED, StepStatus.WAITING}, i


def _check_once(records: Sequence[Record]) -> None:
    """A ONCE tool is called once, whatever happened: unless a person says that nothing had happened."""
    doubted = {(r.inside, r.step) for r in records if isinstance(r, ApprovalAsked) and r.doubt}
    denied = Counter((r.inside, r.step) for r in records if isinstance(r, ApprovalGiven) and not r.ok)
    calls = Counter(
        (record.inside, record.step, record.item)
        for record in records
        if isinstance(record, StepStarted) and record.effect is Effect.ONCE
    )
    for (inside, step, item), times in calls.items():
        place = (inside, step if item is None else item)
        assert times <= 1 + denied[place] * (place in doubted), (place, times)
    over: set[tuple[object, ...]] = set()
    for record in records:
        if isinstance(record, StepEnded):
            ended = (record.inside, record.outcome.id, record.item)
            # A verdict behind the run may take back what was said: then a retry may run it again.
            (over.add if record.outcome.status is StepStatus.OK else over.discard)(ended)
        elif isinstance(record, StepStarted):
            assert (record.inside, record.step, record.item) not in over, "it had succeeded"


def every(outcome: Outcome) -> Iterator[StepOutcome]:
    """All outcomes, those inside too."""
    waiting = list(outcome.steps.values())
    while waiting:
        one = waiting.pop()
        yield one
        waiting += one.items
        waiting += one.steps.values()
