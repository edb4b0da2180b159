"""Readers for what stands for itself: paths, folders, quotations, numbers."""

from __future__ import annotations

from collections.abc import Iterator

from .form import ReportSink
from .match import Reader, Reading
from .spans import path_kind
from .words import (
    ASKING,
    AUXILIARIES,
    DEEDS,
    DETERMINERS,
    EXTENSIONS,
    FOLDERS,
    GLOBS,
    LANGUAGES,
    NAMED_FILES,
    NUMBER_WORDS,
    modifies,
    words,
)

ANAPHORS = words("it them they its their this that these those there one ones")


def path(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """One file, by its looks or by its name: `notes.txt`, `"my notes.txt"`, `LICENSE`."""
    span = reading.span(at)
    if span is None:
        return
    if (
        span.kind == "file"
        or (span.kind == "quote" and _quoted_file(span.text))
        or (span.kind == "word" and span.text in NAMED_FILES)
    ):
        yield at + 1, span.text


def _quoted_file(text: str) -> bool:
    return text in NAMED_FILES or path_kind(text.replace(" ", "_")) == "file"


def folder(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """One folder or glob, by its looks: `./src`, `src/app`, `"my docs/"`, `src/*.py`."""
    span = reading.span(at)
    if span is None:
        return
    looks = path_kind(span.text.replace(" ", "_")) if span.kind == "quote" else span.kind
    nested = span.kind == "word" and "/" in span.text and span.low not in {"and/or", "either/or", "yes/no"}
    if looks in {"folder", "glob"} or (nested and all(part.isidentifier() for part in span.text.split("/"))):
        yield at + 1, span.text


def folder_name(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """What can name a folder beside the word `folder`."""
    span = reading.span(at)
    if span is None:
        return
    named = (
        span.kind == "word" and span.low not in DETERMINERS | ASKING and _is_name(span.text) and not modifies(span.low)
    )
    if named or span.kind in {"folder", "quote"}:
        yield at + 1, span.text


def known_folder(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A bare word that is a folder in most projects; `and deploy` is a deed, not a folder."""
    span = reading.span(at)
    commands = span is not None and span.low in DEEDS and reading.low(at - 1) in {"and", "or", ",", "&"}
    if span is not None and span.kind == "word" and span.text in FOLDERS and not commands:
        yield at + 1, span.text


def language(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A kind of files, as the glob for it: `Python`, `.txt`."""
    low = reading.low(at)
    if low in GLOBS:
        yield at + 1, GLOBS[low]
    elif low.startswith(".") and low[1:] in EXTENSIONS:
        yield at + 1, f"**/*{low}"


def bare_folder(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """Any other bare name, in small letters."""
    span = reading.span(at)
    if span is not None and span.kind == "word" and span.text == span.low and _is_name(span.text):
        ordinary = DETERMINERS | ASKING | DEEDS | AUXILIARIES | LANGUAGES
        if span.low not in ordinary and not modifies(span.low):
            yield at + 1, span.text


def _is_name(text: str) -> bool:
    return text.replace("-", "_").replace(".", "_").isidentifier()


def quotation(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A quoted text."""
    span = reading.span(at)
    if span is not None and span.kind == "quote" and span.text.strip():
        yield at + 1, span.text


def parenthesised(reading: Reading, at: int) -> Iterator[tuple[int, ReportSink]]:
    """A file in parentheses behind what it will hold: `a brief (brief.md)`."""
    if reading.low(at) == "(" and reading.low(at + 2) == ")":
        for _, name in path(reading, at + 1):
            yield at + 3, ReportSink(path=name)


def number(reading: Reading, at: int) -> Iterator[tuple[int, int]]:
    """A small whole number, in digits or as a word."""
    span = reading.span(at)
    if span is None:
        return
    if span.kind == "number" and span.low.isdigit():
        yield at + 1, int(span.low)
    elif span.kind == "word" and span.low in NUMBER_WORDS:
        yield at + 1, NUMBER_WORDS[span.low]


def counted(reading: Reading, at: int) -> Iterator[tuple[int, int]]:
    """`three-sentence`, `5-point`: the number in front of the hyphen."""
    low = reading.low(at)
    count, hyphen, unit = low.partition("-")
    if hyphen and unit in {"sentence", "line", "point", "bullet"}:
        if count.isdigit():
            yield at + 1, int(count)
        elif count in NUMBER_WORDS:
            yield at + 1, NUMBER_WORDS[count]


def adjective(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """One plain word before `report`: `a security audit`."""
    span = reading.span(at)
    if span is not None and span.kind == "word" and span.low.isalpha() and len(span.low) > 3:
        other = DEEDS | LANGUAGES | DETERMINERS | ASKING | ANAPHORS | GLOBS.keys()
        if span.low not in other and not modifies(span.low):
            yield at + 1, span.low


READERS: dict[str, Reader] = {
    "path": path,
    "folder": folder,
    "folder_name": folder_name,
    "known_folder": known_folder,
    "language": language,
    "bare_folder": bare_folder,
    "quotation": quotation,
    "parenthesised": parenthesised,
    "number": number,
    "counted": counted,
    "adjective": adjective,
}
