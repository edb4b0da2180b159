"""Starting and specifying: entries 1 to 20 of OTP's suite (see INDEX.md)."""

from __future__ import annotations

import pytest
import trio

from tests.supervision.children import Book, Boom, Crash, Ping, Worker, settle, states, told
from trouper import (
    SHUTDOWN,
    Actor,
    AutoShutdown,
    ChildError,
    ChildSpec,
    Restart,
    RestartIntensityExceeded,
    Shutdown,
    SpecError,
    StartFailed,
    Strategy,
    SupervisorSpec,
    open_system,
)


def dynamic(book: Book, **options: object) -> SupervisorSpec:
    return SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, intensity=3, children=[book.template(**options)])


# ------------------------------------------------------------------ starting
async def test_case_01_a_supervisor_without_children_starts_and_stops_with_shutdown() -> None:
    """It ends at once, of the reason shutdown, and the system does not mind."""
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(), name="top")
        counts = top.count_children()
        with top.monitor() as monitor:
            await top.stop()
            down = await monitor.down()
        await top.wait_stopped()

        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (0, 0, 0, 0)
        assert (down.reason, down.incarnation) == (SHUTDOWN, 1)
        assert system.find("top") is None


async def test_case_03_a_child_that_declines_keeps_its_spec_and_is_not_running() -> None:
    """Two specs, one active; later it may be asked again, and may change its mind."""
    book = Book(declining={"b"})
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a"), book.child("b")]), name="top")
        counts = top.count_children()
        shown = {info.id: info for info in top.which_children()}
        again = await top.restart_child("b")
        book.declining.clear()
        at_last = await top.restart_child("b")

        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (2, 1, 0, 2)
        assert (shown["b"].ref, shown["b"].state, shown["a"].state) == (None, "undefined", "running")
        assert again is None
        assert at_last is not None
        assert await at_last.ask(Ping()) == 1
        assert book.log == ["+a1", "?b", "?b", "+b1"]


async def test_case_04_the_spec_of_a_temporary_child_that_declines_is_not_kept() -> None:
    """It is as if it had never been there."""
    book = Book(declining={"b"})
    async with open_system() as system:
        spec = SupervisorSpec(children=[book.child("a"), book.child("b", restart=Restart.TEMPORARY), book.child("c")])
        top = await system.start_supervisor(spec)
        counts = top.count_children()

        assert (counts.specs, counts.active) == (2, 2)
        assert states(top) == ["c running", "a running"]
        with pytest.raises(ChildError) as caught:
            top.get_childspec("b")
        assert caught.value.reason == "not_found"


async def test_case_05_start_child_of_one_that_declines_gives_none() -> None:
    """The spec of a temporary one is dropped, that of another kept."""
    book = Book(declining={"a", "b"})
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec())
        temporary = await top.start_child(book.child("a", restart=Restart.TEMPORARY))
        permanent = await top.start_child(book.child("b"))

        assert (temporary, permanent) == (None, None)
        assert states(top) == ["b undefined"]
        assert (top.count_children().specs, top.count_children().active) == (1, 0)


@pytest.mark.parametrize("restart", [Restart.TEMPORARY, Restart.PERMANENT])
async def test_cases_06_and_07_a_dynamic_supervisor_keeps_no_ghost_of_a_child_that_declined(restart) -> None:
    """Whatever the restart type; those that are running stay, and all stops cleanly."""
    book = Book(declining={"ghost"})
    async with open_system() as system:
        top = await system.start_supervisor(dynamic(book, restart=restart))
        real = await top.start_child("real")
        ghosts = [await top.start_child("ghost") for _ in range(3)]
        counts = top.count_children()
        shown = [info.ref for info in top.which_children()]
        await top.stop()

        assert ghosts == [None, None, None]
        assert (counts.specs, counts.active, counts.workers) == (1, 1, 1)
        assert shown == [real]
        assert book.log == ["+real1", "?ghost", "?ghost", "?ghost", "-real1 shutdown"]


@pytest.mark.parametrize("given", [None, "one_for_one", {"strategy": Strategy.ONE_FOR_ONE}, [], SupervisorSpec])
async def test_case_08_what_is_no_supervisor_spec_is_an_error_that_names_it(given) -> None:
    """Nothing is started, and the name stays free."""
    async with open_system() as system:
        with pytest.raises((TypeError, SpecError), match="SupervisorSpec"):
            await system.start_supervisor(given, name="top")

        assert system.find("top") is None
        assert (await system.start_supervisor(SupervisorSpec(), name="top")).name == "top"


async def test_case_09_a_start_that_raises_is_an_error_with_the_reason() -> None:
    """The constructor raises: those before it are stopped again in reverse, those after it never start."""
    book = Book()

    class Unbuildable(Actor):
        def __init__(self) -> None:
            raise Boom("no such thing")

    children = [book.child("a"), book.child("b"), ChildSpec(id="c", start=Unbuildable), book.child("d")]
    async with open_system() as system:
        with pytest.raises(StartFailed, match="no such thing") as caught:
            await system.start_supervisor(SupervisorSpec(children=children), name="top")

        assert isinstance(caught.value.__cause__, StartFailed)  # the child's, the supervisor's being its consequence
        assert isinstance(caught.value.__cause__.__cause__, Boom)
        assert book.log == ["+a1", "+b1", "-b1 shutdown", "-a1 shutdown"]
        assert system.incarnations() == {}
        assert system.find("top") is None


# ------------------------------------------------------------------ starting one more
async def test_case_10_start_child_with_a_failing_start_drops_the_spec() -> None:
    """The error has the reason; the same id can be tried again at once."""
    book = Book()
    book.failing["b"] = 1
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a")]))
        with pytest.raises(StartFailed, match="b cannot start") as caught:
            await top.start_child(book.child("b"))
        after = states(top)
        again = await top.start_child(book.child("b"))

        assert isinstance(caught.value.__cause__, Boom)
        assert after == ["a running"]
        assert again is not None
        assert states(top) == ["b running", "a running"]
        assert book.log == ["+a1", "!b", "+b1"]


async def test_case_11_restart_child_with_a_failing_start_keeps_the_spec() -> None:
    """It is shown as not running, and may be restarted later. The failure does not count for the intensity."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(intensity=0, children=[book.child("a"), book.child("b")]))
        await top.terminate_child("b")
        book.failing["b"] = 2
        for _ in range(2):
            with pytest.raises(StartFailed, match="b cannot start") as caught:
                await top.restart_child("b")
        after = states(top)
        again = await top.restart_child("b")

        assert isinstance(caught.value.__cause__, Boom)
        assert after == ["b undefined", "a running"]
        assert again is not None
        assert await again.ask(Ping()) == 2


async def test_case_12_a_failing_start_of_a_dynamic_child_adds_nothing() -> None:
    """The error comes to the caller; it neither restarts nor counts."""
    book = Book()
    book.failing["b"] = 5
    async with open_system() as system:
        top = await system.start_supervisor(dynamic(book))
        await top.start_child("a")
        for _ in range(5):
            with pytest.raises(StartFailed, match="b cannot start") as caught:
                await top.start_child("b")
        await settle()
        counts = top.count_children()

        assert isinstance(caught.value.__cause__, Boom)
        assert (counts.specs, counts.active, counts.workers) == (1, 1, 1)
        assert book.log == ["+a1", *["!b"] * 5]


async def test_case_12_wrong_arguments_for_a_dynamic_child_are_a_failed_start() -> None:
    async with open_system() as system:
        top = await system.start_supervisor(dynamic(Book()))
        with pytest.raises(StartFailed, match="positional argument"):
            await top.start_child("a", "b", "c")

        assert top.which_children() == ()


# ------------------------------------------------------------------ specs at run time
async def test_case_13_the_specs_of_children_can_be_read_with_their_defaults() -> None:
    """Of those that run, those that do not, and supervisors; an unknown id is not found."""
    book = Book()
    below = ChildSpec(id="below", start=SupervisorSpec(children=[book.child("c")]))
    special = book.child("b", restart=Restart.TRANSIENT, shutdown=Shutdown.BRUTAL, significant=True)
    spec = SupervisorSpec(auto_shutdown=AutoShutdown.ALL_SIGNIFICANT, children=[book.child("a"), special, below])
    async with open_system() as system:
        top = await system.start_supervisor(spec)
        await top.terminate_child("b")
        plain = top.get_childspec("a")

        assert (plain.restart, plain.grace, plain.significant, plain.is_supervisor) == (
            Restart.PERMANENT,
            5,
            False,
            False,
        )
        assert top.get_childspec("b") == special
        assert top.get_childspec("below") == below
        with pytest.raises(ChildError, match="'c'") as caught:
            top.get_childspec("c")
        assert caught.value.reason == "not_found"


async def test_case_14_the_spec_is_the_same_for_every_dynamic_child() -> None:
    """Each can be asked for by its ref; the arguments of its start are not in it."""
    book = Book()
    template = book.template(restart=Restart.TRANSIENT)
    spec = SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, children=[template])
    async with open_system() as system:
        top = await system.start_supervisor(spec)
        refs = [await top.start_child(label) for label in "abc"]

        assert [top.get_childspec(ref) for ref in refs] == [template] * 3


@pytest.mark.parametrize("given", [None, "a", {"id": "a", "start": Worker}, Worker, SupervisorSpec()])
async def test_case_15_what_is_no_spec_is_refused_and_harms_nobody(given) -> None:
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[Book().child("a")]))
        with pytest.raises((TypeError, SpecError), match="ChildSpec"):
            await top.start_child(given)

        assert states(top) == ["a running"]


async def test_case_16_an_id_is_used_once() -> None:
    """Also when the one that has it is not running."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a"), book.child("b")]))
        await top.terminate_child("b")
        with pytest.raises(ChildError) as running:
            await top.start_child(book.child("a"))
        with pytest.raises(ChildError) as resting:
            await top.start_child(book.child("b"))

        assert running.value.reason == "already_started"
        assert running.value.ref == top.child("a")
        assert resting.value.reason == "already_present"
        assert states(top) == ["b undefined", "a running"]


async def test_case_18_every_flag_does_what_it_says() -> None:
    """Strategy, intensity and period of one living supervisor at once: the third crash in a period is too much."""
    book = Book()
    spec = SupervisorSpec(
        strategy=Strategy.ONE_FOR_ALL, intensity=2, period=10, children=[book.child("a"), book.child("b")]
    )
    with pytest.raises(RestartIntensityExceeded):
        async with open_system() as system:
            top = await system.start_supervisor(spec)
            for _ in range(3):
                await told(top.child("a"), Crash())
            await trio.sleep_forever()

    assert [line for line in book.log if line.startswith("+")] == ["+a1", "+b1", "+a2", "+b2", "+a3", "+b3"]


# ------------------------------------------------------------------ names
async def test_case_20_a_name_that_a_stranger_has_fails_the_start_and_harms_nobody() -> None:
    """Of a child within the first start, of a later child, of a supervisor; free again, all three start."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a")]), name="top")
        stranger = await system.spawn(Worker, book, "stranger", name="top/b")
        with pytest.raises(StartFailed, match="'top/b'"):
            await top.start_child(book.child("b"))
        with pytest.raises(StartFailed, match="'top'"):
            await system.start_supervisor(SupervisorSpec(), name="top")
        other = await system.spawn(Worker, book, "other", name="next/b")
        with pytest.raises(StartFailed, match="'next/b'"):
            await system.start_supervisor(SupervisorSpec(children=[book.child("x"), book.child("b")]), name="next")

        assert states(top) == ["a running"]
        assert await stranger.ask(Ping()) == await other.ask(Ping()) == await top.child("a").ask(Ping()) == 1
        assert book.take() == ["+a1", "+stranger1", "+other1", "+x1", "-x1 shutdown"]

        for one in (stranger, other):
            one.stop()
            await one.wait_stopped()
        await top.start_child(book.child("b"))
        await system.start_supervisor(SupervisorSpec(children=[book.child("b")]), name="next")
        assert book.take() == ["-stranger1 shutdown", "-other1 shutdown", "+b1", "+b2"]


async def test_case_20_a_restart_takes_its_own_name_again() -> None:
    """The name is kept over a crash, so that nobody else can take it in between."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a")]), name="top")
        ref = top.child("a")
        with pytest.raises(StartFailed):
            await system.spawn(Worker, book, "b", name="top/a")
        ref.kill()
        await settle()

        assert (ref.name, ref.incarnation, await ref.ask(Ping())) == ("top/a", 2, 2)
        assert top.child("a") == ref
