"""What the cast says to each other. Requests are Asks; what is merely told is a Tell; progress is in `records`."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Protocol

import attrs

from trouper.runtime import ActionSignature, Ask, Budget, Plan, Step, Tell

from .outcome import Outcome, StepOutcome, StepStatus, Verdict
from .plan_feed import PlanFeed
from .runlog import RunLog
from .tool_context import Effect


# ------------------------------------------------------------------ orchestrator
@attrs.frozen(kw_only=True)
class Execute(Ask[Outcome]):
    """Plan a goal and run the plan. `timeout` bounds the run in seconds; then it ends as `failed`, kind `deadline`."""

    goal: str
    run_id: str
    timeout: float
    context: Mapping[str, object] = attrs.field(factory=dict)
    budget: Budget | None = None
    idempotency_key: str | None = None


@attrs.frozen(kw_only=True)
class RunPlan(Ask[Outcome]):
    """Run a ready plan; needs no model."""

    plan: Plan
    run_id: str
    timeout: float
    budget: Budget | None = None


@attrs.frozen(kw_only=True)
class RunText(Ask[Outcome]):
    """Run a plan whose text is still arriving; `chunks` ends with the text."""

    chunks: AsyncIterable[str]
    run_id: str
    timeout: float
    budget: Budget | None = None


@attrs.frozen(kw_only=True)
class ResumeRun(Ask[Outcome]):
    """Go on with a run that was suspended or cut off; the one that ended last if `run_id` is None."""

    run_id: str | None
    timeout: float
    budget: Budget | None = None


@attrs.frozen(kw_only=True)
class Approve(Ask[None]):
    """A person's answer to the question about a step, named by its id or its address.

    `result` is what the step gave, where asked was whether it has happened.
    """

    run_id: str
    step: int | str
    ok: bool
    note: str | None = None
    result: object = None


@attrs.frozen(kw_only=True)
class KeepEpisode(Tell):
    """Remember a run that has ended well, behind its answer."""

    text: str
    run_id: str


@attrs.frozen(kw_only=True)
class Settle(Ask[None]):
    """Answered when everything that goes on behind answers has been done."""


# ------------------------------------------------------------------ planner
@attrs.frozen(kw_only=True)
class Planned:
    """A plan, who made it and why that one; `form` is the rules' reading of the goal."""

    plan: Plan
    planner: str
    form: Mapping[str, object] | None = None
    route: str = ""
    repairs: int = 0


class StepFeed(Protocol):
    """Where a planner puts the steps of a plan that it is still reading. Neither call waits."""

    def offer(self, step: Step) -> None:
        """A step that is complete and valid by itself; it may start before the plan is complete."""
        ...

    def retract(self, why: str) -> None:
        """The plan that was being read will not do: whatever runs of it is cancelled, its results are dropped."""
        ...


@attrs.frozen(kw_only=True)
class Previous:
    """A plan of which something has failed: the next one goes on from what is finished."""

    plan: Plan
    outcomes: Mapping[int, StepOutcome]
    why: str

    @property
    def finished(self) -> dict[int, Step]:
        """The steps whose results stand, by id."""
        return {s.id: s for s in self.plan.steps if (o := self.outcomes.get(s.id)) and o.status is StepStatus.OK}


@attrs.frozen(kw_only=True)
class MakePlan(Ask[Planned]):
    """Make a plan for a goal; with `previous` one that goes on from there.

    A model's plan is put into `feed`, step by step, while the model writes it.
    """

    goal: str
    context: Mapping[str, object] = attrs.field(factory=dict)
    previous: Previous | None = None
    feed: StepFeed | None = None


@attrs.frozen(kw_only=True)
class Intent:
    """What a goal is about, read off its words: the kinds of work and whether it changes anything."""

    kinds: tuple[str, ...]
    writes: bool
    question: bool


@attrs.frozen(kw_only=True)
class AnalyzeIntent(Ask[Intent]):
    """Read the intent of a goal."""

    goal: str


@attrs.frozen(kw_only=True)
class Route:
    """Which tools a goal may use, which model role plans it, and within which limits."""

    name: str
    tools: tuple[str, ...]
    role: str = "planner"
    max_steps: int = 64


@attrs.frozen(kw_only=True)
class RouteGoal(Ask[Route]):
    """Choose the route of a goal."""

    goal: str


@attrs.frozen(kw_only=True)
class CatalogueView:
    """A part of the catalogue: as text for a prompt, as signatures for validation, and the hash of its content."""

    text: str
    digest: str
    actions: Mapping[str, ActionSignature]
    cached: bool
    effects: Mapping[str, Effect] = attrs.field(factory=dict)
    """What a repetition of each does, so that no replan repeats an effect."""


@attrs.frozen(kw_only=True)
class GetCatalogue(Ask[CatalogueView]):
    """The catalogue of some tools, or of all."""

    tools: tuple[str, ...] | None = None


# ------------------------------------------------------------------ executor and verifier
@attrs.frozen(kw_only=True)
class ExecutePlan(Ask[None]):
    """Run the steps of `log.plan` that `log` does not have yet, and write each outcome into `log`.

    With `feed` the plan is still being written: its steps come from there.
    """

    log: RunLog
    feed: PlanFeed | None = None


@attrs.frozen(kw_only=True)
class CompensateRun(Ask[None]):
    """Undo what the finished steps of a failed run have done, latest first, as far as the plan says how.

    What is not undone within `seconds` is not undone; the log says so.
    """

    log: RunLog
    seconds: float


@attrs.frozen(kw_only=True)
class AnswerGiven(Tell):
    """The log of a run has a person's answer about a step."""

    run_id: str
    step: int
    inside: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class VerifyStep(Ask[Verdict]):
    """Check what a step claims. The verifier gets the step's own input and output and nothing else."""

    action: str
    parameters: Mapping[str, object]
    result: object
    declared: tuple[str, ...] | None = None
    """What speaks against the result by its tool's declaration, found before secrets were taken out; None: look."""
