"""Indexing reads what is new, forgets what is gone, goes on where it stopped; searching finds places and says so."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import attrs
import pytest
import trio

from tests.documents.counting import Counting
from trouper.actors.chunking import Chunk, Chunking
from trouper.actors.documents import CountDocuments, DocumentIndexed, IndexDocuments, IndexingBegun, SearchDocuments
from trouper.actors.protocols import NewDocument, ReadDocument
from trouper.adapters.document_files import DocumentFiles
from trouper.adapters.store_documents import SqliteDocumentStore
from trouper.runtime import ActorCrashed, BadRequest, DocumentsFailed, DocumentsRefused, LLMError, ModelUnavailable
from trouper.testing import When, crash, wait_incarnation

pytestmark = pytest.mark.io


async def test_a_tree_is_indexed_and_found_with_place_and_heading(opened, tree) -> None:
    async with opened() as (documents, *_):
        report = await documents.ask(IndexDocuments((str(tree),)))
        (first, *_rest) = await documents.ask(SearchDocuments("when is the backup made?", 3))

    assert (report.indexed, report.unchanged, report.removed) == (4, 0, 0)
    assert [(s.path.removeprefix(str(tree)), s.reason) for s in report.skipped] == [("/logo.png", "binary")]
    assert first.file == str(tree / "docs" / "guide.md")
    assert first.first_line <= 7 <= first.last_line
    assert "every night at two" in first.text
    assert "every night at two" in first.snippet
    assert 0 < first.score <= 1
    assert not first.stale


async def test_the_lines_of_html_are_those_of_the_file(opened, tree) -> None:
    async with opened() as (documents, *_):
        await documents.ask(IndexDocuments((str(tree / "docs" / "page.html"),)))
        (found,) = await documents.ask(SearchDocuments("licence costs euros"))

    assert found.text == "# Prices\n\nA licence costs nine euros."
    assert (found.first_line, found.last_line) == (3, 4)
    assert found.headings == ("Prices",)


async def test_what_has_not_changed_is_not_read_again_and_what_has_is(opened, tree) -> None:
    async with opened() as (documents, embedder, *_):
        await documents.ask(IndexDocuments((str(tree),)))
        embedder.texts.clear()
        (tree / "notes.txt").write_text("The garden gate is painted blue.\n")
        (tree / "main.py").unlink()
        again = await documents.ask(IndexDocuments((str(tree),)))
        gate = await documents.ask(SearchDocuments("garden gate", 1))
        socket = await documents.ask(SearchDocuments("connect open socket", 10))

    assert (again.indexed, again.unchanged, again.removed) == (1, 2, 1)
    assert embedder.texts[:1] == ["The garden gate is painted blue."]
    assert gate[0].text == "The garden gate is painted blue."
    assert [p.file for p in socket if p.file.endswith("main.py")] == []


async def test_a_file_outside_of_what_is_named_is_not_forgotten(opened, tree) -> None:
    async with opened() as (documents, _, store, _):
        await documents.ask(IndexDocuments((str(tree),)))
        report = await documents.ask(IndexDocuments((str(tree / "docs"),)))
        known = await store.known()

    assert (report.unchanged, report.removed) == (2, 0)
    assert str(tree / "notes.txt") in known


async def test_a_named_file_that_became_binary_is_forgotten(opened, tree) -> None:
    async with opened() as (documents, _, store, _):
        await documents.ask(IndexDocuments((str(tree),)))
        (tree / "notes.txt").write_bytes(b"\0\1\2")
        report = await documents.ask(IndexDocuments((str(tree),)))
        known = await store.known()

    assert report.removed == 1
    assert str(tree / "notes.txt") not in known


async def test_another_way_of_cutting_reads_everything_again(opened, tree) -> None:
    async with opened() as (documents, *_):
        await documents.ask(IndexDocuments((str(tree),)))
    async with opened(chunking=Chunking(max_chars=40, overlap_chars=0)) as (documents, *_):
        report = await documents.ask(IndexDocuments((str(tree),)))

    assert (report.indexed, report.unchanged) == (4, 0)


async def test_another_embedder_embeds_everything_again(opened, tree) -> None:
    other = Counting()
    other.name = "another"
    async with opened() as (documents, *_):
        await documents.ask(IndexDocuments((str(tree),)))
    async with opened(embedder=other) as (documents, *_):
        before = await documents.ask(SearchDocuments("garden gate green", 1))
        report = await documents.ask(IndexDocuments((str(tree),)))
        after = await documents.ask(SearchDocuments("garden gate green", 1))

    assert report.indexed == 4
    assert before[0].score == pytest.approx(0.5)  # by its words alone
    assert after[0].score == pytest.approx(1.0)
    assert before[0].text == after[0].text


async def test_an_interrupted_indexing_goes_on_where_it_stopped(opened, tree) -> None:
    for i in range(30):
        (tree / f"many{i:02}.txt").write_text(f"Number {i} of many.\n" * 3)
    async with opened(batch_size=1) as (documents, embedder, store, _):
        with trio.CancelScope() as scope:

            async def cancel_after_some() -> None:
                while (await store.counts()).files < 10:
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_after_some)
                await documents.ask(IndexDocuments((str(tree),)))
        done = (await store.counts()).files
        embedder.texts.clear()
        report = await documents.ask(IndexDocuments((str(tree),)))
        counts = await documents.ask(CountDocuments())

    assert scope.cancelled_caught
    assert 10 <= done < 34
    assert report.unchanged >= 10
    assert report.indexed + report.unchanged == 34
    assert counts.files == 34


async def test_a_passage_that_cannot_be_embedded_is_found_by_its_words(opened, tree) -> None:
    class Picky(Counting):
        async def embed(self, texts):
            if any("garden" in text for text in texts):
                raise BadRequest("no garden, please")
            return await super().embed(texts)

    async with opened(embedder=Picky()) as (documents, *_):
        report = await documents.ask(IndexDocuments((str(tree),)))
        found = await documents.ask(SearchDocuments("gate green"))

    assert (report.indexed, report.unembedded) == (4, 1)
    assert found[0].text == "The garden gate is painted green."


async def test_without_vectors_searching_goes_by_words_and_indexing_says_why_it_failed(opened, tree) -> None:
    async with opened() as (documents, embedder, store, _):
        await documents.ask(IndexDocuments((str(tree / "notes.txt"),)))
        embedder.fail = ModelUnavailable("the server is away")
        found = await documents.ask(SearchDocuments("gate"))
        with pytest.raises(LLMError, match="the server is away"):
            await documents.ask(IndexDocuments((str(tree),)))
        counts = await store.counts()

    assert [p.text for p in found] == ["The garden gate is painted green."]
    assert counts.files == 1


async def test_a_changed_file_is_marked_until_it_is_indexed_again(opened, tree) -> None:
    async with opened() as (documents, *_):
        await documents.ask(IndexDocuments((str(tree),)))
        (tree / "notes.txt").write_text("Something else altogether.\n")
        stale = await documents.ask(SearchDocuments("garden gate", 1))
        (tree / "notes.txt").unlink()
        gone = await documents.ask(SearchDocuments("garden gate", 1))

    assert [p.stale for p in (*stale, *gone)] == [True, True]


async def test_an_index_that_another_process_changed_is_read_again(opened, tree) -> None:
    async with opened() as (documents, _, store, _):
        await documents.ask(IndexDocuments((str(tree),)))
        await documents.ask(SearchDocuments("garden gate", 1))
        await store.remove([str(tree / "notes.txt")])
        found = await documents.ask(SearchDocuments("garden gate", 10))

    assert [p for p in found if p.file.endswith("notes.txt")] == []


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (SearchDocuments(""), "empty"),
        (SearchDocuments("x" * 20_001), "characters"),
        (SearchDocuments("x", 0), "k must be"),
        (SearchDocuments("x", k=True), "k must be"),
        (SearchDocuments("x", 1001), "k must be"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(opened, message, why) -> None:
    async with opened() as (documents, *_):
        with pytest.raises(DocumentsRefused, match=why):
            await documents.ask(message)


async def test_a_path_that_is_not_there_is_refused_and_nothing_is_indexed(opened, tree) -> None:
    async with opened() as (documents, _, store, _):
        with pytest.raises(DocumentsRefused, match="no such file"):
            await documents.ask(IndexDocuments((str(tree), str(tree / "nowhere"))))
        counts = await store.counts()

    assert counts.files == 0


@pytest.mark.parametrize("gone", ["docs", "notes.txt", "."])
async def test_what_is_named_and_has_vanished_is_forgotten(opened, tree, gone: str) -> None:
    """Who names a directory that is gone wants its passages gone too; the parent may be far too large to name."""
    async with opened() as (documents, _, store, _):
        before = await documents.ask(IndexDocuments((str(tree),)))
        (tree / gone).rename(tree.parent / "elsewhere")
        report = await documents.ask(IndexDocuments((str(tree / gone),)))
        left = await store.known()
        with pytest.raises(DocumentsRefused, match="no such file"):  # now nothing is known of it
            await documents.ask(IndexDocuments((str(tree / gone),)))

    assert report.removed == {"docs": 2, "notes.txt": 1, ".": before.indexed}[gone]
    assert len(left) == before.indexed - report.removed
    assert not [path for path in left if Path(path).is_relative_to(tree / gone)]


async def test_odd_things_in_a_tree_are_passed_over_or_told_with_their_reason(opened, tree, monkeypatch) -> None:
    (tree / "link.txt").symlink_to("notes.txt")
    (tree / "loop").symlink_to(".")
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "docs" / "pipe")
    (tree / "docs" / "locked").mkdir()
    os.close(os.open(os.fsencode(str(tree)) + b"/bad\xff.txt", os.O_CREAT | os.O_WRONLY))
    opening = os.open

    def refusing(path, flags, *rest, **more):
        if path == "locked":  # chmod does not keep the super-user out, whom tests may run as
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opening(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refusing)
    async with opened() as (documents, *_):
        report = await documents.ask(IndexDocuments((str(tree),)))

    assert report.indexed == 4
    assert {s.path.removeprefix(str(tree)): s.reason for s in report.skipped} == {
        "/bad\N{REPLACEMENT CHARACTER}.txt": "its name is not UTF-8",
        "/docs/locked": "permission denied",
        "/docs/pipe": "not a regular file",
        "/logo.png": "binary",
    }


@pytest.mark.parametrize("path", ["with\0nul", "half \ud800", "~nobody-of-that-name/x"])
async def test_a_path_that_cannot_be_one_is_refused(opened, path: str) -> None:
    async with opened() as (documents, *_):
        with pytest.raises(DocumentsRefused, match="nothing was indexed"):
            await documents.ask(IndexDocuments((path,)))


async def test_progress_is_told_for_every_file(opened, tree) -> None:
    async with opened() as (documents, _, _, system):
        with system.events() as events:
            await documents.ask(IndexDocuments((str(tree),)))
            told = list(events.take_nowait())

    assert [e.files for e in told if isinstance(e, IndexingBegun)] == [5]
    files = [e for e in told if isinstance(e, DocumentIndexed)]
    assert sorted(e.number for e in files) == [1, 2, 3, 4, 5]
    assert {e.path: e.skipped for e in files}[str(tree / "logo.png")] == "binary"


@pytest.mark.parametrize("when", list(When))
async def test_a_crash_while_indexing_loses_nothing_that_was_written(opened, tree, when) -> None:
    async with opened(batch_size=1) as (documents, _, store, _):
        await documents.ask(IndexDocuments((str(tree / "docs"),)))
        crash(documents, when)
        with trio.fail_after(20):
            with contextlib.suppress(ActorCrashed):  # the asker hears of it, and asks again
                await documents.ask(IndexDocuments((str(tree),)))
            await wait_incarnation(documents, 2)
            await documents.ask(IndexDocuments((str(tree),)))
        found = await documents.ask(SearchDocuments("garden gate", 1))
        counts = await store.counts()

    assert counts.files == 4
    assert found[0].text == "The garden gate is painted green."


async def test_large_files_are_skipped_with_their_size(opened, tree) -> None:
    (tree / "big.txt").write_text("x" * 5_000)
    async with opened(files=DocumentFiles(max_bytes=4_000)) as (documents, *_):
        report = await documents.ask(IndexDocuments((str(tree),)))

    assert [s.reason for s in report.skipped if s.path.endswith("big.txt")] == [
        "0.0 MB, more than 0.004 MB (documents.max_file_mb)"
    ]


async def test_a_store_that_cannot_be_opened_is_a_typed_error(opened, tree, tmp_path) -> None:
    (tmp_path / "documents.sqlite").write_bytes(b"this is no database at all, but a text" * 100)
    async with opened() as (documents, *_):
        with pytest.raises(DocumentsFailed, match="trouper index"):
            await documents.ask(SearchDocuments("x"))
        with pytest.raises(DocumentsFailed):
            await documents.ask(IndexDocuments((str(tree),)))


def new_document(path: str, *texts: str, vector: bytes | None = None) -> NewDocument:
    read = ReadDocument(path=path, digest=b"d", size=1, changed=1, text="", shape="prose", recipe="r")
    pieces = [Chunk(text=text, start=0, end=1, first_line=1, last_line=1) for text in texts]
    return NewDocument(document=read, recipe="r", embedder="e", pieces=tuple((piece, vector) for piece in pieces))


async def test_a_file_is_replaced_with_all_its_passages_or_not_at_all(tmp_path) -> None:
    store = SqliteDocumentStore(tmp_path / "d.sqlite")
    await store.replace([new_document("/a", "old words"), new_document("/b", "other words")])
    with pytest.raises(DocumentsFailed):
        await store.replace([new_document("/b", "newer"), new_document("/a", "new words", "half \ud800")])
    found = await store.passages([number for number, _ in await store.matching("old other new newer words", 9)])
    await store.aclose()

    assert sorted(row.text for row in found) == ["old words", "other words"]


async def test_only_vectors_that_a_query_compares_with_are_given(tmp_path) -> None:
    """The model behind an address may change under the same name."""
    store = SqliteDocumentStore(tmp_path / "d.sqlite")
    await store.replace(
        [
            new_document("/a", "one", vector=b"\0" * 8),
            new_document("/b", "two", vector=b"\0" * 12),
            new_document("/c", "three"),
        ]
    )
    short, long, none = await store.vectors("e", 2), await store.vectors("e", 3), await store.vectors("f", 2)
    await store.aclose()

    assert [len(vector) for vector in short[1]] == [8]
    assert [len(vector) for vector in long[1]] == [12]
    assert (len(short[0]), len(long[0]), len(none[0])) == (1, 1, 0)


async def test_the_files_of_memory_and_index_are_no_documents(tree) -> None:
    for name in ("m.sqlite", "m.sqlite-wal", "m.sqlite-shm", "m.sqlite.md"):
        (tree / name).write_text("text")
    found = await DocumentFiles(apart=(tree / "m.sqlite",)).find((str(tree),))

    assert [Path(file.path).name for file in found.files if "m.sqlite" in file.path] == ["m.sqlite.md"]
    assert [Path(file.path).name for file in found.skipped] == []


def test_reports_are_plain_data() -> None:
    from trouper.actors.documents import Passage

    passage = Passage(file="/a", first_line=1, last_line=2, score=0.5, text="t", snippet="t", headings=("h",))

    assert passage.as_json() == {**attrs.asdict(passage), "headings": ["h"]}
