"""Biased factorisation against brute force, autodiff and training by mini-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import check, train
from jaxml.reduction.recommend import biased
from tests import ratings as data
from tests.common.samples import Made
from tests.depth import cases
from tests.ratings import ITEMS, MANY, USERS, WEIGHTS


def _random(seed, users=3, items=3):
    rng = np.random.default_rng(seed)
    shapes = (), (users,), (items,), (users, 2), (items, 2)
    return biased.Params(*(np.asarray(rng.normal(size=s)) for s in shapes))


SAMPLES = {
    "params": Made(_random),
    "fit.params": Made(lambda seed: _random(seed, 5, 4)),
    "ratings": Made(data.few),
    "l2_bias": 0.3,
    "fit.max_iter": 5,
    "users": 3,
    "items": 3,
    "k": 2,
    "scale": 0.5,
}
OPTIONS = {"l2": 0.7, "l2_bias": 0.3, "weights": WEIGHTS}


def params():
    rng = np.random.default_rng(1)
    shapes = (), (USERS,), (ITEMS,), (USERS, 2), (ITEMS, 2)
    return biased.Params(*(jnp.asarray(rng.normal(size=s)) for s in shapes))


def test_cost_from_dense_matrices(x64):
    mu, b_user, b_item, theta, x = map(np.asarray, params())
    table = mu + b_user[:, None] + b_item + theta @ x.T
    r = table[MANY.user, MANY.item] - MANY.y
    penalty = 0.7 * ((theta**2).sum() + (x**2).sum())
    penalty += 0.3 * ((b_user**2).sum() + (b_item**2).sum())
    found = biased.cost(params(), *MANY, **OPTIONS)
    np.testing.assert_allclose(found, 0.5 * ((WEIGHTS * r**2).sum() + penalty))
    user = np.array([3, 0])
    np.testing.assert_allclose(biased.scores(params(), user), table[user])


@pytest.mark.parametrize("solver", cases(["cholesky", "cg"], quick=["cg"]))
def test_a_step_solves_the_normal_equations(solver, monkeypatch, x64):
    """A ridge regression on [x, 1] of what b_item leaves, then one on [theta, 1]."""
    p = params()
    fit = biased.fit(
        p, data.many(monkeypatch), **OPTIONS, solver=solver, max_iter=1, tol=0
    )
    known = MANY.dense(WEIGHTS)
    mu = (WEIGHTS * MANY.y).sum() / WEIGHTS.sum()
    y = MANY.dense(WEIGHTS * MANY.y) / np.where(known > 0, known, 1) - mu
    penalty = np.array([0.7, 0.7, 0.3])
    table = np.c_[p.x, np.ones(ITEMS)]
    own = data.ridge(table, y - np.asarray(p.b_item), known, penalty)
    table = np.c_[own[:, :2], np.ones(USERS)]
    other = data.ridge(table, y.T - own[:, 2], known.T, penalty)
    np.testing.assert_allclose(fit.params.theta, own[:, :2], atol=1e-9)
    np.testing.assert_allclose(fit.params.b_user, own[:, 2], atol=1e-9)
    np.testing.assert_allclose(fit.params.x, other[:, :2], atol=1e-8)
    np.testing.assert_allclose(fit.params.b_item, other[:, 2], atol=1e-8)
    value = biased.cost(fit.params, *MANY, **OPTIONS)
    np.testing.assert_allclose(fit.cost, value, rtol=1e-9)


def test_the_minimum_and_the_unseen(monkeypatch, x64):
    """The cost never rises and its gradient vanishes; strangers have only the mean."""
    fit = biased.fit(
        params(),
        data.many(monkeypatch),
        l2=4.0,
        l2_bias=1.0,
        tol=1e-14,
        max_iter=500,
    )
    p = check(fit).params
    history = np.asarray(fit.history)[: int(fit.steps)]
    assert (np.diff(history) <= 1e-10 * history[0]).all()
    slope = jax.grad(lambda p: biased.cost(p, *MANY, l2=4.0, l2_bias=1.0))(p)
    assert max(np.abs(a).max() for a in slope[1:]) < 1e-6
    # User 5 and item 7 have no rating: what is known is the other side's bias.
    found = biased.predict(p, np.array([5, 2, 5]), np.array([3, 7, 7]))
    wanted = p.mu + jnp.array([p.b_item[3], p.b_user[2], 0])
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.long
def test_mini_batches_come_near(monkeypatch):
    """Stochastic descent with the penalty's share of a batch."""
    start = biased.init(jax.random.key(0), users=USERS, items=ITEMS, k=2)
    best = biased.fit(start, data.many(monkeypatch), l2=4.0, l2_bias=1.0, max_iter=500)
    start = start._replace(mu=best.params.mu)
    m = len(MANY.y)
    share = 40 / m
    update = train.descend(
        biased.cost,
        solver=optax.adam,
        learning_rate=0.02,
        l2=4.0 * share,
        l2_bias=share,
    )
    state = train.start(update, start, jax.random.key(1))
    found = train.fit(update, state, tuple(MANY), batch=40, epochs=300).params
    value = biased.cost(found, *MANY, l2=4.0, l2_bias=1.0)
    assert best.cost / 1.001 < value < 1.05 * best.cost


def test_fold_in_is_a_row_of_the_fit(monkeypatch, x64):
    p, mine = params(), MANY.user == 3
    fit = biased.fit(p, data.many(monkeypatch), **OPTIONS, max_iter=1, tol=0)
    found = biased.fold_in(
        p._replace(mu=fit.params.mu),
        MANY.item[mine],
        MANY.y[mine],
        **{**OPTIONS, "weights": WEIGHTS[mine]},
    )
    np.testing.assert_allclose(found.theta, fit.params.theta[3], rtol=1e-9)
    np.testing.assert_allclose(found.b_user, fit.params.b_user[3], rtol=1e-9)


def test_who_has_rated_nothing():
    found = biased.fold_in(params(), [], [], l2=0.7, l2_bias=0.3)
    np.testing.assert_array_equal(found.theta, np.zeros(2))
    assert found.b_user == 0
