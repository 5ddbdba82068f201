"""Rows of the kernel matrix, kept for a search that asks for many of them again.

A ring: new rows overwrite the oldest. Of 20,000 rows that a search on MNIST asks for
4,000 are different ones, and to compute a row is most of the work.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

CHUNK = 64  # rows that are computed together: fewer would read all of x too often
MOST = 4096  # rows that are kept
ROOM = 100_000_000  # values that are kept, 400 MB in float32; more only if it must


class Cache(NamedTuple):
    """The last rows, and where they are."""

    rows: jax.Array  # (c, m)
    owner: jax.Array  # (c,) int32, which row of the matrix each is; -1 for none
    place: jax.Array  # (m,) int32, where each was put last
    head: jax.Array  # () int32, where the next will be put


def empty(m: int, asked: int, dtype) -> Cache:
    """A Cache for rows of length m of which `asked` are fetched at a time."""
    chunks = max(4 * _chunks(asked), min(MOST, ROOM // m) // CHUNK)
    size = CHUNK * chunks
    return Cache(
        rows=jnp.zeros((size, m), dtype),
        owner=jnp.full(size, -1, jnp.int32),
        place=jnp.zeros(m, jnp.int32),
        head=jnp.int32(0),
    )


def fetch(
    cache: Cache, wanted: jax.Array, compute: Callable[[jax.Array], jax.Array]
) -> Cache:
    """A Cache with the rows wanted, (q,) int32, in it, also after the next fetch.

    compute(i), (CHUNK, m), gives rows of the matrix; only missing ones are asked for.
    """
    size, most = len(cache.owner), CHUNK * _chunks(len(wanted))
    place = cache.place[wanted]
    # What would be overwritten by this or the next fetch counts as missing.
    age = (cache.head - 1 - place) % size
    missing = (cache.owner[place] != wanted) | (age >= size - 2 * most)
    first = wanted[jnp.argsort(~missing, stable=True)]
    first = jnp.pad(first, (0, most - len(wanted)), mode="edge")

    def add(i, cache: Cache) -> Cache:
        which = lax.dynamic_slice_in_dim(first, i * CHUNK, CHUNK)
        head = cache.head

        def put(old, new):
            return lax.dynamic_update_slice_in_dim(old, new, head, 0)

        return Cache(
            rows=put(cache.rows, compute(which)),
            owner=put(cache.owner, which),
            place=cache.place.at[which].set(head + jnp.arange(CHUNK, dtype=jnp.int32)),
            head=(head + CHUNK) % size,
        )

    chunks = -(-jnp.sum(missing, dtype=jnp.int32) // CHUNK)
    return lax.fori_loop(0, chunks, add, cache)


def _chunks(rows: int) -> int:
    return -(-rows // CHUNK)
