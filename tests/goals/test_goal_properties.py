"""Properties of the grammar over generated goals: templates with random names, and word soup."""

from __future__ import annotations

import itertools
import re
import string

from hypothesis import given, settings
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
from trouper.actors.rules.form_compiler import compile_form
from trouper.actors.rules.grammar import parse_goal
from trouper.actors.rules.spans import spans_of
from trouper.actors.rules.terms import KINDS
from trouper.runtime import GoalRefused, parse_plan

stems = st.text(alphabet="bcdfghklmnprst", min_size=4, max_size=8)
markdown = stems.map(lambda stem: f"{stem}.md")
texts = stems.map(lambda stem: f"{stem}.txt")
folders = stems.map(lambda stem: f"./{stem}")
markers = st.text(alphabet=string.ascii_uppercase, min_size=4, max_size=8).map(lambda m: f"{m}_X")
numbers = st.integers(min_value=2, max_value=9999)
polite = st.sampled_from(["", "please ", "Could you please ", "I'd like you to ", "hey, can you "])
ends = st.sampled_from(["", ".", " please", ", thanks!"])


@given(polite, st.sampled_from(["find every", "look for", "search for", "list all"]), markers, folders, markdown, ends)
def test_searches_are_planned_with_their_own_names(before, verb, marker, folder, report, after) -> None:
    form = parse_goal(f"{before}{verb} {marker} in {folder} and write a report to {report}{after}")

    assert form == Form((SearchSource(pattern=marker, path=folder),), None, (ReportSink(path=report),))


@given(polite, st.lists(texts, min_size=2, max_size=4, unique=True), markdown, ends)
def test_files_in_a_row_are_all_read(before, files, report, after) -> None:
    named = f"{', '.join(files[:-1])} and {files[-1]}"
    form = parse_goal(f"{before}combine {named} into one summary called {report}{after}")

    assert form == Form(tuple(FileSource(path=path) for path in files), Analysis(), (ReportSink(path=report),))


@given(polite, texts, st.integers(min_value=1, max_value=20), st.booleans(), ends)
def test_summaries_have_the_length_that_was_asked_for(before, file, sentences, remembered, after) -> None:
    tail = " and remember it" if remembered else ""
    form = parse_goal(f"{before}summarise {file} in {sentences} sentences{tail}{after}")

    assert form.analysis == Analysis(sentences=sentences)
    assert form.sinks == ((MemorySink(),) if remembered else ())


@given(numbers, st.sampled_from([("plus", "+"), ("minus", "-"), ("times", "*"), ("divided by", "/")]), numbers)
def test_arithmetic_keeps_its_numbers(left, operation, right) -> None:
    word, sign = operation

    assert parse_goal(f"What is {left} {word} {right}?") == Form(
        (CalculationSource(expression=f"{left} {sign} {right}"),)
    )


facts = st.lists(stems, min_size=1, max_size=4).map(" ".join)


@given(facts, facts)
def test_what_is_told_is_asked_for(owner, value) -> None:
    told, asked = parse_goal(f"Remember that {owner} is {value}"), parse_goal(f"What did I tell you about {owner}?")

    assert told == Form((TextSource(text=f"{owner} is {value}"),), None, (MemorySink(),))
    assert asked == Form((RecallSource(query=owner),))


# ------------------------------------------------------------------ word soup
WORDS = [
    "find",
    "search",
    "list",
    "show",
    "read",
    "open",
    "summarise",
    "compare",
    "count",
    "write",
    "save",
    "put",
    "remember",
    "recall",
    "note",
    "store",
    "tell",
    "explain",
    "what",
    "which",
    "how",
    "many",
    "where",
    "is",
    "are",
    "did",
    "I",
    "you",
    "me",
    "it",
    "them",
    "that",
    "the",
    "a",
    "every",
    "all",
    "any",
    "my",
    "this",
    "and",
    "then",
    "or",
    ",",
    ".",
    "?",
    "!",
    ":",
    ";",
    "in",
    "under",
    "from",
    "to",
    "into",
    "as",
    "about",
    "for",
    "of",
    "with",
    "on",
    "TODO",
    "FIXME",
    "error",
    "timeout",
    "'two",
    "words'",
    '"x.y"',
    "./src",
    "docs/",
    "src",
    "notes.txt",
    "a.md",
    "b.md",
    "out.md",
    "out.json",
    "*.py",
    "Python",
    "files",
    "folder",
    "project",
    "three",
    "3",
    "17",
    "2340",
    "%",
    "+",
    "*",
    "plus",
    "times",
    "percent",
    "days",
    "seconds",
    "summary",
    "report",
    "list",
    "result",
    "findings",
    "differences",
    "sentences",
    "please",
    "could",
    "called",
    "not",
    "delete",
    "first",
    "oldest",
    "except",
    "if",
    "send",
    "French",
    "everything",
    "know",
    "told",
    "again",
    "don't",
    "forget",
    "memory",
    "LICENSE",
    "os.system",
    "lines",
    "words",
]
soup = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)


@settings(max_examples=400)
@given(soup)
def test_soup_is_refused_or_planned_with_nothing_invented(goal) -> None:
    try:
        form = parse_goal(goal)
    except GoalRefused:
        return
    steps = compile_form(form)

    parse_plan(steps)
    folded = goal.casefold()
    for source in form.sources:
        match source:
            case SearchSource(pattern=pattern, path=path, regex=regex):
                assert regex or pattern.casefold() in folded
                assert path == "." or path in goal
            case FileSource(path=path):
                assert path in goal
            case RecallSource(query=text) | TextSource(text=text):
                assert set(re.findall(r"\w+", text.casefold())) <= set(re.findall(r"\w+", folded))
    for sink in form.sinks:
        if isinstance(sink, ReportSink):
            assert sink.path in goal


@settings(max_examples=400)
@given(soup)
def test_every_path_of_soup_has_exactly_one_role(goal) -> None:
    try:
        form = parse_goal(goal)
    except GoalRefused:
        return
    told = [source.text for source in form.sources if isinstance(source, TextSource)]
    read = {source.path for source in form.sources if isinstance(source, FileSource)}
    searched = {
        part
        for source in form.sources
        if isinstance(source, SearchSource)
        for part in (source.path, source.glob, source.glob.removeprefix("**/"), source.pattern)
    }
    written = {sink.path for sink in form.sinks if isinstance(sink, ReportSink)}
    for span in spans_of(goal):
        if span.kind in {"file", "folder", "glob"} and not any(span.text in text for text in told):
            path = span.text.rstrip("/")
            assert (path in read | searched) != (path in written), (goal, form)


@given(st.text(max_size=300))
def test_any_text_at_all_is_planned_or_refused(goal) -> None:
    try:
        compile_form(parse_goal(goal))
    except GoalRefused as refused:
        assert refused.reason  # noqa: PT017 - planned or refused with a reason: both are right


@given(soup)
def test_spans_are_in_order_and_never_overlap(goal) -> None:
    spans = spans_of(goal)

    for one, other in itertools.pairwise(spans):
        assert one.end <= other.start or (one.start, one.end) == (other.start, other.end)


def test_kinds_of_text_are_found_by_their_shape() -> None:
    assert re.search(KINDS["ip"].text, "host 10.0.0.5 up")
    assert not re.search(KINDS["ip"].text, "version 1.2")
    assert re.search(KINDS["email"].text, "mail bob@example.org")
    assert re.search(KINDS["url"].text, "see https://example.org/x")
