"""Documents are cut by their structure, lose nothing, and every piece is a slice with the right lines."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trouper.actors.chunking import Chunking, chunks_of

SHAPES = ("prose", "markdown", "code")

MARKDOWN = """# Title

Intro of some words.

## First

A paragraph about apples.

Another paragraph about pears.

```python
def code():

    return 1
```

## Second

The end.
"""

CODE = '''"""Doc."""

import os


def first():
    return 1


class Second:
    def method(self):

        return 2


def third():
    return 3
'''

PIECE = st.sampled_from(
    [
        "word ",
        "\n",
        "\n\n",
        "# Head\n",
        "## Sub\n",
        "```\n",
        "def f():\n",
        "    x = 1\n",
        "a" * 50,
        "é. B",
        "\t",
        "。字",
    ]
)
TEXT = st.lists(PIECE, max_size=60).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    TEXT, st.sampled_from(SHAPES), st.integers(20, 80), st.integers(0, 10), st.lists(st.integers(1, 200), max_size=4)
)
def test_pieces_are_bounded_slices_that_lose_nothing(text, shape, longest, overlap, cuts) -> None:
    pages = sorted({0, *(c for c in cuts if c < len(text))}) if cuts else []
    pieces = chunks_of(text, shape, Chunking(max_chars=longest, overlap_chars=overlap), pages=pages)

    covered = set()
    for piece in pieces:
        assert piece.text == text[piece.start : piece.end]
        assert piece.text.strip()
        assert len(piece.text) <= longest
        assert piece.first_line == text.count("\n", 0, piece.start) + 1
        assert piece.last_line == text.count("\n", 0, piece.end - 1) + 1
        if pages:
            assert piece.page is not None
            assert pages[piece.page - 1] <= piece.start
            assert piece.page == len(pages) or piece.end <= pages[piece.page]
        covered.update(range(piece.start, piece.end))
    assert [i for i, c in enumerate(text) if not c.isspace() and i not in covered] == []
    assert [p.start for p in pieces] == sorted({p.start for p in pieces})


def test_a_heading_begins_a_piece_and_is_known_to_what_stands_under_it() -> None:
    pieces = chunks_of(MARKDOWN, "markdown", Chunking(max_chars=85, overlap_chars=0))

    assert [piece.headings for piece in pieces] == [
        ("Title",),
        ("Title", "First"),
        ("Title", "First"),
        ("Title", "Second"),
    ]
    assert pieces[1].text.startswith("## First")
    assert pieces[3].text == "## Second\n\nThe end."
    assert (pieces[3].first_line, pieces[3].last_line) == (17, 19)


def test_fenced_code_is_not_cut_at_its_empty_lines_and_its_comments_are_no_headings() -> None:
    text = "Before.\n\n```\n# not a heading\n\nx = 1\n```\n\nAfter.\n"

    pieces = chunks_of(text, "markdown", Chunking(max_chars=34, overlap_chars=0))

    assert [p.text for p in pieces] == ["Before.", "```\n# not a heading\n\nx = 1\n```", "After."]
    assert {p.headings for p in pieces} == {()}


def test_a_heading_stays_with_what_follows_it() -> None:
    text = "word " * 20 + "\n\n# Head\n\nBelow.\n"

    assert chunks_of(text, "markdown", Chunking(max_chars=110, overlap_chars=0))[-1].text == "# Head\n\nBelow."


def test_code_is_cut_before_definitions() -> None:
    pieces = chunks_of(CODE, "code", Chunking(max_chars=80, overlap_chars=0))

    assert [p.text.split("\n")[0] for p in pieces] == ['"""Doc."""', "class Second:", "def third():"]
    assert pieces[1].text.endswith("return 2")


def test_short_documents_are_one_piece() -> None:
    assert [p.text for p in chunks_of(MARKDOWN, "markdown", Chunking(max_chars=5000))] != []
    assert len(chunks_of("one\n\ntwo\n\nthree", "prose", Chunking(max_chars=100, overlap_chars=10))) == 1
    assert chunks_of(" \n\t\n", "prose", Chunking()) == []


def test_a_cut_repeats_some_of_what_came_before_and_falls_between_sentences() -> None:
    text = "Alpha is first. Beta is second. Gamma is third. Delta is fourth."

    pieces = chunks_of(text, "prose", Chunking(max_chars=40, overlap_chars=16))

    assert pieces[0].text == "Alpha is first. Beta is second."
    assert pieces[1].start < pieces[0].end
    assert pieces[-1].text.endswith("Delta is fourth.")


def test_a_cut_never_repeats_the_whole_of_a_piece() -> None:
    """Found by the property above: a piece of five letters after white space was repeated as a whole."""
    pieces = chunks_of("\t    x = 1\nword word ", "prose", Chunking(max_chars=20, overlap_chars=7))

    assert [(p.start, p.text) for p in pieces] == [(5, "x = 1"), (7, "= 1\nword word")]


def test_pages_are_never_mixed() -> None:
    text = "One.\nTwo.\n"

    pieces = chunks_of(text, "prose", Chunking(max_chars=100, overlap_chars=0), pages=[0, 5])

    assert [(p.text, p.page) for p in pieces] == [("One.", 1), ("Two.", 2)]


def test_an_overlap_of_more_than_half_is_refused() -> None:
    with pytest.raises(ValueError, match="at most half"):
        Chunking(max_chars=100, overlap_chars=60)


def test_a_long_line_without_spaces_is_cut_in_linear_time() -> None:
    pieces = chunks_of("x" * 1_000_000, "prose", Chunking())

    assert len(pieces) == -(-1_000_000 // 1200)
