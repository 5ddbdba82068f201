"""What is done to data before it is learned from: scales, one-hot labels, a split.

A scale is fitted to the training rows and then applied to all others:
`params = standardise(x_train); transform(params, x_test)`.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import Array, Count, Key, Labels, Rows, Static, Weights
from jaxml._units import power_of_two, shares

__all__ = [
    "Params",
    "Split",
    "invert",
    "min_max",
    "one_hot",
    "split",
    "standardise",
    "transform",
]


class Params(NamedTuple):
    """A scale for each column: z = (x - shift) / scale."""

    shift: Annotated[jax.Array, "n"]  # mean, or minimum
    # standard deviation, or range; 1 for a constant column
    scale: Annotated[jax.Array, "n"]


class Split(NamedTuple):
    """Indices of rows, disjoint, in random order: `x[split.train], y[split.train]`."""

    train: jax.Array  # (m - test_size,) int32
    test: jax.Array  # (test_size,) int32


@_check.pure(jit=True)
def standardise(
    x: Rows,
    *,
    weights: Weights | None = None,
    ddof: Annotated[Static[int], "[0, inf)"] = 1,
) -> Params:
    """μ = Σ wᵢxᵢ / Σ wᵢ and σ² = Σ wᵢ(xᵢ - μ)² / (Σ wᵢ - ddof), column by column.

    Args:
        x: (m, n) rows.
        weights: (m,) read as frequencies: a weight of 2 is a row that is there twice,
            0 one that is not. Weights that sum to ddof or less give NaN; for relative
            weights take ddof = 0.
        ddof: 1 for the unbiased variance, 0 for the mean square.

    Returns:
        Params with shift μ and scale σ. A column whose entries are all equal keeps
        scale 1, so that it is transformed to 0.

    Raises:
        ValueError: x that is not (m, n) or not finite, or weights out of range.

    """
    w = _weights(weights, x)
    size = power_of_two(w.max())
    w, one = w / size, 1 / size  # weights of any size, and the weight of a row in it
    total = w.sum()
    lowest, highest = _range(x, w)
    constant = lowest == highest
    # Rows of weight 0 get a harmless value, for 0 times an overflow is not 0.
    x = jnp.where((w == 0)[:, None] & ~jnp.isnan(x), lowest, x)
    # Corrected two-pass algorithm (Chan, Golub & LeVeque 1983): the mean of what is
    # left over takes away the rounding of a first mean that is large against σ.
    mean = _average(x, w)
    rest = _average(x - mean, w)
    centred = x - mean - rest
    # In units of the largest deviation squares neither over- nor underflow.
    spread = power_of_two(jnp.abs(centred).max(axis=0, keepdims=True))
    squares = w[None] @ ((centred / spread) ** 2)
    free = total - ddof * one
    variance = squares / jnp.where(free > 0, free, jnp.nan)
    root = jnp.sqrt(jnp.where(constant, 1, variance))
    scale = jnp.where(constant, 1, spread * root)
    return Params(jnp.where(constant, lowest, mean + rest)[0], scale[0])


@_check.pure
def min_max(x: Rows, *, weights: Weights | None = None) -> Params:
    """The scale that takes each column to [0, 1]: shift min x, scale max x - min x.

    Args:
        x: (m, n) rows.
        weights: (m,) rows of weight 0 are ignored; nothing else matters here.

    Returns:
        Params; a column whose entries are all equal keeps scale 1.

    Raises:
        ValueError: x that is not (m, n) or not finite, or weights out of range.

    """
    lowest, highest = _range(x, _weights(weights, x))
    return Params(lowest[0], jnp.where(lowest == highest, 1, highest - lowest)[0])


@_check.pure
def transform(params: Params, x: Rows) -> jax.Array:
    """z = (x - shift) / scale, (m, n), for the rows of x, (m, n).

    Raises ValueError if params are for another number of columns.
    """
    _columns(params, "x", x)
    return _divide(x - params.shift[None], params.scale[None])


@_check.pure
def invert(params: Params, z: Rows) -> jax.Array:
    """x = z · scale + shift, (m, n): undo `transform` for the rows of z, (m, n).

    Raises ValueError if params are for another number of columns.
    """
    _columns(params, "z", z)
    return z * params.scale[None] + params.shift[None]


@_check.pure
def one_hot(y: Annotated[Array, "m:labels k"], *, k: Count) -> jax.Array:
    """[yᵢ = c], (m, k) floats: a 1 in the column of each row's label, else 0.

    Args:
        y: (m,) labels in 0…k-1. Under jit a label outside gives a row of NaN.
        k: how many classes there are.

    Raises:
        ValueError: labels that are not integers (m,) in 0…k-1.

    """
    hot = (y[:, None] == jnp.arange(k)[None]).astype(float)
    return jnp.where(((y >= 0) & (y < k))[:, None], hot, jnp.nan)


@_check.pure(jit=True)
def split(key: Key, y: Labels, *, test_size: Static[int]) -> Split:
    """Split rows at random, each class in proportion: test_size rows into test.

    Of a class with m_c rows, m_c h/m rounded up or down are held out; every row is,
    with probability h/m. Rows are laid in the order of their class, shuffled within
    it, and sampled systematically (Madow & Madow 1944): position p is held out if
    (p h + o) mod m < h, with o random; of any stretch that takes its share.

    Args:
        key: jax.random.key(seed).
        y: (m,) labels.
        test_size: rows in test, 0 < test_size < m; for folds and several splits, vmap
            keys.

    Returns:
        Split(train, test), arrays of indices, each in random order.

    Raises:
        ValueError: test_size that is not an int between 1 and m - 1.

    """
    m = len(y)
    if _check.count("test_size", test_size) >= m:
        raise ValueError(f"test_size must be below m = {m}, not {test_size}")
    within, offset, order = jax.random.split(key, 3)
    rows = jax.random.permutation(within, m)
    rows = rows[jnp.argsort(y[rows], stable=True)]
    # On the host, in 64 bits: p h is beyond int32 for long data.
    steps = np.arange(m, dtype=np.int64) * test_size % m
    start = jax.random.randint(offset, (), 0, m)
    # steps + start < 2m, and s mod m = s - m from m on: this too stays in int32.
    places = jnp.asarray(steps.astype(np.int32)) + start
    test = jnp.where(places >= m, places - m, places) < test_size
    shuffle = jax.random.permutation(order, m)
    # Stable, so that both parts keep the random order; exactly h come last.
    rows = rows[shuffle][jnp.argsort(test[shuffle], stable=True)].astype(jnp.int32)
    return Split(rows[: m - test_size], rows[m - test_size :])


def _weights(weights, x):
    """Weights as frequencies; NaN for a negative one, possible only under tracing."""
    if weights is None:
        return jnp.ones(len(x), x.dtype)
    return jnp.where(weights >= 0, weights, jnp.nan)


def _average(x, w):
    """Weighted mean of each column, (1, n)."""
    # Shares, not w: the sum of w x may overflow where the mean does not.
    return shares(w)[None] @ x


def _range(x, w):
    """Extremes of each column, (1, n); rows of weight 0 are left out, NaN is kept."""
    x = jnp.where(jnp.isnan(w)[:, None], jnp.nan, x)
    seen = (w != 0)[:, None] | jnp.isnan(x)
    lowest = jnp.where(seen, x, jnp.inf).min(axis=0, keepdims=True)
    return lowest, jnp.where(seen, x, -jnp.inf).max(axis=0, keepdims=True)


def _divide(x, row):
    """x / row, (m, n) by (1, n), rounded correctly."""
    # XLA makes x · (1 / row) of it, which need not be 1 for x = row, and is 0 for a row
    # of 1e38 in float32, whose inverse is denormal. A choice that is never made helps.
    return x / jnp.where(jnp.isnan(x), jnp.nan, row)


def _columns(params: Params, name: str, x: jax.Array) -> None:
    shift, scale = (params.shift, "n"), (params.scale, "n")
    _check.shapes(**{name: (x, "m n"), "params.shift": shift, "params.scale": scale})
