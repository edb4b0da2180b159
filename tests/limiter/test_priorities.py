"""Two lines: whom somebody waits for goes first, and nobody starves."""

from __future__ import annotations

import random

import pytest

from trouper.runtime import Limits, TokenBucket, Turn
from trouper.runtime._rate_queue import FULL_AGE, WEIGHT


def bucket(rpm: int = 600, tpm: int = 10**9, burst: int = 1) -> TokenBucket:
    return TokenBucket(Limits(rpm=rpm, tpm=tpm, burst=burst, safety_margin=1.0))


def served(line: TokenBucket, count: int, now: float = 0.0) -> list[Turn]:
    """The next `count` turns in the order in which they are granted; each is settled at once."""
    turns: list[Turn] = []
    while len(turns) < count:
        for turn in line.serve(now):
            turns.append(turn)
            line.settle(turn.id, turn.tokens, now)
        now = max(line.next_at(now), now + 1e-3)
    return turns


def add(line: TokenBucket, priority: str, count: int, *, now: float = 0.0, tokens: int = 1, start: int = 0) -> None:
    for i in range(start, start + count):
        line.ask(f"{priority}{i}", tokens, now, priority=priority)


def test_interactive_requests_have_the_weight_of_several_background_ones() -> None:
    line = bucket()
    add(line, "background", 100)
    add(line, "interactive", 100)
    turns = served(line, 50)

    interactive = sum(turn.priority == "interactive" for turn in turns)
    assert interactive == pytest.approx(50 * WEIGHT / (WEIGHT + 1), abs=4)


def test_an_interactive_request_does_not_stand_behind_a_heap_of_background_work() -> None:
    line = bucket()
    add(line, "background", 1000)
    served(line, 10)
    add(line, "interactive", 1, now=1.0)
    turns = served(line, 3, now=1.0)

    assert "interactive0" in [turn.id for turn in turns]


def test_even_old_background_work_does_not_stand_in_front_of_interactive_requests() -> None:
    """Age makes it equal, not first: else a heap that has grown old would hold everybody up."""
    line = bucket()
    add(line, "background", 1000)
    add(line, "interactive", 100, now=10 * FULL_AGE)
    turns = served(line, 40, now=10 * FULL_AGE)

    assert sum(turn.priority == "interactive" for turn in turns) == pytest.approx(20, abs=2)


def test_age_raises_the_share_of_background_work() -> None:
    shares = []
    for age in (0.0, FULL_AGE / 2, FULL_AGE):
        line = bucket()
        add(line, "background", 200)
        add(line, "interactive", 200, now=age)
        shares.append(sum(turn.priority == "background" for turn in served(line, 60, now=age)))

    assert shares == sorted(shares)
    assert shares[0] < 16
    assert shares[2] == pytest.approx(30, abs=2)


def test_background_work_is_served_as_long_as_nobody_waits() -> None:
    line = bucket()
    add(line, "background", 20)

    assert [turn.id for turn in served(line, 20)] == [f"background{i}" for i in range(20)]


def test_a_line_that_was_empty_has_saved_up_nothing() -> None:
    """After an hour of background work alone the first interactive ones get their share, and not all of it."""
    line = bucket()
    add(line, "background", 500)
    served(line, 400)
    add(line, "interactive", 200, now=100.0)
    turns = served(line, 50, now=100.0)

    assert sum(turn.priority == "background" for turn in turns) >= 8


def test_shares_are_counted_in_what_is_used_and_not_in_requests() -> None:
    """Large background requests come as much more seldom as they are larger."""
    line = bucket(tpm=60_000, rpm=60_000, burst=1000)
    add(line, "background", 100, tokens=3000)
    add(line, "interactive", 2000, tokens=100)
    turns = served(line, 400)
    tokens = {
        name: sum(turn.tokens for turn in turns if turn.priority == name) for name in ("background", "interactive")
    }

    assert tokens["background"] <= tokens["interactive"]
    assert tokens["background"] > 0


def test_a_large_background_request_is_served_beside_an_endless_stream_of_small_ones() -> None:
    line = bucket(tpm=10_000, rpm=6000, burst=100)
    large = line.ask("large", 9000, 0.0, priority="background")
    now, n = 0.0, 0
    while large.state == "waiting" and now < 600.0:
        while line.waiting < 20:
            n += 1
            line.ask(f"small{n}", 200, now)
        for turn in line.serve(now):
            line.settle(turn.id, turn.tokens, now)
        now = max(line.next_at(now), now + 1e-3)

    assert large.state == "over"
    assert large.at <= 3 * 61.0


def test_withdrawn_turns_leave_the_lines_short_and_the_order_whole() -> None:
    line, chance = bucket(rpm=6000, burst=1), random.Random(5)
    add(line, "interactive", 3000)
    gone = set(chance.sample(range(3000), 2800))
    for i in gone:
        line.give_back(f"interactive{i}", 0.0)

    assert len(line._queue.lanes["interactive"].turns) < 700
    assert [turn.id for turn in served(line, 200)] == [f"interactive{i}" for i in range(3000) if i not in gone]


def test_a_forecast_knows_who_is_ahead() -> None:
    line = bucket(rpm=60)
    add(line, "background", 40)
    interactive = line.ask("i", 1, 0.0)
    background = line.ask("b", 1, 0.0, priority="background")

    assert interactive.at < 5.0
    assert background.at == pytest.approx(41.0, abs=1.5)
