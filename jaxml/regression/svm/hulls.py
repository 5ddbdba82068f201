"""Margins as geometry: the shortest segment between the hulls of two classes.

The widest strip between two classes is bounded by the planes through the ends of the
shortest segment between their convex hulls, normal to it (slides 1.4). With hulls
reduced, so that no single row has much to say, this is the ν-SVM.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, NonNegative, Rows, Scalar, Static, Weights
from jaxml._units import weights_or_ones
from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._implicit import derived, root
from jaxml.regression import linear
from jaxml.regression.svm import _nearest

__all__ = ["Params", "distance", "fit", "hyperplane", "nearest_points"]


class Params(NamedTuple):
    """The shortest segment between two hulls."""

    alpha: Annotated[jax.Array, "rows"]  # coefficients, of sum 1 in each class
    p: Annotated[jax.Array, "n"]  # Σ αᵢ xᵢ over class 0
    q: Annotated[jax.Array, "n"]  # Σ αᵢ xᵢ over class 1
    # (q - p)·(x - (p + q)/2) of the rows at the edge of either class: from there, for
    # far from the origin (q - p)·x cancels catastrophically
    levels: Annotated[jax.Array, "2"]


@_check.fit
def nearest_points(
    x: Rows,
    y: Annotated[Array, "m:labels 2"],
    *,
    nu: Annotated[Scalar, "(0, 1]"] | None = None,
    mu: Scalar | None = None,
    weights: Weights | None = None,
    method: Static[str] = "wolfe",
    intercept: Static[bool] = True,
    tol: NonNegative = 1e-5,
    max_iter: Count = 2000,
) -> Fit:
    """Minimise ½‖q - p‖²: p and q in the hulls of the classes 0 and 1.

    p = Σ αᵢ xᵢ over class 0, q = Σ αᵢ xᵢ over class 1, 0 <= αᵢ, Σα = 1 in either class.

    Args:
        x: (m, n) rows.
        y: (m,) labels 0 and 1.
        nu: () ν of the ν-SVM in (0, 1]: reduced hulls with mu = 2/(ν Σw). At least a
            share ν of the rows are support vectors, at most ν lie within the margin.
        mu: () αᵢ <= mu wᵢ instead; hulls are whole if both are None. INVALID where
            mu Σw < 1 in a class.
        weights: (m,) weights w of the rows; 1 if None. A weight of 0 leaves a row out,
            integer weights are repeated rows; whole hulls depend on no more of them.
        method: "wolfe", finite: a step solves for the rows of the support alone;
            "mdm", linear: a step moves one pair of coefficients; "gilbert", sublinear:
            a step goes towards one vertex.
        intercept: False for planes through the origin: the point of the hull of ±x, +
            for class 1, that is nearest to 0; q - p is this point, Σα = 1 in all, and
            mu = 1/(ν Σw).
        tol: () largest residual.
        max_iter: most steps; Gilbert's method may want many.

    Returns:
        A Fit with Params. residual is 1 - (lower bound of ‖q - p‖²) / ‖q - p‖²: below
        1 it proves that a plane separates the hulls. Where these meet the status is
        UNBOUNDED, for the dual of the hard margin is; Gilbert's and the pairs' methods
        take long to see it. cost has derivatives at fixed α (envelope theorem), params
        those of the equations that hold on the rows with 0 < αᵢ < mu wᵢ; these are NaN
        where those rows leave α undetermined.

    Raises:
        ValueError: an argument of the wrong kind, an unknown method, nu with mu.

    Source: Wolfe (1976); Mitchell, Demyanov and Malozemov (1974); Gilbert (1966);
    reduced hulls: Crisp and Burges (2000), Bennett and Bredensteiner (2000).
    """
    _check.option("method", method, _nearest.METHODS)
    if nu is not None and mu is not None:
        raise ValueError("nu and mu are two names of one bound: give one of them")
    w = weights_or_ones(weights, x)
    groups = 2 if intercept else 1
    cap = _caps(w, mu if nu is None else groups / (nu * jnp.sum(w)))
    signs = jnp.where(y == 1, 1, -1).astype(x.dtype)
    group = (y == 1).astype(jnp.int32) * (groups - 1)

    here = (cap > 0).astype(x.dtype)
    origin = ((here / jnp.sum(here)) @ x) * (groups - 1)
    u = jnp.where(here[:, None] > 0, signs[:, None] * (x - origin[None]), 0)
    scale = jnp.sqrt(jnp.max(jnp.sum(u * u, axis=1)))
    scale = jnp.where(scale == 0, 1, scale)
    fixed = jax.lax.stop_gradient((u / scale, cap, tol))
    polytope = _nearest.Polytope(*fixed[:2], group)
    capped = nu is not None or mu is not None
    fit = _nearest.search(polytope, groups, capped, method, fixed[2], max_iter)

    member = jax.nn.one_hot(group, groups, dtype=x.dtype)
    feasible = (cap @ member).min() >= 1 - 4 * len(x) * jnp.finfo(x.dtype).eps
    status = jnp.where(feasible, fit.status, Status.INVALID)
    alpha, levels = jax.lax.stop_gradient((fit.params.alpha, fit.params.vertex.levels))
    frame = jax.lax.stop_gradient(_Frame(signs, member, origin, scale))
    params, cost = _tied(alpha, levels, status == Status.CONVERGED, x, cap, frame)
    history = fit.history * frame.scale**2
    return Fit(params, cost, fit.residual, fit.steps, status, history)


@_check.fit
def fit(
    x: Rows,
    y: Annotated[Array, "m:labels 2"],
    *,
    nu: Annotated[Scalar, "(0, 1]"] | None = None,
    mu: Scalar | None = None,
    weights: Weights | None = None,
    method: Static[str] = "wolfe",
    intercept: Static[bool] = True,
    tol: NonNegative = 1e-5,
    max_iter: Count = 2000,
) -> Fit:
    """Hard margin: min ½‖w‖² with (2yᵢ - 1)(w·xᵢ + b) >= 1; with nu, the ν-SVM.

    Takes x, (m, n), y, (m,), and weights, (m,), as nearest_points does, and all other
    arguments, nu, mu, method, intercept, tol and max_iter: this is that fit with
    linear.Params(w, b) made by `hyperplane`. Data that no plane separates are
    UNBOUNDED, unless nu reduces the hulls enough. cost is ½‖q - p‖².
    """
    result = nearest_points(
        x,
        y,
        nu=nu,
        mu=mu,
        weights=weights,
        method=method,
        intercept=intercept,
        tol=tol,
        max_iter=max_iter,
    )
    return result._replace(params=hyperplane(result.params))


@_check.pure
def hyperplane(params: Params) -> linear.Params:
    """w = 2(q - p)/(l₁ - l₀), b = -(l₁ + l₀)/(l₁ - l₀) - w·(p + q)/2, ±1 at the edges.

    params are those of nearest_points, with p and q (n,). For whole hulls l₁ = -l₀ =
    ½‖q - p‖², and 2/‖w‖ = ‖q - p‖ is the margin.
    """
    low, high = params.levels[0], params.levels[1]
    w = 2 * (params.q - params.p) / (high - low)
    middle = params.p + (params.q - params.p) / 2
    b = -(high + low) / (high - low) - jnp.vdot(w, middle)
    return linear.Params(w, b)


@_check.pure
def distance(params: Params) -> jax.Array:
    """‖q - p‖, (): the distance of the hulls and, of whole ones, the margin 2/‖w‖.

    params are those of nearest_points, with p and q (n,).
    """
    return jnp.linalg.norm(params.q - params.p)


def _caps(w, mu):
    """The greatest coefficients, (m,); 2 where no bound holds, for Σα = 1 is one."""
    if mu is None:
        return jnp.where(w > 0, 2, 0).astype(w.dtype)
    return jnp.where(w * mu >= 1, 2, jnp.maximum(w * mu, 0))


# --- what the search found, tied to the data ----------------------------------------


class _Frame(NamedTuple):
    """What rows are measured in."""

    signs: jax.Array  # (m,)
    member: jax.Array  # (m, groups) 1 where a row is in a group, else 0
    origin: jax.Array  # (n,)
    scale: jax.Array  # ()


def _tied(alpha, levels, valid, x, cap, frame: _Frame) -> tuple[Params, jax.Array]:
    """Params and ½‖q - p‖², with derivatives in x, (m, n), and the caps, (m,).

    The levels, (groups,), are in units of scale².
    """
    signs, member, origin, scale = frame
    alpha = alpha / (member @ (alpha @ member))
    found, data = (alpha, levels), (x, cap, frame)
    # Without a free row no equation is there for a derivative to be NaN by.
    unique = valid & _free_full(alpha, cap)[0].any()
    alpha, levels = root(_conditions, _solve, found, unique, data)
    present = jnp.where((cap > 0)[:, None], x - origin[None], 0)
    p, q = (jnp.where(signs == s, alpha, 0) @ present for s in (-1, 1))
    z, levels = q - p, levels * scale**2
    levels = jnp.stack([-levels[0], levels[-1]]) - jnp.vdot(z, p + q) / 2
    cost = derived(_lagrangian, jnp.vdot(z, z) / 2, valid, found, *data)
    return Params(alpha, p + origin, q + origin, levels), cost


def _measured(x, cap, frame: _Frame):
    """Rows u, (m, n), the sign of their class and the unit in them."""
    away = frame.signs[:, None] * (x - frame.origin[None]) / frame.scale
    return jnp.where((cap > 0)[:, None], away, 0)


def _free_full(alpha, cap):
    """Which rows have 0 < αᵢ < capᵢ, and which αᵢ = capᵢ, (m,) each."""
    slack = jnp.finfo(cap.dtype).eps ** 0.5 * jnp.minimum(cap, 1)
    full = (cap > 0) & (cap - alpha <= slack)
    return (alpha > slack) & ~full, full


def _lagrangian(found, x, cap, frame: _Frame):
    """½‖q - p‖² + ν·cap, with ν how far a row at its cap is from the edge."""
    alpha, levels = found
    u = _measured(x, cap, frame)
    z = alpha @ u
    full = _free_full(alpha, cap)[1]
    multipliers = jnp.where(full, u @ z - frame.member @ levels, 0)
    held = jnp.vdot(jax.lax.stop_gradient(multipliers), cap)
    return frame.scale**2 * (jnp.vdot(z, z) / 2 + held)


def _conditions(found, data):
    """On free rows uᵢ·z = λ_group; others stay at their ends, and Σα = 1."""
    (alpha, levels), (x, cap, frame) = found, data
    free, full = _free_full(alpha, cap)
    u = _measured(x, cap, frame)
    level = u @ (alpha @ u) - frame.member @ levels
    end = alpha - jnp.where(full, cap, 0)
    return jnp.where(free, level, end), alpha @ frame.member - 1


def _solve(product, right, found, data):
    """By the equations of as many free rows as can be independent; NaN if singular."""
    (alpha, levels), (x, cap, frame) = found, data
    u, member = _measured(x, cap, frame), frame.member
    free, _ = _free_full(alpha, cap)
    k = min(len(x), x.shape[1] + len(levels))
    some, rows = jax.lax.top_k(free.astype(x.dtype), k)
    held = jnp.where(free, 0, right[0])
    u_free, member_free = u[rows] * some[:, None], member[rows] * some[:, None]
    gram = u_free @ u_free.T + jnp.diag(1 - some)
    corner = jnp.zeros((len(levels), len(levels)), x.dtype)
    system = jnp.block([[gram, -member_free], [member_free.T, corner]])
    rest = some * right[0][rows] - u_free @ (held @ u)
    q, r = jnp.linalg.qr(system)
    size = jnp.abs(jnp.diagonal(r))
    sound = size.min() > 8 * len(size) * jnp.finfo(x.dtype).eps * size.max()
    sound &= jnp.sum(free) <= k
    rest = jnp.concatenate([rest, right[1] - held @ member]) @ q
    step = jax.scipy.linalg.solve_triangular(r, rest) * jnp.where(sound, 1, jnp.nan)
    return held.at[rows].add(some * step[:k]), step[k:]
