"""Sentences about text in files and about which files there are."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .form import Analysis, SearchSource
from .match import Frame
from .meaning import Clause, Pattern, Place
from .places import HERE, globbed
from .spans import path_kind
from .terms import imported, singular


def _kinds(kind: str, place: Sequence[Place]) -> Clause | None:
    places = globbed(kind, place)
    return None if places is None else _listed(places)


def _kind_search(terms: Sequence[Pattern], kind: str, where: Sequence[Place] = HERE) -> Clause | None:
    places = globbed(kind, where)
    return None if places is None else _search(terms=terms, where=places)


def _about(terms: Sequence[Pattern], where: Sequence[Place]) -> Clause | None:
    """What the files say about something: found first, then put into words."""
    found = _search(terms=terms, where=where)
    question = f"what is said about {' and '.join(pattern.text for pattern in terms)}"
    return None if found is None else attrs.evolve(found, analysis=Analysis(question=question))


def searched(
    terms: Sequence[Pattern | None], where: Sequence[Place] = HERE, *, ignore_case: bool = False
) -> tuple[SearchSource, ...] | None:
    """One search for each text in each place."""
    found = []
    for pattern in terms:
        for place in where:
            if pattern is None or (place.bare and not (pattern.certain or pattern.hinted)):
                return None
            found.append(
                SearchSource(
                    pattern=pattern.text,
                    path=place.path,
                    glob=place.glob,
                    ignore_case=ignore_case or pattern.ignore_case,
                    regex=pattern.regex,
                )
            )
    return tuple(found) if len(set(found)) == len(found) <= 6 else None


def _hits(terms: Sequence[Pattern], where: Sequence[Place]) -> tuple[SearchSource, ...] | None:
    """`find X in Y`. In a file that is a search only for a certain text; `the title` of a file has to be read."""
    return searched(terms, where) if _searchable(terms, where) else None


def _searchable(terms: Sequence[Pattern], where: Sequence[Place]) -> bool:
    """Whether these texts are looked up in these places, and not understood in a file. Logs are looked up."""
    in_file = any(path_kind(place.path) == "file" and not place.path.endswith(".log") for place in where)
    return not in_file or all(pattern.certain for pattern in terms)


def _search(
    hits: tuple[SearchSource, ...] | None = None,
    *,
    terms: Sequence[Pattern | None] = (),
    where: Sequence[Place] = HERE,
    tail: bool = False,
) -> Clause | None:
    sources = hits if hits is not None else searched(terms, where)
    if not sources:
        return None
    if tail:
        sources = tuple(attrs.evolve(source, ignore_case=True) for source in sources)
    return Clause(sources=sources)


def _anywhere(terms: Sequence[Pattern], *, tail: bool = False) -> Clause | None:
    """A search without a place: only for a text that can only be meant literally, in the whole project."""
    found = _search(terms=terms, tail=tail) if all(pattern.literal for pattern in terms) else None
    return None if found is None else attrs.evolve(found, placeless=True)


def _searched_more(
    terms: Sequence[Pattern], where: Sequence[Place], more: tuple[SearchSource, ...]
) -> tuple[SearchSource, ...] | None:
    """`a for x and b for y`."""
    hits = searched(terms, where)
    return None if hits is None else (*hits, *more)


def _about_place(core: Pattern, where: Sequence[Place]) -> Clause | None:
    return _search(terms=(core,), where=where)


def _told_hits(hits: tuple[SearchSource, ...]) -> Clause | None:
    """`tell me about the use of X in Y`."""
    return None if any(path_kind(hit.path) == "file" for hit in hits) else _told(Clause(sources=hits))


def _told_search(terms: Sequence[Pattern], where: Sequence[Place]) -> Clause | None:
    """`look in X and tell me which ...`: found, then put into words."""
    found = _search(terms=terms, where=where)
    return None if found is None else _told(found)


def _kind_imports(core: Pattern, kind: str, where: Sequence[Place] = HERE) -> Clause | None:
    places = globbed(kind, where)
    return None if places is None else _imports(core, places)


def _amount(terms: Sequence[Pattern], where: Sequence[Place] = HERE, *, tail: bool = False) -> Clause | None:
    """How many of something there are, where counting the text answers it."""
    return _plural(terms, where, tail=tail) if _searchable(terms, where) else None


def _plural(terms: Sequence[Pattern], where: Sequence[Place] = HERE, *, tail: bool = False) -> Clause | None:
    return _search(terms=tuple(map(singular, terms)), where=where, tail=tail)


def _imports(core: Pattern, where: Sequence[Place] = HERE) -> Clause | None:
    return _search(terms=(imported(core),), where=where)


def _told(found: Clause, rest: str = "") -> Clause:
    """`tell me which ...`: the finding is put into words."""
    return found if found.analysis else attrs.evolve(found, analysis=Analysis(question=rest))


def _how(terms: Sequence[Pattern], where: Sequence[Place] = HERE) -> Clause | None:
    found = _search(terms=terms, where=where)
    question = f"how {' and '.join(pattern.text for pattern in terms)} is used"
    return None if found is None else attrs.evolve(found, analysis=Analysis(question=question))


def _listed(places: Sequence[Place]) -> Clause | None:
    """Files themselves, not lines in them."""
    if any(place.bare or path_kind(place.path) == "file" for place in places):
        return None
    return Clause(sources=tuple(SearchSource(pattern="", path=p.path, glob=p.glob) for p in places))


def _file_called(path: str, where: Sequence[Place] = HERE) -> Clause | None:
    return _listed(tuple(attrs.evolve(place, glob=f"**/{path}") for place in where)) if "/" not in path else None


SEARCH_FRAMES: dict[str, tuple[Frame, ...]] = {
    "tail": (
        ("[@line_numbers] @ignoring_case", lambda: True),
        ("@line_numbers", lambda: False),
    ),
    "hit": (
        ("{terms} {where}", _hits),
        ("{where} {terms}", _hits),
    ),
    "hits": (
        ("{hit}", lambda hit: hit),
        ("{hit} (and|, / , and) [also] [@find] {hits}", lambda hit, hits: (*hit, *hits)),
    ),
    "literal_search": (
        ("@find {terms:certain_terms} {where} [{tail}]", _search),
        ("grep|rg {terms:certain_terms} {where:places} [{tail}]", _search),
        ("grep|rg {terms} {where:path_place} [{tail}]", _search),
        ("{where} [,] @find {terms:certain_terms} [{tail}]", _search),
        ("grep|rg -r|-rn|-n|-nr|-i|-ri|-R {terms} {where:places} [{tail}]", _search),
        ("(is|are) {terms:certain_terms} [@used|present|anywhere] {where}", _search),
        ("(does|do|did) {terms:certain_terms} [still] @occur {where}", _search),
        ("(does|do) {where:places} @mention_it {terms:certain_terms}", _search),
    ),
    "search": (
        ("@look [@in] {where:places} [,] for {terms} [{tail}]", _search),
        ("@look {where} for {terms} [{tail}]", _search),
        ("@look {hits:look_hits}", _search),
        ("@look [@in] {where:places} and|to|, [then] [to] @find {terms} [{tail}]", _plural),
        ("@look [@in] {where:places} and|to|, [then] [to] @ask {terms:asked_terms}", _told_search),
        ("@look [@in] {where:places} and|to|, [then] [to] [@ask] {terms:counted_terms}", _plural),
        ("(tell [me|us] / explain|describe [to me|us]) [about] {hits}", _told_hits),
        ("(any|anything|everything|every|all) {hits:any_hits}", _search),
        ("{hits:anything_hits}", _search),
        ("@find {hits} [{tail}]", _search),
        ("{where} [,] @find {terms} [{tail}]", _search),
        ("@look for {terms} [{tail}]", _anywhere),
        ("@find {terms} [{tail}]", _anywhere),
        ("@find files (named|called) {path} [{where}]", _file_called),
        ("@find [the|a|any|all] file|files [that is|are] (named|called) {path} [{where}]", _file_called),
        ("{found:search_question}", lambda found: found),
        ("@ask {found:search_indirect}", _told),
        ("[@ask] {found:search_count}", lambda found: found),
        ("@find [@every] @of_files {where} (that|which) @mentions_it {terms}", _search),
        ("@find [@every] @of_files {where} @mentions_it {terms}", _search),
        ("@list {places:file_set}", _listed),
        ("@list [me] what is in {places:folders}", _listed),
        ("@list [the / all / all the] contents|content|files [of|in|under] {places:folders}", _listed),
        ("(what|which) files are [there] in|under {places:folders}", _listed),
        ("(what|which) files (does|do) {places:folders} (contain|have)", _listed),
        ("what is in|inside {places:folders}", _listed),
        ("(what|which) {kind:globbed_plain} are [there] {place:where}", _kinds),
        ("how many {places:file_set}", _listed),
        ("how many {kind:globbed_plain} (are|do) [there|we|i] [have] {place:where}", _kinds),
        ("how many files are [there] {places:where}", _listed),
        ("how many files (does|do) {places:folders} (contain|have)", _listed),
        ("count {places:file_set}", _listed),
        ("@find [out] how [@every] {terms} (is|are) @used {where}", _how),
        ("explain|describe how [@every] {terms} (is|are) @used {where}", _how),
        ("how (is|are) [@every] {terms} @used {where}", _how),
    ),
    "search_question": (
        ("is|are there [still|also] {terms} [left|remaining] {where}", _plural),
        ("do|does {where:places} @mention_it {terms}", _plural),
        (
            "(do|does) (we|i|anything|anyone|something / the code / any file) [still] @mention_it {terms} {where}",
            _plural,
        ),
        ("(do|does) (we|i / the code) [still] have {terms} {where}", _plural),
        ("(does|do) (anything|something / any [of the] file|files) {where} @mention_it {terms}", _plural),
        ("(is|are) {terms} [still] [@used|present|there] {where}", _search),
        ("(is|are) (anything|something) {where} (marked|flagged|labelled|labeled|tagged) [as|with] {terms}", _search),
        ("(does|do|did) {terms} [still] @occur {where}", _search),
        ("where (is|are|was|were) {terms} [@used] {where}", _search),
        ("where {where} (is|are) {terms} [@used]", _search),
        ("where (do|does) (we|i|they / the code) @mention_it {terms} {where}", _search),
        ("where (does|do) {terms} @occur {where}", _search),
        ("(which|what) @of_files [{where}] @mentions_it {terms}", _search),
        ("(which|what) @of_files @mentions_it {terms} {where}", _search),
        ("(which|what) {where:file_set} @mentions_it {terms}", _search),
        ("(which|what) {kind:globbed_plain} {where} @mentions_it {terms}", _kind_search),
        ("(which|what) {kind:globbed_plain} @mentions_it {terms} [{where}]", _kind_search),
        ("(which|what) @of_files [{where}] import|imports {core}", _imports),
        ("(which|what) @of_files import|imports {core} {where}", _imports),
        (
            "(has|have) (we|anyone|anything|someone|something / any file) [ever|already] @used|mention {terms} {where}",
            _search,
        ),
        ("did (we|i|they|anyone) [ever] (get|have|see|use|mention|log|hit) {terms} {where}", _plural),
        ("(anything|something) {where} @about {core}", _about_place),
        ("(who|what) [else] @mentions_it {terms} {where}", _search),
        ("(which|what) {kind:globbed_plain} [{where}] import|imports {core}", _kind_imports),
        ("in (which|what) @of_files [{where}] (is|are|do|does) {terms} (@used|@occur)", _search),
        ("in (which|what) @of_files (is|are|do|does) {terms} (@used|@occur) [{where}]", _search),
        ("(which|what) lines [{where}] @mentions_it {terms}", _search),
        ("(which|what) lines @mentions_it {terms} {where}", _search),
        ("what does|do {where:folders} say about {terms}", _about),
        ("what is (said|written) about {terms} {where}", _about),
        ("what (does|do) @collection in|under|inside {where:places} say|tell [me|us] about|on {terms}", _about),
        ("(is|are) there [a|any] @of_files (that|which) @mentions_it {terms} {where}", _search),
        ("(is|are) there [a|any] @of_files {where} (that|which) @mentions_it {terms}", _search),
        ("(is|are) there [a|any] @of_files {where} @mentions_it {terms}", _search),
        ("(what|which) {terms} (are|do) [there|we|you] [still] [have|find|see|left|remaining] {where}", _plural),
    ),
    "look_hits": (
        ("[@in] {where:places} for {terms}", searched),
        ("[@in] {where:places} for {terms} and|, [also] {more:look_hits}", _searched_more),
    ),
    "any_hits": (("{terms} {where}", lambda terms, where: searched(tuple(map(singular, terms)), where)),),
    "anything_hits": (("anything|everything @about {core} {where}", lambda core, where: searched((core,), where)),),
    "asked_terms": (
        ("(where|whether|if) {terms} (is|are) [@used]", lambda terms: terms),
        ("(where|whether|if) {terms} @occurs", lambda terms: terms),
        ("(where|whether|if) (we|they|i|it / the code) @mentions_it {terms}", lambda terms: terms),
        ("(which|what) @of_files @mentions_it {terms}", lambda terms: terms),
        ("(whether|if) there (is|are) {terms}", lambda terms: terms),
    ),
    "counted_terms": (
        ("@count {terms} [@there_are]", lambda terms: terms),
        ("[count] how often|frequently {terms} (@occurs / is|are @used)", lambda terms: terms),
        ("[count] how many times {terms} (@occurs / is|are @used)", lambda terms: terms),
        ("how many @of_files @mentions_it {terms}", lambda terms: terms),
    ),
    "search_indirect": (
        ("(if|whether) {terms} (is|are) [@used] {where}", _search),
        ("(if|whether) {terms} @occurs {where}", _search),
        ("(if|whether) there (is|are) {terms} {where}", _plural),
        ("(if|whether) {where:places} @mentions_it {terms}", _search),
        ("what {where:folders} say|says about {terms}", _about),
        ("where {terms} (is|are) [@used] {where}", _search),
        ("where {terms} @occurs {where}", _search),
        ("{found:search_question}", lambda found: found),
    ),
    "search_count": (
        ("@count {terms} [@there_are] {where} [{tail}]", _amount),
        ("@count {terms} (does|do) {where:places} (have|contain)", _amount),
        ("how many lines {where} @mentions_it {terms}", _search),
        ("how many lines @mentions_it {terms} {where}", _search),
        ("how often|frequently (is|are|does|do) {terms} (@used|@occur|@occurs) {where} [{tail}]", _search),
        ("[count] how often|frequently {terms} (@occurs / is|are @used) {where}", _search),
        ("[count] how many times (is|are|does|do) {terms} (@used|@occur|@occurs) {where} [{tail}]", _search),
        ("[count] how many times {terms} (@occurs / is|are @used) {where}", _search),
        ("how many @of_files [{where}] @mentions_it {terms}", _search),
        ("how many @of_files @mentions_it {terms} {where}", _search),
        ("in how many @of_files [{where}] (is|are|does|do) {terms} (@used|@occur)", _search),
        ("count the files {where} that @mentions_it {terms}", _search),
        ("count the files that @mentions_it {terms} {where}", _search),
        ("in {where:places} [,] (how many / count) {terms} [@there_are]", _plural),
    ),
}
