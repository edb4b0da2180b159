"""What is written for values of one form does what `Compiled.resolve` does with flat results, or gives up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.runtime import StepError, filler, form_of, parse_plan, written

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3))
NAMES = st.sampled_from(["a", "b", "0", "1", "a 'quoted\" name\\", "class"])
REFERENCES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["$step1", "$step2", "$step3", "{$step1.a}", "and $step2"]),
        st.sampled_from(["", ".a", ".b", ".a.b", ".1", "[0]", ".a[1]"]),
    ),
)
TEMPLATES = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS | REFERENCES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)
RESULTS = st.dictionaries(st.sampled_from([1, 2, 3]), st.dictionaries(NAMES, SCALARS, max_size=3), max_size=3)


def inputs_of(template: dict[str, object]):
    before = [{"id": n, "action": "a"} for n in (1, 2, 3)]
    return parse_plan([*before, {"id": 4, "action": "a", "parameters": template}]).step(4).inputs


@given(TEMPLATES, RESULTS)
def test_it_gives_what_resolve_gives_or_gives_up(template: dict[str, object], results: dict) -> None:
    inputs = inputs_of(template)
    found = form_of(inputs)
    if found is None:
        return
    form, own = found
    try:
        filled = filler(form)(results, written(form).picked(own))
    except KeyError:
        with pytest.raises(StepError):
            inputs.resolve(results)
        return

    assert filled == inputs.resolve(results)
    assert list(filled) == list(template)


@pytest.mark.parametrize(
    ("template", "has"),
    [
        ({}, True),
        ({"x": "$step1.a"}, True),
        ({"x": "$step1"}, True),
        ({"x": ["$step1.a", {"y": "$step2.b"}], "n": 4}, True),
        ({"x": "$step1.a.b"}, False),
        ({"x": "$step1[0]"}, False),
        ({"x": "a text with {$step1.a}"}, False),
        ({"x": ["$step1.a"] * 33}, False),
        ({"x": [[] for _ in range(9)]}, False),
    ],
)
def test_which_values_have_a_form(template: dict[str, object], has: bool) -> None:
    """What a flat result has, in few places; text that is put together and parts of parts are resolved."""
    assert (form_of(inputs_of(template)) is not None) is has


@pytest.mark.parametrize(
    "template",
    [
        {"x": "$step1"},
        {"x": ["$step1", "$step2.a"], "n": 4},
        {"x": {"y": {"z": "$step1"}}, "w": [["$step2.a"]]},
        {"x": [1, 2]},
    ],
)
def test_whoever_gets_a_value_may_change_it(template: dict[str, object]) -> None:
    """Neither the results nor what the next call gives are touched by it."""
    results = {1: {"a": 1, "b": "text"}, 2: {"a": None}}
    form, own = form_of(inputs_of(template))
    fill, picked = filler(form), written(form).picked(own)
    expected = fill(results, picked)
    first = fill(results, picked)

    spoil(first)

    assert fill(results, picked) == expected
    assert results == {1: {"a": 1, "b": "text"}, 2: {"a": None}}


def test_values_that_differ_in_steps_and_constants_only_are_of_one_form() -> None:
    """So that a plan of 10,000 steps needs a handful of functions."""
    alike = [{"x": ["$step1.v", 1], "n": 1}, {"x": ["$step3.v", "other"], "n": 7}]
    other = [{"x": ["$step1.w", 1], "n": 1}, {"x": ["$step1.v"], "n": 1}, {"x": ["$step1.v", 1], "n": "text"}]

    first, second = (form_of(inputs_of(one))[0] for one in alike)
    assert first == second
    assert all(form_of(inputs_of(one))[0] != first for one in other)


def spoil(value: object) -> None:
    inner = list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    for one in inner:
        spoil(one)
    if isinstance(value, dict):
        value["spoilt"] = True
    elif isinstance(value, list):
        value.append("spoilt")
