"""Implicit feedback against the sum over all pairs, densely."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import Status, check
from jaxml.reduction import recommend
from jaxml.reduction.recommend import implicit
from tests import ratings as data
from tests.common.samples import Made
from tests.ratings import MANY, WEIGHTS


def _start(seed, users=5, items=4):
    return recommend.init(jax.random.key(seed), users=users, items=items, k=2)


SAMPLES = {
    "params": Made(lambda seed: _start(seed, 3, 3)),
    "fit.params": Made(_start),
    "ratings": Made(lambda seed: data.few(seed, positive=True)),
    "alpha": 2.0,
    "fit.max_iter": 5,
    "y": Made(lambda seed: np.random.default_rng(seed).uniform(0.1, 2, 12)),
}


def params():
    return recommend.Params(*map(jnp.asarray, data.start()))


def confidence(w, alpha):
    """c and p of Hu, Koren and Volinsky, for all pairs."""
    r = MANY.dense(w * MANY.y)
    return 1 + alpha * r, (r > 0) * 1.0


def test_cost_is_the_sum_over_all_pairs(x64):
    """Σ c (p - s)², one pair with two events, some events of weight 0."""
    theta, x = data.start()
    c, p = confidence(WEIGHTS, 2)
    s = theta @ x.T
    wanted = (c * (p - s) ** 2).sum() + 0.7 * ((theta**2).sum() + (x**2).sum())
    found = implicit.cost(params(), *MANY, l2=0.7, alpha=2, weights=WEIGHTS)
    np.testing.assert_allclose(found, wanted / 2, rtol=1e-12)


def test_twenty_events_are_one_of_twenty(x64):
    """So are one event of weight 20, and an event of 0, or of weight 0, is none."""
    start, options = _start(0), {"l2": 0.1, "alpha": 2.0}
    pair = np.full(20, 3), np.ones(20, int)
    twenty = recommend.prepare(*pair, np.ones(20), users=5, items=4)
    one = recommend.prepare([3], [1], [20.0], users=5, items=4)
    first = np.eye(20)[0]
    cases = [(one, [20.0], [1.0]), (twenty, np.ones(20), np.ones(20))]
    cases += [(twenty, 20 * first, np.ones(20)), (twenty, np.ones(20), 20 * first)]
    cases += [(twenty, 20 * first + 9 * (1 - first), first)]
    found = []
    for ratings, y, weights in cases:
        now = {**options, "weights": np.asarray(weights)}
        ratings = ratings._replace(y=jnp.asarray(y))
        fit = implicit.fit(start, ratings, **now, max_iter=3, tol=0)
        folded = implicit.fold_in(start, ratings.item, ratings.y, **now)
        value = implicit.cost(start, *ratings[:3], **now)
        found.append([fit.cost, value, *folded, *np.ravel(fit.params.theta)])
    np.testing.assert_allclose(found, found[:1] * 5, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weights", [None, [0.0]])
def test_who_has_done_nothing(weights):
    nothing = ([], []) if weights is None else ([1], [2.0])
    found = implicit.fold_in(_start(0), *nothing, l2=0.1, weights=weights)
    np.testing.assert_array_equal(found, np.zeros(2, np.float32))


def test_the_empty_item_is_at_0_at_once():
    """Conjugate gradients give what the factorisation does, and no NaN."""
    ratings = recommend.prepare([0, 1], [0, 0], [5.0, 3.0], users=3, items=2)
    start = recommend.init(jax.random.key(0), users=3, items=2, k=3)
    cases = (recommend.fit, "cg"), (recommend.fit, "cholesky"), (implicit.fit, "cg")
    fits = [check(fit(start, ratings, l2=0.01, solver=s)) for fit, s in cases]
    np.testing.assert_allclose(fits[0].cost, fits[1].cost, rtol=1e-3)
    for fit in fits:
        assert (fit.params.x[1] == 0).all()
        assert (fit.params.theta[2] == 0).all()


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_a_step_solves_the_normal_equations(solver, monkeypatch, x64):
    p, penalty = params(), np.full(3, 0.7)
    options = {"l2": 0.7, "alpha": 2.0, "weights": WEIGHTS}
    fit = implicit.fit(
        p, data.many(monkeypatch), **options, solver=solver, max_iter=1, tol=0
    )
    c, wanted = confidence(WEIGHTS, 2.0)
    theta = data.ridge(np.asarray(p.x), wanted, c, penalty)
    x = data.ridge(theta, wanted.T, c.T, penalty)
    np.testing.assert_allclose(fit.params.theta, theta, atol=1e-9)
    np.testing.assert_allclose(fit.params.x, x, atol=1e-8)
    value = implicit.cost(fit.params, *MANY, **options)
    np.testing.assert_allclose(fit.cost, value, rtol=1e-9)


def test_the_objective_never_rises(monkeypatch, x64):
    ratings = data.many(monkeypatch)
    for solver in ("cg", "cholesky"):
        fit = check(
            implicit.fit(
                params(), ratings, l2=3.0, solver=solver, tol=1e-12, max_iter=500
            )
        )
        history = np.asarray(fit.history)[: int(fit.steps)]
        assert (np.diff(history) <= 1e-10 * history[0]).all()
        slope = jax.grad(lambda p: implicit.cost(p, *MANY, l2=3.0))(fit.params)
        assert max(np.abs(a).max() for a in slope) < 1e-4


def test_fold_in_is_a_row_of_the_fit(monkeypatch, x64):
    p = params()
    options = {"l2": 0.7, "alpha": 2.0}
    fit = implicit.fit(
        p, data.many(monkeypatch), **options, solver="cholesky", max_iter=1, tol=0
    )
    mine = MANY.user == 3
    found = implicit.fold_in(p, MANY.item[mine], MANY.y[mine], **options)
    np.testing.assert_allclose(found, fit.params.theta[3], rtol=1e-9)


def test_negative_feedback_is_told():
    fit = implicit.fit(_start(0), data.few(), l2=0.1, alpha=2.0, max_iter=5)
    assert fit.status == Status.INVALID
