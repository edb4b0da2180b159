"""A model by its name in the configuration, with what is known of how it does: its breaker and its retries."""

from __future__ import annotations

from collections.abc import Callable

import trio

from trouper.runtime import Breaker, BreakerMemory, BreakerPass, BreakerRules, BreakerState, LLMError, ModelUnavailable

from .model_retries import RetryBudget
from .model_routes import ModelEntry, is_broken
from .protocols import ChatRequest
from .response_cache import ResponseCache

ALWAYS = BreakerPass(0)
"""Leave where there is no breaker."""


class Endpoint:
    """One model that calls go to.

    Args:
        name: Its name in the configuration.
        entry: The model and what it costs.
        rules: When to leave it alone; None: never.
        memory: What the breaker knew in an earlier life.
        changed: Called when the breaker has changed its state.
    """

    def __init__(
        self,
        name: str,
        entry: ModelEntry,
        *,
        rules: BreakerRules | None = None,
        memory: BreakerMemory | None = None,
        changed: Callable[[Endpoint], None] | None = None,
    ) -> None:
        self.name: str = name
        self.entry: ModelEntry = entry
        self.retries: RetryBudget = RetryBudget()
        self._breaker = Breaker(rules, memory) if rules is not None else None
        self._changed = changed
        self._last_failure = ""

    @property
    def scope(self) -> str:
        """Under whose limits it is asked."""
        return self.entry.scope or self.name

    def answer_key(self, responses: ResponseCache, request: ChatRequest) -> bytes | None:
        """Under what its answer to a request is kept, as it gets it."""
        return responses.key(f"{self.entry.answers or self.scope}/{request.model or self.entry.model.name}", request)

    @property
    def state(self) -> BreakerState:
        """The state of its breaker; closed where there is none."""
        return self._breaker.state if self._breaker is not None else BreakerState.CLOSED

    @property
    def opened(self) -> int:
        """How often the breaker has opened."""
        return self._breaker.opened if self._breaker is not None else 0

    @property
    def cooldown(self) -> float:
        """Seconds until the next look at it."""
        return self._breaker.wait(trio.current_time()) if self._breaker is not None else 0.0

    def memory(self) -> BreakerMemory | None:
        """What the breaker knows, for the next life."""
        return self._breaker.kept() if self._breaker is not None else None

    def shut_at(self, at: float) -> bool:
        """Whether it will still be left alone at that instant, as far as is known now."""
        return self._breaker is not None and self._breaker.shut(at)

    def check(self) -> None:
        """Raise if the model would be left alone now: before a call waits for anything else.

        Raises:
            ModelUnavailable: its breaker is open, or half open with a probe on its way.
        """
        if self.shut_at(trio.current_time()):
            raise self._left_alone()

    def admit(self) -> BreakerPass:
        """Leave to send one request now; to be handed back by `ended` or `withdrawn`.

        Raises:
            ModelUnavailable: as `check`.
        """
        if self._breaker is None:
            return ALWAYS
        before = self._breaker.state
        leave = self._breaker.admit(trio.current_time())
        self._tell(before)
        if leave is None:
            raise self._left_alone()
        return leave

    def ended(self, leave: BreakerPass, error: LLMError | None = None) -> None:
        """The request has ended: with an answer, or with an error."""
        if self._breaker is None:
            return
        before = self._breaker.state
        if error is not None and is_broken(error):
            self._last_failure = str(error)
            self._breaker.failed(leave, trio.current_time())
        else:  # it has answered, be it with a no
            self._breaker.succeeded(leave, trio.current_time())
        self._tell(before)

    def withdrawn(self, leave: BreakerPass) -> None:
        """The request was given up by whoever had sent it."""
        if self._breaker is not None:
            self._breaker.withdrawn(leave)

    def _tell(self, before: BreakerState) -> None:
        if self._changed is not None and self.state is not before:
            self._changed(self)

    def _left_alone(self) -> ModelUnavailable:
        wait = self.cooldown
        when = f"for another {wait:.3g} s" if wait else "until the call that looks after it has ended"
        return ModelUnavailable(
            f"the model {self.name!r} is left alone {when}: too many of its last calls have failed (llm.breaker). "
            f"The last failure: {self._last_failure or 'before a restart'}",
            retry_after=wait or None,
        )
