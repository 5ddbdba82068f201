"""Implicit feedback: what was bought or watched; the rest says little (2.2).

Every pair counts: as liked, with confidence 1 + αy, where there is feedback y, as not
liked, with confidence 1, where there is none. The sum over all pairs needs k × k
matrices only.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._rows import product
from jaxml.optimize.fit import Fit, Status
from jaxml.reduction.recommend._layout import Ratings, agree, spread, take
from jaxml.reduction.recommend._quadratic import SOLVERS, alternate, singular, solve
from jaxml.reduction.recommend.factors import TRIPLETS, Params, predict


@_check.pure(**TRIPLETS)
def cost(
    params: Params,
    user: jax.Array,
    item: jax.Array,
    y: jax.Array,
    *,
    l2: Any = 0.0,
    alpha: Any = 1.0,
    weights: jax.Array | None = None,
) -> jax.Array:
    """J = ½ Σ s² + ½ Σ wᵢ [(1 + αyᵢ)(1 - s)² - s²] + l2/2 (|X|² + |Θ|²), s = θ·x, ().

    The first sum runs over all pairs of users and items, the second over the feedback,
    and makes it (1 + αy)(1 - s)² there. implicit's cost is 2J, with α_implicit r for
    1 + αy.

    Args:
        params: theta, (users, k), and x, (items, k).
        user: (m,) who gave feedback.
        item: (m,) on what.
        y: (m,) how much, at least 0: purchases, minutes.
        l2: () factor of ½ (|X|² + |Θ|²).
        alpha: () α, the confidence per unit of feedback.
        weights: (m,) weights w of the feedback; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Hu, Koren and Volinsky (2008).

    """
    theta, x = params
    s = predict(params, user, item)
    w = jnp.ones_like(s) if weights is None else weights
    everywhere = jnp.sum(product(theta.T, theta) * product(x.T, x))
    known = jnp.sum(w * ((1 + alpha * y) * (1 - s) ** 2 - s**2))
    return 0.5 * (everywhere + known + l2 * (jnp.sum(theta**2) + jnp.sum(x**2)))


@_check.fit(static=("solver", "max_iter"), weights="m")
def fit(
    params: Params,
    ratings: Ratings,
    *,
    l2: Any,
    alpha: Any = 1.0,
    weights: jax.Array | None = None,
    solver: str = "cg",
    tol: Any = 1e-3,
    max_iter: int = 100,
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
        tol: () largest |change of (Θ, X)| / |(Θ, X)| in a step.
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
    y = ratings.y
    w = jnp.ones_like(y) if weights is None else weights
    own, other = (
        (side, spread(side, w * alpha * y), spread(side, w * (1 + alpha * y)))
        for side in (ratings.by_user, ratings.by_item)
    )
    one = jnp.eye(params.x.shape[1], dtype=y.dtype)
    known = 0.5 * jnp.sum(w * (1 + alpha * y))

    def half(fixed, moving, side, curvature, pull):
        base = product(fixed.T, fixed) + l2 * one
        return solve(side, fixed, base, curvature, pull, moving, solver)

    def step(params):
        theta = half(params.x, params.theta, *own).rows
        x, value, _ = half(theta, params.x, *other)
        return Params(theta, x), known + value + 0.5 * l2 * jnp.sum(theta**2)

    found = singular(alternate(step, params, lambda p: p, tol, max_iter), y, w)
    wrong = (jnp.min(y) < 0) | (alpha < 0)
    status = jnp.where(wrong, Status.INVALID, found.status).astype(jnp.int32)
    return found._replace(status=jnp.maximum(status, found.status))


@_check.pure(item="m:labels", y="m", weights="m")
def fold_in(
    params: Params,
    item: jax.Array,
    y: jax.Array,
    *,
    l2: Any,
    alpha: Any = 1.0,
    weights: jax.Array | None = None,
) -> jax.Array:
    """θ = (XᵀX + Σ wᵢ αyᵢ xxᵀ + l2)⁻¹ Σ wᵢ (1 + αyᵢ) x, (k,): a new user, by feedback.

    The minimum of `cost` over one θ, with derivatives. For a new item exchange the
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
    x = params.x
    _check.values("item", item, True, len(x))
    z = take(x, item)
    w = jnp.ones_like(y) if weights is None else weights
    base = product(x.T, x) + l2 * jnp.eye(x.shape[1], dtype=x.dtype)
    hessian = base + product((z * (w * alpha * y)[:, None]).T, z)
    return jnp.linalg.solve(hessian, product(w * (1 + alpha * y), z))
