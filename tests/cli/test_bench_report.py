"""What a bench reports: the figures, what each flag was meant to change, and the picture."""

from __future__ import annotations

import json
import struct
import zlib

import attrs
import pytest

from tests.benchmarks import suite_page
from trouper.adapters.bench_ideal import Bound
from trouper.adapters.bench_png import WHITE, Picture, text_width
from trouper.adapters.bench_report import MEANT, NO_REASON, Line, Report, percentile
from trouper.adapters.bench_row import Measured
from trouper.adapters.bench_setting import FLAGS, Setting, headline_rows, rows_with_only, rows_without

OFF = Measured(
    name="all off",
    total_s=40.0,
    latencies=tuple(float(n) for n in range(1, 41)),
    cpu_s=4.0,
    calls=300,
    chats=220,
    embeddings=80,
    embedded_texts=80,
    connections=300,
    most_at_once=1,
    catalogues_built=36,
    prompts_rendered=36,
    waited_for_verdicts_s=20.0,
    waited_for_memory_s=3.0,
)
ON = Measured(
    name="all on",
    total_s=10.5,
    latencies=tuple(n / 4 for n in range(1, 41)),
    cpu_s=3.0,
    calls=200,
    chats=150,
    embeddings=50,
    embedded_texts=60,
    connections=20,
    most_at_once=12,
    catalogues_built=3,
    prompts_rendered=3,
    steps_before_the_plan=90,
)


def report(*, quick: bool = False, **changed: Measured) -> Report:
    """A report in which each row is as its baseline, but for what is given by the row's flag."""
    rows = [*headline_rows(), *rows_without(), *rows_with_only()]
    lines = []
    for row in rows:
        base = ON if row.name == "all on" or row.against == "all on" else OFF
        measured = attrs.evolve(changed.get(row.name.replace(" ", "_").replace(".", "_"), base), name=row.name)
        lines.append(Line(row=row, measured=measured, totals=(measured.total_s,)))
    bound = Bound(total_s=10.0, latencies=(1.0,) * 36)
    return Report(setting=Setting(), lines=tuple(lines), unlimited=bound, limited=bound, kinds=("a", "b"), quick=quick)


def test_what_is_saved_and_how_near_the_critical_path_it_comes() -> None:
    told = report().as_json()

    assert told["latency_saved"] == pytest.approx(1 - 10.5 / 40)
    assert told["over_critical_path"] == pytest.approx(1.05)


def test_the_json_has_every_key_that_is_promised_and_is_json() -> None:
    told = json.loads(json.dumps(report().as_json()))

    rows = told["rows"]
    assert {"flags", "p50_s", "p95_s", "total_s", "calls", "rate_limited", "cpu_s"} <= set(rows[0])
    assert [row["flags"] for row in rows[:4]] == ["all off", "all on", "all off, with pooling", "plain asyncio"]
    assert {row["flag"] for row in rows if "flag" in row} == set(FLAGS)
    assert told["setting"]["network"] == {"round_trip": 0.04, "tls": True}
    assert told["setting"]["law"]["rpm"] == Setting().law.rpm


def test_a_flag_that_changed_what_it_is_meant_to_needs_no_excuse() -> None:
    changed = report(without_connection_pooling_enabled=attrs.evolve(ON, connections=200))
    meant = changed.meant(changed.line("without connection_pooling.enabled"))

    assert meant == {
        "what": "connections opened",
        "value": 200,
        "baseline": 20,
        "changed": True,
        "why_not": None,
    }


def test_a_flag_that_changed_nothing_says_why_or_that_it_should_have() -> None:
    same = report()

    assert "never reaches the limit" in str(same.meant(same.line("only rate_limiting.enabled"))["why_not"])
    assert same.meant(same.line("without connection_pooling.enabled"))["why_not"] == NO_REASON
    assert set(MEANT) == set(FLAGS)
    assert all(hasattr(ON, field) for field, _ in MEANT.values())


def test_waits_that_differ_by_noise_only_are_the_same() -> None:
    name = "without background_tasks.memory_updates"
    noise, real = (attrs.evolve(ON, waited_for_memory_s=seconds) for seconds in (0.03, 0.3))
    changed = [
        one.meant(one.line(name))["changed"]
        for one in (report(without_background_tasks_memory_updates=m) for m in (noise, real))
    ]

    assert changed == [False, True]


def test_the_table_has_a_line_for_each_row_and_its_circumstances() -> None:
    full, quick = report().table(), report(quick=True).table()

    assert [line.row.name for line in report().lines if f"\n{line.row.name} " not in full] == []
    assert "round trip 40 ms, TLS" in full
    assert "1600 requests and 2000000 tokens a minute" in full
    assert "all on saves 73.8 % of the time of all off" in full
    assert "all on is 1.050 of it" in full
    assert ("--quick" in full, "--quick" in quick) == (False, True)


def test_failed_goals_are_shown() -> None:
    assert "3 goals failed" in report(all_on=attrs.evolve(ON, failed=3)).table()


@pytest.mark.parametrize(("share", "value"), [(0.5, 20.5), (0.95, 38.05)])
def test_percentiles_lie_between_neighbours(share: float, value: float) -> None:
    assert percentile(OFF.latencies, share) == pytest.approx(value)
    assert percentile([7.0], share) == 7.0


# ------------------------------------------------------------------ the picture
def pixels(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and rows of a PNG of ours, read by the book."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, width, height = 8, b"", 0, 0
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size]) == (zlib.crc32(kind + body),)
        if kind == b"IHDR":
            width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", body)
            assert (depth, colour) == (8, 2)
        data += body if kind == b"IDAT" else b""
        at += 12 + size
    raw = zlib.decompress(data)
    rows = [raw[y * (3 * width + 1) : (y + 1) * (3 * width + 1)] for y in range(height)]
    assert all(row[0] == 0 for row in rows)
    return width, height, [row[1:] for row in rows]


def test_a_picture_is_a_png_with_what_was_drawn() -> None:
    picture = Picture(40, 30)
    picture.box(10, 5, 20, 10, (1, 2, 3))
    picture.box(35, 25, 100, 100, (9, 9, 9))  # what lies outside is cut off
    width, height, rows = pixels(picture.png())

    assert (width, height) == (40, 30)
    assert rows[5][30:90] == bytes((1, 2, 3)) * 20
    assert rows[14][27:30] == rows[15][30:33] == bytes(WHITE)
    assert rows[29][105:] == bytes((9, 9, 9)) * 5


def test_letters_differ_from_each_other_and_keep_to_their_width() -> None:
    drawn = {}
    for letter in "abcdefghijklmnopqrstuvwxyz0123456789.,:-_+=/%()'":
        picture = Picture(30, 20)
        picture.text(2, 2, letter)
        _, _, rows = pixels(picture.png())
        drawn[letter] = b"".join(rows)
        assert all(row[3 * (2 + text_width(letter)) :].count(255) == 3 * (30 - 2 - text_width(letter)) for row in rows)

    assert len(set(drawn.values())) == len(drawn)


def test_the_chart_is_the_same_for_the_same_figures_and_shows_others_otherwise() -> None:
    assert report().png() == report().png()
    assert report().png() != report(all_on=attrs.evolve(ON, total_s=20.0)).png()

    width, height, _ = pixels(report().png())
    assert width < 2000
    assert height < 2000


# ------------------------------------------------------------------ the page
def test_the_figures_of_a_run_go_into_the_page_between_its_marks() -> None:
    told = json.loads(json.dumps(report().as_json()))
    page = suite_page.PAGE.read_text(encoding="utf-8")
    written = suite_page.put(page, "\n".join(suite_page.lines(told)))

    assert "saves **73.8 %** of the time of all off" in written
    assert [row["flags"] for row in told["rows"] if f"\n| {row['flags']} | " not in written] == []
    assert suite_page.put(written, "\n".join(suite_page.lines(told))) == written
    before, _, after = page.partition(suite_page.BEGIN)
    assert written.startswith(before)
    assert written.endswith(after.partition(suite_page.END)[2])
