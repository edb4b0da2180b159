"""The limiter against servers that enforce their limits, each in its own way, in virtual time.

The figures in the docs come from `python -m tests.benchmarks.limiter`, which is the same at twice
the size, where one large prompt is not a twentieth of a minute, and over five minutes and more.
"""

from __future__ import annotations

import pytest
import trio

from trouper.runtime import Limits, RateBooks

from .crowd import Crowd, mixed, run_crowd, short, utilisation
from .servers import Kind, Server

RPM, TPM = 300, 150_000
MINUTES = 3


@pytest.fixture(autouse=True)
def same_order(monkeypatch) -> None:
    """Trio turns half of its batches around, by chance; here the same half each time."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    trio._core._run._r.seed(7)


async def simulate(
    kind: Kind,
    *,
    tokens: bool = True,
    charge: str = "actual",
    server_charge: str = "actual",
    margin: float = 0.99,
    headers: bool = False,
    foreign: float = 0.0,
) -> tuple[Server, Crowd, float]:
    """The server, what became of the crowd, and the share of the budget that was used after the first minute."""
    server = Server(kind, RPM, TPM, charge=server_charge, headers=headers)
    limits = Limits(rpm=RPM, tpm=TPM, burst=4, safety_margin=margin, charge=charge)
    seconds = 60.0 * MINUTES
    sizes = mixed if tokens else short
    crowd = await run_crowd(
        server, RateBooks(limits), sizes=sizes, callers=60, seconds=seconds, seed=7, foreign=foreign
    )
    budget = limits.safe_tpm if tokens else limits.safe_rpm
    if foreign:
        budget = TPM * margin - crowd.foreign / MINUTES
    now = trio.current_time()
    return server, crowd, utilisation(server, budget, since=now - seconds + 60, until=now, tokens=tokens)


@pytest.mark.parametrize("kind", ["sliding", "bucket", "minute"])
async def test_a_budget_of_tokens_is_used_up_and_nothing_is_declined(kind, autojump_clock) -> None:
    server, _, used = await simulate(kind)

    assert server.declined == []
    assert used >= 0.97


@pytest.mark.parametrize("kind", ["sliding", "bucket", "minute"])
async def test_a_budget_of_requests_is_used_up_and_nothing_is_declined(kind, autojump_clock) -> None:
    server, _, used = await simulate(kind, tokens=False)

    assert server.declined == []
    assert used >= 0.99


@pytest.mark.parametrize("tokens", [True, False])
async def test_a_server_that_counts_seconds_declines_a_few_at_first_and_then_none(tokens, autojump_clock) -> None:
    server, _, used = await simulate("second bucket", tokens=tokens)

    assert len(server.declined) <= 3
    assert all(at < 60 for at in server.declined)
    assert used >= 0.9


@pytest.mark.parametrize("kind", ["sliding", "bucket", "minute"])
@pytest.mark.parametrize("server_charge", ["actual", "estimate"])
async def test_headers_show_how_a_server_charges(kind, server_charge, autojump_clock) -> None:
    """`auto` gives back what is not used while headers are there, and is not caught out where nothing comes back."""
    server, _, used = await simulate(kind, charge="auto", server_charge=server_charge, headers=True)

    assert len(server.declined) <= 3
    assert used >= 0.9


async def test_without_headers_auto_is_careful(autojump_clock) -> None:
    server, _, used = await simulate("sliding", charge="auto", server_charge="estimate")

    assert server.declined == []
    assert used >= 0.97


@pytest.mark.parametrize("kind", ["sliding", "bucket", "minute"])
@pytest.mark.parametrize("margin", [0.9, 0.99])
async def test_another_user_of_the_key_is_made_room_for(kind, margin, autojump_clock) -> None:
    """It takes three tenths of the limit; headers tell, and the rest is used."""
    server, crowd, used = await simulate(kind, charge="auto", headers=True, margin=margin, foreign=0.3)

    assert len(server.declined) <= 10
    assert crowd.foreign / MINUTES > 0.15 * TPM  # it is not starved
    assert used >= 0.8


async def test_another_user_is_noticed_by_refusals_alone(autojump_clock) -> None:
    server, _, used = await simulate("sliding", foreign=0.3)

    assert len(server.declined) <= 15
    assert used >= 0.8


async def test_large_requests_wait_no_longer_than_small_ones(autojump_clock) -> None:
    _, crowd, _ = await simulate("sliding")
    small = sorted(wait for wait, size in crowd.waits if size < 1000)
    large = sorted(wait for wait, size in crowd.waits if size >= 5000)

    assert len(large) > 20
    assert large[-1] <= 1.5 * small[-1]
    assert large[len(large) // 2] <= 1.5 * small[len(small) // 2]
