"""A linear system whose matrix is known by its products, with derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

DENSE = 64  # up to so many unknowns the matrix is formed and factorised


def solve(
    matvec: Callable, b: Any, symmetric: bool = True, search: Callable | None = None
) -> Any:
    """Solve H v = b, pytrees, for H given by its products; NaN on failure.

    H is symmetric, or else b has at most DENSE entries, unless search(matvec, b) is
    given, which finds v for vectors.
    """
    b, unravel = ravel_pytree(b)
    if search is None:
        search = matrix_solve if b.size <= DENSE else cg

    def checked(matvec, b):
        v = search(matvec, b)
        loss = jnp.linalg.norm(matvec(v) - b)
        accurate = loss <= jnp.finfo(b.dtype).eps ** 0.5 * jnp.linalg.norm(b)
        return jnp.where(accurate, v, jnp.nan)

    def product(v):
        return ravel_pytree(matvec(unravel(v)))[0]

    options: Any = {"transpose_solve": checked, "symmetric": symmetric}
    return unravel(jax.lax.custom_linear_solve(product, b, checked, **options))


def matrix_solve(matvec: Callable, b: jax.Array) -> jax.Array:
    """H⁻¹ b by elimination, (n,)."""
    h = jax.vmap(matvec, out_axes=1)(jnp.eye(b.size, dtype=b.dtype))
    return jnp.linalg.solve(h, b)


def cg(matvec: Callable, b: jax.Array, max_iter: int | None = None) -> jax.Array:
    """H⁻¹ b by conjugate gradients, (n,), in at most max_iter steps, 10 n if None."""
    search: Any = jax.scipy.sparse.linalg.cg
    tol = 10 * float(jnp.finfo(b.dtype).eps)
    return search(matvec, b, tol=tol, maxiter=max_iter or 10 * b.size)[0]
