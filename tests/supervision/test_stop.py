"""Stopping a supervisor: entries 21 to 27 of OTP's suite (see INDEX.md)."""

from __future__ import annotations

import functools
import math

import pytest
import trio

from tests.supervision.children import Book, Boom, End, Hang, Ping, Work, ends, settle, told
from trouper import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    ActorStopped,
    ChildSpec,
    ExitKind,
    ExitReason,
    Restart,
    Shutdown,
    Strategy,
    SupervisorSpec,
    Unstoppable,
    open_system,
)

DYNAMIC = Strategy.SIMPLE_ONE_FOR_ONE
MOVED = ExitReason.shutdown("moved")


def one_each(strategy: Strategy, *children: ChildSpec) -> SupervisorSpec:
    return SupervisorSpec(strategy=strategy, intensity=10, children=children)


# ------------------------------------------------------------------ infinity
async def test_case_21_a_child_with_infinity_is_waited_for_however_long_it_takes(autojump_clock) -> None:
    """An actor and a supervisor below; each ends with shutdown, in reverse order, after what it has in hand."""
    book = Book()
    below = ChildSpec(id="below", start=SupervisorSpec(children=[book.child("b", shutdown=Shutdown.INFINITY)]))
    spec = SupervisorSpec(children=[book.child("a", shutdown=Shutdown.INFINITY), below])
    async with open_system() as system:
        top = await system.start_supervisor(spec, name="top")
        b = system.find("top/below/b")
        with system.events() as events:
            await told(top.child("a"), Work(seconds=1e6))
            await told(b, Work(seconds=2e6))
            await top.stop()
            reasons = ends(events)

        assert trio.current_time() == 2e6  # both were at work from the first moment on
        assert reasons == {"a": SHUTDOWN, "b": SHUTDOWN, "below": SHUTDOWN, "top": SHUTDOWN}
        assert book.log == ["+a1", "+b1", "~a1", "~b1", "-b1 shutdown", "-a1 shutdown"]


async def test_case_21_a_supervisor_below_has_infinity_by_itself(autojump_clock) -> None:
    """It takes as long as its children may; the 5 s that an actor has by itself are not its own."""
    book = Book(stopping_takes={"b": 4, "c": 4, "d": 4})
    below = SupervisorSpec(children=[book.child(label) for label in "bcd"])
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[ChildSpec(id="below", start=below)]))
        await top.stop()

        assert trio.current_time() == 12
        assert book.log[3:] == ["-d1 shutdown", "-c1 shutdown", "-b1 shutdown"]


# ------------------------------------------------------------------ time is up
@pytest.mark.parametrize("shutdown", [0, 0.5, 2])
async def test_case_22_a_child_that_does_not_stop_in_time_is_killed(autojump_clock, shutdown) -> None:
    """It is cancelled after exactly its own time; the other ends with shutdown."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(children=[book.child("a"), book.child("b", shutdown=shutdown)])
        top = await system.start_supervisor(spec)
        await told(top.child("b"), Work(seconds=100))
        with system.events() as events:
            await top.stop()
            reasons = ends(events)

        assert trio.current_time() == shutdown
        assert (reasons["b"].kind, reasons["a"]) == (ExitKind.KILLED, SHUTDOWN)
        assert book.log == ["+a1", "+b1", "~b1", "-b1 killed", "-a1 shutdown"]


async def test_case_22_each_child_has_its_own_time(autojump_clock) -> None:
    """In reverse order, one after the other."""
    book = Book()
    times = {"a": 1.0, "b": 2.0, "c": 4.0}
    async with open_system() as system:
        spec = SupervisorSpec(children=[book.child(label, shutdown=time) for label, time in times.items()])
        top = await system.start_supervisor(spec)
        for label in times:
            await told(top.child(label), Work(seconds=100))
        with system.events() as events:
            await top.stop()
            ended = {e.actor[-1]: e.at for e in events.take_nowait()}

        assert {label: ended[label] for label in "cba"} == {"c": 4, "b": 6, "a": 7}


@pytest.mark.parametrize("late", [1, 5])
async def test_case_23_a_dynamic_child_that_does_not_stop_in_time_is_killed(autojump_clock, late) -> None:
    """All have the same time, together; those that stop in it end with shutdown."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(one_each(DYNAMIC, book.template(shutdown=2)))
        refs = {str(n): await top.start_child(str(n)) for n in range(10)}
        for label in list(refs)[:late]:
            await told(refs[label], Work(seconds=100))
        with system.events() as events:
            await top.stop()
            reasons = {label: reason.kind for label, reason in ends(events).items()}

        assert trio.current_time() == 2
        assert sorted(line for line in book.log if "killed" in line) == [f"-{n}1 killed" for n in range(late)]
        assert len([line for line in book.log if "shutdown" in line]) == 10 - late
        assert sorted(kind.value for kind in reasons.values()) == ["killed"] * late + ["shutdown"] * (11 - late)


async def test_case_22_a_clean_up_has_a_bound_of_its_own(autojump_clock) -> None:
    """`on_stop` of a child that was cut is cut as well; the supervisor goes on."""
    book = Book(stopping_takes={"b": math.inf})
    async with open_system(cleanup_bound=3) as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a"), book.child("b", shutdown=1)]))
        await top.stop()

        assert trio.current_time() <= 1 + 3
        assert book.log == ["+a1", "+b1", "-a1 shutdown"]


async def test_case_22_a_child_that_ignores_its_cancellation_is_waited_for_and_named(autojump_clock) -> None:
    """Nothing outlives its supervisor, and whoever looks learns where it hangs."""
    book = Book()

    async with open_system(cleanup_bound=3) as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a"), book.child("b", shutdown=1)]))
        await told(top.child("b"), Hang(seconds=1000))
        with system.events() as events:
            await top.stop()
            told_of = [e for e in events.take_nowait() if isinstance(e, Unstoppable)]

        assert trio.current_time() == 1000
        assert [e.actor.rpartition("/")[2] for e in told_of] == ["b"]
        assert "in Worker.hang" in told_of[0].stack


# ------------------------------------------------------------------ brutal
async def test_case_24_brutal_ends_a_child_at_once_with_killed(autojump_clock) -> None:
    """No `on_stop`, whether it is busy or not; what its handler has in `finally` runs."""
    book = Book(stopping_takes={"b": 1000, "c": 1000})
    brutal = functools.partial(book.child, shutdown=Shutdown.BRUTAL)
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a"), brutal("b"), brutal("c")]))
        await told(top.child("b"), Work(seconds=100))
        with system.events() as events:
            await top.stop()
            reasons = ends(events)

        assert trio.current_time() == 0
        assert reasons["b"] == reasons["c"] == KILLED
        assert reasons["a"] == SHUTDOWN
        assert book.log == ["+a1", "+b1", "+c1", "~b1", "-a1 shutdown"]


async def test_case_25_brutal_ends_dynamic_children_at_once_with_killed(autojump_clock) -> None:
    book = Book(stopping_takes={"busy": 1000, "idle": 1000})
    async with open_system() as system:
        top = await system.start_supervisor(one_each(DYNAMIC, book.template(shutdown=Shutdown.BRUTAL)))
        busy, idle = [await top.start_child(label) for label in ("busy", "idle")]
        await told(busy, Work(seconds=100))
        with busy.monitor() as first, idle.monitor() as second:
            await top.stop()
            reasons = [(await monitor.down()).reason for monitor in (first, second)]

        assert trio.current_time() == 0
        assert reasons == [KILLED, KILLED]
        assert book.log == ["+busy1", "+idle1", "~busy1"]


# ------------------------------------------------------------------ races
OWN_REASONS = {"normal": NORMAL, "shutdown": SHUTDOWN, "moved": MOVED, "crash": None}


@pytest.mark.parametrize("restart", Restart)
@pytest.mark.parametrize("own", OWN_REASONS)
async def test_case_26_a_child_that_ends_while_another_is_being_stopped_keeps_its_own_reason(
    autojump_clock, restart, own
) -> None:
    """It is not started again, whatever its restart type; the supervisor stops, those before it too."""
    book = Book(stopping_takes={"slow": 3})
    async with open_system() as system:
        spec = SupervisorSpec(
            intensity=0, children=[book.child("a"), book.child("b", restart=restart), book.child("slow")]
        )
        top = await system.start_supervisor(spec)
        await told(top.child("b"), Work(seconds=1, crash=own == "crash", reason=OWN_REASONS[own]))
        with system.events() as events:
            await top.stop()
            reasons = ends(events)

        assert trio.current_time() == 3
        assert_own(reasons["b"], own)
        assert reasons["a"] == reasons["slow"] == SHUTDOWN
        assert book.generation == {"a": 1, "b": 1, "slow": 1}


@pytest.mark.parametrize("restart", Restart)
@pytest.mark.parametrize("own", OWN_REASONS)
async def test_case_26_a_child_that_ends_when_it_is_itself_being_stopped_keeps_its_own_reason(
    autojump_clock, restart, own
) -> None:
    """The stop is polite: the message in hand comes to its end, and that may be the child's."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(intensity=0, children=[book.child("a"), book.child("b", restart=restart)])
        top = await system.start_supervisor(spec)
        await told(top.child("b"), Work(seconds=1, crash=own == "crash", reason=OWN_REASONS[own]))
        with system.events() as events:
            await top.stop()
            reasons = ends(events)

        assert trio.current_time() == 1
        assert_own(reasons["b"], own)
        assert reasons["a"] == SHUTDOWN
        assert book.generation == {"a": 1, "b": 1}


def assert_own(reason: ExitReason, own: str) -> None:
    if own == "crash":
        assert isinstance(reason.error, Boom)
    else:
        assert reason == OWN_REASONS[own]


@pytest.mark.parametrize("restart", Restart)
async def test_case_27_dynamic_children_that_end_by_themselves_during_the_stop_keep_their_reasons(
    autojump_clock, restart
) -> None:
    """The four reasons at once, with one that is killed for being late and one that stops as asked."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(one_each(DYNAMIC, book.template(restart=restart, shutdown=5)))
        children = {label: await top.start_child(label) for label in (*OWN_REASONS, "late", "idle")}
        labels = {ref.name: label for label, ref in children.items()}
        for own, reason in OWN_REASONS.items():
            await told(children[own], Work(seconds=1, crash=own == "crash", reason=reason))
        await told(children["late"], Work(seconds=100))
        with system.events() as events:
            await top.stop()
            reasons = {labels[e.actor]: e.reason for e in events.take_nowait() if e.actor in labels}

        assert trio.current_time() == 5
        for own in OWN_REASONS:
            assert_own(reasons[own], own)
        assert (reasons["late"].kind, reasons["idle"]) == (ExitKind.KILLED, SHUTDOWN)
        assert set(book.generation.values()) == {1}


# ------------------------------------------------------------------ after the end
async def test_a_supervisor_that_stops_lets_nothing_wait_for_ever(autojump_clock) -> None:
    """Asks to its children fail, of those that wait in their mailboxes too."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a", shutdown=1)]))
        a = top.child("a")
        await told(a, Work(seconds=100))
        outcomes: list[type] = []

        async def ask() -> None:
            with pytest.raises(ActorStopped):
                await a.ask(Ping())
            outcomes.append(ActorStopped)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await settle()
            await top.stop()
        with pytest.raises(ActorStopped):
            await a.tell(End(NORMAL))

        assert outcomes == [ActorStopped] * 3
