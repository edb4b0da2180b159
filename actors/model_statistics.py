"""What the door to models has done: in all, and for each model."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from trouper.runtime import BreakerState

from .protocols import Usage


@attrs.frozen(kw_only=True)
class ModelStatistics:
    """Counters of one model since the start, kept over crashes.

    `attempts` were sent and `failures` of them failed, `rate_limited` by a 429; `fell_back` calls went on with another
    model; `cached` answers came from the response cache. `breaker` is its state now, `opened` how often it opened.
    """

    usage: Usage = attrs.field(factory=Usage)
    attempts: int = 0
    failures: int = 0
    rate_limited: int = 0
    fell_back: int = 0
    cached: int = 0
    breaker: BreakerState = BreakerState.CLOSED
    opened: int = 0


@attrs.frozen(kw_only=True)
class LLMStatistics:
    """Counters since the start, kept over crashes. `usage.calls` are answers; `attempts` were sent.

    `failures` are calls that ended with an error, `shared` those that were answered by an identical one under way.
    """

    usage: Usage = attrs.field(factory=Usage)
    attempts: int = 0
    retries: int = 0
    rate_limited: int = 0
    failures: int = 0
    fell_back: int = 0
    shared: int = 0
    cached: int = 0
    models: Mapping[str, ModelStatistics] = attrs.field(factory=dict[str, ModelStatistics])


class _Counts:
    """Counters by name, and the usage beside them."""

    __slots__ = ("by_name", "usage")

    def __init__(self) -> None:
        self.usage = Usage()
        self.by_name: dict[str, int] = {}

    def add(self, usage: Usage | None, counts: Mapping[str, int]) -> None:
        for name, count in counts.items():
            self.by_name[name] = self.by_name.get(name, 0) + count
        if usage is not None:
            self.usage += usage


class Tally:
    """What is counted, as it is counted. Every method is complete when it returns."""

    def __init__(self) -> None:
        self._all = _Counts()
        self._models: dict[str, _Counts] = {}

    @property
    def usage(self) -> Usage:
        """Of all calls."""
        return self._all.usage

    def add(self, *, usage: Usage | None = None, **counts: int) -> None:
        """Count what was done as a whole."""
        self._all.add(usage, counts)

    def add_of(self, model: str, *, usage: Usage | None = None, **counts: int) -> None:
        """Count what one model has done."""
        known = self._models.get(model)
        if known is None:
            known = self._models[model] = _Counts()
        known.add(usage, counts)

    def of(self, model: str, *, breaker: BreakerState = BreakerState.CLOSED, opened: int = 0) -> ModelStatistics:
        """What one model has done, and how its breaker stands."""
        known = self._models.get(model, _Counts())
        return ModelStatistics(usage=known.usage, breaker=breaker, opened=opened, **known.by_name)

    def statistics(self) -> LLMStatistics:
        """All of it; the breakers are not known here."""
        models = {model: self.of(model) for model in self._models}
        return LLMStatistics(usage=self._all.usage, models=models, **self._all.by_name)
