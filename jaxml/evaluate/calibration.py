"""Probabilities that mean what they say: measures of calibration, and ways to mend it.

A classifier is calibrated if of the rows to which it gives probability p a share p is
of that class. Its scores are mended by few parameters, fitted to rows that it was not
trained on: `fit = temperature(logits, y)`, then `probability(fit.params, logits)`.
Scores are (m,) for two classes, of the class 1, or (m, k). Measures take (y, predicted)
as those of `metrics` do; fits take (scores, y), being fits of x to y.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import (
    Array,
    Binary,
    Count,
    Counts,
    Labels,
    NonNegative,
    Static,
    Weights,
)
from jaxml._units import power_of_two, relative, shares, weights_or_ones
from jaxml.data import scaling
from jaxml.evaluate._calibration import (
    binned,
    by_autodiff,
    confident,
    flag_runaway,
    gaps,
    log_loss,
    pool,
    targets,
    totals,
    valid,
    without_unweighted,
)
from jaxml.optimize._convex import by_newton
from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._implicit import solution

__all__ = [
    "Isotonic",
    "Platt",
    "Reliability",
    "Temperature",
    "Vector",
    "brier",
    "ece",
    "isotonic",
    "mce",
    "platt",
    "probability",
    "reliability",
    "temperature",
    "vector",
]


class Temperature(NamedTuple):
    """P = softmax(z / T), or σ(z / T)."""

    temperature: Annotated[jax.Array, ""]  # T


class Platt(NamedTuple):
    """P(y = 1) = σ(a s + b)."""

    a: Annotated[jax.Array, ""]  # slope
    b: Annotated[jax.Array, ""]  # offset


class Vector(NamedTuple):
    """P = softmax(w ∘ z + b)."""

    w: Annotated[jax.Array, "k"]  # a scale for each class
    b: Annotated[jax.Array, "k"]  # its sum is 0


class Isotonic(NamedTuple):
    """P(y = 1), a rising function of the score, linear between those of the rows."""

    score: Annotated[jax.Array, "_m"]  # ascending
    probability: Annotated[jax.Array, "_m"]  # not descending


class Reliability(NamedTuple):
    """A reliability diagram: accuracy against confidence, in bins of confidence."""

    confidence: jax.Array  # (bins,) mean in each bin, NaN where it is empty
    accuracy: jax.Array  # (bins,) share of rows that are right, NaN likewise
    # Σ w, the number of rows where w is 1
    weight: Annotated[jax.Array, "bins:sums"]
    edges: jax.Array  # (bins + 1,) a bin holds its right edge, the first its left too


# --- measures -------------------------------------------------------------------------


@_check.pure
def reliability(
    y: Labels,
    probabilities: Annotated[Array, "m|m k"],
    *,
    bins: Count = 15,
    binning: Static[str] = "width",
    weights: Weights | None = None,
) -> Reliability:
    """Mean confidence and accuracy, (bins,) each, of the rows in bins of confidence.

    With probabilities (m,) the confidence is P(y = 1), and what is compared with it is
    the share of class 1; with (m, k) it is the largest of a row, and the share of rows
    of which that class is right.

    Args:
        y: (m,) labels.
        probabilities: (m,) P(y = 1), or (m, k) one per class.
        bins: how many.
        binning: "width" for bins of equal width in [0, 1], "mass" for bins of about
            equal weight; rows of equal confidence are in one bin.
        weights: (m,) weights w of the rows; 1 if None.

    Returns:
        Reliability; under jit NaN where an argument is out of range.

    Raises:
        ValueError: shapes that disagree, or labels that have no probability.

    Source: DeGroot and Fienberg (1983); Guo et al. (2017).

    """
    confidence, hit, w = confident(y, probabilities, weights)
    size = power_of_two(w.max())
    w = w / size
    edges, inside = binned(confidence, w, bins, binning)
    count, hits, sums = totals(inside, w, w * hit, w * confidence)
    # An empty bin is NaN, but has a derivative of 0 and spoils no other.
    hits, sums = (
        jnp.where(count == 0, jnp.nan, each / jnp.where(count == 0, 1, count))
        for each in (hits, sums)
    )
    return Reliability(sums, hits, count * size, edges)


@_check.pure
def ece(
    y: Labels,
    probabilities: Annotated[Array, "m|m k"],
    *,
    bins: Count = 15,
    binning: Static[str] = "width",
    weights: Weights | None = None,
) -> jax.Array:
    """Σ_b W_b |accuracy_b - confidence_b| / Σ wᵢ, (): expected calibration error.

    W_b is the weight of the rows in bin b. Arguments as in `reliability`: y, (m,),
    probabilities, (m,) or (m, k), bins, binning and weights, (m,).

    Source: Naeini, Cooper and Hauskrecht (2015).
    """
    apart, count = gaps(y, probabilities, bins, binning, weights)
    # a · sgn a: the derivative of abs at 0 is 1 in JAX.
    return jnp.sum(apart * jnp.sign(apart)) / jnp.sum(count)


@_check.pure
def mce(
    y: Labels,
    probabilities: Annotated[Array, "m|m k"],
    *,
    bins: Count = 15,
    binning: Static[str] = "width",
    weights: Weights | None = None,
) -> jax.Array:
    """max_b |accuracy_b - confidence_b|, (), over the bins that are not empty.

    Arguments as in `reliability`: y, (m,), probabilities, (m,) or (m, k), bins,
    binning and weights, (m,).
    """
    apart, count = gaps(y, probabilities, bins, binning, weights)
    empty = count == 0
    return jnp.max(apart * jnp.sign(apart) / jnp.where(empty, 1, count))


@_check.pure
def brier(
    y: Labels,
    probabilities: Annotated[Array, "m|m k"],
    *,
    weights: Weights | None = None,
) -> jax.Array:
    """Σ wᵢ (pᵢ - yᵢ)² / Σ wᵢ, (); of (m, k) Σ wᵢ Σ_c (pᵢ_c - [yᵢ = c])² / Σ wᵢ.

    For two classes the second, as Brier wrote it, is twice the first.

    Args:
        y: (m,) labels.
        probabilities: (m,) P(y = 1), or (m, k) one per class.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: shapes that disagree, or labels that have no probability.

    Source: Brier (1950).

    """
    p, w = valid(y, probabilities, weights)
    if p.ndim == 1:
        squares = (p - y.astype(p.dtype)) ** 2
    else:
        hit = scaling.one_hot(y, k=p.shape[1]).astype(p.dtype)
        squares = jnp.sum((p - hit) ** 2, axis=1)
    return jnp.vdot(shares(w), squares)


# --- mending --------------------------------------------------------------------------


@_check.pure(jit=True)
def probability(
    params: Temperature | Platt | Vector | Isotonic, scores: Annotated[Array, "m|m k"]
) -> jax.Array:
    """P(y = 1), (m,), or P(y = c), (m, k), of scores that are calibrated by params.

    Args:
        params: a Temperature, Platt, Vector or Isotonic, as their fits return.
        scores: (m,) or (m, k), as they were fitted. An Isotonic is constant beyond the
            least and the largest score of its rows.

    Raises:
        ValueError: params of another kind, or for another number of classes.

    """
    if isinstance(params, Temperature):
        z = scores / params.temperature
        return jax.nn.sigmoid(z) if z.ndim == 1 else jax.nn.softmax(z)
    if isinstance(params, Vector):
        _check.shapes(scores=(scores, "m k"), **{"params.w": (params.w, "k")})
        return jax.nn.softmax(scores * params.w[None] + params.b[None])
    _check.shapes(scores=(scores, "m"))
    if isinstance(params, Platt):
        return jax.nn.sigmoid(params.a * scores + params.b)
    return _between(scores, params.score, params.probability)


def _between(s, score, f):
    """f, (m,), between ascending scores, (m,), at s; constant beyond them.

    jnp.interp takes scores less than 1e-14 apart for equal.
    """
    right = jnp.clip(jnp.searchsorted(score, s, side="right"), 1, len(score) - 1)
    left = right - 1
    beyond, gap = s >= score[right], score[right] - score[left]
    part = jnp.where(beyond | (s < score[left]), 0, s - score[left])
    result = f[left] + part / jnp.where(gap > 0, gap, 1) * (f[right] - f[left])
    # Rounding must not carry f beyond the next row's.
    return jnp.where(beyond | (result > f[right]), f[right], result)


@_check.fit
def temperature(
    logits: Annotated[Array, "m|m k"],
    y: Annotated[Array, "m|m k:classes"],
    *,
    weights: Weights | None = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 100,
) -> Fit:
    """The T that minimises -Σ wᵢ log P(yᵢ; zᵢ/T) / Σ wᵢ: is the classifier too sure?

    Of all that have the same mean of z_y, softmax(z/T) has the greatest entropy. What
    class is likeliest stays so. Newton's method for 1/T, in which the cost is convex.

    Args:
        logits: (m,) z of class 1, or (m, k), on rows that were not trained on.
        y: (m,) labels; or (m, k) probabilities for logits (m, k).
        weights: (m,) weights w of the rows; 1 if None.
        tol: () stop when Newton's decrement is at most tol.
        max_iter: the most steps.

    Returns:
        Fit with Temperature; cost is the mean log-loss, residual Newton's decrement.
        Status UNBOUNDED where every row is right (T = 0) or the logits are no better
        than chance (T infinite or negative).

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Guo et al. (2017).

    """
    if y.ndim > logits.ndim:
        raise ValueError(f"y has shape {y.shape}, not (m,) as logits have")
    goals, w = targets(y, logits), weights_or_ones(weights, logits)
    z = without_unweighted(logits, w)
    if z.ndim == 2:  # what a row has in common says nothing, and would cost digits
        z = z - jax.lax.stop_gradient(z.max(axis=1, keepdims=True))
    size = power_of_two(jnp.abs(z).max())  # squares shall neither over- nor underflow
    data = z / size, goals, w
    kept = jax.lax.stop_gradient(data)

    def start_cost(theta):
        return log_loss(theta[0] * kept[0], *kept[1:])

    result = by_newton(
        by_autodiff(start_cost), jnp.zeros(1, z.dtype), tol=tol, max_iter=max_iter
    )
    beta, step = result.params.theta[0], result.params.direction[0]
    status = flag_runaway(result, step * kept[0], w)
    # Cold is separable; hot, or upside down, is no better than a constant.
    upside = (status == Status.CONVERGED) & (beta <= 0)
    status = jnp.where(upside, Status.UNBOUNDED, status).astype(jnp.int32)
    params, value = solution(
        _temperature_cost, Temperature(1 / beta), result.cost, status, data, {}
    )
    params = Temperature(size * params.temperature)
    return result._replace(params=params, cost=value, status=status)


def _temperature_cost(params, z, goals, weights):
    return log_loss(z / params.temperature, goals, weights)


@_check.fit
def platt(
    scores: Annotated[Array, "m"],
    y: Binary,
    *,
    weights: Counts | None = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 100,
) -> Fit:
    """The a and b of P(y = 1) = σ(a s + b) that are likeliest, with Platt's targets.

    In place of 1 and 0 the targets are (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2), N₊ and N₋ the
    sums of the weights of both classes, so that separable scores have an answer. Platt
    writes A = -a, B = -b. Newton's method.

    Args:
        scores: (m,) s of any scale, such as distances from the plane of a SVM, on rows
            that were not trained on.
        y: (m,) labels 0 and 1, or probabilities of 1.
        weights: (m,) weights of the rows, read as frequencies; 1 if None.
        tol: () stop when Newton's decrement is at most tol.
        max_iter: the most steps.

    Returns:
        Fit with Platt; cost is the mean log-loss of the targets, residual Newton's
        decrement. Status SINGULAR where all scores are equal.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Platt (1999); Lin, Lin and Weng (2007).

    """
    w = weights_or_ones(weights, scores)
    scale = _scale(scores[:, None], w)
    centre, spread = scale.shift[0], scale.scale[0]
    alike = ~(spread > 10 * jnp.finfo(scores.dtype).eps * jnp.abs(centre))
    z = (without_unweighted(scores, w, centre) - centre) / spread
    data = jnp.where(alike, 0 * z, z), y.astype(scores.dtype), w  # NaN stays
    kept = jax.lax.stop_gradient(data)

    def start_cost(theta):
        return _platt_cost(Platt(*theta), *kept)

    result = by_newton(
        by_autodiff(start_cost), jnp.zeros(2, z.dtype), tol=tol, max_iter=max_iter
    )
    status = result.flag(alike, Status.SINGULAR).status
    params = Platt(*result.params.theta)
    params, value = solution(_platt_cost, params, result.cost, status, data, {})
    a = params.a / spread
    params = Platt(a, params.b - a * centre)
    return result._replace(params=params, cost=value, status=status)


def _scale(scores, weights):
    """Centre and spread of each column: the Hessian shall depend on neither."""
    scale = scaling.standardise(scores, weights=weights, ddof=0)
    return jax.lax.stop_gradient(scale)


def _platt_cost(params, z, y, weights):
    positive, negative = jnp.vdot(weights, y), jnp.vdot(weights, 1 - y)
    high, low = 1 - 1 / (positive + 2), 1 / (negative + 2)
    goals = y * high + (1 - y) * low
    return log_loss(params.a * z + params.b, goals, weights)


@_check.fit
def vector(
    logits: Annotated[Array, "m k"],
    y: Annotated[Array, "m|m k:classes"],
    *,
    weights: Weights | None = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 100,
) -> Fit:
    """The w and b of P = softmax(w ∘ z + b) that are likeliest: one scale per class.

    Only differences of b matter; Σ b = 0. Newton's method.

    Args:
        logits: (m, k) z, on rows that were not trained on.
        y: (m,) labels, or (m, k) probabilities.
        weights: (m,) weights of the rows; 1 if None.
        tol: () stop when Newton's decrement is at most tol.
        max_iter: the most steps.

    Returns:
        Fit with Vector; cost is the mean log-loss, residual Newton's decrement. Status
        UNBOUNDED where a scale would be infinite, as it is for a class without rows;
        SINGULAR where the logits of a class are all equal.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Guo et al. (2017).

    """
    w = weights_or_ones(weights, logits)
    scale = _scale(logits, w)
    z = without_unweighted(logits, w, scale.shift[None])
    data = scaling.transform(scale, z), targets(y, logits), w
    z, y, w = jax.lax.stop_gradient(data)
    k, share = z.shape[1], shares(w)

    def derivatives(theta):
        value, g = jax.value_and_grad(_vector_cost)(_split(theta), z, y, w)
        p = jax.nn.softmax(z * theta[None, :k] + theta[None, k:])
        # Σ wᵢ (diag p - ppᵀ), bordered by the logits; b moves along 1 for free.
        a = jnp.concatenate([p * z, p], axis=1)
        products = (share[:, None] * a).T @ a
        ww, wb, bb = (share @ (p * each) for each in (z**2, z, jnp.ones_like(z)))
        blocks = [[jnp.diag(ww), jnp.diag(wb)], [jnp.diag(wb), jnp.diag(bb) + 1]]
        return value, jnp.concatenate(g), jnp.block(blocks) - products

    result = by_newton(
        derivatives, jnp.zeros(2 * k, z.dtype), tol=tol, max_iter=max_iter
    )
    step = _split(result.params.direction)
    status = flag_runaway(result, z * step.w[None] + step.b[None], w)
    params, value = solution(
        _vector_cost, _split(result.params.theta), result.cost, status, data, {}
    )
    scaled = params.w / scale.scale
    b = params.b - scaled * scale.shift
    params = Vector(scaled, b - jnp.mean(b))
    return result._replace(params=params, cost=value, status=status)


def _split(theta) -> Vector:
    k = len(theta) // 2
    return Vector(theta[:k], theta[k:])


def _vector_cost(params, logits, y, weights):
    z = logits * params.w[None] + params.b[None]
    # What holds Σ b at 0 costs nothing there.
    return log_loss(z, y, weights) + 0.5 * jnp.sum(params.b) ** 2


@_check.fit
def isotonic(
    scores: Annotated[Array, "m"], y: Binary, *, weights: Weights | None = None
) -> Fit:
    """The rising function f of the score with the least Σ wᵢ (yᵢ - f(sᵢ))² / Σ wᵢ.

    A closed form: rows are taken in ascending order, and where the last block of them
    has a mean below that of the block before, the two are pooled.

    Args:
        scores: (m,) s on rows that were not trained on.
        y: (m,) labels 0 and 1, or probabilities of 1.
        weights: (m,) weights w of the rows; 1 if None.

    Returns:
        Fit with Isotonic; cost is the minimum, the Brier score. f has derivatives with
        respect to y and weights, the blocks as they are, and scores.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Ayer et al. (1955); Zadrozny and Elkan (2002).

    """
    y, w = y.astype(scores.dtype), relative(weights_or_ones(weights, scores))
    # A row without weight goes where another is, so that it makes no corner of f.
    lowest = jnp.where(w > 0, scores, jnp.inf).min()
    scores = jnp.where(w > 0, scores, lowest)
    # Equal scores by falling y are pooled as any rows that fall.
    order = jnp.lexsort((-y, scores))
    scores, y, w = scores[order], y[order], w[order]
    block = pool(*jax.lax.stop_gradient((y, w)))
    inside = jax.ops.segment_sum(w, block, len(w), indices_are_sorted=True)
    sums = jax.ops.segment_sum(w * y, block, len(w), indices_are_sorted=True)
    f = (sums / jnp.where(inside == 0, 1, inside))[block]
    cost = jnp.vdot(w, (y - f) ** 2) / jnp.sum(w)
    wrong = ~jnp.isfinite(scores).all() | ~jnp.isfinite(cost)
    status = jnp.where(wrong, Status.NONFINITE, Status.CONVERGED).astype(jnp.int32)
    none = jnp.zeros(0, cost.dtype)
    zero = jnp.zeros((), cost.dtype)
    return Fit(Isotonic(scores, f), cost, zero, jnp.int32(0), status, none)
