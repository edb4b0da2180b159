"""Rankings are put together by place; nobody's scores are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.actors.passages import snippet_of
from trouper.actors.ranking import fused

RANKING = st.lists(st.integers(0, 20), unique=True, max_size=12)


def test_what_both_name_comes_before_what_one_names() -> None:
    assert [n for n, _ in fused([1, 2, 3], [4, 3, 5])] == [3, 1, 4, 2, 5]


def test_the_first_place_everywhere_is_worth_one() -> None:
    assert fused([7, 8], [7]) == [(7, pytest.approx(1.0)), (8, pytest.approx(61 / 62 / 2))]
    assert fused([], []) == []


@given(RANKING, RANKING)
def test_every_id_once_best_first_and_no_worse_for_a_better_place(one: list[int], two: list[int]) -> None:
    found = fused(one, two)

    assert sorted(n for n, _ in found) == sorted({*one, *two})
    assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)
    assert all(0 < s <= 1 + 1e-9 for _, s in found)
    places = {n: (one.index(n) if n in one else 99, two.index(n) if n in two else 99) for n, _ in found}
    order = [n for n, _ in found]
    for a in order:
        for b in order:
            if all(x <= y for x, y in zip(places[a], places[b], strict=True)) and places[a] != places[b]:
                assert order.index(a) < order.index(b)


def test_a_snippet_is_where_the_words_are() -> None:
    text = "nothing here " * 60 + "the backup runs every night " + "and nothing there " * 60

    found = snippet_of(text, "when does the backup run at night?")

    assert "the backup runs every night" in found
    assert found.startswith("…")
    assert found.endswith("…")
    assert len(found) <= 240


@given(st.text(max_size=600), st.text(max_size=40))
def test_a_snippet_is_bounded_and_on_one_line(text: str, query: str) -> None:
    found = snippet_of(text, query)

    assert len(found) <= 240
    assert "\n" not in found
    assert found.strip("… ") in " ".join(text.split())
