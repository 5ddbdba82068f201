"""Implicit feedback: what was bought or watched; the rest says little (2.2).

Every pair counts: as liked, with confidence 1 + αr, where its feedback r is above 0, as
not liked, with confidence 1, where there is none. r is the sum over the events of a
pair: twenty purchases of one piece are one of twenty. The sum over all pairs needs
k × k matrices only.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Count, NonNegative, Scalar, Static, Targets, Weights
from jaxml.optimize._fit import Fit, Status
from jaxml.reduction.recommend._factors import Params, predict
from jaxml.reduction.recommend._layout import (
    Items,
    Ratings,
    Users,
    agree,
    both_sides,
    or_nothing,
    take,
    weighed,
)
from jaxml.reduction.recommend._plane import best
from jaxml.reduction.recommend._quadratic import (
    CHOICES,
    SOLVERS,
    alternate,
    singular,
    solve,
)

__all__ = ["cost", "fit", "fold_in"]


@_check.pure
def cost(
    params: Params,
    user: Users,
    item: Items,
    y: Targets,
    *,
    l2: NonNegative = 0.0,
    alpha: Scalar = 1.0,
    weights: Weights | None = None,
) -> jax.Array:
    """J = ½ Σ c_ui (p_ui - s_ui)² + l2/2 (|X|² + |Θ|²), (), s = θ·x, c = 1 + α r_ui.

    The sum runs over all pairs of users and items. r_ui = Σ w y over the events of the
    pair, 0 where there are none, and p_ui is 1 where r_ui > 0, else 0. implicit's cost
    is 2J, with α_implicit r for 1 + αr.

    Args:
        params: theta, (users, k), and x, (items, k).
        user: (m,) who gave feedback.
        item: (m,) on what.
        y: (m,) how much, at least 0: purchases, minutes.
        l2: () factor of ½ (|X|² + |Θ|²).
        alpha: () α, the confidence per unit of feedback.
        weights: (m,) weights w of the feedback; 1 if None. An event of weight 2
            happened twice, one of weight 0 not at all.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Hu, Koren and Volinsky (2008).

    """
    _check.values("alpha", alpha, "[0, inf)")
    theta, x = params
    s = predict(params, user, item)
    r = y if weights is None else weights * y
    share = _shares(r, _pairs(user, item))
    everywhere = jnp.sum((theta.T @ theta) * (x.T @ x))
    known = jnp.sum(2 * CHOICES.value(s, alpha * r, share + alpha * r))
    return 0.5 * (everywhere + known + l2 * (jnp.sum(theta**2) + jnp.sum(x**2)))


def _pairs(user: jax.Array, item: jax.Array) -> jax.Array:
    """(m,) numbers below m, equal where user and item are, as in Ratings.pair."""
    order = jnp.lexsort((item, user))
    user, item = user[order], item[order]
    new = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    number = jnp.cumsum(new, dtype=jnp.int32)
    number = jnp.concatenate([jnp.zeros(1, jnp.int32), number])
    return jnp.zeros_like(number).at[order].set(number)


def _shares(r: jax.Array, pair: jax.Array) -> jax.Array:
    """(m,) the share of an event in the feedback of its pair; 0 without feedback.

    They add up to the preference of the pair: 1, or 0.
    """
    total = jax.ops.segment_sum(r, pair, len(r))[pair]
    return jnp.where(total > 0, r / jnp.where(total > 0, total, 1), 0)


@_check.fit
def fit(
    params: Params,
    ratings: Ratings,
    *,
    l2: NonNegative,
    alpha: Scalar = 1.0,
    weights: Weights | None = None,
    solver: Static[str] = "cg",
    tol: NonNegative = 1e-4,
    max_iter: Count = 300,
) -> Fit:
    """Minimise J of `cost` by alternating least squares, from params.

    The minimiser is not unique: Params carry no derivatives.

    Args:
        params: where to start, as `recommend.init` makes it.
        ratings: feedback y, at least 0, as `recommend.prepare` lays it out.
        l2: () factor of ½ (|X|² + |Θ|²), above 0.
        alpha: () α, the confidence per unit of feedback.
        weights: (m,) weights w of the feedback; 1 if None. A weight of 0 makes of it a
            pair without feedback.
        solver: "cg": three steps of conjugate gradients for each row, from the old
            vectors; "cholesky": each row solved for.
        tol: () largest relative distance of the cost from its minimum, estimated by the
            decrease of the last steps; a search can only speak of the valley it is in.
        max_iter: most steps.

    Returns:
        Fit with Params. Status INVALID where feedback or α is negative.

    Raises:
        ValueError: an unknown solver, ratings laid out for other numbers of users or
            items, values out of range.

    Source: Hu, Koren and Volinsky (2008); Takács, Pilászy and Tikk (2011) for "cg".

    """
    _check.option("solver", solver, SOLVERS)
    agree(ratings, weights, params.theta, params.x)
    w, y = weighed(ratings, weights)
    share = _shares(w * y, ratings.pair)
    users, items = both_sides(ratings, w * alpha * y, share + w * alpha * y)
    one = jnp.eye(params.x.shape[1], dtype=y.dtype)

    def half(fixed, moving, side, curvature, linear):
        base = fixed.T @ fixed + l2 * one
        options: dict[str, Any] = {"solver": solver, "loss": CHOICES}
        return solve(side, fixed, base, curvature, linear, moving, **options)

    def step(params):
        theta = half(params.x, params.theta, *users).rows
        x, value, _ = half(theta, params.x, *items)
        return Params(theta, x), value + 0.5 * l2 * jnp.sum(theta**2)

    def begin(*points):
        return best(lambda p, _: p, points, (l2, l2), users, everywhere=True)

    few = (l2 == 0) & (min(len(params.theta), len(params.x)) < len(one))
    result = alternate(step, params, tol, max_iter, begin)
    result = singular(result, y, w, lacking=few)
    wrong = (jnp.min(y) < 0) | (alpha < 0)
    return result.flag(wrong, Status.INVALID)


@or_nothing
@_check.pure
def fold_in(
    params: Params,
    item: Items,
    y: Targets,
    *,
    l2: NonNegative,
    alpha: Scalar = 1.0,
    weights: Weights | None = None,
) -> jax.Array:
    """θ = (XᵀX + Σ α rᵢ xxᵀ + l2)⁻¹ Σ (1 + α rᵢ) x, (k,): a new user, by feedback.

    The sums run over the items with rᵢ > 0, rᵢ = Σ w y over the events of the item. The
    minimum of `cost` over one θ, with derivatives. For a new item exchange the
    sides, as in `recommend.fold_in`.

    Args:
        params: the fit's; of them x, (items, k), is read.
        item: (m,) on what there is feedback.
        y: (m,) how much.
        l2: () that of the fit.
        alpha: () that of the fit.
        weights: (m,) weights w of the feedback; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    _check.values("alpha", alpha, "[0, inf)")
    x = params.x
    z = take(x, item)
    r = y if weights is None else weights * y
    linear = _shares(r, _pairs(jnp.zeros_like(item), item)) + alpha * r
    base = x.T @ x + l2 * jnp.eye(x.shape[1], dtype=x.dtype)
    hessian = base + (z * (alpha * r)[:, None]).T @ z
    return jnp.linalg.solve(hessian, linear @ z)
