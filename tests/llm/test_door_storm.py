"""After a storm of cancellations the door is as if nothing had happened: no place, no connection, no socket lost."""

from __future__ import annotations

import sys

import pytest

from tests.llm.cancel_storm import SERVED, Storm, storm

pytestmark = [
    pytest.mark.io,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sockets are counted in /proc"),
]


def calm(seen: Storm, cancellations: int) -> None:
    assert seen.cancelled >= cancellations
    assert seen.served >= SERVED
    assert seen.calm, seen


@pytest.mark.parametrize(("cancellations", "tls"), [(2_000, False), (300, True)], ids=["plain", "tls"])
async def test_a_storm_leaves_a_working_pool_and_no_socket(cancellations: int, tls: bool) -> None:
    calm(await storm(cancellations, tls=tls), cancellations)


@pytest.mark.slow
@pytest.mark.parametrize(("cancellations", "tls"), [(100_000, False), (10_000, True)], ids=["plain", "tls"])
async def test_a_storm_of_a_hundred_thousand_leaves_a_working_pool_and_no_socket(cancellations: int, tls: bool) -> None:
    calm(await storm(cancellations, tls=tls), cancellations)
