"""The benches themselves: their statistics are right, and every figure is measured and printed. No time is judged."""

from __future__ import annotations

import gc
import json
import random
import sys
from pathlib import Path

import pytest

from tests.benchmarks import kernel, peers
from tests.benchmarks.checks import CountingBus
from tests.benchmarks.figures import MEASUREMENTS
from tests.benchmarks.interval import Figure, at_least, at_most, median_interval
from tests.benchmarks.slices import alternate
from tests.benchmarks.subjects import server


@pytest.mark.parametrize(
    ("count", "low", "high", "coverage"),
    [(6, 1, 6, 0.96875), (10, 2, 9, 0.978515625), (20, 6, 15, 0.958610535), (100, 40, 61, 0.9647998)],
)
def test_the_interval_of_the_median_is_the_one_in_the_tables(count: int, low: int, high: int, coverage: float) -> None:
    """Tables of order statistics give, for 100 values, the 40th and the 61st, and so on."""
    values = list(range(1, count + 1))
    random.Random(count).shuffle(values)

    found = median_interval(values)

    assert (found.low, found.high) == (low, high)
    assert found.coverage == pytest.approx(coverage)
    assert found.median == (count + 1) / 2


def test_too_few_values_give_the_widest_interval_and_say_how_little_it_covers() -> None:
    assert median_interval([3.0]).coverage == 0
    found = median_interval([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.low, found.high) == (1.0, 5.0)
    assert found.coverage == 0.9375


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    """Skewed values, as slices are: the interval must hold the true median in about 95 of 100 runs."""
    draw = random.Random(7)
    true = 2**0.5  # the median of 1/sqrt(u), a distribution without a variance
    runs = [median_interval([(1 - draw.random()) ** -0.5 for _ in range(40)]) for _ in range(2_000)]

    held = sum(run.low <= true <= run.high for run in runs) / len(runs)

    assert held == pytest.approx(runs[0].coverage, abs=0.015)


def figure(values: list[float], *, needed: int = 6, least: bool = True) -> Figure:
    bound = at_least(2.0) if least else at_most(2.0)
    return Figure(name="f", bound=bound, values=tuple(values), needed=needed)


def test_a_bound_holds_only_if_the_worse_end_of_the_interval_does() -> None:
    assert figure([2.0, 2.1, 2.2, 2.3, 2.4, 9.0]).verdict == "HOLDS"
    assert figure([1.9, 2.1, 2.2, 2.3, 2.4, 9.0]).verdict == "DOES NOT HOLD"
    assert figure([1.0, 1.1, 1.2, 1.3, 1.4, 2.0], least=False).verdict == "HOLDS"
    assert figure([1.0, 1.1, 1.2, 1.3, 1.4, 2.1], least=False).verdict == "DOES NOT HOLD"


def test_too_few_values_are_not_judged() -> None:
    assert figure([9.0, 9.0]).verdict == "not judged (2 of 6 samples)"
    assert figure([9.0], needed=1).verdict == "HOLDS"


async def test_slices_alternate_strictly_and_the_one_that_begins_changes() -> None:
    done: list[tuple[str, bool]] = []

    def way(name: str, cost: float):
        async def run() -> float:
            done.append((name, gc.isenabled()))
            return cost

        return run

    rows = await alternate(way("a", 1.0), way("b", 2.0), rounds=4)

    assert rows == [(1.0, 2.0)] * 4
    measured = done[-8:]
    assert "".join(name for name, _ in measured) == "baabbaab"[:8]
    assert not any(collected for _, collected in measured)
    assert gc.isenabled()


def test_every_figure_is_measured_and_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--quick` goes through all of them; what is a count is judged, what is a time is not."""
    file = tmp_path / "figures.json"

    code = kernel.main(["--quick", "--json", str(file)])

    printed = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(file.read_text(encoding="utf-8"))["figures"]}
    assert "NOT MEASURED" not in printed
    assert code == 0
    assert list(rows) == [name for each in MEASUREMENTS.values() for name in each.bounds]
    assert all(name in printed and str(row["bound"]) in printed for name, row in rows.items())
    assert {row["verdict"] for name, row in rows.items() if name != "lost_at_a_crash"} <= {
        f"not judged ({row['samples']} of {needed} samples)" for row in rows.values() for needed in (6, 40, 200)
    }
    assert rows["lost_at_a_crash"]["median"] == 0
    assert rows["lost_at_a_crash"]["verdict"] == "HOLDS"


async def test_the_counter_of_checks_sees_a_check() -> None:
    """An ask makes none; if the counter were blind it would say so too. The end of an actor makes some."""
    async with server() as ref:
        ref._cell.system.event_bus.__class__ = CountingBus
        before = CountingBus.looked
        ref.stop()
        await ref.wait_stopped()

        assert CountingBus.looked > before


def test_a_measurement_that_breaks_is_said_and_fails_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_size: object) -> dict[str, object]:
        raise LookupError("no such thing")

    monkeypatch.setitem(kernel.MEASUREMENTS, "ask", kernel.Measurement(bounds={"ask": at_least(1.25)}, run=broken))

    assert kernel.main(["--quick", "--only", "ask"]) == 1
    assert "NOT MEASURED: LookupError: no such thing" in capsys.readouterr().out


@pytest.mark.io
def test_a_library_that_is_not_installed_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With a Python that sees no installed package: each library is named with the reason, and the command fails."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n', encoding="utf-8")
    bare.chmod(0o700)

    assert peers.main(["--pairs", "1", "--python", str(bare), "--only", "triotp", "pykka"]) == 1

    printed = capsys.readouterr().out
    for library in ("triotp", "pykka"):
        assert f"ask_{library}" in printed
        assert f"No module named '{library}'" in printed


@pytest.mark.io
def test_a_library_is_measured_in_a_process_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Trouper in the place of the other library, so that nothing must be installed."""
    monkeypatch.setitem(peers.PEERS, "trouper", ("", at_least(0.0), 50))

    assert peers.main(["--pairs", "2", "--python", sys.executable, "--only", "trouper"]) == 0
    assert "not judged (2 of 200 samples)" in capsys.readouterr().out
