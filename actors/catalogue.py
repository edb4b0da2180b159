"""The catalogue: what the tools are called, take, give and do, as a prompt shows it and as validation needs it.

Cached by content: the full text of every tool's specification is compared, and its hash names it, so a changed
description or a changed parameter is a new catalogue, and the same tools in another order are the same one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping

import attrs

from trouper.runtime import ActionSignature, Actor, handler

from .messages import CatalogueView, GetCatalogue
from .tool import Tool

log: logging.Logger = logging.getLogger("trouper.catalogue")

MOST_CACHED = 64
"""Catalogues kept; one a route is typical."""


@attrs.frozen(kw_only=True)
class CatalogueStatistics:
    """How often a catalogue was built and how often a built one was used again."""

    built: int
    reused: int


def tool_entry(tool: Tool) -> dict[str, object]:
    """What a planner may know of a tool, as data in a stable order."""
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
        "returns": list(tool.outputs) if tool.outputs is not None else None,
        "effect": tool.effect.value,
    }


def render(entries: list[dict[str, object]]) -> str:
    """The catalogue as prompt text: one line of compact JSON a tool, sorted by name, the same bytes every time."""
    lines = [json.dumps(e, sort_keys=True, ensure_ascii=False, separators=(",", ":")) for e in entries]
    return "\n".join(lines)


def digest_of(text: str) -> str:
    """A hash of everything the catalogue says."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Catalogue(Actor):
    """Answers `GetCatalogue`; `cache=False` builds it anew each time."""

    def __init__(self, tools: Mapping[str, Tool], *, cache: bool = True) -> None:
        self._tools = tools
        self._cache = cache
        self._built: dict[tuple[str, ...], CatalogueView] = {}
        self._counts = {"built": 0, "reused": 0}

    @handler(raises=(LookupError,))
    async def get(self, message: GetCatalogue) -> CatalogueView:
        """The view of the tools asked for; `LookupError` names one that there is not."""
        names = tuple(sorted(self._tools if message.tools is None else message.tools))
        unknown = [name for name in names if name not in self._tools]
        if unknown:
            raise LookupError(f"there is no tool {unknown[0]!r}; there are: {', '.join(sorted(self._tools))}")
        text = render([tool_entry(self._tools[name]) for name in names])
        known = self._built.get(names) if self._cache else None
        if known is not None and known.text == text:
            self._counts["reused"] += 1
            log.info("[TOOL CATALOG] Using cached catalog (%d tools, %s)", len(names), known.digest[:8])
            return attrs.evolve(known, cached=True)
        return self._build(names, text)

    def _build(self, names: tuple[str, ...], text: str) -> CatalogueView:
        signatures: dict[str, ActionSignature] = {name: self._tools[name].signature() for name in names}
        effects = {name: self._tools[name].effect for name in names}
        view = CatalogueView(text=text, digest=digest_of(text), actions=signatures, effects=effects, cached=False)
        self._counts["built"] += 1
        log.info("[TOOL CATALOG] Built catalog of %d tools (%s)", len(names), view.digest[:8])
        if self._cache:
            if len(self._built) >= MOST_CACHED:
                self._built.pop(next(iter(self._built)))
            self._built[names] = view
        return view

    def statistics(self) -> CatalogueStatistics:
        """Counters of this incarnation."""
        return CatalogueStatistics(**self._counts)
