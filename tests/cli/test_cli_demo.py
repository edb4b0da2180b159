"""`trouper demo`: a real run on real files; other files, another answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trouper.adapters.cli_demo import _offline
from trouper.adapters.demo_tree import build_tree

pytestmark = pytest.mark.io


def todos(tree: Path) -> list[str]:
    """What `grep -rn TODO --include='*.py' src` would find, counted by other means than Trouper's."""
    files = sorted((tree / "src").rglob("*.py"))
    lines = [line.strip() for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if "TODO" in line]


def test_demo_shows_the_place_the_goal_the_plan_the_answer_and_the_report(user):
    said = user("demo", "--keep")

    assert said.code == 0
    tree = Path(re.search(r"^Directory: (\S+) \(kept\)$", said.out, re.MULTILINE)[1])
    found = todos(tree)
    report = (tree / "todo.md").read_text()
    assert len(found) >= 4
    assert "Find every TODO in the Python files under src" in said.out
    assert "search_files" in said.out
    assert str(len(found)) in said.out
    assert report.splitlines()[0] in said.out
    assert all(line in report for line in found)
    assert said.err.startswith("planner: rules (")


def test_the_generated_directory_and_the_memory_are_removed_and_the_users_memory_is_untouched(user):
    said = user("demo", "--quiet")

    assert (said.code, said.err) == (0, "")
    assert "yours was not touched" in said.out
    home = Path(user.environ["HOME"])
    assert [p for p in home.rglob("*") if p.is_file()] == []
    assert list(user.cwd.iterdir()) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_directory_gives_another_answer(here, seed):
    tree = here.cwd / "tree"
    tree.mkdir()
    build_tree(tree, seed=seed)
    (tree / "src" / "shop" / "late.py").write_text("# TODO: added just now\n" * seed)
    found = todos(tree)

    said = here("demo", "--dir", "tree", "--json")

    assert said.code == 0
    assert said.json["steps"]["1"]["result"]["count"] == len(found)
    assert "added just now" in said.json["report"]["text"]
    assert said.json["report"]["text"] == (tree / "todo.md").read_text()


def test_a_second_demo_replaces_no_report(here):
    (here.cwd / "a.py").write_text("# TODO: one\n")

    first = here("demo", "--dir", ".", "--json")
    second = here("demo", "--dir", ".", "--json")

    assert (first.code, second.code) == (0, 0)
    assert [s.json["report"]["path"] for s in (first, second)] == ["todo.md", "todo-2.md"]


def test_demo_is_offline_whatever_is_configured(here, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-used")
    (here.cwd / "a.py").write_text("# TODO: one\n")

    said = here("demo", "--dir", ".", "--json")

    assert (said.code, said.json["planner"]) == (0, "rules")
    assert said.json["usage"]["calls"] == 0


def test_demo_has_no_model_to_ask_whatever_is_configured(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-used")

    assert not _offline(tmp_path, tmp_path / "memory.sqlite").llm.configured


def test_the_same_seed_gives_the_same_directory_and_another_seed_another(tmp_path):
    def tree(name: str, seed: int) -> dict[str, str]:
        (tmp_path / name).mkdir()
        build_tree(tmp_path / name, seed=seed)
        files = (p for p in (tmp_path / name).rglob("*") if p.is_file())
        return {str(p.relative_to(tmp_path / name)): p.read_text() for p in files}

    one, same, other = tree("one", 1), tree("same", 1), tree("other", 2)

    assert one == same
    assert one != other
    assert any("TODO" in text for path, text in one.items() if path.endswith(".py"))
