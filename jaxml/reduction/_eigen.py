"""Leading eigenpairs of a symmetric matrix, with derivatives that are safe.

Where eigenvalues coincide their eigenvectors can be turned among themselves, which is a
gauge. Of pairs that are both kept this turning contributes 0 to a derivative: whatever
depends on the projector u uᵀ alone has its right derivative. Where the last one kept
coincides with the first one left out the projector has none, and it is NaN.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxml._rows import product

SAME = 1e-3  # entries this near to the largest share its rank, as a part of it


class Pairs(NamedTuple):
    """The k largest eigenvalues of a symmetric matrix, falling, and their vectors."""

    values: jax.Array  # (k,)
    u: jax.Array  # (n, k) orthonormal columns


class Outside(NamedTuple):
    """The part of the eigenvectors' motion that leaves their span."""

    shift: jax.Array  # (n, k)
    apart: jax.Array  # (k,) whether the value differs from all those left out


def signed(u: jax.Array) -> jax.Array:
    """The columns of u, (n, k), turned so that the largest entry of each is positive.

    Of entries whose moduli agree to one part in a thousand the first one counts, so
    that rounding does not choose.
    """
    size = jnp.abs(u)
    first = jnp.argmax(size >= (1 - SAME) * jnp.max(size, axis=0, keepdims=True), 0)
    entry = jnp.take_along_axis(u, first[None], axis=0)
    return u * jax.lax.stop_gradient(jnp.where(entry < 0, -1, 1).astype(u.dtype))


def top(values: jax.Array, vectors: jax.Array, k: int) -> Pairs:
    """The k leading of the rising eigenvalues of a matrix that has none below 0."""
    # A value below 0 is rounding.
    return Pairs(jnp.maximum(values[::-1][:k], 0), signed(vectors[:, ::-1][:, :k]))


def rounding(values: jax.Array, n: int) -> jax.Array:
    """How far apart, (), eigenvalues must be to differ, for n of them."""
    return 10 * n**0.5 * float(jnp.finfo(values.dtype).eps) * values[0]


def moved(pairs: Pairs, push: jax.Array, outside: Callable[..., Outside]) -> Pairs:
    """The derivative of eigenpairs, for push = dΣ u, (n, k).

    dλᵢ = uᵢᵀ dΣ uᵢ and duᵢ = Σⱼ uⱼ (uⱼᵀ dΣ uᵢ)/(λᵢ - λⱼ) + (λᵢ - Σ)⁻¹ (1 - u uᵀ) dΣ uᵢ
    of which outside(pairs, (1 - u uᵀ) push) gives the last term.
    """
    values, u = pairs
    inside = product(u.T, push)
    left = push - product(u, inside)
    inside = (inside + inside.T) / 2
    gap = values[None] - values[:, None]
    differ = jnp.abs(gap) > rounding(values, len(u))
    turn = jnp.where(differ, inside / jnp.where(differ, gap, 1), 0)
    change, slope = product(u, turn), jnp.diagonal(inside)
    if u.shape[1] < len(u):
        shift, apart = outside(pairs, left)
        valid = jnp.where(apart, 1, jnp.nan).astype(u.dtype)
        change, slope = (change + shift) * valid[None], slope * valid
    return Pairs(slope, change)


def beyond(pairs: Pairs, left: jax.Array, *, matrix: jax.Array) -> Outside:
    """(λᵢ - Σ)⁻¹ leftᵢ for Σ = matrix, (n, n); left, (n, k), is orthogonal to u."""
    values, u = pairs
    others, v = jnp.linalg.eigh(matrix - product(u * values[None], u.T))
    apart = values - others[-1] > rounding(values, len(u))
    gap = jnp.where(apart[None], values[None] - others[:, None], 1)
    return Outside(product(v, product(v.T, left) / gap), apart)


def beyond_rows(pairs: Pairs, left: jax.Array, *, rows: jax.Array) -> Outside:
    """As `beyond` for Σ = rowsᵀ rows, (m, n), from an (m, m) matrix.

    (λ - FFᵀ)⁻¹ = (1 + F (λ - FᵀF)⁻¹ Fᵀ) / λ.
    """
    values, u = pairs
    rest = rows - product(product(rows, u), u.T)
    others, q = jnp.linalg.eigh(product(rest, rest.T))
    factor = product(rest.T, q)
    least = rounding(values, len(u))
    apart = values - jnp.maximum(others[-1], 0) > least
    gap = jnp.where(apart[None], values[None] - others[:, None], 1)
    inner = product(factor, product(factor.T, left) / gap)
    return Outside((left + inner) / jnp.where(apart, values, 1)[None], apart)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def leading(matrix: jax.Array, k: int) -> Pairs:
    """The k leading pairs of a positive semi-definite matrix, with safe derivatives."""
    values, vectors = jnp.linalg.eigh(matrix)
    return top(values, vectors, k)


@leading.defjvp
def _leading_jvp(k, primals, tangents):
    (matrix,), (change,) = primals, tangents
    pairs = leading(matrix, k)
    push = product((change + change.T) / 2, pairs.u)
    return pairs, moved(pairs, push, partial(beyond, matrix=matrix))
