"""The dual of `_smo` for the linear kernel and few columns, by equations of the plane.

Where columns differ much in size, pairs of rows creep along the valleys that this
makes, and entries of K, far larger than the scores, are rounded by more than those. So
the plane is searched for, by `_interior`, and tells which β lie inside their box. From
there an active set takes over: linear equations for these β and b, a step to their
solution or up to the end of a box, one more β where none is met. Its scores are w·x of
an exact w = Σ β x, so that it refines β to its last digits.

Source: Nocedal and Wright (2006), algorithm 16.3.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxml._rows import with_ones
from jaxml._units import power_of_two, unit_of
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.regression.svm import _gram, _interior, _smo
from jaxml.regression.svm._smo import Anchor, Dual, Iterate

PLANE_TOL = 1e-2  # of tol, to which the plane is searched for
STEPS, PATIENCE = 100, 10  # of the active set, and those without improvement


class ActiveSet(NamedTuple):
    """Where the active set stands, and what was best."""

    point: Iterate
    b: jax.Array  # ()
    free: jax.Array  # (v,) bool, which β are solved for
    best: Iterate
    progress: Progress
    steps: jax.Array  # () int32


class Result(NamedTuple):
    """Both solutions."""

    plane: _interior.PrimalDual  # with dual variables of its own
    hinge: _interior.Hinge  # of which that is
    point: Iterate  # whose plane is that of β
    progress: Progress  # how good the point is
    search: Fit  # how the search for the plane went


def search(
    rows: _gram.KernelRows, dual: Dual, total, anchor: Anchor, *, tol, max_iter: int
) -> Fit:
    """Search for β with Σβ = total; Fit.params is an Iterate, the history J / l2."""
    result = solve(rows, dual, total, anchor, tol=tol, max_iter=max_iter)
    # The search may have converged for dual variables of its own.
    failed = jnp.maximum(result.search.status, Status.STALLED)
    # These scores are as good as w·x: they mean something also where those of K do not.
    done = result.progress.status != Status.RUNNING
    status = jnp.where(done, Status.CONVERGED, failed).astype(jnp.int32)
    return result.search._replace(
        params=result.point, residual=result.progress.residual, status=status
    )


def solve(
    rows: _gram.KernelRows,
    dual: Dual,
    total,
    anchor: Anchor,
    *,
    tol,
    max_iter: int,
    either: bool = False,
) -> Result:
    """The plane, and β with Σβ = total, or of any sum for None, where b = 0.

    Where either of them is asked for, a plane that is within tol is enough.
    """
    x = _gram.away(rows, rows.x)
    hinge = _plane(x, dual, total)
    fit = _interior.search(hinge, tol if either else PLANE_TOL * tol, max_iter)
    best: Any = fit.params
    plane = best.state
    step, state = _active_set(rows, x, dual, hinge, plane, total, anchor, tol)

    def reported(state: ActiveSet):
        """With one step at least, which finds the last digits."""
        state = step(state)
        residual = state.progress.residual
        if either:
            residual = jnp.minimum(residual, plane.residual)
        running = jnp.int32(Status.RUNNING)
        return state, state.progress._replace(residual=residual, status=running)

    last = iterate(
        reported, state, tol=tol, max_iter=STEPS, patience=PATIENCE, history_length=1
    )
    return Result(plane, hinge, last.params.best, last.params.progress, fit)


def plane_alpha(result: Result) -> jax.Array:
    """β of the plane's own dual variables; a slack of its search is none."""
    off = _interior.inactive(result.hinge, result.plane)
    return jnp.where(off, 0, result.hinge.s * result.plane.a)


def _active_set(rows, x, dual: Dual, hinge, plane, total, anchor, tol):
    """A step of the active set, and where it begins, by a state of the search."""
    lower, upper, width = *dual[1:], dual.upper - dual.lower
    largest = jnp.max(jnp.where(hinge.s != 0, jnp.sum(hinge.x**2, axis=1), 0))
    count = min(len(width), len(hinge.penalty) + 1)

    def inside(beta):
        """How far from the ends, as a share of the box; -1 where there is no room."""
        least = jnp.minimum(beta - lower, upper - beta)
        return jnp.where(width > 0, least / jnp.where(width > 0, width, 1), -1)

    def lacking(beta):
        return jnp.zeros_like(beta[0]) if total is None else total - jnp.sum(beta)

    def assessed(beta):
        beta = beta if total is None else _smo.balanced(beta, dual, total)
        image = x @ _gram.plane(rows, _smo.collapse(beta, len(x)))
        point = Iterate(beta, _smo.tiled(image, dual) - dual.p)
        progress, _ = _smo.assess(point, dual, anchor, largest, tol)
        # With another sum it is no certificate.
        little = 16 * jnp.finfo(x.dtype).eps * jnp.sum(jnp.abs(beta))
        whole = jnp.abs(lacking(beta)) <= little
        return point, progress._replace(
            residual=jnp.where(whole, progress.residual, jnp.inf),
            status=jnp.where(whole, progress.status, Status.RUNNING),
        )

    def step(state: ActiveSet):
        (beta, gradient), b, free = state.point, state.b, state.free
        some, at = jax.lax.top_k(jnp.where(free, inside(beta), -1), count)
        on = some >= 0
        # Every other time for rows that depend on each other.
        ridge = jnp.where(state.steps % 2 == 0, 0, largest)
        off = jnp.where(on, -(gradient[at] + b), 0)
        move, d_b = _solved(hinge, at, on, off, lacking(beta), ridge)
        move = jnp.zeros_like(beta).at[at].set(jnp.where(on, move, 0))
        room = jnp.where(move > 0, upper - beta, lower - beta)
        length = jnp.where(move != 0, room / jnp.where(move != 0, move, 1), jnp.inf)
        taken = jnp.minimum(1, jnp.min(length))
        end = jnp.where(move > 0, upper, lower)
        beta = jnp.where(length <= taken, end, beta + taken * move)
        point, progress = assessed(beta)
        free &= inside(point.beta) > 0
        b, rest = b + d_b, point.gradient + b + d_b
        wrong_side = jnp.where(rest < 0, point.beta < upper, point.beta > lower)
        wrong = jnp.where(wrong_side & ~free & (width > 0), jnp.abs(rest), 0)
        worst, place = _smo.first_max(wrong)
        more = (jnp.arange(len(free)) == place) & (worst > 0) & (taken == 1)
        better = progress.residual < state.progress.residual
        best = optax.tree.where(better, (point, progress), (state.best, state.progress))
        return ActiveSet(point, b, free | more, best[0], best[1], state.steps + 1)

    theta, a, u, v, *_ = plane
    # Of a row whose dual variable exceeds its slack the β is inside.
    wanted = hinge.s * (a - width / hinge.unit * (u - v))
    some, at = jax.lax.top_k(inside(wanted), count)
    free = jnp.zeros(len(width), bool).at[at].set(some > 0)
    end = jnp.where(wanted - lower < upper - wanted, lower, upper)
    beta = jnp.where(free, hinge.s * a, end)
    beta = beta if total is None else _filled(beta, free, dual, total)
    b = jnp.zeros_like(beta[0]) if total is None else theta[-1]
    point, progress = assessed(beta)
    return step, ActiveSet(point, b, free, point, progress, jnp.int32(0))


def _plane(x, dual: Dual, total) -> _interior.Hinge:
    copies = dual.p.size // len(x)
    x = jnp.tile(x, (copies, 1))
    width = dual.upper - dual.lower
    there = width > 0
    s = jnp.where(there, jnp.where(dual.upper > 0, 1, -1), 0).astype(x.dtype)
    target = s * dual.p
    penalty = jnp.ones_like(x[0])
    if total is None:
        total = jnp.zeros((), x.dtype)
    else:
        penalty = jnp.append(penalty, 0)
    # Without targets it is the sum asked for that makes scores.
    unit, own = jnp.max(jnp.abs(target)), jnp.max(jnp.abs(s) * jnp.sum(x**2, axis=1))
    unit = power_of_two(jnp.where(unit > 0, unit, total * own))
    most = jnp.where(there, width, 1)
    return _interior.Hinge(x, s, most, target, penalty, total, unit)


def _filled(beta, free, dual: Dual, total):
    """β with the sum total, as far as those that are free, or all, have room for it."""
    lack = total - jnp.sum(beta)
    little = 4 * jnp.finfo(beta.dtype).eps * jnp.sum(jnp.abs(beta))
    lack = jnp.where(jnp.abs(lack) <= little, 0, lack)
    room = jnp.where(lack > 0, dual.upper - beta, beta - dual.lower)
    inner = jnp.where(free, room, 0)
    room = jnp.where(jnp.sum(inner) >= jnp.abs(lack), inner, room)
    whole = jnp.sum(room)
    share = room / jnp.where(whole > 0, whole, 1)
    return jnp.clip(beta + lack * share, dual.lower, dual.upper)


def _solved(hinge: _interior.Hinge, at, on, off, lack, ridge):
    """Changes of β at `at` where on, and of b, so that nothing is off nor lacks.

    With rows T = (x, 1) of these: T dθ + ridge·ε dβ = off and P dθ = Tᵀ dβ, but that
    Σ dβ = lack. The ridge is for rows that depend on each other.
    """
    n = hinge.x.shape[1]
    wide = len(hinge.penalty) > n
    scale = unit_of(hinge.x, axis=0)
    scale = jnp.append(scale, 1) if wide else scale
    rows = with_ones(hinge.x[at], wide) / scale[None] * on[:, None].astype(off.dtype)
    corner = jnp.diag(jnp.where(on, jnp.finfo(off.dtype).eps * ridge, 1))
    top = jnp.concatenate([jnp.diag(hinge.penalty / scale**2), -rows.T], axis=1)
    matrix = jnp.concatenate([top, jnp.concatenate([rows, corner], axis=1)])
    unit = unit_of(matrix, axis=1)
    right = (hinge.penalty - 1) * lack
    right = jnp.concatenate([right, off]) / unit
    result = jnp.linalg.solve(matrix / unit[:, None], right)
    result = jnp.where(jnp.isfinite(result).all(), result, 0)
    return result[len(scale) :], result[n] if wide else jnp.zeros_like(lack)
