"""Non-negative matrix factorisation: ratings as sums of parts, never of differences.

The cost is `recommend.cost`, over the ratings that there are, with Θ, X >= 0.
"""

import jax
import jax.numpy as jnp
import optax

from jaxml import _check
from jaxml._check import Count, Key, NonNegative, Weights
from jaxml.optimize._fit import Fit, Status
from jaxml.reduction.recommend import _factors
from jaxml.reduction.recommend._factors import Params
from jaxml.reduction.recommend._layout import (
    Ratings,
    agree,
    both_sides,
    each_row,
    weighed,
)
from jaxml.reduction.recommend._plane import best
from jaxml.reduction.recommend._quadratic import alternate

__all__ = ["fit", "init"]


@_check.pure
def init(
    key: Key, *, users: Count, items: Count, k: Count, scale: NonNegative = 1.0
) -> Params:
    """|θ|, |x| of N(0, scale²): positive, as what they are to become.

    Args:
        key: jax.random.key(seed).
        users: how many users.
        items: how many items.
        k: how many factors.
        scale: () standard deviation; √(mean y / k) begins near the data.

    Returns:
        Params: theta (users, k), x (items, k).

    Raises:
        ValueError: a number of users, items or factors below 1.

    """
    start = _factors.init(key, users=users, items=items, k=k, scale=scale)
    return jax.tree.map(jnp.abs, start)


@_check.fit
def fit(
    params: Params,
    ratings: Ratings,
    *,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 500,
) -> Fit:
    """Minimise `recommend.cost` over Θ, X >= 0: θ_j ← max(0, θ_j - J'/J'').

    J' and J'' are the derivatives of J with respect to θ_j.

    One factor j of Θ after the other, then those of X, again and again; the cost never
    rises. The minimiser is not unique: Params carry no derivatives.

    Args:
        params: where to start, positive, as `init` makes it.
        ratings: as `recommend.prepare` lays them out, y at least 0.
        l2: () penalty of both factors, as in `recommend.cost`.
        weights: (m,) weights w of the ratings; 1 if None.
        tol: () largest relative distance of the cost from its minimum, estimated by the
            decrease of the last steps; a search can only speak of the valley it is in.
        max_iter: most steps.

    Returns:
        Fit with Params. Status INVALID where a rating or the start is negative.

    Raises:
        ValueError: ratings laid out for other numbers of users or items, values out of
            range.

    Source: Cichocki and Phan (2009); Hsieh and Dhillon (2011).

    """
    agree(ratings, weights, params.theta, params.x)
    user, item = ratings.user, ratings.item
    w, y = weighed(ratings, weights)
    users, items = both_sides(ratings, w, y)
    side, curvature, target = users
    terms = side, curvature, curvature * target

    def value(params):
        return _factors.cost(params, user, item, y, l2=l2, weights=w)

    def step(params):
        theta = _descended(params.theta, params.x, l2, *users)
        new = Params(theta, _descended(params.x, theta, l2, *items))
        return new, value(new)

    def begin(now, *directions):
        extrapolated = best(lambda p, _: p, (now, *directions), (l2, l2), terms)
        extrapolated = jax.tree.map(lambda a: jnp.maximum(a, 0), extrapolated)
        better = value(extrapolated) <= value(now)
        return optax.tree.where(better, extrapolated, now)

    result = alternate(step, params, tol, max_iter, begin)
    least = jnp.minimum(jnp.min(y), jnp.minimum(*(jnp.min(a) for a in params)))
    return result.flag(least < 0, Status.INVALID)


def _descended(moving, fixed, l2, side, w, y):
    """The rows of one side after a minimisation along each factor in turn."""
    one = jnp.eye(moving.shape[1], dtype=moving.dtype)

    def block(block, w, y):
        z = fixed[block.column]
        scaled = z * w[..., None]
        gram = jnp.einsum("swk,swl->skl", scaled, z)
        right = jnp.einsum("swk,sw->sk", scaled, y)
        hessian, right = block.total(gram) + (l2 * one)[None], block.total(right)

        def minimise_along(j, x):
            curvature = hessian[:, j, j]
            gradient = jnp.sum(hessian[:, j] * x, axis=1) - right[:, j]
            new = x[:, j] - gradient / jnp.where(curvature > 0, curvature, 1)
            return x.at[:, j].set(jnp.where(curvature > 0, jnp.maximum(new, 0), 0))

        return jax.lax.fori_loop(0, len(one), minimise_along, moving[block.row])

    return each_row(side, block, w, y)
