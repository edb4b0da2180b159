"""One plan with what must come out of it, and how a run is compared with that."""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs

Json = Mapping[str, object]


@attrs.frozen(kw_only=True)
class Case:
    """A plan that can be run. What is None is not looked at; keys of mappings are ids of steps."""

    plan: object
    """Decoded, or as text."""
    status: str = "success"
    states: str | Mapping[int, str] = "ok"
    """The state of each step, or of all of them."""
    levels: list[list[int]] | None = None
    deps: Mapping[int, list[int]] | None = None
    results: Mapping[int, object] | None = None
    received: Mapping[int, object] | None = None
    reasons: Mapping[int, str] | None = None
    causes: Mapping[int, int] | None = None
    errors: Mapping[int, str] | None = None
    attempts: Mapping[int, int] | None = None
    fallbacks: tuple[int, ...] = ()
    in_doubt: tuple[int, ...] = ()
    items: Mapping[int, list[str]] | None = None
    """With `for_each`: the state of each element."""
    inside: Mapping[int, Mapping[int, str]] | None = None
    """With a sub-plan: the state of each of its steps."""
    undone: Mapping[int, object] | None = None
    """What was called to undo a step, with what; nothing else was."""
    seconds: float | None = None
    """How long the run takes, on the virtual clock."""
    started: Mapping[int, float] | None = None
    """When each step began, on the virtual clock."""
    sections: Json = attrs.field(factory=dict)
    """Of the configuration."""


@attrs.frozen(kw_only=True)
class Bad:
    """A plan that cannot be run, with every problem: kind and step."""

    plan: object
    problems: list[tuple[str, int | None]]
    says: tuple[str, ...] = ()


def as_text(values: Mapping[int, object]) -> dict[int, str]:
    """So that 0 is not false and 1 is not 1.0."""
    return {step: json.dumps(value, ensure_ascii=False) for step, value in values.items()}


def compare(case: Case, told: Json) -> None:
    """`told` is the JSON of an outcome."""
    steps: Mapping[int, Json] = {int(i): step for i, step in told["steps"].items()}
    wanted = dict.fromkeys(steps, case.states) if isinstance(case.states, str) else case.states
    assert {i: step["status"] for i, step in steps.items()} == wanted
    assert told["status"] == case.status
    if case.levels is not None:
        assert told["levels"] == case.levels
    _compare_steps(case, steps)
    _compare_whole(case, told, steps)


def _compare_steps(case: Case, steps: Mapping[int, Json]) -> None:
    for key, name in (("result", "results"), ("parameters", "received"), ("reason", "reasons"), ("cause", "causes")):
        wanted = getattr(case, name)
        if wanted is not None:
            found = {i: steps[i].get(key) for i in wanted}
            assert as_text(found) == as_text(wanted)
    if case.errors is not None:
        assert {i: (steps[i]["error"] or {}).get("kind") for i in case.errors} == case.errors
    if case.attempts is not None:
        assert {i: steps[i]["attempts"] for i in case.attempts} == case.attempts


def _compare_whole(case: Case, told: Json, steps: Mapping[int, Json]) -> None:
    assert tuple(i for i, step in steps.items() if step["fallback"]) == case.fallbacks
    assert tuple(i for i, step in steps.items() if step.get("in_doubt")) == case.in_doubt
    for i, states in (case.items or {}).items():
        assert [item["status"] for item in steps[i]["items"]] == states
    for i, inner in (case.inside or {}).items():
        assert {int(k): step["status"] for k, step in steps[i]["steps"].items()} == inner
    undone = {i: step["compensation"] for i, step in steps.items() if "compensation" in step}
    assert {i: one["parameters"] for i, one in undone.items()} == (case.undone or {})
    # Whatever was never called has no parameters; whatever failed or was skipped for a failure says why.
    for step in steps.values():
        if step["status"] == "skipped":
            assert step["parameters"] is None
            assert step["result"] is None
            assert step["reason"]
        if step["status"] == "failed":
            assert step["error"]["kind"]
            assert step["error"]["message"]
    if told["status"] == "failed":
        assert told["error"]["kind"]
        assert told["answer"] is None
