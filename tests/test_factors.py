"""The course's factorisation against its definition, brute force and autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import Status, check, optimize
from jaxml.reduction import recommend
from tests import ratings as data
from tests.common.samples import Made
from tests.ratings import ITEMS, MANY, USERS, WEIGHTS

SAMPLES = {
    "init.users": 3,
    "init.items": 3,
    "init.k": 2,
    "init.scale": 0.5,
    "users": 3,
    "items": 3,
    "k": 2,
    "scale": 0.5,
    "ratings": Made(data.few),
    "fit.params": Made(
        lambda seed: recommend.init(jax.random.key(seed), users=5, items=4, k=2)
    ),
    "fit.max_iter": 5,
    "fit.learning_rate": None,
}


def params(k=3):
    return recommend.Params(*map(jnp.asarray, data.start(k)))


def by_hand(theta, x, l2, w):
    """The course's J, from dense matrices."""
    r = theta @ x.T - MANY.dense(MANY.y) / np.maximum(MANY.dense(), 1)
    known = MANY.dense(w)
    # A pair that was rated twice is compared with both its ratings.
    mean = MANY.dense(w * MANY.y) / np.where(known > 0, known, 1)
    inner = (w * (MANY.y - mean[MANY.user, MANY.item]) ** 2).sum()
    r = theta @ x.T - mean
    return 0.5 * ((known * r**2).sum() + inner + l2 * ((x**2).sum() + (theta**2).sum()))


def test_cost_is_the_slides(x64):
    p = params()
    for w in (np.ones(len(MANY.y)), WEIGHTS):
        found = recommend.cost(p, *MANY, l2=0.7, weights=w)
        np.testing.assert_allclose(found, by_hand(*data.start(), 0.7, w), rtol=1e-12)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_gradient(weights, x64):
    options = {"l2": 0.7, "weights": weights}
    found = recommend.gradient(params(), *MANY, **options)
    slope = jax.grad(lambda p: recommend.cost(p, *MANY, **options))(params())
    for a, b in zip(found, slope, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_a_step_solves_the_normal_equations(solver, monkeypatch, x64):
    """First every user, then every item; weights, a pair rated twice, nobody's rows."""
    ratings, p = data.many(monkeypatch), params()
    assert min(len(ratings.by_user.row), len(ratings.by_item.row)) > 2
    fit = recommend.fit(
        p, ratings, l2=0.7, weights=WEIGHTS, solver=solver, max_iter=1, tol=0
    )
    known = MANY.dense(WEIGHTS)
    y = MANY.dense(WEIGHTS * MANY.y) / np.where(known > 0, known, 1)
    penalty = np.full(3, 0.7)
    theta = data.ridge(np.asarray(p.x), y, known, penalty)
    x = data.ridge(theta, y.T, known.T, penalty)
    # Three unknowns: three steps of conjugate gradients are exact.
    np.testing.assert_allclose(fit.params.theta, theta, atol=1e-9)
    np.testing.assert_allclose(fit.params.x, x, atol=1e-8)
    np.testing.assert_allclose(fit.params.theta[5], 0, atol=1e-14)
    np.testing.assert_allclose(fit.cost, by_hand(theta, x, 0.7, WEIGHTS), rtol=1e-9)


def test_the_objective_never_rises(monkeypatch, x64):
    """By alternating least squares; the gradient vanishes where it ends."""
    ratings = data.many(monkeypatch)
    fit = check(recommend.fit(params(), ratings, l2=3.0, tol=1e-14, max_iter=400))
    history = np.asarray(fit.history)[: int(fit.steps)]
    assert (np.diff(history) <= 1e-10 * history[0]).all()
    slope = recommend.gradient(fit.params, *MANY, l2=3.0)
    assert max(np.abs(a).max() for a in slope) < 1e-6
    np.testing.assert_allclose(
        fit.cost, recommend.cost(fit.params, *MANY, l2=3.0), rtol=1e-9
    )
    # Jointly, as in the slides: the same minimum.
    joint = recommend.fit(
        params(),
        ratings,
        l2=3.0,
        solver=optimize.conjugate,
        tol=1e-7,
        max_iter=1000,
    )
    np.testing.assert_allclose(check(joint).cost, fit.cost, rtol=1e-9)


def test_an_exact_product_is_found(monkeypatch, x64):
    """Ratings of rank 2, some of them unseen: these are predicted."""
    rng = np.random.default_rng(5)
    theta, x = rng.normal(size=(USERS, 2)), rng.normal(size=(ITEMS, 2))
    truth = theta @ x.T
    ratings = data.many(monkeypatch)
    seen = truth[MANY.user, MANY.item]
    ratings = ratings._replace(y=jnp.asarray(seen))
    fit = recommend.fit(params(2), ratings, l2=1e-6, tol=1e-10, max_iter=2000)
    found = np.asarray(fit.params.theta @ fit.params.x.T)
    rows, columns = np.delete(np.arange(USERS), 5), np.delete(np.arange(ITEMS), 7)
    inner = np.ix_(rows, columns)
    np.testing.assert_allclose(found[inner], truth[inner], atol=2e-3)


def test_normalise():
    """The mean of rated entries only; of an item without any, that of all ratings."""
    item, y = np.array([0, 0, 2, 2, 2]), np.array([1.0, 3.0, 5.0, 5.0, 2.0])
    found = recommend.normalise(item, y, items=3)
    np.testing.assert_allclose(found.mean, [2, 3.2, 4])
    np.testing.assert_allclose(found.y, [-1, 1, 1, 1, -2])
    weighted = recommend.normalise(item, y, items=3, weights=[0, 1, 1, 1, 2])
    np.testing.assert_allclose(weighted.mean, [3, 17 / 5, 14 / 4], rtol=1e-6)


def test_fold_in_is_a_row_of_the_fit(monkeypatch, x64):
    p = params()
    options = {"l2": 0.7, "weights": np.ones(len(MANY.y)), "max_iter": 1, "tol": 0}
    fit = recommend.fit(p, data.many(monkeypatch), **options)
    mine = MANY.user == 3
    found = recommend.fold_in(p, MANY.item[mine], MANY.y[mine], l2=0.7)
    np.testing.assert_allclose(found, fit.params.theta[3], rtol=1e-9)


def test_penalties_under_vmap(monkeypatch):
    ratings = data.many(monkeypatch)

    def one(l2):
        return recommend.fit(params(), ratings, l2=l2, max_iter=2)

    together = jax.vmap(one)(jnp.array([0.5, 5.0]))
    for i, l2 in enumerate((0.5, 5.0)):
        np.testing.assert_allclose(together.cost[i], one(l2).cost, rtol=1e-5)
    assert one(0.0).status == Status.SINGULAR  # nothing determines user 5


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_what_nothing_determines_is_told(solver, monkeypatch):
    """User 5 has no ratings; and those of weight 0 are none."""
    ratings = data.many(monkeypatch)
    fit = recommend.fit(params(), ratings, l2=0.0, solver=solver)
    assert fit.status == Status.SINGULAR


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_converged_is_at_the_minimum(solver, monkeypatch):
    """Twelve problems in float32: from there SciPy, in float64, gains nothing.

    Low rank, exactly or with noise, and penalties from weak to strong.
    """
    ratings = data.many(monkeypatch)
    rng = np.random.default_rng(0)
    user, item = MANY.user, MANY.item
    scales, l2s = np.repeat([0.0, 0.1, 0.5], 4), np.tile([0.01, 0.1, 1.0, 10.0], 3)
    ys, starts = [], []
    for scale in scales:
        theta, x = rng.normal(size=(USERS, 3)), rng.normal(size=(ITEMS, 3))
        y = (theta @ x.T)[user, item] + scale * rng.normal(size=len(user))
        ys.append(y)
        starts.append(
            (0.1 * rng.normal(size=theta.shape), 0.1 * rng.normal(size=x.shape))
        )
    theta, x = (np.array(a, np.float32) for a in zip(*starts, strict=True))

    @jax.jit
    @jax.vmap
    def fits(theta, x, y, l2):
        now, start = ratings._replace(y=y), recommend.Params(theta, x)
        return recommend.fit(start, now, l2=l2, solver=solver)

    found = check(fits(theta, x, np.array(ys, np.float32), l2s.astype(np.float32)))
    assert (found.residual >= 0).all()
    for i, (y, l2) in enumerate(zip(ys, l2s, strict=True)):
        now = recommend.Params(found.params.theta[i], found.params.x[i])
        here, least = data.further(now, y.astype(np.float32), l2)
        assert here <= least * (1 + 1e-4)
        np.testing.assert_allclose(found.cost[i], here, rtol=1e-5)


def test_units_of_ratings(monkeypatch):
    """Ratings times 2^20: vectors times 2^10, penalties times 2^20, nothing else."""
    ratings, p = data.many(monkeypatch), params()
    for power in (-20, 20):
        half, unit = 2.0 ** (power // 2), 2.0**power
        moved = ratings._replace(y=unit * ratings.y)
        start = jax.tree.map(lambda a, half=half: half * a, p)
        one = recommend.fit(p, ratings, l2=3.0)
        two = recommend.fit(start, moved, l2=3.0 * unit)
        np.testing.assert_allclose(two.params.x, half * one.params.x, rtol=1e-4)
        np.testing.assert_allclose(two.cost, unit**2 * one.cost, rtol=1e-5)
        assert (two.steps, two.status) == (one.steps, Status.CONVERGED)


def test_weight_0_is_no_rating(monkeypatch):
    """Wild ratings of weight 0 change nothing, nor do they count as a user's."""
    ratings = data.many(monkeypatch)
    live = np.arange(len(MANY.y)) % 3 > 0
    wild = jnp.where(live, ratings.y, 1e30)
    options = {"l2": 3.0, "weights": live * 1.0, "max_iter": 3, "tol": 0}
    one = recommend.fit(params(), ratings._replace(y=wild), **options)
    few = recommend.prepare(*(a[live] for a in MANY), users=USERS, items=ITEMS)
    two = recommend.fit(params(), few, l2=3.0, max_iter=3, tol=0)
    np.testing.assert_allclose(one.params.theta, two.params.theta, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-5)


def test_who_has_rated_nothing():
    """The zero vector, whether there are no ratings or all have weight 0."""
    for rated in (([], [], None), ([1], [3.0], [0.0])):
        item, y, weights = rated
        found = recommend.fold_in(params(), item, y, l2=0.7, weights=weights)
        np.testing.assert_array_equal(found, np.zeros(3))


def test_what_is_refused(monkeypatch):
    ratings = data.many(monkeypatch)
    p = params()
    with pytest.raises(ValueError, match="ratings must be a .*Ratings"):
        recommend.fit(p, tuple(MANY), l2=1.0)
    with pytest.raises(ValueError, match="ratings are of 30 users, params of 29"):
        recommend.fit(p._replace(theta=p.theta[:-1]), ratings, l2=1.0)
    with pytest.raises(ValueError, match="solver must be one of"):
        recommend.fit(p, ratings, l2=1.0, solver="qr")
    with pytest.raises(ValueError, match="user holds the label 30"):
        recommend.predict(p, np.array([30]), np.array([0]))
    with pytest.raises(ValueError, match="x has shape"):
        recommend.predict(p._replace(x=p.x[:, :2]), np.array([0]), np.array([0]))
    # Under jit the number is NaN, never that of another user.
    for wrong in (30, -1):
        found = jax.jit(recommend.predict)(p, jnp.array([wrong]), jnp.array([0]))
        assert np.isnan(found).all()
