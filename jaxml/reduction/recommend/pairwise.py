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
from jaxml._rows import product
from jaxml.optimize import train
from jaxml.optimize.fit import Fit
from jaxml.reduction.recommend import factors
from jaxml.reduction.recommend._layout import inside, take
from jaxml.reduction.recommend.lists import Known, is_known, known


class Params(NamedTuple):
    """Factors, and how popular an item is."""

    b_item: Annotated[jax.Array, "items"]
    theta: Annotated[jax.Array, "users k"]  # Θ
    x: Annotated[jax.Array, "items k"]  # X


@_check.pure(static=("users", "items", "k"))
def init(key: jax.Array, *, users: int, items: int, k: int, scale: Any = 0.1) -> Params:
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
    theta, x = factors.init(key, users=users, items=items, k=k, scale=scale)
    return Params(jnp.zeros_like(x[:, 0]), theta, x)


@_check.pure(user="m:labels")
def scores(params: Params, user: jax.Array) -> jax.Array:
    """s_ui = b_i + θ·x of all items, (m, items), for m users; only their order counts.

    params as `init` makes them; user, (m,) integers.
    """
    _check.values("user", user, True, len(params.theta))
    return params.b_item[None] + product(take(params.theta, user), params.x.T)


@_check.pure(user="m:labels", item="m:labels", weights="m", seen="tree")
def cost(
    params: Params,
    key: jax.Array,
    user: jax.Array,
    item: jax.Array,
    *,
    seen: Known,
    l2: Any = 0.0,
    weights: jax.Array | None = None,
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
    inside(params.theta, params.x, user, item)
    w = jnp.ones_like(params.theta, shape=len(user)) if weights is None else weights
    other = jax.random.randint(key, user.shape, 0, len(params.x))
    counted = jnp.where(is_known(seen, user, other), 0, w)
    theta, good, bad = take(params.theta, user), take(params.x, item), params.x[other]
    b_good, b_bad = take(params.b_item, item), params.b_item[other]
    margin = b_good - b_bad + jnp.sum(theta * (good - bad), axis=1)
    length = b_good**2 + b_bad**2 + jnp.sum(theta**2 + good**2 + bad**2, axis=1)
    each = jax.nn.softplus(-margin) + 0.5 * l2 * length
    return jnp.sum(counted * each) / jnp.sum(w)


@_check.fit(
    static=("solver", "batch", "epochs"),
    user="m:labels",
    item="m:labels",
    weights="m",
)
def fit(
    params: Params,
    key: jax.Array,
    user: jax.Array,
    item: jax.Array,
    *,
    l2: Any,
    rate: Any,
    weights: jax.Array | None = None,
    solver: Any = optax.adam,
    batch: int = 1000,
    epochs: int = 20,
) -> Fit:
    """Descend `cost` by mini-batches, from params. FINISHED, without derivatives.

    Args:
        params: where to start, as `init` makes them.
        key: jax.random.key(seed), for batches and items.
        user: (m,) who chose.
        item: (m,) what.
        l2: () penalty, as in `cost`.
        rate: () the solver's.
        weights: (m,) weights w of the choices; 1 if None. What has weight 0 is not
            known to have been chosen, and may be drawn as j.
        solver: a recipe `rate -> optax transformation`.
        batch: choices in a batch, at most m.
        epochs: passes over the choices.

    Returns:
        Fit with Params; history is a dict of (epochs,) with the mean "cost".

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme (2009).

    """
    inside(params.theta, params.x, user, item)
    seen = known(user, item, users=len(params.theta), weights=weights)
    options = {"solver": solver, "rate": rate, "stochastic": True}
    update = train.descend(cost, **options, l2=l2, seen=seen)
    state = train.start(update, params, key)
    data, size = (user, item), {"batch": batch, "epochs": epochs}
    return train.fit(update, state, data, weights=weights, **size)
