"""The tests judge results, not the speed of the machine they run on."""

import pytest
from hypothesis import HealthCheck, settings
from trio.testing import MockClock

settings.register_profile("trouper", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("trouper")


@pytest.fixture
def idle_clock() -> MockClock:
    """As `autojump_clock`, for sockets between tasks of one process: time passes while nothing has moved for 20 ms.

    So a pause of the machine is no time-out, and a time-out takes no time. Not for threads and other processes: they
    work while nothing moves here.
    """
    return MockClock(autojump_threshold=0.02)
