"""The derivative of a solution, by the implicit function theorem.

At a minimum of J(p, d) over p, the gradient g(p, d) is zero and stays zero as d moves:
H dp + (∂g/∂d) dd = 0, with H the Hessian in p. Nothing of the search is differentiated,
so memory does not depend on how many steps it took.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxml.optimize.fit import Status

DENSE = 64  # up to so many parameters the Hessian is formed and factorised


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def solution(cost: Callable, params, value, status, data, hyper):
    """Give back (params, value), a minimum of cost and its value, with derivatives.

    cost(params, *data, **hyper) is a scalar. Tangents of data and hyper become those of
    the minimum, forward and reverse, to first order; they are NaN where status is not
    CONVERGED, where H is singular and where its system could not be solved.
    """
    return params, value


@solution.defjvp
def _solution_jvp(cost, primals, tangents):
    params, value, status, data, hyper = primals
    _, _, _, *moved = tangents

    def gradient(params, data, hyper):
        return jax.grad(cost)(params, *data, **hyper)

    slope = jax.jvp(partial(gradient, params), (data, hyper), tuple(moved))[1]
    slope, unravel = ravel_pytree(slope)

    def hessian(v):
        return ravel_pytree(
            jax.jvp(lambda p: gradient(p, data, hyper), (params,), (unravel(v),))[1]
        )[0]

    shift = unravel(-_solve(hessian, slope))
    # A product, because the transpose of a where would be 0 and not NaN.
    valid = jnp.where(status == Status.CONVERGED, 1, jnp.nan)
    shift = jax.tree.map(lambda s: s * valid.astype(s.dtype), shift)
    change = jax.jvp(
        lambda p, d, h: cost(p, *d, **h), (params, data, hyper), (shift, *moved)
    )[1]
    return (params, value), (shift, change)


def _solve(matvec: Callable, b: jax.Array) -> jax.Array:
    """Solve H v = b, (n,), for a symmetric H given by its products; NaN on failure."""

    def solve(matvec, b):
        if b.size <= DENSE:
            v = jnp.linalg.solve(jax.vmap(matvec)(jnp.eye(b.size, dtype=b.dtype)), b)
        else:
            tol = 10 * float(jnp.finfo(b.dtype).eps)
            search: Any = jax.scipy.sparse.linalg.cg
            v, _ = search(matvec, b, tol=tol, maxiter=10 * b.size)
        loss = jnp.linalg.norm(matvec(v) - b)
        accurate = loss <= jnp.finfo(b.dtype).eps ** 0.5 * jnp.linalg.norm(b)
        return jnp.where(accurate, v, jnp.nan)

    return jax.lax.custom_linear_solve(matvec, b, solve, symmetric=True)
