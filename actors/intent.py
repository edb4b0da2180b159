"""What kinds of work a goal is about, read off its words in plain code."""

from __future__ import annotations

import re

from trouper.runtime import Actor, handler

from .messages import AnalyzeIntent, Intent

CUES: dict[str, re.Pattern[str]] = {
    "files": re.compile(
        r"\b(?:files?|folders?|director(?:y|ies)|read|open|search|find|grep|look|list|scan|project|repo(?:sitory)?)\b"
        r"|[\w-]+\.[a-z]{1,5}\b|(?:^|\s)\.{0,2}/",
        re.IGNORECASE,
    ),
    "report": re.compile(r"\b(?:writ\w*|save|report|put|create|store|export|audit)\b", re.IGNORECASE),
    "analysis": re.compile(
        r"\b(?:summar\w*|tl;?dr|explain|analy[sz]\w*|compare|difference\w*|overview|brief|count|how many|which|why)\b",
        re.IGNORECASE,
    ),
    "memory": re.compile(
        r"\b(?:remember\w*|recall|memor\w+|forget|note that|did i|tell you|know about)\b", re.IGNORECASE
    ),
    "arithmetic": re.compile(
        r"\d\s*[-+*/^%x\u00d7]"
        r"|\b(?:calculate|work out|compute|times|plus|minus|divided?|multipl\w+|square|percent|sum)\b"
        r"|\bhow many\b.*\d",
        re.IGNORECASE,
    ),
    "web": re.compile(r"https?://|\b(?:url|web ?page|website|download|fetch)\b", re.IGNORECASE),
}
_QUESTION = re.compile(
    r"\?\s*$|^\s*(?:what|which|who|when|where|why|how|is|are|do|does|did|can|could)\b", re.IGNORECASE
)


def read_intent(goal: str) -> Intent:
    """The kinds of work whose cues are in `goal`, in the order of `CUES`."""
    kinds = tuple(kind for kind, cue in CUES.items() if cue.search(goal))
    return Intent(kinds=kinds, writes="report" in kinds, question=_QUESTION.search(goal) is not None)


class IntentAnalyst(Actor):
    """Answers `AnalyzeIntent`."""

    @handler
    async def analyze(self, message: AnalyzeIntent) -> Intent:
        """See `read_intent`."""
        return read_intent(message.goal)
