"""Goals on a real directory: the plan, the files and the answer against an independent computation.

Offline, by the rules, with the real tools, the real memory and the real verifier.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import trouper
from trouper import Outcome, Troupe

ROOT = Path(__file__).resolve().parent.parent.parent

FILES = {
    "src/app.py": "import os\n# TODO: split this\ndef main():\n    print('start')  # FIXME later\n    return 1\n",
    "src/db.py": "# TODO: pool\n# TODO: close\nURL = 'postgres://localhost'\n",
    "src/deep/er/util.py": "def f():\n    return 'TODO in text'\n",
    "src/notes.txt": "TODO is not Python here\n",
    "docs/guide.md": "# Guide\n\nThe timeout is 30 seconds. Raise the timeout for slow disks.\n",
    "docs/faq.md": "# FAQ\n\nQ: how?\nA: so.\n",
    "notes.txt": "The release is on Friday. Anna moved it from Monday.\n\nThe server runs on port 8080.\n",
    "minutes.txt": "We met on Tuesday. We decided to ship. Bob takes the tests.\n",
    "dev.yaml": "a: 1\nb: 2\nc: 3\n",
    "prod.yaml": "a: 1\nb: 5\nd: 4\n",
    "app.log": "INFO up\nERROR disk full\nERROR disk full\nWARN hot\nERROR net down\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def opened(tree: Path):
    return trouper.open_troupe({"memory": {"path": str(tree.parent / "m.sqlite")}}, workdir=tree)


def actions(outcome: Outcome) -> list[str]:
    return [step.action for step in outcome.steps.values()]


def flows(outcome: Outcome, source: str, sink: str) -> bool:
    """Whether some `sink` step depends, directly or through others, on every `source` step."""
    plan = outcome.plan
    wanted = {s.id for s in plan.steps if s.action == source}
    for step in plan.steps:
        if step.action == sink:
            seen, todo = set(), [step.id]
            while todo:
                for d in plan.dependencies[todo.pop()]:
                    if d not in seen:
                        seen.add(d)
                        todo.append(d)
            if wanted <= seen:
                return True
    return False


async def done(troupe: Troupe, goal: str) -> Outcome:
    outcome = await troupe.execute(goal)
    assert outcome.status.value == "success", outcome.error
    assert "refuted" not in {v.verdict.value for v in outcome.verdicts.values()}
    assert outcome.planner == "rules"
    return outcome


def grep(tree: Path, pattern: str, *where: str) -> list[str]:
    """What real grep finds, as `path:line:text`."""
    done = subprocess.run(
        ["grep", "-rnI", *where, "-e", pattern], cwd=tree, capture_output=True, text=True, check=False
    )
    return sorted(line.removeprefix("./") for line in done.stdout.splitlines())


pytestmark = pytest.mark.io


async def test_find_todos_in_python_files_and_report(tree) -> None:
    expected = grep(tree, "TODO", "--include=*.py", ".")
    async with opened(tree) as troupe:
        outcome = await done(troupe, "Find every TODO in the Python files under . and write a report to todo.md")

    report = (tree / "todo.md").read_text()
    assert len(expected) == 4
    assert flows(outcome, "search_files", "create_report")
    assert outcome.steps[1].result["count"] == len(expected)
    for line in expected:
        path, number, text = line.split(":", 2)
        assert f"{path}:{number}: {text.strip()}" in report
    assert "notes.txt" not in report
    assert "Found 4 lines with 'TODO' in 3 files" in outcome.answer


async def test_the_projects_own_todos_are_counted_as_grep_counts_them(tmp_path) -> None:
    """The issue's own sentence, on this very checkout (a copy of what git would track)."""
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", "__pycache__", ".venv", "*.egg-info", ".*_cache", ".hypothesis", "dist")
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=ignored)
    expected = grep(checkout, "TODO", "--include=*.py", ".")
    async with opened(checkout) as troupe:
        outcome = await done(troupe, "Find every TODO in the Python files under . and write a report to todo.md")

    assert outcome.steps[1].result["count"] == len(expected)
    assert len(expected) > 10
    found = [f"{m['path']}:{m['line']}" for m in outcome.steps[1].result["matches"]]
    assert sorted(found) == sorted(":".join(line.split(":", 2)[:2]) for line in expected)
    assert str(len(expected)) in (checkout / "todo.md").read_text()


async def test_count_is_an_answer_without_a_file(tree) -> None:
    before = sorted(p for p in tree.rglob("*"))
    async with opened(tree) as troupe:
        outcome = await done(troupe, "How many TODOs are in src?")

    assert outcome.steps[1].result["count"] == len(grep(tree, "TODO", "src")) == 5
    assert "5 lines" in outcome.answer
    assert sorted(p for p in tree.rglob("*")) == before


async def test_show_a_file(tree) -> None:
    async with opened(tree) as troupe:
        outcome = await done(troupe, "Show me what's in docs/guide.md")

    assert actions(outcome)[0] == "read_file"
    assert FILES["docs/guide.md"].strip() in outcome.answer


async def test_summarise_says_sentences_of_the_file_and_no_others(tree) -> None:
    async with opened(tree) as troupe:
        outcome = await done(troupe, "Read notes.txt and summarise it in two sentences")

    sentences = re.split(r"(?<=\.)\s+", FILES["notes.txt"].strip())
    told = [s for s in sentences if s in outcome.answer]
    assert len(told) == 2
    head, _, rest = outcome.answer.partition("\n")
    assert "extractive" in head
    assert rest.replace(told[0], "").replace(told[1], "").strip() == ""


async def test_summary_is_saved(tree) -> None:
    async with opened(tree) as troupe:
        outcome = await done(troupe, "Summarise minutes.txt and save the summary to summary.md")

    assert actions(outcome) == ["read_file", "summarize", "create_report"]
    assert outcome.steps[2].result["summary"] in (tree / "summary.md").read_text()


async def test_compare_two_files(tree) -> None:
    async with opened(tree) as troupe:
        outcome = await done(troupe, "Compare dev.yaml and prod.yaml and write the differences to diff.md")

    report = (tree / "diff.md").read_text()
    assert flows(outcome, "read_file", "create_report")
    for line in ("-b: 2", "-c: 3", "+b: 5", "+d: 4"):
        assert line in report
    assert "-a: 1" not in report


async def test_two_searches_in_one_report_run_side_by_side(tree) -> None:
    goal = "Find FIXME comments under src and timeout under docs, then write one report to cleanup.md"
    async with opened(tree) as troupe:
        outcome = await done(troupe, goal)

    report = (tree / "cleanup.md").read_text()
    assert actions(outcome).count("search_files") == 2
    assert len(outcome.plan.levels[0]) == 2
    assert flows(outcome, "search_files", "create_report")
    assert "src/app.py:4" in report
    assert "docs/guide.md:3" in report


async def test_search_and_tell(tree) -> None:
    async with opened(tree) as troupe:
        outcome = await done(troupe, "Search the docs folder for 'timeout' and tell me what it says")

    assert actions(outcome) == ["search_files", "summarize"]
    assert "timeout is 30 seconds" in outcome.answer


async def test_log_lines_are_grouped(tree) -> None:
    goal = "Look through ./app.log for ERROR lines and summarise the most common causes"
    async with opened(tree) as troupe:
        outcome = await done(troupe, goal)

    assert "3 lines" in outcome.answer
    assert "disk full" in outcome.answer
    assert outcome.answer.index("disk full") < outcome.answer.index("net down")


async def test_files_are_listed(tree) -> None:
    async with opened(tree) as troupe:
        outcome = await done(troupe, "List all Python files under src")

    for name in FILES:
        assert (name in outcome.answer) == (name.startswith("src/") and name.endswith(".py"))


@pytest.mark.parametrize(
    ("goal", "value"),
    [
        ("What is 17% of 2340?", 17 / 100 * 2340),
        ("How many seconds are there in 3 days?", 3 * 24 * 60 * 60),
        ("Work out (128 + 256) / 3", (128 + 256) / 3),
    ],
)
async def test_arithmetic(goal, value, tree) -> None:
    async with opened(tree) as troupe:
        outcome = await done(troupe, goal)

    assert actions(outcome) == ["calculate"]
    assert outcome.steps[1].result["value"] == pytest.approx(value)
    assert f"{value:g}" in outcome.answer


async def test_a_result_is_written_to_a_file(tree) -> None:
    async with opened(tree) as troupe:
        outcome = await done(troupe, "19.99 times 12, and write it to yearly.txt")

    assert flows(outcome, "calculate", "create_report")
    assert "239.88" in (tree / "yearly.txt").read_text()


async def test_what_is_remembered_survives_the_process_and_answers_questions(tree) -> None:
    """Two troupes, one after the other, on the same store; a question is never stored."""
    async with opened(tree) as troupe:
        await done(troupe, "Remember that my favourite editor is vim")
        await done(troupe, "Please note that the release is on Friday")
    async with opened(tree) as troupe:
        outcome = await done(troupe, "What did I tell you about my favourite editor?")
        facts = {memory.content for memory in await troupe.recall("my favourite editor, the release, questions", k=50)}

    assert "vim" in outcome.answer
    assert "Friday" not in outcome.answer
    assert facts == {"my favourite editor is vim", "the release is on Friday"}


async def test_a_result_is_remembered_and_recalled_into_a_file(tree) -> None:
    async with opened(tree) as troupe:
        await done(troupe, "Work out (128 + 256) / 3 and remember the result as the batch size")
        await done(troupe, "Recall the batch size and write it to batch.md")

    assert "128" in (tree / "batch.md").read_text()


async def test_combine_three_files(tree) -> None:
    async with opened(tree) as troupe:
        outcome = await done(
            troupe, "Combine notes.txt, minutes.txt and docs/faq.md into one summary called overview.md"
        )

    assert actions(outcome).count("read_file") == 3
    assert len(outcome.plan.levels[0]) == 3
    assert flows(outcome, "read_file", "create_report")
    assert (tree / "overview.md").stat().st_size > 0


# ------------------------------------------------------------------ generated anew in each run
def generated(seed: int) -> tuple[str, Path, dict[str, str], str]:
    rng = random.Random(seed)
    word = "".join(rng.choices("ABCDEFGHKLMNPQRSTVWXYZ", k=7))
    folder = "".join(rng.choices("abcdefghkmnprst", k=6))
    report = "".join(rng.choices("abcdefghkmnprst", k=5)) + ".md"
    files = {}
    for number in range(rng.randint(1, 6)):
        lines = [f"line {n} {word if rng.random() < 0.3 else 'nothing'}" for n in range(rng.randint(0, 40))]
        files[f"{folder}/f{number}.{rng.choice(['py', 'txt', 'md'])}"] = "".join(f"{line}\n" for line in lines)
    goal = rng.choice(
        [
            f"Find every {word} in ./{folder} and write a report to {report}",
            f"Search {folder}/ for '{word}' and save the findings to {report}",
            f"Look for {word} under {folder} and put the matches in {report}",
            f'please search the {folder} folder for "{word}" and write a report to {report}.',
        ]
    )
    return goal, Path(report), files, word


@pytest.mark.parametrize("nth", range(5))
async def test_a_goal_that_was_generated_for_this_run(nth, tmp_path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    goal, report, files, word = generated(seed)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    expected = {
        f"{name}:{number}"
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if word in line
    }
    async with trouper.open_troupe({"memory": {"path": str(tmp_path / "m.sqlite")}}, workdir=tmp_path) as troupe:
        outcome = await done(troupe, goal)

    told = f"seed {seed}: {goal}"
    [search] = [s for s in outcome.steps.values() if s.action == "search_files"]
    assert {f"{m['path']}:{m['line']}" for m in search.result["matches"]} == expected, told
    assert search.result["count"] == len(expected), told
    text = (tmp_path / report).read_text()
    for place in expected:
        assert place in text, told
    assert f"Found {len(expected)} line" in outcome.answer, told
    assert json.dumps(outcome.as_json())


async def test_running_a_goal_again_does_not_overwrite_without_leave(tree) -> None:
    goal = "Find every TODO in the Python files under src and write a report to todo.md"
    async with opened(tree) as troupe:
        await done(troupe, goal)
        before = (tree / "todo.md").read_text()
        await done(troupe, goal)  # the same content again changes nothing
        (tree / "src" / "new.py").write_text("# TODO new\n")
        refused = await troupe.execute(goal)

    assert refused.status.value == "failed"
    assert refused.error.kind == "permission"
    assert "permissions.overwrite: allow" in refused.error.message
    assert (tree / "todo.md").read_text() == before
