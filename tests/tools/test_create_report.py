"""create_report: a file a person can read, the same bytes for the same content, checked against it."""

import json

import pytest

from trouper.actors.permissions import PermissionPolicy
from trouper.adapters.report import code, escaped, fence
from trouper.runtime import PermissionRefused

pytestmark = pytest.mark.io

SEARCH = {
    "pattern": "TODO",
    "path": "src",
    "glob": "*.py",
    "count": 3,
    "files": 2,
    "matches": [
        {"path": "src/a_b.py", "line": 1, "text": "# TODO `one` | two"},
        {"path": "src/a_b.py", "line": 9, "text": "    # TODO <b>three</b>"},
        {"path": "src/c.py", "line": 2, "text": "# TODO *four*"},
    ],
    "by_file": {"src/a_b.py": 2, "src/c.py": 1},
    "truncated": False,
    "skipped": [],
}
SUM = {"expression": "19.99 * 12", "value": 239.88, "text": "19.99 * 12 = 239.88"}
DIFF = {
    "kind": "compare",
    "text": "a and b differ: 1 line only in a, 1 only in b.",
    "facts": {"comparisons": [{"diff": "--- a\n+++ b\n-x\n+```"}]},
}


async def test_a_search_becomes_a_total_a_table_and_a_list(tmp_path, box):
    result = await box.call("create_report", path="todo.md", content=SEARCH, title="To do")
    text = (tmp_path / "todo.md").read_text()

    assert text == (
        "# To do\n\n"
        "**3 lines match 'TODO' in 2 files.**\n\n"
        "| File | Lines |\n| --- | ---: |\n| `src/a_b.py` | 2 |\n| `src/c.py` | 1 |\n\n"
        "- `` src/a_b.py:1: # TODO `one` | two ``\n"
        "- `src/a_b.py:9: # TODO <b>three</b>`\n"
        "- `src/c.py:2: # TODO *four*`\n"
    )
    assert result["lines"] == text.count("\n")
    assert result["bytes"] == len(text.encode())
    assert (await box.verify("create_report", result, path="todo.md", content=SEARCH)).verdict == "ok"


async def test_several_results_have_a_section_each(tmp_path, box):
    memories = {
        "query": "Apollo",
        "memories": [{"id": 1, "content": "# it flies", "score": 1.0}],
        "count": 1,
        "text": "",
    }
    summary = {"summary": "All is *well*.\n- and 1. more\nthen\nlines", "sentences": [], "method": "extractive"}
    await box.call("create_report", path="r.md", content=[SEARCH, SUM, DIFF, memories, summary, {"a": 1, "b": "x|y"}])
    text = (tmp_path / "r.md").read_text()

    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Report",
        "## Matches of 'TODO' in src",
        "## Calculation",
        "## Analysis",
        "## What is remembered about Apollo",
        "## Summary",
    ]
    assert "**`19.99 * 12 = 239.88`**" in text
    assert "```diff\n--- a\n+++ b\n-x\n+```\n```\n" in text
    assert "- \\# it flies" in text
    assert "All is \\*well\\*.\n\n- and 1. more\n\nthen  \nlines" in text
    assert "| b | x\\|y |" in text


async def test_an_answer_in_a_text_file_has_the_value(tmp_path, box):
    result = await box.call("create_report", path="yearly.txt", content=SUM)

    assert (tmp_path / "yearly.txt").read_text() == "19.99 * 12 = 239.88\n"
    assert (await box.verify("create_report", result, path="yearly.txt", content=SUM)).verdict == "ok"


async def test_plain_text_of_a_search(tmp_path, box):
    await box.call("create_report", path="t.txt", content=SEARCH, title="Found")

    assert (tmp_path / "t.txt").read_text() == (
        "Found\n\n3 lines match 'TODO' in 2 files\n- src/a_b.py: 2\n- src/c.py: 1\n"
    )


async def test_json_is_the_content(tmp_path, box):
    await box.call("create_report", path="a.json", content=SEARCH)
    await box.call("create_report", path="b.out", content=[1, "é"], title="T", format="json")

    assert json.loads((tmp_path / "a.json").read_text()) == SEARCH
    assert json.loads((tmp_path / "b.out").read_text()) == {"title": "T", "content": [1, "é"]}
    assert "é" in (tmp_path / "b.out").read_text()


async def test_a_text_that_was_written_to_be_the_file_is_the_file(tmp_path, box):
    await box.call("create_report", path="a.md", content="# Mine\n\n*As I* wrote it\n")
    await box.call("create_report", path="b.md", content="plain", title="With title")

    assert (tmp_path / "a.md").read_text() == "# Mine\n\n*As I* wrote it\n"
    assert (tmp_path / "b.md").read_text() == "# With title\n\nplain\n"


async def test_a_file_that_was_read_is_shown_as_it_is(tmp_path, box):
    content = {"path": "x.py", "content": "a = '```'\n```\n", "lines": 2, "bytes": 1, "sha256": ""}
    await box.call("create_report", path="a.md", content=content)

    assert (tmp_path / "a.md").read_text() == "# x.py\n\n`x.py`: 2 lines\n\n````python\na = '```'\n```\n````\n"


async def test_what_is_not_shown_is_said(tmp_path, box):
    cut = SEARCH | {"count": 9000, "truncated": True, "skipped": ["big.bin: larger than 64,000,000 bytes"]}
    await box.call("create_report", path="a.md", content=cut)
    text = (tmp_path / "a.md").read_text()

    assert "Not everything is shown: 3 of 9,000 are listed" in text
    assert "Not searched:\n\n- big.bin" in text


@pytest.mark.parametrize("content", ["", [], {}, None, [[]]])
async def test_no_content_is_too_little(tmp_path, box, content):
    result = await box.call("create_report", path="a.md", content=content, title="T")

    assert (tmp_path / "a.md").read_text().startswith("# T\n")
    assert result["lines"] >= 1


async def test_the_same_content_gives_the_same_bytes_and_needs_no_leave(tmp_path, box):
    first = await box.call("create_report", path="a.md", content=SEARCH)
    assert await box.call("create_report", path="a.md", content=SEARCH) == first

    with pytest.raises(PermissionRefused, match="nobody to ask"):
        await box.call("create_report", path="a.md", content=SUM)


async def test_a_report_without_the_figures_is_refuted(tmp_path, make_box):
    box = make_box(policy=PermissionPolicy(overwrite="allow"))
    result = await box.call("create_report", path="a.md", content=SEARCH)

    other = await box.verify("create_report", result, path="a.md", content=SEARCH | {"count": 4711})
    missing = await box.verify("create_report", result, path="a.md", content=[SEARCH, SUM])
    lines = await box.verify("create_report", result | {"lines": 1}, path="a.md", content=SEARCH)

    assert other.problems == ("the report does not have the number of matches, 4711",)
    assert missing.problems == ("the report does not have the result, 239.88",)
    assert lines.verdict == "refuted"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("my_file_name.py", "my_file_name.py"),
        ("_emphasis_ *strong*", "\\_emphasis\\_ \\*strong\\*"),
        ("# heading", "\\# heading"),
        ("#hashtag", "#hashtag"),
        ("1. first", "1\\. first"),
        ("- item", "\\- item"),
        ("---", "\\---"),
        ("> quote", "\\> quote"),
        ("a < b > c", "a < b > c"),
        ("<script>", "\\<script>"),
        ("[x](y) `c`", "\\[x\\](y) \\`c\\`"),
        ("two\nlines\r\n", "two lines"),
        ("bell\x07", "bell�"),
        ("C:\\dir \\* &amp;", "C:\\dir \\\\\\* \\&amp;"),
    ],
)
def test_text_is_shown_as_it_is(text, shown):
    assert escaped(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a", "`a`"), ("a `b`", "`` a `b` ``"), ("``", "``` `` ```"), ("", "`  `"), ("a\nb", "`a b`")],
)
def test_code_is_shown_as_it_is(text, shown):
    assert code(text) == shown


def test_a_block_cannot_be_closed_by_its_text():
    assert fence("````\nx") == "`````\n````\nx\n`````"
