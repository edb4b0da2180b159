"""The circuit breaker: when to leave an endpoint alone that fails, and when to look whether it is well again.

The pattern is Nygard's ("Release It!", 2007). What counts are the last calls, not the last seconds alone: it opens when
`failures` of the last `2 * failures` calls have failed, all within `window`. So a busy endpoint that fails now and then
stays in use, one that fails every second time does not, and the memory is bounded. After `cooldown` exactly one call
goes as a probe; its end decides. How a call ended is believed only if the state is still the one in which it began: a
call that had been on its way before says nothing about now.

No time is read here: `now` is an argument, on any clock that does not go back.
"""

from __future__ import annotations

import enum
import math

import attrs

from ._clock import Seconds
from ._spec_check import Mistakes


class BreakerState(enum.Enum):
    """Whether calls go through."""

    CLOSED = "closed"
    """They do."""
    OPEN = "open"
    """They do not, until the cooldown is over."""
    HALF_OPEN = "half_open"
    """One goes, to see."""


@attrs.frozen(kw_only=True)
class BreakerRules:
    """Open after `failures` of the last `2 * failures` calls, within `window` seconds; try again after `cooldown`."""

    failures: int = 5
    cooldown: Seconds = 15.0
    window: Seconds = 60.0

    def __attrs_post_init__(self) -> None:
        wrong = Mistakes()
        wrong.whole("failures", self.failures, 1)
        wrong.number("cooldown", self.cooldown)
        wrong.number("window", self.window, endless=True, right="seconds above 0 (math.inf: ever)")
        wrong.raise_all("BreakerRules")


@attrs.frozen
class BreakerPass:
    """Leave for one call; hand it back when the call has ended."""

    period: int
    probe: bool = False


@attrs.frozen(kw_only=True)
class BreakerMemory:
    """All that a breaker knows, to go on from."""

    state: BreakerState = BreakerState.CLOSED
    until: Seconds = -math.inf
    """When the cooldown is over."""
    period: int = 0
    """Grows with each change of the state."""
    last: tuple[tuple[Seconds, bool], ...] = ()
    """When the last calls ended and whether they failed; empty as long as none has."""
    probing: bool = False
    opened: int = 0
    """How often it has opened."""


class Breaker:
    """The breaker of one endpoint. Every method is complete when it returns; none of them reads a clock."""

    def __init__(self, rules: BreakerRules, memory: BreakerMemory | None = None) -> None:
        self.rules: BreakerRules = rules
        # The probe of an earlier life is not on its way any more.
        self._now: BreakerMemory = attrs.evolve(memory, probing=False) if memory is not None else BreakerMemory()

    @property
    def state(self) -> BreakerState:
        """The state; an open breaker whose cooldown is over stays `OPEN` until somebody wants to call."""
        return self._now.state

    @property
    def opened(self) -> int:
        """How often it has opened."""
        return self._now.opened

    def kept(self) -> BreakerMemory:
        """All that it knows."""
        return self._now

    def wait(self, now: Seconds) -> Seconds:
        """Seconds of the cooldown that are left."""
        return max(0.0, self._now.until - now) if self._now.state is BreakerState.OPEN else 0.0

    def shut(self, now: Seconds) -> bool:
        """Whether `admit` would refuse now: to be asked before waiting for anything else that a call needs."""
        if self._now.state is BreakerState.OPEN:
            return now < self._now.until
        return self._now.probing

    def admit(self, now: Seconds) -> BreakerPass | None:
        """Leave for one call, or None. A pass that was given must be handed back, however the call ends."""
        if self._now.state is BreakerState.CLOSED:
            return BreakerPass(self._now.period)
        if self._now.state is BreakerState.OPEN:
            if now < self._now.until:
                return None
            self._become(BreakerState.HALF_OPEN)
        if self._now.probing:
            return None
        self._now = attrs.evolve(self._now, probing=True)
        return BreakerPass(self._now.period, probe=True)

    def succeeded(self, leave: BreakerPass, now: Seconds) -> None:
        """The endpoint has answered, whatever it said."""
        if leave.period != self._now.period:
            return
        if leave.probe:
            self._become(BreakerState.CLOSED)
        elif self._now.last:
            self._note(now, failed=False)

    def failed(self, leave: BreakerPass, now: Seconds) -> None:
        """It could not be reached, or what came was no answer."""
        if leave.period != self._now.period:
            return
        if leave.probe:
            self._open(now)
            return
        self._note(now, failed=True)
        since = now - self.rules.window
        if sum(failed and at > since for at, failed in self._now.last) >= self.rules.failures:
            self._open(now)

    def withdrawn(self, leave: BreakerPass) -> None:
        """The call was not sent, or was given up by its caller: it says nothing."""
        if leave.probe and leave.period == self._now.period:
            self._now = attrs.evolve(self._now, probing=False)

    def _note(self, now: Seconds, *, failed: bool) -> None:
        last = (*self._now.last, (now, failed))[-2 * self.rules.failures :]
        self._now = attrs.evolve(self._now, last=last if any(failed for _, failed in last) else ())

    def _open(self, now: Seconds) -> None:
        self._become(BreakerState.OPEN)
        self._now = attrs.evolve(self._now, until=now + self.rules.cooldown, opened=self._now.opened + 1)

    def _become(self, state: BreakerState) -> None:
        self._now = attrs.evolve(self._now, state=state, period=self._now.period + 1, last=(), probing=False)
