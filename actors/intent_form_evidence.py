"""What a filled-in form says and the goal does not, and the other way round: such a form is refused, never mended.

A small model switches things on for no reason and forgets half of a sentence. So whatever it chose must have its word
in the goal (a summary that somebody asked for, a file that something is written *to*), and whatever the goal says must
be in the form or be a word that goals are made of. A word that nobody knows is let through where it can hardly be a
wish: one of them, not at the head of a clause, not beside what was chosen, not behind `with`, `for`, `to` and the like.

The gate of the rules stands before all this. It was made for forms that a grammar had covered word by word, and is not
enough for forms that were guessed. The measure is a model that answers at random: what it gets past here must still be
what the goal asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from .intent_form import AND, OTHER, Choices, vocabulary
from .intent_form_cues import (
    ASKED,
    BEFORE_PATTERN,
    COMPARISON,
    COUNTING,
    DONT,
    LISTING,
    NOTING,
    OUTLINE,
    PICKING,
    QUESTIONING,
    READING,
    RECALLING,
    REMEMBERING,
    SEARCHING,
    SOMEWHERE,
    SUMMARY,
    TOLD,
)
from .intent_form_paths import misplaced
from .rules.form import Form
from .rules.gate import COMMANDS, KEEPING, KNOWING, RECORDING, unexplained
from .rules.names import ANAPHORS
from .rules.spans import Span
from .rules.words import (
    ASKING,
    DEEDS,
    DETERMINERS,
    EXTENSIONS,
    FINITE,
    FOLDERS,
    GLOBS,
    LANGUAGES,
    MARKERS,
    modifies,
    words,
)

PLACES_IN_TEXT = words("end start beginning head tail top bottom rest middle half page pages chapter row column")

DOABLE = words(
    "answer ask bring convert create forget generate make note open print put remind save say store tell turn write",
    "search find read track talk drop",
)
"""Deeds of the rules' list that some tool does, or that only say to whom."""
NOUNS = words(
    "text test code format message import change call start share track update build copy set answer highlight note",
    "print",
)
"""Deeds that are things as well: they command where a command stands, and only there."""

_BEFORE_DEEDS = words("please to you kindly just should must can could would also and then but or , ; . ! ? : \n -")
_HANGING = words("with for to as in on by per of at from before after until without like into onto than")
"""What follows one of these says how, for whom or when: no place for a word that nobody knows."""
_JOINTS = words("and then also but or , ; . ! ? : \n -")
_KNOWN = COUNTING | OUTLINE | COMPARISON | SUMMARY | SEARCHING | SOMEWHERE
_KNOWN |= KEEPING | KNOWING | RECORDING | DETERMINERS | FINITE


def unsupported(choices: Choices, filled: Mapping[str, Any], form: Form) -> list[str]:
    """What of the form is not in the goal, and of the goal not in the form; empty if it may be acted on."""
    said = _Said.of(choices, filled)
    return (
        unexplained(choices.goal, choices.spans, form)
        or [*said.overlapping()]
        or [*said.forbidden()]
        or [*said.strange()]
        or [*said.deed()]
        or [*said.understanding()]
        or [*said.storing()]
        or [*misplaced(choices.spans, filled)]
    )


@attrs.frozen
class _Said:
    """A filled-in form beside its goal: `free` is what of the goal it does not hold."""

    choices: Choices
    filled: Mapping[str, Any]
    ranges: tuple[tuple[int, int], ...]
    free: tuple[Span, ...]
    low: frozenset[str]

    @classmethod
    def of(cls, choices: Choices, filled: Mapping[str, Any]) -> _Said:
        """What is left of the goal when the chosen texts are taken out of it."""
        ranges = tuple(dict.fromkeys(_chosen(choices, filled)))
        free = tuple(span for span in choices.spans if not any(a <= span.start and span.end <= b for a, b in ranges))
        return cls(choices, filled, ranges, free, frozenset(span.low for span in free if span.kind != "quote"))

    def _get(self, key: str) -> Any:
        return self.filled.get(key, "")

    def _before(self, text: str, over: frozenset[str] = frozenset()) -> str:
        """The word before a chosen text, articles and the like left out."""
        start = self.choices.goal.find(text)
        earlier = [span.low for span in self.choices.spans if span.end <= start and span.low not in over]
        return earlier[-1] if earlier else ""

    # ------------------------------------------------------------ what is left over
    def overlapping(self) -> Iterator[str]:
        """One word of the goal cannot be two parts of the form."""
        end = -1
        for start, until in sorted(self.ranges):
            if start < end:
                yield self.choices.goal[start:until]
            end = max(end, until)

    def forbidden(self) -> Iterator[str]:
        """Words that command what no tool does, or choose, order, exclude or translate."""
        left = {span.start for span in self.free}
        spans = self.choices.spans
        for at, span in enumerate(spans):
            if span.start in left and span.kind == "word" and not (span.low in DONT and "forget" in self.low):
                commands = at == 0 or spans[at - 1].low in _BEFORE_DEEDS
                foreign = span.low in DEEDS - DOABLE and (commands or span.low not in NOUNS)
                deed = foreign or (span.low in COMMANDS and (commands or span.low not in NOUNS))
                chooses = modifies(span.low.removesuffix("'s")) or span.low in PLACES_IN_TEXT
                if deed or chooses or span.low in LANGUAGES:
                    yield span.text

    def strange(self) -> Iterator[str]:
        """Words that nobody knows, where they are too many or could be a wish."""
        known = vocabulary() | _KNOWN
        left = {span.start for span in self.free}
        found: list[str] = []
        spans = self.choices.spans
        for at, span in enumerate(spans):
            if span.start not in left or span.kind != "word":
                continue
            if span.low in MARKERS and span.text.isupper():
                yield span.text
            if span.low in known:
                continue
            found.append(span.text)
            first = at == 0 or spans[at - 1].low in _JOINTS
            names = span.low in FOLDERS | GLOBS.keys() | EXTENSIONS | MARKERS or _is_name(span.text, first=first)
            hangs = any(near.low in _HANGING for near in spans[max(0, at - 4) : at])
            beside = any(near.start not in left and near.kind == "word" for near in spans[max(0, at - 1) : at + 2])
            if first or names or beside or hangs:
                yield span.text
        if len(found) > (self._get("then") not in {"", "nothing"}):
            yield from found

    # ------------------------------------------------------------ what is done
    def deed(self) -> Iterator[str]:
        """What is to be done has its word."""
        deed, low = self.filled["do"], self.low
        if deed == "read" and self._get("then") == "nothing" and not self._get("about"):
            inside = "what" in low and low & {"in", "inside", "say", "says"}
            kept = RECORDING if self._get("save_as") else REMEMBERING if self._get("remember") else frozenset()
            supported = bool(low & (READING | kept) or inside)
        elif deed == "search":
            supported = bool(low & SEARCHING) and self._searched()
        elif deed == "recall":
            asked = low & {"tell", "remember"} and low & {"i", "you"} and low & QUESTIONING
            supported = bool(low & RECALLING or asked) and self._known_thing(self._get("topic"))
        elif deed == "note":
            supported = bool(low & NOTING) and self._noted()
        elif deed == "list":
            supported = bool(low & LISTING)
        else:
            supported = True  # a calculation speaks for itself
        if not supported:
            yield deed

    def _known_thing(self, topic: str) -> bool:
        """Whether a text names something that may be remembered, and nobody whom it is for."""
        first = topic.split()[0].casefold()
        addressed = self._before(topic, DETERMINERS) in _HANGING - {"in", "on", "of"}
        return not self._only_words(topic) and not addressed and first not in ANAPHORS | _HANGING

    def _searched(self) -> bool:
        """Whether the text stands where one stands that is looked for, and some place is named."""
        text = self._get("text")
        pattern = self.choices.patterns[text]
        before = self._before(text)
        named = bool(self.low & {"folder", "directory"})  # and not chosen
        placed = self._get("in") in self.choices.places or (bool(self.low & SOMEWHERE) and not named)
        marked = pattern.quoted or pattern.literal or text == text.upper()
        return placed and (marked or before in BEFORE_PATTERN) and text.casefold() not in LANGUAGES

    def _noted(self) -> bool:
        """Whether a fact is told: after a word that says so, or before one; a statement, and no file in it."""
        fact = self._get("fact")
        told = {span.low for span in self.choices.spans if span.text in fact}
        states = bool(told & FINITE) or any(map(str.isdigit, fact)) or ":" in fact
        paths = any(span.kind in {"file", "folder", "glob", "op", "address"} for span in self.choices.spans)
        asks = self.choices.goal.rstrip().endswith("?") and "forget" not in self.low
        forgets = "forget" in self.low and not self.low & DONT
        return states and not paths and not asks and not forgets and not self.low & RECALLING

    def understanding(self) -> Iterator[str]:
        """What is to be understood of it was asked, and what was asked is to be understood."""
        low, then, about = self.low, self._get("then"), self._get("about")
        wanted = {
            "summarise": SUMMARY | (ASKED if about else frozenset()),
            "compare": COMPARISON,
            "count lines": COUNTING,
            "outline": OUTLINE,
        }
        if then in wanted and not low & wanted[then] and about.partition(" ")[0].casefold() not in ASKING:
            yield then
        if about:
            yield from self._asked(about)
        elif self.filled["do"] in {"read", "search", "recall"} and then == "nothing":
            yield from sorted(low & (SUMMARY | COMPARISON | PICKING))
            yield from sorted(low & TOLD - self._harmless())
        if self.filled["do"] == "read":
            if then != "compare" and AND in self._get("files"):
                yield from sorted(low & COMPARISON)
            if then != "count lines":
                yield from sorted(low & {"count", "many", "tally"})
            if then == "nothing" and not about:
                yield from sorted(low & {"list", "points"})
            if then != "outline":
                yield from sorted(low & {"structure", "headings", "layout"})

    def _harmless(self) -> frozenset[str]:
        """Asking words that ask for no more than the deed itself: `what is in a.md`, `which files mention x`."""
        deed = self.filled["do"]
        if deed == "recall":
            return TOLD
        if "about" in self.low or "tell" in self.low:
            return frozenset()
        if deed == "search":
            return TOLD if self.low & {"many", "which", "where"} else frozenset()
        return TOLD - {"why", "how", "who", "when"} if self.low & {"in", "inside", "say", "says"} else frozenset()

    def _asked(self, about: str) -> Iterator[str]:
        first = about.split()[0].casefold()
        before = self._before(about, DETERMINERS | {"me", "us"})
        if first not in ASKING and (before not in ASKED | SUMMARY or self._only_words(about)):
            yield about

    def _only_words(self, text: str) -> bool:
        """Whether a text has nothing but words that goals are made of."""
        return all(word in vocabulary() for word in text.casefold().replace(",", " ").split())

    def storing(self) -> Iterator[str]:
        """What is remembered was to be, and what was to be is."""
        wanted = bool(self.low & REMEMBERING) or ("forget" in self.low and bool(self.low & DONT))
        if self._get("remember") and not wanted:
            yield "remember"
        if wanted and not self._get("remember") and self.filled["do"] not in {"note", "recall"}:
            yield from sorted(self.low & (REMEMBERING | {"forget"}))


def _chosen(choices: Choices, filled: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Where in the goal the chosen texts stand."""
    if filled.get("do") == OTHER:
        return
    texts = [filled.get(key, "") for key in ("text", "in", "topic", "about", "fact", "expression", "save_as")]
    texts += filled.get("files", "").split(AND)
    if filled.get("remember"):
        texts.append(choices.label)
    for text in texts:
        start = choices.goal.find(text) if text else -1
        if start >= 0:
            yield start, start + len(text)


def _is_name(text: str, *, first: bool) -> bool:
    """Whether this names something: capitals, digits, signs inside."""
    return (text != text.lower() and not first) or not text.replace("'", "").replace("-", "").isalpha()
