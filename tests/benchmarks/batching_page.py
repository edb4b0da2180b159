"""Copy measured figures into the page on batching and caches: `python -m tests.benchmarks.batching_page FILE.json...`.

The files are what `python -m tests.benchmarks.batcher --json FILE` and `python -m tests.benchmarks.embedding_cache
--json FILE` write. Rows keep their first two columns; the others are the run's.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "batching-and-caches.md"


def cells(record: Mapping[str, Any]) -> str:
    """The columns of one figure that the run decides."""
    unit = str(record["bound"]).split(" ", 2)[2]
    low, median, high = (f"{record[key]:,.3g}" if record[key] < 1000 else f"{record[key]:,.0f}" for key in ORDER)
    verdict = "holds" if record["verdict"] == "HOLDS" else str(record["verdict"]).lower()
    return f"{median} {unit} | {low} to {high} | {record['bound']} | {verdict} |"


ORDER = ("low", "median", "high")


def filled(page: str, report: Mapping[str, Any]) -> str:
    """The page with the figures of one report."""
    for record in report["figures"]:
        start = rf"^(\| `{re.escape(record['name'])}` \|[^|]*\|).*$"
        page, found = re.subn(start, lambda m, r=record: f"{m[1]} {cells(r)}", page, flags=re.MULTILINE)
        if found != 1:
            raise LookupError(f"the page has {found} rows for {record['name']}")
    line = f"The run of `{report['command']}`: {report['before'].splitlines()[0]}."
    return re.sub(rf"^The run of `{report['command']}`:.*$", lambda _: line, page, flags=re.MULTILINE)


def main(files: list[str]) -> None:
    """Replace the figures that the files have; leave the others."""
    page = PAGE.read_text(encoding="utf-8")
    for file in files:
        page = filled(page, json.loads(Path(file).read_text(encoding="utf-8")))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
