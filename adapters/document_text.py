"""The text of a file, whatever kind of file it is, and how its structure is to be read.

Plain text, Markdown, HTML and source code are read here; PDF and DOCX by libraries that are imported only for such a
file, and that come with the extra `documents`. What cannot be read is said, with the reason: a file is never left out
in silence, and never indexed as the noise that it is not.
"""

from __future__ import annotations

import codecs
import html.parser
import importlib.util
import io
import logging
import zipfile
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

import attrs

from trouper.actors.chunking import Shape

if TYPE_CHECKING:
    from docx.table import Table
    from docx.text.paragraph import Paragraph

RECIPE = "text-2"
"""Changes when text is made of files in another way; files that were read before are then read again."""

MARKDOWN = frozenset((".md", ".markdown", ".mdx", ".rst", ".adoc"))
HTML = frozenset((".html", ".htm", ".xhtml"))
_CODE = """
    .py .pyi .js .jsx .ts .tsx .mjs .cjs .java .kt .kts .scala .go .rs .c .h .cc .cpp .cxx .hpp .hh .cs
    .swift .m .mm .rb .php .pl .pm .lua .r .jl .hs .ml .mli .ex .exs .erl .hrl .clj .dart .sh .bash .zsh
    .fish .sql .proto .tf .css .scss .less .vue .svelte .json .yaml .yml .toml .ini .cfg .xml .gradle .cmake
    .mk .dockerfile
"""
CODE = frozenset(_CODE.split())

_CONTROL = bytes(sorted(frozenset(range(32)) - {9, 10, 12, 13, 27}))
"""Bytes that texts in an old character set do not have."""
_SLICE = 1 << 18
"""Bytes that are decoded before other threads come round."""


class Unreadable(Exception):
    """There is no text to be had of a file; the message says why, for the list of what was skipped."""


@attrs.frozen(kw_only=True)
class Extracted:
    """Text, its shape, the offsets where pages begin, and the file's line of each line where they are not the same."""

    text: str
    shape: Shape
    pages: tuple[int, ...] = ()
    lines: tuple[int, ...] = ()


def text_of(path: str, data: bytes) -> Extracted:
    """The text of the file called `path` that has the content `data`. Blocks: call it in a thread.

    Raises:
        Unreadable: it has none.
    """
    suffix = PurePath(path).suffix.lower()
    if data.startswith(b"%PDF-"):
        return _pdf(data)
    if suffix == ".docx" and data.startswith(b"PK"):
        return _docx(data)
    if suffix in HTML or data[:512].lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return html_text(decoded(data))
    text = decoded(data, lines=True)
    if suffix in MARKDOWN:
        return Extracted(text=text, shape="markdown")
    return Extracted(text=text, shape="code" if suffix in CODE else "prose")


def decoded(data: bytes, *, lines: bool = False) -> str:
    """Bytes as text: by their mark, else UTF-8, else an old Western character set if they look like one.

    With `lines` each line ends with a line feed, whatever it ended with.

    Raises:
        Unreadable: they are no text.
    """
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            try:
                return _in_slices(data, name, lines=lines)
            except UnicodeDecodeError as error:
                raise Unreadable(f"says that it is {name.upper()}, and is not") from error
    if b"\0" in data:
        raise Unreadable("binary")
    try:
        return _in_slices(data, "utf-8", lines=lines)
    except UnicodeDecodeError as error:
        if any(part.translate(None, _CONTROL) != part for part in _slices(data)):
            raise Unreadable("binary") from error
        return _in_slices(data, "cp1252", "replace", lines=lines)


def _in_slices(data: bytes, name: str, errors: str = "strict", *, lines: bool) -> str:
    """Decode part by part: 20 MB in one go take 30 ms, and as much again where line ends are changed.

    Whoever is called in a thread holds the interpreter's lock meanwhile, and the event loop waits for it.
    """
    plain = codecs.getincrementaldecoder(name)(errors)
    decoder = io.IncrementalNewlineDecoder(plain, translate=True) if lines else plain
    text = ""
    for part in _slices(data):
        text += decoder.decode(part)  # in its place: to join the parts at the end is one more call of 20 ms
    return text + decoder.decode(b"", True)  # noqa: FBT003 - the end: half a character is a mistake now


def _slices(data: bytes) -> Iterator[bytes]:
    return (data[start : start + _SLICE] for start in range(0, len(data), _SLICE))


# ---------------------------------------------------------------- HTML
_TAGS = """
    p div br li ul ol dl dt dd table tr section article header footer main aside nav pre blockquote figure hr
    h1 h2 h3 h4 h5 h6
"""
_BLOCKS = frozenset(_TAGS.split())
_SILENT = frozenset(("script", "style", "noscript", "template", "svg"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))


def html_text(text: str) -> Extracted:
    """What of a page a person reads, with its headings as Markdown has them, each line with its line in the source."""
    reader = _Page()
    reader.feed(text)
    reader.close()
    return reader.result()


class _Page(html.parser.HTMLParser):
    """Gathers text line by line; `script` and the like are passed over."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._done: list[tuple[int, str]] = []
        self._line: list[str] = []
        self._began = 1
        self._silent = 0
        self._titled = False
        self._before = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base's shape
        if tag in _BLOCKS:
            self._end_line()
        if tag in _HEADINGS:
            self._before = "#" * int(tag[1]) + " "
        # A page may leave out `</head>`, and a broken one `</title>`: neither may silence what follows.
        self._titled = tag == "title"
        self._silent = 0 if tag == "body" else self._silent + (tag in _SILENT)

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._end_line()
        if tag in _SILENT and self._silent:
            self._silent -= 1
        self._titled = False

    def handle_data(self, data: str) -> None:
        if self._silent or self._titled or not data.strip():
            self._line.append(" " if self._line else "")
            return
        if not any(self._line):
            skipped = len(data) - len(data.lstrip())
            self._began = self.getpos()[0] + data.count("\n", 0, skipped)
        self._line.append(data)

    def _end_line(self) -> None:
        words = " ".join("".join(self._line).split())
        if words:
            self._done.append((self._began, self._before + words))
        self._line, self._before = [], ""

    def result(self) -> Extracted:
        self._end_line()
        text, lines = [], []
        for number, words in self._done:
            text += [words, ""]
            lines += [number, number]
        return Extracted(text="\n".join(text), shape="markdown", lines=tuple(lines))


# ---------------------------------------------------------------- PDF, DOCX
MISSING = "needs `pip install 'trouper[documents]'`"
MOST_UNPACKED = 100_000_000
"""Bytes that an archive may have when it is unpacked: a few thousand can stand for gigabytes."""
_QUIET = logging.NullHandler()
"""What the PDF library complains of in a damaged file is said in our words, where there is no text to be had."""


def readable_kinds() -> dict[str, bool]:
    """Which kinds of heavy documents can be read here. Nothing is imported."""
    return {
        "PDF": importlib.util.find_spec("pypdf") is not None,
        "DOCX": importlib.util.find_spec("docx") is not None,
    }


def _pdf(data: bytes) -> Extracted:
    try:
        import pypdf
    except ImportError as error:
        raise Unreadable(f"a PDF {MISSING}") from error
    logging.getLogger("pypdf").addHandler(_QUIET)
    pages: list[int] = []
    text = ""
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("an encrypted PDF")
        for page in reader.pages:
            pages.append(len(text))
            text += (page.extract_text() or "").replace("\r\n", "\n").replace("\r", "\n") + "\n"
    except Unreadable:
        raise
    except Exception as error:  # the library raises whatever a damaged file leads it to
        raise Unreadable(f"a PDF that cannot be read: {_said(error)}") from error
    if not text.strip():
        raise Unreadable("a PDF without text (pictures of pages, perhaps)")
    return Extracted(text=text, shape="prose", pages=tuple(pages))


def _docx(data: bytes) -> Extracted:
    try:
        import docx
    except ImportError as error:
        raise Unreadable(f"a DOCX {MISSING}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > MOST_UNPACKED:
            raise Unreadable(f"a DOCX that unpacks to {size / 1e6:,.0f} MB, more than {MOST_UNPACKED / 1e6:,.0f} MB")
        styles: dict[object, str] = {}
        blocks = [_block(item, styles) for item in docx.Document(io.BytesIO(data)).iter_inner_content()]
    except Unreadable:
        raise
    except Exception as error:  # the same
        raise Unreadable(f"a DOCX that cannot be read: {_said(error)}") from error
    text = "\n\n".join(block for block in blocks if block.strip())
    if not text:
        raise Unreadable("a DOCX without text")
    return Extracted(text=text, shape="markdown")


def _block(item: Paragraph | Table, styles: dict[object, str]) -> str:
    """A paragraph, with its heading's level; or a table, a line for each row."""
    from docx.table import Table

    if isinstance(item, Table):
        return "\n".join(" | ".join(" ".join(cell.text.split()) for cell in row.cells) for row in item.rows)
    words, style = item.text, _style(item, styles)
    level = style.removeprefix("Heading ")
    if style == "Title" or level.isdecimal():
        return "#" * min(6, int(level) if level.isdecimal() else 1) + " " + " ".join(words.split())
    return words


def _style(paragraph: Paragraph, known: dict[object, str]) -> str:
    """The name of a paragraph's style, looked up once for each: that takes a millisecond, and a book has thousands."""
    number = paragraph.paragraph_format.element.style
    if number not in known:
        known[number] = str(getattr(paragraph.style, "name", ""))
    return known[number]


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."


Extract = Callable[[str, bytes], Extracted]
