"""The one sentence and the kind by which a failed run says why: what the plan tolerates is no reason."""

from __future__ import annotations

import pytest

from tests.execution.stage import FOREVER, Stage, run
from trouper import Outcome, RunStatus, StepError

TOLERATED = {"id": 1, "action": "work", "critical": False}


async def failed(*plan: dict[str, object], seconds: float = 0.0) -> Outcome:
    """Steps 1 and 2 fail, step 2 after so many `seconds`."""
    stage = Stage()
    stage.fail_times.update({1: FOREVER, 2: FOREVER})
    stage.how[2] = lambda: StepError("two has had enough.")
    stage.seconds[2] = seconds
    outcome = await run(list(plan), [stage.tool("work")])
    assert outcome.status is RunStatus.FAILED
    return outcome


@pytest.mark.parametrize("seconds", [0.0, 5.0])
async def test_a_tolerated_failure_gives_neither_the_kind_nor_the_words(seconds, autojump_clock) -> None:
    """Was: the kind of whichever step had failed first, and both failures told as the reason."""
    late = {"id": 2, "action": "work", "timeout_s": 1.0} if seconds else {"id": 2, "action": "work"}
    outcome = await failed(TOLERATED, late, {"id": 3, "action": "work", "dependencies": [2]}, seconds=seconds)

    assert outcome.error.kind == outcome.steps[2].error.kind == ("timeout" if seconds else "step")
    assert outcome.steps[1].error.kind == "tool_error"
    assert "step 1" not in outcome.error.message
    assert outcome.error.message.endswith(". 1 step that needed it did not run")
    assert outcome.error.message.count("step 2 (work)") == 1
    assert outcome.steps[2].error.message in outcome.error.message


async def test_steps_that_were_not_wanted_needed_nothing(autojump_clock) -> None:
    """Was: whatever did not run was counted, also behind a condition or a tolerated failure."""
    outcome = await failed(
        TOLERATED,
        {"id": 2, "action": "work"},
        {"id": 3, "action": "work", "condition": False},
        {"id": 4, "action": "work", "dependencies": [3]},
        {"id": 5, "action": "work", "dependencies": [1]},
    )

    assert outcome.error.message.startswith("step 2 (work): ")
    assert "did not run" not in outcome.error.message


async def test_a_step_that_must_run_and_needs_one_that_may_fail_is_told_with_it(autojump_clock) -> None:
    outcome = await failed(TOLERATED, {"id": 3, "action": "work", "dependencies": [1], "critical": True})

    assert outcome.error.kind == "tool_error"
    assert outcome.error.message == "step 1 (work): step 1 fails; 1 step that needed it did not run"
