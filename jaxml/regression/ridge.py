"""Least squares with an l2 penalty, and as a constraint with its multiplier (1.2)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._rows import mean, normal, product, with_b
from jaxml.optimize.fit import UNRECORDED, Fit, Progress, Status, iterate
from jaxml.optimize.implicit import solution
from jaxml.regression import linear
from jaxml.regression._least_squares import (
    Solved,
    definite,
    far_off,
    refined,
    value_and_gradient,
)
from jaxml.regression.linear import Params

SOLVERS = ("auto", "primal", "dual")
LOST = 1e-3  # the relative error of w from which equations count as singular
SQUARE = 1e8  # m n² up to which a path is made of the factors of the rows


@_check.pure(x="m n")
def predict(params: Params, x: jax.Array) -> jax.Array:
    """h(x) = x·w + b, (m,) or (m, t): as linear.predict, for params and x, (m, n)."""
    return linear.predict(params, x)


@_check.pure(x="m n", y="m|m t", weights="m", l2="|n|n t")
def cost(
    params: Params,
    x: jax.Array,
    y: jax.Array,
    *,
    l2: Any,
    weights: jax.Array | None = None,
) -> jax.Array:
    """J = ½ Σ wᵢ |h(xᵢ) - yᵢ|² / Σ wᵢ + ½ Σⱼ l2ⱼ wⱼ², (); b is not penalised.

    Args:
        params: w, (n,) or (n, t), and b.
        x: (m, n) rows.
        y: (m,) or (m, t) targets.
        l2: () the course's λ/m, alpha of scikit-learn over Σ wᵢ; or one for each
            feature, (n,), and target, (n, t).
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    value = linear.cost(params, x, y, weights=weights)
    return value + 0.5 * jnp.sum(_spread(l2, params.w) * params.w**2)


@_check.pure(x="m n", y="m|m t", weights="m", l2="|n|n t")
def gradient(
    params: Params,
    x: jax.Array,
    y: jax.Array,
    *,
    l2: Any,
    weights: jax.Array | None = None,
) -> Params:
    """∂J/∂w = Σ wᵢ xᵢ (h(xᵢ) - yᵢ) / Σ wᵢ + l2 w, and ∂J/∂b without the penalty.

    Arguments as in `cost`: params, x, (m, n), y, (m,) or (m, t), l2 and weights, (m,).
    """
    slope = linear.gradient(params, x, y, weights=weights)
    return slope._replace(w=slope.w + _spread(l2, params.w) * params.w)


def _spread(l2, w):
    """The penalty of each entry of w."""
    return jnp.broadcast_to(
        l2[:, None] if l2.ndim == 1 and w.ndim == 2 else l2, w.shape
    )


@_check.fit(
    static=("solver", "intercept"), x="m n", y="m|m t", weights="m", l2="|n|n t"
)
def fit(
    x: jax.Array,
    y: jax.Array,
    *,
    l2: Any,
    weights: jax.Array | None = None,
    solver: str = "auto",
    intercept: bool = True,
) -> Fit:
    """Minimise J of `cost`: (XᵀWX/Σw + diag l2) w = XᵀWy/Σw, rows centred.

    Args:
        x: (m, n) rows.
        y: (m,) targets, or (m, t) for t of them at once.
        l2: () the course's λ/m, alpha of scikit-learn over Σ wᵢ; or one for each
            feature, (n,), and target, (n, t). b is not penalised.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        solver: "primal": Cholesky of an (n, n) matrix; "dual": of an (m, m) matrix, for
            more columns than rows, every l2 above 0; "auto": the smaller one.
        intercept: whether there is a b; else it stays 0.

    Returns:
        Fit with Params. residual is |∂J|. Status SINGULAR where l2 is so small that
        columns depend on each other, and w has lost all but three digits.

    Raises:
        ValueError: an unknown solver, shapes that do not agree, values out of range.

    Source: Hoerl and Kennard (1970).

    """
    _check.option("solver", solver, SOLVERS)
    wide = solver == "dual" or (solver == "auto" and x.shape[1] > len(x))
    targets = y if y.ndim > 1 else y[:, None]
    fixed = jax.lax.stop_gradient((x, targets, weights, l2))
    w, b, value, residual, lost = (_dual if wide else _primal)(*fixed, intercept)
    status = jnp.where(lost <= LOST, Status.CONVERGED, Status.SINGULAR)
    clean = jnp.isfinite(jnp.sum(x) + jnp.sum(y))
    status = jnp.where(clean, status, Status.NONFINITE).astype(jnp.int32)
    params = Params(w, b if intercept else None)
    if y.ndim == 1:
        params = jax.tree.map(lambda a: a[..., 0], params)
    data, hyper = (x, y, weights), {"l2": l2}
    free, value = solution(_cost, params, value, status, data, hyper)
    params = with_b(free)
    none = jnp.full(1, UNRECORDED, x.dtype)
    return Fit(params, value, residual, jnp.int32(0), status, none)


def _cost(params, x, y, weights, *, l2):
    return cost(with_b(params), x, y, l2=l2, weights=weights)


def _primal(x, y, weights, l2, intercept: bool) -> Solved:
    equations = normal(x, y, weights, intercept)
    gram, n = equations.gram, x.shape[1]
    solve, factors = _factorised(lambda l2: gram + jnp.diag(l2), l2, n)
    penalty = _spread(l2, equations.cross)
    found = refined(equations, solve, penalty, x, y, weights, intercept)
    return Solved(*found, jnp.max(factors.lost(far_off(equations, len(x)))))


def _dual(x, y, weights, l2, intercept: bool) -> Solved:
    """w = L⁻¹ XᵀS (S X L⁻¹ Xᵀ S + 1)⁻¹ S y, S² = W/Σw and L = diag l2."""
    m, n = x.shape
    share = jnp.ones(m, x.dtype) if weights is None else weights
    root = jnp.sqrt(share / jnp.sum(share))[:, None]
    mean_x = mean(x, weights) if intercept else jnp.zeros_like(x[0])
    mean_y = mean(y, weights) if intercept else jnp.zeros_like(y[0])
    rows, targets = (x - mean_x[None]) * root, (y - mean_y[None]) * root
    one = jnp.eye(m, dtype=x.dtype)
    matrix = lambda l2: product(rows / l2[None], rows.T) + one
    solve, factors = _factorised(matrix, l2, n)
    w = product(rows.T, solve(targets))
    penalty = _spread(l2, w)
    w /= penalty
    b = mean_y - product(mean_x, w)
    value, dw, db = value_and_gradient(w, b, x, y, weights)
    slope = jnp.sum((dw + penalty * w) ** 2) + intercept * jnp.sum(db**2)
    value += 0.5 * jnp.sum(penalty * w**2)
    lost = jnp.finfo(x.dtype).eps * jnp.max(factors.condition)
    return Solved(w, b, value, jnp.sqrt(slope), lost)


def _factorised(matrix, l2, n: int):
    """A solver of matrix(l2) · v = right, (k, t), and the factors it uses.

    One matrix for all targets, or one for each where each has its own penalties.
    """
    if l2.ndim < 2:
        equations = definite(matrix(jnp.broadcast_to(l2, (n,))))
        return equations.solve, equations
    equations = jax.vmap(lambda l2: definite(matrix(l2)), 1)(l2)

    def solve(right):
        each = jax.vmap(lambda e, r: e.solve(r[:, None])[:, 0], (0, 1), 1)
        return each(equations, right)

    return solve, equations


# --- a path of penalties, from one decomposition -------------------------------------


class Scored(NamedTuple):
    """A fit, and what it would be worth on rows that it has not seen."""

    w: jax.Array  # (n,)
    b: jax.Array  # ()
    cost: jax.Array  # () J
    dof: jax.Array  # () effective degrees of freedom, the intercept counted
    left_out: jax.Array  # () mean squared error of rows left out one by one
    gcv: jax.Array  # () the same with leverages replaced by their mean
    evidence: jax.Array  # () log P(y | x, l2), the noise at its best


@_check.host
def path(x: jax.Array, y: jax.Array, l2s: jax.Array, **options: Any) -> Scored:
    """`scored` for each of l2s, (c,), from one decomposition: Scored with (c,) of each.

    x, (m, n), y, (m,), and options are those of `scored`. For use inside jit or not.
    """
    return jax.vmap(lambda l2: scored(x, y, l2=l2, **options))(jnp.asarray(l2s))


@_check.pure(static=("kind", "intercept"), jit=True, x="m n", y="m", weights="m")
def scored(
    x: jax.Array,
    y: jax.Array,
    *,
    l2: Any,
    weights: jax.Array | None = None,
    kind: str = "precision",
    intercept: bool = True,
) -> Scored:
    """w(λ) = V s/(s² + λ) Uᵀy with X = U s Vᵀ, and its scores in closed form.

    Under vmap over l2 the decomposition is made once.

    Args:
        x: (m, n) rows.
        y: (m,) targets.
        l2: () λ, as in `fit`.
        weights: (m,) weights w of the rows; 1 if None.
        kind: how weights are read: "precision", wᵢ = 1/variance of row i, or
            "frequency", wᵢ such rows were seen, of which one is left out.
        intercept: whether there is a b.

    Returns:
        Scored. A row is left out at the same l2 Σw. The evidence has
        w ~ N(0, σ²/(l2 Σw)), any b, and the σ² at which it is largest.

    Raises:
        ValueError: an unknown kind, shapes that do not agree, values out of range.

    Source: Allen (1974) for left_out; Golub, Heath and Wahba (1979) for gcv; MacKay
    (1992) for evidence.

    """
    _check.option("kind", kind, ("precision", "frequency"))
    weights = jnp.ones_like(y) if weights is None else weights
    weight = jnp.sum(weights)
    copies = weights if kind == "frequency" else jnp.ones_like(weights)
    seen = jnp.sum(jnp.where(weights > 0, copies, 0))
    mean_x = mean(x, weights) if intercept else jnp.zeros_like(x[0])
    mean_y = mean(y, weights) if intercept else jnp.zeros_like(y[0])
    x, y = x - mean_x[None], y - mean_y
    axes, square, cross = _principal(x, y, weights)
    filters = 1 / (square + l2)
    along = filters * cross  # w along the principal axes
    w = product(axes, along)
    r = y - product(x, w)
    leverage = (product(product(x, axes) ** 2, filters) + intercept) * weights / weight
    dof = jnp.vdot(square, filters)
    error = jnp.vdot(weights, r**2) / weight
    free = 1 - leverage / jnp.where(copies > 0, copies, 1)
    left_out = jnp.vdot(weights, (r / free) ** 2) / weight
    gcv = error / (1 - (dof + intercept) / seen) ** 2
    value = 0.5 * (error + l2 * jnp.vdot(along, along))
    of_noise = seen - intercept
    noise = 2 * weight * value / of_noise
    volume = jnp.sum(jnp.log1p(square / l2)) + intercept * jnp.log(weight)
    evidence = -0.5 * (of_noise * (jnp.log(2 * jnp.pi * noise) + 1) + volume)
    if kind == "precision":
        evidence += 0.5 * jnp.sum(jnp.log(jnp.where(weights > 0, weights, 1)))
    b = mean_y - jnp.vdot(w, mean_x)
    return Scored(w, b, value, dof + intercept, left_out, gcv, evidence)


def _principal(x, y, weights):
    """V, (n, k), s²/Σw, (k,), and V's products with XᵀWy/Σw, (k,), for centred rows."""
    m, n = x.shape
    share = weights / jnp.sum(weights)
    if m * n**2 <= SQUARE:
        root = jnp.sqrt(share)[:, None]
        u, s, vt = jnp.linalg.svd(x * root, full_matrices=False)
        return vt.T, s**2, s * product(u.T, y * root[:, 0])
    gram, cross, _, _ = normal(x, y[:, None], weights, False)
    square, v = jnp.linalg.eigh(gram)
    return v, jnp.maximum(square, 0), product(v.T, cross[:, 0])


@_check.pure(static=("intercept",), x="m n", weights="m", l2="|n")
def degrees_of_freedom(
    x: jax.Array,
    *,
    l2: Any,
    weights: jax.Array | None = None,
    intercept: bool = True,
) -> jax.Array:
    """tr (G + diag l2)⁻¹ G with G = XᵀWX/Σw of centred rows, plus 1 for b, ().

    Args:
        x: (m, n) rows.
        l2: () or (n,) penalties, as in `fit`.
        weights: (m,) weights w of the rows; 1 if None.
        intercept: whether there is a b.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Hastie and Tibshirani (1990).

    """
    gram = normal(x, x[:, :1], weights, intercept).gram
    kept = jnp.linalg.solve(gram + jnp.diag(jnp.broadcast_to(l2, x.shape[1:])), gram)
    return jnp.trace(kept) + intercept


# --- the constraint and its multiplier ------------------------------------------------


class Constrained(NamedTuple):
    """The best linear map with |w| <= radius, and the price of that."""

    w: jax.Array  # (n,)
    b: jax.Array  # ()
    multiplier: jax.Array  # () λ: ridge with l2 = λ has the same w and b


@_check.fit(static=("intercept", "max_iter"), x="m n", y="m", weights="m")
def constrained(
    x: jax.Array,
    y: jax.Array,
    *,
    radius: Any,
    weights: jax.Array | None = None,
    intercept: bool = True,
    tol: Any = 1e-6,
    max_iter: int = 50,
) -> Fit:
    """Minimise J₀ = ½ Σ wᵢ (h(xᵢ) - yᵢ)² / Σ wᵢ subject to |w| <= radius.

    With Lagrange's L = J₀ + λ/2 (|w|² - radius²), w(λ) is that of ridge and
    |w(λ)| = radius fixes λ, or λ = 0 where the constraint is idle. λ is a price:
    dJ*/d(radius²/2) = -λ.

    Args:
        x: (m, n) rows.
        y: (m,) targets.
        radius: () the largest |w|.
        weights: (m,) weights w of the rows; 1 if None.
        intercept: whether there is a b; it is free.
        tol: () largest | |w|/radius - 1 |.
        max_iter: most steps.

    Returns:
        Fit with params = Constrained. cost is J₀.

    Raises:
        ValueError: shapes that do not agree, values not finite, a radius not above 0.

    Source: Newton's method on 1/|w(λ)| - 1/radius, which is concave, so that from
    λ = 0 it climbs to the root and never passes it (Reinsch 1971; Hebden 1973).

    """
    targets = y[:, None]
    gram, cross, mean_x, mean_y = normal(x, targets, weights, intercept)
    found = _secular(*jax.lax.stop_gradient((gram, cross[:, 0], radius)), tol, max_iter)
    multiplier = found.params
    one = jnp.eye(len(gram), dtype=x.dtype)

    def length(multiplier):
        w = jnp.linalg.solve(gram + multiplier * one, cross[:, 0])
        return w, 1 / jnp.sqrt(jnp.vdot(w, w))

    # One more step of Newton from the root leaves it there, and has its derivative.
    slope = jax.jvp(lambda t: length(t)[1], (multiplier,), (jnp.ones_like(multiplier),))
    step = (length(multiplier)[1] - 1 / radius) / jax.lax.stop_gradient(slope[1])
    exact = jnp.where(multiplier > 0, multiplier - step, multiplier)
    w = length(exact)[0]
    b = mean_y[0] - jnp.vdot(mean_x, w)
    data = w[:, None], b[None], x, targets, weights
    value = value_and_gradient(*data)[0]
    valid = jnp.where(found.status == Status.CONVERGED, 1, jnp.nan).astype(x.dtype)
    params = Constrained(w, b, exact)
    return found._replace(
        params=jax.tree.map(lambda a: _derived(a, valid), params),
        cost=_derived(value, valid),
    )


@jax.custom_jvp
def _derived(value, valid):
    """The value, its derivative times valid."""
    return value


@_derived.defjvp
def _derived_jvp(primals, tangents):
    return primals[0], tangents[0] * primals[1]


def _secular(gram, cross, radius, tol, max_iter: int) -> Fit:
    """The λ, (), with |(G + λ)⁻¹ c| = radius, or 0: a Fit with params = λ."""
    square, v = jnp.linalg.eigh(gram)
    along = product(v.T, cross)
    least = jnp.finfo(gram.dtype).eps * len(gram) * square[-1]
    # Directions that are rounding can be left alone while λ is 0.
    flat = square <= least
    square = jnp.where(flat, 0, square)

    def at(multiplier):
        below = square + multiplier
        safe = jnp.where(below > 0, below, jnp.inf)
        part = (along / safe) ** 2
        length = jnp.sqrt(jnp.sum(part))
        return length, jnp.sum(part / safe)

    def progress(multiplier, length):
        excess = length / radius - 1
        idle = (multiplier == 0) & (excess <= 0)
        return Progress(length, jnp.where(idle, 0, jnp.abs(excess)))

    def step(state):
        multiplier, length, bend = state
        new = multiplier + (length / radius - 1) * length**2 / bend
        new = jnp.maximum(new, 0)
        return (new, *at(new)), progress(new, at(new)[0])

    zero = jnp.zeros_like(radius)
    state = (zero, *at(zero))
    start = progress(zero, state[1])
    found = iterate(step, state, start, tol=tol, max_iter=max_iter, patience=5)
    return found._replace(params=found.params[0])
