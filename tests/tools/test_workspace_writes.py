"""A write happens wholly or not at all: also when the disk is full, or somebody else is faster."""

import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from trouper.adapters import workspace as module
from trouper.adapters.workspace import Workspace
from trouper.runtime import BadArguments, ToolError


def files_below(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_new_file_is_written_with_its_directories(ws, tree):
    written = ws.write("new/dir/c.txt", b"gamma", replace=False)

    assert (tree / "new/dir/c.txt").read_bytes() == b"gamma"
    assert (written.path, written.bytes) == ("new/dir/c.txt", 5)
    assert stat.S_IMODE((tree / "new/dir/c.txt").stat().st_mode) == 0o666 & ~_umask()


def test_without_replace_an_existing_file_stays(ws, tree):
    for path in ("a.txt", "link_file"):
        with pytest.raises(FileExistsError):
            ws.write(path, b"new", replace=False)

    assert (tree / "a.txt").read_text() == "alpha"
    assert no_leftovers(tree)


def test_replace_keeps_the_mode_and_the_link(ws, tree):
    (tree / "a.txt").chmod(0o640)

    ws.write("link_file", b"new", replace=True)

    assert (tree / "a.txt").read_text() == "new"
    assert (tree / "link_file").is_symlink()
    assert stat.S_IMODE((tree / "a.txt").stat().st_mode) == 0o640
    assert no_leftovers(tree)


def test_what_cannot_be_written_says_why_and_leaves_nothing(ws, tree):
    before = files_below(tree)

    for path, message in [
        ("sub", "it is a directory"),
        ("a.txt/b.txt", "a part of the path is a file, not a directory"),
        ("new/" + "x" * 300, "the name is too long"),
    ]:
        with pytest.raises(ToolError, match=f"cannot write .*{message}; nothing was written") as caught:
            ws.write(path, b"data", replace=True)
        assert caught.value.effect is False
    with pytest.raises(BadArguments, match="names a directory"):
        ws.write("sub/", b"", replace=False)

    assert files_below(tree) == before
    assert not (tree / "new").exists()


def test_whether_a_file_holds_something(ws):
    assert ws.holds("a.txt", b"alpha") is True
    assert ws.holds("a.txt", b"alphb") is False
    assert ws.holds("a.txt", b"alpha2") is False
    assert ws.holds("none", b"") is None


@pytest.mark.io
def test_of_many_exclusive_writers_one_wins(ws, tree):
    results = []
    ready = threading.Barrier(8)

    def write(n):
        ready.wait()
        try:
            ws.write("race.txt", b"%d" % n, replace=False)
            results.append(n)
        except FileExistsError:
            results.append(None)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    winners = [n for n in results if n is not None]
    assert len(results) == 8
    assert [int((tree / "race.txt").read_text())] == winners
    assert no_leftovers(tree)


def test_where_there_are_no_hard_links_a_new_file_is_exclusive_all_the_same(ws, tree, monkeypatch):
    def no_links(*args, **kwargs):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(module.os, "link", no_links)

    ws.write("new.txt", b"one", replace=False)
    with pytest.raises(FileExistsError):
        ws.write("new.txt", b"two", replace=False)

    assert (tree / "new.txt").read_bytes() == b"one"
    assert no_leftovers(tree)


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "link"])
def test_an_error_at_any_step_leaves_the_old_file_and_no_other(ws, tree, monkeypatch, call):
    def fail(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")

    if call == "write":
        real = os.fdopen
        monkeypatch.setattr(module.os, "fdopen", lambda *a, **k: _Broken(real(*a, **k)))
    else:
        monkeypatch.setattr(module.os, call, fail)
    before = files_below(tree)

    with pytest.raises(ToolError, match="nothing was written"):
        ws.write("new.txt" if call == "link" else "a.txt", b"changed", replace=call != "link")

    assert files_below(tree) == before


class _Broken:
    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def fileno(self):
        return self.file.fileno()

    def write(self, data):
        self.file.write(data[:2])
        raise OSError(errno.ENOSPC, "No space left on device")


# A child imports what this process imports, installed or not.
SAME_PATH = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}

CHILD = """
import resource, sys
from trouper.adapters.workspace import Workspace
from trouper.runtime import ToolError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
ws = Workspace(sys.argv[1])
for replace, name in ((False, "new/report.md"), (True, "a.txt")):
    try:
        ws.write(name, b"x" * 1_000_000, replace=replace)
    except ToolError as error:
        print(error)
"""


@pytest.mark.io
def test_a_disk_that_takes_no_more_leaves_nothing_half_written(tree):
    """The limit is a real one of the kernel, in a process of its own: the write stops in the middle."""
    before = files_below(tree)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tree)], env=SAME_PATH, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.splitlines() == [
        "cannot write new/report.md (1,000,000 bytes): the file would be larger than allowed; nothing was written",
        "cannot write a.txt (1,000,000 bytes): the file would be larger than allowed; nothing was written",
    ]
    assert files_below(tree) == before
    assert not (tree / "new").exists()


@pytest.mark.io
def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """A real file system of 64 kB; needs leave to mount."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        ws = Workspace(tmp_path)
        ws.write("old.md", b"old", replace=False)
        for replace, name in ((False, "new/report.md"), (True, "old.md")):
            with pytest.raises(ToolError, match=r"no space left on the device; nothing was written"):
                ws.write(name, b"x" * 500_000, replace=replace)

        assert files_below(tmp_path) == {"old.md": b"old"}
        assert not (tmp_path / "new").exists()
        assert ws.write("small.md", b"fits", replace=False).bytes == 4
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.io
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_to_write_is_a_clear_error(ws, tree):
    (tree / "sub").chmod(0o500)
    try:
        with pytest.raises(ToolError, match=r"cannot write sub/new\.txt .*: permission denied; nothing was written"):
            ws.write("sub/new.txt", b"x", replace=False)
    finally:
        (tree / "sub").chmod(0o700)


AS_NOBODY = """
import os, sys
from trouper.adapters.workspace import Workspace
from trouper.runtime import ToolError
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
ws = Workspace(sys.argv[1])
for use in (lambda: ws.read_bytes("closed.txt"), lambda: ws.write("new.txt", b"x", replace=False)):
    try:
        use()
    except ToolError as error:
        print(error)
"""


@pytest.mark.io
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_no_permission_is_a_clear_error_also_where_the_tests_run_as_root():
    """Root may read and write anything, so a child gives that up first."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        closed = Path(place, "closed.txt")
        closed.write_text("x")
        closed.chmod(0o600)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, place],
            env=SAME_PATH,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.splitlines() == [
            "cannot read closed.txt: permission denied",
            "cannot write new.txt (1 bytes): permission denied; nothing was written",
        ], done.stderr
        assert sorted(p.name for p in Path(place).iterdir()) == ["closed.txt"]


def no_leftovers(root):
    return not list(root.rglob("*.tmp"))


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
