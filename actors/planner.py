"""The planner: a goal in, a validated plan out, or a refusal.

Three ways, said aloud in config, log and answer. `rules`: a grammar fills the intent form and a typed compiler writes
the plan; it refuses whatever it cannot account for word by word. `local-form`: where the rules refuse, a small model
fills that form in, and the goal must bear it out (`local_form`). `llm`: a model writes the plan as JSON, validated in
full and sent back with every problem at most `max_repairs` times. Who wants to can have its steps while it writes.

A plan that goes on from another one is the third way's business: a form has one plan for a goal and no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Literal

import attrs
import trio

from trouper.runtime import (
    Actor,
    ActorCrashed,
    BudgetExceeded,
    LLMError,
    MemoryFailed,
    Plan,
    PlanError,
    PlanningError,
    PlanProblem,
    PlanStream,
    PlanUnusable,
    Step,
    handler,
    parse_plan,
    plan_schema,
)

from .llm import Chat, DropAnswer
from .local_form import understand
from .memory import Recall, Recalled
from .memory_data import PROFILE, SUMMARY, TURN
from .messages import AnalyzeIntent, CatalogueView, GetCatalogue, Intent, MakePlan, Planned, Route, RouteGoal
from .plan_reading import PlanReading
from .prompts import PromptTemplates, render_goal, render_repair
from .protocols import ChatMessage, ChatReply, ChatRequest
from .repetition import WorkDone
from .replanning import render_previous
from .rules import compile_form, parse_goal

log: logging.Logger = logging.getLogger("trouper.planner")

PlannerMode = Literal["rules", "local-form", "llm"]

PIECES = 64
"""Pieces of text between the model and the reader of its plan; it reads each in the turn after it came."""


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

    @handler(concurrent=16, raises=(PlanningError, PlanError, LLMError, LookupError, ActorCrashed, BudgetExceeded))
    async def plan(self, message: MakePlan) -> Planned:
        """Make a plan.

        Cancelled, or ended by an error: whatever was put into the feed has been retracted.

        Raises:
            GoalRefused: the rules do not understand the goal, nor does the form of a small model.
            PlanningError: the rules, or a form, are asked for another plan than their one.
            PlanUnusable: the model's answers did not become a plan.
            LLMError: the model could not be asked.
            BudgetExceeded: asking it would cost more than there is.
        """
        if self._mode != "llm" and message.previous is not None:
            raise PlanningError(
                "the rules have no other plan for this goal; only a model that writes plans can plan anew "
                "(`planner.mode: llm`)"
            )
        brief = await self._brief(message.goal)
        planned = await (self._by_model(message, brief) if self._mode == "llm" else self._by_form(message, brief))
        self._plans += 1
        steps = len(planned.plan.steps)
        log.info("[PLANNER] %s made a plan of %d steps in %d levels", planned.planner, steps, len(planned.plan.levels))
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

    # ------------------------------------------------------------ a form
    async def _by_form(self, message: MakePlan, brief: _Brief) -> Planned:
        """The plan that a form compiles to, which the rules or a small model have filled in."""
        if message.context:
            log.warning(
                "[PLANNER] a form holds the goal only: the context (%s) is not used", ", ".join(message.context)
            )
        if self._mode == "rules":
            form, by = parse_goal(message.goal), "rules"
        else:
            understood = await understand(message.goal, self._ask, role=brief.route.role)
            form, by = understood.form, understood.by
        steps = compile_form(form, actions=set(brief.catalogue.actions))
        plan = parse_plan(
            {"goal": message.goal, "reasoning": "compiled from the intent form", "steps": steps},
            catalogue=brief.catalogue.actions,
        )
        return Planned(plan=plan, planner=by, form=form.as_json(), route=brief.route.name)

    async def _ask(self, request: ChatRequest) -> ChatReply:
        return await self._llm.ask(Chat(request=request))

    # ------------------------------------------------------------ a model
    async def _by_model(self, message: MakePlan, brief: _Brief) -> Planned:
        order = _Order(message, brief)
        talk = await self._opening(message, brief)
        schema = plan_schema(brief.catalogue.actions)
        for repairs in range(self._max_repairs + 1):
            request = ChatRequest(
                messages=tuple(talk), schema=schema, schema_name="plan", role=brief.route.role, seed=0
            )
            reading = PlanReading(order.stream(), message.feed, order.admits())
            try:
                with reading:
                    reply = await self._answer(request, reading)
                    plan = order.accepted(reply.text)
            except PlanError as error:
                self._repairs += 1
                log.warning("[PLANNER] the model's plan cannot be run (try %d): %s", repairs + 1, error)
                await self._llm.tell(DropAnswer(request))
                talk += [ChatMessage("assistant", reply.text), ChatMessage("user", render_repair(error.problems))]
                said, problems = reply.text, error.problems
            except LLMError as error:
                # The door never says a thing twice, so it does not try again once text has come. Here nothing of it
                # is left: what was offered has been retracted.
                if not (error.retryable and reading.begun and repairs < self._max_repairs):
                    raise
                log.warning("[PLANNER] the model broke off in its plan (try %d): %s", repairs + 1, error)
            else:
                reading.confirm(plan)
                return Planned(plan=plan, planner="llm", route=brief.route.name, repairs=repairs)
        raise PlanUnusable(_unusable(self._max_repairs + 1, said, problems), said=said, problems=problems)

    async def _opening(self, message: MakePlan, brief: _Brief) -> list[ChatMessage]:
        """The talk with the model as it begins; of a further plan it begins as that of the first."""
        memories = await self._related(message.goal)
        asked = render_goal(message.goal, brief.intent, memories, message.context)
        if message.previous is not None:
            asked = f"{asked}\n{render_previous(message.previous)}"
        prefix = self._templates.prefix(brief.catalogue, brief.route)
        return [ChatMessage("system", prefix), ChatMessage("user", asked)]

    async def _answer(self, request: ChatRequest, reading: PlanReading) -> ChatReply:
        """The model's answer, after `reading` has seen all of it that came."""
        if not reading.wanted:
            return await self._llm.ask(Chat(request=request, stream=True))
        failure: Exception | None = None
        send, receive = trio.open_memory_channel[str](PIECES)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading.follow, receive)
            with send:  # closing it is what ends the reader
                try:
                    reply = await self._llm.ask(Chat(request=request, stream=True, sink=send))
                except Exception as error:  # noqa: BLE001 - raised below, as itself and not in a group
                    failure = error
        if failure is not None:
            raise failure
        return reply

    async def _related(self, goal: str) -> tuple[Recalled, ...]:
        """What is remembered that may help; a memory that cannot be read costs its help, not the plan."""
        try:
            found = await self._memory.ask(Recall(query=goal, k=3, without=(TURN, SUMMARY, PROFILE)))
        except (ActorCrashed, MemoryFailed, LLMError) as error:
            log.warning("[PLANNER] planning without memories: %s", error)
            return ()
        if found:
            log.info("[PLANNER] planning with memories %s", ", ".join(str(memory.id) for memory in found))
        return found


class _Order:
    """What a plan must be to be taken: for one goal, from one catalogue, after what was done before."""

    def __init__(self, message: MakePlan, brief: _Brief) -> None:
        self._goal = message.goal
        self._actions = brief.catalogue.actions
        self._most = brief.route.max_steps
        self._done: WorkDone | None = None
        self._finished: Mapping[int, Step] = {}
        if message.previous is not None:
            self._done = WorkDone(message.previous, brief.catalogue.effects)
            self._finished = message.previous.finished
        self._taken = self._done.in_doubt - set(self._finished) if self._done is not None else frozenset[int]()

    def stream(self) -> PlanStream:
        """What reads a plan while it is written."""
        return PlanStream(catalogue=self._actions, goal=self._goal, finished=self._finished, taken=self._taken)

    def admits(self) -> Callable[[Step], bool]:
        """Says of one step after another whether it may start before the rest of its plan is there."""
        left = self._most

        def admits(step: Step) -> bool:
            nonlocal left
            left -= _size(step)
            return left >= 0 and not self._repeats(step)

        return admits

    def accepted(self, text: str) -> Plan:
        """The plan that `text` is, with the finished steps in it.

        Raises:
            PlanError: it cannot be run, it is too long, it has nothing new, or it does something again.
        """
        plan = parse_plan(text, catalogue=self._actions, goal=self._goal, finished=self._finished, taken=self._taken)
        steps = [step for step in plan.steps if step.id not in self._finished]
        problems = [problem for step in steps for problem in self._repeats(step)]
        if not steps:
            problems.append(PlanProblem(kind="empty_plan", path="steps", message="the plan has no new steps"))
        number = sum(map(_size, steps))
        if number > self._most:
            problems.append(_too_long(number, self._most))
        if problems:
            raise PlanError(problems)
        return plan

    def _repeats(self, step: Step) -> tuple[PlanProblem, ...]:
        return self._done.problems(step) if self._done is not None else ()


def _size(step: Step) -> int:
    """How many steps a step is: a sub-plan counts with all of its own."""
    return 1 if step.plan is None else 1 + sum(map(_size, step.plan.steps))


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
