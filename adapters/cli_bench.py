"""`trouper bench`: what the optimisations are worth, measured here."""

from __future__ import annotations

from pathlib import Path

import click

from .cli_exit import BadInput, ExitCode
from .cli_options import Call, with_options
from .cli_output import tell


@click.command()
@click.option("--png", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Also draw it as a PNG.")
@click.option("--quick", is_flag=True, help="Eight goals, a tenth of the times, and no rows with one flag alone on.")
@with_options("json", "quiet")
def bench(call: Call, png: Path | None, *, quick: bool) -> ExitCode:
    """Run a suite of goals with every optimisation off, each alone off, each alone on, and all on.

    Against a local server that plays the model, far away, slow and strict; nothing leaves this machine and no key is
    needed. Takes about five minutes, with --quick half a minute.
    """
    from .bench_run import run_bench

    if png is not None and not png.parent.is_dir():
        raise BadInput(f"{png.parent} is not a directory, so {png.name} cannot be written there")
    report = run_bench(_silent if call.quiet else tell, quick=quick)
    if png is not None:
        png.write_bytes(report.png())
    if call.as_json:
        call.results.json(report.as_json())
    else:
        call.results.text(report.table())
    return ExitCode.FAILED if any(line.measured.failed for line in report.lines[:2]) else ExitCode.SUCCESS


def _silent(_: str) -> None:
    """Say nothing."""
