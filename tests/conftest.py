"""Settings for all tests: one thread per worker (workers run side by side), no deadline for property tests."""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")

from hypothesis import HealthCheck, settings  # noqa: E402  (threads are counted when numpy is imported)

settings.register_profile(
    "patchline", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("patchline")
