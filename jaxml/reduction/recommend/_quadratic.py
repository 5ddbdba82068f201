"""The half step of alternating least squares: a small linear system for each row.

With the other side fixed, the cost is a sum over rows of ½ xᵀBx and of the losses of
the ratings of the row, which are quadratic in s = z·x, where z is the vector of the
other side: x solves Hx = h with H = B + Σ c z zᵀ and h = Σ p z, where c is the
curvature of a rating and p its linear term.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.reduction.recommend._layout import Ratings, Side, each_row

SOLVERS = ("cholesky", "cg")
INNER = 3  # steps of conjugate gradients from the old vectors (Takács et al. 2011)
WARM = 5  # steps that are made from the last one, without a search
WINDOW = 6  # steps over which the decrease of the cost is measured


class Loss(NamedTuple):
    """What a rating costs, ½ c s² - p s + …, as functions of arrays of one shape."""

    linear: Callable[..., jax.Array]  # p(c, target)
    value: Callable[..., jax.Array]  # (s, c, target)


SQUARES = Loss(lambda c, y: c * y, lambda s, c, y: 0.5 * c * (s - y) ** 2)
# Without feedback s² is in the sum over all pairs: the target is p, and p - c
# the share in that sum.
CHOICES = Loss(
    lambda c, p: p, lambda s, c, p: 0.5 * (p * (1 - s) ** 2 - (p - c) * s**2)
)


class Half(NamedTuple):
    """What one half step found."""

    rows: jax.Array  # (rows, k)
    value: jax.Array  # () the losses, and ½ xᵀBx over the rows
    residual: jax.Array  # () |Hx - h| over all rows


def solve(
    side: Side,
    table: jax.Array,
    base: jax.Array,
    curvature: jax.Array,
    target: jax.Array,
    start: jax.Array,
    solver: str,
    offset: jax.Array | None = None,
    loss: Loss = SQUARES,
) -> Half:
    """Minimise over the rows of one side.

    table, (columns, k), holds the vectors z; base, (k, k), is B. curvature and target
    are laid out, as `spread` does. start, (rows, k), is where conjugate gradients
    begin. offset, (columns,), is added to s.
    """
    k = len(base)
    if offset is not None:  # beside the vectors: one gather for both
        table = jnp.concatenate([table, offset[:, None]], axis=1)

    def block(block, curvature, target):
        z = table[block.column]
        linear, offsets = loss.linear(curvature, target), jnp.zeros_like(target)
        if offset is not None:
            z, offsets = z[..., :k], z[..., k]
            linear = linear - curvature * offsets
        right = block.total(_weighted(z, linear))
        method = _factorised if solver == "cholesky" else _conjugate
        x, hessian_x = method(block, z, curvature, base, right, start)
        s = jnp.einsum("swk,sk->sw", z, block.by_segment(x)) + offsets
        losses = block.total(jnp.sum(loss.value(s, curvature, target), axis=1))
        value = losses + 0.5 * jnp.sum(x * (x @ base), axis=1)
        return x, value, jnp.sum((hessian_x - right) ** 2, axis=1)

    rows, value, error = each_row(side, block, curvature, target)
    residual = jnp.sqrt(jax.lax.stop_gradient(jnp.sum(error)))
    return Half(rows, jnp.sum(value), residual)


def _weighted(z, weight):
    """Σ weight · z over each segment, (s, k)."""
    return jnp.einsum("swk,sw->sk", z, weight)


def _factorised(block, z, curvature, base, right, start):
    """x = H⁻¹h by Cholesky, and Hx."""
    scaled = z * curvature[..., None]
    gram = jnp.einsum("swk,swl->skl", scaled, z)
    hessian = base[None] + block.total(gram)
    lower = jax.lax.linalg.cholesky(hessian, symmetrize_input=False)
    options: dict[str, Any] = {"left_side": True, "lower": True}
    half = jax.lax.linalg.triangular_solve(lower, right[..., None], **options)
    x = jax.lax.linalg.triangular_solve(lower, half, transpose_a=True, **options)
    x = x[..., 0]
    return x, jnp.einsum("rkl,rl->rk", hessian, x)


def _conjugate(block, z, curvature, base, right, start):
    """A few steps of conjugate gradients from start, and Hx; H is not formed."""

    def times_hessian(p):
        s = jnp.einsum("swk,sk->sw", z, block.by_segment(p))
        return p @ base + block.total(_weighted(z, curvature * s))

    # Who has no ratings is at 0 at once, not after many steps towards it.
    x = jnp.where(jnp.any(right != 0, axis=1, keepdims=True), start[block.row], 0)
    residual = right - times_hessian(x)
    direction, square = residual, jnp.sum(residual**2, axis=1, keepdims=True)
    for _ in range(INNER):
        hessian_p = times_hessian(direction)
        alpha = _ratio(square, jnp.sum(direction * hessian_p, axis=1, keepdims=True))
        x, residual = x + alpha * direction, residual - alpha * hessian_p
        new = jnp.sum(residual**2, axis=1, keepdims=True)
        direction, square = residual + _ratio(new, square) * direction, new
    return x, right - residual


def _ratio(a, b):
    """a / b; 0 where b is, or underflows: at a row that is solved."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), jnp.where(b == 0, 0, b))


class _Search(NamedTuple):
    """Where alternating least squares stand, and what led there."""

    params: Any  # the last step's
    begin: Any  # the point from which that step was made
    before: Any  # the point from which the step before was made
    costs: jax.Array  # (2 WINDOW + 1,) of the last steps


def alternate(
    step: Callable[[Any], tuple[Any, jax.Array]],
    params: Any,
    tol: Any,
    max_iter: int,
    best: Callable[[Any, Any, Any], Any] | None = None,
    scale: Any = None,
) -> Fit:
    """Repeat `params, cost = step(params)` until the cost hardly falls.

    Each step is made from best(params, last step, last but one): the best point of the
    plane through params along these two directions, which is what conjugate gradients
    do of which `step` is the preconditioner. scale is what the distance from the
    minimum is divided by, the cost itself if None.
    """
    costs = jnp.full(2 * WINDOW + 1, jnp.inf, jax.eval_shape(step, params)[1].dtype)

    def advance(search):
        now, begin = search.params, search.params
        if best is not None:
            last = jax.tree.map(jnp.subtract, now, search.begin)
            older = jax.tree.map(jnp.subtract, search.begin, search.before)
            begin = jax.lax.cond(
                jnp.isfinite(search.costs[-WARM]),
                lambda: best(now, last, older),
                lambda: now,
            )
        new, cost = step(begin)
        costs = jnp.append(search.costs[1:], cost)
        progress = Progress(cost, _left(costs, scale))
        return _Search(new, begin, search.begin, costs), progress

    search = _Search(params, params, params, costs)
    result = iterate(advance, search, tol=tol, max_iter=max_iter)
    return jax.lax.stop_gradient(result._replace(params=result.params.params))


def _left(costs, scale):
    """An estimate of (cost - minimum) / scale from the costs of the last steps.

    What is left of a cost that falls by a ratio in each window, with the square root of
    the ratio seen, and three times that, for the slowest modes have yet to show.
    """
    first, middle, last = costs[0], costs[WINDOW], costs[-1]
    older, newer = first - middle, middle - last
    ratio = jnp.where(older > 0, newer / jnp.where(older > 0, older, 1), 0)
    root = jnp.sqrt(jnp.clip(ratio, 0, 0.999))
    left = 3 * newer * jnp.maximum(1, root / (1 - root))
    info, size = jnp.finfo(last.dtype), jnp.abs(last) + jnp.finfo(last.dtype).tiny
    left = jnp.maximum(left, 4 * info.eps * size) / (size if scale is None else scale)
    early = jnp.where(jnp.isnan(last), last, jnp.inf)
    return jnp.where(jnp.isfinite(first), left, early)


def singular(result: Fit, *data: Any, lacking: Any = False) -> Fit:
    """SINGULAR instead of NONFINITE where the data are finite, or too few.

    Where l2 = 0 a factorisation tells it by NaN, conjugate gradients do not.
    """
    floats = [a for a in jax.tree.leaves(data) if jnp.issubdtype(a.dtype, jnp.floating)]
    clean = jnp.isfinite(sum(jnp.sum(a) for a in floats))
    wrong = clean & (result.status == Status.NONFINITE)
    wrong |= lacking & (result.status < Status.SINGULAR)
    status = jnp.where(wrong, Status.SINGULAR, result.status).astype(jnp.int32)
    return result._replace(status=status)


def lacking(ratings: Ratings, weights: jax.Array, penalties: jax.Array) -> jax.Array:
    """Whether someone has fewer ratings than coefficients without a penalty, ()."""
    free = jnp.sum(penalties == 0)
    least = jnp.asarray(jnp.inf, weights.dtype)
    for index, side in (
        (ratings.user, ratings.by_user),
        (ratings.item, ratings.by_item),
    ):
        rows = len(side.where)
        counts = jax.ops.segment_sum((weights > 0).astype(weights.dtype), index, rows)
        least = jnp.minimum(least, jnp.min(counts))
    return least < free
