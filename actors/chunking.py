"""A document cut into pieces that can be embedded and quoted: by its own structure first, by length only where it must.

A text is read as blocks: paragraphs, fenced code, the definitions of a source file. Blocks that follow each other
share a piece as long as they fit; a heading, a top-level definition or a new page begins a new piece unless the one
before is still short. A block longer than a piece is cut at the last line end, sentence end or space that fits, and
only there the next piece repeats some of the one before, so that a sentence on the cut is whole in one of them.

Pieces are slices: `text[start:end]` is a piece's text, to the character, and its lines are counted from 1. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import attrs

Shape = Literal["prose", "markdown", "code"]

SHORT = 3
"""A piece shorter than a third of the longest goes on over a heading or a definition."""

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t#]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SENTENCE = re.compile(r"[.!?。！？][\"')\]]*\s+")  # noqa: RUF001 - full stops of other scripts
_DEFINITION = re.compile(
    r"(?:@|(?:export |public |private |static |async |pub |default )*"
    r"(?:def|class|function|fn|func|interface|struct|enum|impl|trait|type|module|namespace|const|let|var|sub|proc)\b)"
)


@attrs.frozen(kw_only=True)
class Chunking:
    """How long a piece may be, in characters, and what a cut repeats."""

    max_chars: int = attrs.field(default=1200, validator=attrs.validators.ge(20))
    overlap_chars: int = attrs.field(default=150, validator=attrs.validators.ge(0))

    def __attrs_post_init__(self) -> None:
        if self.overlap_chars * 2 > self.max_chars:
            raise ValueError(f"overlap_chars ({self.overlap_chars}) must be at most half of max_chars")


@attrs.frozen(kw_only=True)
class Chunk:
    """`text[start:end]` of a document: its first and last line, and the headings it stands under, outermost first."""

    text: str
    start: int
    end: int
    first_line: int
    last_line: int
    headings: tuple[str, ...] = ()
    page: int | None = None
    """Of a document that has pages, from 1."""


@attrs.frozen
class _Block:
    """Lines that belong together; `opens` says that a new piece had better begin here."""

    start: int
    end: int
    opens: bool = False
    headings: tuple[str, ...] = ()


def chunks_of(text: str, shape: Shape, chunking: Chunking, *, pages: Sequence[int] = ()) -> list[Chunk]:
    """The pieces of `text` in order; every character that is not white space is in at least one of them.

    Args:
        text: The document.
        shape: How its structure is to be read.
        chunking: How long a piece may be.
        pages: Where each page begins, as offsets into `text`, ascending; no piece goes over a page's end.
    """
    lines = _line_starts(text)
    found: list[Chunk] = []
    for start, end, headings in _packed(text, _blocks(text, shape, pages), chunking):
        begin, finish = _trimmed(text, start, end)
        if begin < finish:
            found.append(
                Chunk(
                    text=text[begin:finish],
                    start=begin,
                    end=finish,
                    first_line=bisect_right(lines, begin),
                    last_line=bisect_right(lines, finish - 1),
                    headings=headings,
                    page=bisect_right(pages, begin) or None if pages else None,
                )
            )
    return found


# ---------------------------------------------------------------- blocks
def _blocks(text: str, shape: Shape, pages: Sequence[int]) -> Iterator[_Block]:
    """The blocks of each page, or of the whole; a page's first block opens a piece."""
    bounds = [0, *(page for page in pages if 0 < page < len(text)), len(text)]
    split = {"markdown": _markdown, "code": _code, "prose": _prose}[shape]
    for start, end in pairwise(bounds):
        yield from split(text, start, end)
        yield _Block(end, end, opens=True)  # nothing: it only ends what came before


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop + 1
        yield start, stop
        start = stop


def _prose(text: str, start: int, end: int) -> Iterator[_Block]:
    """Paragraphs: lines up to an empty one."""
    begin = start
    for line, stop in _lines(text, start, end):
        if not text[line:stop].strip() and begin < line:
            yield _Block(begin, stop)
            begin = stop
    if begin < end:
        yield _Block(begin, end)


def _code(text: str, start: int, end: int) -> Iterator[_Block]:
    """Runs of lines up to an empty one; a definition at the left margin opens a piece."""
    begin, opens, blank = start, False, True
    for line, stop in _lines(text, start, end):
        empty = not text[line:stop].strip()
        if blank and not empty and begin < line:
            yield _Block(begin, line, opens)
            begin = line
        if blank and not empty:
            opens = _DEFINITION.match(text, line, stop) is not None
        blank = empty
    if begin < end:
        yield _Block(begin, end, opens)


def _markdown(text: str, start: int, end: int) -> Iterator[_Block]:
    """Paragraphs under their headings; fenced code is one block, whatever empty lines it has."""
    trail: list[tuple[int, str]] = []
    begin, opens, fence = start, False, ""
    under: tuple[str, ...] = ()
    for line, stop in _lines(text, start, end):
        content = text[line:stop]
        if fence:
            if content.strip().startswith(fence) and not content.strip().strip(fence[0]):
                fence = ""
            continue
        if marked := _FENCE.match(content):
            fence = marked[1]
            continue
        heading = _HEADING.match(content.rstrip("\n"))
        if heading is not None:
            if begin < line:
                yield _Block(begin, line, opens, under)
            level = len(heading[1])
            trail = [*((n, title) for n, title in trail if n < level), (level, heading[2])]
            begin, opens, under = line, True, tuple(title for _, title in trail if title)
        elif not content.strip() and begin < line and not _only_heading(text, begin, line):
            yield _Block(begin, stop, opens, under)
            begin, opens = stop, False
    if begin < end:
        yield _Block(begin, end, opens, under)


def _only_heading(text: str, start: int, end: int) -> bool:
    """Whether these lines are a heading and nothing else: it stays with what it is the heading of."""
    return _HEADING.fullmatch(text[start:end].rstrip()) is not None


# ---------------------------------------------------------------- pieces
def _packed(text: str, blocks: Iterator[_Block], chunking: Chunking) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Blocks put together while they fit; long ones cut."""
    longest = chunking.max_chars
    begin = end = 0
    headings: tuple[str, ...] = ()
    for block in blocks:
        page_ends = block.start == block.end
        enough = end - begin >= longest // SHORT
        if begin < end and (page_ends or block.end - begin > longest or (block.opens and enough)):
            yield begin, end, headings
            begin = end = block.start
        if begin == end:
            begin, headings = block.start, block.headings
        end = block.end
        if end - begin > longest:  # then it is this block alone
            yield from ((start, stop, headings) for start, stop in _cut(text, begin, end, chunking))
            begin = end
    if begin < end:
        yield begin, end, headings


def _cut(text: str, start: int, end: int, chunking: Chunking) -> Iterator[tuple[int, int]]:
    """One block in several pieces, each repeating up to `overlap_chars` of the one before."""
    while end - start > chunking.max_chars:
        stop = _best_end(text, start, start + chunking.max_chars)
        yield start, stop
        # What is repeated is never all of it: white space at its head is no beginning of anything.
        words = start + len(text[start:stop]) - len(text[start:stop].lstrip())
        start = _best_start(text, max(words + 1, stop - chunking.overlap_chars), stop)
    yield start, end


def _best_end(text: str, start: int, limit: int) -> int:
    """The last line end in the second half of what fits, else the last sentence end, space, or the limit itself."""
    half = start + (limit - start) // 2
    line = text.rfind("\n", half, limit)
    if line >= 0:
        return line + 1
    sentences = [match.end() for match in _SENTENCE.finditer(text, half, limit)]
    if sentences:
        return sentences[-1]
    space = text.rfind(" ", half, limit)
    return space + 1 if space >= 0 else limit


def _best_start(text: str, earliest: int, stop: int) -> int:
    """The first beginning of a line or word from `earliest` on; `stop` if what is repeated has none."""
    for gap in ("\n", " "):
        found = text.find(gap, earliest, stop)
        if 0 <= found < stop - 1:
            return found + 1
    return stop


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The slice without white space around it, but with the indentation of its first line."""
    piece = text[start:end]
    begin = start + len(piece) - len(piece.lstrip())
    margin = text.rfind("\n", start, begin) + 1
    return max(start, margin) if margin else begin, start + len(piece.rstrip())


def _line_starts(text: str) -> list[int]:
    starts = [0]
    starts.extend(match.end() for match in re.finditer("\n", text))
    return starts
