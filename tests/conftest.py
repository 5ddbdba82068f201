"""Settings of all tests: what would pass silently elsewhere is an error here."""

import gc
import re
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Programs leave little garbage, and traversing them all to look for it takes a tenth.
gc.set_threshold(100_000, 20, 20)

MAPS = Path("/proc/self/maps")
MOST = 45_000  # of the 65,530 memory maps that Linux allows a process


def module_of(nodeid):
    """The module that a test is of: by its file, or by its id in tests/common."""
    file, _, test = nodeid.partition("::")
    public = re.search(r"(\w+)\.\w+[\]-]", test) if "/common/" in file else None
    return public[1] if public else Path(file).stem.removeprefix("test_")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """All tests of a module go to one worker, which has traced and compiled for it."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return module_of(nodeid)

    return ByModule(config, log)


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
