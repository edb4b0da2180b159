"""Every error Trouper raises, drawn once.

The class says who can put it right; the message says what happened, to whom, and what to do now.

TrouperError
├── ActorError
│   ├── ActorCrashed                 the handler raised; the cause is attached
│   ├── ActorStopped                 the actor had stopped, or stopped before it answered
│   ├── StartFailed                  `on_start`, `restore` or the constructor raised
│   ├── RestartIntensityExceeded     a supervisor gave up
│   ├── MailboxFull                  (also trio.WouldBlock)
│   ├── AskTimeout                   (also trio.TooSlowError)
│   ├── AskCycle                     the ask would wait for itself
│   ├── ChildError                   the supervisor cannot do that with this child; `.reason` says why
│   ├── HandlerStuck                 no progress for as long as the watchdog allows
│   ├── LinkedActorDown              an actor this one was linked to ended uncleanly
│   └── Ignore                       raised by `on_start`: the actor declines to start, which is no failure
├── SpecError                        all mistakes of a spec at once, in `.problems` (also ValueError)
├── PlanError                        all problems of a plan at once, in `.problems`
├── PlanningError                    the planner could not make a plan
│   ├── GoalRefused                  the goal is outside what the planner knows
│   └── PlanUnusable                 the model's answers did not become a plan within the repairs allowed
├── StepError                        one step could not be run or did not succeed
│   ├── UnknownField                 a reference names a field that the result does not have
│   ├── ConditionFailed              a condition cannot be decided: what it compares does not compare
│   ├── StepTimeout                  the step's own time was over
│   └── ToolError                    the tool said so, or raised
│       ├── BadArguments             the tool was given what it does not take
│       ├── BadResult                the tool gave back what nobody can use
│       ├── ToolDied                 the tool's process ended without a result
│       └── PermissionRefused        the permission policy does not allow it
├── LLMError                         the model could not be asked, or its answer not be used
│   ├── RateLimited
│   ├── ModelTimeout
│   ├── ModelUnavailable
│   ├── BadResponse
│   ├── StreamTruncated
│   ├── Refused
│   ├── LengthCut
│   ├── AuthFailed
│   └── BadRequest
├── BudgetExceeded
├── MemoryFailed                     the memory could not be read or written
│   └── MemoryRefused                the memory was asked for what it does not do; nothing was done
├── DocumentsFailed                  the indexed documents could not be read or written
│   └── DocumentsRefused             the documents were asked for what they do not do; nothing was done
├── RunError                         a run was asked for what it does not have
│   ├── UnknownRun                   the journal has no run of that id
│   └── NotWaiting                   the run waits for no such answer, or for nothing at all
├── JournalError
├── InDoubt                          nobody can say whether the effect happened
└── ConfigError                      all mistakes of a configuration at once, in `.problems`
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import attrs
import trio

if TYPE_CHECKING:
    from ._actor import Actor
    from ._administration import SupervisorRef
    from ._ref import Ref
    from ._server_limits import ServerLimits
    from ._spec import ExitReason

ChildProblem = Literal[
    "already_started",
    "already_present",
    "running",
    "restarting",
    "not_found",
    "simple_one_for_one",
]
"""Why a supervisor cannot do what it was asked to do with a child, in OTP's words."""

ProblemKind = Literal[
    "cycle",
    "self_reference",
    "dangling_dependency",
    "duplicate_id",
    "missing_id",
    "missing_action",
    "wrong_type",
    "empty_plan",
    "unknown_action",
    "missing_parameter",
    "unknown_field",
    "invalid_json",
    "duplicate_key",
]


class TrouperError(Exception):
    """The root: `except trouper.TrouperError` catches whatever Trouper raises on purpose."""

    kind = "error"
    """The word for this error in JSON (`error.kind`), logs and metrics."""


class ActorError(TrouperError):
    """Something about an actor; `actor` is its name."""

    kind = "actor"

    def __init__(self, message: str, *, actor: str = "") -> None:
        super().__init__(message)
        self.actor = actor


class ActorCrashed(ActorError):
    """The handler raised while this ask was in its hands; the cause is `__cause__`."""

    kind = "actor_crashed"

    def __init__(self, message: str, *, actor: str = "", incarnation: int = 0) -> None:
        super().__init__(message, actor=actor)
        self.incarnation = incarnation


class ActorStopped(ActorError):
    """The actor had stopped, or stopped before it answered."""

    kind = "actor_stopped"


class StartFailed(ActorError):
    """The actor's constructor, `restore` or `on_start` raised; its name is free again."""

    kind = "start_failed"


class RestartIntensityExceeded(ActorError):
    """A supervisor gave up on a child: more restarts than its intensity allows within its period."""

    kind = "restart_intensity"


class MailboxFull(ActorError, trio.WouldBlock):
    """The mailbox had no room and the caller did not want to wait."""

    kind = "mailbox_full"


class AskTimeout(ActorError, trio.TooSlowError):
    """No answer within the deadline; the message was withdrawn or its handler cancelled."""

    kind = "ask_timeout"


class AskCycle(ActorError):
    """This ask would wait for an answer that waits for this ask; `chain` names the actors."""

    kind = "ask_cycle"

    def __init__(self, message: str, *, actor: str = "", chain: tuple[str, ...] = ()) -> None:
        super().__init__(message, actor=actor)
        self.chain = chain


class ChildError(ActorError):
    """A supervisor cannot do that with this child now; nothing was changed.

    `reason` is the word to branch on: `already_started` (then `ref` is the child), `already_present`, `running`,
    `restarting`, `not_found`, `simple_one_for_one`.
    """

    kind = "child"

    def __init__(
        self,
        message: str,
        *,
        actor: str = "",
        reason: ChildProblem,
        ref: Ref[Actor] | SupervisorRef | None = None,
    ) -> None:
        super().__init__(message, actor=actor)
        self.reason: ChildProblem = reason
        self.ref = ref


class LinkedActorDown(ActorError):
    """An actor that this one was linked to ended uncleanly, and so this one does; `reason` is the other's."""

    kind = "linked_actor_down"

    def __init__(self, message: str, *, actor: str = "", reason: ExitReason | None = None) -> None:
        super().__init__(message, actor=actor)
        self.reason = reason


class HandlerStuck(ActorError):
    """A handler made no progress for as long as its watchdog allows, and the watchdog restarts."""

    kind = "handler_stuck"


class Ignore(ActorError):
    """Raise it in `on_start`: the actor declines to start. No failure; its spec is kept unless it is temporary."""

    kind = "ignore"

    def __init__(self, message: str = "the actor declined to start", *, actor: str = "") -> None:
        super().__init__(message, actor=actor)


class SpecError(TrouperError, ValueError):
    """A spec is wrong; `problems` has every mistake, each with the field, what was given and what is right."""

    kind = "bad_spec"

    def __init__(self, problems: Iterable[str], *, spec: str = "the spec") -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        n = len(self.problems)
        if n == 1:
            super().__init__(f"{spec}: {self.problems[0]}")
        else:
            super().__init__(f"{spec} has {n} mistakes:\n" + "\n".join(f"- {problem}" for problem in self.problems))


@attrs.frozen(kw_only=True)
class PlanProblem:
    """One thing wrong with a plan: what kind, at which step, where in the document."""

    kind: ProblemKind
    message: str
    step: int | None = None
    path: str = ""

    def as_json(self) -> dict[str, object]:
        """The shape `trouper check --json` prints."""
        return {"kind": self.kind, "step": self.step, "path": self.path, "message": self.message}


class PlanError(TrouperError):
    """The plan cannot be run; `problems` has every reason, in document order."""

    kind = "bad_plan"

    def __init__(self, problems: Iterable[PlanProblem]) -> None:
        self.problems: tuple[PlanProblem, ...] = tuple(problems)
        lines = [f"- {p.path or 'plan'}: {p.message} [{p.kind}]" for p in self.problems]
        n = len(lines)
        super().__init__(f"the plan has {n} problem{'s' if n != 1 else ''}:\n" + "\n".join(lines))


class PlanningError(TrouperError):
    """No plan was made for the goal."""

    kind = "planning"


class GoalRefused(PlanningError):
    """The planner does not understand the goal well enough to act on it.

    `unexplained` are the words it could not account for; `patterns` the sentences it knows.
    """

    kind = "refused"

    def __init__(self, reason: str, *, unexplained: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unexplained: tuple[str, ...] = tuple(unexplained)
        self.patterns: tuple[str, ...] = tuple(patterns)


class PlanUnusable(PlanningError):
    """The model's answers did not become a valid plan; `said` is the last thing it said."""

    kind = "plan_unusable"

    def __init__(self, message: str, *, said: str = "", problems: Iterable[PlanProblem] = ()) -> None:
        super().__init__(message)
        self.said = said
        self.problems: tuple[PlanProblem, ...] = tuple(problems)


class StepError(TrouperError):
    """One step could not be run, or did not succeed."""

    kind = "step"


class UnknownField(StepError):
    """A reference names a field that the result it points at does not have."""

    kind = "unknown_field"


class ConditionFailed(StepError):
    """A condition cannot be decided: the values it compares do not compare."""

    kind = "condition"


class StepTimeout(StepError):
    """The step did not end within its own time."""

    kind = "timeout"


class ToolError(StepError):
    """The tool failed. Tools raise it themselves to say more than an exception can.

    `effect=False` promises that nothing happened outside, so that even a ONCE step may be retried.
    """

    kind = "tool_error"

    def __init__(self, message: str, *, effect: bool | None = None, retry_possible: bool = True) -> None:
        super().__init__(message)
        self.effect = effect
        self.retry_possible = retry_possible


class BadArguments(ToolError):
    """The tool was given arguments it does not take; nothing was done."""

    kind = "bad_arguments"

    def __init__(self, message: str) -> None:
        super().__init__(message, effect=False, retry_possible=False)


class BadResult(ToolError):
    """The tool gave back something that is not data, or too much of it."""

    kind = "bad_result"


class ToolDied(ToolError):
    """The process that a tool ran in ended without giving a result: killed, crashed, or over one of its limits."""

    kind = "tool_died"


class PermissionRefused(ToolError):
    """The permission policy does not allow this; nothing was done."""

    kind = "permission"

    def __init__(self, message: str) -> None:
        super().__init__(message, effect=False, retry_possible=False)


class LLMError(TrouperError):
    """The model could not be asked, or its answer cannot be used.

    `retry_after` is the server's own wish in seconds, where it gave one; `said` what it answered; `limits` what its
    headers said of its rate limits.
    """

    kind = "llm"
    retryable = False

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None, said: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.said = said
        self.limits: ServerLimits | None = None


class RateLimited(LLMError):
    """The server declined because of a limit (429)."""

    kind = "rate_limited"
    retryable = True


class ModelTimeout(LLMError):
    """The model did not answer within the deadline of the call."""

    kind = "model_timeout"
    retryable = True


class ModelUnavailable(LLMError):
    """No connection, or the server failed (5xx)."""

    kind = "model_unavailable"
    retryable = True


class BadResponse(LLMError):
    """The server answered something that is not a completion."""

    kind = "bad_response"
    retryable = True


class StreamTruncated(LLMError):
    """The stream ended before the model said that it had finished."""

    kind = "stream_truncated"
    retryable = True


class Refused(LLMError):
    """The model declined to answer."""

    kind = "model_refused"


class LengthCut(LLMError):
    """The answer was cut at the token limit."""

    kind = "length_cut"


class AuthFailed(LLMError):
    """The key was not accepted (401, 403)."""

    kind = "auth_failed"


class BadRequest(LLMError):
    """The server did not accept the request as it is (other 4xx)."""

    kind = "bad_request"


class BudgetExceeded(TrouperError):
    """A limit that was reserved before the spend does not allow more."""

    kind = "budget"


class MemoryFailed(TrouperError):
    """The memory could not be read or written."""

    kind = "memory"


class MemoryRefused(MemoryFailed):
    """The memory was asked for what it does not do: an empty text, a `k` of 0. Nothing was done."""

    kind = "memory_refused"


class DocumentsFailed(TrouperError):
    """The indexed documents could not be read or written."""

    kind = "documents"


class DocumentsRefused(DocumentsFailed):
    """The documents were asked for what they do not do: an empty query, a path that is not there. Nothing was done."""

    kind = "documents_refused"


class RunError(TrouperError):
    """A run was asked for something it does not have; nothing was done."""

    kind = "run"


class UnknownRun(RunError):
    """The journal has no run of that id."""

    kind = "unknown_run"


class NotWaiting(RunError):
    """The run waits for no such answer, or cannot go on because it has ended or is at work."""

    kind = "not_waiting"


class JournalError(TrouperError):
    """The journal could not be read or written."""

    kind = "journal"


class InDoubt(TrouperError):
    """Nobody can say whether the effect happened; a person or the tool's `reconcile` decides."""

    kind = "in_doubt"


@attrs.frozen(kw_only=True)
class ConfigProblem:
    """One mistake in a configuration: at which key, on which line, and what to write instead."""

    path: str
    message: str
    line: int | None = None
    nearest: str | None = None

    def __str__(self) -> str:
        """One line for a person."""
        where = f"line {self.line}: " if self.line is not None else ""
        hint = f" (did you mean {self.nearest!r}?)" if self.nearest else ""
        return f"{where}{self.path}: {self.message}{hint}"


class ConfigError(TrouperError):
    """The configuration is wrong; `problems` has every mistake."""

    kind = "config"

    def __init__(self, problems: Iterable[ConfigProblem], *, source: str = "configuration") -> None:
        self.problems: tuple[ConfigProblem, ...] = tuple(problems)
        self.source = source
        n = len(self.problems)
        lines = "\n".join(f"- {p}" for p in self.problems)
        super().__init__(f"{source} has {n} mistake{'s' if n != 1 else ''}:\n{lines}")


def error_json(error: BaseException) -> dict[str, object]:
    """`{"kind", "message"}` of any error, ours or not."""
    kind = error.kind if isinstance(error, TrouperError) else type(error).__name__
    return {"kind": kind, "message": str(error) or type(error).__name__}
