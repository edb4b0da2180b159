"""Directives: what a crash leads to, by class of error."""

from __future__ import annotations

import pytest
import trio

from tests.supervision.actors import (
    AskFail,
    Doze,
    Fail,
    Keeper,
    Note,
    Notes,
    keeper,
    only,
)
from tests.supervision.children import Book, Boom, End, Ping, settle, states, told
from trouper import (
    NORMAL,
    ActorCrashed,
    ActorEnded,
    ActorRestarting,
    ActorStopped,
    ChildSpec,
    Directive,
    Escalated,
    ExitKind,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    open_system,
)

EVERY_STATIC = pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])


# ------------------------------------------------------------------ directives
class Broken(Exception):
    """The base of a family of errors."""


class VeryBroken(Broken):
    """A particular case."""


class UtterlyBroken(VeryBroken):
    """A particular case of that."""


NEAREST = {Exception: Directive.STOP, Broken: Directive.RESTART, VeryBroken: Directive.RESUME}


@pytest.mark.parametrize(
    ("error", "state", "notes"),
    [
        (Broken(), "running", ()),  # restarted
        (VeryBroken(), "running", ("before",)),  # resumed
        (UtterlyBroken(), "running", ("before",)),  # a subclass follows its nearest base
        (KeyError("x"), "stopped", None),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
async def test_the_nearest_class_of_the_error_decides(error, state, notes, asked) -> None:
    """Not the order in which they are written, nor the restart type; an asker learns of the crash in any case."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(keeper(book, directives=NEAREST)), name="top")
        ref = top.child("k")
        await told(ref, Note("before"))
        if asked:
            with pytest.raises(ActorCrashed) as caught:
                await ref.ask(AskFail(error))
            assert caught.value.__cause__ is error
            await settle()
        else:
            await told(ref, Fail(error))

        assert ref.statistics().state == state
        if notes is not None:
            assert await ref.ask(Notes()) == notes
        else:
            assert states(top) == ["k undefined"]


async def test_resume_goes_on_with_the_state_it_has() -> None:
    """No end, no restart, nothing counted: as often as it likes, where no restart is allowed. It is on record."""
    book = Book()
    async with open_system() as system:
        spec = only(keeper(book, directives={Boom: Directive.RESUME}), intensity=0)
        top = await system.start_supervisor(spec, name="top")
        ref = top.child("k")
        with system.events() as events:
            for number in range(20):
                await told(ref, Note(str(number)))
                await told(ref, Fail(Boom(str(number))))
            seen = [event for event in events.take_nowait() if isinstance(event, ActorEnded | ActorRestarting)]

        assert seen == []
        assert (ref.incarnation, len(await ref.ask(Notes()))) == (1, 20)
        assert [str(report.error) for report in ref.crash_reports()] == [str(number) for number in range(12, 20)]


async def test_resume_lets_concurrent_handlers_go_on(autojump_clock) -> None:
    """Only the one that raised is over."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(keeper(book, directives={Boom: Directive.RESUME})))
        ref = top.child("k")
        async with trio.open_nursery() as nursery:
            answers: list[str] = []

            async def doze() -> None:
                answers.append(await ref.ask(Doze(5)))

            nursery.start_soon(doze)
            nursery.start_soon(doze)
            await settle()
            await told(ref, Fail(Boom()))

        assert answers == ["rested", "rested"]
        assert ref.incarnation == 1


async def test_restart_counts_for_the_intensity() -> None:
    """It is what a permanent child does anyway."""
    book = Book()
    async with open_system() as system:
        spec = only(keeper(book, directives={Boom: Directive.RESTART}), intensity=2)
        top = await system.start_supervisor(spec, restart=Restart.TEMPORARY)
        for _ in range(3):
            await told(top.child("k"), Fail(Boom()))
        await top.wait_stopped()

        assert book.log == ["+k"] * 3


@EVERY_STATIC
async def test_stop_leaves_the_child_down_and_everybody_else_alone(strategy) -> None:
    """Its spec is kept; it can be restarted by hand; nothing is counted."""
    book = Book()
    children = [keeper(book, "a"), keeper(book, "k", directives={Boom: Directive.STOP}), keeper(book, "z")]
    async with open_system() as system:
        top = await system.start_supervisor(only(*children, strategy=strategy, intensity=0))
        await told(top.child("k"), Fail(Boom()))

        assert states(top) == ["z running", "k undefined", "a running"]
        assert [top.child(label).incarnation for label in "az"] == [1, 1]
        with pytest.raises(ActorStopped):
            await top.child("k").ask(Notes())
        again = await top.restart_child("k")
        assert again is not None
        assert await again.ask(Notes()) == ()


@EVERY_STATIC
async def test_escalate_makes_the_supervisor_give_up_at_once(strategy) -> None:
    """Whatever its intensity would still allow; the error says so, and is the cause of what goes up."""
    book = Book()
    error = Boom("beyond repair")
    children = [keeper(book, "a"), keeper(book, "k", directives={Boom: Directive.ESCALATE})]
    async with open_system() as system:
        spec = only(*children, strategy=strategy)
        top = await system.start_supervisor(spec, name="top", restart=Restart.TEMPORARY)
        with system.events() as events, top.monitor() as monitor:
            await told(top.child("k"), Fail(error))
            down = await monitor.down()
            escalated = [event for event in events.take_nowait() if isinstance(event, Escalated)]

        assert (down.reason.kind, type(down.reason.error)) == (ExitKind.SHUTDOWN, RestartIntensityExceeded)
        assert down.reason.error.__cause__ is error
        assert [(event.actor, event.child) for event in escalated] == [("top", "top/k")]
        assert "escalate" in escalated[0].message


async def test_escalation_restarts_a_permanent_supervisor_with_all_it_has() -> None:
    """The error of one class is cured by starting the whole part of the tree anew."""
    book = Book()
    part = only(book.child("a"), keeper(book, directives={Boom: Directive.ESCALATE}))
    async with open_system() as system:
        await system.start_supervisor(only(ChildSpec(id="part", start=part), book.child("z")), name="top")
        k = system.find("top/part/k")
        assert k is not None
        await told(k, Fail(Boom()))

        assert system.incarnations() == {"top/part/a": 2, "top/part/k": 2, "top/z": 1}


async def test_directives_hold_for_an_actor_that_was_spawned() -> None:
    """The same words."""
    book = Book()
    async with open_system() as system:
        directives = {Broken: Directive.RESUME, KeyError: Directive.STOP}
        ref = await system.spawn(Keeper, book, directives=directives)
        await told(ref, Note("kept"))
        await told(ref, Fail(VeryBroken()))
        assert await ref.ask(Notes()) == ("kept",)
        await told(ref, Fail(ValueError()))
        assert await ref.ask(Notes()) == ()
        await told(ref, Fail(KeyError()))
        await ref.wait_stopped()

        assert system.find("keeper") is None


async def test_a_clean_end_is_no_business_of_directives() -> None:
    """They are about errors."""
    book = Book()
    async with open_system() as system:
        directives = {Exception: Directive.STOP}
        top = await system.start_supervisor(only(book.child("a", directives=directives)))
        await told(top.child("a"), End(NORMAL))

        assert await top.child("a").ask(Ping()) == 2
