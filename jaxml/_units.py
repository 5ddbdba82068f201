"""Units in which squares and sums neither overflow nor underflow."""

from typing import Any

import jax
import jax.numpy as jnp


def power_of_two(size: jax.Array) -> jax.Array:
    """The power of two next below size ≥ 0; 1 where it is 0 or not finite.

    What is divided by it loses no digit, and derivatives do not see it.
    """
    info = jnp.finfo(size.dtype)
    usable = (size >= info.tiny) & (size <= info.max)
    size = jax.lax.stop_gradient(jnp.where(usable, size, 1))
    result = size / (2 * jnp.frexp(size)[0])
    return jnp.minimum(result, 1 / info.tiny)  # beyond, the inverse is denormal


def unit_of(
    a: jax.Array, weights: jax.Array | None = None, axis: int | None = None
) -> jax.Array:
    """The power of two next below the largest |entry| of rows a that count, (m, …).

    (), or for axis=0 that of each column. Rows of weight 0 do not count.
    """
    size = jnp.abs(a)
    if axis is None:  # of each row first: masked, that is several times as fast
        size = jnp.max(size, axis=tuple(range(1, a.ndim)))
    if weights is not None:
        size = jnp.where((weights > 0).reshape(-1, *[1] * (size.ndim - 1)), size, 0)
    return power_of_two(jnp.max(size, axis=axis))


def per_square(value: Any, unit: jax.Array) -> jax.Array:
    """value / unit², where unit² itself may under- or overflow."""
    inverse = 1 / unit
    return value * inverse * inverse  # a / b / b would become a / (b b)


def relative(weights: Any) -> Any:
    """Weights, (m,), divided by a power of two near the largest: they can be summed.

    None for None.
    """
    return None if weights is None else weights / unit_of(weights)


def shares(weights: jax.Array) -> jax.Array:
    """wᵢ / Σ w, (m,); 0 where all weights are, as in a batch of rows left out."""
    weights = relative(weights)
    whole = jnp.sum(weights)
    return weights / jnp.where(whole == 0, 1, whole)


def shares_of(x: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Shares of the rows of x, (m, …): 1/m for None, NaN where all weights are 0.

    For fits, to which rows of no weight say nothing.
    """
    if weights is None:
        return jnp.full(len(x), 1 / len(x), x.dtype)
    weights = relative(weights)
    return weights / jnp.sum(weights)


def weights_or_ones(weights: jax.Array | None, like: jax.Array) -> jax.Array:
    """Weights of the rows of like, (m, …), (m,): 1 each for None."""
    return jnp.ones(len(like), like.dtype) if weights is None else weights
