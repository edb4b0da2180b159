"""Sentences about the memory: telling it something, asking what it has.

A fact is a statement. Whatever asks is never stored, and what is to be done is not a fact.
"""

from __future__ import annotations

import attrs

from .form import Analysis, MemorySink, RecallSource, TextSource
from .match import Frame
from .meaning import Clause, Thing
from .words import ASKING


def _fact(text: str) -> Clause | None:
    told = text.strip().strip("\"'`").strip()
    return Clause(sources=(TextSource(text=told),), sinks=(MemorySink(),)) if " " in told or ":" in told else None


def _quoted(text: str) -> Clause:
    return Clause(sources=(TextSource(text=text.strip()),), sinks=(MemorySink(),))


def recalled(topic: str, *more: str) -> Clause | None:
    """What the memory has about something, asked for in the goal's own words."""
    query = " ".join((topic, *more)).strip()
    return Clause(sources=(RecallSource(query=query),)) if query else None


def _named(noun: str, topic: str = "") -> Clause | None:
    """`the address I told you for Anna`."""
    said = set(noun.casefold().split())
    return None if said & (ASKING | {"summary", "overview", "list", "report"}) else recalled(noun, topic)


def _digest(found: Clause, n: int = 0, manner: int = 0) -> Clause:
    """What the memory has, in short."""
    return attrs.evolve(found, analysis=Analysis(sentences=n or manner))


def _which(noun: str, topic: str = "") -> Clause | None:
    return recalled(noun, topic)


def remembered(matter: Clause, label: str = "") -> Clause | None:
    """What something gives is kept, under a name if the goal has one."""
    if matter.sinks or not matter.sources or any(isinstance(s, RecallSource) for s in matter.sources):
        return None
    return attrs.evolve(matter, sinks=(MemorySink(label=label),))


def _kept(thing: Thing | None = None, label: str = "") -> Clause:
    return Clause(sinks=(MemorySink(label=label),), refers=True, thing=thing or Thing())


def _unquoted(label: str) -> str:
    return label.strip("\"'`")


def _keep(thing: Thing | None = None, label: str = "", purpose: str = "") -> Clause:
    del purpose  # what it will be good for changes nothing
    return _kept(thing, _unquoted(label))


def _later(thing: Thing, later: str) -> Clause | None:
    """`so I can ask for it later`: whoever wants to ask again wants it remembered."""
    said = set(later.casefold().split())
    return _kept(thing) if said & {"later", "again", "ask", "recall", "remember", "back"} else None


def _matter(matter: Clause, label: str = "") -> Clause | None:
    return remembered(matter, _unquoted(label))


MEMORY_PHRASES: dict[str, tuple[str, ...]] = {
    "keep": ("remember|memorise|memorize|retain", "commit to memory", "[do] not forget", "never|don't|dont forget"),
    "note": (
        "remember|memorise|memorize|note|learn|store|record",
        "keep|bear|have in mind|memory",
        "don't|dont|never forget",
        "do not forget",
        "keep|bear|have (this|that|it / the following) in mind|memory",
        "(don't|dont|never / do not) let me|us forget",
        "i want that you remember|note|know",
        "make a [quick|mental|short] note",
        "take|keep [a] note",
        "jot|note|write down",
        "note to self",
        "n.b.|nb",
        "store|save|keep|note|remember the [following] fact|information|thing",
        "store|save|keep|put|add|remember|note [this / it / the following] [in|to|into] [your|the|my] memory",
        "save|store|keep|note|remember (this / the following) [for later / for me / for the future / for next time]",
        "a|one note for later|you|yourself",
        "i want|need you to know|remember",
        "for the|your|future record|records|reference",
        "for future reference",
        "for your information and memory",
        "new fact",
        "store|save|keep|note [it|this|that] for later|me",
        "add|save a note|fact|memory",
    ),
    "in_memory": (
        "in|to|into|inside [your|the|my|our] [long-term|longterm|permanent] memory",
        "in [your|the] mind|head",
        "for later [use|on]",
        "for [future|later] reference",
        "for the future",
        "for next|another time",
        "among|in|to your|the memories",
    ),
    "so_that": (
        "[,] so [that] i|we|you can|could|may|will|don't|do [not]",
        "[,] so [that] i|we|you",
        "[,] (i / we) (will|may|might|shall|'ll) [need|want]",
        "[,] because|since i|we",
    ),
    "forget_not": (
        "[please|pls] (don't|dont|never / do not) forget [about] it|that|this",
        "[please|pls] (don't|dont|never / do not) forget",
        "[please|pls] remember [it|that|this] [for me / for later]",
        "[please|pls] (keep|bear) (it|that|this in mind|memory / in mind|memory)",
        "[please|pls] (make|take) [a] note of it|that|this",
        "[please|pls] note|write|jot it|that|this down",
        "[please|pls] memorise|memorize|store|save it|that|this [for later]",
        "[please|pls] commit it|that|this to memory",
        "[please|pls] note|remember it|that|this",
        "[please|pls] remember",
        "[please|pls] (store|save|put|keep) (it|that|this) @in_memory",
    ),
    "you_know": (
        "[still|already] know|remember|recall|have|got|stored|saved|learned|keep",
        "[have|'ve] stored|saved|learned|got|kept|noted [in memory]",
        "have in [your] memory",
    ),
    "on": ("about|on|of|regarding|concerning|for", "related to", "to do with", "with regard to", "when it comes to"),
    "said": (
        "told|tell|said|say|mentioned|mention|gave|give|taught|asked|taught|noted|note|shared|share [to] [you]",
        "asked you to remember|note|keep|memorise|memorize|store|save",
        "ask you to remember|note|keep|memorise|memorize|store|save",
        "talked|talk|spoke to you",
        "wanted|want you to remember",
    ),
    "i_said": (
        "i|we [have|had|already|once|just] @said",
        "i've|we've @said",
    ),
    "did_i_say": (
        "did|have i|we [ever|already|once] @said",
        "was it|that [that] i|we @said",
    ),
    "memory": ("[your|the|my|our] [long-term] memory|memories", "what you remember|know"),
    "everything": ("everything|all|anything|whatever|what|things", "all the things|facts|details|information|notes"),
    "fetch": ("recall|retrieve|recollect", "call|bring back|up|to mind", "look|dig|bring|pull up"),
}

MEMORY_FRAMES: dict[str, tuple[Frame, ...]] = {
    "recall": (
        ("@fetch @everything [that] (you @you_know / @i_said) @on {topic}", recalled),
        ("@fetch what @i_said @on {topic}", recalled),
        ("@fetch from @memory {topic}", recalled),
        ("@summarise {found:recalled_matter} [{manner}]", _digest),
        ("[@give] {n:digest_name} @out_of {found:recalled_matter} [{manner}]", _digest),
        ("@fetch [@everything] [@you_know] [@on] {topic} [from @memory]", recalled),
        ("(what|which) {noun:noun_phrase} (do|can) you @you_know @on {topic}", lambda topic, **_: recalled(topic)),
        ("do you [still / happen to] know [what|where|when|who] {topic:mine}", recalled),
        ("what (do|can) you [still] @you_know @on {topic}", recalled),
        ("what [all] @did_i_say [@on|that|was|is] {topic}", recalled),
        ("what (is|was|are|were) it [that] @i_said @on {topic}", recalled),
        (
            "(what / which / who / where / when / how much / how many) {noun} @did_i_say [that] [{topic}] "
            "[is|are|was|were] [in|on|at|for|to|with|from|about]",
            _which,
        ),
        (
            "(where / when / who / how / why / whom / how often / how much / how many) @did_i_say "
            "[that|is|was] {topic}",
            recalled,
        ),
        (
            "(what|which|where|when|who|how) (is|was|are|were) {topic} [that] @i_said [@on] [{more:topic}]",
            lambda topic, more="": recalled(topic, more),
        ),
        ("(what|which|where|when|who|how) (is|was|are|were|do|does|did|has|have) {topic} again", recalled),
        ("(what|when|where|who|which) (is|was|are|were) {topic:own}", recalled),
        ("@did_i_say [@on|that|what|where|when|which|whether|if] {topic}", recalled),
        (
            "(do|did) you [still / happen to] remember|recall "
            "[@on|what|where|when|who|which|how|that|if|whether] {topic}",
            recalled,
        ),
        ("can you [still] remember|recall [@on|what|where|when|who|which|how] {topic:thing_known}", recalled),
        ("(do|can) you [still] know @on {topic:mine}", recalled),
        ("(do|can) you [still] know what @i_said @on {topic}", recalled),
        ("(have|do) you [have|got] [anything|something] [stored|saved] [in @memory] @on {topic}", recalled),
        ("remind me [of|about|what|where|who|which|how|when] {topic:untimed}", recalled),
        ("[@ask / @list / @find / give me] [again] {found:recalled_matter}", lambda found: found),
        ("what (is|do you have) in @memory @on {topic}", recalled),
        ("what does @memory say|know|have|contain @on {topic}", recalled),
        ("is there anything|something in @memory @on {topic}", recalled),
        (
            "(search|check|query|consult|scan|ask / look|go|dig [up] [in|into|through|at|inside] / "
            "have a look in) [in] @memory for|about|on [@everything @on] {topic}",
            recalled,
        ),
        ("@find {topic} (in|from) @memory", recalled),
        ("@find [@everything] [@on] {topic} (in|from) @memory", recalled),
    ),
    "recalled_matter": (
        ("@everything [that] you @you_know @on {topic}", recalled),
        ("@everything [that] @i_said @on {topic}", recalled),
        ("@everything [that] you @you_know [in memory] @on {topic}", recalled),
        ("@everything [that] @i_said [@on] {topic}", recalled),
        ("{noun:noun_phrase} [that] @i_said [@on] {topic}", _named),
        ("[@summarise|@explain] {n:digest_name} @out_of {found:recalled_matter} [{manner}]", _digest),
        ("{topic:noun_phrase} [that] @i_said", recalled),
        ("@everything in @memory @on {topic}", recalled),
        ("your memories|knowledge @on {topic}", recalled),
        ("{topic:noun_phrase} from @memory", recalled),
    ),
    "fact_clause": (
        ("@note [for me|us|later / for the future / for next time] [,] that {text:fact}", _fact),
        ("(can|could|would|will) you [please|kindly] @note [,] that {text:polite_fact}", _fact),
        ("@note [that|this] [for me / for later / for us] : {text:fact}", _fact),
        ("@note [that] [:] {text:quotation}", _quoted),
        ("@note [,] {text:statement}", _fact),
        ("{text:statement} [,|:|.|;|-|!] [so|and|,] @forget_not", _fact),
    ),
    "keep_clause": (
        ("@keep {thing} [@in_memory] [as|under {label}] [@so_that {purpose}]", _keep),
        ("@keep @in_memory", _keep),
        ("@keep as|under {label}", _keep),
        (
            "(keep|save|store|put|hold|record|note|add|commit|write|file|have) {thing} @in_memory "
            "[as|under {label}] [@so_that {purpose}]",
            _keep,
        ),
        (
            "(keep|save|store|put|hold|record|note|add|commit|write|file|have) {thing} as|under {label} @in_memory",
            _keep,
        ),
        ("(keep|bear) in mind|memory {thing} [as|under {label}]", _keep),
        (
            "(keep|save|store|record|note) {thing} so [that] (i|we|you) can {later:purpose}",
            lambda thing, later: _later(thing, later),
        ),
        ("(make|take) a [mental] note of {thing}", _kept),
        ("@keep {matter} [@in_memory] [as|under {label}]", _matter),
        ("(keep|save|store|put|hold|record|note) {matter} @in_memory [as|under {label}]", _matter),
    ),
}
