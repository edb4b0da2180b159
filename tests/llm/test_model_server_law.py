"""What the model server lets in: each law, as data against brute force."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.adapters.model_server_law import LAWS, LawKind, RateBook, RateLaw, duration

requests = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 60)), min_size=1, max_size=60)


def admitted(law: RateLaw, asked: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """What of `asked` (seconds since the last one, tokens) is let in: when, and how much."""
    book, now, found = RateBook(law), 0.0, []
    for pause, tokens in asked:
        now += pause
        if book.admit(now, tokens).admitted:
            found.append((now, tokens))
    return found


@given(asked=requests)
def test_sliding_never_holds_more_than_the_limits_in_any_60_s(asked: list[tuple[float, int]]) -> None:
    found = admitted(RateLaw(rpm=7, tpm=100, kind="sliding"), asked)

    for at, _ in found:
        window = [tokens for when, tokens in found if at - 60 < when <= at]
        assert len(window) <= 7
        assert sum(window) <= 100


@given(asked=requests)
def test_a_bucket_never_gives_more_than_it_holds_and_gets(asked: list[tuple[float, int]]) -> None:
    found = admitted(RateLaw(rpm=6, tpm=120, kind="bucket"), asked)

    for i, (first, _) in enumerate(found):
        for j in range(i, len(found)):
            seconds = found[j][0] - first
            assert j - i + 1 <= 6 + 0.1 * seconds + 1e-6
            assert sum(tokens for _, tokens in found[i : j + 1]) <= 120 + 2 * seconds + 1e-6


@given(asked=requests)
def test_fixed_counts_each_minute_by_itself(asked: list[tuple[float, int]]) -> None:
    found = admitted(RateLaw(rpm=5, tpm=90, kind="fixed"), asked)

    for minute in {math.floor(at / 60) for at, _ in found}:
        within = [tokens for at, tokens in found if math.floor(at / 60) == minute]
        assert len(within) <= 5
        assert sum(within) <= 90


def test_second_lets_one_a_second_of_60_a_minute() -> None:
    book = RateBook(RateLaw(rpm=60, kind="second"))

    assert [book.admit(at, 1).admitted for at in (0.0, 0.5, 1.0, 1.5, 2.0, 2.0)] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("kind", LAWS)
@given(asked=requests)
def test_whoever_waits_as_long_as_it_was_told_is_let_in_and_not_before(
    kind: LawKind, asked: list[tuple[float, int]]
) -> None:
    law = RateLaw(rpm=6, tpm=120, kind=kind)
    book, now = RateBook(law), 0.0
    for pause, tokens in asked:
        now += pause
        admission = book.admit(now, tokens)
        if not admission.admitted:
            wait = admission.retry_after
            if wait > 0.01:
                assert not book.admit(now + wait - 0.01, tokens).admitted
            now += wait
            assert book.admit(now, tokens).admitted


@pytest.mark.parametrize("kind", LAWS)
def test_what_is_larger_than_the_limit_never_gets_in(kind: LawKind) -> None:
    admission = RateBook(RateLaw(tpm=100, kind=kind)).admit(0.0, 101)

    assert (admission.admitted, admission.retry_after) == (False, math.inf)


@pytest.mark.parametrize(("refused_count", "after"), [(False, True), (True, False)])
def test_refused_requests_count_where_the_law_says_so(refused_count: bool, after: bool) -> None:
    book = RateBook(RateLaw(rpm=1, kind="sliding", refused_count=refused_count))
    book.admit(0.0, 1)
    book.admit(30.0, 1)

    assert book.admit(61.0, 1).admitted is after


def test_an_estimate_is_charged_for_good_and_actual_usage_when_it_is_known() -> None:
    estimate, actual = RateLaw(tpm=100, charge="estimate"), RateLaw(tpm=100, charge="actual")
    assert [law.first_charge(30, 80) for law in (estimate, actual)] == [80, 30]

    books = [RateBook(estimate), RateBook(actual)]
    for book, first in zip(books, (80, 30), strict=True):
        book.admit(0.0, first)
        book.add(1.0, 50)
    assert [book.headers(1.0)["x-ratelimit-remaining-tokens"] for book in books] == ["20", "20"]


def test_the_headers_say_limit_rest_and_time_to_the_reset() -> None:
    book = RateBook(RateLaw(rpm=10, tpm=600, kind="bucket"))
    told = book.admit(0.0, 60).headers

    assert told == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "6s",
        "x-ratelimit-limit-tokens": "600",
        "x-ratelimit-remaining-tokens": "540",
        "x-ratelimit-reset-tokens": "6s",
    }
    assert RateBook(RateLaw()).headers(0.0) == {}


def test_durations_are_written_as_servers_write_them() -> None:
    assert [duration(s) for s in (0.0, 0.12, 1.0, 1.5, 60.0, 360.0, 61.25)] == [
        "0ms",
        "120ms",
        "1s",
        "1.5s",
        "1m0s",
        "6m0s",
        "1m1.25s",
    ]


def test_a_burst_is_let_in_up_to_the_limit_and_its_end_is_told() -> None:
    """The same burst under the four laws: 120 a minute, so 2 a second."""
    books = {kind: RateBook(RateLaw(rpm=120, kind=kind)) for kind in LAWS}
    counts = {kind: sum(book.admit(0.0, 0).admitted for _ in range(130)) for kind, book in books.items()}
    assert counts == {"sliding": 120, "bucket": 120, "fixed": 120, "second": 2}
    waits = [books[kind].admit(0.0, 0).retry_after for kind in LAWS]
    assert waits == pytest.approx([60.0, 0.5, 60.0, 0.5], abs=1e-6)


@pytest.mark.parametrize("wrong", [{"rpm": 0}, {"tpm": -1}, {"rpm": True}, {"rpm": 1.5}, {"kind": "hourly"}])
def test_a_law_that_is_none_is_refused_when_it_is_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RateLaw(**wrong)
