"""Bayesian personalised ranking: what was chosen shall score above what was not (2.2).

A cost of orders, not of values, for implicit feedback. It is descended by mini-batches;
`train.descend(pairwise.cost, stochastic=True, …)` is the update, if you want the host
loop, another solver or early stopping.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxml import _check
from jaxml._check import Count, Key, NonNegative, Positive, Static, Weights
from jaxml._units import weights_or_ones
from jaxml.optimize import train
from jaxml.optimize._fit import Fit
from jaxml.optimize._solver import Solver
from jaxml.reduction.recommend import _factors
from jaxml.reduction.recommend._layout import Items, Users, take
from jaxml.reduction.recommend._lists import Known, is_known, known

__all__ = ["Params", "cost", "fit", "init", "scores"]


class Params(NamedTuple):
    """Factors, and how popular an item is."""

    b_item: Annotated[jax.Array, "items"]  # how popular each item is
    theta: Annotated[jax.Array, "users k"]  # Θ
    x: Annotated[jax.Array, "items k"]  # X


@_check.pure
def init(
    key: Key, *, users: Count, items: Count, k: Count, scale: NonNegative = 0.1
) -> Params:
    """θ, x ~ N(0, scale²), biases 0.

    Args:
        key: jax.random.key(seed).
        users: how many users.
        items: how many items.
        k: how many factors.
        scale: () standard deviation.

    Returns:
        Params: b_item (items,), theta (users, k), x (items, k).

    Raises:
        ValueError: a number of users, items or factors below 1.

    """
    theta, x = _factors.init(key, users=users, items=items, k=k, scale=scale)
    return Params(jnp.zeros_like(x[:, 0]), theta, x)


@_check.pure
def scores(params: Params, user: Users) -> jax.Array:
    """s_ui = b_i + θ·x of all items, (m, items), for m users; only their order counts.

    params as `init` makes them; user, (m,) integers.
    """
    return params.b_item[None] + take(params.theta, user) @ params.x.T


@_check.pure
def cost(
    params: Params,
    key: Key,
    user: Users,
    item: Items,
    *,
    seen: Known,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
) -> jax.Array:
    """J = Σ wᵢ [-log σ(s_ui - s_uj) + l2/2 |v|²] / Σ wᵢ, (), for a j not chosen.

    For each choice (u, i) one item j is drawn; where u knows it, the choice counts 0. v
    are the vectors and biases that the term uses: θ_u, x_i, x_j, b_i and b_j.

    Args:
        params: as `init` makes them.
        key: jax.random.key(seed), for the items j.
        user: (m,) who chose.
        item: (m,) what.
        seen: all that was chosen, as `lists.known` makes it.
        l2: () penalty.
        weights: (m,) weights w of the choices; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme (2009).

    """
    other = jax.random.randint(key, user.shape, 0, len(params.x))
    theta, good, bad = take(params.theta, user), take(params.x, item), params.x[other]
    w = weights_or_ones(weights, theta)
    counted = jnp.where(is_known(seen, user, other), 0, w)
    b_good, b_bad = take(params.b_item, item), params.b_item[other]
    margin = b_good - b_bad + jnp.sum(theta * (good - bad), axis=1)
    length = b_good**2 + b_bad**2 + jnp.sum(theta**2 + good**2 + bad**2, axis=1)
    each = jax.nn.softplus(-margin) + 0.5 * l2 * length
    return jnp.sum(counted * each) / jnp.sum(w)


@_check.fit
def fit(
    params: Params,
    key: Key,
    user: Users,
    item: Items,
    *,
    l2: NonNegative,
    learning_rate: Positive | None = None,
    weights: Weights | None = None,
    solver: Static[Solver] = optax.adam,
    batch: Count = 1000,
    epochs: Count = 20,
) -> Fit:
    """Descend `cost` by mini-batches, from params. FINISHED, without derivatives.

    Args:
        params: where to start, as `init` makes them.
        key: jax.random.key(seed), for batches and items.
        user: (m,) who chose.
        item: (m,) what.
        l2: () penalty, as in `cost`.
        learning_rate: () of the solver; None if that is made with its own.
        weights: (m,) weights w of the choices; 1 if None. What has weight 0 is not
            known to have been chosen, and may be drawn as j.
        solver: an optax optimiser.
        batch: choices in a batch, at most m.
        epochs: passes over the choices.

    Returns:
        Fit with Params; history is a dict of (epochs,) with the mean "cost".

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme (2009).

    """
    seen = known(user, item, users=len(params.theta), weights=weights)
    options: dict[str, Any] = {
        "solver": solver,
        "learning_rate": learning_rate,
        "stochastic": True,
    }
    update = train.descend(cost, **options, l2=l2, seen=seen)
    state = train.start(update, params, key)
    data = user, item
    return train.fit(update, state, data, batch=batch, epochs=epochs, weights=weights)
