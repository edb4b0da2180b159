"""Copy measured figures into the page on speed: `python -m tests.docs.speed FILE.json...`.

The files are what `python -m tests.benchmarks.kernel --json FILE`, `python -m tests.benchmarks.peers --json FILE` and
`python -m tests.benchmarks.plans [--peers] --json FILE` write. Rows keep their first two columns, what is measured in
words; the others are the run's.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import MEASUREMENTS
from tests.benchmarks.interval import Bound
from tests.benchmarks.peers import PEERS
from tests.benchmarks.plan_figures import plan_bounds
from tests.benchmarks.plan_peers import peer_bounds
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "explanation" / "speed.md"
NOT_MEASURED = "not measured yet"


def tables() -> dict[str, dict[str, Bound]]:
    """What each command measures, by the word that its page has for it, with what is demanded."""
    return {
        "kernel": {name: bound for one in MEASUREMENTS.values() for name, bound in one.bounds.items()},
        "peers": {f"ask_{library}": bound for library, (_, bound, _) in PEERS.items()},
        "plans": plan_bounds(),
        "plans --peers": peer_bounds(),
    }


def bounds() -> dict[str, Bound]:
    """Every figure that the commands measure, with what is demanded of it."""
    return {name: bound for table in tables().values() for name, bound in table.items()}


def row(cells: list[str], record: Mapping[str, Any] | None) -> str:
    """A row of the page, with the figures of a record, or without any."""
    name = cells[0].strip("`")
    demanded = str(bounds()[name])
    if record is None:
        return f"| {cells[0]} | {cells[1]} | {NOT_MEASURED} | | {demanded} |"
    unit = "" if demanded.endswith(" x") else f" {demanded.split(' ', 2)[2]}"
    between = f"{record['low']:.3g} to {record['high']:.3g}"
    return f"| {cells[0]} | {cells[1]} | {record['median']:.3g}{unit} | {between} | {demanded} |"


def rows() -> dict[str, list[str]]:
    """The rows of the page's tables, each as its cells, by the figure's name."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {one[0].strip("`"): one for one in cells}


def main(files: list[str]) -> None:
    """Replace the figures that the files have; leave the others."""
    text = PAGE.read_text(encoding="utf-8")
    known = rows()
    for file in files:
        report = json.loads(Path(file).read_text(encoding="utf-8"))
        names = [record["name"] for record in report["figures"]]
        for name, record in zip(names, report["figures"], strict=True):
            text = _replaced(text, f"| `{name}` |", row(known[name], record))
            print(f"{name}: {record['verdict']}")
        [kind] = [kind for kind, table in tables().items() if names[0] in table]
        text = _replaced(text, f"The run of `{kind}`:", f"The run of `{kind}`: {report['before'].splitlines()[0]}.")
    PAGE.write_text(text, encoding="utf-8")


def _replaced(text: str, start: str, line: str) -> str:
    """The line that begins with `start`, replaced."""
    return re.sub(rf"^{re.escape(start)}.*$", lambda _: line, text, flags=re.MULTILINE)


if __name__ == "__main__":
    main(sys.argv[1:])
