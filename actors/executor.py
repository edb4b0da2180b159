"""The executor: runs plans, several at a time, within the limits on parallel steps."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from trouper.runtime import Actor, handler

from .messages import ExecutePlan
from .permissions import PermissionPolicy
from .plan_run import ParallelExecution, PlanRun, RunPlace
from .tool import Tool


@attrs.frozen(kw_only=True)
class Verification:
    """Whether results are verified, whether beside the run or awaited, and how long one verdict may take."""

    enabled: bool = True
    background: bool = True
    timeout: float = 30.0


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
    ) -> None:
        self._tools = tools
        self._parallel = parallel
        self._verification = verification
        self._workspace = workspace
        self._policy = policy if policy is not None else PermissionPolicy()

    async def on_start(self) -> None:
        """Find the verifier."""
        self._verifier = self.ctx.peer("verifier") if self._verification.enabled else None

    @handler(concurrent=64)
    async def execute(self, message: ExecutePlan) -> None:
        """Run what the log does not have yet."""
        place = RunPlace(
            tools=self._tools,
            workspace=self._workspace,
            policy=self._policy,
            verifier=self._verifier,
            verdict_timeout=self._verification.timeout,
            background=self._verification.background,
            ctx=self.ctx,
        )
        await PlanRun(message.log, place, self._parallel).run()
