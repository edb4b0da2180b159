"""Crash reports, stacks and events: bounded, in one line where a line is promised, and never a crash of their own."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trouper import ActorStarted, CrashReport, Event
from trouper.runtime._crash_report import crash_report, task_stack
from trouper.runtime._events import EventBus
from trouper.runtime._shown import one_line, shown
from trouper.runtime._traceback_text import MOST_LINES, said, traceback_text

LONGEST_LINE = 260  # a shown line, its indentation within groups, and some words


def raised(error: BaseException) -> BaseException:
    """`error`, with a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - whatever it is
        return caught


def of(error: BaseException, *handling: str) -> CrashReport:
    return crash_report(error, at=12.5, actor="top/worker", incarnation=3, handling=handling)


def bounded(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) <= MOST_LINES + 1 and all(len(line) <= LONGEST_LINE for line in lines)


class Hostile(Exception):
    """Nothing about it can be shown."""

    def __str__(self) -> str:
        raise SystemExit("no str")

    def __repr__(self) -> str:
        raise GeneratorExit("no repr")


# ------------------------------------------------------------------ one line (case 91)
def test_case_91_a_report_is_one_line_that_says_who_when_what_and_why() -> None:
    assert str(of(raised(KeyError("goal")), "Plan")) == (
        "'top/worker' incarnation 3 crashed at 12.500 s while handling Plan: KeyError: 'goal'"
    )
    assert str(of(OSError("disk\nfull"))) == (
        "'top/worker' incarnation 3 crashed at 12.500 s outside of any message: OSError: disk full"
    )
    assert str(of(ValueError())).endswith(": ValueError")


@given(st.text(), st.text(max_size=20), st.integers(0, 4))
def test_case_91_the_line_is_bounded_and_printable_whatever_the_error_says(text, name, times) -> None:
    line = str(crash_report(ValueError(text * 10**times), at=math.inf, actor=name * 10**times, incarnation=1))

    assert line.isprintable()
    assert len(line) <= 600


def test_case_91_many_messages_in_hand_are_counted_not_listed() -> None:
    one = of(ValueError("x"), *(f"Message{n}" for n in range(500)))

    assert len(one.handling) == 9
    assert one.handling[-1] == "and 492 more"
    assert "Message7, and 492 more: ValueError: x" in str(one)


def test_case_91_a_report_comes_out_of_an_error_that_cannot_be_shown() -> None:
    one = of(raised(Hostile()), "Fail")

    assert str(one).endswith("while handling Fail: Hostile: <its str raises SystemExit>")
    assert one.traceback.endswith("\nHostile: <its str raises SystemExit>")
    assert "<Hostile whose repr raises GeneratorExit>" in repr(one)


def test_an_error_class_that_lies_about_its_causes_still_gets_a_report() -> None:
    class Liar(Exception):
        @property
        def __cause__(self) -> BaseException:
            raise RuntimeError("no cause for you")

    assert of(raised(Liar("x"))).traceback == "Liar: x"


def test_a_keyboard_interrupt_during_the_text_is_not_swallowed() -> None:
    class Interrupted(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

        __repr__ = __str__

    for make in (said, shown, traceback_text):
        with pytest.raises(KeyboardInterrupt):
            make(Interrupted())


@given(st.text(), st.integers(4, 300))
def test_one_line_is_short_and_cannot_forge_a_second_line(text, most) -> None:
    line = one_line(text, most)

    assert len(line) <= most
    assert line.isprintable()
    assert line == one_line(line, most)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a" * 10, "a" * 10),
        ("a" * 11, "a" * 7 + "..."),
        (" a \n\t b\r\n", "a b"),
        ("a" + " " * 18 + "b", "a b"),
        ("a" + " " * 19 + "b", "a..."),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u2028b\ud800", "a b\\ud800"),
    ],
)
def test_one_line_exactly(text, line) -> None:
    """Cut at the bound and said so, white space collapsed, escapes made visible."""
    assert one_line(text, 10) == line


@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N")), max_size=50))
def test_one_line_leaves_what_is_fine_alone(text) -> None:
    assert one_line(text, 50) == text


# ------------------------------------------------------------------ tracebacks
def test_case_91_a_traceback_has_files_lines_functions_and_source() -> None:
    def inner() -> None:
        raise KeyError("goal")

    with pytest.raises(KeyError) as caught:
        inner()
    text = of(caught.value).traceback

    assert f'File "{__file__}", line ' in text
    assert "in test_case_91_a_traceback_has_files_lines_functions_and_source.<locals>.inner\n" in text
    assert '    raise KeyError("goal")\n' in text
    assert text.endswith("\nKeyError: 'goal'")


def test_case_91_a_deep_recursion_shows_both_ends() -> None:
    def deep(n: int) -> None:
        if n == 0:
            raise RecursionError("too deep")
        deep(n - 1)

    with pytest.raises(RecursionError) as caught:
        deep(sys.getrecursionlimit() // 2)
    text = of(caught.value).traceback

    assert "test_case_91_a_deep_recursion_shows_both_ends" in text.splitlines()[0]
    assert "frames left out" in text
    assert text.splitlines()[-2] == '    raise RecursionError("too deep")'
    assert len(text.splitlines()) < 80


@pytest.mark.parametrize(("depth", "left_out"), [(30, None), (31, None), (32, 1), (131, 100)])
def test_case_91_exactly_the_frames_in_the_middle_are_left_out(depth, left_out) -> None:
    """One frame is the test's own; 32 are shown."""

    def deep(n: int) -> None:
        if n == 1:
            raise ValueError("deep")
        deep(n - 1)

    with pytest.raises(ValueError, match="deep") as caught:
        deep(depth)
    text = of(caught.value).traceback

    assert text.count("File ") == min(depth + 1, 32)
    assert ("left out" in text) is (left_out is not None)
    assert left_out is None or f"\n  ... {left_out} frames left out ...\n" in text


def test_case_91_of_too_many_lines_both_ends_are_kept() -> None:
    """A chain of errors that each come from deep down: the first that is told, and the one that was raised."""

    def deep(n: int, error: BaseException) -> None:
        if n == 0:
            raise error
        deep(n - 1, error)

    cause: BaseException | None = None
    for number in range(12):
        error = ValueError(f"link {number}")
        error.__cause__ = cause
        with pytest.raises(ValueError, match=f"link {number}") as caught:
            deep(60, error)
        cause = caught.value
    lines = of(caught.value).traceback.splitlines()

    assert len(lines) == MOST_LINES + 1
    assert lines[MOST_LINES // 2].endswith(" lines left out ...")
    assert "ValueError: link 0" in lines[: MOST_LINES // 2]
    assert lines[-1] == "ValueError: link 11"


def test_case_91_causes_come_first_and_a_long_chain_is_cut() -> None:
    error: BaseException = ValueError("link 0")
    for n in range(1, 1000):
        link = ValueError(f"link {n}")
        link.__cause__ = error
        error = link
    lines = of(error).traceback.splitlines()

    assert lines[0] == "... (earlier errors left out)"
    assert lines[-3:] == ["ValueError: link 998", "... which directly caused:", "ValueError: link 999"]
    assert len(lines) < 30


def test_case_91_a_context_is_told_unless_it_was_suppressed() -> None:
    def broken(*, quiet: bool) -> None:
        try:
            raise OSError("first")
        except OSError:
            if quiet:
                raise KeyError("second") from None
            raise KeyError("second")  # noqa: B904 - the context is what the test is about

    for quiet in (False, True):
        with pytest.raises(KeyError) as caught:
            broken(quiet=quiet)
        text = of(caught.value).traceback
        assert ("OSError: first\n... and while that was handled:\n" in text) is not quiet


def test_case_91_circles_of_causes_and_contexts_end() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    group = ExceptionGroup("around", [one, ValueError("three")])
    two.__cause__ = group

    text = of(group).traceback

    assert bounded(text)
    assert text.count("ValueError: one") == text.count("ValueError: two") == text.count("ValueError: three") == 1


def test_case_91_a_group_shows_its_members_and_counts_the_rest() -> None:
    few = of(ExceptionGroup("few", [ValueError("a"), raised(KeyError("b"))])).traceback
    many = of(ExceptionGroup("many", [ValueError(n) for n in range(10_000)])).traceback

    assert "  +-- 1 of 2\n  | ValueError: a\n  +-- 2 of 2\n" in few
    assert few.endswith("  | KeyError: 'b'")
    assert "9989 more left out" in many
    assert bounded(many)


def test_case_91_nested_groups_are_bounded_too() -> None:
    error: Exception = ValueError("innermost")
    for n in range(200):
        error = ExceptionGroup(f"level {n}", [error, ValueError(n)])

    assert bounded(of(error).traceback)


@given(
    st.recursive(
        st.text(max_size=400).map(ValueError),
        lambda inner: st.builds(ExceptionGroup, st.text(max_size=300), st.lists(inner, min_size=1, max_size=30)),
        max_leaves=200,
    )
)
def test_case_91_every_text_is_bounded(error) -> None:
    assert bounded(of(raised(error)).traceback)


def test_generated_source_of_any_width_is_cut() -> None:
    namespace: dict[str, object] = {}
    exec(compile(f"def wide(): raise ValueError({'x' * 100_000!r})", "<made " + "up" * 5000 + ">", "exec"), namespace)
    with pytest.raises(ValueError, match="x") as caught:
        namespace["wide"]()

    assert bounded(of(caught.value).traceback)


def test_a_report_keeps_the_frames_of_the_crash_however_often_the_error_is_raised_again() -> None:
    error = raised(KeyError("x"))
    one = of(error)
    before = one.traceback

    def again() -> None:
        raise error

    with pytest.raises(KeyError):
        again()

    assert one.traceback == before
    assert "again" in traceback_text(error)


def test_reports_are_values() -> None:
    error = ValueError("x")

    assert of(error, "A") == of(error, "A") != of(error, "B")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        of(error).actor = "other"


# ------------------------------------------------------------------ stacks of tasks
async def test_the_stack_of_a_task_says_where_it_waits(autojump_clock) -> None:
    tasks: list[trio.lowlevel.Task] = []

    async def waits() -> None:
        tasks.append(trio.lowlevel.current_task())
        await trio.sleep(5)

    async def deep(n: int) -> None:
        if n:
            await deep(n - 1)
        else:
            await waits()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deep, 200)
        await trio.testing.wait_all_tasks_blocked()
        stack = task_stack(tasks[0])

    assert ".deep" in stack.splitlines()[0]
    assert "        await deep(n - 1)".strip() in stack
    assert "frames left out" in stack
    assert "in sleep_forever" in stack or "in sleep_until" in stack
    assert bounded(stack)
    assert task_stack(tasks[0]) == ""  # it has ended


async def test_the_stack_of_a_running_task_is_as_much_as_can_be_seen() -> None:
    """The frames below the first are only to be had while it waits."""
    assert bounded(task_stack(trio.lowlevel.current_task()))


# ------------------------------------------------------------------ events
def started(n: int) -> Event:
    return ActorStarted(at=float(n), actor="a", incarnation=n)


@pytest.fixture
def bus() -> Iterator[EventBus]:
    one = EventBus()
    yield one
    one.close()


async def test_a_slow_listener_loses_events_and_knows_how_many(bus) -> None:
    with bus.open(2) as slow, bus.open(10) as fast:
        for n in range(5):
            bus.emit(started(n))

        assert slow.take_nowait() == (started(0), started(1))
        assert slow.dropped == 3
        assert len(fast.take_nowait()) == 5
    assert not bus.active


async def test_a_listener_that_has_closed_harms_nobody(bus) -> None:
    with bus.open(2) as gone, bus.open(2) as other:
        gone.end()
        bus.emit(started(1))

        assert other.take_nowait() == (started(1),)
    bus.emit(started(2))
    gone.offer(started(3))

    assert gone.dropped == 2
    assert gone.take_nowait() == ()


async def test_a_bus_that_closes_ends_its_listeners_after_what_they_have(bus) -> None:
    with bus.open(4) as events:
        bus.emit(started(1))
        bus.close()
        bus.emit(started(2))

        assert [event async for event in events] == [started(1)]
        assert not bus.active
    with bus.open(4) as late:
        assert [event async for event in late] == []
    assert not bus.active


@pytest.mark.parametrize("capacity", [0, -1, math.inf, None, True, 1.5])
async def test_no_listener_is_unbounded(bus, capacity) -> None:
    with pytest.raises(ValueError, match="capacity"):
        bus.open(capacity)
