"""Which models a call may go to, in which order, and after which failures the next one is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from trouper.runtime import (
    AuthFailed,
    BadRequest,
    BadResponse,
    LLMError,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    StreamTruncated,
)

from .model_spending import Prices
from .protocols import ChatModel, ChatRequest

DEFAULT = "default"
"""The model of every role that names none."""

ELSEWHERE = (ModelUnavailable, ModelTimeout, RateLimited, AuthFailed, BadResponse, StreamTruncated)
"""What says something of the endpoint and nothing of the request: another one may do better."""

BROKEN = (ModelUnavailable, ModelTimeout, BadResponse, StreamTruncated)
"""What a breaker counts, where waiting can mend it. A server that declines because of its limits is alive, and the
limiter sees to it; a wrong key costs little and is to be told as what it is."""

NOT_HERE = frozenset({402, 404, 405, 407, 410, 421, 451})
"""Refusals that say something of the place and not of the question: no such model, no money, another gateway."""

OVERFLOW = (
    "context_length_exceeded",
    "exceed_context_size",
    "maximum context length",
    "context window",
    "context size",
    "string_above_max_length",
)
"""By these words servers say that a request is too long for their model (OpenAI, llama.cpp, vLLM and others)."""


@attrs.frozen(kw_only=True)
class ModelEntry:
    """A model that calls may go to.

    Whoever made the port closes it. `scope` says under whose limits it is asked (by default its own: a model and a
    key), `answers` under what its answers are kept (by default the scope; two models that may answer differently must
    not share it), `prices` what its tokens cost, `max_tokens` how long an answer may be where the request does not say.
    """

    model: ChatModel
    prices: Prices = attrs.field(factory=Prices)
    scope: str = ""
    answers: str = ""
    max_tokens: int | None = None

    def fitted(self, request: ChatRequest) -> ChatRequest:
        """The request as this model gets it."""
        if request.max_tokens is not None or self.max_tokens is None:
            return request
        return attrs.evolve(request, max_tokens=self.max_tokens)


class ModelRoutes:
    """The chains of models, by role.

    Raises:
        ValueError: there is no model, or a role names one that is not there.
    """

    def __init__(self, models: Mapping[str, ModelEntry], roles: Mapping[str, Sequence[str]] | None = None) -> None:
        if not models:
            raise ValueError("a door to models needs at least one: models={'default': ModelEntry(model=...)}")
        self.models: dict[str, ModelEntry] = dict(models)
        self._others = (DEFAULT if DEFAULT in models else next(iter(models)),)
        self._roles = {role: tuple(dict.fromkeys(names)) for role, names in (roles or {}).items() if names}
        for role, names in self._roles.items():
            if unknown := [name for name in names if name not in self.models]:
                known = ", ".join(self.models)
                raise ValueError(f"the role {role!r} names a model {unknown[0]!r} that is not there; known are {known}")

    def chain(self, request: ChatRequest) -> tuple[str, ...]:
        """The names of the models to ask, in order: the one the request names, else those of its role."""
        if request.model in self.models:
            return (request.model,)
        return self._roles.get(request.role, self._others)

    def addressed(self, request: ChatRequest) -> ChatRequest:
        """The request without the name of one of our models: what stands there then is for the server."""
        return attrs.evolve(request, model="") if request.model in self.models else request


def falls_back(error: LLMError) -> bool:
    """Whether another model may answer what this one could not.

    A refusal, an answer that was cut and a request that is wrong stay what they are wherever they are sent; one that
    is too long for a model may fit another, and what is not to be had at one address may be at the next.
    """
    return isinstance(error, ELSEWHERE) or (isinstance(error, BadRequest) and (too_large(error) or _not_here(error)))


def is_broken(error: LLMError) -> bool:
    """Whether the endpoint has failed, in a way that may pass."""
    return isinstance(error, BROKEN) and error.retryable


def _not_here(error: LLMError) -> bool:
    return error.status in NOT_HERE or (error.status is not None and 300 <= error.status < 400)


def too_large(error: LLMError) -> bool:
    """Whether the server says that the request is too long for its model."""
    said = f"{error.said} {error}".lower()
    return error.status == 413 or any(words in said for words in OVERFLOW)
