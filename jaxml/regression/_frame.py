"""Origins and units of columns, so that searches do not depend on those of x."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml._units import power_of_two, shares
from jaxml.regression.linear import Params

MEDIAN = 4  # steps to the median that outliers make necessary
OUTLIER = 10  # times the mean distance from which one is far deviation
SAMPLE = 4096  # rows of which the units and origins of the columns are taken
FEW = 31  # rows whose middle is the origin that all fits to the same rows share


class Frame(NamedTuple):
    """Origins and units of the columns: x = centre + scale x̃. Constants of a fit."""

    centre: jax.Array  # (n,) about the mean, or the median; 0 without an intercept
    scale: jax.Array  # (n,) the power of two below the spread


def frame_of(x, weights, l2, intercept: bool) -> Frame:
    """Where the columns of x, (m, n), lie, by up to SAMPLE of the rows that count.

    With z = x̃·θ + θ₀ the curvature along each θ is about one, the penalty's included.
    """
    x, weights, l2 = jax.lax.stop_gradient((x, weights, l2))
    if len(x) > SAMPLE:
        sample = _scattered(len(x), SAMPLE)
        x, weights = x[sample], None if weights is None else weights[sample]
    share = None
    if weights is not None:
        share = shares(jnp.where((weights > 0).any(), weights, 1))[:, None]

    def mean(values):  # products with a vector would be slow in a batch
        if share is None:
            return jnp.mean(values, axis=0)
        return jnp.sum(share * values, axis=0)

    def measured(count, centre):
        """With the mean and the largest distance from the centre."""
        deviation = jnp.abs(x - centre[None])
        farthest = deviation if share is None else jnp.where(share > 0, deviation, 0)
        return count, centre, mean(deviation), jnp.max(farthest, axis=0)

    def median(state):
        """A step from the mean towards it (Weiszfeld 1937): a mean of near rows."""
        count, centre, mean_size, _ = state
        deviation = x - centre[None]
        least = jnp.where(mean_size > 0, 1e-3 * mean_size, 1)[None]
        weight = 1 / (jnp.abs(deviation) + least)
        return measured(count + 1, centre + mean(weight * deviation) / mean(weight))

    def has_outlier(state):
        """Whether an outlier is so far that the others look as if they were one."""
        count, _, mean_size, largest = state
        return intercept & (count < MEDIAN) & (largest > OUTLIER * mean_size).any()

    start = measured(jnp.int32(0), mean(x) if intercept else jnp.zeros_like(x[0]))
    _, centre, mean_size, largest = jax.lax.while_loop(has_outlier, median, start)
    # Between the standard deviation and √m times that, with nothing to overflow.
    spread = jnp.sqrt(mean_size) * jnp.sqrt(largest)
    rounding = 16 * jnp.finfo(x.dtype).eps * jnp.abs(centre)
    spread = jnp.where(spread > rounding, spread, 0)  # 0 for a constant column
    penalised = 2 * jnp.sqrt(jnp.maximum(l2, 0))
    return Frame(centre, power_of_two(jnp.maximum(spread, penalised)))


def origin(x, intercept: bool) -> Frame:
    """An origin that does not depend on the weights, so that fits can share its rows.

    The median of a few rows lies among the others, whatever an outlier holds.
    """
    one, zero = jnp.ones_like(x[0]), jnp.zeros_like(x[0])
    if not intercept:
        return Frame(zero, one)
    sample = x if len(x) <= FEW else x[_scattered(len(x), FEW)]
    return Frame(jax.lax.stop_gradient(jnp.median(sample, axis=0)), one)


def _scattered(m: int, count: int) -> np.ndarray:
    """Numbers of rows, in no period, (count,), of m: multiples of the golden ratio."""
    return (np.arange(count) * ((5**0.5 - 1) / 2) % 1 * m).astype(np.int32)


def standard(x, frame: Frame) -> jax.Array:
    """x̃, (m, n)."""
    return (x - frame.centre[None]) * (1 / frame.scale)[None]


def some_columns(x, frame: Frame, which) -> jax.Array:
    """Those of [x̃, 1], (m, c), with these numbers, (c,)."""
    n = x.shape[1]
    inside = jnp.minimum(which, n - 1)
    seen_from = Frame(frame.centre[inside], frame.scale[inside])
    return jnp.where(which[None] < n, standard(x[:, inside], seen_from), 1)


def penalties(frame: Frame, l2) -> jax.Array:
    """l2 of each θ, (n,); the factors in an order that does not overflow."""
    unit = 1 / frame.scale
    return l2 * unit * unit


def params_of(theta, frame: Frame, intercept: bool) -> Params:
    """Params of θ, (p,) or (p, k), the intercept last; None for b if there is none."""
    n = len(frame.scale)
    w = theta[:n] / jnp.expand_dims(frame.scale, (1,) * (theta.ndim - 1))
    if not intercept:
        return Params(w, None)
    return Params(w, theta[n] - frame.centre @ w)


def joined(params: Params) -> jax.Array:
    """(w, b), (p,) or (p, k); w alone where b is None."""
    if params.b is None:
        return params.w
    return jnp.concatenate([params.w, params.b[None]])


def split(theta, n: int) -> Params:
    """(w, b) of θ, (p,) or (p, k); None for b if there is none."""
    return Params(theta[:n], theta[n] if len(theta) > n else None)


def predictor(params: Params, x) -> jax.Array:
    """z = x·w + b, (m,) or (m, k), also for no b."""
    z = x @ params.w
    return z if params.b is None else z + params.b[(None,) * (z.ndim > 1)]
