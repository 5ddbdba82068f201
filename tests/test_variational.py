"""Variational factorisation against the exact posterior where it is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.reduction import recommend
from jaxml.reduction.recommend import variational
from tests import ratings as data
from tests.common.samples import Made
from tests.ratings import ITEMS, MANY, USERS, WEIGHTS


def _start(seed, users=3, items=3):
    return variational.init(
        jax.random.key(seed), users=users, items=items, k=2, scale=0.5
    )


SAMPLES = {
    "params": Made(_start),
    "fit.params": Made(lambda seed: _start(seed, 5, 4)),
    "ratings": Made(data.few),
    "fit.max_iter": 5,
    "users": 3,
    "items": 3,
    "k": 2,
    "scale": 0.5,
}


def bound(params, w):
    """F by sampling nothing: every expectation from first and second moments."""
    user, item, noise = params.user, params.item, float(params.noise)
    first, second = [], []
    for side in (user, item):
        mean, cov = np.asarray(side.mean), np.asarray(side.covariance)
        first.append(mean)
        second.append(cov + mean[:, :, None] * mean[:, None, :])
    total = 0.0
    for u, i, y, weight in zip(*MANY, w, strict=True):
        r = y - float(params.mu)
        # ŷ = a·(x, 1) + b with a = (θ, b_u): expand E ŷ² over all pairs of terms.
        a, c = first[0][u], first[1][i]
        aa, cc = second[0][u], second[1][i]
        mean = a[:-1] @ c[:-1] + a[-1] + c[-1]
        square = (aa[:-1, :-1] * cc[:-1, :-1]).sum() + aa[-1, -1] + cc[-1, -1]
        square += 2 * (aa[:-1, -1] @ c[:-1] + a[:-1] @ cc[:-1, -1] + a[-1] * c[-1])
        error = r**2 - 2 * r * mean + square
        total += weight * 0.5 * (np.log(2 * np.pi * noise) + error / noise)
    for side, moments in ((user, second), (item, second[1:])):
        precision = np.asarray(side.precision)
        rows, p = side.mean.shape
        square = np.einsum("rii,i->", moments[0], precision)
        volume = np.linalg.slogdet(np.asarray(side.covariance))[1].sum()
        total += 0.5 * (square - rows * p - volume - rows * np.log(precision).sum())
    return total


def fitted(monkeypatch, steps=30, k=2):
    start = variational.init(jax.random.key(2), users=USERS, items=ITEMS, k=k)
    ratings = data.many(monkeypatch)
    return variational.fit(start, ratings, weights=WEIGHTS, max_iter=steps, tol=0)


def test_the_bound_is_what_it_says_and_falls(monkeypatch, x64):
    fit = fitted(monkeypatch)
    np.testing.assert_allclose(fit.cost, bound(fit.params, WEIGHTS), rtol=1e-10)
    history = np.asarray(fit.history)
    assert (np.diff(history) <= 1e-9).all()


def test_each_side_minimises_the_bound(monkeypatch, x64):
    """At the end no move of an item, of its prior or of the noise lowers F."""
    params = fitted(monkeypatch, steps=300).params
    rng = np.random.default_rng(0)
    here = bound(params, WEIGHTS)
    for _ in range(5):
        mean = params.item.mean + 1e-3 * rng.normal(size=params.item.mean.shape)
        scale = 1 + 1e-3 * rng.normal(size=(ITEMS, 1, 1))
        moved = params.item._replace(mean=mean)
        assert bound(params._replace(item=moved), WEIGHTS) > here
        moved = params.item._replace(covariance=params.item.covariance * scale)
        assert bound(params._replace(item=moved), WEIGHTS) > here
    for factor in (0.99, 1.01):
        assert bound(params._replace(noise=params.noise * factor), WEIGHTS) > here
        moved = params.item._replace(precision=params.item.precision * factor)
        assert bound(params._replace(item=moved), WEIGHTS) > here


def test_evidence_of_one_item(x64):
    """One item with a sharp bias of 0: F is -log P(y) of a one-way random effect.

    y = b_u + noise, four ratings by each user: the marginal is Gaussian.
    """
    rng = np.random.default_rng(4)
    users, times = 50, 4
    truth = rng.normal(size=users)
    user = np.repeat(np.arange(users), times)
    y = truth[user] + 0.5 * rng.normal(size=users * times)
    ratings = recommend.prepare(user, 0 * user, y, users=users, items=1)
    start = variational.init(jax.random.key(0), users=users, items=1, k=1, scale=1e-6)
    fit = variational.fit(start, ratings, tol=1e-12, max_iter=2000)
    # One-way analysis of variance: maximum likelihood in closed form.
    groups = (y - y.mean()).reshape(users, times)
    within = ((groups - groups.mean(1, keepdims=True)) ** 2).sum()
    noise = within / (users * (times - 1))
    spread = (groups.mean(1) ** 2).mean() - noise / times
    np.testing.assert_allclose(fit.params.noise, noise, rtol=1e-4)
    np.testing.assert_allclose(1 / fit.params.user.precision[-1], spread, rtol=1e-4)
    shrunk = groups.mean(1) * spread / (spread + noise / times)
    np.testing.assert_allclose(fit.params.user.mean[:, -1], shrunk, atol=1e-4)


@pytest.mark.long
def test_variance_by_sampling(monkeypatch):
    """Draws of the Gaussians; a stranger is less certain than a regular."""
    params = fitted(monkeypatch).params
    rng = np.random.default_rng(1)
    user, item = np.array([3, 5]), np.array([4, 7])
    found = variational.variance(params, user, item)
    for u, i, variance in zip(user, item, found, strict=True):
        a, c = (
            rng.multivariate_normal(side.mean[n], side.covariance[n], 400_000)
            for side, n in ((params.user, u), (params.item, i))
        )
        y = (a[:, :-1] * c[:, :-1]).sum(1) + a[:, -1] + c[:, -1]
        np.testing.assert_allclose(variance, y.var() + params.noise, rtol=0.02)
        mean = variational.predict(params, np.array([u]), np.array([i])) - params.mu
        assert abs(float(mean[0]) - y.mean()) < 5 * y.std() / 400_000**0.5
    assert found[1] > found[0]


@pytest.mark.long
def test_needless_factors_vanish(x64):
    """Ratings of rank one plus biases, six factors offered: one keeps its variance."""
    rng = np.random.default_rng(6)
    theta, x = rng.normal(size=60), rng.normal(size=40)
    y = np.outer(theta, x) + rng.normal(size=(60, 1)) + 0.3 * rng.normal(size=(60, 40))
    user, item = np.nonzero(rng.uniform(size=y.shape) < 0.5)
    ratings = recommend.prepare(user, item, y[user, item], users=60, items=40)
    start = variational.init(jax.random.key(0), users=60, items=40, k=6)
    params = variational.fit(start, ratings, tol=0, max_iter=300).params
    # var θ · var x of each factor: 1 in truth.
    strength = np.asarray(1 / (params.user.precision * params.item.precision))
    strength = np.sort(strength[:-1])
    assert strength[-1] > 0.3
    assert strength[-2] < 0.01
    np.testing.assert_allclose(params.noise, 0.09, rtol=0.15)


def test_mean_is_a_biased_factorisation(monkeypatch):
    params = fitted(monkeypatch).params
    found = variational.predict(params, MANY.user, MANY.item)
    p = variational.mean(params)
    theta, x = np.asarray(p.theta), np.asarray(p.x)
    wanted = p.mu + p.b_user[MANY.user] + p.b_item[MANY.item]
    wanted += (theta[MANY.user] * x[MANY.item]).sum(1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert jnp.isfinite(found).all()
