"""What is decoded equals what was encoded, for every record that there is."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.actors import records
from trouper.actors.outcome import (
    ErrorInfo,
    Outcome,
    Question,
    Replan,
    RunStatus,
    StepOutcome,
    StepStatus,
    Verdict,
    VerdictKind,
)
from trouper.actors.protocols import Usage
from trouper.actors.records import Record
from trouper.actors.tool import Effect
from trouper.adapters.journal_codec import KINDS, as_line, decode, encode, of_line
from trouper.runtime import JournalError, PlanError, parse_plan

SAMPLES = Path(__file__).parent.parent / "data" / "plans"


def _sample_plans():
    for file in sorted(SAMPLES.glob("*.json")):
        if not file.name.endswith(".expect.json"):
            try:
                yield parse_plan(file.read_text())
            except PlanError:
                continue  # those that must be refused


everything = st.characters(exclude_categories=())  # lone surrogates too: a model may write them
texts = st.text(everything, max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
ids = st.integers(0, 10**6)
times = st.floats(0, 1e9)
errors = st.builds(ErrorInfo, texts, texts)
parameters = st.dictionaries(texts, values, max_size=3)
simple_steps = st.builds(
    StepOutcome,
    id=ids,
    action=texts,
    status=st.sampled_from(StepStatus),
    attempts=ids,
    fallback=st.booleans(),
    parameters=st.none() | parameters,
    result=values,
    error=st.none() | errors,
    reason=st.none() | texts,
    cause=st.none() | ids,
    in_doubt=st.booleans(),
    ready=st.none() | times,
    started=st.none() | times,
    ended=st.none() | times,
    waits=st.dictionaries(texts, times, max_size=2),
)
steps = simple_steps | st.builds(
    lambda outer, items, inner, undone: attrs.evolve(outer, items=items, steps=inner, compensation=undone),
    simple_steps,
    st.lists(simple_steps, max_size=2).map(tuple),
    st.dictionaries(ids, simple_steps, max_size=2),
    st.none() | simple_steps,
)
verdicts = st.builds(
    Verdict,
    verdict=st.sampled_from(VerdictKind),
    confidence=st.floats(0, 1),
    checks=st.lists(texts, max_size=2).map(tuple),
    problems=st.lists(texts, max_size=2).map(tuple),
)
plans = st.sampled_from([plan for plan in _sample_plans() if len(plan.steps) < 10])
outcomes = st.builds(
    Outcome,
    run_id=texts,
    status=st.sampled_from(RunStatus),
    goal=st.none() | texts,
    answer=st.none() | texts,
    plan=st.none() | plans,
    planner=st.none() | texts,
    steps=st.dictionaries(ids, steps, max_size=2),
    verdicts=st.dictionaries(ids, verdicts, max_size=2),
    usage=st.builds(Usage, prompt_tokens=ids, calls=ids),
    error=st.none() | errors,
    questions=st.lists(st.builds(Question, step=ids, question=texts), max_size=2).map(tuple),
    doubts=st.lists(ids, max_size=2).map(tuple),
    replans=st.lists(
        st.builds(Replan, plan=plans, failed=st.dictionaries(ids, simple_steps, max_size=1)), max_size=1
    ).map(tuple),
    waits=st.dictionaries(texts, times, max_size=2),
)
FIELDS = {
    "at": times,
    "actor": texts,
    "run_id": texts,
    "goal": st.none() | texts,
    "plan": plans,
    "planner": texts,
    "generation": ids,
    "step": ids,
    "action": texts,
    "attempt": ids,
    "effect": st.sampled_from(Effect),
    "parameters": parameters,
    "item": st.none() | ids,
    "given_up": st.none() | ids,
    "inside": st.lists(ids, max_size=3).map(tuple),
    "error": errors,
    "pause": times,
    "elapsed": times,
    "verdict": verdicts,
    "question": texts,
    "ok": st.booleans(),
    "note": st.none() | texts,
    "doubt": st.booleans(),
    "result": parameters,
    "idempotency_key": st.none() | texts,
    "why": texts,
}


def records_of(kind: type[Record]) -> st.SearchStrategy[Record]:
    """Any record of a class; a field that nobody here knows is an error, so that a new one is thought of."""
    own = {"outcome": outcomes if kind is records.RunEnded else steps}
    return st.builds(kind, **{a.name: (FIELDS | own)[a.name] for a in attrs.fields(kind)})


def test_every_record_has_a_name_in_the_journal():
    found = {v for v in vars(records).values() if isinstance(v, type) and issubclass(v, Record)} - {Record}
    assert found
    assert set(KINDS.values()) == found


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
def test_what_is_decoded_equals_what_was_encoded(kind):
    @given(records_of(kind))
    def check(record):
        line = as_line(encode(record))
        back = decode(of_line(line))

        assert back == record
        assert type(back) is kind
        assert line.isascii()
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")

    check()


def test_every_sample_plan_comes_back_as_it_was():
    found = list(_sample_plans())
    assert len(found) > 5
    for plan in found:
        record = records.PlanReady(at=0.0, actor="o", run_id="r", plan=plan, planner="given")
        assert decode(of_line(as_line(encode(record)))) == record


def test_a_field_that_an_older_version_did_not_write_has_its_default():
    plan = {"steps": [{"id": 1, "action": "a"}]}

    record = decode({"record": "PlanReady", "at": 1.0, "actor": "o", "run_id": "r", "plan": plan, "planner": "llm"})

    assert isinstance(record, records.PlanReady)
    assert record.generation == 1


def test_a_field_that_only_a_newer_version_knows_is_left_alone():
    record = records.RunStarted(at=1.0, actor="o", run_id="r", goal=None)

    assert decode({**encode(record), "colour": "green"}) == record


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"record": "Nonsense"},
        {"record": ["RunStarted"]},
        {"record": "RunStarted"},
        {"record": "StepEnded", "at": 1, "actor": "a", "run_id": "r", "outcome": 3},
        {
            "record": "StepEnded",
            "at": 1,
            "actor": "a",
            "run_id": "r",
            "outcome": {"id": 1, "action": "a", "status": "odd"},
        },
        {"record": "PlanReady", "at": 1, "actor": "a", "run_id": "r", "plan": {"steps": []}, "planner": "llm"},
        {"record": "StepStarted", "at": "now", "actor": "a", "run_id": "r", "step": 1, "action": "a", "attempt": 1},
    ],
)
def test_what_is_no_record_is_a_journal_error(data):
    with pytest.raises(JournalError):
        decode(data)


@given(values)
def test_any_data_is_a_record_or_a_journal_error(data):
    with contextlib.suppress(JournalError):
        decode(data)


def test_a_record_of_a_class_of_somebody_elses_is_refused():
    @attrs.frozen(kw_only=True)
    class Mine(Record):
        pass

    with pytest.raises(JournalError, match="Mine"):
        encode(Mine(at=1.0, actor="a", run_id="r"))


def test_what_no_json_can_say_is_written_as_its_words():
    record = records.StepStarted(at=1.0, actor="a", run_id="r", step=1, action="a", attempt=1, parameters={"x": {1, 2}})

    assert json.loads(as_line(encode(record)))["parameters"] == {"x": "{1, 2}"}


def test_what_cannot_be_written_at_all_is_a_journal_error():
    circle: list[object] = []
    circle.append(circle)

    for value in (circle, 10**5000):
        with pytest.raises(JournalError):
            as_line({"x": value})


JOINED = {"id": 3, "dependencies": [1, 2], "join": 2}
INNER = {"id": 3, "plan": [{"id": 30, "action": "a", "parameters": {"x": "$step4"}}]}


@pytest.mark.parametrize(
    ("first", "finished", "taken"),
    [
        ([{"id": 1}, {"id": 4, "parameters": {"x": "$step1"}}, {"id": 5}], [4, 5], [1]),
        ([{"id": 1}, {"id": 2}, JOINED, {"id": 4, "condition": "$step3"}], [4, 3], [1, 2]),
        ([{"id": 4}, INNER, {"id": 5}], [5, 3], [4]),
        ([{"id": 1}, {"id": 2, "parameters": {"x": "$step1"}}, {"id": 3, "dependencies": [2]}], [3, 2], [1]),
    ],
)
def test_a_further_plan_comes_back_whatever_its_finished_steps_name(first, finished, taken):
    """Was: one that named a step that was given up could be written, and not be read again."""
    before = parse_plan([step if "plan" in step else {"action": "a", **step} for step in first])
    plan = parse_plan(
        [{"id": 8, "action": "b", "parameters": {"y": f"$step{finished[0]}"}}, {"id": 9, "action": "c"}],
        finished={step: before.step(step) for step in finished},
        taken=taken,
    )
    record = records.PlanReady(at=1.0, actor="orchestrator", run_id="run-1", plan=plan, planner="llm", generation=2)

    back = decode(of_line(as_line(encode(record))))
    assert back == record
    assert back.plan.dependencies == plan.dependencies
    assert back.plan.levels == plan.levels
    assert [step.needs for step in back.plan.steps] == [step.needs for step in plan.steps]
