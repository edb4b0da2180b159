"""The planner: a goal in, a validated plan out, or a refusal.

Two ways, said aloud in config, log and answer. `rules`: a grammar fills the intent form and a typed compiler writes the
plan; it refuses whatever it cannot account for word by word. `llm`: a model writes the plan as JSON, validated in full
and sent back with every problem at most `max_repairs` times.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Literal

import attrs
import trio

from trouper.runtime import (
    Actor,
    ActorCrashed,
    LLMError,
    MemoryFailed,
    Plan,
    PlanError,
    PlanningError,
    PlanProblem,
    PlanUnusable,
    handler,
    parse_plan,
    plan_schema,
)

from .llm import Chat
from .memory import Recall
from .messages import AnalyzeIntent, CatalogueView, GetCatalogue, Intent, MakePlan, Planned, Route, RouteGoal
from .policies import require_supported
from .prompts import PromptTemplates, render_goal, render_repair
from .protocols import ChatMessage, ChatRequest
from .rules import compile_form, parse_goal

log: logging.Logger = logging.getLogger("trouper.planner")

PlannerMode = Literal["rules", "llm"]


@attrs.frozen(kw_only=True)
class PlannerStatistics:
    """What this incarnation has done; `renders` counts prompt prefixes rendered."""

    plans: int
    repairs: int
    renders: int


@attrs.frozen(kw_only=True)
class _Brief:
    """What intent, router and catalogue have said about a goal."""

    intent: Intent
    route: Route
    catalogue: CatalogueView


class Planner(Actor):
    """Answers `MakePlan`, several at a time."""

    def __init__(self, mode: PlannerMode, *, max_repairs: int = 2, keep_templates: bool = True) -> None:
        self._mode = mode
        self._max_repairs = max_repairs
        self._templates = PromptTemplates(keep=keep_templates)
        self._plans = self._repairs = 0

    async def on_start(self) -> None:
        """Find those it asks."""
        self._intent = self.ctx.peer("intent")
        self._router = self.ctx.peer("router")
        self._catalogue = self.ctx.peer("catalogue")
        self._llm = self.ctx.peer("llm")
        self._memory = self.ctx.peer("memory")

    def statistics(self) -> PlannerStatistics:
        """Counters of this incarnation."""
        return PlannerStatistics(plans=self._plans, repairs=self._repairs, renders=self._templates.renders)

    @handler(concurrent=16, raises=(PlanningError, PlanError, LLMError, LookupError, ActorCrashed))
    async def plan(self, message: MakePlan) -> Planned:
        """Make a plan.

        Raises:
            GoalRefused: the rules do not understand the goal.
            PlanUnusable: the model's answers did not become a plan.
            LLMError: the model could not be asked.
        """
        brief = await self._brief(message.goal)
        planned = self._by_rules(message, brief) if self._mode == "rules" else await self._by_model(message, brief)
        self._plans += 1
        steps = len(planned.plan.steps)
        log.info("[PLANNER] %s made a plan of %d steps in %d levels", self._mode, steps, len(planned.plan.levels))
        return planned

    async def _brief(self, goal: str) -> _Brief:
        """Intent analysis and routing side by side; the catalogue is that of the route."""
        found: dict[str, object] = {}

        async def analyze() -> None:
            found["intent"] = await self._intent.ask(AnalyzeIntent(goal=goal))

        async def route() -> None:
            chosen = await self._router.ask(RouteGoal(goal=goal))
            found["route"] = chosen
            found["catalogue"] = await self._catalogue.ask(GetCatalogue(tools=chosen.tools))

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(analyze)
                nursery.start_soon(route)
        except BaseExceptionGroup as group:
            raise _first(group) from group
        return _Brief(**found)  # type: ignore[arg-type]  # both tasks have ended well

    # ------------------------------------------------------------ rules
    def _by_rules(self, message: MakePlan, brief: _Brief) -> Planned:
        if message.context:
            log.warning(
                "[PLANNER] the rules read the goal only: the context (%s) is not used", ", ".join(message.context)
            )
        form = parse_goal(message.goal)
        steps = compile_form(form, actions=set(brief.catalogue.actions))
        plan = parse_plan(
            {"goal": message.goal, "reasoning": "compiled from the intent form", "steps": steps},
            catalogue=brief.catalogue.actions,
        )
        return Planned(plan=plan, planner="rules", form=form.as_json(), route=brief.route.name)

    # ------------------------------------------------------------ a model
    async def _by_model(self, message: MakePlan, brief: _Brief) -> Planned:
        prefix = self._templates.prefix(brief.catalogue, brief.route)
        memories = await self._related(message.goal)
        talk = [
            ChatMessage("system", prefix),
            ChatMessage("user", render_goal(message.goal, brief.intent, memories, message.context)),
        ]
        schema = plan_schema(brief.catalogue.actions)
        for repairs in range(self._max_repairs + 1):
            request = ChatRequest(
                messages=tuple(talk), schema=schema, schema_name="plan", role=brief.route.role, seed=0
            )
            reply = await self._llm.ask(Chat(request=request, stream=True))
            try:
                plan = self._accepted(reply.text, message.goal, brief)
            except PlanError as error:
                self._repairs += 1
                log.warning("[PLANNER] the model's plan cannot be run (try %d): %s", repairs + 1, error)
                talk += [ChatMessage("assistant", reply.text), ChatMessage("user", render_repair(error.problems))]
                said, problems = reply.text, error.problems
            else:
                return Planned(plan=plan, planner="llm", route=brief.route.name, repairs=repairs)
        raise PlanUnusable(_unusable(self._max_repairs + 1, said, problems), said=said, problems=problems)

    def _accepted(self, text: str, goal: str, brief: _Brief) -> Plan:
        plan = require_supported(parse_plan(text, catalogue=brief.catalogue.actions, goal=goal))
        most = brief.route.max_steps
        if len(plan.steps) > most:
            raise PlanError([_too_long(len(plan.steps), most)])
        return plan

    async def _related(self, goal: str) -> tuple[str, ...]:
        """What is remembered that may help; a memory that cannot be read costs its help, not the plan."""
        try:
            found = await self._memory.ask(Recall(query=goal, k=3, kinds=("fact", "episode")))
        except (ActorCrashed, MemoryFailed, LLMError) as error:
            log.warning("[PLANNER] planning without memories: %s", error)
            return ()
        return tuple(memory.content for memory in found)


def _too_long(steps: int, most: int) -> PlanProblem:
    return PlanProblem(kind="wrong_type", path="steps", message=f"the plan has {steps} steps, the limit is {most}")


def _unusable(tries: int, said: str, problems: Collection[object]) -> str:
    shown = said if len(said) <= 300 else f"{said[:300]}..."
    listed = "; ".join(str(getattr(p, "message", p)) for p in problems)
    return (
        f"the model did not give a plan that can be run in {tries} tries. Last problems: {listed}. "
        f"It said: {shown!r}. Try a more capable model (`llm.model`), or raise `planner.max_repairs`."
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of the first task that failed: the other was cancelled for it."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
