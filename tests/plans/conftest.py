"""The property tests of plans judge results, not the speed of the machine they run on."""

from hypothesis import HealthCheck, settings

settings.register_profile("plans", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("plans")
