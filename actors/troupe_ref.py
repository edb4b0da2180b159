"""What the caller of a running troupe holds."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence

from trouper.runtime import ActorError, EventStream, Plan, PlanSource, SupervisorRef, System, parse_plan

from .memory import Forget, Recall, Recalled, Remember
from .messages import Execute, MakePlan, Planned, RunPlan, Settle
from .orchestrator import check_goal
from .outcome import ErrorInfo, Outcome, RunStatus
from .planner import PlannerMode
from .policies import require_supported
from .tool import Tool

log: logging.Logger = logging.getLogger("trouper.troupe")

GRACE = 15.0
"""Seconds that a run may need beyond its own deadline to say how it ended."""


def new_run_id() -> str:
    """A name for a run that nobody else has."""
    return f"run-{secrets.token_hex(6)}"


class Troupe:
    """A running troupe: what `open_troupe` gives. Its methods may be called from any task, several at once."""

    def __init__(
        self,
        system: System,
        supervisor: SupervisorRef,
        tools: Mapping[str, Tool],
        *,
        planner: PlannerMode,
        why: str,
        timeout: float,
    ) -> None:
        self.system = system
        self.tools = tools
        self.planner = planner
        self.why = why
        self.timeout = timeout
        self._orchestrator = supervisor.child("orchestrator")
        self._planner = supervisor.child("planner")
        self._memory = supervisor.child("memory")
        self._supervisor = supervisor

    async def execute(
        self, goal: str, *, timeout: float | None = None, context: Mapping[str, object] | None = None
    ) -> Outcome:
        """Plan a goal, run the plan, answer.

        Args:
            goal: What is wanted, in a sentence.
            timeout: Seconds for the whole run; the configuration's `run.timeout` if None.
            context: Further facts for a model that plans; the rules read the goal only, and say so.

        Cancelled: the run is cancelled with everything it started.

        Returns:
            How it ended. A run that has started always gives an outcome, also when it failed.

        Raises:
            GoalRefused: the goal is empty or too long, or the rules do not understand it.
        """
        limit = timeout if timeout is not None else self.timeout
        run_id = new_run_id()
        message = Execute(goal=goal, run_id=run_id, timeout=limit, context=context or {})
        try:
            return await self._orchestrator.ask(message, timeout=limit + GRACE)
        except ActorError as error:
            return Outcome(run_id=run_id, goal=goal, status=RunStatus.FAILED, error=ErrorInfo.of(error))

    async def plan(self, goal: str, *, timeout: float | None = None) -> Planned:
        """Plan a goal and run nothing, within `timeout` seconds (`run.timeout` of the configuration if None).

        Raises:
            GoalRefused: the rules do not understand it.
            PlanUnusable: the model's answers did not become a plan.
            LLMError: the model could not be asked.
        """
        limit = timeout if timeout is not None else self.timeout
        return await self._planner.ask(MakePlan(goal=check_goal(goal)), timeout=limit)

    async def run_plan(self, plan: Plan | PlanSource, *, timeout: float | None = None) -> Outcome:
        """Run a ready plan; needs no model. Cancelled: the run is cancelled with everything it started.

        Raises:
            PlanError: it is not a plan, or not one for these tools; all problems at once.
        """
        limit = timeout if timeout is not None else self.timeout
        source = plan.as_json() if isinstance(plan, Plan) else plan
        signatures = {name: tool.signature() for name, tool in self.tools.items()}
        checked = require_supported(parse_plan(source, catalogue=signatures))
        run_id = new_run_id()
        message = RunPlan(plan=checked, run_id=run_id, timeout=limit)
        try:
            return await self._orchestrator.ask(message, timeout=limit + GRACE)
        except ActorError as error:
            return Outcome(run_id=run_id, status=RunStatus.FAILED, plan=checked, error=ErrorInfo.of(error))

    async def remember(self, texts: str | Sequence[str], meta: Mapping[str, object] | None = None) -> tuple[int, ...]:
        """Store facts; gives their ids. The same text again gives the old id. Cancelled: all or none were stored."""
        given = (texts,) if isinstance(texts, str) else tuple(texts)
        return await self._memory.ask(Remember(texts=given, meta={"kind": "fact", **(meta or {})}))

    async def recall(self, query: str, k: int | None = None) -> tuple[Recalled, ...]:
        """The facts nearest in meaning to `query`, best first, at most `k` (`memory.k` if None)."""
        return await self._memory.ask(Recall(query=query, k=k, kinds=("fact",)))

    async def forget(self, ids: Sequence[int]) -> int:
        """Erase memories for good; gives how many there were."""
        return await self._memory.ask(Forget(ids=tuple(ids)))

    def events(self, capacity: int = 1024) -> EventStream:
        """What happens, from supervision to steps: `with troupe.events() as events: async for event in events`."""
        return self.system.events(capacity)

    async def settle(self) -> None:
        """Wait until what goes on behind the answers (memory updates) is done."""
        try:
            await self._orchestrator.ask(Settle(), timeout=self.timeout)
        except ActorError as error:
            log.warning("[TROUPE] something behind the answers may not have been done: %s", error)
