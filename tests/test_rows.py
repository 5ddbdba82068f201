"""Sums over rows in blocks and panels, against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import _rows

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("p", [1, _rows.WIDE - 1, _rows.WIDE, 300, 800])
@pytest.mark.parametrize("t", [0, 3])
def test_products_in_panels(p, t, x64):
    """aᵀb for weighted columns and t more, however many panels there are."""
    x = RANDOM.normal(size=(40, p))
    a = x * RANDOM.uniform(size=(40, 1))
    b = np.concatenate([x, RANDOM.normal(size=(40, t))], axis=1)
    found = _rows.symmetric(a, b)
    np.testing.assert_allclose(found, a.T @ b, atol=1e-12)
    panels = _rows.triangle(a, b)
    assert len(panels) <= _rows.PANELS
    if p >= _rows.WIDE:
        assert sum(part.size for row in panels for part in row) < 0.8 * p * (p + t)


@pytest.mark.parametrize("rows", ["periodic", "left out"])
def test_no_row_is_taken_for_all(rows):
    """Every 100th far away, or half of them far away and of weight 0, in float32."""
    x = RANDOM.normal(size=(25_600, 3)).astype("f")
    weights = np.ones(len(x), "f")
    if rows == "periodic":
        x[::100] -= 1000
    else:
        x[::2], weights[::2] = 1e6, 0
    found = _rows.normal(jnp.asarray(x), jnp.asarray(x[:, :1]), weights, True)
    exact = np.cov(x.T.astype(float), ddof=0, aweights=weights)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(found.gram), np.linalg.eigvalsh(exact), rtol=4e-3
    )
