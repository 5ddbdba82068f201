"""A linear system whose matrix is known by its products, with derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

DENSE = 64  # up to so many unknowns the matrix is formed and factorised


def solve(matvec: Callable, b: jax.Array, symmetric: bool = True) -> jax.Array:
    """Solve H v = b, (n,), for H given by its products; NaN on failure.

    H is symmetric, or else n is at most DENSE.
    """

    def search(matvec, b):
        if b.size <= DENSE:
            h = jax.vmap(matvec, out_axes=1)(jnp.eye(b.size, dtype=b.dtype))
            v = jnp.linalg.solve(h, b)
        else:
            tol = 10 * float(jnp.finfo(b.dtype).eps)
            cg: Any = jax.scipy.sparse.linalg.cg
            v, _ = cg(matvec, b, tol=tol, maxiter=10 * b.size)
        loss = jnp.linalg.norm(matvec(v) - b)
        accurate = loss <= jnp.finfo(b.dtype).eps ** 0.5 * jnp.linalg.norm(b)
        return jnp.where(accurate, v, jnp.nan)

    return jax.lax.custom_linear_solve(
        matvec, b, search, transpose_solve=search, symmetric=symmetric
    )
