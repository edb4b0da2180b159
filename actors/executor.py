"""The executor: runs plans, several at a time, within the limits on parallel steps; undoes what failed runs did."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import cast

import attrs
import trio

from trouper.runtime import Actor, Budget, Journal, Ledger, handler

from .compensation import Undoing
from .dispatch import Caps
from .messages import AnswerGiven, CompensateRun, ExecutePlan
from .permissions import PermissionPolicy
from .plan_run import PlanRun
from .plan_stream_run import StreamedRun
from .records import LoopBlocked
from .run_place import ParallelExecution, RunPlace, Scribe, Verification
from .tool import Tool, ToolContext
from .tool_place import BARE, ToolPlace

__all__ = ["Executor", "ParallelExecution", "Verification"]


class Executor(Actor):
    """Answers `ExecutePlan` when every step of the plan has ended; the outcomes are in the log it was given.

    Cancelled: the tools that run are cancelled; the log says which steps were in hand.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        *,
        parallel: ParallelExecution,
        verification: Verification,
        workspace: str,
        policy: PermissionPolicy | None = None,
        journal: Journal | None = None,
        tool_place: ToolPlace = BARE,
        approval_wait: float = 0.0,
        secrets: tuple[str, ...] = (),
        seed: int | None = None,
    ) -> None:
        self._tools = tools
        self._parallel = parallel
        self._verification = verification
        self._workspace = workspace
        self._policy = policy if policy is not None else PermissionPolicy()
        self._journal = journal
        self._tool_place = tool_place
        self._approval_wait = approval_wait
        self._secrets = secrets
        self._random = random.Random(seed)  # noqa: S311 - jitter, not secrets
        self._caps = Caps(tools, parallel.effects)
        self._runs: dict[str, PlanRun] = {}

    async def on_start(self) -> None:
        """Find the verifier."""
        self._verifier = self.ctx.peer("verifier") if self._verification.enabled else None

    @handler(concurrent=64)
    async def execute(self, message: ExecutePlan) -> None:
        """Run what the log does not have yet. Ends too when only a person can say how to go on."""
        place = self._place()
        if message.feed is not None:
            run: PlanRun = StreamedRun(message.log, place, message.feed)
        else:
            run = PlanRun(message.log, place)
        self._runs[message.log.run_id] = run
        try:
            await run.run()
        finally:
            del self._runs[message.log.run_id]

    @handler(concurrent=64)
    async def compensate(self, message: CompensateRun) -> None:
        """Undo, latest first."""
        with trio.move_on_after(message.seconds):
            await Undoing(message.log, self._place()).run()

    @handler(concurrent=64)
    async def answered(self, message: AnswerGiven) -> None:
        """Let the step go on, if its run is here; one that is suspended finds the answer in its log."""
        run = self._runs.get(message.run_id)
        if run is not None:
            run.answered(message.step, message.inside)

    def _place(self) -> RunPlace:
        scribe = Scribe(self.ctx, self._journal)
        books = cast("Ledger | None", self.ctx.baggage.get("budget"))
        return RunPlace(
            tools=self._tools,
            workspace=self._workspace,
            policy=self._policy,
            scribe=scribe,
            caps=self._caps,
            parallel=self._parallel,
            verification=self._verification,
            verifier=self._verifier,
            books=books,
            ledger=books if books is not None and books.budget != Budget() else None,
            tool_place=_telling(self._tool_place, scribe),
            random=self._random,
            approval_wait=self._approval_wait,
            secrets=self._secrets,
        )


def _telling(place: ToolPlace, scribe: Scribe) -> ToolPlace:
    """The place of the tools of one run: whoever blocks the loop is told of as an event too."""

    def blocked(tool: Tool, ctx: ToolContext, seconds: float) -> None:
        place.on_blocked(tool, ctx, seconds)
        scribe.tell(
            LoopBlocked(
                at=trio.current_time(),
                actor=scribe.name,
                run_id=ctx.run_id,
                step=ctx.step_id,
                action=tool.name,
                seconds=seconds,
            )
        )

    return attrs.evolve(place, on_blocked=blocked)
