"""The kernel matrix K of some rows, formed or in chunks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxml.regression import kernels

CHUNK = 512  # rows of K that exist at a time, where it is not formed
PRECOMPUTED = "precomputed"  # x is the matrix itself


class Rows(NamedTuple):
    """What K is made of; for a precomputed kernel x is K itself."""

    x: jax.Array  # (m, n), or (m, m)
    gamma: jax.Array  # ()
    offset: jax.Array  # ()


class Spec(NamedTuple):
    """What K is made by; static."""

    kernel: kernels.Kernel
    degree: int


def gram(spec: Spec, rows: Rows) -> jax.Array:
    """K, (m, m)."""
    return rows.x if spec.kernel == PRECOMPUTED else between(spec, rows, rows.x, rows.x)


def between(spec: Spec, rows: Rows, a: jax.Array, b: jax.Array) -> jax.Array:
    """k(a_i, b_j), (p, q), with the γ and c of rows."""
    return kernels.matrix(
        a,
        b,
        kernel=spec.kernel,
        degree=spec.degree,
        gamma=rows.gamma,
        offset=rows.offset,
    )


def image(spec: Spec, rows: Rows, a: jax.Array, beta: jax.Array) -> jax.Array:
    """Σ_j k(a_i, x_j) βⱼ, (q, …), for the rows of a, (q, n), a CHUNK at a time.

    beta is (m, …).
    """

    @jax.checkpoint  # or reverse mode would keep all of K
    def one(chunk):
        k = between(spec, rows, chunk, rows.x)
        return jnp.matmul(k, beta, precision="highest")

    q = len(a)
    if q <= CHUNK:
        return one(a)
    whole = q // CHUNK * CHUNK
    scores = lax.map(one, a[:whole].reshape(-1, CHUNK, a.shape[1]))
    scores = scores.reshape(whole, *beta.shape[1:])
    return jnp.concatenate([scores, one(a[whole:])]) if whole < q else scores


def diagonal(spec: Spec, rows: Rows) -> jax.Array:
    """k(x_i, x_i), (m,), of the rows of x, (m, n)."""
    return kernels.diagonal(
        rows.x,
        kernel=spec.kernel,
        degree=spec.degree,
        gamma=rows.gamma,
        offset=rows.offset,
    )
