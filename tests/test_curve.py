"""Curves against SciPy's curve_fit, NIST's certified values and closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize as scipy
from scipy import stats

import jaxml
from jaxml import Status, optimize
from jaxml.regression import curve
from tests import problems
from tests.common.samples import Made
from tests.depth import cases

M = 40
RANDOM = np.random.default_rng(0)
X = np.linspace(0, 4, M)
SIGMA = RANDOM.uniform(0.02, 0.1, M)
Y = 2 * np.exp(-0.9 * X) + 0.5 + SIGMA * RANDOM.normal(size=M)
COUNTS = RANDOM.integers(0, 3, M)
START = {"height": 1.0, "level": 0.1, "rate": 0.5}


def decay(params, x):
    return params["height"] * jnp.exp(-params["rate"] * x) + params["level"]


def flat_decay(x, height, level, rate):
    """The same for curve_fit."""
    return height * np.exp(-rate * x) + level


def linear(params, x):
    return x @ params


def _rows(seed):
    random = np.random.default_rng(seed)
    x = np.linspace(0, 4, 12)
    return x, 2 * np.exp(-x) + 0.5 + 0.05 * random.normal(size=12)


FOUND = {"height": np.array(2.0), "level": np.array(0.5), "rate": np.array(1.0)}
SAMPLES = {
    "model": decay,
    "params": FOUND,
    "x": Made(lambda seed: _rows(seed)[0]),
    "y": Made(lambda seed: _rows(seed)[1]),
    "sigma": np.linspace(1, 2, 12),
    "noise": None,
    "learning_rate": None,
    "band.kind": "prediction",
    "lower": None,
    "upper": None,
    "inference": curve.Inference(
        FOUND,
        FOUND,
        FOUND,
        np.eye(3) + 0.1,
        *(np.array(each) for each in (8.0, 0.9, 0.95, 9.0, 0.9)),
    ),
}
UNIQUE = {"fit": "near the start there is one minimum"}


def fit(y=Y, start=START, model=decay, x=X, **more):
    more = {"tol": 1e-11} | more
    return jaxml.check(curve.fit(model, start, x, y, **more))


def flat(tree):
    return np.array(jax.tree.leaves(tree))


# --- against curve_fit ---------------------------------------------------------------

A = RANDOM.normal(size=(M, M)) / 10
NOISE = A @ A.T + np.diag(SIGMA**2)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("errors", cases(["none", "sigma", "noise"], quick=["sigma"]))
def test_agrees_with_curve_fit(x64, errors, absolute):
    given = {"none": {}, "sigma": {"sigma": SIGMA}, "noise": {"noise": NOISE}}[errors]
    theirs = next(iter(given.values()), None)
    found = fit(**given)
    wanted, covariance = scipy.curve_fit(
        flat_decay,
        X,
        Y,
        flat(START),
        sigma=theirs,
        absolute_sigma=absolute,
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
    )
    np.testing.assert_allclose(flat(found.params), wanted, rtol=1e-8)
    table = curve.inference(decay, found.params, X, Y, absolute=absolute, **given)
    np.testing.assert_allclose(table.covariance, covariance, rtol=1e-5)
    error = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(flat(table.standard_error), error, rtol=1e-5)
    t = stats.norm.ppf(0.975) if absolute else stats.t.ppf(0.975, M - 3)
    np.testing.assert_allclose(flat(table.low), wanted - t * error, rtol=1e-5)
    np.testing.assert_allclose(flat(table.high), wanted + t * error, rtol=1e-5)


def test_float32():
    found = curve.fit(decay, START, X, Y, sigma=SIGMA)
    assert found.status == Status.CONVERGED
    wanted, covariance = scipy.curve_fit(flat_decay, X, Y, flat(START), sigma=SIGMA)
    np.testing.assert_allclose(flat(found.params), wanted, rtol=1e-4)
    table = curve.inference(decay, found.params, X, Y, sigma=SIGMA)
    np.testing.assert_allclose(table.covariance, covariance, rtol=1e-3)


# Certified by NIST to 11 digits: standard deviations of the estimates.
DEVIATIONS = {
    "misra1a": (problems.MISRA1A, (2.7070075241, 7.2668688436e-6)),
    "boxbod": (problems.BOXBOD, (1.2354515176e1, 1.0455993237e-1)),
    "mgh09": (
        problems.MGH09,
        (1.1435312227e-2, 1.9633220911e-1, 8.0842031232e-2, 9.0025542308e-2),
    ),
}


def _saturation(b, x):
    return b[0] * -jnp.expm1(-b[1] * x)


def _rational(b, x):
    return b[0] * (x**2 + b[1] * x) / (x**2 + b[2] * x + b[3])


NIST = {"misra1a": _saturation, "boxbod": _saturation, "mgh09": _rational}


@pytest.mark.parametrize(("name", "start"), [(n, s) for n in NIST for s in (0, 1)])
def test_nist(x64, name, start):
    """Certified to 11 digits; to 6 with the default tol."""
    data, deviations = DEVIATIONS[name]
    start = np.array(data.starts[start], float)
    found = curve.fit(NIST[name], start, data.x, data.y)
    if name == "boxbod" and start[1] == 1:
        # Steepest descent leads to b2 = inf, where nothing depends on it.
        assert found.status == Status.SINGULAR
        return
    assert found.status == Status.CONVERGED
    np.testing.assert_allclose(found.params, data.certified, rtol=1e-6)
    found = jaxml.check(curve.fit(NIST[name], start, data.x, data.y, tol=1e-12))
    np.testing.assert_allclose(found.params, data.certified, rtol=1e-10)
    table = curve.inference(NIST[name], found.params, data.x, data.y)
    np.testing.assert_allclose(table.chi2, data.squares, rtol=1e-10)
    np.testing.assert_allclose(table.standard_error, deviations, rtol=1e-10)


@pytest.mark.long
def test_any_solver(x64):
    for solver, more in {
        optimize.gauss_newton: {},
        optimize.newton: {},
        optax.lbfgs: {"tol": 1e-8},
    }.items():
        found = fit(solver=solver, **more)
        np.testing.assert_allclose(flat(found.params), flat(fit().params), rtol=1e-6)


# --- what is minimised ---------------------------------------------------------------


def test_cost_and_residual(x64):
    weights = RANDOM.random(M)
    found = fit(sigma=SIGMA, weights=weights)
    r = (flat_decay(X, *flat(found.params)) - Y) / SIGMA
    np.testing.assert_allclose(
        found.cost, np.sum(weights * r**2) / weights.sum() / 2, rtol=1e-12
    )
    assert found.residual <= 1e-11
    assert found.history[found.steps - 1] == found.cost


@pytest.mark.long
@pytest.mark.parametrize("kind", ["precision", "frequency"])
def test_weights(x64, kind):
    """Whole numbers repeat rows; 0 leaves a row out, wherever it may lie."""
    found = fit(weights=COUNTS)
    x, y = np.repeat(X, COUNTS), np.repeat(Y, COUNTS)
    repeated = fit(x=x, y=y)
    np.testing.assert_allclose(flat(found.params), flat(repeated.params), rtol=1e-9)
    far = np.where(COUNTS == 0, -1e4, X)  # exp(1e4) there
    away = fit(x=far, weights=COUNTS)
    np.testing.assert_allclose(flat(away.params), flat(found.params), rtol=1e-12)
    table = curve.inference(decay, found.params, far, Y, weights=COUNTS, kind=kind)
    wanted = curve.inference(decay, found.params, x, y)
    dof = {"precision": np.sum(COUNTS > 0) - 3, "frequency": COUNTS.sum() - 3}[kind]
    assert table.dof == dof
    np.testing.assert_allclose(table.chi2, wanted.chi2, rtol=1e-9)
    np.testing.assert_allclose(table.r2, wanted.r2, rtol=1e-9)
    ratio = wanted.dof / dof
    np.testing.assert_allclose(table.covariance, wanted.covariance * ratio, rtol=1e-9)


def test_precision_weights_are_inverse_variances(x64):
    one = fit(weights=7 / SIGMA**2)
    two = fit(sigma=SIGMA)
    np.testing.assert_allclose(flat(one.params), flat(two.params), rtol=1e-9)
    tables = [
        curve.inference(decay, one.params, X, Y, weights=7 / SIGMA**2),
        curve.inference(decay, one.params, X, Y, sigma=SIGMA),
    ]
    for name in ("covariance", "r2", "dof"):
        a, b = (getattr(table, name) for table in tables)
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_units_do_not_matter(x64):
    """The same steps for parameters, x and y in other units."""
    plain = fit()

    def scaled(params, x):
        micro = {"height": 1e6, "level": 1e6, "rate": 1e-9}
        return 1e-6 * decay({n: micro[n] * p for n, p in params.items()}, x)

    start = {"height": 1e-6, "level": 1e-7, "rate": 0.5e9}
    found = fit(y=1e-6 * Y, model=scaled, start=start)
    assert abs(found.steps - plain.steps) <= 1
    np.testing.assert_allclose(found.history[:4] * 1e12, plain.history[:4], rtol=1e-9)
    wanted = flat(plain.params) * [1e-6, 1e-6, 1e9]
    np.testing.assert_allclose(flat(found.params), wanted, rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_perfect_fit_converges(dtype):
    with jax.enable_x64(dtype == np.float64):
        y = flat_decay(X, 2, 0.5, 0.9).astype(dtype)
        found = curve.fit(decay, START, X.astype(dtype), y)
        assert found.status == Status.CONVERGED
        assert found.steps < 20
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(flat(found.params), [2, 0.5, 0.9], rtol=50 * eps)


@pytest.mark.long
def test_two_lines_of_a_spectrum(x64):
    """Two overlapping Gaussians on a slope, counts with Poisson errors."""
    x = np.linspace(0, 10, 200)
    truth = {
        "area": np.array([300.0, 180.0]),
        "centre": np.array([4.0, 5.6]),
        "slope": np.array([20.0, -1.0]),
        "width": np.array([0.5, 0.8]),
    }
    clean = np.asarray(spectrum(truth, x))
    y = np.random.default_rng(2).poisson(clean).astype(float)
    sigma = np.sqrt(clean)
    start = {
        "area": np.array([200.0, 200.0]),
        "centre": np.array([3.5, 6.0]),
        "slope": np.array([15.0, 0.0]),
        "width": np.array([0.7, 0.7]),
    }
    found = fit(model=spectrum, start=start, x=x, y=y, sigma=sigma)
    table = curve.inference(spectrum, found.params, x, y, sigma=sigma, absolute=True)
    _, unravel = jax.flatten_util.ravel_pytree(start)
    wanted, covariance = scipy.curve_fit(
        lambda x, *p: np.asarray(spectrum(unravel(jnp.array(p)), x)),
        x,
        y,
        np.concatenate(list(start.values())),
        sigma=sigma,
        absolute_sigma=True,
        xtol=1e-12,
        ftol=1e-12,
    )
    ours = np.concatenate(jax.tree.leaves(found.params))
    np.testing.assert_allclose(ours, wanted, rtol=1e-5)
    np.testing.assert_allclose(table.covariance, covariance, rtol=1e-3)
    pulls = (ours - np.concatenate(list(truth.values()))) / np.sqrt(np.diag(covariance))
    assert np.abs(pulls).max() < 3.5
    assert 0.001 < stats.chi2.sf(float(table.chi2), 200 - 8) < 0.999


def spectrum(params, x):
    z = (x[:, None] - params["centre"][None]) / params["width"][None]
    height = params["area"] / params["width"] / np.sqrt(2 * np.pi).item()
    slope = params["slope"]
    return jnp.exp(-(z**2) / 2) @ height + slope[0] + slope[1] * x


def test_a_linear_model_in_closed_form(x64):
    """One step from anywhere; covariance s² (XᵀX)⁻¹, R², intervals."""
    x = RANDOM.normal(size=(M, 3))
    x[:, 0] = 1
    y = x @ [1, 2, -1] + RANDOM.normal(size=M)
    found = fit(model=linear, start=np.zeros(3), x=x, y=y)
    wanted, squares = np.linalg.lstsq(x, y)[:2]
    np.testing.assert_allclose(found.params, wanted, rtol=1e-10)
    table = curve.inference(linear, found.params, x, y, confidence=0.9)
    covariance = squares / (M - 3) * np.linalg.inv(x.T @ x)
    np.testing.assert_allclose(table.covariance, covariance, rtol=1e-10)
    r2 = 1 - squares[0] / np.sum((y - y.mean()) ** 2)
    np.testing.assert_allclose(table.r2, r2, rtol=1e-12)
    np.testing.assert_allclose(table.reduced, squares[0] / (M - 3), rtol=1e-12)
    half = stats.t.ppf(0.95, M - 3) * np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(table.high, wanted + half, rtol=1e-9)
    new = RANDOM.normal(size=(7, 3))
    spread = np.einsum("ij,jk,ik->i", new, covariance, new)
    for kind, more in {"confidence": 0, "prediction": squares[0] / (M - 3)}.items():
        shown = curve.band(linear, found.params, table, new, kind=kind)
        half = stats.t.ppf(0.975, M - 3) * np.sqrt(spread + more)
        np.testing.assert_allclose(shown.mean, new @ wanted, rtol=1e-10)
        np.testing.assert_allclose(shown.high - shown.mean, half, rtol=1e-9)
        np.testing.assert_allclose(shown.mean - shown.low, half, rtol=1e-9)


@pytest.mark.long
def test_intervals_cover(x64):
    """In 2,000 simulations, 95 % intervals hold the truth 93 to 97 times in 100."""
    clean = flat_decay(X, 2, 0.5, 0.9)
    noise = np.random.default_rng(7).normal(size=(2000, M)) * SIGMA

    @jax.jit
    @jax.vmap
    def covers(y, new):
        found = curve.fit(decay, FOUND, X, y, sigma=SIGMA)
        table = curve.inference(decay, found.params, X, y, sigma=SIGMA)
        truth = {"height": 2.0, "level": 0.5, "rate": 0.9}
        inside = jax.tree.map(
            lambda low, high, t: (low < t) & (t < high), table.low, table.high, truth
        )
        line = curve.band(decay, found.params, table, X[5:6])
        point = curve.band(
            decay, found.params, table, X[5:6], kind="prediction", sigma=SIGMA[5:6]
        )
        level = clean[5]
        inside["line"] = ((line.low < level) & (level < line.high))[0]
        inside["point"] = ((point.low < new) & (new < point.high))[0]
        return found.status, inside

    new = clean[5] + SIGMA[5] * np.random.default_rng(8).normal(size=2000)
    status, inside = covers(clean + noise, new)
    assert (status == Status.CONVERGED).all()
    for name, each in inside.items():
        assert 0.93 < each.mean() < 0.97, name


# --- transforms ----------------------------------------------------------------------


@pytest.mark.long
def test_a_hundred_data_sets_in_one_program():
    y = Y + SIGMA * RANDOM.normal(size=(100, M))
    before = curve.fit.traces
    many = jax.vmap(lambda y: curve.fit(_decay_of_100, START, X, y, sigma=SIGMA))(y)
    assert curve.fit.traces == before + 1
    assert (many.status == Status.CONVERGED).all()
    for i in (0, 50, 99):
        wanted = scipy.curve_fit(flat_decay, X, y[i], flat(START), sigma=SIGMA)[0]
        ours = [leaf[i] for leaf in jax.tree.leaves(many.params)]
        np.testing.assert_allclose(ours, wanted, rtol=2e-4)


def _decay_of_100(params, x):
    return decay(params, x)


def test_one_trace_for_all_values():
    curve.fit(decay, START, X, Y, sigma=SIGMA, weights=COUNTS)
    before = curve.fit.traces
    for scale in (1, 2.0, np.float64(3)):
        start = {name: value * scale for name, value in START.items()}
        curve.fit(decay, start, X * 2, Y + scale, sigma=SIGMA, weights=COUNTS, tol=1e-6)
    assert curve.fit.traces == before


@pytest.mark.parametrize("wrt", cases(["y", "x", "sigma", "weights"], quick=["y"]))
def test_derivatives_of_the_solution(x64, wrt):
    data = {"x": X, "y": Y, "sigma": SIGMA, "weights": COUNTS.astype(float)}

    def found(value):
        given = data | {wrt: value}
        x, y = given.pop("x"), given.pop("y")
        return curve.fit(decay, START, x, y, tol=1e-13, **given).params["rate"]

    slope = np.asarray(jax.grad(found)(data[wrt]))
    assert np.isfinite(slope).all()
    for i in (0, 7, int(np.argmin(COUNTS))):
        step = 1e-5 if COUNTS[i] else 1e-4
        ends = [data[wrt].copy() for _ in range(2)]
        ends[0][i] += step
        ends[1][i] -= step if wrt != "weights" or COUNTS[i] else 0
        width = ends[0][i] - ends[1][i]
        numeric = (found(ends[0]) - found(ends[1])) / width
        tolerance = 1e-5 if wrt != "weights" or COUNTS[i] else 1e-2
        np.testing.assert_allclose(slope[i], numeric, rtol=tolerance, atol=1e-9)


def test_derivative_of_the_quantile(x64):
    confidence, dof = np.array([0.95, 0.5, 0.99, 0.9]), np.array([3.0, 40.0, 1.0, 2e3])
    slope = jax.jit(jax.vmap(jax.grad(curve._critical, (0, 1))))(confidence, dof)
    h = 1e-5

    def quantile(confidence, dof):
        return stats.t.ppf((1 + confidence) / 2, dof)

    by_confidence = quantile(confidence + h, dof) - quantile(confidence - h, dof)
    by_dof = quantile(confidence, dof * (1 + h)) - quantile(confidence, dof * (1 - h))
    np.testing.assert_allclose(slope[0], by_confidence / 2 / h, rtol=1e-5)
    np.testing.assert_allclose(slope[1], by_dof / 2 / h / dof, rtol=1e-4)


# --- bounds --------------------------------------------------------------------------

BOXES = {
    "idle": (
        {"height": 0, "level": 0, "rate": 0},
        {"height": 9, "level": 2, "rate": 3},
    ),
    "one active": (
        {"height": 0, "level": -np.inf, "rate": 0},
        {"height": np.inf, "level": np.inf, "rate": 0.7},
    ),
    "below active": (
        {"height": -np.inf, "level": 0.6, "rate": -np.inf},
        {"height": np.inf, "level": np.inf, "rate": np.inf},
    ),
    "two active": (
        {"height": 0, "level": 0, "rate": 1.1},
        {"height": 1.5, "level": 5, "rate": 2},
    ),
    "above active": (
        {"height": -np.inf, "level": -np.inf, "rate": -np.inf},
        {"height": 1.7, "level": 0.45, "rate": np.inf},
    ),
}
INSIDE = {"height": 1.2, "level": 0.7, "rate": 0.6}


@pytest.mark.parametrize("box", BOXES)
def test_bounds_agree_with_curve_fit(x64, box):
    lower, upper = BOXES[box]
    start = {n: np.clip(v, lower[n] + 0.1, upper[n] - 0.1) for n, v in INSIDE.items()}
    found = curve.fit(decay, start, X, Y, sigma=SIGMA, lower=lower, upper=upper)
    assert found.status == Status.CONVERGED
    wanted = scipy.curve_fit(
        flat_decay,
        X,
        Y,
        flat(start),
        sigma=SIGMA,
        bounds=(flat(lower), flat(upper)),
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
    )[0]
    ours = flat(found.params)
    np.testing.assert_allclose(ours, wanted, rtol=1e-6)
    assert (ours >= flat(lower)).all()
    assert (ours <= flat(upper)).all()
    cost = [
        np.sum(((flat_decay(X, *p) - Y) / SIGMA) ** 2) / M / 2 for p in (ours, wanted)
    ]
    assert cost[0] <= cost[1] * (1 + 1e-8)


@pytest.mark.parametrize("rate", cases([1e-5, 1e-4, 0.0], quick=[0.0]))
def test_a_small_value_far_below_its_upper_bound(rate):
    """No start is moved but one on a bound, and no digits of a small value are lost."""
    x = np.linspace(0, 3e5, M)
    y = 2 * np.exp(-1.005e-5 * x) + SIGMA / 10
    bounds = {"lower": {"rate": 0.0}, "upper": {"rate": 1.0}}
    found = jaxml.check(curve.fit(_slow_decay, {"rate": rate}, x, y, **bounds))
    wanted = scipy.curve_fit(
        lambda x, rate: 2 * np.exp(-rate * x), x, y, 1e-5, bounds=(0, 1)
    )[0]
    np.testing.assert_allclose(found.params["rate"], wanted, rtol=1e-5)
    mirrored = curve.fit(
        _growth, {"rate": -rate}, x, y, lower={"rate": -1.0}, upper={"rate": 0.0}
    )
    np.testing.assert_allclose(jaxml.check(mirrored).params["rate"], -wanted, rtol=1e-5)


def _slow_decay(params, x):
    return 2 * jnp.exp(-params["rate"] * x)


def _growth(params, x):
    return 2 * jnp.exp(params["rate"] * x)


@pytest.mark.parametrize("unit", [2.0**-75, 2.0**66])
def test_units_of_y(unit):
    """Where squares under- or overflow the answer is that of other units yet."""
    tables = []
    for of_y, model in ((1, decay), (unit, partial(_scaled, unit=unit))):
        y = np.float32(Y) * of_y
        found = jaxml.check(curve.fit(model, START, X, y))
        table = curve.inference(model, found.params, X, y)
        tables.append([*flat(found.params), *flat(table.standard_error), table.r2])
    np.testing.assert_allclose(*tables, rtol=1e-4)


def _scaled(params, x, *, unit):
    return unit * decay(params, x)


@pytest.mark.long
def test_derivatives_at_a_bound(x64):
    """A parameter at its bound goes with the bound; the others answer to it."""
    lower, upper = BOXES["one active"]

    def found(y, top):
        result = curve.fit(
            decay, INSIDE, X, y, lower=lower, upper=upper | {"rate": top}
        )
        return jax.flatten_util.ravel_pytree(result.params)[0]

    by_y, by_top = jax.jacfwd(found, (0, 1))(jnp.asarray(Y), 0.7)
    # With the rate held, the model is linear in the others.
    a = np.column_stack([np.exp(-0.7 * X), np.ones(M)])
    np.testing.assert_allclose(by_y[:2], np.linalg.pinv(a), atol=1e-6)
    np.testing.assert_allclose(by_y[2], 0, atol=1e-6)
    np.testing.assert_allclose(by_top[2], 1, rtol=1e-6)
    step = 1e-4
    ends = [
        np.linalg.lstsq(np.column_stack([np.exp(-t * X), np.ones(M)]), Y)[0]
        for t in (0.7 + step, 0.7 - step)
    ]
    np.testing.assert_allclose(by_top[:2], (ends[0] - ends[1]) / 2 / step, rtol=1e-5)


def test_a_start_on_a_bound_and_outside(x64):
    lower, upper = BOXES["idle"]
    found = curve.fit(decay, START | {"level": 0.0}, X, Y, lower=lower, upper=upper)
    np.testing.assert_allclose(flat(found.params), flat(fit().params), rtol=1e-5)
    for level in (-0.1, 2.1):
        start = START | {"level": level}
        found = curve.fit(decay, start, X, Y, lower=lower, upper=upper)
        assert found.status == Status.NONFINITE


# --- what goes wrong -----------------------------------------------------------------


def test_parameters_that_the_data_do_not_determine(x64):
    """Of two heights only the sum counts: a minimum, with infinite errors."""
    start = {"a": 1.0, "b": 0.5, "rate": 0.5}
    found = curve.fit(_two_heights, start, X, Y)
    assert found.status == Status.SINGULAR
    alone = curve.fit(_two_heights, start | {"a": 0.0}, X, Y).params
    total = [p["a"] + p["b"] for p in (found.params, alone)]
    np.testing.assert_allclose(total[0], total[1], rtol=1e-6)
    table = curve.inference(_two_heights, found.params, X, Y)
    assert np.isinf(table.covariance).all()
    assert np.isinf(flat(table.standard_error)).all()


def _two_heights(params, x):
    return (params["a"] + params["b"]) * jnp.exp(-params["rate"] * x)


def test_no_degrees_of_freedom(x64):
    found = curve.fit(decay, START, X[:3], Y[:3])
    table = curve.inference(decay, found.params, X[:3], Y[:3])
    assert np.isnan(table.reduced)
    assert np.isnan(table.covariance).all()
    known = curve.inference(
        decay, found.params, X[:3], Y[:3], sigma=SIGMA[:3], absolute=True
    )
    assert np.isfinite(known.covariance).all()
    fewer = curve.inference(decay, found.params, X[:2], Y[:2], absolute=True)
    assert np.isinf(fewer.covariance).all()


def test_statuses():
    few = curve.fit(decay, START, X, Y, max_iter=1)
    assert few.status == Status.EXHAUSTED
    wild = curve.fit(decay, START | {"rate": -1e3}, X, Y)
    assert wild.status == Status.NONFINITE
    sigma = jnp.asarray(SIGMA, jnp.float32).at[3].set(-1.0)
    traced = jax.jit(lambda s: curve.fit(decay, START, X, Y, sigma=s))(sigma)
    assert traced.status == Status.NONFINITE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "decay"}, "model must be a function, not 'decay'"),
        ({"model": lambda p, x: x[0]}, r"model must give \(m,\) = \(40,\), not \(\)"),
        ({"model": lambda p, x: {"a": x}}, r"model must give \(m,\) = \(40,\), not N"),
        ({"sigma": -SIGMA}, r"sigma must lie in \(0, inf\)"),
        ({"sigma": SIGMA[:3]}, r"sigma has shape \(3,\), not \(m,\) where m = 40"),
        ({"noise": NOISE, "sigma": SIGMA}, "noise stands in place of sigma"),
        ({"noise": NOISE[:3]}, r"noise has shape \(3, 40\), not \(m, m\)"),
        ({"weights": -SIGMA}, r"weights must lie in \[0, inf\)"),
        ({"lower": {"height": 0.0}}, "lower must be a pytree like params"),
        ({"upper": 3.0}, "upper must be a pytree like params"),
        ({"solver": "lm"}, "solver must be an optimiser such as"),
        ({"solver": optax.adam}, "learning_rate must be given"),
        ({"y": np.where(Y > 1, np.nan, Y)}, "y holds"),
        (
            {"params": {"height": 1.0, "level": jnp.int32(1), "rate": 1.0}},
            "params must hold floats, not int32",
        ),
    ],
)
def test_bad_arguments(change, message):
    given = {"model": decay, "params": START, "x": X, "y": Y} | change
    data = [given.pop(name) for name in ("model", "params", "x", "y")]
    with pytest.raises(ValueError, match=f"^{message}"):
        curve.fit(*data, **given)


def test_bad_options():
    with pytest.raises(ValueError, match="^kind must be one of 'precision', 'freq"):
        curve.inference(decay, START, X, Y, kind="HC0")
    table = curve.inference(decay, START, X, Y)
    with pytest.raises(ValueError, match="^kind must be one of 'confidence', 'pred"):
        curve.band(decay, START, table, X, kind="both")
    with pytest.raises(ValueError, match="^sigma belongs to a prediction"):
        curve.band(decay, START, table, X, sigma=SIGMA)
    with pytest.raises(ValueError, match="^confidence must lie in"):
        curve.band(decay, START, table, X, confidence=1.5)
    with pytest.raises(ValueError, match="^inference.covariance has shape"):
        curve.band(linear, np.zeros(2), table, np.ones((M, 2)))


def test_equal_partials_are_compiled_once():
    before = curve.fit.traces
    for _ in range(3):
        curve.fit(partial(_power, order=2), np.ones(2), X, Y)
    assert curve.fit.traces == before + 1


def _power(params, x, *, order):
    return params[0] * x**order + params[1]
