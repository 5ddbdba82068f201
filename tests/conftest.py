"""Settings of all tests: what would pass silently elsewhere is an error here."""

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Compute in float64 within this test."""
    with jax.enable_x64(True):
        yield
