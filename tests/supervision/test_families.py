"""Children of actors, links, monitors, and lazy actors under supervision."""

from __future__ import annotations

import functools
import gc
import logging
import weakref

import attrs
import pytest
import trio

from tests.supervision.actors import ALWAYS, Adopt, Fail, Keeper, Note, Notes, Parent
from tests.supervision.children import Book, Boom, Crash, End, Hang, Ping, Work, Worker, settle, states, told
from trouper import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorStopped,
    Ask,
    Backoff,
    ChildSpec,
    Down,
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
    handler,
    open_system,
)

UNCLEAN = pytest.mark.parametrize("how", ["crash", "kill"])


async def unclean(ref: Ref[Actor], how: str) -> None:
    if how == "crash":
        await told(ref, Crash())
    else:
        ref.kill()
        await settle()


# ------------------------------------------------------------------ families
async def grown(system: System, book: Book, *, intensity: int = 3) -> dict[str, Ref[Actor]]:
    """A family three deep: `a` has `b` and `z`, `b` has `c`, `c` has `d`."""
    refs: dict[str, Ref[Actor]] = {}
    refs["a"] = await system.spawn(Parent, book, "a", name="a", intensity=ALWAYS)
    for parent, child in ("ab", "bc", "cd", "az"):
        refs[child] = await refs[parent].ask(Adopt(child, intensity))
    book.take()
    return refs


async def test_children_are_stopped_before_their_parents_on_stop() -> None:
    """Depth first, in reverse order of their start."""
    book = Book()
    async with open_system() as system:
        refs = await grown(system, book)
        assert system.incarnations() == dict.fromkeys("abcdz", 1)
        refs["a"].stop()
        await refs["a"].wait_stopped()

        assert book.log == [f"-{label}1 shutdown" for label in "zdcba"]
        assert system.incarnations() == {}


async def test_a_parent_can_still_ask_its_siblings_and_not_its_children_in_on_stop() -> None:
    """Its children have ended by then."""
    book = Book()
    outcomes: list[object] = []

    class Leaver(Parent):
        async def on_stop(self, reason: ExitReason) -> None:
            for ref in (self.sibling, self.child):
                try:
                    outcomes.append(await ref.ask(Ping()))
                except ActorStopped:
                    outcomes.append("stopped")

        async def on_start(self) -> None:
            self.child = await self.ctx.spawn(Worker, book, "child")
            self.sibling = self.ctx.peer("sibling")

    async with open_system() as system:
        await system.spawn(Worker, book, "s", name="sibling")
        ref = await system.spawn(Leaver, book, "l")
        ref.stop()
        await ref.wait_stopped()

    assert outcomes == [1, "stopped"]


@UNCLEAN
@pytest.mark.parametrize("label", "abcd")
async def test_the_crash_of_a_parent_takes_its_children_and_nobody_else(label, how) -> None:
    """They belong to that life: the next one begins without them; those above and beside go on."""
    book = Book()
    async with open_system() as system:
        refs = await grown(system, book)
        await unclean(refs[label], how)

        below = "bcdz" if label == "a" else "abcd".partition(label)[2]
        stayed = {one: 1 for one in "abcdz" if one not in below and one != label}
        assert system.incarnations() == {**stayed, label: 2}
        own = [] if how == "kill" else [f"-{label}1 crashed"]
        down = [f"-{one}1 shutdown" for one in ("zdcb" if label == "a" else reversed(below))]
        assert book.log == [*down, *own, f"+{label}2"]
        for one in below:
            with pytest.raises(ActorStopped):
                await refs[one].ask(Ping())


async def test_the_crash_of_a_child_is_its_own_within_its_budget() -> None:
    """It is restarted under the same ref; its parent does not notice."""
    book = Book()
    async with open_system() as system:
        refs = await grown(system, book, intensity=2)
        for _ in range(2):
            await told(refs["d"], Crash())

        assert system.incarnations() == {"a": 1, "b": 1, "c": 1, "d": 3, "z": 1}
        assert await refs["d"].ask(Ping()) == 3


async def test_a_child_beyond_its_budget_crashes_its_parent_and_only_that() -> None:
    """With an error that names it; what that costs is for the parent's supervisor."""
    book = Book()
    async with open_system() as system:
        refs = await grown(system, book, intensity=2)
        for _ in range(3):
            await told(refs["d"], Crash())

        assert system.incarnations() == {"a": 1, "b": 1, "c": 2, "z": 1}
        [report] = refs["c"].crash_reports()
        assert isinstance(report.error, RestartIntensityExceeded)
        assert "'d'" in str(report.error)
        assert isinstance(report.error.__cause__, Boom)


async def test_the_crash_goes_up_generation_by_generation() -> None:
    """No restart allowed anywhere below: one crash of the youngest restarts the eldest."""
    book = Book()
    async with open_system() as system:
        refs = await grown(system, book, intensity=0)
        await told(refs["d"], Crash())

        assert system.incarnations() == {"a": 2}
        assert book.log[0] == "-d1 crashed"
        assert book.log[-2:] == ["-a1 crashed", "+a2"]
        error: BaseException | None = refs["a"].crash_reports()[0].error
        while error is not None and error.__cause__ is not None:
            error = error.__cause__
        assert isinstance(error, Boom)


async def test_a_family_is_seen_in_the_tree() -> None:
    """Each under its parent."""
    book = Book()
    async with open_system() as system:
        await grown(system, book)
        [a] = system.tree().children
        [b, z] = a.children
        [c] = b.children
        [d] = c.children

        assert [node.name for node in (a, b, c, d, z)] == list("abcdz")
        assert {node.state for node in (a, b, c, d, z)} == {"running"}


async def test_a_family_takes_the_time_that_its_members_have(autojump_clock) -> None:
    """The parent's own time is for its own message in hand; each child then has its own."""
    book = Book(stopping_takes={"d": 4, "c": 4})
    async with open_system() as system:
        refs = await grown(system, book)
        refs["a"].stop()
        await refs["a"].wait_stopped()

        assert trio.current_time() == 8
        assert book.log == [f"-{label}1 shutdown" for label in "zdcba"]


async def test_children_of_a_start_that_fails_are_stopped_again() -> None:
    """Nothing is left; the names are free."""
    book = Book()

    class Bad(Parent):
        async def on_start(self) -> None:
            await self.ctx.spawn(Worker, book, "child", name="child")
            raise Boom("after all")

    async with open_system() as system:
        with pytest.raises(StartFailed, match="after all"):
            await system.spawn(Bad, book, "bad")

        assert book.log == ["+child1", "-child1 shutdown"]
        assert system.incarnations() == {}


async def test_a_child_that_cannot_start_is_an_error_of_the_handler_that_spawned_it() -> None:
    """Here it crashes with it, as it does not catch it; the name is free for the next life."""
    book = Book()
    book.failing["b"] = 1
    async with open_system() as system:
        ref = await system.spawn(Parent, book, "a", name="a")
        with pytest.raises(Exception, match="b cannot start"):
            await ref.ask(Adopt("b"))
        await settle()
        child = await ref.ask(Adopt("b"))

        assert ref.incarnation == 2
        assert await child.ask(Ping()) == 1


async def test_a_spawn_that_is_cancelled_leaves_no_child(autojump_clock) -> None:
    """The ask that led to it was given up while the child was starting."""
    book = Book()

    class SlowChild(Worker):
        async def on_start(self) -> None:
            await trio.sleep(8)
            await super().on_start()

    class SlowParent(Parent):
        @handler
        async def adopt(self, message: Adopt) -> Ref[Actor]:
            return await self.ctx.spawn(SlowChild, self.book, message.label, name=message.label)

    async with open_system() as system:
        ref = await system.spawn(SlowParent, book, "a", name="a")
        with trio.move_on_after(5):
            await ref.ask(Adopt("b"))
        await trio.sleep(50)

        assert system.incarnations() == {"a": 1}
        assert book.log == ["+a1", "+b1", "-b1 shutdown"]
        assert (await ref.ask(Adopt("b"))).incarnation == 1


# ------------------------------------------------------------------ links
@attrs.frozen
class Tie(Ask[None]):
    """Link to that one."""

    other: Ref[Actor]


@attrs.frozen
class Untie(Ask[None]):
    """Link to it no longer."""

    other: Ref[Actor]


class Linked(Worker):
    """Can be linked."""

    @handler
    async def tie(self, message: Tie) -> None:
        self.ctx.link(message.other)

    @handler
    async def untie(self, message: Untie) -> None:
        self.ctx.unlink(message.other)


async def linked(system: System, book: Book, *pairs: str, labels: str = "ab") -> dict[str, Ref[Actor]]:
    refs = {label: await system.spawn(Linked, book, label, name=label, intensity=ALWAYS) for label in labels}
    for one, other in pairs:
        await refs[one].ask(Tie(refs[other]))
    book.take()
    return refs


@UNCLEAN
@pytest.mark.parametrize("label", "ab")
async def test_an_unclean_end_of_either_side_of_a_link_crashes_the_other(label, how) -> None:
    """Both are restarted by their own supervisors; the next lives are not linked any more."""
    book = Book()
    async with open_system() as system:
        refs = await linked(system, book, "ab")
        await unclean(refs[label], how)
        assert system.incarnations() == {"a": 2, "b": 2}
        other = refs["b" if label == "a" else "a"]
        [report] = other.crash_reports()
        assert type(report.error).__name__ == "LinkedActorDown"
        assert report.error.kind == "linked_actor_down"
        assert f"'{label}'" in str(report.error)

        await unclean(refs[label], how)
        assert system.incarnations() == {label: 3, other.name: 2}


async def test_the_error_of_a_broken_link_has_the_reason_of_the_other() -> None:
    """So that a directive, or a person, can tell why."""
    book = Book()
    async with open_system() as system:
        refs = await linked(system, book, "ab")
        await told(refs["a"], Crash())
        [report] = refs["b"].crash_reports()

        assert isinstance(report.error.reason, ExitReason)
        assert isinstance(report.error.reason.error, Boom)


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, ExitReason.shutdown("moved")])
async def test_a_clean_end_breaks_the_link_and_nothing_else(reason) -> None:
    """By itself, or stopped by its supervisor."""
    book = Book()
    async with open_system() as system:
        refs = await linked(system, book, "ab", "ac", labels="abc")
        await told(refs["a"], End(reason))
        assert system.incarnations() == {"a": 2, "b": 1, "c": 1}
        refs["b"].stop()
        await refs["b"].wait_stopped()

        assert system.incarnations() == {"a": 2, "c": 1}


async def test_a_link_that_was_undone_does_nothing() -> None:
    """From either side."""
    book = Book()
    async with open_system() as system:
        refs = await linked(system, book, "ab", "bc", labels="abc")
        await refs["b"].ask(Untie(refs["a"]))
        await refs["b"].ask(Untie(refs["c"]))
        for label in "ac":
            await told(refs[label], Crash())

        assert system.incarnations() == {"a": 2, "b": 1, "c": 2}


async def test_a_chain_and_a_ring_of_links_go_down_together_once() -> None:
    """Each crashes once, whichever way round it is told of it."""
    book = Book()
    async with open_system() as system:
        refs = await linked(system, book, "ab", "bc", "cd", "da", labels="abcde")
        await told(refs["c"], Crash())

        assert system.incarnations() == {"a": 2, "b": 2, "c": 2, "d": 2, "e": 1}


async def test_a_link_to_oneself_or_twice_is_harmless() -> None:
    """One end, one restart."""
    book = Book()
    async with open_system() as system:
        refs = await linked(system, book, "aa", "ab", "ab", "ba")
        await told(refs["a"], Crash())

        assert system.incarnations() == {"a": 2, "b": 2}


async def test_a_link_to_an_actor_that_does_not_run_is_an_error() -> None:
    """It would never be told of an end that has been."""
    book = Book()
    async with open_system() as system:
        refs = await linked(system, book)
        refs["b"].stop()
        await refs["b"].wait_stopped()
        with pytest.raises(Exception, match="cannot be linked"):
            await refs["a"].ask(Tie(refs["b"]))


async def test_a_linked_actor_that_is_busy_is_cancelled_at_once(autojump_clock) -> None:
    """It does not finish what it has in hand."""
    book = Book()
    async with open_system() as system:
        refs = await linked(system, book, "ab")
        await told(refs["b"], Work(seconds=100))
        await told(refs["a"], Crash())

        assert trio.current_time() == 0
        assert system.incarnations() == {"a": 2, "b": 2}
        assert "~b1" in book.log


# ------------------------------------------------------------------ monitors
async def started(system: System, *children: ChildSpec, intensity: int = ALWAYS) -> SupervisorRef:
    spec = SupervisorSpec(intensity=intensity, children=children)
    return await system.start_supervisor(spec, name="top", restart=Restart.TEMPORARY)


async def test_a_monitor_tells_every_end_with_its_reason_and_life(autojump_clock) -> None:
    """One record for each incarnation, in order, whatever ended it."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book.child("a", shutdown=1))
        a = top.child("a")
        with a.monitor() as monitor:
            await told(a, Crash())
            a.kill()
            await settle()
            await told(a, End(NORMAL))
            await told(a, End(ExitReason.shutdown("moved")))
            await told(a, Work(seconds=100))
            await top.terminate_child("a")
            downs = [await monitor.down() for _ in range(5)]

        assert [down.incarnation for down in downs] == [1, 2, 3, 4, 5]
        assert {down.ref for down in downs} == {a}
        kinds = [down.reason.kind for down in downs]
        assert kinds == [ExitKind.CRASHED, ExitKind.KILLED, ExitKind.NORMAL, ExitKind.SHUTDOWN, ExitKind.KILLED]
        assert isinstance(downs[0].reason.error, Boom)
        assert downs[3].reason.term == "moved"
        assert monitor.down_nowait() is None


async def test_a_monitor_of_an_actor_that_has_stopped_tells_its_last_end_at_once() -> None:
    """Nobody waits for what has happened already."""
    book = Book()
    async with open_system() as system:
        a = await system.spawn(Worker, book, "a", restart=Restart.TEMPORARY)
        await told(a, Crash())
        with a.monitor() as monitor:
            down = monitor.down_nowait()

        assert down is not None
        assert isinstance(down.reason.error, Boom)


async def test_several_monitors_of_one_actor_each_get_their_own() -> None:
    """And one whose block is over gets nothing more."""
    book = Book()
    async with open_system() as system:
        a = await system.spawn(Worker, book, "a")
        with a.monitor() as first:
            with a.monitor() as second:
                await told(a, Crash())
            await told(a, Crash())

        assert [first.down_nowait().incarnation for _ in range(2)] == [1, 2]
        assert second.down_nowait().incarnation == 1
        assert second.down_nowait() is None


async def test_a_monitor_keeps_the_last_sixty_four_ends_and_counts_the_others() -> None:
    """Whoever does not look for long is not a leak."""
    book = Book()
    async with open_system() as system:
        a = await system.spawn(Worker, book, "a", intensity=ALWAYS)
        with a.monitor() as monitor:
            for _ in range(70):
                await told(a, Crash())

        assert monitor.dropped == 6
        assert monitor.down_nowait().incarnation == 7


async def test_waiting_for_an_end_may_be_cancelled_without_losing_one(autojump_clock) -> None:
    book = Book()
    async with open_system() as system:
        a = await system.spawn(Worker, book, "a")
        with a.monitor() as monitor:
            with trio.move_on_after(1):
                await monitor.down()
            await told(a, Crash())

            assert (await monitor.down()).incarnation == 1


async def test_a_monitor_of_a_supervisor_tells_its_ends() -> None:
    """Giving up, with the error that led to it; then the stop."""
    book = Book()
    inner = ChildSpec(id="inner", start=SupervisorSpec(intensity=0, children=[book.child("a")]))
    async with open_system() as system:
        top = await started(system, inner)
        [info] = top.which_children()
        assert isinstance(info.ref, SupervisorRef)
        with info.ref.monitor() as monitor:
            a = system.find("top/inner/a")
            assert a is not None
            await told(a, Crash())
            await top.stop()
            downs = [await monitor.down() for _ in range(2)]

        assert [down.incarnation for down in downs] == [1, 2]
        assert isinstance(downs[0].reason.error, RestartIntensityExceeded)
        assert (downs[0].reason.kind, downs[1].reason) == (ExitKind.SHUTDOWN, SHUTDOWN)
        assert {down.ref for down in downs} == {info.ref}


@attrs.frozen
class Watch(Ask[None]):
    """Monitor that one from now on, or no longer."""

    other: Ref[Actor] | SupervisorRef
    on: bool = True


class Watcher(Worker):
    """Writes down whose end it is told of."""

    @handler
    async def watch(self, message: Watch) -> None:
        (self.ctx.monitor if message.on else self.ctx.demonitor)(message.other)

    @handler
    async def down(self, message: Down) -> None:
        self.book.log.append(f"{message.ref.name}{message.incarnation} {message.reason.kind.value}")


async def test_an_actor_is_told_of_ends_by_a_message_that_comes_before_all_others(autojump_clock) -> None:
    """A full mailbox does not hold it up; of a supervisor's end as well."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book.child("a"))
        watcher = await system.spawn(Watcher, book, "w")
        await watcher.ask(Watch(top.child("a")))
        await watcher.ask(Watch(top))
        await told(watcher, Work(seconds=5))
        for _ in range(64):
            watcher.tell_nowait(Work(seconds=0))
        book.take()
        await told(top.child("a"), Crash())
        await top.stop()
        await trio.sleep(5)
        await settle()

        assert book.log[:3] == ["-a1 crashed", "+a2", "-a2 shutdown"]
        assert book.log[3:7] == ["~w1", "top/a1 crashed", "top/a2 shutdown", "top1 shutdown"]


async def test_an_actor_that_monitors_no_longer_is_not_told() -> None:
    """It said so itself, or its life is over: the next one has no monitors."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book.child("a"), book.child("b"))
        watcher = await system.spawn(Watcher, book, "w")
        for label in "ab":
            await watcher.ask(Watch(top.child(label)))
        await watcher.ask(Watch(top.child("a"), on=False))
        await told(top.child("a"), Crash())
        await told(top.child("b"), Crash())
        assert [line for line in book.take() if line.startswith("top")] == ["top/b1 crashed"]
        await told(watcher, Crash())
        await told(top.child("b"), Crash())

        assert [line for line in book.take() if line.startswith("top")] == []


async def test_nothing_is_kept_of_a_life_that_monitored(caplog) -> None:
    """However long the one it watched goes on living."""
    caplog.set_level(logging.CRITICAL)  # pytest keeps log records, and with them the error and its frames
    book = Book()
    lives: list[weakref.ref[Actor]] = []

    class Known(Watcher):
        async def on_start(self) -> None:
            lives.append(weakref.ref(self))

    async with open_system() as system:
        a = await system.spawn(Worker, book, "a")
        watcher = await system.spawn(Known, book, "w", intensity=ALWAYS)
        for _ in range(5):
            await watcher.ask(Watch(a))
            watcher.kill()
            await settle()
        gc.collect()

        assert [life() is None for life in lives] == [True] * 5 + [False]


# ------------------------------------------------------------------ lazy actors
async def test_a_lazy_actor_is_supervised_from_its_first_message_on() -> None:
    """Until then it has not started; afterwards it is restarted like any other, under the same ref."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book.child("a"))
        ref = await system.spawn(Worker, book, "l", name="l", lazy=True, supervisor=top)
        assert (book.take(), ref.incarnation) == (["+a1"], 0)
        assert await ref.ask(Ping()) == 1
        await told(ref, Crash())

        assert await ref.ask(Ping()) == 2
        assert book.log == ["+l1", "-l1 crashed", "+l2"]
        assert top.count_children().active == 2


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_a_lazy_actor_in_a_group_sleeps_through_its_restart(strategy) -> None:
    """It has no life that could be taken down; once it has, it is."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(strategy=strategy, intensity=ALWAYS, children=[book.child("a")])
        top = await system.start_supervisor(spec)
        ref = await system.spawn(Worker, book, "l", name="l", lazy=True, supervisor=top)
        await told(top.child("a"), Crash())
        assert (ref.incarnation, book.generation["l"]) == (0, 0)
        assert await ref.ask(Ping()) == 1
        await told(top.child("a"), Crash())

        assert await ref.ask(Ping()) == 2


@pytest.mark.parametrize("use", ["stop", "monitor", "wait_stopped", "kill", "terminate", "statistics", "repr"])
async def test_only_a_message_wakes_a_lazy_actor(autojump_clock, use) -> None:
    """Watching it does not, and stopping it does not start it first."""
    book = Book()
    async with open_system() as system:
        top = await started(system)
        ref = await system.spawn(Worker, book, "l", name="l", lazy=True, supervisor=top)
        if use == "stop":
            ref.stop()
        elif use == "monitor":
            with ref.monitor() as monitor:
                monitor.down_nowait()
        elif use == "wait_stopped":
            with trio.move_on_after(1):
                await ref.wait_stopped()
        elif use == "kill":
            ref.kill()
        elif use == "terminate":
            await top.terminate_child(ref)
        else:
            assert "l" in (repr(ref) if use == "repr" else ref.statistics().name)
        await settle()
        assert book.log == []
        if use in {"stop", "terminate"}:
            with pytest.raises(ActorStopped):
                await ref.ask(Ping())
            assert system.find("l") is None
        else:
            assert await ref.ask(Ping()) == 1


async def test_a_monitor_of_a_lazy_actor_that_stopped_unused_tells_it_at_once(autojump_clock) -> None:
    """Before and after; nobody waits for the end of a life that never was."""
    book = Book()
    async with open_system() as system:
        ref = await system.spawn(Worker, book, "l", name="l", lazy=True)
        with trio.fail_after(10), ref.monitor() as before:
            ref.stop()
            first = await before.down()
        with trio.fail_after(10), ref.monitor() as after:
            second = await after.down()

        assert (first.reason, second.reason) == (SHUTDOWN, SHUTDOWN)
        assert book.log == []


async def test_the_first_message_of_a_lazy_actor_that_cannot_start_says_why() -> None:
    """Its name is free again, and nothing has been counted."""
    book = Book()
    book.failing["l"] = 1
    async with open_system() as system:
        top = await started(system, book.child("a"), intensity=0)
        ref = await system.spawn(Worker, book, "l", name="l", lazy=True, supervisor=top)
        with pytest.raises(StartFailed, match="l cannot start"):
            await ref.ask(Ping())
        await settle()
        again = await system.spawn(Worker, book, "l", name="l", lazy=True, supervisor=top)

        assert await again.ask(Ping()) == 1
        assert states(top)[-1] == "a running"


async def test_lazy_actors_take_part_in_the_stop_of_their_supervisor() -> None:
    """Those that live are stopped, in their place; the others never start."""
    book = Book()
    async with open_system() as system:
        top = await started(system, book.child("a"))
        refs = [await system.spawn(Worker, book, label, name=label, lazy=True, supervisor=top) for label in "xyz"]
        await refs[2].ask(Ping())
        await refs[0].ask(Ping())
        book.take()
        await top.stop()

        assert book.log == ["-z1 shutdown", "-x1 shutdown", "-a1 shutdown"]
        for ref in refs:
            with pytest.raises(ActorStopped):
                await ref.ask(Ping())


async def test_a_lazy_actor_keeps_its_backoff_and_its_own_budget(autojump_clock) -> None:
    """The options of `spawn` hold from its first life on."""
    book = Book()
    backoff = Backoff(min=10, max=10, jitter=0)
    async with open_system() as system:
        top = await started(system, intensity=0)
        ref = await system.spawn(
            Worker, book, "l", lazy=True, supervisor=top, backoff=backoff, intensity=2, period=1000
        )
        for life in (2, 3):
            await told(ref, Crash())
            assert await ref.ask(Ping()) == life
        assert trio.current_time() == 20
        await told(ref, Crash())
        await top.wait_stopped()

        assert book.generation["l"] == 3


# ------------------------------------------------------------------ dynamic supervisors
async def test_a_dynamic_child_has_a_budget_in_common_and_a_backoff_of_its_own(autojump_clock) -> None:
    """While one waits the others work, and new ones start."""
    book = Book()
    template = book.template(backoff=Backoff(min=10, max=10, jitter=0))
    spec = SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, intensity=2, period=1000, children=[template])
    async with open_system() as system:
        top = await system.start_supervisor(spec, restart=Restart.TEMPORARY)
        a, b = await top.start_child("a"), await top.start_child("b")
        await told(a, Crash())
        assert [info.state for info in top.which_children()] == ["running", "restarting"]
        c = await top.start_child("c")
        assert [await b.ask(Ping()), await c.ask(Ping())] == [1, 1]
        assert trio.current_time() == 0
        assert await a.ask(Ping()) == 2
        assert trio.current_time() == 10
        await told(b, Crash())
        await told(c, Crash())
        await top.wait_stopped()

        assert book.generation == {"a": 2, "b": 1, "c": 1}


async def test_a_dynamic_child_may_be_a_supervisor() -> None:
    """A tree for each connection: stopped by its ref, with all it has."""
    book = Book()
    inner = SupervisorSpec(children=[book.child("a"), book.child("b")])
    template = ChildSpec(id="tree", start=inner, restart=Restart.TEMPORARY)
    spec = SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, children=[template])
    async with open_system() as system:
        top = await system.start_supervisor(spec, name="top")
        first, second = await top.start_child(), await top.start_child()
        assert isinstance(first, SupervisorRef)
        counts = top.count_children()
        assert (counts.active, counts.supervisors, counts.workers) == (2, 2, 0)
        await told(second.child("a"), Crash())
        book.take()
        await top.terminate_child(first)

        assert book.log == ["-b1 shutdown", "-a1 shutdown"]
        assert [info.ref for info in top.which_children()] == [second]
        assert await second.child("a").ask(Ping()) == 3


async def test_dynamic_children_start_side_by_side(autojump_clock) -> None:
    """A slow start holds up nobody else's, unlike that of a static child."""
    book = Book()

    class Slow(Worker):
        async def on_start(self) -> None:
            await trio.sleep(10)
            await super().on_start()

    template = ChildSpec(id="slow", start=functools.partial(Slow, book))
    spec = SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, children=[template])
    async with open_system() as system:
        top = await system.start_supervisor(spec)
        async with trio.open_nursery() as nursery:
            for label in "abcde":
                nursery.start_soon(top.start_child, label)

        assert trio.current_time() == 10
        assert sorted(book.log) == [f"+{label}1" for label in "abcde"]


# ------------------------------------------------------------------ time-outs of a tree
async def test_a_supervisor_with_a_time_of_its_own_cuts_down_all_that_is_under_it(autojump_clock) -> None:
    """Its children's own times are longer; when its time is over they are cancelled, and it ends as killed."""
    book = Book()
    inner = SupervisorSpec(children=[book.child("a", shutdown=100), book.child("b", shutdown=100)])
    async with open_system() as system:
        top = await started(system, ChildSpec(id="inner", start=inner, shutdown=3), book.child("z"))
        for label in "ab":
            ref = system.find(f"top/inner/{label}")
            assert ref is not None
            await told(ref, Work(seconds=1000))
        [_, info] = top.which_children()
        assert info.ref is not None
        with info.ref.monitor() as monitor:
            await top.terminate_child("inner")
            down = await monitor.down()

        assert trio.current_time() == 3
        assert down.reason == KILLED
        assert {"~a1", "~b1"} <= set(book.log)
        assert states(top) == ["z running", "inner undefined"]


async def test_the_times_of_a_tree_add_up_along_each_chain(autojump_clock) -> None:
    """In reverse order: 3 s for one child, 2 s for the next, of which one stops in 1 s."""
    book = Book()
    inner = SupervisorSpec(children=[book.child("a", shutdown=2), book.child("b", shutdown=3)])
    async with open_system() as system:
        top = await started(system, book.child("z", shutdown=50), ChildSpec(id="inner", start=inner))
        for name, seconds in (("top/inner/a", 1000), ("top/inner/b", 1000), ("top/z", 6)):
            ref = system.find(name)
            assert ref is not None
            await told(ref, Work(seconds=seconds))
        await top.stop()

        assert trio.current_time() == 6
        assert book.log[3:] == ["~b1", "-b1 killed", "~a1", "-a1 killed", "~z1", "-z1 shutdown"]


async def test_the_end_of_the_block_waits_for_a_child_that_ignores_its_cancellation(autojump_clock) -> None:
    """Nothing outlives the system."""
    book = Book()
    async with open_system(cleanup_bound=1) as system:
        ref = await system.spawn(Worker, book, "a", shutdown=1)
        await told(ref, Hang(seconds=77))

    assert trio.current_time() == 77


async def test_a_group_of_keepers_is_used_by_its_names() -> None:
    """`find` after a restart of the whole group gives the same refs."""
    book = Book()
    children = [ChildSpec(id=label, start=functools.partial(Keeper, book, label)) for label in "ab"]
    async with open_system() as system:
        spec = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, intensity=ALWAYS, children=children)
        top = await system.start_supervisor(spec, name="top")
        before = [system.find(f"top/{label}") for label in "ab"]
        await told(top.child("a"), Fail(Boom()))
        await told(top.child("b"), Note("new"))

        assert [system.find(f"top/{label}") for label in "ab"] == before
        assert await top.child("b").ask(Notes()) == ("new",)
