"""Conjugate gradients against linear CG, and what theory promises of each β."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxml import Status
from jaxml.optimize import conjugate, minimize
from jaxml.optimize._conjugate import BETAS, scale_by_conjugate

N = 10
RANDOM = np.random.default_rng(0)
Q, _ = np.linalg.qr(RANDOM.normal(size=(N, N)))
A = (Q * np.linspace(1, 10, N)) @ Q.T
B = RANDOM.normal(size=N)


def quadratic(x, a, b):
    return 0.5 * jnp.vdot(x, a @ x) - jnp.vdot(b, x)


def linear_cg(steps):
    """The directions of Hestenes and Stiefel for A x = B, from 0, in NumPy."""
    x, r = np.zeros(N), B.copy()
    d, directions = r.copy(), []
    for _ in range(steps):
        directions.append(d)
        alpha = r @ r / (d @ A @ d)
        x, new = x + alpha * d, r - alpha * A @ d
        d, r = new + (new @ new) / (r @ r) * d, new
    return np.array(directions), x


@pytest.mark.parametrize("beta", BETAS)
def test_with_exact_searches_all_betas_are_linear_cg(x64, beta):
    transform = scale_by_conjugate(beta=beta)

    def step(carry, _):
        x, state = carry
        g = A @ x - B
        d, state = transform.update(g, state, x)
        alpha = -jnp.vdot(g, d) / jnp.vdot(d, A @ d)
        return (x + alpha * d, state), d

    start = jnp.zeros(N), transform.init(jnp.zeros(N))
    (x, _), directions = jax.lax.scan(step, start, None, length=N)
    expected, _ = linear_cg(N)
    np.testing.assert_allclose(directions, expected, atol=1e-9)
    np.testing.assert_allclose(x, np.linalg.solve(A, B), atol=1e-12)


@pytest.mark.parametrize(
    "beta",
    [
        "hestenes-stiefel",
        pytest.param("hager-zhang", marks=pytest.mark.long),
        pytest.param("fletcher-reeves", marks=pytest.mark.long),
        pytest.param("polak-ribiere+", marks=pytest.mark.long),
    ],
)
def test_near_exact_searches_end_in_about_n_steps(x64, beta):
    search = optax.scale_by_zoom_linesearch(30, curv_rtol=1e-3, slope_rtol=1e-6)
    solver = partial(conjugate, beta=beta, linesearch=search)
    fit = minimize(quadratic, np.zeros(N), A, B, solver=solver, tol=1e-7, max_iter=50)
    assert fit.status == Status.CONVERGED
    assert fit.steps <= N + 3
    np.testing.assert_allclose(fit.params, np.linalg.solve(A, B), atol=1e-7)


@pytest.mark.parametrize("beta", BETAS)
def test_betas_are_the_published_formulas(x64, beta):
    g, last, d = RANDOM.normal(size=(3, 5))
    y = g - last
    expected = {
        "fletcher-reeves": g @ g / (last @ last),
        "polak-ribiere+": max(g @ y / (last @ last), 0),
        "hestenes-stiefel": g @ y / (d @ y),
        "hager-zhang": max(
            (y - 2 * d * (y @ y) / (d @ y)) @ g / (d @ y),
            -1 / (np.linalg.norm(d) * min(0.01, np.linalg.norm(last))),
        ),
    }
    found = BETAS[beta]({"x": g[:2], "y": g[2:]}, *_split(last, d))
    np.testing.assert_allclose(found, expected[beta], rtol=1e-13)


def _split(*vectors):
    return [{"x": v[:2], "y": v[2:]} for v in vectors]


def test_polak_ribiere_is_truncated():
    g, last = jnp.array([1.0, 0.0]), jnp.array([2.0, 0.0])
    assert BETAS["polak-ribiere+"](g, last, -last) == 0


@pytest.fixture(scope="module")
def walk():
    """Fixed random steps along Hager-Zhang's directions, on Rosenbrock's valley."""
    transform = scale_by_conjugate(beta="hager-zhang", restart=10**6)

    def valley(x):
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    @jax.jit
    def run(start, lengths):
        def step(carry, length):
            x, state = carry
            g = jax.grad(valley)(x)
            d, state = transform.update(g, state, x)
            x = x + length * d / jnp.linalg.norm(d)
            return (x, state), (jnp.vdot(g, d), jnp.vdot(g, g), state.since)

        return jax.lax.scan(step, (start, transform.init(start)), lengths)[1]

    return run


lengths = st.lists(st.floats(-1.5, 1.5), min_size=20, max_size=20)
starts = st.lists(st.floats(-2, 2), min_size=6, max_size=6)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(lengths, starts)
def test_hager_zhang_descends_whatever_the_search(walk, lengths, start):
    """g·d <= -7/8 |g|² also after steps that no line search would take."""
    with jax.enable_x64(True):
        found = walk(jnp.array(start), jnp.array(lengths))
    slope, squared, _ = map(np.asarray, found)
    assert (slope <= -7 / 8 * squared * (1 - 1e-9)).all()


def test_hager_zhang_does_not_get_there_by_restarts(walk):
    with jax.enable_x64(True):
        start = jnp.array([-1.2, 1.0, 0.5, 0.3, -0.4, 0.8])
        _, _, count = walk(start, jnp.full(20, 0.01))
    np.testing.assert_array_equal(count, np.arange(1, 21))


# --- restarts ------------------------------------------------------------------------


def directions(gradients, **options):
    transform = scale_by_conjugate(**options)
    state, update = transform.init(gradients[0]), jax.jit(transform.update)
    for g in gradients:
        d, state = update(g, state)
        yield d, state


def orthogonal(n):
    """Gradients of equal length, each orthogonal to the last."""
    return [jnp.eye(3)[i % 3] for i in range(n)]


def test_the_first_direction_is_steepest_descent():
    (d, state), *_ = directions(orthogonal(2))
    np.testing.assert_array_equal(d, [-1, 0, 0])
    assert state.since == 1


@pytest.mark.parametrize(("restart", "period"), [(2, 2), (None, 6)])
def test_restarts_after_so_many_directions(restart, period):
    options = {"beta": "fletcher-reeves", "restart": restart}
    gradients = orthogonal(9)
    for i, (d, state) in enumerate(directions(gradients, **options)):
        assert state.since == i % period + 1
        steepest = np.array_equal(d, -gradients[i])
        assert steepest == (i % period == 0)


def test_restarts_where_gradients_are_not_orthogonal():
    gradients = [jnp.array([1.0, 0.0]), jnp.array([1.0, 0.9])]  # g·g₋ = 1 > ½ |g|²
    for beta in BETAS:
        *_, (d, state) = directions(gradients, beta=beta)
        assert state.since == (2 if beta == "hager-zhang" else 1)


def test_restarts_where_the_direction_would_ascend():
    gradients = [jnp.array([1.0, 0.0]), jnp.array([-2.0, 1.0])]
    # Fletcher-Reeves: -g + 5 d = [2, -1] + [-5, 0], g·d = 6 - 1 > 0.
    *_, (d, state) = directions(gradients, beta="fletcher-reeves")
    np.testing.assert_array_equal(d, [2, -1])
    assert state.since == 1


@pytest.mark.parametrize("beta", BETAS)
def test_a_gradient_of_zero_stays_finite(beta):
    for d, _ in directions([jnp.zeros(3)] * 3, beta=beta):
        np.testing.assert_array_equal(d, 0)


# --- as an optax transformation ------------------------------------------------------


def test_with_another_line_search_under_jit_vmap_and_scan():
    search = optax.scale_by_backtracking_linesearch(30, store_grad=True)
    solver = conjugate(linesearch=search)
    a, b = jnp.asarray(A, jnp.float32), jnp.asarray(B, jnp.float32)

    def run(b):
        def value_fn(x):
            return quadratic(x, a, b)

        def step(carry, _):
            x, state = carry
            value, grad = optax.value_and_grad_from_state(value_fn)(x, state=state)
            updates, state = solver.update(
                grad, state, x, value=value, grad=grad, value_fn=value_fn
            )
            return (optax.apply_updates(x, updates), state), value

        start = jnp.zeros(N), solver.init(jnp.zeros(N))
        (x, _), values = jax.lax.scan(step, start, None, length=200)
        return x, values

    x, values = jax.jit(jax.vmap(run))(jnp.stack([b, 2 * b]))
    expected = np.linalg.solve(A, B)
    np.testing.assert_allclose(x, [expected, 2 * expected], atol=2e-3)
    assert (np.diff(values) <= 1e-5).all()


def test_rate_is_the_longest_step():
    """With a bound of 0.01 on each step, the first goes 0.01 |g|."""
    options = {"solver": conjugate, "learning_rate": 0.01, "max_iter": 1, "tol": 0}
    fit = minimize(quadratic, np.zeros(N), A, B, **options)
    np.testing.assert_allclose(fit.params, 0.01 * B, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": "polak"}, "beta must be one of 'fletcher-reeves', 'polak-ribiere+'"),
        ({"restart": 0}, "restart must be at least 1, not 0"),
        ({"restart": 2.5}, "restart must be a Python int, not 2.5"),
    ],
)
def test_bad_options_are_named(options, message):
    for make in (conjugate, scale_by_conjugate):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            make(**options)
        assert str(caught.value).startswith(message)
