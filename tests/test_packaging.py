"""The arrangement of the house: links, the wheel, names that must not leak."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import typing
import zipfile
from pathlib import Path

import pytest

import trouper

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / ".src" / "trouper"
RINGS = ("runtime", "actors", "adapters")
TOP = {
    "pyproject.toml",
    "README.md",
    "config.yaml",
    "actors",
    "runtime",
    "adapters",
    "tests",
    "docs",
    "LICENSE",
    "CHANGELOG.md",
}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    return listed.stdout.split("\n")[:-1]


def python_files() -> list[Path]:
    return [p for ring in (*RINGS, "tests") for p in (ROOT / ring).rglob("*.py")]


def test_the_links_resolve_to_the_folders() -> None:
    for name in (*RINGS, "config.yaml"):
        link = SOURCE / name
        assert link.is_symlink()
        assert not Path(link.readlink()).is_absolute()
        assert link.resolve() == ROOT / name


def test_the_top_level_holds_what_the_user_fixed_and_nothing_else() -> None:
    names = {path.split("/")[0] for path in tracked()}
    if not names:
        pytest.fail("git lists no files: this test needs the checkout")
    assert {name for name in names if not name.startswith(".")} <= TOP
    assert not (ROOT / "__init__.py").exists()


def test_no_source_imports_a_ring_by_its_bare_name() -> None:
    found = []
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            found += [f"{path}: {name}" for name in names if name.split(".")[0] in RINGS]
    assert found == []


def test_imports_are_relative_inside_a_ring_and_absolute_across() -> None:
    found = []
    for ring in RINGS:
        for path in (ROOT / ring).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ImportFrom):
                    continue
                if node.level > 1 or (node.level == 0 and (node.module or "").startswith(f"trouper.{ring}")):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_an_isolated_interpreter_finds_no_top_level_ring() -> None:
    code = "import importlib.util as u; print([n for n in ('runtime', 'actors', 'adapters') if u.find_spec(n)])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tracebacks_name_the_files_that_people_edit() -> None:
    from trouper.runtime import _cell

    assert Path(_cell.__file__) == ROOT / "runtime" / "_cell.py"


@pytest.mark.io
def test_the_wheel_holds_the_package_and_nothing_outside_it(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    [wheel] = list(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    names = zipfile.ZipFile(wheel).namelist()
    outside = [n for n in names if not re.match(r"trouper/|trouper-[\d.]+\.dist-info/", n)]
    assert outside == []
    for wanted in ("__init__.py", "py.typed", "config.yaml", "runtime/_cell.py", "adapters/cli.py"):
        assert f"trouper/{wanted}" in names
    assert not [n for n in names if "/tests/" in n or "__pycache__" in n]


def test_importing_the_face_is_light() -> None:
    heavy = ("openai", "httpx2", "numpy", "faiss", "yaml", "rich", "wordllama", "sqlite3", "click")
    code = f"import sys, trouper; print([n for n in {heavy!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / ".src")
    assert done.stdout.strip() == "[]"


def test_importing_the_face_imports_nothing_of_the_cast_before_it_is_used() -> None:
    code = "import sys, trouper; print([n for n in sys.modules if n in ('trio', 'attrs') or n.startswith('trouper.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / ".src")
    assert done.stdout.strip() == "['trouper._version']"


def test_type_checkers_are_shown_what_the_face_gives() -> None:
    """The names and their files: the imports under `TYPE_CHECKING` are never run, the table beside them is."""
    [shown] = [n for n in ast.parse((SOURCE / "__init__.py").read_text()).body if isinstance(n, ast.If) and n.orelse]
    imports = [node for node in shown.body if isinstance(node, ast.ImportFrom)]
    named = {alias.asname: node.module for node in imports for alias in node.names if alias.name != "*"}
    assert [node.module for node in imports if node.names[0].name == "*"] == ["trouper.runtime"]
    assert named == {name: f"trouper.{place}" for name, place in trouper._PLACES.items()}
    assert set(trouper.__all__) == {*named, *trouper.runtime.__all__, "__version__"}


def test_the_face_lists_its_names_and_gives_no_other() -> None:
    everything: dict[str, object] = {}
    exec("from trouper import *", everything)

    assert {*trouper.__all__, *RINGS} <= set(dir(trouper))
    assert {name for name in everything if name != "__builtins__"} == set(trouper.__all__)
    assert not hasattr(trouper, "Aktor")
    assert all(getattr(trouper, ring).__name__ == f"trouper.{ring}" for ring in RINGS)


def test_the_face_is_true_and_documented() -> None:
    assert len(set(trouper.__all__)) == len(trouper.__all__)
    for name in trouper.__all__:
        value = getattr(trouper, name)
        alias = bool(typing.get_args(value))  # `Literal[...]` is callable, and cannot have a docstring
        if isinstance(value, type) or (callable(value) and not alias):
            assert value.__doc__, f"trouper.{name} has no docstring"


def test_the_error_tree_is_as_drawn() -> None:
    from trouper.runtime import _errors

    drawn = re.findall(r"^(?:[│ ]*[├└]── )?([A-Z]\w+)", _errors.__doc__ or "", re.MULTILINE)
    drawn = [name for name in drawn if name not in {"Every", "The"}]
    real = {n for n, v in vars(_errors).items() if isinstance(v, type) and issubclass(v, _errors.TrouperError)}
    assert set(drawn) == real
    lines = re.findall(r"^((?:[│ ]*[├└]── )?)([A-Z]\w+)", _errors.__doc__ or "", re.MULTILINE)
    indent = {name: len(branch) for branch, name in lines}
    path: list[str] = []
    for name in drawn:
        depth = indent[name] // 4
        del path[depth:]
        if path:
            assert issubclass(getattr(_errors, name), getattr(_errors, path[-1])), name
        path.append(name)


def test_nothing_of_a_private_machine_is_in_the_project() -> None:
    hosts = ("/work/", "pypi-more", "pythonhosted", "registry.npmjs")
    here = Path(__file__).name
    found = []
    for name in tracked():
        path = ROOT / name
        if path.is_symlink() or not path.is_file() or path.name == here:
            continue
        text = path.read_bytes()
        found += [f"{name}: {host}" for host in hosts if host.encode() in text]
    assert found == []
