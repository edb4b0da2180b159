"""A plan read while it is written: steps come early, and never one that the whole text does not have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.runtime import ActionSignature, PlanError, PlanStream, Step, parse_plan

SAMPLES = Path(__file__).parents[1] / "data" / "plans"
OBJECT = (
    '{"goal": "x", "steps": [{"id": 1, "action": "one", "parameters": '
    '{"a": [1, -2.5e3, true, null, {"b": "t\\u00e9"}]}}, {"id": 2, "tool": "b", "deps": [1]}]}'
)
LIST = '[{"id": 1, "action": "two"}, {"id": 2, "action": "t", "parameters": {"x": "$step1 \\"q\\" {[\\ud83d\\ude00"}}]'
INNER = '[{"step": 1, "plan": [{"id": 2, "action": "a"}]}, {"id": 3, "tool": "b", "depends_on": [1]}]'
PIECES = [
    INNER,
    *(OBJECT, LIST, '{"id": 1, "action": "q"}', '{"reasoning": "a", "steps": [{"id": 0, "action": "z"}'),
    *('{"name": "x"}', '[{"name": "y"}]', "{'a': 1}", "[1]", "[see below]", "{x}", "[]", "{}", '{"steps": []}'),
    *("```json\n", "{steps: [", "{ tool : [", "[tool: x", "[true, ", "[ -", "[-1", "[[", '{"action":'),
    *('{"\\u0073teps": [', '{"plan": [', "]", "}", ",", ":", '"', "'", "\\", "\n", "\xa0", "\x01", "é", "0", "steps"),
    *('"steps"', '{"a\\"steps": 1, ', "\\ud800", "\ud83d", "1e999", "NaN", "trueish"),
]


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces that end at some of its places."""
    ends = sorted({place % (len(text) + 1) for place in places})
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


def fed(chunks: list[str] | str) -> tuple[PlanStream, list[Step]]:
    stream = PlanStream()
    return stream, [step for chunk in chunks for step in stream.feed(chunk)]


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """Something that models write around plans, plans among it, with a few characters wrong."""
    text = "".join(draw(st.lists(st.sampled_from(PIECES), max_size=5)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(["", *PIECES[3:]])) + text[at + draw(st.sampled_from([0, 0, 1, 5])) :]
    return text


@given(st.one_of(spoilt(), st.text('{}[]":,\\ 1ae\n', max_size=40)), st.lists(st.integers(0, 10**6), max_size=20))
def test_what_was_given_is_what_the_whole_text_says(text: str, places: list[int]) -> None:
    """Every step of the plan was given, as it is in the plan, and no other; `broken` means refused."""
    stream, given_steps = fed(cut(text, places))
    try:
        plan = stream.close()
    except PlanError:
        return

    assert not (stream.broken and not stream.stale)
    gave_up = "\\ud800" in text  # where a half character would send a whole reading back, the stream gives no more
    if gave_up and not stream.stale:
        assert tuple(given_steps) == plan.steps[: len(given_steps)]
    elif not stream.stale:
        assert tuple(given_steps) == plan.steps


@given(spoilt(), st.lists(st.integers(0, 10**6), max_size=20))
def test_how_the_text_is_cut_makes_no_difference(text: str, places: list[int]) -> None:
    """In one piece, in single characters or in any others: the same steps and the same judgement."""
    streams = [fed([text]), fed(list(text)), fed(cut(text, places))]
    said = [(steps, stream.broken, stream.stale, stream.text) for stream, steps in streams]

    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize("name", ["01_seed_example", "20_trip_booking", "23_barrier_loses", "31_nested_300_deep"])
def test_every_step_of_a_sample_is_given_at_its_last_bracket(name: str) -> None:
    text = (SAMPLES / f"{name}.json").read_text("utf-8")
    stream = PlanStream()
    steps: list[Step] = []
    for character in text:
        found = stream.feed(character)
        assert not found or character == "}"
        steps += found

    plan = stream.close()
    assert plan == parse_plan(text)
    assert tuple(steps) == plan.steps


def test_a_step_is_there_before_the_plan_is() -> None:
    """The first step is complete with chunk 13 of 43 (counted from 0), the last with the last."""
    chunks = json.loads((SAMPLES / "90_stream_chunks.json").read_text("utf-8"))["chunks"]
    stream = PlanStream()
    given_at = {step.id: n for n, chunk in enumerate(chunks) for step in stream.feed(chunk)}

    assert given_at == {1: 13, 2: 23, 3: 32, 4: 42}
    assert stream.close().levels == ((1, 2), (3,), (4,))


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "\ufeff{}",
        "Here it is:\n```json\n{}\n```\nLet me know!",
        "I looked at [1], [2 or 3] and {x}, [see below].\n{} See [todo].",
        'The file says "{" and 5" disks. A result: {"name": "x"}.\n{}\nThe answer: [{"name": "y"}] or [].',
        '{"steps": [{"id": 1 "action": "a"}]} -- no, better:\n{}',
        '[{"id": 1, "action": 5}] -- no, better:\n{}',
        "{steps: [}] -- no]} -- better: {}",
    ],
)
@pytest.mark.parametrize("plan", [OBJECT, LIST, INNER])
def test_the_plan_is_found_wherever_it_stands(around: str, plan: str) -> None:
    before, _, after = around.rpartition("{}")
    stream, steps = fed(list(before + plan + after))

    assert tuple(steps) == stream.close().steps == parse_plan(plan).steps
    assert not stream.stale
    assert not stream.broken


A, B = '[{"id": 1, "action": "a"}]', '[{"id": 2, "action": "b"}]'


@pytest.mark.parametrize(
    "text",
    [
        f'{{"a\\"steps": 1, x, {A}}} {{"steps": {B}}}',  # what broke off was to be a plan: its key ends with `"steps"`
        f'{{"a": 1, steps: {A}}} {{"steps": {B}}}',
        f'{{"a": 1, steps\xa0: {A}}} {{"steps": {B}}}',
        f"{{'steps': {A}}} {{\"steps\": {B}}}",
        f'{{"steps": {B}, "more": {A}}}',  # only one of its lists has its steps
        f'{{"more": {A}, "steps": {B}}}',
        f'{{"steps": {B}}} [tool: x]',  # this is no list at all, so it takes nothing back
        f'{{"steps": {B}}} [see [1] and [2], [3, [4]]]',
        f'{{"steps": [{{"id": 1 x}}]}} [[1]] {{"steps": {B}}}',
        f'[[1], 2, "x"] {B}',
        f'{{"steps": []}} {{"steps": 5}} {B}',
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_only_what_the_whole_text_takes_for_the_plan_is_given(text: str, size: int) -> None:
    """Where it is not plain which list has the steps, the stream decides as the whole reading does."""
    stream, steps = fed([text[at : at + size] for at in range(0, len(text), size)])

    assert [step.id for step in steps] == [2]
    assert (stream.stale, stream.broken) == (False, False)
    assert tuple(steps) == stream.close().steps


@pytest.mark.parametrize(
    "text",
    [
        f'{{"n": 01, "steps": {A}, "more": {B}}}',  # no JSON, so both lists stand there by themselves
        f'{{"n": 1.e5, "steps": {A}, "more": {B}}}',
        f'{{"steps": {A}}} ["\\ud800 [", {{"steps": {B}}}]',  # half a character: it is read again from before
        f'{{"x": "\\ud800", "steps": {A}, "more": {B}}}',
    ],
)
def test_what_need_not_be_in_the_plan_is_never_given_without_saying_so(text: str) -> None:
    """The last list is the plan here: either nothing of the first was given, or it is said to be stale."""
    for chunks in ([text], list(text)):
        stream, steps = fed(chunks)

        assert [step.id for step in stream.close().steps] == [2]
        assert stream.stale or not steps


def test_a_list_that_begins_with_something_else_is_no_plan() -> None:
    stream, steps = fed('[5, {"id": 1, "action": "a"}]')

    assert steps == []
    assert stream.broken
    with pytest.raises(PlanError, match="not an object"):
        stream.close()


def test_after_a_second_plan_nothing_is_given_any_more() -> None:
    """Of several plans the last counts: what was given of the first need not be in it."""
    stream, steps = fed([OBJECT, "\nNo, better:\n"])
    assert [step.id for step in steps] == [1, 2]
    assert not stream.stale

    assert stream.feed('[{"id": 7, "action": "x"},') == ()
    assert stream.stale
    assert stream.feed('{"id": 8, "action": "x"}]') == ()
    assert [step.id for step in stream.close().steps] == [7, 8]


@pytest.mark.parametrize(
    "entry",
    [
        "5",
        "[]",
        "{}",
        '{"id": 1}',
        '{"id": -1, "action": "a"}',
        '{"id": 0, "action": "a"}',
        '{"id": 1, "action": "a", "action": "b"}',
        '{"id": 1, "action": "a", "parameters": {"x": "$step1"}}',
        '{"id": 1, "action": "a", "parameters": []}',
        '{"id": 1, "action": "a", "timeout_s": 0}',
        '{"id": 1, "action": "search", "parameters": {}}',
        '{"id": 1, "action": "serch", "parameters": {"q": 1}}',
        '{"id": 1 "action": "a"}',
        '{"id": 1, "action": "a\n"}',
        '{"id": 1, "action": "a", "parameters": {"n": 1e999}}',
    ],
)
def test_after_a_mistake_no_step_is_given_and_the_plan_is_known_to_be_broken(entry: str) -> None:
    """Whatever would start from now on would start in vain."""
    stream = PlanStream(catalogue={"a": ActionSignature(), "search": ActionSignature(["q"])})
    begun = stream.feed('{"steps": [{"id": 0, "action": "a"}, ')

    assert [step.id for step in begun] == [0]
    assert not stream.broken
    assert stream.feed(f'{entry}, {{"id": 2, "action": "a"}}') == ()
    assert stream.broken
    assert not stream.stale
    stream.feed("]}")
    with pytest.raises(PlanError):
        stream.close()


def test_a_second_list_of_steps_in_one_object_is_a_mistake() -> None:
    stream, steps = fed(['{"steps": [{"id": 1, "action": "a"}], "steps"', ': [{"id": 2, "action": "b"}]}'])

    assert [step.id for step in steps] == [1]
    assert stream.broken
    with pytest.raises(PlanError, match="more than once"):
        stream.close()


def test_half_a_character_ends_the_giving() -> None:
    """Text with half a surrogate pair in it is refused as a whole."""
    stream, steps = fed(['[{"id": 1, "action": "a"},\ud83d', '\ude00 {"id": 2, "action": "a"}]'])

    assert [step.id for step in steps] == [1]
    assert stream.broken
    with pytest.raises(PlanError, match="surrogate"):
        stream.close()


def test_the_text_so_far_can_be_judged_at_any_time() -> None:
    stream = PlanStream(goal="all of it")
    stream.feed(OBJECT[:50])
    with pytest.raises(PlanError, match="cut off"):
        stream.close()
    stream.feed(OBJECT[50:])

    assert stream.text == OBJECT
    assert stream.close() == stream.close() == parse_plan(OBJECT, goal="all of it")


@pytest.mark.parametrize("piece", ["{", "[", '{"a"', "[1x", "[-", "{'", '[{"action":"a"},x', '{"a\\u00', "\\\\", '"'])
def test_a_long_text_without_end_is_read_in_one_go(piece: str) -> None:
    """Nothing recurses, and nothing but the newest piece of text and the open step is kept for reading."""
    stream = PlanStream()
    for _ in range(200):
        assert stream.feed(piece * 100) == ()

    assert stream.text == piece * 20_000


def test_finished_steps_are_not_given_again() -> None:
    """In a new plan that repeats a finished step only the others are to be started."""
    finished = {step.id: step for step in parse_plan(LIST).steps}
    stream = PlanStream(finished=finished, taken=[7])
    text = '[{"id": 1, "action": "two"}, {"id": 8, "action": "c", "parameters": {"x": "$step2.y"}}]'
    given_steps = [step for character in text for step in stream.feed(character)]

    assert [step.id for step in given_steps] == [8]
    assert [step.id for step in stream.close().steps] == [1, 2, 8]


@pytest.mark.parametrize(
    "entry", ['{"id": 1, "action": "other"}', '{"id": 7, "action": "c"}', '{"id": 2, "action": "t"}']
)
def test_an_id_that_is_used_up_is_a_mistake(entry: str) -> None:
    stream = PlanStream(finished={done.id: done for done in parse_plan(LIST).steps}, taken=[7])

    assert stream.feed(f"[{entry}]") == ()
    assert stream.broken
    with pytest.raises(PlanError):
        stream.close()


@pytest.mark.parametrize(
    "inside",
    [
        '[{"id": 2, "action": "a"}, {"id": 2, "action": "a"}]',
        '[{"id": 0, "action": "a"}]',
        '[{"id": 2, "action": "b"}]',
        '[{"id": 2, "action": "a", "deps": [3]}, {"id": 3, "action": "a", "deps": [2]}]',
        "[]",
    ],
)
def test_a_mistake_inside_the_plan_of_a_step_is_one_of_the_step(inside: str) -> None:
    stream = PlanStream(catalogue={"a": ActionSignature()})
    begun = stream.feed('[{"id": 0, "action": "a"}, ')

    assert [step.id for step in begun] == [0]
    assert stream.feed(f'{{"id": 1, "plan": {inside}}}]') == ()
    assert stream.broken
    with pytest.raises(PlanError):
        stream.close()


def test_a_step_with_a_plan_of_its_own_is_given_as_a_whole() -> None:
    """The steps inside it belong to it; what they need outside is only known when the plan is."""
    text = (
        '[{"id": 1, "plan": {"steps": [{"id": 2, "action": "a"}, {"id": 3, "action": "b", "deps": [2, 9]}], '
        '"output": "$step3.x"}}, {"id": 9, "action": "c"}]'
    )
    stream, steps = fed(list(text))

    assert tuple(steps) == stream.close().steps
    assert [step.id for step in steps] == [1, 9]
    assert stream.close().dependencies == {1: (9,), 9: ()}
