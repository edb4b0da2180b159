"""All figures of the kernel beside what is demanded of them: `python -m tests.benchmarks.kernel`.

Ratios of CPU time against the same thing written by hand on trio, each the median of so many alternating pairs of
short slices, with the 95 % interval of that median. A bound holds when the worse end of the interval does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

import attrs
import trio

from .figures import MEASUREMENTS, PAIRS, QUICK, Measurement, Size, figures
from .interval import Figure

HEADING = f"{'figure':20} {'median':>9} {'95 % interval':>18}   {'demanded':18} verdict"


def line(figure: Figure) -> str:
    """One figure for the table."""
    where = figure.interval
    between = f"[{where.low:.3g}, {where.high:.3g}]"
    return f"{figure.name:20} {where.median:9.3g} {between:>18}   {figure.bound!s:18} {figure.verdict}"


def surroundings() -> str:
    """What it ran on."""
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    text = (
        f"Python {platform.python_version()}, trio {trio.__version__}, {platform.system()} {platform.machine()}, "
        f"{cores} cores, load {load:.1f}"
    )
    if load > cores / 2:
        text += (
            "\nNoisy: other work shares the cores. The ratios stand (both sides of a pair see the same noise), "
            "the microseconds do not."
        )
    return text


def measure(name: str, measurement: Measurement, size: Size) -> list[Figure]:
    """Run one measurement; one that breaks says so and gives no figure."""
    try:
        return figures(measurement, trio.run(measurement.run, size))
    except Exception as error:  # noqa: BLE001 - whatever it is: the others are still measured
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        for missing, bound in measurement.bounds.items():
            print(f"{missing:20} {'':>9} {'':>18}   {bound!s:18} NOT MEASURED: {type(error).__name__}: {error}")
        return []


def record(figure: Figure) -> dict[str, object]:
    """One figure as JSON has it."""
    return {
        "name": figure.name,
        **attrs.asdict(figure.interval),
        "bound": str(figure.bound),
        "verdict": figure.verdict,
        "detail": figure.detail,
        "samples": len(figure.values),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 if every figure holds (or none was judged)."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.kernel", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="alternating pairs a figure (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a try-out in seconds: nothing is judged")
    chosen = parser.parse_args(arguments)
    size = QUICK if chosen.quick else Size(pairs=chosen.pairs)
    before = surroundings()
    print(before)
    print(HEADING)
    found: list[Figure] = []
    broken = False
    for name in chosen.only or MEASUREMENTS:
        measured = measure(name, MEASUREMENTS[name], size)
        broken |= not measured
        for figure in measured:
            print(f"{line(figure)}\n{'':20}   {figure.detail}", flush=True)
        found += measured
    after = surroundings()
    print(after)
    if chosen.json is not None:
        rows = {"before": before, "after": after, "figures": [record(figure) for figure in found]}
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 1 if broken or any(figure.verdict == "DOES NOT HOLD" for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
