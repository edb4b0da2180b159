"""Strategies: entries 48 to 62 of OTP's suite (see INDEX.md)."""

from __future__ import annotations

import functools
import gc
import weakref

import pytest
import trio

from tests.supervision.children import Book, Crash, End, Hang, Ping, Work, Worker, ends, settle, states, told
from trouper import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorRestarting,
    ActorStopped,
    ChildSpec,
    Down,
    ExitKind,
    Ref,
    Restart,
    Shutdown,
    StartFailed,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    System,
    open_system,
)

DYNAMIC = Strategy.SIMPLE_ONE_FOR_ONE


async def started(system: System, book: Book, strategy: Strategy, labels: str, *, intensity: int = 2) -> SupervisorRef:
    """A supervisor of permanent children that just ends when it gives up, as nobody restarts it."""
    children = [book.child(label) for label in labels]
    spec = SupervisorSpec(strategy=strategy, intensity=intensity, period=3600, children=children)
    top = await system.start_supervisor(spec, name="top", restart=Restart.TEMPORARY)
    book.take()
    return top


async def dynamic(
    system: System, book: Book, labels: str, *, intensity: int = 2, **options: object
) -> list[Ref[Actor]]:
    """The same with dynamic children; gives their refs."""
    spec = SupervisorSpec(strategy=DYNAMIC, intensity=intensity, period=3600, children=[book.template(**options)])
    top = await system.start_supervisor(spec, name="top", restart=Restart.TEMPORARY)
    refs = [await top.start_child(label) for label in labels]
    book.take()
    return refs


async def crash(top: SupervisorRef, label: str) -> None:
    await told(top.child(label), Crash())


def lives(top: SupervisorRef, labels: str) -> list[int]:
    return [top.child(label).incarnation for label in labels]


# ------------------------------------------------------------------ the limit
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_case_48_slow_crashes_never_stop_the_supervisor(autojump_clock, strategy) -> None:
    """A hundred crashes, never more than two within any 10 s; then a third one within 10 s does."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(strategy=strategy, intensity=2, period=10, children=[book.child("a"), book.child("b")])
        top = await system.start_supervisor(spec, name="top", restart=Restart.TEMPORARY)
        for _ in range(100):
            await crash(top, "a")
            await trio.sleep(5.1)
        assert await top.child("a").ask(Ping()) == 101

        await crash(top, "a")
        await crash(top, "a")
        await top.wait_stopped()

        assert book.generation["a"] == 102


async def test_case_49_one_for_one_changes_only_the_child_that_crashed() -> None:
    """Its siblings keep their lives, whatever their place."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ONE, "abc")
        await crash(top, "b")
        await crash(top, "b")

        assert lives(top, "abc") == [1, 3, 1]
        assert book.log == ["-b1 crashed", "+b2", "-b2 crashed", "+b3"]
        assert states(top) == ["c running", "b running", "a running"]


async def test_case_49_the_third_crash_over_a_limit_of_two_stops_all() -> None:
    """Whoever crashed; in reverse order, with shutdown; the one that crashed is not started again."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ONE, "abc")
        await crash(top, "a")
        await crash(top, "c")
        assert lives(top, "abc") == [2, 1, 2]
        book.take()
        with top.monitor() as monitor:
            await crash(top, "b")
            down = await monitor.down()

        assert book.log == ["-b1 crashed", "-c2 shutdown", "-a2 shutdown"]
        assert (down.reason.kind, down.reason.clean) == (ExitKind.SHUTDOWN, True)
        with pytest.raises(ActorStopped):
            await top.terminate_child("a")


async def test_case_50_under_one_for_one_a_child_that_cannot_restart_uses_up_the_intensity() -> None:
    """Each failed start counts as a restart: four are tried, then all is stopped."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ONE, "abc", intensity=4)
        book.failing["b"] = 100
        await crash(top, "b")
        await top.wait_stopped()

        assert book.log == ["-b1 crashed", *["!b"] * 4, "-c1 shutdown", "-a1 shutdown"]


async def test_case_50_a_child_that_can_restart_just_in_time_stays() -> None:
    """Exactly as many restarts as the intensity are allowed, failed ones included."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ONE, "abc", intensity=4)
        book.failing["b"] = 3
        await crash(top, "b")

        assert book.log == ["-b1 crashed", *["!b"] * 3, "+b2"]
        assert await top.child("b").ask(Ping()) == 2
        assert lives(top, "ac") == [1, 1]


# ------------------------------------------------------------------ one for all
@pytest.mark.parametrize("label", "abc")
async def test_case_51_one_for_all_makes_all_new(label) -> None:
    """Stopped in reverse order, started in order; no old one is alive when the first new one starts."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ALL, "abc")
        await crash(top, label)

        others = [other for other in "cba" if other != label]
        stopped = [f"-{label}1 crashed", *(f"-{other}1 shutdown" for other in others)]
        assert book.log == [*stopped, "+a2", "+b2", "+c2"]
        assert lives(top, "abc") == [2, 2, 2]
        assert [await top.child(other).ask(Ping()) for other in "abc"] == [2, 2, 2]


async def test_case_51_one_for_all_waits_for_the_old_ones(autojump_clock) -> None:
    """However long their stop takes: two lives of one child never overlap, and no new life meets an old one."""
    book = Book(stopping_takes={"c": 3, "b": 2, "a": 1})
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ALL, "abc")
        with system.events() as events:
            await crash(top, "a")
            await trio.sleep(10)
            begun = {event.actor: event.at for event in events.take_nowait()}

        assert book.log == ["-a1 crashed", "-c1 shutdown", "-b1 shutdown", "+a2", "+b2", "+c2"]
        assert set(begun.values()) == {6}


async def test_case_51_the_third_crash_over_a_limit_of_two_stops_all() -> None:
    """One crash is one restart, however many children are started with it."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ALL, "abc")
        await crash(top, "a")
        await crash(top, "b")
        assert lives(top, "abc") == [3, 3, 3]
        book.take()
        await crash(top, "c")
        await top.wait_stopped()

        assert book.log == ["-c3 crashed", "-b3 shutdown", "-a3 shutdown"]


async def test_case_51_children_that_crash_together_are_one_restart() -> None:
    """Those that the first one's restart takes down anyway do not count again."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ALL, "abc", intensity=1)
        for label in "abc":
            top.child(label).tell_nowait(Crash())
        await settle()

        assert lives(top, "abc") == [2, 2, 2]
        assert [await top.child(label).ask(Ping()) for label in "abc"] == [2, 2, 2]


async def test_case_52_under_one_for_all_a_child_that_cannot_restart_uses_up_the_intensity() -> None:
    """After each failed start those that had been started are stopped again; at the end nothing runs."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ALL, "ab", intensity=3)
        book.failing["b"] = 100
        await crash(top, "b")
        await top.wait_stopped()

        tried = [line for n in (2, 3, 4) for line in (f"+a{n}", "!b", f"-a{n} shutdown")]
        assert book.log == ["-b1 crashed", "-a1 shutdown", *tried]


async def test_case_52_under_one_for_all_the_first_child_may_be_the_one_that_cannot_restart() -> None:
    """Then the later ones are not even tried."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ALL, "ab", intensity=3)
        book.failing["a"] = 100
        await crash(top, "a")
        await top.wait_stopped()

        assert book.log == ["-a1 crashed", "-b1 shutdown", "!a", "!a", "!a"]


async def test_case_53_one_for_all_when_another_child_fails_to_restart_those_just_started_are_stopped_again() -> None:
    """And all are tried again, from the first one."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ALL, "abcd")
        book.failing["c"] = 1
        await crash(top, "b")

        assert book.log == [
            *["-b1 crashed", "-d1 shutdown", "-c1 shutdown", "-a1 shutdown"],
            *["+a2", "+b2", "!c"],
            *["-b2 shutdown", "-a2 shutdown"],
            *["+a3", "+b3", "+c2", "+d2"],
        ]
        assert states(top) == ["d running", "c running", "b running", "a running"]


# ------------------------------------------------------------------ rest for one
@pytest.mark.parametrize(("label", "rest"), [("a", "bcd"), ("b", "cd"), ("d", "")])
async def test_case_54_rest_for_one_leaves_the_earlier_ones_alone(label, rest) -> None:
    """The later ones are stopped in reverse order and started in order."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.REST_FOR_ONE, "abcd")
        await crash(top, label)

        stopped = [f"-{other}1 shutdown" for other in reversed(rest)]
        assert book.log == [f"-{label}1 crashed", *stopped, *(f"+{other}2" for other in label + rest)]
        assert lives(top, "abcd") == [2 if other in label + rest else 1 for other in "abcd"]


async def test_case_54_the_third_crash_over_a_limit_of_two_stops_all() -> None:
    """The earlier ones as well."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.REST_FOR_ONE, "abc")
        for _ in range(2):
            await crash(top, "b")
        book.take()
        await crash(top, "b")
        await top.wait_stopped()

        assert book.log == ["-b3 crashed", "-c3 shutdown", "-a1 shutdown"]


async def test_case_55_under_rest_for_one_a_child_that_cannot_restart_uses_up_the_intensity() -> None:
    """The later ones wait for it, the earlier ones stay until the supervisor gives up."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.REST_FOR_ONE, "abc", intensity=3)
        book.failing["b"] = 100
        await crash(top, "b")
        await top.wait_stopped()

        assert book.log == ["-b1 crashed", "-c1 shutdown", *["!b"] * 3, "-a1 shutdown"]


async def test_case_56_rest_for_one_when_another_child_fails_to_restart_it_is_tried_from_there() -> None:
    """What had been restarted before it stays as it is."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.REST_FOR_ONE, "abcd")
        book.failing["c"] = 1
        await crash(top, "b")

        assert book.log == ["-b1 crashed", "-d1 shutdown", "-c1 shutdown", "+b2", "!c", "+c2", "+d2"]
        assert states(top) == ["d running", "c running", "b running", "a running"]


async def test_case_56_the_failed_start_of_another_child_counts() -> None:
    """One restart for the crash and one for each failed start: the third is one too many for a limit of two."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.REST_FOR_ONE, "abc")
        book.failing["c"] = 2
        await crash(top, "b")
        await top.wait_stopped()

        assert book.log == ["-b1 crashed", "-c1 shutdown", "+b2", "!c", "!c", "-b2 shutdown", "-a1 shutdown"]


# ------------------------------------------------------------------ dynamic children
async def test_case_57_of_dynamic_children_only_the_one_that_crashed_is_restarted() -> None:
    """Its ref leads to the new life; the third crash over the limit of two stops all."""
    book = Book()
    async with open_system() as system:
        refs = await dynamic(system, book, "abc")
        await told(refs[1], Crash())
        assert [ref.incarnation for ref in refs] == [1, 2, 1]
        assert book.take() == ["-b1 crashed", "+b2"]

        await told(refs[0], Crash())
        await told(refs[1], Crash())
        for ref in refs:
            await ref.wait_stopped()
        lines = book.take()

        assert lines[:3] == ["-a1 crashed", "+a2", "-b2 crashed"]
        assert sorted(lines[3:]) == ["-a2 shutdown", "-c1 shutdown"]


async def test_case_58_a_dynamic_child_that_cannot_restart_uses_up_the_intensity() -> None:
    """And takes all down."""
    book = Book()
    async with open_system() as system:
        refs = await dynamic(system, book, "abc", intensity=4)
        book.failing["b"] = 100
        await told(refs[1], Crash())
        for ref in refs:
            await ref.wait_stopped()

        assert book.log[:5] == ["-b1 crashed", *["!b"] * 4]
        assert sorted(book.log[5:]) == ["-a1 shutdown", "-c1 shutdown"]


async def test_case_59_a_dynamic_child_is_started_again_with_the_arguments_it_was_given() -> None:
    """Appended to those of the spec; each child has its own."""
    book = Book()
    made: list[tuple[object, ...]] = []

    def make(*given: object) -> Worker:
        made.append(given)
        return Worker(book, str(given[-1]))

    spec = ChildSpec(id="worker", start=functools.partial(make, "of the spec"))
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(strategy=DYNAMIC, children=[spec], intensity=3))
        first = await top.start_child("x", "1")
        second = await top.start_child("y", "2")
        await told(first, Crash())
        await told(second, Crash())
        await told(first, Crash())

        one, two = ("of the spec", "x", "1"), ("of the spec", "y", "2")
        assert made == [one, two, one, two, one]
        assert [await first.ask(Ping()), await second.ask(Ping())] == [3, 2]


@pytest.mark.parametrize("count", [2, 20])
async def test_case_60_dynamic_children_are_stopped_in_parallel(autojump_clock, count) -> None:
    """All together take as long as one; those that are late are killed, all at the same instant."""
    book = Book()
    async with open_system() as system:
        refs = await dynamic(system, book, "x" * count, shutdown=5)
        for place, ref in enumerate(refs):
            await told(ref, Work(seconds=3 if place % 2 else 100))
        with system.events() as events:
            await system.stop()
            ended = {event.actor: (event.at, event.reason) for event in events.take_nowait()}

        assert [ended[ref.name] for ref in refs[1::2]] == [(3, SHUTDOWN)] * (count // 2)
        assert [ended[ref.name] for ref in refs[::2]] == [(5, KILLED)] * (count // 2)
        assert trio.current_time() == 5


async def test_case_60_with_infinity_dynamic_children_are_all_waited_for(autojump_clock) -> None:
    """The slowest decides, not the sum."""
    book = Book()
    async with open_system() as system:
        refs = await dynamic(system, book, "abc", shutdown=Shutdown.INFINITY)
        for seconds, ref in zip([1000, 3000, 2000], refs, strict=True):
            await told(ref, Work(seconds=seconds))
        with system.events() as events:
            await system.stop()
            reasons = ends(events)

        assert trio.current_time() == 3000
        assert set(reasons.values()) == {SHUTDOWN}


async def test_case_60_a_child_that_ignores_its_cancellation_holds_up_only_the_end(autojump_clock) -> None:
    """The others have gone long before it."""
    book = Book()
    async with open_system(cleanup_bound=1) as system:
        refs = await dynamic(system, book, "abc", shutdown=2)
        await told(refs[1], Hang(seconds=60))
        with system.events() as events:
            await system.stop()
            ended = [(event.at, event.actor) for event in events.take_nowait() if hasattr(event, "reason")]

        assert sorted(at for at, _ in ended[:2]) == [0, 0]
        assert (60, refs[1].name) in ended
        assert trio.current_time() == 60


class Burden:
    """Something a child is started with, whose end can be seen."""


@pytest.mark.parametrize("how", ["end", "crash", "terminate", "alive"])
async def test_case_61_after_the_first_temporary_dynamic_child_died_no_start_arguments_are_kept(how) -> None:
    """Neither those of the dead nor those of the living: such children are never started again."""
    kept: list[weakref.ref[Burden]] = []

    class Bearer(Worker):
        def __init__(self, burden: Burden) -> None:
            super().__init__(book, "a")
            kept.append(weakref.ref(burden))

    book = Book()
    spec = ChildSpec(id="bearer", start=Bearer, restart=Restart.TEMPORARY)
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(strategy=DYNAMIC, children=[spec]))
        first = await top.start_child(Burden())
        if how == "terminate":
            await top.terminate_child(first)
        elif how != "alive":
            await told(first, Crash() if how == "crash" else End(NORMAL))
        later = [await top.start_child(Burden()) for _ in range(3)]
        gc.collect()

        assert [burden() for burden in kept] == [None] * 4
        assert [await ref.ask(Ping()) for ref in later] == [2, 3, 4]


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.PERMANENT])
async def test_case_62_a_dynamic_child_that_declines_its_restart_is_dropped(restart) -> None:
    """The supervisor goes on; its others are not touched; nothing but the crash counted."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(strategy=DYNAMIC, intensity=1, children=[book.template(restart=restart)])
        top = await system.start_supervisor(spec, name="top")
        first, second = await top.start_child("a"), await top.start_child("b")
        book.declining.add("a")
        await told(first, Crash())
        counts = top.count_children()

        assert book.log == ["+a1", "+b1", "-a1 crashed", "?a"]
        assert [info.ref for info in top.which_children()] == [second]
        assert (counts.active, counts.workers) == (1, 1)
        with pytest.raises(ActorStopped):
            await first.ask(Ping())
        await first.wait_stopped()
        assert await second.ask(Ping()) == 1
        assert await top.start_child("c") is not None


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_case_62_a_child_that_declines_its_restart_stays_as_a_spec(strategy) -> None:
    """Not running; its siblings go on, and it may be restarted by hand."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, strategy, "abc")
        book.declining.add("b")
        await crash(top, "b")

        assert states(top) == ["c running", "b undefined", "a running"]
        assert (await top.child("a").ask(Ping())) == (2 if strategy is Strategy.ONE_FOR_ALL else 1)
        assert (await top.child("c").ask(Ping())) == (1 if strategy is Strategy.ONE_FOR_ONE else 2)
        book.declining.clear()
        again = await top.restart_child("b")
        assert again is not None
        assert await again.ask(Ping()) == 2


# ------------------------------------------------------------------ what all have in common
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_a_clean_end_restarts_the_group_like_a_crash(strategy) -> None:
    """A permanent child that ends normally; a transient one takes nobody with it."""
    book = Book()
    async with open_system() as system:
        children = [book.child("a"), book.child("t", restart=Restart.TRANSIENT), book.child("z")]
        top = await system.start_supervisor(SupervisorSpec(strategy=strategy, intensity=5, children=children))
        await told(top.child("t"), End(NORMAL))
        assert [top.child(label).incarnation for label in "az"] == [1, 1]
        assert states(top) == ["z running", "t undefined", "a running"]

        await told(top.child("a"), End(NORMAL))
        both = strategy is not Strategy.ONE_FOR_ONE
        assert [top.child(label).incarnation for label in "atz"] == [2, 2 if both else 1, 2 if both else 1]


async def test_a_restart_is_told_to_the_monitors_of_each_child_once() -> None:
    """Under one_for_all: the crash of one, the shutdown of the others."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ALL, "abc")
        monitors = [top.child(label).monitor() for label in "abc"]
        with monitors[0], monitors[1], monitors[2], system.events() as events:
            await crash(top, "b")
            downs = [monitor.down_nowait() for monitor in monitors]
            more = [monitor.down_nowait() for monitor in monitors]
            restarting = [event for event in events.take_nowait() if isinstance(event, ActorRestarting)]

        assert [down.reason.kind.value for down in downs] == ["shutdown", "crashed", "shutdown"]
        assert downs[0] == Down(top.child("a"), SHUTDOWN, 1)
        assert more == [None, None, None]
        assert [event.actor for event in restarting] == ["top/b"]


async def test_a_failed_start_names_its_cause_in_the_events() -> None:
    """Each try is an end of its own, with the error of the start."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ONE, "a", intensity=3)
        book.failing["a"] = 2
        with top.child("a").monitor() as monitor:
            await crash(top, "a")
            downs = [monitor.down_nowait() for _ in range(3)]

        assert [str(down.reason.error) for down in downs] == ["a was told to crash", *["a cannot start"] * 2]
        assert [down.incarnation for down in downs] == [1, 2, 3]
        assert monitor.down_nowait() is None


async def test_a_supervisor_that_has_given_up_starts_nobody(autojump_clock) -> None:
    """Also while it is still stopping its children."""
    book = Book(stopping_takes={"a": 3})
    async with open_system() as system:
        top = await started(system, book, Strategy.ONE_FOR_ONE, "ab", intensity=0)
        await crash(top, "b")
        with pytest.raises((ActorStopped, StartFailed)):
            await top.start_child(book.child("c"))
        await top.wait_stopped()

        assert trio.current_time() == 3
        assert book.generation == {"a": 1, "b": 1}
