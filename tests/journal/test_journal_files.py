"""What the journal's files promise beyond the port: they outlive the program, and are nobody else's."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import sys
from pathlib import Path

import pytest

from trouper.actors.outcome import Outcome, RunStatus
from trouper.actors.records import ApprovalAsked, RunEnded, RunStarted, StepStarted
from trouper.adapters import journal_files
from trouper.adapters.journal_files import FileJournal, journal_directory
from trouper.runtime import JournalError

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and locks of files as POSIX has them")


def started(run_id: str = "r") -> RunStarted:
    return RunStarted(at=1.0, actor="o", run_id=run_id, goal="the goal")


def asked(step: int, run_id: str = "r") -> ApprovalAsked:
    return ApprovalAsked(at=2.0, actor="e", run_id=run_id, step=step, question="Shall I?")


def ended(run_id: str = "r") -> RunEnded:
    return RunEnded(at=3.0, actor="o", run_id=run_id, outcome=Outcome(run_id=run_id, status=RunStatus.SUCCESS))


async def written(folder: Path, *records) -> Path:
    """The file of a run with these records, written by a program that has gone."""
    journal = FileJournal(folder)
    for record in records:
        journal.append(record)
    await journal.aclose()
    [file] = folder.iterdir()
    return file


async def test_what_was_appended_outlives_the_program(tmp_path):
    first = FileJournal(tmp_path)
    for record in (started(), asked(1)):
        assert first.append(record) is True

    assert list(await FileJournal(tmp_path).read("r")) == [started(), asked(1)]
    await first.aclose()


async def test_another_program_can_go_on_with_a_run_and_begins_on_a_line_of_its_own(tmp_path):
    await written(tmp_path, started())

    await written(tmp_path, asked(1), ended())

    assert list(await FileJournal(tmp_path).read("r")) == [started(), asked(1), ended()]


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
async def test_a_torn_last_line_is_left_out_and_said(tmp_path, caplog, cut):
    file = await written(tmp_path, started(), asked(1))
    file.write_bytes(file.read_bytes()[:-cut])

    with caplog.at_level(logging.WARNING, "trouper.journal"):
        assert list(await FileJournal(tmp_path).read("r")) == [started()]
    assert "torn" in caplog.text


async def test_a_torn_line_is_cut_off_before_anything_is_written_behind_it(tmp_path):
    file = await written(tmp_path, started(), asked(1))
    file.write_bytes(file.read_bytes()[:-5])

    await written(tmp_path, asked(2))

    assert list(await FileJournal(tmp_path).read("r")) == [started(), asked(2)]


async def test_a_file_that_was_torn_in_its_head_has_no_records(tmp_path, caplog):
    file = await written(tmp_path, started())
    file.write_bytes(file.read_bytes()[:7])

    journal = FileJournal(tmp_path)

    assert list(await journal.read("r")) == []
    assert list(await journal.runs()) == ["r"]
    assert journal.glance("r").first is None


async def test_a_line_that_is_damaged_in_the_middle_is_an_error_with_its_place(tmp_path):
    """To leave it out could mean to do a thing twice."""
    file = await written(tmp_path, started(), asked(1), asked(2))
    lines = file.read_bytes().split(b"\n")
    lines[2] = b"{" + lines[2]
    file.write_bytes(b"\n".join(lines))

    with pytest.raises(JournalError, match=r"line 3"):
        await FileJournal(tmp_path).read("r")


async def test_a_file_of_a_newer_version_is_an_error(tmp_path):
    file = await written(tmp_path, started())
    file.write_bytes(file.read_bytes().replace(b'{"journal":1', b'{"journal":2'))

    with pytest.raises(JournalError, match="newer version"):
        await FileJournal(tmp_path).read("r")


async def test_files_of_others_in_the_directory_are_left_alone(tmp_path):
    for name in ("notes.jsonl", "20200101T000000.000000Z.jsonl", "README"):
        (tmp_path / name).write_text("mine")
    journal = FileJournal(tmp_path, keep=1)
    for run_id in "abc":
        journal.append(ended(run_id))
        await journal.sync()

    assert list(await journal.runs()) == ["c"]
    assert sorted(path.name for path in tmp_path.iterdir() if "Z-" not in path.name) == [
        "20200101T000000.000000Z.jsonl",
        "README",
        "notes.jsonl",
    ]


async def test_a_run_that_is_in_hand_is_not_forgotten(tmp_path):
    journal = FileJournal(tmp_path, keep=1)
    journal.append(started("long"))
    await journal.sync()
    journal.append(ended("short"))
    await journal.sync()
    journal.append(asked(1, "long"))
    await journal.sync()

    assert list(await journal.read("long")) == [started("long"), asked(1, "long")]
    await journal.aclose()


@posix
async def test_the_files_are_nobody_elses(tmp_path):
    old = os.umask(0)
    try:
        file = await written(tmp_path / "state" / "runs", started())
    finally:
        os.umask(old)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_secrets_are_not_written(tmp_path):
    journal = FileJournal(tmp_path, secrets=("hunter22",))
    record = StepStarted(
        at=1.0,
        actor="e",
        run_id="r",
        step=1,
        action="a",
        attempt=1,
        parameters={"password": "swordfish", "text": "log in with hunter22 please", "max_tokens": 5},
    )
    journal.append(record)
    await journal.aclose()

    [file] = tmp_path.iterdir()
    assert "swordfish" not in file.read_text()
    assert "hunter22" not in file.read_text()
    [back] = await FileJournal(tmp_path).read("r")
    assert back.parameters == {"password": "[secret]", "text": "log in with [secret] please", "max_tokens": 5}


async def test_what_happens_to_a_value_after_it_was_appended_is_not_written(tmp_path):
    journal = FileJournal(tmp_path)
    values = {"x": [1]}
    journal.append(StepStarted(at=1.0, actor="e", run_id="r", step=1, action="a", attempt=1, parameters=values))
    values["x"].append(2)
    await journal.aclose()

    [back] = await FileJournal(tmp_path).read("r")
    assert back.parameters == {"x": [1]}


# ------------------------------------------------------------------ whose run it is
@posix
async def test_a_run_in_the_hands_of_another_program_is_not_written_to(tmp_path):
    first, second = FileJournal(tmp_path), FileJournal(tmp_path)
    first.append(started())
    await first.sync()
    second.append(asked(1))

    with pytest.raises(JournalError, match="another program has the run r in hand"):
        await second.sync()
    assert second.glance("r").held
    await first.aclose()
    await second.aclose()
    assert list(await FileJournal(tmp_path).read("r")) == [started()]


@posix
async def test_a_run_that_has_ended_is_let_go(tmp_path):
    first, second = FileJournal(tmp_path), FileJournal(tmp_path)
    for record in (started(), ended()):
        first.append(record)
    await first.sync()
    assert not first.glance("r").held

    second.append(asked(1))
    await second.sync()

    assert len(await first.read("r")) == 3
    await second.aclose()


async def test_a_glance_has_the_first_and_the_last_record(tmp_path):
    journal = FileJournal(tmp_path, now=lambda: 1_800_000_000.25)
    for record in (started(), asked(1), asked(2)):
        journal.append(record)
    await journal.aclose()

    seen = journal.glance("r")

    assert (seen.first, seen.last, seen.created, seen.held) == (started(), asked(2), 1_800_000_000.25, False)
    assert journal.glance("nobody") is None


# ------------------------------------------------------------------ what cannot be written
async def test_a_directory_that_cannot_be_made_is_an_error_of_sync(tmp_path):
    (tmp_path / "file").write_text("")
    journal = FileJournal(tmp_path / "file" / "runs")

    assert journal.append(started()) is False
    with pytest.raises(JournalError, match="cannot be made"):
        await journal.sync()
    await journal.aclose()


async def test_after_a_write_that_failed_every_sync_says_so_and_nothing_is_written_behind_the_gap(
    tmp_path, monkeypatch
):
    journal = FileJournal(tmp_path)
    journal.append(started())
    await journal.sync()

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal_files.os, "write", full)
        assert journal.append(asked(1)) is False
        with pytest.raises(JournalError, match="No space left"):
            await journal.sync()
    journal.append(asked(2))
    with pytest.raises(JournalError, match="No space left"):
        await journal.sync()
    await journal.aclose()

    assert list(await FileJournal(tmp_path).read("r")) == [started()]


async def test_each_line_is_an_object_and_the_first_says_what_the_file_is(tmp_path):
    file = await written(tmp_path, started(), ended())

    head, *lines = [json.loads(line) for line in file.read_text().splitlines()]

    assert head.keys() == {"journal", "run", "created"}
    assert [line["record"] for line in lines] == ["RunStarted", "RunEnded"]


def test_the_directory_is_where_xdg_says_or_the_configuration():
    default = Path("~/.local/state/trouper/runs").expanduser()

    assert journal_directory(None, {"XDG_STATE_HOME": "/state"}) == Path("/state/trouper/runs")
    assert journal_directory(None, {}) == default
    assert journal_directory(None, {"XDG_STATE_HOME": "relative"}) == default
    assert journal_directory("~/runs", {"XDG_STATE_HOME": "/state"}) == Path("~/runs").expanduser()


async def test_secrets_are_found_wherever_in_a_record_they_are(tmp_path):
    """In results, errors, inner steps, plans and answers, not only in parameters."""
    from trouper.actors.outcome import ErrorInfo, StepOutcome, StepStatus
    from trouper.actors.records import PlanReady, StepEnded
    from trouper.runtime import parse_plan

    inner = StepOutcome(id=7, action="a", status=StepStatus.OK, result={"api_key": "swordfish-1"})
    outcome = StepOutcome(
        id=1,
        action="a",
        status=StepStatus.FAILED,
        result={"text": "Bearer abcdefgh12345678"},
        error=ErrorInfo("tool_error", "could not log in with swordfish-2"),
        steps={7: inner},
    )
    plan = parse_plan([{"id": 1, "action": "a", "parameters": {"token": "swordfish-1"}}])
    journal = FileJournal(tmp_path, secrets=("swordfish-2",))
    for record in (
        RunStarted(at=1.0, actor="o", run_id="r", goal="use swordfish-2"),
        PlanReady(at=1.0, actor="o", run_id="r", plan=plan, planner="llm"),
        StepEnded(at=1.0, actor="e", run_id="r", outcome=outcome),
        RunEnded(
            at=2.0, actor="o", run_id="r", outcome=Outcome(run_id="r", status=RunStatus.FAILED, steps={1: outcome})
        ),
    ):
        journal.append(record)
    await journal.aclose()

    [file] = tmp_path.iterdir()
    written_down = file.read_text()
    assert [word for word in ("swordfish", "abcdefgh") if word in written_down] == []
    assert len(await journal.read("r")) == 4
