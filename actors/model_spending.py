"""What a call to a model may cost: reserved before it is sent, settled with what the provider counted.

The ledger comes with the message (`trouper.carry(budget=ledger)`), so whoever asks on behalf of a run pays from that
run's budget without knowing of it. An answer's length is not known before; what is reserved for it is `max_tokens`, or
1024 tokens where the request sets none, and what it came to is counted even where that is more.
"""

from __future__ import annotations

from typing import Self

import attrs

from trouper.runtime import (
    AuthFailed,
    BadRequest,
    Ledger,
    ModelUnavailable,
    RateLimited,
    Reservation,
    Spend,
)

from .protocols import ChatReply, Usage
from .tokens import estimate_tokens

MILLION = 1_000_000

NO_ANSWER = (RateLimited, ModelUnavailable, AuthFailed, BadRequest)
"""After these the model has read and written nothing: the call counts, its tokens do not."""


@attrs.frozen(kw_only=True)
class Prices:
    """What a million tokens cost.

    `cached` is for prompt tokens that the server had in its own cache; None: they cost what the others cost, which is
    never too low.
    """

    prompt: float = 0.0
    completion: float = 0.0
    cached: float | None = None

    def cost(self, usage: Usage) -> float:
        """What that was."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        prompt = (usage.prompt_tokens - cached) * self.prompt
        again = cached * (self.prompt if self.cached is None else self.cached)
        return (prompt + again + usage.completion_tokens * self.completion) / MILLION


class ModelSpending:
    """One attempt's part of the budget, by an estimate of prompt and answer; nothing is set aside without a ledger.

    A context manager: unless it is settled in the block, what was never sent is released, what was refused counts as a
    call, and what was broken off counts as estimated, because nobody knows how far the model had come.

    Raises:
        BudgetExceeded: on entering; nothing is set aside then.
    """

    def __init__(self, ledger: Ledger | None, estimate: tuple[int, int], prices: Prices) -> None:
        self._ledger = ledger
        self._prompt, self._answer = estimate
        self._prices = prices
        self._held: dict[Spend, Reservation] = {}
        self._sent = False

    @property
    def estimate(self) -> int:
        """Tokens that it may cost, prompt and answer."""
        return self._prompt + self._answer

    def __enter__(self) -> Self:
        if self._ledger is None:
            return self
        usage = Usage(prompt_tokens=self._prompt, completion_tokens=self._answer)
        try:
            self._held["model_calls"] = self._ledger.reserve("model_calls")
            self._held["tokens"] = self._ledger.reserve("tokens", self.estimate)
            self._held["cost"] = self._ledger.reserve("cost", self._prices.cost(usage))
        except BaseException:
            self._release()
            raise
        return self

    def sent(self) -> None:
        """From here on it may cost something."""
        self._sent = True

    def settle(self, reply: ChatReply) -> None:
        """The provider's count; where it gave none, what the texts are likely to be."""
        usage = reply.usage
        if not usage.total_tokens:
            usage = Usage(prompt_tokens=self._prompt, completion_tokens=estimate_tokens(reply.text))
        self._settle(usage.total_tokens, self._prices.cost(usage))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not self._sent:
            self._release()
        elif isinstance(error, NO_ANSWER):
            self._settle(0, 0.0)
        else:
            self._settle()

    def _settle(self, tokens: float | None = None, cost: float | None = None) -> None:
        """Once; None: as much as was reserved."""
        held, self._held = self._held, {}
        for what, reservation in held.items():
            reservation.settle({"tokens": tokens, "cost": cost}.get(what))

    def _release(self) -> None:
        held, self._held = self._held, {}
        for reservation in held.values():
            reservation.release()
