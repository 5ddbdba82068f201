"""Units in which squares and sums neither overflow nor underflow."""

import jax
import jax.numpy as jnp


def power_of_two(size: jax.Array) -> jax.Array:
    """The power of two next below size ≥ 0; 1 where it is 0 or not finite.

    What is divided by it loses no digit, and derivatives do not see it.
    """
    info = jnp.finfo(size.dtype)
    usable = (size >= info.tiny) & (size <= info.max)
    size = jax.lax.stop_gradient(jnp.where(usable, size, 1))
    found = size / (2 * jnp.frexp(size)[0])
    return jnp.minimum(found, 1 / info.tiny)  # beyond, the inverse is denormal


def relative(weights: jax.Array) -> jax.Array:
    """Weights, (m,), divided by a power of two near the largest: they can be summed."""
    return weights / power_of_two(weights.max())


def shares(weights: jax.Array) -> jax.Array:
    """wᵢ / Σ w, (m,); 0 where all weights are, as in a batch of rows left out."""
    weights = relative(weights)
    whole = jnp.sum(weights)
    return weights / jnp.where(whole == 0, 1, whole)
