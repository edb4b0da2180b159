"""The intent form as a small model fills it in: one object, every value chosen from what the goal itself says.

A model of half a billion weights writes a plan that makes sense for one goal in two at best, and fills in a form for
three of four; what is left to it here is to choose. Which texts there are to choose from is decided by the readers of
the rules, so that none of them is invented and none of them hides a wish. References and dependencies are not in it:
`compile_form` writes them. The first key says what is to be done. Only what the goal has the parts and the words for is
offered, so that nothing is switched on for no reason; where that leaves one value, the model only copies it.

Whatever else a goal says in a fixed way (how many sentences, under which name it is remembered) is read by code.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from .intent_form_cues import (
    ASKED,
    COMPARISON,
    COUNTING,
    DONT,
    LISTING,
    NOTING,
    OUTLINE,
    PICKING,
    QUESTIONING,
    RECALLING,
    REMEMBERING,
    SEARCHING,
    SUMMARY,
)
from .intent_form_paths import written_to
from .rules.assembly import MOST_SOURCES
from .rules.form import (
    Analysis,
    AnalysisKind,
    CalculationSource,
    FileSource,
    Form,
    MemorySink,
    RecallSource,
    ReportSink,
    SearchSource,
    Source,
    TextSource,
)
from .rules.free import CLAUSE_WORDS, JOINING, PREPOSITIONS
from .rules.free import KNOWN_DEEDS as DEEDS_KNOWN
from .rules.grammar import MOST_SPANS, RULES
from .rules.match import Reading
from .rules.meaning import Pattern, Place
from .rules.spans import Span, spans_of
from .rules.words import ASKING, DETERMINERS, FOLDERS, TEXT_REPORTS, words
from .rules.words import DEEDS as DEEDS_ALL

MOST = 64
"""Values that one key offers; of more the shortest ones stay."""

LONGEST = 1500
"""Characters of a goal; a longer one is not for a small model."""

DEEDS = ("read", "search", "list", "recall", "note", "calculate")
"""What can be done, beside "something else"."""

OTHER = "something else"
AND = " + "
"""Between the files of one choice."""

THEN: dict[str, AnalysisKind | None] = {
    "nothing": None,
    "summarise": "summary",
    "compare": "compare",
    "count lines": "count",
    "outline": "structure",
}
EVERYWHERE = "here"


class Unfilled(ValueError):
    """What a model said is no filled-in form, or one that means nothing."""


@attrs.frozen(kw_only=True)
class Choices:
    """What can be chosen for one goal."""

    goal: str
    spans: tuple[Span, ...]
    files: tuple[str, ...]
    places: Mapping[str, Place]
    patterns: Mapping[str, Pattern]
    questions: tuple[str, ...]
    topics: tuple[str, ...]
    facts: tuple[str, ...]
    expressions: Mapping[str, str]
    label: str
    sentences: int

    @classmethod
    def of(cls, goal: str) -> Choices:
        """The choices that a goal leaves.

        Raises:
            ValueError: it is too long.
        """
        spans = spans_of(goal.replace("\u00a0", " "))
        if len(goal) > LONGEST or len(spans) > MOST_SPANS:
            raise ValueError(f"the goal has {len(goal)} characters; a form is filled in for at most {LONGEST}")
        reading = Reading(goal, spans, RULES)
        found = _Found(reading)
        return cls(
            goal=goal,
            spans=spans,
            files=tuple(dict.fromkeys(value for _, value in found.all("path"))),
            places=_shortest({text: place for text, places in found.all("place") for place in _single(places)}),
            patterns=_shortest({t: p for t, p in found.all("core") if p.quoted or _looked_for(t)}),
            questions=_few(t for rule in ("question", "noun_phrase", "asking") for t in found.whole(rule) if _asks(t)),
            topics=_few(text for rule in ("topic", "noun", "own") for text in found.whole(rule)),
            facts=_few(text for text in found.whole("fact")),
            expressions=_outermost(reading, found),
            label=_label(reading),
            sentences=_sentences(reading),
        )

    # ------------------------------------------------------------ what is offered
    def schema(self) -> dict[str, object]:
        """The JSON Schema of the forms that this goal leaves."""
        variants = [_object(do=[deed], **keys) for deed, keys in self._variants() if all(keys.values())]
        return {"anyOf": [*variants, _object(do=[OTHER])]}

    def _variants(self) -> Iterator[tuple[str, dict[str, Sequence[object]]]]:
        """The deeds that the goal has words for, each with the values that it has words for."""
        low, written = self._words, written_to(self.spans)
        placed = any(span.kind in {"folder", "glob"} for span in self.spans)
        kept = bool(low & REMEMBERING) or ("forget" in low and bool(low & DONT))
        save_as = [f for f in self.files if f in written and f.rpartition(".")[2].casefold() in TEXT_REPORTS] or [""]
        read = [file for file in self.files if file not in written]
        ends: dict[str, Sequence[object]] = {"save_as": save_as, "remember": [kept]}
        about = ["", *self.questions]
        if 0 < len(read) <= MOST_SOURCES and not placed:
            then = self._then(several=len(read) > 1)
            yield "read", {"files": [AND.join(read)], "then": then, "about": about, **ends}
        simply = [then for then in self._then(several=False) if then in {"nothing", "summarise"}]
        if low & SEARCHING:
            where = self._where(placed=placed)
            yield "search", {"text": list(self.patterns), "in": where, "then": simply, "about": about, **ends}
        if low & LISTING:
            yield "list", {"in": [place for place, found in self.places.items() if found.glob != "**/*"], **ends}
        asked = low & {"tell", "remember"} and low & QUESTIONING
        if (low & RECALLING or asked) and not read and not placed:
            yield "recall", {"topic": self.topics, "then": simply, "save_as": save_as}
        if low & NOTING and not self.files and not placed:
            yield "note", {"fact": self.facts}
        yield "calculate", {"expression": list(self.expressions), **ends}

    @property
    def _words(self) -> frozenset[str]:
        return frozenset(span.low for span in self.spans if span.kind == "word")

    def _then(self, *, several: bool) -> list[str]:
        """What can be done with what was found: only what is asked for, and where something is, not nothing."""
        low = self._words
        if several and low & COMPARISON:
            return ["compare"]
        found = ["summarise"] if low & (SUMMARY | ASKED) else []
        found += ["count lines"] if low & COUNTING else []
        found += ["outline"] if low & OUTLINE else []
        return found if low & (SUMMARY | COMPARISON | PICKING) and found else ["nothing", *found]

    def _where(self, *, placed: bool) -> list[str]:
        if not placed:
            return [EVERYWHERE, *self.places]
        named = [span.text for span in self.spans if span.kind in {"folder", "glob"}]
        return [text for text in self.places if all(name in text for name in named)]

    # ------------------------------------------------------------ what was chosen
    def form(self, filled: object) -> Form:
        """The form that a filled-in object means.

        Raises:
            Unfilled: it is not one of those that were offered, or means nothing.
        """
        if not isinstance(filled, dict):
            raise Unfilled("it is no object")
        deed = filled.get("do")
        if deed == OTHER:
            raise Unfilled("the model found nothing here that it could do")
        offered = dict(self._variants()).get(deed) if isinstance(deed, str) else None
        if offered is None or filled.keys() != offered.keys() | {"do"}:
            raise Unfilled("it is none of the forms that were offered")
        for key, values in offered.items():
            if not any(type(value) is type(filled[key]) and value == filled[key] for value in values):
                raise Unfilled(f"{key} {filled[key]!r} is not among what the goal says")
        try:
            return self._built(filled)
        except ValueError as wrong:
            raise Unfilled(str(wrong)) from wrong

    def _built(self, filled: Mapping[str, Any]) -> Form:
        sinks: list[ReportSink | MemorySink] = []
        if filled.get("save_as"):
            sinks.append(ReportSink(path=filled["save_as"]))
        if filled.get("remember"):
            sinks.append(MemorySink(label=self.label))
        if filled["do"] == "note":
            sinks.append(MemorySink())
        then, about = THEN[filled.get("then", "nothing")], filled.get("about", "")
        if then is None and about:
            then = "summary"  # a question is answered by a summary that goes by it
        analysis = Analysis(kind=then, question=about, sentences=self.sentences) if then is not None else None
        return Form(tuple(self._sources(filled)), analysis, tuple(sinks))

    def _sources(self, filled: Mapping[str, Any]) -> Iterator[Source]:
        place = self.places.get(filled.get("in", ""), Place())
        match filled["do"]:
            case "read":
                for path in filled["files"].split(AND):
                    yield FileSource(path=path)
            case "search":
                pattern = self.patterns[filled["text"]]
                yield SearchSource(
                    pattern=pattern.text,
                    path=place.path,
                    glob=place.glob,
                    ignore_case=pattern.ignore_case,
                    regex=pattern.regex,
                )
            case "list":
                yield SearchSource(pattern="", path=place.path, glob=place.glob)
            case "recall":
                yield RecallSource(query=filled["topic"])
            case "note":
                yield TextSource(text=filled["fact"])
            case _:
                yield CalculationSource(expression=self.expressions[filled["expression"]])


# ------------------------------------------------------------------ reading the goal
@attrs.frozen
class _Found:
    """What the rules' readers find in a goal, wherever it begins."""

    reading: Reading

    def all(self, rule: str) -> Iterator[tuple[str, Any]]:
        """The goal's own words for each, and what they mean."""
        for at in range(len(self.reading.spans)):
            for end, value in self.reading.read(rule, at).items():
                yield self.reading.text(at, end), value

    def whole(self, rule: str) -> Iterator[str]:
        """Those that go from one joint of the sentence to the next, and do not begin with what is to be done."""
        reading = self.reading
        for at in range(len(reading.spans)):
            low = reading.low(at)
            commands = low in _VERBS or (low not in ASKING | DETERMINERS and _begins(reading, at))
            if commands or not _joint(reading, at - 1, before=True):
                continue
            for end in reading.read(rule, at):
                if _joint(reading, end, before=False):
                    yield reading.text(at, end)


_VERBS = DEEDS_KNOWN | DEEDS_ALL - ASKING
_LEADING = words("that : - , ; . ! ? the a an me us my our you and or about on of for from in to how what whether know")
_JOINTS = JOINING | PREPOSITIONS | CLAUSE_WORDS | words("as into under it them , ; . ! ? : - \n")


def _begins(reading: Reading, at: int) -> bool:
    """Whether a clause begins here, and with it what is to be done."""
    return at == 0 or reading.spans[at - 1].kind == "stop" or reading.low(at - 1) in {"and", "then", ",", "please"}


def _joint(reading: Reading, at: int, *, before: bool) -> bool:
    """Whether a piece of a sentence can end before this place, or begin behind it."""
    span = reading.span(at) if at >= 0 else None
    if span is None or span.kind not in {"word", "number"}:
        return True
    return span.low in (_LEADING | _VERBS | vocabulary() if before else _JOINTS)


def _asks(text: str) -> bool:
    """Whether a text asks for something of its own: `the deadlines`, `what it says`; not `the file`."""
    low = text.casefold().replace(",", " ").split()
    return bool(low) and (low[0] in ASKING or not all(word in vocabulary() for word in low))


def _looked_for(text: str) -> bool:
    """Whether a text without quotes can be looked for; in capitals anything can."""
    low = text.casefold().split()
    if not low or "|" in text:
        return False  # the latter is a command line
    return text == text.upper() or not (low[0] in DEEDS_ALL or all(word in vocabulary() for word in low))


@functools.cache
def vocabulary() -> frozenset[str]:
    """Every word that the grammar itself knows."""
    return RULES.vocabulary()


def _single(places: Sequence[Place]) -> Iterator[Place]:
    """The place, if it is one and can be one: `the folder for` names none."""
    if len(places) == 1 and places[0] != Place():
        name = places[0].path
        if name in FOLDERS or "/" in name or "." in name or name not in vocabulary():
            yield places[0]


def _shortest(found: Mapping[str, Any]) -> dict[str, Any]:
    return {text: found[text] for text in _few(found)}


def _few(texts: Iterable[str]) -> tuple[str, ...]:
    kept = sorted(dict.fromkeys(texts), key=len)[:MOST]
    return tuple(text for text in dict.fromkeys(kept) if text)


def _outermost(reading: Reading, found: _Found) -> dict[str, str]:
    """The calculations of a goal that are no part of a longer one, by their words."""
    ranges = {
        (at, end): clauses.sources[0].expression
        for at in range(len(reading.spans))
        for end, clauses in reading.read("calculation", at).items()
    }
    return {
        found.reading.text(*span): expression
        for span, expression in ranges.items()
        if not any(other != span and other[0] <= span[0] and span[1] <= other[1] for other in ranges)
    }


def _label(reading: Reading) -> str:
    """What follows a last `as the`: the name under which a result is remembered."""
    label = ""
    for at, span in enumerate(reading.spans):
        if span.low == "as" and reading.low(at + 1) in {"the", "my", "our"}:
            ends = reading.read("label", at + 2)
            label = ends[max(ends)] if ends else label
    return label


def _sentences(reading: Reading) -> int:
    """The first length of a summary that the goal names; 0 if it names none."""
    for at in range(len(reading.spans)):
        for rule in ("length", "manner"):
            for value in reading.read(rule, at).values():
                if isinstance(value, int) and value:
                    return value
    return 0


def _object(**keys: Sequence[object]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": {name: {"enum": list(values)} for name, values in keys.items()},
        "required": list(keys),
        "additionalProperties": False,
    }
