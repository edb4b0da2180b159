"""A form in one line, so that a file of goals and meanings can be read: `search(TODO in ./src) > report(a.md)`."""

from __future__ import annotations

from trouper.actors.rules.form import (
    Analysis,
    CalculationSource,
    FileSource,
    Form,
    MemorySink,
    RecallSource,
    ReportSink,
    SearchSource,
    TextSource,
)


def sketch(form: Form) -> str:
    """The form as one line."""
    parts = [" + ".join(map(_source, form.sources))]
    if form.analysis is not None:
        parts.append(_analysis(form.analysis))
    parts += [_sink(sink) for sink in form.sinks]
    return " > ".join(parts)


def _source(source: object) -> str:
    match source:
        case SearchSource(pattern=pattern, path=path, glob=glob, ignore_case=folded, regex=regex):
            text = f"/{pattern}/" if regex else pattern or "files"
            where = path if glob == "**/*" else f"{path}:{glob}"
            return f"search({text}{'~' if folded else ''} in {where})"
        case FileSource(path=path):
            return f"read({path})"
        case RecallSource(query=query):
            return f"recall({query})"
        case CalculationSource(expression=expression):
            return f"calculate({expression})"
        case TextSource(text=text):
            return f"text({text})"
    raise TypeError(source)


def _analysis(analysis: Analysis) -> str:
    return f"{analysis.kind}{analysis.sentences or ''}({analysis.question})"


def _sink(sink: object) -> str:
    match sink:
        case ReportSink(path=path, title=title, format=format):
            return f"report({', '.join(filter(None, [path, title, format]))})"
        case MemorySink(label=label):
            return f"remember({label})"
    raise TypeError(sink)
