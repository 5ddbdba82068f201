"""The best point of a plane of parameters: the cost there is a polynomial.

Along two directions a and b the vectors of both sides are linear, so that a score is a
sum of coefficients (1, a, b, a², ab, b²) times features of the rating, and the cost a
quadratic form of the coefficients: one pass over the ratings finds it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.reduction.recommend._layout import Block, Side

# Of the products of vectors (i, j) of both sides, which coefficient they have.
TERMS = np.array([0, 1, 2, 1, 3, 4, 2, 4, 5])
STEPS = 6  # of Newton's method in the plane
FARTHEST = 50.0  # times a direction
LENGTHS = 0.0, 0.125, 0.25, 0.5, 1.0, 2.0  # of each


class Form(NamedTuple):
    """A cost less that at the origin: linear · c + ½ c · quadratic · c."""

    linear: jax.Array  # (6,)
    quadratic: jax.Array  # (6, 6)


def best(
    tables: Callable[[Any, float], tuple[jax.Array, jax.Array]],
    points: tuple[Any, Any, Any],
    penalties: tuple[Any, Any],
    ratings: tuple[Side, jax.Array, jax.Array],
    everywhere: bool = False,
) -> Any:
    """The best of the params in the plane of points: params and two directions.

    tables(params, 1) are the vectors of users, (users, q), and of items, (items, q),
    whose product is the score; tables(direction, 0) how these change. penalties, () or
    (q,), are those of both. ratings are the side of the users, curvature and linear
    term, laid out as `spread` does; everywhere adds ½ s² of all pairs.
    """
    along = [tables(p, one) for p, one in zip(points, (1.0, 0.0, 0.0), strict=True)]
    user, item = (jnp.stack(t, axis=1) for t in zip(*along, strict=True))
    forms = [_of_ratings(user, item, *ratings)]
    forms += [_of_squares(p, t) for p, t in zip(penalties, (user, item), strict=True)]
    forms += [_of_all(user, item)] if everywhere else []
    ab = _least(jax.tree.map(lambda *a: sum(a), *forms))
    return jax.tree.map(lambda p, d, e: p + ab[0] * d + ab[1] * e, *points)


def _of_ratings(user, item, side: Side, curvature, linear) -> Form:
    """Σ ½ c s² - p s over the ratings; user, (users, 3, q), and item, (items, 3, q).

    side is that of the users; curvature and linear term are laid out as `spread` does.
    """
    terms = jnp.asarray(np.eye(6)[TERMS], user.dtype)

    def block(piece):
        row, owner, column, c, p = piece
        users = Block(row, owner, column).by_segment(user[row])
        s = jnp.einsum("swjq,siq->swij", item[column], users)
        f = s.reshape(-1, 9) @ terms
        c, p = c.reshape(-1, 1), p.reshape(-1, 1)
        weighted = c * f
        return Form(jnp.sum((weighted[:, :1] - p) * f, axis=0), weighted.T @ f)

    pieces = side.row, side.owner, side.column, curvature, linear
    return jax.tree.map(lambda a: jnp.sum(a, axis=0), jax.lax.map(block, pieces))


def _of_all(user: jax.Array, item: jax.Array) -> Form:
    """Σ ½ s² over all pairs of users and items."""
    terms = jnp.asarray(np.eye(6)[TERMS], user.dtype)
    users = jnp.einsum("uiq,ukr->ikqr", user, user)
    items = jnp.einsum("vjq,vlr->jlqr", item, item)
    both = jnp.einsum("ikqr,jlqr->ijkl", users, items)
    quadratic = terms.T @ (both.reshape(9, 9) @ terms)
    return Form(quadratic[0], quadratic)


def _of_squares(penalty: Any, table: jax.Array) -> Form:
    """Σ ½ penalty · v² over the rows of a table, (rows, 3, q)."""
    penalty = jnp.broadcast_to(penalty, table.shape[2:])[None, None]
    gram = jnp.einsum("riq,rjq->ij", table * penalty, table)
    half = 0.5 * gram
    linear = [half[0, 0], gram[0, 1], gram[0, 2], half[1, 1], gram[1, 2], half[2, 2]]
    return Form(jnp.stack(linear), jnp.zeros((6, 6), table.dtype))


def _least(form: Form) -> jax.Array:
    """(2,) a and b where the form is least, near the origin and never above it."""
    # In units in which the curvature along a direction is about 1.
    curvature = jnp.diagonal(form.quadratic)[1:3] + 2 * form.linear[jnp.array([3, 5])]
    curvature = jnp.maximum(curvature, jnp.diagonal(form.quadratic)[1:3])
    curved = curvature > jnp.finfo(curvature.dtype).tiny
    unit = jnp.where(curved, jax.lax.rsqrt(jnp.where(curved, curvature, 1)), 0)
    bound = jnp.where(curved, FARTHEST * jnp.sqrt(curvature), 0)
    # Directions that rounding makes parallel would else promise any decrease far away.
    rounding = 16 * jnp.finfo(curvature.dtype).eps * jnp.diagonal(form.quadratic)
    form = form._replace(quadratic=form.quadratic + jnp.diag(rounding))

    def value(at):
        a, b = unit * at
        c = jnp.stack([jnp.zeros_like(a), a, b, a * a, a * b, b * b])
        return jnp.vdot(form.linear, c) + 0.5 * jnp.vdot(c, form.quadratic @ c)

    def newton(_, at):
        g, hessian = jax.grad(value)(at), jax.hessian(value)(at)
        middle = 0.5 * (hessian[0, 0] + hessian[1, 1])
        radius = jnp.hypot(0.5 * (hessian[0, 0] - hessian[1, 1]), hessian[0, 1])
        shift = jnp.maximum(0, 1e-3 + radius - middle)
        p, q, r = hessian[0, 0] + shift, hessian[0, 1], hessian[1, 1] + shift
        step = jnp.stack([r * g[0] - q * g[1], p * g[1] - q * g[0]])
        step = step / (p * r - q * q)
        step = jnp.where(jnp.isfinite(step), step, 0)  # where squares underflow
        trials = at[None] - jnp.outer(jnp.array(LENGTHS, at.dtype), step)
        trials = jnp.clip(trials, -bound[None], bound[None])
        values = jax.vmap(value)(trials)
        return trials[jnp.argmin(jnp.where(values < 0, values, 0))]

    zero = jnp.zeros(2, form.linear.dtype)
    return unit * jax.lax.fori_loop(0, STEPS, newton, zero)
