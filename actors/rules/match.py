"""Sentence templates and how they are matched: a small packrat parser over spans.

A template is written the way a sentence is said::

    @find {hits:hits} [, and] [@tell me]

`a|b` are words to choose from, `[...]` may be missing, `(... / ...)` are alternatives, `@name` is a list of
phrases, `{rule}` or `{name:rule}` is a slot filled by a rule. A rule is a table of templates, each with what it
means, or a reader: plain code that says where a piece of the goal may end and what it is.

Every rule is tried at most once at each place and keeps one meaning for each end, so matching is polynomial
whatever the goal looks like, and the first template that fits wins. Nothing is skipped: a template covers all
spans between its ends, which is the first half of the gate - words that no template knows cannot be ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from .spans import Span

Bindings = Mapping[str, Any]
Builder = Callable[..., Any]
"""Takes the slots of its template by name and gives the meaning, or None when this reading means nothing."""

Reader = Callable[["Reading", int], Iterable[tuple[int, Any]]]
Frame = tuple[str, Builder]

DEEPEST = 30
"""How deep rules may stand in each other; what is nested deeper is not understood."""

_PIECE = re.compile(r"\[|\]|\(|\)|/|\{[^}]*\}|[^\s\[\](){}/]+")


@attrs.frozen
class _Words:
    words: frozenset[str]


@attrs.frozen
class _Slot:
    name: str
    rule: str


@attrs.frozen
class _Choice:
    options: tuple[tuple[_Node, ...], ...]


_Node = _Words | _Slot | _Choice


@attrs.frozen
class _Compiled:
    """A frame ready to be matched; `begins` are the words it can begin with, None for anything."""

    nodes: tuple[_Node, ...]
    builder: Builder
    begins: frozenset[str] | None


@attrs.frozen(eq=False)
class Rules:
    """Every rule of a grammar by name: frames to match, or a reader."""

    frames: Mapping[str, Sequence[Frame]]
    readers: Mapping[str, Reader]
    phrases: Mapping[str, Sequence[str]]
    plural: frozenset[str] = frozenset()
    """Rules that keep every meaning for an end, as a tuple in the order of the frames, not just the first."""
    _compiled: dict[str, tuple[_Compiled, ...]] = attrs.field(factory=dict, init=False)
    _beginnings: dict[str, frozenset[str] | None] = attrs.field(factory=dict, init=False)

    def compiled(self, rule: str) -> tuple[_Compiled, ...]:
        """The frames of a rule, cut once."""
        if rule not in self._compiled:
            self._compiled[rule] = tuple(
                _Compiled(nodes, builder, self._begins(nodes))
                for template, builder in self.frames[rule]
                for nodes in [_cut(template, self.phrases)]
            )
        return self._compiled[rule]

    def vocabulary(self) -> frozenset[str]:
        """Every word that stands in a template or in a phrase."""
        rows = [frame.nodes for rule in self.frames for frame in self.compiled(rule)]
        found: set[str] = set()
        while rows:
            for node in rows.pop():
                if isinstance(node, _Words):
                    found |= node.words
                elif isinstance(node, _Choice):
                    rows += node.options
        return frozenset(found)

    def _begins(self, nodes: Sequence[_Node]) -> frozenset[str] | None:
        """The words that a row of nodes can begin with; None when it can begin with anything."""
        found: frozenset[str] = frozenset()
        for node in nodes:
            match node:
                case _Words(words):
                    return found | words
                case _Slot(rule=rule):
                    begins = self._rule_begins(rule)
                    return None if begins is None else found | begins
                case _Choice(options):
                    for option in options:
                        begins = self._begins(option) if option else frozenset()
                        if begins is None:
                            return None
                        found |= begins
                    if () not in options:
                        return found
        return None

    def _rule_begins(self, rule: str) -> frozenset[str] | None:
        if rule in self.readers:
            return None
        if rule not in self._beginnings:
            self._beginnings[rule] = frozenset()  # a rule within itself adds nothing that it does not begin with
            found: frozenset[str] | None = frozenset()
            for frame in self.compiled(rule):
                found = None if found is None or frame.begins is None else found | frame.begins
            self._beginnings[rule] = found
        return self._beginnings[rule]


def _cut(template: str, phrases: Mapping[str, Sequence[str]]) -> tuple[_Node, ...]:
    pieces = iter(_PIECE.findall(template))
    options = _options(pieces, phrases, "")
    if len(options) != 1:
        raise ValueError(f"{template!r}: alternatives need parentheses")
    return options[0]


def _options(
    pieces: Iterator[str], phrases: Mapping[str, Sequence[str]], closing: str
) -> tuple[tuple[_Node, ...], ...]:
    """What stands up to `closing`, one row of nodes for each alternative."""
    options: list[list[_Node]] = [[]]
    for piece in pieces:
        if piece == closing:
            break
        if piece == "/":
            options.append([])
        elif piece == "(":
            options[-1].append(_Choice(_options(pieces, phrases, ")")))
        elif piece == "[":
            options[-1].append(_Choice((*_options(pieces, phrases, "]"), ())))
        else:
            options[-1].append(_piece(piece, phrases))
    else:
        if closing:
            raise ValueError(f"a {closing!r} is missing after {options!r}")
    return tuple(map(tuple, options))


def _piece(piece: str, phrases: Mapping[str, Sequence[str]]) -> _Node:
    if "@" in piece and "|" in piece:
        return _Choice(tuple((_piece(part, phrases),) for part in piece.split("|")))
    if piece.startswith("@"):
        return _Choice(tuple(_cut(phrase, phrases) for phrase in phrases[piece[1:]]))
    if piece.startswith("{"):
        name, _, rule = piece[1:-1].partition(":")
        return _Slot(name, rule or name)
    return _Words(frozenset(piece.split("|")))


@attrs.define(eq=False)
class Reading:
    """One goal being read: its text, its spans, and what was already tried where."""

    goal: str
    spans: tuple[Span, ...]
    rules: Rules
    _tried: dict[tuple[str, int], dict[int, Any]] = attrs.field(factory=dict, init=False)
    _depth: int = attrs.field(default=0, init=False)

    def low(self, at: int) -> str:
        """The span at this place for comparing; "" outside the goal and for a quotation, which is no word."""
        if not 0 <= at < len(self.spans) or self.spans[at].kind == "quote":
            return ""
        return self.spans[at].low

    def span(self, at: int) -> Span | None:
        """The span at this place, if there is one."""
        return self.spans[at] if at < len(self.spans) else None

    def text(self, start: int, end: int) -> str:
        """The goal's own words between two places."""
        if start >= end:
            return ""
        return self.goal[self.spans[start].start : self.spans[end - 1].end]

    def read(self, rule: str, at: int) -> dict[int, Any]:
        """Every place where this rule can end when it begins here, with its meaning."""
        key = (rule, at)
        if key in self._tried:
            return self._tried[key]
        self._tried[key] = {}  # a rule that begins with itself finds nothing there
        if self._depth >= DEEPEST:
            return {}
        self._depth += 1
        try:
            self._tried[key] = self._read(rule, at)
        finally:
            self._depth -= 1
        return self._tried[key]

    def _read(self, rule: str, at: int) -> dict[int, Any]:
        found: dict[int, Any] = {}
        reader = self.rules.readers.get(rule)
        if reader is not None:
            for end, value in reader(self, at):
                found.setdefault(end, value)
            return found
        begin = self.low(at)
        for frame in self.rules.compiled(rule):
            if frame.begins is not None and begin not in frame.begins:
                continue
            for end, bound in self._row(frame.nodes, at).items():
                if rule in self.rules.plural:
                    found[end] = found.get(end, ()) + frame.builder(**bound)
                elif end not in found and (value := frame.builder(**bound)) is not None:
                    found[end] = value
        return found

    def _row(self, nodes: Sequence[_Node], at: int) -> dict[int, dict[str, Any]]:
        """Every end of a row of nodes, with what its slots hold; the first way to an end wins."""
        states: dict[int, dict[str, Any]] = {at: {}}
        for node in nodes:
            following: dict[int, dict[str, Any]] = {}
            for start, bound in states.items():
                for end, more in self._node(node, start):
                    if end not in following:
                        following[end] = {**bound, **more} if more else bound
            states = following
            if not states:
                break
        return states

    def _node(self, node: _Node, at: int) -> Iterator[tuple[int, dict[str, Any]]]:
        match node:
            case _Words(words):
                if self.low(at) in words:
                    yield at + 1, {}
            case _Slot(name, rule):
                for end, value in self.read(rule, at).items():
                    yield end, {name: value}
            case _Choice(options):
                for option in options:
                    yield from self._row(option, at).items()
