"""How good a list of recommendations is, and which ratings to hold out to know it.

`relevance`, (m, items), says for each of m users what an item turned out to be worth,
from ratings that were held out: 0 where nothing is known. `ranked`, (m, N), are the
items shown, the best first, as `recommend.top_n` finds them; the number of items stands
where none was left. What is shown again counts where it first stands. Each score is a
mean over the users for whom anything is relevant, with weights; a block of users at a
time keeps (m, items) small. NaN where there is no such user.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import Array, Count, Key, Labels, Rows, Weights
from jaxml._units import weights_or_ones

__all__ = [
    "Split",
    "average_precision",
    "latest",
    "leave_out",
    "ndcg",
    "precision",
    "recall",
]

Ranked = Annotated[Array, "m c:labels"]


@_check.pure
def precision(
    relevance: Rows, ranked: Ranked, *, weights: Weights | None = None
) -> jax.Array:
    """|relevant ∩ shown| / N, mean over users, ().

    Args:
        relevance: (m, items) above 0 where an item is relevant to a user.
        ranked: (m, N) the items shown, the best first; `items` where none was left.
        weights: (m,) weights w of the users; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite, numbers of items above
            `items`.

    """
    hit = _gains((relevance > 0).astype(relevance.dtype), ranked)
    return _mean(jnp.sum(hit, axis=1) / ranked.shape[1], relevance, weights)


@_check.pure
def recall(
    relevance: Rows, ranked: Ranked, *, weights: Weights | None = None
) -> jax.Array:
    """|relevant ∩ shown| / |relevant|, mean over users, ().

    Arguments and errors as in `precision`: relevance (m, items), ranked (m, N) and
    weights (m,).
    """
    relevant = (relevance > 0).astype(relevance.dtype)
    hits = jnp.sum(_gains(relevant, ranked), axis=1)
    return _mean(hits / _known(jnp.sum(relevant, axis=1)), relevance, weights)


@_check.pure
def average_precision(
    relevance: Rows, ranked: Ranked, *, weights: Weights | None = None
) -> jax.Array:
    """MAP = Σ_r [item r relevant] precision@r / min(N, |relevant|), mean of users, ().

    Arguments and errors as in `precision`: relevance (m, items), ranked (m, N) and
    weights (m,).
    """
    relevant = (relevance > 0).astype(relevance.dtype)
    hit = _gains(relevant, ranked)
    places = jnp.arange(1, ranked.shape[1] + 1, dtype=hit.dtype)
    best = jnp.minimum(jnp.sum(relevant, axis=1), len(places))
    result = jnp.sum(hit * jnp.cumsum(hit, axis=1) / places[None], axis=1)
    return _mean(result / _known(best), relevance, weights)


@_check.pure
def ndcg(
    relevance: Rows, ranked: Ranked, *, weights: Weights | None = None
) -> jax.Array:
    """Σ_r g_r / log₂(1 + r) over its largest possible value, mean over users, ().

    g is the relevance itself; give 2^g - 1 for the other convention.

    Arguments and errors as in `precision`: relevance (m, items), at least 0, ranked
    (m, N), weights.

    Source: Järvelin and Kekäläinen (2002).
    """
    _check.values("relevance", relevance, "[0, inf)")
    relevance = jnp.where(relevance < 0, jnp.nan, relevance)
    count = ranked.shape[1]
    discount = 1 / jnp.log2(jnp.arange(2, count + 2, dtype=relevance.dtype))
    most = min(count, relevance.shape[1])
    ideal = jax.lax.top_k(relevance, most)[0] @ discount[:most]
    result = _gains(relevance, ranked) @ discount
    return _mean(result / _known(ideal), relevance, weights)


def _gains(relevance, ranked):
    """(m, N) the relevance of what is shown for the first time; 0 where nothing is."""
    n, count = relevance.shape[1], ranked.shape[1]
    _check.labels("ranked", ranked, n + 1)
    row = jnp.arange(len(ranked), dtype=jnp.int32)[:, None]
    place = jnp.arange(count, dtype=jnp.int32)[None]
    item = jnp.clip(ranked, 0, n)
    first = jnp.full((len(ranked), n + 1), count).at[row, item].min(place)
    new = (first[row, item] == place) & (item < n)
    taken = jnp.take_along_axis(relevance, jnp.minimum(item, n - 1), axis=1)
    return jnp.where(ranked != item, jnp.nan, jnp.where(new, taken, 0))


def _known(total):
    """A divisor that is 1 for users who are left out of the mean."""
    return jnp.where(total == 0, 1, total)


def _mean(values, relevance, weights):
    """Over the users to whom anything is relevant; NaN for bad weights or relevance."""
    w = weights_or_ones(weights, values)
    has_relevant = jnp.any(relevance > 0, axis=1)
    w = jnp.where(w >= 0, w, jnp.nan) * jnp.where(has_relevant, 1, 0)
    w = w + 0 * jnp.sum(relevance)  # a comparison does not know of NaN
    return jnp.sum(w * values) / jnp.sum(w)


# --- what is held out ----------------------------------------------------------------


class Split(NamedTuple):
    """Which ratings are learned from, and which judge: masks, to be used as weights."""

    train: jax.Array  # (m,) bool
    test: jax.Array  # (m,) bool


@_check.pure
def leave_out(key: Key, user: Labels, *, count: Count) -> Split:
    """`count` ratings of each user, drawn at random, are held out.

    Users with no more than `count` ratings keep them all, for there would be nothing to
    learn from. For events that follow each other in time, `latest` leaks less.

    Args:
        key: jax.random.key(seed).
        user: (m,) who rated.
        count: how many ratings of each user are held out.

    Returns:
        Split of masks, (m,).

    Raises:
        ValueError: users that are not integers (m,).

    """
    shuffled = jax.random.permutation(key, len(user))
    return _last(user, shuffled, count)


def _ranked(function: Callable[..., Split]) -> Callable[..., Split]:
    """Hand on which place each time has, found before anything is rounded."""

    @functools.wraps(function)
    def wrapper(user: Any, time: Any, *, count: int) -> Split:
        xp: Any = jnp
        array = _check.array("time", time, False)
        if isinstance(array, np.ndarray):
            # A list of numbers would have been rounded to JAX's default width.
            array, xp = np.asarray(time), np
        if xp is jnp:
            _check.values("time", array)
        elif not np.isfinite(array).all():
            raise ValueError("time must be finite")
        if array.ndim:
            order = xp.argsort(array, axis=-1, stable=True)
            array = xp.argsort(order, axis=-1).astype(np.int32)
        return function(user, array, count=count)

    return wrapper


@_ranked
@_check.pure
def latest(user: Labels, time: Labels, *, count: Count) -> Split:
    """The last `count` ratings of each user are held out: no user's future is learned.

    Of ratings at one time, the later in the array count as later. Users with no more
    than `count` ratings keep them all. (What others did later is still learned from;
    `time < t` as weights is a split for all users at once.)

    Times in NumPy arrays and lists are compared exactly, as they are; those in arrays
    of JAX have already been rounded to its width, in which float32 does not tell the
    seconds of two minutes apart: int32 does, until 2038.

    Args:
        user: (m,) who rated.
        time: (m,) when, integers or floats, in any unit.
        count: how many ratings of each user are held out.

    Returns:
        Split of masks, (m,).

    Raises:
        ValueError: users that are not integers (m,), times not finite.

    """
    return _last(user, time, count)


def _last(user, rank, count: int) -> Split:
    """The `count` ratings of highest rank of each user, if there are more."""
    m = len(user)
    order = jnp.lexsort((rank, user))
    grouped = user[order]
    begin = jnp.searchsorted(grouped, grouped, side="left")
    end = jnp.searchsorted(grouped, grouped, side="right")
    out = (jnp.arange(m) >= end - count) & (end - begin > count)
    test = jnp.zeros(m, bool).at[order].set(out)
    return Split(~test, test)
