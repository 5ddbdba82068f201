"""Curves: fit any model f(θ, x) to data by least squares, and say how sure it is.

    def decay(params, x):
        return params["height"] * jnp.exp(-params["rate"] * x)

    start = {"height": 1.0, "rate": 0.1}
    found = jaxml.check(curve.fit(decay, start, x, y, sigma=sigma))
    table = curve.inference(decay, found.params, x, y, sigma=sigma)
    shown = curve.band(decay, found.params, table, grid)

The model is a function of a module, or a functools.partial of one; it is
compiled in. Data, errors, weights and bounds are traced.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jaxml import _check
from jaxml._check import (
    Array,
    Count,
    NonNegative,
    Positive,
    Scalar,
    Static,
    Targets,
    Unchecked,
    Weights,
)
from jaxml._rows import qr
from jaxml._units import relative, unit_of
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.optimize._implicit import solution
from jaxml.optimize._minimize import PATIENCE
from jaxml.optimize._newton import levenberg_marquardt
from jaxml.optimize._solver import Solver, accepted, build, check
from jaxml.regression import _bounded, _student

__all__ = ["Band", "Inference", "band", "fit", "inference"]

ROUNDING = 4  # ulp of y: a projection of the residual below that is rounding


class Inference(NamedTuple):
    """What the data say of p parameters; those of a pytree are laid end to end."""

    standard_error: Any  # like params
    low: Any  # like params, the lower ends of the confidence intervals
    high: Any  # like params, the upper ends
    # of the parameters, in the order of ravel_pytree
    covariance: Annotated[jax.Array, "p p"]
    chi2: Annotated[jax.Array, ""]  # χ² = Σ wᵢ (f(xᵢ) - yᵢ)² / σᵢ²
    reduced: Annotated[jax.Array, ""]  # χ² / dof
    r2: Annotated[jax.Array, ""]  # 1 - χ² / (χ² of the best constant)
    dof: Annotated[jax.Array, ""]  # rows less parameters; infinite if σ is absolute
    # what σ² is multiplied by: χ² / dof, or 1 if it is absolute
    variance: Annotated[jax.Array, ""]


class Band(NamedTuple):
    """A curve between two others."""

    mean: jax.Array  # (m,) f(θ, x)
    low: jax.Array  # (m,)
    high: jax.Array  # (m,)


class _Data(NamedTuple):
    """The rows, and how large their errors are."""

    x: jax.Array  # (m,) or (m, n)
    y: jax.Array  # (m,)
    sigma: Any  # (m,) or None
    weights: Any  # (m,) or None
    factor: Any  # (m, m) Cholesky factor of noise, or None
    unit: Any = 1  # () of residuals over their errors: their squares may underflow


@_check.fit
def fit(
    model: Static[Callable[..., jax.Array]],
    params: Any,
    x: Annotated[Array, "m|m n"],
    y: Targets,
    *,
    sigma: Annotated[Array, "m", "(0, inf)"] | None = None,
    noise: Annotated[Array, "m m"] | None = None,
    weights: Weights | None = None,
    lower: Unchecked[Any] = None,
    upper: Unchecked[Any] = None,
    solver: Static[Solver] = levenberg_marquardt,
    learning_rate: Positive | None = None,
    tol: NonNegative = 1e-8,
    max_iter: Count = 500,
) -> Fit:
    """Minimise J(θ) = ½ Σ wᵢ (f(θ, xᵢ) - yᵢ)² / σᵢ² / Σ wᵢ from θ = params.

    Bounds are kept by a change of variable, θ = l + (u - l) sin² v between two of them
    and θ = l + s (√(v² + 1) - 1) above one (James & Roos 1975), so that every solver
    and the derivatives hold as they are. A bound that the data push against is reached
    in the limit, to rounding.

    Args:
        model: f(params, x) -> (m,); static.
        params: pytree of floats to start from, between the bounds; one on a bound is
            put a little inside, where it has a slope. The start itself gets no
            derivative.
        x: (m,) or (m, n).
        y: (m,) what was measured.
        sigma: (m,) standard deviations of y, or numbers in proportion to them; 1 if
            None.
        noise: (m, m) covariance matrix of the errors of y, in place of sigma and
            weights: J = ½ rᵀ noise⁻¹ r / m.
        weights: (m,) weights of the rows; 1 if None.
        lower: l, a pytree like params, -inf where there is none; None for no bounds.
        upper: u, likewise, inf where there is none.
        solver: an optax optimiser, as in `minimize`; it may need the
            residual.
        learning_rate: () its rate; None for one that searches a line or needs none.
        tol: () stop when the residual is as good as orthogonal to the curve's tangents:
            the largest cosine between it and a column of the Jacobian is at most tol,
            or its projection is within rounding of y. A cosine that leads towards a
            bound counts as far as the bound is, where a step that changes the curve by
            the residual's length would lead beyond it. (MINPACK's gtol; no units of
            parameters enter. The cost can fall by about its square, relatively; a
            search that can go no further has converged too if that is less than what
            rounding of y does to the cost.)
        max_iter: the most steps.

    Returns:
        A Fit; residual is that cosine. Its params have derivatives with respect to
        data, sigma, weights and bounds: those of the exact minimum.

    Raises:
        ValueError: shapes that do not agree, values that are not finite or out of
            range. A start outside the bounds, or where the model is not finite, gives
            status NONFINITE; a minimum where the data do not determine all parameters,
            SINGULAR.

    """
    transform = build(check("solver", solver), learning_rate)
    start = jax.lax.stop_gradient(_shapely(model, params, x))
    data = _data(model, start, x, y, sigma, noise, relative(weights))
    unit = data.unit
    natural = jax.lax.stop_gradient(_lengths(model, start, data))
    bounds = _bounded.bounds_of(start, lower, upper, natural)
    everything = data, bounds, start
    fixed = jax.lax.stop_gradient(everything)
    cost, residual = partial(_cost, model=model), partial(_residual, model=model)

    def objective(free):
        return cost(free, *fixed)

    extra = accepted(transform, {"residual_fn": lambda free: residual(free, *fixed)})

    def step(state):
        free, memory, value, slope, rounding = state
        # A step may raise the cost by what rounding of y does to it: or else a search
        # would stand still where that happened to lower it.
        known = value * (1 + rounding)
        updates, memory = transform.update(
            slope, memory, free, value=known, grad=slope, value_fn=objective, **extra
        )
        free = optax.apply_updates(free, updates)
        value, slope = jax.value_and_grad(objective)(free)
        result, rounding = progress(free, value)
        return (free, memory, value, slope, rounding), result

    def progress(free, value):
        cosine, rounding = _cosine(free, *fixed, model=model)
        at_rounding = (cosine <= ROUNDING * rounding) & (tol > 0)
        status = jnp.where(at_rounding, Status.CONVERGED, Status.RUNNING)
        return Progress(value, cosine, status), rounding

    free = _bounded.free_of(*fixed[1:])
    value, slope = jax.value_and_grad(objective)(free)
    begin, rounding = progress(free, value)
    search = iterate(
        step,
        (free, transform.init(free), value, slope, rounding),
        begin,
        tol=tol,
        max_iter=max_iter,
        patience=PATIENCE,
    )
    free = search.params[0]
    # Where no step is better any more, what is left to gain may be less than what
    # rounding of y does to the cost.
    rounding = search.params[-1]
    at_rounding = (search.status == Status.STALLED) & (search.residual**2 <= rounding)
    status = jnp.where(at_rounding & (tol > 0), Status.CONVERGED, search.status)
    _, jacobian = _linearise(model, _bounded.params(free, *fixed[1:]), fixed[0])
    undetermined = (status == Status.CONVERGED) & _singular(_factor(jacobian)[0])
    status = jnp.where(undetermined, Status.SINGULAR, status).astype(jnp.int32)
    free, value = solution(cost, free, search.cost, status, everything, {})
    result = _bounded.params(free, bounds, start)
    value, history = value * unit * unit, search.history * unit * unit
    return search._replace(params=result, cost=value, status=status, history=history)


@_check.pure(jit=True)
def inference(
    model: Static[Callable[..., jax.Array]],
    params: Any,
    x: Annotated[Array, "m|m n"],
    y: Targets,
    *,
    sigma: Annotated[Array, "m", "(0, inf)"] | None = None,
    noise: Annotated[Array, "m m"] | None = None,
    weights: Weights | None = None,
    kind: Static[str] = "precision",
    absolute: Static[bool] = False,
    confidence: Annotated[Scalar, "(0, 1)"] = 0.95,
) -> Inference:
    """C = s² (Σ wᵢ gᵢgᵢᵀ / σᵢ²)⁻¹ with g = ∂f/∂θ, and what follows from it.

    s² = χ² / dof, or 1 if absolute; the intervals are θ ± t √C with Student's t for dof
    degrees of freedom, of the normal distribution if absolute. They take the curve to
    be straight over a standard error, and no bound to be met.

    Args:
        model: f(params, x) -> (m,); static.
        params: the parameters that `fit` found.
        x: (m,) or (m, n).
        y: (m,)
        sigma: (m,) as in `fit`, as are noise and weights.
        noise: (m, m)
        weights: (m,)
        kind: "precision": a weight divides the variance of its row, and rows of weight
            above 0 are counted; "frequency": the row is there that many times, and dof
            is Σ wᵢ - p.
        absolute: whether sigma or noise are the errors, and not in proportion to them.
        confidence: () of the intervals.

    Returns:
        Inference. Where the data do not determine all parameters, so that the Jacobian
        is singular to rounding, covariance and errors are infinite. With dof <= 0 they
        are NaN, unless absolute.

    Raises:
        ValueError: as in `fit`.

    Source: Seber and Wild (1989), sections 2.1 and 5.1.

    """
    _check.option("kind", kind, ("precision", "frequency"))
    params = _shapely(model, params, x)
    flat, unravel = ravel_pytree(params)
    data = _data(model, params, x, y, sigma, noise, weights)
    r, jacobian = _linearise(model, params, data)
    rows = jnp.full((), len(y), r.dtype)
    if weights is not None:
        rows = jnp.sum(weights if kind == "frequency" else weights > 0).astype(r.dtype)
    dof = rows - flat.size
    chi2 = jnp.vdot(r, r)
    reduced = chi2 / jnp.where(dof > 0, dof, jnp.nan)
    spread = 1 / data.unit if absolute else jnp.sqrt(reduced)
    root, length = _inverse_root(jacobian)
    # Not the root of a square, which may be no number.
    error = spread * jnp.sqrt(jnp.sum(root**2, axis=1)) / length
    covariance = spread * (root @ root.T) / length[None] * spread
    covariance /= length[:, None]
    dof = jnp.where(absolute, jnp.inf, dof)
    t = _critical(confidence, dof)
    one = _white(data, jnp.full_like(y, data.unit))  # the best constant has no unit
    level = _white(data, y)
    deviation = level - jnp.vdot(one, level) / jnp.vdot(one, one) * one
    r2 = 1 - chi2 / jnp.vdot(deviation, deviation)
    chi2, reduced = chi2 * data.unit * data.unit, reduced * data.unit * data.unit
    variance = jnp.ones_like(chi2) if absolute else reduced
    error, low, high = map(unravel, (error, flat - t * error, flat + t * error))
    return Inference(error, low, high, covariance, chi2, reduced, r2, dof, variance)


@_check.pure(jit=True)
def band(
    model: Static[Callable[..., jax.Array]],
    params: Any,
    inference: Unchecked[Inference],
    x: Annotated[Array, "m|m n"],
    *,
    sigma: Annotated[Array, "m", "(0, inf)"] | None = None,
    kind: Static[str] = "confidence",
    confidence: Annotated[Scalar, "(0, 1)"] = 0.95,
) -> Band:
    """f(θ, x) ± t √(gᵀ C g), g = ∂f/∂θ: the fitted curve by the delta method.

    Each point is in its interval with that confidence, not all of them at once.

    Args:
        model: f(params, x) -> (m,); static.
        params: the parameters that `fit` found.
        inference: what `inference` says of them.
        x: (m,) or (m, n) where to draw the curve.
        sigma: (m,) standard deviations of measurements there, as in `fit`, for a
            prediction; 1 if None.
        kind: "confidence" for the curve; "prediction" for a measurement at x, whose
            variance, s² σ², is added.
        confidence: () of each interval.

    Returns:
        Band.

    """
    _check.option("kind", kind, ("confidence", "prediction"))
    if kind == "confidence" and sigma is not None:
        raise ValueError("sigma belongs to a prediction: pass kind='prediction'")
    flat, unravel = ravel_pytree(_shapely(model, params, x))
    g = jax.jacfwd(lambda v: model(unravel(v), x))(flat)
    _check.shapes(
        params=(flat, "p"), **{"inference.covariance": (inference.covariance, "p p")}
    )
    variance = jnp.sum((g @ inference.covariance) * g, axis=1)
    if kind == "prediction":
        variance += inference.variance * (1 if sigma is None else sigma**2)
    t = _critical(confidence, inference.dof)
    mean, half = model(params, x), t * jnp.sqrt(variance)
    return Band(mean, mean - half, mean + half)


# --- the cost ------------------------------------------------------------------------


def _cost(free, data, bounds, start, *, model):
    r = model(_bounded.params(free, bounds, start), data.x) - data.y
    if data.factor is not None:
        r = _white(data, r)
        return 0.5 * jnp.vdot(r, r) / len(r)
    r = r / data.unit
    r = r if data.sigma is None else r / data.sigma
    if data.weights is None:
        return 0.5 * jnp.mean(r**2)
    # Not √w: it has no derivative where a weight is 0.
    return 0.5 * jnp.sum(data.weights * r**2) / jnp.sum(data.weights)


def _residual(free, data, bounds, start, *, model):
    return _white(data, model(_bounded.params(free, bounds, start), data.x) - data.y)


def _cosine(free, data, bounds, start, *, model):
    """The largest cosine between the residual and a tangent that is free to move.

    And one that an error of y in its last digit may have, however small the residual.
    """
    params = _bounded.params(free, bounds, start)
    r, jacobian = _linearise(model, params, data)
    length, size = jnp.linalg.norm(jacobian, axis=0), jnp.linalg.norm(r)
    gradient = r @ jacobian
    length = jnp.where(length > 0, length, 1)
    flat = ravel_pytree(params)[0]
    along = jnp.abs(gradient) / length
    along *= _bounded.freedom(flat, gradient, size / length, bounds)
    rounding = jnp.finfo(r.dtype).eps * jnp.linalg.norm(_white(data, data.y))
    size = jnp.where(size > 0, size, 1)
    return jnp.max(along) / size, rounding / size


def _linearise(model, params, data: _Data):
    """Residuals, (m,), and their Jacobian, (m, p), in units of their errors."""
    flat, unravel = ravel_pytree(params)
    jacobian = jax.jacfwd(lambda v: model(unravel(v), data.x))(flat)
    return _white(data, model(params, data.x) - data.y), _white(data, jacobian)


def _lengths(model, params, data: _Data):
    """By how much each parameter, (p,), changes the curve as much as it is off."""
    r, jacobian = _linearise(model, params, data)
    size, length = jnp.linalg.norm(r), jnp.linalg.norm(jacobian, axis=0)
    usable = (size > 0) & (length > 0)
    return jnp.where(usable, size / jnp.where(usable, length, 1), 1)


def _white(data: _Data, r):
    """Residuals or their tangents, (m, …), in units of their errors."""
    r = r / data.unit
    if data.factor is not None:
        return jax.scipy.linalg.solve_triangular(data.factor, r, lower=True)
    scale = jnp.ones_like(data.y)
    scale = scale if data.sigma is None else scale / data.sigma
    scale = scale if data.weights is None else scale * jnp.sqrt(data.weights)
    return r * (scale if r.ndim == 1 else scale[:, None])


# --- inference -----------------------------------------------------------------------


def _factor(jacobian):
    """R of J = Q R D, (p, p), and D, (p,): the lengths of the columns."""
    length = jnp.linalg.norm(jax.lax.stop_gradient(jacobian), axis=0)
    length = jnp.where(length > 0, length, 1)
    return qr(jacobian / length[None])[1], length


def _singular(upper):
    """Whether rounding of J could have made it of full rank."""
    if upper.shape[0] < upper.shape[1]:
        return jnp.bool_(True)
    sizes = jnp.linalg.svd(jax.lax.stop_gradient(upper), compute_uv=False)
    return sizes[-1] <= len(upper) * jnp.finfo(upper.dtype).eps * sizes[0]


def _inverse_root(jacobian):
    """B, (p, p), and D, (p,), with (JᵀJ)⁻¹ = D⁻¹BBᵀD⁻¹; B is infinite if singular.

    By QR of J D⁻¹, with columns of length 1.
    """
    p = jacobian.shape[1]
    if len(jacobian) < p:
        return jnp.full((p, p), jnp.inf, jacobian.dtype), jnp.ones(p, jacobian.dtype)
    upper, length = _factor(jacobian)
    singular, eye = _singular(upper), jnp.eye(p, dtype=upper.dtype)
    root = jax.scipy.linalg.solve_triangular(jnp.where(singular, eye, upper), eye)
    return jnp.where(singular, jnp.inf, root), length


def _critical(confidence, dof):
    """The t with P(|T| <= t) = confidence; of the normal distribution for dof = inf."""
    dof = jnp.asarray(dof)
    known = jnp.isinf(dof)
    student = _quantile(jnp.asarray(confidence, dof.dtype), jnp.where(known, 1, dof))
    normal = jax.scipy.special.ndtri((1 + confidence) / 2)
    return jnp.where(known, normal, student)


@jax.custom_jvp
def _quantile(confidence, dof):
    return jnp.where(dof > 0, _student.quantile(confidence, dof), jnp.nan)


@_quantile.defjvp
@_check.precise
def _quantile_jvp(primals, tangents):
    """From P(t(c, ν), ν) = c: f is the density, and ∂P/∂ν an integral over [-t, t]."""
    (confidence, dof), (d_confidence, d_dof) = primals, tangents
    t = _quantile(confidence, dof)

    def density(s, dof):
        return jnp.exp(jax.scipy.stats.t.logpdf(s, dof))

    # s = √ν tan a makes a smooth integrand of it.
    rule = np.polynomial.legendre.leggauss(32)
    nodes, shares = (jnp.asarray(each, t.dtype) for each in rule)
    end = jnp.arctan(t / jnp.sqrt(dof))
    s = jnp.sqrt(dof) * jnp.tan(end * (1 + nodes) / 2)
    change = jax.vmap(jax.grad(density, 1), (0, None))(s, dof)
    integral = end * jnp.vdot(shares, change * (dof + s**2)) / jnp.sqrt(dof)
    return t, (d_confidence - integral * d_dof) / (2 * density(t, dof))


# --- what comes in -------------------------------------------------------------------


def _data(model, params, x, y, sigma, noise, weights) -> _Data:
    if noise is not None:
        if sigma is not None or weights is not None:
            raise ValueError(
                "noise stands in place of sigma and weights: give it alone"
            )
        data = _Data(x, y, None, None, jnp.linalg.cholesky(noise))
        return data._replace(unit=_unit(_white(data, y)))
    if sigma is not None:  # others only under tracing
        sigma = jnp.where(sigma > 0, sigma, jnp.nan)
    if weights is not None:
        # A row that is absent may lie where the model is not finite: it is moved to
        # another's place. It has no derivative then: that of the root of 0 is none.
        absent = (weights == 0) & ~jnp.isfinite((model(params, x) - y) ** 2)
        root = jnp.sqrt(jnp.where(absent, weights, 1))
        weights = jnp.where(absent, root, weights)
        there = jnp.argmax(weights != 0)
        x = jnp.where(absent[(..., *[None] * (x.ndim - 1))], x[there][None], x)
        y = jnp.where(absent, y[there], y)
    data = _Data(x, y, sigma, weights, None)
    return data._replace(unit=_unit(_white(data, y)))


def _unit(y):
    """1, or a power of two near the largest |y| where squares of y are in danger."""
    unit = unit_of(y, axis=0)
    room = 2.0 ** (jnp.finfo(y.dtype).maxexp // 4)
    return jnp.where((unit < room) & (unit > 1 / room), 1, unit)


def _shapely(model, params, x):
    """Params as arrays of floats, of which model makes (m,)."""
    if not callable(model):
        raise ValueError(f"model must be a function, not {model!r}")
    params = jax.tree.map(jnp.asarray, params)
    for leaf in jax.tree.leaves(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"params must hold floats, not {leaf.dtype}")
    shape = getattr(jax.eval_shape(model, params, x), "shape", None)
    if shape != (len(x),):
        raise ValueError(f"model must give (m,) = ({len(x)},), not {shape}")
    return params
