"""Implicit feedback against the sum over all pairs, densely."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.optimize import Status, check
from jaxml.reduction import recommend
from jaxml.reduction.recommend import feedback
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
    extra = MANY.dense(w * alpha * MANY.y)
    liked = MANY.dense(w * (1 + alpha * MANY.y))
    return 1 + extra, liked / (1 + extra)


def test_cost_is_the_sum_over_all_pairs(x64):
    """Σ c (p - s)², where each pair has feedback once at most."""
    once = (MANY.dense() <= 1)[MANY.user, MANY.item]
    triplets = [a[once] for a in MANY]
    theta, x = data.start()
    c = np.ones((data.USERS, data.ITEMS))
    p = np.zeros_like(c)
    c[triplets[0], triplets[1]] += 2 * triplets[2]
    p[triplets[0], triplets[1]] = 1
    s = theta @ x.T
    wanted = (c * (p - s) ** 2).sum() + 0.7 * ((theta**2).sum() + (x**2).sum())
    found = feedback.cost(params(), *triplets, l2=0.7, alpha=2)
    np.testing.assert_allclose(found, wanted / 2, rtol=1e-12)


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_a_step_solves_the_normal_equations(solver, monkeypatch, x64):
    p, penalty = params(), np.full(3, 0.7)
    options = {"l2": 0.7, "alpha": 2.0, "weights": WEIGHTS}
    fit = feedback.fit(
        p, data.many(monkeypatch), **options, solver=solver, max_iter=1, tol=0
    )
    c, wanted = confidence(WEIGHTS, 2.0)
    theta = data.ridge(np.asarray(p.x), wanted, c, penalty)
    x = data.ridge(theta, wanted.T, c.T, penalty)
    np.testing.assert_allclose(fit.params.theta, theta, atol=1e-9)
    np.testing.assert_allclose(fit.params.x, x, atol=1e-8)
    value = feedback.cost(fit.params, *MANY, **options)
    np.testing.assert_allclose(fit.cost, value, rtol=1e-9)


def test_the_objective_never_rises(monkeypatch, x64):
    ratings = data.many(monkeypatch)
    for solver in ("cg", "cholesky"):
        fit = check(
            feedback.fit(
                params(), ratings, l2=3.0, solver=solver, tol=1e-8, max_iter=500
            )
        )
        history = np.asarray(fit.history)[: int(fit.steps)]
        assert (np.diff(history) <= 1e-10 * history[0]).all()
        slope = jax.grad(lambda p: feedback.cost(p, *MANY, l2=3.0))(fit.params)
        assert max(np.abs(a).max() for a in slope) < 1e-4


def test_fold_in_is_a_row_of_the_fit(monkeypatch, x64):
    p = params()
    options = {"l2": 0.7, "alpha": 2.0}
    fit = feedback.fit(
        p, data.many(monkeypatch), **options, solver="cholesky", max_iter=1, tol=0
    )
    mine = MANY.user == 3
    found = feedback.fold_in(p, MANY.item[mine], MANY.y[mine], **options)
    np.testing.assert_allclose(found, fit.params.theta[3], rtol=1e-9)


def test_negative_feedback_is_told():
    fit = feedback.fit(_start(0), data.few(), l2=0.1, alpha=2.0, max_iter=5)
    assert fit.status == Status.INVALID
