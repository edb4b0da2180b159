"""A resolver does what `Compiled.resolve` does: the same values, just as independent, and the same errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.runtime import StepError, parse_plan, resolver

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3))
NAMES = st.sampled_from(["a", "b", "0", "1"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
REFERENCES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["$step1", "$step2", "$step3", "{$step1.a}"]),
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
RESULTS = st.dictionaries(st.sampled_from([1, 2, 3]), VALUES, max_size=3)


def outcome(resolve, results: object) -> tuple[str, object]:
    try:
        return "value", resolve(results)
    except StepError as error:
        return type(error).__name__, str(error)


def inputs_of(template: dict[str, object]):
    before = [{"id": n, "action": "a"} for n in (1, 2, 3)]
    return parse_plan([*before, {"id": 4, "action": "a", "parameters": template}]).step(4).inputs


@given(TEMPLATES, RESULTS)
def test_it_gives_what_resolve_gives_and_fails_as_that_fails(template: dict[str, object], results: object) -> None:
    inputs = inputs_of(template)

    assert outcome(resolver(inputs), results) == outcome(inputs.resolve, results)


@pytest.mark.parametrize(
    "template",
    [
        {"x": "$step1.a"},
        {"x": ["$step1.a", "$step2.a"], "n": 4},
        {"x": ["$step1.a", 1], "y": "$step2.a"},
        {"x": {"y": {"z": "$step1.a"}}, "w": [["$step2.a"]]},
        {"x": [1, 2]},
        {"x": 1},
        {},
    ],
)
def test_whoever_gets_a_value_may_change_it(template: dict[str, object]) -> None:
    """Neither the results nor what the next call gives are touched by it."""
    results = {1: {"a": [1, {"b": 2}]}, 2: {"a": {"c": [3]}}}
    resolve = resolver(inputs_of(template))
    expected = resolve(results)
    first = resolve(results)

    spoil(first)

    assert resolve(results) == expected
    assert results == {1: {"a": [1, {"b": 2}]}, 2: {"a": {"c": [3]}}}


def spoil(value: object) -> None:
    inner = list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    for one in inner:
        spoil(one)
    if isinstance(value, dict):
        value["spoilt"] = True
    elif isinstance(value, list):
        value.append("spoilt")
