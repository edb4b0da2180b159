"""What the caller of a running troupe holds."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import AsyncIterable, Mapping, Sequence

import trio

from trouper.runtime import (
    ActorError,
    Budget,
    EventStream,
    Plan,
    PlanError,
    PlanSource,
    Seconds,
    SupervisorRef,
    System,
    parse_plan,
)

from .documents import IndexDocuments, IndexReport, Passage, SearchDocuments
from .memories import Memories, Where
from .memory_data import OWN
from .memory_messages import Recalled, Remembered
from .messages import Approve, Execute, MakePlan, Planned, ResumeRun, RunPlan, RunText, Settle
from .orchestrator import check_goal
from .outcome import ErrorInfo, Outcome, RunStatus
from .planner import PlannerMode
from .run_stream import CAPACITY, RunStream
from .tool import Tool

log: logging.Logger = logging.getLogger("trouper.troupe")

MOST_INDEXING: float = 86_400.0
"""Seconds that indexing may take where nobody says otherwise; what was interrupted goes on from where it was."""

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
        undoing: float = 0.0,
    ) -> None:
        self._grace = GRACE + undoing
        self.system = system
        self.tools = tools
        self.planner = planner
        self.why = why
        self.timeout = timeout
        self._orchestrator = supervisor.child("orchestrator")
        self._planner = supervisor.child("planner")
        self._memory = supervisor.child("memory")
        self._documents = supervisor.child("documents")
        self._supervisor = supervisor

    async def execute(
        self,
        goal: str,
        *,
        timeout: float | None = None,
        budget: Budget | None = None,
        context: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
    ) -> Outcome:
        """Plan a goal, run the plan, answer.

        Args:
            goal: What is wanted, in a sentence.
            timeout: Seconds for the whole run; the configuration's `run.timeout` if None.
            budget: What the run may spend; it can only be less than the configuration's `budget`.
            context: Further facts for a model that plans; the rules read the goal only, and say so.
            idempotency_key: The same key again gives the outcome of the run that had it first, as far as the journal
                goes back; one that is at work is waited for.

        Cancelled: the run is cancelled with everything it started.

        Returns:
            How it ended. A run that has started always gives an outcome, also when it failed.

        Raises:
            GoalRefused: the goal is empty or too long, or the rules do not understand it.
        """
        return await self._execute(new_run_id(), goal, timeout, budget, context, idempotency_key)

    def stream(
        self,
        goal: str,
        *,
        timeout: float | None = None,
        budget: Budget | None = None,
        context: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        capacity: int = CAPACITY,
    ) -> RunStream:
        """Execute a goal and follow it: `async with troupe.stream(goal) as events: async for event in events: ...`.

        The events are those of this run: its records, its steps, and what its models say, piece by piece (`ModelText`).
        They end with the run; then `events.outcome` is how it ended. Leaving the block early, or being cancelled in it,
        cancels the run with everything it started. The arguments are those of `execute`, and `capacity` is how many
        events are kept for a reader who is slower than the run; further ones are dropped and counted.

        Raises:
            GoalRefused: as `execute`; out of the block, where the events would come.
        """
        run_id = new_run_id()

        async def execute() -> Outcome:
            return await self._execute(run_id, goal, timeout, budget, context, idempotency_key)

        return RunStream(self.system, run_id, execute, capacity=capacity)

    async def _execute(
        self,
        run_id: str,
        goal: str,
        timeout: float | None,
        budget: Budget | None,
        context: Mapping[str, object] | None,
        idempotency_key: str | None,
    ) -> Outcome:
        limit = self._limit(timeout)
        message = Execute(
            goal=goal,
            run_id=run_id,
            timeout=limit,
            budget=budget,
            context=context or {},
            idempotency_key=idempotency_key,
        )
        try:
            return await self._orchestrator.ask(message, timeout=limit + self._grace)
        except ActorError as error:
            return Outcome(run_id=run_id, goal=goal, status=RunStatus.FAILED, error=ErrorInfo.of(error))

    def _limit(self, timeout: float | None) -> float:
        """What the caller said, else what the configuration says: before anything has begun."""
        if timeout is None:
            return self.timeout
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise TypeError(f"`timeout` is a number of seconds, or None for `run.timeout`; it is {timeout!r}")
        if math.isnan(timeout):
            raise ValueError("`timeout` is NaN, which is no number of seconds: give one, or None for `run.timeout`")
        return timeout

    async def plan(self, goal: str, *, timeout: float | None = None) -> Plan:
        """Plan a goal and run nothing, within `timeout` seconds (`run.timeout` of the configuration if None).

        Raises:
            GoalRefused, PlanUnusable, LLMError: as `planned`.
        """
        return (await self.planned(goal, timeout=timeout)).plan

    async def planned(self, goal: str, *, timeout: float | None = None) -> Planned:
        """The same plan with who made it, the reading of the goal, the route and the repairs it took.

        Raises:
            GoalRefused: the rules do not understand it.
            PlanUnusable: the model's answers did not become a plan.
            LLMError: the model could not be asked.
        """
        limit = self._limit(timeout)
        return await self._planner.ask(MakePlan(goal=check_goal(goal)), timeout=limit)

    async def run_plan(
        self,
        plan: Plan | PlanSource | AsyncIterable[str],
        *,
        timeout: float | None = None,
        budget: Budget | None = None,
    ) -> Outcome:
        """Run a ready plan, or one whose text is still arriving in pieces; needs no model.

        Of a plan that is still arriving, steps without an effect start as soon as they are there; the others wait until
        it is complete and valid. Cancelled: the run is cancelled with everything it started.

        Raises:
            PlanError: it is not a plan, or not one for these tools; all problems at once. What ran of it was cancelled.
        """
        limit = self._limit(timeout)
        if isinstance(plan, AsyncIterable):
            return await self._run_text(plan, limit, budget)
        source = plan.as_json() if isinstance(plan, Plan) else plan
        signatures = {name: tool.signature() for name, tool in self.tools.items()}
        checked = parse_plan(source, catalogue=signatures)
        run_id = new_run_id()
        message = RunPlan(plan=checked, run_id=run_id, timeout=limit, budget=budget)
        try:
            return await self._orchestrator.ask(message, timeout=limit + self._grace)
        except ActorError as error:
            return Outcome(run_id=run_id, status=RunStatus.FAILED, plan=checked, error=ErrorInfo.of(error))

    async def _run_text(self, chunks: AsyncIterable[str], limit: float, budget: Budget | None) -> Outcome:
        """The pieces are read in the caller's task: what makes them may be bound to it."""
        run_id = new_run_id()
        send, receive = trio.open_memory_channel[str](64)
        message = RunText(chunks=receive, run_id=run_id, timeout=limit, budget=budget)
        found: list[Outcome | PlanError] = []
        over = trio.Event()

        async def run() -> None:
            try:
                found.append(await self._orchestrator.ask(message, timeout=limit + self._grace))
            except PlanError as error:
                found.append(error)
            except ActorError as error:
                found.append(Outcome(run_id=run_id, status=RunStatus.FAILED, error=ErrorInfo.of(error)))
            nursery.cancel_scope.cancel()  # nobody reads any more

        broken: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            try:
                async with send:
                    async for chunk in chunks:
                        await send.send(chunk)
            except Exception as error:  # noqa: BLE001 - whatever the source raised is raised, without our nursery around it
                broken = error
                nursery.cancel_scope.cancel()
            await over.wait()  # the run has its deadline
        if broken is not None:
            raise broken
        if isinstance(found[0], PlanError):
            raise found[0]
        return found[0]

    async def approve(
        self, run_id: str, step_id: int | str, ok: bool, note: str | None = None, *, result: object = None
    ) -> None:
        """Answer the question about a step. A run that waits here goes on at once, a suspended one on `resume`.

        `step_id` is the id of the step, or the address of the question where it is inside of others. Where the step is
        in doubt, `ok` says whether it has happened, and `result` what it gave.

        Raises:
            UnknownRun: there is no such run.
            NotWaiting: it does not ask about that step.
        """
        message = Approve(run_id=run_id, step=step_id, ok=ok, note=note, result=result)
        await self._orchestrator.ask(message, timeout=self.timeout)

    async def resume(
        self, run_id: str | None = None, *, timeout: float | None = None, budget: Budget | None = None
    ) -> Outcome:
        """Go on with a run that was suspended or cut off: what is finished is not run again.

        Without `run_id` it is the last one that is not at an end. A run that has ended gives its outcome again.
        Cancelled: the run is cancelled.

        Raises:
            UnknownRun: there is no such run.
            NotWaiting: the run is at work.
        """
        limit = self._limit(timeout)
        message = ResumeRun(run_id=run_id, timeout=limit, budget=budget)
        return await self._orchestrator.ask(message, timeout=limit + self._grace)

    @property
    def memories(self) -> Memories:
        """The memory with all that it can do; `memories.of("anna")` is the part of it that belongs to one user."""
        return Memories(self._memory)

    async def remember(
        self,
        texts: str | Sequence[str],
        meta: Mapping[str, object] | None = None,
        *,
        namespace: str | None = None,
        category: str | None = None,
        tags: Sequence[str] = (),
        ttl: Seconds | None = None,
    ) -> Remembered:
        """Store facts; gives their ids. The same text again gives the old id. Cancelled: all or none were stored.

        `memories.remember` takes more: salience and its half-life, what to do with near duplicates.
        """
        memories = Memories(self._memory, namespace)
        return await memories.remember(texts, meta, category=category, tags=tags, ttl=ttl)

    async def recall(
        self,
        query: str,
        k: int | None = None,
        *,
        namespace: str | None = None,
        categories: Sequence[str] = (),
        tags: Sequence[str] = (),
        where: Where | None = None,
    ) -> tuple[Recalled, ...]:
        """The memories that fit `query` best, best first, at most `k` (`memory.k` if None), of one namespace only.

        Without `categories` all but those that runs and conversations leave behind: `episode`, `turn`, `summary` and
        `profile`.
        `memories.recall` takes more: variety, recency, how much something matters, what was superseded.
        """
        memories = Memories(self._memory, namespace)
        without = () if categories else OWN
        return await memories.recall(query, k, categories=categories, without=without, tags=tags, where=where)

    async def forget(
        self, ids: int | Sequence[int] | None = None, *, namespace: str | None = None, where: Where | None = None
    ) -> int:
        """Erase memories for good: by id, by their metadata, or (with nothing but `namespace`) a whole namespace."""
        everything = ids is None and not where and namespace is not None
        return await Memories(self._memory, namespace).forget(ids, where=where, everything=everything)

    async def index_documents(self, paths: str | Sequence[str], *, timeout: float = MOST_INDEXING) -> IndexReport:
        """Bring the index of documents up to date with the files at and below `paths`, within `timeout` seconds.

        Cancelled: what was written stays, and the next attempt goes on from there.

        Raises:
            DocumentsRefused: a path is not there and nothing of it was indexed (else that is forgotten), or it cannot
                be looked at, or has too many files below it; nothing was done.
            LLMError: embeddings could not be had; what was written before stays.
            DocumentsFailed: the store failed; what was written before stays.
        """
        given = (paths,) if isinstance(paths, str) else tuple(paths)
        return await self._documents.ask(IndexDocuments(given), timeout=timeout)

    async def search_documents(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """The passages of indexed documents that answer `query` best, at most `k`, best first.

        Raises:
            DocumentsRefused: the query is empty or far too long, or `k` makes no sense.
            DocumentsFailed: the store could not be read.
        """
        return await self._documents.ask(SearchDocuments(query, k))

    def events(self, capacity: int = 1024) -> EventStream:
        """What happens, from supervision to steps: `with troupe.events() as events: async for event in events`."""
        return self.system.events(capacity)

    async def settle(self) -> None:
        """Wait until what goes on behind the answers (memory updates) is done."""
        try:
            await self._orchestrator.ask(Settle(), timeout=self.timeout)
        except ActorError as error:
            log.warning("[TROUPE] something behind the answers may not have been done: %s", error)
