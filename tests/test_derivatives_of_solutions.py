"""Derivatives of a minimum against closed forms and central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import Status
from jaxml.optimize import minimize as _minimize
from jaxml.optimize import newton, newton_cg

M, N = 12, 3
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(M, N)), RANDOM.normal(size=M)
PENALTIES = np.array([0.3, 0.7, 0.2])


def ridge(w, x, y, l2, decay):
    """1/(2m) |x w - y|² + ½ Σ (l2 + decay) w²: a scalar and an array by name."""
    r = x @ w["w"] - y
    return 0.5 * jnp.vdot(r, r) / len(y) + 0.5 * jnp.vdot(l2 + decay, w["w"] ** 2)


def closed(x, y, l2, decay):
    """Its minimum by the normal equations, which jax can differentiate too."""
    hessian = x.T @ x / len(y) + jnp.diag(l2 + decay)
    return jnp.linalg.solve(hessian, x.T @ y / len(y))


def solved(x, y, l2, decay, tol=1e-12):
    """Its minimum by Newton's method."""
    start = {"w": jnp.zeros(x.shape[1], x.dtype)}
    fit = _minimize(ridge, start, x, y, l2=l2, decay=decay, solver=newton, tol=tol)
    return fit.params["w"]


@pytest.fixture
def point(x64):
    return tuple(jnp.asarray(v) for v in (X, Y, 0.3, PENALTIES))


ARGUMENTS = {"x": 0, "y": 1, "l2": 2, "decay": 3}


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_ridge_in_closed_form(point, mode):
    """∂w/∂x, ∂w/∂y, ∂w/∂l2 and ∂w/∂decay, forward and reverse, at once."""
    every = tuple(ARGUMENTS.values())
    found = jax.jit(mode(solved, every))(*point)
    expected = mode(closed, every)(*point)
    for name, a, b in zip(ARGUMENTS, found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10, err_msg=name)
    # And by hand: H dw/dl2 = -w, H dw/dy = xᵀ / m.
    hessian = X.T @ X / M + np.diag(0.3 + PENALTIES)
    w = np.linalg.solve(hessian, X.T @ Y / M)
    np.testing.assert_allclose(found[2], -np.linalg.solve(hessian, w), rtol=1e-8)
    np.testing.assert_allclose(found[1], np.linalg.solve(hessian, X.T / M), rtol=1e-8)


def test_grad_jvp_jit_and_vmap_agree(point):
    x, y, l2, decay = point
    held_out = RANDOM.normal(size=N)

    def loss(l2):
        return jnp.sum((solved(x, y, l2, decay) - held_out) ** 2)

    l2s = jnp.array([0.1, 0.3, 1.0])
    slopes = jax.jit(jax.vmap(jax.grad(loss)))(l2s)
    forward = jax.jit(jax.vmap(lambda l2: jax.jvp(loss, (l2,), (1.0,))[1]))(l2s)
    h = 1e-5
    values = jax.jit(jax.vmap(loss))
    central = (values(l2s + h) - values(l2s - h)) / (2 * h)
    np.testing.assert_allclose(slopes, central, rtol=1e-7)
    np.testing.assert_allclose(forward, slopes, rtol=1e-10)


def test_the_derivative_of_the_cost_is_that_of_its_data(point):
    """At a minimum dJ/dl2 = ½ |w|²: what the minimum moves by does not count."""
    x, y, l2, decay = point

    def least(l2):
        start = {"w": jnp.zeros(N)}
        return _minimize(ridge, start, x, y, l2=l2, decay=decay, solver=newton).cost

    w = solved(*point)
    np.testing.assert_allclose(jax.grad(least)(l2), 0.5 * w @ w, rtol=1e-6)


def test_numbers_and_not_only_arrays_are_differentiated(point):
    """A Python float goes through _check, which must not cut the derivative."""
    slope = jax.grad(lambda l2: solved(point[0], point[1], l2, point[3])[0])
    np.testing.assert_allclose(slope(0.3), slope(jnp.asarray(0.3)))
    assert slope(0.3) != 0


def logistic(params, x, labels, l2):
    """Cross-entropy with integer labels: a cost without a closed form."""
    z = x @ params
    return jnp.mean(jax.nn.softplus(z) - labels * z) + 0.5 * l2 * jnp.vdot(
        params, params
    )


def test_integer_labels_have_no_derivative_and_do_no_harm(x64):
    x, labels = jnp.asarray(X), jnp.asarray(Y > 0, jnp.int32)

    def weight(x, l2):
        start = jnp.zeros(N)
        fit = _minimize(logistic, start, x, labels, l2=l2, solver=newton, tol=1e-11)
        return fit.params[0]

    slope, penalty = jax.jit(jax.grad(weight, (0, 1)))(x, 0.1)
    at, h = jax.jit(weight), 1e-5
    step = jnp.zeros_like(x).at[2, 1].set(h)
    central = (at(x + step, 0.1) - at(x - step, 0.1)) / (2 * h)
    np.testing.assert_allclose(slope[2, 1], central, rtol=1e-6)
    central = (at(x, 0.1 + h) - at(x, 0.1 - h)) / (2 * h)
    np.testing.assert_allclose(penalty, central, rtol=1e-6)


def test_more_than_64_parameters(x64):
    """The system is solved by conjugate gradients there."""
    n = 80
    x = jnp.asarray(RANDOM.normal(size=(100, n)))
    y, decay = jnp.asarray(RANDOM.normal(size=100)), jnp.full(n, 0.2)

    def shift(function):
        given = lambda l2, y: function(x, y, l2, decay)
        tangents = 1.0, jnp.cos(jnp.arange(100.0))
        forward = jax.jvp(given, (0.3, y), tangents)[1]
        reverse = jax.grad(lambda *a: given(*a)[7], (0, 1))(0.3, y)
        return forward, reverse

    found = jax.jit(lambda: shift(solved))()
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(shift(closed))):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


def test_nan_where_the_search_has_not_converged(point):
    x, y, _, decay = point

    def run(l2, tol):
        start = {"w": jnp.zeros(N)}
        return _minimize(
            ridge, start, x, y, l2=l2, decay=decay, tol=tol, solver=optax.sgd,
            learning_rate=0.1, max_iter=5,
        )  # fmt: skip

    def total(l2, tol):
        fit = run(l2, tol)
        return jnp.sum(fit.params["w"]) + fit.cost

    def forward(l2, tol):
        return jax.jvp(lambda l2: total(l2, tol), (l2,), (1.0,))[1]

    for tol, status in ((1e-12, Status.EXHAUSTED), (1.0, Status.CONVERGED)):
        assert run(0.3, tol).status == status
        bad = status == Status.EXHAUSTED
        for slope in (jax.grad(total), forward):
            assert np.isnan(slope(0.3, tol)) == bad


def flat(w, y):
    """The first coordinate moves with y; nothing depends on the second."""
    return 0.5 * (w[0] - y) ** 2 + 0 * w[1]


def test_nan_where_the_hessian_is_singular(x64):
    shift = jax.jacfwd(
        lambda y: _minimize(flat, jnp.zeros(2), y, solver=newton_cg, tol=1e-9).params
    )
    assert np.isnan(shift(jnp.asarray(2.0))).all()


def tilted(w, y):
    """At y = 2 the last coordinate does not matter; at any other, no minimum exists."""
    return 0.5 * jnp.sum((w[:-1] - y) ** 2) + (y - 2) * w[-1]


@pytest.mark.parametrize("n", [3, 80])
def test_nan_where_the_system_has_no_solution(x64, n):
    def run(y):
        return _minimize(tilted, jnp.zeros(n), y, solver=newton_cg, tol=1e-9)

    assert run(2.0).status == Status.CONVERGED
    assert np.isnan(jax.jvp(lambda y: run(y).params, (2.0,), (1.0,))[1]).all()


def test_the_start_has_no_derivative(point):
    x, y, l2, decay = point

    def end(start):
        fit = _minimize(ridge, {"w": start}, x, y, l2=l2, decay=decay, solver=newton)
        return jnp.sum(fit.params["w"])

    np.testing.assert_array_equal(jax.grad(end)(jnp.ones(N)), 0)


def test_the_rate_and_tol_have_no_derivative(point):
    x, y, l2, decay = point

    def end(rate, tol):
        return jnp.sum(
            _minimize(
                ridge, {"w": jnp.zeros(N)}, x, y, l2=l2, decay=decay, solver=optax.sgd,
                learning_rate=rate, tol=tol,
            ).params["w"]
        )  # fmt: skip

    assert jax.grad(end, (0, 1))(0.5, 1e-9) == (0, 0)


def test_memory_does_not_depend_on_the_steps():
    x, y, decay = (jnp.asarray(v, jnp.float32) for v in (X, Y, PENALTIES))

    def memory(max_iter):
        def loss(l2):
            fit = _minimize(
                ridge, {"w": jnp.zeros(N)}, x, y, l2=l2, decay=decay,
                solver=optax.sgd, learning_rate=0.5, max_iter=max_iter,
            )  # fmt: skip
            return jnp.sum(fit.params["w"])

        analysis = jax.jit(jax.grad(loss)).lower(0.3).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    # From 512 steps on also the history has the same length.
    assert memory(10_000) == memory(1000) <= 2 * memory(100) < 10_000
