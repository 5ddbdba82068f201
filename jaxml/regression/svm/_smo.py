"""The dual of every kernel machine, and two searches for its solution.

    minimise ½ βᵀKβ - pᵀβ   over β with Σβ fixed and lower ≤ β ≤ upper,   (m,)

with K the kernel matrix of the rows. β is signed: for two classes β = s α, s = ±1. A
row may have several variables, each with a p and a box of its own: v = c m variables,
of which β is the sum over copies (support vector regression has c = 2). The gradient
of the objective, g = Kβ - p, is kept up to date. At the solution g + b is 0 where β is
inside its box, at least 0 at the lower end and at most 0 at the upper.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.regression.svm import _cache
from jaxml.regression.svm._gram import exact_sum

PATIENCE = 10  # rounds without any improvement after which a search has stalled
LEAST = 256  # updates in a round of `full`, at most, or m for larger sets
WORKING = 512  # variables in the working set of `block`
INNER = 10_000  # most updates within one working set
CURVATURE = 1e-12  # least curvature of a pair, as a share, for indefinite kernels
REDUCTION = 0.01, 0.5  # to such a share of a violation a round brings it, at best
PRECISE = 1e-2  # the error of scores, as a share of them, with which a fit means little
LOOSE = 1e-3  # the most that rounding may leave of the gap, as a share of the cost


class Dual(NamedTuple):
    """minimise ½ βᵀKβ - pᵀβ: p and the box of each of the v = c m variables."""

    p: jax.Array  # (v,)
    lower: jax.Array  # (v,)
    upper: jax.Array  # (v,)


class Iterate(NamedTuple):
    """Where a search of the dual stands."""

    beta: jax.Array  # (v,)
    gradient: jax.Array  # (v,) g = Kβ - p


Anchor = Callable[[jax.Array, jax.Array, Dual], jax.Array]  # `middle` or `edge`


def full(
    gram: jax.Array,
    dual: Dual,
    beta: jax.Array,
    anchor: Anchor,
    *,
    tol,
    max_iter: int,
) -> Fit:
    """Search with the matrix K, (m, m), from beta; Fit.params is an Iterate.

    A round ends when the violation has become much smaller, after max(m, LEAST) updates
    at most; g is then computed anew, so that the rounding of many updates is never
    taken for convergence. max_iter counts rounds.
    """
    m = len(gram)
    diagonal = tiled(jnp.diagonal(gram), dual)
    largest = _largest(diagonal, dual)

    def gradient(beta):
        image = gram @ collapse(beta, m)
        return tiled(image, dual) - dual.p

    def step(state):
        point, inner_tol = state
        beta, _ = _smo(
            gram,
            diagonal,
            dual,
            point.beta,
            point.gradient,
            tol=inner_tol,
            most=max(m, LEAST),
        )
        beta = balanced(beta, dual, total)
        point = Iterate(beta, gradient(beta))
        return assessed(point)

    def assessed(point):
        progress, inner_tol = assess(point, dual, anchor, largest, tol)
        return (point, inner_tol), progress

    total = _sum(beta)
    state, start = assessed(Iterate(beta, gradient(beta)))
    fit = iterate(step, state, start, tol=tol, max_iter=max_iter, patience=PATIENCE)
    return fit._replace(params=fit.params[0])


def block(
    rows: Callable[[jax.Array], jax.Array],
    diagonal: jax.Array,
    dual: Dual,
    beta: jax.Array,
    gradient: jax.Array,
    anchor: Anchor,
    *,
    tol,
    max_iter: int,
) -> Fit:
    """Search with rows(i), (q, m), of K formed when needed; Fit.params is an Iterate.

    A round solves for a working set of q variables, half of them new ones, which
    violate the conditions most; max_iter counts rounds. The last rows are kept, some
    thousands of length m. Not for vmap, which would keep rows for each member.

    Source: Joachims (1999), with the newer half of the set kept.
    """
    m, v = len(diagonal), dual.p.size
    quarter = min(WORKING, v) // 4
    if not quarter:
        raise ValueError("solver must be 'full' for so few rows")
    size = 4 * quarter
    lower, upper, diagonal = dual.lower, dual.upper, tiled(diagonal, dual)
    largest = _largest(diagonal, dual)
    most = jnp.finfo(beta.dtype).max

    def step(state):
        point, working, cache, inner_tol = state
        kept = working[size // 2 :]
        taken = jnp.zeros(v, bool).at[kept].set(True)
        up = _choose(
            jnp.where(point.beta < upper, -point.gradient, -most), taken, quarter
        )
        taken = taken.at[up].set(True)
        down = _choose(
            jnp.where(point.beta > lower, point.gradient, -most), taken, quarter
        )
        new = jnp.concatenate([up, down])
        working = jnp.concatenate([kept, new])
        cache = _cache.fetch(cache, new % m, rows)
        at = cache.place[working % m]
        old = point.beta[working]
        # The rest changes g anyway: to solve for these exactly would be wasted work.
        part = Dual(dual.p[working], lower[working], upper[working])
        solved, _ = _smo(
            cache.rows[at[:, None], (working % m)[None]],
            diagonal[working],
            part,
            old,
            point.gradient[working],
            tol=inner_tol,
            most=INNER,
        )
        solved = balanced(solved, part, _sum(old))
        change = (solved - old) @ cache.rows[at]
        point = Iterate(
            point.beta.at[working].set(solved),
            point.gradient + tiled(change, dual),
        )
        progress, inner_tol = assess(point, dual, anchor, largest, tol)
        return (point, working, cache, inner_tol), progress

    working = jnp.arange(size, dtype=jnp.int32)
    # The older half of the set is left in the first round, unread.
    cache = _cache.empty(m, size // 2, beta.dtype)
    cache = _cache.fetch(cache, working[size // 2 :] % m, rows)
    start, inner_tol = assess(Iterate(beta, gradient), dual, anchor, largest, tol)
    state = Iterate(beta, gradient), working, cache, inner_tol
    fit = iterate(step, state, start, tol=tol, max_iter=max_iter, patience=PATIENCE)
    return fit._replace(params=fit.params[0])


def violation(beta, gradient, dual: Dual) -> jax.Array:
    """The maximal violation, max_up(-g) - min_down(-g), ().

    Up are the variables that may grow, down those that may shrink.
    """
    up = jnp.max(jnp.where(beta < dual.upper, -gradient, -jnp.inf))
    return up + jnp.max(jnp.where(beta > dual.lower, gradient, -jnp.inf))


def duality_gap(beta, gradient, b, dual: Dual) -> jax.Array:
    """How far the cost of (β, b) is above the dual, (), a sum of what is never below 0.

    As the difference of the two it would be lost in their rounding. It is so for any b
    if Σβ is what it should be.
    """
    rest = gradient + b
    terms = jnp.maximum(rest * (beta - dual.lower), rest * (beta - dual.upper))
    return jnp.sum(terms)


def middle(beta, gradient, dual: Dual) -> jax.Array:
    """Shares of the variables in b = -Σ shareᵢ gᵢ, (v,).

    It is the mean over those inside the box; where none is, the middle of the interval
    that the others leave.
    """
    below, above = beta > dual.lower, beta < dual.upper
    free = below & above
    first, second = _ends(gradient, below, above)
    return _shares(jnp.where(free.any(), free, first.astype(int) + second), beta)


def edge(beta, gradient, dual: Dual) -> jax.Array:
    """As `middle`, for the least b at which g + b is nowhere below 0 but at upper ends.

    Where all are at their upper ends, for the greatest at which it is nowhere above 0.
    """
    first, second = _ends(gradient, beta > dual.lower, beta < dual.upper)
    return _shares(jnp.where(first.any(), first, second), beta)


def _ends(gradient, below, above):
    """Masks of the variable of least g that may grow, and of greatest that may shrink.

    Both are empty where there is none.
    """
    up, i = first_max(jnp.where(above, -gradient, -jnp.inf))
    down, j = first_max(jnp.where(below, gradient, -jnp.inf))
    places = jnp.arange(gradient.size)
    return (places == i) & (up > -jnp.inf), (places == j) & (down > -jnp.inf)


def _shares(counts, beta):
    counts = counts.astype(beta.dtype)
    return counts / jnp.sum(counts)


def balanced(beta, dual: Dual, total) -> jax.Array:
    """β with the sum `total`, (), of which the rounding of many updates takes it away.

    The least of the variables inside the box takes what is missing, for it is rounded
    least itself.
    """
    moved = beta - (_sum(beta) - total)
    free = (beta > dual.lower) & (beta < dual.upper)
    free &= (moved >= dual.lower) & (moved <= dual.upper)
    size = jnp.where(free, jnp.abs(beta), jnp.inf)
    least, place = first_max(-size)
    here = (jnp.arange(beta.size) == place) & (least > -jnp.inf)
    return jnp.where(here, moved, beta)


def _sum(beta):
    return exact_sum(jnp.ones_like(beta)[:, None], beta)[0]


def collapse(values: jax.Array, m: int) -> jax.Array:
    """The sum over the copies of each row, (m,)."""
    return values if values.size == m else jnp.sum(values.reshape(-1, m), axis=0)


def first_max(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The maximum and its first place; jnp.argmax is a slow scalar loop on the CPU.

    A compiler may compute the values twice, with other roundings: the first that is the
    maximum but for these is taken, or none might be found.
    """
    top = jnp.max(values)
    eps = 4 * jnp.finfo(values.dtype).eps
    least = jnp.where(top > 0, top * (1 - eps), top * (1 + eps))
    places = jnp.arange(values.size, dtype=jnp.int32)
    return top, jnp.min(jnp.where(values >= least, places, values.size))


def _choose(scores, taken, count: int):
    """Places of the highest scores, finite ones, of those not taken, (count,) int32."""
    _, places = lax.top_k(jnp.where(taken, -jnp.inf, scores), count)
    return places.astype(jnp.int32)


def tiled(values: jax.Array, dual: Dual) -> jax.Array:
    """Values of the rows, (m,), for each of the variables, (v,)."""
    copies = dual.p.size // values.size
    return values if copies == 1 else jnp.tile(values, copies)


def _largest(diagonal, dual: Dual):
    """The largest k(x, x), (), of the rows that take part."""
    return jnp.max(jnp.where(dual.upper > dual.lower, jnp.abs(diagonal), 0))


def assess(point: Iterate, dual: Dual, anchor: Anchor, largest, tol):
    """Progress, and the violation to which the next round is to come.

    The residual is the duality gap over the cost (both over l2). Rounding of K and β
    moves scores by up to eps · max k · |β|, typically by an eighth: a gap that is due
    to that is as good as tol, as far as it is little. Where scores mean nothing for
    rounding the status is SINGULAR. The dual, which grows, is what
    the history shows; its negative is minimised.
    """
    beta, gradient = point
    value = 0.5 * jnp.vdot(beta, dual.p - gradient)
    b = -jnp.vdot(anchor(beta, gradient, dual), gradient)
    gap = duality_gap(beta, gradient, b, dual)
    size = jnp.maximum(jnp.abs(value), jnp.abs(value + gap))
    size = jnp.where(size == 0, 1, size)
    residual = gap / size

    width = dual.upper - dual.lower
    take = lambda values: jnp.max(jnp.where(width > 0, jnp.abs(values), 0))
    rounding = largest * jnp.sqrt(jnp.vdot(beta, beta)) + take(dual.p)
    rounding *= jnp.finfo(beta.dtype).eps
    free = (beta > dual.lower) & (beta < dual.upper)
    left = rounding / 8 * jnp.sum(jnp.where(free, width, 0)) / size
    goal = jnp.where(tol > 0, jnp.maximum(tol, jnp.minimum(left, LOOSE)), 0)

    meaningful = rounding <= PRECISE * jnp.maximum(take(gradient), take(dual.p))
    ended = jnp.where(meaningful, Status.CONVERGED, Status.SINGULAR)
    status = jnp.where(residual <= goal, ended, Status.RUNNING)
    worst = violation(beta, gradient, dual)
    # Where no variable may grow, or none shrink, β is the only point.
    worst = jnp.where(worst == -jnp.inf, 0, worst)
    share = 0.5 * goal / jnp.where(residual > 0, residual, 1)
    inner_tol = jnp.maximum(worst * jnp.clip(share, *REDUCTION), rounding / 16)
    return Progress(-value, residual, status, value), inner_tol


def _smo(gram, diagonal, dual: Dual, beta, gradient, *, tol, most: int):
    """Move two variables at a time, `most` times at most; give β and g, (v,) each.

    The first is the worst that may grow; the second gains most to second order (Fan,
    Chen and Lin 2005, WSS 2). A plain loop: a judgement of each of these updates, a few
    microseconds, would cost as much as they do.
    """
    m, lower, upper = len(gram), dual.lower, dual.upper
    least = CURVATURE * _largest(diagonal, dual)
    places = jnp.arange(beta.size, dtype=jnp.int32)

    def at(values, i):
        return lax.dynamic_index_in_dim(values, i, keepdims=False)

    def select(beta, gradient):
        top, i = first_max(jnp.where(beta < upper, -gradient, -jnp.inf))
        return top, i, top + jnp.max(jnp.where(beta > lower, gradient, -jnp.inf))

    def row(i):
        return tiled(at(gram, i if dual.p.size == m else i % m), dual)

    def update(state):
        beta, gradient, top, i, _, count = state
        row_i = row(i)
        # Without i, whose slack is 0 but for a compiler that rounds top otherwise.
        slack = jnp.where((beta > lower) & (places != i), gradient + top, -jnp.inf)
        curvature = jnp.maximum(at(diagonal, i) + diagonal - 2 * row_i, least)
        gain = jnp.where(slack > 0, slack * slack / curvature, -jnp.inf)
        _, j = first_max(gain)
        room_i, room_j = at(upper, i) - at(beta, i), at(beta, j) - at(lower, j)
        move = (at(gradient, j) + top) / at(curvature, j)
        move = jnp.minimum(move, jnp.minimum(room_i, room_j))
        # Exactly onto the ends: what misses one by rounding is selected for ever.
        beta_i = jnp.where(move >= room_i, at(upper, i), at(beta, i) + move)
        beta_j = jnp.where(move >= room_j, at(lower, j), at(beta, j) - move)
        beta = lax.dynamic_update_index_in_dim(beta, beta_i, i, 0)
        beta = lax.dynamic_update_index_in_dim(beta, beta_j, j, 0)
        gradient = gradient + move * (row_i - row(j))
        return beta, gradient, *select(beta, gradient), count + 1

    def going(state):
        return (state[4] > tol) & (state[5] < most)

    start: Any = beta, gradient, *select(beta, gradient), jnp.int32(0)
    beta, gradient, *_ = lax.while_loop(going, update, start)
    return beta, gradient
