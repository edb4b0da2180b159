"""`trouper index` and `trouper search`: documents, by hand."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import click

from trouper.actors.documents import IndexReport, Passage

from .cli_exit import BadInput, ExitCode
from .cli_options import Call, with_options
from .cli_output import tell
from .cli_run import checked_text
from .cli_session import Session, in_session
from .progress_index import IndexView

MOST_NAMED = 20
"""Files that were skipped and are named; the others are counted."""


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@with_options("config", "set", "timeout", "json", "quiet")
def index(call: Call, paths: tuple[str, ...]) -> ExitCode:
    """Index the documents at and below each PATH: what is new or changed is read, what is gone is forgotten."""
    return in_session(call, functools.partial(_index, paths=[checked_text(path, "a path") for path in paths]))


@click.command()
@click.argument("query")
@click.option("-k", "count", metavar="N", type=click.IntRange(1, 1000), default=5, help="At most so many (5).")
@with_options("config", "set", "timeout", "json", "quiet")
def search(call: Call, query: str, count: int) -> ExitCode:
    """Show the passages of indexed documents that answer QUERY, best first."""
    if not checked_text(query, "the query").strip():
        raise BadInput("the query is empty; say what to look for")
    return in_session(call, functools.partial(_search, query=query, count=count))


async def _index(session: Session, paths: Sequence[str]) -> ExitCode:
    report = await session.in_time(
        lambda: session.watched(lambda: session.troupe.index_documents(paths), view=IndexView())
    )
    if session.call.as_json:
        session.call.results.json(_report_json(report))
        return ExitCode.SUCCESS
    session.call.results.text(_summary(report))
    if not session.call.quiet:
        for file in report.skipped[:MOST_NAMED]:
            tell(f"skipped {_shown(file.path)}: {file.reason}")
        if len(report.skipped) > MOST_NAMED:
            tell(f"... and {len(report.skipped) - MOST_NAMED} more; --json names them all")
    return ExitCode.SUCCESS


def _summary(report: IndexReport) -> str:
    many = "file" if report.indexed == 1 else "files"
    parts = [
        f"Indexed {report.indexed} {many} in {report.passages} passages",
        f"{report.unchanged} unchanged",
        f"{report.removed} removed",
        f"{len(report.skipped)} skipped",
    ]
    text = ", ".join(parts) + "."
    if report.unembedded:
        text += f" {report.unembedded} passages have no vector and are found by their words only."
    return text


async def _search(session: Session, query: str, count: int) -> ExitCode:
    found = await session.in_time(lambda: session.troupe.search_documents(query, k=count))
    if session.call.as_json:
        session.call.results.json({"passages": [passage.as_json() for passage in found]})
    elif found:
        session.call.results.text("\n".join(map(_lines, found)))
    elif not session.call.quiet:
        tell("no indexed document says anything about that; `trouper index PATH` indexes more")
    return ExitCode.SUCCESS


def _lines(passage: Passage) -> str:
    """Score and place as editors and terminals understand it, and what stands there."""
    place = f"{_shown(passage.file)}:{passage.first_line}-{passage.last_line}"
    notes = [f"page {passage.page}"] if passage.page is not None else []
    if passage.headings:
        notes.append(" > ".join(passage.headings))
    if passage.stale:
        notes.append("changed since it was indexed")
    note = f"  ({'; '.join(notes)})" if notes else ""
    return f"{passage.score:5.2f}  {place}{note}\n       {passage.snippet}"


def _shown(path: str) -> str:
    """A path below the current directory relative to it, others as they are."""
    here = os.path.realpath(".") + "/"
    return path.removeprefix(here)


def _report_json(report: IndexReport) -> dict[str, object]:
    return {
        "indexed": report.indexed,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "passages": report.passages,
        "unembedded": report.unembedded,
        "skipped": [{"path": file.path, "reason": file.reason} for file in report.skipped],
    }
