"""Proximal operators against brute force; the loop against scikit-learn and SciPy."""

from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from sklearn import linear_model

from jaxml import Status, check
from jaxml.optimize import proximal
from tests.common.samples import Made
from tests.depth import cases


def squares(w, x, t, *, l2=0.0):
    """½ mean (x w - t)² + ½ l2 |w|²."""
    return 0.5 * jnp.mean((x @ w - t) ** 2) + 0.5 * l2 * jnp.vdot(w, w)


def _rows(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(12, 3)), rng.normal(size=12)


P = np.array([0.5, -0.01, -1.0])
FACTORS = np.array([0.5, 2.0, 1.0])
SAMPLES = {
    "params": {"w": P, "b": np.array(0.2)},
    "factors": {"w": FACTORS, "b": np.array(0.0)},
    "low": {"w": np.full(3, -0.7), "b": np.array(0.3)},
    "step": 0.5,
    "groups": np.array([0, 1, 0]),
    "group_prox.params": P,
    "group_prox.factors": FACTORS,
    "group_penalty.params": P,
    "group_penalty.factors": FACTORS,
    "proximal.cost": squares,
    "proximal.prox": proximal.l1_prox,
    "proximal.penalty": proximal.l1_penalty,
    "proximal.params": np.zeros(3),
    "proximal.data": Made(_rows),
    "proximal.hyper": {"l1": 0.05, "l2": 0.1},
}
UNIQUE = {"proximal": "the cost is strictly convex"}


# --- the operators ------------------------------------------------------------------

GROUPS = np.array([0, 1, 0, 2, 2, 1])
V = np.array([0.9, -0.3, -1.4, 0.2, 0.1, 2.0])
F = np.array([1.0, 0.5, 0.0, 2.0, 1.0, 1.5])


# name: (operator, penalty of it)
PAIRS = {
    "l1": (
        lambda v, s: proximal.l1_prox(v, s, l1=0.6, factors=F),
        lambda p: proximal.l1_penalty(p, l1=0.6, factors=F),
    ),
    "elastic net": (
        lambda v, s: proximal.elastic_net_prox(v, s, l1=0.6, l2=0.7),
        lambda p: proximal.elastic_net_penalty(p, l1=0.6, l2=0.7),
    ),
    "group": (
        lambda v, s: proximal.group_prox(v, s, l1=0.4, groups=GROUPS),
        lambda p: proximal.group_penalty(p, l1=0.4, groups=GROUPS),
    ),
    "group with factors": (
        lambda v, s: proximal.group_prox(v, s, l1=0.4, groups=GROUPS, factors=F),
        lambda p: proximal.group_penalty(p, l1=0.4, groups=GROUPS, factors=F),
    ),
    "non-negative": (
        lambda v, s: proximal.nonnegative_prox(v, s, l1=0.6, factors=F),
        lambda p: jnp.where((p < 0).any(), jnp.inf, 0.6 * jnp.vdot(F, p)),
    ),
    "box": (
        lambda v, s: proximal.box_prox(v, s, low=-0.5, high=0.8),
        lambda p: jnp.where(((p < -0.5) | (p > 0.8)).any(), jnp.inf, 0.0),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_prox_is_the_least_of_penalty_and_distance(name, x64):
    """Nothing near it is better: the sum is convex, so nothing anywhere is."""
    prox, penalty = PAIRS[name]
    rng = np.random.default_rng(3)
    for step in (0.3, 1.7):
        found = prox(V, step)
        near = [
            rng.normal(size=(3000, 6)) * size * rng.integers(0, 2, (3000, 6))
            for size in (1e-4, 1e-2, 1.0)
        ]
        points = found[None] + jnp.asarray(np.concatenate(near))
        points = jnp.concatenate([points, jnp.maximum(points, 0), found[None] * 0])

        def value(p, step=step):
            return penalty(p) + jnp.sum((p - V) ** 2) / (2 * step)

        assert (jax.vmap(value)(points) >= value(found) - 1e-14).all()


def test_prox_by_hand():
    np.testing.assert_allclose(
        proximal.l1_prox(jnp.array([3.0, -0.5, -2.0]), 2.0, l1=0.5), [2, 0, -1]
    )
    # |(3, 4)| = 5 and √2 l1 s = 1: four fifths stay. The other group vanishes.
    found = proximal.group_prox(
        jnp.array([3.0, 0.5, 4.0]), 1.0, l1=0.5**0.5, groups=jnp.array([0, 1, 0])
    )
    np.testing.assert_allclose(found, [2.4, 0, 3.2], rtol=1e-6)
    np.testing.assert_allclose(proximal.box_prox(jnp.array([-2.0, 3.0]), 1.0), [-2, 3])


def test_what_is_not_like_params_is_told():
    tree = {"w": jnp.ones(2), "b": jnp.ones(())}
    for factors in ({"w": 1.0}, {"w": jnp.ones(3), "b": 1.0}, [1.0, 2.0]):
        with pytest.raises(ValueError, match="^factors"):
            proximal.l1_prox(tree, 1.0, l1=0.1, factors=factors)
    with pytest.raises(ValueError, match="^high"):
        proximal.box_prox(tree, 1.0, high={"w": 1.0})
    functions = {"cost": squares, "prox": proximal.l1_prox}
    for name in functions:
        given = functions | {name: lambda *args, **more: None}
        with pytest.raises(ValueError, match=f"^{name} must return"):
            proximal.proximal(*given.values(), jnp.zeros(3), *_rows(0), l1=0.1)


def test_a_label_that_is_no_group_is_nan():
    found = proximal.group_prox(jnp.ones(3), 1.0, l1=0.1, groups=jnp.array([0, 1, 3]))
    assert np.isnan(found).all()


@pytest.mark.parametrize("unit", [2.0**-84, 1.0, 2.0**84])
def test_groups_have_no_unit(unit):
    """|(3, 4)| = 5 where squares are no float32; the slope does not see the unit."""
    p, groups = jnp.float32(unit) * jnp.array([3.0, 0, 4]), jnp.array([0, 1, 0])

    def penalty(p):
        return proximal.group_penalty(p, l1=1.0, groups=groups)

    value, slope = jax.value_and_grad(penalty)(p)
    np.testing.assert_allclose(value / unit, 5 * 2**0.5, rtol=1e-6)
    np.testing.assert_allclose(slope, np.array([0.6, 0, 0.8]) * 2**0.5, rtol=1e-6)
    found = proximal.group_prox(p, unit, l1=0.5**0.5, groups=groups)
    np.testing.assert_allclose(found / unit, [2.4, 0, 3.2], rtol=1e-6)


def test_a_penalty_of_a_tree_leaves_out_what_has_the_factor_0():
    tree = {"w": jnp.array([1.0, -1.0]), "b": jnp.array(2.0)}
    factors = {"w": 1.0, "b": 0.0}
    assert proximal.l1_penalty(tree, l1=0.5, factors=factors) == 1
    found = proximal.l1_prox(tree, 1.0, l1=0.5, factors=factors)
    assert found["b"] == 2
    np.testing.assert_array_equal(found["w"], [0.5, -0.5])


def test_a_weight_at_0_is_left_there():
    slope = jax.grad(lambda p: proximal.l1_penalty(p, l1=0.5))
    np.testing.assert_array_equal(slope(jnp.array([-2.0, 0, 3])), [-0.5, 0, 0.5])
    both = jax.grad(lambda p: proximal.elastic_net_penalty(p, l1=0.5, l2=1.0))
    assert both(jnp.zeros(1))[0] == 0


@pytest.mark.parametrize("step", ["a", [1.0, 2.0], np.nan, 1j, {}, np.ones(2)])
def test_a_step_is_a_scalar(step):
    with pytest.raises(ValueError, match="^step "):
        proximal.l1_prox(jnp.ones(3), step, l1=0.1)


# --- the loop -----------------------------------------------------------------------

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 8)) * np.geomspace(0.5, 2, 8)
T = X[:, :3] @ np.array([3.0, -2.0, 0.5]) + 0.3 * RANDOM.normal(size=60)


def lasso(l1, x=X, t=T, **more):
    return proximal.proximal(
        squares,
        proximal.l1_prox,
        np.zeros(x.shape[1]),
        x,
        t,
        penalty=proximal.l1_penalty,
        l1=l1,
        **{"max_iter": 3000} | more,
    )


@pytest.mark.parametrize("l1", [0.03, 0.5, 50.0])
def test_lasso_is_that_of_sklearn(l1, x64):
    fit = check(lasso(l1, tol=1e-11))
    theirs = linear_model.Lasso(alpha=l1, fit_intercept=False, tol=1e-14)
    theirs = theirs.fit(X, T).coef_
    np.testing.assert_allclose(fit.params, theirs, atol=1e-9)
    np.testing.assert_array_equal(fit.params == 0, np.abs(theirs) < 1e-12)
    value = squares(fit.params, X, T) + l1 * jnp.sum(jnp.abs(fit.params))
    np.testing.assert_allclose(fit.cost, value, rtol=1e-12)


def logistic(params, x, y):
    z = x @ params["w"] + params["b"]
    return jnp.mean(jax.nn.softplus(z) - y * z)


def weights_prox(params, step, *, l1):
    return {**params, "w": proximal.l1_prox(params["w"], step, l1=l1)}


def weights_penalty(params, *, l1):
    return proximal.l1_penalty(params["w"], l1=l1)


def l1_logistic(x, y, l1, **more):
    n = x.shape[1]
    start = {"w": jnp.zeros(n, x.dtype), "b": jnp.zeros((), x.dtype)}
    return proximal.proximal(
        logistic,
        weights_prox,
        start,
        x,
        y,
        penalty=weights_penalty,
        l1=l1,
        **more,
    )


def test_l1_logistic_is_that_of_sklearn(x64):
    y = (T > 0).astype(float)
    fit = check(l1_logistic(jnp.asarray(X), y, 0.02, tol=1e-10, max_iter=5000))
    theirs = linear_model.LogisticRegression(
        l1_ratio=1.0, C=1 / (0.02 * len(X)), solver="saga", tol=1e-10, max_iter=100_000
    ).fit(X, y)
    np.testing.assert_allclose(fit.params["w"], theirs.coef_[0], atol=2e-6)
    np.testing.assert_allclose(fit.params["b"], theirs.intercept_[0], atol=2e-6)


def test_float32_is_right_to_what_it_can_hold():
    y = (T > 0).astype(np.float32)
    x = X.astype(np.float32)
    fit = l1_logistic(jnp.asarray(x), y, 0.02, max_iter=5000)
    assert fit.status in (Status.CONVERGED, Status.STALLED)
    with jax.enable_x64(True):
        x, y = x.astype(float), y.astype(float)
        best = l1_logistic(jnp.asarray(x), y, 0.02, tol=1e-10, max_iter=5000).cost
        params = jax.tree.map(lambda a: np.asarray(a, float), fit.params)
        cost = logistic(params, x, y) + weights_penalty(params, l1=0.02)
        assert 0 <= cost - best < 1e-6


@pytest.mark.parametrize("sign", [1, -1])
def test_nonnegative_least_squares_is_that_of_scipy(sign, x64):
    fit = proximal.proximal(
        squares, proximal.nonnegative_prox, np.ones(8), X, sign * T, tol=1e-10,
        max_iter=3000,
    )  # fmt: skip
    theirs, norm = optimize.nnls(X, sign * T)
    np.testing.assert_allclose(check(fit).params, theirs, atol=1e-8)
    np.testing.assert_allclose(fit.cost, 0.5 * norm**2 / 60, rtol=1e-12)


def test_box_is_that_of_scipy(x64):
    fit = proximal.proximal(
        squares, partial(proximal.box_prox, low=-1.0, high=1.5), np.zeros(8), X, T,
        tol=1e-10, max_iter=3000,
    )  # fmt: skip
    theirs = optimize.lsq_linear(X, T, (-1.0, 1.5), method="bvls", tol=1e-14).x
    np.testing.assert_allclose(check(fit).params, theirs, atol=1e-8)


def groups_fit(x, y, l1, factors, step=None):
    return proximal.proximal(
        squares,
        partial(proximal.group_prox, groups=tuple(GROUPS)),
        np.zeros(6),
        x,
        y,
        penalty=partial(proximal.group_penalty, groups=tuple(GROUPS)),
        l1=l1,
        factors=factors,
        tol=1e-12,
        max_iter=3000,
    )


CASES = {
    "group": lambda l1, x, t: groups_fit(x[:, :6], t, l1, jnp.ones(6)).params,
    "dense": lambda l1, x, t: lasso(l1, x, t, tol=1e-11).params,
    "wide": lambda l1, x, t: (
        lasso(l1, jnp.tile(x, (1, 10)) * WIDE, t, tol=1e-11).params
    ),
    "logistic": lambda l1, x, t: (
        l1_logistic(x, jax.nn.sigmoid(t), 0.1 * l1, tol=1e-13, max_iter=5000).params
    ),
}
WIDE = RANDOM.normal(size=(60, 80))  # more than 64 columns: conjugate gradients


@pytest.mark.parametrize("case", cases(CASES, quick=["dense", "logistic"]))
def test_derivatives_on_the_active_set(case, x64):
    function = CASES[case]
    point = jnp.asarray(0.4), jnp.asarray(X), jnp.asarray(T)
    directions = tuple(np.random.default_rng(4).normal(size=a.shape) for a in point)
    step = 1e-5

    def flat(*a):
        return jax.flatten_util.ravel_pytree(function(*a))[0]

    @jax.jit
    def both(point, directions):
        tangent = jax.jvp(flat, point, directions)[1]
        adjoint = jax.grad(lambda *a: jnp.sum(jnp.sin(flat(*a))), (0, 1, 2))(*point)
        moved = [
            jnp.stack([a + step * d, a - step * d])
            for a, d in zip(point, directions, strict=True)
        ]
        ends = jax.lax.map(lambda a: flat(*a), moved)
        return tangent, adjoint, flat(*point), (ends[0] - ends[1]) / (2 * step)

    tangent, adjoint, found, central = both(point, directions)
    assert 0 < (found == 0).sum() < len(found) or case == "logistic"
    np.testing.assert_allclose(tangent, central, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(tangent[found == 0], 0)
    one = sum(np.vdot(a, d) for a, d in zip(adjoint, directions, strict=True))
    np.testing.assert_allclose(one, np.vdot(np.cos(found), tangent), rtol=1e-8)


def test_the_derivative_of_the_cost_is_the_penalty(x64):
    """dJ/dl1 = |w|_1 at a minimum."""
    fit = lasso(0.4, tol=1e-11)
    slope = jax.grad(lambda l1: lasso(l1, tol=1e-11).cost)(0.4)
    np.testing.assert_allclose(slope, jnp.sum(jnp.abs(fit.params)), rtol=1e-9)


@pytest.mark.long
def test_nan_where_it_has_not_converged():
    def run(l1):
        fit = lasso(l1, max_iter=3)
        return jnp.sum(fit.params), fit.cost

    assert lasso(0.4, max_iter=3).status == Status.EXHAUSTED
    for i in range(2):
        assert np.isnan(jax.grad(lambda l1, i=i: run(l1)[i])(0.4))


def test_a_start_at_the_minimum_takes_no_step():
    fit = proximal.proximal(
        squares, proximal.l1_prox, np.zeros(8), X, T, penalty=proximal.l1_penalty,
        l1=1e3,
    )  # fmt: skip
    assert (fit.status, fit.steps) == (Status.CONVERGED, 0)


def tilted(p):
    """No least value."""
    return p[0]


def broken(p, x):
    """NaN from p = 0.5 on."""
    return -jnp.sum(p) + jnp.sum(jnp.log(0.5 - p)) * 0 + 0 * x


def test_statuses():
    falling = proximal.proximal(tilted, proximal.box_prox, np.zeros(1), max_iter=50)
    assert falling.status == Status.EXHAUSTED
    # Where the cost cannot be computed a shorter step is taken, as long as one can be.
    fit = proximal.proximal(broken, proximal.box_prox, np.zeros(1), np.ones(()))
    assert fit.status != Status.CONVERGED
    assert np.isfinite(fit.cost)
    fit = proximal.proximal(broken, proximal.box_prox, np.ones(1), np.ones(()))
    assert fit.status == Status.NONFINITE


def test_an_unknown_name_is_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'l3'"):
        lasso(0.1, l3=1.0)


def test_one_trace_for_all_values():
    lasso(0.1)
    before = proximal.proximal.traces
    for value in (0.2, np.float64(0.3), jnp.float32(0.4), 1):
        lasso(value, tol=value)
    assert proximal.proximal.traces == before
