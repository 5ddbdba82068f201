"""How far a statistic would be off on other data of the same kind.

Samples are weights, so that all of them share a shape and a program:

    def slope(x, y, *, weights):
        return ridge.fit(x, y, l2=0.1, weights=weights).params.w

    found = bootstrap.bootstrap(jax.random.key(0), slope, x, y, samples=2000)
    found.low, found.high

The statistic is a function of a module, or a functools.partial of one; it
is compiled in. Rows are units: one that is drawn brings its weight with it.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Count, Key, Scalar, Static, Unchecked, Weights
from jaxml._units import unit_of

__all__ = [
    "Bootstrap",
    "Interval",
    "Jackknife",
    "basic",
    "bca",
    "bootstrap",
    "jackknife",
    "percentile",
]

NUMBERS = 2**22  # so many weights are held at a time, if chunk does not say otherwise


class Bootstrap(NamedTuple):
    """A statistic, and how it varies; all but draws are shaped like the statistic."""

    estimate: Any  # of the data as they are
    standard_error: Any  # standard deviation of the draws
    low: Any  # the lower ends of the confidence intervals
    high: Any  # the upper ends
    draws: Any  # (samples, …) of the samples


class Interval(NamedTuple):
    """Ends of a confidence interval, of any shape."""

    low: jax.Array  # the lower end
    high: jax.Array  # the upper end


class Jackknife(NamedTuple):
    """A statistic with each row left out in turn."""

    values: Any  # (m, …); NaN for a row of weight 0
    standard_error: Any  # √((m - 1)/m Σ (θᵢ - θ̄)²)
    bias: Any  # (m - 1)(θ̄ - θ)


# --- the whole of it -----------------------------------------------------------------


@_check.pure
def bootstrap(
    key: Key,
    statistic: Static[Callable[..., Any]],
    *data: Any,
    samples: Static[int],
    interval: Static[str] = "bca",
    confidence: Annotated[Scalar, "(0, 1)"] = 0.95,
    bayesian: Static[bool] = False,
    weights: Weights | None = None,
    chunk: Count | None = None,
) -> Bootstrap:
    """Standard errors and intervals from θ(rows drawn with replacement).

    Args:
        key: jax.random.key(seed).
        statistic: θ(*data, weights=(m,)) -> array or pytree of floats; static.
        data: arrays, (m, …), of the same rows: x, or x and y, and so on.
        samples: how many samples to draw; 1,000 or more for intervals.
        interval: "bca", `bca`, which takes m fits more; "percentile" or "basic".
        confidence: () of the intervals.
        bayesian: Dirichlet weights (Rubin 1981) for counts of rows: the draws are of
            the posterior of θ, and no row is left out of a sample altogether.
        weights: (m,) weights of the rows; 1 if None. As many rows are drawn as have one
            above 0, from these alone.
        chunk: how many samples are worked on at a time; None for as many as make
            4 million weights.

    Returns:
        Bootstrap. A sample of which the statistic is NaN makes everything but the
        estimate NaN: where a fit may fail, look at draws.

    Raises:
        ValueError: data of different lengths, values out of range.

    Source: Efron (1979); Efron and Tibshirani (1993).

    """
    _check.option("interval", interval, ("bca", "percentile", "basic"))
    samples = _check.count("samples", samples, at_least=2)
    rows = _rows(data, weights)
    keys = jax.random.split(key, samples)
    estimate, draws = _draws(statistic, bayesian, chunk, keys, rows, data)
    if not jax.tree.leaves(estimate):
        raise ValueError(f"statistic must return arrays, not {estimate}")
    if interval == "percentile":
        low, high = percentile(draws, confidence=confidence)
    elif interval == "basic":
        low, high = basic(estimate, draws, confidence=confidence)
    else:
        values = _left_out(statistic, chunk, rows, data)
        low, high = bca(estimate, draws, values, confidence=confidence, weights=rows)
    error = jax.tree.map(_deviation, draws)
    return Bootstrap(estimate, error, low, high, draws)


@_check.pure
def jackknife(
    statistic: Static[Callable[..., Any]],
    *data: Any,
    weights: Weights | None = None,
    chunk: Count | None = None,
) -> Jackknife:
    """θᵢ = θ(all rows but i), and the standard error and bias they speak of.

    Args:
        statistic: as in `bootstrap`, smooth: of a median the error is wrong.
        data: arrays, (m, …).
        weights: (m,) weights of the rows; 1 if None. A row of weight 0 is not there.
        chunk: how many rows are worked on at a time; None as in `bootstrap`.

    Returns:
        Jackknife.

    Source: Quenouille (1956); Tukey (1958).

    """
    rows = _rows(data, weights)
    values = _left_out(statistic, chunk, rows, data)
    estimate = statistic(*data, weights=rows)
    m = jnp.sum(rows != 0).astype(rows.dtype)

    def spread(values):
        _, deviation, unit = _centred(values, rows != 0)
        return unit * jnp.sqrt((m - 1) / m * jnp.sum(deviation**2, axis=0))

    def shift(values, estimate):
        return (m - 1) * (_centred(values, rows != 0)[0] - estimate)

    error = jax.tree.map(spread, values)
    return Jackknife(values, error, jax.tree.map(shift, values, estimate))


# --- intervals -----------------------------------------------------------------------


@_check.pure(jit=True)
def percentile(
    draws: Unchecked[Any], *, confidence: Annotated[Scalar, "(0, 1)"] = 0.95
) -> Interval:
    """The quantiles (1 ± confidence)/2 of draws, (samples, …), a pytree.

    Interpolated linearly. Returns Interval(low, high), each like one draw.
    """
    _several("draws", draws)
    low, high = (1 - confidence) / 2, (1 + confidence) / 2
    return Interval(*(_quantiles(draws, each) for each in (low, high)))


@_check.pure(jit=True)
def basic(
    estimate: Unchecked[Any],
    draws: Unchecked[Any],
    *,
    confidence: Annotated[Scalar, "(0, 1)"] = 0.95,
) -> Interval:
    """2θ less the quantiles (1 ± confidence)/2 of draws: the percentiles turned round.

    Args:
        estimate: θ, a pytree of arrays (…).
        draws: (samples, …), likewise.
        confidence: () of the interval.

    Returns:
        Interval(low, high), each like one draw.

    """
    _several("draws", draws, estimate)
    inner = percentile(draws, confidence=confidence)
    low, high = (
        jax.tree.map(lambda e, q: 2 * e - q, estimate, end)
        for end in (inner.high, inner.low)
    )
    return Interval(low, high)


@_check.pure(jit=True)
def bca(
    estimate: Unchecked[Any],
    draws: Unchecked[Any],
    values: Unchecked[Any],
    *,
    confidence: Annotated[Scalar, "(0, 1)"] = 0.95,
    weights: Weights | None = None,
) -> Interval:
    """Quantiles α of draws, corrected for bias z₀ and for an error that changes with θ:
    α = Φ(z₀ + (z₀ + z)/(1 - a (z₀ + z))), z = Φ⁻¹((1 ± confidence)/2).

    z₀ = Φ⁻¹(share of the draws below θ, those at θ by half), and, with θᵢ the statistic
    without row i, a = Σ (θ̄ - θᵢ)³ / (6 (Σ (θ̄ - θᵢ)²)^(3/2)).

    Args:
        estimate: θ, a pytree of arrays (…).
        draws: (samples, …), likewise.
        values: (m, …), as `jackknife` gives them.
        confidence: () of the interval.
        weights: (m,) of the rows, as `jackknife` took them: those of weight 0 are not
            there.

    Returns:
        Interval(low, high), each like one draw. NaN where θ lies beyond all draws, or
        no row moves it.

    Source: Efron (1987).

    """
    _several("draws", draws, estimate)
    _several("values", values, estimate)
    if weights is not None:
        for each in jax.tree.leaves(values):
            _check.shapes(
                values=(each.reshape(len(each), -1), "m _"), weights=(weights, "m")
            )
    valid = jnp.bool_(True) if weights is None else (weights >= 0).all()

    def ends(estimate, draws, values):
        below = jnp.mean(draws < estimate[None], axis=0, dtype=draws.dtype)
        at = jnp.mean(draws == estimate[None], axis=0, dtype=draws.dtype)
        z0 = jax.scipy.special.ndtri(below + at / 2)
        _, deviation, _ = _centred(values, None if weights is None else weights != 0)
        squares = jnp.sum(deviation**2, axis=0)
        a = -jnp.sum(deviation**3, axis=0) / (6 * squares**1.5)
        result = []
        for side in (-1, 1):
            z = z0 + jax.scipy.special.ndtri((1 + side * confidence) / 2)
            share = jax.scipy.special.ndtr(z0 + z / (1 - a * z))
            usable = jnp.isfinite(z0) & jnp.isfinite(a) & valid
            result.append(_quantile(draws, jnp.where(usable, share, jnp.nan)))
        return tuple(result)

    leaves, structure = jax.tree.flatten(estimate)
    others = jax.tree.leaves(draws), jax.tree.leaves(values)
    pairs = [ends(*each) for each in zip(leaves, *others, strict=True)]
    low, high = (jax.tree.unflatten(structure, end) for end in zip(*pairs))
    return Interval(low, high)


def _several(name, tree, *one) -> None:
    """Refuse what is no pytree of arrays with an axis more than those of one."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
    if not shapes or any(not shape or not shape[0] for shape in shapes):
        raise ValueError(f"{name} must hold arrays with an axis of draws or rows first")
    rest = jax.tree.map(lambda a: jnp.shape(a)[1:], tree)
    if one and rest != jax.tree.map(jnp.shape, one[0]):
        raise ValueError(f"{name} must hold arrays like those of estimate, and an axis")


def _quantiles(draws, share):
    return jax.tree.map(lambda d: _quantile(d, jnp.full(d.shape[1:], share)), draws)


def _quantile(draws, share):
    """Quantiles of draws, (samples, …), at shares, (…)."""
    columns = draws.reshape(len(draws), -1).T
    result = jax.vmap(jnp.quantile)(columns, share.ravel().astype(draws.dtype))
    return result.reshape(share.shape)


def _centred(values, mask):
    """θ̄ over the rows of the mask, (…), (θᵢ - θ̄)/unit, (m, …), and the unit, (…).

    0 for the other rows. In this unit squares and cubes neither over- nor underflow.
    """
    if mask is None:
        mask = jnp.ones(len(values), bool)
    mask = mask[(..., *[None] * (values.ndim - 1))]
    mean = jnp.sum(jnp.where(mask, values, 0), axis=0) / jnp.sum(mask)
    deviation = jnp.where(mask, values - mean[None], 0)
    unit = unit_of(deviation, axis=0)
    return mean, deviation / unit[None], unit


def _deviation(draws):
    """The standard deviation over draws, (samples, …) to (…), of any size."""
    deviation = draws - jnp.mean(draws, axis=0, keepdims=True)
    unit = unit_of(deviation, axis=0)
    return unit * jnp.std(deviation / unit[None], axis=0, ddof=1)


# --- samples -------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _draws(statistic, bayesian, chunk, keys, rows, data):
    count = jnp.sum(rows != 0)
    order = jnp.argsort(rows == 0, stable=True)  # rows of weight 0 come last

    def draw(key):
        m = len(rows)
        if bayesian:
            shares = jnp.where(rows != 0, jax.random.exponential(key, (m,)), 0)
            counts = shares * (count / jnp.sum(shares))
        else:
            drawn = order[jax.random.randint(key, (m,), 0, count)]
            counts = jnp.zeros(m, jnp.int32).at[drawn].add(jnp.arange(m) < count)
        return statistic(*data, weights=rows * counts.astype(rows.dtype))

    draws = _in_chunks(draw, keys, chunk, len(rows))
    return statistic(*data, weights=rows), draws


@functools.partial(jax.jit, static_argnums=(0, 1))
def _left_out(statistic, chunk, rows, data):
    def without(i):
        # A row of weight 0 takes nothing away: NaN in its place.
        value = statistic(*data, weights=rows.at[i].set(0))
        return jax.tree.map(lambda v: jnp.where(rows[i] != 0, v, jnp.nan), value)

    return _in_chunks(without, jnp.arange(len(rows)), chunk, len(rows))


def _in_chunks(function, each, chunk, m):
    count = len(each)
    chunk = chunk or max(1, NUMBERS // m)
    if chunk >= count:
        return jax.vmap(function)(each)
    size = -(-count // -(-count // chunk))  # as even as may be
    return jax.lax.map(function, each, batch_size=size)


def _rows(data, weights):
    """Weights of the rows, (m,), once data are seen to have as many."""
    if not data:
        raise ValueError("data must hold an array")
    for array in data:
        if not jnp.ndim(array):
            raise ValueError("data must be arrays of rows (m, …), not a number")
    lengths = {len(array) for array in data}
    if weights is not None:
        lengths |= {len(weights)}
    if len(lengths) > 1:
        raise ValueError(f"data and weights must have one length, not {lengths}")
    _check.finite("data", data)
    floats = [a.dtype for a in data if jnp.issubdtype(a.dtype, jnp.floating)]
    dtype = floats[0] if floats else jnp.result_type(float)
    return jnp.ones(lengths.pop(), dtype) if weights is None else weights
