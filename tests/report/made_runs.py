"""Outcomes of runs that never ran: a plain scheduler in whole seconds, written apart from the model under test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from trouper.actors.outcome import Outcome, RunStatus, StepOutcome, StepStatus
from trouper.runtime import parse_plan

Needs = Mapping[int, Sequence[int]]
Times = Mapping[int, tuple[float, float, float]]
"""Ready, started and ended of each step."""


def outcome_of(needs: Needs, times: Times, **changes: object) -> Outcome:
    """A finished run with these times; `changes` are fields of the outcome."""
    plan = parse_plan([{"id": i, "action": "work", "dependencies": list(d)} for i, d in needs.items()])
    steps = {i: step(i, *times[i]) for i in needs if i in times}
    return Outcome(**{"run_id": "r", "status": RunStatus.SUCCESS, "plan": plan, "steps": steps, **changes})


def step(
    i: int, ready: float | None = None, started: float | None = None, ended: float | None = None, **more
) -> StepOutcome:
    return StepOutcome(
        **{
            "id": i,
            "action": "work",
            "status": StepStatus.OK,
            "ready": ready,
            "started": started,
            "ended": ended,
            **more,
        }
    )


def scheduled(needs: Needs, seconds: Mapping[int, int], slots: int, *, barrier: bool = False) -> dict[int, tuple]:
    """When each step runs, looked at second by second: the longest chain behind a step goes first."""
    behind = {i: 1 + _behind(i, needs) for i in needs}
    levels = {i: _depth(i, needs) for i in needs}
    times: dict[int, tuple[float, float, float]] = {}
    now = 0
    while len(times) < len(needs):
        while True:
            done = {i for i, (_, _, ended) in times.items() if ended <= now}
            busy = sum(started <= now < ended for _, started, ended in times.values())
            ready = [i for i in needs if i not in times and done.issuperset(needs[i])]
            if barrier:
                ready = [i for i in ready if all(j in done for j in needs if levels[j] < levels[i])]
            if busy >= slots or not ready:
                break
            chosen = min(ready, key=lambda i: (levels[i] if barrier else 0, -behind[i], list(needs).index(i)))
            came = max((times[d][2] for d in needs[chosen]), default=0.0)
            times[chosen] = (came, float(now), float(now + seconds[chosen]))
        now += 1
    return times


def _behind(i: int, needs: Needs) -> int:
    return max((1 + _behind(j, needs) for j in needs if i in needs[j]), default=0)


def _depth(i: int, needs: Needs) -> int:
    return max((1 + _depth(d, needs) for d in needs[i]), default=0)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[int, list[int]], dict[int, int]]:
    """A small graph and a whole number of seconds, at least one, for each of its steps."""
    count = draw(st.integers(1, 9))
    needs = {i: sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(count)}
    return needs, {i: draw(st.integers(1, 5)) for i in needs}
