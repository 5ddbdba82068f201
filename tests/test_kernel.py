"""The kernel machine against LIBSVM, published optima, closed forms and differences."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_svmlight_file
from sklearn.svm import SVC

from jaxml import Status, check
from jaxml.regression import kernels
from jaxml.regression.svm import kernel as svm
from tests.depth import cases

RNG = np.random.default_rng(3)
M, N = 60, 3
X = RNG.normal(size=(M, N))
Y = (X[:, 0] + X[:, 1] ** 2 + 0.7 * RNG.normal(size=M) > 0.7).astype(int)
W = RNG.uniform(0.2, 3.0, M)
L2 = 0.01
C = 1 / (L2 * M)
POINTS = RNG.normal(size=(M, N))
# our options, and those of SVC; every option of these is the same for both
HYPER = {"gamma": 0.4, "offset": 0.7}
PEER = {"gamma": 0.4, "coef0": 0.7, "degree": 2}
SQUARE = partial(kernels.polynomial, degree=2)
NAMES = {"rbf": "rbf", "poly": SQUARE, "sigmoid": "sigmoid", "linear": "linear"}

_ALPHA = np.random.default_rng(1).normal(size=7) / 5
SAMPLES = {
    "params": svm.Params(
        np.random.default_rng(0).normal(size=(7, 3)),
        _ALPHA - _ALPHA.mean(),
        np.array(0.1),
        np.array(0.5),
        np.array(1.0),
    ),
    "class_weights": np.array([0.7, 1.6]),
    "fit.tol": 1e-5,
    "fit.gamma": 0.5,
    "gram": None,
    # The residual compares the rows of params with their labels, and its ends jump
    # where an α leaves its box.
    "kkt_residual.y": np.arange(12) % 2,
    "kkt_residual.params": svm.Params(
        np.random.default_rng(0).normal(size=(12, 3)),
        0.05 * (2.0 * (np.arange(12) % 2) - 1),
        np.array(0.1),
        np.array(0.5),
        np.array(1.0),
    ),
}


# Compiled as a whole, which is faster than one operation at a time.
scores_of, cost_of = jax.jit(svm.scores), jax.jit(svm.cost)
dual_of, gap_of = jax.jit(svm.dual), jax.jit(svm.duality_gap)
residual_of, margin_of = jax.jit(svm.kkt_residual), jax.jit(svm.margin)


def of_kernel(kernel, weights=None, **options):
    """Our fit, in float64, of the data above."""
    hyper = {**HYPER, **options}
    return svm.fit(X, Y, l2=L2, kernel=kernel, weights=weights, tol=1e-8, **hyper)


# --- against LIBSVM -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "solver"),
    cases(
        [*((name, "full") for name in NAMES), ("rbf", "block")],
        quick=[("rbf", "full"), ("rbf", "block")],
    ),
)
def test_agrees_with_libsvm(name, solver, x64):
    ours = check(of_kernel(NAMES[name], solver=solver))
    theirs = SVC(C=C, kernel=name, tol=1e-8, **PEER).fit(X, Y)
    alpha = np.zeros(M)
    alpha[theirs.support_] = theirs.dual_coef_[0]
    other = replace(
        ours.params, alpha=jnp.array(alpha), b=jnp.array(theirs.intercept_[0])
    )
    f = scores_of(ours.params, X)
    if name == "sigmoid":  # which local solution is found is not determined
        assert float(residual_of(ours.params, X, Y, l2=L2)) <= 1.01e-8
        return
    best = dual_of(other, l2=L2)
    np.testing.assert_allclose(dual_of(ours.params, l2=L2), best, rtol=1e-7)
    np.testing.assert_allclose(f, theirs.decision_function(X), atol=1e-5)
    np.testing.assert_array_equal(svm.predict(ours.params, X), theirs.predict(X))
    if name != "linear":  # its α is not unique
        ours_support = np.flatnonzero(svm.support_mask(ours.params))
        np.testing.assert_array_equal(ours_support, np.sort(theirs.support_))
        np.testing.assert_allclose(ours.params.alpha, alpha, atol=1e-4)


def test_weights_agree_with_libsvm(x64):
    # Class weights are factors of w, and so change Σw, where LIBSVM's C stays.
    factors = np.array([0.5, 2.0])
    scaled = W * factors[Y]
    ours = svm.fit(X, Y, l2=L2, gamma=0.4, weights=W, class_weights=factors, tol=1e-8)
    peer = SVC(
        C=1 / (L2 * scaled.sum()), gamma=0.4, tol=1e-8, class_weight={0: 0.5, 1: 2.0}
    )
    peer.fit(X, Y, sample_weight=W)
    scores = scores_of(check(ours).params, X)
    np.testing.assert_allclose(scores, peer.decision_function(X), atol=1e-5)
    same = svm.fit(X, Y, l2=L2, gamma=0.4, weights=scaled, tol=1e-8)
    np.testing.assert_allclose(same.params.alpha, ours.params.alpha, atol=1e-12)


def test_the_width_is_that_of_sklearn():
    ours = svm.fit(X, Y, l2=L2, tol=1e-5)
    theirs = SVC(C=C, gamma="scale", tol=1e-5).fit(X, Y)
    np.testing.assert_allclose(ours.params.gamma, theirs._gamma, rtol=1e-5)
    np.testing.assert_allclose(
        scores_of(ours.params, X), theirs.decision_function(X), atol=1e-3
    )


@pytest.mark.parametrize("solver", ["full", "block"])
def test_heart_scale(solver, x64):
    # LIBSVM's own example with its defaults: C = 1 and gamma = 1/13.
    path = Path(os.environ.get("JAXML_DATA", "")) / "libsvm" / "heart_scale"
    if not path.exists():
        pytest.skip("JAXML_DATA holds no libsvm/heart_scale")
    x, y = load_svmlight_file(str(path))
    x, y = x.toarray(), (y > 0).astype(int)
    l2 = 1 / len(x)
    fit = check(svm.fit(x, y, l2=l2, gamma=1 / 13, tol=1e-9, solver=solver))
    least = -float(dual_of(fit.params, l2=l2)) / l2
    np.testing.assert_allclose(least, -100.8772915569, rtol=0, atol=1e-7)
    assert float(gap_of(fit.params, x, y, l2=l2)) / l2 < 1e-7
    assert int(svm.support_mask(fit.params).sum()) == 132
    assert int(jnp.sum(jnp.abs(fit.params.alpha) >= 1)) == 107
    assert int(jnp.sum(svm.predict(fit.params, x) == y)) == 234


# --- closed forms -------------------------------------------------------------------


def test_exclusive_or(x64):
    # K = (1 + x·x')²: α = 1/8 each, f = -x₁x₂, ‖w‖² = ½ and a margin of 2√2.
    x = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    y = np.array([0, 1, 1, 0])
    options = {"l2": 1e-3, "tol": 1e-12}
    fit = check(svm.fit(x, y, kernel=SQUARE, gamma=1, offset=1, **options))
    np.testing.assert_allclose(fit.params.alpha, np.array([-1, 1, 1, -1]) / 8)
    np.testing.assert_allclose(fit.params.b, 0, atol=1e-12)
    points = RNG.normal(size=(5, 2))
    scores = scores_of(fit.params, points)
    np.testing.assert_allclose(scores, -points[:, 0] * points[:, 1], atol=1e-12)
    np.testing.assert_allclose(margin_of(fit.params), 8**0.5)
    np.testing.assert_allclose(dual_of(fit.params, l2=1.0), 0.25)
    np.testing.assert_allclose(fit.cost, 1e-3 / 4)
    gram = kernels.polynomial(x, x, degree=2)
    precomputed = svm.fit(gram, y, kernel="precomputed", **options)
    np.testing.assert_allclose(precomputed.params.alpha, fit.params.alpha)


def test_tiny_set(x64):
    x = np.array([[-2.0, -1], [-1, -1], [-1, -2], [1, 1], [1, 2], [2, 1]])
    y = np.array([0, 0, 0, 1, 1, 1])
    fit = check(svm.fit(x, y, l2=1 / 6, kernel="linear", tol=1e-10))
    np.testing.assert_allclose(fit.params.alpha, [0, -0.25, 0, 0.25, 0, 0], atol=1e-10)
    np.testing.assert_allclose(fit.params.b, 0, atol=1e-10)
    small = svm.compact(fit.params)
    np.testing.assert_array_equal(small.x, x[[1, 3]])
    np.testing.assert_array_equal(svm.predict(small, x), y)


def test_two_points_by_hand(x64):
    # w = 2 (q - p)/‖q - p‖², α = 2/‖q - p‖², unless C is less: no row is then free.
    x, y = np.array([[0.0, 0], [3, 4]]), np.array([0, 1])
    wide = svm.fit(x, y, l2=0.1, kernel="linear", tol=1e-12)
    np.testing.assert_allclose(wide.params.alpha, [-0.08, 0.08])
    np.testing.assert_allclose(margin_of(wide.params), 5)
    np.testing.assert_allclose(wide.params.b, -1)
    narrow = svm.fit(x, y, l2=10.0, kernel="linear", tol=1e-12)
    np.testing.assert_allclose(narrow.params.alpha, [-0.05, 0.05])
    np.testing.assert_allclose(narrow.params.b, -0.05 * 25 / 2)


@pytest.mark.parametrize("solver", ["full", "block"])
def test_the_conditions_hold(solver, x64):
    fit = check(of_kernel("rbf", weights=W, solver=solver))
    signs, f = 2 * Y - 1, np.asarray(scores_of(fit.params, X))
    a = np.asarray(fit.params.alpha) * signs
    cap = W / (L2 * W.sum())
    assert abs((a * signs).sum()) < 1e-12
    assert np.all(a >= 0)
    assert np.all(a <= cap * (1 + 1e-12))
    slack = signs * f - 1
    assert np.all(np.abs(slack[(a > 0) & (a < cap * (1 - 1e-12))]) < 1e-7)
    assert np.all(slack[a == 0] > -1e-7)
    assert np.all(slack[a >= cap * (1 - 1e-12)] < 1e-7)
    assert {0, 1, 2} == {int(v > 0) + int(v >= c * (1 - 1e-12)) for v, c in zip(a, cap)}
    # What the functions say of the same.
    arguments = fit.params, X, Y
    cost = cost_of(*arguments, l2=L2, weights=W)
    np.testing.assert_allclose(fit.cost, cost, rtol=1e-10)
    gap = float(gap_of(*arguments, l2=L2, weights=W))
    assert -1e-12 < gap < 1e-8
    np.testing.assert_allclose(fit.residual, gap / cost, atol=1e-12)
    assert float(residual_of(*arguments, l2=L2, weights=W)) < 1e-6
    worse = replace(fit.params, alpha=fit.params.alpha * 0.9)
    assert float(residual_of(worse, X, Y, l2=L2, weights=W)) > 0.05
    assert float(gap_of(worse, X, Y, l2=L2, weights=W)) > 1e-3


def test_the_residual_is_true_in_float32():
    # A residual that was only kept up to date, not computed anew, would drift.
    x = np.concatenate([X[:30], X[:30] + 0.01]).astype(np.float32)
    y = np.concatenate([Y[:30], 1 - Y[:30]])
    fit = svm.fit(x, y, l2=1e-5, gamma=0.4)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: np.asarray(a, np.float64), fit.params)
        arguments = params, x.astype(float), y
        true = gap_of(*arguments, l2=1e-5) / cost_of(*arguments, l2=1e-5)
    np.testing.assert_allclose(true, fit.residual, atol=1e-4)


# --- kernels ------------------------------------------------------------------------


def cosine(a, b):
    """A kernel of one's own: it is not defined for a row of zeros."""
    a = a / jnp.linalg.norm(a, axis=1, keepdims=True)
    return a @ (b / jnp.linalg.norm(b, axis=1, keepdims=True)).T


@pytest.mark.parametrize("solver", ["full", "block"])
def test_any_function(solver, x64):
    fit = check(of_kernel(cosine, solver=solver))
    gram = np.asarray(cosine(X, X))
    theirs = SVC(C=C, kernel="precomputed", tol=1e-8).fit(gram, Y)
    scores = scores_of(fit.params, X)
    np.testing.assert_allclose(scores, theirs.decision_function(gram), atol=1e-5)


@pytest.mark.long
def test_precomputed_is_the_kernel(x64):
    direct = check(of_kernel("rbf"))
    gram = kernels.rbf(X, X, gamma=0.4)
    fit = check(svm.fit(gram, Y, l2=L2, kernel="precomputed", tol=1e-8))
    np.testing.assert_allclose(fit.params.alpha, direct.params.alpha, atol=1e-10)
    points = POINTS
    wanted = scores_of(direct.params, points)
    between = kernels.rbf(points, X, gamma=0.4)
    for params in (fit.params, svm.compact(fit.params)):
        scores = scores_of(params, between)
        np.testing.assert_allclose(scores, wanted, atol=1e-10)
        value = margin_of(params, gram=gram)
        np.testing.assert_allclose(value, margin_of(direct.params))
        gap = gap_of(params, gram, Y, l2=L2)
        np.testing.assert_allclose(gap, 0, atol=1e-8)


def test_support_predicts_the_same():
    fit = of_kernel("rbf", weights=W)
    small = svm.compact(fit.params)
    assert len(small.x) == int(svm.support_mask(fit.params).sum()) < M
    np.testing.assert_allclose(scores_of(small, X), scores_of(fit.params, X), atol=1e-5)


# --- weights, batches ---------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("solver", ["full", "block"])
def test_weights_are_repeated_rows(solver, x64):
    counts = RNG.multinomial(M, np.ones(M) / M)  # as many rows: no new shape
    rows = np.repeat(np.arange(M), counts)
    options = {"l2": L2, "tol": 1e-9, "solver": solver}
    ours = svm.fit(X, Y, weights=counts, **options)
    repeated = svm.fit(X[rows], Y[rows], **options)
    np.testing.assert_allclose(ours.cost, repeated.cost, rtol=1e-9)
    points = POINTS
    np.testing.assert_allclose(
        scores_of(ours.params, points), scores_of(repeated.params, points), atol=1e-7
    )
    assert not np.any(np.asarray(ours.params.alpha)[counts == 0])


def test_folds_and_grids_in_one_trace(x64):
    folds = (np.arange(M)[None] % 3 != np.arange(3)[:, None]).astype(float)
    l2s, gammas = np.array([0.1, 0.01]), np.array([0.2, 0.8])

    def one(weights, l2, gamma):
        return svm.fit(X, Y, weights=weights, l2=l2, gamma=gamma, tol=1e-8)

    over = jax.vmap(
        jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0,) + (None,) * 2
    )
    before = svm.fit.traces
    fits = check(over(folds, l2s, gammas))
    assert svm.fit.traces <= before + 1
    for i, j, k in np.ndindex(3, 2, 2):
        kept = folds[i] > 0
        peer = SVC(C=1 / (l2s[j] * kept.sum()), gamma=gammas[k], tol=1e-8)
        peer.fit(X[kept], Y[kept])
        params = jax.tree.map(lambda a, at=(i, j, k): a[at], fits.params)
        scores = scores_of(params, X)
        np.testing.assert_allclose(scores, peer.decision_function(X), atol=1e-5)


def test_refits_add_no_trace():
    svm.fit(X, Y, l2=0.1, gamma=1.0)
    before = svm.fit.traces
    for i in range(5):
        svm.fit(X + i, 1 - Y, l2=0.1 * (i + 1), gamma=1.0 + i)
    assert svm.fit.traces == before


# --- derivatives --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "solver"),
    cases([(SQUARE, "full"), ("rbf", "block")], quick=[(SQUARE, "full")]),
)
def test_validation_scores_have_derivatives(kernel, solver, x64):
    points, labels = RNG.normal(size=(20, N)), RNG.integers(0, 2, 20)

    def values(moving):
        fit = svm.fit(**moving, y=Y, kernel=kernel, solver=solver, tol=1e-14)
        scores = scores_of(fit.params, points)
        loss = cost_of(fit.params, points, labels)
        margin = margin_of(fit.params)
        return jnp.concatenate([scores, jnp.stack([margin, loss, fit.cost])])

    at = {"x": X, "l2": L2, "gamma": 0.4, "offset": 0.7, "weights": W}
    at = jax.tree.map(jnp.asarray, at)
    # One direction for each argument, and one to look back along.
    directions = [
        {n: 0.1 * RNG.normal(size=a.shape) * (n == name) for n, a in at.items()}
        for name in at
    ]
    directions = jax.tree.map(lambda *d: jnp.stack(d), *directions)
    back = jnp.asarray(RNG.normal(size=23))

    @jax.jit
    def everything(at, directions):
        def along(direction):
            forward = jax.jvp(values, (at,), (direction,))[1]
            ends = [
                jax.tree.map(lambda a, d, h=h: a + h * d, at, direction)
                for h in (2e-6, -2e-6)
            ]
            return forward, jax.lax.map(
                values, jax.tree.map(lambda *e: jnp.stack(e), *ends)
            )

        reverse = jax.vjp(values, at)[1](back)[0]
        return jax.lax.map(along, directions), reverse

    (forward, ends), reverse = everything(at, directions)
    numeric = (ends[:, 0] - ends[:, 1]) / 4e-6
    for i, name in enumerate(at):
        scale = np.abs(numeric[i]).max()
        np.testing.assert_allclose(forward[i], numeric[i], atol=1e-5 * scale, rtol=0)
        adjoint = jnp.vdot(reverse[name], directions[name][i])
        np.testing.assert_allclose(adjoint, back @ forward[i], rtol=1e-7)


@pytest.mark.long
def test_more_rows_than_a_chunk(x64):
    # Working sets that are exchanged, scores in chunks, and more free rows than one.
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(1100, N)), rng.integers(0, 2, 1100)

    @partial(jax.jit, static_argnames="solver")
    def slope(l2, gamma, solver):
        def value(l2):
            fit = svm.fit(x, y, l2=l2, gamma=gamma, solver=solver, tol=1e-9)
            return svm.margin(fit.params), (fit, svm.scores(fit.params, x))

        return jax.value_and_grad(value, has_aux=True)(l2)

    (margin, (full, f)), by_full = slope(1e-4, 4.0, "full")
    (other, (block, g)), by_block = slope(1e-4, 4.0, "block")
    a = np.abs(check(full).params.alpha)
    free = (a > 0) & (a < 1 / (1e-4 * 1100))
    assert free.sum() > 512
    assert check(block).steps > 1
    np.testing.assert_allclose(g, f, atol=1e-6)
    np.testing.assert_allclose(other, margin, rtol=1e-6)
    np.testing.assert_allclose(by_block, by_full, rtol=1e-4)
    gram = np.exp(-4 * ((x[:3, None] - x[None]) ** 2).sum(-1))
    by_hand = gram @ full.params.alpha + full.params.b
    np.testing.assert_allclose(f[:3], by_hand, rtol=1e-10)


def test_derivative_where_no_row_is_free(x64):
    # α = C at both rows: b = -C ‖q‖²/2 with C = 1/(2 l2), so db/dl2 = ‖q‖²/(4 l2²).
    x, y = np.array([[0.0, 0], [3, 4]]), np.array([0, 1])

    def b(l2):
        return svm.fit(x, y, l2=l2, kernel="linear", tol=1e-12).params.b

    np.testing.assert_allclose(jax.jit(jax.grad(b))(10.0), 25 / 400)


def test_an_unconverged_fit_has_no_derivatives(x64):
    def margin(l2):
        return margin_of(svm.fit(X, Y, l2=l2, gamma=0.4, tol=1e-30, max_iter=1).params)

    value, slope = jax.jit(jax.value_and_grad(margin))(L2)
    assert np.isfinite(value)
    assert np.isnan(slope)


# --- what goes wrong ----------------------------------------------------------------


def test_one_class_alone_is_invalid():
    assert svm.fit(X, np.ones(M, int)).status == Status.INVALID
    fold = (Y == 1).astype(float)
    assert svm.fit(X, Y, weights=fold).status == Status.INVALID
    assert svm.fit(X, Y, l2=0.0).status == Status.INVALID


def test_exhausted():
    fit = svm.fit(X[:, :1].repeat(2, 1), 1 - Y, l2=1e-7, gamma=50.0, max_iter=1)
    assert fit.status == Status.EXHAUSTED
    assert fit.residual > 1e-3


def test_precision_that_is_used_up():
    # No more than float32 holds, of which the residual says how much it is.
    fit = check(svm.fit(X, Y, l2=1e-5, gamma=0.4, tol=1e-12))
    best = SVC(C=1 / (1e-5 * M), gamma=0.4, tol=1e-9).fit(X, Y)
    assert 1e-12 < fit.residual < 1e-3
    gram = rbf64(X, 0.4)
    excess = primal(fit.params, X, Y, 1e-5, gram) / least(best, 1e-5, gram) - 1
    assert excess < 2 * float(fit.residual) + 1e-4


# --- units, offsets, rounding -------------------------------------------------------


def rbf64(x, gamma):
    x = np.asarray(x, np.float64)
    return np.exp(-gamma * ((x[:, None] - x[None]) ** 2).sum(-1))


def primal(params, x, y, l2, gram):
    """J in float64, whatever it was found in; Σα is as it is."""
    alpha, b = (np.asarray(a, np.float64) for a in (params.alpha, params.b))
    f = gram @ alpha + b
    hinge = np.maximum(0, 1 - (2 * y - 1) * f).mean()
    return hinge + l2 / 2 * alpha @ gram @ alpha


def least(peer, l2, gram):
    """The dual of LIBSVM's solution, a bound of J from below."""
    alpha = np.zeros(len(gram))
    alpha[peer.support_] = peer.dual_coef_[0]
    return float(l2) * (np.abs(alpha).sum() - alpha @ gram @ alpha / 2)


def test_converged_means_near_the_minimum():
    # Conditions of 1 to 100, C from 0.1 to 300: all within 1e-3 of LIBSVM's optimum,
    # and within tol but for rounding.
    rng = np.random.default_rng(5)
    scales = np.logspace(0, -rng.uniform(0, 2, 40), N).T[:, None]
    x = (rng.normal(size=(40, M, N)) * scales).astype(np.float32)
    z = (x / scales) @ rng.normal(size=N)
    z += 10 ** rng.uniform(-2, 0, (40, 1)) * rng.normal(size=(40, M))
    y = (z > 0).astype(int)
    l2 = (1 / (10 ** rng.uniform(-1, 2.5, 40) * M)).astype(np.float32)
    gamma = (1 / (N * x.astype(float).var(axis=(1, 2)))).astype(np.float32)
    one = lambda x, y, l2, gamma: svm.fit(x, y, l2=l2, gamma=gamma)
    fits = check(jax.jit(jax.vmap(one))(x, y, l2, gamma))
    assert np.sum(np.asarray(fits.residual) > 1e-4) <= 4  # for rounding
    for i in range(40):
        params = jax.tree.map(lambda a, i=i: a[i], fits.params)
        peer = SVC(C=1 / (float(l2[i]) * M), gamma=float(gamma[i]), tol=1e-8)
        peer.fit(x[i].astype(float), y[i])
        gram = rbf64(x[i], float(gamma[i]))
        ours = primal(params, x[i], y[i], float(l2[i]), gram)
        excess = ours / least(peer, l2[i], gram) - 1
        assert excess < max(1.2e-4, 1.5 * float(fits.residual[i])), i
        assert float(fits.residual[i]) >= 0


@pytest.mark.parametrize("kernel", cases(["linear", SQUARE], quick=[SQUARE]))
def test_rows_far_from_the_origin(kernel):
    x = np.round(X * 64) / 64
    y = (x[:, 0] + 0.5 * RNG.normal(size=M) > 0).astype(int)
    gamma = 2.0**-10
    options = {"kernel": kernel, "gamma": gamma, "l2": 0.02}
    far = x.astype(np.float32) + np.float32(1024)
    fit = check(svm.fit(far, y, **options))
    gram = far.astype(float) @ far.astype(float).T
    if kernel is SQUARE:
        gram = (gamma * gram + 1) ** 2
    peer = SVC(C=1 / (0.02 * M), kernel="precomputed", tol=1e-6)
    # An origin in the middle changes nothing but b, and LIBSVM converges.
    middle = gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
    peer.fit(middle, y)
    alpha = np.zeros(M)
    alpha[peer.support_] = peer.dual_coef_[0]
    wanted = middle @ alpha + peer.intercept_[0]
    scores = scores_of(fit.params, far)
    np.testing.assert_allclose(scores, wanted, atol=0.02)
    hinge = np.maximum(0, 1 - (2 * y - 1) * wanted).mean()
    cost = hinge + 0.01 * alpha @ middle @ alpha
    np.testing.assert_allclose(fit.cost, cost, rtol=2e-3)


def test_two_rows_that_differ_in_one_of_100000():
    # w·φ over d = |φ(p) - φ(q)|: α = 2/d², J = l2 2/d², by integers.
    x, y = np.array([[1, 99999], [2, 99999]]), np.array([0, 1])
    k = lambda i, j: (int(x[i] @ x[j]) + 1) ** 3
    square = k(0, 0) + k(1, 1) - 2 * k(0, 1)
    fit = check(svm.fit(x, y, gamma=1.0, l2=1.0, kernel="polynomial"))
    np.testing.assert_allclose(fit.params.alpha[1], 2 / square, rtol=1e-4)
    np.testing.assert_allclose(fit.cost, 2 / square, rtol=1e-4)
    np.testing.assert_allclose(scores_of(fit.params, x), [-1, 1], rtol=1e-2)


def test_scores_without_digits_do_not_converge():
    # The same as a function: its values are all equal in float32.
    x, y = np.array([[1.0, 99999], [2, 99999]]), np.array([0, 1])
    cube = lambda a, b: (a @ b.T + 1) ** 3
    assert svm.fit(x, y, l2=1.0, kernel=cube).status >= Status.STALLED


def test_a_matrix_that_is_no_kernel_is_singular():
    gram = -np.asarray(kernels.rbf(X, X, gamma=0.4))
    fit = svm.fit(gram, Y, l2=L2, kernel="precomputed")
    assert fit.status >= Status.EXHAUSTED


def test_two_clouds_far_apart():
    sides = np.repeat([1000.0, -1000], 20)[:, None]
    x = sides + 0.1 * np.random.default_rng(9).normal(size=(40, 2))
    y = (x[:, 0] > sides[:, 0]).astype(int)
    fit = check(svm.fit(x, y, gamma=50.0, l2=0.01))
    theirs = SVC(C=1 / 0.4, gamma=50.0).fit(x.astype(np.float32).astype(float), y)
    right = np.mean(svm.predict(fit.params, x) == y)
    np.testing.assert_allclose(right, theirs.score(x, y), atol=0.03)


@pytest.mark.parametrize("power", [-20, 20])
def test_units(power):
    scale = np.float32(2.0**power)
    x = X.astype(np.float32)
    options = {"kernel": "linear", "tol": 1e-3}
    one = svm.fit(x, Y, l2=L2, **options)
    two = svm.fit(x * scale, Y, l2=L2 * scale**2, **options)
    np.testing.assert_array_equal(one.cost, two.cost)
    np.testing.assert_array_equal(one.params.b, two.params.b)


def test_rows_of_weight_0_and_weights_of_any_size():
    for name in ("rbf", "linear"):
        options = {"l2": L2, "kernel": name, "gamma": 0.4}
        kept = np.arange(M) % 4 > 0
        junk = np.where(kept[:, None], X, np.where(Y, -1e6, 1e6)[:, None])
        one = svm.fit(junk, Y, weights=kept * 2.0**126, **options)
        two = svm.fit(X, Y, weights=kept * 1.0, **options)
        assert one.status == two.status == Status.CONVERGED
        np.testing.assert_allclose(one.cost, two.cost, rtol=1e-5)
        scores = [scores_of(f.params, X) for f in (one, two)]
        np.testing.assert_allclose(*scores, atol=2e-3)
        costs = [
            svm.cost(two.params, x, Y, l2=L2, weights=kept * w)
            for x, w in ((junk, 2.0**126), (X, 1.0))
        ]
        np.testing.assert_allclose(*costs, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "cubic"}, "kernel must be one of"),
        ({"kernel": partial(kernels.polynomial, degree=2.0)}, "degree must be a Pyth"),
        ({"solver": "newton"}, "solver must be one of"),
        ({"solver": "interior"}, "solver must be 'full' or 'block'"),
        ({"kernel": "precomputed"}, "x has shape"),
        ({"gamma": -1.0}, "gamma must lie in"),
        ({"class_weights": np.ones(3)}, "class_weights has shape"),
        ({"class_weights": np.array([-1.0, 1])}, "class_weights must lie in"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        svm.fit(X, Y, **options)


def test_refuses_what_only_the_model_knows():
    fit = svm.fit(X, Y, l2=0.1)
    with pytest.raises(ValueError, match="gram must be given"):
        svm.margin(replace(fit.params, kernel="precomputed"))
    with pytest.raises(ValueError, match="kernel must be one of"):
        svm.scores(replace(fit.params, kernel="cubic"), X)
    with pytest.raises(ValueError, match="x has shape"):
        svm.scores(fit.params, X[:, :2])
    with pytest.raises(ValueError, match="params.alpha has shape"):
        svm.kkt_residual(svm.compact(fit.params), X, Y, l2=0.1)
    with pytest.raises(ValueError, match="params must be those of one fit"):
        jax.jit(svm.compact)(fit.params)
    with pytest.raises(ValueError, match="solver must be 'full'"):
        svm.fit(X[:3], np.array([0, 1, 1]), solver="block")
