"""Least squares by QR, refined with residuals that are computed in twice the precision.

A = QR of the columns scaled by powers of two; then the augmented system
r + A w = f, Aᵀ r = g is solved again for what is left over, residuals summed with
error-free transformations, until the error is that of rounding the answer.

Source: Björck (1967) for the augmented system; Dekker (1971), Ogita, Rump and Oishi
(2005) for the sums.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from jaxml._rows import qr, shared
from jaxml._units import power_of_two, unit_of

REFINEMENTS = 5
BLOCK = 16  # rows that are summed side by side


class Factors(NamedTuple):
    """A = Q R S for a tall A: S scales the columns by powers of two."""

    a: jax.Array  # (m, p) A S⁻¹
    q: jax.Array  # (m, p) orthonormal columns
    r: jax.Array  # (p, p) upper triangular
    scale: jax.Array  # (p,) diagonal of S
    condition: jax.Array  # () largest over smallest singular value of R


def factorise(a: jax.Array) -> Factors:
    """Factors of A, (m, p) with m >= p."""
    # Not by the squares of the entries, which have a narrower range.
    largest = unit_of(a, axis=0)
    a = a / largest[None]
    length = power_of_two(jnp.linalg.norm(a, axis=0))
    a, scale = a / length[None], largest * length
    q, r = qr(a)
    singular = jnp.linalg.svd(r, compute_uv=False)
    condition = singular[0] / jnp.where(singular[-1] > 0, singular[-1], 0)
    return Factors(a, q, r, scale, condition)


def solve(factors: Factors, f: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The w, (p,), of least |f - A w|, and its residual, (m,), for f, (m,)."""
    unit = unit_of(f)
    r, w = _augmented(factors, f / unit, jnp.zeros_like(factors.scale))
    return unit * w / factors.scale, unit * r


def inverse_gram(factors: Factors) -> jax.Array:
    """(AᵀA)⁻¹, (p, p), column by column from the augmented system, so refined too."""
    zero = jnp.zeros_like(factors.a[:, 0])
    unit = -jnp.eye(len(factors.scale), dtype=zero.dtype)
    inverse = jax.lax.map(lambda g: _augmented(factors, zero, g)[1], unit)
    return inverse / jnp.outer(factors.scale, factors.scale)


def _augmented(factors: Factors, f, g):
    """Solve r + A w = f, Aᵀ r = g for r, (m,), and w, (p,)."""
    a, q, upper, _, _ = factors

    def once(f, g):
        h = solve_triangular(upper, g, trans=1)
        along = q.T @ f
        w = solve_triangular(upper, along - h)
        return f - q @ (along - h), w

    def refine(_, state):
        r, w = state
        left = residual(a, w, f, r)
        below = g - columns(a, r)
        dr, dw = once(left, below)
        return r + dr, w + dw

    start = jnp.zeros_like(f), jnp.zeros_like(g)
    return jax.lax.fori_loop(0, 1 + REFINEMENTS, refine, start)


def _two_sum(a, b):
    """a + b = s + e exactly (Knuth)."""
    s = a + b
    z = s - a
    return s, (a - (s - z)) + (b - z)


def _two_product(a, b):
    """a b = p + e (Dekker), for whatever the compiler makes of products and sums.

    It may contract a product and a sum to one rounding, which undoes the usual way of
    splitting. Bits that are cut off as integers stay cut off.
    """
    bits = jnp.finfo(a.dtype).nmant + 1
    p = cut(a * b, 2)
    ah, bh = cut(a, (bits + 1) // 2), cut(b, (bits + 1) // 2)
    al, bl = a - ah, b - bh
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


def cut(a: jax.Array, bits: int) -> jax.Array:
    """The floats a, (…), without so many of their last bits."""
    whole = jnp.dtype(f"int{8 * a.dtype.itemsize}")
    cut = jax.lax.bitcast_convert_type(a, whole) & whole.type(-1 << bits)
    return jax.lax.bitcast_convert_type(cut, a.dtype)


def residual(a: jax.Array, w: jax.Array, f: jax.Array, r: jax.Array) -> jax.Array:
    """f - r - A w, (m,), as if in twice the precision."""

    def add(j, state):
        s, e = state
        p, q = _two_product(a[:, j], jnp.broadcast_to(-w[j], f.shape))
        s, t = _two_sum(s, p)
        return s, e + (q + t)

    s, e = jax.lax.fori_loop(0, len(w), add, _two_sum(f, -r))
    return s + e


def columns(a: jax.Array, r: jax.Array) -> jax.Array:
    """Aᵀ r, (p,), for A, (m, p), as if in twice the precision.

    Each device sums its rows, in blocks, then all by pairs.
    """
    if shared(a):
        devices, p = jax.device_count(), a.shape[1]
        parts = a.reshape(devices, -1, p), r.reshape(devices, -1)
        s, e = (sums.reshape(-1, p) for sums in jax.vmap(_in_blocks)(*parts))
    else:
        s, e = _in_blocks(a, r)
    while (m := len(s)) > 1:
        half = m // 2
        top, t = _two_sum(s[:half], s[half : 2 * half])
        e = jnp.concatenate([e[:half] + e[half : 2 * half] + t, e[2 * half :]])
        s = jnp.concatenate([top, s[2 * half :]])
    return s[0] + e[0]


def _in_blocks(a, r):
    """Sums of aᵢ rᵢ over some of the rows and what rounded them, (size, p) each."""
    m, p = a.shape
    size = min(m, BLOCK)

    def add(i, state):
        s, e = state
        rows = jax.lax.dynamic_slice_in_dim(a, i * size, size)
        part = jax.lax.dynamic_slice_in_dim(r, i * size, size)
        product, error = _two_product(rows, jnp.broadcast_to(part[:, None], rows.shape))
        s, t = _two_sum(s, product)
        return s, e + (error + t)

    zero = jnp.zeros((size, p), a.dtype)
    s, e = jax.lax.fori_loop(0, m // size, add, (zero, zero))
    if rest := m % size:
        last, error = _two_product(
            a[m - rest :], jnp.broadcast_to(r[m - rest :, None], (rest, p))
        )
        s, e = jnp.concatenate([s, last]), jnp.concatenate([e, error])
    return s, e
