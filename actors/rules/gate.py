"""The two-way gate: every cue of the goal is in the form, and every part of the form has its cue.

It knows nothing of templates. It looks at the goal and at the form that came out, and refuses when one has
something that the other lacks, so that a mistake in a template costs a refusal and not a wrong plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .form import (
    CalculationSource,
    DocumentsSource,
    FileSource,
    Form,
    MemorySink,
    RecallSource,
    ReportSink,
    SearchSource,
    TextSource,
)
from .spans import Span, enumerators
from .words import LANGUAGES, NUMBER_WORDS, words

HARD = words(
    "without except excluding unless oldest newest largest smallest latest earliest biggest only except delete",
    "alphabetically chronologically sorted newer older modified",
)
"""What no form can hold, wherever it stands outside a quotation, a fact or a search text."""

COMMANDS = words(
    "delete remove erase wipe move rename copy send email mail forward post publish push commit install uninstall run",
    "execute deploy download upload translate fix repair refactor edit replace append schedule buy order pay restart",
    "kill encrypt compress zip sort filter rewrite format update upgrade tweet notify sign invite print",
)
"""Deeds that no tool of ours does. At the head of a clause they are a wish, whatever the templates made of it."""

MEMORY = words("remember memorise memorize memory memories forget recall mind")
WRITING = words("write save")
SEARCHING = words("search grep")
KEEPING = MEMORY | words(
    "note store save keep jot record learn later record retain take notes commit nb n.b. yourself reference"
)
KNOWING = MEMORY | words(
    "know told tell said say mentioned mention gave give asked ask again favourite favorite preferred remind stored",
    "retrieve recollect shared taught memorised memorized noted saved wanted talked spoke my our",
)
RECORDING = words(
    "write save store put dump output report record place collect file document log keep capture export drop note",
    "jot set list gather compile present describe show print summarise summarize create make produce prepare get",
    "generate draft compose build give turn add include call name called named into to combine merge join need want",
    "like saved stored written put placed collected listed",
    "condense consolidate convert transform boil -> => > goes go filename result",
)
UNDERSTANDING = words(
    "summarise summarize summary overview brief digest gist synopsis abstract recap briefing tl;dr rundown explain",
    "describe analyse analyze tell show say what which who whom where when why how whether does do is are compare",
    "comparison contrast difference differences diff differ extract pull pick identify list find figure work",
    "determine count number highlights takeaways points condense boil sum report write make give create turn need",
    "outline structure headings sections functions classes name point let know get short bullet focus changed",
    "interpret assess review clarify discuss note collect gather highlight state answer change changes merge",
    "combine remember keep save store put draft produce prepare generate compose walk put provide digest decide",
)
_DIGESTS = words("summary overview recap report version translation digest brief abstract synopsis gist list answer")
_HEADS = words("and then also please now you , . ; ! ?") | {""}
_WORD = re.compile(r"\w+")
_NUMBERS = re.compile(r"\d+(?:\.\d+)?|\.\d+")


def unexplained(goal: str, spans: Sequence[Span], form: Form) -> list[str]:
    """What of the goal is not in the form, and what of the form is not in the goal; empty when they agree."""
    counting = {spans[at] for at in enumerators(spans)}
    free = [span for span in spans if span not in counting and not _inside(span, _content(goal, form))]
    problems = [*_paths(free, form), *_quotations(goal, free, form), *_numbers(free, form), *_wishes(free, form)]
    return problems or [*_without_cue(goal, spans, form)]


def _content(goal: str, form: Form) -> list[tuple[int, int]]:
    """Where the goal quotes: facts and search texts, whose words are no cues."""
    texts = [source.text for source in form.sources if isinstance(source, TextSource)]
    texts += [source.pattern for source in form.sources if isinstance(source, SearchSource) and source.pattern]
    found = []
    for text in texts:
        start = goal.find(text)
        if start >= 0:
            found.append((start, start + len(text)))
    return found


def _inside(span: Span, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(start <= span.start and span.end <= end + 1 for start, end in ranges)


def _paths(free: Sequence[Span], form: Form) -> Iterable[str]:
    """Every path has a role, and none has two."""
    sources, sinks = set(), set()
    for source in form.sources:
        if isinstance(source, FileSource):
            sources.add(source.path)
        elif isinstance(source, SearchSource):
            names = {source.path, source.glob, source.glob.removeprefix("**/"), f"{source.path}/{source.glob}"}
            sources |= names
    for sink in form.sinks:
        if isinstance(sink, ReportSink):
            sinks.add(sink.path)
    for span in free:
        if span.kind in {"file", "folder", "glob"}:
            name = span.text if span.text in sources | sinks else span.text.rstrip("/")
            if (name in sources) == (name in sinks):
                yield span.text
        elif span.kind == "address":
            yield span.text


def _quotations(goal: str, free: Sequence[Span], form: Form) -> Iterable[str]:
    said = _said(form)
    for span in free:
        if span.kind == "quote" and not any(span.text.strip().rstrip("/") in text for text in said):
            yield goal[span.start : span.end]


def _said(form: Form) -> list[str]:
    """All free text that the form holds."""
    texts = [value for source in form.sources for value in _values(source)]
    if form.analysis is not None:
        texts.append(form.analysis.question)
    for sink in form.sinks:
        texts += _values(sink)
    return texts


def _values(part: object) -> list[str]:
    slots = getattr(type(part), "__attrs_attrs__", ())
    return [value for slot in slots if isinstance(value := getattr(part, slot.name), str)]


def _numbers(free: Sequence[Span], form: Form) -> Iterable[str]:
    """Every number counts something: a term of the calculation, the sentences, or a word of a text."""
    known = {found for text in _said(form) for found in _NUMBERS.findall(text)}
    if form.analysis is not None:
        known.add(str(form.analysis.sentences))
    known.add(str(len(form.sources)))
    for span in free:
        if span.kind == "number" and not any(span.low in number for number in known):
            yield span.text
        elif span.kind == "word" and span.low in NUMBER_WORDS and span.low not in {"one", "zero"}:
            value = str(NUMBER_WORDS[span.low])
            worded = any(span.low in text.casefold() for text in _said(form))
            calculated = any(isinstance(source, CalculationSource) for source in form.sources)
            if not (value in known or worded or calculated):
                yield span.text


def _wishes(free: Sequence[Span], form: Form) -> Iterable[str]:
    """Every wish that can be seen in a word is in the form."""
    remembers = any(isinstance(sink, MemorySink) for sink in form.sinks)
    recalls = any(isinstance(source, RecallSource) for source in form.sources)
    searches = any(isinstance(source, SearchSource | DocumentsSource) for source in form.sources)
    asked = " ".join(_said(form)).casefold()
    for at, span in enumerate(free):
        if span.kind != "word":
            continue
        before = free[at - 1].low if at else ""
        after = free[at + 1].low if at + 1 < len(free) else ""
        foreign = span.low in LANGUAGES and (before in {"in", "into", "to"} or after in _DIGESTS)
        commanded = span.low in COMMANDS and before in _HEADS and span.low not in asked
        digested = span.low == "write" and form.analysis is not None  # `write a summary of x`
        missing = (
            (span.low in HARD or foreign or commanded)
            or (span.low in MEMORY and not (remembers or recalls or span.low in asked))
            or (span.low in WRITING and not (form.sinks or span.low in asked or digested))
            or (span.low in SEARCHING and not (searches or recalls or span.low in asked))
        )
        if missing:
            yield span.text


def _without_cue(goal: str, spans: Sequence[Span], form: Form) -> Iterable[str]:
    """Every part of the form stands in the goal."""
    low = {span.low for span in spans if span.kind == "word"}
    folded = goal.casefold()
    for source in form.sources:
        if isinstance(source, RecallSource) and not low & KNOWING:
            yield source.query
        if isinstance(source, DocumentsSource) and "documents" not in low:
            yield source.query
        if isinstance(source, CalculationSource) and not any(s.kind == "number" or s.low for s in spans):
            yield source.expression
        if isinstance(source, SearchSource) and not source.regex and source.pattern.casefold() not in folded:
            yield source.pattern
    for sink in form.sinks:
        if isinstance(sink, MemorySink) and not low & KEEPING:
            yield "remember"
        if isinstance(sink, ReportSink) and not (low & RECORDING and any(span.text == sink.path for span in spans)):
            yield sink.path
    if form.analysis is not None and not low & UNDERSTANDING:
        yield form.analysis.question or form.analysis.kind
    words_said = set(_WORD.findall(folded))
    for text in _free_texts(form):
        strange = [word for word in _WORD.findall(text.casefold()) if word not in words_said]
        if strange:
            yield " ".join(strange)


def _free_texts(form: Form) -> Iterable[str]:
    for source in form.sources:
        if isinstance(source, RecallSource | DocumentsSource):
            yield source.query
        if isinstance(source, TextSource):
            yield source.text
