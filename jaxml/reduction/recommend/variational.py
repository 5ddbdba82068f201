"""Matrix factorisation that weighs what it does not know: variational Bayes (2.2).

The model is that of `biased`, y ~ N(μ + b_u + b_i + θ·x, σ²), with Gaussian priors of
the user's vector (θ, b_u) and of the item's (x, b_i). The posterior is approximated by
a Gaussian for each user and each item. σ² and the variance of each prior are those at
which the evidence bound is largest, so that no penalty has to be searched for:
σ² · precision is what `biased` calls l2, one for each factor and side. A factor that
the data do not need gets a variance near 0.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Count, Key, NonNegative, Weights
from jaxml.optimize._fit import Fit
from jaxml.reduction.recommend import biased
from jaxml.reduction.recommend._layout import (
    Items,
    Ratings,
    Users,
    agree,
    both_sides,
    sums,
    take,
    weighed,
)
from jaxml.reduction.recommend._quadratic import alternate

__all__ = ["Params", "Posterior", "fit", "init", "mean", "predict", "variance"]


class Posterior(NamedTuple):
    """Independent Gaussians, one for each user or for each item, and their prior."""

    mean: Annotated[jax.Array, "_rows k+1"]  # of the factors, then of the bias
    covariance: Annotated[jax.Array, "_rows k+1 k+1"]  # of the same
    precision: Annotated[jax.Array, "k+1"]  # of the prior, 1/variance


class Params(NamedTuple):
    """What is believed of users and items."""

    mu: Annotated[jax.Array, ""]  # mean of all ratings
    user: Posterior  # of the factors of users
    item: Posterior  # of those of items
    noise: Annotated[jax.Array, ""]  # σ², variance of a rating about its prediction


@_check.pure
def init(
    key: Key, *, users: Count, items: Count, k: Count, scale: NonNegative = 0.1
) -> Params:
    """Means ~ N(0, scale²) with biases 0, covariances scale² 1, priors of precision 1.

    Args:
        key: jax.random.key(seed).
        users: how many users.
        items: how many items.
        k: how many factors.
        scale: () standard deviation.

    Returns:
        Params: means (users, k + 1) and (items, k + 1); noise 1.

    Raises:
        ValueError: a number of users, items or factors below 1.

    """
    start = biased.init(key, users=users, items=items, k=k, scale=scale)
    one = jnp.ones((), start.x.dtype)

    def posterior(vectors, bias):
        mean = jnp.concatenate([vectors, bias[:, None]], axis=1)
        square = jnp.diag(jnp.full(k + 1, one * scale**2))
        covariance = jnp.broadcast_to(square, (len(mean), k + 1, k + 1))
        return Posterior(mean, covariance, jnp.full(k + 1, one))

    user = posterior(start.theta, start.b_user)
    return Params(start.mu, user, posterior(start.x, start.b_item), one)


@_check.pure
def predict(params: Params, user: Users, item: Items) -> jax.Array:
    """E[y] = μ + E b_u + E b_i + E θ·E x, (m,), for m pairs.

    params as `fit` finds them; user and item, (m,), as in `biased.predict`.
    """
    return biased.predict(mean(params), user, item)


@_check.pure
def mean(params: Params) -> biased.Params:
    """The means as the Params of `biased`: theta (users, k), x (items, k), biases.

    params as `fit` finds them.
    """
    user, item = params.user.mean, params.item.mean
    return biased.Params(
        params.mu, user[:, -1], item[:, -1], user[:, :-1], item[:, :-1]
    )


@_check.pure
def variance(params: Params, user: Users, item: Items) -> jax.Array:
    """Var[y] = σ² + Var(b_u + b_i + θ·x), (m,), for m pairs: less, the more is known.

    Args:
        params: as `fit` finds them.
        user: (m,) integers.
        item: (m,) integers.

    Raises:
        ValueError: arrays that are not (m,), or a number that is not known.

    """
    a, cov_a = take(params.user.mean, user), take(params.user.covariance, user)
    c, cov_c = take(params.item.mean, item), take(params.item.covariance, item)
    a, c = a.at[:, -1].set(1), c.at[:, -1].set(1)  # b multiplies 1 of the other side
    # θ·x with the covariances of both; b_u and b_i are independent of each other.
    both = jnp.sum(cov_a[:, :-1, :-1] * cov_c[:, :-1, :-1], axis=(1, 2))
    of_user = jnp.einsum("mi,mij,mj->m", c, cov_a, c)
    of_item = jnp.einsum("mi,mij,mj->m", a, cov_c, a)
    return params.noise + both + of_user + of_item


@_check.fit
def fit(
    params: Params,
    ratings: Ratings,
    *,
    weights: Weights | None = None,
    tol: NonNegative = 1e-3,
    max_iter: Count = 100,
) -> Fit:
    """Minimise F = -E log P(y | θ, x, b) + KL(posterior | prior), from params.

    F is at least -log P(y). All of users, items, priors and σ² are set in turn to the
    values that make F least, so that F never rises. μ = Σ wᵢ yᵢ / Σ wᵢ. The minimiser
    is not unique: Params carry no derivatives.

    Args:
        params: where to start, as `init` makes it.
        ratings: as `recommend.prepare` lays them out.
        weights: (m,) weights w of the ratings; 1 if None. wᵢ such ratings were given.
        tol: () largest distance of F from its minimum, estimated by the decrease of the
            last steps, in nats per rating (Σ w).
        max_iter: most steps. On MovieLens some 20 predict as well as more.

    Returns:
        Fit with Params. cost is F, in nats.

    Raises:
        ValueError: ratings laid out for other numbers of users or items, values out of
            range.

    Source: Lim and Teh (2007); Raiko, Ilin and Karhunen (2007).

    """
    agree(ratings, weights, params.user.mean, params.item.mean)
    w, y = weighed(ratings, weights)
    weight = jnp.sum(w)
    mu = jnp.sum(w * y) / weight
    y = y - mu
    users, items = both_sides(ratings, w, w * y)
    squares = jnp.sum(w * y**2)

    def step(params):
        user, _ = _half(params.item, params.user, params.noise, *users)
        user = _refreshed(user)
        item, error = _half(user, params.item, params.noise, *items)
        item = _refreshed(item)
        noise = (squares + error) / weight
        bound = 0.5 * weight * (jnp.log(2 * jnp.pi * noise) + 1) + _kl(user) + _kl(item)
        return Params(mu, user, item, noise), bound

    return alternate(step, params, tol, max_iter, scale=weight)


def _half(fixed: Posterior, moving: Posterior, noise, side, w, wy):
    """The best Gaussians of one side, and Σ w E[(y - ŷ)² - y²].

    A rating adds E zzᵀ, z = (x, 1), to the precision of a row, and E z (y - b) of the
    other side, whose b and x are correlated, to its mean: sums of moments, by row.
    """
    p = fixed.mean.shape[1]
    result = sums(side, _moments(fixed), w, wy)
    z, b, zb, b_square, second = jnp.split(
        result, (p, p + 1, 2 * p + 1, 2 * p + 2), axis=2
    )
    gram = second[:, 0].reshape(-1, p, p)
    right = z[:, 1] - zb[:, 0]
    bias_error = b_square[:, 0, 0] - 2 * b[:, 1, 0]

    lower = jnp.linalg.cholesky(gram / noise + jnp.diag(moving.precision)[None])
    one = jnp.broadcast_to(jnp.eye(p, dtype=lower.dtype), lower.shape)
    inverse = jax.lax.linalg.triangular_solve(lower, one, left_side=True, lower=True)
    covariance = jnp.einsum("rji,rjk->rik", inverse, inverse)
    mean = jnp.einsum("rij,rj->ri", covariance, right) / noise
    square = covariance + mean[:, :, None] * mean[:, None, :]
    error = jnp.sum(gram * square, axis=(1, 2)) - 2 * jnp.sum(right * mean, axis=1)
    posterior = Posterior(mean, covariance, moving.precision)
    return posterior, jnp.sum(error + bias_error)


def _moments(q: Posterior) -> jax.Array:
    """E z, E b, E zb, E b² and E zzᵀ of each row, side by side."""
    b, cov_zb = q.mean[:, -1:], q.covariance[:, :, -1].at[:, -1].set(0)
    z = q.mean.at[:, -1].set(1)
    covariance = q.covariance.at[:, -1].set(0).at[:, :, -1].set(0)
    b_square = q.covariance[:, -1:, -1] + b**2
    second = (covariance + z[:, :, None] * z[:, None, :]).reshape(len(z), -1)
    return jnp.concatenate([z, b, cov_zb + z * b, b_square, second], axis=1)


def _refreshed(q: Posterior) -> Posterior:
    """With the prior that makes the divergence from it least: the mean of E[v²]."""
    variance = jnp.diagonal(q.covariance, axis1=1, axis2=2)
    return q._replace(precision=1 / jnp.mean(q.mean**2 + variance, axis=0))


def _kl(q: Posterior) -> jax.Array:
    """Σ KL(posterior | prior) over the rows, ()."""
    variance = jnp.diagonal(q.covariance, axis1=1, axis2=2)
    square = jnp.sum((q.mean**2 + variance) * q.precision[None])
    log_det = jnp.sum(jnp.linalg.slogdet(q.covariance)[1])
    rows, p = q.mean.shape
    return 0.5 * (square - rows * p - log_det - rows * jnp.sum(jnp.log(q.precision)))
