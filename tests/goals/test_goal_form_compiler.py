"""From form to steps: references by types, actions by the catalogue, text of the goal never a reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.actors.rules.form import (
    Analysis,
    CalculationSource,
    FileSource,
    Form,
    MemorySink,
    RecallSource,
    ReportSink,
    SearchSource,
    TextSource,
)
from trouper.actors.rules.form_compiler import ACTIONS, compile_form
from trouper.runtime import GoalRefused, parse_plan

A, B = FileSource(path="a.md"), FileSource(path="b.md")


def test_sources_flow_through_the_analysis_into_every_sink() -> None:
    form = Form((A, B), Analysis(kind="compare"), (ReportSink(path="c.md"), MemorySink()))

    steps = compile_form(form)

    assert [step["action"] for step in steps] == [
        "read_file",
        "read_file",
        "analyze_content",
        "create_report",
        "remember",
    ]
    assert steps[2]["parameters"] == {"content": ["$step1", "$step2"], "kind": "compare"}
    assert steps[3]["parameters"]["content"] == ["$step3"]
    assert steps[4]["parameters"] == {"fact": "$step3.text"}
    assert parse_plan(steps).levels == ((1, 2), (3,), (4, 5))


@pytest.mark.parametrize(
    ("source", "fact"),
    [
        (CalculationSource(expression="1 + 1"), "$step1.text"),
        (A, "$step1.content"),
        (SearchSource(pattern="x"), "$step1"),
    ],
)
def test_each_source_gives_the_memory_what_a_memory_takes(source, fact) -> None:
    assert compile_form(Form((source,), None, (MemorySink(),)))[1]["parameters"] == {"fact": fact}


def test_a_label_goes_into_the_fact() -> None:
    form = Form((CalculationSource(expression="384 / 3"),), None, (MemorySink(label="the batch size"),))

    assert compile_form(form)[1]["parameters"] == {"fact": "the batch size: {$step1.value}"}


def test_defaults_are_left_to_the_tool() -> None:
    [step] = compile_form(Form((SearchSource(pattern="TODO", glob="**/*.py"),)))

    assert step["parameters"] == {"pattern": "TODO", "path": ".", "glob": "**/*.py"}


def test_a_text_is_written_or_stored_as_it_is() -> None:
    form = Form((TextSource(text="hello"),), None, (ReportSink(path="a.txt"), MemorySink()))

    assert [(step["action"], step["parameters"]) for step in compile_form(form)] == [
        ("write_file", {"path": "a.txt", "content": "hello"}),
        ("remember", {"fact": "hello"}),
    ]


@pytest.mark.parametrize("missing", ["search_files", "summarize", "create_report"])
def test_an_action_that_the_route_does_not_offer_is_refused_by_name(missing) -> None:
    form = Form((SearchSource(pattern="x"),), Analysis(), (ReportSink(path="a.md"),))

    with pytest.raises(GoalRefused, match=missing) as refused:
        compile_form(form, actions=ACTIONS - {missing})

    assert refused.value.unexplained == (missing,)


def test_a_form_that_does_not_need_it_is_compiled_without_it() -> None:
    assert compile_form(Form((A,)), actions={"read_file"})


pieces = st.sampled_from(["$step1", "$$step2", "{$step1.text}", "$step", "$", "{", "}", ".content", "[0]", " ", "a"])
hostile = st.lists(pieces, min_size=1, max_size=6).map("".join).filter(str.strip)


@given(hostile)
def test_no_text_of_the_goal_becomes_a_reference(text) -> None:
    """`Find $step1 in ./docs` looks for these very characters."""
    forms = [
        Form((SearchSource(pattern=text, path=text),), Analysis(question=text), (ReportSink(path="x.md", title=text),)),
        Form((RecallSource(query=text),), None, (ReportSink(path="x.md"),)),
        Form((TextSource(text=text),), None, (MemorySink(label=text),)),
    ]
    for form in forms:
        plan = parse_plan(compile_form(form))
        results = {step.id: {"text": "RESULT", "content": "RESULT"} for step in plan.steps}

        assert plan.steps[0].inputs.resolve(results)[_field(form)].endswith(text)


def _field(form: Form) -> str:
    return {SearchSource: "pattern", RecallSource: "query", TextSource: "fact"}[type(form.sources[0])]


def test_no_form_compiles_to_an_unknown_action() -> None:
    sources = (A, B, SearchSource(pattern="x"), RecallSource(query="x"))
    steps = compile_form(Form(sources, Analysis(), (ReportSink(path="c.md"), MemorySink())))

    assert {step["action"] for step in steps} <= ACTIONS
    assert "reply" not in ACTIONS
