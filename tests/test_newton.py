"""Second-order minimisers against closed forms, NIST's certified values and units."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from jaxml import Status, optimize
from jaxml.optimize import minimize
from jaxml.optimize._fit import check
from tests import problems
from tests.problems import BOXBOD, MGH09, MISRA1A

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(30, 4)), RANDOM.normal(size=30)
LEAST = np.linalg.lstsq(X, Y)[0]


def linear(w, x, y):
    return x @ w - y


linear_cost = problems.half(linear)


# --- newton --------------------------------------------------------------------------


def test_a_quadratic_takes_one_step(x64):
    fit = minimize(
        problems.quadratic,
        np.zeros(4),
        X.T @ X,
        X.T @ Y,
        solver=optimize.newton,
        max_iter=1,
    )
    assert (fit.status, fit.steps) == (Status.CONVERGED, 1)
    np.testing.assert_allclose(fit.params, LEAST, rtol=1e-12)


def double_well(params, depth):
    """Two coordinates with a maximum at 0 and minima at ±1, coupled by depth."""
    x, y = params["x"], params["y"]
    return 0.25 * jnp.sum((x**2 - 1) ** 2) + 0.25 * (y**2 - 1) ** 2 + depth * x[0] * y


@pytest.mark.long
def test_an_indefinite_hessian_is_left_downhill(x64):
    start = {"x": np.array([0.1, -0.2]), "y": np.array(0.05)}
    depth = np.array(0.1)
    hessian = jax.hessian(lambda v: double_well({"x": v[:2], "y": v[2]}, depth))
    assert np.linalg.eigvalsh(hessian(np.array([0.1, -0.2, 0.05]))).max() < 0
    for solver in (optimize.newton, optimize.newton_cg):
        fit = check(minimize(double_well, start, depth, solver=solver, tol=1e-10))
        history = fit.history[: fit.steps]
        assert (np.diff(history) <= 0).all()
        assert fit.cost < double_well(start, depth)
        x, y = fit.params["x"], fit.params["y"]
        a = np.sqrt(1 - 0.1 * np.sign(x[0] * y))  # deeper where the signs differ
        np.testing.assert_allclose(np.abs([x[0], x[1], y]), [a, 1, a], rtol=1e-9)


def test_the_hessian_that_is_given_is_used(x64):
    calls = []

    def hessian(w, a, b):
        calls.append(w.shape)
        return 2 * a  # wrong on purpose: the first step is half as long

    def run(**more):
        return minimize(
            problems.quadratic,
            np.zeros(4),
            X.T @ X,
            X.T @ Y,
            solver=optimize.newton,
            max_iter=1,
            **more,
        )

    np.testing.assert_allclose(run(hessian=hessian).params, LEAST / 2, rtol=1e-12)
    assert calls == [(4,)]
    np.testing.assert_allclose(run().params, LEAST, rtol=1e-12)


def test_the_right_hessian_changes_nothing(x64):
    def hessian(x):
        return jax.hessian(problems.PROBLEMS["rosenbrock-2"].cost)(x)

    given, auto = (
        minimize(
            problems.PROBLEMS["rosenbrock-2"].cost,
            np.array([-1.2, 1.0]),
            solver=optimize.newton,
            **more,
        )
        for more in ({"hessian": hessian}, {})
    )
    assert given.steps == auto.steps
    np.testing.assert_allclose(given.params, auto.params, rtol=1e-12)


def test_rate_multiplies_the_step(x64):
    fit = minimize(
        problems.quadratic,
        np.zeros(4),
        X.T @ X,
        X.T @ Y,
        solver=optimize.newton,
        learning_rate=0.25,
        max_iter=1,
    )
    np.testing.assert_allclose(fit.params, LEAST / 4, rtol=1e-12)


# --- sums of squares -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "steps"), [(optimize.gauss_newton, 1), (optimize.levenberg_marquardt, 6)]
)
def test_linear_least_squares(x64, solver, steps):
    fit = minimize(
        linear_cost, np.zeros(4), X, Y, solver=solver, residual=linear, tol=1e-9
    )
    assert fit.status == Status.CONVERGED
    assert fit.steps <= steps
    np.testing.assert_allclose(fit.params, LEAST, rtol=1e-9)


def mean_square(w, x, y):
    return jnp.mean(linear(w, x, y) ** 2)


def test_the_cost_may_be_any_multiple_of_the_squares(x64):
    """Levenberg-Marquardt finds the factor; without it, μ would be out of scale."""
    fits = [
        minimize(
            cost,
            np.zeros(4),
            X,
            Y,
            solver=optimize.levenberg_marquardt,
            residual=linear,
            tol=1e-10,
        )
        for cost in (linear_cost, mean_square)
    ]
    assert [fit.status for fit in fits] == [Status.CONVERGED] * 2
    np.testing.assert_allclose(fits[1].history[:3] * 15, fits[0].history[:3])
    np.testing.assert_allclose(fits[1].params, LEAST, rtol=1e-9)


# From BoxBOD's first start MINPACK, too, ends in the flat part at b2 = 100.
NIST = [
    (MISRA1A, 0, "levenberg_marquardt"),
    (MISRA1A, 1, "levenberg_marquardt"),
    (BOXBOD, 1, "levenberg_marquardt"),
    (MGH09, 0, "levenberg_marquardt"),
    (MGH09, 1, "levenberg_marquardt"),
    (MISRA1A, 0, "gauss_newton"),
    (MISRA1A, 1, "gauss_newton"),
    (MGH09, 1, "gauss_newton"),
]


@pytest.mark.parametrize(("regression", "start", "solver"), NIST)
def test_nist_certified_values(x64, regression, start, solver):
    """Seven digits of each parameter; NIST gives eleven."""
    problem = problems.nist(regression, start, tol=None)
    fit = minimize(
        problem.cost,
        problem.start,
        *problem.data,
        solver=problems.SOLVERS[solver],
        residual=problem.residual,
        tol=0.0,
        max_iter=3000,
    )
    np.testing.assert_allclose(fit.params, regression.certified, rtol=1e-7)
    m, n = regression.y.size, len(regression.certified)
    np.testing.assert_allclose(fit.cost, (m - n) / 2, rtol=1e-9)
    assert fit.status in (Status.STALLED, Status.CONVERGED)


@pytest.mark.parametrize("solver", problems.SQUARES)
def test_a_residual_of_zero_is_reached(x64, solver):
    w = np.array([1.0, -2.0, 0.5, 3.0])
    fit = minimize(
        linear_cost,
        np.zeros(4),
        X,
        X @ w,
        solver=problems.SOLVERS[solver],
        residual=linear,
        tol=1e-12,
    )
    assert fit.status == Status.CONVERGED
    assert fit.cost < 1e-24
    np.testing.assert_allclose(fit.params, w, rtol=1e-12)
    # From the solution itself, where r is 0, nothing is divided by it.
    there = minimize(
        linear_cost,
        w,
        X,
        X @ w,
        solver=problems.SOLVERS[solver],
        residual=linear,
        tol=0.0,
    )
    np.testing.assert_allclose(there.params, w, rtol=1e-12)


def test_levenberg_marquardt_does_not_see_units(x64):
    """Parameters in other units make the same steps."""
    units = np.array([1e3, 1e-4])

    def scaled(b, unit, *data):
        return problems.saturation(b * unit, *data)

    problem = problems.nist(MISRA1A, 1, tol=None)
    fits = [
        minimize(
            problems.half(scaled),
            problem.start / unit,
            unit,
            *problem.data,
            solver=optimize.levenberg_marquardt,
            residual=scaled,
            tol=0.0,
            max_iter=4,
        )
        for unit in (np.ones(2), units)
    ]
    np.testing.assert_allclose(fits[1].history, fits[0].history, rtol=1e-9)
    np.testing.assert_allclose(fits[1].params * units, fits[0].params, rtol=1e-9)


@pytest.mark.parametrize("solver", problems.SQUARES)
def test_a_jacobian_without_full_rank(x64, solver):
    """Two equal columns, one of zeros: what the data say is found all the same."""
    x = np.column_stack([X[:, 0], X[:, 1], X[:, 1], np.zeros(30)])
    fit = minimize(
        linear_cost,
        np.zeros(4),
        x,
        Y,
        solver=problems.SOLVERS[solver],
        residual=linear,
        tol=1e-9,
    )
    assert fit.status == Status.CONVERGED
    assert np.isfinite(fit.params).all()
    least = np.linalg.lstsq(X[:, :2], Y)[0]
    w = np.array(fit.params)
    np.testing.assert_allclose([w[0], w[1] + w[2]], least, rtol=1e-8)
    assert w[3] == 0


def test_more_parameters_than_residuals(x64):
    fit = minimize(
        linear_cost,
        np.zeros(4),
        X[:2],
        Y[:2],
        solver=optimize.gauss_newton,
        residual=linear,
        tol=1e-9,
    )
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(X[:2] @ fit.params, Y[:2], atol=1e-9)


# --- newton_cg -----------------------------------------------------------------------


def chain(x, b):
    """A stiff chain with quartic springs: n coordinates, a banded Hessian."""
    d = jnp.diff(x)
    return 0.5 * jnp.vdot(x, x) + 5 * jnp.vdot(d, d) + jnp.sum(d**4) - jnp.vdot(b, x)


def test_newton_cg_forms_no_matrix():
    n = 1000
    b = RANDOM.normal(size=n).astype(np.float32)

    @jax.jit
    def run(b):
        return minimize(chain, jnp.zeros(n), b, solver=optimize.newton_cg, tol=1e-4)

    compiled = run.lower(b).compile()
    fit = check(compiled(b))
    assert fit.steps < 20
    assert jnp.linalg.norm(jax.grad(chain)(fit.params, b)) < 2e-4
    # One matrix would be 1000 × 4 n bytes.
    assert compiled.memory_analysis().temp_size_in_bytes < 100 * 4 * n
    assert max(_sizes(jax.make_jaxpr(run)(b))) < n * n


def _sizes(jaxpr):
    """Sizes of all arrays that a jaxpr makes, those of its inner ones too."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from _sizes(inner)


def saddle(x):
    """-x² + y² far inside, bounded by x⁴: at (0.1, 1) the curvature along g changes."""
    return -0.5 * x[0] ** 2 + 0.5 * x[1] ** 2 + 0.25 * x[0] ** 4


@pytest.mark.parametrize("start", [[0.1, 1.0], [0.1, 0.0], [1e-3, 1e-3]])
def test_newton_cg_handles_negative_curvature(x64, start):
    fit = minimize(saddle, np.array(start), solver=optimize.newton_cg, tol=1e-9)
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params, [1, 0], atol=1e-8)
    assert (np.diff(fit.history[: fit.steps]) <= 0).all()


def test_newton_cg_stops_at_negative_curvature(x64):
    """The first product is along g, where it is positive; the second would not be."""
    a, x = np.diag([-1.0, 4.0]), np.array([1.0, 0.6])
    fit = minimize(
        problems.quadratic, x, a, np.zeros(2), solver=optimize.newton_cg, max_iter=1
    )
    g = a @ x
    np.testing.assert_allclose(fit.params, x - g @ g / (g @ a @ g) * g, rtol=1e-12)


def test_max_inner_bounds_the_products():
    """One product is steepest descent with the exact length: still a descent."""
    solver = functools.partial(optimize.newton_cg, max_inner=1)
    a, b = problems.spectrum(10, 10)
    fit = minimize(problems.quadratic, np.zeros(10), a, b, solver=solver, max_iter=1)
    alpha = b @ b / (b @ a @ b)
    np.testing.assert_allclose(fit.params, alpha * b, rtol=1e-4)


# --- errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimize.newton(damping=-1.0), "damping must be at least 0, not -1.0"),
        (
            lambda: optimize.levenberg_marquardt(damping=-1),
            "damping must be at least 0",
        ),
        (
            lambda: optimize.newton_cg(max_inner=0),
            "max_inner must be at least 1, not 0",
        ),
        (lambda: optimize.newton_cg(max_inner=1.5), "max_inner must be a Python int"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make()
    assert str(caught.value).startswith(message)


def test_solvers_are_optax_transformations():
    """Used by hand, and in a chain with another link."""
    a, b = problems.spectrum(4, 3)
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)

    def value_fn(x):
        return problems.quadratic(x, a, b)

    solver = optax.chain(optimize.newton(), optax.scale(0.5))
    x = jnp.zeros(4)
    value, grad = jax.value_and_grad(value_fn)(x)
    update = jax.jit(functools.partial(solver.update, value_fn=value_fn))
    updates, _ = update(grad, solver.init(x), x, value=value, grad=grad)
    np.testing.assert_allclose(updates, 0.5 * jnp.linalg.solve(a, b), rtol=1e-4)
