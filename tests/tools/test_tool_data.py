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

from trouper.actors.tool_data import to_json
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
        ({"a": [object()]}, r"the result\.a\[0\] is a object, which is no data"),
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
