"""The XY model: E = -J Σ cos(θ_i - θ_j), plane vectors on square periodic lattices.

A site has one bond to the next row and one to the next column, k_B = 1. There is no
order at T > 0, but below 0.893 J (Kosterlitz and Thouless, 1973) vortices are bound in
pairs and the lattice is stiff. Principal components see the direction of the mean spin,
a circle in the plane of the first two, and no vortices.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, Key, NonNegative, Scalar, Static
from jaxml.physics import _checkerboard, _clusters, _random_bits, _sweeps

__all__ = [
    "Run",
    "energy",
    "init",
    "magnetisation",
    "overrelax",
    "sample",
    "stiffness",
    "swendsen_wang",
    "vortices",
]

TURN = 2 * math.pi


class Run(NamedTuple):
    """What was seen in a number of sweeps, after each of them."""

    angles: jax.Array  # (..., rows, columns) the last configuration, in [-π, π]
    energy: jax.Array  # (sweeps, ...) E / N
    magnetisation: jax.Array  # (sweeps, ..., 2) mean of (cos θ, sin θ)
    kept: jax.Array | None  # (sweeps / every, ..., rows, columns) configurations


@_check.pure
def init(key: Key, *, shape: Static[tuple[int, ...]]) -> jax.Array:
    """Angles between -π and π with equal chance: the state at infinite temperature.

    key is jax.random.key(seed) and shape (..., rows, columns).
    """
    return jax.random.uniform(key, shape, minval=-jnp.pi, maxval=jnp.pi)


# --- samplers ------------------------------------------------------------------------


@_check.pure(jit=True)
def swendsen_wang(
    key: Key, angles: Array, *, temperature: NonNegative, coupling: Scalar = 1.0
) -> jax.Array:
    """P(bond) = 1 - e^(-2 J x_i x_j / T) where it is > 0; clusters are flipped, or not.

    x is the component of a spin along a direction drawn at random, and to flip is to
    change its sign, which leaves the other component: given these, the signs of x are
    an Ising model with couplings J |x_i x_j|.

    Args:
        key: jax.random.key(seed), another one for each step.
        angles: (..., rows, columns) θ on periodic lattices.
        temperature: () T >= 0.
        coupling: () J, of either sign.

    Returns:
        New angles, of the same shape, in [-π, π]; NaN under jit where T or J is not
        finite or T < 0.

    Raises:
        ValueError: angles that are no lattices.

    Source: Wolff (1989).

    """
    angles = _lattices(angles)
    valid = (temperature >= 0) & jnp.isfinite(temperature) & jnp.isfinite(coupling)
    angles = jnp.where(valid, angles, jnp.nan)
    turn_key, bond_key, flip_key = jax.random.split(key, 3)
    shape = (*angles.shape[:-2], 1, 1)
    direction = jax.random.uniform(turn_key, shape, angles.dtype, -jnp.pi, jnp.pi)
    x = jnp.cos(angles - direction)
    ahead = jnp.stack([jnp.roll(x, -1, axis) for axis in (-2, -1)])
    gain = jnp.maximum(2 * coupling * x[None] * ahead, 0)
    bonds = _random_bits.bits(bond_key, gain.shape) < _random_bits.of_bond(
        gain, temperature
    )
    labels = _clusters.of_lattice(*bonds)
    flips = jax.random.bernoulli(flip_key, shape=(angles.size,))[labels]
    # From α to π - α, measured from the direction.
    return _wrapped(jnp.where(flips, 2 * direction + jnp.pi - angles, angles))


@_check.pure(jit=True)
def overrelax(angles: Array) -> jax.Array:
    """θ' = 2 φ - θ, φ the direction of the sum of the four neighbours: one sweep.

    Each spin is mirrored at the field that it feels. That changes no energy, and needs
    no chance: beside a sampler it makes it forget faster. Sites of one colour of a
    checkerboard go first. angles are (..., rows, columns) on lattices of even sides,
    and so are the new ones, in [-π, π]. Where the field is 0 a spin is mirrored at 0.

    Source: Creutz (1987).
    """
    parts = _checkerboard.split("angles", _lattices(angles))
    around = _checkerboard.around_a(parts)
    a0, a1 = _mirrored(parts.a0, around[0]), _mirrored(parts.a1, around[1])
    parts = parts._replace(a0=a0, a1=a1)
    around = _checkerboard.around_b(parts)
    b0, b1 = _mirrored(parts.b0, around[0]), _mirrored(parts.b1, around[1])
    return _checkerboard.join(parts._replace(b0=b0, b1=b1))


@_check.pure(jit=True)
def sample(
    key: Key,
    angles: Array,
    *,
    temperature: NonNegative,
    coupling: Scalar = 1.0,
    sweeps: Count,
    every: Count | None = None,
) -> Run:
    """P(θ) ∝ e^(-E(θ)/T): steps of `swendsen_wang`, measured after each of them.

    Args:
        key: jax.random.key(seed).
        angles: (..., rows, columns), the start.
        temperature: () T >= 0.
        coupling: () J.
        sweeps: how many.
        every: keep the configuration after each so many sweeps, a divisor of sweeps;
            none if None.

    Returns:
        Run; NaN under jit where T or J is not finite or T < 0. Draws have no
        derivatives.

    Raises:
        ValueError: angles that are no lattices, an every that does not divide sweeps.

    """
    angles = _lattices(angles)

    def sweep(angles, key):
        angles = swendsen_wang(key, angles, temperature=temperature, coupling=coupling)
        return angles, (energy(angles, coupling=coupling), magnetisation(angles))

    last, (e, m), kept = _sweeps.repeat(
        sweep, angles, key, sweeps=sweeps, every=every, show=lambda angles: angles
    )
    return jax.lax.stop_gradient(Run(last, e, m, kept))


def _mirrored(angles, neighbours):
    x = sum(jnp.cos(each) for each in neighbours)
    y = sum(jnp.sin(each) for each in neighbours)
    return _wrapped(2 * jnp.arctan2(y, x) - angles)


def _wrapped(angles):
    """The same angles in [-π, π]."""
    return angles - TURN * jnp.round(angles / TURN)


# --- observables ---------------------------------------------------------------------


@_check.pure
def energy(angles: Array, *, coupling: Scalar = 1.0) -> jax.Array:
    """E / N = -J Σ cos(θ_i - θ_j) / N, (...), the energy of a site.

    angles are (..., rows, columns) and coupling J, ().
    """
    down, right = _differences(_lattices(angles))
    return -coupling * jnp.mean(jnp.cos(down) + jnp.cos(right), (-2, -1))


@_check.pure
def magnetisation(angles: Array) -> jax.Array:
    """m = Σ (cos θ, sin θ) / N, (..., 2), of angles (..., rows, columns)."""
    vectors = jnp.stack([jnp.cos(_lattices(angles)), jnp.sin(angles)], -1)
    return jnp.mean(vectors, (-3, -2))


@_check.pure
def vortices(angles: Array) -> jax.Array:
    """n = Σ Δθ / 2π around each square of four sites, (..., rows, columns).

    1 for a vortex and -1 for an antivortex; they sum to 0 on a periodic lattice. Each
    Δθ is taken between -π and π. Of its square a site is the corner of lowest row and
    column. angles are (..., rows, columns).
    """
    down, right = (_wrapped(d) for d in _differences(_lattices(angles)))
    around = right + jnp.roll(down, -1, -1) - jnp.roll(right, -1, -2) - down
    return jnp.round(around / TURN)


@_check.pure
def stiffness(
    angles: Array, *, temperature: NonNegative, coupling: Scalar = 1.0
) -> jax.Array:
    """Υ = J ⟨Σ cos Δθ⟩/N - (J²/T) ⟨(Σ sin Δθ)²⟩/N, Σ over bonds of one direction, ().

    The helicity modulus, what it costs to twist the lattice: the mean of both
    directions. It jumps from 2T/π to 0 where vortices unbind (Nelson and Kosterlitz,
    1977).

    Args:
        angles: (t, ..., rows, columns), configurations seen at temperature T, over all
            of which the mean is.
        temperature: () T > 0.
        coupling: () J.

    """
    _check.values("temperature", temperature, "(0, inf)")
    means = []
    for difference in _differences(_lattices(angles)):
        current = jnp.sum(jnp.sin(difference), (-2, -1))
        sites = angles.shape[-2] * angles.shape[-1]
        fluctuation = coupling**2 / temperature * jnp.mean(current**2) / sites
        means.append(coupling * jnp.mean(jnp.cos(difference)) - fluctuation)
    return (means[0] + means[1]) / 2


def _differences(angles):
    """θ of the next row, and of the next column, less θ."""
    return [jnp.roll(angles, -1, axis) - angles for axis in (-2, -1)]


def _lattices(angles):
    if angles.ndim < 2 or not angles.size:
        raise ValueError(f"angles has shape {angles.shape}, not (..., rows, columns)")
    return angles
