"""`trouper index` and `trouper search`: what one process has indexed, the next one finds, with place and reason."""

from __future__ import annotations

import pytest

from trouper.actors.documents import DocumentIndexed, IndexingBegun
from trouper.adapters.progress_index import IndexView

pytestmark = pytest.mark.io


def notes(here):
    folder = here.cwd / "notes"
    folder.mkdir()
    (folder / "garden.md").write_text("# Garden\n\nThe gate is painted green.\n")
    (folder / "bread.txt").write_text("Bread needs salt and time.\n")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0")
    return folder


def test_what_was_indexed_is_found_by_another_process(user):
    notes(user)

    said = user("index", "notes", "--json", "--quiet")
    again = user("index", "notes", "--json", "--quiet")
    found = user("search", "which colour has the gate?", "--json", "--quiet")

    assert (said.code, again.code, found.code) == (0, 0, 0)
    assert {k: said.json[k] for k in ("indexed", "unchanged", "removed", "passages")} == {
        "indexed": 2,
        "unchanged": 0,
        "removed": 0,
        "passages": 2,
    }
    assert [(s["path"].rpartition("/")[2], s["reason"]) for s in said.json["skipped"]] == [("photo.jpg", "binary")]
    assert (again.json["indexed"], again.json["unchanged"]) == (0, 2)
    first = found.json["passages"][0]
    assert first["file"].endswith("notes/garden.md")
    assert (first["first_line"], first["last_line"]) == (1, 3)
    assert first["snippet"] == "# Garden The gate is painted green."
    assert first["headings"] == ["Garden"]


def test_a_person_reads_place_and_snippet(here):
    notes(here)
    told = here("index", "notes")

    said = here("search", "salt", "-k", "1")

    assert "Indexed 2 files in 2 passages, 0 unchanged, 0 removed, 1 skipped." in told.out
    assert "skipped notes/photo.jpg: binary" in told.err
    assert "notes/bread.txt:1-1" in said.out
    assert "Bread needs salt and time." in said.out


def test_a_file_that_changed_since_is_marked(here):
    folder = notes(here)
    here("index", "notes", "--quiet")
    (folder / "bread.txt").write_text("Now it is about cake.\n")

    said = here("search", "bread salt", "-k", "1")

    assert "changed since it was indexed" in said.out


def test_nothing_found_is_an_empty_answer_and_no_failure(here):
    told = here("search", "anything")

    assert (told.code, told.out) == (0, "")
    assert "trouper index PATH" in told.err


@pytest.mark.parametrize("arguments", [("index", "nowhere"), ("search", ""), ("search", "x", "-k", "0"), ("index",)])
def test_what_cannot_be_done_is_2(here, arguments):
    assert here(*arguments).code == 2


def test_a_named_key_of_the_configuration_counts(here):
    notes(here)

    said = here("index", "notes", "--json", "--set", "documents.max_file_mb=0.00001")

    assert said.json["indexed"] == 0
    assert all("documents.max_file_mb" in s["reason"] for s in said.json["skipped"])


def test_the_bar_shows_files_passages_and_the_last_file() -> None:
    view = IndexView()
    empty = view.lines(0.0, width=100, height=20)
    view.take(IndexingBegun(at=0.0, actor="documents", files=4))
    view.take(DocumentIndexed(at=0.0, actor="documents", path="/a/b.md", number=2, passages=3))
    (line,) = view.lines(0.0, width=100, height=20)
    (narrow,) = view.lines(0.0, width=20, height=20)

    assert empty == []
    assert line == "[" + "#" * 15 + "." * 15 + "] 2/4 files, 3 passages  /a/b.md"
    assert len(narrow) < 20
