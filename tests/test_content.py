"""The content-based form against brute force, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import Status, check
from jaxml.reduction import recommend
from jaxml.reduction.recommend import content
from tests import ratings as data
from tests.common.samples import Made
from tests.ratings import ITEMS, MANY, WEIGHTS

SAMPLES = {
    "cost.params": Made(
        lambda seed: recommend.init(jax.random.key(seed), users=3, items=3, k=2)
    ),
    "fit.x": Made(lambda seed: np.random.default_rng(seed).normal(size=(4, 2))),
    "ratings": Made(data.few),
}
FEATURES = np.random.default_rng(8).normal(size=(ITEMS, 3))


def test_each_user_is_a_ridge_regression(monkeypatch, x64):
    fit = check(content.fit(FEATURES, data.many(monkeypatch), l2=0.7, weights=WEIGHTS))
    known = MANY.dense(WEIGHTS)
    y = MANY.dense(WEIGHTS * MANY.y) / np.where(known > 0, known, 1)
    theta = data.ridge(FEATURES, y, known, np.full(3, 0.7))
    np.testing.assert_allclose(fit.params.theta, theta, atol=1e-10)
    value = content.cost(fit.params, *MANY, l2=0.7, weights=WEIGHTS)
    np.testing.assert_allclose(fit.cost, value, rtol=1e-10)
    assert fit.residual < 1e-10
    slope = jax.grad(lambda p: content.cost(p, *MANY, l2=0.7, weights=WEIGHTS))
    assert np.abs(slope(fit.params).theta).max() < 1e-10


def test_validation_has_derivatives(monkeypatch, x64):
    """∂(validation cost)/∂l2, ∂x and ∂y against central differences."""
    ratings = data.many(monkeypatch)
    x = jnp.asarray(FEATURES)

    @jax.jit
    def held_out(l2, x, y):
        now = ratings._replace(y=y)
        fit = content.fit(x, now, l2=l2, weights=jnp.asarray(WEIGHTS > 0) * 1.0)
        return content.cost(fit.params, *MANY, weights=jnp.asarray(WEIGHTS == 0) * 1.0)

    at = jnp.asarray(0.7), x, ratings.y
    rng = np.random.default_rng(0)
    move = [jnp.asarray(rng.normal(size=a.shape)) for a in at]
    slopes = jax.jit(jax.grad(held_out, (0, 1, 2)))(*at)
    for i, (slope, d) in enumerate(zip(slopes, move, strict=True)):
        ends = [
            held_out(*[a + s * 1e-5 * d if j == i else a for j, a in enumerate(at)])
            for s in (1, -1)
        ]
        numeric = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(jnp.vdot(slope, d), numeric, rtol=1e-5)


def test_without_penalty_and_ratings(monkeypatch):
    """Nothing determines the vector of user 5."""
    fit = content.fit(FEATURES, data.many(monkeypatch), l2=0.0)
    assert fit.status == Status.SINGULAR
