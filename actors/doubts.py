"""What a program had in hand with a ONCE tool when it was killed: has it happened?

Nobody wrote down how the call ended, so it is not made again, and nothing is built on it. The tool may know (its
`reconcile` looks, for instance in the outbox); else a person is asked, and until there is an answer the step and the
run are `in_doubt`. Yes: the step is done, with the result that was told. No: it is run again like one that never began.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping

import trio

from trouper.runtime import Seconds

from .outcome import Question, StepOutcome, StepStatus, address_of
from .records import ApprovalGiven
from .runlog import RunLog
from .secrets import redact
from .tool import Tool
from .tool_drive import driven
from .tool_failure import told

log: logging.Logger = logging.getLogger("trouper.orchestrator")

MOST_SHOWN = 400
"""Characters of the parameters that a question shows."""
TO_LOOK: Seconds = 30.0
"""What a `reconcile` may take."""
BY_TOOL = "the tool's reconcile"
"""What a decision notes that no person has made."""


def doubt_about(place: RunLog, step: int, *, known: Collection[str] = ()) -> Question:
    """What a person is asked about a step of `place` that was in hand; `known` are secrets."""
    begun = place.begun(step)
    assert begun is not None  # noqa: S101 - only what has begun can have been in hand
    shown = json.dumps(redact(begun.parameters, known), ensure_ascii=False, default=str)
    cut = shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}..."
    where = address_of(step, place.inside)
    return Question(
        step=step,
        question=f"Step {where} ({begun.action}) was in hand with {cut} when the program ended. Has it happened?",
        inside=place.inside,
        doubt=True,
    )


async def reconciled(tool: Tool | None, parameters: Mapping[str, object], key: str) -> tuple[bool, object] | None:
    """What the tool itself says: whether it has happened, and with which result. None: it cannot say.

    A `reconcile` that raises, or takes longer than 30 seconds, cannot say. Cancelled: it is cancelled.
    """
    if tool is None or tool.reconcile is None:
        return None
    look = tool.reconcile

    async def ask() -> object:
        return await look(parameters, key)

    try:
        with trio.fail_after(TO_LOOK):
            said = await driven(tool, ask())
    except Exception as error:  # noqa: BLE001 - its author's code may raise anything; a person is asked instead
        log.warning("[ORCHESTRATOR] the reconcile of %s cannot say what happened: %s", tool.name, told(error))
        return None
    if said is None:
        return None
    return (False, None) if said is False else (True, None if said is True else said)


def begun_key(place: RunLog, key: int) -> str:
    """The idempotency key that the tool was given, if it is the one that Trouper makes."""
    where = address_of(key, place.inside)
    again = f"@{place.root.generation}" if place.root.generation > 1 else ""
    return f"{place.run_id}:{where}{again}"


def happened(place: RunLog, key: int, said: ApprovalGiven, *, now: float) -> StepOutcome:
    """The outcome of a step, or of an element, of which was said that it has happened."""
    begun = place.begun(key)
    assert begun is not None  # noqa: S101 - the same
    return StepOutcome(
        id=place.inside[-1] if place.of is not None else key,
        action=begun.action,
        status=StepStatus.OK,
        attempts=begun.attempt,
        parameters=begun.parameters,
        result=said.result,
        ready=begun.at,
        started=begun.at,
        ended=max(now, begun.at),
    )


def said_by(said: ApprovalGiven) -> str:
    """The check that a decision counts as."""
    return f"{BY_TOOL} says that it has happened" if said.note == BY_TOOL else "a person says that it has happened"
