"""Clusters as magnetic domains: superparamagnetic clustering (slides 2.3).

Each row carries a Potts spin, coupled to those of its neighbours, more strongly the
nearer they are. When it is cold all spins agree, when it is hot none do; between them
there are temperatures at which dense regions agree within and not with each other.
These are the clusters: of any shape, and of any number.

    graph = superparamagnetic.neighbours(x, count=10)
    found = superparamagnetic.sample(key, graph, temperatures=jnp.linspace(0, 0.2, 21))
    labels = superparamagnetic.clusters(graph, found.correlation[8])
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, Key, Rows, Scalar, Static
from jaxml._distances import squared
from jaxml._rows import each
from jaxml._units import unit_of
from jaxml.physics import _clusters, potts

__all__ = ["Graph", "Samples", "clusters", "neighbours", "sample"]


class Graph(NamedTuple):
    """Which rows are neighbours, and how strongly they are coupled."""

    edges: Annotated[jax.Array, "e 2"]  # int32, each row with its nearest ones
    # J; 0 where they are not mutual, or there already
    couplings: Annotated[jax.Array, "e"]
    sites: Annotated[jax.Array, "m"]  # int32, 0…m-1


@_check.pure(jit=True)
def neighbours(x: Rows, *, count: Count) -> Graph:
    """J_ij = e^(-|xᵢ - xⱼ|²/2a²) / K where i and j are among each other's nearest.

    a is the mean distance of such neighbours and K their mean number. A row that is as
    near as the last one taken counts as taken.

    Args:
        x: (m, n) rows.
        count: how many nearest rows of each are looked at, below m.

    Returns:
        Graph.

    Raises:
        ValueError: count >= m, values not finite.

    Source: Blatt, Wiseman and Domany (1996).

    """
    m = len(x)
    if count >= m:
        raise ValueError(f"count must be below m = {m}, not {count}")
    # Which rows are the nearest is a choice: only their distances have derivatives.
    x = x / unit_of(x)
    nearest = _nearest(jax.lax.stop_gradient(x), count)
    sites = jnp.arange(m, dtype=jnp.int32)
    first, second = jnp.repeat(sites, count), nearest.reshape(-1)
    square = jnp.sum((x[first] - x[second]) ** 2, axis=1)
    # Of rows as near as each other any may be the last to be taken: what counts is how
    # near it is. A pair that both have taken is there once.
    radius = jnp.max(square.reshape(m, count), axis=1)
    back = jnp.any(nearest[second] == first[:, None], axis=1)
    mutual = (square <= radius[second]) & ((first < second) | ~back)
    apart = jnp.where(mutual & (square > 0), square, 1)
    distance = jnp.where(mutual & (square > 0), jnp.sqrt(apart), 0)
    pairs = jnp.maximum(jnp.sum(mutual), 1)
    a = jnp.sum(distance) / pairs
    # Where all neighbours coincide they are as near as can be.
    width = jnp.where(a > 0, a, 1)
    coupling = jnp.exp(-0.5 * square / width**2) * m / (2 * pairs)
    coupling = jnp.where(mutual, coupling, 0)
    valid = jnp.isfinite(x).all()
    edges = jnp.stack([first, second], axis=1)
    return Graph(edges, jnp.where(valid, coupling, jnp.nan), sites)


def _nearest(x, count):
    """The nearest other rows, (m, count)."""
    sites = jnp.arange(len(x), dtype=jnp.int32)

    def of(rows, number):
        result = squared(rows, x, own=number)
        result = jnp.where(number[:, None] == sites[None], jnp.inf, result)
        return jax.lax.top_k(-result, count)[1].astype(jnp.int32)

    return each(of, x, sites)


class Samples(NamedTuple):
    """What the spins do at each of s temperatures."""

    temperatures: jax.Array  # (s,)
    magnetisation: jax.Array  # (s,) ⟨m⟩: 1 where all spins agree
    susceptibility: jax.Array  # (s,) χ = (sites/T) var m: large where domains turn
    correlation: jax.Array  # (s, edges) G_ij = ⟨δ(s_i, s_j)⟩


@_check.pure(jit=True)
def sample(
    key: Key,
    graph: Graph,
    *,
    temperatures: Annotated[Array, "s", "[0, inf)"],
    q: Count = 20,
    sweeps: Count = 200,
    burn: Annotated[Static[int], "[0, inf)"] = 50,
) -> Samples:
    """G_ij = ((q - 1) c_ij + 1)/q, c_ij how often a cluster of bonds holds both.

    Args:
        key: () of jax.random.key.
        graph: of `neighbours`.
        temperatures: (s,) T > 0.
        q: values of a spin.
        sweeps: Swendsen-Wang steps that are counted, at each temperature.
        burn: steps before them.

    Returns:
        Samples.

    Raises:
        ValueError: temperatures not finite or negative.

    Source: Blatt, Wiseman and Domany (1996).

    """
    edges, couplings, sites = graph
    couplings = jax.lax.stop_gradient(couplings)
    first, second = edges[:, 0], edges[:, 1]

    def at(key_and_temperature):
        key, temperature = key_and_temperature

        def step(spins, key):
            result = potts.swendsen_wang(
                key, spins, edges, couplings, q=q, temperature=temperature
            )
            m = potts.order_parameter(result.spins, q=q)
            return result.spins, (m, result.labels[first] == result.labels[second])

        def count(carry, key):
            spins, sums = carry
            spins, (m, same) = step(spins, key)
            new = jnp.stack([m, m * m]), same
            new = jax.tree.map(lambda a: a.astype(couplings.dtype), new)
            return (spins, jax.tree.map(jnp.add, sums, new)), None

        keys = jax.random.split(key, burn + sweeps)
        spins, _ = jax.lax.scan(step, jnp.zeros_like(sites), keys[:burn])
        zeros = jnp.zeros_like(couplings, shape=2), jnp.zeros_like(couplings)
        (_, sums), _ = jax.lax.scan(count, (spins, zeros), keys[burn:])
        moments, same = jax.tree.map(lambda a: a / sweeps, sums)
        variance = jnp.maximum(moments[1] - moments[0] ** 2, 0)
        return moments[0], len(sites) * variance / temperature, same

    keys = jax.random.split(key, len(temperatures))
    m, chi, same = jax.lax.map(at, (keys, jax.lax.stop_gradient(temperatures)))
    return Samples(temperatures, m, chi, ((q - 1) * same + 1) / q)


@_check.pure(jit=True)
def clusters(
    graph: Graph, correlation: Annotated[Array, "e"], *, threshold: Scalar = 0.5
) -> jax.Array:
    """The parts that links of G_ij > threshold make, (m,) int32: their lowest rows.

    Each row is also linked to the neighbour with which it agrees most often, so that
    the rim of a cluster is not lost.

    Args:
        graph: of `neighbours`.
        correlation: (e,) G of its edges at one temperature.
        threshold: () between 1/q and 1; what lies far from both hardly matters.

    Raises:
        ValueError: correlation of another number of edges.

    Source: Blatt, Wiseman and Domany (1996).

    """
    edges, couplings, sites = graph
    first, second = edges[:, 0], edges[:, 1]
    real = jnp.where(couplings > 0, correlation, -jnp.inf)
    most = jnp.full_like(real, -jnp.inf, shape=len(sites))
    most = most.at[first].max(real).at[second].max(real)
    own = (real == most[first]) | (real == most[second])
    bonds = (couplings > 0) & ((correlation > threshold) | own)
    return _clusters.of_graph(bonds, edges, len(sites))
