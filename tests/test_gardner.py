"""Counting by brute force, Gardner's integral by quadrature, and random patterns."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import linprog
from scipy.stats import norm

from jaxml.physics import gardner
from jaxml.regression.svm import hulls
from tests.depth import cases

SAMPLES = {"kappa": 0.5, "alpha": 0.7}


def test_cover_counts():
    assert gardner.cover_count(4, 3) == 14
    assert gardner.cover_count(20, 10) / 2**20 == 0.5
    assert gardner.cover_count(100, 100) == 2**100
    for n in range(1, 9):
        assert gardner.cover_count(2 * n, n) == 2 ** (2 * n - 1)


@pytest.mark.parametrize(("p", "n"), [(5, 2), (5, 3), (6, 3)])
def test_cover_counts_what_planes_can_do(p, n):
    x = np.random.default_rng(0).normal(size=(p, n))
    signs = itertools.product([-1.0, 1.0], repeat=p)
    count = 0
    for y in signs:  # is there a w with y x·w >= 1?
        plane = linprog(
            np.zeros(n), -np.array(y)[:, None] * x, -np.ones(p), bounds=(None, None)
        )
        count += plane.status == 0
    assert count == gardner.cover_count(p, n)


def test_capacity_is_the_integral(x64):
    for kappa in (0, 0.1, 0.5, 1, 2, 5):
        integral, _ = quad(
            lambda t, k=kappa: norm.pdf(t) * (t + k) ** 2, -kappa, 40, epsabs=1e-13
        )
        ours = gardner.capacity(kappa=kappa)
        np.testing.assert_allclose(ours, 1 / integral, rtol=1e-11)
    found = [gardner.capacity(kappa=k) for k in (0, 0.5, 2)]
    np.testing.assert_allclose(found, [2, 0.9612050528, 0.2002310156], atol=5e-11)


def test_margin_is_the_inverse(x64):
    found = [gardner.margin(alpha=a) for a in (0.5, 1)]
    np.testing.assert_allclose(found, [1.0343140614, 0.4706553526], atol=5e-11)
    kappa = jnp.array([0, 1e-3, 0.3, 1, 3, 10])
    alpha = jax.vmap(lambda k: gardner.capacity(kappa=k))(kappa)
    back = jax.jit(jax.vmap(lambda a: gardner.margin(alpha=a)))(alpha)
    np.testing.assert_allclose(back, kappa, rtol=1e-12, atol=1e-12)
    slope = jax.grad(lambda a: gardner.margin(alpha=a))(0.7)
    ends = [gardner.margin(alpha=0.7 + h) for h in (1e-6, -1e-6)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-8)


def test_float32():
    alpha = jnp.array([1e-4, 0.01, 0.5, 1.0, 1.9])
    kappa = jax.vmap(lambda a: gardner.margin(alpha=a))(alpha)
    assert kappa.dtype == jnp.float32
    back = jax.vmap(lambda k: gardner.capacity(kappa=k))(kappa)
    np.testing.assert_allclose(back, alpha, rtol=2e-6)


def test_outside_is_nan():
    for alpha in (0.0, -1.0, 2.01):
        assert np.isnan(gardner.margin(alpha=alpha))
    assert np.isnan(gardner.capacity(kappa=-0.1))
    with pytest.raises(ValueError, match=r"^patterns must be at least 1"):
        gardner.cover_count(0, 3)


@pytest.mark.parametrize("alpha", cases([0.5, 1.0], quick=[1.0]))
def test_random_patterns_have_gardners_margin(alpha):
    n, seeds = 200, 10
    p = int(alpha * n)

    def learn(key):
        patterns, labels = jax.random.split(key)
        x = jax.random.rademacher(patterns, (p, n), jnp.float32)
        y = jax.random.bernoulli(labels, 0.5, (p,)).astype(int)
        fit = hulls.nearest_points(
            x, y, intercept=False, method="mdm", tol=1e-3, max_iter=10_000
        )
        w = hulls.hyperplane(fit.params).w
        least = jnp.min((2 * y - 1) * (x @ w)) / jnp.linalg.norm(w)
        distance = hulls.distance(fit.params)
        return fit.status, distance, least, jnp.mean(fit.params.alpha > 0)

    keys = jax.random.split(jax.random.key(0), seeds)
    status, distance, least, share = jax.jit(jax.vmap(learn))(keys)
    assert (status == 0).all()
    # The hull from one side, the margin from the other.
    assert (least <= distance * (1 + 1e-5)).all()
    np.testing.assert_allclose(least, distance, rtol=1e-3)
    kappa = float(gardner.margin(alpha=alpha))
    print(f"α = {alpha}: κ {least.mean():.4f} ({kappa:.4f}), share {share.mean():.3f}")
    assert abs(least.mean() - kappa) < 0.08
    assert abs(share.mean() - norm.cdf(kappa)) < 0.04
    assert math.isclose(norm.cdf(kappa), [0.8495, 0.6811][alpha == 1], abs_tol=5e-5)
