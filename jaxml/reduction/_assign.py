"""One pass of k-means over the rows: who belongs where, and what that sums to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxml._rows import product, total

FEW = 32  # clusters up to which the scores of a row lie side by side


class Assigned(NamedTuple):
    """What the rows of each cluster sum to."""

    sums: jax.Array  # (k, n) Σ wᵢ xᵢ
    counts: jax.Array  # (k,) Σ wᵢ
    cost: jax.Array  # () Σ wᵢ |xᵢ - μ|² / Σ wᵢ
    distance: jax.Array  # () the largest |xᵢ - μ|² of a row
    farthest: jax.Array  # (n,) that row


def assign(x, squares, weights, centres, active=None) -> Assigned:
    """squares, (m,), are |xᵢ|²: the same in all steps."""

    def sums(x, square, w):
        label, top = nearest(x, centres, active)
        square = jnp.maximum(square - 2 * top, 0)
        weighted = square if w is None else square * w
        # A row that is left out must not become a centre.
        seen = square if w is None else jnp.where(w > 0, square, 0)
        last = jnp.argmax(seen)
        added, counts = _sums(x, w, label, len(centres))
        return Assigned(added, counts, jnp.sum(weighted), seen[last], x[last])

    found = total(sums, x, squares, weights, add=_joined)
    return found._replace(cost=found.cost / jnp.sum(found.counts))


def _joined(a: Assigned, b: Assigned) -> Assigned:
    sums = jax.tree.map(jnp.add, a, b)
    nearer = a.distance >= b.distance
    return sums._replace(
        distance=jnp.where(nearer, a.distance, b.distance),
        farthest=jnp.where(nearer, a.farthest, b.farthest),
    )


def scores(x, centres):
    """x·μ - |μ|²/2, (m, k): the greatest is that of the nearest centre."""
    return product(x, centres.T) - 0.5 * jnp.sum(centres * centres, axis=1)[None]


def nearest(x, centres, active=None):
    """The label, (m,), and the score of the nearest centre, (m,), of each row."""
    k = len(centres)
    half = 0.5 * jnp.sum(centres * centres, axis=1)
    if active is not None:
        half = jnp.where(active, half, jnp.inf)
    if k <= FEW:
        scores = product(x, centres.T) - half[None]
        return jnp.argmax(scores, axis=1).astype(jnp.int32), jnp.max(scores, axis=1)
    # Laid out so that the maximum is one of whole rows; argmax is a scalar loop.
    scores = product(centres, x.T) - half[:, None]
    top = jnp.max(scores, axis=0)
    number = jnp.arange(k, dtype=jnp.int32)[:, None]
    return jnp.min(jnp.where(scores == top[None], number, k - 1), axis=0), top


def _sums(x, w, label, k):
    """Σ wᵢ xᵢ, (k, n), and Σ wᵢ, (k,), of the rows with each label."""

    def by_product(x, w, label):
        chosen = label[:, None] == jnp.arange(k, dtype=jnp.int32)[None]
        chosen = chosen.astype(x.dtype) * (1 if w is None else w[:, None])
        return product(chosen.T, x), jnp.sum(chosen, axis=0)

    def by_scatter(x, w, label):
        ones = jnp.ones_like(x[:, 0]) if w is None else w
        rows = x if w is None else x * w[:, None]
        sums = jnp.zeros_like(x, shape=(k, x.shape[1])).at[label].add(rows)
        return sums, jnp.zeros_like(ones, shape=k).at[label].add(ones)

    if k <= FEW:
        return by_product(x, w, label)
    # On accelerators a scatter adds in any order, and the last bits would vary.
    return jax.lax.platform_dependent(x, w, label, cpu=by_scatter, default=by_product)


def _counts(w, label, k):
    """Σ wᵢ, (k,), of the rows with each label."""

    def by_scatter(w, label):
        return jnp.zeros_like(w, shape=k).at[label].add(w)

    def by_sum(w, label):
        number = jnp.arange(k, dtype=jnp.int32)
        return jnp.sum(jnp.where(label[:, None] == number[None], w[:, None], 0), axis=0)

    return jax.lax.platform_dependent(w, label, cpu=by_scatter, default=by_sum)


def moved(found: Assigned, centres, active=None):
    """The new centres, and whether one that was empty was moved."""
    empty = found.counts == 0
    means = found.sums / jnp.where(empty, 1, found.counts)[:, None]
    new = jnp.where(empty[:, None], centres, means)
    if active is not None:
        empty &= active
    # The expanded square is not quite 0 for a row that lies at a centre.
    exact = jnp.min(jnp.sum((found.farthest[None] - centres) ** 2, axis=1))
    moving = empty.any() & (found.distance > 0) & (exact > 0)
    first = jnp.argmax(empty)
    return new.at[first].set(jnp.where(moving, found.farthest, new[first])), moving


def distortion(x, weights, centres, active=None):
    """J, (), and the weight of each cluster, (k,), from differences, not squares."""
    shift = jnp.mean(centres, axis=0, keepdims=True)

    def sums(x, w):
        centred = x - shift
        label = jax.lax.stop_gradient(nearest(centred, centres - shift, active)[0])
        square = jnp.sum((x - centres[label]) ** 2, axis=1)
        w = jnp.ones_like(square) if w is None else w
        return jnp.vdot(w, square), _counts(w, label, len(centres))

    value, counts = total(sums, x, weights)
    return value / jnp.sum(counts), counts
