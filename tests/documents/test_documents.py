"""Indexing reads what is new, forgets what is gone, goes on where it stopped; searching finds places and says so."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import sys
from pathlib import Path

import attrs
import pytest
import trio

from tests.documents.counting import Counting
from trouper.actors import documents as documents_module
from trouper.actors.chunking import Chunk, Chunking
from trouper.actors.documents import CountDocuments, DocumentIndexed, IndexDocuments, IndexingBegun, SearchDocuments
from trouper.actors.protocols import NewDocument, ReadDocument
from trouper.adapters.document_files import DocumentFiles
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.memory_files import MemoryFiles
from trouper.adapters.store_documents import SqliteDocumentStore
from trouper.adapters.wiring import open_troupe
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


async def test_others_come_round_while_a_large_file_is_written(opened, tree, monkeypatch) -> None:
    """Ten thousands of passages are put together, and let go, in parts: in one go either kept the loop for 12 ms."""
    monkeypatch.setattr(documents_module, "_AT_ONCE", 5)
    (tree / "many.txt").write_text("\n\n".join(f"item {number} of the list" for number in range(200)))
    turns = 0
    seen: dict[str, int] = {}

    async def turn() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with opened(chunking=Chunking(max_chars=30, overlap_chars=0)) as (documents, embedder, store, _):
        replace, embed = store.replace, embedder.embed

        async def watched_embed(texts):
            found = await embed(texts)
            seen["embedded"] = turns
            return found

        async def watched(new) -> None:
            seen["begun"] = turns
            await replace(new)
            seen["written"] = turns

        store.replace, embedder.embed = watched, watched_embed
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turn)
            report = await documents.ask(IndexDocuments((str(tree / "many.txt"),)))
            seen["told"] = turns
            nursery.cancel_scope.cancel()

    assert report.passages == 200
    assert seen["begun"] - seen["embedded"] >= 40
    assert seen["told"] - seen["written"] >= 40


async def test_without_an_embedder_documents_are_found_by_their_words(tree) -> None:
    """Until there is one: then everything is read again, and found by its vectors too."""
    config: dict[str, object] = {"planner": {"mode": "rules"}, "memory": {"path": str(tree / "m.sqlite")}}
    async with open_troupe({**config, "embeddings": {"provider": "none"}}) as troupe:
        report = await troupe.index_documents(str(tree))
        (found,) = await troupe.search_documents("which gate is green?", k=1)
        assert await troupe.search_documents("doorway colour") == ()
        await troupe.remember("Tea is at five")
        assert [memory.content for memory in await troupe.recall("tea")] == ["Tea is at five"]
    async with open_troupe({**config, "embeddings": {"provider": "hash"}}) as troupe:
        again = await troupe.index_documents(str(tree))
        assert len(await troupe.search_documents("greenish")) > 0

    assert (report.indexed, report.unembedded) == (4, report.passages)
    assert found.file.endswith("notes.txt")
    assert (again.indexed, again.unchanged, again.unembedded) == (4, 0, 0)


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
        with trio.fail_after(90):
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


@pytest.mark.skipif(sys.platform != "linux", reason="root heeds permissions elsewhere")
@pytest.mark.parametrize("folder_too", [False, True])
async def test_an_index_that_may_only_be_read_is_searched(tree, tmp_path, folder_too) -> None:
    """Without side files either; whoever wants to change it is told why not."""
    kept = tmp_path / "kept"
    config = {"memory": {"path": str(tmp_path / "m.sqlite")}, "documents": {"path": str(kept / "d.sqlite")}}
    config |= {"embeddings": {"provider": "hash"}, "planner": {"mode": "rules"}}
    async with open_troupe(config) as troupe:
        await troupe.index_documents(str(tree))
    (kept / "d.sqlite").chmod(0o444)
    if folder_too:
        kept.chmod(0o555)
    run = await trio.run_process(
        [sys.executable, "-c", READER, json.dumps(config), str(tree)], capture_stdout=True, capture_stderr=True
    )
    kept.chmod(0o755)
    told = json.loads(run.stdout)

    assert told["found"].endswith("notes.txt")
    assert "may be written" in told["index"]


READER = """
import ctypes, json, os, sys
import trio, trouper

if os.geteuid() == 0:  # root heeds no permissions, unless it lets go of the right not to (capabilities 1 to 3)
    libc = ctypes.CDLL(None, use_errno=True)
    header, rights = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, rights) == 0
    rights[0] &= ~0b1110
    assert libc.capset(header, rights) == 0

async def main(config, tree):
    async with trouper.open_troupe(json.loads(config)) as troupe:
        (found,) = await troupe.search_documents("green garden gate", k=1)
        open(tree + "/new.txt", "w").write("new")
        try:
            told = repr(await troupe.index_documents(tree))
        except trouper.DocumentsFailed as error:
            told = str(error)
    print(json.dumps({"found": found.file, "index": told}))

trio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("put_back", [False, True])
async def test_an_index_that_was_taken_away_is_neither_read_nor_written(opened, tree, tmp_path, put_back) -> None:
    """What is written into a file without a name nobody finds; another file has other passages by the same ids."""
    file = tmp_path / "documents.sqlite"
    async with opened() as (documents, *_):
        await documents.ask(IndexDocuments((str(tree),)))
        file.rename(tmp_path / "elsewhere")
        if put_back:
            file.write_bytes((tmp_path / "elsewhere").read_bytes())
        for message in (SearchDocuments("gate"), IndexDocuments((str(tree),))):
            with pytest.raises(DocumentsFailed, match=r"removed or replaced.*Start anew"):
                await documents.ask(message)


FORMER = """
CREATE TABLE document (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, size INTEGER NOT NULL,
    changed INTEGER NOT NULL, recipe TEXT NOT NULL, embedder TEXT NOT NULL, indexed REAL NOT NULL
);
CREATE TABLE passage (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    text TEXT NOT NULL, headings TEXT NOT NULL, first_line INTEGER NOT NULL, last_line INTEGER NOT NULL,
    page INTEGER, vector BLOB
);
CREATE INDEX passage_of_document ON passage (document);
CREATE VIRTUAL TABLE passage_words USING fts5 (
    text, headings, content='passage', content_rowid='id', tokenize='porter unicode61'
);
CREATE TRIGGER passage_added AFTER INSERT ON passage BEGIN
    INSERT INTO passage_words (rowid, text, headings) VALUES (new.id, new.text, new.headings);
END;
CREATE TRIGGER passage_removed AFTER DELETE ON passage BEGIN
    INSERT INTO passage_words (passage_words, rowid, text, headings) VALUES ('delete', old.id, old.text, old.headings);
END;
CREATE TABLE generation (number INTEGER NOT NULL);
INSERT INTO generation VALUES (7);
INSERT INTO document VALUES (1, '/old', x'00', 1, 1, 'r', 'e', 0);
INSERT INTO passage VALUES (3, 1, '我喜欢喝咖啡', '[]', 1, 1, NULL, NULL), (4, 1, 'old gates', '[]', 2, 2, NULL, NULL);
PRAGMA application_id=1414681924;
PRAGMA user_version=1;
"""


async def test_an_index_of_the_former_version_is_brought_over(tmp_path) -> None:
    """Nothing is read again; what is gone leaves no words behind in the new full-text index either."""
    with contextlib.closing(sqlite3.connect(tmp_path / "d.sqlite")) as file:
        file.executescript(FORMER)
    store = SqliteDocumentStore(tmp_path / "d.sqlite")
    before = [[number for number, _ in await store.matching(words, 5)] for words in ("gate", "咖啡")]
    await store.replace([new_document("/new", "有一个绿色的门")])
    new = await store.matching("绿色", 5)
    await store.remove(["/old"])
    after = [await store.matching(words, 5) for words in ("gate", "咖啡")]
    await store.aclose()
    again = SqliteDocumentStore(tmp_path / "d.sqlite")
    kept = await again.matching("绿色", 5)
    await again.aclose()

    assert before == [[4], [3]]
    assert after == [(), ()]
    assert [number for number, _ in new] == [number for number, _ in kept] == [5]


@pytest.mark.parametrize("query", ["咖啡", "他喜欢喝什么?", "coffee 咖啡", "パスワード"])
async def test_scripts_without_spaces_are_found_by_parts_of_what_is_written(opened, tree, query: str) -> None:
    """Was: a run of letters was one word, and nothing but the whole run found it."""
    (tree / "a.md").write_text("# 饮料\n\n我喜欢喝咖啡。\n\n## パスワード\n\nパスワードは秘密です\n", encoding="utf-8")
    async with opened() as (documents, _, store, _):
        await documents.ask(IndexDocuments((str(tree),)))
        found = await store.matching(query, 1)
        (row,) = await store.passages([number for number, _ in found])

    assert row.path.endswith("a.md")


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
    spaces = (("e", 2), ("e", 3), ("f", 2))
    pages = [await store.vectors(*space, 0, 10) for space in spaces]
    ids = [await store.vector_ids(*space) for space in spaces]
    named = [await store.vectors_of(*space, [*ids[0], *ids[1], 99]) for space in spaces]
    behind = await store.vectors("e", 2, ids[0][0], 10)
    await store.aclose()

    assert [[len(vector) for _, vector in page] for page in pages] == [[8], [12], []]
    assert [tuple(number for number, _ in page) for page in pages] == ids
    assert named == pages
    assert behind == []


async def test_the_index_becomes_another_kind_when_it_has_outgrown_its_own(opened, tree, caplog) -> None:
    """Behind the searches, and what is indexed afterwards is found in it too."""
    caplog.set_level("INFO", logger="trouper")
    (tree / "many.txt").write_text("\n\n".join(f"item {number} of the list" for number in range(2_100)))
    cut = Chunking(max_chars=30, overlap_chars=0)
    async with opened(chunking=cut, index=lambda dim: FaissIndex(dim, "ivf")) as (documents, *_):
        await documents.ask(IndexDocuments((str(tree),)))
        with trio.fail_after(60):
            while "the index is ivf now" not in caplog.text:
                before = await documents.ask(SearchDocuments("item 1234 of the list", 1))
        after = await documents.ask(SearchDocuments("item 1234 of the list", 1))
        (tree / "notes.txt").write_text("The gate is blue.\n")
        report = await documents.ask(IndexDocuments((str(tree),)))
        found = await documents.ask(SearchDocuments("The gate is blue.", 1))

    assert [passage.text for passage in before] == [passage.text for passage in after] == ["item 1234 of the list"]
    assert report.indexed == 1
    assert found[0].text == "The gate is blue."
    assert found[0].score == 1  # the first by its words and by its vector


@pytest.mark.parametrize("change", ["replace", "remove"])
async def test_a_search_reads_only_the_vectors_that_it_has_not(opened, tree, change: str) -> None:
    """Others go on indexing while somebody searches: all the vectors again for each search would be seconds."""
    async with opened() as (documents, _, store, _):
        await documents.ask(IndexDocuments((str(tree),)))
        await documents.ask(SearchDocuments("garden gate"))
        read: list[int] = []
        vectors_of, vectors = store.vectors_of, store.vectors

        async def watched_of(embedder: str, dim: int, ids: list[int]):
            read.extend(ids)
            return await vectors_of(embedder, dim, ids)

        async def watched(*space: object):
            read.append(-1)
            return await vectors(*space)

        store.vectors_of, store.vectors = watched_of, watched
        if change == "replace":
            (tree / "notes.txt").write_text("The garden gate is painted blue.\n")
        else:
            (tree / "notes.txt").unlink()
        await documents.ask(IndexDocuments((str(tree),)))
        found = await documents.ask(SearchDocuments("painted garden gate", 1))

    assert len(read) == (1 if change == "replace" else 0)
    assert ("painted blue" in found[0].text) == (change == "replace")


async def test_the_files_of_memory_and_index_are_no_documents(tree) -> None:
    """None of them, wherever the memory lies; a file that is only named like them is one."""
    memory = MemoryFiles(tree / "m.sqlite")
    memory.rates.mkdir()
    ours = [one for one in memory.every() if one != memory.rates]
    ours += [Path(f"{one}{side}") for one in (memory.database, memory.embeddings) for side in ("-wal", "-shm")]
    for file in (*ours, memory.rates / "spent-0.jsonl", tree / "m.sqlite.md", tree / "m.faiss.txt"):
        file.write_text("text")
    found = await DocumentFiles(apart=memory.every()).find((str(tree),))

    names = {Path(file.path).relative_to(tree).as_posix() for file in found.files}
    assert {name for name in names if name.startswith(("m.", "m-"))} == {"m.sqlite.md", "m.faiss.txt"}
    assert found.skipped == ()


async def test_a_troupe_whose_memory_lies_among_the_documents_indexes_none_of_its_files(tree) -> None:
    config = {
        "planner": {"mode": "rules"},
        "memory": {"path": str(tree / "m.sqlite")},
        "embeddings": {"provider": "hash"},
    }
    async with open_troupe(config) as troupe:
        await troupe.remember("The gate is green")
        await troupe.recall("gate")
    assert (tree / "m.faiss.json").exists()
    async with open_troupe(config) as troupe:
        report = await troupe.index_documents(str(tree))

    assert report.indexed == 4
    assert [Path(one.path).name for one in report.skipped] == ["logo.png"]


def test_reports_are_plain_data() -> None:
    from trouper.actors.documents import Passage

    passage = Passage(file="/a", first_line=1, last_line=2, score=0.5, text="t", snippet="t", headings=("h",))

    assert passage.as_json() == {**attrs.asdict(passage), "headings": ["h"]}
