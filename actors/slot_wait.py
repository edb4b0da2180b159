"""Waiting for a slot inside a step that is under way: before an element, after a pause."""

from __future__ import annotations

import trio

from .dispatch import Claim, Dispatch
from .job import Job


async def wait_for_slot(dispatch: Dispatch, job: Job) -> None:
    """Wait until `job` has a slot; how long is a matter of the steps that have one, each of which has its own end.

    Cancelled: it has none, and nobody loses one by it.
    """
    task, asleep = trio.lowlevel.current_task(), False

    def granted() -> None:
        job.holding = True
        if asleep:
            trio.lowlevel.reschedule(task)

    claim = Claim(granted, job.priority or (0.0,), job.caps)

    def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        dispatch.withdraw(claim)
        return trio.lowlevel.Abort.SUCCEEDED

    dispatch.claim(claim)
    dispatch.grant()
    if not job.holding:
        asleep = True
        await trio.lowlevel.wait_task_rescheduled(abort)
