"""What every journal does, whatever it keeps its records in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from trouper.actors.records import ApprovalAsked, Record, RunStarted
from trouper.adapters.journal_files import FileJournal
from trouper.runtime import Journal, MemoryJournal

JOURNALS: dict[str, Callable[[Path, int], Journal]] = {
    "memory": lambda _, keep: MemoryJournal(keep),
    "files": lambda folder, keep: FileJournal(folder / "runs", keep),
}

Open = Callable[[int], Journal]


@pytest.fixture(params=list(JOURNALS))
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    made: list[Journal] = []

    def open_journal(keep: int = 200) -> Journal:
        made.append(JOURNALS[request.param](tmp_path, keep))
        return made[-1]

    yield open_journal
    for journal in made:
        await journal.aclose()


def started(run_id: str) -> Record:
    return RunStarted(at=1.0, actor="orchestrator", run_id=run_id, goal=f"the goal of {run_id}")


def asked(run_id: str, step: int) -> Record:
    return ApprovalAsked(at=2.0, actor="executor", run_id=run_id, step=step, question="Shall I?")


async def test_records_of_a_run_come_back_in_the_order_in_which_they_were_appended(opened):
    journal = opened()
    records = [started("a"), *(asked("a", n) for n in range(50))]
    for record in records:
        journal.append(record)

    assert list(await journal.read("a")) == records


async def test_runs_are_kept_apart_however_their_records_are_mixed(opened):
    journal = opened()
    for n in range(5):
        for run_id in ("a", "b"):
            journal.append(asked(run_id, n))
        await journal.sync()

    assert list(await journal.read("b")) == [asked("b", n) for n in range(5)]


async def test_what_is_appended_is_safe_at_once_or_after_sync(opened):
    """`append` says which; either way a reader sees it from then on."""
    journal = opened()

    if not journal.append(started("a")):
        await journal.sync()

    assert list(await journal.read("a")) == [started("a")]
    assert list(await journal.runs()) == ["a"]


async def test_a_run_that_nobody_knows_has_no_records(opened):
    journal = opened()

    assert list(await journal.read("nobody")) == []
    assert list(await journal.runs()) == []


async def test_runs_are_told_oldest_first_by_their_first_record(opened):
    journal = opened()
    for run_id in ("c", "a", "b", "c", "a"):
        journal.append(asked(run_id, 1))
        await journal.sync()

    assert list(await journal.runs()) == ["c", "a", "b"]


async def test_of_more_runs_than_are_kept_the_oldest_is_forgotten(opened):
    from trouper.actors.outcome import Outcome, RunStatus
    from trouper.actors.records import RunEnded

    journal = opened(3)
    for run_id in "abcde":
        journal.append(started(run_id))
        journal.append(
            RunEnded(at=3.0, actor="o", run_id=run_id, outcome=Outcome(run_id=run_id, status=RunStatus.FAILED))
        )
        await journal.sync()

    assert list(await journal.runs()) == ["c", "d", "e"]
    assert list(await journal.read("a")) == []
    assert len(await journal.read("e")) == 2


@pytest.mark.parametrize(
    "run_id", ["", "../../etc/passwd", "a/b", "~x", ".", "ü 💥\n", "x" * 300, "y" * 299, "%2F", "\ud800"]
)
async def test_any_text_is_the_id_of_a_run(opened, run_id, tmp_path):
    journal = opened()
    for one in (run_id, run_id + "x"):
        journal.append(started(one))
    await journal.sync()

    assert list(await journal.runs()) == [run_id, run_id + "x"]
    assert list(await journal.read(run_id)) == [started(run_id)]
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} <= {tmp_path / "runs"}


@pytest.mark.parametrize("keep", [0, -1, 1.5, True, "3"])
def test_a_number_of_runs_that_is_none_is_refused(keep, tmp_path):
    for make in JOURNALS.values():
        with pytest.raises(ValueError, match="1 or more"):
            make(tmp_path, keep)


async def test_closing_twice_is_closing(opened):
    journal = opened()
    journal.append(started("a"))

    await journal.aclose()
    await journal.aclose()


async def test_each_is_the_port(opened):
    assert isinstance(opened(), Journal)
