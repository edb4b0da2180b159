"""The intent form: what can be said in it, and that it survives JSON."""

from __future__ import annotations

import json

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

FULL = Form(
    (SearchSource(pattern="TODO", path="src", glob="**/*.py", ignore_case=True), FileSource(path="a.md")),
    Analysis(question="what is left", sentences=3),
    (ReportSink(path="b.md", title="Left"), MemorySink(label="left")),
)


def test_a_form_survives_json() -> None:
    assert Form.from_json(json.loads(json.dumps(FULL.as_json()))) == FULL


def test_json_leaves_defaults_out() -> None:
    form = Form((SearchSource(pattern="TODO"),))

    assert form.as_json() == {
        "sources": [{"kind": "search", "pattern": "TODO"}],
        "analysis": None,
        "sinks": [],
    }


words = st.text(min_size=1, max_size=12).filter(str.strip)
sources = st.one_of(
    st.builds(SearchSource, pattern=st.text(max_size=8), path=words, glob=words, ignore_case=st.booleans()),
    st.builds(FileSource, path=words),
    st.builds(RecallSource, query=words),
)


@given(st.lists(sources, min_size=1, max_size=4, unique=True), st.sampled_from([None, Analysis(sentences=2)]))
def test_every_form_survives_json(found, analysis) -> None:
    form = Form(tuple(found), analysis, (MemorySink(),))

    assert Form.from_json(json.loads(json.dumps(form.as_json()))) == form


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (((), None, ()), "at least one source"),
        (((FileSource(path="a"), FileSource(path="a")), None, ()), "named twice"),
        (((FileSource(path="a"),), None, (ReportSink(path="b"), ReportSink(path="c"))), "at most one report"),
        (((FileSource(path="a"),), None, (ReportSink(path="a"),)), "both read and written"),
        (((TextSource(text="x"), FileSource(path="a")), None, (MemorySink(),)), "alone"),
        (((TextSource(text="x"),), None, ()), "alone"),
        (((CalculationSource(expression="1 + 1"),), Analysis(), ()), "not analysed"),
        (((FileSource(path="a"),), Analysis(kind="compare"), ()), "two sources"),
    ],
)
def test_what_means_nothing_cannot_be_built(parts, why) -> None:
    with pytest.raises(ValueError, match=why):
        Form(*parts)


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({"sources": [], "extra": 1}, "unknown key 'extra'"),
        ({"sources": "a.md"}, "sources: a list"),
        ({"sources": [{"path": "a.md"}]}, r"sources\[0\]: an object with `kind`"),
        ({"sources": [{"kind": "file"}]}, r"sources\[0\]"),
        ({"sources": [{"kind": "file", "path": ""}]}, r"sources\[0\]: path is empty"),
        ({"sources": [{"kind": "file", "path": 3}]}, r"sources\[0\].path: str is needed"),
        ({"sources": [{"kind": "file", "path": "a", "glob": "*"}]}, "unknown key 'glob'"),
        ({"sources": [{"kind": "file", "path": "a"}], "analysis": []}, "analysis: an object"),
        ({"sources": [{"kind": "file", "path": "a"}], "analysis": {"kind": "poem"}}, "analysis"),
        ({"sources": [{"kind": "file", "path": "a"}], "analysis": {"sentences": 99}}, "analysis"),
        ({"sources": [{"kind": "file", "path": "a"}], "sinks": [{"kind": "mail"}]}, r"sinks\[0\]"),
    ],
)
def test_a_form_that_a_model_got_wrong_says_where(data, where) -> None:
    with pytest.raises(ValueError, match=where):
        Form.from_json(data)
