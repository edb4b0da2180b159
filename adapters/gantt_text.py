"""A report of a run as text: a Gantt that fits a terminal, what waiting cost, what would have helped.

Plain ASCII, so that it looks the same in every terminal, log and page. Long plans are folded: the lines that are shown
are those that say most, and how many are not shown is said.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from trouper.actors.outcome import StepStatus
from trouper.actors.run_advice import Advice
from trouper.actors.run_report import Held, Link, ReportRow, RunReport
from trouper.runtime import Seconds

MOST_ROWS = 40
"""Steps that get a line of their own."""
MOST_LINKS = 12
"""Steps of the critical path that are named."""
NARROWEST, WIDEST = 60, 120
"""Characters of a line."""
_LABEL = 28
_NAME = 6

_KINDS = {"places": "model queue"}
"""Kinds of waiting whose own name says little; here for `max_parallel_llm_calls`."""

_CRITICAL, _WORKS, _WAITS = "=", "#", "."
_LEGEND = f"{_CRITICAL} on the critical path   {_WORKS} beside it   {_WAITS} ready, but waiting"


def report_text(report: RunReport, *, width: int = 100, most_rows: int = MOST_ROWS) -> str:
    """The whole report; empty if no step ran."""
    return "\n".join(report_lines(report, width=width, most_rows=most_rows))


def report_lines(report: RunReport, *, width: int = 100, most_rows: int = MOST_ROWS) -> Iterator[str]:
    """The report line by line, none longer than `width`, which is kept between `NARROWEST` and `WIDEST`."""
    if all(row.started is None for row in report.rows):
        return
    width = max(NARROWEST, min(width, WIDEST))
    yield from (line[:width].rstrip() for line in _gantt(report, width, most_rows))
    yield from _path_lines(report, width)
    yield from _waits_lines(report)
    yield from _advice_lines(report.advice)


# ------------------------------------------------------------------ the Gantt
def _gantt(report: RunReport, width: int, most: int) -> Iterator[str]:
    shown = _shown(report.rows, most, report.span)
    names = min(_NAME, max(len(row.label) for row in shown))
    labels = [_label(row, names) for row in shown]
    tails = [_tail(row) for row in shown]
    left = min(_LABEL, max(map(len, labels), default=0))
    bar = max(10, width - left - max((len(tail) for tail in tails), default=0) - 4)
    yield f"{'step'.ljust(left)} {_axis(report.span, bar)}"
    for row, label, tail in zip(shown, labels, tails, strict=True):
        yield f"{_cut(label, left).ljust(left)} |{_bar(row, report.span, bar)}| {tail}"
    hidden = len(report.rows) - len(shown)
    if hidden:
        counts = Counter(row.status.value.replace("_", " ") for row in _others(report.rows, shown))
        yield f"... {hidden:,} more steps: " + ", ".join(f"{n:,} {status}" for status, n in counts.items())
    yield f"{'':{left}}  {_LEGEND}"


def _shown(rows: Sequence[ReportRow], most: int, span: Seconds) -> list[ReportRow]:
    """At most `most` rows, in the order in which they began: what failed, the critical path, then what took longest."""
    if len(rows) > most:
        ranked = sorted(range(len(rows)), key=lambda n: (*_weight(rows[n]), n))
        rows = [rows[n] for n in sorted(ranked[:most])]
    return _by_beginning(rows, span)


def _weight(row: ReportRow) -> tuple[int, float]:
    failed = row.status in {StepStatus.FAILED, StepStatus.IN_DOUBT, StepStatus.WAITING}
    rank = 0 if failed and not row.depth else 1 if row.critical else 2
    return rank, -(row.seconds or 0.0)


def _by_beginning(rows: Sequence[ReportRow], span: Seconds) -> list[ReportRow]:
    """Inner rows stay behind the step they are in; what begins together for the eye stays in the plan's order."""
    groups: list[list[ReportRow]] = []
    for row in rows:
        if row.depth and groups:
            groups[-1].append(row)
        else:
            groups.append([row])
    groups.sort(key=lambda group: WIDEST + 1 if group[0].started is None else _cell(group[0].started, span, WIDEST))
    return [row for group in groups for row in group]


def _others(rows: Sequence[ReportRow], shown: Sequence[ReportRow]) -> Iterator[ReportRow]:
    seen = set(map(id, shown))
    return (row for row in rows if id(row) not in seen)


def _label(row: ReportRow, names: int) -> str:
    return f"{'*' if row.critical else ' '}{'  ' * row.depth} {row.label.ljust(names)} {_one_line(row.action)}"


def _tail(row: ReportRow) -> str:
    status = "" if row.status is StepStatus.OK else row.status.value.replace("_", " ")
    said = f"{status}: {row.note}" if status and row.note else status or row.note
    return f"{_time(row.seconds):>8} {_cut(_one_line(said), 24)}".rstrip()


def _bar(row: ReportRow, span: Seconds, cells: int) -> str:
    if row.started is None or row.ended is None or span <= 0:
        return " " * cells
    ready, begin, end = (_cell(t, span, cells) for t in (row.ready or 0.0, row.started, row.ended))
    begin = min(begin, cells - 1)
    end = max(end, begin + 1)  # whatever ran is seen
    ready = min(ready, begin)
    drawn = _CRITICAL if row.critical else _WORKS
    return (" " * ready + _WAITS * (begin - ready) + drawn * (end - begin)).ljust(cells)


def _cell(moment: Seconds, span: Seconds, cells: int) -> int:
    return min(cells, max(0, round(moment / span * cells))) if span > 0 else 0


def _axis(span: Seconds, cells: int) -> str:
    """The beginning, the middle and the end, over the bars."""
    middle, end = _time(span / 2), _time(span)
    line = "0 s".ljust(cells // 2 - len(middle) // 2 + 1) + middle
    return " " + line.ljust(cells - len(end)) + end


# ------------------------------------------------------------------ the words below it
def _path_lines(report: RunReport, width: int) -> Iterator[str]:
    if not report.path:
        return
    yield from textwrap.wrap(f"critical path: {_links(report.path)}", width, subsequent_indent="  ")
    works = sum(link.took for link in report.path)
    yield f"  {_time(works)} of {_time(report.span)}; the longest chain of steps takes {_time(report.chain)}"


def _links(path: Sequence[Link]) -> str:
    """`1 -> 2 -slot-> 3`: a plain arrow where a step waited for the one before it, else what it waited for."""
    hidden = len(path) - MOST_LINKS
    shown = [*path] if hidden <= 0 else [*path[: MOST_LINKS // 2], *path[-MOST_LINKS // 2 :]]
    words = [_link(link) for link in shown]
    if hidden > 0:
        words.insert(MOST_LINKS // 2, f"-> ({hidden:,} more)")
    return " ".join(words)


def _link(link: Link) -> str:
    if link.held_by is Held.START:
        return str(link.step)
    return f"-> {link.step}" if link.held_by is Held.DEPENDENCY else f"-{link.held_by.value}-> {link.step}"


def _waits_lines(report: RunReport) -> Iterator[str]:
    if not report.waits:
        return
    labels = [_KINDS.get(wait.kind, wait.kind) for wait in report.waits]
    wide = max(len("waiting") - 2, *map(len, labels))
    costs = any(wait.cost is not None for wait in report.waits)
    yield f"{'waiting'.ljust(wide + 2)}  all steps" + ("   cost the run" if costs else "")
    for wait, label in zip(report.waits, labels, strict=True):
        cost = "" if wait.cost is None else _time(wait.cost)
        yield f"  {label.ljust(wide)} {_time(wait.total):>10} {cost:>14}".rstrip()


def _advice_lines(advice: Sequence[Advice]) -> Iterator[str]:
    for one in advice:
        flags = ", ".join(f"{key}: {_value(value)}" for key, value in one.flags.items())
        yield f"would have helped: {flags} (-{_time(one.saves)}, {one.share:.0%})"


def _value(value: int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _time(seconds: Seconds | None) -> str:
    if seconds is None:
        return ""
    digits = 0 if seconds >= 1000 else 1 if seconds >= 100 else 2 if seconds >= 1 else 3
    return f"{seconds:.{digits}f} s"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "~"


def _one_line(text: str) -> str:
    return " ".join(text[:200].split())
