"""Least squares for any number of targets: h(x) = x·w + b (slides 1.1)."""

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
    Scalar,
    Static,
    Targets,
    Unchecked,
    Weights,
)
from jaxml._rows import mean, with_b, with_ones
from jaxml._units import relative, shares_of, unit_of
from jaxml.optimize._fit import LONGEST, UNRECORDED, Fit, Status
from jaxml.optimize._implicit import solution
from jaxml.optimize._minimize import minimize
from jaxml.optimize._solver import Solver
from jaxml.regression._least_squares import (
    by_cg,
    by_cholesky,
    by_qr,
    by_svd,
    design,
)
from jaxml.regression._student import fisher, quantile, two_sided
from jaxml.regression._table import Table, residual, rows, table

__all__ = [
    "Band",
    "Inference",
    "Params",
    "band",
    "cost",
    "fit",
    "gradient",
    "inference",
    "locally_weighted",
    "predict",
]

SOLVERS = ("auto", "qr", "cholesky", "svd", "cg")
SMALL = 1e7  # m n² up to which "auto" means QR
LOST = 1e-3  # the relative error of w from which equations count as singular


class Params(NamedTuple):
    """A linear map and its intercept."""

    w: Annotated[jax.Array, "n|n t"]  # weights, of t targets
    b: Annotated[Any, "|t"]  # intercept, an array


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """h(x) = x·w + b, (m,), or (m, t) for t targets, for the rows of x, (m, n).

    Raises ValueError if params are for another number of columns.
    """
    return x @ params.w + params.b[(None,) * (params.w.ndim > 1)]


@_check.pure
def cost(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m|m t"],
    *,
    weights: Weights | None = None,
) -> jax.Array:
    """J = ½ Σ wᵢ |h(xᵢ) - yᵢ|² / Σ wᵢ, (); the squares of all targets are summed.

    Args:
        params: w, (n,) or (n, t), and b.
        x: (m, n) rows.
        y: (m,) or (m, t) targets.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values that are not finite.

    """
    r = predict(params, x) - y
    return 0.5 * jnp.sum(_shared(r, x, weights) * r)


def _shared(r, x, weights):
    """wᵢ rᵢ / Σ wᵢ for residuals, (m,) or (m, t), of the rows of x."""
    share = shares_of(x, weights)
    return r * (share if r.ndim == 1 else share[:, None])


@_check.pure
def gradient(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m|m t"],
    *,
    weights: Weights | None = None,
) -> Params:
    """∂J/∂w = Σ wᵢ xᵢ (h(xᵢ) - yᵢ) / Σ wᵢ, ∂J/∂b = Σ wᵢ (h(xᵢ) - yᵢ) / Σ wᵢ.

    Arguments as in `cost`: x, (m, n), y, (m,) or (m, t), weights, (m,); params as they
    come. The gradient has their shapes.
    """
    r = _shared(predict(params, x) - y, x, weights)
    return Params((r.T @ x).T, jnp.sum(r, axis=0))


@_check.fit
def fit(
    x: Rows,
    y: Annotated[Array, "m|m t"],
    *,
    weights: Weights | None = None,
    solver: Static[str | Solver] = "auto",
    intercept: Static[bool] = True,
    learning_rate: Positive | None = None,
    tol: NonNegative = 1e-6,
    max_iter: Count = 500,
) -> Fit:
    """Minimise J = ½ Σ wᵢ |h(xᵢ) - yᵢ|² / Σ wᵢ over w and b.

    Args:
        x: (m, n) rows.
        y: (m,) targets, or (m, t) for t of them at once.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        solver: "qr": columns scaled, residuals in twice the precision, so that the
            last digits are right too; memory a few times x. "cholesky": the normal
            equations of centred columns, once refined; the fastest for many rows.
            "svd": the w of least norm where many are as good. "cg": conjugate
            gradients, for very many columns; in float32 it ends STALLED, near the
            minimum, where columns of one length have a condition number of more than
            some 1e3, for it can't tell there how near. An optax optimiser: gradient
            descent of that kind, from 0, as in optimize.minimize. "auto" is "qr" for
            small data and "svd" where there are fewer rows than unknowns; else
            "cholesky", and "qr" if that finds the columns too much alike (under vmap
            both are run).
        intercept: whether there is a b; else it stays 0.
        learning_rate: () of an optax optimiser.
        tol: () of "cg": largest J less its minimum, as estimated, relative to J plus
            100 ε J(0); of an optimiser: largest |∂J|, in the units of the data.
        max_iter: most steps of "cg" or an optimiser.

    Returns:
        Fit with Params; for y of shape (m, 1) w is (n, 1) and `predict` gives (m, 1).
        residual is |∂J|, or what tol says. Status SINGULAR where columns depend on each
        other so far that w has lost all but three digits, or is not unique; params then
        are of no use, except those of "svd", which have the least |w|. "cg" does not
        look whether w is unique.

    Raises:
        ValueError: an unknown solver, shapes that do not agree, values not finite, too
            few rows for "qr" or "cholesky".

    Source: Björck (1967), Lawson and Hanson (1974); "cg": Hestenes and Stiefel (1952).

    """
    weights = relative(weights)
    fixed = jax.lax.stop_gradient((x, y if y.ndim > 1 else y[:, None], weights))
    if isinstance(solver, str):
        _check.option("solver", solver, SOLVERS)
        result = _search(
            _chosen(solver, x, intercept), *fixed, intercept, tol, max_iter
        )
    else:
        result = _descend(solver, *fixed, intercept, learning_rate, tol, max_iter)
    params = result.params
    if y.ndim == 1:
        params = jax.tree.map(lambda a: a[..., 0], params)
    # Without an intercept b is no parameter: None is a tree without leaves.
    free = params if intercept else Params(params.w, None)
    free, value = solution(_cost, free, result.cost, result.status, (x, y, weights), {})
    return result._replace(params=with_b(free), cost=value)


def _cost(params, x, y, weights):
    return cost(with_b(params), x, y, weights=weights)


def _chosen(solver: str, x, intercept: bool) -> str:
    """The solver that "auto" stands for, by the shape of x; or a refusal."""
    m, n = x.shape
    unknowns = n + intercept
    if solver == "auto":
        if m < unknowns:
            return "svd"
        return "qr" if m * unknowns**2 <= SMALL else "auto"
    if solver in ("qr", "cholesky"):
        _enough(f"solver {solver!r} is not for this x, which", x, intercept)
    return solver


def _enough(what: str, x, intercept: bool) -> None:
    m, unknowns = len(x), x.shape[1] + intercept
    if m < unknowns:
        raise ValueError(f"{what} has {m} rows for {unknowns} unknowns")


def _search(solver: str, x, y, weights, intercept: bool, tol, max_iter: int) -> Fit:
    """A Fit for y, (m, t), by one of our own solvers."""
    data = x, y, weights
    if solver == "cg":
        result = by_cg(*data, intercept, tol, max_iter)
        return result._replace(params=Params(*result.params))
    if solver == "auto":
        solved = by_cholesky(*data, intercept)
        solved = jax.lax.cond(
            solved.lost <= LOST,
            lambda: solved,
            lambda: by_qr(*data, intercept),
        )
    else:
        by = {"qr": by_qr, "cholesky": by_cholesky, "svd": by_svd}[solver]
        solved = by(*data, intercept)
    status = jnp.where(solved.lost <= LOST, Status.CONVERGED, Status.SINGULAR)
    clean = jnp.isfinite(jnp.sum(x) + jnp.sum(y))
    status = jnp.where(clean, status, Status.NONFINITE).astype(jnp.int32)
    history = jnp.full(min(max_iter, LONGEST), UNRECORDED, x.dtype)
    params, steps = Params(solved.w, solved.b), jnp.int32(0)
    return Fit(params, solved.cost, solved.residual, steps, status, history)


def _descend(
    solver, x, y, weights, intercept: bool, learning_rate, tol, max_iter: int
) -> Fit:
    """A Fit for y, (m, t), by an optax optimiser, from 0."""
    w = jnp.zeros((x.shape[1], y.shape[1]), x.dtype)
    start = Params(w, jnp.zeros_like(w[0]) if intercept else None)
    result = minimize(
        _cost,
        start,
        x,
        y,
        weights,
        solver=solver,
        learning_rate=learning_rate,
        tol=tol,
        max_iter=max_iter,
    )
    if intercept:
        return result
    return result._replace(params=Params(result.params.w, jnp.zeros_like(w[0])))


class Inference(NamedTuple):
    """What least squares says about its coefficients and about itself."""

    table: Table  # standard errors, t, p, intervals, covariance
    dof: Annotated[jax.Array, ""]  # degrees of freedom of the residual
    variance: Annotated[jax.Array, "|t"]  # σ², of a row of weight 1
    r2: Annotated[jax.Array, "|t"]  # share of the variance that is explained
    adjusted_r2: Annotated[jax.Array, "|t"]  # the same, both variances without bias
    log_likelihood: Annotated[jax.Array, "|t:sums"]  # of Gaussian noise
    aic: Annotated[jax.Array, "|t:sums"]  # 2p - 2 log L
    bic: Annotated[jax.Array, "|t:sums"]  # p log m - 2 log L
    f: Annotated[jax.Array, "|t"]  # F of all weights against none
    f_p: Annotated[jax.Array, "|t"]  # p-value of F, if all weights were 0


@_check.pure(jit=True)
def inference(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m|m t"],
    *,
    weights: Weights | None = None,
    kind: Static[str] = "precision",
    covariance: Static[str] = "constant",
    intercept: Static[bool] = True,
    confidence: Annotated[Scalar, "(0, 1)"] = 0.95,
) -> Inference:
    """cov(θ) = σ² (AᵀWA)⁻¹ with A = [x, 1], and the table of tests that follows.

    Args:
        params: the minimum, as `fit` finds it.
        x: (m, n) rows.
        y: (m,) or (m, t) targets.
        weights: (m,) weights w of the rows; 1 if None.
        kind: how weights are read. "precision": wᵢ = 1/variance of row i, up to a
            factor; m counts the rows whose weight is not 0. "frequency": wᵢ such rows
            were seen; m is Σ wᵢ.
        covariance: "constant", one σ² for all rows; or, where the variance may differ
            from row to row, the sandwich "HC0", "HC1" (times m / (m - p)), "HC2" and
            "HC3" (residuals over 1 - h and (1 - h)², h the leverage).
        intercept: whether b was fitted; else its entries are NaN.
        confidence: () coverage of the intervals.

    Returns:
        Inference; for t targets, (t,) of each, and covariances (t, p, p).

    Raises:
        ValueError: an unknown option, shapes that do not agree, values not finite.

    Source: White (1980); MacKinnon and White (1985). F is that of a constant variance.

    """
    _check.option("kind", kind, ("precision", "frequency"))
    _check.option("covariance", covariance, ("constant", "HC0", "HC1", "HC2", "HC3"))
    _enough("x", x, intercept)
    options = weights, kind, covariance, intercept, confidence
    if y.ndim == 1:
        return _inference(params, x, y, *options)
    each = jax.vmap(lambda w, b, y: _inference(Params(w, b), x, y, *options), (1, 0, 1))
    result = each(params.w, params.b, y)
    # The targets are the last axis of Params, as `fit` has them.
    turned = jax.tree.map(lambda a: a.T if a.ndim == 2 else a, result.table)
    return result._replace(table=turned)


def _inference(params, x, y, weights, kind, covariance, intercept, confidence):
    """Inference for one target, found in units in which no square under- or overflows.

    Powers of two, so that nothing is rounded.
    """
    of_x, of_y, of_w = (
        unit_of(x, weights, axis=0),
        unit_of(y, weights, axis=0),
        jnp.ones_like(y[0]),
    )
    if weights is not None and kind == "precision":
        of_w = unit_of(weights)
        weights = weights / of_w
    change = Params(of_y / of_x, of_y)
    result = _in_units(
        jax.tree.map(jnp.divide, params, change),
        x / of_x[None],
        y / of_y,
        weights,
        kind,
        covariance,
        intercept,
        confidence,
    )
    flat = jnp.append(change.w, change.b) if intercept else change.w
    of_table = result.table
    natural = {
        name: jax.tree.map(jnp.multiply, getattr(of_table, name), change)
        for name in ("standard_error", "low", "high")
    }
    # The density of y has the unit 1 / y.
    more = jax.lax.stop_gradient(jnp.log(of_y)) * (result.dof + len(flat))
    return result._replace(
        table=of_table._replace(
            **natural, covariance=of_table.covariance * flat[:, None] * flat[None]
        ),
        variance=result.variance * of_y * of_w * of_y,
        log_likelihood=result.log_likelihood - more,
        aic=result.aic + 2 * more,
        bic=result.bic + 2 * more,
    )


def _in_units(params, x, y, weights, kind, covariance, intercept, confidence):
    a, root = design(x, weights, intercept)
    w = root[:, 0] ** 2
    theta = jnp.append(params.w, params.b) if intercept else params.w
    by_rows = rows(a)
    p = len(theta)
    r = residual(a, theta, y * root[:, 0])
    seen = jnp.sum(w) if kind == "frequency" else jnp.sum(w > 0).astype(x.dtype)
    dof = seen - p
    squares = jnp.sum(r**2)
    variance = squares / dof
    if covariance == "constant":
        spread = variance * by_rows.inverse
    else:
        one = jnp.where(w > 0, w, 1) if kind == "frequency" else 1
        free = 1 - by_rows.leverage / one
        power = {"HC0": 0, "HC1": 0, "HC2": 1, "HC3": 2}[covariance]
        factor = seen / dof if covariance == "HC1" else 1
        meat = factor * r**2 / one / free**power
        spread = by_rows.influence.T @ (by_rows.influence * meat[:, None])
    result = table(
        theta,
        spread,
        quantile(confidence, dof),
        lambda t: two_sided(t, dof),
        lambda theta: _params(theta, intercept),
    )
    around = mean(y, w) if intercept else 0
    total = jnp.sum(w * (y - around) ** 2)
    of_r2 = 1 - squares / total
    likelihood = -0.5 * seen * (jnp.log(2 * jnp.pi * squares / seen) + 1)
    if kind == "precision":
        likelihood += 0.5 * jnp.sum(jnp.log(jnp.where(w > 0, w, 1)))
    slopes = p - intercept
    f = (total - squares) / slopes / variance
    return Inference(
        result,
        dof,
        variance,
        of_r2,
        1 - variance / total * (seen - intercept),
        likelihood,
        2 * p - 2 * likelihood,
        p * jnp.log(seen) - 2 * likelihood,
        f,
        fisher(f, jnp.asarray(slopes, x.dtype), dof),
    )


def _params(theta, intercept: bool) -> Params:
    if intercept:
        return Params(theta[:-1], theta[-1])
    return Params(theta, jnp.full((), jnp.nan, theta.dtype))


class Band(NamedTuple):
    """A fitted surface at some rows, and how far to trust it."""

    mean: jax.Array  # (q,) h(x)
    low: jax.Array  # (q,) the interval of the mean
    high: jax.Array  # (q,)
    prediction_low: jax.Array  # (q,) the interval of a new y, of weight 1
    prediction_high: jax.Array  # (q,)


@_check.pure
def band(
    params: Params,
    inference: Unchecked[Inference],  # NaN where there is no intercept
    x: Annotated[Array, "q n"],
    *,
    confidence: Annotated[Scalar, "(0, 1)"] = 0.95,
) -> Band:
    """h(x) ± t √(aᵀ cov(θ) a), a = (x, 1), and with σ² added under the root.

    Args:
        params: of one target.
        inference: their `inference`.
        x: (q, n) rows to predict.
        confidence: () coverage of the intervals.

    Returns:
        Band of (q,) arrays.

    Raises:
        ValueError: params of another number of columns, or of several targets.

    """
    h = predict(params, x)
    _check.shapes(**{"params.w": (params.w, "n")})
    n = x.shape[1]
    covariance = inference.table.covariance
    a = with_ones(x, len(covariance) > n)
    t = quantile(jnp.asarray(confidence, x.dtype), inference.dof)
    variance = jnp.sum((a @ covariance) * a, axis=1)
    # In units so small that the square of an error is not a number, nothing is known.
    error = inference.table.standard_error
    error = jnp.append(error.w, error.b)[: len(covariance)]
    lost = (jnp.diagonal(covariance) == 0) & (error > 0)
    variance = jnp.where(lost.any(), jnp.nan, variance)
    of_mean, of_row = (
        t * jnp.sqrt(variance),
        t * jnp.sqrt(variance + inference.variance),
    )
    return Band(h, h - of_mean, h + of_mean, h - of_row, h + of_row)


@_check.pure
def locally_weighted(
    x: Rows,
    y: Targets,
    at: Annotated[Array, "n"],
    *,
    width: Positive,
    weights: Weights | None = None,
) -> jax.Array:
    """h(a) of the line fitted with weights wᵢ exp(-|xᵢ - a|²/2τ²), ().

    For a curve: `jax.vmap(lambda a: locally_weighted(x, y, a, width=1.0))(grid)`.

    Args:
        x: (m, n) rows.
        y: (m,) targets.
        at: (n,) the place a where to predict, with a line of its own.
        width: () τ, in the units of x.
        weights: (m,) weights w of the rows; 1 if None.

    Returns:
        () the prediction; NaN where fewer than n + 1 rows are near enough to count.

    Raises:
        ValueError: shapes that do not agree, values not finite, a width not above 0.

    Source: Cleveland and Devlin (1988), without its neighbourhoods.

    """
    w = jnp.ones_like(y) if weights is None else relative(weights)
    d = x - at[None]
    distance = jnp.sum((d / width) ** 2, axis=1) / 2
    nearest = jnp.min(jnp.where(w > 0, distance, jnp.inf))
    local = w * jnp.exp(jax.lax.stop_gradient(nearest) - distance)
    rows, root = design(d, local, True)
    # Centred at a, the intercept is the prediction.
    gram = rows.T @ rows
    scale = jnp.sqrt(jnp.diagonal(gram))
    factor = jnp.linalg.cholesky(gram / jnp.outer(scale, scale))
    right = (rows.T @ (y * root[:, 0])) / scale
    return jax.scipy.linalg.cho_solve((factor, True), right)[-1] / scale[-1]
