"""A troupe for one command: what a session of the command line does to its process."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from trouper.adapters.cli_options import Call
from trouper.adapters.cli_output import results_apart
from trouper.adapters.cli_session import Session, in_session


@pytest.mark.io
def test_what_is_there_when_a_command_begins_is_not_looked_at_by_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full collection over every module and class holds every task up, and the exit."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    overrides = (f"memory.path={tmp_path / 'm.sqlite'}", f"journal.path={tmp_path / 'runs'}")
    gc.unfreeze()  # of other tests in this process

    async def body(session: Session) -> int:
        del session
        return gc.get_freeze_count()

    try:
        with results_apart() as results:
            during = in_session(Call(results=results, overrides=overrides, quiet=True), body)
    finally:
        gc.unfreeze()  # this process goes on

    assert during > 10_000
