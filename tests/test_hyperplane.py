"""The linear machine against LIBSVM, liblinear, closed forms and its own conditions."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.svm import SVC, LinearSVC

from jaxml import Status, check
from jaxml.regression import logistic, svm
from jaxml.regression.svm import _hyperplane as hyperplane
from tests.depth import cases

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 3))
Y = np.array([0, 1] * 6)
SAMPLES = {
    "class_weights": np.array([1.0, 2.0]),
    "params": hyperplane.Params(
        np.array([0.5, -1.0, 2.0]), np.array(0.3), RANDOM.normal(size=12)
    ),
}
ROUGH = {"kkt_residual": "the largest of several"}
M = 60
DATA = RANDOM.normal(size=(M, 4))
LABELS = (DATA @ [1.0, -1.0, 0.5, 0.0] + RANDOM.logistic(size=M) > 0.3).astype(int)
WEIGHTS = RANDOM.integers(0, 4, M)
TRIANGLES = np.array([[0.0, 0], [1, 0], [0, 1], [2, 2], [3, 2], [2, 3]])
SIDES = np.array([0, 0, 0, 1, 1, 1])
LOSSES = ["squared_hinge", "hinge"]


def test_hinge_is_libsvm(x64):
    """C = 1 / (l2 Σw), with weights of rows and of classes."""
    classes = np.array([1.0, 2.0])
    options = {"weights": WEIGHTS, "class_weights": classes}
    total = (WEIGHTS * classes[LABELS]).sum()
    fit = check(svm.fit(DATA, LABELS, l2=1 / total, loss="hinge", tol=1e-8, **options))
    peer = SVC(kernel="linear", C=1, tol=1e-10, class_weight=dict(enumerate(classes)))
    there = np.flatnonzero(WEIGHTS)
    peer.fit(DATA[there], LABELS[there], sample_weight=WEIGHTS[there])
    np.testing.assert_allclose(fit.params.w, peer.coef_[0], atol=1e-6)
    np.testing.assert_allclose(fit.params.b, peer.intercept_[0], atol=1e-6)
    alpha = np.zeros(M)
    alpha[there[peer.support_]] = peer.dual_coef_[0]
    np.testing.assert_allclose(fit.params.alpha, alpha, atol=1e-6)
    assert (svm.support_mask(fit.params) == (alpha != 0)).all()
    assert (svm.predict(fit.params, DATA) == peer.predict(DATA)).all()
    width = 2 / np.linalg.norm(peer.coef_)
    np.testing.assert_allclose(svm.margin(fit.params), width, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_liblinear(loss, x64):
    """LinearSVC penalises b: with a column of ones it is our problem without b."""
    ones = np.c_[DATA, np.ones(M)]
    fit = svm.fit(ones, LABELS, l2=1 / M, loss=loss, intercept=False, tol=1e-8)
    peer = LinearSVC(
        C=1, loss=loss, dual=loss == "hinge", tol=1e-9, max_iter=1_000_000
    ).fit(DATA, LABELS)
    theta = np.append(peer.coef_[0], peer.intercept_)
    np.testing.assert_allclose(check(fit).params.w, theta, atol=2e-5)
    assert fit.params.b == 0
    other = replace(fit.params, w=jnp.asarray(theta))
    theirs = svm.cost(other, ones, LABELS, l2=1 / M)
    assert fit.cost <= theirs + 1e-12


@pytest.mark.parametrize("loss", LOSSES)
def test_certificates(loss, x64):
    """The forces balance, the gap closes, and both notice a worse plane."""
    options = {"l2": 0.05, "weights": WEIGHTS}
    fit = check(svm.fit(DATA, LABELS, loss=loss, tol=1e-9, **options))
    params = fit.params
    assert svm.kkt_residual(params, DATA, LABELS) < 1e-8
    assert abs(svm.duality_gap(params, DATA, LABELS, **options)) < 1e-9
    np.testing.assert_allclose(
        fit.cost, svm.cost(params, DATA, LABELS, **options), rtol=1e-12
    )
    worse = replace(params, w=params.w * 1.1)
    assert svm.duality_gap(worse, DATA, LABELS, **options) > 1e-4
    assert svm.kkt_residual(worse, DATA, LABELS) > 1e-2


@pytest.mark.parametrize("loss", LOSSES)
def test_repeated_rows(loss, x64):
    rows = np.repeat(DATA, WEIGHTS, axis=0), np.repeat(LABELS, WEIGHTS)
    options = {"l2": 0.05, "loss": loss, "tol": 1e-9}
    one = check(svm.fit(DATA, LABELS, weights=WEIGHTS, **options))
    two = check(svm.fit(*rows, **options))
    np.testing.assert_allclose(one.params.w, two.params.w, atol=1e-8)
    np.testing.assert_allclose(one.params.b, two.params.b, atol=1e-8)


def test_triangles(x64):
    """w = (2/3, 2/3), b = -5/3, forces (0, 2/9, 2/9 | 4/9, 0, 0), margin √4.5."""
    fit = check(svm.fit(TRIANGLES, SIDES, l2=1e-3, loss="hinge", tol=1e-9))
    params = fit.params
    np.testing.assert_allclose(params.w, [2 / 3, 2 / 3], rtol=1e-10)
    np.testing.assert_allclose(params.b, -5 / 3, rtol=1e-10)
    forces = [0, -2 / 9, -2 / 9, 4 / 9, 0, 0]
    np.testing.assert_allclose(params.alpha, forces, atol=1e-10)
    np.testing.assert_allclose(svm.margin(params), 2.121320343560, rtol=1e-12)
    dual = jnp.abs(params.alpha).sum() - 0.5 * params.w @ params.w
    np.testing.assert_allclose(dual, 4 / 9, rtol=1e-9)
    # Force and torque of the rows on the plane.
    np.testing.assert_allclose(params.alpha.sum(), 0, atol=1e-10)
    np.testing.assert_allclose(params.alpha @ TRIANGLES, params.w, atol=1e-10)
    near = svm.distances(params, TRIANGLES)
    np.testing.assert_allclose(near[3], np.sqrt(4.5) / 2, rtol=1e-9)


def test_six_points(x64):
    """Two points hold the margin, with forces of ¼ and b = 0."""
    x = np.array([[-2, -1], [-1, -1], [-1, -2], [1, 1], [1, 2], [2, 1]])
    fit = check(svm.fit(x, SIDES, l2=1e-3, loss="hinge", tol=1e-9))
    np.testing.assert_allclose(fit.params.alpha, [0, -0.25, 0, 0.25, 0, 0], atol=1e-9)
    np.testing.assert_allclose(fit.params.b, 0, atol=1e-9)


def test_hinge_is_the_cold_logistic_loss(x64):
    """T log(1 + e^(-z/T)) of 1 - z comes down to the hinge, by at most T ln 2."""
    z = jnp.linspace(-3, 3, 601)[:, None, None]  # a row each, of class 1
    w, b, y = jnp.ones(1), jnp.zeros(()), jnp.array([1])
    plane = hyperplane.Params(w, b, y * 1.0, loss="hinge")
    hinge = jax.vmap(lambda z: svm.cost(plane, z, y, l2=0.0))(z)
    for temperature in (1.0, 0.1, 0.01):
        shifted = logistic.Params(w / temperature, (b - 1) / temperature)
        soft = temperature * jax.vmap(
            lambda z, params=shifted: logistic.cost(params, z, y)
        )(z)
        gap = np.asarray(soft - hinge)
        np.testing.assert_allclose(gap.max(), temperature * np.log(2), rtol=1e-9)
        assert gap.min() >= -1e-12  # rounding


@pytest.mark.parametrize("loss", LOSSES)
def test_blocks_of_rows(loss, x64):
    """More rows than a block, sorted by class."""
    x = RANDOM.normal(size=(5003, 3)) + 2
    y = (x.sum(1) + RANDOM.logistic(size=5003) > 6).astype(int)
    order = np.argsort(y, kind="stable")
    fit = check(svm.fit(x[order], y[order], l2=1e-3, loss=loss, tol=1e-8))
    slope = jax.grad(lambda p: svm.cost(p, x, y, l2=1e-3))(fit.params)
    if loss == "squared_hinge":
        assert max(np.abs(slope.w).max(), abs(slope.b)) < 1e-10
    gap = svm.duality_gap(fit.params, x[order], y[order], l2=1e-3)
    assert abs(gap) < 1e-8


def hinge_at(params, x, y, l2):
    """J in float64 of the rows and the plane as they are."""
    w, b = np.asarray(params.w, np.float64), float(params.b)
    short = np.maximum(0, 1 - (2 * y - 1) * (x.astype(float) @ w + b))
    return short.mean() + l2 / 2 * w @ w


def test_six_rows_that_nearly_touch():
    """Published: w = (-2.25, -1.75); a rounded gap below 0 once ended the search."""
    x = np.array([[-2, 4], [5, 4], [5, -5], [-1, -5], [-5, -2], [1, -1]])
    fit = check(svm.fit(x, SIDES, l2=1e-4, loss="hinge"))
    np.testing.assert_allclose(fit.params.w, [-2.25, -1.75], rtol=1e-3)
    assert fit.residual >= 0


@pytest.mark.parametrize("shift", [0, 30, 1024])
def test_separable_sets_in_float32(shift):
    """C = 25, wherever the rows lie: LIBSVM's cost, on centred rows in float64."""
    rng = np.random.default_rng(1)
    x = np.round(rng.normal(size=(30, M, 4)) * 64) / 64
    y = (np.einsum("kmn,kn->km", x, rng.normal(size=(30, 4))) > 0.5).astype(int)
    l2 = 1 / (25 * M)
    fits = jax.vmap(lambda x, y: svm.fit(x, y, l2=l2, loss="hinge"))(x + shift, y)
    assert (np.asarray(check(fits).residual) >= 0).all()
    for i in range(30):
        peer = SVC(kernel="linear", C=25, tol=1e-6).fit(x[i], y[i])
        plane = hyperplane.Params(peer.coef_[0], peer.intercept_[0], None)
        best = hinge_at(plane, x[i], y[i], l2)
        np.testing.assert_allclose(fits.cost[i], best, rtol=1e-4)
        ours = jax.tree.map(lambda a, i=i: a[i], fits.params)
        # b has the rounding of the offset.
        slack = 2e-7 * shift * np.abs(ours.w).sum()
        assert hinge_at(ours, x[i] + shift, y[i], l2) < best * (1 + 1e-4) + slack


@pytest.mark.parametrize("shift", [10, 100])
def test_rows_far_away_in_float64(shift, x64):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, M, 4))
    f = np.einsum("kmn,kn->km", x, rng.normal(size=(30, 4)))
    y = (f + 0.3 * rng.normal(size=(30, M)) > 0.5).astype(int)
    l2 = 1 / (25 * M)
    fits = jax.vmap(lambda x, y: svm.fit(x, y, l2=l2, loss="hinge"))(x + shift, y)
    residual = np.asarray(check(fits).residual)
    assert ((residual >= 0) & (residual <= 1e-5)).all()
    for i in range(30):
        peer = SVC(kernel="linear", C=25, tol=1e-7).fit(x[i], y[i])
        plane = hyperplane.Params(peer.coef_[0], peer.intercept_[0], None)
        best = hinge_at(plane, x[i], y[i], l2)
        np.testing.assert_allclose(fits.cost[i], best, rtol=2e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_units_of_the_rows(loss):
    """x → s x leaves all z where l2 → s² l2."""
    one = check(svm.fit(DATA, LABELS, l2=0.02, loss=loss))
    for scale in (2.0**-20, 2.0**20):
        x, l2 = DATA.astype(np.float32) * np.float32(scale), 0.02 * scale**2
        two = check(svm.fit(x, LABELS, l2=l2, loss=loss))
        np.testing.assert_allclose(two.cost, one.cost, rtol=1e-5)
        np.testing.assert_allclose(two.params.w * scale, one.params.w, rtol=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_an_offset_changes_b_alone(loss):
    x = (np.round(DATA * 64) / 64).astype(np.float32)
    near, far = (
        check(svm.fit(x + np.float32(s), LABELS, l2=1e-2, loss=loss)) for s in (0, 1024)
    )
    np.testing.assert_allclose(far.cost, near.cost, rtol=1e-4)
    np.testing.assert_allclose(far.params.w, near.params.w, atol=2e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_of_weight_0_are_not_there(loss):
    kept = WEIGHTS > 0
    junk = np.where(kept[:, None], DATA, np.where(LABELS, -1e6, 1e6)[:, None])
    options = {"l2": 0.02, "loss": loss}
    one = check(svm.fit(junk, LABELS, weights=WEIGHTS, **options))
    two = check(svm.fit(DATA, LABELS, weights=WEIGHTS, **options))
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-5)
    np.testing.assert_allclose(one.params.w, two.params.w, atol=1e-3)
    assert not np.any(np.asarray(one.params.alpha)[~kept])


@pytest.mark.parametrize("loss", LOSSES)
def test_one_class_alone_has_a_plane(loss):
    fit = check(svm.fit(DATA, np.ones(M, int), l2=0.1, loss=loss))
    np.testing.assert_allclose(fit.params.w, 0, atol=1e-6)
    np.testing.assert_allclose(fit.cost, 0, atol=1e-10)


def test_a_penalty_has_a_minimum():
    """Of rows that a plane separates as well, however small l2 is."""
    y = (DATA[:, 0] > 0).astype(int)
    for l2 in (1e-3, 1e-5):
        status = svm.fit(DATA + 1000, y, l2=l2).status
        assert status != Status.UNBOUNDED


def test_hinge_in_float32():
    """Single precision leaves a gap of 1e-5 at most, and says so."""
    fit = check(svm.fit(DATA, LABELS, l2=0.02, loss="hinge"))
    assert fit.params.w.dtype == jnp.float32
    gap = svm.duality_gap(fit.params, DATA, LABELS, l2=0.02)
    assert abs(gap) < 1e-5


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("what", cases(["l2", "y", "x", "weights"], quick=["x"]))
def test_validation_cost_has_derivatives(loss, what, x64):
    half = M // 2
    at = {
        "l2": jnp.array(0.05),
        "y": jnp.asarray(0.9 * LABELS[:half] + 0.05),
        "x": jnp.asarray(DATA[:half]),
        # A draw of its own: with n + 1 rows on the margin no weight would matter.
        "weights": jnp.asarray(np.random.default_rng(5).uniform(0.5, 1, half)),
    }

    @jax.jit
    def validation(value):
        given = {**at, what: value}
        x, y = given.pop("x"), given.pop("y")
        params = svm.fit(x, y, **given, loss=loss, tol=1e-10).params
        return svm.cost(params, DATA[half:], LABELS[half:], l2=0.0) + svm.margin(params)

    slope = jax.grad(validation)(at[what])
    push = np.random.default_rng(3).normal(size=at[what].shape)
    step = 1e-6
    up, down = validation(at[what] + step * push), validation(at[what] - step * push)
    numeric = (up - down) / (2 * step)
    assert abs(numeric) > 1e-3
    np.testing.assert_allclose(np.vdot(slope, push), numeric, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_refits_add_no_trace(loss):
    svm.fit(DATA, LABELS, l2=0.1, weights=np.ones(M), loss=loss)
    before = svm.fit.traces
    for i in range(100):
        y, weights = RANDOM.integers(0, 2, M), RANDOM.uniform(size=M)
        svm.fit(DATA, y, l2=0.01 * (i + 1), weights=weights, loss=loss)
    assert svm.fit.traces == before


@pytest.mark.parametrize("loss", LOSSES)
def test_no_penalty_is_invalid(loss):
    assert svm.fit(DATA, LABELS, l2=0.0, loss=loss).status >= Status.INVALID


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: svm.fit(X, Y + 1, l2=0.1), "^y holds the label 2"),
        (lambda: svm.fit(X, Y, l2=0.1, loss="x"), "^loss must be one of"),
        (
            lambda: svm.cost(replace(SAMPLES["params"], loss="x"), X, Y, l2=0.1),
            "^params.loss must be one of",
        ),
        (lambda: svm.fit(X, Y, l2=-0.1), "^l2 must lie in"),
        (lambda: svm.scores(SAMPLES["params"], X[:, :2]), "^params.w has shape"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
