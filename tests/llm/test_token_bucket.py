"""The laws of the rate limit, without any clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trouper.runtime import BudgetExceeded, Limits, RateLimited, ServerLimits, TokenBucket, Turn
from trouper.runtime._bucket import FIRST_PAUSE, MAX_PUSH_BACK
from trouper.runtime._rate_laws import LEASE_LIFE
from trouper.runtime._rate_window import SLACK, SLOT, WINDOW

LIMITS = Limits(rpm=60, tpm=6000, burst=10, safety_margin=1.0)
MINUTE = WINDOW + SLACK


def run(bucket: TokenBucket, until: float, now: float = 0.0) -> list[Turn]:
    """Serve whenever the bucket wants it, up to `until`; the turns that were granted, in order."""
    granted: list[Turn] = []
    while now <= until:
        granted += [turn for turn in bucket.serve(now) if turn.state == "granted"]
        now = max(bucket.next_at(now), now + 1e-6)
    return granted


def worst_window(turns: list[Turn], length: float = WINDOW) -> tuple[int, int]:
    """Most requests and most tokens that any half-open window of `length` seconds holds."""
    ordered = sorted(turns, key=lambda turn: turn.at)
    requests = tokens = 0
    for i, first in enumerate(ordered):
        inside = [turn for turn in ordered[i:] if turn.at - first.at < length]
        requests = max(requests, len(inside))
        tokens = max(tokens, sum(turn.tokens for turn in inside))
    return requests, tokens


def fill(bucket: TokenBucket, count: int, tokens: int = 1, now: float = 0.0, prefix: str = "r") -> list[Turn]:
    return [bucket.ask(f"{prefix}{i}", tokens, now) for i in range(count)]


def test_the_first_burst_goes_at_once_and_the_next_request_is_paced() -> None:
    bucket = TokenBucket(LIMITS)
    turns = fill(bucket, 12, 10, now=100.0)
    run(bucket, 103.0, now=100.0)

    assert [turn.at for turn in turns[:10]] == [100.0] * 10
    assert [turn.at for turn in turns[10:]] == pytest.approx([101.0, 102.0], abs=0.01)


def test_a_minute_holds_the_limit_and_not_the_limit_plus_the_burst() -> None:
    """The fault of a bucket that refills: its first minute holds capacity and refill together."""
    bucket = TokenBucket(LIMITS)
    fill(bucket, 400)
    turns = run(bucket, 500.0)

    assert worst_window(turns) == (60, 60)
    assert len(turns) == 400
    assert turns[-1].at == pytest.approx(390 * MINUTE / WINDOW, rel=0.03)  # and little is wasted


def test_the_safety_margin_is_taken_from_both_limits() -> None:
    limits = Limits(rpm=100, tpm=1000, safety_margin=0.9)

    assert (limits.safe_rpm, limits.safe_tpm) == (90, 900)


def test_a_request_larger_than_a_minute_is_an_error_that_names_the_limit() -> None:
    bucket = TokenBucket(Limits(rpm=60, tpm=1000, safety_margin=0.9))

    with pytest.raises(BudgetExceeded, match=r"901 tokens .* 900 tokens a minute \(tpm_limit 1,000"):
        bucket.ask("large", 901, 0.0)
    assert (bucket.statistics(0.0).requests, bucket.waiting) == (0, 0)


def test_a_request_that_the_servers_own_limit_can_never_hold_is_refused_while_it_waits() -> None:
    bucket = TokenBucket(LIMITS)
    bucket.ask("first", 5500, 0.0)
    bucket.serve(0.0)
    large, small = bucket.ask("large", 5000, 1.0), bucket.ask("small", 100, 1.0)
    bucket.settle("first", 10, 1.0, ServerLimits(limit_tokens=2000, remaining_tokens=1990))
    run(bucket, 70.0, now=1.0)

    assert large.state == "refused"
    assert "2,000 by the server's own word" in str(large.error)
    assert small.state == "granted"


def test_a_large_request_is_not_overtaken_by_small_ones() -> None:
    bucket = TokenBucket(LIMITS)
    bucket.ask("first", 5000, 0.0)
    bucket.serve(0.0)
    large = bucket.ask("large", 4000, 1.0)
    small = fill(bucket, 5, now=2.0, prefix="small")
    run(bucket, 100.0, now=2.0)

    assert large.at == pytest.approx(MINUTE, abs=1e-3)
    assert all(turn.at >= large.at for turn in small)


def test_what_an_answer_did_not_use_is_there_for_those_who_already_wait() -> None:
    """An instant fixed when they asked would keep them waiting for what is free."""
    bucket = TokenBucket(Limits(rpm=60, tpm=6000, safety_margin=1.0, charge="actual"))
    bucket.ask("a", 5000, 0.0)
    bucket.serve(0.0)
    waiting = bucket.ask("b", 5000, 1.0)
    assert bucket.serve(1.0) == []
    bucket.settle("a", 900, 3.0)

    assert bucket.serve(3.0) == [waiting]


def test_given_back_turns_leave_nothing_behind() -> None:
    """A storm of cancelled callers must not push the next one into the future."""
    bucket = TokenBucket(LIMITS)
    fill(bucket, 1000, 500, now=5.0)
    bucket.serve(5.0)
    for i in range(1000):
        bucket.give_back(f"r{i}", 5.0)
    turn = bucket.ask("next", 500, 5.0)

    assert bucket.serve(5.0) == [turn]
    assert turn.at == 5.0
    state = bucket.statistics(5.0)
    assert (state.requests, state.tokens, state.waiting, state.unsettled) == (1, 500, 0, 1)


def test_when_the_head_withdraws_the_next_one_may_go_at_once() -> None:
    bucket = TokenBucket(LIMITS)
    bucket.ask("first", 5000, 0.0)
    bucket.serve(0.0)
    bucket.ask("large", 4000, 1.0)
    bucket.ask("small", 10, 1.0)
    bucket.serve(1.0)
    assert bucket.next_at(1.0) > 60.0
    bucket.give_back("large", 2.0)

    assert bucket.next_at(2.0) == 2.0


def test_giving_back_twice_or_an_unknown_turn_changes_nothing() -> None:
    bucket = TokenBucket(LIMITS)
    fill(bucket, 2, 100)
    bucket.serve(0.0)
    for name in ("r0", "r0", "nobody"):
        bucket.give_back(name, 0.0)

    assert bucket.statistics(0.0).tokens == 100


def test_asking_twice_for_the_same_turn_reserves_once() -> None:
    bucket = TokenBucket(LIMITS)

    assert bucket.ask("a", 100, 0.0) is bucket.ask("a", 100, 3.0)
    bucket.serve(3.0)
    assert bucket.ask("a", 100, 4.0).state == "granted"
    assert bucket.statistics(4.0).requests == 1


@pytest.mark.parametrize(("charge", "expected"), [("estimate", 1000), ("actual", 50), ("auto", 1000)])
def test_a_settled_request_is_charged_by_the_providers_policy(charge: str, expected: int) -> None:
    """`auto` knows nothing without headers, so it is careful."""
    bucket = TokenBucket(Limits(rpm=60, tpm=6000, safety_margin=1.0, charge=charge))
    bucket.ask("a", 1000, 0.0)
    bucket.serve(0.0)
    bucket.settle("a", 50, 1.0)

    assert bucket.statistics(1.0).tokens == expected
    assert bucket.statistics(1.0).unsettled == 0


def test_auto_gives_back_what_was_not_used_as_long_as_the_server_says_what_is_left() -> None:
    bucket = TokenBucket(Limits(rpm=60, tpm=6000, safety_margin=1.0, charge="auto"))
    bucket.ask("a", 1000, 0.0)
    bucket.serve(0.0)
    bucket.settle("a", 50, 1.0, ServerLimits(limit_tokens=6000, remaining_tokens=5000))

    assert bucket.statistics(1.0).tokens == 50
    assert bucket.statistics(30.0).tokens == 1000  # old news are no news


@pytest.mark.parametrize("charge", ["estimate", "actual"])
def test_more_than_was_reserved_is_always_charged(charge: str) -> None:
    bucket = TokenBucket(Limits(rpm=60, tpm=1000, safety_margin=1.0, charge=charge))
    bucket.ask("a", 100, 0.0)
    bucket.serve(0.0)
    bucket.settle("a", 950, 1.0)
    turn = bucket.ask("b", 100, 2.0)
    run(bucket, 70.0, now=2.0)

    assert turn.at == pytest.approx(MINUTE, abs=1e-3)


def test_a_push_back_holds_everybody_and_keeps_their_order() -> None:
    bucket = TokenBucket(LIMITS)
    turns = fill(bucket, 30)
    bucket.serve(0.0)
    bucket.push_back(25.0, 1.0)
    granted = run(bucket, 60.0, now=1.0)

    assert granted[0].at == 26.0
    assert granted == turns[10:]


def test_a_shorter_push_back_does_not_undo_a_longer_one() -> None:
    bucket = TokenBucket(LIMITS)
    bucket.push_back(30.0, 0.0)
    bucket.push_back(1.0, 0.0)
    bucket.ask("a", 1, 0.0)

    assert bucket.next_at(0.0) == 30.0


@pytest.mark.parametrize("seconds", [1e9, math.inf])
def test_no_server_can_stop_everything_for_ever(seconds: float) -> None:
    bucket = TokenBucket(LIMITS)
    bucket.push_back(seconds, 0.0)
    bucket.ask("a", 1, 0.0)

    assert bucket.next_at(0.0) == MAX_PUSH_BACK


def test_refusals_that_name_no_wait_wait_longer_each_time_but_one_burst_is_one_refusal() -> None:
    bucket = TokenBucket(LIMITS)
    fill(bucket, 10)
    bucket.serve(0.0)
    for i in range(10):
        bucket.declined(f"r{i}", 0.1)
    first = bucket.statistics(0.1).paused_for
    bucket.ask("again", 1, 5.0)
    bucket.serve(5.0)
    bucket.declined("again", 5.1)

    assert first == pytest.approx(FIRST_PAUSE)
    assert bucket.statistics(5.1).paused_for == pytest.approx(2 * FIRST_PAUSE)


def test_a_turn_that_does_not_come_by_its_deadline_is_refused_then_and_not_served() -> None:
    bucket = TokenBucket(LIMITS)
    bucket.push_back(50.0, 0.0)
    late, patient = bucket.ask("late", 1, 0.0, deadline=20.0), bucket.ask("patient", 1, 0.0, deadline=90.0)

    assert bucket.next_at(0.0) == 20.0
    assert bucket.serve(20.0) == [late]
    assert isinstance(late.error, RateLimited)
    run(bucket, 60.0, now=20.0)
    assert (late.state, patient.state) == ("refused", "granted")


def test_the_window_forgets_what_no_minute_can_hold() -> None:
    bucket = TokenBucket(LIMITS)
    for minute in range(50):
        now = minute * 61.0
        fill(bucket, 40, 10, now=now, prefix=f"{minute}-")
        for turn in run(bucket, now + 60.0, now=now):
            bucket.settle(turn.id, 10, now + 60.0)
    bucket.statistics(10_000.0)

    assert bucket.is_idle(10_000.0)
    assert len(bucket._window._slots) == 0


def test_a_call_that_nobody_ever_reports_on_does_not_hold_a_place_for_ever() -> None:
    bucket = TokenBucket(LIMITS)
    fill(bucket, 2)
    bucket.serve(0.0)
    bucket.overloaded("r0", 1.0)  # so that one call may be under way
    bucket.ask("next", 1, 2.0)

    assert bucket.serve(100.0) == []
    assert [turn.id for turn in bucket.serve(LEASE_LIFE + 1.0)] == ["next"]


@pytest.mark.parametrize(
    "wrong",
    [{"rpm": 0}, {"rpm": True}, {"tpm": -1}, {"burst": 0}, {"safety_margin": 0.0}, {"safety_margin": 1.1}],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**{"rpm": 10, "tpm": 10, **wrong})


operations = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 900), st.floats(0, 20)),
        st.tuples(st.just("ask"), st.integers(0, 3), st.just(0.0)),
        st.tuples(st.just("give_back"), st.integers(0, 60), st.floats(0, 5)),
        st.tuples(st.just("settle"), st.integers(0, 60), st.floats(0, 5)),
        st.tuples(st.just("declined"), st.integers(0, 60), st.floats(0, 5)),
        st.tuples(st.just("overloaded"), st.integers(0, 60), st.floats(0, 5)),
        st.tuples(st.just("failed"), st.integers(0, 60), st.floats(0, 5)),
        st.tuples(st.just("push_back"), st.integers(0, 40), st.floats(0, 5)),
    ),
    max_size=80,
)


class Books:
    """Does what a script says, and keeps books of its own."""

    def __init__(self, bucket: TokenBucket, charge: str) -> None:
        self.bucket, self.charge = bucket, charge
        self.now, self.n = 0.0, 0
        self.waiting: dict[str, Turn] = {}
        self.flying: dict[str, Turn] = {}
        self.went: dict[str, tuple[float, int]] = {}

    def pass_time(self, pause: float) -> None:
        until = self.now + pause
        while True:
            for turn in self.bucket.serve(self.now):
                assert turn.state == "granted"
                self.flying[turn.id] = self.waiting.pop(turn.id)
                self.went[turn.id] = turn.at, turn.tokens
                self.check_law(turn)
            at = self.bucket.next_at(self.now)
            if at > until:
                break
            self.now = max(at, self.now + 1e-6)
        self.now = max(until, self.now)

    def check_law(self, turn: Turn) -> None:
        """At each admission: what the last minute was charged by then, and this one, fit both limits."""
        recent = [tokens for at, tokens in self.went.values() if self.now - at < WINDOW]
        limits = self.bucket.limits
        assert len(recent) <= limits.rpm
        assert sum(recent) <= limits.tpm or sum(recent) == turn.tokens

    def step(self, what: str, number: int) -> None:
        if what == "ask":
            turn = self.bucket.ask(str(self.n), number, self.now)
            self.waiting[turn.id] = turn
            self.n += 1
        elif what == "push_back":
            self.bucket.push_back(number, self.now)
        elif what == "give_back" and (self.waiting or self.flying):
            turn_id = [*self.waiting, *self.flying][number % (len(self.waiting) + len(self.flying))]
            self.bucket.give_back(turn_id, self.now)
            self.waiting.pop(turn_id, None)
            if self.flying.pop(turn_id, None):
                del self.went[turn_id]
        elif self.flying and what != "give_back":
            self.end(what, list(self.flying)[number % len(self.flying)], number * 10)

    def end(self, what: str, turn_id: str, number: int) -> None:
        turn = self.flying.pop(turn_id)
        if what == "settle":
            used = min(turn.tokens, number)
            self.bucket.settle(turn_id, used, self.now)
            if self.charge == "actual":
                self.went[turn_id] = turn.at, used
        elif what == "declined":
            self.bucket.declined(turn_id, self.now, retry_after=1.0)
            if self.charge == "actual":
                self.went[turn_id] = turn.at, 0
        elif what == "overloaded":
            self.bucket.overloaded(turn_id, self.now)
        else:
            self.bucket.failed(turn_id, self.now)

    def compare(self) -> None:
        """Reserved = in flight + in the window, always."""
        state = self.bucket.statistics(self.now)
        assert (state.waiting, state.unsettled) == (len(self.waiting), len(self.flying))
        inside = [tokens for at, tokens in self.went.values() if at + MINUTE > self.now]
        late = [tokens for at, tokens in self.went.values() if self.now - SLOT - MINUTE <= at <= self.now - MINUTE]
        assert len(inside) <= state.requests <= len(inside) + len(late)
        assert sum(inside) <= state.tokens <= sum(inside) + sum(late)


@settings(max_examples=300, deadline=None)
@given(
    rpm=st.integers(1, 20),
    tpm=st.integers(900, 3000),
    burst=st.integers(1, 25),
    charge=st.sampled_from(["estimate", "actual"]),
    script=operations,
)
def test_no_window_ever_holds_more_than_the_limits_and_the_books_are_right(rpm, tpm, burst, charge, script) -> None:
    """Whatever is asked for, given back, settled, refused and pushed back."""
    books = Books(TokenBucket(Limits(rpm=rpm, tpm=tpm, burst=burst, safety_margin=1.0, charge=charge)), charge)
    for what, number, pause in script:
        books.pass_time(pause)
        books.step(what, number)
        books.compare()
    books.pass_time(7200.0)

    assert books.waiting == {} or books.flying  # nobody waits for ever, unless for calls that never end
