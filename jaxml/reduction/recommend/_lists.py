"""What to show: the best items that a user does not know, and items that are alike."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml import _check
from jaxml._check import Array, Count, Labels, Rows, Static, Weights
from jaxml._distances import euclidean
from jaxml.reduction.recommend._layout import Items, Users, take


class Top(NamedTuple):
    """Items in order, the best first."""

    item: jax.Array  # (m, count) int32; the number of items where none is left
    score: jax.Array  # (m, count); -inf where none is left


@_check.pure
def top_n(scores: Rows, seen: tuple[jax.Array, jax.Array], *, count: Count) -> Top:
    """The `count` items of highest score that are not among those seen.

    Args:
        scores: (m, items) of some users, as `recommend.scores` gives them.
        seen: (rows, items) of what was seen, (s,) integers each, in any order: the row
            of scores that belongs to the user, and the item. Both are empty where
            nobody has seen anything.
        count: how many items.

    Returns:
        Top: item and score, (m, count).

    Raises:
        ValueError: a count above the number of items, shapes that do not agree, rows or
            items out of range.

    """
    m, n = scores.shape
    row, item = _pair(seen)
    _check.labels("seen", row, m)
    _check.labels("seen", item, n)
    if count > n:
        raise ValueError(f"count must be at most the number of items, {n}, not {count}")
    # Under jit a negative row would be counted from the end: nobody is at m.
    row = jnp.where((row < 0) | (item < 0), m, row)
    hidden = jnp.zeros(scores.shape, bool).at[row, item].set(True, mode="drop")
    score, best = jax.lax.top_k(jnp.where(hidden, -jnp.inf, scores), count)
    return Top(jnp.where(score == -jnp.inf, n, best).astype(jnp.int32), score)


def _pair(seen) -> tuple[jax.Array, jax.Array]:
    """The two index arrays of seen, which may be empty."""
    if not isinstance(seen, (tuple, list)) or len(seen) != 2:
        raise ValueError("seen must be a pair of arrays, (rows of scores, items)")
    row, item = (jnp.zeros(0, jnp.int32) if _none(a) else a for a in seen)
    row, item = (_check.array("seen", a, True) for a in (row, item))
    if row.ndim != 1 or row.shape != item.shape:
        shapes = f"{row.shape} and {item.shape}"
        raise ValueError(f"seen must hold two arrays (s,), not of {shapes}")
    return jnp.asarray(row, jnp.int32), jnp.asarray(item, jnp.int32)


def _none(array) -> bool:
    """Whether an array is empty, and so has no kind of number."""
    return np.shape(array) == (0,)


class Similar(NamedTuple):
    """Items that are like others, the most alike first."""

    item: jax.Array  # (m, count) int32
    value: jax.Array  # (m, count) the cosine, or the distance


@_check.pure
def similar(
    params: Any, item: Labels, *, count: Count, metric: Static[str] = "cosine"
) -> Similar:
    """The items j with the largest xᵢ·xⱼ / |xᵢ||xⱼ|, or the least |xᵢ - xⱼ|, j ≠ i.

    Args:
        params: of any of the models; of them x, (items, k), is read.
        item: (m,) items i.
        count: how many neighbours, at most items - 1.
        metric: "cosine", which is 0 to a vector of 0; or "euclidean", the course's.

    Returns:
        Similar: item and value, (m, count).

    Raises:
        ValueError: an unknown metric, a count above items - 1, items out of range.

    """
    _check.option("metric", metric, ("cosine", "euclidean"))
    x: jax.Array = getattr(params, "x", None)  # type: ignore[assignment]
    _check.shapes(**{"params.x": (x, "items k")})
    _check.labels("item", item, len(x))
    if count >= len(x):
        raise ValueError(f"count must be below the number of items, {len(x)}")
    if metric == "cosine":
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=1, keepdims=True))
        x = x / jnp.where(largest == 0, 1, largest)  # else squares might underflow
        lengths = optax.safe_norm(x, 0.0, axis=1, keepdims=True)
        x = x / jnp.where(lengths == 0, 1, lengths)
        similarity = take(x, item) @ x.T
    else:
        similarity = -euclidean(take(x, item), x, own=item)
    itself = item[:, None] == jnp.arange(len(x), dtype=jnp.int32)[None]
    value, result = jax.lax.top_k(jnp.where(itself, -jnp.inf, similarity), count)
    if metric == "euclidean":
        apart = take(x, item)[:, None] - x[result]
        value = optax.safe_norm(apart, 0.0, axis=2)
    return Similar(result.astype(jnp.int32), value)


class Known(NamedTuple):
    """Pairs of users and items, sorted: a set that one can ask."""

    item: Annotated[jax.Array, "_m"]  # int32, by user, then by number
    start: Annotated[jax.Array, "users+1"]  # int32, where the items of each user begin


@_check.pure
def known(
    user: Users,
    item: Items,
    *,
    users: Count,
    weights: Weights | None = None,
) -> Known:
    """The pairs (user, item), sorted; for `is_known`.

    Args:
        user: (m,) integers 0 … users - 1.
        item: (m,) integers.
        users: how many users there are.
        weights: (m,) weights of the pairs: those of weight 0 are not known.

    Returns:
        Known.

    Raises:
        ValueError: arrays that are not (m,), users out of range.

    """
    if weights is not None:  # behind those of all users
        user = jnp.where(weights == 0, users, user)
    order = jnp.lexsort((item, user))
    bounds = jnp.arange(users + 1, dtype=jnp.int32)
    start = jnp.searchsorted(user[order], bounds).astype(jnp.int32)
    return Known(item[order], start)


@_check.pure
def is_known(
    pairs: Known,
    user: Annotated[Array, "q:labels users"],
    item: Annotated[Array, "q:labels"],
) -> jax.Array:
    """Whether each of q pairs is among those known, (q,) bool: log m comparisons each.

    Args:
        pairs: what `known` made.
        user: (q,) integers.
        item: (q,) integers.

    Raises:
        ValueError: arrays that are not (q,), users out of range.

    """
    low, end = pairs.start[user], pairs.start[user + 1]
    high = end

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        right = (middle < high) & (pairs.item[middle] < item)
        return jnp.where(right, middle + 1, low), jnp.where(right, high, middle)

    steps = len(pairs.item).bit_length()
    low, _ = jax.lax.fori_loop(0, steps, halve, (low, high))
    return (low < end) & (pairs.item[low] == item)
