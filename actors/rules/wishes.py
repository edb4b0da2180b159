"""What betrays a wish inside free text: words that choose, time, deliver or imitate.

Free text is copied into a question, a topic or a name. A word from here would be copied too and then ignored, so
the text must not reach it: the reader stops, the template fails, and the goal is refused with that word.
"""

from __future__ import annotations

from .match import Reading
from .words import LANGUAGES, NUMBER_WORDS, modifies, words

CALLING = (
    # how it is wanted
    "by email|mail|post|phone|fax|sms|text|letter|author|date|size|name|page",
    "with pictures|images|photos|drawings|emoji|emojis|sound|music|animations|links|sources|sudo|chatgpt|ai|care",
    "with line breaks",
    "in red|green|blue|yellow|black|white|colour|color|verse|rhyme|rhymes|binary|hex|parallel|html|xml|latex|json|csv",
    "as html|csv|xml|yaml|latex|docx|xlsx|rtf|epub|root|admin|administrator|soon|json|markdown",
    "in the|a style|tone|voice|manner|background|cloud",
    "one by|at one|once",
    "in|within one minute|second|hour|day|go|page|week",
    "for each|every|all of",
    # when
    "every day|hour|minute|second|morning|evening|night|time|weekend|monday|friday|sunday",
    "when it|they|you|i|that is|are|has|have been|done|finished|ready|complete|completed|over",
    "right now|away",
    "as long|often|soon as",
    # where to
    "on paper|screen|twitter|facebook|linkedin|github",
    "on the|my server|website|site|printer|screen|phone|internet|web|computer|desktop|laptop|tv|watch|cloud",
    "to the|my printer|server|cloud|clipboard|team|boss|client|press|screen|console|database|drive|phone|website",
    "in|into|onto the|a|my database|spreadsheet|cloud|drive|clipboard|excel|calendar|inbox|crm|usb",
    "into excel|word|powerpoint|slack|notion|jira",
    "onto",
    "time is it",
    "day is it",
)
"""Phrases, each word with its alternatives; where one ends the free text has become a wish."""

_BY_LAST: dict[str, list[tuple[frozenset[str], ...]]] = {}
for _phrase in CALLING:
    _steps = tuple(frozenset(step.split("|")) for step in _phrase.split())
    for _last in _steps[-1]:
        _BY_LAST.setdefault(_last, []).append(_steps[:-1])

IDIOMS = frozenset(
    {("next", "steps"), ("next", "step"), ("first", "name"), ("first", "names"), ("last", "name"), ("last", "names")}
)
"""Words that choose elsewhere and only name something here."""

_FILLERS = words("ok okay please pls thanks thx lol haha maybe perhaps etc")
_MOST = words("common important relevant significant likely serious severe striking notable")
_NAMING = words(
    "weekly daily monthly yearly hourly nightly final morning evening afternoon monday tuesday wednesday thursday",
    "friday saturday sunday",
)
_COUNTED = words("word words letter letters name names number")
_POSITIONS = words("end start beginning head tail rest middle bottom top")
_SEEMING = words("look looks seem seems sound sounds feel feels i we they you")
_AFTER_POSITIONS = words("in on at for from to with about of and or & plus nor")
_SPANS_OF_TIME = words("in within after every for")
_TOWARDS = words(
    "report reports reported belong belongs belonged talk talks talked gave give given sent said say lent lend owe",
    "owed promise promised sold spoke speak moved move flew fly went go come came related similar according due refers",
    "refer wrote write trip flight journey way visit next close back addressed assigned married tell told new",
)


def wishes(reading: Reading, at: int, *, numbers: bool) -> bool:
    """Whether the word at this place makes free text a wish. With `numbers` a number alone does not."""
    low, before, after = reading.low(at), reading.low(at - 1), reading.low(at + 1)
    if any(_preceded(reading, at, steps) for steps in _BY_LAST.get(low, ())):
        return True
    if reading.spans[at].kind == "number" or low in NUMBER_WORDS:
        return _counts(low, before, after, numbers=numbers)
    return (
        low in _FILLERS
        or _delivers(reading, at)
        or (modifies(low.removesuffix("'s")) and (low, after) not in IDIOMS and not _names(reading, at))
        or (low in LANGUAGES and before in {"in", "into", "to"})
        or (low == "most" and after not in _MOST)
        or (low == "common" and after in _COUNTED)
        or (low == "like" and _imitates(reading, at))
        or (low in _POSITIONS and before in {"the", "very"} and _stands_alone(reading, at + 1))
    )


def _counts(low: str, before: str, after: str, *, numbers: bool) -> bool:
    """Whether a number limits, repeats or times something: `in 100 words`, `three times`, `within 5 seconds`."""
    if not numbers:
        return low != "one"
    year = low.isdigit() and len(low) == 4
    return after == "times" or (before in _SPANS_OF_TIME and not year)


def _preceded(reading: Reading, at: int, steps: tuple[frozenset[str], ...]) -> bool:
    start = at - len(steps)
    return all(reading.low(start + i) in step for i, step in enumerate(steps))


def _names(reading: Reading, at: int) -> bool:
    """`the weekly hours`, `the final report`: before a noun the word belongs to a name."""
    return reading.low(at) in _NAMING and not _stands_alone(reading, at + 1)


def _delivers(reading: Reading, at: int) -> bool:
    """`tell me the total to Bob`; not `what I owe to Bob`."""
    span, after = reading.spans[at], reading.span(at + 1)
    ends = after is None or after.kind != "word"
    return ends and span.text.istitle() and reading.low(at - 1) == "to" and reading.low(at - 2) not in _TOWARDS


def _imitates(reading: Reading, at: int) -> bool:
    """`like a pirate`, `like Shakespeare`; not `look like leftovers`."""
    model = reading.span(at + 1)
    seems = reading.low(at - 1) in _SEEMING
    return model is not None and not seems and (model.low in {"a", "an", "the"} or model.text[:1].isupper())


def _stands_alone(reading: Reading, at: int) -> bool:
    """Whether the noun before this place is the whole thing: `the end of x`, not `the end date`."""
    span = reading.span(at)
    return span is None or span.kind != "word" or span.low in _AFTER_POSITIONS
