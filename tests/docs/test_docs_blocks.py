"""What stands in a code block works: Python runs, commands end as they should and show what the page shows."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.docs.pages import DEMO, OURS, ROOT, SET_UP, Block, Command, blocks, commands, name_of, pages
from tests.docs.terminal import Place, differs


def _pages_with(*languages: str) -> list[Path]:
    return [page for page in pages() if any(block.language in languages for block in blocks(page))]


def _runs(block: Block) -> bool:
    return block.language == "python" and not block.title


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path / "work", tmp_path / "home")
    found.prepare()
    return found


@pytest.fixture
def module(place: Place, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module for the blocks of one page, in a directory and with data of its own."""
    for name, value in place.environ().items():
        if name in {"XDG_DATA_HOME", "OMP_NUM_THREADS"}:
            monkeypatch.setenv(name, value)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(place.folder)
    made = types.ModuleType("page_of_the_docs")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


@pytest.mark.io
@pytest.mark.parametrize("page", _pages_with("python"), ids=name_of)
def test_the_python_of_a_page_runs(page: Path, module: types.ModuleType, place: Place) -> None:
    """All blocks of a page share a namespace; files that it shows are there; its asserts hold."""
    for block in blocks(page):
        if block.is_file:
            _write(place, block)
        elif _runs(block):
            exec(compile("\n" * block.line + block.text, str(block.page), "exec"), module.__dict__)
        elif block.language == "python":
            compile(block.text, block.where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.fixture(scope="module")
def transcripts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Path, Future[list[str]]]]:
    """What went wrong in the commands of each page that is to be tested; two pages at a time, each in its own place."""
    params = (item.callspec.params for item in request.session.items if hasattr(item, "callspec"))
    wanted = {one["page"] for one in params if one.get("page") in _pages_with("console", "sh")}
    with ThreadPoolExecutor(2) as pool:
        yield {page: pool.submit(_transcript, page, tmp_path_factory.mktemp(page.stem)) for page in sorted(wanted)}


@pytest.mark.io
@pytest.mark.parametrize("page", _pages_with("console", "sh"), ids=name_of)
def test_the_commands_of_a_page_do_what_it_says(page: Path, transcripts: Mapping[Path, Future[list[str]]]) -> None:
    """Each command ends with its exit code and, where the page shows what comes out, shows that."""
    wrong = transcripts[page].result()
    assert not wrong, "\n\n".join(wrong)


def _transcript(page: Path, folder: Path) -> list[str]:
    """What the commands of a page do otherwise than it says."""
    place = Place(folder / "work", folder / "home")
    place.prepare()
    wrong: list[str] = []
    for block in blocks(page):
        if block.is_file:
            _write(place, block)
        if block.language in {"console", "sh"}:
            wrong += [difference for command in commands(block) if (difference := _difference(command, place))]
    return wrong


def _difference(command: Command, place: Place) -> str:
    if command.line.startswith(SET_UP):
        return ""
    if not command.line.startswith(OURS):
        return f"{command.where}: nobody runs {command.line!r}: add it to OURS or SET_UP"
    shown = place.run(command.line)
    if shown.code != command.code:
        told = "\n".join(shown.lines)
        return f"{command.where}: {command.line}\nexit code {shown.code}:\n{told}"
    different = differs(command.output, shown.lines) if command.compared else ""
    return f"{command.where}: {command.line}\n{different}" if different else ""


def _write(place: Place, block: Block) -> None:
    place.write(block.title, block.text)
    if block.language == "python":
        compile(block.text, block.where, "exec")


def test_every_command_of_the_readme_is_either_run_or_the_gate_runs_it() -> None:
    """The set-up lines of the README stand word for word in the gate."""
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" -q", "").replace("-q ", "")
    readme = [c.line for b in blocks(ROOT / "README.md") if b.language in {"sh", "console"} for c in commands(b)]
    first, second = (next(line for line in readme if word in line) for word in ("-e . ", "pytest"))
    parts = [part for line in (first, second) for part in line.split(" && ")]
    normal_gate = gate.replace('"$python"', "python3")
    assert [p for p in parts if p not in normal_gate and not p.startswith("python3 -m venv")] == []


@pytest.mark.io
def test_the_demo_shows_what_the_readme_shows(place: Place) -> None:
    """The output in the README is that of a real run, but for times, ids and the temporary directory."""
    block = next(b for b in blocks(ROOT / "README.md") if DEMO in b.text)
    [command] = commands(block)
    assert command.compared
    shown = place.run("trouper demo")
    assert shown.code == 0
    difference = differs(command.output, shown.lines)
    assert not difference, difference


@pytest.mark.io
def test_the_embedding_example_runs_two_goals_gives_up_a_third_and_ends(place: Place) -> None:
    shown = place.run(f"python {ROOT / 'docs' / 'examples' / 'embed.py'}")
    told = "\n".join(shown.lines)
    assert shown.code == 0, told
    assert told.count("success:") == 2
    assert told.count("given up") == 1
    assert "397.8" in told
    assert len([line for line in shown.lines if "TODO " in line and line.startswith("  notes.txt:")]) == 2


def test_the_docs_show_the_embedding_example_as_it_is() -> None:
    """Wherever a page shows it, it shows the file."""
    example = (ROOT / "docs" / "examples" / "embed.py").read_text(encoding="utf-8")
    shown = [b for page in pages() for b in blocks(page) if b.title == "embed.py"]
    assert shown
    assert [b.where for b in shown if b.text != example] == []
    assert len(example.splitlines()) <= 35
