"""Finding the plan in what a model said, and refusing text that holds none, or only a piece of one."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trouper.runtime._errors import PlanError
from trouper.runtime._plan import Plan, parse_plan
from trouper.runtime._plan_json import MAX_DEPTH, JsonError, decode, decode_at

ONE = '{"steps": [{"id": 1, "action": "one"}]}'
TWO = '[{"id": 1, "action": "two"}, {"id": 2, "action": "two", "parameters": {"x": "$step1"}}]'


def actions(plan: Plan) -> list[str]:
    return [step.action for step in plan.steps]


def parsed(source: str | bytes) -> int:
    """How many steps or problems there are: one or the other."""
    try:
        return len(parse_plan(source).steps)
    except PlanError as error:
        return len(error.problems)


def refusal(source: str | bytes) -> str:
    with pytest.raises(PlanError) as caught:
        parse_plan(source)
    (problem,) = caught.value.problems
    assert (problem.kind, problem.step) == ("invalid_json", None)
    return problem.message


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        f"  \n{ONE}\n\n",
        f"\ufeff{ONE}",
        f"Here is the plan:\n{ONE}",
        f"{ONE}\nLet me know!",
        f"```json\n{ONE}\n```",
        f"```\n{ONE}\n```",
        f"~~~ JSON\n{ONE}\n~~~",
        f"```json {ONE}```",
        f"```json\n{ONE}",
        f"I looked at [1], [2] and {{x}}.\n```json\n{ONE}\n``` See [todo].",
        f"Use `[]` or {{}} or [1, 2, 3], not {{'a': 1}}: {ONE}",
        f'The file says "{{" and 5" disks.\n\n{ONE}',
        f'An example of a result: {{"name": "x"}}.\n{ONE}\nThe answer will be [{{"name": "y"}}] or [].',
        f"<think>maybe [a, b]? {{no}}</think>{ONE}}}",
        "<think>" + ONE.replace("one", "draft") + f"</think>\n{ONE}",
    ],
)
def test_the_plan_is_found_wherever_it_stands(text: str) -> None:
    assert actions(parse_plan(text)) == ["one"]
    assert actions(parse_plan(text.encode())) == ["one"]
    assert actions(parse_plan(bytearray(text.encode()))) == ["one"]


@pytest.mark.parametrize("between", ["\n", "\n\nCorrected plan:\n", "``` \n```json", ", ", " [1] "])
def test_of_several_plans_the_last_counts(between: str) -> None:
    assert actions(parse_plan(ONE + between + TWO)) == ["two", "two"]
    assert actions(parse_plan(TWO + between + ONE)) == ["one"]


def test_a_plan_after_which_another_breaks_off_is_refused() -> None:
    """The model was about to replace it: running the first would be running what it took back."""
    assert "token limit" in refusal(f'{ONE}\nCorrected: {{"steps": [{{"id": 1, "act')
    assert "token limit" in refusal(f'{ONE}\nCorrected: {{"reasoning": "becau')
    assert "stands where" in refusal(f'{ONE}\nCorrected: {{"steps": [{{"id": 1 "action": "b"}}]}}')


@pytest.mark.parametrize(
    "text",
    [
        '{"steps": [{"id": 1, "action": "a"}, oops, {"id": 2, "action": "b"}]}',
        '{"steps": [{"id": 1, "action": "a"}, oops, [{"id": 2, "action": "b"}]]}',
        '{"steps": [{"id": 1, "action": "a"}, {"id": 2, "action": "b", "parameters": {"x": [{"action": "c"}]}',
        'Sure: [{"id": 1, "action": "a"},, [{"id": 2, "action": "b"}]]',
        '{"steps": [{"id": 1, "action": "a" "parameters": {"steps": [{"id": 9, "action": "inner"}]}}]}',
        """{'steps': [{"id": 1, "action": "a"}]}""",
        """{steps: [{"id": 1, "action": "a"}]}""",
        """Plan: {goal: "x", steps: [{"id": 1, "action": "a"}], more: [{"id": 2, "action": "b"}]}""",
        """[{'id': 1, 'action': 'a', 'parameters': {"x": [{"action": "c"}]}}]""",
        "[" + '{"id": 1, "action": "a"}\n{"id": 2, "action": "b"}]',
    ],
)
def test_a_piece_of_a_broken_plan_is_never_taken_for_a_plan(text: str) -> None:
    assert "line 1, column" in refusal(text) or "line 2, column" in refusal(text)


def test_a_broken_draft_before_a_whole_plan_does_not_matter() -> None:
    assert actions(parse_plan(f'{{"steps": [{{"id": 1 "action": "a"}}]}} -- no, better:\n{ONE}')) == ["one"]


@pytest.mark.parametrize("cut", range(1, len(TWO)))
def test_a_plan_cut_off_anywhere_is_refused(cut: int) -> None:
    """No prefix of a list of steps is a plan."""
    refusal(TWO[:cut])
    refusal(f"Here:\n```json\n{TWO[:cut]}")


def test_the_place_of_a_mistake_is_told() -> None:
    message = refusal('{\n  "steps": [\n    {"id": 1, "action": "a",}\n  ]\n}')

    assert message.startswith("line 3, column 29: ")
    assert "no comma before it" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("\ufeff", "empty"),
        ("I cannot do that.", "no JSON plan in the text; it begins 'I cannot do that.'"),
        ("x" * 1_000_000, "no JSON plan"),
        ("see [1] and [2]", "no JSON plan"),
        ("{'steps': []}", "double quotes"),
        ('{"steps": [] // none\n}', "no comments"),
        ('{"steps": [{"id": 1, "action": "a", "parameters": {"x": NaN}}]}', "NaN is not a JSON number"),
        ('{"steps": [{"id": 1, "action": "a", "parameters": {"x": -Infinity}}]}', "-Infinity is not"),
        ('[{"id": 1, "action": "a", "parameters": {"x": 1e999}}]', "number of 5 characters is too large"),
        ('[{"id": ' + "1" * 5000 + ', "action": "a"}]', "number of 5000 characters"),
        ('[{"id": 1, "action": "a\nb"}]', "raw '\\n' inside a string"),
        ('[{"id": 1, "action": "a\\qb"}]', "'\\\\q' is not an escape"),
        ('[{"id": 1, "action": "\\ud800"}]', "surrogate"),
        ('[{"id": 1, "action": "\ud800"}]', "surrogate"),
        ('[{"id": 01, "action": "a"}]', "'1' stands where"),
        ('[{"id": 1, "action": tru', "token limit"),
        ('[{"id": 1, "action": "a\\u00', "token limit"),
    ],
)
def test_text_that_holds_no_plan_is_told_why(text: str, said: str) -> None:
    assert said in refusal(text)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"\xff\xfe[\x00]\x00", "byte 0xff at offset 0"),
        (b'[{"id": 1, "action": "caf\xe9"}]', "byte 0xe9 at offset 25"),
        (b"\xef\xbb\xbf", "empty"),
    ],
)
def test_bytes_that_are_no_text_are_told_where(source: bytes, said: str) -> None:
    assert said in refusal(source)


def test_letters_of_any_alphabet_and_their_escapes_arrive() -> None:
    (step,) = parse_plan(
        '[{"id": 1, "action": "größe", "parameters": {"x": "\\ud83d\\ude00 \\u00e9 \U0001f600"}}]'
    ).steps

    assert (step.action, step.parameters) == ("größe", {"x": "\U0001f600 é \U0001f600"})


# ------------------------------------------------------------------ depth


def deep(depth: int, inner: str = '"$step1.v"') -> str:
    """A plan whose value `x` stands inside `depth` lists and objects, the plan's own four among them."""
    value = "[" * (depth - 4) + inner + "]" * (depth - 4)
    last = f'{{"id": 2, "action": "b", "parameters": {{"x": {value}}}}}'
    return f'{{"steps": [{{"id": 1, "action": "a"}}, {last}]}}'


def at_depth_of_stack(frames: int, text: str) -> object:
    """What comes of parsing `text` from far down a stack."""
    if frames:
        return at_depth_of_stack(frames - 1, text)
    try:
        return parse_plan(text).dependencies
    except PlanError as error:
        return [problem.kind for problem in error.problems]


@pytest.mark.parametrize("frames", [0, 300, sys.getrecursionlimit() - 350])
@pytest.mark.parametrize(
    ("depth", "outcome"), [(300, {1: (), 2: (1,)}), (MAX_DEPTH, {1: (), 2: (1,)}), (MAX_DEPTH + 1, ["invalid_json"])]
)
def test_how_deep_a_plan_may_be_does_not_depend_on_who_calls(frames: int, depth: int, outcome: object) -> None:
    """The standard library's decoder alone would fail at different depths from different places."""
    assert at_depth_of_stack(frames, deep(depth)) == outcome
    assert at_depth_of_stack(frames, f"Here: {deep(depth)} ok") == outcome


@pytest.mark.parametrize("depth", [300, MAX_DEPTH, MAX_DEPTH + 1, 5000])
def test_decoded_plans_have_the_same_limit(depth: int) -> None:
    value: object = "$step1.v"
    for _ in range(depth - 4):
        value = [value]
    plan = {"steps": [{"id": 1, "action": "a"}, {"id": 2, "action": "b", "parameters": {"x": value}}]}

    if depth <= MAX_DEPTH:
        assert parse_plan(plan).dependencies == {1: (), 2: (1,)}
    else:
        with pytest.raises(PlanError, match="too deep") as caught:
            parse_plan(plan)
        assert [(problem.kind, problem.step) for problem in caught.value.problems] == [("invalid_json", 2)]


@pytest.mark.parametrize(
    "text",
    ["[" * 60_000, '{"a":' * 25_000, "[1," * 25_000, "[x" * 25_000, '["\\"' * 15_000, '"' + '\\"' * 100_000,
     '[{"action":x ' * 10_000, "{ " * 100_000, '[{"id":1}' * 20_000, "[true" * 20_000, "```json\n" * 20_000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_hostile_text_is_refused_in_time_that_grows_with_its_length(text: str) -> None:
    """Quadratic behaviour would take minutes here, and the suite's own limit would stop it."""
    with pytest.raises(PlanError):
        parse_plan(text)


# ------------------------------------------------------------------ the decoder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=25,
)


@given(JSON, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_both_decoders_read_what_the_standard_library_writes(
    value: object, ascii_only: bool, indent: str | int
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    document, end = decode_at(text, 0)
    assert document.value == decode(text).value == value
    assert end == len(text)


@given(st.text(st.sampled_from('{}[]",:\\/ \n0123456789.-+eEtrufalsn'), max_size=40))
@settings(max_examples=400)
def test_the_decoder_accepts_exactly_what_the_standard_library_accepts(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(JsonError):
            decode(text)
        return
    if expected in (float("inf"), float("-inf")):
        return
    try:
        assert decode(text).value == expected or decode(text).repeated
        assert decode_at(text, 0)[0].value == expected or decode(text).repeated
    except JsonError as error:
        assert "too large" in error.message  # noqa: PT017 - an infinity inside; it need not be raised


@given(st.text(max_size=200) | st.text(st.sampled_from('{}[]",: \nstepsactionid1$`'), max_size=200))
@settings(max_examples=300)
def test_any_text_gives_a_plan_or_a_plan_error(text: str) -> None:
    assert parsed(text)


@given(st.binary(max_size=100))
def test_any_bytes_give_a_plan_error(source: bytes) -> None:
    with pytest.raises(PlanError):
        parse_plan(source)


@given(st.data())
def test_a_damaged_plan_gives_a_plan_or_a_plan_error(data: st.DataObject) -> None:
    text = f"Plan:\n{ONE} and {TWO}"
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]

    assert parsed(damaged)
