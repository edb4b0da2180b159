"""From the clauses of a goal, in order, to one form - or to the reason why they do not make one.

A form says one thing: sources, then at most one analysis, then sinks. Clauses that come in another order, speak
of something that is not there, or ask for two different things at once are refused here.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from .form import (
    Analysis,
    CalculationSource,
    FileSource,
    Form,
    MemorySink,
    RecallSource,
    ReportSink,
    SearchSource,
    Sink,
    Source,
    TextSource,
)
from .meaning import Clause, Thing
from .words import BINARY, NAMED_FILES, TEXT_REPORTS, words

MOST_SOURCES = 12


class Unfit(Exception):
    """The clauses do not make one form; `args[0]` says why. It never leaves the grammar."""


@attrs.define
class _Draft:
    """The form so far."""

    sources: list[Source] = attrs.Factory(list)
    analysis: Analysis | None = None
    sinks: list[Sink] = attrs.Factory(list)

    def take(self, clause: Clause) -> None:
        """Add one clause."""
        if clause.operation is not None:
            self._calculate_on(*clause.operation)
            return
        if clause.refers and not self.sources:
            raise Unfit("it speaks of a result that no earlier part of the goal brings")
        if self.sinks and clause.refers and not (clause.sinks or clause.analysis or clause.thing):
            raise Unfit("it asks for something more after saying where the result goes")
        if clause.placeless and self.sources:
            raise Unfit("it searches again, but does not say where")
        self._take_sources(clause)
        if clause.thing is not None:
            self._take_thing(clause.thing)
        if clause.analysis is not None:
            self._take_analysis(clause.analysis)
        for sink in clause.sinks:
            self._take_sink(sink)

    def _calculate_on(self, sign: str, operand: str) -> None:
        if not self.sources or not isinstance(self.sources[-1], CalculationSource) or self.sinks:
            raise Unfit("it goes on calculating where there is no calculation")
        text = self.sources[-1].expression
        change = f"({text}) * {operand} / 100" if sign.endswith("%") else operand
        self.sources[-1] = CalculationSource(expression=f"({text}) {sign.removesuffix('%')} {change}")

    def _take_sources(self, clause: Clause) -> None:
        new = [source for source in clause.sources if source not in self.sources]
        if not new:
            return
        facts = all(isinstance(source, TextSource) for source in (*self.sources, *new))
        if self.sources and not facts:
            if self.sinks:
                raise Unfit("it asks for something more after saying where the result goes")
            if self.analysis is not None or clause.analysis is not None or clause.sinks:
                raise Unfit("it asks for two results, each from sources of its own")
        self.sources.extend(new)
        if len(self.sources) > MOST_SOURCES:
            raise Unfit(f"it names {len(self.sources)} sources; {MOST_SOURCES} is the most for one goal")

    def _take_thing(self, thing: Thing) -> None:
        """What a sink speaks of: the result so far, or something that must first be worked out of it."""
        if thing.topic == "count":
            if not all(isinstance(source, SearchSource) for source in self.sources):
                raise Unfit("only what a search finds is counted")
        elif thing.topic and not self._knows(thing.topic):
            if self.analysis is not None or not all(
                isinstance(source, FileSource | SearchSource) for source in self.sources
            ):
                raise Unfit(f"it speaks of {thing.topic!r}, which nothing before brings")
            self.analysis = Analysis(question=thing.topic)

    def _knows(self, topic: str) -> bool:
        """Whether the goal has already asked for what is now called by this name."""
        said = " ".join(
            [
                self.analysis.question if self.analysis is not None else "",
                *(source.pattern for source in self.sources if isinstance(source, SearchSource)),
                *(source.query for source in self.sources if isinstance(source, RecallSource)),
            ]
        ).casefold()
        named = [word for word in topic.casefold().split() if word not in _ARTICLES]
        return bool(named) and named[-1].removesuffix("s") in said

    def _take_analysis(self, analysis: Analysis) -> None:
        if self.sinks or any(isinstance(source, CalculationSource | TextSource) for source in self.sources):
            raise Unfit("there is nothing before it that can be summarised or explained")
        files = all(isinstance(source, FileSource) for source in self.sources)
        if analysis.kind in {"count", "structure"} and not files:
            raise Unfit("only files that are read have lines to count or a structure to show")
        if analysis.kind == "compare" and len(self.sources) < 2:
            raise Unfit("a comparison needs two sources")
        self.analysis = analysis if self.analysis is None else _merged(self.analysis, analysis)

    def _take_sink(self, sink: Sink) -> None:
        if sink in self.sinks or (sink == MemorySink() and any(isinstance(s, MemorySink) for s in self.sinks)):
            return
        if any(type(sink) is type(other) for other in self.sinks):
            raise Unfit("it names two places for one result")
        if isinstance(sink, MemorySink) and any(isinstance(source, RecallSource) for source in self.sources):
            raise Unfit("what the memory already has is not remembered again")
        self.sinks.append(sink)


_ARTICLES = words("the a an this that these those your my our its their all any of")


def _merged(one: Analysis, other: Analysis) -> Analysis:
    """Two wishes about the same sources as one."""
    if one.kind != other.kind and "summary" not in {one.kind, other.kind}:
        raise Unfit(f"it asks for a {one.kind} and a {other.kind} of the same sources")
    if {one.kind, other.kind} & {"count", "structure"} and one.kind != other.kind:
        raise Unfit("counting and summarising are two goals")
    if one.sentences and other.sentences and one.sentences != other.sentences:
        raise Unfit("it names two lengths for one summary")
    questions = list(dict.fromkeys(q for q in (one.question, other.question) if q))
    return Analysis(
        kind=one.kind if one.kind != "summary" else other.kind,
        question="; ".join(questions),
        sentences=one.sentences or other.sentences,
    )


def assemble(clauses: Iterable[Clause]) -> Form:
    """The form that these clauses make together.

    Raises:
        Unfit: they do not make one.
    """
    draft = _Draft()
    prepared = False
    for clause in clauses:
        draft.take(clause)
        prepared = prepared or clause.preparing
    if prepared and draft.analysis is None and not draft.sinks:
        raise Unfit("it does not say what to do with what it names")
    _check_kinds(draft)
    _check_paths(draft)
    try:
        return Form(tuple(draft.sources), draft.analysis, tuple(draft.sinks))
    except ValueError as wrong:
        raise Unfit(str(wrong)) from wrong


def _check_kinds(draft: _Draft) -> None:
    if not draft.sources:
        raise Unfit("it names nothing to search, read, calculate, recall or remember")
    alone = [source for source in draft.sources if isinstance(source, CalculationSource | TextSource)]
    if alone and len({type(source) for source in draft.sources}) > 1:
        raise Unfit("it asks for a calculation or a note together with something else")
    if len(draft.sources) > 1 and any(isinstance(s, MemorySink) and s.label for s in draft.sinks):
        raise Unfit("one name for several results")


def _check_paths(draft: _Draft) -> None:
    for source in draft.sources:
        if isinstance(source, FileSource) and _extension(source.path) in BINARY:
            raise Unfit(f"{source.path} cannot be read as text")
    for sink in draft.sinks:
        if not isinstance(sink, ReportSink):
            continue
        extension = _extension(sink.path)
        if extension not in TEXT_REPORTS or sink.path.rsplit("/", 1)[-1] in NAMED_FILES:
            raise Unfit(f"a report is Markdown, text or JSON, so {sink.path} cannot be written as one")
        if sink.format and (sink.format == "json") != (extension == "json"):
            raise Unfit(f"{sink.path} does not look like {sink.format}")


def _extension(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[-1].casefold() if "." in name else ""
