"""What a tool gives back becomes plain data, or one clear refusal."""

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.actors.tool_data import MAX_BYTES, _walked, to_json
from trouper.runtime import BadResult


@attrs.frozen
class Point:
    x: int
    y: tuple = ()


@dataclasses.dataclass
class Row:
    name: str


class Level(enum.IntEnum):
    HIGH = 3


class Loud(str):
    __slots__ = ()

    def __str__(self):
        return "LOUD"


def test_python_values_become_json_values():
    value = {
        "point": Point(1, (2, 3)),
        "rows": [Row("a")],
        "level": Level.HIGH,
        "set": {"b", "a"},
        "path": pathlib.Path("a/b"),
        "day": datetime.date(2024, 2, 29),
        "money": decimal.Decimal("1.10"),
        "id": uuid.UUID(int=1),
        1: None,
        "loud": Loud("quiet"),
    }

    assert to_json(value) == {
        "point": {"x": 1, "y": [2, 3]},
        "rows": [{"name": "a"}],
        "level": 3,
        "set": ["a", "b"],
        "path": "a/b",
        "day": "2024-02-29",
        "money": "1.10",
        "id": "00000000-0000-0000-0000-000000000001",
        "1": None,
        "loud": "quiet",
    }


def test_the_data_is_a_copy():
    inner = [1]
    got = to_json({"a": inner})
    inner.append(2)

    assert got == {"a": [1]}


def test_the_order_of_fields_is_kept():
    assert list(to_json({"b": 1, "a": {"d": 1, "c": 2}, "0": 3})) == ["b", "a", "0"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [object()]}, r"the result\.a\[0\] is of the class object, which is no data"),
        ({"a": b"x"}, r"the result\.a is bytes"),
        ([float("nan")], r"the result\[0\] is nan"),
        (float("inf"), "the result is inf"),
        ({True: 1}, "the key True"),
        ({(1, 2): 1}, r"the key \(1, 2\)"),
        ({1: "a", "1": "b"}, "two keys that both read '1'"),
        ("\ud800", "half a surrogate pair"),
        ({"\ud800": 1}, "half a surrogate pair"),
        (1 << 5000, "5001 bits"),
        (print, "builtin_function"),
        ({"a": float("nan")}, r"the result\.a is nan"),
        ({"a": -float("inf")}, r"the result\.a is -inf"),
        ({"a": "\ud800"}, r"the result\.a is text with half a surrogate pair"),
        ({"a": 1 << 5000}, r"the result\.a is a whole number of 5001 bits"),
        ({"a": -1 << 5000}, r"the result\.a is a whole number of 5001 bits"),
        ([1, 1 << 5000], r"the result\[1\] is a whole number of 5001 bits"),
        ([1.0, float("inf")], r"the result\[1\] is inf"),
        (["a", "\ud800"], r"the result\[1\] is text with half a surrogate pair"),
    ],
)
def test_what_is_no_data_is_named_with_its_place(value, message):
    with pytest.raises(BadResult, match=message):
        to_json(value)


def test_data_nested_300_deep_is_fine_and_endless_data_is_refused():
    deep = []
    for _ in range(300):
        deep = [deep]
    endless = []
    endless.append(endless)

    assert json.dumps(to_json(deep)) == json.dumps(deep)
    with pytest.raises(BadResult, match="nested deeper than 500"):
        to_json(endless)


def test_too_much_data_is_refused_before_it_is_copied():
    with pytest.raises(BadResult, match="larger than 10,000,000 bytes; write it to a file"):
        to_json(["x" * 1_000_000] * 11)
    with pytest.raises(BadResult, match="larger than 100 bytes"):
        to_json(list(range(100)), limit=100)
    assert to_json("x" * 90, limit=100) == "x" * 90


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=20,
    )
)
def test_json_data_comes_through_unchanged(value):
    assert to_json(value) == value
    assert json.loads(json.dumps(to_json(value))) == value


SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), 1 << 63)
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from([Level.HIGH, Loud("x"), decimal.Decimal(1), "\ud800", b"x", 1 << 5000, object])
)
ANYTHING = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(st.integers() | st.text(max_size=2), max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 3) | st.just(Loud("a")), inner, max_size=4)
        | st.builds(Point, inner)
    ),
    max_leaves=15,
)


@given(ANYTHING)
def test_the_quick_way_gives_what_the_careful_walk_gives(value):
    """The same data of the same plain types, or a refusal in the same words."""

    def told(convert):
        try:
            return repr(convert(value))
        except BadResult as error:
            return str(error)

    assert told(to_json) == told(lambda v: _walked(v, MAX_BYTES))


@given(ANYTHING)
def test_nothing_of_the_original_is_in_the_copy(value):
    def containers(data):
        if isinstance(data, dict | list):
            yield id(data)
            for inner in data.values() if isinstance(data, dict) else data:
                yield from containers(inner)

    try:
        copy = to_json(value)
    except BadResult:
        return

    assert not set(containers(value)) & set(containers(copy))


def test_keys_that_only_look_like_known_names_are_made_plain():
    class Name(enum.StrEnum):
        A = "a"

    assert to_json({"a": 1}) == {"a": 1}
    assert [type(key) for key in to_json({Name.A: 1})] == [str]


def test_shared_parts_are_counted_each_time():
    """A few lists inside each other can stand for more than any memory holds."""
    part = [1] * 100
    for _ in range(18):
        part = [part, part]

    with pytest.raises(BadResult, match="larger than"):
        to_json(part)


@pytest.mark.parametrize("item", [{"a": "x" * 1000}, ["x" * 1000], ("x" * 1000,), Point("x" * 1000), {1: "x" * 1000}])
def test_many_small_things_are_too_much_together(item):
    with pytest.raises(BadResult, match="larger than 100,000 bytes"):
        to_json([item] * 100, limit=100_000)
    assert len(to_json([item] * 80, limit=100_000)) == 80


def test_a_huge_dict_is_refused_by_its_length():
    class Long(dict):
        def __len__(self):
            return 10_000_000

        def __iter__(self):
            raise AssertionError("it was read")

    with pytest.raises(BadResult, match="larger than 10,000,000 bytes"):
        to_json({"a": Long()})
