"""Arguments are taken strictly: nothing is guessed, and every mistake is told at once."""

import enum
import pathlib
from typing import Literal, NotRequired, TypedDict

import attrs
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from trouper.actors.tool import ToolContext, tool
from trouper.runtime import BadArguments


@attrs.frozen
class Point:
    x: int = attrs.field(validator=attrs.validators.ge(0))
    y: float = 0.0


class Row(TypedDict):
    name: str
    tags: NotRequired[list[str]]


class Colour(enum.Enum):
    RED = "red"


def taking(annotation):
    seen = []

    def take(value):
        seen.append(value)

    take.__annotations__ = {"value": annotation}
    return tool(isolation="task")(take), seen


async def taken(annotation, value):
    it, seen = taking(annotation)
    await it.call({"value": value}, ToolContext())
    return seen[0]


def refused(annotation, value):
    it, _ = taking(annotation)
    with pytest.raises(BadArguments) as caught:
        it.check_arguments({"value": value})
    return str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (bool, "false"),
        (bool, "true"),
        (bool, 0),
        (bool, 1),
        (bool, None),
        (int, True),
        (int, "3"),
        (int, 3.0),
        (float, True),
        (float, "1.5"),
        (float, float("nan")),
        (float, float("inf")),
        (float, 10**400),
        (str, 3),
        (str, None),
        (str, ["a"]),
        (None, ""),
        (list[int], "12"),
        (list[int], [1, True]),
        (list[int], {"0": 1}),
        (set[object], [[1]]),
        (dict[str, int], [1]),
        (dict[str, int], {"a": "1"}),
        (dict[str, int], {1: 1}),
        (tuple[str, int], ["a"]),
        (tuple[str, int], ["a", "b"]),
        (Literal["a", "b"], "c"),
        (Literal[1], True),
        (Literal[1], 1.0),
        (Colour, "RED"),
        (int | None, "None"),
        (Point, {"x": -1}),
        (Point, {"x": 1, "z": 2}),
        (Point, {"y": 1.0}),
        (Row, {"name": "a", "tags": "b"}),
        (Row, "a"),
    ],
)
def test_what_does_not_fit_is_refused(annotation, value):
    assert "value" in refused(annotation, value)


@pytest.mark.parametrize(
    ("annotation", "value", "received"),
    [
        (float, 3, 3.0),
        (int | float, 3, 3),
        (float | int, 3, 3),
        (float | None, 3, 3.0),
        (bool | str, "true", "true"),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[str, int], ["a", 1], ("a", 1)),
        (set[str], ["a", "a"], {"a"}),
        (Colour, "red", Colour.RED),
        (pathlib.Path, "a/b", pathlib.Path("a/b")),
        (Point, {"x": 1, "y": 2}, Point(1, 2.0)),
        (list[Point], [{"x": 1}], [Point(1)]),
        (Point | None, None, None),
        (Row, {"name": "a"}, {"name": "a"}),
        (object, {"any": [1]}, {"any": [1]}),
    ],
)
async def test_what_fits_arrives_as_the_function_declares_it(annotation, value, received):
    got = await taken(annotation, value)

    assert got == received
    assert type(got) is type(received)


def test_every_mistake_is_in_one_message():
    @tool
    def look(pattern: str, limit: int, points: list[Point], strict: bool = False): ...

    with pytest.raises(BadArguments) as caught:
        look.check_arguments({"patern": "x", "limit": "3", "points": [{"x": 1}, {"x": "1"}], "strict": "false"})

    assert str(caught.value).splitlines() == [
        "look was given 5 wrong arguments:",
        "- patern: there is no such parameter; did you mean 'pattern'?",
        "- limit: expected a whole number, got '3' (text)",
        "- points[1].x: expected a whole number, got '1' (text)",
        "- strict: expected true or false, got 'false' (text)",
        "- pattern: missing; it takes text",
    ]
    assert caught.value.effect is False
    assert not caught.value.retry_possible


def test_the_context_cannot_be_given_by_a_plan():
    @tool
    def work(ctx: ToolContext, **rest): ...

    with pytest.raises(BadArguments, match="ctx: there is no such parameter"):
        work.check_arguments({"ctx": {"run_id": "mine"}})


def test_a_default_is_used_for_what_is_left_out():
    @tool(isolation="task")
    def work(n: int = 7): ...

    work.check_arguments({})


def test_messages_stay_short_for_huge_values():
    assert len(refused(int, "x" * 100_000)) < 300
    assert len(refused(str, 10**5000)) < 300
    assert len(refused(str, [[1] * 10_000] * 10_000)) < 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KINDS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
annotations = st.recursive(
    st.sampled_from([str, int, float, bool]),
    lambda inner: inner.map(lambda a: list[a]) | inner.map(lambda a: dict[str, a]) | inner.map(lambda a: a | None),
    max_leaves=4,
)


def fits(value, schema):
    """A JSON Schema validator of the few words that these schemas use, written apart from the shapes."""
    if "anyOf" in schema:
        return any(fits(value, s) for s in schema["anyOf"])
    kind = schema.get("type")
    if kind == "array":
        return isinstance(value, list) and all(fits(v, schema["items"]) for v in value)
    if kind == "object":
        return isinstance(value, dict) and all(fits(v, schema["additionalProperties"]) for v in value.values())
    if kind == "number":
        return type(value) in (int, float) and abs(value) < 10**300
    return KINDS[type(value)] == kind if type(value) in KINDS else False


@given(annotations, json_values)
def test_the_check_accepts_exactly_what_the_schema_describes(annotation, value):
    it, _ = taking(annotation)
    try:
        it.check_arguments({"value": value})
        accepted = True
    except BadArguments:
        accepted = False

    assert accepted == fits(value, it.schema["properties"]["value"])


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=5))
def test_any_arguments_are_either_taken_or_refused_by_name(parameters):
    @tool
    def work(a: int, b: list[Point] | None = None): ...

    right = set(parameters) <= {"a", "b"} and type(parameters.get("a")) is int and parameters.get("b", None) is None
    if right:
        work.check_arguments(parameters)
    elif parameters.get("b") != []:
        with pytest.raises(BadArguments, match="work was given"):
            work.check_arguments(parameters)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers())


@given(
    st.fixed_dictionaries(
        {"text": st.text(max_size=3) | VALUES},
        optional={
            "yes": st.booleans() | VALUES,
            "items": st.lists(VALUES) | VALUES,
            "data": st.dictionaries(st.text(), VALUES) | VALUES,
            "number": VALUES,
            "what": VALUES,
            "choice": st.just(1) | VALUES,
            "other": VALUES,
        },
    )
)
def test_the_glance_gives_what_the_close_look_gives(given):
    """`quick` is a short cut: where it answers, `take` would have said the same."""

    @tool
    def work(
        text: str,
        number: float = 0.0,
        yes: bool = False,
        items: list = (),
        data: dict | None = None,
        what: object = 0,
        choice: Literal[1] = 1,
    ): ...

    quick = work.takes.quick(given)
    taken, problems = work.takes.take(given)

    event("quick" if quick is not None else "close")
    if quick is not None:
        assert (repr(quick), problems) == (repr(taken), [])


def test_the_glance_is_enough_for_what_plans_mostly_give():
    @tool
    def work(text: str, n: int, yes: bool, items: list, what: object, more: str = ""): ...

    given = {"text": "a", "n": 1, "yes": True, "items": [1], "what": {}}

    assert work.takes.quick(given) == given
    assert work.takes.quick(given | {"more": "b"}) == given | {"more": "b"}
    assert work.takes.quick(given | {"n": True}) is None
    assert work.takes.quick({"text": "a"}) is None
    assert work.takes.quick(given | {"unknown": 1}) is None
