"""What to search for: from the words of the goal to the text that will be looked up in the files.

Only what can be found by looking for the words themselves becomes a pattern. `deprecated calls` is the word
*deprecated*; `unused imports` is an analysis that no text search does, so it is not a search text at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import attrs

from .match import Frame, Reading
from .meaning import Pattern
from .spans import Span, path_kind
from .words import (
    ASKING,
    AUXILIARIES,
    DETERMINERS,
    LANGUAGES,
    MARKERS,
    MODIFIERS,
    NUMBER_WORDS,
    VAGUE_ADJECTIVES,
    VAGUE_NOUNS,
    modifies,
    words,
)

LONGEST_TERM = 5

KINDS = {
    "ip": Pattern(text=r"(?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}\b)", regex=True, certain=True),
    "email": Pattern(text=r"(?P<email>[\w.+-]+@[\w-]+\.[\w.-]+)", regex=True, certain=True),
    "url": Pattern(text=r"(?P<url>https?://[^\s\"'<>)]+)", regex=True, certain=True),
}
"""What is named by its kind and found by its shape."""
_KIND_OF = {
    "ip": "ip",
    "ips": "ip",
    "ip address": "ip",
    "ip addresses": "ip",
    "email addresses": "email",
    "email address": "email",
    "e-mail addresses": "email",
    "mail addresses": "email",
    "emails": "email",
    "urls": "url",
    "url": "url",
    "web addresses": "url",
    "hyperlinks": "url",
}
_WHOLE = {"skipped tests": "skip", "skipped test": "skip", "print statements": "print", "import statements": "import"}
"""Phrases whose text in the files is another word than in the goal."""

_GENERIC = words(
    "comment comments line lines call calls entry entries message messages statement statements marker markers tag",
    "tags note notes item items annotation annotations usage usages reference references mention mentions",
    "occurrence occurrences remark remarks warning warnings keyword keywords invocation invocations",
)
"""Nouns that only say what surrounds the text; dropped when something stands before them."""
_LEADING = words(
    "hardcoded hard-coded existing remaining open leftover left-over individual outstanding stray forgotten pending",
    "unresolved lingering embedded plain-text plaintext",
)
"""Adjectives that do not change the text; dropped when something stands after them."""
_ENDS = (
    MODIFIERS
    | ASKING
    | AUXILIARIES
    | DETERMINERS
    | words(
        "and or then & in under inside within into to from for with on at by as through across about of over below",
        "beneath throughout among it them me you we i us they that which used mentioned called defined appear",
        "appears occur occurs anywhere somewhere everywhere there please exist exists named so via contain contains",
        "containing mention mentions mentioning say says most many often right ok okay lol haha maybe perhaps",
        "immediately forever i etc",
    )
)


def core(reading: Reading, at: int) -> Iterator[tuple[int, Pattern]]:
    """The search text itself: a quotation, an identifier, a marker, or a few plain words."""
    if at < len(reading.spans) and reading.spans[at].kind == "quote":
        if reading.spans[at].text.strip():
            yield at + 1, Pattern(text=reading.spans[at].text, certain=True, literal=True, quoted=True)
        return
    for end in range(at + 1, min(at + LONGEST_TERM, len(reading.spans)) + 1):
        span = reading.spans[end - 1]
        stops = span.low in _ENDS or modifies(span.low)
        if span.kind not in {"word", "number"} or (stops and (len(span.text) == 1 or span.text != span.text.upper())):
            return
        if "/" in span.text and path_kind(span.text) is None and span.text.replace("/", "").isidentifier():
            return
        found = _pattern(reading.spans[at:end])
        if found is not None:
            yield end, found


def _pattern(said: tuple[Span, ...]) -> Pattern | None:
    """The pattern that these words stand for, or None when their text would not find what is meant."""
    rest = list(said)
    described = len(rest) > 1 and rest[0].low in _LEADING
    if described:
        rest = rest[1:]
    if rest[0].low.startswith("-") or (len(rest) > 1 and _counts(rest[0])):
        return None
    generic = len(rest) > 1 and rest[-1].low in _GENERIC
    words_left = rest[:-1] if generic else rest
    if len(words_left) > 1 and any(_code(_singular_marker(s.text)) or s.low in NUMBER_WORDS for s in words_left):
        return None  # `TODO delete`: an identifier or marker is a text of its own
    phrase = " ".join(span.low for span in rest)
    if phrase in _KIND_OF:
        return KINDS[_KIND_OF[phrase]]
    if phrase in _WHOLE:
        return Pattern(text=_WHOLE[phrase], certain=True, ignore_case=True)
    rest = words_left
    if _vague(rest):
        return None
    text = " ".join(span.text for span in rest)
    text = _singular_marker(text)
    plain = text.islower() and text.replace(" ", "").replace("-", "").isalpha()
    found = Pattern(
        text=text, certain=not plain, hinted=generic, ignore_case=plain, literal=len(rest) == 1 and _code(text)
    )
    return singular(found) if described else found


def _code(text: str) -> bool:
    """Whether this can only be code or a marker: `TODO`, `retry_limit`, `os.system`, `print(`, `OldClient`."""
    if text.casefold() in MARKERS:
        return text.isupper()
    joined = any(letter in "_.()[]{}:#@$=<>\\/" for letter in text)
    humped = any(a.islower() and b.isupper() for a, b in pairwise(text))
    return joined or humped


def _counts(span: Span) -> bool:
    return span.kind == "number" or span.low in NUMBER_WORDS


def _vague(said: list[Span]) -> bool:
    """Whether nobody would find this by looking for the words."""
    if any(span.low in LANGUAGES for span in said[:-1]):
        return True
    if said[0].low in VAGUE_ADJECTIVES:
        return True
    if said[-1].text.isupper():
        return False
    return said[-1].low in VAGUE_NOUNS | VAGUE_ADJECTIVES


def _singular_marker(text: str) -> str:
    """`TODOs` and `FIXME's` are looked for as `TODO` and `FIXME`."""
    for plural in ("'s", "\u2019s", "s", "es"):
        stem = text.removesuffix(plural)
        if stem != text and (stem.isupper() or stem.casefold() in MARKERS) and stem.isalpha() and len(stem) > 1:
            return stem
    return text


def singular(pattern: Pattern) -> Pattern:
    """`any errors` is looked for as `error`, which finds both."""
    if not pattern.ignore_case or pattern.certain or " " in pattern.text:
        return pattern
    text = pattern.text
    if text.endswith("s") and len(text) > 4 and not text.endswith(("ss", "us", "is", "as", "os", "ies")):
        return attrs.evolve(pattern, text=text.removesuffix("s"))
    return pattern


def certain(core: Pattern, **_: object) -> Pattern:
    """The goal says that these words are meant as a text."""
    return attrs.evolve(core, certain=True)


def mentioned(core: Pattern) -> Pattern:
    """`all mentions of x` can only be meant as text."""
    return attrs.evolve(core, certain=True, literal=True)


def imported(core: Pattern) -> Pattern | None:
    """`files that import x`: the statement, not the name alone."""
    if core.regex or not core.text.replace(".", "_").replace("-", "_").isidentifier():
        return None
    text = core.text.replace(".", r"\.")
    return Pattern(text=rf"\b(?:import|from|require|use|include)\b.*\b{text}\b", regex=True, certain=True)


def pattern_of_regex(text: str) -> Pattern:
    """What the goal itself calls a regular expression."""
    return Pattern(text=text, regex=True, certain=True)


def _all_certain(terms: tuple[Pattern, ...]) -> tuple[Pattern, ...] | None:
    return terms if all(pattern.certain for pattern in terms) else None


TERM_FRAMES: dict[str, tuple[Frame, ...]] = {
    "plain_term": (
        ("@regex {text:quotation}", pattern_of_regex),
        ("[@every] @mention of|to|for|on [@every] [@word] {core}", mentioned),
        ("[@every] @word {core}", certain),
        ("[@every] @symbol [called|named] {core}", lambda core: certain(core) if core.certain else None),
        ("[@every] @symbol called|named {core}", certain),
        ("[@every] @spots @holding [@every] [@word] {core}", certain),
        ("[@every] @spots where|in [which] [@every] [@word] {core} is|are @used", certain),
        ("where [@every] [@word] {core} (is|are @used / appears|occurs|appear|occur)", certain),
        ("where (we|they|i|you / the code) @using {core}", certain),
        ("anything|everything|something|whatever|all @about [@every] {core}", certain),
        ("@every {pattern:core}", singular),
        ("{core}", lambda core: core),
    ),
    "term": (("{term:plain_term} [@used_in_code]", lambda term: term),),
    "certain_terms": (("{terms}", _all_certain),),
    "terms": (
        ("{term}", lambda term: (term,)),
        ("[both|either] {term} and|or|, {terms}", lambda term, terms: _several(term, terms)),
        ("[both|either] {term} , and|or {terms}", lambda term, terms: _several(term, terms)),
    ),
}


def _several(term: Pattern, terms: tuple[Pattern, ...]) -> tuple[Pattern, ...] | None:
    """A row of search texts; each must be certain, or `and` could begin something else."""
    row = (term, *terms)
    return row if len(row) < 5 and all(each.certain and (each.quoted or " " not in each.text) for each in row) else None


TERM_PHRASES: dict[str, tuple[str, ...]] = {
    "every": (
        "every [single] [one of the]",
        "all [of] [the|our|my]",
        "any [and all]",
        "the",
        "each [and every]",
        "some",
        "a|an",
        "our|my|its",
    ),
    "mention": (
        "mention|mentions|occurrence|occurrences|reference|references|use|uses|usage|usages|instance|instances",
        "appearance|appearances|call|calls|match|matches|hit|hits|trace|traces|import|imports|invocation|invocations",
    ),
    "word": (
        "word|words|string|strings|text|phrase|phrases|term|terms|keyword|keywords|expression|literal|token|name",
        "exact|literal word|words|string|text|phrase|term",
        "marker|markers|tag|tags|identifier",
    ),
    "regex": (
        "[the|a|this] regex|regexp",
        "[the|a|this] regular expression",
    ),
    "symbol": (
        "function|functions|class|classes|method|methods|variable|constant|symbol|option|setting|flag|key|command",
        "module|package|library|macro|decorator|parameter|environment variable",
    ),
    "spots": (
        "file|files|document|documents|script|scripts|module|modules",
        "line|lines|place|places|spot|spots|location|locations|part|parts|passage|passages",
    ),
    "holding": (
        "containing|mentioning|with|using|saying|including|having|referencing",
        "that|which contain|contains|mention|mentions|say|says|have|has|use|uses|include|includes|hold|holds",
        "that|which refer|refers to",
    ),
    "about": (
        "about|on|mentioning|containing|concerning|regarding|with|like",
        "related to",
        "to do with",
        "that|which mentions|mention|contains|contain|uses|use|says",
        "that has to do with",
    ),
    "used": (
        "used|mentioned|called|defined|referenced|imported|set|logged|raised|handled|declared|documented|hardcoded",
        "hard-coded|found|discussed|described|printed|configured|instantiated|invoked|implemented|written",
        "referred to",
    ),
    "using": ("use|mention|call|define|import|reference|set|raise|handle|log|configure|instantiate|invoke",),
    "used_in_code": (
        "that we|you|they have",
        "left",
        "that is|are left|there",
        "you can find|see",
        "there is|are",
    ),
}
