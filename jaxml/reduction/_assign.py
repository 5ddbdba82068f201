"""Who belongs to which cluster, and what the rows of each cluster sum to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxml._rows import ROWS, each, product, total

FEW = 32  # clusters up to which the scores of a row lie side by side
SLACK = 16  # by how many |x|² eps an expanded square may be wrong


class Rows(NamedTuple):
    """The data, centred as they are read, which takes no copy of all of them.

    In float32 the scores of rows that are far from the origin have no digits.
    """

    x: jax.Array  # (m, n)
    shift: jax.Array  # (1, n) a point in their midst
    squares: jax.Array  # (m,) |xᵢ - shift|²
    weights: jax.Array | None  # (m,) w


def about(point, x, weights) -> Rows:
    """Rows measured from a point, (n,), in their midst."""
    shift = point[None]
    squares = each(lambda x: jnp.sum((x - shift) ** 2, axis=1), x)
    return Rows(x, shift, squares, weights)


class Sums(NamedTuple):
    """Of the rows of each cluster."""

    x: jax.Array  # (k, n) Σ wᵢ xᵢ
    weight: jax.Array  # (k,) Σ wᵢ
    members: jax.Array  # (k,) int32, rows that weigh anything: exact, unlike weight


class Assigned(NamedTuple):
    """The cluster of each row, kept from step to step.

    While upper <= lower no other centre can be nearer than its own.
    """

    label: jax.Array  # (m,) int32; k: not known yet
    upper: jax.Array  # (m,) at least |xᵢ - μ| from its own centre
    lower: jax.Array  # (m,) at most |xᵢ - μ| from any other centre
    sums: Sums
    fresh: jax.Array  # () bool, whether all rows were looked at in the last pass


def unknown(x, k) -> Assigned:
    """Rows, (m, n), that have yet to be looked at."""
    m, n = x.shape
    return Assigned(
        label=jnp.full(m, k, jnp.int32),
        upper=jnp.full_like(x, jnp.inf, shape=m),
        lower=jnp.zeros_like(x, shape=m),
        sums=Sums(
            x=jnp.zeros_like(x, shape=(k, n)),
            weight=jnp.zeros_like(x, shape=k),
            members=jnp.zeros(k, jnp.int32),
        ),
        fresh=jnp.array(False),
    )


def assign(found: Assigned, rows: Rows, centres, active=None) -> Assigned:
    """Give the nearest centre to each row of which it is not certain (Hamerly, 2010).

    An accelerator looks at all rows, and so does one block: what is saved would be
    spent on finding them.
    """
    m, k = len(rows.x), len(centres)

    def look(label, rows, change=_change) -> Assigned:
        """What the rows become, and by how much that changes the sums."""
        x = rows.x - rows.shift
        new, top, second = nearest(x, centres, active)

        def distance(score, slack):
            square = jnp.maximum(rows.squares - 2 * score, 0)
            square = (1 + slack) * square + slack * rows.squares
            return jnp.sqrt(jnp.maximum(square, 0))

        slack = SLACK * jnp.finfo(x.dtype).eps
        upper, lower = distance(top, slack), distance(second, -slack)
        sums = change(x, rows.weights, label, new, k)
        return Assigned(new, upper, lower, sums, fresh=jnp.array(True))

    def uncertain(found, rows):
        need = found.upper > found.lower
        count = jnp.sum(need, dtype=jnp.int32)
        order = jnp.flatnonzero(need, size=m + -m % ROWS, fill_value=m)

        def block(i, found):
            chosen = jax.lax.dynamic_slice_in_dim(order, i * ROWS, ROWS)
            part = look(found.label[chosen], _taken(rows, chosen), _change_by_few)
            return Assigned(
                label=found.label.at[chosen].set(part.label, mode="drop"),
                upper=found.upper.at[chosen].set(part.upper, mode="drop"),
                lower=found.lower.at[chosen].set(part.lower, mode="drop"),
                sums=jax.tree.map(jnp.add, found.sums, part.sums),
                fresh=found.fresh,
            )

        found = found._replace(fresh=count == m)
        return jax.lax.fori_loop(0, (count + ROWS - 1) // ROWS, block, found)

    def every(found, rows):
        return look(jnp.full_like(found.label, k), rows)

    if m <= 2 * ROWS:
        return every(found, rows)
    return jax.lax.platform_dependent(found, rows, cpu=uncertain, default=every)


def _taken(rows: Rows, chosen) -> Rows:
    """The rows chosen; those past the last, which fill a block, weigh nothing."""

    def take(a):
        return a.at[chosen].get(mode="clip")

    weights = (chosen < len(rows.x)).astype(rows.x.dtype)
    if rows.weights is not None:
        weights *= take(rows.weights)
    return Rows(take(rows.x), rows.shift, take(rows.squares), weights)


def scores(x, centres):
    """x·μ - |μ|²/2, (m, k): the greatest is that of the nearest centre."""
    return product(x, centres.T) - 0.5 * jnp.sum(centres * centres, axis=1)[None]


def nearest(x, centres, active=None):
    """The nearest centre of each row, (m,), its score, and that of the next, (m,)."""
    k = len(centres)
    half = 0.5 * jnp.sum(centres * centres, axis=1)
    if active is not None:
        half = jnp.where(active, half, jnp.inf)
    number = jnp.arange(k, dtype=jnp.int32)
    if k <= FEW:
        score = product(x, centres.T) - half[None]
        label = jnp.argmax(score, axis=1).astype(jnp.int32)
        others = jnp.where(number[None] == label[:, None], -jnp.inf, score)
        return label, jnp.max(score, axis=1), jnp.max(others, axis=1)
    # Laid out so that the maximum is one of whole rows; argmax is a scalar loop.
    score = product(centres, x.T) - half[:, None]
    top = jnp.max(score, axis=0)
    label = jnp.min(jnp.where(score == top[None], number[:, None], k - 1), axis=0)
    others = jnp.where(number[:, None] == label[None], -jnp.inf, score)
    return label, top, jnp.max(others, axis=0)


def summed(rows: Rows, label, k) -> Sums:
    """What the rows with each label sum to."""

    def part(x, w, label):
        return _change(x - rows.shift, w, jnp.full_like(label, k), label, k)

    return total(part, rows.x, rows.weights, label)


def _change(x, w, old, new, k) -> Sums:
    """What the sums gain when the labels old become new; k stands for none."""
    w = jnp.ones_like(x[:, 0]) if w is None else w
    some = (w > 0).astype(jnp.int32)

    def by_product(x, w, old, new):
        number = jnp.arange(k, dtype=jnp.int32)[None]
        gain = (new[:, None] == number).astype(jnp.int32)
        gain -= (old[:, None] == number).astype(jnp.int32)
        weighted = gain * w[:, None]
        members = jnp.sum(gain * some[:, None], axis=0, dtype=jnp.int32)
        return Sums(product(weighted.T, x), jnp.sum(weighted, axis=0), members)

    def by_scatter(x, w, old, new):
        into, out = (jnp.where(new == old, k, label) for label in (new, old))

        def move(values):
            gain = jnp.zeros_like(values, shape=(k, *values.shape[1:]))
            gain = gain.at[into].add(values, mode="drop")
            return gain.at[out].add(-values, mode="drop")

        return Sums(move(x * w[:, None]), move(w), move(some))

    if k <= FEW:
        return by_product(x, w, old, new)
    # On accelerators a scatter adds in any order, and the last bits would vary.
    return jax.lax.platform_dependent(
        x, w, old, new, cpu=by_scatter, default=by_product
    )


def _change_by_few(x, w, old, new, k) -> Sums:
    """As `_change`; where few rows change their label, from those alone."""
    few = len(x) // 8
    moving = old != new

    def those():
        chosen = jnp.flatnonzero(moving, size=few, fill_value=len(x))
        rows, old_, new_ = (a.at[chosen].get(mode="clip") for a in (x, old, new))
        weights = w.at[chosen].get(mode="fill", fill_value=0)
        return _change(rows, weights, old_, new_, k)

    count = jnp.sum(moving, dtype=jnp.int32)
    return jax.lax.cond(count <= few, those, lambda: _change(x, w, old, new, k))


def _counts(w, label, k):
    """Σ wᵢ, (k,), of the rows with each label."""

    def by_scatter(w, label):
        return jnp.zeros_like(w, shape=k).at[label].add(w)

    def by_sum(w, label):
        number = jnp.arange(k, dtype=jnp.int32)
        return jnp.sum(jnp.where(label[:, None] == number[None], w[:, None], 0), axis=0)

    return jax.lax.platform_dependent(w, label, cpu=by_scatter, default=by_sum)


def _means(sums: Sums):
    """The centres, (k, n); anything where a cluster is empty."""
    return sums.x / jnp.where(sums.members == 0, 1, sums.weight)[:, None]


def settled(found: Assigned, rows: Rows, centres):
    """The centres as means of rows that are summed anew, without what rounding left."""
    sums = summed(rows, found.label, len(centres))
    return jnp.where(sums.members[:, None] == 0, centres, _means(sums))


def moved(found: Assigned, rows: Rows, centres, active=None):
    """The centres as means, the bounds at them, and whether another pass is due.

    A cluster that is empty takes the row that is farthest from its centre, once all
    rows were looked at.
    """
    empty = found.sums.members == 0
    new = jnp.where(empty[:, None], centres, _means(found.sums))
    if active is not None:
        empty &= active
    # A row that is left out must not become a centre.
    seen = found.upper
    if rows.weights is not None:
        seen = jnp.where(rows.weights > 0, seen, 0)
    farthest = rows.x[jnp.argmax(seen)] - rows.shift[0]
    exact = jnp.min(jnp.sum((farthest[None] - centres) ** 2, axis=1))
    moving = empty.any() & found.fresh & (exact > 0)
    first = jnp.argmax(empty)
    new = new.at[first].set(jnp.where(moving, farthest, new[first]))
    unsure = empty.any() & ~found.fresh
    way = jnp.sqrt(jnp.sum((new - centres) ** 2, axis=1))
    upper = found.upper + jnp.where(unsure, jnp.inf, way[found.label])
    found = found._replace(upper=upper, lower=found.lower - jnp.max(way))
    return new, found, moving | unsure


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
