"""k-means: each row belongs to the nearest of k centres (slides 2.3).

    params = kmeans.init(key, x, k=3)
    labels = kmeans.predict(kmeans.fit(params, x).params, x)

It is the clustering of `annealing` at temperature 0. Restarts are a vmap over keys, of
which `jaxml.best` takes the cheapest.
"""

import math
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._rows import each, mean, product
from jaxml.optimize.fit import Fit, Progress, Status, iterate
from jaxml.optimize.train import Batch, State
from jaxml.reduction._assign import (
    FEW,
    Rows,
    about,
    assign,
    distortion,
    moved,
    nearest,
    scores,
    settled,
    summed,
    unknown,
)
from jaxml.reduction._covariance import near

METHODS = ("++", "parallel", "random")
ROUNDS = 5  # of "parallel"


class Params(NamedTuple):
    """The centres of the clusters."""

    centres: Annotated[jax.Array, "k n"]  # μ, one row for each cluster


@_check.pure(x="m n", weights="m", jit=True)
def cost(
    params: Params, x: jax.Array, *, weights: jax.Array | None = None
) -> jax.Array:
    """J = Σ wᵢ |xᵢ - μ_c(i)|² / Σ wᵢ, (), with c(i) the nearest centre: the distortion.

    Args:
        params: centres, (k, n).
        x: (m, n) rows.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: params for another number of columns, values not finite.

    """
    _fits(params, x)
    return distortion(x, weights, params.centres)[0]


@_check.pure(x="m n", jit=True)
def predict(params: Params, x: jax.Array) -> jax.Array:
    """c(i) = argmin_k |xᵢ - μ_k|², (m,) int32; the first of centres as near.

    params hold centres, (k, n); x, (m, n), rows. Raises ValueError if they do not
    agree.
    """
    _fits(params, x)
    shift = jnp.mean(params.centres, axis=0, keepdims=True)
    return each(lambda x: nearest(x - shift, params.centres - shift)[0], x)


@_check.pure(x="m n", jit=True)
def transform(params: Params, x: jax.Array) -> jax.Array:
    """|xᵢ - μ_k|, (m, k): the distance of each row from each centre.

    params hold centres, (k, n); x, (m, n), rows. Raises ValueError if they do not
    agree.
    """
    _fits(params, x)
    shift = jnp.mean(params.centres, axis=0, keepdims=True)
    centres = params.centres - shift

    def distances(x):
        x = x - shift
        squares = jnp.sum(x * x, axis=1, keepdims=True)
        squares = squares - 2 * scores(x, centres)
        near = squares <= 0
        return jnp.where(near, 0, jnp.sqrt(jnp.where(near, 1, squares)))

    return each(distances, x)


@_check.pure(x="m n", weights="m", jit=True)
def step(params: Params, x: jax.Array, *, weights: jax.Array | None = None) -> Params:
    """μ_k = Σ_{c(i)=k} wᵢ xᵢ / Σ_{c(i)=k} wᵢ: one step of Lloyd's algorithm.

    Arguments as in `cost`: centres, (k, n), x, (m, n). The first cluster that is empty
    takes the row that is farthest from its centre; another keeps its centre.
    """
    _fits(params, x)
    rows = about(mean(x, weights), x, weights)
    centres = params.centres - rows.shift
    found = jax.lax.stop_gradient(assign(unknown(x, len(centres)), rows, centres))
    # Once more, as the sums of the pass above have no derivatives.
    found = found._replace(sums=summed(rows, found.label, len(centres)))
    return Params(moved(found, rows, centres)[0] + rows.shift)


@_check.fit(static=("max_iter",), x="m n", weights="m")
def fit(
    params: Params,
    x: jax.Array,
    *,
    weights: jax.Array | None = None,
    tol: Any = 1e-4,
    max_iter: int = 300,
) -> Fit:
    """Lower J of `cost` by Lloyd's algorithm from params, to a minimum near them.

    Args:
        params: centres, (k, n), to start from; `init` makes them. The result depends on
            them in jumps: derivatives are cut off.
        x: (m, n) rows.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        tol: () largest Σ_k |Δμ_k|² of a step, in units of the mean variance of the
            columns, as in scikit-learn. With 0 the centres are the means of their rows.
        max_iter: most steps.

    Returns:
        Fit with Params, and J at them. A cluster that becomes empty is moved to the row
        farthest from its centre. Status SINGULAR where one is empty in the end: x holds
        fewer than k different rows.

    Raises:
        ValueError: params for another number of columns, k > m, values not finite.

    Source: Lloyd (1957, 1982); on a CPU the rows whose cluster is certain are passed
    over: Hamerly (2010).

    """
    _fits(params, x)
    if len(params.centres) > len(x):
        k, m = len(params.centres), len(x)
        raise ValueError(f"params has k = {k} centres, more than the m = {m} rows of x")
    found = _lloyd(x, weights, params.centres, tol, max_iter)
    return jax.lax.stop_gradient(found._replace(params=Params(found.params)))


def _lloyd(x, weights, centres, tol, max_iter, active=None) -> Fit:
    rows = about(mean(x, weights), x, weights)
    square = mean(rows.squares, weights)
    variance = square / x.shape[1]
    scale = jnp.where(variance == 0, 1, variance)

    def advance(state):
        centres, found = state
        found = assign(found, rows, centres, active)
        new, found, again = moved(found, rows, centres, active)
        change = jnp.sum((new - centres) ** 2) / scale
        change = jnp.where(again, jnp.inf, change)
        return (new, found), Progress(_cost(found, centres, square), change)

    start = centres - rows.shift, unknown(x, len(centres))
    found = iterate(advance, start, tol=tol, max_iter=max_iter)
    centres, assigned = found.params
    centres = settled(assigned, rows, centres) + rows.shift
    value, counts = distortion(x, weights, centres, active)
    empty = counts == 0
    if active is not None:
        empty &= active
    status = jnp.where(empty.any(), Status.SINGULAR, found.status)
    status = jnp.maximum(found.status, status).astype(jnp.int32)
    return found._replace(params=centres, cost=value, status=status)


def _cost(found, centres, square):
    """J, with the mean of |xᵢ|², from what the rows of each cluster sum to."""
    sums = found.sums
    own = jnp.vdot(sums.weight, jnp.sum(centres * centres, axis=1))
    size = jnp.sum(sums.weight)
    return jnp.maximum(square + (own - 2 * jnp.vdot(centres, sums.x)) / size, 0)


def _fits(params: Params, x) -> None:
    _check.shapes(x=(x, "m n"), **{"params.centres": (params.centres, "k n")})


# --- where to start ------------------------------------------------------------------


@_check.pure(static=("k", "method"), jit=True, x="m n", weights="m")
def init(
    key: jax.Array,
    x: jax.Array,
    *,
    k: int,
    weights: jax.Array | None = None,
    method: str = "++",
) -> Params:
    """Choose k rows as centres: P(xᵢ) ∝ wᵢ min_j |xᵢ - μ_j|², one after the other.

    Args:
        key: () of jax.random.key.
        x: (m, n) rows.
        k: how many, at most m.
        weights: (m,) weights w of the rows; 1 if None. A row of weight 0 is not chosen.
        method: "++": of 2 + ln k draws each the one that lowers J most. "parallel":
            k-means‖, five rounds of 2k draws at once, of which "++" takes k; for large
            k. "random": any rows, P ∝ w.

    Returns:
        Params, of rows of x. Where fewer than k rows differ, some are the same.

    Raises:
        ValueError: k > m, an unknown method, values not finite.

    Source: Arthur and Vassilvitskii (2007); Bahmani et al. (2012).

    """
    _check.option("method", method, METHODS)
    if k > len(x):
        raise ValueError(f"k must be at most m = {len(x)}, not {k}")
    w = jnp.ones_like(x[:, 0]) if weights is None else weights
    choose = {"++": _plus_plus, "parallel": _parallel, "random": _random}[method]
    rows = jax.lax.stop_gradient(about(near(x, weights), x, w))
    valid = jnp.isfinite(rows.squares).all() & jnp.isfinite(w).all()
    return Params(jnp.where(valid, x[choose(key, rows, k)], jnp.nan))


def _random(key, rows, k):
    odds = rows.weights / jnp.sum(rows.weights)
    return jax.random.choice(key, len(odds), (k,), replace=False, p=odds)


def _draw(key, odds, count):
    """Draw count indices with these odds, (m,); never one of odds 0, if any is more."""
    upto = jnp.cumsum(odds)
    u = jax.random.uniform(key, (count,), odds.dtype) * upto[-1]
    last = jnp.searchsorted(upto, upto[-1])  # u may be rounded up to the sum
    return jnp.minimum(jnp.searchsorted(upto, u, side="right"), last)


def _plus_plus(key, rows, k):
    # A centred copy is worth making where it is read often.
    centred = rows.x - rows.shift if k > FEW else None

    def products(to):
        if centred is not None:
            return product(to, centred.T)
        # Not far from the origin there is no need to centre.
        return jax.lax.cond(
            jnp.sum(rows.shift**2) < 4 * jnp.mean(rows.squares),
            lambda: product(rows.x, to.T) - product(rows.shift, to.T),
            lambda: each(lambda x: product(x - rows.shift, to.T), rows.x),
        ).T

    def distances(chosen):
        """|xᵢ - x_c|² from the rows chosen, (count, m)."""
        square = rows.squares[chosen][:, None] + rows.squares[None]
        return jnp.maximum(square - 2 * products(rows.x[chosen] - rows.shift), 0)

    def add(i, state):
        chosen, distance = state
        odds = rows.weights * distance
        drawn = _draw(jax.random.fold_in(key, i), odds, int(2 + math.log(k)))
        trial = jnp.minimum(distance[None], distances(drawn))
        best = jnp.argmin(product(trial, rows.weights))
        return chosen.at[i].set(drawn[best]), trial[best]

    first = _draw(jax.random.fold_in(key, 0), rows.weights, 1)
    start = jnp.zeros(k, first.dtype).at[0].set(first[0]), distances(first)[0]
    return jax.lax.fori_loop(1, k, add, start)[0]


def _parallel(key, rows, k):
    count = min(2 * k, len(rows.x))

    def closer(distance, chosen):
        to = rows.x[chosen] - rows.shift

        def least(x, squares, distance):
            found = squares - 2 * nearest(x - rows.shift, to)[1]
            return jnp.minimum(distance, jnp.maximum(found, 0))

        return each(least, rows.x, rows.squares, distance)

    first = _draw(jax.random.fold_in(key, 0), rows.weights, 1)
    distance, drawn = closer(jnp.full_like(rows.squares, jnp.inf), first), [first]
    for i in range(1, ROUNDS + 1):
        odds = rows.weights * distance
        drawn.append(_draw(jax.random.fold_in(key, i), odds, count))
        distance = closer(distance, drawn[-1])
    chosen = jnp.concatenate(drawn)
    # Each candidate stands for the rows that are nearest to it.
    counts = distortion(rows.x, rows.weights, rows.x[chosen])[1]
    candidates = Rows(rows.x[chosen], rows.shift, rows.squares[chosen], counts)
    return chosen[_plus_plus(jax.random.fold_in(key, ROUNDS + 1), candidates, k)]


# --- a few rows at a time ------------------------------------------------------------


@_check.host
def mini_batch(state: State, key: jax.Array, batch: Batch):
    """μ_k ← μ_k + Σ (xᵢ - μ_k)/N_k over the batch's rows of cluster k: an update.

    N_k, (k,), counts all rows seen so far of the cluster; it is state.extra:

        update = jax.tree_util.Partial(kmeans.mini_batch)
        state = train.start(update, params, key, extra=jnp.zeros(k))
        fit = train.fit(update, state, x, batch=1000, epochs=3)

    key, (), is not used. Source: Sculley (2010).
    """
    x, w, centres = batch.data, batch.weights, state.params.centres
    rows = about(mean(x, w), x, w)
    centres = centres - rows.shift
    found = assign(unknown(x, len(centres)), rows, centres)
    value = _cost(found, centres, mean(rows.squares, w))
    sums = found.sums
    seen = state.extra + sums.weight
    change = sums.x - sums.weight[:, None] * centres
    centres = state.params.centres + change / jnp.where(seen == 0, 1, seen)[:, None]
    state = state._replace(params=Params(centres), extra=seen)
    return state, {"cost": value}


# --- how many clusters ---------------------------------------------------------------


@_check.pure(static=("k", "max_iter"), jit=True, x="m n", weights="m")
def elbow(
    key: jax.Array,
    x: jax.Array,
    *,
    k: int,
    weights: jax.Array | None = None,
    tol: Any = 1e-4,
    max_iter: int = 300,
) -> jax.Array:
    """J of fits with 1, 2 … k clusters, (k,): where it ceases to fall, there is enough.

    All in one program: the first j centres that "++" chooses are a start for j.

    Args:
        key: () of jax.random.key.
        x: (m, n) rows.
        k: the most clusters.
        weights: (m,) weights of the rows; 1 if None.
        tol: () as in `fit`.
        max_iter: as in `fit`.

    Raises:
        ValueError: k > m, values not finite.

    Source: Thorndike (1953).

    """
    start = init(key, x, k=k, weights=weights).centres

    def one(count):
        active = jnp.arange(k) < count
        return _lloyd(x, weights, start, tol, max_iter, active).cost

    return jax.lax.stop_gradient(jax.lax.map(one, jnp.arange(1, k + 1)))


class Gap(NamedTuple):
    """How far log J lies below that of rows without clusters."""

    gap: jax.Array  # (k,) mean log J of the references - log J, for 1 … k clusters
    spread: jax.Array  # (k,) s, its standard error
    k: jax.Array  # () int32, the least k with gap(k) >= gap(k+1) - s(k+1)


@_check.pure(static=("k", "count", "max_iter"), jit=True, x="m n")
def gap(
    key: jax.Array,
    x: jax.Array,
    *,
    k: int,
    count: int = 10,
    tol: Any = 1e-4,
    max_iter: int = 300,
) -> Gap:
    """gap(k) = ⟨log J*⟩ - log J, with J* that of rows drawn evenly from the box of x.

    Args:
        key: () of jax.random.key.
        x: (m, n) rows.
        k: the most clusters.
        count: how many references are drawn.
        tol: () as in `fit`.
        max_iter: as in `fit`.

    Raises:
        ValueError: k > m, values not finite.

    Source: Tibshirani, Walther and Hastie (2001).

    """
    options = {"k": k, "tol": tol, "max_iter": max_iter}
    lowest, highest = jnp.min(x, axis=0), jnp.max(x, axis=0)

    def reference(key):
        drawn, own = jax.random.split(key)
        u = jax.random.uniform(drawn, x.shape, x.dtype)
        return jnp.log(
            elbow(own, lowest[None] + u * (highest - lowest)[None], **options)
        )

    own, drawn = jax.random.split(key)
    logs = jax.lax.map(reference, jax.random.split(drawn, count))
    found = jnp.mean(logs, axis=0) - jnp.log(elbow(own, x, **options))
    spread = jnp.std(logs, axis=0) * math.sqrt(1 + 1 / count)
    enough = found[:-1] >= found[1:] - spread[1:]
    best = jnp.where(enough.any(), jnp.argmax(enough), k - 1)
    return Gap(found, spread, (best + 1).astype(jnp.int32))
