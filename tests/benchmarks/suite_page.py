"""Copy the figures of `trouper bench --json > FILE` into the page on measuring.

`python -m tests.benchmarks.suite_page FILE`
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "measure.md"
BEGIN, END = "<!-- figures: python -m tests.benchmarks.suite_page FILE -->", "<!-- end of figures -->"


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The figures as Markdown."""
    saved, over = report["latency_saved"], report["over_critical_path"]
    by_name = {row["flags"]: row for row in report["rows"]}
    on = by_name["all on"]
    spread = ", ".join(f"{total:.2f}" for total in on["totals_s"])
    yield f"All on saves **{100 * saved:.1f} %** of the time of all off (70 % were demanded)."
    yield (
        f"It takes {over:.3f} times the critical path under the limits, {report['critical_path_under_limits_s']:.2f} s "
        f"(at most 1.1 were demanded); without the limits the path is {report['critical_path_s']:.2f} s."
    )
    yield f"Its {len(on['totals_s'])} runs took {spread} s; on {report['machine']}, two cores."
    yield ""
    yield "| row | p50 s | p95 s | total s | calls | 429s | cpu s | meant to change |"
    yield "|---|--:|--:|--:|--:|--:|--:|---|"
    for row in report["rows"]:
        figures = f"{row['p50_s']:.2f} | {row['p95_s']:.2f} | {row['total_s']:.2f} | {row['calls']}"
        yield f"| {row['flags']} | {figures} | {row['rate_limited']} | {row['cpu_s']:.2f} | {_meant(row)} |"


def _meant(row: Mapping[str, Any]) -> str:
    meant = row.get("meant")
    if meant is None:
        return f"{row['failed']} goals failed" if row["failed"] else ""
    told = f"{meant['what']}: {meant['value']} (else {meant['baseline']})"
    return told if meant["changed"] else f"{told}; {meant['why_not']}"


def put(page: str, figures: str) -> str:
    """The page with the figures between its two marks."""
    found = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)
    if not found.search(page):
        raise ValueError(f"{PAGE} has no {BEGIN} ... {END}")
    return found.sub(lambda _: f"{BEGIN}\n{figures}\n{END}", page)


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "\n".join(lines(told))), encoding="utf-8")
