"""Who belongs to which cluster, and what the rows of each cluster sum to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxml._distances import NARROW, anywhere, differences, replaced
from jaxml._rows import ROWS, each, mean, row, total
from jaxml._units import unit_of, weights_or_ones

FEW = 32  # clusters up to which the scores of a row lie side by side
MOVING = 128  # rows that change their cluster, by which sums are changed at a time


class ScaledRows(NamedTuple):
    """The data as they are, and how they are read, which takes no copy of all of them.

    All that is made of them is in units in which no square under- or overflows.
    """

    x: jax.Array  # (m, n)
    unit: jax.Array  # () a power of two
    shift: jax.Array  # (1, n) a point in their midst, in units: products are about it
    weights: jax.Array | None  # (m,) w


def rows_about_mean(x, weights) -> ScaledRows:
    """Rows whose products are taken about their mean."""
    unit = unit_of(x, weights)
    return ScaledRows(x, unit, mean(x, weights)[None] / unit, weights)


def rows_about_centres(centres, x, weights) -> ScaledRows:
    """Rows whose products are taken about the mean of centres, (k, n)."""
    unit = unit_of(centres)
    return ScaledRows(x, unit, jnp.mean(centres / unit, axis=0, keepdims=True), weights)


class Sums(NamedTuple):
    """Of the rows of each cluster, measured from a point r of its own, in units.

    About one point for all, rows that are far from it would lose their digits.
    """

    x: jax.Array  # (k, n) Σ wᵢ (xᵢ - r)
    square: jax.Array  # (k,) Σ wᵢ |xᵢ - r|²
    weight: jax.Array  # (k,) Σ wᵢ
    members: jax.Array  # (k,) int32, rows that weigh anything: exact, unlike weight


def nothing(points) -> Sums:
    """The sums of no rows."""
    k = len(points)
    return Sums(
        x=jnp.zeros_like(points),
        square=jnp.zeros_like(points, shape=k),
        weight=jnp.zeros_like(points, shape=k),
        members=jnp.zeros(k, jnp.int32),
    )


class Assigned(NamedTuple):
    """The cluster of each row, kept from step to step.

    While upper <= lower no other centre can be nearer than its own.
    """

    label: jax.Array  # (m,) int32; k: not known yet
    upper: jax.Array  # (m,) at least |xᵢ - μ| from its own centre, in units
    lower: jax.Array  # (m,) at most |xᵢ - μ| from any other centre
    points: jax.Array  # (k, n) r, from which the sums are measured
    sums: Sums
    fresh: jax.Array  # () bool, whether all rows were looked at in the last pass


def unknown(x, centres) -> Assigned:
    """Rows, (m, n), that have yet to be looked at, and where the centres begin."""
    m, k = len(x), len(centres)
    return Assigned(
        label=jnp.full(m, k, jnp.int32),
        upper=jnp.full_like(x, jnp.inf, shape=m),
        lower=jnp.zeros_like(x, shape=m),
        points=centres,
        sums=nothing(centres),
        fresh=jnp.array(False),
    )


def assign(result: Assigned, rows: ScaledRows, centres, active=None) -> Assigned:
    """Give the nearest centre to each row of which it is not certain (Hamerly, 2010).

    An accelerator looks at all rows, and so does one block: what is saved would be
    spent on finding them. So do several devices: each has rows of its own.
    """
    m = len(rows.x)

    def uncertain(result, rows):
        need = result.upper > result.lower
        count = jnp.sum(need, dtype=jnp.int32)
        order = jnp.flatnonzero(need, size=m + -m % ROWS, fill_value=m)

        def block(i, result):
            chosen = jax.lax.dynamic_slice_in_dim(order, i * ROWS, ROWS)
            closest = nearest(rows, centres, active, chosen)
            old = result.label.at[chosen].get(mode="clip")
            change = _change(rows, chosen, old, closest.label, result.points)
            return result._replace(
                label=result.label.at[chosen].set(closest.label, mode="drop"),
                upper=result.upper.at[chosen].set(jnp.sqrt(closest.upper), mode="drop"),
                lower=result.lower.at[chosen].set(jnp.sqrt(closest.lower), mode="drop"),
                sums=jax.tree.map(jnp.add, result.sums, change),
            )

        result = result._replace(fresh=count == m)
        return jax.lax.fori_loop(0, (count + ROWS - 1) // ROWS, block, result)

    def every(result, rows):
        closest = nearest(rows, centres, active)
        # From the same points the same rows have the same mean, to the last bit.
        same = closest.label == result.label
        same = jnp.all(same if rows.weights is None else same | (rows.weights == 0))
        points = jnp.where(same, result.points, centres)
        return Assigned(
            label=closest.label,
            upper=jnp.sqrt(closest.upper),
            lower=jnp.sqrt(closest.lower),
            points=points,
            sums=_sums(rows, closest.label, points),
            fresh=jnp.array(True),
        )

    if m <= 2 * ROWS or jax.device_count() > 1:
        return every(result, rows)
    return jax.lax.platform_dependent(result, rows, cpu=uncertain, default=every)


def _taken(rows: ScaledRows, chosen) -> ScaledRows:
    """The rows chosen; those past the last, which fill a block, weigh nothing."""

    def take(a):
        return a.at[chosen].get(mode="clip")

    weights = (chosen < len(rows.x)).astype(rows.x.dtype)
    if rows.weights is not None:
        weights *= take(rows.weights)
    return rows._replace(x=take(rows.x), weights=weights)


# --- the nearest --------------------------------------------------------------------


class Nearest(NamedTuple):
    """The nearest of some centres to each row, and bounds on squares of distances."""

    label: jax.Array  # (m,) int32
    upper: jax.Array  # (m,) at least |xᵢ - μ|²
    lower: jax.Array  # (m,) at most |xᵢ - μ|² of any other centre


def nearest(rows: ScaledRows, centres, active=None, chosen=None) -> Nearest:
    """The nearest of the active centres, (k, n) in units, to each row, or those chosen.

    By a product about the shift, and where its rounding may decide, by differences. Cut
    off from derivatives.
    """
    rows, centres = jax.lax.stop_gradient((rows, centres))
    exact = lambda x: _by_differences(x / rows.unit, centres, active)
    by_product = lambda x: _by_product(rows._replace(x=x), centres, active)
    first = exact if rows.x.shape[1] <= NARROW else by_product
    # Those that are unsure are taken from all rows, as a block would have to be copied.
    if chosen is None:
        result, again, source = each(first, rows.x), exact, rows.x
    else:
        taken = lambda chosen: rows.x.at[chosen].get(mode="clip")
        result, source = first(taken(chosen)), chosen
        again = lambda chosen: exact(taken(chosen))
    if first is exact:
        return result
    result, unsure = result
    closer = lambda: replaced(result, again, unsure, source)
    return jax.lax.cond(anywhere(unsure), closer, lambda: result)


def _by_product(rows: ScaledRows, centres, active):
    """The nearest, and of which rows, (m,), that is not certain."""
    k, n = centres.shape
    y, mu = rows.x / rows.unit - rows.shift, centres - rows.shift
    y_square, mu_square = jnp.sum(y * y, axis=1), jnp.sum(mu * mu, axis=1)
    mu_square = mu_square if active is None else jnp.where(active, mu_square, jnp.inf)
    farthest = jnp.max(jnp.where(mu_square < jnp.inf, mu_square, 0))
    # Both squares and the shift are rounded: n u of a sum of n terms at most.
    error = (n + 8) * jnp.finfo(y.dtype).eps
    error *= (jnp.sqrt(y_square) + jnp.sqrt(farthest)) ** 2
    if k <= FEW:
        axis, values = 1, 0.5 * mu_square[None] - y @ mu.T
    else:  # so that the minimum is one of whole rows
        axis, values = 0, 0.5 * mu_square[:, None] - mu @ y.T
    kind = jnp.int32 if k < 2**15 else y.dtype  # sums of more would overflow
    number = jnp.expand_dims(jnp.arange(k, dtype=kind), 1 - axis)
    least = jnp.min(values, axis=axis)
    close = values <= jnp.expand_dims(least + error / 2, axis)
    # Below 2 k it is only one: argmin would be a scalar loop, and tell no more.
    place = jnp.sum(jnp.where(close, k + number, 0), axis=axis) - k
    others = jnp.where(number == jnp.expand_dims(place, axis), jnp.inf, values)
    upper = y_square + 2 * least + error
    lower = jnp.maximum(y_square + 2 * jnp.min(others, axis=axis) - error, 0)
    label = jnp.clip(place, 0, k - 1).astype(jnp.int32)
    return Nearest(label, upper, lower), ~((place >= 0) & (place < k))


def _by_differences(x, centres, active) -> Nearest:
    squares = differences(centres, x)
    if active is not None:
        squares = jnp.where(active[:, None], squares, jnp.inf)
    label, least, second = _two_least(squares)
    slack = (x.shape[1] + 8) * jnp.finfo(x.dtype).eps
    return Nearest(label, (1 + slack) * least, (1 - slack) * second)


def _two_least(values):
    """The place, (m,), of the least of each column, (k, m), it, and the next to it."""
    k = len(values)
    number = jnp.arange(k, dtype=jnp.int32)[:, None]
    least = jnp.min(values, axis=0)
    label = jnp.min(jnp.where(values == least[None], number, k - 1), axis=0)
    others = jnp.where(number == label[None], jnp.inf, values)
    return label, least, jnp.min(others, axis=0)


# --- sums ---------------------------------------------------------------------------


def summed(rows: ScaledRows, label, points) -> Sums:
    """What the rows with each label sum to, from points, (k, n)."""

    def part(x, w, label):
        return _sums(rows._replace(x=x, weights=w), label, points)

    return total(part, rows.x, rows.weights, label)


def _sums(rows: ScaledRows, label, points) -> Sums:
    """Σ over the rows with each label; k stands for none."""
    k, w = len(points), rows.weights
    w = weights_or_ones(w, rows.x)
    counted = (w > 0).astype(jnp.int32)
    y = rows.x / rows.unit - points.at[label].get(mode="clip")
    # A row of weight 0 may be of any size: 0 times its square must be 0.
    squares = jnp.where(w > 0, w * jnp.sum(y * y, axis=1), 0)

    def by_product(y, squares, w, counted, label):
        one_hot = jax.nn.one_hot(label, k, dtype=w.dtype)
        return Sums(
            (one_hot * w[:, None]).T @ y,
            squares @ one_hot,
            w @ one_hot,
            jnp.sum(one_hot * counted[:, None], axis=0, dtype=jnp.int32),
        )

    def by_scatter(y, squares, w, counted, label):
        def add(values):
            zero = jnp.zeros_like(values, shape=(k, *values.shape[1:]))
            return zero.at[label].add(values, mode="drop")

        return Sums(add(y * w[:, None]), add(squares), add(w), add(counted))

    if k <= FEW:
        return by_product(y, squares, w, counted, label)
    # On accelerators a scatter adds in any order, and the last bits would vary.
    return jax.lax.platform_dependent(
        y, squares, w, counted, label, cpu=by_scatter, default=by_product
    )


def _change(rows: ScaledRows, chosen, old, new, points) -> Sums:
    """What the sums gain when the labels old, of rows chosen, become new.

    By few rows at a time, of those alone that change.
    """
    k = len(points)
    moving = old != new
    # The clusters that rows leave follow those that they join.
    joins = jnp.concatenate([moving, moving & (old < k)])
    label, chosen = jnp.concatenate([new, old + k]), jnp.tile(chosen, 2)
    points = jnp.tile(points, (2, 1))
    m, count = len(label), jnp.sum(joins, dtype=jnp.int32)
    order = jnp.flatnonzero(joins, size=m + -m % MOVING, fill_value=m)

    def add(i, sums):
        place = jax.lax.dynamic_slice_in_dim(order, i * MOVING, MOVING)
        row = chosen.at[place].get(mode="fill", fill_value=len(rows.x))
        part = _sums(_taken(rows, row), label.at[place].get(mode="clip"), points)
        return jax.tree.map(jnp.add, sums, part)

    times = (count + MOVING - 1) // MOVING
    sums = jax.lax.fori_loop(0, times, add, nothing(points))
    return jax.tree.map(lambda a: a[:k] - a[k:], sums)


def _counts(w, label, k):
    """Σ wᵢ, (k,), of the rows with each label."""

    def by_scatter(w, label):
        return jnp.zeros_like(w, shape=k).at[label].add(w)

    def by_sum(w, label):
        number = jnp.arange(k, dtype=jnp.int32)
        return jnp.sum(jnp.where(label[:, None] == number[None], w[:, None], 0), axis=0)

    return jax.lax.platform_dependent(w, label, cpu=by_scatter, default=by_sum)


def _means(points, sums: Sums):
    """The centres, (k, n); anything where a cluster is empty."""
    return points + sums.x / jnp.where(sums.members == 0, 1, sums.weight)[:, None]


def cost_of(result: Assigned, centres):
    """J, (), in units, of centres, from what the rows of each cluster sum to."""
    sums, step = result.sums, centres - result.points
    moved_square = sums.weight * jnp.sum(step * step, axis=1)
    square = jnp.sum(sums.square + moved_square) - 2 * jnp.vdot(step, sums.x)
    weight = jnp.sum(sums.weight)
    return jnp.maximum(square, 0) / jnp.where(weight == 0, 1, weight)


def summed_again(result: Assigned, rows: ScaledRows, centres):
    """The centres as means of rows that are summed anew, without what rounding left."""
    sums = summed(rows, result.label, centres)
    return jnp.where(sums.members[:, None] == 0, centres, _means(centres, sums))


def moved(result: Assigned, rows: ScaledRows, centres, active=None):
    """The centres as means, the bounds at them, and whether another pass is due.

    A cluster that is empty takes the row that is farthest from its centre, once all
    rows were looked at.
    """
    empty = result.sums.members == 0
    new = jnp.where(empty[:, None], centres, _means(result.points, result.sums))
    if active is not None:
        empty &= active
    # A row that is left out must not become a centre.
    seen = result.upper
    if rows.weights is not None:
        seen = jnp.where(rows.weights > 0, seen, 0)
    farthest = row(rows.x, jnp.argmax(seen)) / rows.unit
    exact = jnp.min(jnp.sum((farthest[None] - centres) ** 2, axis=1))
    moving = empty.any() & result.fresh & (exact > 0)
    first = jnp.argmax(empty)
    new = new.at[first].set(jnp.where(moving, farthest, new[first]))
    points = jnp.where(empty[:, None], new, result.points)
    unsure = empty.any() & ~result.fresh
    slack = 1 + 4 * jnp.finfo(new.dtype).eps  # for what is rounded here
    distance = slack * jnp.sqrt(jnp.sum((new - centres) ** 2, axis=1))
    upper = slack * (result.upper + jnp.where(unsure, jnp.inf, distance[result.label]))
    lower = result.lower - slack * jnp.max(distance)
    lower -= (slack - 1) * jnp.abs(lower)
    result = result._replace(
        upper=upper, lower=lower, points=points, sums=_without(result.sums, empty)
    )
    return new, result, moving | unsure


def _without(sums: Sums, empty) -> Sums:
    """The sums, and 0, without what rounding left, for clusters that are empty."""

    def zero(a):
        return jnp.where(empty.reshape(-1, *[1] * (a.ndim - 1)), 0, a)

    return jax.tree.map(zero, sums)


def distortion(x, weights, centres, active=None):
    """J, (), and the weight of each cluster, (k,), from differences, not squares."""
    rows = rows_about_centres(jax.lax.stop_gradient(centres), x, weights)
    unit = rows.unit
    centres = centres / unit

    label = nearest(rows, centres, active).label

    def sums(x, w, label):
        square = jnp.sum((x / unit - centres[label]) ** 2, axis=1)
        w = weights_or_ones(w, x)
        square = jnp.where(w > 0, square, 0)  # also where it overflows
        return jnp.vdot(w, square), _counts(w, label, len(centres))

    value, counts = total(sums, x, weights, label)
    return value / jnp.sum(counts) * unit * unit, counts
