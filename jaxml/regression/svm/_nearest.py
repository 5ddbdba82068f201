"""The point of a polytope nearest to the origin, by three methods, from slow to finite.

The polytope is {Σ αᵢ uᵢ : 0 <= αᵢ <= capᵢ, Σ over each group of α is 1}: one or two
groups of rows u, (m, n). With u = x for one class and u = -x for the other it holds the
differences of two hulls. All three methods ask which vertex lies farthest against z,
and z·(z - vertex), the gap, bounds how far ½‖z‖² is from its minimum.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml.optimize._fit import Fit, Progress, Status, iterate

PATIENCE = 50  # steps without any improvement after which a search has stalled, or 2m


class Polytope(NamedTuple):
    """The rows whose combinations are searched, of norm 1 at most."""

    u: jax.Array  # (m, n)
    cap: jax.Array  # (m,) greatest coefficients; 0 for a row that is absent
    group: jax.Array  # (m,) int32, 0 or 1


class Vertex(NamedTuple):
    """A vertex of the polytope."""

    alpha: jax.Array  # (m,)
    point: jax.Array  # (n,)
    levels: jax.Array  # (groups,) scores of the rows at the edge of their group


class Corral(NamedTuple):
    """Wolfe's: affinely independent vertices around the nearest point so far."""

    alphas: jax.Array  # (s, m) vertices
    points: jax.Array  # (s, n)
    share: jax.Array  # (s,) λ, of sum 1
    active: jax.Array  # (s,) bool
    optimal: jax.Array  # () bool: z is the nearest point of their affine hull


class Iterate(NamedTuple):
    """Where a search stands."""

    alpha: jax.Array  # (m,)
    z: jax.Array  # (n,) Σ αᵢ uᵢ
    scores: jax.Array  # (m,) u·z
    vertex: Vertex  # farthest against z
    memory: Any


def search(
    rows: Polytope, groups: int, capped: bool, method: str, tol: Any, max_iter: int
) -> Fit:
    """A Fit whose params are the last Iterate; cost ½‖z‖², residual gap / ‖z‖².

    capped says whether any cap is below 1: the farthest vertex is then found by
    sorting. UNBOUNDED where z is 0 to rounding.
    """
    advance, start = METHODS[method]
    places = jnp.arange(len(rows.u), dtype=rows.u.dtype)
    first = _farthest(rows, places, groups, capped)  # the first rows of each group

    def stand(alpha, memory) -> Iterate:
        # From α at each step: increments of z would gather their roundings.
        z = alpha @ rows.u
        scores = rows.u @ z
        return Iterate(
            alpha, z, scores, _farthest(rows, scores, groups, capped), memory
        )

    def progress(state: Iterate) -> Progress:
        z = state.z
        square = jnp.vdot(z, z)
        gap = jnp.maximum(jnp.vdot(z, z - state.vertex.point), 0) / square
        rounding = 16 * jnp.finfo(z.dtype).eps
        status = jnp.where(square <= rounding**2, Status.UNBOUNDED, Status.RUNNING)
        # The gap of a z that is 0 is 0/0, which is no fault.
        gap = jnp.where(status == Status.UNBOUNDED, jnp.inf, gap)
        return Progress(square / 2, gap, status)

    def step(state: Iterate):
        state = stand(*advance(rows, groups, state))
        return state, progress(state)

    state = stand(first.alpha, start(rows, first))
    return iterate(
        step,
        state,
        progress(state),
        tol=tol,
        max_iter=max_iter,
        patience=max(PATIENCE, 2 * len(rows.u)),
    )


def _farthest(rows: Polytope, scores, groups: int, capped: bool) -> Vertex:
    """The vertex of least Σ αᵢ scoreᵢ: from the least score on, each row its cap."""
    fill = _filled if capped else _single
    order = jnp.argsort(scores) if capped else None
    alpha = jnp.zeros_like(scores)
    levels = []
    for g in range(groups):
        cap = jnp.where(rows.group == g, rows.cap, 0)
        part, level = fill(scores, cap, order)
        alpha += part
        levels.append(level)
    point = alpha @ rows.u
    return Vertex(alpha, point, jnp.stack(levels))


def _single(scores, cap, order):
    place = jnp.argmin(jnp.where(cap > 0, scores, jnp.inf))
    alpha = (jnp.arange(len(scores)) == place).astype(scores.dtype)
    return alpha, scores[place]


def _filled(scores, cap, order):
    cap, scores = cap[order], scores[order]
    filled = jnp.cumsum(cap)
    part = jnp.clip(1 - (filled - cap), 0, cap)
    # The last row that is needed; where that one is full, halfway to the next.
    rounding = 4 * len(cap) * jnp.finfo(cap.dtype).eps
    ends = jnp.array([1 - rounding, 1 + rounding], cap.dtype)
    last = jnp.max(jnp.where(cap > 0, jnp.arange(len(cap)), 0))
    places = jnp.minimum(jnp.searchsorted(filled, ends), last)
    level = jnp.mean(scores[places])
    return jnp.zeros_like(part).at[order].set(part), level


# --- Gilbert (1966) -----------------------------------------------------------------


def _gilbert(rows: Polytope, groups: int, state: Iterate):
    """To the nearest point of the segment from z to the vertex (Frank and Wolfe)."""
    towards = state.vertex.point - state.z
    length = jnp.vdot(towards, towards)
    t = -jnp.vdot(state.z, towards) / jnp.where(length == 0, 1, length)
    t = jnp.clip(t, 0, 1)
    return (1 - t) * state.alpha + t * state.vertex.alpha, None


# --- Mitchell, Demyanov and Malozemov (1974) ----------------------------------------


def _exchange(rows: Polytope, groups: int, state: Iterate):
    """Coefficient is moved from the row farthest along z to the one farthest against.

    Both are of one group, that where they differ most; this is sequential minimal
    optimisation with the maximal violating pair.
    """
    scores, alpha = state.scores, state.alpha
    pairs = []
    for g in range(groups):
        own = rows.group == g
        low = jnp.where(own & (alpha < rows.cap), scores, jnp.inf)
        high = jnp.where(own & (alpha > 0), scores, -jnp.inf)
        pairs.append((jnp.argmin(low), jnp.argmax(high)))
    to, off = (jnp.stack(ends) for ends in zip(*pairs, strict=True))
    worst = jnp.argmax(scores[off] - scores[to])
    to, off = to[worst], off[worst]
    towards = rows.u[to] - rows.u[off]
    length = jnp.vdot(towards, towards)
    t = (scores[off] - scores[to]) / jnp.where(length == 0, 1, length)
    room = jnp.minimum(rows.cap[to] - alpha[to], alpha[off])
    t = jnp.clip(t, 0, room)
    # Where all of it is moved, none shall be left by rounding.
    left = jnp.where(t == alpha[off], 0, alpha[off] - t)
    filled = jnp.where(t == rows.cap[to] - alpha[to], rows.cap[to], alpha[to] + t)
    alpha = alpha.at[off].set(left).at[to].set(jnp.where(to == off, left, filled))
    return alpha, None


# --- Wolfe (1976) -------------------------------------------------------------------


def _corral(rows: Polytope, first: Vertex) -> Corral:
    m, n = rows.u.shape
    # Affinely independent differences of m rows in n dimensions, and one to spare.
    slots = max(min(n, m - 2), 0) + 2
    active = jnp.arange(slots) == 0
    one = active.astype(rows.u.dtype)
    return Corral(
        one[:, None] * first.alpha[None],
        one[:, None] * first.point[None],
        one,
        active,
        jnp.bool_(True),
    )


def _wolfe(rows: Polytope, groups: int, state: Iterate):
    """One minor cycle; where z was optimal, the vertex is taken into the corral first.

    With a single group and no caps this is Lawson and Hanson's algorithm for
    min ‖[Uᵀ; 1ᵀ] v - (0, …, 0, 1)‖, v >= 0, with α = v / Σv.
    """
    corral, vertex = state.memory, state.vertex
    free = jnp.arange(len(corral.active)) == jnp.argmin(corral.active)
    free &= ~corral.active & corral.optimal
    alphas = jnp.where(free[:, None], vertex.alpha[None], corral.alphas)
    points = jnp.where(free[:, None], vertex.point[None], corral.points)
    share = jnp.where(free, 0, corral.share)
    active = corral.active | free
    target = _affine(points, active)
    # Towards the nearest point of the affine hull, as far as all shares stay positive.
    wrong = active & (target <= 0)
    fall = jnp.where(wrong & (share > target), share - target, 1)
    reach = jnp.where(wrong, share / fall, jnp.inf)
    optimal = ~wrong.any()
    t = jnp.where(optimal, 1, jnp.min(reach))
    share = jnp.where(active, (1 - t) * share + t * target, 0)
    active &= optimal | ((jnp.arange(len(active)) != jnp.argmin(reach)) & (share > 0))
    share = jnp.where(active, share, 0)
    share /= jnp.sum(share)
    alpha = share @ alphas
    return alpha, Corral(alphas, points, share, active, optimal)


def _affine(points, active):
    """Shares, (s,), of sum 1, of the point of an affine hull nearest to the origin.

    Least squares by QR, v = argmin ‖[Pᵀ; 1ᵀ] v - (0, …, 0, 1)‖, scaled to sum 1; a
    slot that is not active has an equation of its own, that its v is 0.
    """
    here = active.astype(points.dtype)
    wide = jnp.concatenate([points.T * here[None], here[None], jnp.diag(1 - here)])
    q, r = jnp.linalg.qr(wide)
    v = jax.scipy.linalg.solve_triangular(r, q[points.shape[1]])
    return v / jnp.sum(v)


METHODS: dict[str, tuple[Callable, Callable]] = {
    "gilbert": (_gilbert, lambda rows, first: None),
    "mdm": (_exchange, lambda rows, first: None),
    "wolfe": (_wolfe, _corral),
}
