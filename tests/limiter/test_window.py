"""The mirror of the minute by itself."""

from __future__ import annotations

from trouper.runtime._rate_window import SLACK, SLOT, WINDOW, Window


def test_what_shares_a_slot_leaves_when_the_youngest_of_it_is_a_minute_old() -> None:
    window = Window()
    window.add(10.0, 5)
    slot = window.add(10.0 + 0.9 * SLOT, 7)
    assert (slot.requests, slot.tokens) == (2, 12)

    assert window.exit_at == 10.0 + 0.9 * SLOT + WINDOW + SLACK
    window.forget(window.exit_at - 1e-6)
    assert window.requests == 2
    window.forget(window.exit_at)
    assert (window.requests, window.tokens, window.estimates) == (0, 0, 0)


def test_what_comes_later_has_a_slot_of_its_own() -> None:
    window = Window()
    window.add(10.0, 5)
    window.add(10.0 + 2 * SLOT, 7)
    window.forget(10.0 + WINDOW + SLACK)

    assert (window.requests, window.tokens) == (1, 7)
    assert window.left == (1, 5)
    assert window.gone == (2, 12)


def test_a_change_of_what_has_left_changes_nothing() -> None:
    window = Window()
    slot = window.add(10.0, 5)
    window.forget(100.0)
    window.change(slot, 100, 100)

    assert window.tokens == 0


def test_a_slot_knows_what_surely_arrived_before_it() -> None:
    """What went a moment before may arrive behind it."""
    window = Window()
    window.add(10.0, 5)
    window.add(10.2, 7)
    slot = window.add(10.4, 1)

    assert slot.before == (2, 12)
    assert slot.surely == (1, 5)
