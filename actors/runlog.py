"""What is known of one run: the fold of its records.

The orchestrator makes it, the executor fills it. It outlives an incarnation of the executor: the next one reads what is
finished and goes on from there, and a step that was in hand with a ONCE tool is not run again. A sub-plan and the
elements of a `for_each` have a log of their own inside it, found by the id of their step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import attrs
import trio

from trouper.runtime import Plan, Step, maker

from .outcome import DECLARED, ErrorInfo, Question, Replan, StepOutcome, StepStatus, Verdict
from .outcomes import Outcomes
from .records import ApprovalGiven
from .tool import Effect

_cut_off: Callable[..., StepOutcome] = maker(
    StepOutcome, "id", "action", "status", "attempts", "parameters", "error", "in_doubt", "started", "ended"
)

_FINAL = frozenset({"declined", "budget", "in_doubt"})
"""Kinds of failures that a second time would not change."""


class Begun(NamedTuple):
    """The last attempt at a step that has begun. A tuple and no record: one is made for every attempt of every step."""

    attempt: int
    action: str
    effect: Effect
    at: float
    parameters: Mapping[str, object]


class Settled(NamedTuple):
    """A step that was closed from outside: what became of it, which element of it, and inside what it is."""

    outcome: StepOutcome
    item: int | None
    inside: tuple[int, ...]


def began_at(now: float, elapsed: float) -> float:
    """When a run began that is `elapsed` seconds old `now`: rounded so that nothing ends before what began it."""
    began = now - elapsed
    return began if now - began >= elapsed else math.nextafter(began, -math.inf)


class RunLog:
    """The state of a run. Times in it are seconds since the run began.

    Attributes:
        outcomes: What became of the steps that have ended, by id (inside a `for_each`: by the place of the element).
        results: The results of those that succeeded, and whatever else references may name.
        questions: What a person is asked and has not answered, by step.
        answers: What a person has answered.
        replans: The plans that were given up.
        in_doubt: Calls of ONCE tools whose effect nobody knows: never made again in this run.
        doubts: The steps that were in hand with a ONCE tool when their program ended, and are not decided on yet.
        decisions: What a person, or the tool itself, has said of those.
    """

    __slots__ = (
        "_begun",
        "_children",
        "_former",
        "_returned",
        "_verdicts",
        "answers",
        "began",
        "deadline",
        "decisions",
        "declared",
        "doubts",
        "generation",
        "given_up",
        "in_doubt",
        "inside",
        "kept",
        "of",
        "outcomes",
        "owner",
        "plan",
        "questions",
        "replans",
        "results",
        "resumed",
        "root",
        "run_id",
    )

    def __init__(self, run_id: str, plan: Plan | None, *, began: float, inside: tuple[int, ...] = ()) -> None:
        self.run_id: str = run_id
        self._plan_is(plan)
        self.began: float = began
        self.inside: tuple[int, ...] = inside
        self.root: RunLog = self
        """The log of the whole run."""
        self.of: Step | None = None
        """The step whose elements these are; None: these are steps."""
        self.given_up: bool = False
        """The plan was given up and there is no other yet."""
        self.resumed: bool = False
        """Of the whole run: it goes on from what a journal had of it."""
        self.deadline: float = math.inf
        """Of the whole run: when it must have ended, on trio's clock."""
        self.owner: object = None
        """Of the whole run: who runs it. What another has still in hand counts for nothing."""
        self.generation: int = 1
        """Which plan of the run this is of, counted from 1."""
        self.kept: frozenset[int] = frozenset()
        """The steps that something was known of before the plan that is run now, or written."""
        self.results: dict[int, object] = {}
        self.outcomes: Outcomes = Outcomes(self.results)
        self._verdicts: dict[int, Verdict] = {}
        self.declared: list[int] = []
        """Steps whose verdict is `DECLARED`, until somebody asks for the verdicts."""
        self.questions: dict[int, Question] = {}
        self.answers: dict[int, ApprovalGiven] = {}
        self.replans: list[Replan] = []
        self.in_doubt: list[tuple[str, Mapping[str, object]]] = []
        self.doubts: set[int] = set()
        self.decisions: dict[int, ApprovalGiven] = {}
        self._begun: dict[int, Begun] = {}
        self._children: dict[int, RunLog] = {}
        self._former: dict[tuple[int, int], RunLog] = {}  # of given up plans: their ids may be others' now
        self._returned: dict[int, StepOutcome] = {}

    @property
    def verdicts(self) -> dict[int, Verdict]:
        """What the verifier has said."""
        if self.declared:
            self._verdicts.update(dict.fromkeys(self.declared, DECLARED))
            self.declared.clear()
        return self._verdicts

    def _plan_is(self, plan: Plan | None) -> None:
        self.plan: Plan | None = plan

    def now(self) -> float:
        """Seconds since the run began."""
        return trio.current_time() - self.began

    # ------------------------------------------------------------ writing
    def begin(
        self,
        step: int,
        *,
        attempt: int,
        action: str,
        effect: Effect,
        parameters: Mapping[str, object],
        at: float | None = None,
    ) -> None:
        """The intent of an attempt, before its effect.

        A call of a ONCE tool stays what the step is known by, also while its fallback runs: it must not be made again.
        """
        if step in self.doubts:  # it was decided that it had not happened
            self.undoubt(step)
        first = self._begun.get(step)
        if first is None:
            self._begun[step] = Begun(attempt, action, effect, self.now() if at is None else at, parameters)
        elif first.effect is Effect.ONCE and effect is not Effect.ONCE:
            self._begun[step] = first._replace(attempt=attempt)
        else:
            self._begun[step] = Begun(attempt, action, effect, first.at, parameters)

    def doubt(self, question: Question) -> None:
        """Nobody knows whether the call that is in hand has happened: it is not made again before somebody says so."""
        step = question.step
        begun = self._begun[step]
        self.doubts.add(step)
        call = (begun.action, begun.parameters)
        if call not in self.in_doubt:
            self.in_doubt.append(call)
        self.ask(question)

    def undoubt(self, step: int) -> None:
        """It is known now whether it has happened."""
        begun = self._begun.pop(step, None)
        self.doubts.discard(step)
        self.decisions.pop(step, None)
        self.questions.pop(step, None)
        if begun is not None and (begun.action, begun.parameters) in self.in_doubt:
            self.in_doubt.remove((begun.action, begun.parameters))

    def again(self, step: int) -> None:
        """The last attempt has failed and may be made again: nothing of it can be in doubt.

        Inside a step with a plan of its own what succeeded stays, the rest may run again.
        """
        begun, child = self._begun.get(step), self._children.get(step)
        if begun is not None:
            self._begun[step] = begun._replace(effect=Effect.PURE)
        if child is not None:
            child.take_back_failures()

    def returned(self, outcome: StepOutcome) -> None:
        """The tool of a step has done its work; its verdict is awaited."""
        self._returned[outcome.id] = outcome

    def judging(self, step: int) -> StepOutcome | None:
        """What the tool of a step has come to whose verdict is awaited."""
        return self._returned.get(step)

    def end(self, outcome: StepOutcome, key: int | None = None) -> None:
        """What became of a step; what was written first stays."""
        step = outcome.id if key is None else key
        if step in self.doubts:
            self.undoubt(step)
        known = self.outcomes.setdefault(step, outcome)
        if known is outcome:
            self._count(outcome, step)

    def _count(self, outcome: StepOutcome, key: int) -> None:
        if outcome.status is StepStatus.OK:
            self.results[key] = outcome.result
        if outcome.in_doubt and not outcome.items and not outcome.steps:
            begun = self._begun.get(key)
            once = begun if begun is not None and begun.effect is Effect.ONCE else None
            call = (once.action, once.parameters) if once is not None else (outcome.action, outcome.parameters or {})
            if call not in self.in_doubt:
                self.in_doubt.append(call)

    def correct(self, outcome: StepOutcome, key: int | None = None) -> None:
        """What became of a step, whatever was thought before: it was refuted, or a record says so."""
        step = outcome.id if key is None else key
        if step in self.doubts:
            self.undoubt(step)
        self.outcomes.make()
        self.results.pop(step, None)
        self.outcomes[step] = outcome
        self._count(outcome, step)

    def compensated(self, step: int, outcome: StepOutcome, given_up: int | None = None) -> None:
        """What undid a step, maybe one that was given up with a plan (which, counted from 1)."""
        self._amend(step, given_up, compensation=outcome)
        self.refresh()

    def _ended(self, given_up: int | None) -> Mapping[int, StepOutcome]:
        """What became of the steps, or of those that were given up with a plan."""
        return self.outcomes if given_up is None else self.replans[given_up - 1].failed

    def _amend(self, step: int, given_up: int | None, **parts: Any) -> None:
        known = self._ended(given_up)
        if given_up is None:
            self.outcomes[step] = attrs.evolve(known[step], **parts)
        else:
            failed = {**known, step: attrs.evolve(known[step], **parts)}
            self.replans[given_up - 1] = attrs.evolve(self.replans[given_up - 1], failed=failed)

    def refresh(self) -> None:
        """Let the steps that this is inside of have in their outcomes what is known here."""
        logs, given_up = [self.root], self.given_up_with
        for step in self.inside:
            former = logs[-1]._former.get((given_up, step)) if given_up is not None else None
            logs.append(former if former is not None else logs[-1]._children[step])
        for around, inner in reversed(list(itertools.pairwise(logs))):
            plan = given_up if around is self.root else None
            known = around._ended(plan).get(inner.inside[-1])
            if known is None:
                return
            parts: dict[str, Any] = {"steps": dict(inner.outcomes)}
            if inner.of is not None:
                parts = {"items": tuple(inner.outcomes[n] for n in range(len(known.items)))}
            around._amend(inner.inside[-1], plan, **parts)

    def ask(self, question: Question) -> None:
        """A person is asked."""
        self.questions[question.step] = question

    def answer(self, answer: ApprovalGiven) -> bool:
        """A person has answered; False if nobody had asked."""
        for log in self._open():
            if answer.inside is not None and answer.inside != log.inside:
                continue
            if log.questions.pop(answer.step, None) is not None:
                (log.decisions if answer.step in log.doubts else log.answers)[answer.step] = answer
                return True
        return False

    def adopt(self, plan: Plan) -> None:
        """Go on with this plan."""
        self.plan = plan
        self.given_up = False

    def give_up(self) -> None:
        """Nothing more of this plan is run: what is finished stays, what failed is kept with the plan it failed in."""
        assert self.plan is not None  # noqa: S101 - only what has been run can be given up
        failed = {i: o for i, o in self.outcomes.items() if o.status is not StepStatus.OK}
        self.replans.append(Replan(plan=self.plan, failed=failed))
        self.forget(failed)
        for step in failed.keys() & self._children.keys():  # what was done inside may have to be undone
            self._former[self.generation, step] = self._children.pop(step)
        self.kept = frozenset((*self.outcomes, *self._children))
        self.generation += 1
        self.given_up = True

    def take_back(self) -> None:
        """There is no other plan: the one that was given up last is what the run has come to."""
        self.retract()
        given_up = self.replans.pop()
        self.plan = given_up.plan
        self.outcomes.update(given_up.failed)
        self.generation -= 1
        for step in given_up.failed:
            former = self._former.pop((self.generation, step), None)
            if former is not None:
                self._children[step] = former
        self.given_up = False

    def forget(self, steps: Iterable[int]) -> None:
        """Take back what is known of these steps, but for what is inside them: they may run again."""
        self.outcomes.make()
        for step in tuple(steps):
            for known in (
                self.outcomes,
                self.results,
                self.verdicts,
                self._begun,
                self._returned,
                self.questions,
            ):
                known.pop(step, None)

    def retract(self) -> None:
        """Nothing that has run of a plan while it was being written counts: there will be another one, or none."""
        gone = {*self.outcomes, *self._begun, *self._children} - self.kept
        self.forget(gone)
        for step in gone:
            self._children.pop(step, None)

    # ------------------------------------------------------------ inside
    @property
    def given_up_with(self) -> int | None:
        """With which plan this was given up, counted from 1; None: it was not."""
        if not self.inside or (self.generation, self.inside[0]) not in self.root._former:
            return None
        return self.generation

    def former(self, given_up: int, step: int) -> RunLog | None:
        """The log of what ran inside a step that was given up with a plan, counted from 1."""
        return self._former.get((given_up, step))

    def child(self, step: int) -> RunLog:
        """The log of what runs inside `step`; made when it is first asked for."""
        found = self._children.get(step)
        if found is None:
            found = self._children[step] = RunLog(self.run_id, None, began=self.began, inside=(*self.inside, step))
            found.in_doubt, found.generation = self.in_doubt, self.generation
            found.root = self.root
        if found.plan is None:
            self._place(step, found)
        return found

    def _place(self, step: int, child: RunLog) -> None:
        """Tell the log of what runs inside `step` what that is: a sub-plan, or the elements of the step."""
        if self.of is not None:
            child.plan = self.of.plan
        elif self.plan is not None and step in self.plan.dependencies:
            inside = self.plan.step(step)
            if inside.for_each is not None:
                child.of = inside
            else:
                child.plan = inside.plan

    def place_children(self) -> None:
        """The same for every log inside: records do not say, and may come before their plan."""
        for log in self._family():
            for step, child in log._children.items():
                log._place(step, child)

    def _open(self) -> Iterator[RunLog]:
        """This log and those inside the steps that have not ended."""
        waiting = [self]
        while waiting:
            log = waiting.pop()
            yield log
            waiting.extend(child for step, child in log._children.items() if step not in log.outcomes)

    def take_back_failures(self) -> None:
        """Before a retry of the step that this is inside of: what succeeded stays, the rest may run again."""
        for step in [i for i, o in self.outcomes.items() if o.status is not StepStatus.OK and not o.in_doubt]:
            for known in (self.outcomes, self.verdicts, self._begun, self._returned, self.questions):
                known.pop(step, None)
        for step, child in self._children.items():
            if step not in self.outcomes:
                child.take_back_failures()

    def repeatable(self) -> bool:
        """Whether what has failed here, however deep, may run again, each as its own tool allows."""
        for step, outcome in self.outcomes.items():
            if outcome.status is not StepStatus.FAILED:
                continue
            if outcome.in_doubt or (outcome.error is not None and outcome.error.kind in _FINAL):
                return False
            child = self._children.get(step)
            if child is not None and not child.repeatable():
                return False
            begun = self._begun.get(step)
            harmless = outcome.error is not None and outcome.error.harmless
            if begun is not None and begun.effect is Effect.ONCE and not harmless:
                return False
        return True

    def _family(self) -> Iterator[RunLog]:
        """This log and every one inside it."""
        waiting = [self]
        while waiting:
            log = waiting.pop()
            yield log
            waiting.extend(log._children.values())

    # ------------------------------------------------------------ reading
    def begun(self, step: int) -> Begun | None:
        """The last attempt at a step that has begun."""
        return self._begun.get(step)

    def undecided(self, step: int) -> bool:
        """Whether it has to be said first what became of that step, or of the elements of it."""
        if step in self.doubts and step not in self.decisions:
            return True
        child = self._children.get(step)
        return child is not None and child.of is not None and any(child.undecided(n) for n in child.doubts)

    def cut_off_once(self) -> tuple[tuple[RunLog, int], ...]:
        """Where a ONCE tool was in hand, or is in doubt since, and nobody has said what became of it."""
        return tuple(
            (log, step)
            for log in self._family()
            for step in log.interrupted()
            if log._begun[step].effect is Effect.ONCE and step not in log._returned and step not in log.decisions
        )

    def interrupted(self) -> tuple[int, ...]:
        """The steps that have begun and not ended."""
        known = self.outcomes.by_step
        return tuple(step for step in self._begun if step not in known)

    @property
    def elapsed(self) -> float:
        """When the last thing that is known of the run happened."""
        times = [o.ended for log in self._family() for o in log.outcomes.values() if o.ended is not None]
        times += [begun.at for log in self._family() for begun in log._begun.values()]
        return max(times, default=0.0)

    def open_questions(self) -> tuple[Question, ...]:
        """Everything that a person is asked, in this run and inside its steps."""
        found = (q for log in self._open() for step, q in log.questions.items() if step not in log.outcomes)
        return tuple(sorted(found, key=lambda question: question.inside))

    def touched(self) -> tuple[int, ...]:
        """What has begun or ended here: ids of steps, or places of elements."""
        return tuple(dict.fromkeys((*self._begun, *self._children, *self.outcomes)))

    def finished(self) -> tuple[tuple[int, StepOutcome], ...]:
        """The steps whose tools have done their work: those that succeeded, and those that were refuted after it."""
        return tuple((i, o) for i, o in self.outcomes.items() if o.status is StepStatus.OK or was_refuted(o))

    @property
    def finished_before(self) -> dict[int, Step]:
        """The steps of this plan that an earlier one has finished: they may name what was given up with that."""
        plan = self.plan
        return {} if plan is None else {s.id: s for s in plan.steps if s.id in self.kept and s.id in self.results}

    # ------------------------------------------------------------ settling
    def settle_interrupted(self, why: ErrorInfo, *, once_only: bool) -> tuple[Settled, ...]:
        """Close the steps that were in hand when their executor ended; gives what became of them, and where they are.

        ONCE steps fail and are marked in doubt: the effect may have happened. The others are cancelled, or with
        `once_only` left open, to be run again.
        """
        return tuple(settled for log in self._family() for settled in log._settle_own(why, once_only=once_only))

    def _settle_own(self, why: ErrorInfo, *, once_only: bool) -> Iterator[Settled]:
        items, now = self.of is not None, self.now()
        for step in self.interrupted():
            known = self._returned.get(step)
            if known is not None:
                if not once_only:  # it was to be judged, and will not be
                    yield self._settled(attrs.evolve(known, status=StepStatus.FAILED, error=why), step, items=items)
                continue
            begun = self._begun[step]
            once = begun.effect is Effect.ONCE
            if once_only and (not once or step in self.doubts):
                continue
            number = self.inside[-1] if items else step
            status = StepStatus.FAILED if once else StepStatus.CANCELLED
            if step in self.doubts:
                status = StepStatus.IN_DOUBT
            outcome = _cut_off(number, begun.action, status, begun.attempt, begun.parameters, why, once, begun.at, now)
            yield self._settled(outcome, step, items=items)

    def _settled(self, outcome: StepOutcome, step: int, *, items: bool) -> Settled:
        self.end(outcome, step)
        return Settled(outcome, step if items else None, self.inside)

    def settle_unstarted(self, reason: str) -> None:
        """Write down the steps that never began as skipped for `reason`, here and inside the steps that have."""
        for log in self._family():
            for step in log.plan.steps if log.plan is not None else ():
                if step.id not in log.outcomes:
                    log.outcomes[step.id] = StepOutcome(
                        id=step.id, action=step.action, status=StepStatus.SKIPPED, reason=reason
                    )

    def with_waiting(self) -> dict[int, StepOutcome]:
        """The outcomes as they stand, with `waiting` for what waits for a person, itself or behind others."""
        waiting = {}
        for step in self.plan.steps if self.plan is not None else ():
            if step.id not in self.outcomes:
                inner = self._children.get(step.id)
                questions = inner.open_questions() if inner is not None else ()
                doubt = step.id in self.doubts or any(question.doubt for question in questions)
                asked = step.id in self.questions or bool(questions)
                begun = self._begun.get(step.id) if doubt else None
                waiting[step.id] = StepOutcome(
                    id=step.id,
                    action=step.action,
                    status=StepStatus.IN_DOUBT if doubt else StepStatus.WAITING,
                    attempts=begun.attempt if begun is not None else 0,
                    parameters=begun.parameters if begun is not None else None,
                    started=begun.at if begun is not None else None,
                    in_doubt=doubt,
                    reason="approval" if asked else "dependency",
                    steps=inner.with_waiting() if inner is not None and inner.plan is not None else {},
                )
        return {**self.outcomes, **waiting}


def was_refuted(outcome: StepOutcome) -> bool:
    """Whether its tool has done its work, and the verdict on that has made it fail."""
    return outcome.error is not None and outcome.error.kind in {"refuted", "unverified"}
