"""Changing a living supervisor: entries 87 to 90 of OTP's suite (see INDEX.md)."""

from __future__ import annotations

import pytest
import trio

from tests.supervision.actors import below
from tests.supervision.children import Book, Crash, End, Ping, states, told
from trouper import (
    NORMAL,
    ChildError,
    ChildSpec,
    Restart,
    Shutdown,
    SpecError,
    Strategy,
    SupervisorSpec,
    open_system,
)

DYNAMIC = Strategy.SIMPLE_ONE_FOR_ONE


# ------------------------------------------------------------------ changing a living supervisor
async def test_case_87_new_flags_hold_for_everything_that_happens_from_then_on() -> None:
    """Strategy, intensity and period; nobody is started or stopped by it."""
    book = Book()
    children = [book.child(label) for label in "abc"]
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(intensity=0, children=children), restart=Restart.TEMPORARY)
        book.take()
        await top.change(SupervisorSpec(strategy=Strategy.REST_FOR_ONE, intensity=2, period=100, children=children))
        assert book.take() == []

        await told(top.child("b"), Crash())
        assert book.take() == ["-b1 crashed", "-c1 shutdown", "+b2", "+c2"]
        await top.change(SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, intensity=2, period=100, children=children))
        await told(top.child("c"), Crash())
        assert book.take() == ["-c2 crashed", "-b2 shutdown", "-a1 shutdown", "+a2", "+b3", "+c3"]
        await told(top.child("a"), Crash())
        await top.wait_stopped()

        assert book.take() == ["-a2 crashed", "-c3 shutdown", "-b3 shutdown"]


async def test_case_87_restarts_of_before_the_change_count_for_the_new_intensity(autojump_clock) -> None:
    """A smaller intensity is exceeded by what has happened; a shorter period forgets it."""
    book = Book()

    def spec(intensity: int, period: float) -> SupervisorSpec:
        return SupervisorSpec(intensity=intensity, period=period, children=[book.child("a")])

    for period, gives_up in ((100, True), (1, False)):
        async with open_system() as system:
            top = await system.start_supervisor(spec(5, 100), restart=Restart.TEMPORARY)
            for _ in range(2):
                await told(top.child("a"), Crash())
            await trio.sleep(2)
            await top.change(spec(2, period))
            with trio.move_on_after(1):
                await told(top.child("a"), Crash())
                await top.wait_stopped()

            assert (system.tree().children == ()) is gives_up


async def test_case_87_new_specs_hold_from_the_next_start_of_each_child_on() -> None:
    """The living ones are kept as they are; how they are restarted and stopped is as the new spec says."""
    book, other = Book(), Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(intensity=5, children=[book.child("a"), book.child("b")]))
        refs = [top.child(label) for label in "ab"]
        new = [other.child("a"), other.child("b", restart=Restart.TRANSIENT, shutdown=Shutdown.BRUTAL)]
        await top.change(SupervisorSpec(intensity=5, children=new))
        assert [await ref.ask(Ping()) for ref in refs] == [1, 1]
        assert other.log == []
        assert top.get_childspec("b") == new[1]

        await told(refs[0], Crash())
        await told(refs[1], End(NORMAL))

        assert other.take() == ["+a1"]
        assert (top.child("a"), refs[0].incarnation) == (refs[0], 2)
        assert states(top) == ["b undefined", "a running"]
        await top.restart_child("b")
        await top.terminate_child("b")
        assert other.take() == ["+b1"]  # brutally: no `on_stop`


async def test_case_88_new_ids_are_present_and_not_running_and_missing_ones_are_kept() -> None:
    """Nothing is deleted by leaving it out; what is new waits for `restart_child`."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(intensity=9, children=[book.child("a"), book.child("b")])
        top = await system.start_supervisor(spec, name="top")
        await top.change(SupervisorSpec(intensity=9, children=[book.child("b"), book.child("c")]))

        assert sorted(states(top)) == ["a running", "b running", "c undefined"]
        assert await top.restart_child("c") is not None
        await told(top.child("a"), Crash())
        assert [await top.child(label).ask(Ping()) for label in "abc"] == [2, 1, 1]
        await top.terminate_child("a")
        await top.delete_child("a")
        assert sorted(states(top)) == ["b running", "c running"]


async def test_case_88_a_bad_spec_does_no_harm() -> None:
    """It cannot even be built; what is no spec, or asks for the other way of keeping children, is refused."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(intensity=2, children=[book.child("a")]))
        with pytest.raises(SpecError, match="ids must differ"):
            await top.change(SupervisorSpec(children=[book.child("x"), book.child("x")]))
        with pytest.raises(ChildError) as caught:
            await top.change(SupervisorSpec(strategy=DYNAMIC, children=[book.template()]))
        assert caught.value.reason == "simple_one_for_one"
        for nothing in (None, {"intensity": 1}, [book.child("a")]):
            with pytest.raises((TypeError, SpecError), match="SupervisorSpec"):
                await top.change(nothing)

        assert states(top) == ["a running"]
        for _ in range(2):
            await told(top.child("a"), Crash())
        assert await top.child("a").ask(Ping()) == 3


async def test_case_88_children_that_do_not_run_keep_their_place() -> None:
    """One that was terminated is not started by a change, and is started as the new spec says."""
    book, other = Book(), Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a"), book.child("b")]))
        await top.terminate_child("a")
        await top.change(SupervisorSpec(children=[other.child("a"), other.child("b")]))
        assert states(top) == ["b running", "a undefined"]
        await top.restart_child("a")

        assert other.log == ["+a1"]


async def test_case_88_the_supervisor_above_changes_a_living_one_below_only_from_its_next_start_on() -> None:
    """Its children are kept as they are, and it goes on as it was started."""
    book = Book()

    def spec(strategy: Strategy, labels: str, intensity: int) -> SupervisorSpec:
        inner = SupervisorSpec(strategy=strategy, intensity=intensity, children=[book.child(label) for label in labels])
        return SupervisorSpec(intensity=3, children=[ChildSpec(id="inner", start=inner)])

    async with open_system() as system:
        top = await system.start_supervisor(spec(Strategy.ONE_FOR_ONE, "ab", 1), name="top")
        middle = below(top, "inner")
        await top.change(spec(Strategy.ONE_FOR_ALL, "abc", 0))
        book.take()
        await told(middle.child("a"), Crash())
        assert book.take() == ["-a1 crashed", "+a2"]
        assert states(middle) == ["b running", "a running"]

        await told(middle.child("a"), Crash())  # one too many: it is started anew
        assert (middle.incarnation, book.take()) == (2, ["-a2 crashed", "-b1 shutdown", "+a3", "+b2", "+c1"])
        await told(middle.child("a"), Crash())
        assert middle.incarnation == 3


async def test_case_88_a_living_supervisor_below_does_not_become_dynamic() -> None:
    """Until it is started anew its children are addressed by their ids."""
    book = Book()
    inner = SupervisorSpec(children=[book.child("a"), book.child("b")])
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[ChildSpec(id="inner", start=inner)]))
        middle = below(top, "inner")
        pool = SupervisorSpec(strategy=DYNAMIC, children=[book.template()])
        await top.change(SupervisorSpec(children=[ChildSpec(id="inner", start=pool)]))
        await middle.terminate_child("a")

        assert states(middle) == ["b running", "a undefined"]
        assert middle.count_children().specs == 2
        await top.terminate_child("inner")
        await top.restart_child("inner")
        assert middle.which_children() == ()
        assert await middle.start_child("w") is not None


async def test_case_89_a_dynamic_supervisor_takes_new_flags() -> None:
    """Its children are kept; the new intensity holds."""
    book = Book()

    def spec(intensity: int) -> SupervisorSpec:
        return SupervisorSpec(strategy=DYNAMIC, intensity=intensity, children=[book.template()])

    async with open_system() as system:
        top = await system.start_supervisor(spec(0), restart=Restart.TEMPORARY)
        refs = [await top.start_child(label) for label in "ab"]
        await top.change(spec(1))
        await told(refs[0], Crash())
        assert [await ref.ask(Ping()) for ref in refs] == [2, 1]
        await told(refs[0], Crash())
        await top.wait_stopped()

        assert book.generation == {"a": 2, "b": 1}


async def test_case_90_a_dynamic_supervisor_takes_a_new_spec_for_its_children() -> None:
    """Those it has follow it when they end; the next ones are started as it says. A static spec is refused."""
    book, other = Book(), Book()
    async with open_system() as system:
        old = SupervisorSpec(strategy=DYNAMIC, intensity=9, children=[book.template()])
        top = await system.start_supervisor(old)
        first, second = await top.start_child("a"), await top.start_child("b")
        new = other.template(restart=Restart.TRANSIENT)
        await top.change(SupervisorSpec(strategy=DYNAMIC, intensity=9, children=[new]))
        with pytest.raises(ChildError) as caught:
            await top.change(SupervisorSpec(children=[book.child("x")]))
        third = await top.start_child("c")
        await told(first, End(NORMAL))
        await told(second, Crash())

        assert caught.value.reason == "simple_one_for_one"
        assert top.get_childspec("worker") == new
        assert await third.ask(Ping()) == 1
        assert other.log[0] == "+c1"
        assert {info.ref for info in top.which_children()} == {second, third}
        assert await second.ask(Ping()) > 0
