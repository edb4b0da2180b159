"""Sentences about what is in named files: read, show, summarise, compare, count, pick out."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .form import MAX_SENTENCES, Analysis, AnalysisKind, FileSource
from .match import Frame
from .meaning import Clause
from .words import words

FEW_FILES = 12
DOINGS = words(
    "start define configure install build export expose provide return expect need require set declare implement",
    "import use create produce control handle represent specify promise claim argue suggest recommend conclude",
    "propose demand allow forbid prove show list ask test check measure run depend introduce mention include",
)
"""What a file can be asked to do: `what does x start?`."""


def _one(file: str) -> tuple[str, ...]:
    return (file,)


def _more(file: str, files: tuple[str, ...]) -> tuple[str, ...] | None:
    return (file, *files) if file not in files and len(files) < FEW_FILES else None


def read(files: Sequence[str]) -> Clause:
    """The files as they are."""
    return Clause(sources=tuple(FileSource(path=path) for path in files))


def analysed(
    files: Sequence[str], question: str = "", manner: int = 0, *, kind: AnalysisKind = "summary"
) -> Clause | None:
    """The files and what is done with them."""
    if kind == "compare" and len(files) < 2:
        return None
    return attrs.evolve(read(files), analysis=Analysis(kind=kind, question=question, sentences=manner))


def summary_of(files: Sequence[str], n: int = 0, manner: int = 0) -> Clause | None:
    """A summary, `n` or `manner` sentences long."""
    return analysed(files, manner=n or manner) if n <= MAX_SENTENCES else None


def asked(files: Sequence[str], question: str, manner: int = 0) -> Clause | None:
    """A question to the files."""
    return analysed(files, question, manner)


def compared(files: Sequence[str] = (), file: str = "", other: str = "", manner: int = 0) -> Clause | None:
    """Two or more files side by side."""
    return analysed(files or (file, other), manner=manner, kind="compare") if file != other or files else None


def counted(files: Sequence[str], unit: str) -> Clause | None:
    """How many lines, words or characters there are."""
    del unit  # the count has lines, words and characters
    return analysed(files, kind="count")


def structured(files: Sequence[str], question: str = "") -> Clause | None:
    """What a file is made of."""
    del question  # the structure has headings, keys and definitions
    return analysed(files, kind="structure")


def _says(files: Sequence[str], topic: str, manner: int = 0) -> Clause | None:
    """What the files say about something."""
    return analysed(files, f"what it says about {topic}", manner)


def _doing(files: Sequence[str], question: str) -> Clause | None:
    return analysed(files, f"what it does {question}")


def _prepared(files: Sequence[str]) -> Clause:
    """`take a.txt and ...`: nothing by itself."""
    return attrs.evolve(read(files), preparing=True)


def _sentences(n: int) -> int | None:
    return n if 1 <= n <= MAX_SENTENCES else None


def _with_manner(found: Clause, manner: int) -> Clause:
    if found.analysis is None or not manner:
        return found
    return attrs.evolve(found, analysis=attrs.evolve(found.analysis, sentences=manner))


FILE_FRAMES: dict[str, tuple[Frame, ...]] = {
    "file": (
        (
            "[both|all] [the|this|my|our|that|a|these] [text|log|markdown|config|configuration] [@file_noun] "
            "[called|named|:] {path} [file|document|log]",
            lambda path: path,
        ),
    ),
    "file_pair": (
        ("{file} and|with|to|against|vs|versus|vs.|,|& {other:file}", lambda file, other: (file, other)),
        ("{file} , and|with {other:file}", lambda file, other: (file, other)),
        ("{path} {other:path}", lambda path, other: (path, other)),
    ),
    "files": (
        ("{file}", _one),
        ("[both|all|the] [two|three|four] files [,|:] {files} [,]", lambda files: files),
        ("{file} (and [also] [from|in|of] / , / , and / & / plus / as well as / together with) {files}", _more),
    ),
    "manner": (
        ("{length}", lambda length: length),
        ("{length} {manner}", lambda length, manner: length or manner),
    ),
    "length": (
        ("[,] @in_length {n:number} [@short] @sentences", _sentences),
        ("[,] @at_most {n:number} [@short] @sentences", _sentences),
        ("[,] in a [single|short] sentence|line", lambda: 1),
        ("@style", lambda: 0),
    ),
    "reading": (
        ("@read @content of {files} [to me|us]", read),
        ("@read {files} [to me|us]", read),
        ("@read [@art] @written in|from {files}", read),
        ("@prepare {files}", _prepared),
        ("{files} :", _prepared),
        (
            "i|we (have [got] / got) [a|the|some|two|three|four] [text|log] [file|files] [called|named|,|:] {files}",
            _prepared,
        ),
        (
            "(there / here) is|are [a|the|some|two|three|four] [text|log] [file|files] [called|named|,|:] {files}",
            _prepared,
        ),
        ("@show [me] [@content] [of] {files} [to me|us]", read),
        ("@show [me] what is [written|inside] in|inside {files}", read),
        ("what is [written] in|inside {files}", read),
        ("@ask what is [written] in|inside {files}", read),
        ("what (does|do) {files} (contain / hold / look like)", read),
        ("what are [@content] of {files}", read),
    ),
    "understanding": (
        ("{found:comparison} [{manner}]", lambda found, manner=0: _with_manner(found, manner)),
        ("{found:counting}", lambda found: found),
        ("{found:structure}", lambda found: found),
        ("@summarise [@content] [of] {files} [{manner}]", summary_of),
        ("@summarise {manner} {files}", summary_of),
        ("@summarise {manner} , {files}", summary_of),
        ("@summarise {question:noun_phrase} @from_files {files} [{manner}]", asked),
        ("{found:digest}", lambda found: found),
        ("@give {found:digest}", lambda found: found),
        ("[show|give|get|tell [me|us]] {found:digest_of_part}", lambda found: found),
        ("(check|see|establish|determine|judge) {question:whether_clause} @from_files {files}", asked),
        ("@explain [@content] [of] {files} [{manner}]", summary_of),
        ("@explain what is [written / going on] in|inside {files} [{manner}]", summary_of),
        (
            "@tell [{length}] (what|how|why) {files} @says [{manner}]",
            lambda files, length=0, manner=0: summary_of(files, length or manner),
        ),
        ("@tell (what|how) {files} @says about {topic:noun_phrase} [{manner}]", _says),
        (
            "what (does|do|is|are) {files} [all] @says [{manner}]",
            lambda files, manner=0: summary_of(files, manner=manner),
        ),
        ("@summarise what {files} @says about|on {topic:noun_phrase} [{manner}]", _says),
        ("@summarise what {files} @says [{manner}]", summary_of),
        ("@give from|of {files} {n:digest_name} [{manner}]", summary_of),
        ("what (does|do) {files} {question:doing} [up]", _doing),
        ("{length} , {found:understanding}", lambda length, found: _with_manner(found, length)),
        (
            "(what|which) {question:noun} (does|do|is|are) {files} "
            "(have|use|used|specify|set|name|state|give|@doing_it)",
            asked,
        ),
        ("(does|do) {files} @doing_it {question:noun_phrase}", asked),
        ("what (does|do) {files} @says about|on {topic:noun_phrase}", _says),
        ("what is|are [the] [main|key] (point|points|purpose|idea|message|gist|meaning) of {files}", summary_of),
        ("(does|do) {files} (explain|describe|say|tell|state|cover) [me|us] {question}", asked),
        ("@pull {question:noun_phrase} @from_files {files} [{manner}]", asked),
        ("from|in {files} [,] @pull {question:noun_phrase} [{manner}]", asked),
        ("@tell {question} @from_files {files} [{manner}]", asked),
        ("{question:asking} @from_files {files} [{manner}]", asked),
        ("(according to / based on / from / in / judging by|from) {files} [,] {question:asking} [{manner}]", asked),
        ("(according to / based on / from / in / using) {files} [,] @tell {question} [{manner}]", asked),
        ("@turn {files} [down] into|to|in {n:digest_name} [{manner}]", summary_of),
        ("@turn {files} [down] into|to|in [@art] [@short] list of {question:noun_phrase} [{manner}]", asked),
        ("@combine {files} [together] into|to|in|as {n:digest_name} [{manner}]", summary_of),
    ),
    "digest_name": (
        ("[@art] {n:number} [@short] (bullet points / bullets / key points / main points / sentences)", _sentences),
        ("[@art] [@short] [@short] @summary", lambda: 0),
        ("[@art] {n:counted} [@short] @summary", _sentences),
        ("[@art] {n:number} [@short] sentence|line|point|bullet|bullets|sentences @summary", _sentences),
        (
            "[the|@art] {n:number} [main / key / most important / biggest] "
            "points|takeaways|ideas|facts|messages|findings",
            _sentences,
        ),
        ("[@art] [@short] sentence|paragraph", lambda: 1),
    ),
    "digest": (
        ("{n:digest_name} [:] @out_of [@content] [of] {files} [{manner}]", summary_of),
        ("tl;dr [of|for|on|about|:] {files} [{manner}]", summary_of),
        ("@summary : {files} [{manner}]", summary_of),
        ("[@art] [@short] @report_noun @out_of {files} [{manner}]", summary_of),
        ("[@art] [@short] list of {question:noun_phrase} @from_files {files} [{manner}]", asked),
    ),
    "digest_of_part": (
        (
            "{n:digest_name} @out_of {question:noun_phrase} @from_files {files}",
            lambda n, files, question: asked(files, question, n),
        ),
    ),
    "comparison": (
        ("compare|contrast|diff [me] [@content] [of] {files:file_pair} [with each other]", compared),
        ("compare|contrast|diff {files}", compared),
        ("do|make|run|write|show [me] a [@short] comparison|diff of|between {files}", compared),
        ("[@differ_ask] [the|all|any|a] [main|key|exact] @differences between|in|of {files}", compared),
        ("(is|are) there [a|any|some] [real|big|main] @differences between {files}", compared),
        ("how (do|does|is|are) {files:file_pair} (differ|different|compare|related)", compared),
        ("how (does|is) {file} (differ|different) from {other:file}", compared),
        ("@ask how {files:file_pair} (differ|compare)", compared),
        ("@ask how {file} (differs / is different) from {other:file}", compared),
        ("@ask (if|whether) {files:file_pair} (differ / are @same)", compared),
        ("(are|is) {files:file_pair} @same", compared),
        (
            "what is|has|was [been] (different|new|changed|added) in {file} (compared / in "
            "comparison) to|with {other:file}",
            compared,
        ),
        ("what is|has|was [been] (different|new|changed|added) in {file} versus|vs|vs. {other:file}", compared),
        ("{files:file_pair} [:|,] what is|are [the] different|difference|differences", compared),
        ("(is|are) {file} @same as|to {other:file}", compared),
        ("(is|are) {file} different from|to {other:file}", compared),
        ("(do|does) {files:file_pair} say|contain|mean|hold [the] same [thing|things|text|content]", compared),
        ("(do|does) {files:file_pair} (differ|match|agree|disagree|contradict) [each other]", compared),
        ("(what|where) (is|has|was|are|have) [different|changed] between|from {files:file_pair}", compared),
        ("@ask what (is|has|was) [different|changed] between|from {files:file_pair}", compared),
        ("what changed between|from {files:file_pair}", compared),
        ("@ask what changed between|from {files:file_pair}", compared),
        ("(what|where) do {files:file_pair} (differ|disagree|agree|share|have in common)", compared),
        ("@ask (what|where) {files:file_pair} (differ|disagree|agree|share|have in common)", compared),
        ("[@art] [@short] comparison of|between {files}", compared),
        ("in what ways|way (do|does) {files:file_pair} differ", compared),
    ),
    "counting": (
        ("@count {unit:text_unit} [there] [are] in|of|from {files}", counted),
        ("how many {unit:text_unit} (are|is) [there] in {files}", counted),
        ("how many {unit:text_unit} (does|do|has|have) {files} [have|contain|got]", counted),
        ("[@ask] how many {unit:text_unit} {files} (has|have|contains|contain)", counted),
        ("[@ask] how many {unit:text_unit} (there are / are) in {files}", counted),
        ("what is the {unit:unit_count} of|in {files}", counted),
        ("the {unit:unit_count} of|in {files}", counted),
    ),
    "text_unit": (
        ("lines", lambda: "lines"),
        ("words", lambda: "words"),
        ("characters|chars", lambda: "characters"),
    ),
    "unit_count": (
        ("number of lines", lambda: "lines"),
        ("number of words", lambda: "words"),
        ("number of characters", lambda: "characters"),
        ("line count", lambda: "lines"),
        ("word count", lambda: "words"),
        ("character count", lambda: "characters"),
    ),
    "structure": (
        ("outline {files}", structured),
        ("[@give / @show / @tell / what is] [the] @structure of|in {files}", structured),
        ("@pull [all] [the] {question:parts} of|in|from {files}", structured),
        ("(what|which) {question:parts} (are|does|do) [there] [in] {files} [have|contain|define]", structured),
    ),
    "doing": tuple((verb, lambda verb=verb: verb) for verb in sorted(DOINGS)),
    "parts": (
        ("headings", lambda: "headings"),
        ("sections", lambda: "sections"),
        ("functions", lambda: "functions"),
        ("classes", lambda: "classes"),
    ),
}
