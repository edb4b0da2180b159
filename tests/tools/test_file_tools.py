"""read_file and write_file: whole files, leave to overwrite, and checks that look again."""

import hashlib
import os
import threading
import time

import pytest
import trio

from trouper.actors.permissions import PermissionPolicy
from trouper.actors.tool import Effect
from trouper.adapters.file_access import Seen
from trouper.runtime import BadArguments, PermissionRefused, ToolError

pytestmark = pytest.mark.io


class Person:
    def __init__(self, answer):
        self.answer = answer
        self.questions = []

    async def ask(self, question):
        self.questions.append(question)
        return self.answer


# ------------------------------------------------------------------ read_file


async def test_a_file_is_read_with_its_figures(tree, make_box):
    data = "éins\nzwei\ndrei".encode()
    (tree / "n.txt").write_bytes(data)
    box = make_box(root=tree)
    result = await box.call("read_file", path="./sub/../n.txt")

    assert result == {
        "path": "n.txt",
        "content": "éins\nzwei\ndrei",
        "lines": 3,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert (await box.verify("read_file", result, path="n.txt")).verdict == "ok"


@pytest.mark.parametrize(
    ("data", "lines", "content"),
    [(b"", 0, ""), (b"a\n", 1, "a\n"), (b"a\n\n", 2, "a\n\n"), (b"\xef\xbb\xbfa", 1, "a"), (b"a\r\nb", 2, "a\r\nb")],
)
async def test_lines_are_counted_as_people_count(tmp_path, box, data, lines, content):
    (tmp_path / "f").write_bytes(data)
    result = await box.call("read_file", path="f")

    assert (result["lines"], result["content"], result["bytes"]) == (lines, content, len(data))
    assert (await box.verify("read_file", result, path="f")).verdict == "ok"


async def test_what_is_not_utf8_is_marked(tmp_path, box):
    (tmp_path / "old.txt").write_bytes("caf\xe9 \ufffd".encode("latin-1", "replace") + "�".encode())

    result = await box.call("read_file", path="old.txt")

    assert result["content"].startswith("caf�")
    assert result["undecodable"] == 1
    assert box.tools["read_file"].check_output(result) == []


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("none", ToolError, "there is no such file"),
        ("sub", ToolError, "is a directory"),
        ("link_secret", PermissionRefused, "leads to .*outside"),
        ("binary", ToolError, "not a text file: there is a NUL byte at offset 3 of 5"),
        ("huge", ToolError, "huge has 10,000,001 bytes, more than the 10,000,000"),
    ],
)
async def test_what_cannot_be_read_is_refused(tree, make_box, path, error, message):
    (tree / "binary").write_bytes(b"abc\0d")
    with (tree / "huge").open("wb") as file:
        file.truncate(10_000_001)

    with pytest.raises(error, match=message) as caught:
        await make_box(root=tree).call("read_file", path=path)
    assert not caught.value.retry_possible


@pytest.mark.parametrize("field", ["content", "lines", "bytes", "sha256", "path"])
async def test_a_false_reading_is_refuted(tmp_path, box, field):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    result = await box.call("read_file", path="a.txt")
    lies = {"content": "one\n", "lines": 7, "bytes": 3, "sha256": "0" * 64, "path": "b.txt"}

    assert (await box.verify("read_file", result | {field: lies[field]}, path="a.txt")).verdict == "refuted"
    assert (await box.verify("read_file", {}, path="a.txt")).verdict == "refuted"


async def test_a_file_changed_since_it_was_read_is_no_evidence(tmp_path, box):
    (tmp_path / "a.txt").write_text("one")
    result = await box.call("read_file", path="a.txt")
    the_clock_ticks()
    (tmp_path / "a.txt").write_text("two")

    assert (await box.verify("read_file", result, path="a.txt")).verdict == "unverifiable"


# ------------------------------------------------------------------ write_file


async def test_a_new_file_is_written(tmp_path, box):
    result = await box.call("write_file", path="out/a.txt", content="häl\n")

    assert (tmp_path / "out" / "a.txt").read_text() == "häl\n"
    assert result == {"path": "out/a.txt", "bytes": 5, "sha256": hashlib.sha256("häl\n".encode()).hexdigest()}
    assert box.tools["write_file"].effect is Effect.KEYED
    assert (await box.verify("write_file", result, path="out/a.txt")).verdict == "ok"


async def test_writing_the_same_again_needs_no_leave_and_changes_nothing(tmp_path, box):
    first = await box.call("write_file", path="a.txt", content="x")
    before = (tmp_path / "a.txt").stat()
    again = await box.call("write_file", path="a.txt", content="x", overwrite=False)
    after = (tmp_path / "a.txt").stat()

    assert again == first
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


async def test_overwriting_is_refused_without_leave(tmp_path, box):
    (tmp_path / "a.txt").write_text("old")

    with pytest.raises(PermissionRefused, match=r"overwrite a\.txt.*nobody to ask.*`permissions\.overwrite: allow`"):
        await box.call("write_file", path="a.txt", content="new")

    assert (tmp_path / "a.txt").read_text() == "old"


async def test_overwriting_with_leave_of_the_policy_or_of_a_person(tmp_path, make_box):
    (tmp_path / "a.txt").write_text("old")
    kind, strict = Person(answer=True), Person(answer=False)

    await make_box(policy=PermissionPolicy(overwrite="allow")).call("write_file", path="a.txt", content="1")
    await make_box(policy=PermissionPolicy(asker=kind)).call("write_file", path="a.txt", content="2")
    with pytest.raises(PermissionRefused, match="the answer to the question was no"):
        await make_box(policy=PermissionPolicy(asker=strict)).call("write_file", path="a.txt", content="3")
    await make_box(policy=PermissionPolicy(asker=strict)).call("write_file", path="new.txt", content="3")

    assert (tmp_path / "a.txt").read_text() == "2"
    assert kind.questions == ["May this run overwrite a.txt, which is there with other content?"]
    assert len(strict.questions) == 1


async def test_a_step_may_forbid_overwriting_whatever_the_policy_allows(tmp_path, make_box):
    (tmp_path / "a.txt").write_text("old")
    box = make_box(policy=PermissionPolicy(overwrite="allow"))

    with pytest.raises(ToolError, match=r"a\.txt is there with other content, and the step says `overwrite: false`"):
        await box.call("write_file", path="a.txt", content="new", overwrite=False)

    assert (tmp_path / "a.txt").read_text() == "old"


async def test_a_file_that_appears_in_the_last_moment_is_left_alone(tmp_path, make_box, monkeypatch):
    box = make_box(policy=PermissionPolicy(overwrite="allow"))
    monkeypatch.setattr(box.workspace, "holds", lambda *_: None)
    (tmp_path / "a.txt").write_text("theirs")

    with pytest.raises(ToolError, match=r"a\.txt appeared while it was about to be written"):
        await box.call("write_file", path="a.txt", content="mine")

    assert (tmp_path / "a.txt").read_text() == "theirs"


async def test_outside_needs_leave_of_its_own(tree, make_box):
    outside = tree.parent / "outside"
    kind = Person(answer=True)
    box = make_box(root=tree, policy=PermissionPolicy(outside="ask", asker=kind))

    with pytest.raises(PermissionRefused, match=r"permissions\.outside is 'deny'"):
        await make_box(root=tree).call("write_file", path="../outside/new.txt", content="x")
    result = await box.call("read_file", path="../outside/secret.txt")
    written = await box.call("write_file", path=str(outside / "new.txt"), content="x")
    found = await box.call("search_files", path=str(outside), pattern="secret")

    assert result["path"] == written["path"].replace("new", "secret") == str(outside / "secret.txt")
    assert (outside / "new.txt").read_text() == "x"
    assert found["by_file"] == {str(outside / "secret.txt"): 1}
    assert len(kind.questions) == 3
    assert (await box.verify("read_file", result, path="../outside/secret.txt")).verdict == "ok"
    assert (await box.verify("search_files", found, path=str(outside), pattern="secret")).verdict == "ok"


async def test_a_false_write_is_refuted(tmp_path, box):
    result = await box.call("write_file", path="a.txt", content="x")
    invented = {"path": "b.txt", "bytes": 1, "sha256": result["sha256"]}

    assert (await box.verify("write_file", invented, path="b.txt")).verdict == "refuted"
    assert (await box.verify("write_file", result | {"bytes": 2}, path="a.txt")).verdict == "refuted"
    (tmp_path / "a.txt").unlink()
    assert (await box.verify("write_file", result, path="a.txt")).verdict == "refuted"


async def test_a_file_that_a_later_step_replaced_is_no_evidence(tmp_path, make_box):
    box = make_box(policy=PermissionPolicy(overwrite="allow"))
    first = await box.call("write_file", path="a.txt", content="first")
    the_clock_ticks()
    second = await box.call("write_file", path="a.txt", content="second")

    assert (await box.verify("write_file", first, path="a.txt")).verdict == "unverifiable"
    assert (await box.verify("write_file", second, path="a.txt")).verdict == "ok"


async def test_a_result_of_a_step_is_written_as_text(tmp_path, box):
    await box.call("write_file", path="a.txt", content=397.8)
    await box.call("write_file", path="b.txt", content={"expression": "1+1", "value": 2, "text": "1+1 = 2"})

    assert (tmp_path / "a.txt").read_text() == "397.8"
    assert (tmp_path / "b.txt").read_text() == "1+1 = 2"


async def test_a_path_that_names_a_directory_is_refused(tree, make_box):
    box = make_box(root=tree)
    with pytest.raises(ToolError, match="is a directory"):
        await box.call("write_file", path="sub", content="x")
    with pytest.raises(BadArguments, match="add the file's name"):
        await box.call("write_file", path="new/", content="x")


async def test_a_cancelled_write_has_happened_or_not(tmp_path, box, monkeypatch):
    """Cancelled while the thread is at work: the call returns only when the outcome is known."""
    entered, finish = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(fd):
        entered.set()
        finish.wait(20)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: box.call("write_file", path="a.txt", content="x"))
        await trio.to_thread.run_sync(entered.wait)
        nursery.cancel_scope.cancel()
        trio.lowlevel.current_trio_token().run_sync_soon(finish.set)

    assert {p.name for p in tmp_path.iterdir()} == {"a.txt"}
    assert (tmp_path / "a.txt").read_text() == "x"


def test_only_recent_results_are_known():
    seen = Seen()
    for i in range(2000):
        seen.note(str(i), i)

    assert seen.when("1999") == 1999
    assert seen.when("0") is None
    assert sum(seen.when(str(i)) is not None for i in range(2000)) == 1024


def the_clock_ticks():
    """Files are stamped with the file system's clock, which goes in steps of some milliseconds."""
    time.sleep(0.03)
