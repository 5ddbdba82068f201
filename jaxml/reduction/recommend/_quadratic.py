"""The half step of alternating least squares: a small linear system for each row.

With the other side fixed, the cost is a sum over rows of ½ xᵀHx - hᵀx, where
H = B + Σ c z zᵀ and h = Σ p z over the ratings of the row: z is the vector of the other
side, c the curvature and p the pull of a rating.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml._rows import product
from jaxml.optimize.fit import Fit, Progress, Status, iterate
from jaxml.reduction.recommend._layout import Side, each_row

SOLVERS = ("cholesky", "cg")
INNER = 3  # steps of conjugate gradients from the old vectors (Takács et al. 2011)


class Half(NamedTuple):
    """What one half step found."""

    rows: jax.Array  # (rows, k)
    value: jax.Array  # () the cost, less that of zero vectors and offsets
    residual: jax.Array  # () |Hx - h| over all rows


def solve(
    side: Side,
    table: jax.Array,
    base: jax.Array,
    curvature: jax.Array,
    pull: jax.Array,
    start: jax.Array,
    solver: str,
    offset: jax.Array | None = None,
) -> Half:
    """Minimise over the rows of one side.

    table, (columns, k), holds the vectors z; base, (k, k), is B. curvature and pull are
    laid out, as `spread` does. start, (rows, k), is where conjugate gradients begin.
    offset, (columns,), is predicted anyway: the pull is less by curvature · offset.
    """
    k = len(base)
    if offset is not None:  # beside the vectors: one gather for both
        table = jnp.concatenate([table, offset[:, None]], axis=1)

    def block(block, curvature, pull):
        z = table[block.column]
        shift = jnp.zeros(len(block.row), z.dtype)
        if offset is not None:
            z, beyond = z[..., :k], z[..., k]
            spent = (0.5 * curvature * beyond - pull) * beyond
            shift = block.total(jnp.sum(spent, axis=1))
            pull = pull - curvature * beyond
        right = block.total(_weighted(z, pull))
        how = _factorised if solver == "cholesky" else _conjugate
        x, image = how(block, z, curvature, base, right, start)
        value = shift + jnp.sum(x * (0.5 * image - right), axis=1)
        return x, value, jnp.sum((image - right) ** 2, axis=1)

    rows, value, error = each_row(side, block, curvature, pull)
    residual = jnp.sqrt(jax.lax.stop_gradient(jnp.sum(error)))
    return Half(rows, jnp.sum(value), residual)


def _weighted(z, weight):
    """Σ weight · z over each segment, (s, k)."""
    return jnp.einsum("swk,sw->sk", z, weight, precision="highest")


def _factorised(block, z, curvature, base, right, start):
    """x = H⁻¹h by Cholesky, and Hx."""
    scaled = z * curvature[..., None]
    gram = jnp.einsum("swk,swl->skl", scaled, z, precision="highest")
    hessian = base[None] + block.total(gram)
    lower = jax.lax.linalg.cholesky(hessian, symmetrize_input=False)
    options: dict[str, Any] = {"left_side": True, "lower": True}
    half = jax.lax.linalg.triangular_solve(lower, right[..., None], **options)
    x = jax.lax.linalg.triangular_solve(lower, half, transpose_a=True, **options)
    x = x[..., 0]
    return x, jnp.einsum("rkl,rl->rk", hessian, x, precision="highest")


def _conjugate(block, z, curvature, base, right, start):
    """A few steps of conjugate gradients from start, and Hx; H is not formed."""

    def image(p):
        along = jnp.einsum("swk,sk->sw", z, block.own(p), precision="highest")
        return product(p, base) + block.total(_weighted(z, curvature * along))

    x = start[block.row]
    residual = right - image(x)
    direction, square = residual, jnp.sum(residual**2, axis=1, keepdims=True)
    for _ in range(INNER):
        bent = image(direction)
        length = _ratio(square, jnp.sum(direction * bent, axis=1, keepdims=True))
        x, residual = x + length * direction, residual - length * bent
        new = jnp.sum(residual**2, axis=1, keepdims=True)
        direction, square = residual + _ratio(new, square) * direction, new
    return x, right - residual


def _ratio(a, b):
    """a / b; 0 where both are, at a row that is solved."""
    return jnp.where(a == 0, 0, a / jnp.where(a == 0, 1, b))


def alternate(
    step: Callable[[Any], tuple[Any, jax.Array]],
    params: Any,
    moving: Callable[[Any], Any],
    tol: Any,
    max_iter: int,
) -> Fit:
    """Repeat `params, cost = step(params)` until `moving(params)` hardly move.

    residual is |change| / |moving(params)| of one step.
    """

    def advance(params):
        new, cost = step(params)
        old, moved = moving(params), moving(new)
        change = jax.tree.map(jnp.subtract, moved, old)
        return new, Progress(cost, _norm(change) / (_norm(moved) + _tiny(cost)))

    found = iterate(advance, params, tol=tol, max_iter=max_iter)
    return jax.lax.stop_gradient(found)


def _norm(tree):
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def _tiny(like):
    return jnp.finfo(like.dtype).tiny


def singular(found: Fit, *data: Any) -> Fit:
    """SINGULAR instead of NONFINITE where the data are finite: l2 = 0, few ratings."""
    floats = [a for a in jax.tree.leaves(data) if jnp.issubdtype(a.dtype, jnp.floating)]
    clean = jnp.isfinite(sum(jnp.sum(a) for a in floats))
    wrong = clean & (found.status == Status.NONFINITE)
    status = jnp.where(wrong, Status.SINGULAR, found.status).astype(jnp.int32)
    return found._replace(status=status)
