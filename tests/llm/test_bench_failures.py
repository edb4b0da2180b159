"""A bench that cannot measure says why, and is no defect of the program that says it."""

from __future__ import annotations

import pytest
import trio

from trouper.adapters.bench_run import BenchFailed, _program, first_of
from trouper.adapters.cli_exit import ExitCode, ending_of
from trouper.adapters.model_server_apart import ServerProcessFailed
from trouper.runtime import TrouperError


@pytest.mark.io
async def test_a_row_whose_process_ends_early_is_an_orderly_failure(capfd: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(60), pytest.raises(BenchFailed) as caught:
        await _program("trouper.adapters.bench_that_is_not_there", {})

    ending = ending_of(caught.value)
    assert ending.code is ExitCode.FAILED
    assert ending.message.startswith("trouper.adapters.bench_that_is_not_there ended with exit code 1")
    assert "bench_that_is_not_there" in capfd.readouterr().err


def test_of_rows_that_fail_side_by_side_one_says_it() -> None:
    first, second = BenchFailed("one"), ServerProcessFailed("two")
    group = BaseExceptionGroup("", [ExceptionGroup("", [first]), second])
    mixed = BaseExceptionGroup("", [first, KeyError("a defect")])

    assert isinstance(second, TrouperError)
    assert first_of(group) is first
    assert first_of(mixed) is mixed
