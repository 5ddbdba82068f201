"""Settings of all tests: what would pass silently elsewhere is an error here."""

import gc
import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# The quick form spends its time compiling, for which XLA's older code generator takes
# two thirds of the time. The long form (-m "", --all) compiles as users do.
QUICK = "--xla_cpu_use_fusion_emitters=false"
MAPS = Path("/proc/self/maps")
MOST = 30_000  # of the 65,530 memory maps that Linux allows a process


def pytest_configure(config):
    """Choose how to compile, before anything is compiled."""
    if config.option.markexpr == "not long":
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()


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
