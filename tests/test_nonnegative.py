"""Non-negative factorisation against scikit-learn's coordinate descent."""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import non_negative_factorization

from jaxml import Status, check
from jaxml.reduction import recommend
from jaxml.reduction.recommend import nonnegative
from tests import ratings as data
from tests.common.samples import Made
from tests.ratings import ITEMS, MANY, USERS, WEIGHTS

SAMPLES = {
    "fit.params": Made(
        lambda seed: nonnegative.init(jax.random.key(seed), users=5, items=4, k=2)
    ),
    "ratings": Made(lambda seed: data.few(seed, positive=True)),
    "fit.max_iter": 5,
    "users": 3,
    "items": 3,
    "k": 2,
    "scale": 0.5,
}


def test_scikit_learn_on_full_data(x64):
    """The same start, the same five steps; its W is our Θ, its Hᵀ our X."""
    rng = np.random.default_rng(0)
    table = rng.uniform(size=(9, 7))
    w, h = rng.uniform(size=(9, 3)), rng.uniform(size=(3, 7))
    user, item = np.divmod(np.arange(63), 7)
    ratings = recommend.prepare(user, item, table.ravel(), users=9, items=7)
    start = recommend.Params(w, h.T)
    fit = nonnegative.fit(start, ratings, l2=0.2, tol=0, max_iter=5)
    options = {"solver": "cd", "init": "custom", "tol": 0, "max_iter": 5}
    # Its penalties are ½ alpha · columns |W|² and ½ alpha · rows |H|².
    theirs_w, theirs_h, _ = non_negative_factorization(
        table,
        w.copy(),
        h.copy(),
        n_components=3,
        alpha_W=0.2 / 7,
        alpha_H=0.2 / 9,
        l1_ratio=0.0,
        **options,
    )
    np.testing.assert_allclose(fit.params.theta, theirs_w, rtol=1e-6)
    np.testing.assert_allclose(fit.params.x, theirs_h.T, rtol=1e-6)


def test_observed_entries_only(monkeypatch, x64):
    """The cost never rises, nothing becomes negative, and KKT holds where it ends."""
    start = jax.tree.map(jnp.abs, recommend.Params(*map(jnp.asarray, data.start())))
    options = {"l2": 0.5, "weights": WEIGHTS}
    fit = nonnegative.fit(
        start, data.many(monkeypatch), **options, tol=0, max_iter=5000
    )
    history = np.asarray(fit.history)
    history = history[np.isfinite(history)]
    assert (np.diff(history) <= 1e-10 * history[0]).all()
    slope = recommend.gradient(fit.params, *MANY, **options)
    for a, g in zip(fit.params, slope, strict=True):
        assert (a >= 0).all()
        assert np.abs(a * g).max() < 1e-3
        assert g.min() > -1e-2


def test_converged_is_at_the_minimum(monkeypatch):
    """Four problems in float32: from there SciPy, in float64, gains nothing."""
    ratings = data.many(monkeypatch)
    rng = np.random.default_rng(0)
    l2s = np.array([0.01, 0.1, 1.0, 10.0], np.float32)
    truth = rng.gamma(1, size=(4, USERS, 3)) @ rng.gamma(1, size=(4, 3, ITEMS))
    ys = truth[:, MANY.user, MANY.item] * rng.uniform(0.8, 1.2, (4, len(MANY.y)))
    ys = ys.astype(np.float32)
    sizes = {"users": USERS, "items": ITEMS, "k": 3}

    @jax.jit
    @jax.vmap
    def fits(key, y, l2):
        return nonnegative.fit(
            nonnegative.init(key, **sizes), ratings._replace(y=y), l2=l2
        )

    found = check(fits(jax.random.split(jax.random.key(0), 4), ys, l2s))
    for i, (y, l2) in enumerate(zip(ys, l2s, strict=True)):
        now = recommend.Params(found.params.theta[i], found.params.x[i])
        here, least = data.further(now, y, l2, positive=True)
        assert here <= least * (1 + 1e-4)
        np.testing.assert_allclose(found.cost[i], here, rtol=1e-5)


def test_weight_0_is_no_rating():
    """Not even a negative one."""
    start = nonnegative.init(jax.random.key(0), users=5, items=4, k=2)
    ratings = data.few(positive=True)
    live = np.arange(12) % 4 > 0
    wild = ratings._replace(y=jnp.where(live, ratings.y, -1e6))
    options = {"l2": 0.1, "weights": live * 1.0, "max_iter": 5}
    one, two = (nonnegative.fit(start, r, **options) for r in (ratings, wild))
    assert one.status == two.status != Status.INVALID
    np.testing.assert_array_equal(one.params.x, two.params.x)


def test_negative_ratings_are_told():
    start = nonnegative.init(jax.random.key(0), users=5, items=4, k=2)
    fit = nonnegative.fit(start, data.few(), max_iter=5)
    assert fit.status == Status.INVALID
