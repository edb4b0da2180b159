"""Words of a goal that speak for a part of the intent form: without one of them the part is neither offered nor taken.

Lists, not rules. They are only what can be seen in a word; that the words stand in the right place is looked at by
`intent_form_evidence`.
"""

from __future__ import annotations

from .rules.words import ASKING, words

SUMMARY = words(
    "summarise summarize summarised summarized summary summaries overview brief briefing gist synopsis abstract digest",
    "recap rundown tl;dr condense boil outline shorten explain describe explanation description analyse analyze",
    "analysis review clarify highlights takeaways essence nutshell sum interpret walk",
)
COMPARISON = words(
    "compare comparison contrast differ differs difference differences diff different versus vs disagree disagreements",
    "contradict contradictions discrepancies discrepancy",
)
COUNTING = words("count number many tally")
OUTLINE = words("structure outline headings sections functions classes layout")
ASKED = ASKING | words("tell explain extract pull pick list identify describe show whether does do is are out about on")
TOLD = words("tell explain describe why how who when whether does do is are which")
"""Where one of these is left over, something was asked that the form does not ask."""
SEARCHING = words(
    "search find grep look locate scan scour hunt comb trawl sift mention mentions mentioned mentioning contain",
    "contains containing occurrence occurrences hits matches appear appears instances references uses lines many where",
    "count",
)
BEFORE_PATTERN = words(
    "for find every all any each of mention mentions mentioned mentioning contain contains containing word words with",
    "grep locate saying says say called use uses using phrase text string marker the many references to",
)
SOMEWHERE = words("project repo repository files codebase everywhere code here tree workspace")
LISTING = words("list which show what name enumerate give")
READING = words("read open show display content contents view load cat print")
RECALLING = words("recall recollect retrieve told said say mentioned know remembered learnt learned gave")
QUESTIONING = ASKING | words("do did everything anything all")
DONT = words("don't dont not never")
REMEMBERING = words("remember memorise memorize memory mind")
NOTING = REMEMBERING | words("note jot record forget")
PICKING = words("extract pull pick figure identify determine")
