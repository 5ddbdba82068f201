"""Minimisers on standard problems, with SciPy started from what they found."""

import contextlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxml
from jaxml import Status, _check, optimize
from jaxml.optimize import minimize
from tests import problems
from tests.common.samples import Made


def _ridge(w, x, t, *, l2):
    return jnp.mean((x @ w - t) ** 2) / 2 + l2 / 2 * jnp.sum(w**2)


def _rows(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(12, 3)), rng.normal(size=12)


SAMPLES = {
    "cost": _ridge,
    "params": np.zeros(3),
    "data": Made(_rows),
    "solver": optimize.newton,
    "learning_rate": None,
    "hyper": {"l2": 0.1},
}
UNIQUE = {"minimize": "the cost is strictly convex"}

F32, F64 = "float32", "float64"
# Each solver on three problems or more, each problem by two solvers or more.
QUICK = {
    "lbfgs": {"rosenbrock-100": F64, "network": F32, "quadratic-1e5": F32},
    "fletcher-reeves": {"quadratic-1e5": F32, "wood": F32, "logistic": F64},
    "polak-ribiere+": {"rosenbrock-2": F32, "helical-valley": F64, "beale": F32},
    "hestenes-stiefel": {
        "rosenbrock-100": F32,
        "trigonometric": F64,
        "powell-singular": F32,
    },
    "hager-zhang": {"logistic": F32, "quadratic-1e3": F64, "brown-dennis": F32},
    "newton": {
        "freudenstein-roth": F32,
        "brown-dennis": F64,
        "quadratic-1e3": F32,
        "boxbod": F64,
    },
    "newton_cg": {"network": F32, "freudenstein-roth": F64, "helical-valley": F32},
    "levenberg_marquardt": {
        "misra1a": F64,
        "mgh09": F32,
        "powell-singular": F64,
        "trigonometric": F32,
        "boxbod": F32,
    },
    "gauss_newton": {
        "misra1a": F32,
        "mgh09": F64,
        "beale": F64,
        "freudenstein-roth": F64,
        "rosenbrock-2": F64,
        "wood": F64,
    },
}
GRID = [
    pytest.param(
        name,
        solver,
        dtype,
        marks=() if QUICK[solver].get(name) == dtype else pytest.mark.long,
        id=f"{name}-{solver}-{dtype}",
    )
    for name in problems.PROBLEMS
    for solver in problems.solvers(name)
    for dtype in (F32, F64)
]


@pytest.mark.parametrize(("name", "solver", "dtype"), GRID)
def test_standard_problems(name, solver, dtype):
    with jax.enable_x64(True) if dtype == F64 else contextlib.nullcontext():
        fit = problems.solve(name, solver, dtype)
        assert fit.cost.dtype == dtype
    assert not problems.faults(name, solver, dtype, fit)


def test_the_quick_grid_is_broad():
    tried = [name for names in QUICK.values() for name in names]
    assert set(QUICK) == set(problems.SOLVERS)
    assert min(len(names) for names in QUICK.values()) >= 3
    assert min(tried.count(name) for name in problems.PROBLEMS) >= 2


PUBLISHED = [
    (problems.jennrich_sampson, [0.3, 0.4], 124.362),
    (problems.chebyquad, 10 * np.arange(1, 9) / 9, 3.51687e-3),
]


@pytest.mark.parametrize(("residual", "start", "squares"), PUBLISHED)
def test_conjugate_directions_far_from_the_minimum(residual, start, squares, x64):
    """A step of the gradient's length ends where e^x is 0, or at a cost of 1e221."""
    cost = problems.half(residual)
    fit = minimize(cost, np.array(start), solver=optimize.conjugate, max_iter=2000)
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(2 * fit.cost, squares, rtol=1e-5)


@pytest.mark.parametrize("solver", ["hager-zhang", "gauss_newton"])
def test_no_search_ends_above_its_start(solver):
    """From starts at which most searches of float32 fail."""
    starts = (
        np.random.default_rng(0).normal(size=(40, 8))
        * np.geomspace(1, 1e3, 40)[:, None]
    )
    cost = problems.half(problems.chebyquad)
    more = {"residual": problems.chebyquad} if solver == "gauss_newton" else {}

    def run(start):
        options = {"solver": problems.SOLVERS[solver], "max_iter": 4, **more}
        return minimize(cost, start, **options), cost(start)

    fit, begun = jax.jit(jax.vmap(run))(starts.astype(F32))
    known = np.isfinite(begun)
    assert known.sum() > 20
    assert (fit.cost <= begun * (1 + 1e-6))[known].all()
    assert np.isfinite(fit.params[known]).all()


@pytest.mark.parametrize(
    ("solver", "power"), [(optax.lbfgs, 20), (optimize.newton, 40)]
)
def test_the_default_tol_knows_no_units(solver, power):
    """A cost of 2^±20 of its size is minimised as well; by Newton to the same bits."""
    start = {"w": np.array([0.5, -1.0, 2.0], np.float32)}

    def run(unit):
        return minimize(_bowl_in, start, X, unit, solver=solver)

    fits = [run(np.float32(2.0**p)) for p in (-power, 0, power)]
    for fit in fits:
        assert fit.status == Status.CONVERGED
        np.testing.assert_allclose(fit.params["w"], 1 / X, rtol=1e-4)
    if solver is optimize.newton:
        for fit in fits:
            np.testing.assert_allclose(fit.params["w"], fits[1].params["w"], rtol=1e-6)


def _bowl_in(params, x, unit):
    return unit * bowl(params, x)


# --- minimize itself -----------------------------------------------------------------


def bowl(params, x, l2=0.0):
    """½ Σ w² x - Σ w + ½ l2 |w|², least at 1 / (x + l2)."""
    w = params["w"]
    return 0.5 * jnp.vdot(x, w**2) - jnp.sum(w) + 0.5 * l2 * jnp.vdot(w, w)


X = np.array([1.0, 2.0, 4.0], np.float32)
START = {"w": np.zeros(3, np.float32)}


@pytest.mark.long
def test_a_pytree_with_data_and_a_hyper_parameter():
    fit = jaxml.check(minimize(bowl, START, X, l2=0.5))
    np.testing.assert_allclose(fit.params["w"], 1 / (X + 0.5), rtol=1e-5)
    np.testing.assert_allclose(fit.cost, -0.5 * np.sum(1 / (X + 0.5)), rtol=1e-5)
    slope = jax.grad(bowl)(fit.params, X, l2=0.5)
    np.testing.assert_allclose(fit.residual, jnp.linalg.norm(slope["w"]), atol=1e-6)
    assert fit.status == Status.CONVERGED
    assert 0 < fit.steps <= 50
    history = fit.history[: fit.steps]
    assert history[-1] == fit.cost
    assert np.isfinite(history).all()
    assert np.isinf(fit.history[fit.steps :]).all()


def test_one_trace_for_all_values():
    """Rates, tolerances and penalties of every kind share one program."""
    kinds = [0.1, 1, np.float64(0.2), np.float32(0.3), jnp.float32(0.4), np.int64(1)]
    kinds += [jnp.asarray(0.5), np.array(0.6)]
    before = minimize.traces
    for value in kinds:
        for name in ("learning_rate", "tol", "l2"):
            given = {"learning_rate": 0.1, "tol": 1e-3, "l2": 0.1, name: value}
            minimize(bowl, START, X, solver=optax.sgd, max_iter=7, **given)
    assert minimize.traces == before + 1


def test_one_trace_for_equal_partials():
    before = minimize.traces
    for momentum in (0.9, 0.9):
        solver = partial(optax.sgd, momentum=momentum)
        minimize(bowl, START, X, solver=solver, learning_rate=0.1, max_iter=8)
        tilted = partial(bowl, l2=momentum)
        minimize(tilted, START, X, solver=optax.sgd, learning_rate=0.1, max_iter=8)
    assert minimize.traces == before + 2


def _falling(learning_rate):
    """Of linear fall to 0, which counts the steps."""
    return optax.sgd(optax.polynomial_schedule(learning_rate, 0.0, 1, 4))


@pytest.mark.parametrize(
    ("solver", "learning_rate"), [(_falling, 0.2), (_falling(0.2), None)]
)
def test_a_schedule_changes_the_rate(solver, learning_rate):
    """Of sgd with rate (1 - count / 4), the steps can be taken by hand."""
    options = {"solver": solver, "learning_rate": learning_rate, "max_iter": 3}
    fit = minimize(bowl, START, X, tol=0, **options)
    w = np.zeros(3)
    for step in range(3):
        w -= 0.2 * (1 - step / 4) * (X * w - 1)
    np.testing.assert_allclose(fit.params["w"], w, rtol=1e-6)


def test_an_instance_is_the_solver_of_its_rate():
    """It is compiled in: the same one is not compiled again, another one is."""
    one = optax.adam(0.1)
    before = minimize.traces
    fits = [minimize(bowl, START, X, solver=solver) for solver in (one, one)]
    assert minimize.traces == before + 1
    fits.append(minimize(bowl, START, X, solver=optax.adam, learning_rate=0.1))
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.params["w"], fits[0].params["w"], rtol=1e-5)
        assert fit.status == fits[0].status


def test_statuses():
    def descend(w, rate, max_iter=400):
        start = {"w": np.asarray(w, np.float32)}
        options = {"learning_rate": rate, "tol": 1e-9, "max_iter": max_iter}
        return minimize(bowl, start, X, solver=optax.sgd, **options)

    converged = descend(1 / X, 0.1)
    assert (converged.status, converged.steps) == (Status.CONVERGED, 0)
    few = descend(np.zeros(3), 0.1, max_iter=2)
    assert (few.status, few.steps) == (Status.EXHAUSTED, 2)
    # A rate of 2 / 4 makes the steepest coordinate swing for ever: 0, ½, 0, …
    swing = descend(np.zeros(3), 0.5)
    assert swing.status == Status.STALLED
    assert 100 <= swing.steps < 400
    assert descend(np.zeros(3), 1e3).status == Status.NONFINITE


def test_vmap_is_a_loop():
    l2 = jnp.array([0.0, 0.5, 3.0])

    def run(l2):
        return minimize(bowl, START, X, l2=l2, solver=optax.sgd, learning_rate=0.2)

    many = jax.vmap(run)(l2)
    assert len(set(many.steps.tolist())) == 3
    for i in range(3):
        one = run(l2[i])
        assert many.steps[i] == one.steps
        np.testing.assert_allclose(many.params["w"][i], one.params["w"], rtol=1e-5)


@_check.pure
def _declared(params: Any, x: _check.Targets, *, l2: _check.NonNegative = 0.0):
    """`bowl`, with limits of its own to l2."""
    return bowl(params, x, l2)


def test_bad_values_under_jit_and_vmap_become_a_status():
    def run(x, l2):
        return minimize(_declared, START, x, l2=l2, solver=optimize.newton).status

    x = jnp.stack([X, X * jnp.nan])
    status = jax.jit(jax.vmap(run, (0, None)))(x, 0.1)
    assert status.tolist() == [Status.CONVERGED, Status.NONFINITE]
    status = jax.vmap(run, (None, 0))(jnp.asarray(X), jnp.array([0.1, -1.0, jnp.nan]))
    assert status.tolist() == [Status.CONVERGED, Status.INVALID, Status.NONFINITE]


def test_a_cost_says_what_its_hyper_parameters_may_be():
    """One that declares nothing takes any finite number."""
    options = {"solver": optimize.newton, "l2": -0.5}
    fit = minimize(bowl, START, X, **options)
    np.testing.assert_allclose(fit.params["w"], 1 / (X - 0.5), rtol=1e-5)
    for cost in (_declared, partial(_declared)):
        with pytest.raises(ValueError, match=r"^l2 must lie in \[0, inf\), not -0.5"):
            minimize(cost, START, X, **options)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"solver": "adam"}, "solver must be an optimiser such as"),
        ({"solver": optax.adam}, "learning_rate must be given: adam has no default"),
        (
            {"solver": optax.adam(0.1), "learning_rate": 0.1},
            "learning_rate must be None: solver is made with its own",
        ),
        ({"solver": optimize.levenberg_marquardt}, "residual must be given"),
        ({"solver": optimize.gauss_newton}, "residual must be given"),
        ({"max_iter": 0}, "max_iter must be at least 1"),
        ({"max_iter": 1.5}, "max_iter must be a Python int"),
        ({"tol": -1.0}, r"tol must lie in \[0, inf\)"),
        ({"learning_rate": 0.0}, r"learning_rate must lie in \(0, inf\)"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"l2": np.nan}, "l2 must be finite"),
        ({"lr": np.inf}, "lr must be finite"),
    ],
)
def test_bad_arguments_are_named(more, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        minimize(bowl, START, X, **more)


def test_bad_data_are_named():
    with pytest.raises(
        ValueError, match=r"^data\[0\] holds 1 non-finite value at row 1"
    ):
        minimize(bowl, START, np.array([1.0, np.nan, 2.0]))
    with pytest.raises(ValueError, match=r"^params must be a pytree of arrays"):
        minimize(bowl, {"w": "start"}, X)
    with pytest.raises(TypeError, match="unexpected keyword argument 'l3'"):
        minimize(bowl, START, X, l3=1.0)
