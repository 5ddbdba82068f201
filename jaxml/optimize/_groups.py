"""Groups of coordinates, named by labels (n,) below n."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxml._units import power_of_two


def norms(p: jax.Array, groups: jax.Array) -> jax.Array:
    """|p_g| of each group, (n,), its derivative 0 where it is 0; 0 beyond the last."""
    largest = jax.ops.segment_max(jnp.abs(p), groups, len(p))
    unit = power_of_two(largest)  # in which no square over- or underflows
    squares = jax.ops.segment_sum((p / unit[groups]) ** 2, groups, len(p))
    zero = squares == 0
    return unit * jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares)))


def factors(groups: jax.Array, each: jax.Array | None, dtype: Any) -> jax.Array:
    """c_g = √Σ f² of each group, (n,); f, (n,), is 1 if None.

    NaN where a label is not below n: nothing is left out unsaid.
    """
    n = len(groups)
    c = norms(jnp.ones(n, dtype) if each is None else each, groups)
    return c * jnp.where((groups < n).all(), 1, jnp.nan).astype(dtype)
