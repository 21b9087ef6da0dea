"""What holds for every test: a machine that is slow, or stands still for seconds, fails none of them."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.support.waiting import WAIT_S

# The same examples in every run; --hypothesis-profile=nightly looks for others, and longer.
settings.register_profile(
    "memguard", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("nightly", settings.get_profile("memguard"), derandomize=False, max_examples=1000)
settings.load_profile("memguard")

# Of guards that are opened, here and by the processes that tests start: what is about a deadline says which one.
os.environ.setdefault("MEMGUARD_DEADLINE_S", str(WAIT_S))
os.environ.setdefault("MEMGUARD_VERIFY_BUDGET_MS", str(1000 * WAIT_S))
