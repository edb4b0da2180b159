"""All figures of the executor beside what is demanded of them: `python -m tests.benchmarks.plans`.

CPU time of a step that does nothing, and the makespan of steps that sleep, against the same plan written by hand on
trio, in turn in one process, each with the 95 % interval of its median. A bound holds when the interval's worse end
does. `--peers` measures other engines beside Trouper instead, each in a process of its own; see `plan_peers`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .figures import PAIRS
from .interval import Figure
from .kernel import HEADING, line, measure, record, surroundings
from .plan_figures import PLAN_MEASUREMENTS, QUICK, PlanSize


def measured(names: list[str], size: PlanSize) -> tuple[list[Figure], bool]:
    """The figures, printed as they come; and whether a measurement broke."""
    found: list[Figure] = []
    broken = False
    for name in names:
        figures = measure(name, PLAN_MEASUREMENTS[name], size)
        broken |= not figures
        for figure in figures:
            print(f"{line(figure)}\n{'':20}   {figure.detail}", flush=True)
        found += figures
    return found, broken


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 if every figure holds (or none was judged)."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plans", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="alternating pairs a figure (default %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=", ".join(PLAN_MEASUREMENTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a try-out in seconds: nothing is judged")
    parser.add_argument("--peers", action="store_true", help="other engines beside Trouper, installed for the purpose")
    parser.add_argument("--base", metavar="PATH", help="the Python to make their environment with")
    parser.add_argument("--python", metavar="PATH", help="use this one, with what is installed there")
    chosen = parser.parse_args(arguments)
    before = surroundings()
    if chosen.peers:
        from .plan_peers import compared

        found, broken = compared(chosen.only, base=chosen.base, python=chosen.python, quick=chosen.quick)
    else:
        unknown = set(chosen.only or ()) - set(PLAN_MEASUREMENTS)
        if unknown:
            parser.error(f"no such figures: {', '.join(sorted(unknown))}; there are {', '.join(PLAN_MEASUREMENTS)}")
        print(before)
        print(HEADING)
        size = QUICK if chosen.quick else PlanSize(pairs=chosen.pairs)
        found, broken = measured(chosen.only or list(PLAN_MEASUREMENTS), size)
    after = surroundings()
    print(after)
    if chosen.json is not None:
        rows = {"before": before, "after": after, "figures": [record(figure) for figure in found]}
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 1 if broken or any(figure.verdict == "DOES NOT HOLD" for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
