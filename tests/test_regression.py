"""Support vector regression against LIBSVM, by hand, and by its conditions."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.svm import SVR

from jaxml import Status, check
from jaxml.regression import kernels
from jaxml.regression.svm import kernel as svm
from jaxml.regression.svm import regression as svr
from tests.depth import cases

RNG = np.random.default_rng(5)
M, N = 60, 3
X = RNG.normal(size=(M, N))
Y = np.sin(2 * X[:, 0]) + 0.3 * X[:, 1] + 0.2 * RNG.normal(size=M)
W = RNG.uniform(0.2, 3.0, M)
L2, EPSILON = 0.02, 0.15
C = 1 / (L2 * M)
OPTIONS = {"l2": L2, "epsilon": EPSILON}
SQUARE = partial(kernels.polynomial, degree=2)
NAMES = {"rbf": "rbf", "poly": SQUARE, "linear": "linear"}

_ALPHA = np.random.default_rng(1).normal(size=12) / 9
SAMPLES = {
    "params": svr.Params(
        np.random.default_rng(0).normal(size=(12, 3)),
        _ALPHA,
        np.array(0.1),
        np.array(0.5),
        np.array(1.0),
    ),
    "fit.tol": 1e-5,
    "fit.gamma": 0.5,
}

predict = jax.jit(svr.predict)
cost_of = jax.jit(svr.cost)
gap_of = jax.jit(svr.duality_gap)
residual_of = jax.jit(svr.kkt_residual)


@pytest.mark.parametrize(
    ("name", "solver"),
    cases(
        [*((name, "full") for name in NAMES), ("rbf", "block")],
        quick=[("rbf", "full"), ("rbf", "block")],
    ),
)
def test_agrees_with_libsvm(name, solver, x64):
    options = {"kernel": NAMES[name], "solver": solver}
    fit = check(svr.fit(X, Y, **OPTIONS, **options, gamma=0.4, tol=1e-8))
    theirs = SVR(
        C=C, epsilon=EPSILON, kernel=name, gamma=0.4, coef0=1, degree=2, tol=1e-8
    ).fit(X, Y)
    ours = predict(fit.params, X)
    np.testing.assert_allclose(ours, theirs.predict(X), atol=1e-5)
    gap = float(gap_of(fit.params, X, Y, **OPTIONS))
    assert -1e-12 < gap < 1e-8
    if name == "rbf":
        alpha = np.zeros(M)
        alpha[theirs.support_] = theirs.dual_coef_[0]
        np.testing.assert_allclose(fit.params.alpha, alpha, atol=1e-4)
        support = np.flatnonzero(svm.support_mask(fit.params))
        np.testing.assert_array_equal(support, theirs.support_)
        assert len(support) < M
        small = predict(svm.compact(fit.params), X)
        np.testing.assert_allclose(small, ours, atol=1e-12)


def test_the_conditions_hold(x64):
    fit = check(svr.fit(X, Y, **OPTIONS, gamma=0.4, weights=W, tol=1e-9))
    rest = Y - np.asarray(predict(fit.params, X))
    alpha = np.asarray(fit.params.alpha)
    cap = W / (L2 * W.sum())
    outside, inside = np.abs(alpha) >= cap * (1 - 1e-12), alpha == 0
    free = ~outside & ~inside
    assert outside.any()
    assert inside.any()
    assert free.any()
    assert abs(alpha.sum()) < 1e-12
    assert np.all(np.abs(alpha) <= cap * (1 + 1e-12))
    assert np.all(np.abs(rest[inside]) < EPSILON + 1e-8)
    np.testing.assert_allclose(rest[free], EPSILON * np.sign(alpha[free]), atol=1e-8)
    assert np.all((rest * np.sign(alpha))[outside] > EPSILON - 1e-8)
    arguments = {**OPTIONS, "weights": W}
    np.testing.assert_allclose(
        fit.cost, cost_of(fit.params, X, Y, **arguments), rtol=1e-10
    )
    gap = gap_of(fit.params, X, Y, **arguments)
    np.testing.assert_allclose(fit.residual, gap / fit.cost, atol=1e-12)
    assert float(residual_of(fit.params, X, Y, **arguments)) < 1e-7
    worse = replace(fit.params, alpha=0.9 * fit.params.alpha)
    assert float(residual_of(worse, X, Y, **arguments)) > 0.01
    assert float(gap_of(worse, X, Y, **arguments)) > 1e-4
    # What cost says agrees with a sum by hand.
    gram = np.exp(-0.4 * ((X[:, None] - X[None]) ** 2).sum(-1))
    loss = W @ np.maximum(0, np.abs(rest) - EPSILON) / W.sum()
    np.testing.assert_allclose(fit.cost, loss + L2 / 2 * alpha @ gram @ alpha)


def test_two_points_by_hand(x64):
    # The flattest line within ε of (0, 0) and (2, 2): slope 1 - ε, through (1, 1).
    x, y = np.array([[0.0], [2.0]]), np.array([0.0, 2.0])
    fit = check(svr.fit(x, y, epsilon=0.25, l2=1e-3, kernel="linear", tol=1e-12))
    line = predict(fit.params, np.array([[0.0], [1.0]]))
    np.testing.assert_allclose(line, [0.25, 1.0])
    np.testing.assert_allclose(fit.params.alpha, [-0.375, 0.375])
    np.testing.assert_allclose(fit.cost, 1e-3 / 2 * 0.75**2)


def test_a_wide_tube_holds_everything():
    fit = check(svr.fit(X, Y, epsilon=10.0, l2=L2))
    assert not np.any(fit.params.alpha)
    assert float(fit.cost) == 0
    middle = (Y.max() + Y.min()) / 2
    np.testing.assert_allclose(fit.params.b, middle, rtol=1e-5)


def test_no_tube_at_all(x64):
    # ε = 0: the median under a penalty; rows then have two free variables at times.
    fit = check(svr.fit(X, Y, epsilon=0.0, l2=L2, gamma=0.4, tol=1e-8))
    theirs = SVR(C=C, epsilon=0.0, gamma=0.4, tol=1e-8).fit(X, Y)
    np.testing.assert_allclose(predict(fit.params, X), theirs.predict(X), atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("solver", ["full", "block"])
def test_weights_are_repeated_rows(solver, x64):
    counts = RNG.multinomial(M, np.ones(M) / M)
    rows = np.repeat(np.arange(M), counts)
    options = {**OPTIONS, "gamma": 0.4, "tol": 1e-9, "solver": solver}
    ours = svr.fit(X, Y, weights=counts, **options)
    repeated = svr.fit(X[rows], Y[rows], **options)
    np.testing.assert_allclose(ours.cost, repeated.cost, rtol=1e-8)
    np.testing.assert_allclose(
        predict(ours.params, X), predict(repeated.params, X), atol=1e-7
    )
    assert not np.any(np.asarray(ours.params.alpha)[counts == 0])


def test_precomputed_is_the_kernel(x64):
    gram = np.asarray(kernels.rbf(X, X, gamma=0.4))
    fit = check(svr.fit(gram, Y, **OPTIONS, kernel="precomputed", tol=1e-8))
    theirs = SVR(C=C, epsilon=EPSILON, kernel="precomputed", tol=1e-8).fit(gram, Y)
    ours = predict(fit.params, gram)
    np.testing.assert_allclose(ours, theirs.predict(gram), atol=1e-5)


def test_a_batch_of_penalties_and_widths():
    def one(l2, epsilon):
        return svr.fit(X, Y, l2=l2, epsilon=epsilon, gamma=0.4, tol=1e-4)

    l2s, widths = np.array([0.1, 0.01]), np.array([0.05, 0.3])
    fits = check(jax.vmap(one)(l2s, widths))
    for i in range(2):
        theirs = SVR(C=1 / (l2s[i] * M), epsilon=widths[i], gamma=0.4, tol=1e-5)
        params = jax.tree.map(lambda a, i=i: a[i], fits.params)
        wanted = theirs.fit(X, Y).predict(X)
        np.testing.assert_allclose(predict(params, X), wanted, atol=1e-3)


@pytest.mark.parametrize("offset", [0, 1000])
def test_converged_means_near_the_minimum(offset):
    # Targets of any unit and offset, C over four decades, against LIBSVM.
    rng = np.random.default_rng(5)
    unit = 10 ** rng.uniform(-3, 3, 30)
    y = (unit[:, None] * (Y + offset)).astype(np.float32)
    l2 = (1 / (10 ** rng.uniform(-1, 2, 30) * unit * M)).astype(np.float32)
    epsilon = (0.1 * unit).astype(np.float32)
    one = lambda y, l2, epsilon: svr.fit(X, y, l2=l2, epsilon=epsilon, gamma=0.4)
    fits = check(jax.jit(jax.vmap(one))(y, l2, epsilon))
    for i in range(30):
        narrow, wide = float(epsilon[i]), float(l2[i])
        peer = SVR(C=1 / (wide * M), epsilon=narrow, gamma=0.4, tol=1e-9 * unit[i])
        peer.fit(X, y[i].astype(float))
        alpha = np.zeros(M)
        alpha[peer.support_] = peer.dual_coef_[0]
        gram = np.exp(-0.4 * ((X[:, None] - X[None]) ** 2).sum(-1))

        def cost(alpha, b, i=i, narrow=narrow, wide=wide, gram=gram):
            off = np.abs(y[i].astype(float) - gram @ alpha - b)
            return np.maximum(0, off - narrow).mean() + wide / 2 * alpha @ gram @ alpha

        best = cost(alpha, peer.intercept_[0])
        ours = [
            np.asarray(v[i], np.float64) for v in (fits.params.alpha, fits.params.b)
        ]
        # b of an offset of 1000 has the rounding of the offset.
        slack = 6e-5 * unit[i] if offset else 0
        assert cost(*ours) - best < max(1.2e-4, 1.5 * fits.residual[i]) * best + slack


def test_weights_of_any_size():
    kept = np.arange(M) % 4 > 0
    junk = np.where(kept, Y, 1e6)
    options = {**OPTIONS, "gamma": 0.4, "tol": 1e-6}
    one = svr.fit(X, junk, **options, weights=kept * 2.0**126)
    two = svr.fit(X, Y, **options, weights=kept * 1.0)
    assert one.status == two.status == Status.CONVERGED
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-5)


def test_invalid_without_a_penalty():
    assert svr.fit(X, Y, l2=0.0).status == Status.INVALID


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -1.0}, "epsilon must lie in"),
        ({"kernel": "cubic"}, "kernel must be one of"),
        ({"y": Y[:, None]}, "y has shape"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        svr.fit(X, **{"y": Y, **options})


@pytest.mark.long
def test_derivatives_in_blocks(x64):
    # The protocol tests those of "full"; here K is never formed.
    at = {"y": jnp.asarray(Y), "epsilon": jnp.array(0.15), "l2": jnp.array(L2)}
    directions = {"y": RNG.normal(size=M), "epsilon": 0.1, "l2": 0.001}

    def value(moving):
        fit = svr.fit(X, **moving, gamma=0.4, solver="block", tol=1e-14)
        return jnp.concatenate([svr.predict(fit.params, X[:9] + 0.1), fit.cost[None]])

    @jax.jit
    def both(at, direction):
        ends = [
            jax.tree.map(lambda a, d, h=h: a + h * d, at, direction)
            for h in (2e-6, -2e-6)
        ]
        ends = jax.tree.map(lambda *e: jnp.stack(e), *ends)
        return jax.jvp(value, (at,), (direction,))[1], jax.lax.map(value, ends)

    for name, d in directions.items():
        direction = {**jax.tree.map(jnp.zeros_like, at), name: jnp.asarray(d)}
        forward, (up, down) = both(at, direction)
        numeric = (up - down) / 4e-6
        scale = np.abs(numeric).max()
        np.testing.assert_allclose(forward, numeric, atol=1e-5 * scale, rtol=0)
