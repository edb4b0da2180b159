"""Significant children and automatic shutdown: entries 63 to 76 of OTP's suite (see INDEX.md)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.supervision.children import Book, Boom, Crash, End, Ping, settle, states, told
from trouper import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorStopped,
    AutoShutdown,
    ChildSpec,
    ExitReason,
    Ref,
    Restart,
    SpecError,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    System,
    open_system,
)

NEVER, ANY, ALL = AutoShutdown.NEVER, AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT
TEMPORARY, TRANSIENT = Restart.TEMPORARY, Restart.TRANSIENT

CLEAN = (NORMAL, SHUTDOWN, ExitReason.shutdown("moved"))
MODES = pytest.mark.parametrize("auto", [ANY, ALL])
GROUPED = pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])


def flags(
    auto: AutoShutdown, children: Iterable[ChildSpec], strategy: Strategy = Strategy.ONE_FOR_ONE
) -> SupervisorSpec:
    return SupervisorSpec(strategy=strategy, intensity=10, auto_shutdown=auto, children=children)


async def started(system: System, spec: SupervisorSpec) -> SupervisorRef:
    """One whose end changes nothing above it."""
    return await system.start_supervisor(spec, name="top", restart=TEMPORARY)


async def end(ref: Ref[Actor], reason: ExitReason | None) -> None:
    """Let it end with that reason; without one it crashes."""
    if reason == KILLED:
        ref.kill()
        await settle()
    else:
        await told(ref, Crash() if reason is None else End(reason))


def alive(top: SupervisorRef) -> bool:
    try:
        top.count_children()
    except ActorStopped:
        return False
    return True


# ------------------------------------------------------------------ children that are not significant
@pytest.mark.parametrize("auto", AutoShutdown)
async def test_case_63_a_temporary_child_that_is_not_significant_never_ends_its_supervisor(auto) -> None:
    """However it ends, in every mode; also as the last child."""
    book = Book()
    labels = "abcde"
    async with open_system() as system:
        top = await started(system, flags(auto, [book.child(label, restart=TEMPORARY) for label in labels]))
        for label, reason in zip(labels, (*CLEAN, None, KILLED), strict=True):
            await end(top.child(label), reason)

        assert alive(top)
        assert top.which_children() == ()
        assert await top.start_child(book.child("f")) is not None


@pytest.mark.parametrize("auto", AutoShutdown)
async def test_case_64_a_transient_child_that_is_not_significant_never_ends_its_supervisor(auto) -> None:
    """A clean end leaves its spec, an unclean one restarts it, in every mode."""
    book = Book()
    labels = "abcde"
    async with open_system() as system:
        top = await started(system, flags(auto, [book.child(label, restart=TRANSIENT) for label in labels]))
        for label, reason in zip(labels, (*CLEAN, None, KILLED), strict=True):
            await end(top.child(label), reason)

        assert alive(top)
        assert states(top) == ["e running", "d running", "c undefined", "b undefined", "a undefined"]


# ------------------------------------------------------------------ significant ones
@pytest.mark.parametrize("reason", [*CLEAN, None, KILLED])
async def test_case_65_any_end_of_a_temporary_significant_child_ends_its_supervisor_under_any(reason) -> None:
    """The others are stopped in reverse order, and the supervisor ends with shutdown."""
    book = Book()
    children = [book.child("x"), book.child("s", restart=TEMPORARY, significant=True), book.child("y")]
    async with open_system() as system:
        top = await started(system, flags(ANY, [*children, book.child("t", restart=TEMPORARY, significant=True)]))
        book.take()
        with top.monitor() as monitor:
            await end(top.child("s"), reason)
            down = await monitor.down()

        assert down.reason == SHUTDOWN
        assert [line for line in book.log if "s1" not in line] == ["-t1 shutdown", "-y1 shutdown", "-x1 shutdown"]
        assert set(book.generation.values()) == {1}


@pytest.mark.parametrize("reason", [*CLEAN, None, KILLED])
async def test_case_65_the_last_end_of_temporary_significant_children_ends_their_supervisor_under_all(reason) -> None:
    """Until then it goes on; others that are not significant may be alive."""
    book = Book()
    children = [book.child(label, restart=TEMPORARY, significant=True) for label in "abc"]
    async with open_system() as system:
        top = await started(system, flags(ALL, [book.child("x"), *children]))
        for label in "bc":
            await end(top.child(label), reason)
        assert states(top) == ["a running", "x running"]
        with top.monitor() as monitor:
            await end(top.child("a"), reason)
            down = await monitor.down()

        assert down.reason == SHUTDOWN
        assert book.log[-1] == "-x1 shutdown"


@MODES
@pytest.mark.parametrize("restart", [TEMPORARY, TRANSIENT])
async def test_case_65_a_significant_child_that_is_terminated_does_not_end_its_supervisor(auto, restart) -> None:
    """Nor one that is told to stop for good."""
    book = Book()
    children = [book.child(label, restart=restart, significant=True) for label in "ab"]
    async with open_system() as system:
        top = await started(system, flags(auto, children))
        await top.terminate_child("a")
        top.child("b").stop()
        await settle()

        assert alive(top)
        assert "running" not in " ".join(states(top))


async def test_case_65_under_all_a_child_that_was_terminated_is_not_waited_for() -> None:
    """The last one alive that ends by itself ends the supervisor."""
    book = Book()
    children = [book.child(label, restart=TRANSIENT, significant=True) for label in "ab"]
    async with open_system() as system:
        top = await started(system, flags(ALL, children))
        await top.terminate_child("a")
        assert alive(top)
        await end(top.child("b"), NORMAL)

        assert not alive(top)


@pytest.mark.parametrize("reason", CLEAN)
async def test_case_66_a_clean_end_of_a_transient_significant_child_ends_its_supervisor_under_any(reason) -> None:
    book = Book()
    children = [book.child("x"), book.child("s", restart=TRANSIENT, significant=True), book.child("y")]
    async with open_system() as system:
        top = await started(system, flags(ANY, children))
        with top.monitor() as monitor:
            await end(top.child("s"), reason)
            down = await monitor.down()

        assert down.reason == SHUTDOWN
        assert book.log[3:] == [f"-s1 {reason.kind.value}", "-y1 shutdown", "-x1 shutdown"]


@MODES
@pytest.mark.parametrize("reason", [None, KILLED])
async def test_case_66_an_unclean_end_of_a_transient_significant_child_restarts_it(auto, reason) -> None:
    """And its supervisor goes on; a clean end afterwards counts."""
    book = Book()
    async with open_system() as system:
        top = await started(system, flags(auto, [book.child("s", restart=TRANSIENT, significant=True)]))
        await end(top.child("s"), reason)
        assert await top.child("s").ask(Ping()) == 2
        await end(top.child("s"), NORMAL)

        assert not alive(top)


async def test_case_66_the_last_clean_end_of_transient_significant_children_ends_their_supervisor_under_all() -> None:
    """One that was restarted in between is alive, and waited for."""
    book = Book()
    children = [book.child(label, restart=TRANSIENT, significant=True) for label in "abc"]
    async with open_system() as system:
        top = await started(system, flags(ALL, children))
        await end(top.child("a"), NORMAL)
        await end(top.child("b"), None)
        await end(top.child("c"), SHUTDOWN)
        assert states(top) == ["c undefined", "b running", "a undefined"]
        await end(top.child("b"), NORMAL)

        assert not alive(top)


async def test_case_66_under_all_temporary_and_transient_children_are_counted_together() -> None:
    """Whichever is last."""
    book = Book()
    for last, first in (("a", "b"), ("b", "a")):
        kinds = [book.child("a", restart=TEMPORARY, significant=True)]
        kinds.append(book.child("b", restart=TRANSIENT, significant=True))
        async with open_system() as system:
            top = await started(system, flags(ALL, kinds))
            await end(top.child(first), NORMAL)
            assert alive(top)
            await end(top.child(last), NORMAL)

            assert not alive(top)


async def test_case_66_under_all_a_child_in_its_backoff_is_alive(autojump_clock) -> None:
    """It is going to run again, so the end of the other one is not the last."""
    from trouper import Backoff

    book = Book()
    waiting = book.child("a", restart=TRANSIENT, significant=True, backoff=Backoff(min=5, max=5, jitter=0))
    async with open_system() as system:
        top = await started(system, flags(ALL, [waiting, book.child("b", restart=TRANSIENT, significant=True)]))
        await end(top.child("a"), None)
        await end(top.child("b"), NORMAL)

        assert states(top) == ["b undefined", "a restarting"]
        assert await top.child("a").ask(Ping()) == 2
        assert alive(top)


@MODES
def test_case_67_automatic_shutdown_is_refused_with_dynamic_supervisors(auto) -> None:
    """So is a significant child: under NEVER it would mean nothing."""
    book = Book()
    with pytest.raises(SpecError, match="auto_shutdown"):
        SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, auto_shutdown=auto, children=[book.template()])
    significant = book.template(restart=TEMPORARY, significant=True)
    with pytest.raises(SpecError, match="significant"):
        SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, children=[significant])


# ------------------------------------------------------------------ bystanders
@GROUPED
@MODES
@pytest.mark.parametrize("restart", [TEMPORARY, TRANSIENT])
async def test_case_68_a_significant_child_that_a_sibling_takes_down_does_not_end_the_supervisor(
    strategy, auto, restart
) -> None:
    """Neither one that is then started again nor one that is then gone."""
    book = Book()
    children = [book.child("a"), book.child("s", restart=restart, significant=True), book.child("z")]
    async with open_system() as system:
        top = await started(system, flags(auto, children, strategy))
        await end(top.child("a"), None)

        assert alive(top)
        taken_down = strategy is not Strategy.ONE_FOR_ONE
        gone = taken_down and restart is TEMPORARY
        assert states(top) == ["z running", *([] if gone else ["s running"]), "a running"]
        assert book.generation["s"] == (2 if taken_down and restart is TRANSIENT else 1)
        assert book.generation["a"] == 2


@GROUPED
@MODES
async def test_case_68_a_sibling_of_a_significant_child_that_crashes_is_restarted_with_it(strategy, auto) -> None:
    """Then the supervisor ends when it ends cleanly, as before."""
    book = Book()
    children = [book.child("s", restart=TRANSIENT, significant=True), book.child("z")]
    async with open_system() as system:
        top = await started(system, flags(auto, children, strategy))
        await end(top.child("s"), None)
        assert book.generation["z"] == (1 if strategy is Strategy.ONE_FOR_ONE else 2)
        await end(top.child("s"), NORMAL)

        assert not alive(top)


# ------------------------------------------------------------------ a supervisor as the significant child
def nested(book: Book, *, significant: bool) -> SupervisorSpec:
    inner = flags(ANY, [book.child("c", restart=TEMPORARY, significant=True), book.child("d")])
    child = ChildSpec(id="inner", start=inner, restart=TRANSIENT, significant=significant)
    return flags(ANY, [book.child("a"), child])


async def test_case_69_a_significant_supervisor_carries_the_shutdown_upwards() -> None:
    """Its own automatic shutdown is a clean end, and that ends the one above."""
    book = Book()
    async with open_system() as system:
        top = await started(system, nested(book, significant=True))
        with top.monitor() as monitor:
            await end(system.find("top/inner/c"), NORMAL)
            down = await monitor.down()

        assert down.reason == SHUTDOWN
        assert book.log[3:] == ["-c1 normal", "-d1 shutdown", "-a1 shutdown"]


async def test_case_69_a_supervisor_that_is_not_significant_ends_alone() -> None:
    """It is transient: its clean end leaves a spec that does not run."""
    book = Book()
    async with open_system() as system:
        top = await started(system, nested(book, significant=False))
        await end(system.find("top/inner/c"), NORMAL)

        assert alive(top)
        assert states(top) == ["inner undefined", "a running"]
        assert book.log[3:] == ["-c1 normal", "-d1 shutdown"]


async def test_case_69_a_significant_supervisor_that_gives_up_ends_the_one_above() -> None:
    """It ends with shutdown, which is clean: a transient one is not restarted, and counts."""
    book = Book()
    inner = SupervisorSpec(intensity=0, children=[book.child("c")])
    child = ChildSpec(id="inner", start=inner, restart=TRANSIENT, significant=True)
    async with open_system() as system:
        top = await started(system, flags(ANY, [book.child("a"), child]))
        with top.monitor() as monitor:
            await end(system.find("top/inner/c"), None)
            down = await monitor.down()

        assert down.reason == SHUTDOWN
        assert book.log[2:] == ["-c1 crashed", "-a1 shutdown"]


async def test_case_69_by_itself_the_root_lets_a_supervisor_with_automatic_shutdown_end() -> None:
    """It is transient there: it is not started again, and nothing fails."""
    book = Book()
    async with open_system() as system:
        spec = flags(ANY, [book.child("c", restart=TRANSIENT, significant=True)])
        top = await system.start_supervisor(spec, name="top")
        await end(top.child("c"), NORMAL)
        await top.wait_stopped()

        assert book.log == ["+c1", "-c1 normal"]
        assert system.tree().children == ()


# ------------------------------------------------------------------ changing the flags of a living supervisor
async def changed(system: System, book: Book, before: AutoShutdown, after: AutoShutdown) -> SupervisorRef:
    """`a` and `b`, significant wherever that is allowed, under the flags `after` that had been `before`."""

    def spec(auto: AutoShutdown) -> SupervisorSpec:
        significant = auto is not NEVER
        return flags(auto, [book.child(label, restart=TEMPORARY, significant=significant) for label in "abc"])

    top = await started(system, spec(before))
    await top.change(spec(after))
    return top


async def test_case_70_from_never_to_any() -> None:
    """The first end of a significant child ends the supervisor from then on."""
    book = Book()
    async with open_system() as system:
        top = await changed(system, book, NEVER, ANY)
        assert [top.child(label).incarnation for label in "abc"] == [1, 1, 1]
        await end(top.child("a"), NORMAL)

        assert not alive(top)


async def test_case_71_from_any_to_never() -> None:
    """No end does any more."""
    book = Book()
    async with open_system() as system:
        top = await changed(system, book, ANY, NEVER)
        for label in "abc":
            await end(top.child(label), NORMAL)

        assert alive(top)
        assert states(top) == []


async def test_case_72_from_never_to_all() -> None:
    """The last end does."""
    book = Book()
    async with open_system() as system:
        top = await changed(system, book, NEVER, ALL)
        for label in "ab":
            await end(top.child(label), NORMAL)
        assert alive(top)
        await end(top.child("c"), NORMAL)

        assert not alive(top)


async def test_case_73_from_all_to_never() -> None:
    """Also the last end does not."""
    book = Book()
    async with open_system() as system:
        top = await changed(system, book, ALL, NEVER)
        for label in "abc":
            await end(top.child(label), NORMAL)

        assert alive(top)


async def test_case_74_from_any_to_all() -> None:
    """Not the first end, but the last."""
    book = Book()
    async with open_system() as system:
        top = await changed(system, book, ANY, ALL)
        for label in "ab":
            await end(top.child(label), NORMAL)
        assert alive(top)
        await end(top.child("c"), NORMAL)

        assert not alive(top)


async def test_case_75_from_all_to_any() -> None:
    """The next end does; those before the change did not."""
    book = Book()

    def spec(auto: AutoShutdown) -> SupervisorSpec:
        return flags(auto, [book.child(label, restart=TRANSIENT, significant=True) for label in "abc"])

    async with open_system() as system:
        top = await started(system, spec(ALL))
        await end(top.child("a"), NORMAL)
        await top.change(spec(ANY))
        await settle()
        assert states(top) == ["c running", "b running", "a undefined"]
        await end(top.child("b"), NORMAL)

        assert not alive(top)


async def test_case_76_a_child_may_become_significant_and_cease_to_be() -> None:
    """The living child counts as its new spec says."""
    book = Book()

    def spec(**significant: bool) -> SupervisorSpec:
        children = [book.child(label, restart=TRANSIENT, significant=yes) for label, yes in significant.items()]
        return flags(ANY, children)

    async with open_system() as system:
        top = await started(system, spec(a=True, b=False, c=False))
        await top.change(spec(a=False, b=True, c=False))
        await end(top.child("a"), NORMAL)
        await end(top.child("c"), NORMAL)
        assert states(top) == ["c undefined", "b running", "a undefined"]
        assert top.get_childspec("b").significant
        await end(top.child("b"), NORMAL)

        assert not alive(top)


async def test_case_76_a_bad_combination_cannot_be_given() -> None:
    """Significant under NEVER is refused where the spec is built, so the supervisor is as it was."""
    book = Book()
    async with open_system() as system:
        top = await started(system, flags(ANY, [book.child("a", restart=TRANSIENT, significant=True)]))
        with pytest.raises(SpecError, match="'a' is significant"):
            await top.change(flags(NEVER, [book.child("a", restart=TRANSIENT, significant=True)]))
        with pytest.raises(SpecError, match="significant=True needs"):
            book.child("a", significant=True)
        await end(top.child("a"), NORMAL)

        assert not alive(top)


# ------------------------------------------------------------------ beyond OTP
async def test_a_stop_directive_counts_as_the_end_of_a_temporary_significant_child() -> None:
    """It has ended by itself for good, whoever decided that it stays down."""
    from trouper import Directive

    book = Book()
    child = book.child("s", restart=TEMPORARY, significant=True, directives={Boom: Directive.STOP})
    async with open_system() as system:
        top = await started(system, flags(ANY, [book.child("a"), child]))
        await end(top.child("s"), None)

        assert not alive(top)


async def test_a_significant_child_that_declines_to_start_does_not_end_its_supervisor() -> None:
    """It has not ended: it never began."""
    book = Book(declining={"s"})
    async with open_system() as system:
        children = [book.child("a"), book.child("s", restart=TRANSIENT, significant=True)]
        top = await started(system, flags(ANY, children))

        assert states(top) == ["s undefined", "a running"]
        assert await top.child("a").ask(Ping()) == 1
