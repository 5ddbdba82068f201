"""Least squares against certified values, statsmodels, NumPy and simulation."""

import json
import os
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import statsmodels.api as sm

from jaxml import Status, _rows, check
from jaxml.regression import linear
from tests.depth import cases

X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.random.default_rng(1).normal(size=12)
PARAMS = linear.Params(np.array([0.5, -1.0, 2.0]), np.array(0.3))
SAMPLES = {
    "params": PARAMS,
    "inference.params": linear.fit(X, Y).params,
    "at": X[0] + 0.1,
    "width": 2.0,
    "confidence": 0.9,
    "band.x": X[:5],
    "band.inference": linear.inference(PARAMS, X, Y),
}
ROUGH = {"band": "the degrees of freedom, a count, have no derivative"}
SOLVERS = ["auto", "qr", "cholesky", "svd", "cg", optax.lbfgs]

NIST = pathlib.Path(os.environ.get("JAXML_DATA", ""), "nist-strd")
SETS = ["norris", "pontius", "noint1", "noint2", "filip", "longley"]
SETS += [f"wampler{i}" for i in range(1, 6)]
needs_data = pytest.mark.skipif(not NIST.exists(), reason="JAXML_DATA is not set")


def nist(name):
    """x, y and whether there is an intercept."""
    text = (NIST / f"{name}.csv").read_text(encoding="utf-8-sig").splitlines()
    header = [column.strip() for column in text[0].split(",") if column.strip()]
    rows = [line.split(",")[: len(header)] for line in text[1:] if line.strip(", ")]
    table = np.array(rows, float)
    y, x = table[:, header.index("y")], table[:, 1:]
    powers = {"filip": 10, "pontius": 2} | {f"wampler{i}": 5 for i in range(1, 6)}
    if name in powers:
        x = np.vander(x[:, 0], powers[name] + 1, increasing=True)[:, 1:]
    return (
        x if name == "longley" or name in powers else x[:, :1],
        y,
        not name.startswith("noint"),
    )


def digits(found, expected):
    error = np.abs(np.asarray(found) - expected) / np.abs(expected)
    return -np.log10(max(error.max(), 1e-15))


def flat(params, intercept):
    return np.append(params.b, params.w) if intercept else np.asarray(params.w)


@needs_data
@pytest.mark.parametrize("name", SETS)
def test_nist(name, x64):
    """At least 13 digits (Filip, whose powers are rounded, 7.5) and 8 of errors."""
    x, y, intercept = nist(name)
    certified = json.loads((NIST / "certified.json").read_text())["sets"][name]
    fit = check(linear.fit(x, y, intercept=intercept))
    found = linear.inference(fit.params, x, y, intercept=intercept)
    good = digits(flat(fit.params, intercept), certified["coefficients"])
    errors = flat(found.table.standard_error, intercept)
    expected = np.array(certified["standard_errors"])
    of_errors = digits(errors, expected) if expected.all() else np.nan
    print(f"{name}: {good:.1f} digits, standard errors {of_errors:.1f}")
    assert good >= (7.5 if name == "filip" else 13)
    if expected.all():
        assert of_errors >= 8
    else:  # an exact fit
        assert (errors < 1e-10 * np.abs(certified["coefficients"])).all()


@needs_data
@pytest.mark.parametrize("name", SETS)
def test_nist_in_float32_is_right_or_singular(name):
    x, y, intercept = nist(name)
    certified = json.loads((NIST / "certified.json").read_text())["sets"][name]
    data = x.astype(np.float32), y.astype(np.float32)
    for solver in ("qr", "cholesky"):
        fit = linear.fit(*data, intercept=intercept, solver=solver)
        good = digits(flat(fit.params, intercept), certified["coefficients"])
        print(f"{name}, {solver}: {Status(int(fit.status)).name}, {good:.1f} digits")
        assert fit.status == Status.SINGULAR or good >= 3
    hard = {"filip", "wampler4", "wampler5"}
    singular = linear.fit(*data, intercept=intercept, solver="qr").status
    assert (singular == Status.SINGULAR) == (name in hard)


@pytest.mark.parametrize("m", [20, 200])
def test_columns_far_from_0_in_float32(m):
    """Three digits or SINGULAR, where rounding the data costs what is asked for."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(m, 3))
    y = x @ [1.0, -2.0, 0.5] + 0.3 * rng.normal(size=m)
    exact = np.linalg.lstsq(np.c_[x, np.ones(m)], y)[0][:3]
    statuses = []
    for shift in (0.0, 1e2, 1e4, 1e6):
        data = (x + shift).astype(np.float32), y.astype(np.float32)
        fit = linear.fit(*data, solver="cholesky")
        error = np.linalg.norm(fit.params.w - exact) / np.linalg.norm(exact)
        statuses.append(int(fit.status))
        assert fit.status == Status.SINGULAR or error < 1e-3
    assert statuses[:2] == [Status.CONVERGED] * 2
    assert statuses[3] == Status.SINGULAR


@pytest.mark.parametrize(("m", "n"), [(4500, 3), (300, 260)])
def test_normal_equations(m, n, x64):
    """Blocks with a rest; panels of a wide product."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(m, n)) + 2, rng.normal(size=(m, 2))
    w = rng.uniform(0.5, 2, m)
    found = _rows.normal(x, y, w, True)
    mean_x, mean_y = (np.average(a, axis=0, weights=w) for a in (x, y))
    left = (x - mean_x) * (w / w.sum())[:, None]
    expected = left.T @ (x - mean_x), left.T @ (y - mean_y), mean_x, mean_y
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-10, atol=1e-13)


# --- solvers -----------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("intercept", cases([True, False], quick=[True]))
@pytest.mark.parametrize("targets", [1, 2])
def test_solvers(solver, intercept, targets, x64):
    """NumPy's lstsq on rows repeated as often as their weight says."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(2, 1, (30, 4)), rng.normal(size=(30, targets))
    weights = rng.integers(0, 4, 30)
    y = y if targets > 1 else y[:, 0]
    options = {"solver": solver, "intercept": intercept, "tol": 1e-10}
    fit = check(linear.fit(x, y, weights=weights, **options))
    a = np.repeat(np.c_[x, np.ones(30)] if intercept else x, weights, axis=0)
    theta = np.linalg.lstsq(a, np.repeat(y, weights, axis=0), rcond=None)[0]
    np.testing.assert_allclose(fit.params.w, theta[:4], rtol=1e-7, atol=1e-8)
    expected = theta[4] if intercept else np.zeros(targets)[() if targets > 1 else 0]
    np.testing.assert_allclose(fit.params.b, expected, rtol=1e-7, atol=1e-8)
    value = linear.cost(fit.params, x, y, weights=weights)
    np.testing.assert_allclose(fit.cost, value, rtol=1e-12)
    slope = linear.gradient(fit.params, x, y, weights=weights)
    assert optax.tree.norm(slope if intercept else slope.w) < 1e-8


def test_gradient_descent_of_the_slides(x64):
    """θ := θ - α (1/m) Xᵀ(Xθ - y), to the same minimum."""
    options = {"tol": 1e-9, "max_iter": 2000}
    fit = linear.fit(X, Y, solver=optax.sgd, learning_rate=0.3, **options)
    exact = linear.fit(X, Y)
    np.testing.assert_allclose(check(fit).params.w, exact.params.w, atol=1e-8)
    heavy = partial(optax.sgd, momentum=0.9)
    fit = linear.fit(X, Y, solver=heavy, learning_rate=0.1, **options)
    np.testing.assert_allclose(check(fit).params.w, exact.params.w, atol=1e-8)
    fit = linear.fit(X, Y, solver=optax.sgd(0.1, momentum=0.9), **options)
    np.testing.assert_allclose(check(fit).params.w, exact.params.w, atol=1e-8)


@pytest.mark.parametrize("targets", [1, 2])
def test_gradient(targets, x64):
    rng = np.random.default_rng(4)
    shape = (targets,) if targets > 1 else ()
    params = linear.Params(
        rng.normal(size=(3, *shape)), jnp.array(rng.normal(size=shape))
    )
    y, weights = rng.normal(size=(12, *shape)), rng.uniform(size=12)
    found = linear.gradient(params, X, y, weights=weights)
    slope = jax.grad(lambda p: linear.cost(p, X, y, weights=weights))
    expected = slope(jax.tree.map(jnp.asarray, params))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_blocks_of_rows(x64):
    """Many rows, not a multiple of a block, are summed in blocks."""
    rng = np.random.default_rng(5)
    x, y, w = rng.normal(9, 1, (9001, 3)), rng.normal(size=9001), rng.uniform(size=9001)
    fit = check(linear.fit(x, y, weights=w, solver="cholesky"))
    root = np.sqrt(w)[:, None]
    a = np.c_[x, np.ones(9001)] * root
    theta = np.linalg.lstsq(a, y * root[:, 0], rcond=None)[0]
    np.testing.assert_allclose(fit.params.w, theta[:3], rtol=1e-11)
    np.testing.assert_allclose(fit.params.b, theta[3], rtol=1e-11)


@pytest.mark.parametrize("solver", ["auto", "qr", "cholesky", "svd"])
def test_dependent_columns_are_singular(solver, x64):
    """The third column is the sum of the others; "svd" gives the least norm."""
    x = np.c_[X[:, :2], X[:, 0] + X[:, 1]]
    fit = linear.fit(x, Y, solver=solver)
    assert fit.status == Status.SINGULAR
    assert np.isnan(jax.grad(lambda y: linear.fit(x, y).params.w.sum())(Y)).all()
    if solver == "svd":
        centred = x - x.mean(0)
        expected = np.linalg.pinv(centred, rcond=1e-10) @ (Y - Y.mean())
        np.testing.assert_allclose(fit.params.w, expected, atol=1e-10)


def test_fewer_rows_than_unknowns(x64):
    fit = linear.fit(X[:3], Y[:3])
    assert fit.status == Status.SINGULAR
    np.testing.assert_allclose(linear.predict(fit.params, X[:3]), Y[:3], atol=1e-12)
    with pytest.raises(
        ValueError, match="^solver 'qr' is not for this x, which has 3 rows"
    ):
        linear.fit(X[:3], Y[:3], solver="qr")


@pytest.mark.long
def test_auto_falls_back_on_factors():
    """Columns so much alike that the normal equations lose all digits of float32."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(4000, 60)).astype(np.float32)
    x[:, 1] = x[:, 0] + 1e-3 * x[:, 1]
    y = x @ rng.normal(size=60).astype(np.float32)
    assert linear.fit(x, y, solver="cholesky").status == Status.SINGULAR
    fit = check(linear.fit(x, y))
    exact = np.linalg.lstsq(x.astype(float), y.astype(float), rcond=None)[0]
    np.testing.assert_allclose(fit.params.w, exact, atol=1e-2)


def test_far_from_the_origin():
    """A mean of 1e4 costs float32 no more than the digits of the data."""
    rng = np.random.default_rng(7)
    x = (rng.normal(size=(5000, 2)) + 1e4).astype(np.float32)
    y = (x.astype(float) @ [1.0, -2.0] + 5).astype(np.float32)
    a = np.c_[x.astype(float) - 1e4, np.ones(5000)]
    theta = np.linalg.lstsq(a, y.astype(float), rcond=None)[0]
    for solver in ("cholesky", "svd", "cg"):
        fit = check(linear.fit(x, y, solver=solver))
        np.testing.assert_allclose(fit.params.w, theta[:2], rtol=2e-5, err_msg=solver)


def test_svd_looks_at_columns_in_their_own_units():
    """A small column is no rounding; of many solutions the least norm is NumPy's."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2000, 2)) * [1, 1e-4]).astype(np.float32)
    fit = check(linear.fit(x, x.astype(float) @ [1, 1e4], solver="svd"))
    np.testing.assert_allclose(fit.params.w, [1, 1e4], rtol=1e-5)
    x = np.c_[x, x[:, 0]]
    fit = linear.fit(x, x.astype(float) @ [1, 1e4, 0], solver="svd")
    assert fit.status == Status.SINGULAR
    np.testing.assert_allclose(x @ fit.params.w, x @ [0.5, 1e4, 0.5], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(fit.params.w), 1e4, rtol=1e-6)


@pytest.mark.parametrize("solver", ["auto", "cholesky", "svd", "cg"])
def test_weights_have_no_unit(solver):
    """Their sum may overflow; a row of weight 0 may hold anything."""
    x, y = X.astype(np.float32), Y.astype(np.float32)
    some = np.where(np.arange(12) % 4 > 0, 2.0, 0.0)
    far = np.where(some[:, None] == 0, 1e6, x), np.where(some == 0, -1e6, y)
    one = check(linear.fit(x, y, weights=some, solver=solver))
    two = check(linear.fit(*far, weights=some * 2.0**126, solver=solver))
    np.testing.assert_allclose(one.params.w, two.params.w, rtol=1e-5)
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-5)
    value = linear.cost(two.params, *far, weights=some * 2.0**126)
    np.testing.assert_allclose(value, two.cost, rtol=1e-5)
    slope = linear.gradient(two.params, *far, weights=some * 2.0**126)
    assert optax.tree.norm(slope) < 1e-5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cg_has_converged_where_it_says_so(dtype):
    """J is within 1e-4 of NumPy's least, for columns of all conditions and units."""
    rng = np.random.default_rng(11)
    u, _, vt = np.linalg.svd(rng.normal(size=(100, 30, 8)), full_matrices=False)
    spread = 10 ** (-rng.uniform(0, 5, (100, 1)) * rng.uniform(0, 1, (100, 8)))
    x = (u * spread[:, None]) @ vt * 10 ** rng.uniform(-3, 3, (100, 1, 8))
    y = (x / x.std(1, keepdims=True)).sum(2)
    y += (
        y.std(1)[:, None]
        * 10 ** rng.uniform(-2, 1, (100, 1))
        * rng.normal(size=(100, 30))
    )
    x, y = x.astype(dtype), y.astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        run = jax.jit(jax.vmap(lambda x, y: linear.fit(x, y, solver="cg")))
        fits = jax.tree.map(np.asarray, run(x, y))
    good = fits.status == Status.CONVERGED
    assert good.sum() >= (100 if dtype == np.float64 else 80)
    assert (fits.residual >= 0).all()
    for a, b, w in zip(x[good], y[good], fits.params.w[good], strict=True):
        a, b = a.astype(float), b.astype(float)
        a, b = a - a.mean(0), b - b.mean()
        scale = a.std(0)
        r = b - a / scale @ np.linalg.lstsq(a / scale, b)[0]
        assert np.sum((b - a @ w.astype(float)) ** 2) <= (1 + 1e-4) * np.sum(r**2)


# --- inference ---------------------------------------------------------------------


def _set(name):
    data = getattr(sm.datasets, name).load_pandas()
    return data.exog.to_numpy(float), data.endog.to_numpy(float)


TABLES = ["longley", "stackloss", "copper", "scotland", "ccard"]


@pytest.mark.parametrize("name", cases(TABLES, quick=["longley", "ccard"]))
@pytest.mark.parametrize("weighted", cases([False, True], quick=[True]))
def test_statsmodels(name, weighted, x64):
    x, y = _set(name)
    rng = np.random.default_rng(8)
    weights = rng.uniform(0.5, 2, len(y)) if weighted else np.ones(len(y))
    peer = sm.WLS(y, np.c_[x, np.ones(len(y))], weights=weights).fit()
    fit = check(linear.fit(x, y, weights=weights))
    found = linear.inference(fit.params, x, y, weights=weights)
    join = lambda params: np.append(params.w, params.b)
    interval = peer.conf_int(0.05)
    np.testing.assert_allclose(join(fit.params), peer.params, rtol=1e-6)
    pairs = {
        "standard_error": peer.bse,
        "statistic": peer.tvalues,
        "p": peer.pvalues,
        "low": interval[:, 0],
        "high": interval[:, 1],
    }
    for field, expected in pairs.items():
        value = join(getattr(found.table, field))
        np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=field)
    np.testing.assert_allclose(found.table.covariance, peer.cov_params(), rtol=1e-6)
    pairs = {
        "r2": peer.rsquared,
        "adjusted_r2": peer.rsquared_adj,
        "variance": peer.scale,
        "log_likelihood": peer.llf,
        "aic": peer.aic,
        "bic": peer.bic,
        "f": peer.fvalue,
        "f_p": peer.f_pvalue,
        "dof": peer.df_resid,
    }
    for field, expected in pairs.items():
        value = getattr(found, field)
        np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=field)
    new = x[:4] * 1.01
    band = linear.band(fit.params, found, new)
    frame = peer.get_prediction(np.c_[new, np.ones(4)]).summary_frame(alpha=0.05)
    names = ["mean", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper"]
    for value, column in zip(band, names, strict=True):
        np.testing.assert_allclose(value, frame[column], rtol=1e-6, err_msg=column)


@pytest.mark.parametrize(
    "covariance", cases(["HC0", "HC1", "HC2", "HC3"], quick=["HC3"])
)
def test_statsmodels_sandwich(covariance, x64):
    weights = np.random.default_rng(8).uniform(0.5, 2, 12)
    peer = sm.WLS(Y, np.c_[X, np.ones(12)], weights=weights).fit()
    params = linear.Params(peer.params[:3], peer.params[3])
    options = {"weights": weights, "covariance": covariance}
    found = linear.inference(params, X, Y, **options).table.standard_error
    expected = getattr(peer, f"{covariance}_se")
    np.testing.assert_allclose(np.append(found.w, found.b), expected, rtol=1e-8)


@pytest.mark.parametrize("covariance", ["constant", "HC3"])
def test_inference_has_no_units(covariance):
    """Powers of two on x, y and weights: the same t and p, to the last digit."""
    x, y = X.astype(np.float32), Y.astype(np.float32)
    weights = np.float32(1 + np.arange(12) % 3)
    small, large = 2.0**-66, 2.0 ** np.array([40, -3, -30])
    tables = []
    for of_x, of_y, of_w in ((1, 1, 1), (large, small, 2.0**120)):
        params = linear.fit(x * of_x, y * of_y, weights=weights * of_w).params
        tables.append(
            linear.inference(
                params, x * of_x, y * of_y, weights=weights * of_w,
                covariance=covariance,
            )
        )  # fmt: skip
    one, two = tables
    np.testing.assert_allclose(two.table.p.w, one.table.p.w, rtol=2e-6)
    np.testing.assert_allclose(two.table.statistic.b, one.table.statistic.b, rtol=2e-6)
    error = one.table.standard_error.w * small / large
    np.testing.assert_allclose(two.table.standard_error.w, error, rtol=2e-6)
    for name in ("r2", "adjusted_r2", "f", "f_p"):
        a, b = getattr(one, name), getattr(two, name)
        np.testing.assert_allclose(a, b, rtol=1e-5)
    moved = one.log_likelihood - 12 * np.log(small)
    np.testing.assert_allclose(two.log_likelihood, moved, rtol=1e-5)


@pytest.mark.long
def test_without_intercept(x64):
    peer = sm.OLS(Y, X).fit()
    fit = linear.fit(X, Y, intercept=False)
    found = linear.inference(fit.params, X, Y, intercept=False)
    np.testing.assert_allclose(found.table.standard_error.w, peer.bse, rtol=1e-9)
    np.testing.assert_allclose(found.r2, peer.rsquared, rtol=1e-9)
    np.testing.assert_allclose(found.adjusted_r2, peer.rsquared_adj, rtol=1e-9)
    np.testing.assert_allclose(found.f_p, peer.f_pvalue, rtol=1e-9)
    assert np.isnan(found.table.p.b)
    band = linear.band(fit.params, found, X)
    expected = peer.get_prediction(X).summary_frame()["mean_ci_upper"]
    np.testing.assert_allclose(band.high, expected, rtol=1e-9)


@pytest.mark.parametrize("covariance", cases(["constant", "HC1", "HC3"], quick=["HC3"]))
def test_frequencies_are_repeated_rows(covariance, x64):
    weights = np.arange(12) % 4
    repeated = np.repeat(X, weights, axis=0), np.repeat(Y, weights)
    fit = linear.fit(X, Y, weights=weights)
    options = {"covariance": covariance}
    one = linear.inference(
        fit.params, X, Y, weights=weights, kind="frequency", **options
    )
    two = linear.inference(fit.params, *repeated, **options)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8)


@pytest.mark.long
def test_targets_are_independent(x64):
    rng = np.random.default_rng(9)
    y = rng.normal(size=(12, 2))
    fit = linear.fit(X, y)
    both = linear.inference(fit.params, X, y, covariance="HC3")
    one = jax.tree.map(lambda a: a[..., 1], fit.params)
    alone = linear.inference(one, X, y[:, 1], covariance="HC3")
    np.testing.assert_allclose(both.table.p.w[:, 1], alone.table.p.w, rtol=1e-10)
    np.testing.assert_allclose(both.table.covariance[1], alone.table.covariance)
    np.testing.assert_allclose(both.aic[1], alone.aic)


@pytest.mark.long
def test_intervals_cover():
    """95 % intervals hold the truth in 93 to 97 % of 2,000 simulations."""
    truth = jnp.array([1.0, -0.5, 0.0])

    of_x, of_y = jax.random.split(jax.random.key(0))
    x = jax.random.normal(of_x, (2000, 20, 3))
    y = x @ truth + 2 + 0.7 * jax.random.normal(of_y, (2000, 20))
    # Two programs: of one, jaxlib 0.10.2 makes two batches of LAPACK calls that can
    # wait for each other for ever on two cores.
    params = jax.block_until_ready(jax.jit(jax.vmap(linear.fit))(x, y).params)
    found = jax.jit(jax.vmap(linear.inference))(params, x, y).table
    low, high, true = found.low, found.high, np.asarray(truth)
    slopes = (np.asarray(low.w) < true) & (true < np.asarray(high.w))
    intercept = (low.b < 2) & (high.b > 2)
    shares = np.append(slopes.mean(0), intercept.mean())
    print("coverage:", shares)
    assert ((shares > 0.93) & (shares < 0.97)).all()


@pytest.mark.long
def test_coverage_of_new_observations():
    """95 % prediction intervals hold 95 % of new observations."""
    truth = jnp.array([1.0, 2.0])
    of_x, of_y, of_new = jax.random.split(jax.random.key(1), 3)
    x = jax.random.normal(of_x, (2000, 15, 2))
    y = x @ truth + jax.random.normal(of_y, (2000, 15))
    new = jnp.array([[0.5, -1.0]])
    seen = np.asarray(new @ truth) + np.asarray(jax.random.normal(of_new, (2000, 1)))
    # In programs of their own, as in test_intervals_cover.
    params = jax.block_until_ready(jax.jit(jax.vmap(linear.fit))(x, y).params)
    found = jax.block_until_ready(jax.jit(jax.vmap(linear.inference))(params, x, y))
    band = jax.jit(jax.vmap(linear.band, (0, 0, None)))(params, found, new)
    low, high = np.asarray(band.prediction_low), np.asarray(band.prediction_high)
    covered = ((low < seen) & (seen < high)).mean()
    assert 0.93 < covered < 0.97


# --- locally weighted --------------------------------------------------------------


def test_locally_weighted(x64):
    """Each prediction is that of a weighted fit of its own."""
    at, width = X[:4] + 0.2, 1.3
    curve = lambda x, y, at, width: jax.vmap(
        lambda a: linear.locally_weighted(x, y, a, width=width)
    )(at)
    found = curve(X, Y, at, width)
    for a, value in zip(at, found, strict=True):
        w = np.exp(-((X - a) ** 2).sum(1) / (2 * width**2))
        line = linear.fit(X, Y, weights=w).params
        np.testing.assert_allclose(value, linear.predict(line, a[None])[0], rtol=1e-9)
    line = np.linspace(0, 1, 40)[:, None]
    far = curve(line, 3 * line[:, 0] + 1, line + 50, 2.0)
    np.testing.assert_allclose(far, 3 * (line[:, 0] + 50) + 1, rtol=1e-6)


# --- traces and derivatives --------------------------------------------------------


def test_refits_add_no_trace():
    rng = np.random.default_rng(10)
    linear.fit(X, Y, weights=np.ones(12))
    before = linear.fit.traces
    for _ in range(100):
        linear.fit(rng.normal(size=(12, 3)), Y, weights=rng.uniform(size=12))
    assert linear.fit.traces == before


@pytest.mark.parametrize("solver", ["qr", "cholesky", "cg"])
def test_derivative_is_the_influence(solver, x64):
    """∂w/∂y is the pseudo-inverse, whichever way w was found."""
    slope = jax.jacobian(lambda y: linear.fit(X, y, solver=solver, tol=1e-12).params.w)
    expected = np.linalg.pinv(np.c_[X, np.ones(12)])[:3]
    np.testing.assert_allclose(slope(Y), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear.fit(X, Y, solver="ols"), "^solver must be one of 'auto'"),
        (lambda: linear.fit(X, Y[:5]), r"^y has shape \(5,\)"),
        (lambda: linear.predict(PARAMS, X[:, :2]), r"^params.w has shape \(3,\)"),
        (lambda: linear.inference(PARAMS, X, Y, kind="x"), "^kind must be one of"),
        (
            lambda: linear.inference(PARAMS, X, Y, covariance="HC9"),
            "^covariance must be one of",
        ),
        (lambda: linear.locally_weighted(X, Y, X[0], width=0.0), "^width must lie in"),
        (
            lambda: linear.inference(PARAMS, X, Y, confidence=1.0),
            "^confidence must lie in",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
