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
from jaxml._check import Count, Key, NonNegative, Rows, Static, Weights
from jaxml._distances import NARROW, anywhere, differences, euclidean, squared
from jaxml._rows import each
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.optimize.train import Batch, State
from jaxml.reduction._assign import (
    FEW,
    assign,
    cost_of,
    distortion,
    moved,
    nearest,
    rows_about_centres,
    rows_about_mean,
    summed,
    summed_again,
    unknown,
)

__all__ = [
    "Gap",
    "Params",
    "cost",
    "elbow",
    "fit",
    "gap",
    "init",
    "mini_batch",
    "predict",
    "step",
    "transform",
]

METHODS = ("++", "parallel", "random")
ROUNDS = 5  # of "parallel"
LOST = 2.0**8  # times its rounding, a sum of squares by a product tells little


class Params(NamedTuple):
    """The centres of the clusters."""

    centres: Annotated[jax.Array, "k n"]  # μ, one row for each cluster


@_check.pure(jit=True)
def cost(params: Params, x: Rows, *, weights: Weights | None = None) -> jax.Array:
    """J = Σ wᵢ |xᵢ - μ_c(i)|² / Σ wᵢ, (), with c(i) the nearest centre: the distortion.

    Args:
        params: centres, (k, n).
        x: (m, n) rows.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: params for another number of columns, values not finite.

    """
    return distortion(x, weights, params.centres)[0]


@_check.pure(jit=True)
def predict(params: Params, x: Rows) -> jax.Array:
    """c(i) = argmin_k |xᵢ - μ_k|², (m,) int32; ties: lowest index.

    params hold centres, (k, n); x, (m, n), rows. Raises ValueError if they do not
    agree.
    """
    rows = rows_about_centres(params.centres, x, None)
    return nearest(rows, params.centres / rows.unit).label


@_check.pure(jit=True)
def transform(params: Params, x: Rows) -> jax.Array:
    """|xᵢ - μ_k|, (m, k): the distance of each row from each centre.

    params hold centres, (k, n); x, (m, n), rows. Raises ValueError if they do not
    agree.
    """
    return each(lambda x: euclidean(x, params.centres), x)


@_check.pure(jit=True)
def step(params: Params, x: Rows, *, weights: Weights | None = None) -> Params:
    """μ_k = Σ_{c(i)=k} wᵢ xᵢ / Σ_{c(i)=k} wᵢ: one step of Lloyd's algorithm.

    Arguments as in `cost`: centres, (k, n), x, (m, n). The first cluster that is empty
    takes the row that is farthest from its centre; another keeps its centre.
    """
    rows = rows_about_mean(x, weights)
    centres = params.centres / rows.unit
    result = jax.lax.stop_gradient(assign(unknown(x, centres), rows, centres))
    # Once more, as the sums of the pass above have no derivatives.
    result = result._replace(sums=summed(rows, result.label, result.points))
    return Params(moved(result, rows, centres)[0] * rows.unit)


@_check.fit
def fit(
    params: Params,
    x: Rows,
    *,
    weights: Weights | None = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 300,
) -> Fit:
    """Lower J of `cost` by Lloyd's algorithm from params, to a minimum near them.

    Args:
        params: centres, (k, n), to start from; `init` makes them. The result depends on
            them in jumps: derivatives are cut off.
        x: (m, n) rows.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        tol: () largest Σ_k |Δμ_k|² of a step, in units of J/n, the mean variance of
            the columns within clusters (scikit-learn: of all rows, which one outlier
            makes large). With 0 the centres are the means of their rows.
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
    if len(params.centres) > len(x):
        k, m = len(params.centres), len(x)
        raise ValueError(f"params has k = {k} centres, more than the m = {m} rows of x")
    result = _lloyd(x, weights, params.centres, tol, max_iter)
    return jax.lax.stop_gradient(result._replace(params=Params(result.params)))


def _lloyd(x, weights, centres, tol, max_iter, active=None) -> Fit:
    rows = rows_about_mean(x, weights)

    def advance(state):
        centres, result = state
        result = assign(result, rows, centres, active)
        new, result, again = moved(result, rows, centres, active)
        value = cost_of(result, centres)
        change = jnp.sum((new - centres) ** 2)
        # Where J is 0 nothing moves, but for a cluster that was empty.
        change = change / jnp.where(value == 0, 1, value / x.shape[1])
        change = jnp.where(again, jnp.inf, change)
        return (new, result), Progress(value * rows.unit * rows.unit, change)

    centres = centres / rows.unit
    result = iterate(
        advance, (centres, unknown(x, centres)), tol=tol, max_iter=max_iter
    )
    centres, assigned = result.params
    centres = summed_again(assigned, rows, centres) * rows.unit
    value, counts = distortion(x, weights, centres, active)
    empty = counts == 0
    if active is not None:
        empty &= active
    result = result.flag(empty.any(), Status.SINGULAR)
    return result._replace(params=centres, cost=value)


# --- where to start ------------------------------------------------------------------


@_check.pure(jit=True)
def init(
    key: Key,
    x: Rows,
    *,
    k: Count,
    weights: Weights | None = None,
    method: Static[str] = "++",
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
    w = jnp.ones_like(x[:, 0]) if weights is None else weights / jnp.max(weights)
    choose = {"++": _plus_plus, "parallel": _parallel, "random": _random}[method]
    rows = jax.lax.stop_gradient(rows_about_mean(x, w))
    largest = jnp.max(jnp.abs(x), axis=0)  # NaN where one is
    valid = jnp.isfinite(largest).all() & jnp.isfinite(w).all()
    return Params(jnp.where(valid, x[choose(key, rows, k)], jnp.nan))


def _random(key, rows, k):
    odds = rows.weights / jnp.sum(rows.weights)
    chosen = jax.random.choice(key, len(odds), (k,), replace=False, p=odds)
    # Where fewer than k rows count, some are chosen twice.
    return jnp.where(odds[chosen] > 0, chosen, jnp.argmax(odds))


def _draw(key, odds, count, spare):
    """Draw count indices with these odds, (m,); with those to spare where all are 0."""
    cumulative = jnp.cumsum(odds)
    cumulative = jnp.where(cumulative[-1] > 0, cumulative, jnp.cumsum(spare))
    u = jax.random.uniform(key, (count,), odds.dtype) * cumulative[-1]
    # u may be rounded up to the sum
    last = jnp.searchsorted(cumulative, cumulative[-1])
    return jnp.minimum(jnp.searchsorted(cumulative, u, side="right"), last)


def _plus_plus(key, rows, k):
    unit, shift, w = rows.unit, rows.shift, rows.weights
    wide = rows.x.shape[1] > NARROW
    # A centred copy is worth making where it is read often.
    centred = rows.x / unit - shift if wide and k > FEW else None
    squares = each(lambda x: jnp.sum((x / unit - shift) ** 2, axis=1), rows.x)
    near_origin = jnp.sum(shift**2) < 4 * jnp.mean(squares)
    lost = LOST * jnp.finfo(w.dtype).eps * jnp.vdot(w, squares)

    def exactly(chosen):
        """|xᵢ - x_c|² from the rows chosen, (count, m)."""
        return differences(rows.x[chosen] / unit, rows.x / unit)

    def by_product(chosen):
        to = rows.x[chosen] / unit - shift
        if centred is not None:
            products = to @ centred.T
        else:  # not far from the origin there is no need to centre
            products = jax.lax.cond(
                near_origin,
                lambda: (rows.x @ to.T) / unit - shift @ to.T,
                lambda: each(lambda x: (x / unit - shift) @ to.T, rows.x),
            ).T
        square = squares[chosen][:, None] + squares[None]
        return jnp.maximum(square - 2 * products, 0)

    def again(chosen, count):
        """The least distance from the first of those chosen, as differences tell it."""
        far = jnp.full_like(w, jnp.inf)
        nearer = lambda j, least: jnp.minimum(least, exactly(chosen[j][None])[0])
        return jax.lax.fori_loop(0, count, nearer, far)

    def add(i, state):
        chosen, distance, potential, exact = state
        if wide:  # once what is left is no more than rounding, differences are taken
            now = exact | anywhere(potential <= lost)
            distance = jax.lax.cond(
                now & ~exact, lambda: again(chosen, i), lambda: distance
            )
            exact = now
        odds = w * distance
        count = int(2 + math.log(k))
        drawn = _draw(jax.random.fold_in(key, i), odds, count, w)
        trial = updated_distance(exact, drawn, distance)
        left = trial @ w
        best = jnp.argmin(left)
        return chosen.at[i].set(drawn[best]), trial[best], left[best], exact

    def updated_distance(exact, drawn, distance):
        nearer = lambda of: jnp.minimum(distance[None], of(drawn))
        if not wide:
            return nearer(exactly)
        return jax.lax.cond(exact, lambda: nearer(exactly), lambda: nearer(by_product))

    first = _draw(jax.random.fold_in(key, 0), w, 1, w)
    distance = (by_product if wide else exactly)(first)[0]
    chosen = jnp.zeros(k, first.dtype).at[0].set(first[0])
    start = chosen, distance, jnp.vdot(w, distance), jnp.array(not wide)
    return jax.lax.fori_loop(1, k, add, start)[0]


def _parallel(key, rows, k):
    count = min(2 * k, len(rows.x))

    def update(distance, chosen):
        to = rows.x[chosen] / rows.unit

        def least(x, distance):
            return jnp.minimum(distance, jnp.min(squared(x / rows.unit, to), axis=1))

        return each(least, rows.x, distance)

    first = _draw(jax.random.fold_in(key, 0), rows.weights, 1, rows.weights)
    distance = update(jnp.full_like(rows.weights, jnp.inf), first)
    drawn = [first]
    for i in range(1, ROUNDS + 1):
        odds = rows.weights * distance
        subkey = jax.random.fold_in(key, i)
        drawn.append(_draw(subkey, odds, count, rows.weights))
        distance = update(distance, drawn[-1])
    chosen = jnp.concatenate(drawn)
    # Each candidate stands for the rows that are nearest to it.
    counts = distortion(rows.x, rows.weights, rows.x[chosen])[1]
    candidates = rows._replace(x=rows.x[chosen], weights=counts)
    return chosen[_plus_plus(jax.random.fold_in(key, ROUNDS + 1), candidates, k)]


# --- a few rows at a time ------------------------------------------------------------


@_check.host
def mini_batch(state: State, key: Key, batch: Batch):
    """μ_k ← μ_k + Σ (xᵢ - μ_k)/N_k over the batch's rows of cluster k: an update.

    N_k, (k,), counts all rows seen so far of the cluster; it is state.extra:

        update = jax.tree_util.Partial(kmeans.mini_batch)
        state = train.start(update, params, key, extra=jnp.zeros(k))
        fit = train.fit(update, state, x, batch=1000, epochs=3)

    key, (), is not used. Source: Sculley (2010).
    """
    x, w, centres = batch.data, batch.weights, state.params.centres
    rows = rows_about_centres(centres, x, w)
    centres = centres / rows.unit
    result = assign(unknown(x, centres), rows, centres)
    value = cost_of(result, centres) * rows.unit * rows.unit
    sums = result.sums  # from the centres, as one pass looks at all rows
    seen = state.extra + sums.weight
    step = sums.x / jnp.where(seen == 0, 1, seen)[:, None]
    state = state._replace(params=Params((centres + step) * rows.unit), extra=seen)
    return state, {"cost": value}


# --- how many clusters ---------------------------------------------------------------


@_check.pure(jit=True)
def elbow(
    key: Key,
    x: Rows,
    *,
    k: Count,
    weights: Weights | None = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 300,
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


@_check.pure(jit=True)
def gap(
    key: Key,
    x: Rows,
    *,
    k: Count,
    count: Count = 10,
    tol: NonNegative = 1e-4,
    max_iter: Count = 300,
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
    options: dict[str, Any] = {"k": k, "tol": tol, "max_iter": max_iter}
    lowest, highest = jnp.min(x, axis=0), jnp.max(x, axis=0)

    def reference(key):
        draw_key, fit_key = jax.random.split(key)
        u = jax.random.uniform(draw_key, x.shape, x.dtype)
        return jnp.log(
            elbow(fit_key, lowest[None] + u * (highest - lowest)[None], **options)
        )

    fit_key, draw_key = jax.random.split(key)
    logs = jax.lax.map(reference, jax.random.split(draw_key, count))
    result = jnp.mean(logs, axis=0) - jnp.log(elbow(fit_key, x, **options))
    spread = jnp.std(logs, axis=0) * math.sqrt(1 + 1 / count)
    enough = result[:-1] >= result[1:] - spread[1:]
    best = jnp.where(enough.any(), jnp.argmax(enough), k - 1)
    return Gap(result, spread, (best + 1).astype(jnp.int32))
