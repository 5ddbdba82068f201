"""How much a perceptron can learn: Cover's counting and Gardner's volume.

Of P random patterns in N dimensions a plane through the origin can learn all up to
P = 2N; the widest margin it can keep is a function of α = P/N alone for N → ∞. It is
the margin that `svm.hulls.nearest_points` finds with intercept=False.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

from jaxml import _check
from jaxml._check import Scalar

__all__ = ["capacity", "cover_count", "margin"]

STEPS = 40  # of Newton's method; it needs about five, and ten near α = 2


@_check.host
def cover_count(patterns: int, dimensions: int) -> int:
    """C(P, N) = 2 Σ_{k<N} (P-1 choose k): how many labellings a plane can make.

    Of the 2^P labellings of P points in general position in N dimensions, those that a
    plane through the origin separates; P is patterns and N dimensions. An intercept is
    one more dimension: cover_count(4, 3) = 14 is 16 less XOR and its complement.

    Source: Cover (1965).
    """
    p, n = _check.count("patterns", patterns), _check.count("dimensions", dimensions)
    return 2 * sum(math.comb(p - 1, k) for k in range(min(n, p)))


@_check.pure
def capacity(*, kappa: Scalar) -> jax.Array:
    """α_c(κ) = 1 / ∫_{-κ}^∞ Dt (t + κ)², () patterns per dimension at margin κ.

    Dt is the Gaussian measure; the integral is (1 + κ²) Φ(κ) + κ φ(κ). kappa, (), is
    min y w·x / ‖w‖ for entries of x of variance 1. α_c(0) = 2. NaN for κ < 0, where
    the solution, of replica symmetry, does not hold.

    Source: Gardner (1988).
    """
    kappa = jnp.asarray(kappa, jnp.result_type(kappa, float))
    return 1 / _volume(jnp.where(kappa >= 0, kappa, jnp.nan))


@_check.pure
def margin(*, alpha: Scalar) -> jax.Array:
    """κ(α), (), with α_c(κ) = α: the widest margin of random patterns, N → ∞.

    alpha, (), is P/N in (0, 2]; NaN elsewhere. A share Φ(κ) of the patterns are then
    support vectors. The derivative is that of the inverse function.
    """
    alpha = jnp.asarray(alpha, jnp.result_type(alpha, float))
    return _inverse(jnp.where((alpha > 0) & (alpha <= 2), 1 / alpha, jnp.nan))


def _volume(kappa):
    """(1 + κ²) Φ(κ) + κ φ(κ), of slope 2κΦ + 2φ and second derivative 2Φ."""
    return (1 + kappa**2) * ndtr(kappa) + kappa * _density(kappa)


def _density(kappa):
    return jnp.exp(-(kappa**2) / 2) / math.sqrt(2 * math.pi)


@jax.custom_jvp
def _inverse(volume):
    """Newton's method from the right of the root of a convex, rising function."""

    def step(_, kappa):
        slope = 2 * (kappa * ndtr(kappa) + _density(kappa))
        return kappa - (_volume(kappa) - volume) / slope

    # κ² + Φ(κ) is less than the integral: the start is never left of the root.
    return jnp.maximum(jax.lax.fori_loop(0, STEPS, step, jnp.sqrt(volume)), 0)


@_inverse.defjvp
def _inverse_jvp(primals, tangents):
    kappa = _inverse(*primals)
    return kappa, tangents[0] / (2 * (kappa * ndtr(kappa) + _density(kappa)))
