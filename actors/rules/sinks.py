"""Sentences that say where the result goes."""

from __future__ import annotations

import attrs

from .form import Analysis, ReportSink
from .match import Frame
from .meaning import Clause, Thing


def _sunk(sink: ReportSink, thing: Thing | None = None) -> Clause:
    return Clause(sinks=(sink,), refers=True, thing=thing or Thing())


def also(found: Clause, sink: ReportSink) -> Clause | None:
    """What was found, written down."""
    return attrs.evolve(found, sinks=(sink,)) if not found.sinks else None


def digest(n: int, manner: int = 0) -> Clause:
    """A summary of what came before."""
    return Clause(analysis=Analysis(sentences=n or manner), refers=True)


def digest_on(n: int, question: str, manner: int = 0) -> Clause:
    """A summary of one side of what came before."""
    return Clause(analysis=Analysis(question=question, sentences=n or manner), refers=True)


def of_thing(thing: Thing | None = None, manner: int = 0) -> Clause:
    """`summarise the findings`."""
    topic = thing.topic if thing is not None else ""
    return Clause(analysis=Analysis(question=topic, sentences=manner), refers=True)


SINK_FRAMES: dict[str, tuple[Frame, ...]] = {
    "sink": (
        (
            "{sink:sink_path} [with|under the title|heading {title:quotation}] [@as_format]",
            lambda sink, title="": attrs.evolve(sink, title=title),
        ),
        ("{sink:sink_path} @as_json", lambda sink: attrs.evolve(sink, format="json")),
    ),
    "sink_path": (
        (
            "[a|the|my|our|this] [new|text|markdown|json|plain] [@file_noun|report|note|list] "
            "[called|named|:|,|at] {path} [file]",
            lambda path: ReportSink(path=path),
        ),
    ),
    "either_sink": (
        ("{sink}", lambda sink: sink),
        ("{sink:parenthesised}", lambda sink: sink),
    ),
    "thing": (
        ("@it_all", Thing),
        ("[@art] [@short] @report_noun [@about_it]", Thing),
        ("{topic:definite}", lambda topic: Thing(topic=topic)),
        ("{topic:what_clause}", lambda topic: Thing(topic=topic)),
    ),
    "sink_clause": (
        ("@write {sink_thing:thing} @into {sink}", lambda sink_thing, sink: _sunk(sink, sink_thing)),
        ("@write @into {sink}", _sunk),
        ("@write @into {sink} {thing}", _sunk),
        ("@make [@art] [@short] @report_noun [@about_it] [@called] {sink} [@about_it]", _sunk),
        ("@make [@art] [@short] @report_noun [@about_it] @into {sink}", _sunk),
        ("@make [@art] [@short] @report_noun @out_of {thing} [@called|@into] {sink}", _sunk),
        ("@make {sink} [@out_of @it_all]", _sunk),
        ("@make {sink} with @it_all [in it]", _sunk),
        ("note|write|jot|put {thing} down (in|to|into|as) {sink}", _sunk),
        (
            "[@write|@make] [@art] [@short] {_:adjective} "
            "report|audit|list|overview|note|inventory|review|document [@about_it] (@into|@called) {sink} [@about_it]",
            lambda sink, _: _sunk(sink),
        ),
        ("@write {n:digest_name} [@about_it] @into {sink} [@about_it]", lambda n, sink: also(digest(n), sink)),
        (
            "@write {n:digest_name} @out_of {thing} @into {sink}",
            lambda n, thing, sink: also(digest_on(n, thing.topic), sink),
        ),
        ("[and] call|name (it|them|that / the file|report|result) {sink}", _sunk),
        (
            "@it_all (goes|go|belongs / should|shall|must go / should|must be [written|saved|stored|put]) @into {sink}",
            _sunk,
        ),
        ("(results|result|output|report|findings|answer|summary) [goes|go] @into {sink}", _sunk),
        ("to|into {sink}", _sunk),
        ("[and] (saved|stored|written|put|placed|collected|listed) (in|to|into|as|under) {sink}", _sunk),
        ("(output|report|file|target|result) : {sink}", _sunk),
        ("->|=>|> {sink}", _sunk),
        (
            "@summarise [{thing}] [{manner}] @into {sink}",
            lambda sink, thing=None, manner=0: also(of_thing(thing, manner), sink),
        ),
        (
            "@make {n:digest_name} [@about_it] [{manner}] [@called|@into] {sink} [@about_it]",
            lambda n, sink, manner=0: also(digest(n, manner), sink),
        ),
        (
            "@make {n:digest_name} @out_of {thing} @into {sink}",
            lambda n, thing, sink: also(digest_on(n, thing.topic), sink),
        ),
        ("@turn @it_all into|to {n:digest_name} [@called|@into] {sink}", lambda n, sink: also(digest(n), sink)),
    ),
}
