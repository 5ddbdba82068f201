"""A square lattice as its four sublattices, which a sweep updates two by two.

On a periodic lattice of even sides the sites of one colour of a checkerboard have
neighbours of the other colour only: all of one colour can be drawn at once. Those of
even and of odd rows are apart here, so that every neighbour is an array as it stands or
rolled by one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Sublattices(NamedTuple):
    """The sites of a lattice (..., rows, columns), each (..., rows/2, columns/2)."""

    a0: jax.Array  # even row, even column: the first colour
    b0: jax.Array  # even row, odd column: the second colour
    b1: jax.Array  # odd row, even column: the second colour
    a1: jax.Array  # odd row, odd column: the first colour


def split(name: str, lattice) -> Sublattices:
    """The four sublattices; refuse, by the name of the argument, sides that are odd."""
    rows, columns = lattice.shape[-2:]
    if rows % 2 or columns % 2:
        size = f"{rows} x {columns} sites"
        raise ValueError(f"{name} has {size}: a checkerboard needs even sides")
    even, odd = lattice[..., ::2, :], lattice[..., 1::2, :]
    return Sublattices(even[..., ::2], even[..., 1::2], odd[..., ::2], odd[..., 1::2])


def join(parts: Sublattices):
    """The lattice of four sublattices."""
    *batch, rows, columns = parts.a0.shape
    even = jnp.stack([parts.a0, parts.b0], -1)
    odd = jnp.stack([parts.b1, parts.a1], -1)
    return jnp.stack([even, odd], -3).reshape(*batch, 2 * rows, 2 * columns)


def around_a(parts: Sublattices):
    """The four neighbours of each site of a0, and of a1."""
    b0, b1 = parts.b0, parts.b1
    return (
        (b0, jnp.roll(b0, 1, -1), b1, jnp.roll(b1, 1, -2)),
        (b1, jnp.roll(b1, -1, -1), b0, jnp.roll(b0, -1, -2)),
    )


def around_b(parts: Sublattices):
    """The four neighbours of each site of b0, and of b1."""
    a0, a1 = parts.a0, parts.a1
    return (
        (a0, jnp.roll(a0, -1, -1), a1, jnp.roll(a1, 1, -2)),
        (a0, jnp.roll(a0, -1, -2), a1, jnp.roll(a1, 1, -1)),
    )
