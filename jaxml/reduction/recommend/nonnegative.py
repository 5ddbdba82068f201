"""Non-negative matrix factorisation: ratings as sums of parts, never of differences.

The cost is `recommend.cost`, over the ratings that there are, with Θ, X >= 0.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml.optimize.fit import Fit, Status
from jaxml.reduction.recommend import factors
from jaxml.reduction.recommend._layout import (
    Ratings,
    agree,
    each_row,
    spread,
    weighed,
)
from jaxml.reduction.recommend._quadratic import alternate
from jaxml.reduction.recommend.factors import Params


@_check.pure(static=("users", "items", "k"))
def init(key: jax.Array, *, users: int, items: int, k: int, scale: Any = 1.0) -> Params:
    """|θ|, |x| of N(0, scale²): positive, for what is 0 stays 0.

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
    start = factors.init(key, users=users, items=items, k=k, scale=scale)
    return jax.tree.map(jnp.abs, start)


@_check.fit(static=("max_iter",), weights="m")
def fit(
    params: Params,
    ratings: Ratings,
    *,
    l2: Any = 0.0,
    weights: jax.Array | None = None,
    tol: Any = 1e-3,
    max_iter: int = 200,
) -> Fit:
    """Minimise `recommend.cost` over Θ, X >= 0: θ ← θ · Σ w y x / (Σ w ŷ x + l2 θ).

    First Θ, then X in the same way; the cost never rises. The minimiser is not unique:
    Params carry no derivatives.

    Args:
        params: where to start, positive, as `init` makes it.
        ratings: as `recommend.prepare` lays them out, y at least 0.
        l2: () penalty of both factors, as in `recommend.cost`.
        weights: (m,) weights w of the ratings; 1 if None.
        tol: () largest |change of (Θ, X)| / |(Θ, X)| in a step.
        max_iter: most steps.

    Returns:
        Fit with Params. Status INVALID where a rating or the start is negative.

    Raises:
        ValueError: ratings laid out for other numbers of users or items, values out of
            range.

    Source: Lee and Seung (2001); with weights, Mao and Saul (2004).

    """
    agree(ratings, weights, params.theta, params.x)
    user, item, _, by_user, by_item, _ = ratings
    w, y = weighed(ratings, weights)
    own, other = (
        (side, spread(side, w), spread(side, w * y)) for side in (by_user, by_item)
    )

    def step(params):
        theta = _multiplied(params.theta, params.x, *own, l2)
        x = _multiplied(params.x, theta, *other, l2)
        new = Params(theta, x)
        return new, factors.cost(new, user, item, y, l2=l2, weights=w)

    found = alternate(step, params, tol, max_iter)
    least = jnp.minimum(jnp.min(y), jnp.minimum(*(jnp.min(a) for a in params)))
    status = jnp.where(least < 0, Status.INVALID, found.status).astype(jnp.int32)
    return found._replace(status=jnp.maximum(status, found.status))


def _multiplied(moving, fixed, side, w, wy, l2):
    """moving · attraction / repulsion; 0 where nothing attracts."""

    def block(block, w, wy):
        z = fixed[block.column]
        own = block.own(moving[block.row])
        predicted = jnp.einsum("swk,sk->sw", z, own, precision="highest")
        both = jnp.stack([wy, w * predicted], axis=1)
        found = jnp.einsum("swk,sjw->sjk", z, both, precision="highest")
        return block.total(found)

    found = each_row(side, block, w, wy)
    up, down = found[:, 0], found[:, 1] + l2 * moving
    return moving * jnp.where(up == 0, 0, up / jnp.where(up == 0, 1, down))
