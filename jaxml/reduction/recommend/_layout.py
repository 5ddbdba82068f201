"""Ratings laid out so that those of each user, and of each item, lie side by side.

The ratings of a user are cut into segments of one width, and users are dealt into
blocks of so many segments: all blocks have one shape, so that a pass over all of them
is one small program, and no matrix of users and items is ever formed. Padding is some
15 % of the ratings, where rows padded to powers of two would have 46 %.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import Array
from jaxml._units import weights_or_ones

Users = Annotated[Array, "m:labels users"]
Items = Annotated[Array, "m:labels items"]

PLACES = 4096  # ratings of a block: their vectors, of rank 64, stay in the cache
WIDTHS = 16, 64  # least and most ratings of a segment; a mean row has four or more


class Side(NamedTuple):
    """The ratings by user, or by item; the rows are the users, or the items."""

    # int32, the place of each row among all blocks' rows
    where: Annotated[jax.Array, "_rows"]
    # int32, which row it is; 0 where none is left
    row: Annotated[jax.Array, "_blocks _r"]
    # int32, the block's row of a segment; r for nobody
    owner: Annotated[jax.Array, "_blocks _s"]
    # int32, the other side; 0 for padding
    column: Annotated[jax.Array, "_blocks _s _width"]
    # int32, which rating; m for padding
    rating: Annotated[jax.Array, "_blocks _s _width"]


class Ratings(NamedTuple):
    """Triplets, and where they lie by user and by item; made by `prepare`."""

    user: Annotated[jax.Array, "m"]  # int32
    item: Annotated[jax.Array, "m"]  # int32
    y: Annotated[jax.Array, "m"]  # the ratings
    by_user: Side  # the ratings in blocks of users
    by_item: Side  # and of items
    pair: Annotated[jax.Array, "m"]  # int32, equal where user and item are, below m


@_check.host
def prepare(user: Any, item: Any, y: Any, *, users: int, items: int) -> Ratings:
    """Lay ratings out for the fits. On the host; once, whatever is fitted then.

    Weights belong to the fits: folds and subsets share one layout.

    Args:
        user: (m,) who rated, integers 0 … users - 1.
        item: (m,) what was rated, integers 0 … items - 1.
        y: (m,) the rating. A pair that stands there twice was rated twice.
        users: how many users there are, with ratings or without.
        items: how many items.

    Returns:
        Ratings, a pytree of arrays, y of JAX's default width if it holds integers.

    Raises:
        ValueError: arrays that are not (m,), y not finite, numbers out of range.

    """
    users, items = _check.count("users", users), _check.count("items", items)
    user, item = _numbers("user", user, users), _numbers("item", item, items)
    y = jnp.array(_check.array("y", y, False))
    if not jnp.issubdtype(y.dtype, jnp.floating):
        y = y.astype(jnp.result_type(float))
    _check.shapes(user=(user, "m"), item=(item, "m"), y=(y, "m"))
    _check.values("y", y)
    by_user, by_item = _side(user, item, users), _side(item, user, items)
    pair = np.unique(user * items + item, return_inverse=True)[1]
    who, what, which = (jnp.array(a, jnp.int32) for a in (user, item, pair))
    return Ratings(who, what, y, by_user, by_item, which)


def _numbers(name: str, value: Any, k: int) -> np.ndarray:
    """Integers 0 … k - 1, looked at before anything is cut to 32 bits."""
    array = np.asarray(_check.array(name, value, True))
    _check.labels(name, array, k)
    return array.astype(np.int64)


def _side(row: np.ndarray, column: np.ndarray, rows: int) -> Side:
    """The layout by row, for the other side `column`."""
    m = len(row)
    lengths = np.bincount(row, minlength=rows)
    width = int(np.clip(2 ** np.floor(np.log2(max(m / rows / 4, 1))), *WIDTHS))
    segments = np.maximum(1, -(-lengths // width))
    size = max(min(PLACES // width, segments.sum()), segments.max())
    most = min(rows, size, int(np.ceil(1.5 * size / segments.mean())))
    block, place, first = _packed(segments, size, most)
    blocks = block.max() + 1

    order = np.argsort(row, kind="stable")
    sorted_row = row[order]
    rank = np.arange(m) - (np.cumsum(lengths) - lengths)[sorted_row]
    at = block[sorted_row], first[sorted_row] + rank // width, rank % width
    rating = np.full((blocks, size, width), m, np.int32)
    rating[at] = order
    columns = np.zeros((blocks, size, width), np.int32)
    columns[at] = column[order]
    owner = np.full((blocks, size), most, np.int32)
    whose = np.repeat(np.arange(rows), segments)
    nth = np.arange(len(whose)) - np.repeat(np.cumsum(segments) - segments, segments)
    owner[block[whose], first[whose] + nth] = place[whose]
    names = np.zeros((blocks, most), np.int32)
    names[block, place] = np.arange(rows)
    where = (block * most + place).astype(np.int32)
    return Side(*map(jnp.array, (where, names, owner, columns, rating)))


def _packed(segments: np.ndarray, size: int, most: int):
    """Rows dealt into blocks of `size` segments and `most` rows: block, place, first.

    The longest rows first, each block filled up with the shortest that are left.
    """
    order = np.argsort(-segments, kind="stable")
    ends = np.concatenate([[0], np.cumsum(segments[order])])
    block, place, first = (np.empty(len(order), int) for _ in range(3))
    head, tail, number = 0, len(order), 0
    while head < tail:
        stop = np.searchsorted(ends, ends[head] + size, side="right") - 1
        stop = min(stop, head + most, tail)
        left = size - (ends[stop] - ends[head])
        begin = np.searchsorted(ends, ends[tail] - left)
        begin = max(begin, stop, tail - (most - (stop - head)))
        rows = np.concatenate([order[head:stop], order[begin:tail]])
        block[rows], place[rows] = number, np.arange(len(rows))
        first[rows] = np.cumsum(segments[rows]) - segments[rows]
        head, tail, number = stop, begin, number + 1
    return block, place, first


def spread(side: Side, values: jax.Array) -> jax.Array:
    """Values of the ratings, (m,), where the layout has them; 0 for padding."""
    return jnp.append(values, jnp.zeros_like(values, shape=1))[side.rating]


def both_sides(ratings: Ratings, *values: jax.Array) -> tuple[Any, Any]:
    """(side, *values laid out for it) of the users, and of the items."""
    sides = ratings.by_user, ratings.by_item
    users, items = ((side, *(spread(side, v) for v in values)) for side in sides)
    return users, items


class Block(NamedTuple):
    """Some rows, and their ratings in segments."""

    row: jax.Array  # (r,) int32
    owner: jax.Array  # (s,) int32
    column: jax.Array  # (s, width) int32

    def by_segment(self, table: jax.Array) -> jax.Array:
        """Of a table of this block's rows, (r, k), that of each segment: (s, k)."""
        return table[jnp.minimum(self.owner, len(self.row) - 1)]

    def total(self, segments: jax.Array) -> jax.Array:
        """Σ over the segments of each row, (r, …)."""
        shape = len(self.row), *segments.shape[1:]

        def by_scatter(owner, segments):
            return jnp.zeros(shape, segments.dtype).at[owner].add(segments, mode="drop")

        def by_product(owner, segments):
            rows = jnp.arange(shape[0], dtype=jnp.int32)
            one_hot = (owner[None] == rows[:, None]).astype(segments.dtype)
            flat = segments.reshape(len(segments), -1)
            return (one_hot @ flat).reshape(shape)

        if segments.ndim > 2:  # matrices: both cores share a product, not a scatter
            return by_product(self.owner, segments)
        # On accelerators a scatter adds in any order, and the last bits would vary.
        return jax.lax.platform_dependent(
            self.owner, segments, cpu=by_scatter, default=by_product
        )


def each_row(side: Side, function: Callable[..., Any], *arrays: jax.Array) -> Any:
    """What function(block, *arrays of it) finds for the rows of each block, by row.

    arrays are those of `spread`, (blocks, s, width); function gives a pytree of (r, …).
    """
    pieces = Block(side.row, side.owner, side.column), *arrays
    result = jax.lax.map(lambda piece: function(*piece), pieces)
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[side.where], result)


def sums(side: Side, table: jax.Array, *coefficients: jax.Array) -> jax.Array:
    """Σ over the ratings of each row of coefficient · table[column], (rows, j, c).

    table is (columns, c); the j coefficients are those of `spread`.
    """

    def block(block, *coefficients):
        # Else the rows are read again for each coefficient.
        taken = jax.lax.optimization_barrier(table[block.column])
        result = [jnp.sum(taken * c[..., None], axis=1) for c in coefficients]
        return block.total(jnp.stack(result, axis=1))

    return each_row(side, block, *coefficients)


# --- what all models check and take ---------------------------------------------------


def take(table: jax.Array, index: jax.Array) -> jax.Array:
    """Rows of a table; NaN where there is no such row, possible only under tracing."""
    inside = (index >= 0) & (index < len(table))
    rows = table[index]
    return jnp.where(inside.reshape(-1, *[1] * (rows.ndim - 1)), rows, jnp.nan)


def agree(ratings: Any, weights: Any, theta: jax.Array, x: jax.Array) -> None:
    """Refuse ratings that were laid out for other users, items or weights."""
    _check.shapes(theta=(theta, "users k"), x=(x, "items k"))
    for name, side, table in (
        ("users", ratings.by_user, theta),
        ("items", ratings.by_item, x),
    ):
        if len(side.where) != len(table):
            count = len(side.where)
            raise ValueError(
                f"ratings are of {count} {name}, params of {len(table)} {name}"
            )
    if weights is not None:
        _check.shapes(y=(ratings.y, "m"), weights=(weights, "m"))


def weighed(ratings: Ratings, weights: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Weights and ratings, (m,); 0 for a rating of weight 0, whatever it was."""
    w = weights_or_ones(weights, ratings.y)
    return w, jnp.where(w == 0, 0, ratings.y)


def or_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let fold_in give zeros for someone of whom there are no ratings."""

    @functools.wraps(function)
    def wrapper(params, item, y, *, weights=None, **options):
        empty = _is_empty(item) and _is_empty(y)
        if not empty and not _all_zero(weights):
            return function(params, item, y, weights=weights, **options)
        given = {"item": item, "y": y, "weights": weights}
        if empty:
            given = {"item": np.zeros(1, int), "y": np.zeros(1, int)}
        given = {n: _check.array(n, a, n == "item") for n, a in given.items()}
        shapes = jax.eval_shape(functools.partial(function, **options), params, **given)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    return wrapper


def _is_empty(array) -> bool:
    if isinstance(array, (list, tuple)):
        return len(array) == 0
    return getattr(array, "shape", None) == (0,)


def _all_zero(weights) -> bool:
    """Whether concrete weights, (m,), are all 0."""
    if isinstance(weights, jax.core.Tracer):
        return False
    if isinstance(weights, (list, tuple)):
        return len(weights) > 0 and all(
            isinstance(w, int | float) and w == 0 for w in weights
        )
    array = isinstance(weights, (np.ndarray, jax.Array))
    number = array and jnp.issubdtype(weights.dtype, np.number)
    return number and weights.size > 0 and not np.any(np.asarray(weights))
