"""Sentences that ask the indexed documents. Only what calls them documents is meant: `docs` is a folder."""

from __future__ import annotations

from .form import Analysis, DocumentsSource
from .match import Frame
from .meaning import Clause


def _asked(topic: str) -> Clause | None:
    query = topic.strip()
    return Clause(sources=(DocumentsSource(query=query),)) if query else None


def _digest(topic: str) -> Clause | None:
    query = topic.strip()
    return Clause(sources=(DocumentsSource(query=query),), analysis=Analysis()) if query else None


DOCUMENT_PHRASES: dict[str, tuple[str, ...]] = {
    "documents": ("(my|the|our|your|all) [indexed] documents", "indexed documents"),
}

DOCUMENT_FRAMES: dict[str, tuple[Frame, ...]] = {
    "documents_clause": (
        ("what (do|does|did) @documents say|tell|know|have|contain [me|us] @on {topic}", _asked),
        ("what (is|stands|can i find) in @documents @on {topic}", _asked),
        ("(is there / do we have / do i have) anything|something in @documents @on {topic}", _asked),
        (
            "(search|check|query|consult|scan|ask / look|go [in|into|through|at]) [in|through] @documents "
            "for|about|on [@everything @on] {topic}",
            _asked,
        ),
        ("(look up / find / search) [@everything] [for|@on] {topic} (in|from) @documents", _asked),
        ("(summarise|summarize) what @documents say @on {topic}", _digest),
    ),
}
