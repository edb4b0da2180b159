"""`trouper demo`: the first run of a newcomer. A real goal on real files, on the road that `trouper run` takes."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from .cli_exit import BadInput, ExitCode, code_of
from .cli_options import Call, with_options
from .cli_output import complain
from .cli_session import Session, in_session, say_planner
from .cli_text import failure_text, plan_text
from .demo_tree import build_tree

if TYPE_CHECKING:
    from trouper.actors.outcome import Outcome

    from .config_model import Config

REPORT_LINES = 12
"""Lines of the report that are shown."""


@attrs.frozen(kw_only=True)
class Scene:
    """Where the demo plays, and what is asked for."""

    tree: Path
    goal: str
    report: Path
    where: str
    """What becomes of the tree, in words."""


@click.command()
@click.option("--dir", "folder", metavar="DIR", help="A directory of yours, instead of a generated one.")
@click.option("--keep", is_flag=True, help="Do not remove the generated directory at the end.")
@click.option("--seed", metavar="N", type=int, help="Generates another directory; 1 if not given.")
@with_options("timeout", "json", "quiet")
def demo(call: Call, folder: str | None, *, keep: bool, seed: int | None) -> ExitCode:
    """Search a small project, write a report and remember it: offline, in a few seconds.

    Plans by rules, with no model and no network, whatever is configured; its memory is a temporary one.
    """
    if folder is not None and (keep or seed is not None):
        raise click.UsageError("--keep and --seed are for the generated directory, not for --dir.")
    with _scene(folder, keep=keep, seed=1 if seed is None else seed) as scene, _memory() as memory:
        config = _offline(scene.tree, memory)
        return in_session(call, functools.partial(_play, scene=scene), config=config)


def _offline(tree: Path, memory: Path) -> Config:
    """The configuration that Trouper ships, without a model and away from the user's memory and runs."""
    from .config_yaml import load_config

    mapping = {
        "planner": {"mode": "rules"},
        "llm": {"api_key": None},
        "memory": {"path": str(memory)},
        "journal": {"path": str(memory.with_name("runs"))},
        "tools": {"workdir": str(tree)},
    }
    return load_config(mapping)


@contextlib.contextmanager
def _memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="trouper-demo-memory-") as folder:
        yield Path(folder) / "memory.sqlite"


@contextlib.contextmanager
def _scene(folder: str | None, *, keep: bool, seed: int) -> Iterator[Scene]:
    if folder is not None:
        tree = Path(folder)
        if not tree.is_dir():
            raise BadInput(f"{folder} is not a directory")
        yield _scene_in(tree, "yours")
        return
    tree = Path(tempfile.mkdtemp(prefix="trouper-demo-"))
    try:
        build_tree(tree, seed=seed)
        yield _scene_in(tree, "kept" if keep else "removed at the end; --keep keeps it")
    finally:
        if not keep:
            _remove(tree)


def _remove(tree: Path) -> None:
    import shutil

    shutil.rmtree(tree, onerror=lambda _function, path, error: complain(f"{path} could not be removed: {error[1]}"))


def _scene_in(tree: Path, where: str) -> Scene:
    source = "src" if (tree / "src").is_dir() else "."
    report = _free_name(tree)
    todos = f"every TODO in the Python files under {source}"
    if (tree / "logs").is_dir():  # two sources, so that there is something to do side by side
        todos += " and every ERROR in logs"
    goal = f"Find {todos}, write one report to {report.name} and remember the findings"
    return Scene(tree=tree, goal=goal, report=report, where=where)


def _free_name(tree: Path) -> Path:
    """A name for the report that nothing has yet: the demo replaces no file."""
    names = ("todo.md", *(f"todo-{n}.md" for n in range(2, 1000)))
    for name in names:
        if not (tree / name).exists():
            return tree / name
    raise BadInput(f"{tree} is full of reports of the demo; remove todo*.md there")


async def _play(session: Session, scene: Scene) -> ExitCode:
    say_planner(session)
    timeout = session.call.timeout
    outcome = await session.watched(lambda: session.troupe.execute(scene.goal, timeout=timeout))
    if session.call.as_json:
        session.call.results.json({"tree": str(scene.tree), **outcome.as_json(), "report": _report(scene)})
    else:
        session.call.results.text("\n".join(_story(scene, outcome)))
    if (trouble := failure_text(outcome)) is not None:
        complain(trouble)
    return code_of(outcome)


def _story(scene: Scene, outcome: Outcome) -> Iterator[str]:
    yield f"Directory: {scene.tree} ({scene.where})"
    yield "Memory:    a temporary one; yours was not touched"
    yield f"Goal:      {scene.goal}"
    if outcome.plan is not None:
        yield f"\nPlan (by {outcome.planner}):"
        yield _indented(plan_text(outcome.plan))
    if outcome.answer is not None:
        yield "\nAnswer:"
        yield _indented(outcome.answer)
    report = _report(scene)
    if report is not None:
        lines = report["text"].splitlines()
        more = f"\n  ... {len(lines) - REPORT_LINES} more lines" if len(lines) > REPORT_LINES else ""
        yield f"\n{report['path']} begins:"
        yield _indented("\n".join(lines[:REPORT_LINES])) + more


def _report(scene: Scene) -> dict[str, str] | None:
    try:
        return {"path": scene.report.name, "text": scene.report.read_text(encoding="utf-8")}
    except FileNotFoundError:
        return None


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
