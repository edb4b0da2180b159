"""`planner: rules`: from a goal in plain English to the intent form, or to a refusal.

A grammar, not a similarity search. A goal is a row of clauses; every clause must be one of the sentences in the
frame tables, covered from its first word to its last; the clauses must make one form (`assembly`); and
the form must hold every cue of the goal and nothing else (`gate`). Whatever fails is refused with the
words that could not be explained, because a wrong plan is worse than none.

    spans        the goal as words, numbers, paths and quotations
    match        templates and how they are matched
    terms, names, free, facts, units, arithmetic    what may fill the free parts
    wishes       what betrays a wish inside free text
    search, files, memory, documents, sinks, calculation, follow    the sentences
    assembly     clauses to one form
    gate         form against goal
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import attrs

from trouper.runtime import GoalRefused

from . import arithmetic, facts, free, names, terms, units
from .assembly import Unfit, assemble
from .calculation import CALCULATION_FRAMES, CALCULATION_PHRASES
from .documents import DOCUMENT_FRAMES, DOCUMENT_PHRASES
from .files import FILE_FRAMES
from .follow import FOLLOW_FRAMES
from .form import Form
from .gate import unexplained
from .match import Frame, Reading, Rules
from .meaning import Clause
from .memory import MEMORY_FRAMES, MEMORY_PHRASES
from .phrases import PHRASES
from .places import PLACE_FRAMES
from .search import SEARCH_FRAMES
from .sinks import SINK_FRAMES
from .spans import Span, enumerators, spans_of
from .terms import TERM_FRAMES, TERM_PHRASES
from .whole import WHOLE_FRAMES
from .wording import WORDING
from .words import DEEDS, LANGUAGES, modifies, words

LONGEST_GOAL = 4000
"""Characters; longer goals are refused before any work."""
MOST_SPANS = 250
"""Words, numbers, paths and marks; planning a goal of this many takes about a second at worst."""
MOST_CLAUSES = 12
MOST_READINGS = 64
"""How many complete readings of a goal are tried until one makes a form."""

PATTERNS: tuple[str, ...] = (
    "Find <text> in <folder or files> [and write a report to <file.md>]",
    "Search <folder> for '<text>' [and tell me what it says | and remember the findings]",
    "Which files in <folder> mention <text>? / How many <text> are in <folder>?",
    "List the Python files under <folder>",
    "Read <file> [and <file>] [and summarise it in three sentences | and explain <question>]",
    "What is in <file>? / What does <file> say about <topic>? / tl;dr of <file>",
    "Compare <file> and <file> [and write the differences to <file.md>]",
    "Summarise <file> [, save it to <file.md>] [and remember it]",
    "Extract <what> from <file> / Turn <file> into a list of <what> [and save it as <file.md>]",
    "Count the lines of <file>",
    "What is <arithmetic>? / How many <unit> are in <number> <unit>? [Write it to <file.md>]",
    "Remember that <fact> / <fact>, don't forget it",
    "What did I tell you about <topic>? / Recall <topic> [and write it to <file.md>]",
    "What do my documents say about <topic>? / Search my documents for <topic>",
)
"""The sentences the rules know, in plain words; a refusal names them."""

ADVICE = (
    "The rules planner acts only on goals it can explain word for word. Say it in one of the known patterns, or "
    "configure a language model for freely worded goals: set OPENAI_API_KEY, or `llm.base_url` in config.yaml."
)

_CLAUSE_FRAMES: dict[str, tuple[Frame, ...]] = {
    "clause": (
        ("@opening [,] {found:clause}", lambda found: found),
        ("{found:core_clause}", lambda found: found),
        ("{found:core_clause} @closing", lambda found: found),
        ("@thanks", lambda: (Clause(),)),
    ),
    "core_clause": tuple(
        (f"{{found:{rule}}}", lambda found: (found,))
        for rule in (
            "calculation",
            "more_calculation",
            "documents_clause",
            "recall",
            "keep_clause",
            "fact_clause",
            "whole",
            "sink_clause",
            "literal_search",
            "search_count",
            "understanding",
            "reading",
            "search",
            "follow_up",
        )
    ),
}

RULES = Rules(
    frames={
        **TERM_FRAMES,
        **PLACE_FRAMES,
        **SEARCH_FRAMES,
        **FILE_FRAMES,
        **MEMORY_FRAMES,
        **DOCUMENT_FRAMES,
        **SINK_FRAMES,
        **WHOLE_FRAMES,
        **FOLLOW_FRAMES,
        **CALCULATION_FRAMES,
        **_CLAUSE_FRAMES,
    },
    readers={
        **names.READERS,
        **free.READERS,
        **facts.READERS,
        "core": terms.core,
        "expression": arithmetic.expression,
        "operand": arithmetic.operand,
        "operands": arithmetic.operands,
        "unit": units.unit,
        "quantity": units.quantity,
    },
    plural=frozenset({"clause", "core_clause"}),
    phrases=PHRASES | WORDING | MEMORY_PHRASES | DOCUMENT_PHRASES | TERM_PHRASES | CALCULATION_PHRASES,
)

_JOINTS = words("and then & afterwards plus also") | {",", ".", "?", "!", ";", "\n", "…", "-"}


_STORING = words("remember memorise memorize note forget")
_QUESTIONS = words("what who when where why how which is are does did")


def parse_goal(goal: str) -> Form:
    """What the goal asks for, as a form.

    Bounded: the work grows with the square of the goal's length at most, and a goal of more than
    `LONGEST_GOAL` characters is refused before any work.

    Raises:
        GoalRefused: the goal is not one that the rules can explain; `unexplained` has the words, `patterns`
            the sentences that would do, and the message says how to configure a model instead.
    """
    return _Goal.of(goal).form()


def explain(goal: str) -> str:
    """What the goal is taken to mean, a part a line, for people who wonder; a refusal is told, not raised."""
    try:
        form = parse_goal(goal)
    except GoalRefused as refusal:
        return f"refused: {refusal.reason}"
    return "\n".join(map(str, (*form.sources, *filter(None, [form.analysis]), *form.sinks)))


def refused(why: str, *unknown: str) -> GoalRefused:
    """The refusal of a goal: why, then what to do about it."""
    return GoalRefused(f"{why}\n{ADVICE}", unexplained=unknown, patterns=PATTERNS)


@attrs.define(eq=False)
class _Goal:
    """One goal on its way to a form."""

    text: str
    spans: tuple[Span, ...]
    reading: Reading
    _counting: frozenset[int]
    _dead: set[int] = attrs.field(factory=set, init=False)
    _furthest: int = attrs.field(default=0, init=False)

    @classmethod
    def of(cls, text: str) -> _Goal:
        """The goal cut into spans, if it is of a size to be understood."""
        if len(text) > LONGEST_GOAL:
            raise refused(f"The goal has {len(text)} characters; the rules read at most {LONGEST_GOAL}.")
        spans = spans_of(text.replace("\u00a0", " "))
        if not any(any(map(str.isalnum, span.text)) for span in spans):
            raise refused("The goal is empty.")
        if len(spans) > MOST_SPANS:
            raise refused(f"The goal has {len(spans)} words; the rules read at most {MOST_SPANS}.")
        return cls(text, spans, Reading(text, spans, RULES), enumerators(spans))

    def form(self) -> Form:
        """The first reading of the goal that makes a form and passes the gate."""
        why = ""
        unknown: list[str] = []
        for tried, clauses in enumerate(self._readings(self._joint(0), 0)):
            if tried == MOST_READINGS:
                break
            try:
                form = assemble(clauses)
            except Unfit as unfit:
                why = why or f"The goal does not make one plan: {unfit}."
                continue
            left = unexplained(self.text, self.spans, form)
            if not left:
                return form
            unknown = unknown or left
        if self._asks_to_store():
            raise refused(
                "A question is never stored as a memory; tell the fact, or ask what you once told.", self.text
            )
        if unknown:
            raise refused(f"I cannot account for {_named(unknown)} in this goal.", *unknown)
        if why:
            raise refused(why, self.text.strip()[:200])
        raise self._not_understood()

    def _readings(self, at: int, clauses: int) -> Iterator[tuple[Clause, ...]]:
        """Every way to read the goal from here as clauses, the earliest ends first."""
        if at == len(self.spans):
            yield ()
            return
        if at in self._dead or clauses == MOST_CLAUSES:
            return
        self._furthest = max(self._furthest, at)
        alive = False
        for end, meanings in sorted(self.reading.read("clause", at).items()):
            following = self._joint(end)
            arrow = self.reading.low(end) == "->" or self.reading.low(end - 1) == ":"
            if following > end or end == len(self.spans) or arrow:
                for rest in self._readings(following, clauses + 1):
                    alive = True
                    yield from ((clause, *rest) for clause in meanings)
        if not alive:
            self._dead.add(at)

    def _joint(self, at: int) -> int:
        """Where the next clause begins, behind all punctuation and joining words."""
        while at < len(self.spans):
            joins = self.spans[at].kind != "quote" and self.spans[at].low in _JOINTS
            if not joins and at not in self._counting:
                break
            at += 1 if joins else 2
        return at

    def _asks_to_store(self) -> bool:
        """Whether `remember` and the like are followed by a question."""
        lows = [span.low for span in self.spans if span.kind != "mark"]
        asked = (after for before, after in pairwise(lows) if before in _STORING)
        return any(after in _QUESTIONS for after in asked)

    def _not_understood(self) -> GoalRefused:
        """The words that stand in the way: what chooses or commands if there is any, else where reading ended."""
        rest = self.spans[self._furthest :]
        modifiers = [span.text for span in self.spans if span.kind == "word" and _in_the_way(span.low)]
        if modifiers:
            return refused(f"I do not know how to handle {_named(modifiers)} in this goal.", *modifiers)
        deeds = [span.text for span in rest[:1] if span.low in DEEDS]
        if deeds and self._furthest == 0:
            return refused(f"I do not know how to {deeds[0]!r} what this goal names.", *deeds)
        end = next((i for i, span in enumerate(rest) if span.kind == "stop" and i), len(rest))
        clause = self.reading.text(self._furthest, self._furthest + min(end, 30))
        return refused(f"I do not understand {clause!r}.", clause)


def _in_the_way(word: str) -> bool:
    return modifies(word.removesuffix("'s")) or word in LANGUAGES


def _named(found: list[str]) -> str:
    return ", ".join(repr(word) for word in dict.fromkeys(found))
