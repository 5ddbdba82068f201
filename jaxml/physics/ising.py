"""The Ising model: E = -J Σ s_i s_j - H Σ s_i, s = ±1 on square periodic lattices.

The sum is over bonds: each site has one to the next row and one to the next column, so
that a side of 2 has each bond twice. k_B = 1. Spins are int8, (..., rows, columns), any
number of lattices at one temperature; `jax.vmap` makes several temperatures of one:

    spins = ising.init(key, shape=(100, 64, 64))
    runs = jax.vmap(lambda key, t: ising.sample(key, spins, temperature=t, sweeps=1000))
    runs = runs(jax.random.split(key, 14), jnp.linspace(1.6, 2.9, 14))

Exact answers are in `jaxml.physics.onsager`; their common critical temperature,
2.269 J, is where to take `method="swendsen_wang"`.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import (
    AnyArray,
    Array,
    Count,
    Key,
    NonNegative,
    Positive,
    Scalar,
    Static,
)
from jaxml.physics import _checkerboard, _clusters, _random_bits, _sweeps, statmech

__all__ = [
    "Clusters",
    "Run",
    "binder_cumulant",
    "energy",
    "heat_bath",
    "heat_capacity",
    "init",
    "magnetisation",
    "sample",
    "structure_factor",
    "susceptibility",
    "swendsen_wang",
]

METHODS = ("heat_bath", "swendsen_wang")


class Clusters(NamedTuple):
    """A configuration and the clusters that were just flipped, or not."""

    spins: jax.Array  # (..., rows, columns) int8, ±1; 0 where an argument is invalid
    labels: jax.Array  # (..., rows, columns) int32, the lowest site of each cluster


class Run(NamedTuple):
    """What was seen in a number of sweeps, after each of them."""

    spins: jax.Array  # (..., rows, columns) int8, the last configuration
    energy: jax.Array  # (sweeps, ...) E / N
    magnetisation: jax.Array  # (sweeps, ...) m = Σ s / N
    square: jax.Array  # (sweeps, ...) m², or an estimate of less variance by clusters
    kept: jax.Array | None  # (sweeps / every, ..., rows, columns) int8 configurations


@_check.pure
def init(key: Key, *, shape: Static[tuple[int, ...]]) -> jax.Array:
    """Spins ±1, int8, each with equal chance: the state at infinite temperature.

    key is jax.random.key(seed) and shape (..., rows, columns). All spins up, the ground
    state for J > 0, are jnp.ones(shape, jnp.int8).
    """
    return jax.random.rademacher(key, shape, jnp.int8)


# --- samplers ------------------------------------------------------------------------


@_check.pure(jit=True)
def heat_bath(
    key: Key,
    spins: AnyArray,
    *,
    temperature: NonNegative,
    coupling: Scalar = 1.0,
    field: Scalar = 0.0,
) -> jax.Array:
    """P(s_i = 1) = 1 / (1 + e^(-2h/T)), h = J Σ s_j + H: Fermi's function, one sweep.

    First the sites of one colour of a checkerboard are drawn, then the others: the
    neighbours of a site are of the other colour.

    Args:
        key: jax.random.key(seed), another one for each sweep.
        spins: (..., rows, columns) on periodic lattices of even sides; what is above 0
            is up.
        temperature: () T >= 0; at 0 a spin follows h, and a coin where h is 0.
        coupling: () J, of either sign.
        field: () H.

    Returns:
        The new spins, int8, of the same shape; 0 under jit where T < 0 or where T, J or
        H is not finite. Probabilities are multiples of 2^-31.

    Raises:
        ValueError: spins that are no lattices of even sides.

    Source: Glauber (1963).

    """
    limits, valid = _limits(temperature, coupling, field)
    parts = _checkerboard.split("spins", _signs(spins))
    parts, _ = _sweep(parts, key, limits)
    return jnp.where(valid, _checkerboard.join(parts), 0).astype(jnp.int8)


@_check.pure(jit=True)
def swendsen_wang(
    key: Key,
    spins: AnyArray,
    *,
    temperature: NonNegative,
    coupling: Scalar = 1.0,
    field: Scalar = 0.0,
) -> Clusters:
    """P(bond) = 1 - e^(-2|J|/T) where J s_i s_j > 0; each cluster is flipped, or not.

    A cluster of moment M = Σ s keeps its sign with probability 1 / (1 + e^(-2HM/T)): a
    coin without field. Near T_c, where heat bath needs of the order of L² sweeps to
    forget, this needs a few.

    Args:
        key: jax.random.key(seed), another one for each step.
        spins: (..., rows, columns) on periodic lattices; what is above 0 is up.
        temperature: () T >= 0.
        coupling: () J, of either sign.
        field: () H.

    Returns:
        Clusters(spins, labels); sites are counted row by row, from 0 in each lattice.
        Spins are 0 under jit where T, J or H is not finite or T < 0.

    Raises:
        ValueError: spins that are no lattices.

    Source: Swendsen and Wang (1987).

    """
    _, valid = _limits(temperature, coupling, field)
    spins = _signs(spins)
    spins, labels, _ = _flip_clusters(spins, key, temperature, coupling, field)
    spins = jnp.where(valid, spins, 0).astype(jnp.int8)
    sites = spins.shape[-2] * spins.shape[-1]
    return Clusters(spins, labels % sites)


@_check.pure(jit=True)
def sample(
    key: Key,
    spins: AnyArray,
    *,
    temperature: NonNegative,
    coupling: Scalar = 1.0,
    field: Scalar = 0.0,
    sweeps: Count,
    every: Count | None = None,
    method: Static[str] = "heat_bath",
) -> Run:
    """P(s) ∝ e^(-E(s)/T): a Markov chain, measured after each of many sweeps.

    The first sweeps depend on the start: drop them, or call again with the last spins.
    Sweeps after one another are correlated; an honest error is that of the means of
    independent lattices, `run.energy[burn:].mean(0)`.

    Args:
        key: jax.random.key(seed).
        spins: (..., rows, columns), the start; what is above 0 is up.
        temperature: () T >= 0.
        coupling: () J, of either sign.
        field: () H.
        sweeps: how many.
        every: keep the configuration after each so many sweeps, a divisor of sweeps;
            none if None.
        method: "heat_bath", for even sides, or "swendsen_wang".

    Returns:
        Run; its square is m² for heat bath. By clusters it is the mean of m² over all
        ways to flip them, Σ M²/N² without field. Under jit numbers are NaN and spins 0
        where T < 0 or where T, J or H is not finite. Draws have no derivatives.

    Raises:
        ValueError: spins that are no lattices, or of odd sides for heat bath; an every
            that does not divide sweeps; an unknown method.

    """
    _check.option("method", method, METHODS)
    arguments = temperature, coupling, field
    limits, valid = _limits(*arguments)
    start = _signs(spins)
    sites = start.shape[-2] * start.shape[-1]
    if method == "heat_bath":
        start, show = _checkerboard.split("spins", start), _checkerboard.join

        def sweep(parts, key):
            parts, bonds = _sweep(parts, key, limits)
            return parts, (bonds, sum(_total(part) for part in parts), None)
    else:

        def show(spins):
            return spins

        def sweep(spins, key):
            spins, _, square = _flip_clusters(spins, key, *arguments)
            return spins, (_bonds(spins), _total(spins), square)

    last, records, kept = _sweeps.repeat(
        sweep, start, key, sweeps=sweeps, every=every, show=show
    )
    bonds, m, square = jax.tree.map(
        lambda r: r.astype(jnp.result_type(temperature)), records
    )
    m = m / sites
    square = m**2 if square is None else square
    energy = -coupling * (bonds / sites) - field * m
    energy, m, square = (jnp.where(valid, a, jnp.nan) for a in (energy, m, square))
    last, kept = jax.tree.map(
        lambda s: jnp.where(valid, s, 0).astype(jnp.int8), (show(last), kept)
    )
    return jax.lax.stop_gradient(Run(last, energy, m, square, kept))


def _signs(spins):
    """±1, int8, of lattices of any kind of numbers."""
    spins = jnp.asarray(spins)
    if spins.ndim < 2 or not spins.size:
        raise ValueError(f"spins has shape {spins.shape}, not (..., rows, columns)")
    return jnp.where(spins > 0, 1, -1).astype(jnp.int8)


def _limits(temperature, coupling, field):
    """Below which of 31 random bits a spin is 1, (5,); and whether arguments are valid.

    One limit for each sum of neighbours, -4, -2, 0, 2, 4.
    """
    h = coupling * jnp.array([-4.0, -2, 0, 2, 4], jnp.result_type(temperature)) + field
    rare = statmech.fermi_dirac(jnp.abs(2 * h), temperature=temperature)
    valid = jnp.isfinite(h).all() & jnp.isfinite(temperature) & (temperature >= 0)
    return _random_bits.limit(rare, h > 0), valid


def _sweep(parts, key, limits):
    """Draw one colour, then the other; also Σ s_i s_j over all bonds, (...)."""
    key_a, key_b = jax.random.split(key)
    parts, _ = _colour(parts, key_a, limits, _checkerboard.around_a, ("a0", "a1"))
    # Each bond has one end among those drawn last.
    return _colour(parts, key_b, limits, _checkerboard.around_b, ("b0", "b1"))


def _colour(parts, key, limits, around, names):
    """Draw the sublattices named, of one colour; also Σ s_i s_j over their bonds."""
    draws = _random_bits.bits_for_two(key, parts.a0.shape)
    new, bonds = {}, 0
    for name, bits, neighbours in zip(names, draws, around(parts)):
        total = sum(neighbours)
        limit = limits[4]
        for i, value in ((3, 2), (2, 0), (1, -2), (0, -4)):
            limit = jnp.where(total <= value, limits[i], limit)
        new[name] = jnp.where(bits < limit, 1, -1).astype(jnp.int8)
        bonds += _total(new[name] * total)
    return parts._replace(**new), bonds


def _flip_clusters(spins, key, temperature, coupling, field):
    """New spins; labels, counted through all lattices; the mean of m² over flips."""
    bond_key, flip_key = jax.random.split(key)
    limit = _random_bits.of_bond(2 * jnp.abs(coupling), temperature)
    bonds = _random_bits.bits(bond_key, (2, *spins.shape)) < limit
    ahead = jnp.stack([jnp.roll(spins, -1, axis) for axis in (-2, -1)])
    bonds &= (spins[None] * ahead > 0) == (coupling > 0)
    labels = _clusters.of_lattice(*bonds)
    moments = jnp.zeros(spins.size, jnp.int32)
    moments = moments.at[labels.reshape(-1)].add(spins.reshape(-1))
    moments = moments.reshape(spins.shape)  # of a cluster, at its lowest site; else 0
    energy = 2 * field * moments
    rare = statmech.fermi_dirac(jnp.abs(energy), temperature=temperature)
    keeps = _random_bits.bits(flip_key, spins.shape) < _random_bits.limit(
        rare, energy > 0
    )
    new = jnp.where(keeps.reshape(-1)[labels], spins, -spins)
    share = moments / (spins.shape[-2] * spins.shape[-1])
    mean = share * jnp.where(energy > 0, 1 - 2 * rare, 2 * rare - 1)
    square = _total(share**2 - mean**2) + _total(mean) ** 2
    return new, labels, square


def _bonds(spins):
    """Σ s_i s_j over bonds, (...)."""
    return _total(spins * (jnp.roll(spins, -1, -1) + jnp.roll(spins, -1, -2)))


def _total(spins):
    """Of integers exact to 2^24; a sum of int8 as int32 takes five times as long."""
    return jnp.sum(spins, (-2, -1), jnp.promote_types(spins.dtype, jnp.float32))


# --- observables ---------------------------------------------------------------------


@_check.pure
def energy(spins: Array, *, coupling: Scalar = 1.0, field: Scalar = 0.0) -> jax.Array:
    """E / N = -(J Σ s_i s_j + H Σ s_i) / N, (...), the energy of a site.

    spins are (..., rows, columns), of any numbers; coupling J and field H, (). N times
    the derivative with respect to a spin is the field that it feels, with the sign -.
    """
    s = _lattices(spins)
    bonds = jnp.mean(s * (jnp.roll(s, -1, -1) + jnp.roll(s, -1, -2)), (-2, -1))
    return -coupling * bonds - field * jnp.mean(s, (-2, -1))


@_check.pure
def magnetisation(spins: Array) -> jax.Array:
    """m = Σ s / N, (...), of spins (..., rows, columns): the order parameter."""
    return jnp.mean(_lattices(spins), (-2, -1))


@_check.pure
def structure_factor(spins: Array) -> jax.Array:
    """S(k) = |Σ_r s_r e^(-ik·r)|² / N, (..., rows, columns); S(0) = N m².

    Entry (a, b) is that of k = 2π (a/rows, b/columns). The mean over configurations,
    spins (..., rows, columns), is the spectrum of ⟨s sᵀ⟩ where all places are alike: of
    principal components the variances.
    """
    s = _lattices(spins)
    waves = jnp.fft.fft2(s)
    return (waves.real**2 + waves.imag**2) / (s.shape[-2] * s.shape[-1])


@_check.pure
def binder_cumulant(
    m: Annotated[Array, "t"],
    *,
    weights: Annotated[Array, "t", "[0, inf)"] | None = None,
) -> jax.Array:
    """U_4 = 1 - ⟨m⁴⟩ / (3 ⟨m²⟩²), (): 2/3 in order, 0 in disorder.

    At T_c it hardly depends on the size of the lattice: curves of several cross there.
    m, (t,), are magnetisations seen; weights, (t,), how often, 1 if None.
    Source: Binder (1981).
    """
    square = m**2
    return 1 - _mean(square**2, weights) / (3 * _mean(square, weights) ** 2)


@_check.pure
def susceptibility(
    m: Annotated[Array, "t"],
    *,
    temperature: NonNegative,
    sites: Positive,
    weights: Annotated[Array, "t", "[0, inf)"] | None = None,
) -> jax.Array:
    """χ = N (⟨m²⟩ - ⟨m⟩²) / T = ∂⟨m⟩/∂H, ().

    m, (t,), are magnetisations seen at temperature T, (), on lattices of N sites;
    weights, (t,), how often, 1 if None. Below T_c a finite lattice turns over and over:
    give |m| for the fluctuations about one of its two states.
    """
    return sites * _variance(m, weights) / temperature


@_check.pure
def heat_capacity(
    energies: Annotated[Array, "t"],
    *,
    temperature: NonNegative,
    sites: Positive,
    weights: Annotated[Array, "t", "[0, inf)"] | None = None,
) -> jax.Array:
    """C / N = N (⟨e²⟩ - ⟨e⟩²) / T² = ∂⟨e⟩/∂T, (), of a site.

    energies, (t,), are those of a site, e = E/N, seen at temperature T, (), on lattices
    of N sites; weights, (t,), how often, 1 if None. That of known levels is
    `statmech.heat_capacity`.
    """
    return sites * _variance(energies, weights) / temperature**2


def _lattices(spins):
    if spins.ndim < 2 or not spins.size:
        raise ValueError(f"spins has shape {spins.shape}, not (..., rows, columns)")
    return spins


def _mean(values, weights):
    if weights is None:
        return jnp.mean(values)
    return jnp.vdot(weights, values) / jnp.sum(weights)


def _variance(values, weights):
    # About the mean: the difference of two squares would lose what is looked for.
    return _mean((values - _mean(values, weights)) ** 2, weights)
