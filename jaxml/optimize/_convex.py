"""Minimise a convex cost whose derivatives come together, in one pass over the rows.

Here the trial of a line search is a step of the loop: what was computed at an accepted
trial is what the next step needs, so the search costs nothing unless it has to halve,
and the members of a batch under vmap never wait for each other's searches.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxml import _check
from jaxml._check import Array, NonNegative
from jaxml.optimize._fit import Fit, Progress, Status, iterate

REUSE = 0.3  # of the decrement by a step, with which an old Hessian goes on
ENOUGH = 1e-4  # the share of the predicted decrease that is taken (Armijo 1966)
PATIENCE = 20  # steps without any improvement after which a search has stalled
PRODUCTS = 200  # with H, the most that one direction by conjugate gradients takes
FEWEST = 5  # products from which the least curvature met tells of others
ACCURACY = 0.1  # the share of the predicted decrease that such a direction may miss


class NewtonState(NamedTuple):
    """Where Newton's method stands."""

    theta: jax.Array  # (p,)
    direction: jax.Array  # (p,) H⁻¹ g at theta
    value: jax.Array  # () cost at theta
    decrement: jax.Array  # () √(gᵀ H⁻¹ g)
    length: jax.Array  # () of the next trial, as a share of the direction
    kept: Any = None  # of the Hessian: Cholesky's factor, (p, p), or a Direction's


class Direction(NamedTuple):
    """What Newton's equations say at a point."""

    direction: jax.Array  # (p,) H⁻¹ g
    square: jax.Array  # () gᵀ H⁻¹ g
    error_bound: jax.Array  # () how much more it may be
    solved: jax.Array  # () bool, whether the equations could be solved
    kept: Any  # a factor, (p, p), where it is kept, or the least curvature, ()


@_check.host
def by_newton(
    derivatives: Callable[[jax.Array], tuple[jax.Array, ...]],
    theta: Array,
    *,
    tol: NonNegative,
    max_iter: int,
    hessian: Callable[[jax.Array], jax.Array] | None = None,
    product: Callable[[jax.Array], Callable[[jax.Array], jax.Array]] | None = None,
    inverse: Callable[[jax.Array], jax.Array] | None = None,
    relative: bool = False,
    bounded: Any = None,
    floor: NonNegative | None = None,
) -> Fit:
    """θ := θ - t H⁻¹ g, t = 1, ½, ¼ … until the cost falls enough; for use inside jit.

    Args:
        derivatives: θ, (p,), to cost, (), gradient g, (p,), and Hessian H, (p, p);
            without H where `hessian` or `product` is given.
        theta: (p,) the start.
        tol: () stop when the residual is at most tol: Newton's decrement λ = √(gᵀ H⁻¹
            g), half whose square is the distance to the minimum. It does not depend on
            the units of θ.
        max_iter: the most passes; the first is that of the start.
        hessian: θ to H, for an H that costs much more than g: it is then taken anew
            only after a step that left more than 0.3 of the decrement (under vmap it is
            computed in every step).
        product: θ to v, (p,), to H v, for many parameters: conjugate gradients then
            solve for the direction.
        inverse: v to about H⁻¹ v, positive definite, which makes them faster.
        relative: whether the residual is λ / √(2 |cost|): its square is the distance to
            the minimum as a share of the cost.
        bounded: () bool, whether a minimum is known to exist: then an H that is
            singular to this precision is raised. Else the columns of H are looked at in
            the first step, and SINGULAR is the status where they depend on each other.
            None for neither.
        floor: () the status is UNBOUNDED below this cost.

    Returns:
        Fit with params = NewtonState. Status SINGULAR where H is not positive definite;
        the direction is then the last one that could be computed. CONVERGED also where
        λ² / 2 is below 4 roundings of the cost and no longer falls.

    Source: Boyd and Vandenberghe (2004), section 9.5; Shamanskii (1967) for the steps
    that keep H.

    """
    cho_factor, cho_solve = jax.scipy.linalg.cho_factor, jax.scipy.linalg.cho_solve
    raised = jnp.asarray(False if bounded is None else bounded)

    def factorise(h):
        factor = cho_factor(h)[0]
        if bounded is None:
            return factor
        size = jnp.finfo(h.dtype).eps * len(h)

        def raise_(state):
            size, _ = state
            more = jnp.diag(size * jnp.diagonal(h))
            return 100 * size, cho_factor(h + more)[0]

        def failed(state):
            size, factor = state
            return raised & (size < 1) & ~jnp.isfinite(factor).all()

        # Of no trip, as a rule: a cond would factorise twice under vmap.
        return jax.lax.while_loop(failed, raise_, (size, factor))[1]

    def towards(g, factor, kept=None):
        direction = cho_solve((factor, False), g)
        solved = jnp.isfinite(direction).all()
        square = jnp.maximum(jnp.vdot(g, direction), 0)
        return Direction(direction, square, jnp.zeros_like(square), solved, kept)

    def factorised(h, first):
        """Its factor, and whether all is well with the columns where they are new."""
        factor = factorise(h)
        if bounded is None:
            return factor, jnp.bool_(True)
        return factor, ~(first & ~raised & dependent(h, factor))

    def renewed(state: NewtonState, trial, g, accepted, first):
        """By the factor that is kept, or a new one where it has not brought θ far."""
        square = towards(g, state.kept).square
        renew = accepted & ~(jnp.sqrt(square) <= REUSE * state.decrement)
        factor, solved = jax.lax.cond(
            renew,
            lambda: factorised(hessian(trial), first),  # type: ignore[misc]
            lambda: (state.kept, jnp.bool_(True)),
        )
        result = towards(g, factor, factor)
        return result._replace(solved=result.solved & solved)

    def newton_direction(state: NewtonState, trial, value, g, h, accepted):
        if product is not None:
            unit = 2 * jnp.abs(value) if relative else jnp.ones_like(value)
            g = jnp.where(accepted, g, 0)  # no work for a trial that is refused
            accuracy = tol**2 * unit
            return by_conjugate_gradients(
                product(trial), g, unit, accuracy, state.kept, inverse
            )
        first = jnp.isinf(state.value)
        if hessian is not None:
            return renewed(state, trial, g, accepted, first)
        factor, solved = factorised(h, first)
        result = towards(g, factor)
        return result._replace(solved=result.solved & solved)

    def measured(result: Direction, value):
        square = result.square + result.error_bound
        if relative:
            scale = 2 * jnp.abs(value)
            square = square / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)
        return jnp.sqrt(square)

    def step(state):
        state, residual = state
        trial = state.theta - state.length * state.direction
        value, g, *h = derivatives(trial)
        eps = jnp.finfo(value.dtype).eps
        rounding = 10 * eps * jnp.abs(state.value)
        decrease = ENOUGH * state.length * state.decrement**2
        accepted = value <= state.value - decrease + rounding
        result = newton_direction(state, trial, value, g, h[0] if h else None, accepted)
        decrement = jnp.sqrt(result.square)
        # At the precision of the cost, where steps no longer help; on the way to a
        # limit at infinity they leave e^-½ of the decrement.
        flat = result.square + result.error_bound <= 8 * eps * jnp.abs(value)
        flat &= (decrement > 0.7 * state.decrement) & jnp.isfinite(state.value)
        direction = jnp.where(result.solved, result.direction, state.direction)
        one = jnp.ones_like(value)
        new = NewtonState(trial, direction, value, decrement, one, result.kept)
        old = state._replace(length=state.length / 2)
        state = optax.tree.where(accepted, new, old)
        status = jnp.where(flat, Status.CONVERGED, Status.RUNNING)
        if floor is not None:
            status = jnp.where(value < floor, Status.UNBOUNDED, status)
        status = jnp.where(result.solved, status, Status.SINGULAR)
        status = jnp.where(accepted, status, Status.RUNNING)
        new_residual = jnp.where(result.solved, measured(result, value), jnp.inf)
        residual = jnp.where(accepted, new_residual, residual)
        return (state, residual), Progress(state.value, residual, status)

    # From a value of ∞ the first trial, of length 0, is always accepted: the
    # derivatives are compiled once.
    none = jnp.zeros_like(theta[0])
    worst = jnp.full_like(none, jnp.inf)
    kept = worst if product else None
    if hessian:
        kept = jnp.eye(len(theta), dtype=theta.dtype)
    state = NewtonState(theta, 0 * theta, worst, none, none + 1, kept)
    fit = iterate(step, (state, worst), tol=tol, max_iter=max_iter, patience=PATIENCE)
    return fit._replace(params=fit.params[0])


class _Conjugate(NamedTuple):
    d: jax.Array  # (p,)
    r: jax.Array  # (p,) g - H d
    p: jax.Array  # (p,) where d moves next
    p_dual: jax.Array  # (p,) M⁻¹ p
    square: jax.Array  # () rᵀ M r
    gain: jax.Array  # () dᵀ H d
    least: jax.Array  # () curvature along a direction so far
    products: jax.Array  # () int32, those taken


@_check.host
def dependent(h: Array, factor: Array) -> jax.Array:
    """Whether columns of h, (p, p), depend on others to its precision, by its factor.

    Cholesky's pivots are what is left of the diagonal after the columns before.
    """
    left = jnp.square(jnp.diagonal(factor))
    noise = 10 * len(h) ** 0.5 * jnp.finfo(h.dtype).eps
    return ~(left > noise * jnp.diagonal(h)).all()


@_check.host
def by_conjugate_gradients(
    product: Callable[[jax.Array], jax.Array],
    g: Array,
    unit: Any,
    accuracy: Any,
    least: Any = jnp.inf,
    inverse: Callable[[jax.Array], jax.Array] | None = None,
) -> Direction:
    """H⁻¹ g, (p,), by product, v -> H v, as exactly as is needed.

    With d of so many steps and r = g - H d, gᵀ H⁻¹ g = dᵀ H d + rᵀ H⁻¹ r. The last is
    estimated as 4 rᵀ M r over the least curvature met, that along a p being
    pᵀ H p / pᵀ M⁻¹ p, where M is the preconditioner, inverse, v -> M v, or 1. least,
    (), is what was met before, ∞ if nothing: then a few products are taken at any rate.
    The search ends when both are at most accuracy, (). Where they are more, a step has
    to follow, and it ends when that would leave half of accuracy, or the share of the
    first that it leaves at any rate, which is the first over the unit, (); or a tenth
    of it at most.

    Source: Hestenes and Stiefel (1952); Dembo, Eisenstat and Steihaug (1982); Morales
    and Nocedal (2000).
    """
    inverse = inverse or (lambda v: v)

    def error_bound(state: _Conjugate):
        return jnp.where(state.square > 0, 4 * state.square / state.least, 0)

    def unfinished(state: _Conjugate):
        left = jnp.maximum(accuracy / 2, state.gain**2 / unit)
        left = jnp.minimum(ACCURACY * state.gain, left)
        far = error_bound(state) > jnp.maximum(left, accuracy - state.gain)
        unknown = jnp.isinf(least) & (state.products < FEWEST) & (state.square > 0)
        return (unknown | far) & (state.products < min(2 * g.size, PRODUCTS))

    def step(state: _Conjugate):
        hp = product(state.p)
        curvature = jnp.vdot(state.p, hp)
        alpha = state.square / jnp.where(curvature > 0, curvature, jnp.inf)
        r = state.r - alpha * hp
        z = inverse(r)
        square = jnp.vdot(r, z)
        beta = square / state.square
        size = jnp.vdot(state.p, state.p_dual)
        # Where rounding hides the curvature nothing more is to be had.
        stuck = ~(curvature > 0)
        return _Conjugate(
            state.d + alpha * state.p,
            r,
            z + beta * state.p,
            r + beta * state.p_dual,
            square,
            state.gain + alpha * state.square,
            jnp.where(stuck, 0, jnp.minimum(state.least, curvature / size)),
            jnp.where(stuck, PRODUCTS, state.products + 1),
        )

    p = inverse(g)
    square = jnp.vdot(g, p)
    zero, least = jnp.zeros_like(square), jnp.asarray(least, square.dtype)
    start = _Conjugate(0 * g, g, p, g, square, zero, least, jnp.int32(0))
    result = jax.lax.while_loop(unfinished, step, start)
    solved = jnp.isfinite(result.d).all()
    return Direction(result.d, result.gain, error_bound(result), solved, result.least)


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

    def inverse_product(self, v: jax.Array) -> jax.Array:
        """The inverse Hessian, as far as it is known, times v, (p,).

        By the two-loop recursion; with no pairs yet, of length 1 at most.
        """
        moves, changes, inverse = self.moves, self.changes, self.inverse
        memory = len(inverse)

        def back(i, state):
            q, alphas = state
            j = memory - 1 - i
            alpha = inverse[j] * jnp.vdot(moves[j], q)
            return q - alpha * changes[j], alphas.at[j].set(alpha)

        def forth(j, r):
            beta = inverse[j] * jnp.vdot(changes[j], r)
            return r + (alphas[j] - beta) * moves[j]

        q, alphas = jax.lax.fori_loop(0, memory, back, (v, jnp.zeros_like(inverse)))
        yy = inverse[-1] * jnp.vdot(changes[-1], changes[-1])
        first = 1 / jnp.maximum(1, jnp.linalg.norm(v))
        scale = jnp.where(yy > 0, 1 / jnp.where(yy > 0, yy, 1), first)
        return jax.lax.fori_loop(0, memory, forth, scale * q)


@_check.host
def by_lbfgs(
    derivatives: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    theta: Array,
    *,
    tol: NonNegative,
    max_iter: int,
    memory: int = 10,
    relative: bool = False,
    floor: NonNegative | None = None,
) -> Fit:
    """L-BFGS for many parameters, or for many fits at once; for use inside jit.

    Args:
        derivatives: θ, (p,), to cost, (), and gradient, (p,).
        theta: (p,) the start.
        tol: () stop when the residual is at most tol: the norm of the gradient.
        max_iter: the most passes; the first is that of the start.
        memory: how many pairs of moves and changes are kept.
        relative: whether the residual is √(gᵀ B g / 2 |cost|) with B for the inverse of
            the Hessian, an estimate that does not depend on the units of θ; its square
            is the distance to the minimum as a share of the cost.
        floor: () the status is UNBOUNDED below this cost.

    Returns:
        Fit with params = LbfgsState.

    Source: Nocedal (1980); Nocedal and Wright (2006), algorithm 7.4.

    """
    memory = _check.count("memory", memory)

    def step(state: LbfgsState):
        move = state.length * state.direction
        value, gradient = derivatives(state.theta + move)
        rounding = 10 * jnp.finfo(value.dtype).eps * jnp.abs(state.value)
        accepted = (
            value <= state.value + ENOUGH * jnp.vdot(move, state.gradient) + rounding
        )
        change = gradient - state.gradient
        curvature = jnp.vdot(move, change)
        tiny = jnp.finfo(value.dtype).eps * jnp.vdot(move, move)
        convex = accepted & (curvature > tiny)

        def append(old, new):
            appended = jnp.concatenate([old[1:], new[None]])
            return jnp.where(convex, appended, old)

        moves, changes = append(state.moves, move), append(state.changes, change)
        inverse = append(state.inverse, 1 / jnp.where(convex, curvature, 1))
        new = LbfgsState(
            state.theta + move,
            gradient,
            value,
            state.direction,
            jnp.ones_like(value),
            moves,
            changes,
            inverse,
        )
        new = new._replace(direction=-new.inverse_product(gradient))
        kept = state._replace(length=state.length / 2)
        state = optax.tree.where(accepted, new, kept)
        return state, progress(state)

    def progress(state):
        residual = jnp.linalg.norm(state.gradient)
        if relative:
            square = jnp.maximum(-jnp.vdot(state.gradient, state.direction), 0)
            tiny = jnp.finfo(square.dtype).tiny
            residual = jnp.sqrt(square / jnp.maximum(2 * jnp.abs(state.value), tiny))
        status = jnp.int32(Status.RUNNING)
        if floor is not None:
            status = jnp.where(state.value < floor, Status.UNBOUNDED, status)
        return Progress(state.value, residual, status)

    # As above: the first trial is the start, and is always accepted.
    none = jnp.zeros_like(theta)
    empty = jnp.zeros((memory, theta.size), theta.dtype)
    worst = jnp.full_like(theta[0], jnp.inf)
    one = jnp.ones_like(worst)
    state = LbfgsState(theta, none, worst, none, one, empty, empty, empty[:, 0])
    return iterate(step, state, tol=tol, max_iter=max_iter, patience=PATIENCE)
