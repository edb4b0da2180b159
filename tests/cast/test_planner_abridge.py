"""What goes into a prompt is short, on one line, and still shows what the value looks like."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.actors.abridge import abridged, one_line

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(JSON, st.integers(60, 400))
def test_it_is_one_line_of_json_with_at_most_so_many_characters(value, most):
    text = abridged(value, most)

    assert len(text) <= most
    assert len(text.splitlines()) == 1
    json.loads(text)


@given(JSON)
def test_a_value_that_is_short_enough_stays_what_it_is(value):
    assert json.loads(one_line(value)) == value


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, {"a": [1, {"b": None}]}, "größer 漢字"])
def test_small_values_are_not_touched(value):
    assert json.loads(abridged(value, 200)) == value


def test_the_names_of_fields_outlive_long_contents():
    """The next plan refers to fields by name: they are kept and the text in them goes."""
    value = {"path": "a.txt", "content": "x" * 10**6, "rows": [{"name": "y" * 300}] * 5000}

    shown = json.loads(abridged(value, 1000))

    assert shown["path"] == "a.txt"
    assert shown["content"].endswith("... (1,000,000 characters)")
    assert shown["rows"][0]["name"].startswith("yyy")
    assert shown["rows"][-1] == "... 4,996 more"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({f"field {n} of a long name": "x" * 40 for n in range(9)}, "(an object with 9 fields)"),
        (["x" * 40] * 1000, "(a list of 1,000)"),
    ],
)
def test_what_does_not_fit_at_all_is_named(value, shown):
    assert json.loads(abridged(value, 60)) == shown


def test_a_number_that_cannot_be_printed_is_named():
    assert json.loads(abridged({"n": 10**5000}, 100)) == {"n": "(a number of 16,610 bits)"}


class Wide(list):
    """A list that counts how much of it is looked at."""

    looked = 0

    def __iter__(self):
        for item in super().__iter__():
            Wide.looked += 1
            yield item


def test_a_value_wide_at_every_depth_costs_no_more_than_what_is_shown():
    value: object = "x"
    for _ in range(8):
        value = Wide([value] * 50)
    Wide.looked = 0

    abridged(value, 500)

    assert Wide.looked < 3000


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}])
def test_depth_has_an_end(wrap):
    """However much room there is."""
    value: object = "inside"
    for _ in range(100_000):
        value = wrap(value)

    assert len(abridged(value, 50_000)) < 100


@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_text_ends_its_line(end):
    """Otherwise a result could write further lines of the prompt, which are instructions."""
    assert len(one_line({"a": f"one{end}two", f"k{end}": 1}).splitlines()) == 1


def test_half_a_character_can_be_sent():
    one_line("\ud800").encode()
