"""What the limiter learns from headers, from refusals and from a server that is too slow."""

from __future__ import annotations

import math

import pytest

from trouper.runtime import Limits, ServerLimits, TokenBucket, Turn
from trouper.runtime._concurrency import FREE, Concurrency
from trouper.runtime._rate_lessons import CROWD, DISTRUST, Lessons
from trouper.runtime._rate_pace import SHORT, Pace


def bucket(rpm: int = 600, tpm: int = 60_000, burst: int = 100, margin: float = 1.0, **keys: object) -> TokenBucket:
    return TokenBucket(Limits(rpm=rpm, tpm=tpm, burst=burst, safety_margin=margin, **keys))


def grant(line: TokenBucket, name: str, now: float, tokens: int = 10) -> Turn:
    turn = line.ask(name, tokens, now)
    line.serve(now)
    assert turn.state == "granted", line.statistics(now)
    return turn


def answer(line: TokenBucket, name: str, now: float, *, tokens: int = 10, **said: object) -> None:
    """A call that is answered with these headers."""
    grant(line, name, now, tokens)
    line.settle(name, tokens, now + 0.1, ServerLimits(**said))


# ------------------------------------------------------------------ headers
def test_what_the_server_says_is_left_is_not_exceeded_though_our_own_window_is_empty() -> None:
    """Somebody else has used it."""
    line = bucket()
    answer(line, "a", 0.0, limit_tokens=60_000, remaining_tokens=500)
    grant(line, "small", 0.2, 400)
    turn = line.ask("large", 5000, 0.2)

    assert line.serve(0.2) == []
    assert line.statistics(0.2).blocked == "server"
    assert line.serve(70.0) == [turn]  # after a minute everything may be free


def test_what_went_after_the_judged_request_is_taken_off() -> None:
    line = bucket()
    grant(line, "early", 0.0, 10)
    for i in range(4):
        grant(line, f"later{i}", 1.0, 1000)
    line.settle("early", 10, 1.1, ServerLimits(limit_tokens=60_000, remaining_tokens=5000))
    line.ask("next", 1500, 1.1)

    assert line.serve(1.1) == []  # 5,000 - 4 x 1,000 leaves 1,000 and a trickle


def test_what_was_given_back_is_not_taken_off() -> None:
    line = bucket()
    grant(line, "early", 0.0, 10)
    grant(line, "never sent", 1.0, 4500)
    line.settle("early", 10, 1.1, ServerLimits(limit_tokens=60_000, remaining_tokens=5000))
    line.ask("next", 4000, 1.1)
    assert line.serve(1.1) == []
    line.give_back("never sent", 1.1)

    assert [turn.id for turn in line.serve(1.1)] == ["next"]


def test_older_news_than_what_is_known_changes_nothing() -> None:
    line = bucket()
    grant(line, "slow", 0.0)
    grant(line, "quick", 2.0)
    line.settle("quick", 10, 2.1, ServerLimits(limit_tokens=60_000, remaining_tokens=50_000))
    line.settle("slow", 10, 2.2, ServerLimits(limit_tokens=60_000, remaining_tokens=0))

    grant(line, "next", 2.2, 10_000)


def test_old_news_of_one_limit_is_no_news_though_there_is_new_of_the_other() -> None:
    line = bucket()
    answer(line, "a", 0.0, limit_tokens=60_000, remaining_tokens=0)
    line.push_back(0.0, 0.0)
    now = 61.0
    answer(line, "b", now, limit_requests=600, remaining_requests=500)

    grant(line, "c", now + 0.2, 50_000)


def test_the_servers_own_limit_holds_if_it_is_lower_than_ours_and_not_if_it_is_higher() -> None:
    line = bucket(rpm=600, burst=600)
    answer(line, "a", 0.0, limit_requests=3, remaining_requests=2)
    for name in "bc":
        grant(line, name, 0.5)
    line.ask("d", 10, 0.5)
    assert line.serve(0.5) == []

    line = bucket(rpm=3, burst=600)
    answer(line, "a", 0.0, limit_requests=600, remaining_requests=599)
    for name in "bc":
        grant(line, name, 0.5)
    line.ask("d", 10, 0.5)
    assert line.serve(0.5) == []


def test_headers_of_a_server_that_counts_seconds_are_not_taken_for_a_minute() -> None:
    """Ten requests a second are not ten a minute."""
    line = bucket(rpm=600, burst=600)
    answer(line, "a", 0.0, limit_requests=10, remaining_requests=0, reset_requests=1.0)

    for i in range(20):
        grant(line, f"b{i}", 0.2)


def test_a_daily_limit_is_not_taken_for_a_minutes_but_holds_when_it_is_used_up() -> None:
    line = bucket(rpm=600, burst=600)
    answer(line, "a", 0.0, limit_requests=200, remaining_requests=150, reset_requests=21_600.0)
    for i in range(149):
        grant(line, f"b{i}", 0.2)
    assert line.statistics(0.2).requests == 150  # 200 a minute were not the law: it would be as well
    line.ask("over", 10, 0.3)
    line.ask("over too", 10, 0.3)
    assert len(line.serve(0.3)) <= 1


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"limit_tokens": 0, "remaining_tokens": 100_000},
        {"limit_requests": -5},
        {"remaining_tokens": 10**9, "reset_tokens": -1.0},
        {"reset_requests": math.inf, "remaining_requests": 5},
        {"remaining_requests": 600, "limit_requests": 600, "reset_requests": 0.0},
    ],
)
def test_headers_that_make_no_sense_stop_nobody(said) -> None:
    line = bucket()
    answer(line, "a", 0.0, **said)

    grant(line, "b", 0.5)


# ------------------------------------------------------------------ refusals
def test_a_refusal_shrinks_the_burst_and_not_the_rate() -> None:
    line = bucket(rpm=600, burst=100)
    for i in range(100):
        grant(line, f"a{i}", 0.0)
    for i in range(90):
        line.declined(f"a{i}", 0.1, retry_after=1.0)
    state = line.statistics(0.1)

    assert (state.burst, state.share) == (int(SHORT * 10), 1.0)


def test_the_refusals_of_one_burst_are_one_lesson() -> None:
    line = bucket(rpm=600, burst=8)
    for i in range(8):
        grant(line, f"a{i}", 0.0)
    for i in range(8):
        line.declined(f"a{i}", 0.1, retry_after=1.0)

    assert line.statistics(0.1).burst == 4


def teach(line: TokenBucket, times: int, *, now: float = 0.0, apart: float = 5.0) -> float:
    for i in range(times):
        grant(line, f"taught{now}-{i}", now)
        line.declined(f"taught{now}-{i}", now + 0.1, retry_after=0.1)
        now += apart
    return now


def test_refusals_that_go_on_leave_a_part_of_the_limit_to_somebody_else_and_it_comes_back() -> None:
    line = bucket()
    now = teach(line, 12)
    share = line.statistics(now).share

    assert share < 0.9
    assert line.statistics(now + 20).share > share
    assert line.statistics(now + 300).share == 1.0


def test_what_is_left_to_somebody_else_comes_back_slowly_at_first_unless_the_server_counts_seconds() -> None:
    """Half a minute later the other user is most likely still there; a server of seconds has none."""
    shares = []
    for pause in (5.0, 0.5):
        lessons, pace = Lessons(), Pace(600, 60_000, 1)
        for i in range(3):
            lessons.refused(float(i), i + 0.5, pace, 1, overcharged=False, pause=pause)
        left = lessons.share(2.5)
        shares.append(lessons.share(22.5) - left)
        assert left < 1.0
        assert lessons.share(200.0) == 1.0

    assert shares[0] == pytest.approx(0.022, abs=0.001)
    assert shares[1] == pytest.approx(0.08, abs=0.001)


def test_an_overloaded_server_that_names_a_pause_gets_it_from_everybody() -> None:
    line = bucket()
    grant(line, "a", 0.0)
    line.overloaded("a", 0.1, retry_after=20.0)

    assert line.statistics(0.1).paused_for == 20.0


def test_the_forecast_knows_what_the_server_said() -> None:
    """A limit that is used up for a day: who has three seconds is told at once."""
    line = bucket()
    answer(line, "a", 0.0, remaining_requests=0, reset_requests=1e9)

    assert line.ask("b", 25, 1.1).at > 50.0


def test_a_model_that_has_lost_count_does_not_break_the_arithmetic() -> None:
    line = bucket(charge="actual")
    for i, used in enumerate((10**400, -(10**400))):
        grant(line, f"a{i}", 100.0 * i)
        line.settle(f"a{i}", used, 100.0 * i + 1.0)

    assert line.statistics(101.0).tokens == 0


def test_a_request_that_a_small_share_could_not_hold_goes_when_the_window_is_empty() -> None:
    line = bucket(tpm=10_000)
    now = teach(line, 12) + 70.0
    assert line.statistics(now).share < 1.0

    grant(line, "large", now, 10_000)


def test_a_refusal_that_headers_explain_teaches_nothing() -> None:
    line = bucket(burst=8)
    grant(line, "a", 0.0, 1000)
    said = ServerLimits(limit_tokens=60_000, remaining_tokens=200)
    line.declined("a", 0.1, retry_after=1.0, limits=said)

    assert line.statistics(0.1).burst == 8
    assert line.statistics(0.1).max_unsettled is None


def test_after_refusals_that_headers_explain_a_little_is_kept_free_for_a_while() -> None:
    """Somebody else was quicker than the header."""
    lessons = Lessons()
    for sent in (0.0, 0.0, 2.0, 4.0):
        lessons.crowded(sent, sent + 1.0)  # those that went before the last refusal teach nothing new

    assert lessons.kept_free(5.0) == pytest.approx(3 * CROWD, abs=0.002)
    assert lessons.kept_free(500.0) == 0.0


def test_what_is_kept_free_is_not_used() -> None:
    line = bucket()
    grant(line, "a", 0.0, 100)
    grant(line, "b", 0.0, 100)
    line.declined("a", 0.1, retry_after=0.1, limits=ServerLimits(limit_tokens=60_000, remaining_tokens=50))
    line.settle("b", 100, 0.2, ServerLimits(limit_tokens=60_000, remaining_tokens=2000))
    line.ask("c", 900, 0.3)

    assert line.serve(0.3) == []  # 2,000 are left, and two hundredths of 60,000 are kept free


def test_lessons_are_forgotten_after_a_while() -> None:
    line = bucket(burst=8)
    teach(line, 1)
    assert line.statistics(1.0).burst == 4
    teach(line, 1, now=DISTRUST + 10.0)

    assert line.statistics(DISTRUST + 11.0).burst == 4  # as after the first one, not smaller


def test_auto_charges_estimates_after_it_was_caught_out() -> None:
    """A server whose headers say that there is room, and that charges what was reserved all the same."""
    line = bucket(charge="auto", tpm=10_000)
    for i in range(12):
        grant(line, f"a{i}", float(i), 1000)
        line.settle(f"a{i}", 100, i + 0.5, ServerLimits(limit_tokens=10_000, remaining_tokens=9000))
    grant(line, "b", 12.0, 1000)
    line.declined("b", 12.1, retry_after=1.0)

    assert line.statistics(13.2).tokens == 13_000
    line.ask("c", 1000, 13.2)
    assert line.serve(13.2) == []


# ------------------------------------------------------------------ concurrency
def test_there_is_no_limit_to_parallel_calls_until_something_is_overloaded() -> None:
    line = bucket(rpm=10_000, burst=10_000)
    for i in range(1000):
        grant(line, f"a{i}", 0.0)

    assert line.statistics(0.0).max_unsettled is None


def test_an_overloaded_server_gets_fewer_calls_at_once_and_more_again_as_it_answers() -> None:
    line = bucket(rpm=10_000, burst=10_000)
    for i in range(20):
        grant(line, f"a{i}", 0.0)
    line.overloaded("a0", 1.0)
    for i in range(1, 10):
        line.overloaded(f"a{i}", 1.1)  # the same overload
    assert line.statistics(1.1).max_unsettled == 14
    line.ask("b", 10, 1.1)
    line.serve(1.1)
    for i in range(10, 20):
        line.settle(f"a{i}", 10, 2.0)
    now, n = 2.0, 0
    for _ in range(30):
        now += 1.0
        names = [f"c{n + i}" for i in range(40)]
        n += 40
        for name in names:
            line.ask(name, 10, now)
        for turn in line.serve(now):
            line.settle(turn.id, 10, now)

    assert (line.statistics(now).max_unsettled or math.inf) > 14


def test_the_flag_for_adaptive_concurrency_switches_it_off() -> None:
    line = bucket(adaptive_concurrency=False)
    for i in range(10):
        grant(line, f"a{i}", 0.0)
    line.overloaded("a0", 1.0)
    line.declined("a1", 1.0)

    assert line.statistics(1.0).max_unsettled is None


def test_the_limit_never_falls_below_one_and_ends_when_it_has_grown_enough() -> None:
    limit = Concurrency()
    for i in range(50):
        limit.overloaded(float(i), 1, i + 0.5)
    assert limit.limit == 1.0
    while limit.limit < FREE:
        limit.answered(int(limit.limit))

    assert limit.has_room(10**9)


def test_a_refusal_that_names_a_wait_is_about_the_rate_and_not_about_parallel_calls() -> None:
    line = bucket(burst=20)
    for i in range(10):
        grant(line, f"a{i}", 0.0)
    line.declined("a0", 0.1, retry_after=1.0)
    assert line.statistics(0.1).max_unsettled is None
    grant(line, "b", 2.0)
    line.declined("b", 2.1)

    assert line.statistics(2.1).max_unsettled is not None


# ------------------------------------------------------------------ spacing
def test_tokens_are_spaced_only_after_a_lesson() -> None:
    pace = Pace(600, 6000, 8)
    pace.took(6000, 0.0)
    assert pace.when(0.0) == 0.0
    pace.tighten()

    assert pace.when(0.0) > 50.0


def test_what_was_not_used_is_taken_out_of_the_spacing() -> None:
    pace = Pace(600, 6000, 8)
    pace.tighten()
    pace.took(6000, 0.0)
    pace.gave_back(5900, 0)

    assert pace.when(0.0) < 1.1
