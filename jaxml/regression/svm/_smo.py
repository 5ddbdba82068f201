"""The dual of every kernel machine, and two searches for its solution.

    minimise ½ βᵀKβ - pᵀβ   over β with Σβ fixed and lower ≤ β ≤ upper,   (m,)

with K the kernel matrix of the rows. β is signed: for two classes β = s α, s = ±1. A
row may have several variables, each with a p and a box of its own: v = c m variables,
of which β is the sum over copies (support vector regression has c = 2). The slope of
the objective, g = Kβ - p, is kept up to date. At the solution g + b is 0 where β is
inside its box, at least 0 at the lower end and at most 0 at the upper.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxml.optimize.fit import Fit, Progress, iterate
from jaxml.regression.svm import _cache

PATIENCE = 10  # rounds without any improvement after which a search has stalled
LEAST = 256  # updates in a round of `full`, at least; m for larger sets
WORKING = 512  # variables in the working set of `block`
INNER = 10_000  # most updates within one working set
CURVED = 1e-12  # least curvature of a pair (LIBSVM's), for kernels that are none
WITHIN = 0.99  # of tol, so that rounding does not cost another round


class Problem(NamedTuple):
    """p and the box of each of the v = c m variables, copy by copy."""

    p: jax.Array  # (v,)
    lower: jax.Array  # (v,)
    upper: jax.Array  # (v,)


class Point(NamedTuple):
    """Where a search stands."""

    beta: jax.Array  # (v,)
    slope: jax.Array  # (v,) g = Kβ - p


def full(
    gram: jax.Array, problem: Problem, beta: jax.Array, *, tol, max_iter: int
) -> Fit:
    """Search with the matrix K, (m, m), from beta; Fit.params is a Point.

    A round is max(m, LEAST) updates; g is then computed anew, so that the rounding of
    many updates is never taken for convergence. max_iter counts rounds.
    """
    m = len(gram)
    diagonal = _tile(jnp.diagonal(gram), problem)

    def slope(beta):
        image = jnp.matmul(gram, collapse(beta, m), precision="highest")
        return _tile(image, problem) - problem.p

    def step(point: Point):
        beta, _ = _smo(
            gram,
            diagonal,
            problem,
            point.beta,
            point.slope,
            tol=WITHIN * tol,
            most=max(m, LEAST),
        )
        point = Point(beta, slope(beta))
        return point, _progress(point, problem)

    start = Point(beta, slope(beta))
    return iterate(step, start, tol=tol, max_iter=max_iter, patience=PATIENCE)


def block(
    rows: Callable[[jax.Array], jax.Array],
    diagonal: jax.Array,
    problem: Problem,
    beta: jax.Array,
    slope: jax.Array,
    *,
    tol,
    max_iter: int,
) -> Fit:
    """Search with rows(i), (q, m), of K formed when needed; Fit.params is a Point.

    A round solves for a working set of q variables, half of them new ones, which
    violate the conditions most; max_iter counts rounds. The last rows are kept, some
    thousands of length m. Not for vmap, which would keep rows for each member.

    Source: Joachims (1999), with the newer half of the set kept.
    """
    m, v = len(diagonal), problem.p.size
    quarter = min(WORKING, v) // 4
    if not quarter:
        raise ValueError("solver must be 'full' for so few rows")
    size = 4 * quarter
    lower, upper, diagonal = problem.lower, problem.upper, _tile(diagonal, problem)
    most = jnp.finfo(beta.dtype).max

    def step(state):
        point, working, cache, gap = state
        kept = working[size // 2 :]
        taken = jnp.zeros(v, bool).at[kept].set(True)
        up = _choose(jnp.where(point.beta < upper, -point.slope, -most), taken, quarter)
        taken = taken.at[up].set(True)
        down = _choose(
            jnp.where(point.beta > lower, point.slope, -most), taken, quarter
        )
        new = jnp.concatenate([up, down])
        working = jnp.concatenate([kept, new])
        cache = _cache.fetch(cache, new % m, rows)
        at = cache.place[working % m]
        old = point.beta[working]
        # The rest changes g anyway: below a tenth of the present gap, work is wasted.
        solved, _ = _smo(
            cache.rows[at[:, None], (working % m)[None]],
            diagonal[working],
            Problem(problem.p[working], lower[working], upper[working]),
            old,
            point.slope[working],
            tol=jnp.maximum(0.1 * gap, 0.5 * tol),
            most=INNER,
        )
        change = jnp.matmul(solved - old, cache.rows[at], precision="highest")
        point = Point(
            point.beta.at[working].set(solved),
            point.slope + _tile(change, problem),
        )
        progress = _progress(point, problem)
        return (point, working, cache, progress.residual), progress

    working = jnp.arange(size, dtype=jnp.int32)
    # The older half of the set is left in the first round, unread.
    cache = _cache.empty(m, size // 2, beta.dtype)
    cache = _cache.fetch(cache, working[size // 2 :] % m, rows)
    gap = violation(beta, slope, problem)
    state = Point(beta, slope), working, cache, gap
    fit = iterate(step, state, tol=tol, max_iter=max_iter, patience=PATIENCE)
    return fit._replace(params=fit.params[0])


def violation(beta, slope, problem: Problem) -> jax.Array:
    """The maximal violation, max_up(-g) - min_down(-g), ().

    Up are the variables that may grow, down those that may shrink.
    """
    up = jnp.max(jnp.where(beta < problem.upper, -slope, -jnp.inf))
    return up + jnp.max(jnp.where(beta > problem.lower, slope, -jnp.inf))


def collapse(values: jax.Array, m: int) -> jax.Array:
    """The sum over the copies of each row, (m,)."""
    return values if values.size == m else jnp.sum(values.reshape(-1, m), axis=0)


def first_max(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The maximum and its first place; jnp.argmax is a slow scalar loop on the CPU."""
    top = jnp.max(values)
    places = jnp.arange(values.size, dtype=jnp.int32)
    return top, jnp.min(jnp.where(values == top, places, values.size))


def _choose(scores, taken, count: int):
    """Places of the highest scores, finite ones, of those not taken, (count,) int32."""
    _, places = lax.top_k(jnp.where(taken, -jnp.inf, scores), count)
    return places.astype(jnp.int32)


def _tile(values: jax.Array, problem: Problem) -> jax.Array:
    copies = problem.p.size // values.size
    return values if copies == 1 else jnp.tile(values, copies)


def _progress(point: Point, problem: Problem) -> Progress:
    """The dual, which grows, is what the history shows; its negative is minimised."""
    dual = 0.5 * jnp.vdot(point.beta, problem.p - point.slope, precision="highest")
    gap = violation(point.beta, point.slope, problem)
    # Where no variable may grow, or none shrink, β is the only point: no gap.
    gap = jnp.where(gap == -jnp.inf, 0, gap)
    return Progress(-dual, gap, record=dual)


def _smo(gram, diagonal, problem: Problem, beta, slope, *, tol, most: int):
    """Move two variables at a time, `most` times at most; give β and g, (v,) each.

    The first is the worst that may grow; the second gains most to second order (Fan,
    Chen and Lin 2005, WSS 2). A plain loop: a judgement of each of these updates, a few
    microseconds, would cost as much as they do.
    """
    m, lower, upper = len(gram), problem.lower, problem.upper

    def at(values, i):
        return lax.dynamic_index_in_dim(values, i, keepdims=False)

    def select(beta, slope):
        top, i = first_max(jnp.where(beta < upper, -slope, -jnp.inf))
        return top, i, top + jnp.max(jnp.where(beta > lower, slope, -jnp.inf))

    def row(i):
        return _tile(at(gram, i if problem.p.size == m else i % m), problem)

    def update(state):
        beta, slope, top, i, _, count = state
        row_i = row(i)
        slack = jnp.where(beta > lower, slope + top, -jnp.inf)
        curvature = jnp.maximum(at(diagonal, i) + diagonal - 2 * row_i, CURVED)
        gain = jnp.where(slack > 0, slack * slack / curvature, -jnp.inf)
        _, j = first_max(gain)
        room_i, room_j = at(upper, i) - at(beta, i), at(beta, j) - at(lower, j)
        move = (at(slope, j) + top) / at(curvature, j)
        move = jnp.minimum(move, jnp.minimum(room_i, room_j))
        # Exactly onto the ends: what misses one by rounding is selected for ever.
        beta_i = jnp.where(move >= room_i, at(upper, i), at(beta, i) + move)
        beta_j = jnp.where(move >= room_j, at(lower, j), at(beta, j) - move)
        beta = lax.dynamic_update_index_in_dim(beta, beta_i, i, 0)
        beta = lax.dynamic_update_index_in_dim(beta, beta_j, j, 0)
        slope = slope + move * (row_i - row(j))
        return beta, slope, *select(beta, slope), count + 1

    def going(state):
        return (state[4] > tol) & (state[5] < most)

    start: Any = beta, slope, *select(beta, slope), jnp.int32(0)
    beta, slope, *_ = lax.while_loop(going, update, start)
    return beta, slope
