"""What a real OTP 25 supervisor did in 400 random scenarios, line by line: the model does it, the kernel does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance import kernel, model
from tests.conformance.otp import compare
from tests.conformance.scenarios import load, load_traces

DATA = Path(__file__).parent.parent / "data" / "otp_traces"
RECORDED = {"open": 220, "long": 180}


@pytest.mark.parametrize("replay", [model.replay, kernel.replay], ids=["model", "kernel"])
@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_scenario_leaves_the_trace_that_otp_left(name, replay) -> None:
    """Restart types, strategies, intensity, failing restarts, auto_shutdown and the calls, as OTP has them."""
    outcomes = list(compare(load(DATA / f"{name}.json"), load_traces(DATA / f"{name}.txt"), replay))

    problems = [problem for problem in outcomes if problem is not None]
    assert len(outcomes) == RECORDED[name]
    assert not problems, f"{len(problems)} of {len(outcomes)} differ; the first: {problems[0]}"
