"""The live view: what it shows of a run, and that no run ever notices it."""

from __future__ import annotations

import io
import logging
import re

import pytest
import trio

from trouper.actors.outcome import ErrorInfo, Outcome, RunStatus, StepOutcome, StepStatus, Verdict, VerdictKind
from trouper.actors.records import (
    ApprovalAsked,
    ApprovalGiven,
    AttemptFailed,
    BudgetLow,
    LevelStarted,
    LoopBlocked,
    PlanGivenUp,
    PlanReady,
    RunEnded,
    RunResumed,
    RunStarted,
    StepEnded,
    StepProgress,
    StepStarted,
    VerdictGiven,
)
from trouper.adapters import progress, progress_log
from trouper.adapters.progress import LAST_FRAME, Screen, Size
from trouper.adapters.progress_board import Board, Mark
from trouper.adapters.progress_lines import board_lines
from trouper.runtime import EventStream
from trouper.runtime._events import EventBus
from trouper.runtime._plan import parse_plan

PLAN = parse_plan(
    [
        {"id": 1, "action": "search_files"},
        {"id": 2, "action": "read_file"},
        {"id": 3, "action": "create_report", "dependencies": [1, 2]},
    ]
)


def ended(step: int, status: StepStatus = StepStatus.OK, *, at: float = 0.0, error: str = "") -> StepEnded:
    info = ErrorInfo("tool_error", error) if error else None
    return StepEnded(
        at=at, actor="executor", run_id="r", outcome=StepOutcome(id=step, action="x", status=status, error=info)
    )


def started(step: int, *, at: float = 0.0, attempt: int = 1) -> StepStarted:
    return StepStarted(at=at, actor="executor", run_id="r", step=step, action="x", attempt=attempt)


def board_of(*events, plan=PLAN, goal: str = "tidy up") -> Board:
    board = Board()
    board.take(RunStarted(at=0.0, actor="orchestrator", run_id="r", goal=goal))
    board.take(PlanReady(at=0.1, actor="orchestrator", run_id="r", plan=plan, planner="rules"))
    for event in events:
        board.take(event)
    return board


def lines(board: Board, *, now: float = 2.0, width: int = 100, height: int = 24) -> list[str]:
    drawn = board_lines(board, now, width=width, height=height)
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in drawn]


# ------------------------------------------------------------------ what it shows
def test_before_a_run_there_is_nothing_and_before_a_plan_it_is_planning():
    board = Board()
    assert lines(board) == []

    board.take(RunStarted(at=0.5, actor="orchestrator", run_id="r", goal="tidy up"))

    assert lines(board) == ["planning 1.5 s  tidy up"]


def test_each_step_has_a_line_under_its_level_with_state_and_time():
    board = board_of(
        LevelStarted(at=0.1, actor="executor", run_id="r", level=0, steps=2),
        started(1, at=0.5),
        started(2, at=0.5),
        ended(1, at=1.25),
        StepProgress(at=1.3, actor="executor", run_id="r", step=2, text="3 of 9 files"),
    )

    assert [line.split() for line in lines(board)] == [
        ["running", "2.0", "s", "tidy", "up"],
        ["level", "0", "1", "search_files", "ok", "0.75", "s"],
        ["2", "read_file", "running", "1.50", "s", "3", "of", "9", "files"],
        ["level", "1", "3", "create_report", "waiting"],
    ]


def test_failure_retry_verdict_and_end_are_shown():
    refuted = Verdict(verdict=VerdictKind.REFUTED)
    board = board_of(
        started(1, at=0.2, attempt=2),
        ended(1, StepStatus.FAILED, at=0.4, error="no such\nfolder"),
        ended(2, at=0.4),
        VerdictGiven(at=0.5, actor="verifier", run_id="r", step=2, verdict=refuted),
        ended(3, StepStatus.SKIPPED, at=0.5),
        RunEnded(at=0.5, actor="orchestrator", run_id="r", outcome=Outcome(run_id="r", status=RunStatus.FAILED)),
    )

    head, first, second, third = lines(board, now=99.0)
    assert head == "failed 0.5 s  tidy up"
    assert "failed (try 2)" in first
    assert "no such folder" in first
    assert "verdict: refuted" in second
    assert "skipped" in third


def test_a_new_run_begins_on_a_clean_board():
    board = board_of(started(1), ended(1))

    board.take(RunStarted(at=5.0, actor="orchestrator", run_id="s", goal="next"))

    assert (board.goal, board.rows, board.ended) == ("next", {}, None)


def test_a_plan_of_thousands_takes_no_more_lines_than_fit_and_what_runs_is_among_them():
    plan = parse_plan([{"id": n, "action": f"tool_{n}"} for n in range(5000)])
    board = board_of(*(ended(n, at=n / 1000) for n in range(3000)), started(4321, at=1.0), plan=plan)

    shown = lines(board, height=15)

    assert len(shown) <= 14
    assert any("tool_4321 " in line and "running" in line for line in shown)
    assert any("tool_2999 " in line for line in shown)
    assert "1 running" in shown[-1]
    assert "3000 ok" in shown[-1]


@pytest.mark.parametrize("width", [20, 40, 100])
def test_no_line_is_wider_than_the_terminal(width):
    board = board_of(started(1), ended(1, StepStatus.FAILED, error="why " * 200), goal="a goal " * 50)

    assert all(len(line) <= width for line in lines(board, width=width))


def test_what_a_tool_says_cannot_steer_the_terminal():
    board = board_of(ended(1, StepStatus.FAILED, error="\x1b]0;owned\x07\x1b[2J"), goal="\x1b[31mred")

    drawn = "\n".join(board_lines(board, 1.0, width=100, height=24))

    assert "\x1b]" not in drawn
    assert "\x1b[2J" not in drawn
    assert "\\x1b[31mred" in drawn


def test_a_step_that_the_plan_does_not_have_changes_nothing():
    board = board_of(started(77), ended(77))

    assert [row.mark for row in board.rows.values()] == [Mark.WAITING] * 3


# ------------------------------------------------------------------ that no run notices it
class Terminal:
    def __init__(self) -> None:
        self.frames: list[str] = []

    async def write(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.frames.append(frame.decode())


def a_screen(write) -> Screen:
    return Screen(write, lambda: Size(80, 24), encoding="utf-8")


async def watch(screen: Screen, work):
    bus = EventBus()
    with bus.open(16) as events:
        return await screen.watch(events, lambda: work(bus))


async def a_run(bus: EventBus) -> str:
    bus.emit(RunStarted(at=trio.current_time(), actor="orchestrator", run_id="r", goal="tidy up"))
    bus.emit(PlanReady(at=trio.current_time(), actor="orchestrator", run_id="r", plan=PLAN, planner="rules"))
    bus.emit(started(1, at=trio.current_time()))
    await trio.sleep(1)
    bus.emit(ended(1, at=trio.current_time()))
    return "done"


async def test_the_view_is_drawn_while_the_run_goes_on_and_its_end_is_in_the_last_frame(autojump_clock):
    terminal = Terminal()

    assert await watch(a_screen(terminal.write), a_run) == "done"

    assert 5 < len(terminal.frames) < 20
    assert "running" in terminal.frames[2]
    assert "ok" in terminal.frames[-1]
    assert terminal.frames[-1].endswith("\x1b[?25h")  # the cursor is back


async def test_each_frame_erases_the_one_before(autojump_clock):
    terminal = Terminal()

    await watch(a_screen(terminal.write), a_run)

    heights = [frame.count("\n") for frame in terminal.frames]
    erased = [int(m[1]) if (m := re.search(r"\x1b\[(\d+)A", frame)) else 0 for frame in terminal.frames]
    assert erased[1:] == heights[:-1]


async def test_log_lines_stand_above_the_view(autojump_clock):
    terminal = Terminal()
    screen = a_screen(terminal.write)

    async def work(bus: EventBus) -> None:
        bus.emit(RunStarted(at=trio.current_time(), actor="orchestrator", run_id="r", goal="tidy up"))
        await trio.sleep(0.5)
        screen.line("warning: mind the step")
        await trio.sleep(0.5)

    await watch(screen, work)

    (frame,) = [f for f in terminal.frames if "mind the step" in f]
    assert frame.index("mind the step") < frame.index("planning")


async def test_a_terminal_that_takes_nothing_does_not_hold_up_the_run(autojump_clock):
    """Only the last frame is waited for, and not for long."""

    async def never(_frame: bytes) -> None:
        await trio.sleep_forever()

    began = trio.current_time()
    assert await watch(a_screen(never), a_run) == "done"

    assert trio.current_time() - began <= 1 + LAST_FRAME


async def test_a_view_that_breaks_is_reported_and_the_run_goes_on(autojump_clock, caplog):
    async def broken(_frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError("the terminal is gone")

    assert await watch(a_screen(broken), a_run) == "done"

    (record,) = [r for r in caplog.records if r.name == "trouper.progress"]
    assert record.getMessage() == "the progress view has ended: OSError: the terminal is gone"


async def test_lines_that_no_frame_could_show_are_written_all_the_same(autojump_clock, capsys):
    async def broken(frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if b"for a frame" in frame:
            raise OSError("the terminal is gone")

    screen = a_screen(broken)

    async def work(bus: EventBus) -> None:
        screen.line("at once, since nothing is drawn yet")
        await trio.sleep(1)
        screen.line("meant for a frame")
        await trio.sleep(1)
        screen.line("at once again, since nothing is drawn any more")

    await watch(screen, work)

    assert capsys.readouterr().err.splitlines() == [
        "at once, since nothing is drawn yet",
        "meant for a frame",
        "at once again, since nothing is drawn any more",
    ]


async def test_the_frame_in_hand_is_finished_before_the_last_one_is_written(autojump_clock):
    """Also when the run is cancelled in the middle of it: two frames at once would be garbage."""
    events: list[str] = []

    async def slow(frame: bytes) -> None:
        events.append("begun")
        await trio.sleep(0.4)
        events.append("written")

    async def endless(_bus: EventBus) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(0.5):
        await watch(a_screen(slow), endless)

    assert events == ["begun", "written"] * (len(events) // 2)
    assert len(events) >= 4


async def test_what_the_run_raises_comes_out_as_itself(autojump_clock):
    async def work(_bus: EventBus) -> None:
        await trio.sleep(1)
        raise LookupError("no such goal")

    with pytest.raises(LookupError, match="no such goal"):
        await watch(a_screen(Terminal().write), work)


async def test_a_cancelled_run_leaves_the_terminal_as_it_was(autojump_clock):
    terminal = Terminal()

    async def endless(_bus: EventBus) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(1) as scope:
        await watch(a_screen(terminal.write), endless)

    assert scope.cancelled_caught
    assert terminal.frames[-1].endswith("\x1b[?25h")


async def test_nothing_is_drawn_while_the_terminal_is_somebody_elses(autojump_clock):
    terminal = Terminal()
    screen = a_screen(terminal.write)
    during: list[int] = []

    async def work(bus: EventBus) -> None:
        bus.emit(RunStarted(at=trio.current_time(), actor="orchestrator", run_id="r", goal="tidy up"))
        await trio.sleep(0.5)
        async with screen.set_aside():
            during.append(len(terminal.frames))
            await trio.sleep(10)
            during.append(len(terminal.frames))

    await watch(screen, work)

    assert during[0] == during[1]
    assert len(terminal.frames) > during[1]


async def test_more_events_than_the_buffer_holds_are_dropped_and_not_waited_for(autojump_clock):
    terminal = Terminal()
    streams: list[EventStream] = []
    bus = EventBus()

    async def work() -> None:
        for _ in range(10_000):
            bus.emit(started(1))
        await trio.sleep(1)

    with bus.open(16) as events:
        streams.append(events)
        await a_screen(terminal.write).watch(events, work)

    assert streams[0].dropped >= 9_000


# ------------------------------------------------------------------ the log
@pytest.mark.parametrize(
    ("configured", "options", "level"),
    [
        ("info", {}, logging.INFO),
        ("debug", {}, logging.DEBUG),
        ("error", {}, logging.ERROR),
        ("info", {"verbose": True}, logging.DEBUG),
        ("error", {"verbose": True}, logging.DEBUG),
        ("info", {"quiet": True}, logging.WARNING),
        ("error", {"quiet": True}, logging.ERROR),
        ("info", {"view": True}, logging.WARNING),
    ],
)
def test_the_level_of_the_log(configured, options, level):
    assert progress_log.level_of(configured, **options) == level


def test_the_log_says_what_is_a_warning_and_keeps_tracebacks_for_v():
    log = logging.getLogger("trouper.test")
    said: list[str] = []
    with progress_log.logging_to(said.append, logging.INFO):
        log.info("[EXECUTOR] Executing level 0 with 3 steps")
        log.warning("mind the %s", "step")
        log.debug("not shown")
        log.error("broken", exc_info=ValueError("inside"))

    log.error("not ours any more")

    assert said == ["[EXECUTOR] Executing level 0 with 3 steps", "warning: mind the step", "error: broken"]


def test_v_has_time_level_name_and_traceback():
    said: list[str] = []
    with progress_log.logging_to(said.append, logging.DEBUG, verbose=True):
        logging.getLogger("trouper.test").error("broken", exc_info=ValueError("inside"))

    assert re.match(r"\d{4}-\d\d-\d\d .* ERROR trouper\.test: broken\n", said[0])
    assert "ValueError: inside" in said[0]


def test_a_log_that_cannot_be_written_costs_nothing(monkeypatch):
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Gone())
    reported: list[object] = []
    monkeypatch.setattr(logging.Handler, "handleError", lambda _self, record: reported.append(record))

    with progress_log.logging_to(progress_log.write_line, logging.INFO):
        logging.getLogger("trouper.test").info("into the void")

    assert reported == []


async def test_a_real_descriptor_gets_the_whole_frame(tmp_path, monkeypatch):
    """However the operating system cuts it up."""
    written: list[bytes] = []

    def write(_descriptor: int, data: bytes) -> int:
        written.append(data[:3])
        return len(data[:3])

    monkeypatch.setattr(progress.os, "write", write)

    progress._write_all(2, b"0123456789")

    assert b"".join(written) == b"0123456789"


# ------------------------------------------------------------------ what a run can meet
def test_a_step_that_waits_for_a_person_says_what_it_asks_until_it_is_answered():
    asked = ApprovalAsked(at=1.0, actor="executor", run_id="r", step=3, question="May I send it?")
    board = board_of(ended(1, at=0.5), asked)

    assert "asks you" in lines(board)[3]
    assert "May I send it?" in lines(board)[3]

    board.take(ApprovalGiven(at=2.0, actor="orchestrator", run_id="r", step=3, ok=True))

    assert board.rows[3].mark is Mark.WAITING
    assert "May I" not in lines(board)[3]


def test_what_happens_inside_a_step_is_told_in_its_line_and_ends_no_other():
    """The elements of a for_each have the id of their step; it has not ended with the first of them."""
    part = StepOutcome(id=1, action="x", status=StepStatus.FAILED)
    board = board_of(
        started(1, at=0.5),
        StepEnded(at=1.0, actor="executor", run_id="r", outcome=part, item=0, inside=(1,)),
        StepEnded(at=1.0, actor="executor", run_id="r", outcome=part, item=1, inside=(1,)),
        StepEnded(at=1.0, actor="executor", run_id="r", outcome=part, inside=(77,)),
    )

    assert board.rows[1].mark is Mark.RUNNING
    assert board.rows[1].note == "2 done"


def test_a_new_plan_keeps_what_is_finished_and_says_that_there_is_one():
    board = board_of(started(1, at=0.5), ended(1, at=1.0), started(2, at=0.5), ended(2, StepStatus.FAILED, at=1.0))
    board.take(PlanGivenUp(at=1.2, actor="orchestrator", run_id="r", why="step 2 has failed"))
    assert lines(board)[-1] == "planning again: step 2 has failed"

    again = parse_plan([{"id": 1, "action": "search_files"}, {"id": 2, "action": "other", "dependencies": [1]}])
    board.take(PlanReady(at=1.5, actor="orchestrator", run_id="r", plan=again, planner="llm", generation=2))

    assert [(row.step, row.mark) for row in board.rows.values()] == [(1, Mark.OK), (2, Mark.WAITING)]
    assert lines(board)[-1] == "planned again 1 time"


def test_a_failed_attempt_says_why_and_when_the_next_is():
    error = ErrorInfo("tool_error", "the line is busy")
    board = board_of(
        started(1), AttemptFailed(at=1.0, actor="executor", run_id="r", step=1, attempt=1, error=error, pause=2.0)
    )

    assert "the line is busy; again in 2.0 s" in lines(board)[1]


def test_a_budget_that_runs_low_and_a_tool_that_holds_up_the_program_are_told():
    board = board_of(BudgetLow(at=1.0, actor="orchestrator", run_id="r", what="tokens", used=850, limit=1000))
    assert lines(board)[-1] == "850 of 1000 tokens of the budget are spent"

    board.take(LoopBlocked(at=1.0, actor="executor", run_id="r", step=2, action="crunch", seconds=1.5))
    assert lines(board)[-1] == "step 2 (crunch) held up the program for 1.50 s"


def test_a_run_that_goes_on_is_shown_with_what_it_had_done_before():
    done = StepOutcome(id=1, action="search_files", status=StepStatus.OK, attempts=1, started=0.5, ended=1.0)
    waits = StepOutcome(id=3, action="create_report", status=StepStatus.WAITING)
    before = Outcome(run_id="r", status=RunStatus.WAITING, goal="tidy up", plan=PLAN, steps={1: done, 3: waits})
    board = Board(before=before)
    board.take(RunResumed(at=900.0, actor="orchestrator", run_id="r", elapsed=2.0))
    board.take(started(3, at=901.0))

    view = lines(board, now=902.0)

    assert view[0] == "running 4.0 s  tidy up"
    assert re.fullmatch(r"level 0\s+1 search_files\s+ok\s+0\.50 s.*", view[1])
    assert [row.mark for row in board.rows.values()] == [Mark.OK, Mark.WAITING, Mark.RUNNING]
