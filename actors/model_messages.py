"""What the door to models is asked and told."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import trio

from trouper.runtime import Ask, Context, Seconds, Tell

from .model_counts import Wait
from .model_statistics import LLMStatistics
from .protocols import ChatReply, ChatRequest, Usage

UNTIL = "until"
"""Under this name the instant (trio's clock) at which a run ends goes along in the baggage of its messages."""


RUN = "run"
"""Under this name the run that a message belongs to goes along in its baggage, where somebody follows the run."""


def run_of(ctx: Context) -> str:
    """The run that the message in hand belongs to; "" where nobody follows it."""
    run = ctx.baggage.get(RUN)
    return run if isinstance(run, str) else ""


def deadline_of(ctx: Context) -> Seconds:
    """Until when the answer to the message in hand is of use.

    The asks of a run may take longer than the run itself, so that what ends it can be written down. Whoever plans with
    the time that is left, for another attempt, another model or a turn at the limiter, has to know the end of the run.
    """
    until = ctx.baggage.get(UNTIL)
    return min(ctx.deadline, until) if isinstance(until, float) else ctx.deadline


@attrs.frozen(kw_only=True)
class Chat(Ask[ChatReply]):
    """Ask a model. With `stream` its text is told as it comes: as `ModelText` events, and into `sink` if given.

    The sink is yours to bound and to close; a full one slows the reading, a closed one is left alone, and one that
    nobody reads for too long fails the call. Once text went into it a failed call is not tried again, so what you read
    is never said twice.
    """

    request: ChatRequest
    stream: bool = False
    sink: trio.MemorySendChannel[str] | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen
class GetUsage(Ask[Usage]):
    """What the models have counted, in all or for the calls of one trace."""

    trace: str | None = None


@attrs.frozen
class GetWaits(Ask[Mapping[Wait, Seconds]]):
    """Seconds that the calls of a trace have waited, by what: `limiter`, `model`, `places`, `backoff`."""

    trace: str


@attrs.frozen
class CountUsage(Tell):
    """Something else than a chat was asked of a model, and has used this; `model` is its name in the configuration."""

    trace: str
    usage: Usage
    model: str = ""


@attrs.frozen
class DropAnswer(Tell):
    """The answer to that request could not be used: the same must not be given again from the response cache."""

    request: ChatRequest


@attrs.frozen
class GetLLMStatistics(Ask[LLMStatistics]):
    """What the door has done."""
