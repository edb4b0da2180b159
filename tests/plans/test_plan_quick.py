"""The short way through a plan gives what the long one gives, and takes the plans that it is for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Final

import pytest

from tests.plans.fuzz_cases import Cases
from trouper.runtime import ActionSignature, Plan, PlanError, parse_plan, problems_json
from trouper.runtime import _plan as reading
from trouper.runtime._plan_json import MAX_DEPTH
from trouper.runtime._plan_quick import Quick, read_quickly
from trouper.runtime._refs import compile_value

CASES = 1000
PADDING = "p" * 20_000
TEXTS = (
    "$step{}",
    "$step{}.v",
    "$step{}.v.w[2]",
    "{{$step{}.v}}",
    "of $step{}.n and {{$step1.v}}",
    "$$step{}",
    "none {}",
)
Taken = list[bool]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """For each plan that is read, whether the short way took it."""
    said: Taken = []

    def read(*given: object) -> Quick | None:
        found = read_quickly(*given)  # type: ignore[arg-type]
        said.append(found is not None)
        return found

    monkeypatch.setattr(reading, "read_quickly", read)
    return said


def everything(plan: Plan) -> object:
    """The plan with what equality leaves out."""
    calls = [(s.fallback and s.fallback.inputs, s.compensate and s.compensate.inputs) for s in plan.steps]
    compiled = [(s.inputs, s.templates, s.guard, s.for_each, s.inside_lenient) for s in plan.steps]
    return plan, list(plan.dependencies.items()), repr(plan), compiled, calls


def outcome(source: object, catalogue: Mapping[str, ActionSignature] | None) -> object:
    try:
        return everything(parse_plan(source, catalogue=catalogue))  # type: ignore[arg-type]
    except PlanError as error:
        return problems_json(error)


def same_both_ways(source: object, catalogue: Mapping[str, ActionSignature] | None = None) -> object:
    """What comes of it, which must not depend on the way."""
    short = outcome(source, catalogue)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "read_quickly", lambda *_: None)
        assert outcome(source, catalogue) == short
    return short


def simple_plan(draw: Random) -> list[dict[str, object]]:
    """Steps without policies, as most plans have them, some of them wrong."""
    ids = list(range(1, draw.choice([2, 4, 9, 25])))
    if draw.random() < 0.3:
        draw.shuffle(ids)
    steps = [simple_step(draw, place, ids) for place in range(len(ids))]
    if draw.random() < 0.2:  # each stands before those that it waits for, or somewhere
        (steps.reverse if draw.random() < 0.5 else partial(draw.shuffle, steps))()
    if draw.random() < 0.2:
        spoil(draw, draw.choice(steps))
    return steps


def simple_step(draw: Random, place: int, ids: list[int]) -> dict[str, object]:
    known = ids[:place] if draw.random() < 0.97 else [*ids, 99]

    def text() -> object:
        return draw.choice(TEXTS).format(draw.choice(known)) if known else draw.choice(["", 1, None, 0.5])

    values: dict[str, Callable[[], object]] = {
        "a": text,
        "b": lambda: [text(), 1, text()],
        "c": lambda: {"d": [text()]},
        "e": lambda: [[text()], {}],
    }
    chosen = draw.sample(list(values), draw.choice([0, 1, 1, 2, 4]))
    step: dict[str, object] = {
        "id": ids[place],
        "action": draw.choice(["x", "y", " z "]),
        "parameters": {name: values[name]() for name in chosen},
        "dependencies": [draw.choice(known) for _ in range(draw.choice([0, 0, 1, 3])) if known],
    }
    if draw.random() < 0.2:
        del step["dependencies"]
    if draw.random() < 0.1:
        step |= draw.choice(POLICIES)
        step |= draw.choice([{}, {"fallback": {"action": "y", "parameters": {"a": text()}}}, {"condition": "$step1.v"}])
    return step


def spoil(draw: Random, step: dict[str, object]) -> None:
    name, value = draw.choice(SPOILT)
    step[name] = value
    if draw.random() < 0.2:
        del step[draw.choice(list(step))]


POLICIES: Final[list[dict[str, object]]] = [
    {"timeout_s": 3},
    {"join": 2},
    {"critical": True},
    {"note": {"n": 1}},
    {"for_each": [1]},
]
SPOILT: Final[list[tuple[str, object]]] = [
    *(("id", 1), ("id", "2"), ("id", -1), ("id", True), ("id", 2**63), ("id", "step_1"), ("action", " ")),
    *(("action", "w"), ("dependencies", [True]), ("dependencies", None), ("dependencies", [1]), ("dependencies", [-1])),
    *(("parameters", None), ("parameters", {"f": 1}), ("plan", [{"id": 50, "action": "x"}]), ("dependencies", ["1"])),
    *(("parameters", {"a": "$step_1"}), ("parameters", {"a": "$step1.zzz"}), ("parameters", {"b": ["$step1.zzz"]})),
]
NEEDED: Final[dict[str, object]] = {"parameters": {"a": 1}}
KNOWN: Final = {
    "x": ActionSignature((), ("a", "b", "c", "e"), ("v", "n")),
    "y": ActionSignature(("a",)),
    "z": ActionSignature((), None, ()),
}


@pytest.mark.parametrize("catalogue", [None, KNOWN], ids=["alone", "catalogue"])
@pytest.mark.parametrize("written", [json.dumps, list], ids=["text", "data"])
def test_simple_plans_come_out_the_same_both_ways(
    taken: Taken, written: Callable[[object], object], catalogue: Mapping[str, ActionSignature] | None
) -> None:
    found = [same_both_ways(written(simple_plan(Random(seed))), catalogue) for seed in range(CASES)]

    valid = sum(type(each) is tuple for each in found)
    assert sum(taken) > 100
    assert sum(taken) > 0.9 * valid, "a valid plan should seldom need the long way"
    assert valid < CASES - 100, "a run without mistakes would show nothing about them"


def test_all_kinds_of_plans_come_out_the_same_both_ways(taken: Taken) -> None:
    cases = Cases(5)
    for number in range(CASES):
        same_both_ways(cases.case(number)[1])

    assert sum(taken) > 50


@pytest.mark.parametrize("notes", [{}, {"goal": "g", "budget": {"steps": 9, "tokens": 5}, "other": [{"a": {"b": 1}}]}])
def test_a_large_plan_takes_the_short_way(taken: Taken, notes: dict[str, object]) -> None:
    """Its keys are counted on the way, with those beside the steps and in every kind of step."""
    kinds: list[dict[str, object]] = [
        {"parameters": {"a": {"b": [{"c": PADDING[:50]}]}, "x": [{}], "n": 1}, "dependencies": []},
        {"parameters": {"a": "b"}, "dependencies": []},
        {"parameters": {}, "dependencies": [1]},
        {"timeout_s": 3, "fallback": {"action": "b", "parameters": {"x": {"y": 1}}}, "note": {"n": [{"m": 2}]}},
        {"args": {"x": "$step1"}},
        {"parameters": {"a": "b", "c": "d"}},
    ]
    steps = [{"id": n, "action": "a", **kinds[n % len(kinds)]} for n in range(300)]
    same_both_ways(json.dumps({**notes, "steps": steps}))
    same_both_ways(json.dumps(steps))

    assert taken == [True, True]


@pytest.mark.parametrize("where", ["goal", "id", "parameters", "deep", "note"])
def test_a_large_plan_with_a_repeated_key_takes_the_long_way(taken: Taken, where: str) -> None:
    texts = {"goal": '"g"', "id": "1", "parameters": f'{{"p": "{PADDING}", DEEP}}', "deep": "1", "note": "{}"}
    once = {name: f'"{name}": {text}' for name, text in texts.items()}
    twice = once | {where: f"{once[where]}, {once[where]}"}
    goal, deep, *rest = (twice[name] for name in ("goal", "deep", "id", "parameters", "note"))
    step = f'"action": "a", {", ".join(rest)}'.replace("DEEP", deep)
    found = same_both_ways(f'{{{goal}, "steps": [{{{step}}}]}}')

    assert isinstance(found, dict)
    assert {problem["kind"] for problem in found["problems"]} == {"duplicate_key"}
    assert taken == [False]


@pytest.mark.parametrize("depth", [MAX_DEPTH - 4, MAX_DEPTH - 3, MAX_DEPTH - 2, 600, 5000])
@pytest.mark.parametrize("other", ["", ', "critical": true'])
def test_a_large_plan_may_be_as_deep_as_any_other(taken: Taken, depth: int, other: str) -> None:
    """Three lists and objects stand around the parameters."""
    inner = "[" * (depth - 1) + "]" * (depth - 1)
    step = f'"id": 1, "action": "a", "dependencies": [], "parameters": {{"x": {inner}, "y": "{PADDING}"}}{other}'
    found = same_both_ways(f'{{"steps": [{{{step}}}]}}')

    assert isinstance(found, tuple) is (depth <= MAX_DEPTH - 3)
    assert other or any(taken) is isinstance(found, tuple)


def test_references_that_are_written_alike_are_not_mixed_up(taken: Taken) -> None:
    """The same text is cut once, and what is cut is shared."""
    texts = ["$step1.v", "$step2.v", "$step1.v.w", "$step1", "$step1.v", "$step02.v", "$step1.é", "$step1.v[0]"]
    steps: list[dict[str, object]] = [{"id": n, "action": "a", "parameters": {}, "dependencies": []} for n in (1, 2)]
    steps.append({"id": 3, "action": "a", "parameters": {"x": texts, "y": "$step2.v"}, "dependencies": [2]})
    plan = parse_plan(steps)

    assert taken == [True]
    uses = [(reference.text, path) for reference, path in plan.step(3).inputs.uses()]
    assert uses == [*((text, ("x", n)) for n, text in enumerate(texts)), ("$step2.v", ("y",))]
    assert plan.dependencies[3] == (1, 2)
    assert plan.step(3).dependencies == (2,)
    assert plan.step(3).inputs == compile_value(plan.step(3).parameters)


@pytest.mark.parametrize(
    "entry",
    [
        {"parameters": {"a": "$step1.zzz"}},
        {"parameters": {"a": "$step2.0"}},
        {"parameters": {"a": "$step3.zzz"}},
        {"parameters": {"a": {"b": "$step2.v and $step2.n"}}, "approval": "Is $step2.v right?"},
        {"parameters": {"a": "$step2.v"}, "fallback": {"action": "y", "parameters": {"a": "$step2.n"}}},
        {"parameters": {"a": "$step2.v"}, "join": 1},
    ],
)
def test_what_the_catalogue_cannot_know_is_no_reason_for_the_long_way(taken: Taken, entry: dict[str, object]) -> None:
    before = [{"id": 1, "action": "x", "for_each": [1]}, {"id": 2, "action": "x"}, {"id": 3, "action": "y", **NEEDED}]
    found = same_both_ways([*before, {"id": 4, "action": "x", "dependencies": [1, 2], **entry}], KNOWN)

    assert isinstance(found, tuple)
    assert taken == [True]


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ('"id": "step_2", "parameters": {"a": "$step_1"}', "dangling_dependency"),
        ('"id": 2, "parameters": {"a": {"b": 1, "b": 2}}, "dependencies": []', "duplicate_key"),
        ('"id": 2, "note": {"b": 1, "b": 2}', "duplicate_key"),
        ('"id": 2, "fallback": {"action": "w"}', "unknown_action"),
        ('"id": 2, "fallback": {"action": "y", "parameters": {}}', "missing_parameter"),
        ('"id": 2, "compensate": {"action": "y", "parameters": {"a": "$step2.zzz"}}', "unknown_field"),
        ('"id": 2, "parameters": {"a": "see $step1.zzz"}, "dependencies": []', "unknown_field"),
        ('"id": 2, "parameters": {"f": 1}, "dependencies": []', "unknown_field"),
        ('"id": 2, "parameters": {"a": "$step2"}, "dependencies": []', "self_reference"),
        ('"id": 2, "parameters": {}, "dependencies": [1], "join": 2', "wrong_type"),
        (f'"id": 2, "parameters": {{"a": "$step{"1" * 5000}"}}, "dependencies": []', "dangling_dependency"),
    ],
)
def test_a_small_mistake_is_told_by_the_long_way(taken: Taken, entry: str, kind: str) -> None:
    found = same_both_ways(f'[{{"id": 1, "action": "x"}}, {{"action": "x", {entry}}}]', KNOWN)

    assert isinstance(found, dict)
    assert [problem["kind"] for problem in found["problems"]] == [kind]
    assert taken == [False]
