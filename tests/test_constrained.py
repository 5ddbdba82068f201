"""Constrained minima against closed forms, standard problems and SciPy."""

import contextlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import projections
from scipy import optimize as scipy_optimize

import jaxml
from jaxml import Status
from jaxml.optimize._constrained import Solution, constrained
from jaxml.physics import statmech
from tests.common.samples import Made
from tests.depth import cases


def rss(w, x, y):
    return jnp.sum((y - x @ w) ** 2)


def ball(w, x, y, *, t):
    """|w|² <= t."""
    return jnp.vdot(w, w) - t


def plane(w, x, y, *, total):
    return jnp.sum(w) - total


def _rows(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, 3))
    return x, x @ np.array([1.0, -2, 1.5]) + 0.1 * rng.normal(size=12)


SAMPLES = {
    "cost": rss,
    "equality": plane,
    "inequality": ball,
    "params": np.zeros(3),
    "data": Made(_rows),
    "hyper": {"t": 1.0, "total": 0.2},
    "tol": 1e-4,
}
UNIQUE = {"constrained": "the cost is strictly convex and the ball is too"}

X = np.array([[1.0, 2], [3, 4], [5, 6], [7, 9]])
Y = np.array([1.0, 2, 2, 5])
# Frozen: t, λ, w, J*.
RIDGE = [
    (0.1, 47.530408017533, [0.18924607, 0.25334941], 2.431752896690),
    (0.3, 0.599501366348, [-0.07206665, 0.54296077], 1.189243636491),
    (0.5, 0.303861286635, [-0.23128882, 0.66821066], 1.104973792335),
]


def ridge(t, **more):
    start = jnp.zeros(2)
    return constrained(rss, start, X, Y, inequality=ball, t=t, **{"tol": 1e-12, **more})


@pytest.mark.parametrize(("t", "price", "w", "least"), RIDGE)
def test_ridge_of_a_given_size(x64, t, price, w, least):
    fit = jaxml.check(ridge(t))
    np.testing.assert_allclose(fit.params.inequality, price, rtol=1e-10)
    np.testing.assert_allclose(fit.params.params, w, atol=1e-8)
    np.testing.assert_allclose(fit.cost, least, rtol=1e-11)
    assert fit.params.equality is None
    # The penalised form with λ has the same minimum.
    penalised = np.linalg.solve(X.T @ X + fit.params.inequality * np.eye(2), X.T @ Y)
    np.testing.assert_allclose(fit.params.params, penalised, atol=1e-10)


def test_a_multiplier_is_a_price(x64):
    """dJ*/dt = -λ, by either derivative of the value and through the solution."""

    def of(t):
        fit = ridge(t)
        return fit.cost, rss(fit.params.params, X, Y), fit.params.inequality

    back, forth = jax.jit(lambda t: (jax.jacrev(of)(t), jax.jacfwd(of)(t)))(0.3)
    ends = [of(t) for t in (0.3 + 1e-5, 0.3 - 1e-5)]
    for i in range(3):
        numeric = (ends[0][i] - ends[1][i]) / 2e-5
        np.testing.assert_allclose([back[i], forth[i]], numeric, rtol=1e-7)
    np.testing.assert_allclose(back[:2], -of(0.3)[2], rtol=1e-9)


def test_an_idle_constraint_has_no_force(x64):
    fit = jaxml.check(ridge(2.0))  # |w|² of least squares is 1.7584
    assert fit.params.inequality == 0
    np.testing.assert_allclose(fit.params.params, np.linalg.lstsq(X, Y)[0], rtol=1e-10)
    slope = jax.grad(lambda t: ridge(t).params.params[0])(2.0)
    assert slope == 0
    assert jax.grad(lambda t: ridge(t).cost)(2.0) == 0


def test_vmap_jit_and_one_trace():
    t = jnp.array([0.1, 0.5, 2.0])
    ridge(0.2, tol=1e-3)
    before = constrained.traces
    many = jax.jit(jax.vmap(lambda t: ridge(t, tol=1e-3)))(t)
    for i in range(3):
        one = ridge(t[i], tol=1e-3)
        assert many.status[i] == one.status == Status.CONVERGED
        np.testing.assert_allclose(many.cost[i], one.cost, rtol=1e-3)
        room = -ball(many.params.params[i], X, Y, t=t[i])
        assert abs(min(many.params.inequality[i], room)) <= 1e-3
    for value in (0.25, np.float64(0.3), 1):
        ridge(value, tol=2e-3)
    assert constrained.traces == before


# --- units ----------------------------------------------------------------------------


def _worth(p, s, c):
    return s * jnp.sum((p - jnp.array([2.0, 0, 0])) ** 2)


def _split_up(p, s, c):
    """One plane in units of its own, one not."""
    return {"a": c * (p[0] + p[1] - 1), "b": p[2] - 0.25}


def _in_a_ball(p, s, c):
    return c * (jnp.vdot(p, p) - 1)


@pytest.mark.parametrize(
    ("rules", "least"),
    [
        ({"equality": _split_up}, [1.5, -0.5, 0.25]),
        ({"inequality": _in_a_ball}, [1.0, 0.0, 0.0]),
    ],
)
def test_the_minimum_has_no_units(rules, least):
    """Of the cost, or of one constraint: forces change as J over c, p does not."""
    powers = np.array([(0, 0), (20, 0), (-20, 0), (0, 20), (0, -20), (13, -7)])
    s, c = 2.0 ** powers.T.astype(np.float32)

    def run(s, c):
        return constrained(_worth, jnp.zeros(3), s, c, **rules)

    fits = jax.jit(jax.vmap(run))(s, c)
    assert fits.status.tolist() == [Status.CONVERGED] * 6
    np.testing.assert_allclose(
        fits.params.params, np.tile(least, (6, 1)), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(fits.cost / s, np.full(6, fits.cost[0]), rtol=1e-5)
    if fits.params.inequality is not None:
        # ∇J + ν∇g = 0 at (1, 0, 0): -2 s + 2 c ν = 0.
        np.testing.assert_allclose(fits.params.inequality, s / c, rtol=1e-5)
    else:
        np.testing.assert_allclose(fits.params.equality["a"], s / c, rtol=1e-4)
        np.testing.assert_allclose(fits.params.equality["b"], -0.5 * s, rtol=1e-4)


def _secular(x, y, t):
    """The w of ridge with |w|² = t, by bisection of λ in float64, or least squares."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    c = s * (u.T @ y)
    if np.sum((c / s**2) ** 2) <= t:
        return vt.T @ (c / s**2)
    low, high = 1e-12, 1e12
    for _ in range(200):
        middle = np.sqrt(low * high)
        inside = np.sum((c / (s**2 + middle)) ** 2) < t
        low, high = (low, middle) if inside else (middle, high)
    return vt.T @ (c / (s**2 + high))


def test_random_balls():
    """Rows, targets and radii of many sizes, in float32."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 12, 3)) * 10 ** rng.uniform(-1, 1, (40, 1, 3))
    w = rng.normal(size=(40, 3)) * 10 ** rng.uniform(-2, 2, (40, 1))
    noise = rng.normal(size=(40, 12)) * 10 ** rng.uniform(-1, 1, (40, 1))
    y = np.einsum("smn,sn->sm", x, w) + noise
    free = [np.sum(np.linalg.lstsq(a, b)[0] ** 2) for a, b in zip(x, y, strict=True)]
    t = free * rng.uniform(0.05, 1.2, 40)

    def run(x, y, t):
        return constrained(rss, jnp.zeros(3), x, y, inequality=ball, t=t)

    arrays = [a.astype(np.float32) for a in (x, y, t)]
    fits = jax.jit(jax.vmap(run))(*arrays)
    assert fits.status.tolist() == [Status.CONVERGED] * 40
    for i in range(40):
        exact = _secular(x[i], y[i], t[i])
        least = np.sum((y[i] - x[i] @ exact) ** 2)
        found = np.asarray(fits.params.params[i], float)
        reached = np.sum((y[i] - x[i] @ found) ** 2)
        np.testing.assert_allclose(reached, least, rtol=1e-4)
        # What differences of large numbers are rounded by.
        rounding = np.finfo(np.float32).eps * np.linalg.norm(y[i]) * least**0.5
        np.testing.assert_allclose(fits.cost[i], least, rtol=1e-4, atol=rounding)
        assert found @ found <= t[i] * (1 + 1e-4)


# --- what other problems are ----------------------------------------------------------


def test_maximum_entropy_is_a_constrained_problem(x64):
    faces = np.arange(1.0, 7)

    def minus_entropy(p, f, mean):
        return jnp.sum(p * jnp.log(p))

    def moments(p, f, mean):
        return {"all": jnp.sum(p) - 1, "mean": jnp.vdot(p, f) - mean}

    fit = constrained(
        minus_entropy, np.full(6, 1 / 6), faces, 4.5, equality=moments, tol=1e-11
    )
    dual = statmech.maximum_entropy(faces[:, None], [4.5], tol=1e-12)
    assert fit.status == Status.CONVERGED
    found = fit.params.equality["mean"]
    np.testing.assert_allclose(-found, dual.params.multipliers[0], rtol=1e-9)
    np.testing.assert_allclose(-found, 0.371048938081, atol=1e-10)
    p = statmech.gibbs(dual.params, faces[:, None])
    np.testing.assert_allclose(fit.params.params, p, atol=1e-10)
    np.testing.assert_allclose(-fit.cost, dual.cost, rtol=1e-11)


TRIANGLES = np.array([[0.0, 0], [1, 0], [0, 1], [2, 2], [3, 2], [2, 3]])
SIDES = np.array([-1.0, -1, -1, 1, 1, 1])


def half_square(p, x, s):
    return 0.5 * jnp.vdot(p["w"], p["w"])


def too_near(p, x, s):
    return 1 - s * (x @ p["w"] + p["b"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_widest_margin_of_two_triangles(dtype):
    with jax.enable_x64(dtype == "float64"):
        start = {"w": np.zeros(2, dtype), "b": np.zeros((), dtype)}
        data = TRIANGLES.astype(dtype), SIDES.astype(dtype)
        tol = 1e-11 if dtype == "float64" else 1e-5
        fit = constrained(half_square, start, *data, inequality=too_near, tol=tol)
        assert fit.status == Status.CONVERGED
        np.testing.assert_allclose(fit.params.params["w"], [2 / 3, 2 / 3], rtol=tol)
        np.testing.assert_allclose(fit.params.params["b"], -5 / 3, rtol=tol)
        alpha = [0, 2 / 9, 2 / 9, 4 / 9, 0, 0]
        np.testing.assert_allclose(fit.params.inequality, alpha, atol=2 * tol)
        np.testing.assert_allclose(fit.cost, 4 / 9, rtol=2 * tol)


def test_derivative_of_the_margin(x64):
    """2/|w| is the distance of the hulls: moved apart, it grows as far."""
    start = {"w": np.zeros(2), "b": np.zeros(())}

    def margin(x):
        fit = constrained(half_square, start, x, SIDES, inequality=too_near, tol=1e-11)
        return 2 / jnp.linalg.norm(fit.params.params["w"])

    value, slope = jax.value_and_grad(margin)(jnp.asarray(TRIANGLES))
    np.testing.assert_allclose(value, math.sqrt(4.5), rtol=1e-10)
    pull = np.zeros((6, 2))
    pull[3], pull[1], pull[2] = 1 / math.sqrt(2), -1 / math.sqrt(8), -1 / math.sqrt(8)
    np.testing.assert_allclose(slope, pull, atol=1e-8)


# --- Hock and Schittkowski (1981) -----------------------------------------------------


def hs100(x):
    first = (x[0] - 10) ** 2 + 5 * (x[1] - 12) ** 2 + x[2] ** 4 + 3 * (x[3] - 11) ** 2
    rest = 10 * x[4] ** 6 + 7 * x[5] ** 2 + x[6] ** 4 - 4 * x[5] * x[6]
    return first + rest - 10 * x[5] - 8 * x[6]


def hs100_g(x):
    return -jnp.stack(
        [
            127 - 2 * x[0] ** 2 - 3 * x[1] ** 4 - x[2] - 4 * x[3] ** 2 - 5 * x[4],
            282 - 7 * x[0] - 3 * x[1] - 10 * x[2] ** 2 - x[3] + x[4],
            196 - 23 * x[0] - x[1] ** 2 - 6 * x[5] ** 2 + 8 * x[6],
            -4 * x[0] ** 2
            - x[1] ** 2
            + 3 * x[0] * x[1]
            - 2 * x[2] ** 2
            - 5 * x[5]
            + 11 * x[6],
        ]
    )


def hs43(x):
    return jnp.vdot(jnp.array([1.0, 1, 2, 1]), x**2) + jnp.vdot(
        jnp.array([-5.0, -5, -21, 7]), x
    )


def hs43_g(x):
    squares = jnp.array([[1.0, 1, 1, 1], [1, 2, 1, 2], [2, 1, 1, 0]])
    lines = jnp.array([[1.0, -1, 1, -1], [-1, 0, 0, -1], [2, -1, 0, -1]])
    return squares @ x**2 + lines @ x - jnp.array([8.0, 10, 5])


def hs35(x):
    quadratic = 2 * x[0] ** 2 + 2 * x[1] ** 2 + x[2] ** 2 + 2 * x[0] * (x[1] + x[2])
    return 9 - 8 * x[0] - 6 * x[1] - 4 * x[2] + quadratic


def hs71_g(x):
    return jnp.concatenate([25 - jnp.prod(x)[None], 1 - x, x - 5])


# name: (cost, equality, inequality, start, minimum)
STANDARD = {
    "HS6": (
        lambda x: (1 - x[0]) ** 2,
        lambda x: 10 * (x[1] - x[0] ** 2),
        None,
        [-1.2, 1],
        0,
    ),
    "HS7": (
        lambda x: jnp.log(1 + x[0] ** 2) - x[1],
        lambda x: (1 + x[0] ** 2) ** 2 + x[1] ** 2 - 4,
        None,
        [2, 2],
        -math.sqrt(3),
    ),
    "HS12": (
        lambda x: 0.5 * x[0] ** 2 + x[1] ** 2 - x[0] * x[1] - 7 * x[0] - 7 * x[1],
        None,
        lambda x: 4 * x[0] ** 2 + x[1] ** 2 - 25,
        [0, 0],
        -30,
    ),
    "HS28": (
        lambda x: (x[0] + x[1]) ** 2 + (x[1] + x[2]) ** 2,
        lambda x: x[0] + 2 * x[1] + 3 * x[2] - 1,
        None,
        [-4, 1, 1],
        0,
    ),
    "HS35": (
        hs35,
        None,
        lambda x: jnp.append(-x, x[0] + x[1] + 2 * x[2] - 3),
        [0.5, 0.5, 0.5],
        1 / 9,
    ),
    "HS43": (hs43, None, hs43_g, [0, 0, 0, 0], -44),
    "HS48": (
        lambda x: (x[0] - 1) ** 2 + (x[1] - x[2]) ** 2 + (x[3] - x[4]) ** 2,
        lambda x: jnp.stack([jnp.sum(x) - 5, x[2] - 2 * (x[3] + x[4]) + 3]),
        None,
        [3, 5, -3, 2, -2],
        0,
    ),
    "HS71": (
        lambda x: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2],
        lambda x: jnp.vdot(x, x) - 40,
        hs71_g,
        [1, 5, 5, 1],
        17.0140172891520,
    ),
    "HS100": (hs100, None, hs100_g, [1, 2, 0, 4, 0, 1, 1], 680.6300573744),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(name, dtype, marks=() if name in quick else pytest.mark.long)
        for dtype, quick in (
            ("float64", ["HS6", "HS7", "HS35", "HS43", "HS71"]),
            ("float32", ["HS6"]),
        )
        for name in STANDARD
    ],
)
def test_standard_problems(name, dtype):
    cost, h, g, start, least = STANDARD[name]
    wide = dtype == "float64"
    with jax.enable_x64(wide) if wide else contextlib.nullcontext():
        start = np.array(start, dtype)
        scale = max(1, abs(least))
        # In units of the problem, which are larger than the absolute ones below.
        tol = 1e-11 if wide else 3e-5
        fit = constrained(cost, start, equality=h, inequality=g, tol=tol)
        assert fit.status == Status.CONVERGED
        np.testing.assert_allclose(
            fit.cost, least, atol=(1e-9 if wide else 1e-3) * scale
        )
        if not wide:
            return
        # Forces that balance, none that pulls, and none without contact.
        x, lam, nu = fit.params
        force = jax.grad(cost)(x)
        if h is not None:
            np.testing.assert_allclose(h(x), 0, atol=1e-9)
            force += jax.vjp(h, x)[1](lam)[0]
        if g is not None:
            assert (g(x) <= 1e-9).all()
            assert (nu >= 0).all()
            np.testing.assert_allclose(nu * g(x), 0, atol=1e-7)
            force += jax.vjp(g, x)[1](nu)[0]
        np.testing.assert_allclose(force, 0, atol=1e-8)
        their_x, theirs = slsqp(cost, h, g, start)
        np.testing.assert_allclose(x, their_x, atol=2e-5)
        forces = jnp.append(0 if lam is None else -lam, 0 if nu is None else nu)
        forces = np.delete(forces, [i for i, m in enumerate((lam, nu)) if m is None])
        np.testing.assert_allclose(forces, theirs, atol=1e-3)


def slsqp(cost, h, g, start):
    rules = [
        {"type": kind, "fun": jax.jit(f), "jac": jax.jit(jax.jacrev(f))}
        for kind, f in (("eq", h), ("ineq", None if g is None else lambda x: -g(x)))
        if f is not None
    ]
    found = scipy_optimize.minimize(
        jax.jit(cost),
        start,
        jac=jax.jit(jax.grad(cost)),
        constraints=rules,
        method="SLSQP",
        options={"ftol": 1e-10, "maxiter": 500},
    )
    return found.x, found.multipliers


@pytest.mark.long
def test_lbfgs_for_the_rounds(x64):
    cost, _, g, start, least = STANDARD["HS43"]
    fit = constrained(
        cost, np.array(start, float), inequality=g, solver=optax.lbfgs, tol=1e-8
    )
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.cost, least, rtol=1e-9)


# --- problems without a solution ------------------------------------------------------


def norm2(p):
    return jnp.vdot(p, p)


def two_planes(p):
    return jnp.stack([p[0] - 1, p[0] + 1])


def two_sides(p):
    return jnp.stack([p[0] + 1, 1 - p[0]])


def no_circle(p):
    return jnp.vdot(p, p) + 1


@pytest.mark.parametrize("dtype", cases(["float32", "float64"], quick=["float64"]))
@pytest.mark.parametrize(
    "wrong",
    [
        {"equality": two_planes},
        {"inequality": two_sides},
        {"equality": no_circle},
    ],
    ids=["planes", "sides", "circle"],
)
def test_contradictions_are_told(dtype, wrong):
    with jax.enable_x64(dtype == "float64"):
        fit = constrained(norm2, np.ones(2, dtype), **wrong)
        assert fit.status == Status.UNBOUNDED
        assert fit.residual > 0.5


@pytest.mark.long
def test_other_ends():
    few = constrained(norm2, np.ones(2), equality=_line, max_iter=1, tol=1e-9)
    assert (few.status, few.steps) == (Status.EXHAUSTED, 1)
    at_once = constrained(norm2, np.zeros(2), inequality=two_sides_apart)
    assert (at_once.status, at_once.steps) == (Status.CONVERGED, 0)
    falling = constrained(jnp.sum, np.zeros(2), inequality=lambda p: p[0] - 1)
    assert falling.status > Status.CONVERGED
    nan = jax.jit(lambda s: constrained(_scaled, np.ones(2), s, equality=_scaled_line))
    assert nan(jnp.nan).status == Status.NONFINITE


def _line(p):
    return p[0] + p[1] - 1


def two_sides_apart(p):
    return jnp.stack([p[0] - 1, -1 - p[0]])


def _scaled(p, s):
    return s * jnp.vdot(p, p)


def _scaled_line(p, s):
    return p[0] + s * p[1] - 1


@pytest.mark.long
def test_no_derivative_where_there_is_no_solution():
    def of(s, max_iter):
        fit = constrained(
            _scaled, np.ones(2), s, equality=_scaled_line, max_iter=max_iter, tol=1e-4
        )
        return fit.params.params[0]

    np.testing.assert_allclose(
        jax.grad(of)(1.5, 50), -2 * 1.5 / (1 + 1.5**2) ** 2, rtol=1e-3
    )
    assert np.isnan(jax.grad(of)(1.5, 1))


def test_multipliers_that_are_not_unique_have_no_derivatives(x64):
    def twice(p, s):
        return jnp.stack([p[0] - s, 2 * p[0] - 2 * s])

    def of(s):
        fit = constrained(_fixed, jnp.zeros(2), s, equality=twice, tol=1e-9)
        return fit.params.params[0], fit.cost

    (x, cost), (slope, rise) = jax.jvp(of, (0.5,), (1.0,))
    np.testing.assert_allclose([x, cost], [0.5, 0.25], rtol=1e-8)
    assert np.isnan(slope)
    np.testing.assert_allclose(rise, 1.0, rtol=1e-8)  # the price is well defined


def _fixed(p, s):
    return jnp.vdot(p, p)


# --- projections ----------------------------------------------------------------------


def bowl(p, a, b):
    return 0.5 * p @ a @ p - p @ b


RANDOM = np.random.default_rng(0)
A = RANDOM.normal(size=(5, 5))
A = A @ A.T + 0.1 * np.eye(5)
B = RANDOM.normal(size=5)


@pytest.mark.parametrize(
    ("projection", "hyper", "rules", "bounds"),
    [
        (
            projections.projection_simplex,
            {"scale": 1.5},
            {"type": "eq", "fun": lambda p: p.sum() - 1.5},
            [(0, None)] * 5,
        ),
        (
            projections.projection_box,
            {"lower": -0.3, "upper": np.array([0.1, 0.2, 0.3, 0.4, 0.5])},
            (),
            [(-0.3, high) for high in (0.1, 0.2, 0.3, 0.4, 0.5)],
        ),
        (
            projections.projection_l2_ball,
            {"scale": 0.5},
            {"type": "ineq", "fun": lambda p: 0.25 - p @ p},
            None,
        ),
    ],
    ids=["simplex", "box", "ball"],
)
def test_projections(x64, projection, hyper, rules, bounds):
    def run(b, **hyper):
        return constrained(
            bowl, jnp.ones(5), A, b, projection=projection, tol=1e-10, **hyper
        )

    fit = jaxml.check(run(B, **hyper))
    found = scipy_optimize.minimize(
        bowl,
        np.full(5, 0.1),
        (A, B),
        jac=lambda p, a, b: a @ p - b,
        method="SLSQP",
        constraints=rules,
        bounds=bounds,
        options={"ftol": 1e-15, "maxiter": 500},
    )
    np.testing.assert_allclose(fit.cost, found.fun, rtol=1e-9)
    np.testing.assert_allclose(fit.params.params, found.x, atol=1e-6)
    assert fit.params[1:] == (None, None)
    # Derivatives of the solution with respect to data.
    direction = np.arange(5.0)
    slope = jax.jvp(lambda b: run(b, **hyper).params.params, (B,), (direction,))[1]
    ends = [run(B + s * 1e-5 * direction, **hyper).params.params for s in (1, -1)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, atol=1e-6)


def test_a_projection_and_a_constraint_share_the_work(x64):
    """A simplex by projection, a plane by a multiplier; or both by multipliers."""

    def line(p, a, b):
        return p[0] - p[1] - 0.2

    def all_planes(p, a, b):
        return jnp.stack([line(p, a, b), jnp.sum(p) - 1])

    start = np.full(5, 0.2)
    shared = constrained(
        bowl,
        start,
        A,
        B,
        equality=line,
        projection=projections.projection_simplex,
        tol=1e-8,
        max_inner=2000,
    )
    alone = constrained(
        bowl, start, A, B, equality=all_planes, inequality=lambda p, a, b: -p, tol=1e-10
    )
    assert shared.status == alone.status == Status.CONVERGED
    np.testing.assert_allclose(shared.params.params, alone.params.params, atol=1e-7)
    np.testing.assert_allclose(
        shared.params.equality, alone.params.equality[0], rtol=1e-5
    )


def test_an_exact_projection_is_the_ridge_ball():
    fit = constrained(
        rss,
        np.zeros(2, np.float32),
        X,
        Y,
        projection=projections.projection_l2_ball,
        scale=math.sqrt(0.3),
        tol=1e-3,
    )
    np.testing.assert_allclose(fit.params.params, RIDGE[1][2], atol=1e-4)
    assert isinstance(fit.params, Solution)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"solver": "newton"}, ValueError, "solver must be an optimiser such as"),
        ({"max_inner": 0}, ValueError, "max_inner must be at least 1"),
        ({"max_iter": 1.5}, ValueError, "max_iter must be a Python int"),
        ({"tol": -1.0}, ValueError, r"tol must lie in \[0, inf\)"),
        ({"l3": 1.0}, TypeError, r"constrained\(\) got an unexpected keyword"),
    ],
)
def test_bad_arguments_are_named(more, error, message):
    with pytest.raises(error, match=f"^{message}"):
        constrained(norm2, np.ones(2), equality=_line, **more)
    with pytest.raises(ValueError, match=r"^params must hold floats"):
        constrained(norm2, np.ones(2, int), equality=_line)
