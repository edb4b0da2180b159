"""The intent form: the closed language between understanding a goal and planning it.

Whoever understands the goal - the grammar of `planner: rules`, or a model - fills this form and nothing else;
`form_compiler` turns it into steps. References and dependencies cannot be written here, so they cannot be
written wrong: small models and rules alike fail at exactly those, and hardly ever at naming a file.

A form reads as one sentence: all *sources* together go through at most one *analysis*, and what comes out goes
to every *sink*. What does not fit that sentence is not a form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import attrs

AnalysisKind = Literal["summary", "overview", "compare", "count", "structure"]
ReportFormat = Literal["", "markdown", "json"]

MAX_SENTENCES = 20


def _filled(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not value.strip():
        raise ValueError(f"{attribute.name} is empty")


@attrs.frozen(kw_only=True)
class SearchSource:
    """The lines that match `pattern` below `path`; with an empty pattern the files that `glob` selects."""

    pattern: str
    path: str = attrs.field(default=".", validator=_filled)
    glob: str = attrs.field(default="**/*", validator=_filled)
    ignore_case: bool = False
    regex: bool = False


@attrs.frozen(kw_only=True)
class FileSource:
    """The content of one file."""

    path: str = attrs.field(validator=_filled)


@attrs.frozen(kw_only=True)
class RecallSource:
    """What the memory has about `query`."""

    query: str = attrs.field(validator=_filled)


@attrs.frozen(kw_only=True)
class DocumentsSource:
    """What the indexed documents say about `query`."""

    query: str = attrs.field(validator=_filled)


@attrs.frozen(kw_only=True)
class CalculationSource:
    """The value of an arithmetic expression (`+ - * / % **` and parentheses)."""

    expression: str = attrs.field(validator=_filled)


@attrs.frozen(kw_only=True)
class TextSource:
    """Words of the goal itself: a fact to remember or a text to write."""

    text: str = attrs.field(validator=_filled)


Source = SearchSource | FileSource | RecallSource | DocumentsSource | CalculationSource | TextSource


@attrs.frozen(kw_only=True)
class Analysis:
    """What is done with the sources: `question` in the goal's own words, `sentences` 0 for the default."""

    kind: AnalysisKind = attrs.field(default="summary", validator=attrs.validators.in_(get_args(AnalysisKind)))
    question: str = ""
    sentences: int = attrs.field(default=0, validator=(attrs.validators.ge(0), attrs.validators.le(MAX_SENTENCES)))


@attrs.frozen(kw_only=True)
class ReportSink:
    """A file that does not exist yet; the format follows from its name unless it is given."""

    path: str = attrs.field(validator=_filled)
    title: str = ""
    format: ReportFormat = attrs.field(default="", validator=attrs.validators.in_(get_args(ReportFormat)))


@attrs.frozen(kw_only=True)
class MemorySink:
    """The memory; `label` is the name under which the goal wants to find it again."""

    label: str = ""


Sink = ReportSink | MemorySink

_SOURCES: dict[str, type[Source]] = {
    "search": SearchSource,
    "file": FileSource,
    "recall": RecallSource,
    "documents": DocumentsSource,
    "calculation": CalculationSource,
    "text": TextSource,
}
_SINKS: dict[str, type[Sink]] = {"report": ReportSink, "memory": MemorySink}


@attrs.frozen
class Form:
    """What a goal asks for. Only combinations that mean something can be built.

    Raises:
        ValueError: the parts do not make one sentence; the message says which.
    """

    sources: tuple[Source, ...]
    analysis: Analysis | None = None
    sinks: tuple[Sink, ...] = ()

    def __attrs_post_init__(self) -> None:
        """Refuse what no plan could mean."""
        problem = _problem(self)
        if problem:
            raise ValueError(problem)

    def as_json(self) -> dict[str, object]:
        """Plain JSON data, without the fields that have their default; `from_json` reads it back."""
        return {
            "sources": [_part_json(_SOURCES, source) for source in self.sources],
            "analysis": None if self.analysis is None else _fields(self.analysis),
            "sinks": [_part_json(_SINKS, sink) for sink in self.sinks],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Form:
        """The form that `as_json` gave, or that a model filled in.

        Raises:
            ValueError: a key is unknown or missing, or a value does not fit; the message names the place.
        """
        unknown = data.keys() - {"sources", "analysis", "sinks"}
        if unknown:
            raise ValueError(f"form: unknown key {sorted(unknown)[0]!r}")
        analysis = data.get("analysis")
        return cls(
            tuple(_part(_SOURCES, part, f"sources[{i}]") for i, part in _listed(data, "sources")),
            None if analysis is None else _build(Analysis, analysis, "analysis"),
            tuple(_part(_SINKS, part, f"sinks[{i}]") for i, part in _listed(data, "sinks")),
        )


def _problem(form: Form) -> str:
    """Why these parts do not belong together, or nothing."""
    reports = [sink for sink in form.sinks if isinstance(sink, ReportSink)]
    read = {source.path for source in form.sources if isinstance(source, FileSource)}
    texts = [source for source in form.sources if isinstance(source, TextSource)]
    if not form.sources:
        return "a form needs at least one source"
    if len(set(form.sources)) != len(form.sources):
        return "the same source is named twice"
    if len(reports) > 1 or len(form.sinks) - len(reports) > 1:
        return "a form has at most one report and one memory"
    if any(sink.path in read for sink in reports):
        return f"{reports[0].path} is both read and written"
    if texts and (len(texts) != len(form.sources) or form.analysis or not form.sinks):
        return "a text is stored or written as it is, alone"
    if form.analysis and any(isinstance(source, CalculationSource) for source in form.sources):
        return "a calculation is not analysed"
    if form.analysis and form.analysis.kind == "compare" and len(form.sources) < 2:
        return "a comparison needs two sources"
    return ""


def _fields(part: attrs.AttrsInstance) -> dict[str, object]:
    return attrs.asdict(part, filter=lambda a, value: a.default is attrs.NOTHING or value != a.default)


def _part_json(kinds: Mapping[str, type[Any]], part: attrs.AttrsInstance) -> dict[str, object]:
    (name,) = (name for name, kind in kinds.items() if kind is type(part))
    return {"kind": name, **_fields(part)}


def _listed(data: Mapping[str, Any], key: str) -> list[tuple[int, object]]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise ValueError(f"{key}: a list is needed, not {type(value).__name__}")  # noqa: TRY004 - one class for all mistakes of a form
    return list(enumerate(value))


def _part(kinds: Mapping[str, type[Any]], part: object, where: str) -> Any:
    kind = part.get("kind") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"{where}: an object with `kind` one of {', '.join(kinds)} is needed, not {part!r}")
    return _build(kinds[kind], {key: value for key, value in part.items() if key != "kind"}, where)


def _build(kind: type[Any], fields: object, where: str) -> Any:
    if not isinstance(fields, Mapping):
        raise ValueError(f"{where}: an object is needed, not {type(fields).__name__}")  # noqa: TRY004 - one class for all mistakes of a form
    known = attrs.fields_dict(kind)
    for name, value in fields.items():
        if name not in known:
            raise ValueError(f"{where}: unknown key {name!r}, known are {', '.join(known)}")
        default = known[name].default
        wanted = str if default is attrs.NOTHING else type(default)
        if type(value) is not wanted:
            raise ValueError(f"{where}.{name}: {wanted.__name__} is needed, not {value!r}")
    try:
        return kind(**fields)
    except (TypeError, ValueError) as wrong:
        raise ValueError(f"{where}: {wrong.args[0]}") from wrong
