"""Student's t, Fisher's F and χ²: tails and quantiles."""

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc, gammaincc

from jaxml import _check

MANY = 200.0  # degrees of freedom from which the expansion about the normal is exact


def two_sided(t: jax.Array, dof: jax.Array) -> jax.Array:
    """P(|T| > |t|) of Student's t with dof degrees of freedom.

    Source: Hill (1970), algorithm 395, for many; the incomplete beta function loses
    its digits there in float32.
    """
    dof = jax.lax.stop_gradient(jnp.broadcast_to(dof, jnp.shape(t)))
    few = jnp.minimum(dof, MANY)
    exact = betainc(0.5 * few, jnp.full_like(few, 0.5), few / (few + t**2))
    a = jnp.maximum(dof, MANY) - 0.5
    b = 48 * a**2
    # 0 has no derivative under the root; a normal tail there is 1 to rounding.
    square = jnp.maximum(a * jnp.log1p(t**2 / (a + 0.5)), jnp.finfo(t.dtype).tiny)
    inner = ((-0.4 * square - 3.3) * square - 24) * square - 85.5
    inner = inner / (0.8 * square**2 + 100 + b) + square + 3
    normal = 2 * jax.scipy.special.ndtr(-jnp.sqrt(square) * (inner / b + 1))
    return jnp.where(dof <= MANY, exact, normal)


@jax.custom_jvp
def quantile(confidence: jax.Array, dof: jax.Array) -> jax.Array:
    """The t, (), with P(|T| <= t) = confidence, by bisection.

    Degrees of freedom are counted: there is no derivative with respect to them.
    """

    def narrow(_, ends):
        low, high = ends
        middle = (low + high) / 2
        below = two_sided(jnp.exp(middle), dof) > 1 - confidence
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    wide = jnp.full_like(confidence, 40.0)
    digits = jnp.finfo(confidence.dtype).nmant + 6
    low, high = jax.lax.fori_loop(0, digits, narrow, (-wide, wide))
    return jnp.exp((low + high) / 2)


@quantile.defjvp
@_check.precise
def _quantile_jvp(primals, tangents):
    t = quantile(*primals)
    density = -jax.jvp(lambda t: two_sided(t, primals[1]), (t,), (jnp.ones_like(t),))[1]
    return t, tangents[0] / density


def fisher(f: jax.Array, top: jax.Array, bottom: jax.Array) -> jax.Array:
    """P(F > f) of Fisher's F with top and bottom degrees of freedom."""
    top, bottom = jax.lax.stop_gradient((top, bottom))
    positive = jnp.where(f > 0, f, 1)
    p = betainc(0.5 * bottom, 0.5 * top, bottom / (bottom + top * positive))
    return jnp.where(f > 0, p, jnp.where(f <= 0, 1, jnp.nan))


def chi2(x: jax.Array, dof: jax.Array) -> jax.Array:
    """P(X > x) of χ² with dof degrees of freedom."""
    p = gammaincc(0.5 * jax.lax.stop_gradient(dof), 0.5 * jnp.where(x > 0, x, 1))
    return jnp.where(x > 0, p, jnp.where(x <= 0, 1, jnp.nan))
