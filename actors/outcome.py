"""What a run has come to: the records a caller gets and the JSON the command line prints."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import attrs

from trouper.runtime import Plan, error_json

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

    @classmethod
    def of(cls, error: BaseException) -> ErrorInfo:
        """The record of an exception."""
        told = error_json(error)
        return cls(str(told["kind"]), str(told["message"]))

    def as_json(self) -> dict[str, object]:
        """`{"kind", "message"}`."""
        return {"kind": self.kind, "message": self.message}


@attrs.frozen(kw_only=True)
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
    """Why it was skipped: `dependency`."""
    cause: int | None = None
    """The step whose failure made this one impossible."""
    in_doubt: bool = False
    """A ONCE tool was interrupted: nobody knows whether its effect happened."""
    started: float | None = None
    ended: float | None = None

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
            "started": self.started,
            "ended": self.ended,
        }
        if self.reason is not None:
            told["reason"] = self.reason
        if self.cause is not None:
            told["cause"] = self.cause
        if self.in_doubt:
            told["in_doubt"] = True
        return told


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
        }


def status_of(plan: Plan, steps: Mapping[int, StepOutcome]) -> RunStatus:
    """What the steps add up to: a failure is tolerated only where the plan says `critical: false`.

    A step skipped behind a tolerated failure is tolerated with it, unless it is critical itself.
    """
    tolerated: set[int] = set()
    failures = False
    for step_id in (i for level in plan.levels for i in level):
        outcome, step = steps[step_id], plan.step(step_id)
        if outcome.status is StepStatus.OK:
            continue
        failures = True
        behind = outcome.status is StepStatus.SKIPPED and outcome.cause in tolerated and step.critical is not True
        if step.critical is False or behind:
            tolerated.add(step_id)
        else:
            return RunStatus.FAILED
    return RunStatus.SUCCESS_WITH_FAILURES if failures else RunStatus.SUCCESS
