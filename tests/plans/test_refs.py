"""The `$stepN` language: what is a reference, what it becomes, and that results are never looked at again."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.runtime._errors import StepError, UnknownField
from trouper.runtime._refs import Reference, compile_value, split_references

RESULTS: dict[int, object] = {
    1: {
        "text": "hello",
        "count": 3,
        "ratio": 1.5,
        "whole": 3.0,
        "no": False,
        "null": None,
        "empty": "",
        "list": [1, "two", {"name": "three"}],
        "deep": {"a": {"b": {"c": "d"}}},
        "2": "two as a key",
        "content-type": "text/html",
        "_x": "underscore",
        "größe": "groß",
    },
    2: [10, {"name": "second"}, [7, 8]],
    3: "plain",
    12: {"v": "twelve"},
    0: {"v": "zero"},
}


def resolve(value: object) -> Any:
    return compile_value(value).resolve(RESULTS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$step1.text", "hello"),
        ("$step1.count", 3),
        ("$step1.ratio", 1.5),
        ("$step1.no", False),
        ("$step1.null", None),
        ("$step1.empty", ""),
        ("$step1.list", [1, "two", {"name": "three"}]),
        ("$step1.list[2].name", "three"),
        ("$step1.list.2.name", "three"),
        ("$step1.deep.a.b.c", "d"),
        ("$step1.2", "two as a key"),
        ("$step1._x", "underscore"),
        ("$step1.größe", "groß"),
        ("$step2", [10, {"name": "second"}, [7, 8]]),
        ("$step2[0]", 10),
        ("$step2.0", 10),
        ("$step2[1].name", "second"),
        ("$step2[2][1]", 8),
        ("$step2.2.1", 8),
        ("$step3", "plain"),
        ("$step12.v", "twelve"),
        ("$step0.v", "zero"),
        ("$step01.count", 3),
    ],
)
def test_exactly_one_bare_reference_is_the_value_with_its_type(text: str, value: object) -> None:
    resolved = resolve(text)

    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{$step1.count}", "3"),
        ("{$step1.whole}", "3.0"),
        ("{$step1.no}", "false"),
        ("{$step1.null}", "null"),
        ("{$step1.text}", "hello"),
        ("{$step1.empty}", ""),
        ("{$step1.list}", '[1,"two",{"name":"three"}]'),
        ("{$step2}", '[10,{"name":"second"},[7,8]]'),
        ("{$step1.content-type}", "text/html"),
        ("{$step1.deep}", '{"a":{"b":{"c":"d"}}}'),
        ("n=$step1.count", "n=3"),
        ("$step1.count ", "3 "),
        (" $step1.count", " 3"),
        ("$step1.count.", "3."),
        ("See $step1.text. Then go.", "See hello. Then go."),
        ("$step1.text...", "hello..."),
        ("$step1.count%", "3%"),
        ("$step1.count°F", "3°F"),
        ("`$step1.text`", "`hello`"),
        ('"$step1.text"', '"hello"'),
        ("($step1.text)", "(hello)"),
        ("$step1.text-$step1.count", "hello-3"),
        ("{$step1.text}{$step1.count}", "hello3"),
        ("{$step1.text}s", "hellos"),
        ("$step1.text$step1.count", "hello3"),
        ("$step1.text,$step2[0];$step3", "hello,10;plain"),
        ("$step1.text\n$step3\n\n$step2.0", "hello\nplain\n\n10"),
        ("{{$step1.text}}", "{hello}"),
        ("{ $step1.text }", "{ hello }"),
        ("${$step1.count}", "$3"),
        ("$step2[0][", "10["),
        ("$step3[", "plain["),
        ("$step3: done", "plain: done"),
        ("$step3の結果", "plainの結果"),
        ("a/$step12.v/b", "a/twelve/b"),
    ],
)
def test_inside_text_a_reference_becomes_text(text: str, value: str) -> None:
    assert resolve(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "$5", "$step", "$steps", "$step.x", "$Step1.x", "step1.x", "{$step}", "$stepX1", "$ step1", "$step-1", "$$"],
)
def test_what_is_no_reference_stays_as_it_is(text: str) -> None:
    compiled = compile_value(text)

    assert compiled.resolve({}) == text
    assert compiled.references == frozenset()
    assert compiled.constant


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$$step1.x", "$step1.x"),
        ("$$step", "$step"),
        ("{$$step1.x}", "{$step1.x}"),
        ("a $$step1.x b $step3 c", "a $step1.x b plain c"),
        ("$$$step1.text", "$$step1.text"),
        ("$$step$$step1", "$step$step1"),
    ],
)
def test_a_doubled_dollar_is_a_literal_reference(text: str, value: str) -> None:
    assert resolve(text) == value
    assert resolve([{"deep": text}]) == [{"deep": value}]


def test_an_escaped_reference_is_no_dependency() -> None:
    assert compile_value({"a": "$$step1.x", "b": "$step2"}).references == {2}


def test_keys_are_never_references() -> None:
    value = {"$step1.text": "$step3", "{$step1.text}": {"$step9": 1}}

    assert resolve(value) == {"$step1.text": "plain", "{$step1.text}": {"$step9": 1}}
    assert compile_value(value).references == {3}


def test_references_at_any_depth_are_found_and_keep_their_places() -> None:
    value = {"a": ["$step3", {"b": [["x", "$step1.count"], "{$step12.v}!"]}], "c": 5, "d": None, "e": True}

    assert resolve(value) == {"a": ["plain", {"b": [["x", 3], "twelve!"]}], "c": 5, "d": None, "e": True}


def test_uses_come_in_document_order_with_their_paths() -> None:
    compiled = compile_value({"a": ["$step3", {"b": "{$step1.x} $step2[0]"}], "c": "$step4"})

    assert [(reference.text, path) for reference, path in compiled.uses()] == [
        ("$step3", ("a", 0)),
        ("{$step1.x}", ("a", 1, "b")),
        ("$step2[0]", ("a", 1, "b")),
        ("$step4", ("c",)),
    ]


def test_a_reference_tells_names_and_indexes_apart() -> None:
    (reference,) = split_references("$step7.items[2].3.name")

    assert reference == Reference(7, ("items", 2, "3", "name"), "$step7.items[2].3.name")
    assert reference.field == "items"
    assert Reference(7, (2, "x"), "").field is None
    assert Reference(7, ("2",), "").field is None
    assert Reference(7, (), "").field is None


def test_split_references_keeps_text_and_references_apart() -> None:
    parts = split_references("$step1.rain > 60 and $$step2 == $step3")

    assert parts == (
        Reference(1, ("rain",), "$step1.rain"),
        " > 60 and $step2 == ",
        Reference(3, (), "$step3"),
    )


# ------------------------------------------------------------------ what is not there


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$step1.txt", r"\$step1\.txt: the result of step 1 has no field 'txt'; it has .*did you mean 'text'"),
        ("x {$step1.nope} y", r"\{\$step1\.nope\}: .*no field 'nope'"),
        ("$step1.deep.a.z", r"the result of step 1\.deep\.a has no field 'z'; it has b"),
        ("$step2[3]", r"is a list of 3, so it has no \[3\]"),
        ("$step2.3", r"is a list of 3, so it has no \.3"),
        ("$step2.name", r"is a list of 3, so it has no \.name"),
        ("$step1[0]", r"is an object, not a list"),
        ("$step1.null.x", r"step 1\.null is null"),
        ("$step1.text[0]", r"step 1\.text is the text 'hello'"),
        ("$step1.count.x", r"step 1\.count is the number 3"),
        ("$step9", r"step 9 has no result"),
        ("$step1.textの結果", r"no field 'textの結果'"),
        ("$step2[" + "9" * 5000 + "]", r"is a list of 3"),
        ("$step" + "1" * 5000, r"has no result"),
    ],
)
def test_a_part_that_is_not_there_is_an_error_that_says_what_is(text: str, said: str) -> None:
    with pytest.raises(UnknownField, match=said):
        resolve({"a": [text]})


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, object(), 10**5000], ids=lambda v: type(v).__name__
)
def test_what_cannot_become_text_is_a_step_error(value: object) -> None:
    with pytest.raises(StepError, match=r"\$step1\.v: the value cannot be written as text"):
        compile_value("it is $step1.v").resolve({1: {"v": value}})


def test_a_list_that_contains_itself_is_a_step_error_as_text_and_survives_as_value() -> None:
    loop: list[object] = [1]
    loop.append(loop)

    with pytest.raises(StepError, match="cannot be written"):
        compile_value("{$step1}").resolve({1: loop})
    copy = compile_value("$step1").resolve({1: loop})
    assert isinstance(copy, list)
    assert copy is not loop
    assert copy[1] is copy


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$step9", None),
        ("$step9.a[3].b", None),
        ("{$step9.x}", "null"),
        ("a $step9.x.", "a null."),
        ("$step1.count", 3),
    ],
)
def test_leniently_a_step_without_a_result_is_null(text: str, value: object) -> None:
    assert compile_value(text).resolve(RESULTS, lenient=True) == value
    assert compile_value({"x": {"y": [text]}}).resolve(RESULTS, lenient=True) == {"x": {"y": [value]}}
    assert compile_value({"x": text}).resolve(RESULTS, lenient=True) == {"x": value}


def test_leniently_a_result_must_still_have_what_is_named() -> None:
    with pytest.raises(UnknownField, match="no field 'nope'"):
        compile_value("$step1.nope").resolve(RESULTS, lenient=True)


# ------------------------------------------------------------------ results are data


@pytest.mark.parametrize("evil", ["$step2.secret", "{$step2.secret}", "$$step2.secret", "a $step2 b"])
def test_a_result_is_never_expanded_again(evil: str) -> None:
    results = {1: {"text": evil, "list": [evil, {evil: evil}]}, 2: {"secret": "LEAK"}}
    value = {
        "typed": "$step1.text",
        "braced": "<{$step1.text}>",
        "list": "$step1.list",
        "both": "$step1.text$step1.text",
    }

    assert compile_value(value).resolve(results) == {
        "typed": evil,
        "braced": f"<{evil}>",
        "list": [evil, {evil: evil}],
        "both": evil + evil,
    }


def test_text_that_only_resolving_puts_together_is_no_reference() -> None:
    results = {1: {"half": "$ste", "rest": "p2.secret", "n": 2}, 2: {"secret": "LEAK"}}

    assert compile_value("{$step1.half}{$step1.rest}").resolve(results) == "$step2.secret"
    assert compile_value("$step{$step1.n}.secret").resolve(results) == "$step2.secret"


def test_a_tool_that_changes_its_parameters_changes_nothing_else() -> None:
    results: dict[int, Any] = {1: {"rows": [{"n": 1}], "pair": (1, [2])}}
    compiled = compile_value({"rows": "$step1.rows", "again": "$step1.rows", "own": [{"k": 0}], "pair": "$step1.pair"})

    first: Any = compiled.resolve(results)
    first["rows"][0]["n"] = 99
    first["own"][0]["k"] = 99
    first["pair"][1].append(3)
    first["new"] = 1

    assert results == {1: {"rows": [{"n": 1}], "pair": (1, [2])}}
    assert first["again"] == [{"n": 1}]
    assert compiled.resolve(results) == {
        "rows": [{"n": 1}], "again": [{"n": 1}], "own": [{"k": 0}], "pair": [1, [2]],
    }  # fmt: skip


def test_shared_parts_of_a_result_cost_what_is_there_not_what_they_expand_to() -> None:
    """Forty lists, each twice in the next: copying each occurrence would make 2**40 of them."""
    value: list[object] = ["x"]
    for _ in range(40):
        value = [value, value]

    copy: Any = compile_value("$step1").resolve({1: value})

    assert copy[0] is copy[1]
    assert copy[0] is not value[0]


# ------------------------------------------------------------------ depth


def nested(depth: int, leaf: object) -> object:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


def test_a_reference_in_a_very_deep_value_is_found_without_recursion() -> None:
    compiled = compile_value(nested(500, "$step1.v"))

    value = compiled.resolve({1: {"v": 7}})
    for _ in range(500):
        assert isinstance(value, list)
        value = value[0]
    assert value == 7


def test_a_value_without_end_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)

    with pytest.raises(ValueError, match="too deep"):
        compile_value(loop)


def test_a_deep_result_is_copied_and_written_without_recursion() -> None:
    depth = sys.getrecursionlimit() * 20
    deep = nested(depth, {"k": ["$step2", 'quote "', True]})

    text: Any = compile_value("= {$step1}").resolve({1: deep})
    copy: Any = compile_value("$step1").resolve({1: deep})

    assert text == "= " + "[" * depth + '{"k":["$step2","quote \\"",true]}' + "]" * depth
    for _ in range(depth):
        copy = copy[0]
    assert copy == {"k": ["$step2", 'quote "', True]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_a_value_without_references_resolves_to_an_equal_copy(value: object) -> None:
    if "$step" in repr(value):
        return
    compiled = compile_value(value)

    assert compiled.resolve({}) == value
    assert compiled.constant


@given(st.lists(st.sampled_from(["$step1", "$step2.x", "{$step3}", "$$step", "$", "{", "}", ".", "a", "1", " ", "é"])))
def test_cutting_a_text_loses_nothing(pieces: list[str]) -> None:
    """Text and references put together again give the text, but for the escapes."""
    text = "".join(pieces)
    parts = split_references(text)

    together = "".join(part if isinstance(part, str) else part.text for part in parts)
    assert together == text.replace("$$step", "$step")
    assert not any(isinstance(a, str) and isinstance(b, str) for a, b in pairwise(parts))


@given(JSON)
def test_whatever_a_result_says_it_arrives_unchanged(result: object) -> None:
    assert compile_value({"a": ["$step1.v"]}).resolve({1: {"v": result}}) == {"a": [result]}
