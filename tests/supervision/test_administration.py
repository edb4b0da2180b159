"""Administration of a living supervisor: entries 28 to 35 of OTP's suite (see INDEX.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.supervision.children import Book, Crash, End, Ping, Worker, settle, states, told
from trouper import (
    NORMAL,
    Actor,
    ActorStopped,
    Backoff,
    ChildError,
    ChildSpec,
    Ref,
    Restart,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    open_system,
)


async def refusal(call: Awaitable[object]) -> str:
    """The reason for which `call` is refused."""
    with pytest.raises(ChildError) as caught:
        await call
    return caught.value.reason


def dynamic(book: Book, **options: object) -> SupervisorSpec:
    return SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, intensity=10, children=[book.template(**options)])


# ------------------------------------------------------------------ start, terminate, restart, delete
async def test_case_28_a_child_that_runs() -> None:
    """It cannot be started, restarted or deleted; nothing happens to it."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a")]))
        with pytest.raises(ChildError, match="'a'") as caught:
            await top.start_child(book.child("a"))

        assert (caught.value.reason, caught.value.ref) == ("already_started", top.child("a"))
        assert await refusal(top.restart_child("a")) == "running"
        assert await refusal(top.delete_child("a")) == "running"
        assert await top.child("a").ask(Ping()) == 1


async def test_case_28_a_child_that_was_terminated() -> None:
    """It stays present, until it is restarted or deleted; terminating it twice is fine."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a")]))
        before = top.child("a")
        await top.terminate_child("a")
        await top.terminate_child("a")

        assert states(top) == ["a undefined"]
        with pytest.raises(ActorStopped):
            await before.ask(Ping())
        assert await refusal(top.start_child(book.child("a"))) == "already_present"

        again = await top.restart_child("a")
        assert again is not None
        assert await again.ask(Ping()) == 2
        assert states(top) == ["a running"]

        await top.terminate_child("a")
        await top.delete_child("a")
        assert states(top) == []
        assert book.log == ["+a1", "-a1 shutdown", "+a2", "-a2 shutdown"]

        await top.start_child(book.child("a"))
        assert states(top) == ["a running"]


async def test_case_28_a_child_that_is_not_there() -> None:
    """Never was, or was deleted."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a"), book.child("b")]))
        await top.terminate_child("a")
        await top.delete_child("a")

        for label in ("a", "x"):
            assert await refusal(top.terminate_child(label)) == "not_found"
            assert await refusal(top.restart_child(label)) == "not_found"
            assert await refusal(top.delete_child(label)) == "not_found"
            with pytest.raises(LookupError, match=r"its children are: b"):
                top.child(label)
        assert states(top) == ["b running"]


async def test_case_28_a_child_that_ended_by_itself_is_present_and_may_be_restarted() -> None:
    """A transient one after a clean end; a temporary one is gone, also when it was terminated."""
    book = Book()
    async with open_system() as system:
        children = [
            book.child("a", restart=Restart.TRANSIENT),
            book.child("b", restart=Restart.TEMPORARY),
            book.child("c", restart=Restart.TEMPORARY),
        ]
        top = await system.start_supervisor(SupervisorSpec(intensity=0, children=children))
        await told(top.child("a"), End(NORMAL))
        await told(top.child("b"), End(NORMAL))
        await top.terminate_child("c")

        assert states(top) == ["a undefined"]
        assert await refusal(top.restart_child("b")) == "not_found"
        assert await refusal(top.restart_child("c")) == "not_found"
        await top.terminate_child("a")
        again = await top.restart_child("a")
        assert again is not None
        assert await again.ask(Ping()) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda top: top.start_child(Book().child("b")),
        lambda top: top.terminate_child("a"),
        lambda top: top.restart_child("a"),
        lambda top: top.delete_child("a"),
        lambda top: top.change(SupervisorSpec()),
    ],
    ids=["start", "terminate", "restart", "delete", "change"],
)
@pytest.mark.parametrize("child", ["running", "terminated"])
async def test_case_28_a_supervisor_that_has_ended_does_nothing_any_more(
    call: Callable[[SupervisorRef], Awaitable[object]], child: str
) -> None:
    """What OTP calls noproc: every call says that it has stopped, whatever its children were."""
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[Book().child("a")]), name="top")
        if child == "terminated":
            await top.terminate_child("a")
        await top.stop()

        with pytest.raises(ActorStopped, match="'top'"):
            await call(top)
        await top.stop()
        await top.wait_stopped()


async def test_case_28_looking_at_a_supervisor_that_has_ended_says_so() -> None:
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[Book().child("a")]), name="top")
        await top.stop()

        for look in (top.which_children, top.count_children, lambda: top.get_childspec("a")):
            with pytest.raises(ActorStopped, match="'top'"):
                look()


async def test_case_28_a_start_that_nobody_waits_for_any_more_leaves_no_child(autojump_clock) -> None:
    """Cancelled while `on_start` runs: the child is stopped again and its id is free."""

    class Slow(Worker):
        async def on_start(self) -> None:
            await trio.sleep(10)
            await super().on_start()

    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec())
        with trio.move_on_after(1) as waiting:
            await top.start_child(ChildSpec(id="a", start=lambda: Slow(book, "a"), shutdown=1))
        await trio.sleep(5)

        assert waiting.cancelled_caught
        assert states(top) == []
        assert book.log == []
        await top.start_child(book.child("a"))
        assert states(top) == ["a running"]


async def test_case_29_dynamic_children_are_known_by_their_refs_only() -> None:
    """Terminating one twice is fine, a stranger is not found, an id means nothing."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(dynamic(book))
        first, second = [await top.start_child(label) for label in "ab"]
        stranger = await system.spawn(Worker, book, "stranger")
        await top.terminate_child(first)
        await top.terminate_child(first)

        assert [info.ref for info in top.which_children()] == [second]
        assert await refusal(top.terminate_child(stranger)) == "not_found"
        assert await refusal(top.terminate_child("worker")) == "simple_one_for_one"
        assert await refusal(top.restart_child("worker")) == "simple_one_for_one"
        assert await refusal(top.delete_child("worker")) == "simple_one_for_one"
        assert await stranger.ask(Ping()) == await second.ask(Ping()) == 1
        assert book.log == ["+a1", "+b1", "+stranger1", "-a1 shutdown"]


async def test_case_29_a_dynamic_child_of_another_supervisor_is_a_stranger() -> None:
    """Alive or not."""
    book = Book()
    async with open_system() as system:
        one, other = [await system.start_supervisor(dynamic(book)) for _ in range(2)]
        theirs = await other.start_child("a")

        assert await refusal(one.terminate_child(theirs)) == "not_found"
        assert await theirs.ask(Ping()) == 1
        await other.terminate_child(theirs)
        assert await refusal(one.terminate_child(theirs)) == "not_found"


async def test_case_29_a_dynamic_child_keeps_its_ref_over_a_restart() -> None:
    """With the arguments it was started with; so it can be terminated by it afterwards too."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(dynamic(book))
        refs = [await top.start_child(label) for label in "ab"]
        await told(refs[0], Crash())

        assert [await ref.ask(Ping()) for ref in refs] == [2, 1]
        assert {info.ref for info in top.which_children()} == set(refs)
        await top.terminate_child(refs[0])
        assert [info.ref for info in top.which_children()] == [refs[1]]


# ------------------------------------------------------------------ looking
async def test_case_30_children_are_shown_newest_first_running_or_not() -> None:
    """A restart, by itself or by hand, does not change a child's place."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(intensity=9, children=[book.child("b"), book.child("a")])
        top = await system.start_supervisor(spec, name="top")
        assert states(await system.start_supervisor(SupervisorSpec())) == []
        assert states(top) == ["a running", "b running"]

        c = await top.start_child(book.child("c"))
        await top.terminate_child("a")
        await told(top.child("b"), Crash())
        assert states(top) == ["c running", "a undefined", "b running"]
        [shown_c, shown_a, shown_b] = top.which_children()
        assert (shown_c.ref, shown_a.ref, shown_b.ref) == (c, None, top.child("b"))
        assert {shown_a.kind, shown_b.kind, shown_c.kind} == {"actor"}

        await top.restart_child("a")
        assert states(top) == ["c running", "a running", "b running"]
        await top.terminate_child("b")
        await top.delete_child("b")
        await top.start_child(book.child("b"))
        assert states(top) == ["b running", "c running", "a running"]


async def test_case_30_one_child_is_found_by_its_id() -> None:
    """Its ref stays the same over crashes; a child's child is not found here."""
    book = Book()
    below = ChildSpec(id="below", start=SupervisorSpec(children=[book.child("b")]))
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a"), below]), name="top")
        a = top.child("a")
        await told(a, Crash())

        assert (a, a.name, await a.ask(Ping())) == (top.child("a"), "top/a", 2)
        assert system.find("top/a") == a
        with pytest.raises(LookupError, match="'b'"):
            top.child("b")
        [shown] = [info for info in top.which_children() if info.id == "below"]
        assert isinstance(shown.ref, SupervisorRef)
        assert isinstance(shown.ref.child("b"), Ref)


async def test_case_31_dynamic_children_are_shown_each_with_its_ref() -> None:
    """Those only that are there: a temporary one that ended is gone, a permanent one that crashed is back."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(dynamic(book, restart=Restart.TRANSIENT))
        empty = top.which_children()
        refs = [await top.start_child(label) for label in "abcd"]
        await told(refs[0], Crash())
        await told(refs[1], End(NORMAL))
        await top.terminate_child(refs[2])
        shown = top.which_children()

        assert empty == ()
        assert [info.ref for info in shown] == [refs[3], refs[0]]
        assert {(info.state, info.kind) for info in shown} == {("running", "actor")}
        assert len({info.id for info in shown}) == 2


async def test_case_32_a_thousand_dynamic_children_and_a_thousand_more_are_counted() -> None:
    """Also when some have been taken away again; the one spec is counted once."""

    class Idle(Actor):
        pass

    def counted(top: SupervisorRef) -> tuple[int, ...]:
        counts = top.count_children()
        return counts.specs, counts.active, counts.supervisors, counts.workers

    template = ChildSpec(id="idle", start=Idle, restart=Restart.TEMPORARY)
    spec = SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, children=[template])
    async with open_system() as system:
        top = await system.start_supervisor(spec)
        found = [counted(top)]
        refs = [await top.start_child() for _ in range(1000)]
        found.append(counted(top))
        refs += [await top.start_child() for _ in range(1000)]
        found.append(counted(top))
        for ref in refs[::2]:
            await top.terminate_child(ref)
        found.append(counted(top))

        assert found == [(1, 0, 0, 0), (1, 1000, 0, 1000), (1, 2000, 0, 2000), (1, 1000, 0, 1000)]
        assert len(top.which_children()) == 1000


async def test_case_33_children_that_are_supervisors_are_counted_as_such() -> None:
    """Running or not; what is below them is not counted here."""
    book = Book()

    def below(label: str) -> ChildSpec:
        return ChildSpec(id=label, start=SupervisorSpec(children=[book.child(f"{label}-{n}") for n in range(3)]))

    async with open_system() as system:
        children = [book.child("a"), below("s"), book.child("b"), below("t")]
        top = await system.start_supervisor(SupervisorSpec(children=children))
        before = top.count_children()
        await top.terminate_child("a")
        await top.terminate_child("t")
        after = top.count_children()

        assert (before.specs, before.active, before.supervisors, before.workers) == (4, 4, 2, 2)
        assert (after.specs, after.active, after.supervisors, after.workers) == (4, 2, 2, 2)
        assert [(info.id, info.kind) for info in top.which_children()] == [
            ("t", "supervisor"),
            ("b", "actor"),
            ("s", "supervisor"),
            ("a", "actor"),
        ]


async def test_case_34_a_child_in_its_restart_loop_is_a_spec_and_not_active(autojump_clock) -> None:
    """While it waits for its next start, and after one more has failed; once it runs it counts again."""
    book = Book()
    looping = book.child("b", backoff=Backoff(min=10, max=10, jitter=0))
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(intensity=9, children=[book.child("a"), looping]))
        book.failing["b"] = 2
        await told(top.child("b"), Crash())
        for _ in range(3):
            counts = top.count_children()
            assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (2, 1, 0, 2)
            assert states(top) == ["b restarting", "a running"]
            assert top.which_children()[0].ref is None
            assert await refusal(top.restart_child("b")) == "restarting"
            assert await refusal(top.delete_child("b")) == "restarting"
            await trio.sleep(10)
            await settle()

        assert book.log == ["+a1", "+b1", "-b1 crashed", "!b", "!b", "+b2"]
        assert top.count_children().active == 2
        assert states(top) == ["b running", "a running"]


async def test_case_34_dynamic_children_in_their_restart_loops_are_not_active(autojump_clock) -> None:
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(dynamic(book, backoff=Backoff(min=10, max=10, jitter=0)))
        refs = [await top.start_child(label) for label in "abc"]
        await told(refs[0], Crash())
        await told(refs[2], Crash())
        counts = top.count_children()

        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (1, 1, 0, 3)
        assert sorted(info.state for info in top.which_children()) == ["restarting", "restarting", "running"]
        await trio.sleep(10.1)
        assert top.count_children().active == 3


@pytest.mark.parametrize("order", ["abcd", "dbca", "cadb"])
async def test_case_35_the_order_of_children_is_the_given_one(order) -> None:
    """Started as given, not as sorted; after a crash the later ones stop in reverse and start in order."""
    book = Book()
    first, crashing, third, last = order
    async with open_system() as system:
        spec = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, children=[book.child(label) for label in order])
        top = await system.start_supervisor(spec)
        assert book.take() == [f"+{label}1" for label in order]

        await told(top.child(crashing), Crash())
        assert book.take() == [
            f"-{crashing}1 crashed",
            f"-{last}1 shutdown",
            f"-{third}1 shutdown",
            f"+{crashing}2",
            f"+{third}2",
            f"+{last}2",
        ]
        assert [info.id for info in top.which_children()] == list(reversed(order))

        await top.stop()
        assert book.take() == [
            f"-{last}2 shutdown",
            f"-{third}2 shutdown",
            f"-{crashing}2 shutdown",
            f"-{first}1 shutdown",
        ]
