"""How good predictions are: one number, or one per class, from labels and scores.

Each is a weighted mean over rows, Σ wᵢ ℓᵢ / Σ wᵢ, or made of weighted counts, so that
integer weights equal repeated rows and a weight of 0 leaves a row out. All of them can
be jitted and vmapped (over folds: over the weights). Where a metric is undefined, and
under jit where an argument is NaN or out of range, it is NaN.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, Labels, Targets, Weights
from jaxml._units import relative, unit_of
from jaxml.data.scaling import one_hot

__all__ = [
    "Threshold",
    "accuracy",
    "auc",
    "confusion",
    "f1",
    "f1_threshold",
    "log_loss",
    "mae",
    "precision",
    "r2",
    "recall",
    "rmse",
]


@_check.pure(jit=True)
def accuracy(
    y: Labels, predicted: Labels, *, weights: Weights | None = None
) -> jax.Array:
    """Σ wᵢ [yᵢ = ŷᵢ] / Σ wᵢ, the share of rows that are right, ().

    Args:
        y: (m,) labels.
        predicted: (m,) labels ŷ.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: labels that are not integers (m,), or negative ones.

    """
    return _mean(y == predicted, _weights(weights, y))


@_check.pure(jit=True)
def confusion(
    y: Annotated[Array, "m:labels k"],
    predicted: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    weights: Weights | None = None,
) -> Annotated[jax.Array, "k k:sums"]:
    """C[i, j] = Σ_r w_r [y_r = i][ŷ_r = j], (k, k): true classes are the rows.

    Args:
        y: (m,) labels.
        predicted: (m,) labels ŷ.
        k: how many classes there are.
        weights: (m,) weights w of the rows; 1 if None, and then C counts rows.

    Raises:
        ValueError: labels that are not integers (m,) in 0…k-1, or k below 1.

    """
    return _counts(y, predicted, k, _valid(weights, y))


@_check.pure(jit=True)
def precision(
    y: Annotated[Array, "m:labels k"],
    predicted: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    weights: Weights | None = None,
) -> jax.Array:
    """TP / (TP + FP) = P(y = c | ŷ = c), (k,), one per class c.

    Arguments and errors as in `confusion`. NaN for a class that is never predicted.
    """
    matrix = _counts(y, predicted, k, _weights(weights, y))
    return jnp.diagonal(matrix) / matrix.sum(axis=0)


@_check.pure(jit=True)
def recall(
    y: Annotated[Array, "m:labels k"],
    predicted: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    weights: Weights | None = None,
) -> jax.Array:
    """TP / (TP + FN) = P(ŷ = c | y = c), (k,), one per class c.

    Arguments and errors as in `confusion`. NaN for a class without rows.
    """
    matrix = _counts(y, predicted, k, _weights(weights, y))
    return jnp.diagonal(matrix) / matrix.sum(axis=1)


@_check.pure(jit=True)
def f1(
    y: Annotated[Array, "m:labels k"],
    predicted: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    weights: Weights | None = None,
) -> jax.Array:
    """2 TP / (2 TP + FP + FN), (k,): the harmonic mean of precision and recall.

    Arguments and errors as in `confusion`. NaN for a class that is neither there nor
    predicted; 0 for one that is either but never both.
    """
    matrix = _counts(y, predicted, k, _weights(weights, y))
    return 2 * jnp.diagonal(matrix) / (matrix.sum(axis=0) + matrix.sum(axis=1))


@_check.pure
def log_loss(
    y: Labels,
    probabilities: Annotated[Array, "m|m k"],
    *,
    weights: Weights | None = None,
) -> jax.Array:
    """-Σ wᵢ log P(yᵢ | xᵢ) / Σ wᵢ, in nats, ().

    Args:
        y: (m,) labels.
        probabilities: (m, k) one per class, each row summing to 1; or (m,) P(y = 1).
        weights: (m,) weights w of the rows; 1 if None.

    Nothing is clipped: a probability of 0 for what happened costs infinity, unless its
    weight is 0. A probability outside [0, 1] gives NaN.

    Raises:
        ValueError: shapes that disagree, or labels that have no probability.

    """
    binary = probabilities.ndim == 1
    classes = 2 if binary else probabilities.shape[1]
    _check.labels("y", y, classes)
    inside = (probabilities >= 0) & (probabilities <= 1)
    valid = (inside if binary else inside.all(axis=1)) & (y >= 0) & (y < classes)
    if binary:
        chosen = jnp.where(y == 1, probabilities, 1 - probabilities)
        other = jnp.where(y == 1, 1 - probabilities, probabilities)
    else:
        chosen = jnp.take_along_axis(probabilities, y[:, None], axis=1)[:, 0]
        other = 1 - chosen
    w = _weights(weights, chosen)
    ignored = (w == 0) & (chosen == 0)  # 0 · ∞ is not 0
    chosen, other = jnp.where(ignored, 1, chosen), jnp.where(ignored, 0, other)
    # log1p keeps the digits of a small other that chosen = 1 - other rounds away.
    logs = jnp.where(chosen > 0.5, jnp.log1p(-other), jnp.log(chosen))
    return -_mean(jnp.where(valid, logs, jnp.nan), w)


@_check.pure(jit=True)
def rmse(
    y: Targets, predicted: Annotated[Array, "m"], *, weights: Weights | None = None
) -> jax.Array:
    """√(Σ wᵢ (yᵢ - ŷᵢ)² / Σ wᵢ), in the units of y, ().

    Args:
        y: (m,) targets; for several, vmap over their axis.
        predicted: (m,) predictions ŷ.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: shapes that disagree, or values that are not finite.

    """
    w = _weights(weights, y)
    return _root(_there(y - predicted, w), w)


@_check.pure(jit=True)
def mae(
    y: Targets, predicted: Annotated[Array, "m"], *, weights: Weights | None = None
) -> jax.Array:
    """Σ wᵢ |yᵢ - ŷᵢ| / Σ wᵢ, the mean absolute error, ().

    Args:
        y: (m,) numbers.
        predicted: (m,) numbers ŷ.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: values that are not finite, or not (m,).

    """
    w = _weights(weights, y)
    errors = _there(y - predicted, w)
    # e · sgn e: the derivative of abs at 0 is 1 in JAX.
    return _average(errors * jnp.sign(errors), w)


@_check.pure(jit=True)
def r2(
    y: Targets, predicted: Annotated[Array, "m"], *, weights: Weights | None = None
) -> jax.Array:
    """1 - Σ wᵢ (yᵢ - ŷᵢ)² / Σ wᵢ (yᵢ - ȳ)², ȳ the weighted mean of y, ().

    Arguments and errors as in `rmse`. NaN where y is constant; negative where the
    predictions are worse than ȳ.
    """
    w = _weights(weights, y)
    # Compared, for the rounded mean of equal numbers need not equal them.
    lowest = jnp.where(w != 0, y, jnp.inf).min()
    constant = lowest == jnp.where(w != 0, y, -jnp.inf).max()
    errors = _there(y - predicted, w)
    around = _there(y - _average(_there(y, w), w), w)
    around = around - _average(around, w)  # the rounding of a mean that is far from 0
    apart = jnp.where(constant, 1, _root(around, w))
    return jnp.where(constant, jnp.nan, 1 - (_root(errors, w) / apart) ** 2)


@_check.pure(jit=True)
def auc(
    y: Annotated[Array, "m:labels 2"],
    score: Annotated[Array, "m"],
    *,
    weights: Weights | None = None,
) -> jax.Array:
    """P(sᵢ > sⱼ) + ½ P(sᵢ = sⱼ) for i of class 1 and j of class 0: area under the ROC.

    Pairs are weighted by wᵢ wⱼ (Mann & Whitney 1947; Hanley & McNeil 1982), counted in
    O(m log m) by sorting.

    Args:
        y: (m,) labels 0 or 1. With one class only there is no pair, and the AUC is NaN.
        score: (m,) s, greater where class 1 is likelier.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: labels other than 0 and 1, scores that are not finite (m,).

    """
    w = _weights(weights, score)
    order = jnp.argsort(score)
    score, positive, w = score[order], y[order] == 1, w[order]
    zero = jnp.zeros(1, w.dtype)
    beaten = jnp.concatenate([zero, jnp.cumsum(jnp.where(positive, 0, w))])
    below = beaten[jnp.searchsorted(score, score, side="left")]
    level = beaten[jnp.searchsorted(score, score, side="right")]
    area = _mean((below + level) / 2, jnp.where(positive, w, 0)) / beaten[-1]
    valid = ~jnp.isnan(score).any() & ((y == 0) | (y == 1)).all()
    return jnp.where(valid, area, jnp.nan)


class Threshold(NamedTuple):
    """Where to draw the line between the classes."""

    value: jax.Array  # () class 1 is said where score >= value
    f1: jax.Array  # () F1 of class 1 there


@_check.pure(jit=True)
def f1_threshold(
    y: Annotated[Array, "m:labels 2"],
    score: Annotated[Array, "m"],
    *,
    weights: Weights | None = None,
) -> Threshold:
    """The ε, one of the scores, for which {score >= ε} has the greatest F1.

    For anomalies (y = 1) score is -log p(x) of a density: what is rarer than ε is one.

    Args:
        y: (m,) labels 0 or 1.
        score: (m,) greater where class 1 is likelier.
        weights: (m,) weights w of the rows; 1 if None.

    Returns:
        Threshold; of equal ones the greatest. NaN where no row is of class 1.

    Raises:
        ValueError: labels other than 0 and 1, scores that are not finite (m,).

    """
    w = _weights(weights, score)
    # A row without weight draws no line: it goes where a row is that has some.
    highest = jnp.where(w != 0, score, -jnp.inf).max()
    score = jnp.where((w == 0) & ~jnp.isnan(score), highest, score)
    order = jnp.argsort(-score)
    score, positive, w = score[order], y[order] == 1, w[order]
    hits = jnp.cumsum(jnp.where(positive, w, 0))
    said = jnp.cumsum(w)
    result = 2 * hits / (said + hits[-1])
    # Rows of one score are on one side: only the last of them is a line.
    last = jnp.append(score[1:] < score[:-1], True)
    best = jnp.argmax(jnp.where(last, result, -jnp.inf))
    valid = ~jnp.isnan(score).any() & ((y == 0) | (y == 1)).all() & (hits[-1] > 0)
    value = jnp.where(valid, score[best], jnp.nan)
    return Threshold(value, jnp.where(valid, result[best], jnp.nan))


def _valid(weights, like):
    """Weights, 1 if None; NaN for a negative one, possible only under tracing."""
    if weights is None:
        floating = jnp.issubdtype(like.dtype, jnp.floating)
        return jnp.ones(len(like), like.dtype if floating else float)
    return jnp.where(weights >= 0, weights, jnp.nan)


def _weights(weights, like):
    """Weights as in `_valid`, of a size at which they can be summed and multiplied."""
    valid = _valid(weights, like)
    return valid if weights is None else relative(valid)


def _counts(y, predicted, k, w):
    """Σ_r w_r [y_r = i][ŷ_r = j], (k, k)."""
    # A matrix product of one-hots: a scatter-add is slow, and on a GPU of random order.
    true = one_hot(y, k=k).astype(w.dtype) * w[:, None]
    columns = one_hot(predicted, k=k).astype(w.dtype)
    return true.T @ columns


def _there(values, w):
    """Values, 0 for a row that is not there, whatever it holds; NaN is kept."""
    return jnp.where((w == 0) & ~jnp.isnan(values), 0, values)


def _mean(values, w):
    return jnp.sum(w * values) / jnp.sum(w)


def _average(values, w):
    """Σ wᵢ vᵢ / Σ wᵢ for values of any size."""
    size = unit_of(values)
    return size * _mean(values / size, w)


def _root(values, w):
    """√(Σ wᵢ vᵢ² / Σ wᵢ) for values of any size; where all are 0, a derivative of 0."""
    size = unit_of(values)
    square = _mean((values / size) ** 2, w)
    return size * jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))
