"""What became of the steps of a run, each made when somebody looks at it.

Of a step that has succeeded in a long plan nobody may ever ask more than that. What it was called with follows from the
results of others, and what it gave is among the results: it is enough to know when it ran, until somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, cast

from trouper.runtime import Step, maker

from .outcome import StepOutcome, StepStatus

Plainly = tuple[Step, float, float, float]
"""A step that has succeeded at its first attempt; when it was ready, started and ended, in seconds of its run."""

NOTHING: Mapping[Any, Any] = {}

outcome_of: Callable[..., StepOutcome] = maker(
    StepOutcome,
    "id",
    "action",
    "status",
    "attempts",
    "parameters",
    "result",
    "ready",
    "started",
    "ended",
    "waits",
    "steps",
)


class Outcomes(MutableMapping[int, StepOutcome]):
    """The outcomes by step. `by_step` has them as they are kept; `results` are those of the same run.

    Before a result is changed or taken away, call `make`: outcomes that are not made yet are made from the results.
    """

    __slots__ = ("_results", "by_step")

    def __init__(self, results: Mapping[int, object]) -> None:
        self._results = results
        self.by_step: dict[int, StepOutcome | Plainly] = {}

    def make(self) -> None:
        """Make all of them."""
        for step in self.by_step:
            self[step]

    def __getitem__(self, step: int) -> StepOutcome:
        found = self.by_step[step]
        if type(found) is tuple:
            found = self.by_step[step] = self._made(found)
        return cast("StepOutcome", found)

    def _made(self, known: Plainly) -> StepOutcome:
        step, ready, started, ended = known
        results = self._results
        return outcome_of(
            step.id,
            step.action,
            StepStatus.OK,
            1,
            step.inputs.resolve(results),
            results[step.id],
            ready,
            started,
            ended,
            NOTHING,
            NOTHING,
        )

    def __setitem__(self, step: int, outcome: StepOutcome) -> None:
        self.by_step[step] = outcome

    def __delitem__(self, step: int) -> None:
        del self.by_step[step]

    def setdefault(self, step: int, outcome: StepOutcome) -> StepOutcome:
        """What became of the step; this, if nothing was known of it."""
        found = self.by_step.setdefault(step, outcome)
        return outcome if found is outcome else self[step]

    def __contains__(self, step: object) -> bool:
        return step in self.by_step

    def __iter__(self) -> Iterator[int]:
        return iter(self.by_step)

    def __len__(self) -> int:
        return len(self.by_step)

    def __repr__(self) -> str:
        return f"Outcomes({dict(self)!r})"
