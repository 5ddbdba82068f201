"""The batches of an epoch: which rows are in each, and what each weighs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check


class Batch(NamedTuple):
    """Some rows of the data."""

    data: Any  # the pytree of the data, batch rows of each array
    weights: jax.Array | None  # (batch,) 0 for padding; None if every row counts one


class Batches(NamedTuple):
    """The batches of an epoch, or of a part of it."""

    data: Any
    weights: jax.Array | None  # (m,)
    unit: jax.Array | None  # () the largest weight
    numbers: jax.Array  # (steps,) int32, their places in the epoch
    rows: jax.Array  # (steps, batch) int32; those beyond m are padding
    total: int  # batches in an epoch
    draws: jax.Array  # () key, for what the batches draw
    dtype: Any  # of the padding's weights

    def key(self, number):
        """What the batch of that number draws with."""
        return jax.random.fold_in(self.draws, number)

    def take(self, number, rows):
        """The Batch of some rows, and its load."""
        m, batch = len(jax.tree.leaves(self.data)[0]), self.rows.shape[1]
        w = None if self.weights is None else self.weights[rows]
        if self.total * batch != m:
            real = number * batch + jnp.arange(batch) < m
            w = real.astype(self.dtype) * (1 if w is None else w)
        load = None
        if w is not None and self.unit is not None:
            load = jnp.sum(w / self.unit)
            # What is made of a batch without weight is thrown away, but not as NaN.
            w = jnp.where(load == 0, 1, w)
        # Rows are gathered inside the scan: a shuffled copy of the data costs more.
        return Batch(jax.tree.map(lambda array: array[rows], self.data), w), load


def of_epoch(state, data, batch, weights, steps) -> Batches:
    """The next `steps` batches from where the state stands, all of an epoch if None."""
    m = count_rows(data, batch, weights)
    total = -(-m // batch)
    steps = total if steps is None else _check.count("steps", steps)
    if total % steps:
        raise ValueError(f"steps must divide the {total} batches, not {steps}")
    own_key = jax.random.fold_in(state.key, state.epoch)
    shuffle_key, draw_key = jax.random.split(own_key)
    order = jnp.pad(shuffled(shuffle_key, m), (0, total * batch - m))
    numbers = state.position + jnp.arange(steps, dtype=jnp.int32)
    rows = jax.lax.dynamic_slice(order, (state.position * batch,), (steps * batch,))
    return Batches(
        data,
        weights,
        None if weights is None else jnp.max(weights),
        numbers,
        rows.reshape(steps, batch),
        total,
        draw_key,
        float_dtype(state.params),
    )


def shuffled(key, m: int) -> jax.Array:
    """A random order of m rows, (m,) int32: the argsort of 32 random bits a row.

    As a radix sort, of as many bits at a time as are left beside the row's number:
    sorting numbers alone is several times faster than sorting pairs.
    """
    width = max(1, (m - 1).bit_length())
    if width > 24:
        return jax.random.permutation(key, jnp.arange(m, dtype=jnp.int32))
    rounds = -(-32 // (32 - width))
    place = order = jnp.arange(m, dtype=jnp.uint32)
    for bits in jax.random.bits(key, (rounds, m)):
        packed = jnp.sort((bits << width) | place)
        order = order[packed & ((1 << width) - 1)]
    return order.astype(jnp.int32)


def means(metrics, loads, m: int, batch: int) -> dict[str, jax.Array]:
    """Means over the batches of an epoch, by the rows or the weight that each holds."""
    if not isinstance(metrics, dict) or "cost" not in metrics:
        raise ValueError('update must give metrics as a dict with a "cost"')
    if loads is None:
        rows = np.full(len(metrics["cost"]), batch)
        rows[-1] = m - (-(-m // batch) - 1) * batch
        share = rows / rows.sum()
    else:
        share = loads / jnp.sum(loads)
    return {n: jnp.sum(v * share.astype(v.dtype)) for n, v in metrics.items()}


def count_rows(data: Any, batch: int, weights: Any = None) -> int:
    """How many rows, m, all arrays of the data have, and the weights."""
    sizes = {len(leaf) if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(data)}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"data must be arrays with equal row counts, not {sizes}")
    m = sizes.pop()
    if not 1 <= batch <= m:
        raise ValueError(f"batch must be in 1 … m = {m}, not {batch}")
    if weights is not None and jnp.shape(weights) != (m,):
        shape = jnp.shape(weights)
        raise ValueError(f"weights has shape {shape}, not (m,) where m = {m}")
    return m


def float_dtype(params):
    """The dtype of the floats in a pytree, JAX's default if there are none."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(params)]
    floats = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    return jnp.result_type(*floats) if floats else jnp.result_type(float)
