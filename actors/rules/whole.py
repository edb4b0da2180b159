"""Whole goals said in one breath: `write X to Y`, `combine X into Y`."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .calculation import calculated
from .files import analysed, read
from .form import Analysis, FileSource, ReportSink, SearchSource, TextSource
from .match import Frame
from .meaning import Clause, Pattern, Place
from .search import searched
from .sinks import also
from .spans import path_kind
from .terms import singular


def _to(matter: Clause, sink: ReportSink) -> Clause | None:
    """`write X to Y`: X gives, Y takes."""
    return attrs.evolve(matter, sinks=(sink,)) if not matter.sinks and matter.sources else None


def _digest_to(matter: Clause, sink: ReportSink) -> Clause | None:
    """A report *on* files is a digest of them; on anything else it is what was found."""
    return _to(reported(matter), sink)


def reported(matter: Clause) -> Clause:
    """What a report on this matter holds."""
    if matter.analysis is None and all(isinstance(source, FileSource) for source in matter.sources):
        return attrs.evolve(matter, analysis=Analysis())
    return matter


def _text(text: str, sink: ReportSink) -> Clause:
    return Clause(sources=(TextSource(text=text),), sinks=(sink,))


def _files_to(
    files: Sequence[str], sink: ReportSink, *, n: int = 0, question: str = "", manner: int = 0
) -> Clause | None:
    """A digest of the files, or what is asked of them, written down."""
    matter = analysed(files, question, n or manner)
    return None if matter is None else _to(matter, sink)


def _joined_to(files: Sequence[str], sink: ReportSink) -> Clause | None:
    """Several files one after another in one report."""
    return _to(read(files), sink) if len(files) > 1 else None


def _digest_of_many(files: Sequence[str], sink: ReportSink) -> Clause | None:
    """`make all.md out of a.md and b.md`; from a single file it could as well be a copy."""
    return _files_to(files, sink) if len(files) > 1 else None


def _found_to(terms: Sequence[Pattern], where: Sequence[Place], sink: ReportSink) -> Clause | None:
    hits = searched(tuple(map(singular, terms)), where)
    return None if hits is None else _to(Clause(sources=hits), sink)


def _hits_to(hits: tuple[SearchSource, ...], sink: ReportSink) -> Clause | None:
    return _to(Clause(sources=hits), sink)


def _folder_hits(hits: tuple[SearchSource, ...]) -> Clause | None:
    """Hits in folders. `a report about x in y.md` may as well mean that y.md is to be written."""
    return None if any(path_kind(hit.path) == "file" for hit in hits) else Clause(sources=hits)


WHOLE_FRAMES: dict[str, tuple[Frame, ...]] = {
    "matter": (
        ("{found:recalled_matter}", lambda found: found),
        ("[the] [result|value|answer] [of] {expression}", calculated),
        ("@content of {files}", read),
        ("what is in {files}", read),
        ("what {files} @says", analysed),
        ("{found:comparison}", lambda found: found),
        ("{found:digest}", lambda found: found),
        ("{found:digest_of_part}", lambda found: found),
        ("{found:counting}", lambda found: found),
        ("{question:noun_phrase} @from_files {files}", analysed),
        ("{found:search_count}", lambda found: found),
        ("{hits}", lambda hits: Clause(sources=hits)),
        ("[a|the] [full|complete] [list|listing|inventory|overview] of {hits}", lambda hits: Clause(sources=hits)),
    ),
    "report_matter": (
        ("{found:recalled_matter}", lambda found: found),
        ("@content of {files}", read),
        ("what {files} @says", analysed),
        ("{found:comparison}", lambda found: found),
        ("{files}", read),
        ("{hits}", _folder_hits),
    ),
    "whole": (
        ("(write|save) {text:quotation} [in]to|in|into {sink}", _text),
        (
            "(create|make|write) [a] [new] [text] [file] {sink} (with|containing|saying) [the|this] "
            "[text|content|line|words] [:] {text:quotation}",
            _text,
        ),
        ("@write {matter} @into {sink}", _to),
        ("@write @into {sink} {matter}", _to),
        ("@make [@art] [@short] @report_noun @report_on {matter} [@called|@into] {sink}", _digest_to),
        ("@make [@art] [@short] @report_noun [@called|@into] {sink} @report_on {matter}", _digest_to),
        (
            "@make [@art] {sink} [,] (with|containing|from|of|listing|holding) [@art] [@short] "
            "[@report_noun @report_on] {matter}",
            _digest_to,
        ),
        ("@make [@art] [@short] @report_noun {sink:parenthesised} @report_on {matter}", _digest_to),
        ("@make [@art] [@short] @report_noun @report_on {matter:report_matter}", reported),
        ("@make {matter} [@called|@into] {sink}", _to),
        ("@make {n:digest_name} [:] [@called] {sink:either_sink} @out_of {files}", _files_to),
        ("@make [@art] [@short] @report_noun [@called] {sink:either_sink} @out_of {files}", _files_to),
        ("@combine {files} [together] (into|to|in|as) {n:digest_name} [@called|@into] {sink:either_sink}", _files_to),
        (
            "@combine {files} [together] (into|to|in|as) [@art] [@short] [@report_noun] [@called] {sink:either_sink}",
            _joined_to,
        ),
        ("@turn {files} into|to|in {n:digest_name} [@called|@into] {sink:either_sink}", _files_to),
        (
            "@turn {files} into|to|in [@art] [@short] list of {question:noun_phrase} [@called|@into] "
            "{sink:either_sink}",
            _files_to,
        ),
        ("@summarise [@content] [of] {files} [{manner}] @into {sink}", _files_to),
        (
            "@summarise [@content] [of] {files} [{manner}] [into|in|as|to] [@art] [@short] "
            "[@report_noun] [@called] {sink:either_sink}",
            _files_to,
        ),
        (
            "@summarise [@content] [of] {files} into|in|as|to {n:digest_name} [@called|@into] {sink:either_sink}",
            _files_to,
        ),
        ("@summarise {matter:comparison} @into {sink}", _to),
        ("@make {sink} (out of / from / based on) {files}", _digest_of_many),
        (
            "@look [@in] {where:places} and|, [then] @record [down] {terms} (in|into|to|as|under) {sink}",
            _found_to,
        ),
        ("{found:search} ->|=>|>|into {sink}", also),
        ("{hits:any_hits} ->|=>|>|into|to {sink}", _hits_to),
        ("{found:understanding} ->|=>|>|into {sink}", also),
        ("{found:calculation} ->|=>|>|into {sink}", also),
        ("{found:recall} ->|=>|>|into {sink}", also),
    ),
}
