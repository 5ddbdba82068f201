"""The kernel matrix K of some rows, formed or in chunks.

Where Σβ = 0, as with an intercept, Kβ is not changed but by a constant if K is that of
φ(x) - φ(o) for any origin o. Far from 0 the entries of the linear and the polynomial
kernel are nearly all the same, and float32 loses what tells rows apart; so for these
k' = k(a, b) - k(a, o) - k(o, b) + k(o, o) is computed, by formulas without that
difference of large numbers.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxml import _check
from jaxml._check import Static
from jaxml.regression import _refined, kernels

CHUNK = 512  # rows of K that exist at a time, where it is not formed
PRECOMPUTED = "precomputed"  # x is the matrix itself


@_check.params
class KernelRows:
    """What K is made of; for a precomputed kernel x is K itself."""

    x: jax.Array  # (m, n), or (m, m)
    gamma: jax.Array  # ()
    offset: jax.Array  # ()
    kernel: Static[kernels.Kernel]
    # (n,) the origin o; of a precomputed K (m,) shares of its rows, of which φ(o) is
    # the mean; None for 0 in the kernel's space
    origin: Any = None


def linear(kernel: kernels.Kernel) -> bool:
    """Whether f is a plane in the space of x."""
    return kernel in ("linear", kernels.linear)


def degree(kernel: kernels.Kernel) -> int:
    """The degree of a polynomial kernel; 0 of any other."""
    if kernel in ("polynomial", kernels.polynomial):
        return kernels.DEGREE
    if not isinstance(kernel, partial) or kernel.func is not kernels.polynomial:
        return 0
    if kernel.args or not set(kernel.keywords) <= {"degree"}:
        return 0
    asked = kernel.keywords.get("degree", kernels.DEGREE)
    return _check.count("degree", asked, at_least=0)


def anchored(kernel: kernels.Kernel) -> bool:
    """Whether an origin counts: not for kernels that are at most 1 anyway."""
    return linear(kernel) or degree(kernel) > 0 or kernel == PRECOMPUTED


def gram(rows: KernelRows) -> jax.Array:
    """K, (m, m)."""
    if rows.kernel != PRECOMPUTED:
        return between(rows, rows.x, rows.x)
    if rows.origin is None:
        return rows.x
    levels = level(rows)
    middle = rows.origin @ (rows.x @ rows.origin)
    return rows.x - levels[:, None] - levels[None] - middle


def constant(rows: KernelRows, beta: jax.Array) -> jax.Array:
    """Σ βᵢ [k(x_i, o) - k(o, o)], (…), for beta, (m, …): what Kβ has more than K'β.

    For the linear kernel it is w·o.
    """
    if linear(rows.kernel):
        return plane(rows, beta).T @ rows.origin
    return level(rows) @ beta


def away(rows: KernelRows, a: jax.Array) -> jax.Array:
    """a - o, (q, n), for a, (q, n)."""
    return a if rows.origin is None else a - rows.origin[None]


def plane(rows: KernelRows, beta: jax.Array) -> jax.Array:
    """w = Σ βᵢ (x_i - o), (n, …), for beta, (m, …), to the last digits.

    The terms may be much larger than w, and what rounds x - o too.
    """
    w = exact_sum(rows.x, beta)
    if rows.origin is None:
        return w
    whole = exact_sum(jnp.ones_like(rows.x[:, :1]), beta)
    return w - jnp.expand_dims(rows.origin, range(1, w.ndim)) * whole


def exact_sum(values: jax.Array, beta: jax.Array) -> jax.Array:
    """Σ βᵢ valuesᵢ, (n, …), summed as if in twice the precision; beta is (m, …)."""
    plain = values.T @ beta
    fixed, by = lax.stop_gradient((values, beta.reshape(len(beta), -1)))
    exact = jax.vmap(lambda b: _refined.columns(fixed, b), 1, 1)(by)
    return plain + lax.stop_gradient(exact.reshape(plain.shape) - plain)


def level(rows: KernelRows) -> jax.Array:
    """k(x_i, o) - k(o, o), (m,)."""
    x, origin = rows.x, rows.origin
    if rows.kernel == PRECOMPUTED:
        means = x @ origin
        return means - origin @ means
    along = away(rows, x) @ origin
    if linear(rows.kernel):
        return along
    along, base = rows.gamma * along, rows.gamma * (origin @ origin) + rows.offset
    n = degree(rows.kernel)
    return along * sum(base**k * (along + base) ** (n - 1 - k) for k in range(n))


def between(rows: KernelRows, a: jax.Array, b: jax.Array) -> jax.Array:
    """k(a_i, b_j), (p, q), with the γ, c and origin of rows."""
    if rows.origin is None or not anchored(rows.kernel):
        hyper = {"gamma": rows.gamma, "offset": rows.offset}
        return kernels.matrix(a, b, kernel=rows.kernel, **hyper)
    u, v = away(rows, a), away(rows, b)
    product = u @ v.T
    if linear(rows.kernel):
        return product
    # With t = γ o·o + c and γ a·b + c = t + d, d = r + s + γ u·v, this is the sum over
    # k of (degree choose k) t^(degree - k) e_k, e_k = d^k - r^k - s^k.
    product = rows.gamma * product
    r, s = (rows.gamma * (w @ rows.origin) for w in (u, v))
    r, s = r[:, None], s[None]
    t, d = rows.gamma * (rows.origin @ rows.origin) + rows.offset, r + s + product
    total, e = jnp.zeros_like(product), product
    n = degree(rows.kernel)
    for k in range(1, n + 1):
        total += math.comb(n, k) * t ** (n - k) * e
        e = d * e + r**k * (s + product) + s**k * (r + product)
    return total


def image(rows: KernelRows, a: jax.Array, beta: jax.Array) -> jax.Array:
    """Σ_j k(a_i, x_j) βⱼ, (q, …), for the rows of a, (q, n), a CHUNK at a time.

    beta is (m, …).
    """
    if linear(rows.kernel):
        return away(rows, a) @ plane(rows, beta)

    @jax.checkpoint  # or reverse mode would keep all of K
    def one(chunk):
        k = between(rows, chunk, rows.x)
        return k @ beta

    q = len(a)
    if q <= CHUNK:
        return one(a)
    whole = q // CHUNK * CHUNK
    scores = lax.map(one, a[:whole].reshape(-1, CHUNK, a.shape[1]))
    scores = scores.reshape(whole, *beta.shape[1:])
    return jnp.concatenate([scores, one(a[whole:])]) if whole < q else scores


def diagonal(rows: KernelRows) -> jax.Array:
    """k(x_i, x_i), (m,), of the rows of x, (m, n)."""

    def one(row):
        return between(rows, row[None], row[None])[0, 0]

    return jax.vmap(one)(rows.x)
