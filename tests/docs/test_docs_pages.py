"""What holds for every page: links that lead somewhere, the shape of the text, the words it must not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, blocks, headings, links, name_of, pages, prose

DESIGN = ROOT / "docs" / "explanation" / "design.md"
FRAGMENTS = ROOT / "docs" / "changelog.d"
LANGUAGES = {"python", "console", "sh", "yaml", "json", "text", "toml", "markdown", "mermaid"}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_internal_links_resolve(page: Path) -> None:
    """Each relative link names a file that is there, and a heading of it."""
    broken = []
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_a_page_has_one_title_and_says_what_each_block_is(page: Path) -> None:
    text = prose(page)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    unknown = [f"{b.where}: {b.language!r}" for b in blocks(page) if b.language not in LANGUAGES]
    assert unknown == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_one_sentence_a_line(page: Path) -> None:
    """A full stop inside a line of prose that is followed by a capital letter is a second sentence."""
    second = re.compile(r"(?<![A-Z])[a-z)`*]\. +[A-Z]")
    lines = [line for line in prose(page).splitlines() if not line.lstrip().startswith("|")]
    assert [line for line in lines if second.search(re.sub(r"`[^`]*`", "`x`", line))] == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_machine_path_and_no_registry_stands_in_a_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = re.findall(r"/(?:home|root|Users)/\w+|/tmp/(?!trouper-demo-)\w+|pypi\.org|index-url|site-packages", text)
    assert wrong == []


def test_every_page_of_the_docs_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    left = [ROOT / "docs" / "index.md"]
    while left:
        page = left.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = (page.parent / link.partition("#")[0] for link in links(page) if not link.startswith(("http", "#")))
        left += [t.resolve() for t in targets if t.is_file()]
    unreached = [name_of(p) for p in pages() if p.is_relative_to(ROOT / "docs") and p not in seen]
    assert unreached == []


def test_the_design_page_ends_with_its_own_violations() -> None:
    assert headings(DESIGN)[-1] == "Where we fall short of this"


def test_the_rules_of_the_design_page_are_numbered_without_a_gap() -> None:
    """Reviews quote them by number."""
    rules = [int(n) for n in re.findall(r"^(\d+)\. \*\*", prose(DESIGN), re.MULTILINE)]
    goals = rules.index(1, 1)  # the ranked goals come first, then the rules
    assert rules[:goals] == list(range(1, goals + 1))
    assert rules[goals:] == list(range(1, len(rules) - goals + 1))


def test_the_tour_names_every_file_of_the_kernel_and_no_other() -> None:
    """By its name without the ending, in the table of the design page."""
    tour = prose(DESIGN).partition("**`runtime/`**")[2].partition("**`actors/`**")[0]
    named = re.findall(r"`(_\w+|testing)`", tour)
    assert sorted(named) == sorted(p.stem for p in (ROOT / "runtime").glob("*.py") if p.stem != "__init__")


def test_changelog_fragments_are_named_for_what_they_tell() -> None:
    names = [p.name for p in FRAGMENTS.iterdir() if p.name != "README.md"]
    wrong = [n for n in names if not re.fullmatch(r"\d+\.(added|changed|fixed|removed)\.md", n)]
    assert wrong == []
    for name in names:
        assert (FRAGMENTS / name).read_text(encoding="utf-8").strip(), f"{name} is empty"


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    assert "Unreleased" in headings(ROOT / "CHANGELOG.md")


def test_the_glossary_has_the_words_of_the_field() -> None:
    """The words that code and talk use, each with its meaning."""
    words = re.split(
        r",\s+",
        """actor, ref, mailbox, envelope, ask, tell, handler, cell, incarnation, child spec, supervisor, strategy,
        restart intensity and period, backoff, escalate, monitor, drain, registry, system, troupe, goal, plan, step,
        reference, level, ready set, lease, token bucket, batch, journal, record, resume, replay, seed, fault, trace,
        outcome, verdict, checkpoint""",
    )
    entries = re.findall(r"^- \*\*(.+?)\*\*:", prose(ROOT / "docs" / "glossary.md"), re.MULTILINE)
    assert [word for word in words if word not in entries] == []
    assert len(set(entries)) == len(entries)
