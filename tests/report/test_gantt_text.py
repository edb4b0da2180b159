"""A report as text: it fits, it is honest about what it leaves out, and it can be read without a colour."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.made_runs import graphs, outcome_of, scheduled, step
from trouper.actors.outcome import ErrorInfo, StepStatus
from trouper.actors.run_advice import Scheduling
from trouper.actors.run_report import report_of
from trouper.adapters.gantt_text import MOST_ROWS, NARROWEST, report_text


def made(needs, times, slots: int = 5, **options) -> str:
    return report_text(report_of(outcome_of(needs, times), Scheduling(max_parallel_steps=slots)), **options)


def bar(text: str, label: str) -> str:
    [line] = [line for line in text.splitlines() if f" {label} work " in line]
    return line.partition("|")[2].partition("|")[0]


def test_a_small_run_looks_like_this():
    needs = {1: [], 2: [], 3: [1], 4: [2, 3]}
    times = {1: (0, 0, 1), 2: (0, 1, 3), 3: (1, 3, 3.5), 4: (3.5, 3.5, 5)}

    assert made(needs, times, slots=1, width=70) == (
        """\
step      0 s                    2.50 s               5.00 s
* 1 work |==========                                        |   1.00 s
* 2 work |..........====================                    |   2.00 s
* 3 work |          ....................=====               |  0.500 s
* 4 work |                                   ===============|   1.50 s
          = on the critical path   # beside it   . ready, but waiting
critical path: 1 -slot-> 2 -slot-> 3 -> 4
  5.00 s of 5.00 s; the longest chain of steps takes 3.50 s
waiting         all steps   cost the run
  dependencies     4.50 s
  slots            3.00 s         1.50 s
would have helped: performance.parallel_execution.max_parallel_steps: 2 (-1.50 s, 30%)"""
    )


def test_what_runs_side_by_side_stands_side_by_side_and_only_the_path_is_marked():
    text = made({1: [], 2: []}, {1: (0, 0, 1), 2: (0, 0, 4)})

    assert set(bar(text, "1")) == {"#", " "}
    assert set(bar(text, "2")) == {"="}
    assert len(bar(text, "1").rstrip()) == pytest.approx(len(bar(text, "2")) / 4, abs=1)


def test_lines_are_in_the_order_in_which_the_steps_began_and_in_the_plans_where_that_cannot_be_seen():
    needs: dict[int, list[int]] = {1: [], 2: [], 3: [], 4: []}
    times = {1: (0.0, 5.0, 6.0), 2: (0.0, 0.002, 4.0), 3: (0.0, 0.001, 4.0), 4: (0.0, 3.0, 10.0)}

    lines = [line.partition(" work")[0].strip("* ") for line in made(needs, times).splitlines() if "|" in line]

    assert lines == ["2", "3", "4", "1"]


def test_a_step_that_took_no_time_is_seen():
    assert bar(made({1: [], 2: []}, {1: (0, 0, 0), 2: (0, 0, 9)}), "1").strip() == "#"


def test_a_long_plan_is_folded_and_says_how_much_of_it():
    needs: dict[int, list[int]] = {i: [] for i in range(1000)}
    times = {i: (0.0, i / 10, i / 10 + 0.1) for i in needs}
    outcome = outcome_of(needs, times)
    failed = step(500, 0.0, 50.0, 50.1, status=StepStatus.FAILED, error=ErrorInfo("timeout", "too slow"))
    outcome = attrs.evolve(outcome, steps={**outcome.steps, 500: failed, 998: step(998, status=StepStatus.SKIPPED)})

    lines = report_text(report_of(outcome, Scheduling(max_parallel_steps=1)), most_rows=48).splitlines()

    assert len(lines) < 48 + 15
    assert sum("|" in line for line in lines) == 48
    assert "... 952 more steps: 951 ok, 1 skipped" in lines
    assert any(" 500 work" in line and "failed: timeout" in line for line in lines)
    assert any(line.startswith("critical path: ") and "more)" in line for line in lines)


def test_a_step_that_is_not_ok_says_so_in_its_line():
    steps = {
        1: step(1, 0.0, 0.0, 1.0, status=StepStatus.FAILED, error=ErrorInfo("timeout", "too slow")),
        2: step(2, status=StepStatus.SKIPPED, reason="dependency", cause=1),
        3: step(3, 0.0, 0.0, 1.0, fallback=True),
        4: step(4, status=StepStatus.WAITING, reason="approval"),
    }
    outcome = attrs.evolve(outcome_of({1: [], 2: [1], 3: [], 4: []}, {}), steps=steps)

    ends = {
        line.split()[-3 if "dependency" in line else -2 if ":" in line else -1]
        for line in report_text(report_of(outcome)).splitlines()
        if "|" in line
    }

    assert ends == {"failed:", "skipped:", "fallback", "waiting:"}


def test_a_run_in_which_no_step_ran_prints_nothing():
    skipped = attrs.evolve(outcome_of({1: []}, {}), steps={1: step(1, status=StepStatus.SKIPPED, reason="executor")})

    assert made({1: []}, {}) == ""
    assert report_text(report_of(skipped)) == ""


@given(graphs(), st.integers(1, 3), st.integers(0, 200), st.integers(1, 12))
def test_the_gantt_keeps_to_its_width_and_to_its_rows(graph, slots, width, rows):
    needs, seconds = graph
    needs = {i * 10**6: [d * 10**6 for d in ds] for i, ds in needs.items()}
    seconds = {i * 10**6: s for i, s in seconds.items()}

    lines = made(needs, scheduled(needs, seconds, slots), slots, width=width, most_rows=rows).splitlines()

    gantt = [line for line in lines if "|" in line]
    assert len(gantt) == min(rows, len(needs), MOST_ROWS)
    assert all(len(line) <= max(width, NARROWEST) for line in gantt)
    assert all(line.isascii() and line.isprintable() for line in lines)
