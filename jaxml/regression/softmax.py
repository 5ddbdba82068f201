"""k classes: softmax regression, which is the Boltzmann distribution (slides 1.3).

P(y = c | x) = e^(-E_c/T) / Σ_d e^(-E_d/T) with energies E_c = -(w_c·x + b_c). To add
the same to the energies of all classes changes nothing: of all W and b that are as
good, a fit gives those that sum to 0 over the classes.
"""

from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import (
    Array,
    Count,
    NonNegative,
    Positive,
    Rows,
    Static,
    Weights,
)
from jaxml._rows import each, total, with_b, with_ones
from jaxml.data.scaling import one_hot
from jaxml.optimize._fit import UNRECORDED, Fit
from jaxml.optimize._implicit import solution
from jaxml.optimize._minimize import minimize
from jaxml.optimize._solver import Solver
from jaxml.optimize.proximal import l1_penalty
from jaxml.regression import _sparse as sparse
from jaxml.regression import linear, logistic
from jaxml.regression._linear_loss import (
    Frame,
    Problem,
    average,
    by_gradients,
    by_hessians,
    frame_of,
    framed_curvatures,
    moved_origin,
    origin,
    params_of,
    penalised,
    penalties,
    seen,
    separated,
    shares,
    some_columns,
    split,
    standard,
    without_rows,
)

__all__ = [
    "Params",
    "cost",
    "fit",
    "gradient",
    "logits",
    "one_vs_all",
    "predict",
    "probability",
]

SOLVERS = ("auto", "newton", "lbfgs")
FEW = 64  # parameters up to which "auto" means Newton's method


class Params(NamedTuple):
    """The weights and intercepts of k classes."""

    w: Annotated[jax.Array, "n k"]
    b: Annotated[jax.Array, "k"]


@_check.pure
def logits(params: Params, x: Rows, *, temperature: NonNegative = 1.0) -> jax.Array:
    """z = (x·W + b) / T = -E/T, (m, k), for the rows of x, (m, n).

    params hold W, (n, k), and b, (k,); temperature is T, (): 1 for the probabilities
    that were fitted, more for softer ones. Raises ValueError if params are for another
    number of columns.
    """
    linear_params = linear.Params(params.w, params.b)
    return linear.predict(linear_params, x) / temperature


@_check.pure
def probability(
    params: Params, x: Rows, *, temperature: NonNegative = 1.0
) -> jax.Array:
    """P(y = c | x) = e^z_c / Σ_d e^z_d, (m, k), for the rows of x, (m, n).

    params and temperature as in `logits`.
    """
    return jax.nn.softmax(logits(params, x, temperature=temperature), axis=1)


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """The class of highest probability, the first of several: (m,) int32 labels.

    params as in `logits`; x, (m, n), rows.
    """
    return jnp.argmax(logits(params, x), axis=1).astype(jnp.int32)


@_check.pure
def cost(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m|m k:classes"],
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "k", "[0, inf)"] | None = None,
) -> jax.Array:
    """J = -Σ wᵢ Σ_c y_ic log p_ic / Σ wᵢ + l2/2 |W|² + l1 |W|₁, ().

    Of no rows, all weights 0, the mean is 0: a batch of rows left out adds nothing.

    Args:
        params: W, (n, k), and b, (k,).
        x: (m, n) rows.
        y: (m,) labels in 0…k-1, or probabilities, (m, k).
        l2: () the course's λ/m; scikit-learn's C is 1 / (l2 Σ wᵢ). b is not penalised.
        l1: () weight of Σ |W|.
        weights: (m,) weights w of the rows; 1 if None.
        class_weights: (k,) factors of the weights of the rows of each class.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    z = logits(params, x)
    y = _targets(y, z.shape[1], z.dtype)
    w = _weights(y, weights, class_weights)
    value = average(_losses(z, y), w)
    if not _check.is_zero(l2):
        value += 0.5 * l2 * jnp.sum(params.w**2)
    if not _check.is_zero(l1):
        value += l1_penalty(params.w, l1=l1)
    return value


@_check.pure
def gradient(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m|m k:classes"],
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "k", "[0, inf)"] | None = None,
) -> Params:
    """∂J/∂W = Σ wᵢ xᵢ (pᵢ - yᵢ)ᵀ / (T Σ wᵢ) + l2 W + l1 sgn(W), and ∂J/∂b without them.

    Arguments as in `cost`: x, (m, n), y, (m,) or (m, k); sgn(0) = 0. Of params' shapes.
    """
    p = probability(params, x)
    y = _targets(y, p.shape[1], p.dtype)
    w = _weights(y, weights, class_weights)
    r = p * jnp.sum(y, axis=1)[:, None] - y
    r = r / len(r) if w is None else r * shares(w)[:, None]
    slope = x.T @ r + l2 * params.w + l1 * jnp.sign(params.w)
    return Params(slope, jnp.sum(r, axis=0))


@_check.fit
def fit(
    x: Rows,
    y: Annotated[Array, "m|m k:classes k"],
    *,
    k: Count,
    l2: NonNegative = 0.0,
    l1: NonNegative | None = None,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "k", "[0, inf)"] | None = None,
    solver: Static[str | Solver] = "auto",
    intercept: Static[bool] = True,
    learning_rate: Positive | None = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 1000,
) -> Fit:
    """Minimise J of `cost` over W and b.

    Args:
        x: (m, n) rows.
        y: (m,) labels in 0…k-1, or probabilities, (m, k).
        k: how many classes there are.
        l2: () the course's λ/m; scikit-learn's C is 1 / (l2 Σ wᵢ). b is not penalised.
        l1: () weight of Σ |W|; None drops the term; faster than 0.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        class_weights: (k,) factors of the weights of the rows of each class.
        solver: "newton", for few parameters; "lbfgs"; or an optax optimiser, from
            0, as in optimize.minimize. "auto" is "newton" up to 64 parameters. With l1,
            coordinate descent on Newton's models of J, whatever is said here.
        intercept: whether there is a b; else it stays 0.
        learning_rate: () of an optax optimiser.
        tol: () largest √((J - J*) / J) by the Newton decrement, with J* the minimum: at
            1e-5 the cost is within 1e-10 J of it, or within its own rounding. It does
            not depend on the units of x. With l1 the same, J* by the model, which keeps
            the penalty as it is; where more than 1024 W take part, what those left out
            of it may add counts as if each were alone. For optax, largest |∂J|.
        max_iter: most steps; L-BFGS takes so many before the last, which are Newton's.

    Returns:
        Fit with Params that sum to 0 over the classes (with l1, only b does). Status
        UNBOUNDED where they could grow for ever: classes that can be separated and
        l1 = l2 = 0, or a class without rows (with optax, max_iter ends that).

    Raises:
        ValueError: an unknown solver, shapes that do not agree, values out of range.

    Source: "newton": Boyd and Vandenberghe (2004); "lbfgs": Nocedal (1980); l1:
    Friedman, Hastie and Tibshirani (2010), Yuan, Ho and Lin (2012).

    """
    own = isinstance(solver, str)
    if own:
        _check.option("solver", solver, SOLVERS)
    if y.ndim == 2 and y.shape[1] != k:
        raise ValueError(f"y has shape {y.shape}, not (m, k) where k = {k}")
    y = _targets(y, k, x.dtype)
    data = x, y, _weights(y, weights, class_weights)
    n = x.shape[1]
    b = jnp.zeros(k, x.dtype) if intercept else None
    start = linear.Params(jnp.zeros((n, k), x.dtype), b)
    more: dict[str, Any] = {"tol": tol, "max_iter": max_iter}
    if l1 is None and not own:
        result = minimize(
            _whole,
            start,
            *data,
            solver=solver,
            learning_rate=learning_rate,
            l2=l2,
            **more,
        )
    else:
        small = (n + intercept) * k <= FEW
        newton = solver == "newton" or (solver == "auto" and small)
        result = _planar(data, l2, l1, k, newton, intercept, **more)
    w, b = with_b(result.params)
    return result._replace(params=Params(w, b))


@_check.fit
def one_vs_all(
    x: Rows,
    y: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    solver: Static[str] = "auto",
    intercept: Static[bool] = True,
    tol: NonNegative = 1e-5,
    max_iter: Count = 1000,
) -> Fit:
    """k logistic regressions, of each class against the others, in one vmap.

    Args:
        x: (m, n) rows.
        y: (m,) labels in 0…k-1.
        k: how many classes there are.
        l2: () penalty of each, as in `logistic.fit`.
        weights: (m,) weights w of the rows; 1 if None.
        solver: "auto", "newton" or "lbfgs", as in `logistic.fit`.
        intercept: whether there is a b.
        tol: () as in `logistic.fit`.
        max_iter: most steps.

    Returns:
        Fit with Params, w, (n, k), and b, (k,); `predict` gives argmax h_c(x). cost is
        the sum of the k costs; residual, steps and status are the largest.

    Raises:
        ValueError: an unknown solver, shapes that do not agree, values out of range.

    """
    _check.option("solver", solver, SOLVERS)
    options: dict[str, Any] = {"solver": solver, "intercept": intercept}
    options |= {"l2": l2, "tol": tol, "weights": weights, "max_iter": max_iter}

    def one(c):
        return logistic.fit(x, (y == c).astype(jnp.int32), **options)

    result = jax.vmap(one)(jnp.arange(k))
    params = Params(result.params.w.T, result.params.b)
    return Fit(
        params,
        cost=jnp.sum(result.cost),
        residual=jnp.max(result.residual),
        steps=jnp.max(result.steps),
        status=jnp.max(result.status),
        history=jnp.full(1, UNRECORDED, x.dtype),
    )


def _targets(y, k: int, dtype):
    """Probabilities of the classes, (m, k)."""
    return one_hot(y, k=k).astype(dtype) if y.ndim == 1 else y


def _weights(y, weights, class_weights):
    """Weights of the rows, (m,), times those of their classes; None for none."""
    if class_weights is None:
        return weights
    of_rows = y @ class_weights
    return of_rows if weights is None else weights * of_rows


def _losses(z, y):
    """-Σ_c y_c log p_c, (m,)."""
    return -jnp.sum(y * jax.nn.log_softmax(z, axis=1), axis=1)


def _whole(params, x, y, weights, *, l2):
    """J, and half the squares of the sums over classes, so that the minimum is one."""
    w, b = with_b(params)
    value = cost(Params(w, b), x, y, l2=l2, weights=weights)
    if params.b is not None:
        value += 0.5 * jnp.sum(params.b) ** 2
    return value + 0.5 * jnp.sum(jnp.sum(params.w, axis=1) ** 2)


# --- our own solvers -----------------------------------------------------------------


def _planar(data, l2, l1, k: int, newton: bool, intercept: bool, tol, max_iter) -> Fit:
    """They see the columns in a Frame; Fit with Params."""
    x, y, weights, l2_fixed, l1_fixed = jax.lax.stop_gradient((*data, l2, l1))
    frame = frame_of(x, weights, l2_fixed, intercept)
    problem = _planes(x, y, weights, frame, l2_fixed, intercept, l1_fixed)
    if l1 is not None:
        limits = sparse.limits(frame, l1, intercept)
        limits = jnp.repeat(limits, k).reshape(-1, k)
        result = sparse.by_models(problem, limits.ravel(), tol, max_iter)
    else:
        search = by_hessians if newton else by_gradients
        result = search(problem, tol, max_iter)
    status = result.status
    if intercept:
        status = without_rows(status, average(y, weights))
    theta = result.params.reshape(-1, k)
    free = slice(None) if l1 is None else slice(x.shape[1], None)
    theta = theta.at[free].add(-jnp.mean(theta[free], axis=1, keepdims=True))
    data, hyper = (*data, frame), {"l2": l2}
    result = result._replace(params=theta)
    if l1 is not None:
        theta, value = sparse.solution(
            _sparse_cost, result, status, data, hyper, limits
        )
    else:
        theta, value = solution(_cost, theta, result.cost, status, data, hyper)
    params = params_of(theta, frame, intercept)
    if l1 is not None and intercept:  # w need not sum to 0, and another origin moves b
        params = params._replace(b=params.b - jnp.mean(params.b))
    return result._replace(params=params, cost=value, status=status)


def _cost(theta, x, y, weights, frame, *, l2):
    """J of θ, (p, k), in a frame, and half the squares of its sums over classes."""
    value = _data_cost(theta, x, y, weights, frame, l2)
    return value + 0.5 * jnp.sum(jnp.sum(theta, axis=1) ** 2)


def _sparse_cost(theta, x, y, weights, frame, *, l2):
    """The same with the square of the sum of b alone: l1 holds that of W."""
    value = _data_cost(theta, x, y, weights, frame, l2)
    return value + 0.5 * jnp.sum(jnp.sum(theta[x.shape[1] :], axis=1) ** 2)


def _data_cost(theta, x, y, weights, frame, l2):
    w, b = split(theta, x.shape[1])
    z = standard(x, frame) @ w + (0 if b is None else b[None])
    value = average(_losses(z, y), weights)
    squares = jnp.vdot(penalties(frame, l2), jnp.sum(w**2, axis=1))
    return value + 0.5 * squares


def _planes(x, y, weights, frame, l2, intercept: bool, l1) -> Problem:
    """The Problem of k planes; θ is (p, k), raveled. l1 may hold the weights too."""
    n, k = x.shape[1], y.shape[1]
    p = n + intercept
    share = None if weights is None else shares(weights)
    l2s = jnp.append(penalties(frame, l2), jnp.zeros(intercept, x.dtype))
    l2s = jnp.repeat(l2s, k)
    near = origin(x, intercept)
    light = _derivatives(x, y, share, near, intercept, False)
    light = moved_origin(light, frame, near, intercept)
    whole = penalised(_derivatives(x, y, share, frame, intercept, True), l2s)
    hessian = _curvatures(x, y, share, near, intercept)
    hessian = framed_curvatures(hessian, frame, near, intercept, 0)

    # What l1 holds need not be held by more.
    free = jnp.arange(p) >= (0 if l1 is None else n)

    def gauged(theta):
        """To add the same to all classes costs as much as to add it to one."""
        value, slope, h = whole(theta)
        size = jnp.mean(jnp.diagonal(h).reshape(p, k), axis=1)
        size = jnp.where(free, size, 0)
        return value, slope, h + jnp.kron(jnp.diag(size), jnp.ones((k, k), h.dtype))

    def even_of(slope):
        return (slope - jnp.mean(slope, axis=1, keepdims=True)).ravel()

    def even(theta):
        """Freed of what a common change would do: squares would slow L-BFGS down."""
        value, slope = light(theta.reshape(p, k))
        return value, even_of(slope)

    def even_hessian(theta):
        product_with = hessian(theta.reshape(p, k))

        def along(v):
            result = product_with(v.reshape(p, k))
            return even_of(result) + l2s * v

        return along

    def moves(change):
        between = Frame(frame.centre - near.centre, frame.scale)
        w, b = params_of(change.reshape(p, k), between, intercept)
        z = standard(x, near) @ w + (0 if b is None else b[None])
        return jnp.max(seen(jnp.max(jnp.abs(z), axis=1), weights))

    start = jnp.zeros(p * k, x.dtype)
    holds = l2 if l1 is None else l2 + l1
    lowest = separated(y, weights, holds, intercept)
    slopes = penalised(even, l2s)
    some = _block(x, y, share, frame, intercept, l2s)
    most, held = len(x) * k, holds > 0
    return Problem(slopes, even_hessian, gauged, some, moves, start, most, held, lowest)


def _curvatures(x, y, share, frame, intercept: bool):
    """θ to v, (p, k) both, to the Hessian without penalty times v."""
    n = x.shape[1]

    def planes(x, theta):
        return x @ theta[:n] + (theta[n][None] if intercept else 0)

    def of(theta):
        def chances_of(x):
            return jax.nn.softmax(planes(standard(x, frame), theta), axis=1)

        def sums(v, x, chances, w):
            x = standard(x, frame)
            z = planes(x, v)
            mean = jnp.sum(chances * z, axis=1, keepdims=True)
            r = w[:, None] * chances * (z - mean)
            return r.T @ x, jnp.sum(r, axis=0)

        chances = each(chances_of, x)
        w = jnp.sum(y, axis=1) * (1 / len(x) if share is None else share)

        def along(v):
            of_w, of_b = total(partial(sums, v), x, chances, w)
            return jnp.concatenate([of_w.T, of_b[None]])[: n + intercept]

        return along

    return of


def _block(x, y, share, frame, intercept: bool, l2s):
    """θ to a function of rows and columns, raveled: that part of H, with b's gauge."""
    n, k = x.shape[1], y.shape[1]

    def of(theta):
        def of_rows(x):
            z = with_ones(standard(x, frame), intercept) @ theta
            chances = jax.nn.softmax(z, axis=1)
            return chances, chances @ (1 - jnp.eye(k, dtype=x.dtype))

        def sums(rows, columns, x, w, chances, others):
            left = some_columns(x, frame, rows // k) * w[:, None]
            left = left * chances[:, rows % k]
            right = some_columns(x, frame, columns // k)
            alike = (left * others[:, rows % k]).T @ right
            return alike, left.T @ (right * chances[:, columns % k])

        theta = theta.reshape(-1, k)
        chances, others = each(of_rows, x)
        w = jnp.sum(y, axis=1) * (1 / len(x) if share is None else share)
        size = jnp.mean(w @ (chances * others))

        def pair(rows, columns):
            alike, apart = total(partial(sums, rows, columns), x, w, chances, others)
            rows, columns = rows[:, None], columns[None]
            h = jnp.where(rows % k == columns % k, alike, -apart)
            h += jnp.where(rows == columns, l2s[columns], 0)
            return h + jnp.where((rows >= n * k) & (columns >= n * k), size, 0)

        return pair

    return of


def _derivatives(x, y, share, frame, intercept: bool, hessian: bool):
    """θ, (p, k), to J without penalty and its gradient; or θ raveled, with Hessian.

    share, (m,), are the weights over their sum, or None.
    """
    n, k = x.shape[1], y.shape[1]
    p = n + intercept

    def of(theta):
        theta = theta.reshape(p, k)

        def sums(x, y, share):
            x = standard(x, frame)
            z = x @ theta[:n] + (theta[n][None] if intercept else 0)
            w = jnp.ones_like(x[:, 0]) if share is None else share
            w, whole = w[:, None], jnp.sum(y, axis=1)[:, None]
            chances = jax.nn.softmax(z, axis=1)
            # 1 - p and p - y as sums of the others, for the digits of sure rows.
            others = chances @ (1 - jnp.eye(k, dtype=x.dtype))
            r = w * (chances * (whole - y) - y * others)
            # Turned only outside the loop: xᵀr would be slower than rᵀx.
            value = jnp.vdot(w, _losses(z, y)[:, None])
            first = value, r.T @ x, jnp.sum(r, axis=0)
            if not hessian:
                return first
            a = with_ones(x, intercept)
            a_mass = a * (w * whole)

            def spread(factors):
                return (a_mass[:, :, None] * factors[:, None]).reshape(len(x), p * k)

            each = (a[:, :, None] * chances[:, None]).reshape(len(x), p * k)
            alike = spread(chances * others).T @ a
            return *first, alike, spread(chances).T @ each

        result = total(sums, x, y, share)
        if share is None:
            result = jax.tree.map(lambda s: s / len(x), result)
        value, of_w, of_b, *h = result
        slope = jnp.concatenate([of_w.T, of_b[None]])[:p]
        if not hessian:
            return value, slope
        # Σ w f f' p_c (1 - p_c) for c = d, else - Σ w f f' p_c p_d.
        alike = jnp.eye(k, dtype=bool)[None, :, None]
        h = jnp.where(alike, h[0].reshape(p, k, p, 1), -h[1].reshape(p, k, p, k))
        return value, slope.ravel(), h.reshape(p * k, p * k)

    return of
