"""Nonlinear conjugate gradients as optax transformations.

Directions d = -g + β d₋, each searched for a point that fulfils the strong Wolfe
conditions; optax has the line search and L-BFGS, but no conjugate gradients.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxml import _check
from jaxml.optimize._search import zoom


class ConjugateState(NamedTuple):
    """What the next direction needs of the last."""

    since: jax.Array  # () int32, directions since the last restart
    last: Any  # gradient at the last point
    direction: Any  # last direction, as searched


def _fletcher_reeves(g, last, d):
    """Fletcher and Reeves (1964): |g|² / |g₋|²."""
    return _ratio(_dot(g, g), _dot(last, last))


def _polak_ribiere(g, last, d):
    """Polak and Ribière (1969), truncated at zero (Powell 1986)."""
    beta = _ratio(_dot(g, g) - _dot(g, last), _dot(last, last))
    return jnp.maximum(beta, 0)


def _hestenes_stiefel(g, last, d):
    """Hestenes and Stiefel (1952): g·y / d·y with y = g - g₋."""
    y = optax.tree.sub(g, last)
    return _ratio(_dot(g, y), _dot(d, y))


def _hager_zhang(g, last, d):
    """Hager and Zhang (2005): descent by 7/8 |g|² at least, whatever the line search.

    (y - 2 d |y|²/d·y)·g / d·y, bounded below by -1 / (|d| min(η, |g₋|)), η = 0.01.
    """
    y = optax.tree.sub(g, last)
    dy = _dot(d, y)
    beta = _ratio(_dot(y, g), dy) - 2 * _ratio(_dot(y, y), dy) * _ratio(_dot(d, g), dy)
    least = -1 / (optax.tree.norm(d) * jnp.minimum(0.01, optax.tree.norm(last)))
    return jnp.maximum(beta, jnp.where(jnp.isfinite(least), least, 0))


BETAS = {
    "fletcher-reeves": _fletcher_reeves,
    "polak-ribiere+": _polak_ribiere,
    "hestenes-stiefel": _hestenes_stiefel,
    "hager-zhang": _hager_zhang,
}


@_check.host
def conjugate(
    learning_rate: optax.ScalarOrSchedule | None = None,
    *,
    beta: str = "hager-zhang",
    restart: int | None = None,
    linesearch: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Nonlinear conjugate gradients with a line search, for `minimize`.

    Args:
        learning_rate: () longest step of the line search, as a multiple of the
            direction; None for no bound.
        beta: "fletcher-reeves", "polak-ribiere+", "hestenes-stiefel", "hager-zhang".
        restart: steepest descent after so many directions; None for twice the number
            of parameters.
        linesearch: an optax line search; None for strong Wolfe with curvature 0.1. A
            search of this one that fails leaves params as they are.

    Source: Nocedal and Wright (2006), section 5.2; Hager and Zhang (2006).

    """
    if linesearch is None:
        linesearch = _begun(zoom(learning_rate, curv_rtol=0.1))
    return optax.chain(scale_by_conjugate(beta=beta, restart=restart), linesearch)


def _begun(search):
    """Begin each search with a step that changes params, the first with a short one.

    The zoom search begins with the step it took last. After one that failed this may be
    so short that the next sees nothing but rounding, and fails in its turn, for ever.
    """

    def update(updates, state, params=None, **extra):
        length, size = optax.tree.norm(updates), optax.tree.norm(params)
        least = _ratio(jnp.finfo(size.dtype).eps * size, length)
        begin = jnp.where(
            jnp.isinf(state.value),  # nothing was searched yet
            _first_step(updates, params, extra["value"]),
            state.learning_rate,
        )
        begin = jnp.maximum(begin, least).astype(state.learning_rate.dtype)
        return search.update(
            updates, state._replace(learning_rate=begin), params, **extra
        )

    return optax.GradientTransformationExtraArgs(search.init, update)


def _first_step(updates, params, value):
    """0.01 |p| / |g|, by the largest entries, else 0.01 |J| / |g|², else 1.

    The gradient has units, and its length says little about that of a step. Source:
    Hager and Zhang (2006), step I0.
    """
    size, length = (optax.tree.norm(tree, ord=jnp.inf) for tree in (params, updates))
    far, fall = _ratio(size, length), _ratio(jnp.abs(value), _dot(updates, updates))
    first = 0.01 * jnp.where(far > 0, far, fall)
    return jnp.where((first > 0) & jnp.isfinite(first), first, 1)


@_check.host
def scale_by_conjugate(
    *, beta: str = "hager-zhang", restart: int | None = None
) -> optax.GradientTransformationExtraArgs:
    """Turn gradients into conjugate directions; the step along them is the next link's.

    beta and restart as in `conjugate`. A direction that does not descend, and one after
    gradients that are far from orthogonal (|g·g₋| > 0.5 |g|², Powell 1977), restarts.
    """
    formula = BETAS[_check.option("beta", beta, BETAS)]
    if restart is not None:
        restart = _check.count("restart", restart)

    def init(params):
        zeros = optax.tree.zeros_like(params)
        return ConjugateState(jnp.int32(0), zeros, zeros)

    def update(updates, state, params=None, **extra):
        g, size = updates, sum(leaf.size for leaf in jax.tree.leaves(updates))
        since, last, d = state
        factor = formula(g, last, d)
        conjugated = jax.tree.map(lambda g, d: -g + factor * d, g, d)
        squared = _dot(g, g)
        not_orthogonal = jnp.abs(_dot(g, last)) > 0.5 * squared
        flat = ~(_dot(conjugated, g) < -1e-10 * squared)  # NaN counts as flat
        new = (since == 0) | (since >= (restart or 2 * size)) | flat
        new |= not_orthogonal if beta != "hager-zhang" else False
        direction = jax.tree.map(lambda c, g: jnp.where(new, -g, c), conjugated, g)
        return direction, ConjugateState(jnp.where(new, 1, since + 1), g, direction)

    return optax.GradientTransformationExtraArgs(init, update)


def _dot(a, b):
    products = jax.tree.map(jnp.vdot, a, b)
    return jax.tree.reduce(jnp.add, products)


def _ratio(a, b):
    """a / b, and 0 where b is 0."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))
