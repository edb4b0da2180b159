"""analyze_content and summarize: plain code that counts, outlines, compares and quotes, and says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.adapters import text_analysis
from trouper.adapters.text_summary import extract
from trouper.adapters.text_units import groups_of, units_of
from trouper.runtime import BadArguments

pytestmark = pytest.mark.io

NOTES = """# Release notes

The release is on Friday. Dr. Brown approves releases, e.g. this one.
The weather was fine and nobody said anything
about it.

- TODO: update the changelog
- [ ] call the printer

```python
code = "is not prose. At all."
```

Total: 42.50 EUR
"""


def file(path, content):
    return {"path": path, "content": content, "lines": content.count("\n"), "bytes": len(content), "sha256": "0" * 64}


def found(*matches, pattern="ERROR", **more):
    by_file = {}
    for path, _, _ in matches:
        by_file[path] = by_file.get(path, 0) + 1
    listed = [{"path": p, "line": n, "text": t} for p, n, t in matches]
    return {
        "pattern": pattern,
        "path": ".",
        "count": len(matches),
        "files": len(by_file),
        "matches": listed,
        "by_file": by_file,
        "truncated": False,
        **more,
    }


LOG = found(
    ("a.log", 1, "2024-01-01 10:00:00 ERROR timeout after 12 s"),
    ("a.log", 5, "2024-01-02 11:30:00 ERROR timeout after 13 s"),
    ("b.log", 2, "ERROR disk full"),
)


# ------------------------------------------------------------------ units


def test_prose_gives_sentences_and_lines_stand_for_themselves():
    assert units_of(NOTES) == [
        "The release is on Friday.",
        "Dr. Brown approves releases, e.g. this one.",
        "The weather was fine and nobody said anything about it.",
        "TODO: update the changelog",
        "call the printer",
        "Total: 42.50 EUR",
    ]
    assert units_of("a: 1\nb: 2\n", "x.yaml") == ["a: 1", "b: 2"]
    assert units_of("```\nonly code\n```") == ["only code"]
    assert units_of("") == []


def test_lines_that_say_the_same_are_one_group():
    groups = groups_of([m["text"] for m in LOG["matches"]])

    assert [(g.count, g.example, g.first) for g in groups] == [
        (2, "2024-01-01 10:00:00 ERROR timeout after 12 s", 0),
        (1, "ERROR disk full", 2),
    ]


# ------------------------------------------------------------------ summarize


async def test_a_summary_quotes_and_says_that_it_does(box):
    result = await box.call("summarize", content=file("notes.md", NOTES), sentences=2)

    assert result["method"] == "extractive"
    assert len(result["sentences"]) == 2
    assert set(result["sentences"]) <= set(units_of(NOTES))
    assert result["summary"] == " ".join(s if s.endswith(".") else s + "." for s in result["sentences"])
    assert (await box.verify("summarize", result, content=file("notes.md", NOTES))).verdict == "ok"


async def test_a_question_picks_what_bears_on_it(box):
    total = await box.call("summarize", content=file("n.md", NOTES), question="tell me the total")
    release = await box.call("summarize", content=NOTES, question="when is it released?", sentences=1)

    assert total["sentences"] == ["Total: 42.50 EUR"]
    assert release["sentences"] == ["The release is on Friday."]


async def test_each_file_has_its_say_and_an_empty_one_is_named(box):
    content = [
        file("a.txt", "Alpha is first. Alpha is best."),
        file("b.txt", ""),
        file("c.txt", "Gamma is last. Gamma."),
    ]
    result = await box.call("summarize", content=content, sentences=1)

    assert result["sentences"] == ["Alpha is first.", "Gamma is last."]
    assert result["summary"].splitlines() == ["a.txt: Alpha is first.", "b.txt is empty.", "c.txt: Gamma is last."]
    assert (await box.verify("summarize", result, content=content)).verdict == "ok"


async def test_a_search_is_summed_up_by_what_its_lines_say(box):
    result = await box.call("summarize", content=LOG)

    assert result["summary"].splitlines() == [
        "3 lines match 'ERROR' in 2 files. Most in a.log (2), b.log (1).",
        "- 2 x like: 2024-01-01 10:00:00 ERROR timeout after 12 s (a.log:1)",
        "- 1 x ERROR disk full (b.log:2)",
    ]
    assert (await box.verify("summarize", result, content=LOG)).verdict == "ok"


async def test_a_log_is_summed_up_by_its_errors(box):
    lines = [f"2024-01-01 10:0{i} INFO all well {i}" for i in range(5)] + [
        f"10:0{i} ERROR no disk {i}" for i in range(3)
    ]
    result = await box.call("summarize", content=file("errors.log", "\n".join(lines)))

    assert result["summary"].splitlines()[0] == "3 of 8 lines, by what they say:"
    assert result["sentences"] == ["10:00 ERROR no disk 0"]


@pytest.mark.parametrize(
    ("content", "summary"),
    [
        ("", "The text is empty."),
        ([], "There is nothing in it to summarise."),
        (found(), "0 lines match 'ERROR'."),
        ({"expression": "1+1", "value": 2, "text": "1+1 = 2"}, "1+1 = 2"),
        ({"query": "x", "memories": [], "count": 0, "text": ""}, "There is nothing in it to summarise."),
        (["alpha beta", "gamma"], "alpha beta gamma."),
        (42, "42."),
    ],
)
async def test_any_content_has_a_summary(box, content, summary):
    assert (await box.call("summarize", content=content))["summary"] == summary


async def test_a_summary_that_is_not_in_the_content_is_refuted(box):
    result = await box.call("summarize", content=NOTES, sentences=1)
    invented = result | {"sentences": ["The release is on Monday."], "summary": "The release is on Monday."}
    other = result | {"summary": "Something else."}

    assert (await box.verify("summarize", invented, content=NOTES)).verdict == "refuted"
    assert (await box.verify("summarize", other, content=NOTES)).verdict == "refuted"


@pytest.mark.parametrize("sentences", [0, 51])
async def test_a_strange_number_of_sentences_is_refused(box, sentences):
    with pytest.raises(BadArguments, match=f"sentences: {sentences} is not between 1 and 50"):
        await box.call("summarize", content="x", sentences=sentences)


words = st.sampled_from(["alpha", "Beta", "gamma", "e.g.", "3.5", "TODO:", "(x)", "…", "ünï", "a"])
texts = st.lists(
    st.lists(words, max_size=8).map(" ".join)
    | st.sampled_from(["", "- item one", "# Head", "```", "| a | b |", "> q"]),
    max_size=12,
).map(lambda lines: ". ".join(lines[:2]) + "\n" + "\n".join(lines[2:]))


@given(texts, st.integers(1, 5), st.sampled_from(["", "gamma", "what is alpha"]))
def test_every_quotation_is_in_the_text_word_for_word(text, n, question):
    quoted = extract(text, n, question).sentences

    assert len(quoted) <= n
    for sentence in quoted:
        assert " ".join(sentence.split()) in " ".join(text.split())


# ------------------------------------------------------------------ with a model


async def test_a_model_writes_where_there_is_one_and_that_is_not_verified(make_box):
    asked = []

    async def model(kind, text, question):
        asked.append((kind, text, question))
        return "It is on Friday."

    box = make_box(ask_model=model)
    summary = await box.call("summarize", content=[file("n.md", NOTES), LOG], question="when?")
    analysis = await box.call("analyze_content", content="x y", question="how many?")
    plain = await box.call("analyze_content", content="x y")

    assert summary == {"summary": "It is on Friday.", "sentences": [], "method": "model"}
    assert analysis["text"] == "1 line, 2 words, 3 characters\n\nIt is on Friday."
    assert plain["text"] == "1 line, 2 words, 3 characters"
    assert [(k, q) for k, _, q in asked] == [("summarize", "when?"), ("analyze", "how many?")]
    assert "## n.md\n# Release notes" in asked[0][1]
    assert "b.log:2: ERROR disk full" in asked[0][1]
    assert (await box.verify("summarize", summary, content=NOTES)).verdict == "unverifiable"


async def test_a_model_that_says_nothing_leaves_it_to_plain_code(make_box):
    async def silent(kind, text, question):
        return None

    assert (await make_box(ask_model=silent).call("summarize", content="A b."))["method"] == "extractive"


# ------------------------------------------------------------------ analyze_content


async def test_an_overview_has_a_line_for_each_part(box):
    calculated = {"expression": "1+1", "value": 2, "text": "1+1 = 2"}
    memories = {"query": "q", "memories": [{"id": 1, "content": "m", "score": 1.0}], "count": 1, "text": "m"}
    result = await box.call("analyze_content", content=[LOG, file("a.txt", "one two\nthree"), calculated, memories])

    assert result["text"].splitlines() == [
        "3 lines match 'ERROR' in 2 files: a.log (2), b.log (1)",
        "a.txt: 2 lines, 3 words, 13 characters",
        "1+1 = 2",
        "What is remembered about q: 1 memory",
    ]
    facts = result["facts"]
    assert {k: facts[k] for k in facts if k != "parts"} == {
        "matches": 3,
        "files": 2,
        "memories": 1,
        "lines": 2,
        "words": 3,
        "characters": 13,
    }
    assert [p["kind"] for p in facts["parts"]] == ["search", "file", "calculation", "memories"]


async def test_counting_adds_up(box):
    result = await box.call("analyze_content", content=[LOG, LOG, file("a.txt", "x\n")], kind="count")

    assert result["facts"] == {
        "matches": 6,
        "files": 4,
        "lines": 1,
        "words": 1,
        "characters": 2,
        "by_file": {"a.log": 4, "b.log": 2},
    }


@pytest.mark.parametrize(
    ("path", "content", "kind", "entries"),
    [
        ("a.md", NOTES + "## Second ##\n", "headings", ["# Release notes", "## Second"]),
        (
            "a.py",
            "class A:\n    async def f(self):\n        def g(): ...\n    'class No'\n# def no\n",
            "python",
            ["class A (line 1)", "  def f (line 2)", "    def g (line 3)"],
        ),
        ("a.py", "def f(:\n  ((((", "python", ["def f (line 1)", "(the rest is no valid Python)"]),
        ("a.json", '{"a": 1, "b": [1, 2], "c": {}}', "json", ["a: number", "b: list of 2", "c: object of 0"]),
        ("a.json", "{broken", "headings", []),
        ("a.yaml", "a: 1\nb:\n  c: 2\n# x: 3\n", "settings", ["a", "b"]),
        ("a.toml", "x = 1\n[tool.ruff]\ny = 2\n", "settings", ["x", "tool.ruff", "y"]),
    ],
)
async def test_structure(box, path, content, kind, entries):
    result = await box.call("analyze_content", content=file(path, content), kind="structure")

    assert result["facts"]["parts"] == [{"title": path, "format": kind, "entries": entries, "count": len(entries)}]


async def test_differences(box):
    content = [file("dev.yaml", "a: 1\nb: 2\nc: 3\n"), file("prod.yaml", "a: 1\nb: 9\nc: 3\nd: 4\n")]
    result = await box.call("analyze_content", content=content, kind="compare")

    (comparison,) = result["facts"]["comparisons"]
    assert (comparison["added"], comparison["removed"], comparison["identical"]) == (2, 1, False)
    assert comparison["diff"].splitlines()[2:] == ["@@ -1,3 +1,4 @@", " a: 1", "-b: 2", "+b: 9", " c: 3", "+d: 4"]
    assert result["text"] == (
        "dev.yaml (3 lines) and prod.yaml (4 lines) differ: 1 line only in dev.yaml, 2 only in prod.yaml."
    )


async def test_the_same_texts_are_identical_and_one_text_cannot_be_compared(box):
    same = await box.call("analyze_content", content=[{"message": "x\ny"}, file("b", "x\ny\n")], kind="compare")

    assert same["facts"]["identical"] is True
    assert same["text"] == "the first and b are the same."
    with pytest.raises(BadArguments, match="needs two parts or more, it has 1"):
        await box.call("analyze_content", content=file("a", "x"), kind="compare")


async def test_long_texts_are_compared_without_aligning_them(box, monkeypatch):
    monkeypatch.setattr(text_analysis, "MAX_DIFF_LINES", 10)
    content = [file("a", "x\n" * 10), file("b", "y\n" + "x\n" * 8)]
    result = await box.call("analyze_content", content=content, kind="compare")

    (comparison,) = result["facts"]["comparisons"]
    assert (comparison["added"], comparison["removed"], comparison["diff"]) == (1, 2, "- x\n+ y")
    assert "Too long to be aligned" in result["text"]


async def test_a_question_is_answered_with_quotations_that_are_checked(box):
    content = file("n.md", NOTES)
    result = await box.call("analyze_content", content=content, question="What is the total?")

    assert result["facts"]["relevant"] == ["Total: 42.50 EUR"]
    assert result["text"].endswith("\n\nTotal: 42.50 EUR.")
    assert (await box.verify("analyze_content", result, content=content)).verdict == "ok"
    lie = result | {"facts": result["facts"] | {"relevant": ["Total: 43.50 EUR"]}}
    assert (await box.verify("analyze_content", lie, content=content)).verdict == "refuted"


@pytest.mark.parametrize("kind", ["overview", "count", "structure"])
@pytest.mark.parametrize("content", [None, 0, "", [], {}, [[[[]]]], {"a": {"b": [1, {"c": None}]}}, [1, "x", None]])
async def test_no_content_breaks_an_analysis(box, kind, content):
    result = await box.call("analyze_content", content=content, kind=kind)

    assert box.tools["analyze_content"].check_output(result) == []


async def test_data_nested_300_deep_is_data(box):
    deep = []
    for _ in range(300):
        deep = [deep]

    for name in ("analyze_content", "summarize"):
        await box.call(name, content=deep)
    await box.call("create_report", content=deep, path="deep.md")


def test_results_in_an_object_are_found_by_their_names():
    summary = extract({"errors": LOG, "sum": {"expression": "1+1", "value": 2, "text": "1+1 = 2"}}, 1)

    assert "3 lines match 'ERROR'" in summary.summary
    assert summary.summary.endswith("1+1 = 2")


@pytest.mark.parametrize(
    "text", [" " * 100_000 + "x", "\n" * 100_000, "# " + "#" * 100_000 + "x", "[" * 50_000, ". " * 50_000]
)
async def test_no_text_takes_for_ever(box, text):
    """Each of these is quadratic or worse for a careless regular expression, which nothing could interrupt."""
    for path in ("a.md", "a.yaml", "a.log", "a.py"):
        await box.call("summarize", content=file(path, text))
        await box.call("analyze_content", content=file(path, text), kind="structure")
    await box.call("create_report", content=file("a.md", text), path="report.md")


DEV, PROD = file("dev.yaml", "a: 1\nb: 2\nc: 3\n"), file("prod.yaml", "a: 1\nb: 9\nc: 3\nd: 4\n")


@pytest.mark.parametrize("kind", ["overview", "count", "structure", "compare"])
@pytest.mark.parametrize(
    "content",
    [
        [DEV, PROD],
        [file("n.md", NOTES), file("x.py", "class A:\n    def f(self): ...\n")],
        [file("x.json", '{"a b": {"c": 1}}'), "one\ntwo", DEV, "same", "same"],
        [DEV, DEV],
    ],
)
async def test_a_true_analysis_is_ok(box, kind, content):
    result = await box.call("analyze_content", content=content, kind=kind)
    checked = await box.verify("analyze_content", result, content=content)

    assert checked.verdict == "ok", checked


@pytest.mark.parametrize(
    ("kind", "lie", "problem"),
    [
        ("overview", {"words": 7}, "claims 7 words, counted again there are 14"),
        ("count", {"characters": 0}, "claims 0 characters"),
        ("count", {"matches": 3}, "claims 3 matches, counted again there are 0"),
        ("structure", {"parts": []}, "outlines 0 parts of 2"),
        ("structure", {"parts": [{"entries": ["z"]}, {"entries": []}]}, "no 'z' in it"),
        ("compare", {"identical": True, "comparisons": [{"identical": True}]}, "whether they are identical"),
        ("compare", {"comparisons": [{"identical": False, "added": 3, "removed": 1}]}, "do not make 4 of 3"),
        (
            "compare",
            {"comparisons": [{"identical": False, "added": 2, "removed": 1, "diff": "-b: 2\n+b: 8\n+d: 4"}]},
            "'+b: 8' is not there",
        ),
    ],
)
async def test_a_false_analysis_is_refuted(box, kind, lie, problem):
    result = await box.call("analyze_content", content=[DEV, PROD], kind=kind)
    result["facts"] |= lie
    checked = await box.verify("analyze_content", result, content=[DEV, PROD])

    assert checked.verdict == "refuted"
    assert any(problem in p for p in checked.problems), checked


async def test_an_analysis_of_searches_is_checked_by_their_figures(box):
    result = await box.call("analyze_content", content=LOG)

    assert (await box.verify("analyze_content", result, content=LOG)).verdict == "ok"
    assert (await box.verify("analyze_content", {"text": "x"}, content=LOG)).verdict == "refuted"
