"""What a check says: what was compared, what does not agree, and how sure that is."""

import pytest

from trouper.actors.tool import Checked


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(None, None, None), (0.5, None, 0.5), (None, 0.5, 0.5), (0.5, 0.25, 0.25), (0.0, 1.0, 0.0)],
)
def test_two_checks_together_are_as_sure_as_the_less_sure_one(first, second, both):
    together = Checked((), ("a",), confidence=first) + Checked(("p",), ("b",), confidence=second)

    assert together == Checked(("p",), ("a", "b"), confidence=both)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_confidence_outside_its_range_is_refused(confidence):
    with pytest.raises(ValueError, match=r"confidence=.* must be from 0 to 1, or None"):
        Checked(confidence=confidence)
