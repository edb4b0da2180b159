"""From the intent form to plan steps, by types.

Two tables say everything: what each source *gives* and what each sink *takes*. References are written here and
nowhere else, so a plan that comes out of a form cannot dangle, loop or forget its data.
Literal text of the goal is escaped on the way (`$$step`), so that no goal can smuggle in a reference.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import attrs

from trouper.runtime import GoalRefused

from .form import (
    Analysis,
    CalculationSource,
    DocumentsSource,
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

ACTIONS = frozenset(
    {
        "search_files",
        "read_file",
        "analyze_content",
        "summarize",
        "create_report",
        "write_file",
        "calculate",
        "remember",
        "recall",
        "search_documents",
    }
)
"""Every tool that a form can need. `reply` and `fetch_url` are not among them."""

SOURCE_ACTION: dict[type[Source], str] = {
    SearchSource: "search_files",
    FileSource: "read_file",
    RecallSource: "recall",
    DocumentsSource: "search_documents",
    CalculationSource: "calculate",
}

AS_FACT: dict[str, str] = {
    "search_files": "",
    "read_file": ".content",
    "recall": ".text",
    "search_documents": ".text",
    "calculate": ".text",
    "summarize": ".summary",
    "analyze_content": ".text",
}
"""The field of each result that is remembered when nothing else is said; "" is the whole result."""

AS_VALUE = AS_FACT | {"calculate": ".value"}
"""The field that is remembered under a label: `the batch size: 128`."""

_GROUP = re.compile(r"\(\?P<(\w+)>")
"""A named group says what a regular expression looks for better than the expression does."""


@attrs.frozen
class _Given:
    """A finished step that later ones may refer to."""

    id: int
    action: str

    def field(self, name: str = "") -> str:
        return f"$step{self.id}{name}"


@attrs.define
class _Writer:
    """The steps so far; hands out ids and refuses actions that the catalogue lacks."""

    actions: Collection[str]
    steps: list[dict[str, object]] = attrs.Factory(list)

    def add(self, action: str, parameters: dict[str, object], after: Iterable[_Given] = ()) -> _Given:
        if action not in self.actions:
            offered = ", ".join(sorted(self.actions)) or "nothing"
            raise GoalRefused(
                f"The goal needs the tool {action!r}, which this route does not offer (it offers {offered}). "
                "Allow the tool for this route, or ask for something that does not need it.",
                unexplained=[action],
            )
        given = _Given(len(self.steps) + 1, action)
        step: dict[str, object] = {"id": given.id, "action": action, "parameters": parameters}
        dependencies = [earlier.id for earlier in after]
        self.steps.append(step | {"dependencies": dependencies} if dependencies else step)
        return given


def compile_form(form: Form, *, actions: Collection[str] = ACTIONS) -> list[dict[str, object]]:
    """The plan steps (JSON data, ids from 1) that do what the form says, using only `actions`.

    Raises:
        GoalRefused: a step would need an action that is not among `actions`; `unexplained` names it.
    """
    plan = _Writer(actions)
    if isinstance(form.sources[0], TextSource):
        _texts(plan, form)
        return plan.steps
    given = [plan.add(SOURCE_ACTION[type(source)], _source(source)) for source in form.sources]
    if form.analysis is not None:
        given = [_analysis(plan, form.analysis, given)]
    for sink in form.sinks:
        _sink(plan, sink, given, form)
    return plan.steps


def literal(text: str) -> str:
    """Text of the goal as a parameter: what looks like a reference stays text."""
    return text.replace("$step", "$$step")


def _source(source: Source) -> dict[str, object]:
    """The parameters of the step that reads one source; defaults are left to the tool."""
    fields = attrs.asdict(
        source, filter=lambda a, value: a.default is attrs.NOTHING or a.name == "path" or value != a.default
    )
    return {name: literal(value) if isinstance(value, str) else value for name, value in fields.items()}


def _analysis(plan: _Writer, analysis: Analysis, given: list[_Given]) -> _Given:
    parameters: dict[str, object] = {"content": [earlier.field() for earlier in given]}
    if analysis.question:
        parameters["question"] = literal(analysis.question)
    if analysis.kind == "summary":
        if analysis.sentences:
            parameters["sentences"] = analysis.sentences
        return plan.add("summarize", parameters, given)
    return plan.add("analyze_content", parameters | {"kind": analysis.kind}, given)


def _sink(plan: _Writer, sink: Sink, given: list[_Given], form: Form) -> None:
    if isinstance(sink, ReportSink):
        content = [earlier.field() for earlier in given]
        plan.add("create_report", _report(sink, form) | {"content": content}, given)
        return
    facts = [_fact(earlier, sink) for earlier in given]
    plan.add("remember", {"fact": facts[0] if len(facts) == 1 else facts}, given)


def _fact(given: _Given, sink: MemorySink) -> str:
    if not sink.label:
        return given.field(AS_FACT[given.action])
    return f"{literal(sink.label)}: {{{given.field(AS_VALUE[given.action])}}}"


def _report(sink: ReportSink, form: Form) -> dict[str, object]:
    title = sink.title or ", ".join(_heading(source) for source in form.sources)
    parameters: dict[str, object] = {"path": literal(sink.path), "title": literal(title)}
    return parameters | ({"format": sink.format} if sink.format else {})


def _heading(source: Source) -> str:
    """What a report about this source is called, in the goal's own words."""
    match source:
        case SearchSource(pattern="", path=path, glob=glob):
            return f"{glob} in {path}"
        case SearchSource(pattern=pattern, path=path, regex=True) if named := _GROUP.search(pattern):
            return f"{named[1]} in {path}"
        case SearchSource(pattern=pattern, path=path):
            return f"{pattern} in {path}"
        case FileSource(path=path):
            return path
        case RecallSource(query=query) | DocumentsSource(query=query):
            return query
        case CalculationSource(expression=expression):
            return expression
        case TextSource(text=text):
            return text


def _texts(plan: _Writer, form: Form) -> None:
    """Words of the goal go to their sinks as they are."""
    texts = [literal(source.text) for source in form.sources if isinstance(source, TextSource)]
    for sink in form.sinks:
        if isinstance(sink, ReportSink):
            plan.add("write_file", {"path": literal(sink.path), "content": "\n".join(texts)})
        else:
            label = f"{literal(sink.label)}: " if sink.label else ""
            facts = [label + text for text in texts]
            plan.add("remember", {"fact": facts[0] if len(facts) == 1 else facts})
