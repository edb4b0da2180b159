"""Large plans take quicker ways through the parser; what comes out is the same."""

from __future__ import annotations

import gc
import json
from contextlib import suppress

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.runtime import PlanError, Step, parse_plan
from trouper.runtime._plan_json import MAX_DEPTH, Document, JsonError, Repeated, decode, decode_at

PADDING = "p" * 20_000
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab":, \\{}[]\n', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab": ', max_size=3), inner, max_size=3),
    max_leaves=8,
)


def kinds(source: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        parse_plan(source)
    return [problem.kind for problem in caught.value.problems]


@given(VALUES, st.sampled_from([(",", ":"), (", ", ": "), (", ", " : "), (",", "\n:")]))
def test_a_large_text_is_read_as_a_small_one(value: object, separators: tuple[str, str]) -> None:
    """Whatever stands in it, with every way to write the colon."""
    text = json.dumps([value, PADDING], separators=separators)

    assert decode(text) == decode_at(text, 0)[0] == Document([value, PADDING])


@pytest.mark.parametrize("colon", [":", " :", "\n:", ": "])
@pytest.mark.parametrize("other", ["x", 'a\\":', " :", '\\" :'])
def test_a_repeated_key_is_found_in_a_large_text_too(colon: str, other: str) -> None:
    """However the colons are written, and whatever texts look like keys."""
    step = f'{{"id": 1, "action": "a", "parameters": {{"x"{colon} 1, "y": "{other}", "x"{colon} "{PADDING}"}}}}'

    (repeated,) = decode(f"[{step}]").repeated
    assert isinstance(repeated, Repeated)
    assert repeated.claims.keys() == {"x"}
    assert kinds(f"[{step}]") == ["duplicate_key"]


@pytest.mark.parametrize("leaf", ["1", "[]", "{}"])
def test_a_large_text_may_be_as_deep_as_a_small_one(leaf: str) -> None:
    inside = MAX_DEPTH - 1 - (leaf != "1")  # the list around it counts
    for opener, closer in (("[", "]"), ('{"x":', "}")):
        decode(f'["{PADDING}", {opener * inside}{leaf}{closer * inside}]')
        with pytest.raises(JsonError, match="too deep"):
            decode(f'["{PADDING}", {opener * (inside + 1)}{leaf}{closer * (inside + 1)}]')


@pytest.mark.parametrize("text", ['[{"id": 1, "action": "a"}]', "no plan", '[{"id": 1}]'])
def test_the_collector_is_as_it_was_after_reading(text: str) -> None:
    """It pauses while a plan is read, whatever comes of it; who has switched it off finds it off."""
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        with suppress(PlanError):
            parse_plan(text)
        found = gc.isenabled()
        gc.enable()
        assert found is enabled


def test_a_step_without_policies_is_a_step_like_any_other() -> None:
    """Most steps of a large plan are made in a quicker way: equal, and frozen."""
    (step,) = parse_plan([{"id": 1, "action": "a", "parameters": {"x": 1}, "dependencies": []}]).steps

    assert type(step) is Step
    assert step == Step(1, "a", {"x": 1}) == attrs.evolve(step)
    assert repr(step) == repr(Step(1, "a", {"x": 1}))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        step.action = "b"  # type: ignore[misc]
