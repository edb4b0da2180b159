"""The verifier: looks again, by other means, at what a step says it has done.

A tool that knows how to be checked brings its own check; for any other result the claims in it are checked that can be
(a file's hash, a count against its list, a quoted line against its file). What cannot be checked is `unverifiable`,
never `ok`. The verifier is given the step's own input and output and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import cast

from trouper.runtime import Actor, handler

from .claims import check_claims
from .messages import VerifyStep
from .outcome import Verdict, VerdictKind
from .protocols import Evidence, Json
from .tool import Checked, Tool

log: logging.Logger = logging.getLogger("trouper.verifier")


def judge(declared: list[str], checked: Checked) -> Verdict:
    """The verdict on what was found: any problem refutes, any check that held is `ok`, no check is no verdict."""
    problems = tuple(declared) + checked.problems
    if problems:
        kind, confidence = VerdictKind.REFUTED, 1.0
    elif checked.checks:
        kind, confidence = VerdictKind.OK, 1.0
    else:
        kind, confidence = VerdictKind.UNVERIFIABLE, 0.0
    return Verdict(verdict=kind, confidence=confidence, checks=checked.checks, problems=problems)


class Verifier(Actor):
    """Answers `VerifyStep`, several at a time."""

    def __init__(self, tools: Mapping[str, Tool], evidence: Evidence) -> None:
        self._tools = tools
        self._evidence = evidence

    @handler(concurrent=8)
    async def verify(self, message: VerifyStep) -> Verdict:
        """Check one step. A check that itself fails leaves the step unverifiable and says why."""
        tool = self._tools[message.action]
        try:
            verdict = judge(tool.check_output(message.result), await self._check(tool, message))
        except Exception as error:  # noqa: BLE001 - a tool author's check may raise anything; it is reported
            why = f"the check of {message.action!r} raised {type(error).__name__}: {error}"
            verdict = Verdict(verdict=VerdictKind.UNVERIFIABLE, problems=(why,))
        log.info("[VERIFIER] %s: %s", message.action, verdict.verdict.value)
        return verdict

    async def _check(self, tool: Tool, message: VerifyStep) -> Checked:
        result = cast("Json", message.result)
        if tool.verify is None:
            return await check_claims(result, self._evidence)
        found = await tool.verify(message.parameters, result, self._evidence)
        # A list is the short form: the problems, of a check that was made.
        return found if isinstance(found, Checked) else Checked(tuple(found), (f"the check of {tool.name}",))
