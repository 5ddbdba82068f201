"""Newton's method and its relatives for sums of squares, as optax transformations.

`newton` and `levenberg_marquardt` solve (A + μD) s = -g by Cholesky with a damping μ
that follows how well the quadratic model predicted the cost; a step that does not lower
the cost is not taken. `newton_cg` and `gauss_newton` search a line instead.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxml import _check
from jaxml.optimize._fit import Progress, Status, iterate
from jaxml.optimize._search import zoom

SHORT = 1e-2  # length of a step, as a share of the direction, that asks for damping


class DampedState(NamedTuple):
    """The damping, and the cost where the search stands."""

    damping: jax.Array  # () μ
    growth: jax.Array  # () what μ is multiplied by when a step is refused
    scale: jax.Array  # (n,) D
    value: jax.Array  # () cost at the current params
    grad: Any  # its gradient


class SearchedState(NamedTuple):
    """The line search, and how much its next direction is damped."""

    search: Any  # the state of the search
    damping: jax.Array  # () in units of the Jacobian's columns


@_check.host
def newton(
    learning_rate: optax.ScalarOrSchedule | None = None, *, damping: float = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Damped Newton: s = -(H + μ d I)⁻¹ g by Cholesky, d the mean of |diag H|.

    learning_rate, (), multiplies each step (None for 1); damping is the first μ. Where
    H is not positive definite the factorisation fails and μ grows until it is. H is
    `hessian_fn(params)`, (n, n), if the caller gives one, else jax.hessian.

    Source: Levenberg (1944); rule for μ: Nielsen (1999).
    """

    def curvature(params, unravel, value, value_fn, hessian_fn, residual_fn, scale):
        if hessian_fn is not None:
            hessian = hessian_fn(params)
        else:
            flat = ravel_pytree(params)[0]
            hessian = jax.hessian(lambda v: value_fn(unravel(v)))(flat)
        mean = jnp.mean(jnp.abs(jnp.diagonal(hessian)))
        return hessian, jnp.full_like(scale, jnp.where(mean > 0, mean, 1))

    return _damped(curvature, learning_rate, damping)


@_check.host
def levenberg_marquardt(
    learning_rate: optax.ScalarOrSchedule | None = None, *, damping: float = 1e-3
) -> optax.GradientTransformationExtraArgs:
    """Levenberg-Marquardt for cost = c ½ Σ r²: s = -(JᵀJ + μD)⁻¹ Jᵀr.

    D holds the largest diagonal of JᵀJ met so far (Moré 1978), so that the units of the
    parameters do not matter. Needs `residual_fn`, the residual of `minimize`.
    learning_rate, (), multiplies each step (None for 1); damping is the first μ.

    Source: Marquardt (1963); rule for μ: Nielsen (1999).
    """

    def curvature(params, unravel, value, value_fn, hessian_fn, residual_fn, scale):
        r, jacobian = _linearise(residual_fn, params, unravel)
        half = 0.5 * jnp.vdot(r, r)
        factor = jnp.where(half > 0, value / jnp.where(half > 0, half, 1), 1)
        gram = factor * (jacobian.T @ jacobian)
        diagonal = jnp.maximum(scale, jnp.diagonal(gram))
        return gram, jnp.where(diagonal > 0, diagonal, 1)

    return _damped(curvature, learning_rate, damping)


@_check.host
def gauss_newton(
    learning_rate: optax.ScalarOrSchedule | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Gauss-Newton for cost = c ½ Σ r²: least squares J s = -r by QR, line searched.

    Needs `residual_fn`, the residual of `minimize`. learning_rate, (), is the longest
    step as a multiple of s; None for no bound.

    Source: Nocedal and Wright (2006), section 10.3.
    """

    def direction(g, params, unravel, value_fn, residual_fn, damping):
        r, jacobian = _linearise(residual_fn, params, unravel)
        # A trace of damping keeps s small along columns that depend on others: their
        # rounding, ε, would be divided by anything less than √ε. More of it where the
        # Jacobian is singular at the minimum itself, and s leads nowhere.
        lengths = jnp.linalg.norm(jacobian, axis=0)
        lengths = jnp.where(lengths > 0, lengths, 1)
        trace = damping * jnp.diag(lengths)
        q, upper = jnp.linalg.qr(jnp.concatenate([jacobian, trace]))
        return -jax.scipy.linalg.solve_triangular(upper, q[: r.size].T @ r)

    return _searched(direction, learning_rate)


@_check.host
def newton_cg(
    learning_rate: optax.ScalarOrSchedule | None = None, *, max_inner: int = 100
) -> optax.GradientTransformationExtraArgs:
    """Newton by Hessian-vector products: H s = -g by conjugate gradients, and a search.

    The inner search stops at |r| <= min(½, √|g|) |g|, after max_inner products, and at
    a direction of no positive curvature. learning_rate, (), is the longest step as a
    multiple of s; None for no bound. No matrix is formed: memory is a few copies of
    params.

    Source: Dembo and Steihaug (1983); Nocedal and Wright (2006), algorithm 7.1.
    """
    max_inner = _check.count("max_inner", max_inner)

    def direction(g, params, unravel, value_fn, residual_fn, damping):
        def product(v):
            gradient = jax.grad(value_fn)
            return ravel_pytree(jax.jvp(gradient, (params,), (unravel(v),))[1])[0]

        def step(state):
            s, r, p, rr = state
            product_p = product(p)
            curvature = jnp.vdot(p, product_p)
            convex = curvature > jnp.finfo(g.dtype).eps * jnp.vdot(p, p)
            length = rr / jnp.where(convex, curvature, 1)
            # On a first direction without curvature, steepest descent.
            fallback = jnp.where(jnp.any(s != 0), s, p)
            s = jnp.where(convex, s + length * p, fallback)
            r = r + length * product_p
            new = jnp.vdot(r, r)
            status = jnp.where(convex, Status.RUNNING, Status.STALLED)
            progress = Progress(-jnp.vdot(s, g), jnp.sqrt(new), status)
            return (s, r, -r + new / rr * p, new), progress

        norm = jnp.linalg.norm(g)
        forcing = jnp.minimum(0.5, jnp.sqrt(norm)) * norm
        start = jnp.zeros_like(g), g, -g, jnp.vdot(g, g)
        return iterate(step, start, tol=forcing, max_iter=max_inner).params[0]

    return _searched(direction, learning_rate)


def _linearise(residual_fn, params, unravel):
    """r, (m,), at params and its Jacobian, (m, n)."""
    if residual_fn is None:
        raise ValueError("residual must be given: this solver is for sums of squares")
    flat = ravel_pytree(params)[0]

    def raveled(v):
        return ravel_pytree(residual_fn(unravel(v)))[0]

    r = raveled(flat)
    wide = jax.jacrev if r.size < flat.size else jax.jacfwd
    return r, wide(raveled)(flat)


def _damped(curvature: Callable, learning_rate, damping: float):
    """Steps -(A + μD)⁻¹ g, with (A, D) = curvature(…), taken if they lower the cost."""
    if damping < 0:
        raise ValueError(f"damping must be at least 0, not {damping}")
    length = 1 if learning_rate is None else learning_rate

    def init(params):
        flat = ravel_pytree(params)[0]
        one = jnp.ones((), flat.dtype)
        zeros = optax.tree.zeros_like(params)
        return DampedState(one * damping, 2 * one, 0 * flat, one, zeros)

    def update(
        updates,
        state,
        params=None,
        *,
        value,
        grad,
        value_fn,
        hessian_fn=None,
        residual_fn=None,
        **extra,
    ):
        g, unravel = ravel_pytree(updates)
        a, scale = curvature(
            params, unravel, value, value_fn, hessian_fn, residual_fn, state.scale
        )
        factor = jax.scipy.linalg.cho_factor(a + state.damping * jnp.diag(scale))
        s = -jax.scipy.linalg.cho_solve(factor, g) * length
        predicted = -(jnp.vdot(g, s) + 0.5 * jnp.vdot(s, a @ s))
        new, new_grad = jax.value_and_grad(value_fn)(
            optax.apply_updates(params, unravel(s))
        )
        gain = (value - new) / predicted
        # Where the cost is flat to rounding, the gradient decides.
        flat = jnp.abs(new - value) <= 10 * jnp.finfo(g.dtype).eps * jnp.abs(value)
        lower = optax.tree.norm(new_grad) < optax.tree.norm(grad)
        accepted = ((gain > 1e-4) & (predicted > 0)) | (flat & lower)

        def choose(yes, no):
            return optax.tree.where(accepted, yes, no)

        gain = jnp.where(flat, 1, jnp.clip(gain, 0, 1))
        shrunk = state.damping * jnp.maximum(0.1, 1 - (2 * gain - 1) ** 3)
        shrunk = jnp.where(shrunk < 1e-12, 0, shrunk)
        grown = jnp.maximum(state.damping, 1e-4) * state.growth
        state = DampedState(
            damping=choose(shrunk, grown),
            growth=choose(jnp.full_like(state.growth, 2), 2 * state.growth),
            scale=scale,
            value=choose(new, value),
            grad=choose(new_grad, grad),
        )
        return unravel(jnp.where(accepted, s, 0)), state

    return optax.GradientTransformationExtraArgs(init, update)


def _searched(direction: Callable, learning_rate):
    """Steps along direction(…), as long as a line search finds best."""
    search = zoom(learning_rate, initial_guess_strategy="one")

    def init(params):
        eps = jnp.finfo(ravel_pytree(params)[0].dtype).eps
        return SearchedState(search.init(params), jnp.asarray(eps**0.5, eps.dtype))

    def update(
        updates, state, params=None, *, value, grad, value_fn, residual_fn=None, **extra
    ):
        g, unravel = ravel_pytree(updates)
        s = direction(g, params, unravel, value_fn, residual_fn, state.damping)
        s = jnp.where(jnp.vdot(s, g) < 0, s, -g)
        moved, result = search.update(
            unravel(s), state.search, params, value=value, grad=grad, value_fn=value_fn
        )
        failed = (optax.tree.norm(moved) == 0) | (result.learning_rate < SHORT)
        least = jnp.finfo(g.dtype).eps ** 0.5
        grown = jnp.clip(10 * state.damping, 10 * SHORT**2, 1 / SHORT)
        shrunk = jnp.maximum(state.damping / 10, least)
        damping = jnp.where(failed, grown, shrunk).astype(g.dtype)
        return moved, SearchedState(result, damping)

    return optax.GradientTransformationExtraArgs(init, update)
