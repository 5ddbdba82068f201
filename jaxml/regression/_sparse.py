"""Planes with an l1 penalty: Newton's method, its models with the penalty as it is.

F(θ) = J(θ) + Σ limits |θ|. About θ, J is taken to be g·d + ½ dᵀHd; where this and the
penalty of θ + d are least lies the next θ. With many θ a model is of some of them,
those that are not 0 or are not to be.

Source: Friedman, Hastie and Tibshirani (2010); Yuan, Ho and Lin (2012); Lee, Sun and
Saunders (2014).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxml.optimize._convex import ENOUGH
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.optimize._implicit import kinked_solution
from jaxml.optimize._quadratic import Model, least_slope, minimum
from jaxml.optimize.proximal import l1_penalty, l1_prox
from jaxml.regression._frame import Frame
from jaxml.regression._linear_loss import Problem

TOGETHER = 1024  # the most θ of one model
BLOCK = 64  # θ up to which all are in it; of more, H is made in blocks of so many
GROWTH = 4  # times as many θ as are not 0, at most, are in the next model
FIRST, LAST = 1e-2, 1e-8  # μ at first, and at last before 0; H's diagonal is about 1
PATIENCE = 20  # trials without any improvement after which the search has stalled


class PartialModel(NamedTuple):
    """The model of some θ."""

    which: jax.Array  # (c,) int32, these
    model: Model
    outside: jax.Array  # () about by how much the others would lower F


class State(NamedTuple):
    """Where the search stands."""

    theta: jax.Array  # (p,)
    direction: jax.Array  # (p,) to the minimum of the model
    value: jax.Array  # () F
    part: PartialModel  # the model
    decrease: jax.Array  # () of the model, along the direction
    damping: jax.Array  # () μ, which was added to the diagonal of H for it


def limits(frame: Frame, l1, intercept: bool, k: int | None = None) -> jax.Array:
    """l1 of each θ, (p,) or raveled (p·k,), 0 for an intercept."""
    zero = jnp.zeros(intercept, frame.scale.dtype)
    result = jnp.append(l1 / frame.scale, zero)
    return result if k is None else jnp.repeat(result, k)


def solution(cost, result: Fit, data, hyper, limits):
    """(θ, F) of `by_models` with derivatives; cost(θ, *data, **hyper) is J."""
    return kinked_solution(
        lambda theta, data, hyper: cost(theta, *data, **hyper[0]),
        lambda theta, step, hyper: l1_prox(theta, step, l1=1.0, factors=hyper[1]),
        lambda theta, hyper: l1_penalty(theta, l1=1.0, factors=hyper[1]),
        result.params,
        result.cost,
        result.status,
        jnp.ones_like(result.cost),
        data,
        (hyper, limits),
    )


def by_models(problem: Problem, limits, tol, max_iter: int) -> Fit:
    """θ := θ + d, the minimum of the model with H + μI; μ grows where F does not fall.

    Rows on the wrong side for sure have a gradient and no curvature: μ keeps θ from
    where these would send it. The residual is √((F - F*) / F), F* by the model without
    μ. CONVERGED also where F - F* is below 4 roundings of F and no longer falls. Fit of
    a State; limits are l1 of each θ.
    """
    limits = jax.lax.stop_gradient(limits)
    look = partial(_all if limits.size <= BLOCK else _some, problem, limits)

    def step(state):
        state, residual = state
        trial = state.theta + state.direction
        value, part = look(trial)
        value += l1_penalty(trial, l1=1.0, factors=limits)
        eps = jnp.finfo(value.dtype).eps
        fall = state.value - value + 10 * eps * jnp.abs(state.value)
        taken = fall >= ENOUGH * state.decrease
        new = trial, value, part
        old = state.theta, state.value, state.part
        theta, value, part = optax.tree.where(taken, new, old)
        damping = _damped(state.damping, fall, state.decrease)
        damped = part.model.hessian + damping * jnp.eye(
            len(part.which), dtype=eps.dtype
        )
        result = minimum(part.model._replace(hessian=damped), tol**2 * value)
        distance = result.decrease + result.left + part.outside
        undamped = taken & (damping == 0)
        flat = (distance <= 4 * eps * value) & (result.decrease > 0.5 * state.decrease)
        flat &= undamped & jnp.isfinite(state.value)
        direction = (
            jnp.zeros_like(theta).at[part.which].set(result.w - part.model.theta)
        )
        status = jnp.where(flat, Status.CONVERGED, Status.RUNNING)
        status = jnp.where(value < problem.floor, Status.UNBOUNDED, status)
        share = distance / jnp.maximum(value, jnp.finfo(value.dtype).tiny)
        residual = jnp.where(undamped, jnp.sqrt(share), residual)
        state = State(theta, direction, value, part, result.decrease, damping)
        return (state, residual), Progress(value, residual, status)

    # From a value of ∞ the first trial, where the search begins, is always taken.
    theta, none = problem.start, jnp.zeros_like(problem.start[0])
    far, shape = jnp.full_like(none, jnp.inf), jax.eval_shape(look, problem.start)[1]
    part = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
    state = State(theta, 0 * theta, far, part, none, none)
    result = iterate(step, (state, far), tol=tol, max_iter=max_iter, patience=PATIENCE)
    return result._replace(params=result.params[0])


def _damped(damping, fall, decrease):
    """μ for the next model: more where the last one predicted too much, else less.

    By degrees: where all rows are sure, what is just enough may be 1e-6 for many steps.
    """
    more = jnp.maximum(10 * damping, FIRST)
    less = jnp.where(damping > LAST, damping / 10, 0)
    good = fall >= 0.75 * decrease
    return jnp.where(good, less, jnp.where(fall < 0.25 * decrease, more, damping))


def _all(problem: Problem, limits, theta):
    """J, and the model of all θ."""
    value, gradient, hessian = problem.whole(theta)
    model = Model(theta, gradient, hessian, limits)
    return value, PartialModel(jnp.arange(len(theta)), model, jnp.zeros_like(value))


def _some(problem: Problem, limits, theta):
    """J, and the model of those θ that are not 0 or are not to be, most wrong first."""
    value, gradient = problem.light(theta)
    slope = jnp.abs(least_slope(theta, gradient, limits))
    # At first those without a penalty; of those that are right, those that are not 0.
    rank = jnp.where(limits == 0, 2, jnp.where(theta == 0, 0, 1e-3))
    rank = slope + rank * jnp.max(slope)
    _, which = jax.lax.top_k(rank, min(TOGETHER, len(theta), 2 * problem.most))
    # By degrees: far from the minimum many are wrong for the moment.
    used = GROWTH * jnp.maximum(jnp.sum(theta != 0), BLOCK // 2)
    used = jnp.minimum(jnp.sum(rank[which] > 0), used)
    hessian = _blocks(problem.block(theta), which, used)
    curvature = jnp.diagonal(hessian)
    taken = curvature > 0
    model = Model(
        theta[which], jnp.where(taken, gradient[which], 0), hessian, limits[which]
    )
    # As if each of the others alone were moved, where it costs least.
    others = slope.at[jnp.where(taken, which, len(slope))].set(0, mode="drop")
    least = jnp.min(jnp.where(taken, curvature, jnp.inf))
    return value, PartialModel(which, model, 0.5 * jnp.vdot(others, others) / least)


def _blocks(pair, which, used) -> jax.Array:
    """The Hessian of which, (c,), in blocks for the first that are used; else 0."""
    size = min(len(which), max(BLOCK, len(which) // 8))

    def cut(i):
        return jax.lax.dynamic_slice_in_dim(which, i * size, size)

    def row(i, h):
        def one(j, h):
            # Both slices are moved alike where the last block would stand out.
            place = i * size, j * size
            return jax.lax.dynamic_update_slice(h, pair(cut(i), cut(j)), place)

        return jax.lax.fori_loop(0, i + 1, one, h)

    dtype = jax.eval_shape(pair, which, which).dtype
    h = jnp.zeros((len(which), len(which)), dtype)
    h = jax.lax.fori_loop(0, (used + size - 1) // size, row, h)
    return jnp.tril(h) + jnp.tril(h, -1).T
