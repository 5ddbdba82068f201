"""The Potts model: E = -Σ J_ij δ(s_i, s_j), spins of q values on a graph or a lattice.

`swendsen_wang` takes any graph, as a list of its edges; `lattice` makes those of a
periodic one of any dimension. `heat_bath` is for square lattices. For q = 2 it is the
Ising model with twice its coupling, for q -> 1 percolation. k_B = 1.

    spins = potts.init(key, sites=n, q=20)
    spins, labels = potts.swendsen_wang(key, spins, edges, couplings, q=20,
                                        temperature=0.1)
"""

import functools
import math
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import AnyArray, Array, Count, Key, NonNegative, Scalar
from jaxml.physics import _checkerboard, _clusters, _random_bits

__all__ = [
    "Clusters",
    "critical_temperature",
    "energy",
    "heat_bath",
    "init",
    "lattice",
    "order_parameter",
    "swendsen_wang",
]


class Clusters(NamedTuple):
    """A configuration and the clusters that were just given their values."""

    spins: jax.Array  # (n,) int32, 0…q-1; -1 where an argument is out of range
    labels: jax.Array  # (n,) int32, the lowest site of each site's cluster; or -1


@_check.pure
def init(key: Key, *, sites: Count, q: Count) -> jax.Array:
    """Spins, (sites,) int32, each 0…q-1 with equal chance.

    key is jax.random.key(seed); reshape them for a square lattice.
    """
    return jax.random.randint(key, (sites,), 0, q, jnp.int32)


@_check.host
def lattice(*, shape: tuple[int, ...]) -> np.ndarray:
    """Edges, (d·n, 2) int32, of a periodic cubic lattice of any dimension d.

    shape gives its d sides; site i of n is that of the array of this shape, row by row.
    A side of 2 has each bond twice, as one that is rolled does.
    """
    shape = tuple(_check.count("shape", side) for side in shape)
    sites = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    ahead = [np.roll(sites, -1, axis) for axis in range(len(shape))]
    return np.concatenate([np.stack([sites, a], -1).reshape(-1, 2) for a in ahead])


# --- samplers ------------------------------------------------------------------------


@_check.pure
def swendsen_wang(
    key: Key,
    spins: AnyArray,
    edges: Annotated[Array, "e 2:labels"],
    couplings: Annotated[Array, "e", "[0, inf)"],
    *,
    q: Count,
    temperature: NonNegative,
) -> Clusters:
    """P(bond on ij) = δ(s_i, s_j) (1 - e^(-J_ij/T)); each cluster then draws a value.

    A step of a Markov chain whose stationary distribution is ∝ e^(-E/T), on any graph.

    Args:
        key: jax.random.key(seed), another one for each step.
        spins: (n,) integers 0…q-1.
        edges: (e, 2) integers 0…n-1, the sites that each edge joins.
        couplings: (e,) J >= 0; an edge of coupling 0 is none, and can fill up a list.
        q: how many values a spin may have, 1 or more.
        temperature: () T >= 0; at 0 all edges of J > 0 between equal spins are bonds.

    Returns:
        Clusters(spins, labels), both (n,) int32. Under jit they are -1 throughout where
        a value is out of range.

    Raises:
        ValueError: shapes that do not agree; spins, edges or couplings out of range.

    Source: Swendsen and Wang (1987).

    """
    spins = _on_sites(spins, edges)
    _check.labels("spins", spins, q)
    temperature = jnp.asarray(temperature, couplings.dtype)
    return _swendsen_wang(key, spins, edges, couplings, temperature, q)


@functools.partial(jax.jit, static_argnames="q")
def _swendsen_wang(key, spins, edges, couplings, temperature, q):
    bond_key, value_key = jax.random.split(key)
    n = len(spins)
    limits = _random_bits.of_bond(couplings, temperature)
    bonds = _random_bits.bits(bond_key, couplings.shape) < limits
    bonds &= spins[edges[:, 0]] == spins[edges[:, 1]]
    labels = _clusters.of_graph(bonds, edges, n)
    values = jax.random.randint(value_key, (n,), 0, q, jnp.int32)
    valid = jnp.all((spins >= 0) & (spins < q)) & jnp.all((edges >= 0) & (edges < n))
    valid &= jnp.all(couplings >= 0) & (temperature >= 0)
    return Clusters(jnp.where(valid, values[labels], -1), jnp.where(valid, labels, -1))


@_check.pure
def heat_bath(
    key: Key,
    spins: Annotated[Array, "...:labels"],
    *,
    q: Count,
    temperature: NonNegative,
    coupling: Scalar = 1.0,
) -> jax.Array:
    """P(s_i = a) ∝ e^(J n_a/T), n_a of the four neighbours of i being a: one sweep.

    First the sites of one colour of a checkerboard are drawn, then the others.

    Args:
        key: jax.random.key(seed), another one for each sweep.
        spins: (..., rows, columns) integers 0…q-1 on periodic lattices of even sides.
        q: how many values a spin may have, 1 or more.
        temperature: () T >= 0; at 0 the values of lowest energy are equally likely.
        coupling: () J, of either sign.

    Returns:
        The new spins, int32, of the same shape; under jit -1 throughout where a spin, T
        or J is out of range. Probabilities have the precision of a float.

    Raises:
        ValueError: spins out of range, or on no lattices of even sides.

    """
    if spins.ndim < 2 or not spins.size:
        raise ValueError(f"spins has shape {spins.shape}, not (..., rows, columns)")
    _check.labels("spins", spins, q)
    dtype = jnp.result_type(temperature, coupling, float)
    temperature, coupling = (jnp.asarray(a, dtype) for a in (temperature, coupling))
    return _heat_bath(key, spins, temperature, coupling, q)


@functools.partial(jax.jit, static_argnames="q")
def _heat_bath(key, spins, temperature, coupling, q):
    parts = _checkerboard.split("spins", spins)
    key_a, key_b = jax.random.split(key)
    draw = functools.partial(_draw, t=temperature, j=coupling, q=q)
    a0, a1 = draw(key_a, _checkerboard.around_a(parts))
    parts = parts._replace(a0=a0, a1=a1)
    b0, b1 = draw(key_b, _checkerboard.around_b(parts))
    parts = parts._replace(b0=b0, b1=b1)
    valid = jnp.all((spins >= 0) & (spins < q))
    valid &= (temperature >= 0) & jnp.isfinite(coupling)
    return jnp.where(valid, _checkerboard.join(parts), -1)


def _draw(key, around, *, t, j, q):
    """A value for each site of two sublattices, given those of their neighbours."""
    neighbours = [jnp.stack(pair) for pair in zip(*around)]
    nothing = jnp.zeros(neighbours[0].shape, t.dtype)

    def lowered(a):
        """By how much value a lowers the energy."""
        return j * sum((each == a).astype(t.dtype) for each in neighbours)

    def over_values(fold, start):
        return jax.lax.fori_loop(0, q, lambda a, state: fold(state, a), start)

    most = over_values(lambda best, a: jnp.maximum(best, lowered(a)), nothing - jnp.inf)

    def weight(a):
        gap = most - lowered(a)
        return jnp.where(gap == 0, 1, jnp.exp(-gap / t))

    total = over_values(lambda sum_, a: sum_ + weight(a), nothing)
    place = jax.random.uniform(key, total.shape, t.dtype) * total

    def passed(state, a):
        sum_, value = state
        sum_ += weight(a)
        return sum_, value + (sum_ <= place)

    value = over_values(passed, (nothing, jnp.zeros(total.shape, jnp.int32)))[1]
    # The last sum is the total, which the rounded product may reach.
    return jnp.minimum(value, q - 1)


def _on_sites(spins, edges):
    """The spins, (n,) int32; refuse edges, if they are concrete, to other sites."""
    spins = _check.array("spins", jnp.asarray(spins), True).astype(jnp.int32)
    _check.shapes(spins=(spins, "n"))
    _check.labels("edges", edges, len(spins))
    return spins


# --- observables ---------------------------------------------------------------------


@_check.pure
def energy(
    spins: AnyArray,
    edges: Annotated[Array, "e 2:labels"],
    couplings: Annotated[Array, "e", "[0, inf)"],
) -> jax.Array:
    """E = -Σ J_ij δ(s_i, s_j), ().

    Arguments as in `swendsen_wang`: spins (n,), edges (e, 2), couplings (e,). NaN under
    jit where an edge leads out of the graph.
    """
    spins = _on_sites(spins, edges)
    valid = jnp.all((edges >= 0) & (edges < len(spins)))
    valid &= ~jnp.isnan(couplings).any()
    equal = spins[edges[:, 0]] == spins[edges[:, 1]]
    return jnp.where(
        valid, -jnp.vdot(equal.astype(couplings.dtype), couplings), jnp.nan
    )


@_check.pure
def order_parameter(spins: Annotated[Array, "n:labels"], *, q: Count) -> jax.Array:
    """m = (q max_a n_a/n - 1) / (q - 1), (): from 0, in disorder, to 1.

    n_a of the spins, (n,), have value a of q >= 2. NaN under jit for spins that are
    not 0…q-1.
    """
    q = _check.count("q", q, at_least=2)
    _check.labels("spins", spins, q)
    valid = jnp.all((spins >= 0) & (spins < q))
    most = jnp.max(jnp.bincount(spins, length=q))
    m = (q * (most / len(spins)) - 1) / (q - 1)
    return jnp.where(valid, m, jnp.nan)


@_check.pure
def critical_temperature(*, q: Count, coupling: Scalar = 1.0) -> jax.Array:
    """T_c = J / ln(1 + √q), (), of the square lattice.

    q values, 1 or more; coupling J, (). The transition is continuous for q <= 4. With
    q = 2 and J = 2 it is Ising's. Source: Potts (1952); Baxter (1973).
    """
    return jnp.asarray(coupling) / math.log(1 + math.sqrt(q))
