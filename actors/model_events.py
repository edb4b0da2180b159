"""What the door to models tells: calls, pieces of text, falls to the next model, open breakers, broken pools."""

from __future__ import annotations

import attrs

from trouper.runtime import BreakerState, Event, Seconds

from .protocols import Usage


@attrs.frozen(kw_only=True)
class ModelText(Event):
    """A piece of an answer that is being streamed. A further attempt says it from the beginning.

    `run_id`, here and below, is the run that it belongs to, where somebody follows that run (`Troupe.stream`).
    """

    trace: str
    run_id: str = ""
    role: str
    attempt: int
    text: str


@attrs.frozen(kw_only=True)
class ModelCalled(Event):
    """An attempt has ended, with usage or with the kind of its error; neither prompt nor answer.

    `model` is what the server calls it, `endpoint` its name in the configuration.
    """

    trace: str
    run_id: str = ""
    role: str
    model: str
    endpoint: str = ""
    attempt: int
    seconds: Seconds
    usage: Usage | None = None
    error: str | None = None


@attrs.frozen(kw_only=True)
class ModelFellBack(Event):
    """A call goes on with the next model of its role, because of an error of this kind."""

    trace: str
    run_id: str = ""
    role: str
    model: str
    following: str
    error: str


@attrs.frozen(kw_only=True)
class BreakerChanged(Event):
    """The breaker of a model has opened, lets one call through to see, or has closed; `cooldown` is left then."""

    model: str
    state: BreakerState
    cooldown: Seconds = 0.0


@attrs.frozen(kw_only=True)
class PoolRebuilt(Event):
    """A pool of connections gave no connection though it had to, and was replaced; calls in progress went on.

    A pool is no actor: `actor` is the name that its client has in the statistics of the pool.
    """

    origin: str
    """The server that the connections lead to."""
    waiting: int
    """Requests that were waiting for a connection; they were sent through the new pool."""
    in_progress: int
    """Requests that the old pool was still answering."""
    after: Seconds
    """How long the first of them had waited."""
