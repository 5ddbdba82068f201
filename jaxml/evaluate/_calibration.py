"""What calibration is made of: rows in bins, their loss, and the pooling of rows."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._units import relative, shares, weights_or_ones
from jaxml.data.scaling import one_hot
from jaxml.optimize._fit import Fit, Progress, Status, iterate

BINNINGS = ("width", "mass")
RUNAWAY = 0.1  # change of some logit in a last step from which there is no minimum


def valid(y, p, weights):
    """Probabilities and weights; NaN for what is possible only under tracing."""
    k = 2 if p.ndim == 1 else p.shape[1]
    _check.labels("y", y, k)
    good = (p >= 0) & (p <= 1)
    good = (good if p.ndim == 1 else good.all(axis=1)) & (y >= 0) & (y < k)
    p = jnp.where(good if p.ndim == 1 else good[:, None], p, jnp.nan)
    w = weights_or_ones(weights, p)
    return p, jnp.where(w >= 0, w, jnp.nan)


def confident(y, probabilities, weights):
    """Of each row its confidence, whether it was right, and its weight, (m,) each."""
    p, w = valid(y, probabilities, weights)
    if p.ndim == 1:
        return p, y.astype(p.dtype), w
    return p.max(axis=1), (p.argmax(axis=1) == y).astype(p.dtype), w


def binned(confidence, w, bins: int, binning: str):
    """The edges, (bins + 1,), and which row is in which bin, (m, bins) of 0 and 1.

    Weights are `relative`.
    """
    _check.option("binning", binning, BINNINGS)
    edges = jnp.arange(bins + 1, dtype=confidence.dtype) / bins
    if binning == "mass":
        order = jnp.argsort(confidence)
        below = jnp.cumsum(w[order])
        # Integers, where the weights are: a share of the sum would be rounded.
        shares = jnp.arange(1, bins, dtype=w.dtype) * below[-1]
        places = jnp.searchsorted(bins * below, shares)
        edges = edges.at[1:-1].set(confidence[order[places]])
        edges = jax.lax.stop_gradient(edges)
    index = jnp.searchsorted(edges[1:-1], confidence)
    inside = (index[:, None] == jnp.arange(bins)[None]).astype(confidence.dtype)
    return edges, jnp.where(jnp.isnan(confidence)[:, None], jnp.nan, inside)


def totals(inside, *columns):
    """The sum of each column over each bin."""
    # A matrix product: a scatter-add is slow, and on a GPU of random order.
    return jnp.stack(columns) @ inside


def gaps(y, probabilities, bins, binning, weights):
    """W_b (accuracy_b - confidence_b) and W_b, (bins,), of relative weights."""
    confidence, hit, w = confident(y, probabilities, weights)
    w = relative(w)
    _, inside = binned(confidence, w, bins, binning)
    return totals(inside, w * (hit - confidence), w)


def targets(y, logits):
    """What P should be: (m,), or (m, k), NaN where a label has no class."""
    if logits.ndim == 2 and y.ndim == 1:
        return one_hot(y, k=logits.shape[1]).astype(logits.dtype)
    return jnp.where((y >= 0) & (y <= 1), y.astype(logits.dtype), jnp.nan)


def log_loss(z, goals, weights):
    """-Σ wᵢ Σ_c tᵢ_c log P(c | zᵢ) / Σ wᵢ."""
    z = without_unweighted(z, weights)
    if z.ndim == 1:
        each = jax.nn.softplus(z) - goals * z
    else:
        each = -jnp.sum(goals * jax.nn.log_softmax(z), axis=1)
    return jnp.vdot(shares(weights), each)


def without_unweighted(scores, weights, instead=0):
    """Scores, but `instead` for rows without weight, whatever they hold but NaN."""
    gone = (weights == 0).reshape(-1, *[1] * (scores.ndim - 1))
    return jnp.where(gone & ~jnp.isnan(scores), instead, scores)


def by_autodiff(cost: Callable) -> Callable:
    """θ to cost, gradient and Hessian, for one or two parameters."""
    return lambda theta: (*jax.value_and_grad(cost)(theta), jax.hessian(cost)(theta))


def flag_runaway(result: Fit, moves, weights):
    """The status, UNBOUNDED where the last step still moved a logit by much."""
    moves = jnp.abs(moves)
    moves = moves if moves.ndim == 1 else moves.max(axis=1)
    moving = jnp.where(weights > 0, moves, 0).max() > RUNAWAY
    ended = (result.status == Status.CONVERGED) | (result.status == Status.SINGULAR)
    unbounded = ended & moving & (result.steps > 0)
    return jnp.where(unbounded, Status.UNBOUNDED, result.status).astype(jnp.int32)


def pool(y, w):
    """The number of the block of each row, (m,), of the isotonic regression of y.

    In each round all neighbouring blocks whose means do not rise are pooled at once, a
    dozen rounds for 100,000 rows of noise. (A scalar loop with a stack needs two steps
    a row, but XLA copies the stack in each.) A row without weight has no mean: it is in
    the block of the row before it from the start.
    """
    m = len(y)

    def step(block):
        sums = jax.ops.segment_sum(
            jnp.stack([w * y, w], axis=1), block, m, indices_are_sorted=True
        )[block]
        first = jnp.append(True, block[1:] != block[:-1])
        mean = sums[:, 0] / sums[:, 1]
        falls = jnp.roll(mean, 1) >= mean
        kept = (first & ~falls).at[0].set(False)
        pooled = (first & falls).at[0].set(False)
        residual = jnp.sum(pooled).astype(y.dtype)
        return jnp.cumsum(kept, dtype=jnp.int32), Progress(0 * residual, residual)

    start = jnp.maximum(jnp.cumsum(w > 0, dtype=jnp.int32) - 1, 0)
    return iterate(step, start, tol=0.5, max_iter=m + 1, history_length=1).params
