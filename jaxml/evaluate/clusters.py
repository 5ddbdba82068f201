"""How good clusters are: by themselves, or against classes that are known.

Labels are integers 0…k-1; which cluster has which number does not matter. Weights are
counts of rows: a weight of 2 is a row that is there twice. Where a score is undefined,
and under jit where an argument is NaN or out of range, it is NaN. What clusters cost is
`kmeans.cost`, the inertia over m.
"""

from typing import Annotated

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, Rows, Weights
from jaxml._distances import root, squared
from jaxml._rows import each
from jaxml._units import unit_of
from jaxml.evaluate.metrics import confusion

__all__ = ["adjusted_rand", "davies_bouldin", "mutual_information", "silhouette"]

HUGE = 2.0**30  # in units of the largest entry: what is larger counts for nothing


@_check.pure(jit=True)
def silhouette(
    x: Rows,
    labels: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    weights: Weights | None = None,
) -> jax.Array:
    """sᵢ = (bᵢ - aᵢ) / max(aᵢ, bᵢ), (m,): 1 well inside a cluster, < 0 in a wrong one.

    aᵢ is the mean distance to the other rows of its cluster, bᵢ to those of the nearest
    other one. The mean of s over rows scores all clusters. A row that is alone has 0.

    Args:
        x: (m, n) rows.
        labels: (m,) 0…k-1.
        k: how many clusters there may be; at least two must hold rows.
        weights: (m,) counts of the rows; 1 if None.

    Raises:
        ValueError: labels out of range, shapes that do not agree, values not finite.

    Source: Rousseeuw (1987).

    """
    w, member = _members(labels, weights, k, x.dtype)
    counts, unit = jnp.sum(member, axis=0), unit_of(x, w)
    others_x = jnp.clip(x / unit, -HUGE, HUGE)  # a row that is not there may be larger

    def of(rows, number, label, there):
        distance = root(squared(rows / unit, others_x, own=number))
        sums = distance @ member
        mine = label[:, None] == jnp.arange(k)[None]
        others = jnp.sum(jnp.where(mine, counts[None], 0), axis=1) - there
        a = jnp.sum(jnp.where(mine, sums, 0), axis=1) / jnp.where(others > 0, others, 1)
        mean = sums / jnp.where(counts > 0, counts, 1)[None]
        b = jnp.min(jnp.where(mine | (counts == 0)[None], jnp.inf, mean), axis=1)
        larger = jnp.maximum(a, b)
        result = (b - a) / jnp.where(larger > 0, larger, 1)
        return jnp.where(others > 0, result, 0)

    number, there = jnp.arange(len(x), dtype=jnp.int32), (w > 0).astype(x.dtype)
    result = each(of, x, number, labels, there)
    valid = (jnp.sum(counts > 0) > 1) & ~jnp.isnan(w).any()
    return jnp.where(valid & jnp.isfinite(x).all(), result, jnp.nan)


@_check.pure(jit=True)
def davies_bouldin(
    x: Rows,
    labels: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    weights: Weights | None = None,
) -> jax.Array:
    """Mean over clusters of max_{j≠i} (sᵢ + sⱼ)/|μᵢ - μⱼ|, (): the smaller the better.

    μ are the means and s the mean distances of a cluster's rows from its mean; two
    clusters with the same mean are not compared, as in scikit-learn. x, (m, n), labels,
    (m,), k and weights, (m,), as in `silhouette`, which raises the same.

    Source: Davies and Bouldin (1979).
    """
    w, member = _members(labels, weights, k, x.dtype)
    unit, counts = unit_of(x, w), jnp.sum(member, axis=0)
    x = jnp.clip(x / unit, -HUGE, HUGE)  # a row of weight 0 may be larger
    used = counts > 0
    total = jnp.where(used, counts, 1)
    shift = jnp.sum(member.T @ x, axis=0, keepdims=True) / jnp.sum(total)
    means = shift + (member.T @ (x - shift)) / total[:, None]
    # What that left of a cluster that is far from the others, from nearby.
    means += (member.T @ (x - means[labels])) / total[:, None]
    away = root(jnp.sum((x - means[labels]) ** 2, axis=1))
    spread = (member.T @ away) / total
    between = squared(means, means, own=jnp.arange(k, dtype=jnp.int32))
    pair = used[:, None] & used[None] & ~jnp.eye(k, dtype=bool)
    pair &= between > 0
    ratio = spread[:, None] + spread[None]
    ratio = ratio / jnp.sqrt(jnp.where(pair, between, 1))
    worst = jnp.max(jnp.where(pair, ratio, 0), axis=1)
    result = jnp.sum(jnp.where(used, worst, 0)) / jnp.sum(used)
    valid = (jnp.sum(used) > 1) & ~jnp.isnan(w).any() & jnp.isfinite(x).all()
    return jnp.where(valid, result, jnp.nan)


@_check.pure
def adjusted_rand(
    y: Annotated[Array, "m:labels k"],
    labels: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    weights: Weights | None = None,
) -> jax.Array:
    """(R - ⟨R⟩) / (max R - ⟨R⟩), (): 1 for the same partition, about 0 for chance.

    R counts the pairs of rows that are together in both partitions; ⟨R⟩ is its mean
    over all partitions with clusters as large as these.

    Args:
        y: (m,) known classes 0…k-1.
        labels: (m,) clusters 0…k-1.
        k: how many of either there may be.
        weights: (m,) counts of the rows; 1 if None.

    Raises:
        ValueError: labels out of range, shapes that do not agree.

    Source: Hubert and Arabie (1985).

    """
    table = confusion(y, labels, k=k, weights=weights)
    both, a, b = (jnp.sum(t * (t - 1)) / 2 for t in (table, *_margins(table)))
    m = jnp.sum(table)
    pairs = m * (m - 1) / 2
    chance = a * (b / jnp.where(pairs == 0, 1, pairs))
    most = (a + b) / 2
    # One cluster each, or as many as rows: there is only one such partition.
    return jnp.where(most == chance, 1.0, (both - chance) / (most - chance))


@_check.pure
def mutual_information(
    y: Annotated[Array, "m:labels k"],
    labels: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    weights: Weights | None = None,
) -> jax.Array:
    """NMI = 2 I(y; c) / (H(y) + H(c)), (): 1 for the same partition, 0 if independent.

    I is the mutual information of classes and clusters, H their entropies; 1 where both
    are 0. y, (m,), labels, (m,), k and weights, (m,), as in `adjusted_rand`, which
    raises the same. Source: Strehl and Ghosh (2002), with the arithmetic mean.
    """
    table = confusion(y, labels, k=k, weights=weights)
    p = table / jnp.sum(table)
    joint, *own = (_entropy(q) for q in (p, *_margins(p)))
    both = own[0] + own[1]
    shared = 2 * jnp.maximum(both - joint, 0) / jnp.where(both == 0, 1, both)
    return jnp.where(both == 0, 1.0, shared)


def _entropy(p):
    """-Σ p ln p; what is not there has no derivative."""
    nonzero = p != 0
    return -jnp.sum(jnp.where(nonzero, p * jnp.log(jnp.where(nonzero, p, 1)), 0))


def _margins(table):
    return jnp.sum(table, axis=0), jnp.sum(table, axis=1)


def _members(labels, weights, k, dtype):
    """Weights, NaN where out of range, and in the column of each row's cluster."""
    w = jnp.ones(len(labels), dtype) if weights is None else weights
    valid = (w >= 0) & (labels >= 0) & (labels < k)
    w = jnp.where(valid, w, jnp.nan)
    member = labels[:, None] == jnp.arange(k, dtype=labels.dtype)[None]
    return w, jnp.where(member, w[:, None], 0)
