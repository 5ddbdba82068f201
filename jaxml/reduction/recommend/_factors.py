"""The course's model: a rating is the product of a user's and an item's vector (2.2).

`fit` learns both from ratings laid out by `prepare`; `normalise` takes the mean of each
item off first. `cost` and `gradient` are sums over triplets. Their sums by user are
scattered: on an accelerator the last digits depend on the order it takes, those of
alternating least squares do not.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import (
    Count,
    Key,
    NonNegative,
    Positive,
    Static,
    Targets,
    Weights,
)
from jaxml._units import weights_or_ones
from jaxml.optimize._fit import Fit
from jaxml.optimize._minimize import minimize
from jaxml.optimize._solver import Solver
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
    SOLVERS,
    alternate,
    lacking,
    singular,
    solve,
)


class Params(NamedTuple):
    """Vectors whose product is a rating; a rotation of both changes nothing."""

    theta: Annotated[jax.Array, "users k"]  # Θ, what each user likes
    x: Annotated[jax.Array, "items k"]  # X, what each item is like


@_check.pure
def init(
    key: Key, *, users: Count, items: Count, k: Count, scale: NonNegative = 0.1
) -> Params:
    """θ, x ~ N(0, scale²): from zeros a fit would not start.

    Args:
        key: jax.random.key(seed).
        users: how many users.
        items: how many items.
        k: how many factors.
        scale: () standard deviation.

    Returns:
        Params: theta (users, k), x (items, k).

    Raises:
        ValueError: a number of users, items or factors below 1.

    """
    theta_key, x_key = jax.random.split(key)
    dtype = jnp.asarray(scale, float).dtype
    return Params(
        scale * jax.random.normal(theta_key, (users, k), dtype),
        scale * jax.random.normal(x_key, (items, k), dtype),
    )


@_check.pure
def predict(params: Params, user: Users, item: Items) -> jax.Array:
    """θ⁽ᵘ⁾·x⁽ⁱ⁾, (m,), for m pairs; add the mean of the item if `normalise` took it.

    Args:
        params: theta, (users, k), and x, (items, k).
        user: (m,) integers.
        item: (m,) integers.

    Raises:
        ValueError: arrays that are not (m,), or a number that has no vector.

    """
    return jnp.sum(take(params.theta, user) * take(params.x, item), axis=1)


@_check.pure
def scores(params: Params, user: Users) -> jax.Array:
    """θ⁽ᵘ⁾·x of all items, (m, items), for m users: what `top_n` chooses from.

    params as in `predict`; user, (m,) integers.
    """
    return take(params.theta, user) @ params.x.T


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
    """J = ½ Σ wᵢ (θ·x - yᵢ)² + l2/2 Σ |x|² + l2/2 Σ |θ|², (): sums, as in the course.

    Args:
        params: theta, (users, k), and x, (items, k).
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
    return 0.5 * squares + 0.5 * l2 * sum(jnp.sum(a**2) for a in params)


@_check.pure
def gradient(
    params: Params,
    user: Users,
    item: Items,
    y: Targets,
    *,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
) -> Params:
    """∂J/∂x⁽ⁱ⁾ = Σ_u w (θ·x - y) θ⁽ᵘ⁾ + l2 x⁽ⁱ⁾, and the same for θ with sides changed.

    Arguments and errors as in `cost`: user, item, y and weights are (m,).
    """
    r = predict(params, user, item) - y
    r = (r if weights is None else weights * r)[:, None]
    users, items = len(params.theta), len(params.x)
    d_theta = jax.ops.segment_sum(r * take(params.x, item), user, users)
    d_x = jax.ops.segment_sum(r * take(params.theta, user), item, items)
    return Params(d_theta + l2 * params.theta, d_x + l2 * params.x)


class Normalised(NamedTuple):
    """Ratings from which the mean of their item is taken."""

    y: jax.Array  # (m,) y - μ of the item
    mean: jax.Array  # (items,) μ; that of all ratings for an item without any


@_check.pure
def normalise(
    item: Items, y: Targets, *, items: Count, weights: Weights | None = None
) -> Normalised:
    """y - μ⁽ⁱ⁾ with μ⁽ⁱ⁾ = Σ wᵢ yᵢ / Σ wᵢ over the ratings that the item has.

    A user without ratings is then predicted the mean, not 0. The mean of a single
    rating is that rating: an item that one user gave the best leads all lists. Where
    lists are wanted, `biased` draws the means of few ratings towards that of all.

    Args:
        item: (m,) what was rated.
        y: (m,) the rating.
        items: how many items there are.
        weights: (m,) weights w of the ratings; 1 if None.

    Returns:
        Normalised.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    w = weights_or_ones(weights, y)
    middle = jnp.sum(w * y) / jnp.sum(w)
    rated = jax.ops.segment_sum(w, item, items)
    total = jax.ops.segment_sum(w * (y - middle), item, items)
    mean = middle + jnp.where(rated > 0, total / jnp.where(rated > 0, rated, 1), 0)
    return Normalised(y - take(mean, item), mean)


@_check.fit
def fit(
    params: Params,
    ratings: Ratings,
    *,
    l2: NonNegative,
    weights: Weights | None = None,
    solver: Static[str | Solver] = "cholesky",
    learning_rate: Positive | None = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 300,
) -> Fit:
    """Minimise J of `cost` over Θ and X, from params.

    The minimiser is not unique: Params carry no derivatives.

    Args:
        params: where to start, as `init` makes it.
        ratings: as `prepare` lays them out.
        l2: () the course's λ, as in `cost`.
        weights: (m,) weights w of the ratings; 1 if None. Integer weights are repeated
            ratings, a weight of 0 leaves a rating out.
        solver: "cholesky": alternating least squares, X fixed while each θ is solved
            for, then Θ; "cg": the same with three steps of conjugate gradients. An
            optax optimiser, as optimize.conjugate, descends in Θ and X jointly, as in
            the slides.
        learning_rate: () of an optax optimiser.
        tol: () largest relative distance of the cost from its minimum, estimated by the
            decrease of the last steps; a search can only speak of the valley it is in;
            of an optax optimiser, |∂J|.
        max_iter: most steps.

    Returns:
        Fit with Params. Status SINGULAR where l2 = 0 and somebody has fewer ratings
        than factors.

    Raises:
        ValueError: an unknown solver, ratings laid out for other numbers of users or
            items, values out of range.

    Source: Zhou, Wilkinson, Schreiber and Pan (2008).

    """
    agree(ratings, weights, params.theta, params.x)
    user, item = ratings.user, ratings.item
    w, y = weighed(ratings, weights)
    if not isinstance(solver, str):
        fixed = jax.lax.stop_gradient((params, user, item, y, w, l2, learning_rate))
        start, *data, l2, learning_rate = fixed
        return minimize(
            _cost,
            start,
            *data,
            l2=l2,
            solver=solver,
            learning_rate=learning_rate,
            tol=tol,
            max_iter=max_iter,
        )
    _check.option("solver", solver, SOLVERS)
    users, items = both_sides(ratings, w, y)
    base = l2 * jnp.eye(params.x.shape[1], dtype=y.dtype)

    def half(fixed, moving, side, curvature, target):
        return solve(side, fixed, base, curvature, target, moving, solver)

    def step(params):
        theta = half(params.x, params.theta, *users).rows
        x, value, _ = half(theta, params.x, *items)
        return Params(theta, x), value + 0.5 * l2 * jnp.sum(theta**2)

    side, curvature, target = users
    terms = side, curvature, curvature * target

    def begin(*points):
        return best(lambda p, _: p, points, (l2, l2), terms)

    few = lacking(ratings, w, jnp.diagonal(base))
    return singular(alternate(step, params, tol, max_iter, begin), y, w, lacking=few)


def _cost(params, user, item, y, weights, *, l2):
    return cost(params, user, item, y, l2=l2, weights=weights)


@or_nothing
@_check.pure
def fold_in(
    params: Params,
    item: Items,
    y: Targets,
    *,
    l2: NonNegative,
    weights: Weights | None = None,
) -> jax.Array:
    """θ = (Σ wᵢ xxᵀ + l2)⁻¹ Σ wᵢ yᵢ x, (k,): a new user, by what they have rated.

    The minimum of `cost` over one θ, with derivatives. For a new item exchange the
    sides: `fold_in(Params(params.x, params.theta), user, y, l2=l2)`.

    Args:
        params: the fit's; of them x, (items, k), is read.
        item: (m,) what the user rated.
        y: (m,) their ratings.
        l2: () that of the fit.
        weights: (m,) weights w of the ratings; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    x = params.x
    z = take(x, item)
    scaled = z if weights is None else z * weights[:, None]
    base = l2 * jnp.eye(x.shape[1], dtype=x.dtype)
    return jnp.linalg.solve(scaled.T @ z + base, scaled.T @ y)
