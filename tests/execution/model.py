"""What must come of a plan, worked out by a few lines that know nothing of tasks: time goes from end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush

import attrs
from hypothesis import strategies as st


@attrs.frozen(kw_only=True)
class Part:
    """One step: how long it takes, whether it fails, what it waits for and under which rules."""

    id: int
    needs: tuple[int, ...]
    seconds: int
    fails: bool
    join: str | int
    condition: bool | None
    critical: bool | None

    @property
    def enough(self) -> int:
        """So many of its dependencies must be done."""
        return {"all": len(self.needs), "any": min(1, len(self.needs))}.get(self.join, self.join)

    def as_json(self) -> dict[str, object]:
        """The step as a plan spells it."""
        said = {"condition": self.condition, "critical": self.critical, "join": self.join}
        usual = {"condition": None, "critical": None, "join": "all"}
        policies = {name: value for name, value in said.items() if value != usual[name]}
        return {"id": self.id, "action": "work", "dependencies": list(self.needs), **policies}


@attrs.frozen
class Fate:
    """What becomes of a step, and when it starts and ends if it runs."""

    state: str
    reason: str | None = None
    start: float | None = None
    end: float | None = None


def fates(parts: Sequence[Part]) -> dict[int, Fate]:
    """With as many slots as there are steps."""
    by_id = {part.id: part for part in parts}
    found: dict[int, Fate] = {}
    ends: list[tuple[float, int]] = []

    def look(now: float) -> None:
        changed = True
        while changed:
            changed = False
            for part in parts:
                if part.id in found:
                    continue
                done = sum(_is_done(found.get(n), now) for n in part.needs)
                lost = sum(_is_lost(found.get(n), now) for n in part.needs)
                if done >= part.enough:
                    if part.condition is False:
                        found[part.id] = Fate("skipped", "condition", None, now)
                    else:
                        state = "failed" if part.fails else "ok"
                        found[part.id] = Fate(state, None, now, now + part.seconds)
                        heappush(ends, (now + part.seconds, part.id))
                    changed = True
                elif len(part.needs) - lost < part.enough:
                    found[part.id] = Fate("skipped", "dependency", None, now)
                    changed = True

    look(0)
    while ends:
        look(heappop(ends)[0])
    assert found.keys() == by_id.keys()
    return found


def _is_done(fate: Fate | None, now: float) -> bool:
    return fate is not None and fate.state == "ok" and fate.end <= now


def _is_lost(fate: Fate | None, now: float) -> bool:
    return fate is not None and fate.state != "ok" and fate.end <= now


def status_of(parts: Sequence[Part], found: Mapping[int, Fate]) -> str:
    """What the steps add up to; no step of these plans is `critical: true`."""
    failed = [part for part in parts if found[part.id].state == "failed"]
    if any(part.critical is not False for part in failed):
        return "failed"
    return "success_with_failures" if failed else "success"


def longest_chain(parts: Sequence[Part]) -> float:
    """Seconds that no number of slots makes shorter, if nothing fails."""
    ends: dict[int, float] = {}
    waiting = list(parts)
    while waiting:
        for part in list(waiting):
            if all(n in ends for n in part.needs):
                ends[part.id] = part.seconds + max((ends[n] for n in part.needs), default=0)
                waiting.remove(part)
    return max(ends.values())


@st.composite
def plans(draw: st.DrawFn, *, plain: bool = False, most: int = 14) -> list[Part]:
    """Random plans, listed in random order, with random ids. `plain`: nothing fails, no conditions, no joins."""
    count = draw(st.integers(1, most))
    ids = draw(st.lists(st.integers(0, 10**6), min_size=count, max_size=count, unique=True))
    parts: list[Part] = []
    for n in range(count):
        needs = tuple(draw(st.lists(st.sampled_from(ids[:n]), max_size=4, unique=True))) if n else ()
        joins: list[str | int] = ["all"] if plain or not needs else ["all", "all", "any", *range(1, len(needs) + 1)]
        parts.append(
            Part(
                id=ids[n],
                needs=needs,
                seconds=draw(st.integers(0, 4)),
                fails=not plain and draw(st.integers(0, 4)) == 0,
                join=draw(st.sampled_from(joins)),
                condition=None if plain else draw(st.sampled_from([None, None, None, True, False])),
                critical=None if plain else draw(st.sampled_from([None, False])),
            )
        )
    return draw(st.permutations(parts))
