"""Ridge against scikit-learn, brute force, Gaussian integrals and frozen numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from jaxml import Status, check
from jaxml.regression import linear, ridge
from tests.depth import cases

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(2, 1, size=(12, 3))
Y = X @ [1.0, -1.0, 0.5] + RANDOM.normal(size=12)
WEIGHTS = np.arange(12) % 4
SAMPLES = {
    "params": ridge.Params(np.array([0.5, -1.0, 2.0]), np.array(0.3)),
    "l2": np.array([0.1, 0.2, 0.3]),
    "scored.l2": 0.2,
    "degrees_of_freedom.l2": np.array([0.1, 0.2, 0.3]),
    "radius": 0.4,
}
L2S = np.array([0.05, 0.2, 1.0, 3.0])
# physics: |y - Xw|² subject to |w|² <= t, without an intercept
FROZEN_X = np.array([[1.0, 2], [3, 4], [5, 6], [7, 9]])
FROZEN_Y = np.array([1.0, 2, 2, 5])
FROZEN = {
    0.1: (47.530408017533, [0.18924607, 0.25334941], 2.431752896690, 0.8284138247),
    0.3: (0.599501366348, [-0.07206665, 0.54296077], 1.189243636491, 1.3056598460),
    0.5: (0.303861286635, [-0.23128882, 0.66821066], 1.104973792335, 1.4666113737),
}
TIGHT = {"intercept": False, "tol": 1e-13}


@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("kind", ["one", "features", "targets"])
def test_scikit_learn(solver, kind, x64):
    """alpha = l2 Σw; a penalty of one feature is a scale of its column."""
    y = np.c_[Y, Y**2 / 5]
    l2 = {
        "one": np.array(0.1),
        "features": np.array([0.1, 0.2, 0.4]),
        "targets": np.array([[0.1, 0.3], [0.2, 0.1], [0.4, 0.2]]),
    }[kind]
    fit = check(ridge.fit(X, y, l2=l2, weights=WEIGHTS, solver=solver))
    each = np.broadcast_to(l2[:, None] if kind == "features" else l2, (3, 2))
    for t in range(2):
        scale = np.sqrt(each[:, t])
        peer = Ridge(alpha=WEIGHTS.sum(), tol=1e-14)
        peer.fit(X / scale, y[:, t], sample_weight=WEIGHTS)
        np.testing.assert_allclose(fit.params.w[:, t], peer.coef_ / scale, rtol=1e-9)
        np.testing.assert_allclose(fit.params.b[t], peer.intercept_, rtol=1e-9)
    slope = ridge.gradient(fit.params, X, y, l2=l2, weights=WEIGHTS)
    assert all(np.abs(leaf).max() < 1e-12 for leaf in slope)
    value = ridge.cost(fit.params, X, y, l2=l2, weights=WEIGHTS)
    np.testing.assert_allclose(fit.cost, value, rtol=1e-12)


def test_gradient(x64):
    params = jax.tree.map(jnp.asarray, SAMPLES["params"])
    options = {"l2": SAMPLES["l2"], "weights": WEIGHTS}
    expected = jax.grad(lambda p: ridge.cost(p, X, Y, **options))(params)
    for a, b in zip(ridge.gradient(params, X, Y, **options), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_more_columns_than_rows(x64):
    x, y = RANDOM.normal(size=(6, 40)), RANDOM.normal(size=6)
    found = [check(ridge.fit(x, y, l2=0.3, solver=s)) for s in ("auto", "primal")]
    np.testing.assert_allclose(found[0].params.w, found[1].params.w, atol=1e-12)


def test_no_penalty():
    """l2 = 0 is least squares; dependent columns are then singular."""
    fit = check(ridge.fit(X, Y, l2=0.0))
    np.testing.assert_allclose(fit.params.w, linear.fit(X, Y).params.w, atol=1e-5)
    double = np.c_[X, X[:, 0]]
    assert ridge.fit(double, Y, l2=0.0).status == Status.SINGULAR
    assert ridge.fit(double, Y, l2=0.1).status == Status.CONVERGED


@pytest.mark.parametrize("fit", [ridge.fit, ridge.constrained, ridge.scored])
def test_weights_have_no_unit(fit):
    """Their sum may overflow; a row of weight 0 may hold anything."""
    x, y = X.astype(np.float32), Y.astype(np.float32)
    options = {"radius": 0.4} if fit is ridge.constrained else {"l2": 0.1}
    some = np.where(WEIGHTS > 0, 2.0, 0.0)
    far = np.where(some[:, None] == 0, 1e6, x), np.where(some == 0, -1e6, y)
    fits = [
        fit(x, y, weights=some, **options),
        fit(*far, weights=some * 2.0**126, **options),
    ]
    a, b = (found.params if hasattr(found, "params") else found for found in fits)
    for u, v in zip(a[:2], b[:2], strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-6)
    np.testing.assert_allclose(fits[0].cost, fits[1].cost, rtol=1e-5)


# --- the path ------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("intercept", [True, False])
def test_path_is_made_of_fits(intercept, x64):
    options = {"weights": WEIGHTS, "intercept": intercept}
    path = ridge.path(X, Y, l2s=L2S, **options)
    fits = jax.vmap(lambda l2: ridge.fit(X, Y, l2=l2, **options))(L2S)
    np.testing.assert_allclose(path.w, fits.params.w, atol=1e-12)
    np.testing.assert_allclose(path.b, fits.params.b, atol=1e-12)
    np.testing.assert_allclose(path.cost, fits.cost, rtol=1e-12)
    dof = jax.vmap(lambda l2: ridge.degrees_of_freedom(X, l2=l2, **options))
    np.testing.assert_allclose(path.dof, dof(L2S), rtol=1e-12)


def _hat(x, l2):
    """The matrix that takes y to its fit, with an intercept."""
    a = np.c_[x, np.ones(len(x))]
    penalty = len(x) * l2 * np.diag([*np.ones(x.shape[1]), 0])
    return a @ np.linalg.solve(a.T @ a + penalty, a.T)


@pytest.mark.parametrize("kind", ["precision", "frequency"])
def test_leave_one_out(kind, x64):
    """Against refits without each row, or one of its copies, at the same l2 Σw."""
    l2, total = 0.2, WEIGHTS.sum()
    path = ridge.path(X, Y, l2s=np.array([l2]), weights=WEIGHTS, kind=kind)
    error = 0
    for i in range(12):
        fewer = WEIGHTS.astype(float)
        fewer[i] = 0 if kind == "precision" else max(fewer[i] - 1, 0)
        penalty = l2 * total / fewer.sum()
        params = ridge.fit(X, Y, l2=penalty, weights=fewer).params
        error += WEIGHTS[i] * (ridge.predict(params, X[[i]])[0] - Y[i]) ** 2 / total
    np.testing.assert_allclose(path.leave_one_out[0], error, rtol=1e-10)


def test_scores_against_the_hat_matrix(x64):
    path = ridge.path(X, Y, l2s=L2S)
    for i, l2 in enumerate(L2S):
        hat = _hat(X, l2)
        r = Y - hat @ Y
        np.testing.assert_allclose(path.dof[i], np.trace(hat), rtol=1e-10)
        gcv = np.mean(r**2) / (1 - np.trace(hat) / 12) ** 2
        np.testing.assert_allclose(path.gcv[i], gcv, rtol=1e-10)
        np.testing.assert_allclose(
            path.leave_one_out[i], np.mean((r / (1 - np.diag(hat))) ** 2), rtol=1e-10
        )


@pytest.mark.parametrize("kind", ["precision", "frequency"])
def test_evidence_is_a_gaussian_integral(kind, x64):
    """log N(y; 0, σ²(W⁻¹ + XXᵀ/λ + v 11ᵀ)) + ½ log 2πσ²v as v grows, at the best σ²."""
    weights = np.where(WEIGHTS == 0, 2, WEIGHTS)
    x, y, precision = X, Y, weights.astype(float)
    if kind == "frequency":
        x, y = np.repeat(X, weights, axis=0), np.repeat(Y, weights)
        precision = np.ones(len(y))
    l2 = 0.3
    found = ridge.path(X, Y, l2s=np.array([l2]), weights=weights, kind=kind).evidence[0]
    wide = 1e7
    cov = np.diag(1 / precision) + x @ x.T / (l2 * weights.sum()) + wide
    y = y - y.mean()
    spread = y @ np.linalg.solve(cov, y) / (len(y) - 1)
    of = stats.multivariate_normal(np.zeros(len(y)), spread * cov)
    expected = of.logpdf(y) + 0.5 * np.log(2 * np.pi * spread * wide)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_two_ways_to_a_path(monkeypatch, x64):
    """From the factors of the rows, and from those of their Gram matrix."""
    short = ridge.scored(X, Y, l2=0.2)
    monkeypatch.setattr(ridge, "SQUARE", 0)
    long = ridge.scored.__wrapped__(jnp.asarray(X), jnp.asarray(Y), l2=0.2)
    for a, b in zip(short, long, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


# --- the constraint ------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("t", FROZEN)
def test_frozen_multipliers(t, x64):
    multiplier, w, rss, dof = FROZEN[t]
    radius = np.sqrt(t)
    fit = check(ridge.constrained(FROZEN_X, FROZEN_Y, radius=radius, **TIGHT))
    of_rss = 4 * fit.params.multiplier  # J = RSS / 2m, m = 4
    print(f"t = {t}: lambda {of_rss:.12f}, {fit.steps} steps")
    np.testing.assert_allclose(of_rss, multiplier, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fit.params.w, w, atol=5e-9)
    np.testing.assert_allclose(8 * fit.cost, rss, rtol=1e-12)
    found = ridge.degrees_of_freedom(
        FROZEN_X, l2=fit.params.multiplier, intercept=False
    )
    np.testing.assert_allclose(found, dof, rtol=1e-10)
    slope = jax.grad(
        lambda t: (
            8 * ridge.constrained(FROZEN_X, FROZEN_Y, radius=jnp.sqrt(t), **TIGHT).cost
        )
    )(t)
    np.testing.assert_allclose(slope, -multiplier, rtol=1e-9)
    assert fit.steps <= 8


def test_idle_constraint(x64):
    """Complementary slackness: a ball that holds the minimum has no price."""
    fit = check(ridge.constrained(FROZEN_X, FROZEN_Y, radius=2.0, **TIGHT))
    assert fit.params.multiplier == 0
    free = linear.fit(FROZEN_X, FROZEN_Y, intercept=False).params
    np.testing.assert_allclose(fit.params.w, free.w, rtol=1e-12)
    np.testing.assert_allclose(free.w @ free.w, 1.75840276, atol=5e-9)
    of = lambda r: ridge.constrained(FROZEN_X, FROZEN_Y, radius=r, **TIGHT).cost
    assert jax.grad(of)(2.0) == 0


def test_multiplier_is_the_penalty(x64):
    """The constrained w is that of ridge with the multiplier, intercept and weights."""
    options = {"weights": WEIGHTS, "radius": 0.4}
    fit = check(ridge.constrained(X, Y, **options, tol=1e-12))
    same = ridge.fit(X, Y, l2=fit.params.multiplier, weights=WEIGHTS).params
    np.testing.assert_allclose(fit.params.w, same.w, rtol=1e-10)
    np.testing.assert_allclose(fit.params.b, same.b, rtol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(fit.params.w), 0.4, rtol=1e-12)


def test_orthonormal_columns(x64):
    """λ(t) = |w_ols| / √t - 1, in units of XᵀX."""
    q = np.linalg.qr(RANDOM.normal(size=(12, 3)))[0]
    ols = q.T @ Y
    for radius in (0.1, 0.5):
        fit = ridge.constrained(q, Y, radius=radius, **TIGHT)
        expected = np.linalg.norm(ols) / radius - 1
        np.testing.assert_allclose(12 * fit.params.multiplier, expected, rtol=1e-10)


def test_constrained_dependent_columns(x64):
    """A flat direction has no price; a small radius makes the problem regular."""
    double = np.c_[X, X[:, 0]]
    fit = check(ridge.constrained(double, Y, radius=0.3, tol=1e-10))
    same = ridge.fit(double, Y, l2=fit.params.multiplier).params
    np.testing.assert_allclose(fit.params.w, same.w, atol=1e-9)


def _least(x, y, radius):
    """min J₀ for |w| <= radius, by SVD and bisection for λ."""
    x, y = x - x.mean(0), y - y.mean()
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    kept = s > 1e-7 * s[0]
    s, along = s[kept], (u.T @ y)[kept]
    length = lambda l2: np.linalg.norm(s * along / (s**2 + l2))
    low, high = 1e-30, 1e30
    for _ in range(300):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if length(middle) > radius else (low, middle)
    l2 = 0 if length(0) <= radius else high
    r = np.sum(y**2) - np.sum(
        (2 * s**2 / (s**2 + l2) - (s**2 / (s**2 + l2)) ** 2) * along**2
    )
    return r / 2 / len(y)


def _balls(m, n, count):
    """Problems of all scales, conditions, noises and radii; columns that depend."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(count, m, n))
    x *= 10 ** (
        rng.uniform(-2, 0, (count, 1, n)) * (np.arange(count) % 3 > 0)[:, None, None]
    )
    x[::4, :, 1] = x[::4, :, 0]
    x[1::4, :, 2] = 0
    x *= 10 ** rng.uniform(-6, 6, (count, 1, 1))
    w = rng.normal(size=(count, n))
    y = np.einsum("cmn,cn->cm", x, w)
    y += (
        y.std(1, keepdims=True)
        * rng.uniform(0.1, 2, (count, 1))
        * rng.normal(size=y.shape)
    )
    x = x.astype(np.float32)
    radius = np.linalg.norm(w, axis=1) * 10 ** rng.uniform(-3, 1, count)
    return x, y.astype(np.float32), radius.astype(np.float32)


@pytest.mark.parametrize(("m", "n"), [(30, 8), (10, 16)])
def test_the_ball_is_kept_and_the_cost_least_whatever_the_data(m, n):
    """Dependent columns, more columns than rows, any units: a float64 oracle."""
    x, y, radius = _balls(m, n, 60)
    fits = jax.jit(jax.vmap(lambda x, y, r: ridge.constrained(x, y, radius=r)))(
        x, y, radius
    )
    assert (fits.status == Status.CONVERGED).all()
    for i in range(60):
        a, b, w = (
            x[i].astype(float),
            y[i].astype(float),
            np.asarray(fits.params.w[i], float),
        )
        assert np.linalg.norm(w) <= radius[i] * (1 + 3e-6)
        r = (b - b.mean()) - (a - a.mean(0)) @ w
        excess = np.mean(r**2) / 2 - _least(a, b, float(radius[i]))
        assert excess <= 1e-4 * np.mean(r**2) / 2 + 1e-5 * b.var() / 2


# --- derivatives and traces ----------------------------------------------------------


@pytest.mark.parametrize("what", cases(["l2", "y", "x"], quick=["x"]))
def test_validation_cost_has_derivatives(what, x64):
    at = {"l2": jnp.array(0.1), "y": jnp.asarray(Y[:8]), "x": jnp.asarray(X[:8])}

    @jax.jit
    def validation(value):
        given = {**at, what: value}
        params = ridge.fit(given["x"], given["y"], l2=given["l2"]).params
        return linear.cost(params, X[8:], Y[8:])

    slope = jax.grad(validation)(at[what])
    push = RANDOM.normal(size=at[what].shape)
    step = 1e-5
    up, down = validation(at[what] + step * push), validation(at[what] - step * push)
    np.testing.assert_allclose(
        np.vdot(slope, push), (up - down) / (2 * step), rtol=1e-5
    )


def test_refits_add_no_trace():
    ridge.fit(X, Y, l2=0.1, weights=np.ones(12))
    before = ridge.fit.traces
    for i in range(100):
        ridge.fit(X + i, Y * i, l2=0.1 * i, weights=RANDOM.uniform(size=12))
    assert ridge.fit.traces == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ridge.fit(X, Y, l2=-1.0), r"^l2 must lie in \[0, inf\)"),
        (lambda: ridge.fit(X, Y, l2=[0.1, 0.2]), r"^l2 has shape \(2,\)"),
        (lambda: ridge.fit(X, Y, l2=0.1, solver="qr"), "^solver must be one of"),
        (lambda: ridge.constrained(X, Y, radius=0.0), "^radius must lie in"),
        (lambda: ridge.path(X, Y, l2s=[0.1], kind="x"), "^kind must be one of"),
        (lambda: ridge.path(X, Y, l2s=[0.1, -1.0]), r"^l2s must lie in \[0, inf\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
