"""How good predictions are: one number, or one per class, from labels and scores.

Each is a weighted mean over rows, Σ wᵢ ℓᵢ / Σ wᵢ, or made of weighted counts, so that
integer weights equal repeated rows and a weight of 0 leaves a row out. All of them can
be jitted and vmapped (over folds: over the weights). Where a metric is undefined, and
under jit where an argument is NaN or out of range, it is NaN.
"""

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml.data.scaling import one_hot


@_check.pure(y="m:labels", predicted="m:labels", weights="m")
def accuracy(
    y: jax.Array, predicted: jax.Array, *, weights: jax.Array | None = None
) -> jax.Array:
    """Σ wᵢ [yᵢ = ŷᵢ] / Σ wᵢ, the share of rows that are right, ().

    Args:
        y: (m,) labels.
        predicted: (m,) labels ŷ.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: labels that are not integers (m,), or negative ones.

    """
    return _mean((y == predicted).astype(_dtype(weights)), weights)


@_check.pure(static=("k",), y="m:labels", predicted="m:labels", weights="m")
def confusion(
    y: jax.Array,
    predicted: jax.Array,
    *,
    k: int,
    weights: jax.Array | None = None,
) -> jax.Array:
    """C[i, j] = Σ_r w_r [y_r = i][ŷ_r = j], (k, k): true classes are the rows.

    Args:
        y: (m,) labels.
        predicted: (m,) labels ŷ.
        k: how many classes there are.
        weights: (m,) weights w of the rows; 1 if None, and then C counts rows.

    Raises:
        ValueError: labels that are not integers (m,) in 0…k-1, or k below 1.

    """
    w = _weights(weights, y)
    # A matrix product of one-hots: a scatter-add is slow, and on a GPU of random order.
    true = one_hot(y, k=k).astype(w.dtype) * w[:, None]
    return jnp.matmul(true.T, one_hot(predicted, k=k).astype(w.dtype), precision="highest")


@_check.pure(static=("k",), y="m:labels", predicted="m:labels", weights="m")
def precision(
    y: jax.Array,
    predicted: jax.Array,
    *,
    k: int,
    weights: jax.Array | None = None,
) -> jax.Array:
    """TP / (TP + FP) = P(y = c | ŷ = c), (k,), one per class c.

    Arguments and errors as in `confusion`. NaN for a class that is never predicted.
    """
    matrix = confusion(y, predicted, k=k, weights=weights)
    return jnp.diagonal(matrix) / matrix.sum(axis=0)


@_check.pure(static=("k",), y="m:labels", predicted="m:labels", weights="m")
def recall(
    y: jax.Array,
    predicted: jax.Array,
    *,
    k: int,
    weights: jax.Array | None = None,
) -> jax.Array:
    """TP / (TP + FN) = P(ŷ = c | y = c), (k,), one per class c.

    Arguments and errors as in `confusion`. NaN for a class without rows.
    """
    matrix = confusion(y, predicted, k=k, weights=weights)
    return jnp.diagonal(matrix) / matrix.sum(axis=1)


@_check.pure(static=("k",), y="m:labels", predicted="m:labels", weights="m")
def f1(
    y: jax.Array,
    predicted: jax.Array,
    *,
    k: int,
    weights: jax.Array | None = None,
) -> jax.Array:
    """2 TP / (2 TP + FP + FN), (k,): the harmonic mean of precision and recall.

    Arguments and errors as in `confusion`. NaN for a class that is neither there nor
    predicted; 0 for one that is either but never both.
    """
    matrix = confusion(y, predicted, k=k, weights=weights)
    return 2 * jnp.diagonal(matrix) / (matrix.sum(axis=0) + matrix.sum(axis=1))


@_check.pure(y="m:labels", probabilities="m|m k", weights="m")
def log_loss(
    y: jax.Array, probabilities: jax.Array, *, weights: jax.Array | None = None
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
    classes = probabilities.shape[1] if probabilities.ndim == 2 else 2
    _check._values("y", y, True, classes)
    w = _weights(weights, y)
    if probabilities.ndim == 1:
        # log1p keeps the digits of a small P(y = 1) that 1 - p would round away.
        chosen = jnp.where(y == 1, probabilities, -probabilities)
        ignored = (w == 0) & jnp.where(y == 1, chosen == 0, chosen == -1)
        safe = jnp.where(ignored, jnp.where(y == 1, 1, 0), chosen)
        logs = jnp.where(y == 1, jnp.log(jnp.where(y == 1, safe, 1)), jnp.log1p(
            jnp.where(y == 1, 0, safe)
        ))
    else:
        logs = jnp.log(probabilities)
    return -_mean(logs, weights)
