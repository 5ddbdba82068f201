"""Minimise g·d + ½ dᵀHd + Σ limits |θ + d|: the model of a cost with an l1 penalty.

Coordinate descent finds which θ + d are 0, but is slow where those that are not depend
on each other; Newton's equations of these alone are exact, but have to know which. So
they take turns.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve

from jaxml.optimize._fit import Progress, iterate
from jaxml.optimize._single_kernel import descend, padded
from jaxml.optimize.proximal import accelerate, l1_penalty, l1_prox

SWEEPS = 50  # the most sweeps over the coordinates in a turn
FIRST = 128, 512  # coordinates that Newton's equations are for, if there are no others
ROUNDS = 100  # the most of these turns
PATIENCE = 5  # turns without any improvement after which precision is used up
ACCURACY = 0.05  # of the decrease so far that may be left


class Model(NamedTuple):
    """The cost about θ, and the penalty."""

    theta: jax.Array  # (p,)
    gradient: jax.Array  # (p,) g
    hessian: jax.Array  # (p, p) H
    limits: jax.Array  # (p,) 0 where there is no penalty


class Minimum(NamedTuple):
    """Where the search for the minimum stands."""

    w: jax.Array  # (p,) θ + d
    descent: jax.Array  # (p,) steepest: minus the subgradient nearest to 0
    direction: jax.Array  # (p,) Newton's, of those w that are not 0 or are not to be
    decrease: jax.Array  # () of the model from θ to w
    left: jax.Array  # () about how much more it can decrease


def minimum(model: Model, accuracy) -> Minimum:
    """The minimum, but for a tenth of accuracy, () > 0, or a share of the decrease."""
    curvature = jnp.diagonal(model.hessian)
    least = jnp.min(jnp.where(curvature > 0, curvature, jnp.inf))
    # A last sweep of such changes gains about a tenth of accuracy.
    tol = jnp.sqrt(0.1 * accuracy * least / len(curvature))

    def step(state: Minimum):
        w = line_step(model, state)
        w = lax.platform_dependent(model, w, tol, cpu=_swept, default=_accelerated)
        state = evaluated(model, w)
        allowed = jnp.maximum(0.1 * accuracy, ACCURACY * state.decrease)
        allowed = jnp.maximum(allowed, jnp.finfo(allowed.dtype).tiny)
        return state, Progress(-state.decrease, state.left / allowed)

    zero, none = jnp.zeros_like(model.theta), jnp.zeros_like(accuracy)
    start = Minimum(model.theta, zero, zero, none, none)
    options: Any = {"max_iter": ROUNDS, "patience": PATIENCE, "history_length": 1}
    result = iterate(step, start, tol=1.0, **options).params
    return result._replace(w=line_step(model, result))


def least_slope(w, gradient, limits) -> jax.Array:
    """Minus the subgradient at w, (p,), that is nearest to 0."""
    at_zero = l1_prox(-gradient, 1.0, l1=1.0, factors=limits)
    return jnp.where(w == 0, at_zero, -gradient - limits * jnp.sign(w))


def evaluated(model: Model, w) -> Minimum:
    """What is known of the minimum at w."""
    theta, gradient, hessian, limits = model
    there = gradient + hessian @ (w - theta)
    descent = least_slope(w, there, limits)
    direction = _newton(hessian, (w != 0) | (descent != 0), descent)
    solved = jnp.isfinite(direction).all()
    direction = jnp.where(solved, direction, 0)
    left = jnp.where(solved, 0.5 * jnp.vdot(descent, direction), jnp.inf)
    # Term by term: at a minimum they nearly cancel.
    decrease = -0.5 * (w - theta) * (there + gradient)
    decrease += limits * (jnp.abs(theta) - jnp.abs(w))
    return Minimum(w, descent, direction, jnp.maximum(jnp.sum(decrease), 0), left)


def line_step(model: Model, state: Minimum) -> jax.Array:
    """w further along the direction, (p,), at most until one of them becomes 0."""
    w, direction = state.w, state.direction
    side = jnp.where(w == 0, jnp.sign(state.descent), jnp.sign(w))
    shrinks = (model.limits > 0) & (direction * side < 0)
    speed = jnp.where(shrinks, jnp.abs(direction), 1)
    room = jnp.where(shrinks, jnp.abs(w) / speed, jnp.inf)
    length = jnp.minimum(1, jnp.min(room))
    return jnp.where(room <= length, 0, w + length * direction)


def _newton(hessian, some, descent):
    """H⁻¹ descent among some of the coordinates, at a price that the last one sets."""
    n = len(descent)
    sizes = [size for size in FIRST if size < n] + [n]
    fits = jnp.stack([~some[size:].any() for size in sizes])
    first = [partial(_among_first, size) for size in sizes]
    return lax.switch(jnp.argmax(fits), first, hessian, some, descent)


def _among_first(size: int, hessian, some, descent):
    result = solve_among(hessian[:size, :size], some[:size], descent[:size])
    return jnp.pad(result, (0, len(descent) - size))


def solve_among(hessian, some, right) -> jax.Array:
    """H⁻¹ right among some of the coordinates, (p,), by Cholesky; 0 elsewhere.

    A trace is added to H's diagonal; a coordinate with 0 there is left out.
    """
    some &= jnp.diagonal(hessian) > 0
    scale = jnp.sqrt(jnp.where(some, jnp.diagonal(hessian), 1))
    both = (some[:, None] & some[None]) / jnp.outer(scale, scale)
    trace = 4 * len(right) * jnp.finfo(right.dtype).eps
    factor = cho_factor(hessian * both + jnp.diag(jnp.where(some, trace, 1 + trace)))
    return cho_solve(factor, jnp.where(some, right, 0) / scale) / scale


def _swept(model: Model, w, tol):
    n = len(w)
    after = (0, padded(n) - n)
    residual = -model.gradient - model.hessian @ (w - model.theta)
    result = descend(
        jnp.pad(model.hessian, after),
        jnp.pad(residual, after),
        jnp.pad(w, after),
        jnp.pad(model.limits, after),
        jnp.zeros_like(tol),
        jnp.int32(n),
        tol,
        sweeps=SWEEPS,
        positive=False,
    )
    return result.w[:n]


def _accelerated(model: Model, w, tol):
    def smooth(w):
        d = w - model.theta
        return jnp.vdot(d, model.gradient + 0.5 * (model.hessian @ d))

    factors: Any = {"l1": 1.0, "factors": model.limits}
    prox, penalty = partial(l1_prox, **factors), partial(l1_penalty, **factors)
    options: Any = {"tol": tol, "max_iter": SWEEPS, "history_length": 1}
    return accelerate(smooth, prox, penalty, w, **options).params.params
