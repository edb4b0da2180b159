"""Restart types: entries 36 to 47 of OTP's suite (see INDEX.md)."""

from __future__ import annotations

import pytest

from tests.supervision.children import Book, Boom, Crash, End, Ping, settle, states, told
from trouper import (
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorEnded,
    ActorRestarting,
    ActorStarted,
    ActorStopped,
    ChildSpec,
    ExitKind,
    ExitReason,
    Ref,
    Restart,
    RestartIntensityExceeded,
    StartFailed,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    System,
    open_system,
)

MOVED = ExitReason.shutdown("moved")
BOTH_SHUTDOWNS = pytest.mark.parametrize("reason", [SHUTDOWN, MOVED])
ABNORMAL = pytest.mark.parametrize("how", ["crash", "kill"])


async def started(system: System, book: Book, restart: Restart) -> SupervisorRef:
    """`a` of that restart type between two permanent siblings, and room for one restart."""
    children = [book.child("x"), book.child("a", restart=restart), book.child("z")]
    top = await system.start_supervisor(SupervisorSpec(intensity=1, children=children), name="top")
    book.take()
    return top


async def ended(ref: Ref[Actor], how: str) -> None:
    """An unclean end of either kind."""
    if how == "crash":
        await told(ref, Crash())
    else:
        ref.kill()
        await settle()


async def assert_restarted(top: SupervisorRef) -> None:
    """`a`, and nobody else; its ref leads to the new life."""
    assert states(top) == ["z running", "a running", "x running"]
    assert [await top.child(label).ask(Ping()) for label in "xaz"] == [1, 2, 1]
    assert [top.child(label).incarnation for label in "xaz"] == [1, 2, 1]


async def assert_resting(top: SupervisorRef) -> None:
    """The spec is kept, nothing runs, nobody else has changed, and it may be started again by hand."""
    assert states(top) == ["z running", "a undefined", "x running"]
    counts = top.count_children()
    assert (counts.specs, counts.active) == (3, 2)
    assert [await top.child(label).ask(Ping()) for label in "xz"] == [1, 1]
    with pytest.raises(ActorStopped):
        await top.child("a").ask(Ping())
    again = await top.restart_child("a")
    assert again is not None
    assert await again.ask(Ping()) == 2


# ------------------------------------------------------------------ permanent
async def test_case_36_a_permanent_child_is_restarted_after_a_normal_end() -> None:
    """It counts as a restart like any other: the second one is too many here."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Restart.PERMANENT)
        await told(top.child("a"), End(NORMAL))
        await assert_restarted(top)
        assert book.take() == ["-a1 normal", "+a2"]

    with pytest.raises(RestartIntensityExceeded, match="'top/a'"):
        async with open_system() as system:
            top = await started(system, book, Restart.PERMANENT)
            for _ in range(2):
                await told(top.child("a"), End(NORMAL))


@BOTH_SHUTDOWNS
async def test_case_37_a_permanent_child_is_restarted_after_a_shutdown(reason) -> None:
    """In both forms; the reason is the one it gave."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Restart.PERMANENT)
        with top.child("a").monitor() as monitor:
            await told(top.child("a"), End(reason))
            down = await monitor.down()

        assert (down.reason, down.incarnation) == (reason, 1)
        await assert_restarted(top)
        assert book.take() == ["-a1 shutdown", "+a2"]


@ABNORMAL
async def test_case_38_a_permanent_child_is_restarted_after_an_unclean_end(how) -> None:
    """A crash runs `on_stop`, a kill does not."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Restart.PERMANENT)
        await ended(top.child("a"), how)

        await assert_restarted(top)
        assert book.take() == (["-a1 crashed", "+a2"] if how == "crash" else ["+a2"])


# ------------------------------------------------------------------ transient
async def test_case_39_a_transient_child_is_not_restarted_after_a_normal_end() -> None:
    """Its spec is kept. It does not count: as often as it likes."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Restart.TRANSIENT)
        await told(top.child("a"), End(NORMAL))
        assert book.take() == ["-a1 normal"]
        await assert_resting(top)

        for _ in range(5):
            await told(top.child("a"), End(NORMAL))
            await top.restart_child("a")
        assert await top.child("a").ask(Ping()) == 7


@BOTH_SHUTDOWNS
async def test_case_40_a_transient_child_is_not_restarted_after_a_shutdown(reason) -> None:
    """In both forms; the spec is kept."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Restart.TRANSIENT)
        with top.child("a").monitor() as monitor:
            await told(top.child("a"), End(reason))
            down = await monitor.down()

        assert (down.reason, down.incarnation) == (reason, 1)
        assert book.take() == ["-a1 shutdown"]
        await assert_resting(top)


@ABNORMAL
async def test_case_41_a_transient_child_is_restarted_after_an_unclean_end(how) -> None:
    """And that counts for the intensity."""
    book = Book()
    with pytest.raises(RestartIntensityExceeded, match="'top/a'"):
        async with open_system() as system:
            top = await started(system, book, Restart.TRANSIENT)
            await ended(top.child("a"), how)
            await assert_restarted(top)
            await ended(top.child("a"), how)


# ------------------------------------------------------------------ temporary
async def assert_forgotten(top: SupervisorRef, before: Ref[Actor]) -> None:
    assert states(top) == ["z running", "x running"]
    assert [await top.child(label).ask(Ping()) for label in "xz"] == [1, 1]
    with pytest.raises(LookupError):
        top.child("a")
    with pytest.raises(ActorStopped):
        await before.ask(Ping())
    assert await top.start_child(Book().child("a")) is not None  # id and name are free


async def test_case_42_a_temporary_child_is_forgotten_after_a_normal_end() -> None:
    """It is not restarted, and its spec is gone."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Restart.TEMPORARY)
        before = top.child("a")
        await told(before, End(NORMAL))

        assert book.take() == ["-a1 normal"]
        await assert_forgotten(top, before)


@BOTH_SHUTDOWNS
async def test_case_43_a_temporary_child_is_forgotten_after_a_shutdown(reason) -> None:
    """In both forms."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book, Restart.TEMPORARY)
        before = top.child("a")
        with before.monitor() as monitor:
            await told(before, End(reason))
            down = await monitor.down()

        assert (down.reason, down.incarnation) == (reason, 1)
        assert book.take() == ["-a1 shutdown"]
        await assert_forgotten(top, before)


@ABNORMAL
async def test_case_44_a_temporary_child_is_forgotten_after_an_unclean_end(how) -> None:
    """It counts for nothing: a supervisor that allows no restart at all goes on."""
    book = Book()
    async with open_system() as system:
        children = [book.child("x"), book.child("a", restart=Restart.TEMPORARY), book.child("z")]
        top = await system.start_supervisor(SupervisorSpec(intensity=0, children=children))
        before = top.child("a")
        await ended(before, how)

        assert book.generation["a"] == 1
        await assert_forgotten(top, before)


# ------------------------------------------------------------------ bystanders
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
@pytest.mark.parametrize("how", ["crash", "kill"])
async def test_case_45_a_temporary_child_that_a_sibling_takes_down_is_not_restarted(strategy, how) -> None:
    """It ends with shutdown and its spec is gone; the supervisor goes on, and restarts again without it."""
    book = Book()
    children = [book.child("a"), book.child("t", restart=Restart.TEMPORARY), book.child("z")]
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(strategy=strategy, intensity=2, children=children))
        with top.child("t").monitor() as monitor:
            await ended(top.child("a"), how)
            down = await monitor.down()
        first = [line for line in book.take() if not line.startswith("-a")]
        await ended(top.child("a"), how)
        second = [line for line in book.take() if not line.startswith("-a")]

        assert down.reason == SHUTDOWN
        assert first == ["+a1", "+t1", "+z1", "-z1 shutdown", "-t1 shutdown", "+a2", "+z2"]
        assert second == ["-z2 shutdown", "+a3", "+z3"]
        assert states(top) == ["z running", "a running"]


async def test_case_45_under_rest_for_one_an_elder_temporary_child_is_not_touched() -> None:
    """Only those started after the one that crashed go down with it."""
    book = Book()
    children = [book.child("t", restart=Restart.TEMPORARY), book.child("a")]
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(strategy=Strategy.REST_FOR_ONE, children=children))
        await told(top.child("a"), Crash())

        assert states(top) == ["a running", "t running"]
        assert (top.child("t").incarnation, top.child("a").incarnation) == (1, 2)


# ------------------------------------------------------------------ a root that cannot start
async def test_case_46_a_root_whose_child_cannot_start_fails_as_a_whole_with_its_reason() -> None:
    """The error leaves the block as itself; at the end of its causes is what the child raised."""
    book = Book()
    book.failing["b"] = 1
    below = SupervisorSpec(children=[book.child("b")])
    children = [book.child("a"), ChildSpec(id="below", start=below), book.child("z")]
    with pytest.raises(StartFailed, match="b cannot start") as caught:
        async with open_system() as system:
            await system.start_supervisor(SupervisorSpec(children=children), name="top")

    causes = [caught.value]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert isinstance(causes[-1], Boom)
    assert [error.actor for error in causes[:-1]] == ["top", "top/below", "top/below/b"]
    assert book.log == ["+a1", "!b", "-a1 shutdown"]


async def test_case_46_a_supervisor_whose_child_cannot_start_again_fails_with_its_reason() -> None:
    """A whole supervisor is started anew: its child's start fails, that counts above, and the system ends with it."""
    book = Book()
    children = [book.child("a"), book.child("b")]
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_system() as system:
            top = await system.start_supervisor(SupervisorSpec(intensity=0, children=children), intensity=1)
            book.failing["b"] = 1
            await told(top.child("a"), Crash())

    seen: list[object] = [caught.value]
    while seen[-1].__cause__ is not None:
        seen.append(seen[-1].__cause__)
    assert str(seen[-1]) == "b cannot start"
    assert book.log == ["+a1", "+b1", "-a1 crashed", "-b1 shutdown", "+a2", "!b", "-a2 shutdown"]


# ------------------------------------------------------------------ what is told of it
async def test_case_47_a_start_a_normal_end_and_the_restart_tell_exactly_what_happened(caplog) -> None:
    """One event each, in order, and not a line in the log: nothing went wrong."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(), name="top")
        with system.events() as events:
            await top.start_child(book.child("a"))
            await told(top.child("a"), End(NORMAL))
            told_of = events.take_nowait()

        assert [type(event) for event in told_of] == [ActorStarted, ActorEnded, ActorRestarting, ActorStarted]
        assert {event.actor for event in told_of} == {"top/a"}
        assert [event.incarnation for event in told_of] == [1, 1, 2, 2]
        assert told_of[1].reason.kind is ExitKind.NORMAL
    assert caplog.records == []


async def test_case_47_a_crash_is_told_once() -> None:
    """The same four events; the reason has the error."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a")]), name="top")
        with system.events() as events:
            await told(top.child("a"), Crash())
            told_of = events.take_nowait()

        assert [type(event) for event in told_of] == [ActorEnded, ActorRestarting, ActorStarted]
        assert isinstance(told_of[0].reason.error, Boom)
        assert told_of[0].handling == ("Crash",)
