"""Whatever comes in, a valid plan or one typed error comes out: the start of the fuzz run, and all of it."""

from __future__ import annotations

import json

import pytest

from tests.plans import fuzz
from tests.plans.fuzz_cases import Cases
from trouper.runtime import PlanStream, parse_plan

QUICK = 2000
MILLION = 1_000_000


@pytest.fixture(scope="module")
def tally() -> fuzz.Tally:
    return fuzz.run(0, range(QUICK))


def test_random_plans_raise_nothing_untyped(tally: fuzz.Tally) -> None:
    """Parsed, streamed, written out and read back, resolved: every case ends as it should."""
    assert tally.failed == []
    assert tally.seen.total() == QUICK


def test_the_random_plans_are_of_every_kind(tally: fuzz.Tally) -> None:
    """A fuzz run without valid plans, or without some mistake, would show nothing about them."""
    assert {name for name, count in tally.seen.items() if count >= 5} >= {
        *(f"{kind}: a plan" for kind in ("sample", "steps", "step text", "text", "bytes")),
        *(f"{kind}: no plan" for kind in ("sample", "steps", "step text", "text", "bytes", "json")),
    }
    assert tally.problems.keys() == {
        *("cycle", "self_reference", "dangling_dependency", "duplicate_id", "missing_id", "missing_action"),
        *("wrong_type", "empty_plan", "invalid_json", "duplicate_key"),
    }


def test_a_case_can_be_made_again_by_its_number() -> None:
    one, other = Cases(3), Cases(3)
    other.case(7)

    assert [one.case(n) for n in range(40, 60)] == [other.case(n) for n in range(40, 60)]
    assert fuzz.main(["--seed", "3", "--only", "7"]) == 0


def test_an_untyped_error_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: PlanStream, chunk: str) -> None:
        raise KeyError(chunk)

    monkeypatch.setattr(PlanStream, "feed", crash)
    tally = fuzz.run(0, range(20))

    assert tally.failed
    assert "KeyError" in tally.failed[0]
    assert "python -m tests.plans.fuzz --seed 0 --only " in tally.failed[0]


def test_a_step_that_the_whole_plan_does_not_have_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = parse_plan([{"id": 77, "action": "x"}]).steps
    monkeypatch.setattr(PlanStream, "feed", lambda self, chunk: (self._text.write(chunk), steps)[1])

    with pytest.raises(AssertionError):
        fuzz.judge(Cases(0), json.dumps([{"id": 1, "action": "a"}]))


@pytest.mark.slow
def test_a_million_random_plans_raise_nothing_untyped() -> None:
    """The whole run, as `python -m tests.plans.fuzz` does it."""
    assert fuzz.main(["--cases", str(MILLION), "--jobs", "2"]) == 0
