"""Distances against differences in float64, wherever the rows lie, and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import _distances, _units
from jaxml.regression import basis, kernels
from tests.depth import cases

SIGNS = np.repeat([1.0, -1.0], 20)
NARROW, WIDE = 2, 20
assert NARROW <= _distances.NARROW < WIDE


def _clouds(n, apart):
    """Two clouds of unit size, far apart for float32, and two rows that are equal."""
    noise = np.random.default_rng(9).normal(size=(40, n))
    x = (apart * SIGNS[:, None] + noise).astype(np.float32)
    x[7] = x[3]
    return x


def _squares(a, b):
    return ((a[:, None].astype(float) - b[None].astype(float)) ** 2).sum(2)


def _one_outlier(n):
    x = _clouds(n, 0)
    x[0] = 1e5
    return x


SETS = {
    "clouds": lambda n: _clouds(n, 1e4),
    "outlier": _one_outlier,
    "offset": lambda n: _clouds(n, 3) + np.float32(2**13),
}


@pytest.mark.parametrize("n", [NARROW, WIDE])
@pytest.mark.parametrize("rows", SETS)
def test_distances_keep_their_digits(rows, n):
    x = SETS[rows](n)
    wanted = _squares(x, x)
    found = kernels.squared_distances(x, x)
    np.testing.assert_allclose(found, wanted, rtol=2e-4)
    batch = jax.vmap(kernels.squared_distances)(np.stack([x, x]), np.stack([x, x]))
    np.testing.assert_allclose(batch[1], wanted, rtol=2e-4)
    own = np.arange(40)
    found = jax.jit(_distances.squared)(x, x, own=own)
    np.testing.assert_allclose(found, wanted, rtol=2e-4)


@pytest.mark.parametrize("n", [NARROW, WIDE])
@pytest.mark.parametrize("unit", [2.0**-66, 2.0**66])
def test_lengths_of_any_size(unit, n):
    """Whose squares under- or overflow in float32."""
    x = _clouds(n, 2) * np.float32(unit)
    found = np.asarray(_distances.euclidean(x, x)) / unit
    np.testing.assert_allclose(found, np.sqrt(_squares(x, x)) / unit, rtol=1e-4)


@pytest.mark.parametrize("kernel", ["rbf", "matern"])
@pytest.mark.parametrize("n", cases([NARROW, WIDE], quick=[NARROW]))
def test_kernels_of_clouds_far_apart(kernel, n):
    x = _clouds(n, 1e3)
    gamma = 0.5 / n
    u = np.sqrt(6 * gamma * _squares(x, x))
    wanted = {"rbf": np.exp(-(u**2) / 6), "matern": (1 + u) * np.exp(-u)}[kernel]
    found = np.asarray(kernels.matrix(x, x, kernel=kernel, gamma=gamma))
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    several = jax.vmap(lambda g: kernels.matrix(x, x, kernel=kernel, gamma=g))
    np.testing.assert_array_equal(several(jnp.array([gamma, 1.0]))[0], found)
    assert np.linalg.eigvalsh(found.astype(float))[0] > -1e-4


@pytest.mark.parametrize("n", [NARROW, WIDE])
def test_derivatives_are_those_of_differences(n, x64):
    """Of the first and second order, also where rows coincide."""
    a, b = _clouds(n, 1)[3:9].astype(float), _clouds(n, 1)[5:12].astype(float)
    c = np.random.default_rng(0).normal(size=(6, 7))

    def plain(a, b):
        return jnp.sum((a[:, None] - b[None]) ** 2, axis=2)

    def loss(squares, a, b):
        found = squares(a, b)
        return jnp.sum(c * jnp.exp(-found / n) + c * found**2)

    ours, wanted = (
        jax.jit(jax.jacfwd(jax.grad(lambda *ab, f=f: loss(f, *ab), (0, 1)), 0))(a, b)
        for f in (_distances.squared, plain)
    )
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9),
        ours,
        wanted,
    )
    slope = jax.grad(lambda a: jnp.sum(c[0, 0] * _distances.euclidean(a, a)))(a)
    step = a[:, None] - a[None]
    length = np.linalg.norm(step, axis=2, keepdims=True)
    unit = step / np.where(length == 0, 1, length)
    np.testing.assert_allclose(slope, 2 * c[0, 0] * unit.sum(1), atol=1e-9)


def test_unit_of():
    x = jnp.array([[0.3], [-5.0], [9e30]])
    assert _units.unit_of(x, jnp.array([1.0, 2.0, 0.0])) == 4
    assert _units.unit_of(0 * x) == 1
    np.testing.assert_array_equal(_units.unit_of(2.0**-100 * x[:1], axis=0), 2.0**-102)


@pytest.mark.parametrize("unit", [2.0**-66, 1.0, 2.0**66])
def test_radial_functions_in_any_unit(unit):
    x = _clouds(NARROW, 1e3)
    found = basis.radial(x * np.float32(unit), x[:5] * np.float32(unit), width=unit)
    np.testing.assert_allclose(found, np.exp(-_squares(x, x[:5]) / 2), atol=1e-6)
