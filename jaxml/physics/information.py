"""Rate and distortion: what the free energy of clustering means to a message.

To tell a source x by a codeword y costs a rate I(x; y), and loses a distortion ⟨d⟩. The
least rate for each distortion is a curve of slope -1/T; its codewords are occupied as
Boltzmann's levels are. `reduction.annealing` finds the codewords as well.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, NonNegative, Scalar, Weights
from jaxml._units import weights_or_ones
from jaxml.optimize._fit import Fit, Progress, iterate
from jaxml.physics import statmech

__all__ = [
    "Bottleneck",
    "Point",
    "blahut_arimoto",
    "gaussian_bottleneck",
    "gaussian_rate",
    "rate_distortion",
]


@_check.fit
def blahut_arimoto(
    distortions: Annotated[Array, "m k"],
    *,
    temperature: NonNegative = 1.0,
    weights: Weights | None = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 10_000,
) -> Fit:
    """Minimise F(q) = -T Σ wᵢ ln Σ_k q_k e^(-d_ik/T) / Σ wᵢ over the shares q, (k,).

    A step is q_k ← ⟨P(k | i)⟩; F is convex, and the point of the curve is D = ⟨d⟩,
    R = (F - D)/T of `rate_distortion`.

    Args:
        distortions: (m, k) d of source i coded as codeword k.
        temperature: () T > 0, in the unit of d.
        weights: (m,) probabilities of the sources, up to a factor; equal if None.
        tol: () largest gap, as a share of the distortion of equal q, which has the unit
            of d: F(q) - F* <= T max_k ln ⟨P(k | i)/q_k⟩ (Csiszár 1974).
        max_iter: most steps.

    Returns:
        Fit with q, (k,), as params; without derivatives.

    Raises:
        ValueError: shapes that do not agree, values not finite.

    Source: Blahut (1972); Arimoto (1972).

    """
    w = weights_or_ones(weights, distortions)
    w = w / jnp.sum(w)
    unit = jnp.vdot(w, jnp.mean(distortions, axis=1))

    def step(q):
        p = _over_rows(statmech.boltzmann, distortions, temperature, q)
        new = w @ p
        energies = _over_rows(statmech.free_energy, distortions, temperature, q)
        used = jnp.where(q > 0, q, 1)
        gap = temperature * jnp.log(jnp.max(jnp.where(q > 0, new / used, 0)))
        gap = gap / jnp.where(unit > 0, unit, 1)
        return new, Progress(jnp.vdot(w, energies), gap)

    k = distortions.shape[1]
    start = jnp.full_like(distortions, 1 / k, shape=k)
    return jax.lax.stop_gradient(iterate(step, start, tol=tol, max_iter=max_iter))


class Point(NamedTuple):
    """A point of the curve."""

    rate: jax.Array  # () R, nats for each x
    distortion: jax.Array  # () D = ⟨d⟩


@_check.pure(jit=True)
def rate_distortion(
    shares: Annotated[Array, "k", "[0, inf)"],
    distortions: Annotated[Array, "m k"],
    *,
    temperature: NonNegative = 1.0,
    weights: Weights | None = None,
) -> Point:
    """R = ⟨ln P(k | i)/q_k⟩ and D = ⟨d_ik⟩ with P(k | i) ∝ q_k e^(-d_ik/T).

    Args:
        shares: (k,) q.
        distortions: (m, k) d.
        temperature: () T >= 0, in the unit of d.
        weights: (m,) probabilities of the sources, up to a factor; equal if None.

    Raises:
        ValueError: shapes that do not agree, values not finite.

    Source: Shannon (1959).

    """
    w = weights_or_ones(weights, distortions)
    of = (statmech.entropy, statmech.mean_energy)
    entropy, energy = (_over_rows(f, distortions, temperature, shares) for f in of)
    return Point(-jnp.vdot(w, entropy) / jnp.sum(w), jnp.vdot(w, energy) / jnp.sum(w))


def _over_rows(observable, distortions, temperature, shares):
    def of(row):
        return observable(row, temperature=temperature, degeneracies=shares)

    return jax.vmap(of)(distortions)


@_check.pure
def gaussian_rate(
    variances: Annotated[Array, "n"], *, temperature: NonNegative = 1.0
) -> Point:
    """D = Σⱼ min(T/2, σⱼ²), R = Σⱼ max(½ ln(2σⱼ²/T), 0): a Gaussian, d = |x - y|².

    variances, (n,), are the eigenvalues σ² of the covariance: components below T/2 are
    not coded at all. temperature is T > 0, (). Source: Kolmogorov (1956).
    """
    level = temperature / 2
    coded = variances > level
    rate = 0.5 * jnp.log(jnp.where(coded, variances, level) / level)
    return Point(jnp.sum(rate), jnp.sum(jnp.where(coded, level, variances)))


class Bottleneck(NamedTuple):
    """What a message t about x holds of x, and of y."""

    of_x: jax.Array  # () I(t; x), nats
    of_y: jax.Array  # () I(t; y)


@_check.pure
def gaussian_bottleneck(
    correlations: Annotated[Array, "n"], *, beta: Scalar
) -> Bottleneck:
    """I(t; x) = ½ Σⱼ ln((β-1)(1-λⱼ)/λⱼ) and I(t; y) = I(t; x) - ½ Σⱼ ln(β(1-λⱼ)).

    The t that minimises I(t; x) - β I(t; y), for Gaussian x and y of canonical
    correlations ρ, (n,), and λ = 1 - ρ²; beta is β, (). A direction takes part above
    its critical β = 1/ρ². Source: Chechik, Globerson, Tishby and Weiss (2005).
    """
    square = correlations**2
    silent = beta * square <= 1
    square = jnp.where(silent, 0.5, square)
    beta = jnp.where(silent, 4.0, beta)
    of_x = 0.5 * jnp.log((beta - 1) * square / (1 - square))
    of_y = of_x - 0.5 * jnp.log(beta * square)
    return Bottleneck(
        jnp.sum(jnp.where(silent, 0, of_x)), jnp.sum(jnp.where(silent, 0, of_y))
    )
