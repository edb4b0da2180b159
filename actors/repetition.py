"""Whether a new plan does again what the plan before it has done already.

A replan writes its steps anew, under new ids, so the ids alone do not keep an effect from happening twice. Two calls
are told apart by what they are called with. What has certainly happened is refused only where the new call is certainly
the same one; what may have happened (a ONCE tool that was cut off) is refused unless the new call is certainly another.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Literal

import attrs

from trouper.runtime import INDEX, ITEM, ActionCall, PlanProblem, Step, StepError

from .messages import Previous
from .outcome import StepOutcome, StepStatus
from .tool_context import Effect

Results = Mapping[int, object]
Likeness = Literal["same", "other", "unclear"]

_UNKNOWN = object()
"""In place of a value that is not there before the new plan runs."""


@attrs.frozen
class _Made:
    """A call that was made: of which step, with what, and whether nobody knows if it happened."""

    step: int
    parameters: Mapping[str, object]
    in_doubt: bool


class WorkDone:
    """What a plan has done, as far as the next one must not do it again.

    `effects` says which tools have an effect; a tool that it does not name counts as `ONCE`.
    """

    def __init__(self, previous: Previous, effects: Mapping[str, Effect]) -> None:
        self._effects = effects
        self._finished = previous.finished
        self._results = {i: previous.outcomes[i].result for i in self._finished}
        self._made: dict[str, list[_Made]] = {}
        steps = {step.id: step for step in previous.plan.steps}
        for step_id, outcome in previous.outcomes.items():
            self._add(step_id, outcome)
            step = steps.get(step_id)  # None: it is of a plan before that one, and in doubt since
            if outcome.in_doubt and step is not None and step.fallback is not None:
                self._add_unclear(step)
        self.in_doubt: frozenset[int] = frozenset(i for i, outcome in previous.outcomes.items() if outcome.in_doubt)
        """The ids that no new step may have: what they stand for is still open."""

    def problems(self, step: Step) -> tuple[PlanProblem, ...]:
        """What of a new plan's step has been done, or may have been; nothing for a step that is finished."""
        if step.id in self._finished:
            return ()
        for call, results in _calls(step, self._results):
            made = self._made.get(call.action)
            if not made:
                continue
            known = _known(call, results)
            again = next((old for old in made if _repeats(known, old)), None)
            if again is not None:
                return (self._repetition(step.id, call.action, again),)
        return ()

    # ------------------------------------------------------------ what was done
    def _add(self, step_id: int, outcome: StepOutcome) -> None:
        for leaf in _leaves(outcome):
            happened = leaf.status is StepStatus.OK or (leaf.error is not None and leaf.error.kind == "refuted")
            if self._effect(leaf.action) is not Effect.PURE and (happened or leaf.in_doubt):
                self._made.setdefault(leaf.action, []).append(_Made(step_id, leaf.parameters or {}, not happened))

    def _add_unclear(self, step: Step) -> None:
        """The step or its fallback was cut off, and the outcome tells only of the call that came last: take both."""
        for call, results in _calls(step, self._results):
            if self._effect(call.action) is Effect.ONCE:
                known = {name: value for name, value in _known(call, results).items() if value is not _UNKNOWN}
                self._made.setdefault(call.action, []).append(_Made(step.id, known, in_doubt=True))

    def _effect(self, action: str) -> Effect:
        return self._effects.get(action, Effect.ONCE)

    def _repetition(self, step: int, action: str, made: _Made) -> PlanProblem:
        if made.in_doubt:
            why = (
                f"may be the call of step {made.step} again, which was cut off: its effect may have happened already; "
                "leave it out, or call it with other parameters that are written out"
            )
        elif made.step in self._finished:
            why = f"is the call of step {made.step} again, which has been done; use $step{made.step} and leave it out"
        else:
            why = f"is a call again that step {made.step} has done already; leave it out"
        return PlanProblem(kind="wrong_type", step=step, message=f"step {step} ({action}) {why}")


def _leaves(outcome: StepOutcome) -> Iterator[StepOutcome]:
    """The single calls of a step: its elements' or its sub-plan's, or the step itself."""
    stack = [outcome]
    while stack:
        now = stack.pop()
        inside = (*now.items, *now.steps.values())
        stack += inside
        if not inside:
            yield now


def _calls(step: Step, results: Results) -> Iterator[tuple[Step | ActionCall, Results]]:
    """What a step calls, and what it knows then: its tool and its fallback, for each element; or its sub-plan's."""
    stack = [(step, results, False)]
    while stack:
        now, known, inside = stack.pop()
        for each in _elements(now, known, inside=inside):
            if now.plan is not None:
                stack += ((inner, each, inside or now.for_each is not None) for inner in now.plan.steps)
            else:
                yield now, each
            if now.fallback is not None:
                yield now.fallback, each


def _elements(step: Step, results: Results, *, inside: bool) -> list[Results]:
    """What a step knows, for each of its elements where these are known; those of a list in a list are not."""
    if step.for_each is None:
        return [results]
    bare = {known: value for known, value in results.items() if known not in {ITEM, INDEX}}
    try:
        elements = [] if inside else step.for_each.elements(bare)
    except StepError:
        elements = []
    return [ChainMap({ITEM: element, INDEX: n}, bare) for n, element in enumerate(elements)] or [bare]


def _known(call: Step | ActionCall, results: Results) -> dict[str, object]:
    """What a call will be made with, as far as that is known before the new plan runs."""
    unknown = {path[0] for reference, path in call.inputs.uses() if reference.step not in results}
    try:
        resolved = call.inputs.resolve(results, lenient=True)
    except StepError:
        resolved, unknown = {}, set(call.parameters)
    values = resolved if isinstance(resolved, dict) else {}
    return {name: _UNKNOWN if name in unknown else values[name] for name in call.parameters}


def _repeats(new: Mapping[str, object], made: _Made) -> bool:
    likeness = compare_calls(new, made.parameters)
    return likeness == "same" or (made.in_doubt and likeness == "unclear")


def compare_calls(new: Mapping[str, object], made: Mapping[str, object]) -> Likeness:
    """Whether two calls of one tool are the same; a parameter that only one of them names may be a default."""
    shared = [(new[name], made[name]) for name in new if name in made]
    if any(one is not _UNKNOWN and not _equal(one, other) for one, other in shared):
        return "other"
    complete = len(shared) == len(new) == len(made) and all(one is not _UNKNOWN for one, _ in shared)
    return "same" if complete else "unclear"


def _equal(one: object, other: object) -> bool:
    """Equal as JSON: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
