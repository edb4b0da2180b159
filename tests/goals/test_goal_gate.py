"""The gate alone: forms that a mistaken template could have made, against the goals they would be made from."""

from __future__ import annotations

import pytest

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
from trouper.actors.rules.gate import unexplained
from trouper.actors.rules.spans import spans_of

READ = (FileSource(path="a.md"),)
TODO = (SearchSource(pattern="TODO", path="./src"),)


def left(goal: str, form: Form) -> list[str]:
    return unexplained(goal, spans_of(goal), form)


@pytest.mark.parametrize(
    ("goal", "form"),
    [
        ("Find TODO in ./src and write a report to x.md", Form(TODO, None, (ReportSink(path="x.md"),))),
        ("Summarise a.md in three sentences", Form(READ, Analysis(sentences=3))),
        ("1. Read a.md 2. Summarise it", Form(READ, Analysis())),
        ("What did I tell you about 3 cats?", Form((RecallSource(query="3 cats"),))),
        ("Remember that x.md holds 3 'keys'", Form((TextSource(text="x.md holds 3 'keys'"),), None, (MemorySink(),))),
        ("What is 3 plus 4?", Form((CalculationSource(expression="3 + 4"),))),
    ],
)
def test_a_form_that_says_what_the_goal_says_passes(goal, form) -> None:
    assert left(goal, form) == []


@pytest.mark.parametrize(
    ("goal", "form", "word"),
    [
        # what the goal says is not in the form
        ("Read a.md and b.md and summarise them", Form(READ, Analysis()), "b.md"),
        ("Find TODO in ./src and ./lib", Form(TODO), "./lib"),
        ("Find TODO in *.py under ./src", Form(TODO), "*.py"),
        ("Read a.md from https://x.org", Form(READ), "https://x.org"),
        ("Find TODO or 'later' in ./src", Form(TODO), "'later'"),
        ("Summarise a.md in 3 sentences", Form(READ, Analysis()), "3"),
        ("Summarise a.md in seven sentences", Form(READ, Analysis()), "seven"),
        ("Read a.md and remember it", Form(READ), "remember"),
        ("Read a.md and save it", Form(READ), "save"),
        ("Search a.md and read it", Form(READ), "Search"),
        ("Read a.md and delete it", Form(READ), "delete"),
        ("Read a.md, rename it", Form(READ), "rename"),
        ("Read the oldest a.md", Form(READ), "oldest"),
        ("Summarise a.md in German", Form(READ, Analysis()), "German"),
        # what the form says is not in the goal
        ("Read a.md", Form(READ, None, (MemorySink(),)), "remember"),
        ("Read a.md", Form(READ, None, (ReportSink(path="b.md"),)), "b.md"),
        ("Open a.md", Form(READ, Analysis()), "summary"),
        ("Find TODO in ./src", Form((SearchSource(pattern="FIXME", path="./src"),)), "FIXME"),
        ("What is the capital of France?", Form((RecallSource(query="capital of France"),)), "capital of France"),
        ("Recall the keys", Form((RecallSource(query="the spare keys"),)), "spare"),
        ("Note that it rains", Form((TextSource(text="it snows"),), None, (MemorySink(),)), "snows"),
    ],
)
def test_a_form_that_says_less_or_more_is_stopped(goal, form, word) -> None:
    assert word in left(goal, form)


def test_a_path_has_one_role_only() -> None:
    """Read and written at once is what the form itself forbids; searched and written, the gate."""
    form = Form((SearchSource(pattern="TODO", path="a.md"),), None, (ReportSink(path="a.md"),))

    assert left("Find TODO in a.md and write it to a.md", form) == ["a.md", "a.md"]
