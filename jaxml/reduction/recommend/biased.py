"""Matrix factorisation with biases: some users are strict, some items are loved (2.2).

r̂ = μ + b_u + b_i + θ·x. Whoever has no ratings has b = 0 and θ = 0, and is predicted by
what is known of the other side. `fit` alternates between the sides; mini-batches take

    update = train.descend(biased.cost, learning_rate=0.01, l2=…, l2_bias=…)

with l2 and l2_bias of `cost` times the share of the ratings that is in a batch.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Count, Key, NonNegative, Static, Targets, Weights
from jaxml.optimize._fit import Fit
from jaxml.reduction.recommend import _factors
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

__all__ = ["Folded", "Params", "cost", "fit", "fold_in", "init", "predict", "scores"]


class Params(NamedTuple):
    """A mean, biases and factors."""

    mu: Annotated[jax.Array, ""]  # mean of all ratings
    b_user: Annotated[jax.Array, "users"]  # above the mean, by user
    b_item: Annotated[jax.Array, "items"]  # and by item
    theta: Annotated[jax.Array, "users k"]  # Θ, what each user likes
    x: Annotated[jax.Array, "items k"]  # X, what each item is like


@_check.pure
def init(
    key: Key, *, users: Count, items: Count, k: Count, scale: NonNegative = 0.1
) -> Params:
    """θ, x ~ N(0, scale²), biases and μ 0.

    Args:
        key: jax.random.key(seed).
        users: how many users.
        items: how many items.
        k: how many factors.
        scale: () standard deviation.

    Returns:
        Params: theta (users, k), x (items, k), b_user (users,), b_item (items,), mu ().

    Raises:
        ValueError: a number of users, items or factors below 1.

    """
    theta, x = _factors.init(key, users=users, items=items, k=k, scale=scale)
    zero = jnp.zeros((), theta.dtype)
    return Params(zero, jnp.zeros_like(theta[:, 0]), jnp.zeros_like(x[:, 0]), theta, x)


@_check.pure
def predict(params: Params, user: Users, item: Items) -> jax.Array:
    """μ + b_u + b_i + θ·x, (m,), for m pairs.

    Args:
        params: mu, b_user, b_item, theta and x.
        user: (m,) integers.
        item: (m,) integers.

    Raises:
        ValueError: arrays that are not (m,), or a number that has no vector.

    """
    mu, b_user, b_item, theta, x = params
    both = jnp.sum(take(theta, user) * take(x, item), axis=1)
    return mu + take(b_user, user) + take(b_item, item) + both


@_check.pure
def scores(params: Params, user: Users) -> jax.Array:
    """μ + b_u + b_i + θ·x of all items, (m, items), for m users.

    params as in `predict`; user, (m,) integers.
    """
    mu, b_user, b_item, theta, x = params
    both = take(theta, user) @ x.T
    return mu + take(b_user, user)[:, None] + b_item[None] + both


@_check.pure
def cost(
    params: Params,
    user: Users,
    item: Items,
    y: Targets,
    *,
    l2: NonNegative = 0.0,
    l2_bias: NonNegative = 0.0,
    weights: Weights | None = None,
) -> jax.Array:
    """J = ½ Σ wᵢ (r̂ᵢ - yᵢ)² + l2/2 (|Θ|² + |X|²) + l2_bias/2 (|b_u|² + |b_i|²), ().

    Args:
        params: mu, b_user, b_item, theta and x.
        user: (m,) who rated.
        item: (m,) what.
        y: (m,) the rating.
        l2: () penalty of the factors; sums, not divided by the number of ratings.
        l2_bias: () penalty of the biases.
        weights: (m,) weights w of the ratings; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    r = predict(params, user, item) - y
    squares = jnp.sum(r**2 if weights is None else weights * r**2)
    vectors = jnp.sum(params.theta**2) + jnp.sum(params.x**2)
    biases = jnp.sum(params.b_user**2) + jnp.sum(params.b_item**2)
    return 0.5 * (squares + l2 * vectors + l2_bias * biases)


@_check.fit
def fit(
    params: Params,
    ratings: Ratings,
    *,
    l2: NonNegative,
    l2_bias: NonNegative,
    weights: Weights | None = None,
    solver: Static[str] = "cholesky",
    tol: NonNegative = 1e-4,
    max_iter: Count = 300,
) -> Fit:
    """Minimise J of `cost` by alternating least squares, with μ = Σ wᵢ yᵢ / Σ wᵢ.

    (θ, b_u) of a user is a ridge regression on [x, 1] of what they rated, and (x, b_i)
    of an item one on [θ, 1]. The minimiser is not unique: Params carry no derivatives.

    Args:
        params: where to start, as `init` makes it.
        ratings: as `recommend.prepare` lays them out.
        l2: () penalty of the factors, as in `cost`.
        l2_bias: () penalty of the biases.
        weights: (m,) weights w of the ratings; 1 if None.
        solver: "cholesky", or "cg" for three steps of conjugate gradients.
        tol: () largest relative distance of the cost from its minimum, estimated by the
            decrease of the last steps; a search can only speak of the valley it is in.
        max_iter: most steps.

    Returns:
        Fit with Params. Status SINGULAR where a penalty is 0 and somebody has too few
        ratings.

    Raises:
        ValueError: an unknown solver, ratings laid out for other numbers of users or
            items, values out of range.

    Source: Koren, Bell and Volinsky (2009).

    """
    _check.option("solver", solver, SOLVERS)
    agree(ratings, weights, params.theta, params.x)
    w, y = weighed(ratings, weights)
    mu = jnp.sum(w * y) / jnp.sum(w)
    y = y - mu
    users, items = both_sides(ratings, w, y)
    k = params.x.shape[1]
    penalties = jnp.append(jnp.full(k, l2), l2_bias)
    base = jnp.diag(penalties)

    def half(fixed, b_fixed, moving, b_moving, side, curvature, target):
        table = jnp.concatenate([fixed, jnp.ones_like(fixed[:, :1])], axis=1)
        start = jnp.concatenate([moving, b_moving[:, None]], axis=1)
        result = solve(side, table, base, curvature, target, start, solver, b_fixed)
        return result.rows[:, :k], result.rows[:, k], result.value

    def step(params):
        _, b_user, b_item, theta, x = params
        theta, b_user, _ = half(x, b_item, theta, b_user, *users)
        x, b_item, value = half(theta, b_user, x, b_item, *items)
        penalty = l2 * jnp.sum(theta**2) + l2_bias * jnp.sum(b_user**2)
        return Params(mu, b_user, b_item, theta, x), value + 0.5 * penalty

    def tables(params, one):
        _, b_user, b_item, theta, x = params
        user = theta, b_user[:, None], jnp.full((len(theta), 1), one, y.dtype)
        item = x, jnp.full((len(x), 1), one, y.dtype), b_item[:, None]
        return jnp.concatenate(user, axis=1), jnp.concatenate(item, axis=1)

    side, curvature, target = users
    terms = side, curvature, curvature * target
    both = jnp.append(penalties, 0), jnp.insert(penalties, k, 0)

    def begin(*points):
        return best(tables, points, both, terms)

    params = params._replace(mu=mu)
    few = lacking(ratings, w, penalties)
    return singular(alternate(step, params, tol, max_iter, begin), y, w, lacking=few)


class Folded(NamedTuple):
    """What is learned of a new user while all else stands."""

    theta: jax.Array  # (k,)
    b_user: jax.Array  # ()


@or_nothing
@_check.pure
def fold_in(
    params: Params,
    item: Items,
    y: Targets,
    *,
    l2: NonNegative,
    l2_bias: NonNegative,
    weights: Weights | None = None,
) -> Folded:
    """(θ, b_u) = (Σ wᵢ zzᵀ + penalty)⁻¹ Σ wᵢ (yᵢ - μ - b_i) z, z = (x, 1): a new user.

    The minimum of `cost` over one user, with derivatives. For a new item exchange the
    sides in params.

    Args:
        params: the fit's.
        item: (m,) what the user rated.
        y: (m,) their ratings.
        l2: () that of the fit.
        l2_bias: () that of the fit.
        weights: (m,) weights w of the ratings; 1 if None.

    Returns:
        Folded: theta (k,), b_user ().

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    x = params.x
    z = jnp.concatenate([take(x, item), jnp.ones_like(y)[:, None]], axis=1)
    left = y - params.mu - take(params.b_item, item)
    scaled = z if weights is None else z * weights[:, None]
    penalty = jnp.diag(jnp.append(jnp.full_like(x[0], l2), l2_bias))
    v = jnp.linalg.solve(scaled.T @ z + penalty, scaled.T @ left)
    return Folded(v[:-1], v[-1])
