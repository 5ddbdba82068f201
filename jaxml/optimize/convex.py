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

FALL = 0.3  # of the decrement by a step, with which an old Hessian goes on
ENOUGH = 1e-4  # the share of the foretold decrease that is taken (Armijo 1966)
PATIENCE = 20  # steps without any improvement after which a search has stalled


class NewtonState(NamedTuple):
    """Where Newton's method stands."""

    theta: jax.Array  # (p,)
    direction: jax.Array  # (p,) H⁻¹ g at theta
    value: jax.Array  # () cost at theta
    decrement: jax.Array  # () √(gᵀ H⁻¹ g)
    length: jax.Array  # () of the next trial, as a share of the direction
    factor: Any = None  # (p, p) Cholesky's, of the Hessian, where that is kept


@_check.host
def by_newton(
    derivatives: Callable[[jax.Array], tuple[jax.Array, ...]],
    theta: jax.Array,
    *,
    tol: Any,
    max_iter: int,
    hessian: Callable[[jax.Array], jax.Array] | None = None,
) -> Fit:
    """θ := θ - t H⁻¹ g, t = 1, ½, ¼ … until the cost falls enough; for use inside jit.

    Args:
        derivatives: θ, (p,), to cost, (), gradient g, (p,), and Hessian H, (p, p);
            without H where `hessian` is given.
        theta: (p,) the start.
        tol: () stop when Newton's decrement √(gᵀ H⁻¹ g) is at most tol; half its square
            is the distance to the minimum. It does not depend on the units of θ.
        max_iter: the most passes; the first is that of the start.
        hessian: θ to H, for an H that costs much more than g: it is then taken anew
            only after a step that left more than 0.3 of the decrement (under vmap it is
            computed in every step).

    Returns:
        Fit with params = NewtonState. Status SINGULAR where H is not positive definite;
        the direction is then the last one that could be computed.

    Source: Boyd and Vandenberghe (2004), section 9.5; Shamanskii (1967) for the steps
    that keep H.

    """
    cho_factor, cho_solve = jax.scipy.linalg.cho_factor, jax.scipy.linalg.cho_solve

    def towards(g, factor, last):
        direction = cho_solve((factor, False), g)
        good = jnp.isfinite(direction).all()
        decrement = jnp.sqrt(jnp.maximum(jnp.vdot(g, direction), 0))
        return jnp.where(good, direction, last), decrement, good

    def renewed(hessian, state: NewtonState, trial, g, taken):
        """The factor that is kept, or a new one where it has not brought θ far."""
        _, decrement, _ = towards(g, state.factor, state.direction)
        stale = taken & ~(decrement <= FALL * state.decrement)
        return jax.lax.cond(
            stale, lambda: cho_factor(hessian(trial))[0], lambda: state.factor
        )

    def step(state: NewtonState):
        trial = state.theta - state.length * state.direction
        value, g, *h = derivatives(trial)
        rounding = 10 * jnp.finfo(value.dtype).eps * jnp.abs(state.value)
        least = ENOUGH * state.length * state.decrement**2
        taken = value <= state.value - least + rounding
        if hessian is None:
            factor = cho_factor(h[0])[0]
        else:
            factor = renewed(hessian, state, trial, g, taken)
        direction, decrement, good = towards(g, factor, state.direction)
        kept = factor if hessian else None
        one = jnp.ones_like(value)
        new = NewtonState(trial, direction, value, decrement, one, kept)
        old = state._replace(length=state.length / 2)
        state = jax.tree.map(lambda n, o: jnp.where(taken, n, o), new, old)
        status = jnp.where(taken & ~good, Status.SINGULAR, Status.RUNNING)
        residual = jnp.where(taken & ~good, jnp.inf, state.decrement)
        return state, Progress(state.value, residual, status)

    # From a value of ∞ the first trial, of length 0, is always taken: the derivatives
    # are compiled once.
    none = jnp.zeros_like(theta[0])
    factor = jnp.eye(len(theta), dtype=theta.dtype) if hessian else None
    worst = jnp.full_like(none, jnp.inf)
    state = NewtonState(theta, 0 * theta, worst, none, none + 1, factor)
    return iterate(step, state, tol=tol, max_iter=max_iter, patience=PATIENCE)


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
        max_iter: the most passes; the first is that of the start.
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

    # As above: the first trial is the start, and is always taken.
    none = jnp.zeros_like(theta)
    empty = jnp.zeros((memory, theta.size), theta.dtype)
    worst = jnp.full_like(theta[0], jnp.inf)
    one = jnp.ones_like(worst)
    state = LbfgsState(theta, none, worst, none, one, empty, empty, empty[:, 0])
    return iterate(step, state, tol=tol, max_iter=max_iter, patience=PATIENCE)
