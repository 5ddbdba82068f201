"""Minimise a convex cost whose derivatives come together, in one pass over the rows.

Here the trial of a line search is a step of the loop: what was computed at an accepted
trial is what the next step needs, so the search costs nothing unless it has to halve,
and the members of a batch under vmap never wait for each other's searches.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml.optimize.fit import Fit, Progress, Status, iterate

ENOUGH = 1e-4  # the share of the foretold decrease that is taken (Armijo 1966)
PATIENCE = 20  # steps without any improvement after which a search has stalled


class NewtonState(NamedTuple):
    """Where Newton's method stands."""

    theta: jax.Array  # (p,)
    direction: jax.Array  # (p,) H⁻¹ g at theta
    value: jax.Array  # () cost at theta
    decrement: jax.Array  # () √(gᵀ H⁻¹ g)
    length: jax.Array  # () of the next trial, as a share of the direction


@_check.host
def by_newton(
    derivatives: Callable[[jax.Array], tuple[jax.Array, jax.Array, jax.Array]],
    theta: jax.Array,
    *,
    tol: Any,
    max_iter: int,
) -> Fit:
    """θ := θ - t H⁻¹ g, t = 1, ½, ¼ … until the cost falls enough; for use inside jit.

    Args:
        derivatives: θ, (p,), to cost, (), gradient g, (p,), and Hessian H, (p, p).
        theta: (p,) the start.
        tol: () stop when Newton's decrement √(gᵀ H⁻¹ g) is at most tol; half its square
            is the distance to the minimum. It does not depend on the units of θ.
        max_iter: the most passes.

    Returns:
        Fit with params = NewtonState. Status SINGULAR where H is not positive definite;
        the direction is then the last one that could be computed.

    Source: Boyd and Vandenberghe (2004), section 9.5.

    """

    def towards(g, hessian, last):
        factor = jax.scipy.linalg.cho_factor(hessian)
        direction = jax.scipy.linalg.cho_solve(factor, g)
        good = jnp.isfinite(direction).all()
        decrement = jnp.sqrt(jnp.maximum(jnp.vdot(g, direction), 0))
        return jnp.where(good, direction, last), decrement, good

    def step(state: NewtonState):
        trial = state.theta - state.length * state.direction
        value, g, hessian = derivatives(trial)
        rounding = 10 * jnp.finfo(value.dtype).eps * jnp.abs(state.value)
        least = ENOUGH * state.length * state.decrement**2
        taken = value <= state.value - least + rounding
        direction, decrement, good = towards(g, hessian, state.direction)
        new = NewtonState(trial, direction, value, decrement, jnp.ones_like(value))
        kept = state._replace(length=state.length / 2)
        state = jax.tree.map(lambda n, k: jnp.where(taken, n, k), new, kept)
        status = jnp.where(taken & ~good, Status.SINGULAR, Status.RUNNING)
        return state, progress(state, status)

    def progress(state, status):
        bad = status == Status.SINGULAR
        residual = jnp.where(bad, jnp.inf, state.decrement)
        return Progress(state.value, residual, status)

    value, g, hessian = derivatives(theta)
    direction, decrement, good = towards(g, hessian, jnp.zeros_like(theta))
    state = NewtonState(theta, direction, value, decrement, jnp.ones_like(value))
    start = progress(state, jnp.where(good, Status.RUNNING, Status.SINGULAR))
    return iterate(step, state, start, tol=tol, max_iter=max_iter, patience=PATIENCE)


class LbfgsState(NamedTuple):
    """Where L-BFGS stands; its memory holds the oldest pair first, zeros if none."""

    theta: jax.Array  # (p,)
    gradient: jax.Array  # (p,)
    value: jax.Array  # ()
    direction: jax.Array  # (p,)
    length: jax.Array  # () of the next trial
    moves: jax.Array  # (memory, p) s = θ' - θ
    changes: jax.Array  # (memory, p) y = g' - g
    inverse: jax.Array  # (memory,) 1 / sᵀy


@_check.host
def by_lbfgs(
    derivatives: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    theta: jax.Array,
    *,
    tol: Any,
    max_iter: int,
    memory: int = 10,
) -> Fit:
    """L-BFGS for many parameters, or for many fits at once; for use inside jit.

    Args:
        derivatives: θ, (p,), to cost, (), and gradient, (p,).
        theta: (p,) the start.
        tol: () stop when the Euclidean norm of the gradient is at most tol.
        max_iter: the most passes.
        memory: how many pairs of moves and changes are kept.

    Returns:
        Fit with params = LbfgsState.

    Source: Nocedal (1980); Nocedal and Wright (2006), algorithm 7.4.

    """
    memory = _check.count("memory", memory)

    def descent(gradient, moves, changes, inverse):
        """Minus the inverse Hessian times the gradient (two-loop recursion)."""

        def back(i, state):
            q, shares = state
            j = memory - 1 - i
            share = inverse[j] * jnp.vdot(moves[j], q)
            return q - share * changes[j], shares.at[j].set(share)

        def forth(j, r):
            share = inverse[j] * jnp.vdot(changes[j], r)
            return r + (shares[j] - share) * moves[j]

        zeros = jnp.zeros_like(inverse)
        q, shares = jax.lax.fori_loop(0, memory, back, (gradient, zeros))
        bend = inverse[-1] * jnp.vdot(changes[-1], changes[-1])
        first = 1 / jnp.maximum(1, jnp.linalg.norm(gradient))
        scale = jnp.where(bend > 0, 1 / jnp.where(bend > 0, bend, 1), first)
        return -jax.lax.fori_loop(0, memory, forth, scale * q)

    def step(state: LbfgsState):
        move = state.length * state.direction
        value, gradient = derivatives(state.theta + move)
        rounding = 10 * jnp.finfo(value.dtype).eps * jnp.abs(state.value)
        taken = (
            value <= state.value + ENOUGH * jnp.vdot(move, state.gradient) + rounding
        )
        change = gradient - state.gradient
        curvature = jnp.vdot(move, change)
        tiny = jnp.finfo(value.dtype).eps * jnp.vdot(move, move)
        convex = taken & (curvature > tiny)

        def push(old, new):
            pushed = jnp.concatenate([old[1:], new[None]])
            return jnp.where(convex, pushed, old)

        moves, changes = push(state.moves, move), push(state.changes, change)
        inverse = push(state.inverse, 1 / jnp.where(convex, curvature, 1))
        direction = descent(gradient, moves, changes, inverse)
        new = LbfgsState(
            state.theta + move,
            gradient,
            value,
            direction,
            jnp.ones_like(value),
            moves,
            changes,
            inverse,
        )
        kept = state._replace(length=state.length / 2)
        state = jax.tree.map(lambda n, k: jnp.where(taken, n, k), new, kept)
        return state, progress(state)

    def progress(state):
        return Progress(state.value, jnp.linalg.norm(state.gradient))

    value, gradient = derivatives(theta)
    empty = jnp.zeros((memory, theta.size), theta.dtype)
    none = jnp.zeros(memory, theta.dtype)
    direction = descent(gradient, empty, empty, none)
    one = jnp.ones_like(value)
    state = LbfgsState(theta, gradient, value, direction, one, empty, empty, none)
    return iterate(
        step, state, progress(state), tol=tol, max_iter=max_iter, patience=PATIENCE
    )
