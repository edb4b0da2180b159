"""What a run has come to: the records a caller gets and the JSON the command line prints."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence

import attrs

from trouper.runtime import Plan, ToolError, error_json

from .protocols import Usage


class RunStatus(str, enum.Enum):
    """How a run ended."""

    SUCCESS = "success"
    SUCCESS_WITH_FAILURES = "success_with_failures"
    """Only steps marked `critical: false` failed."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    WAITING = "waiting"
    IN_DOUBT = "in_doubt"


SUSPENDED = frozenset({RunStatus.WAITING, RunStatus.IN_DOUBT})
"""A person has to say how the run goes on."""


class StepStatus(str, enum.Enum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    WAITING = "waiting"
    IN_DOUBT = "in_doubt"


@attrs.frozen
class ErrorInfo:
    """An error as data: its kind (a word) and its message (a sentence for a person)."""

    kind: str
    message: str
    harmless: bool = False
    """Whoever raised it promises that nothing happened outside."""

    @classmethod
    def of(cls, error: BaseException) -> ErrorInfo:
        """The record of an exception."""
        told = error_json(error)
        harmless = isinstance(error, ToolError) and error.effect is False
        return cls(str(told["kind"]), str(told["message"]), harmless)

    def as_json(self) -> dict[str, object]:
        """`{"kind", "message"}`."""
        return {"kind": self.kind, "message": self.message}


@attrs.frozen(kw_only=True, weakref_slot=False)  # so that it can have a `maker`
class StepOutcome:
    """What became of one step. Times are seconds since the run began."""

    id: int
    action: str
    status: StepStatus
    attempts: int = 0
    fallback: bool = False
    """The answer came from the step's fallback."""
    parameters: Mapping[str, object] | None = None
    """As the tool received them: references resolved. None if it was never called."""
    result: object = None
    error: ErrorInfo | None = None
    reason: str | None = None
    """Why it was skipped: `dependency`, `condition`, `budget`, `deadline`, ..."""
    cause: int | None = None
    """The step whose failure made this one impossible."""
    in_doubt: bool = False
    """A ONCE tool was interrupted: nobody knows whether its effect happened."""
    ready: float | None = None
    """When everything that it depends on was there."""
    started: float | None = None
    ended: float | None = None
    waits: Mapping[str, float] = attrs.field(factory=dict)
    """Seconds it waited for something else than its tool, by what: `backoff`, `verifier`, `approval`."""
    items: tuple[StepOutcome, ...] = ()
    """With `for_each`: what became of each element, in order."""
    steps: Mapping[int, StepOutcome] = attrs.field(factory=dict)
    """With a sub-plan: what became of its steps."""
    compensation: StepOutcome | None = None
    """What undid it after the run had failed, if anything did."""

    def as_json(self) -> dict[str, object]:
        """The shape of a step in `run --json`."""
        told: dict[str, object] = {
            "action": self.action,
            "status": self.status.value,
            "attempts": self.attempts,
            "fallback": self.fallback,
            "parameters": None if self.parameters is None else dict(self.parameters),
            "result": self.result,
            "error": self.error.as_json() if self.error is not None else None,
            "ready": self.ready,
            "started": self.started,
            "ended": self.ended,
        }
        return told | dict(self._asides())

    def _asides(self) -> Iterator[tuple[str, object]]:
        """The keys that most steps do not have."""
        if self.reason is not None:
            yield "reason", self.reason
        if self.cause is not None:
            yield "cause", self.cause
        if self.in_doubt:
            yield "in_doubt", True
        if self.waits:
            yield "waits", dict(self.waits)
        if self.items:
            yield "items", [item.as_json() for item in self.items]
        if self.steps:
            yield "steps", {str(i): step.as_json() for i, step in self.steps.items()}
        if self.compensation is not None:
            yield "compensation", self.compensation.as_json()


class VerdictKind(str, enum.Enum):
    """What the verifier found."""

    OK = "ok"
    """Something was checked by other means and holds."""
    REFUTED = "refuted"
    """Something was checked and does not hold."""
    UNVERIFIABLE = "unverifiable"
    """Nothing could be checked: never taken for `ok`."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What the verifier says of one step's result."""

    verdict: VerdictKind
    confidence: float = 0.0
    checks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def of_declaration(cls, problems: Sequence[str], *, declared: bool) -> Verdict:
        """The verdict where no verifier is configured: whether the result is what its tool declares."""
        checks = ("the tool's declared output",) if declared else ()
        if problems:
            return cls(verdict=VerdictKind.REFUTED, confidence=1.0, checks=checks, problems=tuple(problems))
        kind = VerdictKind.OK if declared else VerdictKind.UNVERIFIABLE
        return cls(verdict=kind, confidence=1.0 if declared else 0.0, checks=checks)

    def as_json(self) -> dict[str, object]:
        """The shape of a verdict in `run --json`."""
        return {
            "verdict": self.verdict.value,
            "confidence": self.confidence,
            "checks": list(self.checks),
            "problems": list(self.problems),
        }


def address_of(step: int, inside: tuple[int, ...] = ()) -> str:
    """Where a step is, from the outermost: `7`, or `3.1.7` in the second element of step 3."""
    return ".".join(map(str, (*inside, step)))


DECLARED = Verdict.of_declaration((), declared=True)
"""The result is what its tool declares, and nobody has looked at more."""


@attrs.frozen(kw_only=True)
class Question:
    """What a person is asked before a step may run, or go on; answered with `troupe.approve(run_id, address, ok)`.

    With `doubt` the step was in hand when its program ended, and asked is whether it has happened.
    """

    step: int
    question: str
    inside: tuple[int, ...] = ()
    """The steps, and places of elements, that it is inside of, outermost first."""
    doubt: bool = False

    @property
    def address(self) -> str:
        """What names it among all questions of its run: the step's id, in front of it what that is inside of."""
        return address_of(self.step, self.inside)

    def as_json(self) -> dict[str, object]:
        """`{"step", "question"}`, and `address` and `doubt` where there is more to say."""
        told: dict[str, object] = {"step": self.step, "question": self.question}
        if self.inside:
            told["address"] = self.address
        if self.doubt:
            told["doubt"] = True
        return told


@attrs.frozen(kw_only=True)
class Replan:
    """A plan that was given up for the next one, and what had failed in it."""

    plan: Plan
    failed: Mapping[int, StepOutcome]

    def as_json(self) -> dict[str, object]:
        """`{"plan", "failed"}`."""
        return {
            "plan": self.plan.as_json(),
            "failed": {str(i): step.as_json() for i, step in self.failed.items()},
        }


@attrs.frozen(kw_only=True)
class Outcome:
    """What a run has come to. `steps` and `verdicts` are keyed by step id."""

    run_id: str
    status: RunStatus
    goal: str | None = None
    answer: str | None = None
    attempts: int = 1
    plan: Plan | None = None
    planner: str | None = None
    steps: Mapping[int, StepOutcome] = attrs.field(factory=dict)
    verdicts: Mapping[int, Verdict] = attrs.field(factory=dict)
    usage: Usage = attrs.field(factory=Usage)
    error: ErrorInfo | None = None
    questions: tuple[Question, ...] = ()
    """With status `waiting`: everything that a person is asked, together."""
    doubts: tuple[int, ...] = ()
    """Steps whose verdict came with less confidence than `verifier.threshold`."""
    replans: tuple[Replan, ...] = ()
    """The plans that were given up, oldest first."""
    waits: Mapping[str, float] = attrs.field(factory=dict)
    """Seconds the whole run waited before its steps, by what: `planner`, `limiter`, `model`."""

    @property
    def ok(self) -> bool:
        """Whether what was asked for was done."""
        return self.status in {RunStatus.SUCCESS, RunStatus.SUCCESS_WITH_FAILURES}

    def as_json(self) -> dict[str, object]:
        """The shape of `run --json` and `exec --json`."""
        return {
            "run_id": self.run_id,
            "goal": self.goal,
            "status": self.status.value,
            "answer": self.answer,
            "attempts": self.attempts,
            "planner": self.planner,
            "plan": self.plan.as_json() if self.plan is not None else None,
            "levels": [list(level) for level in self.plan.levels] if self.plan is not None else [],
            "steps": {str(i): step.as_json() for i, step in self.steps.items()},
            "verdicts": {str(i): verdict.as_json() for i, verdict in self.verdicts.items()},
            "usage": attrs.asdict(self.usage),
            "error": self.error.as_json() if self.error is not None else None,
            "questions": [question.as_json() for question in self.questions],
            "doubts": list(self.doubts),
            "replans": [replan.as_json() for replan in self.replans],
            "waits": dict(self.waits),
        }


class Standing(enum.Enum):
    """What a step's end means for the run."""

    GOOD = "good"
    EXCUSED = "excused"
    """It did not run because a condition is false: no failure."""
    TOLERATED = "tolerated"
    """It has failed, or did not run, and the plan says that this is bearable."""
    FAILED = "failed"


def standings(plan: Plan, steps: Mapping[int, StepOutcome]) -> dict[int, Standing]:
    """For each step of the plan what its end means for the run.

    A failure is tolerated only where the plan says `critical: false`. A step skipped behind a tolerated failure is
    tolerated with it, unless it is critical itself; one skipped behind a false condition is excused with that.
    """
    found: dict[int, Standing] = {}
    for step_id in (i for level in plan.levels for i in level):
        found[step_id] = _standing(plan, steps[step_id], found)
    return found


def _standing(plan: Plan, outcome: StepOutcome, found: Mapping[int, Standing]) -> Standing:
    if outcome.status is StepStatus.OK:
        return Standing.GOOD
    skipped, critical = outcome.status is StepStatus.SKIPPED, plan.step(outcome.id).critical
    behind = found.get(outcome.cause) if skipped and outcome.cause is not None else None
    if skipped and (outcome.reason == "condition" or behind is Standing.EXCUSED):
        return Standing.EXCUSED
    if critical is False or (behind is Standing.TOLERATED and critical is not True):
        return Standing.TOLERATED
    return Standing.FAILED


def status_of(plan: Plan, steps: Mapping[int, StepOutcome]) -> RunStatus:
    """What the steps add up to; see `standings`. What failed inside a step that succeeded was tolerated there."""
    found = set(standings(plan, steps).values())
    if Standing.FAILED in found:
        return RunStatus.FAILED
    if Standing.TOLERATED in found or any(_failed_inside(outcome) for outcome in steps.values()):
        return RunStatus.SUCCESS_WITH_FAILURES
    return RunStatus.SUCCESS


def _failed_inside(outcome: StepOutcome) -> bool:
    """Whether some part of a step that succeeded has failed."""
    parts = [*outcome.items, *outcome.steps.values()]
    while parts:
        part = parts.pop()
        if part.status is StepStatus.FAILED:
            return True
        parts += [*part.items, *part.steps.values()]
    return False
