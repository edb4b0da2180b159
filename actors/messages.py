"""What the cast says to each other. Requests are Asks; what is merely told is a Tell; progress is an Event."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from trouper.runtime import ActionSignature, Ask, Event, Plan, Tell

from .outcome import Outcome, StepOutcome, Verdict
from .runlog import RunLog


# ------------------------------------------------------------------ orchestrator
@attrs.frozen(kw_only=True)
class Execute(Ask[Outcome]):
    """Plan a goal and run the plan. `timeout` bounds the run in seconds; then it ends as `failed`, kind `deadline`."""

    goal: str
    run_id: str
    timeout: float
    context: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class RunPlan(Ask[Outcome]):
    """Run a ready plan; needs no model."""

    plan: Plan
    run_id: str
    timeout: float


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


@attrs.frozen(kw_only=True)
class MakePlan(Ask[Planned]):
    """Make a plan for a goal."""

    goal: str
    context: Mapping[str, object] = attrs.field(factory=dict)


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


@attrs.frozen(kw_only=True)
class GetCatalogue(Ask[CatalogueView]):
    """The catalogue of some tools, or of all."""

    tools: tuple[str, ...] | None = None


# ------------------------------------------------------------------ executor and verifier
@attrs.frozen(kw_only=True)
class ExecutePlan(Ask[None]):
    """Run the steps of `log.plan` that `log` does not have yet, and write each outcome into `log`."""

    log: RunLog


@attrs.frozen(kw_only=True)
class VerifyStep(Ask[Verdict]):
    """Check what a step claims. The verifier gets the step's own input and output and nothing else."""

    action: str
    parameters: Mapping[str, object]
    result: object


# ------------------------------------------------------------------ progress
@attrs.frozen(kw_only=True)
class RunStarted(Event):
    """A run has begun."""

    run_id: str
    goal: str | None


@attrs.frozen(kw_only=True)
class PlanReady(Event):
    """A run has its plan."""

    run_id: str
    plan: Plan
    planner: str


@attrs.frozen(kw_only=True)
class LevelStarted(Event):
    """The first step of a level is ready."""

    run_id: str
    level: int
    steps: int


@attrs.frozen(kw_only=True)
class StepStarted(Event):
    """A step has begun an attempt."""

    run_id: str
    step: int
    action: str
    attempt: int


@attrs.frozen(kw_only=True)
class StepEnded(Event):
    """A step has ended."""

    run_id: str
    outcome: StepOutcome


@attrs.frozen(kw_only=True)
class StepProgress(Event):
    """A tool reports how far it is."""

    run_id: str
    step: int
    text: str


@attrs.frozen(kw_only=True)
class VerdictGiven(Event):
    """The verifier has spoken."""

    run_id: str
    step: int
    verdict: Verdict


@attrs.frozen(kw_only=True)
class RunEnded(Event):
    """A run has ended."""

    run_id: str
    outcome: Outcome
