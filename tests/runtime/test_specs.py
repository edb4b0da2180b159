"""Specs are valid or not built at all, and every mistake of one is told at once (cases 13 to 18 of the OTP suite)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    AutoShutdown,
    Backoff,
    ChildSpec,
    Directive,
    ExitKind,
    ExitReason,
    Mailbox,
    Overflow,
    Restart,
    Shutdown,
    SpecError,
    Strategy,
    SupervisorSpec,
    TrouperError,
    Watchdog,
)
from trouper.runtime._spec import crashed


class Worker(Actor):
    def __init__(self, label: str = "") -> None:
        self.label = label


def child(id: str = "a", **options: object) -> ChildSpec:  # noqa: A002 - the field's name
    return ChildSpec(**{"id": id, "start": Worker, **options})


def problems(make: object) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        make()
    return caught.value.problems


# ------------------------------------------------------------------ defaults
def test_case_13_defaults_are_those_of_otp() -> None:
    """Permanent, 5 s for an actor, for ever for a supervisor; one restart in five seconds."""
    actor = ChildSpec(id="a", start=Worker)
    below = ChildSpec(id="s", start=SupervisorSpec())

    assert (actor.restart, actor.grace, actor.significant, actor.is_supervisor) == (
        Restart.PERMANENT,
        5.0,
        False,
        False,
    )
    assert (below.restart, below.grace, below.is_supervisor) == (Restart.PERMANENT, math.inf, True)
    assert attrs.asdict(SupervisorSpec()) == {
        "strategy": Strategy.ONE_FOR_ONE,
        "intensity": 1,
        "period": 5.0,
        "auto_shutdown": AutoShutdown.NEVER,
        "children": (),
    }


def test_the_other_defaults_are_those_that_are_documented() -> None:
    assert Mailbox() == Mailbox(capacity=64, overflow=Overflow.WAIT, key=None, redeliver=0)
    assert Backoff() == Backoff(min=0.05, max=5.0, jitter=0.2, reset=None)
    assert Watchdog(limit=1) == Watchdog(limit=1, restart=False)
    assert child() == child(
        restart=Restart.PERMANENT,
        shutdown=None,
        significant=False,
        backoff=None,
        directives={},
        mailbox=Mailbox(),
        watchdog=None,
    )


@pytest.mark.parametrize("kind", [ChildSpec, SupervisorSpec, Backoff, Mailbox, Watchdog])
def test_every_option_is_given_by_name(kind) -> None:
    with pytest.raises(TypeError, match="positional"):
        kind(1)


@pytest.mark.parametrize(
    ("shutdown", "grace"),
    [
        (None, 5.0),
        (0, 0.0),
        (2, 2.0),
        (0.25, 0.25),
        (math.inf, math.inf),
        (Shutdown.BRUTAL, 0.0),
        (Shutdown.INFINITY, math.inf),
    ],
)
def test_the_grace_of_a_child_is_a_number_of_seconds(shutdown, grace) -> None:
    assert child(shutdown=shutdown).grace == grace
    assert isinstance(child(shutdown=shutdown).grace, float)


def test_specs_are_values() -> None:
    """Equal when their fields are, hashable, not to be changed, and cut loose from what they were made of."""
    given_directives: dict[type[BaseException], Directive] = {ValueError: Directive.RESUME}
    children = [child("a")]
    one = child("x", directives=given_directives)
    top = SupervisorSpec(children=children)
    given_directives.clear()
    children.clear()

    assert one == child("x", directives={ValueError: Directive.RESUME})
    assert hash(one) == hash(child("x", directives={ValueError: Directive.RESUME}))
    assert dict(one.directives) == {ValueError: Directive.RESUME}
    assert top.children == (child("a"),)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.restart = Restart.TEMPORARY
    with pytest.raises(TypeError):
        one.directives[KeyError] = Directive.STOP


# ------------------------------------------------------------------ mistakes
def test_case_15_what_is_missing_is_named() -> None:
    """Both at once, by Python itself; so is an option that does not exist."""
    with pytest.raises(TypeError, match=r"'id' and 'start'"):
        ChildSpec()
    with pytest.raises(TypeError, match="'type'"):
        ChildSpec(id="a", start=Worker, type="worker")


def test_case_15_what_is_not_a_spec_is_refused_with_its_place() -> None:
    found = problems(lambda: SupervisorSpec(children=[child("a"), Worker, SupervisorSpec()]))

    assert len(found) == 2
    assert found[0].startswith("children[1] must be a ChildSpec, not <class")
    assert "children[2] must be a ChildSpec around it" in found[1]


@pytest.mark.parametrize("children", [3, None, "abc", b"abc", Worker, child("a")])
def test_case_15_children_that_are_no_list_are_refused(children) -> None:
    [problem] = problems(lambda: SupervisorSpec(children=children))

    assert problem.startswith("children must be a list of ChildSpec, not ")
    assert problem.endswith("; write children=[ChildSpec(...)]")


BAD_CHILD = {
    "id": ["", 3, None, b"a"],
    "start": [Worker(), "Worker", None, Worker().on_start],
    "restart": ["permanent", None, Strategy.ONE_FOR_ONE, True, 1],
    "shutdown": [-1, -0.001, math.nan, True, "brutal_kill", Restart.PERMANENT, -math.inf, 10**400],
    "significant": [None, 1, 0, "yes"],
    "backoff": [1.0, True, {"min": 1}],
    "directives": [3, [ValueError], {ValueError: "resume"}, {3: Directive.STOP}, {"ValueError": Directive.STOP}],
    "mailbox": [None, 64, Overflow.WAIT],
    "watchdog": [30, True, Backoff()],
}
BAD_SUPERVISOR = {
    "strategy": ["one_for_one", None, Restart.PERMANENT, 1],
    "intensity": [-1, 1.0, True, None, "3", math.inf],
    "period": [0, -1, 0.0, math.nan, math.inf, True, None, "5", 10**400],
    "auto_shutdown": [True, None, "never", Shutdown.BRUTAL],
    "children": [None, 3, [None], [[]], {"a": Worker}],
}
BAD_BACKOFF = {
    "min": [0, -1, math.nan, math.inf, True, None, "1"],
    "max": [0, -1, math.nan, math.inf, True, None],
    "jitter": [-0.1, math.nan, math.inf, True, None],
    "reset": [0, -1, math.nan, True, "never"],
}
BAD_MAILBOX = {
    "capacity": [0, -1, 1.0, True, None, math.inf],
    "overflow": ["wait", None, True],
    "key": [3, "topic"],
    "redeliver": [-1, 1.0, True, None],
}
BAD_WATCHDOG = {"limit": [0, -1, math.nan, math.inf, None, True], "restart": [1, None, "yes"]}
KINDS: list[tuple[type, Mapping[str, list[object]], Mapping[str, object]]] = [
    (ChildSpec, BAD_CHILD, {"id": "a", "start": Worker}),
    (SupervisorSpec, BAD_SUPERVISOR, {}),
    (Backoff, BAD_BACKOFF, {}),
    (Mailbox, BAD_MAILBOX, {}),
    (Watchdog, BAD_WATCHDOG, {"limit": 1}),
]


@pytest.mark.parametrize(
    ("kind", "field", "value", "good"),
    [(kind, field, value, good) for kind, bad, good in KINDS for field, values in bad.items() for value in values],
)
def test_cases_16_and_18_each_bad_field_is_named_with_what_was_given(kind, field, value, good) -> None:
    """One mistake, one problem: the field, what is right, what was given."""
    [problem] = problems(lambda: kind(**{**good, field: value}))

    assert field in problem
    assert " must be " in problem
    assert "\n" not in problem
    assert len(problem) < 600


@given(st.data(), st.sampled_from(KINDS))
def test_cases_16_and_18_all_mistakes_come_in_one_error(data, kind_bad_good) -> None:
    """Whatever is wrong together: each wrong field has its problem, no right one has."""
    kind, bad, good = kind_bad_good
    fields = data.draw(st.sets(st.sampled_from(sorted(bad)), min_size=1))
    wrong = {field: data.draw(st.sampled_from(bad[field])) for field in sorted(fields)}
    with pytest.raises(SpecError) as caught:
        kind(**{**good, **wrong})

    assert {
        p.partition(" must be ")[0].removeprefix("a key of ").partition("[")[0] for p in caught.value.problems
    } == fields
    assert kind.__name__ in str(caught.value)
    assert all(problem in str(caught.value) for problem in caught.value.problems)


def test_the_least_and_greatest_that_make_sense_are_accepted() -> None:
    assert SupervisorSpec(intensity=0, period=1e-9).intensity == 0
    assert Mailbox(capacity=1, redeliver=0).capacity == 1
    assert Backoff(min=1, max=1, jitter=0, reset=math.inf).jitter == 0
    assert Watchdog(limit=1e-9).limit == 1e-9
    assert child(shutdown=0).shutdown == 0
    assert child(directives={BaseException: Directive.STOP, ExceptionGroup: Directive.RESUME}).directives
    assert child(start=lambda: Worker("made by a function")).id == "a"


def test_a_spec_error_is_ours_and_a_value_error() -> None:
    with pytest.raises(SpecError) as caught:
        Watchdog(limit=0)

    assert isinstance(caught.value, TrouperError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.kind == "bad_spec"
    assert str(caught.value) == "Watchdog: limit must be a finite number above 0, not 0"


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: SupervisorSpec(strategy="one_for_all"), "write Strategy.ONE_FOR_ALL"),
        (lambda: SupervisorSpec(strategy="Rest-For-One"), "write Strategy.REST_FOR_ONE"),
        (lambda: SupervisorSpec(auto_shutdown="any significant"), "write AutoShutdown.ANY_SIGNIFICANT"),
        (lambda: child(restart="permanant"), "write Restart.PERMANENT"),
        (lambda: child(shutdown="brutal_kill"), "write Shutdown.BRUTAL"),
        (lambda: child(shutdown="infinite"), "write Shutdown.INFINITY"),
        (lambda: child(directives={ValueError: "resume"}), "write Directive.RESUME"),
        (lambda: child(start=Worker()), "write start=Worker"),
        (lambda: child(mailbox=3), "write mailbox=Mailbox(capacity=64)"),
        (lambda: child(backoff=3), "write backoff=Backoff(min=0.1, max=5)"),
        (lambda: Mailbox(overflow="drop_old"), "write Overflow.DROP_OLD"),
    ],
)
def test_a_near_miss_gets_the_right_line(make, hint) -> None:
    [problem] = problems(make)

    assert problem.endswith(f"; {hint}")


def test_a_text_that_is_like_no_member_gets_no_hint() -> None:
    [problem] = problems(lambda: SupervisorSpec(strategy="x" * 10_000))

    assert "; write" not in problem
    assert len(problem) < 400


def test_a_value_whose_repr_raises_is_refused_like_any_other() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise SystemExit

    [problem] = problems(lambda: child(restart=Hostile()))

    assert "<Hostile whose repr raises SystemExit>" in problem


# ------------------------------------------------------------------ what goes together
def test_case_16_duplicate_ids_are_refused_each() -> None:
    found = problems(lambda: SupervisorSpec(children=[child("a"), child("b"), child("a"), child("b"), child("a")]))

    assert [p.partition(":")[0] for p in found] == ["children[2]", "children[3]", "children[4]"]
    assert "'a'" in found[0]
    assert "'b'" in found[1]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_case_16_a_dynamic_supervisor_has_exactly_one_spec(count) -> None:
    def make() -> SupervisorSpec:
        return SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, children=[child(str(n)) for n in range(count)])

    if count == 1:
        assert make().children == (child("0"),)
    else:
        [problem] = problems(make)
        assert f"not {count}" in problem


SHUTDOWNS = [None, 0, 1.5, math.inf, Shutdown.BRUTAL, Shutdown.INFINITY]


@pytest.mark.parametrize("auto", AutoShutdown)
@pytest.mark.parametrize("significant", [False, True])
@pytest.mark.parametrize("restart", Restart)
def test_case_17_the_full_product_is_accepted_or_refused_exactly(restart, significant, auto) -> None:
    """Restart x shutdown x kind x significant x auto_shutdown, under each strategy.

    Significant never goes with permanent (the child's mistake) and never with NEVER (the supervisor's); a dynamic
    supervisor never shuts down by itself.
    """
    for shutdown, start, strategy in itertools.product(SHUTDOWNS, [Worker, SupervisorSpec()], Strategy):
        make = functools.partial(child, start=start, restart=restart, shutdown=shutdown, significant=significant)
        if significant and restart is Restart.PERMANENT:
            [problem] = problems(make)
            assert problem.startswith("significant=True needs Restart.TRANSIENT or TEMPORARY")
            continue
        spec = make()
        above = functools.partial(SupervisorSpec, strategy=strategy, auto_shutdown=auto, children=[spec])
        if significant and auto is AutoShutdown.NEVER:
            [problem] = problems(above)
            assert problem.startswith("child 'a' is significant, which means nothing under AutoShutdown.NEVER")
        elif strategy is Strategy.SIMPLE_ONE_FOR_ONE and auto is not AutoShutdown.NEVER:
            [problem] = problems(above)
            assert problem.startswith("auto_shutdown must be AutoShutdown.NEVER with Strategy.SIMPLE_ONE_FOR_ONE")
        else:
            assert above().children == (spec,)


def test_options_that_only_an_actor_reads_are_refused_for_a_supervisor() -> None:
    """They would silently do nothing."""
    found = problems(
        lambda: child(
            start=SupervisorSpec(),
            mailbox=Mailbox(capacity=1),
            watchdog=Watchdog(limit=1),
            directives={ValueError: Directive.STOP},
        )
    )

    assert [p.partition(" ")[0] for p in found] == ["mailbox", "watchdog", "directives"]
    assert child(start=SupervisorSpec(), backoff=Backoff(), mailbox=Mailbox()).is_supervisor


def test_latest_by_key_needs_its_key_and_nothing_else_reads_one() -> None:
    assert Mailbox(overflow=Overflow.LATEST_BY_KEY, key=str).key is str
    [missing] = problems(lambda: Mailbox(overflow=Overflow.LATEST_BY_KEY))
    [useless] = problems(lambda: Mailbox(overflow=Overflow.WAIT, key=str))

    assert missing.startswith("key is missing")
    assert useless.startswith("key is only read with Overflow.LATEST_BY_KEY, and overflow is Overflow.WAIT")


def test_a_backoff_resets_halfway_unless_told_otherwise() -> None:
    assert Backoff(min=1, max=5).reset_after == 3
    assert Backoff(min=1, max=5, reset=0.5).reset_after == 0.5
    assert Backoff(min=1, max=5, reset=math.inf).reset_after == math.inf
    assert Backoff(min=1e308, max=1e308).reset_after == 1e308
    assert problems(lambda: Backoff(min=2, max=1)) == ("max must be at least min, which is 2, not 1",)


# ------------------------------------------------------------------ exit reasons
def test_which_ends_are_clean() -> None:
    """As in OTP: normal and both forms of shutdown; a kill is not."""
    clean = [NORMAL, SHUTDOWN, ExitReason.shutdown("moved")]
    unclean = [KILLED, crashed(ValueError()), crashed(KeyboardInterrupt())]

    assert [reason.clean for reason in clean] == [True] * 3
    assert [reason.clean for reason in unclean] == [False] * 3


def test_reasons_say_what_they_are_in_one_line() -> None:
    assert str(NORMAL) == "normal"
    assert str(ExitReason.shutdown(("a", 1))) == "shutdown (('a', 1))"
    assert str(ExitReason.shutdown()) == "shutdown"
    assert str(crashed(KeyError("goal"))) == "crashed (KeyError('goal'))"
    assert str(ExitReason(ExitKind.SHUTDOWN, OSError("x"))) == "shutdown (OSError('x'))"


@given(st.text(), st.integers(0, 4))
def test_a_reason_is_one_bounded_printable_line_whatever_it_carries(text, times) -> None:
    for value in (text * 10**times, [text] * 10**times):
        for shown in (
            str(crashed(ValueError(value))),
            str(ExitReason.shutdown(value)),
            repr(crashed(ValueError(value))),
        ):
            assert len(shown) < 300
            assert shown.isprintable()


def test_reasons_are_values() -> None:
    assert ExitReason.shutdown() == SHUTDOWN
    assert ExitReason.shutdown("x") == ExitReason.shutdown("x") != SHUTDOWN
    assert len({ExitReason.shutdown(["not", "hashable"]), SHUTDOWN, NORMAL, KILLED}) == 4
    assert problems(lambda: ExitReason("normal")) == (
        "kind must be one of ExitKind.NORMAL, ExitKind.SHUTDOWN, ExitKind.KILLED, ExitKind.CRASHED, not 'normal'; "
        "write ExitKind.NORMAL",
    )
