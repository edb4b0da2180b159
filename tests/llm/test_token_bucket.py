"""The window law of the rate limit, in virtual time and without any."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trouper.runtime import BudgetExceeded, Lease, Limits, TokenBucket
from trouper.runtime._bucket import MAX_PUSH_BACK, WINDOW

LIMITS = Limits(rpm=60, tpm=6000, burst=10, safety_margin=1.0)


def worst_window(leases: list[Lease], length: float = WINDOW) -> tuple[int, int]:
    """Most requests and most tokens that any half-open window of `length` seconds holds."""
    ordered = sorted(leases, key=lambda lease: lease.at)
    requests = tokens = 0
    for i, first in enumerate(ordered):
        inside = [lease for lease in ordered[i:] if lease.at - first.at < length]
        requests = max(requests, len(inside))
        tokens = max(tokens, sum(lease.tokens for lease in inside))
    return requests, tokens


def test_the_first_burst_goes_at_once_and_the_next_request_is_paced() -> None:
    bucket = TokenBucket(LIMITS)

    at = [bucket.reserve(f"r{i}", 10, now=100.0).at for i in range(11)]

    assert at[:10] == [100.0] * 10
    assert at[10] == pytest.approx(110.0, abs=1e-3)


def test_a_minute_holds_the_limit_and_not_the_limit_plus_the_burst() -> None:
    """The fault of a bucket that refills: its first minute holds capacity and refill together."""
    bucket = TokenBucket(LIMITS)

    leases = [bucket.reserve(f"r{i}", 1, now=0.0) for i in range(400)]

    assert worst_window(leases) == (60, 60)
    assert leases[-1].at == pytest.approx(390.0, abs=1.0)  # and nothing is wasted: 10 at once, then 60 a minute


def test_a_burst_that_does_not_divide_the_limit_does_not_exceed_it() -> None:
    """Two each 40 s would be four in a minute of three."""
    bucket = TokenBucket(Limits(rpm=3, tpm=1000, burst=2, safety_margin=1.0))

    leases = [bucket.reserve(f"r{i}", 1, now=0.0) for i in range(30)]

    assert worst_window(leases)[0] == 3


def test_the_safety_margin_is_taken_from_both_limits() -> None:
    limits = Limits(rpm=100, tpm=1000, safety_margin=0.9)

    assert (limits.safe_rpm, limits.safe_tpm) == (90, 900)


def test_a_request_larger_than_a_minute_is_an_error_that_names_the_limit() -> None:
    bucket = TokenBucket(Limits(rpm=60, tpm=1000, safety_margin=0.9))

    with pytest.raises(BudgetExceeded, match=r"901 tokens .* 900 tokens a minute \(tpm_limit 1,000"):
        bucket.reserve("large", 901, now=0.0)
    assert bucket.statistics(0.0).requests == 0


def test_a_large_request_is_not_overtaken_by_small_ones() -> None:
    bucket = TokenBucket(LIMITS)
    bucket.reserve("first", 5000, now=0.0)

    large = bucket.reserve("large", 4000, now=1.0)
    small = [bucket.reserve(f"small{i}", 1, now=2.0) for i in range(5)]

    assert large.at == pytest.approx(60.0, abs=1e-3)
    assert all(lease.at >= large.at for lease in small)


def test_given_back_leases_leave_nothing_behind() -> None:
    """A storm of cancelled callers must not push the next one into the future."""
    bucket = TokenBucket(LIMITS)
    for i in range(1000):
        bucket.reserve(f"r{i}", 500, now=5.0)
    for i in range(1000):
        bucket.give_back(f"r{i}", now=5.0)

    assert bucket.reserve("next", 500, now=5.0).at == 5.0
    assert bucket.statistics(5.0).waiting == 0


def test_giving_back_twice_or_an_unknown_lease_changes_nothing() -> None:
    bucket = TokenBucket(LIMITS)
    bucket.reserve("a", 100, now=0.0)
    bucket.reserve("b", 100, now=0.0)
    bucket.give_back("a", now=0.0)
    bucket.give_back("a", now=0.0)
    bucket.give_back("nobody", now=0.0)

    assert bucket.statistics(0.0).tokens == 100


def test_asking_twice_for_the_same_lease_reserves_once() -> None:
    bucket = TokenBucket(LIMITS)

    assert bucket.reserve("a", 100, now=0.0) == bucket.reserve("a", 100, now=3.0)
    assert bucket.statistics(3.0).requests == 1


@pytest.mark.parametrize(("charge", "expected"), [("estimate", 1000), ("actual", 50)])
def test_a_settled_lease_is_charged_by_the_providers_policy(charge: str, expected: int) -> None:
    bucket = TokenBucket(Limits(rpm=60, tpm=6000, safety_margin=1.0, charge=charge))
    bucket.reserve("a", 1000, now=0.0)
    bucket.settle("a", 50, now=1.0)

    assert bucket.statistics(1.0).tokens == expected
    assert bucket.statistics(1.0).unsettled == 0


@pytest.mark.parametrize("charge", ["estimate", "actual"])
def test_more_than_was_reserved_is_always_charged(charge: str) -> None:
    bucket = TokenBucket(Limits(rpm=60, tpm=1000, safety_margin=1.0, charge=charge))
    bucket.reserve("a", 100, now=0.0)
    bucket.reserve("b", 0, now=0.0)
    bucket.settle("a", 950, now=1.0)

    assert bucket.reserve("c", 100, now=2.0).at == pytest.approx(60.0, abs=1e-3)


def test_a_push_back_moves_those_who_wait_and_keeps_their_order() -> None:
    bucket = TokenBucket(LIMITS)
    gone = [bucket.reserve(f"gone{i}", 1, now=0.0) for i in range(10)]
    waiting = [bucket.reserve(f"waiting{i}", 1, now=0.0) for i in range(20)]

    bucket.retry_after(25.0, now=1.0)

    moved = [bucket.lease(lease.id) for lease in waiting]
    assert [bucket.lease(lease.id) for lease in gone] == gone
    assert moved[0].at == 26.0
    assert [lease.at for lease in moved] == sorted(lease.at for lease in moved)
    assert worst_window(gone + moved, WINDOW * 10 / 60) == (10, 10)
    assert bucket.reserve("later", 1, now=2.0).at >= moved[-1].at


def test_a_shorter_push_back_does_not_undo_a_longer_one() -> None:
    bucket = TokenBucket(LIMITS)
    bucket.retry_after(30.0, now=0.0)
    bucket.retry_after(1.0, now=0.0)

    assert bucket.reserve("a", 1, now=0.0).at == 30.0


@pytest.mark.parametrize("seconds", [1e9, math.inf])
def test_no_server_can_stop_everything_for_ever(seconds: float) -> None:
    bucket = TokenBucket(LIMITS)
    bucket.retry_after(seconds, now=0.0)

    assert bucket.reserve("a", 1, now=0.0).at == MAX_PUSH_BACK


def test_the_log_forgets_what_no_window_can_hold() -> None:
    bucket = TokenBucket(LIMITS)
    for minute in range(50):
        for i in range(40):
            bucket.reserve(f"{minute}-{i}", 10, now=minute * 60.0)
    bucket.statistics(now=10_000.0)

    assert [len(log) for log in (bucket._at, bucket._tokens, bucket._totals, bucket._number_of)] == [0] * 4


@pytest.mark.parametrize(
    "wrong",
    [{"rpm": 0}, {"rpm": True}, {"tpm": -1}, {"burst": 0}, {"safety_margin": 0.0}, {"safety_margin": 1.1}],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**{"rpm": 10, "tpm": 10, **wrong})


operations = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 900), st.floats(0, 20)),
        st.tuples(st.just("reserve"), st.integers(0, 3), st.just(0.0)),
        st.tuples(st.just("give_back"), st.integers(0, 60), st.floats(0, 5)),
        st.tuples(st.just("settle"), st.integers(0, 60), st.floats(0, 5)),
        st.tuples(st.just("retry_after"), st.integers(0, 40), st.floats(0, 5)),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(
    rpm=st.integers(1, 20),
    tpm=st.integers(900, 3000),
    burst=st.integers(1, 25),
    charge=st.sampled_from(["estimate", "actual"]),
    script=operations,
)
def test_no_window_ever_holds_more_than_the_limits(rpm, tpm, burst, charge, script) -> None:
    """Whatever is reserved, given back, settled and pushed back: 60 s never hold more, and order is kept."""
    bucket = TokenBucket(Limits(rpm=rpm, tpm=tpm, burst=burst, safety_margin=1.0, charge=charge))
    now, kept, n = 0.0, {}, 0
    sent: dict[str, Lease] = {}
    for what, number, pause in script:
        now += pause
        for lease_id in list(kept):  # whoever's turn has come has gone, with what it had reserved
            lease = bucket.lease(lease_id)
            if lease.at <= now:
                sent[lease_id] = lease
                del kept[lease_id]
        if what == "reserve":
            lease = bucket.reserve(str(n), number, now)
            kept[str(n)] = lease
            n += 1
        elif what == "retry_after":
            bucket.retry_after(number, now)
        elif what == "give_back" and kept:
            lease_id = list(kept)[number % len(kept)]
            bucket.give_back(lease_id, now)
            del kept[lease_id]
        elif what == "settle" and sent:
            lease_id = list(sent)[number % len(sent)]
            used = min(sent[lease_id].tokens, number * 10)
            bucket.settle(lease_id, used, now)
            if charge == "actual":
                sent[lease_id] = Lease(lease_id, sent[lease_id].at, used)
        waiting = [bucket.lease(lease_id).at for lease_id in kept]
        assert waiting == sorted(waiting)
    everything = [*sent.values(), *(bucket.lease(lease_id) for lease_id in kept)]

    requests, tokens = worst_window(everything)
    assert requests <= rpm
    if charge == "estimate":  # with `actual` a later, smaller charge makes earlier sums meaningless
        assert tokens <= tpm
    assert worst_window(everything, WINDOW * min(burst, rpm) / rpm)[0] <= min(burst, rpm)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 600), min_size=1, max_size=120),
    gaps=st.lists(st.floats(0, 3), min_size=120, max_size=120),
)
def test_with_actual_charges_no_admission_sees_a_full_window(sizes, gaps) -> None:
    """At each admission: what the last 60 s were charged by then, and the new request, fit the limit."""
    bucket = TokenBucket(Limits(rpm=1000, tpm=1200, burst=1000, safety_margin=1.0, charge="actual"))
    now, log = 0.0, []
    for i, (size, gap) in enumerate(zip(sizes, gaps, strict=False)):
        lease = bucket.reserve(str(i), size, now)
        charged = sum(tokens for at, tokens in log if lease.at - at < WINDOW)
        assert charged + size <= 1200
        bucket.settle(str(i), size // 2, max(now, lease.at))
        log.append((lease.at, size // 2))
        now = max(now, lease.at) + gap
