"""The verifier: looks again, by other means, at what a step says it has done.

A tool that knows how to be checked brings its own check; for any other result the claims in it are checked that can be
(a file's hash, a count against its list, a quoted line against its file). What cannot be checked is `unverifiable`,
never `ok`. The verifier is given the step's own input and output and nothing else, and no secrets: they are taken out
before it is asked, so that no check, log or crash report can have them.

A secret that filled a whole value reads `[secret]` wherever it stands, so comparing it with itself still holds. One
that was taken out of the middle of a text makes the text another one; a check that does not agree then has shown
nothing, and the step is unverifiable.

Where nothing could be checked a model may be asked for its opinion (`verifier.model`). If it cannot be had there is no
verdict at all, and a critical step has failed: a verifier that was configured and does not answer is not left out.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final, cast

from trouper.runtime import (
    Actor,
    ActorError,
    BadResponse,
    BudgetExceeded,
    LLMError,
    ModelUnavailable,
    Ref,
    ToolError,
    handler,
)

from .claims import check_claims
from .messages import VerifyStep
from .model_messages import Chat, DropAnswer
from .model_opinion import opinion_request, opinion_verdict
from .outcome import Verdict, VerdictKind
from .protocols import Evidence, Json
from .secrets import is_blurred, redact
from .tool import Checked, Tool
from .tool_drive import driven
from .tool_failure import told

log: logging.Logger = logging.getLogger("trouper.verifier")

BLURRED: Final = "a secret was taken out of what was checked"
"""The first problem of a verdict that could not be had for that reason, which is no fault of anybody's."""


def question_on(
    tool: Tool, parameters: Mapping[str, object], result: object, *, known: Collection[str] = ()
) -> VerifyStep:
    """What the verifier is asked about a call of `tool`: without secrets, of which `known` are some.

    What the tool declares is compared here, with the result as it is: a number that was taken out is no number.
    """
    return VerifyStep(
        action=tool.name,
        parameters=redact(parameters, known),
        result=redact(result, known),
        declared=tuple(tool.check_output(result)),
    )


def judge(declared: Sequence[str], checked: Checked) -> Verdict:
    """The verdict on what was found: any problem refutes, any check that held is `ok`, no check is no verdict.

    It is as sure as the check says it is; what the declaration decides, and a check that says nothing, is sure.
    """
    sure = 1.0 if declared or checked.confidence is None else checked.confidence
    problems = (*declared, *checked.problems)
    if problems:
        kind = VerdictKind.REFUTED
    elif checked.checks:
        kind = VerdictKind.OK
    else:
        kind, sure = VerdictKind.UNVERIFIABLE, 0.0
    return Verdict(verdict=kind, confidence=sure, checks=checked.checks, problems=problems)


class Verifier(Actor):
    """Answers `VerifyStep`, several at a time.

    Args:
        tools: Whose results are checked.
        evidence: What a check may look at.
        model: The door to models, a ref or the id of a peer, where one is to be asked about what cannot be checked.
    """

    def __init__(self, tools: Mapping[str, Tool], evidence: Evidence, *, model: Ref[Actor] | str | None = None) -> None:
        self._tools = tools
        self._evidence = evidence
        self._model_id = model
        self._model: Ref[Actor] | None = None

    async def on_start(self) -> None:
        """Find the door to models."""
        model = self._model_id
        self._model = self.ctx.peer(model) if isinstance(model, str) else model

    @handler(concurrent=8, raises=(LLMError, BudgetExceeded))
    async def verify(self, message: VerifyStep) -> Verdict:
        """Check one step. A check that itself fails leaves the step unverifiable and says why.

        Raises:
            LLMError: nothing could be checked, and the model that was to be asked instead gave no usable answer.
            BudgetExceeded: the same, because the budget does not allow the question.
        """
        tool = self._tools[message.action]
        declared = message.declared if message.declared is not None else tool.check_output(message.result)
        try:
            verdict = judge(declared, await self._check(tool, message))
        except Exception as error:  # noqa: BLE001 - a tool author's check may raise anything; it is reported
            raised = error.__cause__ if isinstance(error, ToolError) and error.__cause__ is not None else error
            verdict = _no_verdict(f"the check of {message.action!r} raised {told(raised)}")
        if verdict.verdict is VerdictKind.REFUTED and not declared and _unfair(tool, message):
            verdict = _no_verdict(BLURRED, *verdict.problems)
        if self._model is not None and verdict == _NOTHING_CHECKED:
            verdict = await self._opinion(self._model, tool, message)
        log.info("[VERIFIER] %s: %s", message.action, verdict.verdict.value)
        return verdict

    async def _opinion(self, model: Ref[Actor], tool: Tool, message: VerifyStep) -> Verdict:
        request = opinion_request(tool, message)
        try:
            reply = await model.ask(Chat(request=request))
            try:
                return opinion_verdict(reply)
            except BadResponse:
                await model.tell(DropAnswer(request))
                raise
        except ActorError as error:
            raise ModelUnavailable(f"the door to models does not answer: {error}") from error

    async def _check(self, tool: Tool, message: VerifyStep) -> Checked:
        result = cast("Json", message.result)
        verify = tool.verify
        if verify is None:
            return await check_claims(result, self._evidence)

        async def look() -> object:
            return await verify(message.parameters, result, self._evidence)

        # A check is its author's code like the tool and is driven like it: it may call `sys.exit`, or swallow that this
        # question was withdrawn, and ends nobody but itself.
        found = await driven(tool, look())
        if isinstance(found, Checked):
            return found
        if isinstance(found, list | tuple):  # the short form: the problems, of a check that was made
            return Checked(tuple(map(str, found)), (f"the check of {tool.name}",))
        raise TypeError(f"it gave back {found!r:.80}; give back a Checked, or a list of problems")


def _unfair(tool: Tool, message: VerifyStep) -> bool:
    """Whether the tool's own check compared a text that it could not see as it was; claims look out for that."""
    return tool.verify is not None and (is_blurred(message.parameters) or is_blurred(message.result))


def _no_verdict(*problems: str) -> Verdict:
    return Verdict(verdict=VerdictKind.UNVERIFIABLE, problems=problems)


_NOTHING_CHECKED = _no_verdict()
