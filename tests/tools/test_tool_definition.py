"""What `@tool` makes of a function: schema, description, outputs; and what it refuses at decoration."""

import enum
import functools
import pathlib
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import attrs
import pytest

from trouper.actors.tool import Effect, ToolContext, tool


class Found(TypedDict):
    count: int
    note: NotRequired[str]


@attrs.frozen
class Point:
    x: int
    y: float = 0.0


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def test_the_schema_says_what_the_signature_says():
    @tool
    def look(pattern: str, limit: int = 3, strict: bool = False, share: float | None = None) -> Found:
        """Look for something.

        In several places.

        Args:
            pattern: what to look for,
                in any case
            limit (int): how many
        """

    assert look.name == "look"
    assert look.description == "Look for something."
    assert look.schema == {
        "type": "object",
        "properties": {
            "pattern": {"type": "string", "description": "what to look for, in any case"},
            "limit": {"type": "integer", "description": "how many", "default": 3},
            "strict": {"type": "boolean", "default": False},
            "share": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
        },
        "required": ["pattern"],
        "additionalProperties": False,
    }
    assert look.required == ("pattern",)
    assert look.parameters == ("pattern", "limit", "strict", "share")


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (None, {"type": "null"}),
        (Any, {}),
        (object, {}),
        (list, {"type": "array"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (tuple[str, ...], {"type": "array", "items": {"type": "string"}}),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (dict, {"type": "object"}),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Colour, {"enum": ["red", "blue"]}),
        (pathlib.Path, {"type": "string"}),
        (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
        (str | Any, {}),
        (
            tuple[str, int],
            {
                "type": "array",
                "prefixItems": [{"type": "string"}, {"type": "integer"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (
            Point,
            {
                "type": "object",
                "properties": {"x": {"type": "integer"}, "y": {"type": "number"}},
                "required": ["x"],
                "additionalProperties": False,
            },
        ),
    ],
)
def test_each_kind_of_annotation_has_its_schema(annotation, schema):
    def take(value): ...

    take.__annotations__ = {"value": annotation}

    assert tool(take).schema["properties"]["value"] == schema


def test_a_union_that_contains_itself_takes_any_data():
    from trouper.actors.protocols import Json

    @tool
    def take(value: Json) -> Json:
        return value

    take.check_arguments({"value": [{"a": [None, 1.5, "x"]}]})

    with pytest.raises(Exception, match="value: expected"):
        take.check_arguments({"value": b"bytes"})


def test_outputs_come_from_the_return_annotation():
    @tool
    def typed() -> Found: ...

    @tool
    def attrs_class() -> Point: ...

    @tool
    def loose() -> dict[str, int]: ...

    @tool
    def silent(): ...

    assert typed.outputs == ("count", "note")
    assert attrs_class.outputs == ("x", "y")
    assert loose.outputs is None
    assert silent.outputs is None
    assert typed.signature().outputs == ("count", "note")
    assert typed.check_output({"count": 1, "more": 2}) == []
    assert typed.check_output({"note": 3}) == [
        "result: the field 'count' is missing",
        "result.note: expected text, got 3 (a whole number)",
    ]
    assert silent.check_output(object()) == []


def test_the_context_is_not_shown_to_the_planner():
    @tool
    def work(n: int, ctx: ToolContext) -> None: ...

    assert list(work.schema["properties"]) == ["n"]
    assert work.parameters == ("n",)
    assert work.signature().required == ("n",)


def test_a_tool_with_keyword_parameters_takes_any_name():
    @tool
    def anything(**parameters): ...

    @tool
    def numbers(name: str, **counts: int): ...

    assert anything.parameters is None
    assert anything.schema["additionalProperties"] is True
    assert numbers.schema["additionalProperties"] == {"type": "integer"}
    assert numbers.signature().parameters is None
    with pytest.raises(Exception, match="b: expected a whole number"):
        numbers.check_arguments({"name": "x", "a": 1, "b": "2"})


def test_options_are_carried_and_a_tool_stays_callable():
    @tool(name="sum.up", effect=Effect.PURE, timeout=2.5, retries=2, max_concurrency=3, permission="network")
    async def add(a: int, b: int) -> int:
        return a + b

    @tool
    def double(n: int) -> int:
        return 2 * n

    assert (add.name, add.effect, add.timeout, add.retries) == ("sum.up", Effect.PURE, 2.5, 2)
    assert (add.max_concurrency, add.permission, add.isolation) == (3, "network", "task")
    assert (double.effect, double.isolation, double(4)) == (Effect.ONCE, "thread", 8)


def test_local_names_and_partials_and_objects_can_be_tools():
    class Local(TypedDict):
        a: int

    def scale(n: int, factor: int) -> "Local":
        """Scale it."""
        return {"a": n * factor}

    class Greeter:
        """A class."""

        async def __call__(self, name: str) -> str: ...

    scaled = tool(name="twice")(functools.partial(scale, factor=2))
    greet = tool(name="greet")(Greeter())

    assert scaled.outputs == ("a",)
    assert scaled.description == "Scale it."
    assert greet.isolation == "task"
    assert greet.parameters == ("name",)


def positional_only(a: int, /): ...
def star(*values: int): ...
def bare_context(ctx): ...
def unknown_name(a: "Nowhere"): ...  # noqa: F821
def raw(a: bytes, b: dict[int, str], c: type, /): ...
def two_contexts(a: ToolContext, b: ToolContext): ...
def generator():
    yield 1


class Endless(TypedDict):
    inner: list["Endless"]


def endless(a: Endless): ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (positional_only, "'a' is positional-only"),
        (star, r"'\*values' takes arguments without names"),
        (bare_context, "write `ctx: ToolContext`"),
        (unknown_name, "'Nowhere', which is not defined where the tool is"),
        (two_contexts, "more than one parameter is a ToolContext: a, b"),
        (generator, "is a generator; return a list"),
        (endless, "Endless contains itself"),
        (lambda: 1, "'<lambda>' is no name for a tool"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused_at_decoration(function, message):
    with pytest.raises(TypeError, match=message):
        tool(function)


def test_all_reasons_are_given_at_once():
    def bad(a: bytes, b: dict[int, str], *c: int): ...

    with pytest.raises(TypeError, match=r"'a': bytes.*'b': dict\[int, str\].*'\*c'"):
        tool(bad)


def test_an_async_function_does_not_run_in_a_thread():
    async def work(): ...

    with pytest.raises(TypeError, match="is async and isolation='thread' wants a plain function"):
        tool(isolation="thread")(work)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"isolation": "fork"}, "use 'task', 'thread' or 'process'"),
        ({"timeout": 0}, "timeout=0: must be more than 0"),
        ({"max_concurrency": 0}, "max_concurrency=0"),
        ({"retries": -1}, "retries=-1"),
        ({"retries": True}, "retries=True"),
        ({"permission": "shell"}, "none of read, write"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    def work(): ...

    with pytest.raises(ValueError, match=message):
        tool(**options)(work)


def test_misuse_of_the_decorator_is_named():
    @tool
    def work(): ...

    with pytest.raises(TypeError, match="'work' is a tool already"):
        tool(work)
    with pytest.raises(TypeError, match="takes its options by keyword"):
        tool("work")
    with pytest.raises(TypeError, match=r"effect='pure'; write Effect\.PURE"):
        tool(effect="pure", name="work")(lambda: 1)
