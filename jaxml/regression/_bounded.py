"""Parameters as functions of variables v that have no units and no bounds.

θ = l + (u - l)(1 + sin v)/2 between two bounds, θ = l + s (√(v² + 1) - 1) above one and
likewise below one (James & Roos 1975), else θ = s v: parameter by parameter of a
raveled pytree, each with its own length s.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

INSIDE = 1e-3  # how far from a bound a search starts, as a share


class Bounds(NamedTuple):
    """Limits of raveled params; infinite where there is none."""

    lower: jax.Array  # (p,)
    upper: jax.Array  # (p,)
    unit: jax.Array  # (p,) the length s; NaN for a start that is not inside


def _kinds(bounds: Bounds):
    """Masks of parameters between two bounds, above one, below one."""
    low, high = jnp.isfinite(bounds.lower), jnp.isfinite(bounds.upper)
    return low & high, low & ~high, high & ~low


def params(free, bounds, start):
    """Params of the free variables v, (p,)."""
    unravel = ravel_pytree(start)[1]
    two, above, below = _kinds(bounds)
    lower = jnp.where(two | above, bounds.lower, 0)
    upper = jnp.where(two | below, bounds.upper, 0)
    away = bounds.unit * (jnp.sqrt(free**2 + 1) - 1)
    flat = jnp.where(
        two, lower + (upper - lower) * (1 + jnp.sin(free)) / 2, bounds.unit * free
    )
    flat = jnp.where(above, lower + away, flat)
    return unravel(jnp.where(below, upper - away, flat))


def free_of(bounds, start):
    """The v of the start, (p,); one on a bound is put a little inside."""
    flat = ravel_pytree(start)[0]
    two, above, below = _kinds(bounds)
    width = jnp.where(two, bounds.upper - bounds.lower, 1)
    share = jnp.where(two, (flat - bounds.lower) / width, 0.5)
    between = jnp.arcsin(2 * jnp.clip(share, INSIDE, 1 - INSIDE) - 1)
    one = jnp.full_like(flat, 3**0.5)  # √(v² + 1) - 1 = 1: away by one unit
    free = jnp.where(two, between, jnp.where(above | below, one, flat / bounds.unit))
    return jnp.where(jnp.isnan(bounds.unit), jnp.nan, free)


def freedom(free, slope, bounds):
    """|dθ/dv| in units, (p,), of parameters that are pushed against a bound, else 1."""
    two, above, below = _kinds(bounds)
    outward = jnp.where(two, jnp.sin(free) * slope < 0, slope > 0)
    outward = jnp.where(below, slope < 0, outward)
    share = jnp.where(two, jnp.cos(free), free / jnp.sqrt(free**2 + 1))
    return jnp.where(outward & (two | above | below), jnp.abs(share), 1)


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
    edge = jax.lax.stop_gradient(jnp.where(jnp.isfinite(low), low, high))
    single = jnp.isfinite(edge)
    away = jnp.abs(flat - jnp.where(single, edge, 0))
    away = jnp.where(away > 0, away, INSIDE * natural)
    inside = (flat >= low) & (flat <= high) & (low < high)
    unit = jnp.where(single, away, natural)
    return Bounds(low, high, jnp.where(inside, unit, jnp.nan))
