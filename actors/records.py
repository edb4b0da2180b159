"""What happens in a run, as records: written into the journal before it is believed, told to whoever listens.

Folding them in order gives the state of the run (`RunLog.replay`). Times are trio's clock, in seconds; those inside an
outcome count from the beginning of the run.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from trouper.runtime import Event, Plan, Record

from .outcome import ErrorInfo, Outcome, StepOutcome, Verdict
from .tool import Effect


@attrs.frozen(kw_only=True)
class RunStarted(Record):
    """A run has begun."""

    goal: str | None
    idempotency_key: str | None = None
    """Whoever asks with the same key again gets this run."""


@attrs.frozen(kw_only=True)
class RunResumed(Record):
    """A run that was suspended or cut off goes on, maybe in another program, whose clock began somewhere else."""

    elapsed: float
    """Seconds since the run began, as the run counts them."""


@attrs.frozen(kw_only=True)
class PlanReady(Record):
    """A run has a plan: its first, or after a failure the next, which has the finished steps in it."""

    plan: Plan
    planner: str
    generation: int = 1
    """1 for the first plan, one more with each replan."""


@attrs.frozen(kw_only=True)
class PlanRetracted(Record):
    """A plan that ran while it was being written will not do: what ran of it is cancelled, its results are dropped."""

    why: str


@attrs.frozen(kw_only=True)
class PlanGivenUp(Record):
    """Something has failed, and another plan is made: what is finished stays."""

    why: str


@attrs.frozen(kw_only=True)
class StepStarted(Record):
    """An attempt at a step begins: the intent, written before the effect."""

    step: int
    action: str
    attempt: int
    effect: Effect = Effect.ONCE
    parameters: Mapping[str, object] = attrs.field(factory=dict)
    item: int | None = None
    """Which element of a `for_each`; `inside` then ends with its step."""
    inside: tuple[int, ...] = ()
    """Where it is: the ids of the steps (and places of elements) whose inside it is in, outermost first."""


@attrs.frozen(kw_only=True)
class AttemptFailed(Record):
    """An attempt has failed and another follows after `pause` seconds."""

    step: int
    attempt: int
    error: ErrorInfo
    pause: float
    item: int | None = None
    inside: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class ToolReturned(Record):
    """The tool of a step has done its work; the step has ended when its verdict is there."""

    outcome: StepOutcome
    inside: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class StepEnded(Record):
    """A step has ended."""

    outcome: StepOutcome
    item: int | None = None
    inside: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class VerdictGiven(Record):
    """The verifier has spoken."""

    step: int
    verdict: Verdict
    inside: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class ApprovalAsked(Record):
    """A step waits for a person: may it run, or, with `doubt`, has it happened?"""

    step: int
    question: str
    inside: tuple[int, ...] = ()
    doubt: bool = False


@attrs.frozen(kw_only=True)
class ApprovalGiven(Record):
    """A person has answered."""

    step: int
    ok: bool
    note: str | None = None
    inside: tuple[int, ...] | None = None
    """Which of the steps of that id; None: the one that is asked about."""
    result: object = None
    """What the step gave, where it was in doubt and has happened."""


@attrs.frozen(kw_only=True)
class Compensated(Record):
    """A finished step of a failed run was undone, or could not be."""

    step: int
    outcome: StepOutcome
    item: int | None = None
    inside: tuple[int, ...] = ()
    given_up: int | None = None
    """With which plan it was given up, counted from 1; None: it was not."""


@attrs.frozen(kw_only=True)
class RunEnded(Record):
    """A run has ended, or waits for a person and nothing else."""

    outcome: Outcome


# ------------------------------------------------------------------ told, not written down
@attrs.frozen(kw_only=True)
class LevelStarted(Event):
    """The first step of a level is ready."""

    run_id: str
    level: int
    steps: int


@attrs.frozen(kw_only=True)
class StepProgress(Event):
    """A tool reports how far it is."""

    run_id: str
    step: int
    text: str


@attrs.frozen(kw_only=True)
class LoopBlocked(Event):
    """A tool held up the whole program: it computed for `seconds` without a checkpoint."""

    run_id: str
    step: int
    action: str
    seconds: float


@attrs.frozen(kw_only=True)
class BudgetLow(Event):
    """So much of a budget is gone that only what is necessary is still done."""

    run_id: str
    what: str
    used: float
    limit: float
