"""Settings of all tests: what would pass silently elsewhere is an error here."""

import gc
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

MAPS = Path("/proc/self/maps")
MOST = 45_000  # of the 65,530 memory maps that Linux allows a process


@pytest.fixture
def x64():
    """Compute in float64 within this test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def bounded(request):
    """Forget compiled programs before their memory maps are too many for the system."""
    yield
    request.config.tests_run = getattr(request.config, "tests_run", 0) + 1
    if request.config.tests_run % 20 == 0 and MAPS.exists():
        with MAPS.open("rb") as maps:
            many = sum(1 for _ in maps) > MOST
        if many:
            jax.clear_caches()
            gc.collect()
