"""A planner among its peers, without the rest of the troupe: a scripted model behind the real door."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import attrs
import trio

from trouper.actors.catalogue import Catalogue
from trouper.actors.intent import IntentAnalyst
from trouper.actors.limiter import Limiter
from trouper.actors.llm import LLMDoor
from trouper.actors.memory import Recall, Recalled
from trouper.actors.messages import MakePlan, Planned, Previous
from trouper.actors.outcome import ErrorInfo, StepOutcome, StepStatus
from trouper.actors.planner import Planner
from trouper.actors.router import Router
from trouper.actors.tool import Effect, Tool, tool
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.runtime import Actor, Plan, Ref, Step, System, handler, open_system, parse_plan


@tool(name="search", effect=Effect.PURE)
async def search(q: str) -> dict[str, str]:
    """Search for something."""
    return {"t": q}


@tool(name="compare", effect=Effect.PURE)
async def compare(l: object, r: object) -> dict[str, str]:  # noqa: E741 - the sample plan's names
    """Compare two results."""
    return {"t": f"{l} {r}"}


@tool(name="reply_to_user", effect=Effect.PURE)
async def reply_to_user(message: str) -> str:
    """Answer."""
    return message


@tool(name="send", effect=Effect.ONCE)
async def send(to: str, text: str = "") -> dict[str, str]:
    """Send a letter."""
    return {"to": to}


TOOLS: Mapping[str, Tool] = {t.name: t for t in (search, compare, reply_to_user, send)}


class NoMemory(Actor):
    """A memory that remembers nothing."""

    @handler
    async def recall(self, message: Recall) -> tuple[Recalled, ...]:
        return ()


@attrs.define
class Feed:
    """Writes down what is offered and retracted, and when."""

    said: list[tuple[str, object]] = attrs.field(factory=list)
    at: list[float] = attrs.field(factory=list)
    on_offer: Callable[[Step], None] = lambda step: None

    def offer(self, step: Step) -> None:
        self.on_offer(step)
        self.said.append(("offer", step.id))
        self.at.append(trio.current_time())

    def retract(self, why: str) -> None:
        self.said.append(("retract", why))
        self.at.append(trio.current_time())

    @property
    def offers(self) -> list[int]:
        """What is on offer now."""
        standing: list[int] = []
        for what, told in self.said:
            if what == "retract":
                standing.clear()
            else:
                standing.append(told)
        return standing

    @property
    def retractions(self) -> list[str]:
        return [told for what, told in self.said if what == "retract"]


@attrs.frozen(kw_only=True)
class Set:
    """The planner and what is around it."""

    system: System
    planner: Ref[Planner]
    model: ScriptedModel
    feed: Feed = attrs.field(factory=Feed)

    async def plan(self, *, fed: bool = False, previous: Previous | None = None) -> Planned:
        feed = self.feed if fed else None
        return await self.planner.ask(MakePlan(goal="Do it, please", previous=previous, feed=feed), timeout=60)

    @property
    def prompts(self) -> list[str]:
        """The user's part of each request that began a talk, or the last word of one that went on."""
        return [request.messages[-1].content for request in self.model.requests]


@asynccontextmanager
async def planning(script: object, *, mode: str = "llm", repairs: int = 2, **model: object) -> AsyncIterator[Set]:
    chat = ScriptedModel(script, **model)
    async with open_system() as system:
        await system.spawn(functools.partial(Limiter, None), name="limiter")
        await system.spawn(functools.partial(LLMDoor, chat, max_retries=0), name="llm")
        await system.spawn(IntentAnalyst, name="intent")
        await system.spawn(Router, tuple(TOOLS), name="router")
        await system.spawn(Catalogue, TOOLS, name="catalogue")
        await system.spawn(NoMemory, name="memory")
        planner = await system.spawn(functools.partial(Planner, mode, max_repairs=repairs), name="planner")
        yield Set(system=system, planner=planner, model=chat)


def steps(*entries: dict[str, object]) -> str:
    """A plan as a model writes it."""
    return json.dumps({"steps": list(entries)})


def plan_of(*entries: dict[str, object]) -> Plan:
    return parse_plan({"steps": list(entries)})


def ok(step: int, action: str, result: object = None, **parameters: object) -> StepOutcome:
    return StepOutcome(id=step, action=action, status=StepStatus.OK, attempts=1, parameters=parameters, result=result)


def failed(
    step: int, action: str, *, kind: str = "tool_error", in_doubt: bool = False, **parameters: object
) -> StepOutcome:
    return StepOutcome(
        id=step,
        action=action,
        status=StepStatus.FAILED,
        attempts=1,
        parameters=parameters,
        error=ErrorInfo(kind, f"{action} did not work"),
        in_doubt=in_doubt,
    )


def skipped(step: int, action: str, cause: int) -> StepOutcome:
    return StepOutcome(id=step, action=action, status=StepStatus.SKIPPED, reason="dependency", cause=cause)


def before(plan: Plan, *outcomes: StepOutcome, why: str = "step 2 failed") -> Previous:
    return Previous(plan=plan, outcomes={outcome.id: outcome for outcome in outcomes}, why=why)
