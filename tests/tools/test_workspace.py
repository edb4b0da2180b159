"""The work directory: no path leads out of it, whatever links and dots it is made of."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.adapters.workspace import Workspace
from trouper.runtime import BadArguments, ConfigError, PermissionRefused, ToolError


def files_below(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        (".", "."),
        ("a.txt", "a.txt"),
        ("./sub/../a.txt", "a.txt"),
        ("sub//b.txt", "sub/b.txt"),
        ("link_in/b.txt", "sub/b.txt"),
        ("link_in/../a.txt", "a.txt"),
        ("link_file", "a.txt"),
        ("sub/up/sub/up/a.txt", "a.txt"),
        ("dangling_in", "sub/none"),
        ("new/dir/file.txt", "new/dir/file.txt"),
        ("~file", "~file"),
    ],
)
def test_a_path_inside_is_resolved(ws, tree, path, leads):
    assert ws.resolve(path) == (tree / leads).resolve()
    assert ws.name(ws.resolve(path)) == leads


def test_an_absolute_path_inside_is_fine(ws, tree):
    assert ws.resolve(str(tree / "a.txt")) == tree / "a.txt"


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../outside/secret.txt",
        "sub/../../outside/secret.txt",
        "link_out/secret.txt",
        "link_out",
        "link_in/../../outside",
        "link_secret",
        "dangling_out",
        "absolute_out/new.txt",
        "/etc/passwd",
        "//etc/passwd",
        "../inside2",
        "../inside-not",
        "sub/up/../outside/secret.txt",
    ],
)
def test_a_path_that_leads_out_is_refused_for_reading_and_writing(ws, tree, path):
    before = files_below(tree.parent)

    for use in (ws.resolve, ws.read_bytes, lambda p: ws.write(p, b"x", replace=True), lambda p: ws.holds(p, b"x")):
        with pytest.raises(PermissionRefused, match=r"outside the work directory.*permissions\.outside: allow"):
            use(path)

    assert files_below(tree.parent) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "the path is empty"),
        ("  ", "the path is empty"),
        ("a\0b", "it has a NUL character"),
        ("~", "'~' is not expanded"),
        ("~/notes.txt", "'~' is not expanded"),
        ("\ud800", "is no path"),
    ],
)
def test_what_can_be_no_path_is_refused(ws, path, message):
    with pytest.raises(BadArguments, match=message):
        ws.resolve(path)


def test_a_link_that_leads_to_itself_is_a_clear_error(ws):
    with pytest.raises(ToolError, match="cannot read loop: a link leads to itself"):
        ws.read_bytes("loop")


def test_a_name_that_is_too_long_is_a_clear_error(ws):
    for use in (ws.read_bytes, lambda p: ws.write(p, b"", replace=False)):
        with pytest.raises(ToolError, match=r"\(5000 characters\).*the name is too long") as caught:
            use("x" * 5000)
        assert len(str(caught.value)) < 400


def test_a_work_directory_that_is_none_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="is not a directory"):
        Workspace(tmp_path / "none")


segments = st.sampled_from(
    ["..", ".", "", "sub", "up", "link_in", "link_out", "absolute_out", "loop", "a.txt", "deep", "x", "~", " "]
) | st.text(max_size=4)


@given(st.lists(segments, max_size=7), st.booleans())
def test_no_generated_path_escapes(parts, absolute):
    """Whatever is resolved lies inside, whatever is written changes nothing outside."""
    with tempfile.TemporaryDirectory() as place:
        outside, inside = Path(place, "outside"), Path(place, "inside")
        outside.mkdir()
        (inside / "sub").mkdir(parents=True)
        (outside / "secret").write_text("secret")
        for name, target in [
            ("link_out", outside),
            ("sub/up", ".."),
            ("sub/link_out", "../../outside"),
            ("loop", "loop"),
        ]:
            (inside / name).symlink_to(target)
        ws = Workspace(inside)
        path = ("/" if absolute else "") + "/".join(parts)
        try:
            real = ws.resolve(path)
            assert real.is_relative_to(inside.resolve())
            ws.write(path, b"mine", replace=True)
        except ToolError:
            pass

        assert {p.name: p.read_text() for p in outside.iterdir()} == {"secret": "secret"}
        assert {p.name for p in Path(place).iterdir()} == {"inside", "outside"}


def test_a_directory_swapped_for_a_link_after_the_check_is_not_followed(ws, tree, monkeypatch):
    """The race of all confinement: what was resolved is a link by the time it is opened."""
    real = ws.resolve("sub/b.txt")
    (tree / "sub" / "b.txt").rename(tree.parent / "outside" / "b.txt")
    (tree / "sub").rename(tree / "gone")
    (tree / "sub").symlink_to(tree.parent / "outside")
    monkeypatch.setattr(ws, "locate", lambda path: real)

    with pytest.raises(ToolError):
        ws.read_bytes("sub/b.txt")
    with pytest.raises(ToolError):
        ws.write("sub/b.txt", b"x", replace=True)

    assert (tree.parent / "outside" / "b.txt").read_text() == "beta"


def test_a_granted_path_may_be_used_and_its_neighbours_may_not(ws, tree):
    secret = ws.locate("../outside/secret.txt")
    assert not ws.permits(secret)
    ws.grant(secret)

    assert ws.read_bytes("../outside/secret.txt") == b"secret"
    assert ws.name(secret) == str(secret)
    with pytest.raises(PermissionRefused):
        ws.resolve("../outside/other.txt")
    ws.grant(ws.locate("../outside"))
    assert ws.write("../outside/new/other.txt", b"x", replace=False).bytes == 1


# ------------------------------------------------------------------ reading


def test_what_cannot_be_read_says_why(ws, tree):
    os.mkfifo(tree / "pipe")

    for path, message in [
        ("none.txt", "there is no such file"),
        ("a.tx", r"there is no such file .*\(did you mean 'a.txt'\?\)"),
        ("none/a.txt", "there is no such file"),
        ("sub", "it is a directory"),
        (".", "it is a directory"),
        ("a.txt/b", "a part of the path is a file"),
        ("pipe", "it is not a regular file"),
    ]:
        with pytest.raises(ToolError, match=f"cannot read .*{message}") as caught:
            ws.read_bytes(path)
        assert caught.value.effect is False


def test_a_file_over_the_limit_is_refused_and_not_cut(ws, tree):
    (tree / "big").write_bytes(b"x" * 1001)

    assert len(ws.read_bytes("big", limit=1001)) == 1001
    with pytest.raises(ToolError, match="big has 1,001 bytes, more than the 1,000"):
        ws.read_bytes("big", limit=1000)


@pytest.mark.io
async def test_evidence_is_confined_like_the_tools(ws):
    assert await ws.read("a.txt") == b"alpha"
    assert await ws.read("sub/b.txt") == b"beta"
    for path in ("none", "sub", "../outside/secret.txt", "link_secret", "", "a\0b"):
        assert await ws.read(path) is None
