"""The course's content-based form: what an item is like is given, not learned (2.2).

With X fixed the cost is a ridge regression for each user: one minimum, in closed form,
with derivatives. A column of ones in X is an intercept. Params are those of the
course's model, so that `recommend.predict`, `scores` and `top_n` take them.
"""

from typing import Annotated

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, NonNegative, Targets, Weights
from jaxml._units import weights_or_ones
from jaxml.optimize._fit import Fit, Status
from jaxml.reduction.recommend._factors import Params, predict
from jaxml.reduction.recommend._layout import Items, Ratings, Users, agree, spread
from jaxml.reduction.recommend._quadratic import singular, solve

__all__ = ["cost", "fit"]


@_check.pure
def cost(
    params: Params,
    user: Users,
    item: Items,
    y: Targets,
    *,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
) -> jax.Array:
    """J = ½ Σ wᵢ (θ·x - yᵢ)² + l2/2 Σ |θ|², (): the items' features cost nothing.

    Args:
        params: theta, (users, k), and the features x, (items, k).
        user: (m,) who rated.
        item: (m,) what.
        y: (m,) the rating.
        l2: () the course's λ; not divided by the number of ratings.
        weights: (m,) weights w of the ratings; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    r = predict(params, user, item) - y
    squares = jnp.sum(r**2 if weights is None else weights * r**2)
    return 0.5 * (squares + l2 * jnp.sum(params.theta**2))


@_check.fit
def fit(
    x: Annotated[Array, "i k"],
    ratings: Ratings,
    *,
    l2: NonNegative,
    weights: Weights | None = None,
) -> Fit:
    """Minimise J of `cost` over Θ: (Σ w xxᵀ + l2) θ = Σ w y x for each user.

    Args:
        x: (items, k) features of the items.
        ratings: as `recommend.prepare` lays them out.
        l2: () the course's λ, as in `cost`.
        weights: (m,) weights w of the ratings; 1 if None. Integer weights are repeated
            ratings, a weight of 0 leaves a rating out.

    Returns:
        Fit with Params(theta, x). residual is |∂J/∂Θ|. Status SINGULAR where l2 = 0 and
        somebody's ratings do not determine θ.

    Raises:
        ValueError: ratings laid out for another number of items, values out of range.

    """
    y, side = ratings.y, ratings.by_user
    start = jnp.zeros((len(side.where), x.shape[1]), x.dtype)
    agree(ratings, weights, start, x)
    w = weights_or_ones(weights, y)
    base = l2 * jnp.eye(x.shape[1], dtype=x.dtype)
    own = spread(side, w), spread(side, y)
    theta, value, residual = solve(side, x, base, *own, start, "cholesky")
    good = jnp.isfinite(value) & jnp.isfinite(jnp.sum(x))
    status = jnp.where(good, Status.CONVERGED, Status.NONFINITE)
    return singular(Fit.closed(Params(theta, x), value, residual, status), x, y, w)
