"""The derivative of a solution, by the implicit function theorem.

What solves F(r, d) = 0 keeps doing so as the data d move: A dr = -(∂F/∂d) dd with A =
∂F/∂r. Nothing of the search is differentiated, so memory does not depend on how many
steps it took. A kind of problem is its conditions F, and a solver of their equations:
where a cost is smooth, its gradient; where it has kinks, as that of the lasso has, the
conditions let only those coordinates move that are free to.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxml import _check
from jaxml.optimize._fit import Status
from jaxml.optimize._linear_solve import DENSE, solve


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def root(conditions: Callable, solver: Callable, result, valid, data):
    """Give back the result, a root of conditions(result, data), with its derivatives.

    All are pytrees. solver(product, right, result, data) solves A v = right, for A
    given by its products. To first order, forward and reverse; NaN unless valid, ().
    """
    return result


@root.defjvp
@_check.precise
def _root_jvp(conditions, solver, primals, tangents):
    result, valid, data = primals

    def product(v):
        return jax.jvp(lambda r: conditions(r, data), (result,), (v,))[1]

    moved = _if_valid(valid, tangents[2])
    change = jax.jvp(partial(conditions, result), (data,), (moved,))[1]
    right = jax.tree.map(jnp.negative, change)
    return result, _if_valid(valid, solver(product, right, result, data))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def derived(function: Callable, value, valid, *arguments):
    """Give back the value, with the derivatives of function(*arguments).

    The function is not computed but for these. They are NaN unless valid, ().
    """
    return value


@derived.defjvp
@_check.precise
def _derived_jvp(function, primals, tangents):
    value, valid, *arguments = primals
    moved = _if_valid(valid, tuple(tangents[2:]))
    change = jax.jvp(function, tuple(arguments), moved)[1]
    return value, _if_valid(valid, change)


def where_valid(valid, value):
    """The value, whose derivatives are NaN unless valid, ()."""
    return derived(lambda value: value, value, valid, value)


def _if_valid(valid, tangents):
    """The tangents, or NaN: before a linear map for reverse mode, after it for forward.

    By a product, because the transpose of a where would be 0 and not NaN.
    """
    factor = jnp.where(valid, 1, jnp.nan)

    def times(t):  # of what is no float there is none
        return t if t.dtype == jax.dtypes.float0 else t * factor.astype(t.dtype)

    return jax.tree.map(times, tangents)


def solution(cost: Callable, params, value, status, data, hyper):
    """Give back (params, value), a minimum of cost and its value, with derivatives.

    cost(params, *data, **hyper) is a scalar. Derivatives with respect to data and hyper
    are those of the minimum; they are NaN where status is not CONVERGED, where the
    Hessian is singular and where its system could not be solved.
    """

    def bound(params, arguments):
        data, hyper = arguments
        return cost(params, *data, **hyper)

    valid, arguments = status == Status.CONVERGED, (data, hyper)
    solver = lambda hessian, right, *_: solve(hessian, right)
    params = root(jax.grad(bound), solver, params, valid, arguments)
    return params, derived(bound, value, valid, params, arguments)


def kinked_solution(cost, prox, penalty, params, value, status, step, data, hyper):
    """As `solution`, for a minimum of a smooth cost and a penalty that has kinks.

    cost(params, data, hyper) and penalty(params, hyper) are scalars and
    prox(params, step, hyper) is the proximal operator of the penalty. At the minimum
    p = prox(u, s) with u = p - s ∂cost/∂p, for any step s, (): u is what is solved for,
    by u - prox(u, s) + s ∂cost/∂p = 0. With P = ∂prox/∂u, zero for instance where a
    lasso holds p at 0, the matrix is 1 - P + s H P, and P times it is symmetric.

    Source: Bertrand et al. (2022); Robinson (1992) for these conditions.
    """

    def conditions(u, arguments):
        step, data, hyper = arguments
        p = prox(u, step, hyper)
        gradient = jax.grad(cost)(p, data, hyper)
        return optax.tree.add_scale(optax.tree.sub(u, p), step, gradient)

    def solver(product, right, u, arguments):
        step, _, hyper = arguments
        if optax.tree.size(right) <= DENSE:
            return solve(product, right, symmetric=False)

        def project(v):
            return jax.jvp(lambda u: prox(u, step, hyper), (u,), (v,))[1]

        return solve(lambda v: project(product(v)), project(right))

    def minimum(params, step, data, hyper):
        gradient = jax.grad(cost)(params, data, hyper)
        u = optax.tree.add_scale(params, -step, gradient)
        u = root(conditions, solver, u, True, (step, data, hyper))
        return prox(u, step, hyper)

    def total(params, data, hyper):
        return cost(params, data, hyper) + penalty(params, hyper)

    valid = status == Status.CONVERGED
    params, step = jax.lax.stop_gradient((params, step))
    # At a minimum its own move changes the value by nothing.
    value = derived(total, value, valid, params, data, hyper)
    return derived(minimum, params, valid, params, step, data, hyper), value
