"""Clusters: the connected parts of a lattice or a graph whose bonds are on or off."""

import jax
import jax.numpy as jnp


def label(lowest, size: int):
    """Label each of `size` sites by the lowest index in its cluster, (size,) int32.

    lowest(labels) gives the least label of the neighbours of each site, `size` or more
    where it has none. Labels point to lower sites of the same cluster, and trees of
    pointers are hooked to lower ones until nothing changes, in a number of rounds that
    grows as the logarithm of size. Minima commute: the order of a scatter is free.

    Source: Zhang, Azad and Hu (2020), FastSV.
    """

    def hook(state):
        labels, _ = state
        parents = labels[labels]
        least = lowest(parents)
        new = jnp.minimum(labels.at[labels].min(least), jnp.minimum(parents, least))
        return new, jnp.any(new != labels)

    start = jnp.arange(size, dtype=jnp.int32), jnp.bool_(True)
    return jax.lax.while_loop(lambda state: state[1], hook, start)[0]


def of_graph(bonds, edges, size: int):
    """Labels, (size,), for bonds, (e,) booleans, on edges, (e, 2) int32."""
    first, second = edges[:, 0], edges[:, 1]

    def lowest(labels):
        least = jnp.full_like(labels, size)
        least = least.at[first].min(jnp.where(bonds, labels[second], size))
        return least.at[second].min(jnp.where(bonds, labels[first], size))

    return label(lowest, size)


def of_lattice(down, right):
    """Labels, (...) int32, for bonds (..., rows, columns) to the next row and column.

    The lattices are periodic. All sites of all of them are counted on, from 0.
    """
    shape, size = down.shape, down.size

    def lowest(labels):
        labels = labels.reshape(shape)
        least = jnp.int32(size)
        for bonds, axis in ((down, -2), (right, -1)):
            ahead = jnp.where(bonds, jnp.roll(labels, -1, axis), size)
            behind = jnp.roll(jnp.where(bonds, labels, size), 1, axis)
            least = jnp.minimum(least, jnp.minimum(ahead, behind))
        return least.reshape(-1)

    return label(lowest, size).reshape(shape)
