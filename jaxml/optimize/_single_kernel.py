"""Coordinate descent as one native function of the processor.

A loop of small updates costs XLA's CPU backend 50 to 100 ns for each operation of each
trip. A mark on a jitted call makes the whole loop one native function, 20 to 60 times
as fast (3 times with jaxlib 0.12). The mark is internal to XLA and can end the process
in other loops: it is used for this one alone, and with the versions of jaxlib that it
was tested with; with others the loop runs as it is. Inside stand only element-wise
operations and dynamic slices.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

TESTED = ("0.10.2", "0.12.0.1")  # versions of jaxlib
BLOCK = 64  # entries of the residual that are updated together


class Descent(NamedTuple):
    """Where coordinate descent came to."""

    w: jax.Array  # (n,)
    residual: jax.Array  # (n,) c - G w
    sweeps: jax.Array  # () int32, those taken


def padded(n: int) -> int:
    """The least size from n on that coordinate descent takes: whole blocks."""
    return n if n <= BLOCK else -(-n // BLOCK) * BLOCK


def descend(
    gram: jax.Array,
    residual: jax.Array,
    w: jax.Array,
    limits: jax.Array,
    l2: jax.Array,
    count: jax.Array,
    tol: jax.Array,
    *,
    sweeps: int,
    positive: bool,
) -> Descent:
    """Sweeps of coordinate descent on ½ wᵀGw - cᵀw + Σ limits |w| + l2/2 |w|².

    G, (n, n), n a padded size, c - G w and w, (n,), and the limits, (n,), where the
    first count coordinates are to be moved. Ends after a sweep in which no G_jj Δw_j
    was above tol, (). positive keeps w >= 0. Under vmap one problem after another.
    """
    diagonal = jnp.diagonal(gram)
    curvature = diagonal + l2
    inverse = 1 / jnp.where(curvature > 0, curvature, 1)
    call = _sequential(sweeps, positive)
    result = call(gram, diagonal, inverse, limits, residual, w, count, tol)
    return Descent(*result)


@functools.cache
def _sequential(sweeps: int, positive: bool):
    loop = functools.partial(_loop, sweeps=sweeps, positive=positive)
    call = _marked(loop) if jaxlib.__version__ in TESTED else loop
    # A batch axis would turn the slices into gathers: there the mark does not hold.
    return jax.custom_batching.sequential_vmap(call)


def _marked(loop):
    inner = jax.jit(loop)

    def call(*arguments):
        with set_xla_metadata(xla_cpu_small_call="true", inlineable="false"):
            return inner(*arguments)

    return call


def _at(vector, index):
    # A dynamic slice: a gather would end the single kernel.
    return lax.dynamic_index_in_dim(vector, index, keepdims=False)


def _loop(
    gram, diagonal, inverse, limits, residual, w, count, tol, *, sweeps, positive
):
    block = min(BLOCK, len(w))
    blocks = (count + block - 1) // block

    def update(j, state):
        w, residual, largest = state
        old, scale, limit = _at(w, j), _at(diagonal, j), _at(limits, j)
        target = _at(residual, j) + scale * old
        if positive:
            shrunk = jnp.maximum(target - limit, 0)
        else:
            shrunk = jnp.sign(target) * jnp.maximum(jnp.abs(target) - limit, 0)
        new = shrunk * _at(inverse, j)
        change = new - old

        def subtract(i, residual):
            row = lax.dynamic_slice(gram, (j, i * block), (1, block))[0]
            part = lax.dynamic_slice(residual, (i * block,), (block,))
            return lax.dynamic_update_slice(residual, part - change * row, (i * block,))

        # Most coordinates stay where they are: these cost nothing.
        residual = lax.fori_loop(
            0, jnp.where(change == 0, 0, blocks), subtract, residual
        )
        w = lax.dynamic_update_index_in_dim(w, new, j, 0)
        return w, residual, jnp.maximum(largest, scale * jnp.abs(change))

    def sweep(state):
        w, residual, _, done = state
        state = lax.fori_loop(0, count, update, (w, residual, jnp.zeros_like(tol)))
        return *state, done + 1

    start = w, residual, jnp.full_like(tol, jnp.inf), jnp.zeros_like(count)
    w, residual, _, done = lax.while_loop(
        lambda state: (state[2] > tol) & (state[3] < sweeps), sweep, start
    )
    return w, residual, done
