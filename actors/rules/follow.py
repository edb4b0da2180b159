"""Sentences that go on with what earlier ones brought: summarise it, compare them, tell me why."""

from __future__ import annotations

from .form import Analysis
from .match import Frame
from .meaning import Clause, Thing
from .sinks import digest, digest_on, of_thing


def _asked(question: str, manner: int = 0) -> Clause:
    return Clause(analysis=Analysis(question=question, sentences=manner), refers=True)


def _compare(manner: int = 0) -> Clause:
    return Clause(analysis=Analysis(kind="compare", sentences=manner), refers=True)


FOLLOW_FRAMES: dict[str, tuple[Frame, ...]] = {
    "follow_up": (
        ("@summarise [{thing}] [{manner}]", of_thing),
        ("@summarise {question} [{manner}]", _asked),
        ("[@give] {n:digest_name} [@about_it / of it|them] [{manner}]", digest),
        ("[@give] {n:digest_name} [of|about|on|for|:] {question} [{manner}]", digest_on),
        (
            "compare|contrast (them|both|these|those|everything / the [two|three|four] [files / of "
            "them] / @it_all) [with each other]",
            _compare,
        ),
        ("[@differ_ask] [the|all|any|a] [main|key] @differences [between (them|both / the two)]", _compare),
        (
            "(@ask [what|how|where / in which way] / how (do) / where do) they|both "
            "(differ|disagree|compare|contradict [each other])",
            _compare,
        ),
        ("@ask what is different", _compare),
        (
            "(analyse|analyze|interpret) [@it_all|@content]",
            lambda: Clause(analysis=Analysis(kind="overview"), refers=True),
        ),
        (
            "(count|tally) {unit:text_unit} [in|of @it_all]",
            lambda **_: Clause(analysis=Analysis(kind="count"), refers=True),
        ),
        (
            "[@ask] [count] how (often / many times) (it|they|that / the word) "
            "(appear|appears|occur|occurs|is|are) [used|mentioned|there]",
            lambda: Clause(refers=True, thing=Thing(topic="count")),
        ),
        ("[@give|@make] [@art] [@short] list of {question:noun_phrase} [{manner}]", _asked),
        (
            "[@ask] (count @it_all / the number|count [of it|them|hits|matches|occurrences] / how "
            "many there are / how many [of them] (are there / there are))",
            lambda: Clause(refers=True, thing=Thing(topic="count")),
        ),
        (
            "[@tell] [{length}] (what|how|why) (it|they|these|this|that) @says [{manner}]",
            lambda length=0, manner=0: digest(0, length or manner),
        ),
        (
            "(show|display|give / let me|us see) [me|us] "
            "(it|them|that / @content / what is inside|there / what is in it|there)",
            lambda: Clause(refers=True),
        ),
        ("@tell @the_findings", lambda: digest(0)),
        (
            "@tell [{length}] {question} [{manner}]",
            lambda question, length=0, manner=0: _asked(question, length or manner),
        ),
        ("@explain @it_all [{manner}]", lambda manner=0: digest(0, manner)),
        ("@pull {question:definite} [from|in|of (it|them|there|these|those / the file)] [{manner}]", _asked),
        ("{question:asking_back} [{manner}]", _asked),
        ("(check|see|establish|determine|judge|decide) {question:whether_clause} [{manner}]", _asked),
        ("(look|check|scan) [it|them|there] for {question:noun_phrase}", _asked),
        ("(focus|focusing|concentrate|concentrating) on {question:noun_phrase}", _asked),
    ),
}
