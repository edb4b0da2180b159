"""Scenarios are made of crashes: the kernel's log of them would bury what a failing test has to say."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _no_log() -> Iterator[None]:
    logger = logging.getLogger("trouper")
    before, logger.disabled = logger.disabled, True
    runtime = logging.getLogger("trouper.runtime")
    runtime.disabled = True
    yield
    logger.disabled = runtime.disabled = before
