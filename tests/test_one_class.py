"""The one-class machine against LIBSVM, by hand, and by what ν means."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from sklearn.svm import OneClassSVM

from jaxml import check
from jaxml.regression import kernels
from jaxml.regression.svm import kernel as svm
from jaxml.regression.svm import one_class
from tests.depth import cases

RNG = np.random.default_rng(7)
M, N = 60, 3
X = RNG.normal(size=(M, N))
W = RNG.uniform(0.2, 3.0, M)
NU, GAMMA = 0.3, 0.4
KERNELS = {"rbf": "rbf", "poly": partial(kernels.polynomial, degree=2)}

_ALPHA = np.random.default_rng(1).uniform(0.02, 0.1, size=12)
SAMPLES = {
    "params": one_class.Params(
        np.random.default_rng(0).normal(size=(12, 3)),
        _ALPHA / _ALPHA.sum(),
        np.array(-0.4),
        np.array(0.5),
        np.array(1.0),
    ),
    "fit.tol": 1e-6,
    "fit.gamma": 0.5,
}

scores = jax.jit(one_class.scores)
cost_of = jax.jit(one_class.cost)
gap_of = jax.jit(one_class.duality_gap)
residual_of = jax.jit(one_class.kkt_residual)


@pytest.mark.parametrize(
    ("name", "solver"),
    cases(
        [("rbf", "full"), ("rbf", "block"), ("poly", "full")],
        quick=[("rbf", "full"), ("poly", "full")],
    ),
)
@pytest.mark.parametrize("nu", [0.05, 0.3])
def test_agrees_with_libsvm(name, solver, nu, x64):
    options = {"nu": nu, "gamma": GAMMA}
    fit = check(
        one_class.fit(X, kernel=KERNELS[name], solver=solver, tol=1e-10, **options)
    )
    theirs = OneClassSVM(kernel=name, coef0=1, degree=2, tol=1e-9, **options).fit(X)
    f = scores(fit.params, X)
    np.testing.assert_allclose(f * nu * M, theirs.decision_function(X), atol=2e-5)
    gap = float(gap_of(fit.params, X, nu=nu))
    assert -1e-12 < gap < 1e-9
    if name == "rbf":
        alpha = np.zeros(M)
        alpha[theirs.support_] = theirs.dual_coef_[0] / (nu * M)
        np.testing.assert_allclose(fit.params.alpha, alpha, atol=1e-5)
        support = np.flatnonzero(svm.support_mask(fit.params))
        np.testing.assert_array_equal(support, theirs.support_)


def test_what_nu_means(x64):
    fit = check(one_class.fit(X, nu=NU, gamma=GAMMA, tol=1e-10))
    f = np.asarray(scores(fit.params, X))
    assert np.mean(f < -1e-8) <= NU <= np.mean(svm.support_mask(fit.params))
    np.testing.assert_array_equal(one_class.predict(fit.params, X), f >= 0)
    far = one_class.predict(fit.params, np.full((1, N), 9.0))
    np.testing.assert_array_equal(far, [0])


@pytest.mark.parametrize("nu", [0.05, 0.1, 0.3, 0.5])
def test_at_most_a_share_of_nu_is_outside(nu):
    fit = check(one_class.fit(X, nu=nu, gamma=GAMMA))
    outside = 1 - np.asarray(one_class.predict(fit.params, X))
    assert outside.sum() <= nu * M + 1e-9
    one = one_class.fit(X, nu=nu, gamma=GAMMA, weights=np.full(M, 2.0**126))
    np.testing.assert_allclose(one.params.alpha, fit.params.alpha, atol=1e-6)
    np.testing.assert_allclose(one.cost, fit.cost, rtol=1e-5)


def test_the_conditions_hold(x64):
    fit = check(one_class.fit(X, nu=NU, gamma=GAMMA, weights=W, tol=1e-10))
    alpha, f = np.asarray(fit.params.alpha), np.asarray(scores(fit.params, X))
    cap = W / (NU * W.sum())
    np.testing.assert_allclose(alpha.sum(), 1)
    assert np.all((alpha >= 0) & (alpha <= cap * (1 + 1e-12)))
    full, none = alpha >= cap * (1 - 1e-12), alpha == 0
    assert np.all(f[none] > -1e-9)
    assert np.all(f[full] < 1e-9)
    assert np.any(~full & ~none)
    np.testing.assert_allclose(f[~full & ~none], 0, atol=1e-9)
    options = {"nu": NU, "weights": W}
    cost = cost_of(fit.params, X, **options)
    np.testing.assert_allclose(fit.cost, cost, rtol=1e-9)
    gram = np.exp(-GAMMA * ((X[:, None] - X[None]) ** 2).sum(-1))
    by_hand = cap @ np.maximum(0, -f) + alpha @ gram @ alpha / 2 + float(fit.params.b)
    np.testing.assert_allclose(cost, by_hand)
    gap = gap_of(fit.params, X, **options)
    np.testing.assert_allclose(fit.residual, gap / abs(cost), atol=1e-9)
    assert float(residual_of(fit.params, X, **options)) < 1e-8
    other = replace(fit.params, alpha=cap * NU)
    assert float(residual_of(other, X, **options)) > 1e-3
    assert float(gap_of(other, X, **options)) > 1e-4


def test_all_rows_outside_is_a_density(x64):
    # ν = 1: α = 1/m, and f is Parzen's estimate less its least value... at a row.
    fit = check(one_class.fit(X, nu=1.0, gamma=GAMMA, tol=1e-10))
    np.testing.assert_allclose(fit.params.alpha, 1 / M)
    density = np.asarray(kernels.rbf(X, X, gamma=GAMMA)).mean(axis=1)
    f = scores(fit.params, X)
    np.testing.assert_allclose(f, density - density.max(), atol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("solver", ["full", "block"])
def test_weights_are_repeated_rows(solver, x64):
    counts = RNG.multinomial(M, np.ones(M) / M)
    options = {"nu": NU, "gamma": GAMMA, "tol": 1e-10, "solver": solver}
    ours = one_class.fit(X, weights=counts, **options)
    repeated = one_class.fit(X[np.repeat(np.arange(M), counts)], **options)
    np.testing.assert_allclose(ours.cost, repeated.cost, rtol=1e-9)
    np.testing.assert_allclose(
        scores(ours.params, X), scores(repeated.params, X), atol=1e-8
    )
    assert not np.any(np.asarray(ours.params.alpha)[counts == 0])


@pytest.mark.long
def test_a_batch_of_shares():
    nus = np.array([0.1, 0.5])
    fits = check(jax.vmap(lambda nu: one_class.fit(X, nu=nu, gamma=GAMMA))(nus))
    for i, nu in enumerate(nus):
        theirs = OneClassSVM(nu=nu, gamma=GAMMA, tol=1e-6).fit(X)
        params = jax.tree.map(lambda a, i=i: a[i], fits.params)
        wanted = theirs.decision_function(X) / (nu * M)
        np.testing.assert_allclose(scores(params, X), wanted, atol=1e-4)


def test_refuses_a_share_of_nothing():
    with pytest.raises(ValueError, match="nu must lie in"):
        one_class.fit(X, nu=0.0)
