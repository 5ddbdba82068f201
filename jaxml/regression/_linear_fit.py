"""Searches for the minimum of a linear loss, and the fit that all such models share."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._rows import with_b
from jaxml.optimize._convex import by_lbfgs, by_newton, dependent
from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._implicit import solution
from jaxml.optimize._minimize import minimize
from jaxml.regression import _sparse as sparse
from jaxml.regression._frame import Frame, frame_of, joined, params_of
from jaxml.regression._linear_loss import (
    Loss,
    Problem,
    average,
    cost,
    problem,
)
from jaxml.regression.linear import Params

SOLVERS = ("auto", "newton", "lbfgs")
RUNAWAY = 0.5  # change of some z in a last step from which there is no minimum
NOTHING = 256  # roundings of z up to which rows lie where they should
PART = 16  # the share of rows on which a long fit begins
MANY = 32  # parameters from which a Hessian costs much more than a gradient
DENSE = 500  # parameters up to which a Hessian tells whether there is a minimum
LOOSE = 3e-3  # the residual from which L-BFGS leaves the rest to them
FORMED = 64  # parameters up to which L-BFGS ends with Hessians, not their products


def fit(
    loss: Loss,
    x,
    y,
    weights,
    *,
    l2,
    l1,
    solver,
    newton_up_to: int,
    intercept: bool,
    learning_rate,
    tol,
    max_iter: int,
    k: int | None = None,
) -> Fit:
    """The minimum of J by any solver, with derivatives; Fit with linear.Params.

    "auto" is Newton's method up to so many parameters, else L-BFGS. k planes share a
    loss with a gauge: of all that are as good, the one whose sums over classes are 0.
    """
    data = x, y, weights
    own = isinstance(solver, str)
    if own:
        _check.option("solver", solver, SOLVERS)
    if l1 is None and not own:
        return _by_optax(
            loss, data, k, solver, learning_rate, l2, intercept, tol, max_iter
        )
    *fixed, l2_fixed, l1_fixed = jax.lax.stop_gradient((*data, l2, l1))
    n, p = x.shape[1], x.shape[1] + intercept
    frame = frame_of(x, fixed[2], l2_fixed, intercept)
    make = partial(
        problem, loss, l2=l2_fixed, frame=frame, intercept=intercept, l1=l1_fixed, k=k
    )
    size = p * (k or 1)
    if l1 is not None:
        limits = sparse.limits(frame, l1, intercept, k)
        whole = make(*fixed)
        result = _ended(whole, sparse.by_models(whole, limits, tol, max_iter))
    elif solver == "newton" or (solver == "auto" and size <= newton_up_to):
        result = _by_hessians(make, fixed, size, tol, max_iter)
    else:
        result = _by_gradients(make(*fixed), tol, max_iter)
    result = _judged(loss, result, y, weights, intercept)

    theta = result.params
    free = slice(None) if l1 is None else slice(n, None)  # of a gauge: l1 holds w
    if k is not None:
        theta = theta.reshape(p, k)
        theta = theta.at[free].add(-jnp.mean(theta[free], axis=1, keepdims=True))
    result, hyper = result._replace(params=theta), {"l2": l2}
    of, seen = partial(cost, loss, free), (*data, frame)
    if l1 is None:
        theta, value = solution(of, theta, result.cost, result.status, seen, hyper)
    else:
        limits = limits if k is None else limits.reshape(p, k)
        theta, value = sparse.solution(of, result, seen, hyper, limits)
    params = params_of(theta, frame, intercept)
    if k is not None and l1 is not None and intercept:  # another origin moves b
        params = params._replace(b=params.b - jnp.mean(params.b))
    return result._replace(params=with_b(params), cost=value)


def _judged(loss: Loss, result: Fit, y, weights, intercept: bool) -> Fit:
    """UNBOUNDED where a class has no share of the rows; CONVERGED where J is 0."""
    if loss.classes is not None and intercept:
        empty = (average(loss.classes(y), weights) == 0).any()
        empty &= result.status < Status.UNBOUNDED
        result = result.flag(empty, Status.UNBOUNDED)
    if loss.separable:
        return result
    # A cost that can be 0 has no share of itself left there.
    none = result.cost <= (NOTHING * jnp.finfo(result.cost.dtype).eps) ** 2
    none &= result.status != Status.UNBOUNDED
    return result._replace(
        status=jnp.where(none, jnp.int32(Status.CONVERGED), result.status),
        residual=jnp.where(none, 0, result.residual),
    )


def _by_optax(
    loss: Loss, data, k, solver, learning_rate, l2, intercept: bool, tol, max_iter
) -> Fit:
    x, shape = data[0], () if k is None else (k,)
    w = jnp.zeros((x.shape[1], *shape), x.dtype)
    result = minimize(
        partial(_cost_of_params, loss),
        Params(w, jnp.zeros(shape, x.dtype) if intercept else None),
        *data,
        solver=solver,
        learning_rate=learning_rate,
        l2=l2,
        tol=tol,
        max_iter=max_iter,
    )
    return result._replace(params=with_b(result.params))


def _cost_of_params(loss: Loss, params, x, y, weights, *, l2):
    frame = Frame(jnp.zeros_like(x[0]), jnp.ones_like(x[0]))
    theta = joined(params)
    return cost(loss, slice(None), theta, x, y, weights, frame, l2=l2)


# --- searches -----------------------------------------------------------------------


def _by_hessians(make, data, size: int, tol, max_iter: int) -> Fit:
    """Newton's method, begun on a part of the rows where there are many; Fit of θ."""
    whole = make(*data)
    start = whole.start
    search: Any = partial(by_newton, whole.whole)
    m = len(data[0])
    if m > 20 * PART * size:
        # Every 16th row, so that sorted rows do no harm: finds θ to about 1/√rows for
        # a 16th of the price, and saves two of six passes.
        part = make(*(None if a is None else a[::PART] for a in data))
        near = by_newton(part.whole, start, tol=1e-2, max_iter=10, relative=True)
        # Not where it ran away, as a part that can be separated does.
        start = jnp.where(near.status == Status.CONVERGED, near.params.theta, 0)
        if size > MANY:  # so near the minimum one Hessian serves several steps
            search = partial(
                by_newton, whole.light, hessian=lambda theta: whole.whole(theta)[2]
            )
    result = search(
        start,
        tol=tol,
        max_iter=max_iter,
        relative=True,
        bounded=whole.bounded,
        floor=whole.floor,
    )
    return _ended(whole, result)


def _ended(problem: Problem, result: Fit) -> Fit:
    """Fit of θ from one with params = (θ, direction, …); UNBOUNDED where that is."""
    theta, direction, *_ = result.params
    moving = (jnp.abs(direction) > 1e-3 * jnp.abs(theta)).any() & ~problem.bounded
    moved = jax.lax.cond(
        moving, lambda: problem.moves(direction), lambda: jnp.zeros_like(theta[0])
    )
    return result._replace(params=theta, status=_runaway(result, moved))


def _by_gradients(problem: Problem, tol, max_iter: int) -> Fit:
    """L-BFGS, then Newton's steps, of many θ by conjugate gradients; Fit of θ.

    The first tells how far the minimum is only along what it has seen of the curvature,
    and slows down where they do not.
    """
    options: Any = {"max_iter": max_iter, "relative": True, "floor": problem.floor}
    loose = jnp.maximum(tol, LOOSE)
    near = by_lbfgs(problem.light, problem.start, tol=loose, **options)
    ended = (near.status >= Status.UNBOUNDED) | (near.status == Status.EXHAUSTED)

    if len(problem.start) <= FORMED:
        search: Any = partial(by_newton, problem.whole, bounded=True)
    else:
        known = near.params.inverse_product  # of the curvature
        search = partial(
            by_newton, problem.light, product=problem.product, inverse=known
        )
    target = jnp.where(ended, jnp.inf, jnp.asarray(tol, loose.dtype))
    last = search(near.params.theta, tol=target, **options)
    result = last._replace(
        params=last.params.theta,
        residual=jnp.where(ended, near.residual, last.residual),
        steps=near.steps + last.steps,
        status=jnp.where(ended, near.status, last.status),
        history=near.history,
    )
    if len(problem.start) > DENSE:
        return result
    return result._replace(status=_proven(problem, result))


def _proven(problem: Problem, result: Fit) -> jax.Array:
    """The status, as Newton's method would find it where nothing holds the weights."""
    cho_factor, cho_solve = jax.scipy.linalg.cho_factor, jax.scipy.linalg.cho_solve
    asked = ~problem.bounded & (result.status < Status.UNBOUNDED)

    def look(state):
        _, status, start, theta = state
        at_start = problem.whole(start)[2]
        _, gradient, h = problem.whole(theta)
        alike = dependent(at_start, cho_factor(at_start)[0])
        direction = cho_solve((cho_factor(h)[0], False), gradient)
        away = ~(problem.moves(direction) <= RUNAWAY)
        status = jnp.where(away, Status.UNBOUNDED, status)
        status = jnp.where(alike, Status.SINGULAR, status)
        return jnp.bool_(False), status, start + 1, theta - direction

    # Of one trip or none: under vmap a cond would always look. What it looks at has to
    # change, or XLA would look before the loop.
    state = asked, result.status, problem.start, result.params
    return jax.lax.while_loop(lambda s: s[0], look, state)[1]


def _runaway(result: Fit, moved) -> jax.Array:
    """The status, UNBOUNDED where the last step of Newton's method moved a z by moved.

    Where there is no minimum, its steps never cease to move some z by at least 1,
    however small the decrement becomes; at a minimum they do.
    """
    ended = (result.status == Status.CONVERGED) | (result.status == Status.SINGULAR)
    ended |= result.status == Status.STALLED
    away = ended & (result.steps > 1) & (moved > RUNAWAY)
    return jnp.where(away, Status.UNBOUNDED, result.status).astype(jnp.int32)
