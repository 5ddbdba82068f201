"""Parameters as functions of variables v that have no units and no bounds.

θ = b ± (u - l) sin² v between two bounds, from b, the one nearer to 0, so that digits
of small θ are not lost; θ = l + s v² / (√(v² + 1) + 1) above one and likewise below one
(James & Roos 1975), else θ = s v: parameter by parameter of a raveled pytree, each with
its own length s.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

INSIDE = 1e-3  # how far inside a start on a bound is put, as a share or of a length


class Bounds(NamedTuple):
    """Limits of raveled params; infinite where there is none."""

    lower: jax.Array  # (p,)
    upper: jax.Array  # (p,)
    unit: jax.Array  # (p,) the length s, or what a start on a bound is off it; NaN for
    # a start that is not inside


class _Kinds(NamedTuple):
    """Masks of parameters, (p,)."""

    two: jax.Array  # between two bounds
    one: jax.Array  # on one side of one
    down: jax.Array  # measured from the upper bound


def _kinds(bounds: Bounds) -> _Kinds:
    low, high = jnp.isfinite(bounds.lower), jnp.isfinite(bounds.upper)
    nearer = jnp.abs(bounds.upper) < jnp.abs(bounds.lower)
    return _Kinds(low & high, low ^ high, high & (~low | nearer))


def _origin(bounds: Bounds, kinds: _Kinds):
    """The bound that each parameter is measured from, 0 if none, and the width."""
    nearest = jnp.where(kinds.down, bounds.upper, bounds.lower)
    width = jnp.where(kinds.two, bounds.upper - bounds.lower, 1)
    return jnp.where(kinds.two | kinds.one, nearest, 0), width


def params(free, bounds, start):
    """Params of the free variables v, (p,)."""
    unravel = ravel_pytree(start)[1]
    kinds = _kinds(bounds)
    origin, width = _origin(bounds, kinds)
    away = jnp.where(
        kinds.two,
        width * jnp.sin(free) ** 2,
        bounds.unit * free**2 / (jnp.sqrt(free**2 + 1) + 1),
    )
    away = jnp.where(kinds.down, -away, away)
    bounded = kinds.two | kinds.one
    flat = origin + jnp.where(bounded, away, bounds.unit * free)
    # Rounding may lead over the farther bound.
    over = jnp.clip(flat, bounds.lower, bounds.upper) - flat
    return unravel(flat + jax.lax.stop_gradient(over))


def free_of(bounds, start):
    """The v of the start, (p,); one on a bound is put a little inside."""
    flat = ravel_pytree(start)[0]
    kinds = _kinds(bounds)
    origin, width = _origin(bounds, kinds)
    inner = jnp.minimum(INSIDE * width, bounds.unit)
    off = jnp.abs(flat - origin)
    inside = (flat > bounds.lower) & (flat < bounds.upper)
    share = jnp.where(inside, off, jnp.clip(off, inner, width - inner)) / width
    between = jnp.arcsin(jnp.sqrt(jnp.where(kinds.two, share, 0.5)))
    one = jnp.full_like(flat, 3**0.5)  # √(v² + 1) - 1 = 1: away by one unit
    free = jnp.where(kinds.one, one, flat / bounds.unit)
    free = jnp.where(kinds.two, between, free)
    return jnp.where(jnp.isnan(bounds.unit), jnp.nan, free)


def freedom(flat, slope, length, bounds):
    """How far parameters, (p,), can go downhill: in lengths, (p,), and 1 at most.

    slope, (p,), is that of the cost in them.
    """
    room = jnp.where(slope > 0, flat - bounds.lower, bounds.upper - flat)
    return jnp.where(room < length, room / jnp.where(length > 0, length, 1), 1)


def bounds_of(start, lower, upper, natural) -> Bounds:
    """Bounds of raveled params; natural, (p,), are the lengths where there are none."""
    flat = ravel_pytree(start)[0]

    def raveled(name, tree, far):
        if tree is None:
            return jnp.full_like(flat, far)
        try:
            full = jax.tree.map(lambda p, b: jnp.broadcast_to(b, p.shape), start, tree)
        except ValueError:
            raise ValueError(f"{name} must be a pytree like params") from None
        return ravel_pytree(full)[0].astype(flat.dtype)

    low, high = raveled("lower", lower, -jnp.inf), raveled("upper", upper, jnp.inf)
    bounds = Bounds(low, high, natural)
    kinds = _kinds(bounds)
    edge = jax.lax.stop_gradient(_origin(bounds, kinds)[0])
    away = jnp.abs(flat - edge)
    away = jnp.where(away > 0, away, INSIDE * natural)
    unit = jnp.where(kinds.one, away, natural)
    inside = (flat >= low) & (flat <= high) & (low < high)
    return bounds._replace(unit=jnp.where(inside, unit, jnp.nan))
