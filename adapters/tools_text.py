"""The tools that think about text: analyze_content, summarize, create_report.

Without a model they count, outline, compare and quote, in plain code. With `ask_model` a summary, and the
answer to a question about a content, are written by the model and say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypedDict

from trouper.actors.permissions import PermissionPolicy
from trouper.actors.protocols import Evidence, Json
from trouper.actors.tool import Checked, Effect, Tool, tool
from trouper.runtime import BadArguments

from . import text_analysis
from .file_access import FileAccess
from .file_checks import reread, written_key
from .report import format_of, render
from .step_results import Piece, objects, pieces_of
from .text_checks import analysis_of, figures_in, quoted_in, squeezed
from .text_summary import extract
from .workspace import Workspace

MAX_SENTENCES = 50


class AskModel(Protocol):
    """Port: a model that reads a text. `prompt_kind` is `summarize` or `analyze`."""

    async def __call__(self, prompt_kind: str, text: str, question: str) -> str | None:
        """What the model says; None if it has nothing to say, and plain code answers instead."""
        ...


class AnalysisResult(TypedDict):
    """What analyze_content gives."""

    kind: str
    text: str
    facts: dict[str, object]


class SummaryResult(TypedDict):
    """What summarize gives; `method` is "extractive" or "model"."""

    summary: str
    sentences: list[str]
    method: str


class ReportWritten(TypedDict):
    """What create_report gives."""

    path: str
    bytes: int
    sha256: str
    lines: int


def make(
    workspace: Workspace,
    policy: PermissionPolicy,
    ask_model: AskModel | None = None,
    access: FileAccess | None = None,
) -> list[Tool]:
    """analyze_content, summarize and create_report.

    With `ask_model` the first two use a model. `access` shares threads with other tools of the same troupe.
    """
    access = access or FileAccess(workspace, policy)
    return [_analyze_content(access, ask_model), _summarize(access, ask_model), _create_report(access)]


def _analyze_content(access: FileAccess, ask_model: AskModel | None) -> Tool:
    async def analyze_content(
        content: object,
        question: str = "",
        kind: Literal["overview", "compare", "count", "structure"] = "overview",
    ) -> AnalysisResult:
        """Analyse texts or results of other steps: count, outline, or compare them.

        Args:
            content: a result of another step (as `$step1`), a text, or a list of those.
            question: what to find out; lines that bear on it are quoted, or a model answers.
            kind: overview, count (totals), structure (headings, keys, definitions), or compare (differences
                between two parts or more).
        """
        found = await access.in_thread(_ANALYSES[kind], content)
        result = AnalysisResult(kind=kind, text=found.text, facts=dict(found.facts))
        if not question:
            return result
        answer = await ask_model("analyze", _for_model(content), question) if ask_model else None
        if answer is None:
            quoted = await access.in_thread(extract, content, 5, question)
            result["facts"]["relevant"] = list(quoted.sentences)
            answer = quoted.summary
        result["text"] = f"{result['text']}\n\n{answer}"
        return result

    async def verify(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:  # noqa: ARG001 - the port's shape
        """Count again, and look up what is quoted in the content."""
        return await access.in_thread(analysis_of, parameters.get("content"), result)

    return tool(effect=Effect.PURE, verify=verify)(analyze_content)


_ANALYSES = {
    "overview": text_analysis.overview,
    "compare": text_analysis.compare,
    "count": text_analysis.count,
    "structure": text_analysis.structure,
}


def _summarize(access: FileAccess, ask_model: AskModel | None) -> Tool:
    async def summarize(content: object, sentences: int = 3, question: str = "") -> SummaryResult:
        """Sum up texts or results of other steps.

        Args:
            content: a result of another step (as `$step1`), a text, or a list of those.
            sentences: how many sentences, about; each part gets one at least.
            question: what to look for; without it the most telling sentences are taken.
        """
        if not 1 <= sentences <= MAX_SENTENCES:
            raise BadArguments(f"sentences: {sentences} is not between 1 and {MAX_SENTENCES}")
        said = await ask_model("summarize", _for_model(content), question) if ask_model else None
        if said is not None:
            return SummaryResult(summary=said, sentences=[], method="model")
        found = await access.in_thread(extract, content, sentences, question)
        return SummaryResult(summary=found.summary, sentences=list(found.sentences), method="extractive")

    async def verify(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:  # noqa: ARG001 - the port's shape
        """Look up each quoted sentence in the content, and in the summary."""
        if not isinstance(result, dict) or result.get("method") != "extractive":
            return Checked()  # what a model says in its own words is for a model, or a person, to judge
        sentences, summary = result.get("sentences"), result.get("summary")
        found = await access.in_thread(quoted_in, parameters.get("content"), sentences)
        told = squeezed(str(summary))
        strange = [s for s in sentences if squeezed(str(s)) not in told] if isinstance(sentences, list) else []
        return found + Checked(tuple(f"the summary does not have its sentence {s!r}" for s in strange))

    return tool(effect=Effect.PURE, verify=verify)(summarize)


def _create_report(access: FileAccess) -> Tool:
    async def create_report(
        path: str,
        content: object,
        title: str = "",
        format: Literal["markdown", "json"] | None = None,  # noqa: A002 - the plan's word
        overwrite: bool = True,
    ) -> ReportWritten:
        """Write results of other steps to a report file: Markdown, JSON (.json) or plain text (.txt).

        Args:
            path: the file, relative to the work directory; missing directories are made.
            content: a result of another step (as `$step1`), a text, or a list of those.
            title: the heading; made from the content if empty.
            format: markdown or json; by the file's extension if left out.
            overwrite: false to fail if another file is there, whatever the permissions say.
        """
        text = await access.in_thread(render, content, title, format_of(path, format))
        written = await access.put(path, text.encode(errors="replace"), overwrite=overwrite)
        return ReportWritten(path=written.path, bytes=written.bytes, sha256=written.sha256, lines=text.count("\n"))

    async def verify(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:
        """Read and hash the file again, and look for the content's figures in it."""
        found = await reread(access, result, evidence, written_key(result))
        if found.verdict != "ok" or not isinstance(result, dict):
            return found
        data = await evidence.read(str(result["path"]))
        text = data.decode(errors="replace") if data is not None else ""
        return found + await access.in_thread(figures_in, parameters.get("content"), text)

    return tool(effect=Effect.KEYED, permission="write", verify=verify)(create_report)


def _for_model(content: object) -> str:
    return "\n\n".join(_part(piece) for piece in pieces_of(content))


def _part(piece: Piece) -> str:
    text = piece.text
    if piece.kind == "search":
        text = "\n".join(f"{m.get('path')}:{m.get('line')}: {m.get('text')}" for m in objects(piece.data["matches"]))
    return f"## {piece.title}\n{text}" if piece.title else text
