"""The derivative of a solution, by the implicit function theorem.

At a minimum of J(p, d) over p, the gradient g(p, d) is zero and stays zero as d moves:
H dp + (∂g/∂d) dd = 0, with H the Hessian in p. Nothing of the search is differentiated,
so memory does not depend on how many steps it took. Where the cost has kinks, as that
of the lasso has, only the coordinates move that are free to.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxml import _check
from jaxml.optimize._fit import Status
from jaxml.optimize._linear_solve import DENSE, solve


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def solution(cost: Callable, params, value, status, data, hyper):
    """Give back (params, value), a minimum of cost and its value, with derivatives.

    cost(params, *data, **hyper) is a scalar. Tangents of data and hyper become those of
    the minimum, forward and reverse, to first order; they are NaN where status is not
    CONVERGED, where H is singular and where its system could not be solved.
    """
    return params, value


@solution.defjvp
@_check.precise
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

    shift = unravel(-solve(hessian, slope))
    # A product, because the transpose of a where would be 0 and not NaN.
    valid = jnp.where(status == Status.CONVERGED, 1, jnp.nan)
    shift = jax.tree.map(lambda s: s * valid.astype(s.dtype), shift)
    change = jax.jvp(
        lambda p, d, h: cost(p, *d, **h), (params, data, hyper), (shift, *moved)
    )[1]
    return (params, value), (shift, change)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def kinked_solution(cost, prox, penalty, params, value, status, step, data, hyper):
    """As `solution`, for a minimum of a smooth cost and a penalty that has kinks.

    cost(params, data, hyper) and penalty(params, hyper) are scalars and
    prox(params, step, hyper) is the proximal operator of the penalty. At the minimum
    p = prox(u, s) with u = p - s ∂cost/∂p, for any step s, (). With P = ∂prox/∂u, zero
    for instance where a lasso holds p at 0, and q the change of prox by hyper alone,
    dp = P du + q, and P - P² + s P H P is what is solved.

    Source: Bertrand et al. (2022).
    """
    return params, value


@kinked_solution.defjvp
@_check.precise
def _kinked_jvp(cost, prox, penalty, primals, tangents):
    params, value, status, step, data, hyper = primals
    _, _, _, _, *moved = tangents
    slope = jax.grad(cost)
    flat, unravel = ravel_pytree(params)
    g = ravel_pytree(slope(params, data, hyper))[0]
    step = step.astype(flat.dtype)
    u = unravel(flat - step * g)

    def project(v):
        return _flat_jvp(lambda u: prox(u, step, hyper), u, unravel(v))

    def bend(v):
        return _flat_jvp(lambda p: slope(p, data, hyper), params, unravel(v))

    pull = jax.jvp(lambda d, h: slope(params, d, h), (data, hyper), tuple(moved))[1]
    change = jax.jvp(lambda h: prox(u, step, h), (hyper,), (moved[1],))[1]
    pull, change = ravel_pytree(pull)[0], ravel_pytree(change)[0]
    right = change - step * (bend(change) + pull)

    def dense(v):
        return v - project(v) + step * bend(project(v))

    def symmetric(v):
        v = project(v)
        return v - project(v) + step * project(bend(v))

    if flat.size <= DENSE:
        shift = solve(dense, right, symmetric=False)
    else:
        shift = solve(symmetric, project(right))
    shift = unravel(project(shift) + change)
    valid = jnp.where(status == Status.CONVERGED, 1, jnp.nan)
    shift = jax.tree.map(lambda s: s * valid.astype(s.dtype), shift)
    # At a minimum its own move changes the value by nothing.
    rise = jax.jvp(
        lambda d, h: cost(params, d, h) + penalty(params, h),
        (data, hyper),
        tuple(moved),
    )[1]
    return (params, value), (shift, rise * valid.astype(value.dtype))


def _flat_jvp(function, at, tangent) -> jax.Array:
    return ravel_pytree(jax.jvp(function, (at,), (tangent,))[1])[0]
