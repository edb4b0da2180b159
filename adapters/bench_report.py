"""The figures of a bench: as data, as a table, as a picture; and for each flag whether it changed what it is meant to.

A flag's row is compared with the row that differs from it by this flag alone. Where nothing changed, the row says why
that is so: an optimisation that the others leave nothing to do is not broken, and one that is must not hide.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence

import attrs

from trouper.runtime import Seconds

from .bench_ideal import Bound
from .bench_png import BLACK, Colour, Picture, text_width
from .bench_row import Measured
from .bench_setting import ALL_OFF, ALL_ON, GATHERED, Row, Setting

MEANT: Mapping[str, tuple[str, str]] = {
    "connection_pooling.enabled": ("connections", "connections opened"),
    "rate_limiting.enabled": ("rate_limited", "refused calls"),
    "parallel_execution.enabled": ("most_at_once", "calls at once"),
    "parallel_execution.stream_plan": ("steps_before_the_plan", "steps begun before their plan was written"),
    "batch_embeddings.enabled": ("embeddings", "embedding calls"),
    "caching.tool_catalog": ("catalogues_built", "catalogues built"),
    "caching.prompt_templates": ("prompts_rendered", "prompt prefixes rendered"),
    "caching.embeddings": ("embedded_texts", "texts embedded"),
    "caching.responses": ("chats", "chats"),
    "background_tasks.verification": ("waited_for_verdicts_s", "seconds that steps waited for verdicts"),
    "background_tasks.memory_updates": ("waited_for_memory_s", "seconds that answers waited for the memory"),
}
"""What each flag is meant to change: a field of `Measured`, and its name in words. The rest of a row follows."""

WHY_NOT: Mapping[str, str] = {
    "only rate_limiting.enabled": "one call at a time never reaches the limit, so there is nothing to hold back",
    "without rate_limiting.enabled": "in this run the calls stayed below the limit by themselves",
    "only parallel_execution.stream_plan": "without parallel execution a step waits until the plan is written",
    "without parallel_execution.stream_plan": "no step without effect was ready before its plan was written",
    "only batch_embeddings.enabled": "without parallel execution no two askers have texts to share a call for",
    "without batch_embeddings.enabled": "the texts of this run came one at a time, or were known",
    "without caching.embeddings": "in this run no text came twice",
    "only caching.embeddings": "in this run no text came twice",
    "without background_tasks.verification": "every verdict of this run came at once, from rules",
    "only background_tasks.verification": "every verdict of this run came at once, from rules",
}
NO_REASON = "not explained: this flag should have changed it"

_SAME = 0.05
"""Seconds below which two waits are the same."""


@attrs.frozen(kw_only=True)
class Line:
    """One row with its figures. `totals` are those of each time it was run, `measured` the median one."""

    row: Row
    measured: Measured
    totals: tuple[Seconds, ...]
    beside: int = 0
    """How many other rows were run at the same time."""


@attrs.frozen(kw_only=True)
class Report:
    """What a bench has found."""

    setting: Setting
    lines: tuple[Line, ...]
    unlimited: Bound
    limited: Bound
    kinds: tuple[str, ...]
    quick: bool

    def line(self, name: str) -> Line:
        """The row of that name."""
        return next(line for line in self.lines if line.row.name == name)

    @property
    def latency_saved(self) -> float:
        """1 - all on / all off, of the suite's total time."""
        return 1.0 - self.line(ALL_ON).measured.total_s / self.line(ALL_OFF).measured.total_s

    @property
    def over_critical_path(self) -> float:
        """All on / the critical path under the limits."""
        return self.line(ALL_ON).measured.total_s / self.limited.total_s

    def as_json(self) -> dict[str, object]:
        """The object of `trouper bench --json`."""
        return {
            "latency_saved": round(self.latency_saved, 4),
            "over_critical_path": round(self.over_critical_path, 4),
            "critical_path_s": round(self.unlimited.total_s, 3),
            "critical_path_under_limits_s": round(self.limited.total_s, 3),
            "quick": self.quick,
            "goals": len(self.limited.latencies),
            "kinds": list(self.kinds),
            "setting": self.setting.as_json(),
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "rows": [self._row_json(line) for line in self.lines],
        }

    def _row_json(self, line: Line) -> dict[str, object]:
        measured, row = line.measured, line.row
        told: dict[str, object] = {
            "flags": row.name,
            "off": list(row.off) if row.program == "troupe" else None,
            "p50_s": round(percentile(measured.latencies, 0.5), 3),
            "p95_s": round(percentile(measured.latencies, 0.95), 3),
            "total_s": round(measured.total_s, 3),
            "totals_s": [round(total, 3) for total in line.totals],
            "beside": line.beside,
        }
        counted = attrs.asdict(measured, filter=lambda field, _: field.name not in {"name", "total_s", "latencies"})
        told |= {name: round(value, 3) if isinstance(value, float) else value for name, value in counted.items()}
        if row.flag is not None and row.against is not None:
            told |= {"flag": row.flag, "against": row.against, "meant": self.meant(line)}
        return told

    def meant(self, line: Line) -> dict[str, object]:
        """What the row's flag is meant to change, and whether it did; if not, why."""
        row = line.row
        assert row.flag is not None  # noqa: S101 - asked of flags' rows only
        assert row.against is not None  # noqa: S101 - the same
        field, words = MEANT[row.flag]
        here, there = (getattr(m, field) for m in (line.measured, self.line(row.against).measured))
        changed = abs(here - there) > (_SAME if isinstance(here, float) else 0)
        value, baseline = (round(v, 3) if isinstance(v, float) else v for v in (here, there))
        why = None if changed else WHY_NOT.get(row.name, NO_REASON)
        return {"what": words, "value": value, "baseline": baseline, "changed": changed, "why_not": why}

    # ------------------------------------------------------------ for people
    def table(self) -> str:
        """The same for a terminal."""
        setting = self.setting
        time, law = setting.model_time, setting.law
        head = f"{'flags':<46}{'p50':>8}{'p95':>8}{'total':>9}{'calls':>7}{'429s':>6}{'cpu':>7}"
        lines = [
            f"{len(self.limited.latencies)} goals of {len(self.kinds)} kinds, {setting.clients} at the same time.",
            f"The server: round trip {1000 * setting.network.round_trip:g} ms"
            f"{', TLS' if setting.network.tls else ''}; first token after {time.first:g} s, then "
            f"{1 / time.per_completion_token:.0f} a second; {law.rpm} requests and {law.tpm} tokens a minute "
            f"({law.kind}).",
            "",
            head,
            "-" * len(head),
            *(self._row_text(line) for line in self.lines),
            "",
            f"critical path: {self.unlimited.total_s:.2f} s, under the limits {self.limited.total_s:.2f} s; "
            f"all on is {self.over_critical_path:.3f} of it",
            f"all on saves {100 * self.latency_saved:.1f} % of the time of all off",
        ]
        if self.quick:
            lines.append("(--quick: so short a suite is mostly our own computing; only what the flags change counts)")
        meant = list(self._meant_text())
        if meant:
            lines += ["", "what each flag is meant to change:", *meant]
        return "\n".join(lines)

    def _row_text(self, line: Line) -> str:
        m = line.measured
        failed = f"  {m.failed} goals failed" if m.failed else ""
        return (
            f"{line.row.name:<46}{percentile(m.latencies, 0.5):>7.2f}s{percentile(m.latencies, 0.95):>7.2f}s"
            f"{m.total_s:>8.2f}s{m.calls:>7}{m.rate_limited:>6}{m.cpu_s:>6.2f}s{failed}"
        )

    def _meant_text(self) -> Iterator[str]:
        for line in self.lines:
            if line.row.flag is None:
                continue
            meant = self.meant(line)
            told = f"{meant['what']} {meant['value']} ({meant['baseline']} with {line.row.against})"
            why = "" if meant["changed"] else f"; {meant['why_not']}"
            yield f"  {line.row.name}: {told}{why}"

    # ------------------------------------------------------------ as a picture
    def png(self) -> bytes:
        """Bars of the total times, with the critical path as a line that no bar can end before."""
        names = [line.row.name for line in self.lines]
        left, right, step, top = 30 + max(map(text_width, names)), 490, 34, 130
        width, height = left + 620 + right, top + step * len(self.lines) + 110
        picture = Picture(width, height)
        longest = max(line.measured.total_s for line in self.lines)
        picture.text(20, 20, f"trouper bench: {len(self.limited.latencies)} goals, all on saves", scale=3)
        saved = f"{100 * self.latency_saved:.1f} % of the time of all off"
        picture.text(20, 56, saved, scale=3)
        picture.text(left, 96, "seconds for the suite")
        picture.text(width - right, 96, "  total   p50   p95 calls  429s   cpu")
        for n, line in enumerate(self.lines):
            m, y = line.measured, top + n * step
            picture.text(left - 10 - text_width(line.row.name), y + 5, line.row.name)
            picture.box(left, y, max(2.0, 600 * m.total_s / longest), step - 10, _colour(line.row))
            numbers = (
                f"{m.total_s:7.2f}{percentile(m.latencies, 0.5):6.2f}{percentile(m.latencies, 0.95):6.2f}"
                f"{m.calls:6}{m.rate_limited:6}{m.cpu_s:6.2f}"
            )
            picture.text(width - right, y + 5, numbers)
        bound = left + 600 * self.limited.total_s / longest
        bottom = top + step * len(self.lines)
        picture.dashes(bound, top - 8, bottom - top + 16, (190, 30, 45))
        picture.text(
            min(bound, width - 460),
            bottom + 16,
            f"critical path under the limits {self.limited.total_s:.2f} s",
            colour=(190, 30, 45),
        )
        picture.box(left - 2, top - 8, 2, bottom - top + 12, BLACK)
        setting = self.setting
        picture.text(
            20,
            bottom + 56,
            f"round trip {1000 * setting.network.round_trip:g} ms, first token {setting.model_time.first:g} s, "
            f"{1 / setting.model_time.per_completion_token:.0f} tokens/s, {setting.law.rpm} requests a minute, "
            f"{setting.clients} clients",
        )
        return picture.png()


def _colour(row: Row) -> Colour:
    if row.name == ALL_ON:
        return (46, 139, 87)
    if row.name in {ALL_OFF, GATHERED}:
        return (120, 120, 128)
    return (217, 142, 64) if row.against == ALL_ON else (92, 132, 190)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed, between neighbours by interpolation."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[round(100 * share) - 1]
