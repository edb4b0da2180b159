"""Whatever a model says, in whatever pieces: what is on offer at the end is in the plan, or nothing is."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cast.planning import before, failed, ok, plan_of, planning, steps
from trouper.adapters.llm_scripted import BreakOff, Pieces
from trouper.runtime import LLMError, PlanningError

CALLS = st.sampled_from(
    [
        *({"action": "search", "parameters": {"q": q}} for q in ("a", "b", "c")),
        {"action": "send", "parameters": {"to": "bob"}},
    ]
)
BAD_CALLS = st.sampled_from(
    [
        {"action": "send", "parameters": {"to": "ann"}},  # done already, or maybe done
        {"action": "serach", "parameters": {"q": "a"}},
        {"action": "search", "parameters": {"q": "$step77"}},
    ]
)


def _plan(calls: list[dict], ids: list[int]) -> str:
    return steps(*({"id": number, **call} for number, call in zip(ids, calls, strict=False)))


def _plans(calls: st.SearchStrategy[dict]) -> st.SearchStrategy[str]:
    return st.builds(_plan, st.lists(calls, min_size=1, max_size=4), st.permutations([3, 4, 5, 6]))


GOOD = _plans(CALLS)
BAD = _plans(CALLS | BAD_CALLS) | st.builds(lambda text, cut: text[:-cut], GOOD, st.integers(1, 40))
TEXTS = (
    GOOD
    | GOOD.map(lambda plan: f"Well:\n```json\n{plan}\n```\nThat is it.")
    | st.builds(lambda first, second: f"{first}\nNo, better:\n{second}", GOOD | BAD, GOOD | BAD)
    | BAD
)
OLD = plan_of(
    {"id": 1, "action": "search", "parameters": {"q": "a"}},
    {"id": 2, "action": "send", "parameters": {"to": "ann"}, "dependencies": [1]},
)
PREVIOUS = before(OLD, ok(1, "search", {"t": "x"}, q="a"), failed(2, "send", in_doubt=True, to="ann"))


def pieces(text: str, sizes: list[int]) -> list[str]:
    cut = [0]
    for size in sizes:
        cut.append(cut[-1] + size)
    return [text[a:b] for a, b in zip(cut, [*cut[1:], len(text)], strict=True)]


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, min_size=3, max_size=3), st.lists(st.integers(1, 60), max_size=8), st.booleans(), st.booleans())
def test_what_is_on_offer_in_the_end_is_in_the_plan_or_nothing_is(texts, sizes, breaks, again) -> None:
    script = [Pieces(pieces(text, sizes)) for text in texts]
    if breaks:
        script[0] = BreakOff(texts[0])

    async def main() -> None:
        async with planning(script) as cast:
            try:
                planned = await cast.plan(fed=True, previous=PREVIOUS if again else None)
            except (PlanningError, LLMError):
                assert cast.feed.offers == []
                return
            new = [step.id for step in planned.plan.steps if not (again and step.id == 1)]
            assert cast.feed.offers == new[: len(cast.feed.offers)]
            assert new
            if again:
                assert 2 not in new
                assert all(step.parameters != {"to": "ann"} for step in planned.plan.steps)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
