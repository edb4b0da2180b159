"""The project's own documentation, indexed and searched as a user would, with the embedder that is the default."""

from __future__ import annotations

from pathlib import Path

import pytest

import trouper

pytestmark = pytest.mark.io

ROOT = Path(__file__).parent.parent.parent

QUESTIONS = {
    "how do I make a tool run in a process of its own": "how-to/write-a-tool.md",
    "what happens when a person has to approve a step": "how-to/approvals.md",
    "limit the money a run may spend": "how-to/budgets.md",
    "retry a failed step with a pause in between": "how-to/retries.md",
    "go on with a new plan after a failure": "how-to/replanning.md",
    "which permissions do tools have on the network": "how-to/permissions.md",
    "check the result of a step against evidence": "how-to/verification.md",
    "which goals does the rules planner understand": "how-to/run-offline.md",
    "exit codes of the command line": "reference/cli.md",
    "dollar step reference to the result of another step": "reference/plan.md",
    "restart intensity of a supervisor": "explanation/supervision.md",
    "what does a cancelled ask leave behind": "explanation/cancellation.md",
}


async def test_questions_about_the_documentation_find_their_pages(tmp_path: Path) -> None:
    config = {"memory": {"path": str(tmp_path / "memory.sqlite")}}
    async with trouper.open_troupe(config, workdir=tmp_path) as troupe:
        report = await troupe.index_documents(str(ROOT / "docs"))
        found = {
            question: [p.file.removeprefix(f"{ROOT / 'docs'}/") for p in await troupe.search_documents(question, k=5)]
            for question in QUESTIONS
        }

    assert report.indexed == sum(1 for p in (ROOT / "docs").rglob("*") if p.suffix in {".md", ".py", ".json"})
    assert report.passages > 5 * report.indexed
    missed = {question: files for question, files in found.items() if QUESTIONS[question] not in files}
    assert len(missed) <= 2, missed


async def test_every_passage_is_where_it_says(tmp_path: Path) -> None:
    """The lines that a passage names are the lines of the file."""
    config = {"memory": {"path": str(tmp_path / "memory.sqlite")}}
    async with trouper.open_troupe(config, workdir=tmp_path) as troupe:
        await troupe.index_documents([str(ROOT / "docs" / "reference"), str(ROOT / "runtime")])
        found = [
            p for q in ("supervisor", "plan step", "budget", "def wait") for p in await troupe.search_documents(q, 50)
        ]

    assert len(found) > 100
    for passage in found:
        lines = Path(passage.file).read_text(encoding="utf-8").split("\n")
        assert passage.text in "\n".join(lines[passage.first_line - 1 : passage.last_line])
