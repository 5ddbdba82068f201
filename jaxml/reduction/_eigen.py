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

from jaxml import _check
from jaxml.optimize._fit import Progress, iterate

LARGE = 500  # rows from which few of many pairs are iterated for
EXTRA = 8  # columns of the iteration more than are asked for
DEPTH = 4  # products with the matrix in each cycle
CYCLES, PATIENCE = 100, 3  # at most, and how many of them without progress
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


def misfit(pairs: Pairs, product: jax.Array) -> jax.Array:
    """The largest |Σ uᵢ - λᵢ uᵢ| / λ₁, (), where product is Σ u, (n, k)."""
    values, u = pairs
    largest = jnp.max(values)
    largest = jnp.where(largest == 0, 1, largest)  # before squares, which may underflow
    error = product / largest - u * (values / largest)[None]
    return jnp.sqrt(jnp.max(jnp.sum(error**2, axis=0)))


def rounding(values: jax.Array, n: int) -> jax.Array:
    """How far apart, (), eigenvalues must be to differ, for n of them."""
    return 10 * n**0.5 * float(jnp.finfo(values.dtype).eps) * values[0]


def moved(pairs: Pairs, product: jax.Array, outside: Callable[..., Outside]) -> Pairs:
    """The derivative of eigenpairs, for product = dΣ u, (n, k).

    dλᵢ = uᵢᵀ dΣ uᵢ and duᵢ = Σⱼ uⱼ (uⱼᵀ dΣ uᵢ)/(λᵢ - λⱼ) + (λᵢ - Σ)⁻¹ (1 - u uᵀ) dΣ uᵢ
    of which outside(pairs, (1 - u uᵀ) product) gives the last term.
    """
    values, u = pairs
    inside = u.T @ product
    rest = product - u @ inside
    inside = (inside + inside.T) / 2
    gap = values[None] - values[:, None]
    differ = jnp.abs(gap) > rounding(values, len(u))
    turn = jnp.where(differ, inside / jnp.where(differ, gap, 1), 0)
    d_u, d_values = u @ turn, jnp.diagonal(inside)
    if u.shape[1] < len(u):
        shift, apart = outside(pairs, rest)
        valid = jnp.where(apart, 1, jnp.nan).astype(u.dtype)
        d_u, d_values = (d_u + shift) * valid[None], d_values * valid
    return Pairs(d_values, d_u)


def beyond(pairs: Pairs, left: jax.Array, *, matrix: jax.Array) -> Outside:
    """(λᵢ - Σ)⁻¹ leftᵢ for Σ = matrix, (n, n); left, (n, k), is orthogonal to u."""
    values, u = pairs
    others, v = jnp.linalg.eigh(matrix - (u * values[None]) @ u.T)
    apart = values - others[-1] > rounding(values, len(u))
    gap = jnp.where(apart[None], values[None] - others[:, None], 1)
    return Outside(v @ ((v.T @ left) / gap), apart)


def beyond_rows(pairs: Pairs, left: jax.Array, *, rows: jax.Array) -> Outside:
    """As `beyond` for Σ = rowsᵀ rows, (m, n), from an (m, m) matrix.

    (λ - FFᵀ)⁻¹ = (1 + F (λ - FᵀF)⁻¹ Fᵀ) / λ.
    """
    values, u = pairs
    rest = rows - rows @ u @ u.T
    others, q = jnp.linalg.eigh(rest @ rest.T)
    factor = rest.T @ q
    least = rounding(values, len(u))
    apart = values - jnp.maximum(others[-1], 0) > least
    gap = jnp.where(apart[None], values[None] - others[:, None], 1)
    inner = factor @ ((factor.T @ left) / gap)
    return Outside((left + inner) / jnp.where(apart, values, 1)[None], apart)


def few(k: int, n: int) -> bool:
    """Whether k pairs are so few of n that it is worth iterating for them."""
    return n >= LARGE and k + EXTRA <= n // 20


def iterated(times: Callable[[jax.Array], jax.Array], n: int, k: int, dtype):
    """The k leading Pairs of v -> Σ v, (n, l), and whether they are right, ().

    A block Krylov space of a few products, again and again from the best that the last
    one held: each cycle damps what is not wanted like a polynomial of their number.
    Right to √n ε, as a decomposition is. Source: Golub and Underwood (1977).
    """
    columns = min(k + EXTRA, n // DEPTH)

    def cycle(state):
        block, images = state[0], []
        basis = block
        for i in range(DEPTH):
            images.append(times(block))
            if i == DEPTH - 1:
                break
            block = images[-1]
            for _ in range(3):  # again for what rounding left, which may be all
                block = block - basis @ (basis.T @ block)
                block = jnp.linalg.qr(block)[0]
            basis = jnp.concatenate([basis, block], axis=1)
        image = jnp.concatenate(images, axis=1)
        small = basis.T @ image
        values, turn = jnp.linalg.eigh((small + small.T) / 2)  # Rayleigh and Ritz
        turn = turn[:, ::-1][:, :columns]
        block, image = basis @ turn, image @ turn
        pairs = Pairs(values[::-1][:k], block[:, :k])
        cost = -jnp.sum(pairs.values)
        return (block, pairs.values), Progress(cost, misfit(pairs, image[:, :k]))

    # Any start will do, but for one without a part along what is wanted.
    block = jax.random.normal(jax.random.key(0), (n, columns), dtype)
    start = jnp.linalg.qr(block)[0], jnp.zeros(k, dtype)
    tol = n**0.5 * float(jnp.finfo(dtype).eps)
    fit = iterate(cycle, start, tol=tol, max_iter=CYCLES, patience=PATIENCE)
    block, values = fit.params
    pairs = Pairs(jnp.maximum(values, 0), signed(block[:, :k]))
    return pairs, fit.residual <= 10 * tol


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def leading(matrix: jax.Array, k: int) -> Pairs:
    """The k leading pairs of a positive semi-definite matrix, with safe derivatives."""

    def decomposed():
        values, vectors = jnp.linalg.eigh(matrix)
        return top(values, vectors, k)

    n = len(matrix)
    if not few(k, n):
        return decomposed()
    pairs, right = iterated(lambda v: matrix @ v, n, k, matrix.dtype)
    # Where variances fall too slowly for it.
    return jax.lax.cond(right, lambda: pairs, decomposed)


def left_over(total: jax.Array, values: jax.Array) -> jax.Array:
    """tr Σ - Σ λᵢ, (); below 0 it is rounding, and cut off, but not its derivative."""
    rest = total - jnp.sum(values)
    return rest + jax.lax.stop_gradient(jnp.maximum(rest, 0) - rest)


@leading.defjvp
@_check.precise
def _leading_jvp(k, primals, tangents):
    (matrix,), (change,) = primals, tangents
    pairs = leading(matrix, k)
    product = ((change + change.T) / 2) @ pairs.u
    return pairs, moved(pairs, product, partial(beyond, matrix=matrix))
