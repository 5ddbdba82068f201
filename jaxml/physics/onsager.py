"""The Ising model solved: all states of small lattices, finite ones, the infinite one.

Energies and temperatures are in units of J > 0, without field, k_B = 1, and free
energies, energies and heat capacities are those of a site, on square lattices as in
`ising`. `energy` is ∂(βf)/∂β of `free_energy`, and `heat_capacity` its derivative:
`jax.grad` knows. They are to the precision of a float, also near T_c and for T -> 0.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import NonNegative, Scalar, Static

__all__ = [
    "CRITICAL_TEMPERATURE",
    "Levels",
    "density_of_states",
    "energy",
    "free_energy",
    "heat_capacity",
    "log_partition",
    "magnetisation",
    "mean_energy",
    "states",
]

CRITICAL_TEMPERATURE = 2 / math.log(1 + math.sqrt(2))  # 2.269185…, where sinh(2/T) = 1
MOST = 20  # sites of a lattice all of whose states are written down
ROUNDS = 13  # of the arithmetic-geometric mean, for moduli as near to 1 as floats are
COLD = 0.01  # T below which e^(-8/T), all that is left of a heat, is 0 as a float


class Levels(NamedTuple):
    """Energy levels, as the functions of `statmech` take them."""

    energies: np.ndarray  # (n,) E of the whole lattice, ascending
    degeneracies: np.ndarray  # (n,) how many states have it


# --- all states ----------------------------------------------------------------------


@_check.host
def states(*, shape: tuple[int, int]) -> np.ndarray:
    """All 2^N configurations of a lattice, (2^N, rows, columns), int8.

    shape is (rows, columns), N = rows · columns, 20 at most.

    Raises:
        ValueError: a shape that is no pair, or of too many sites.

    """
    rows, columns = _sides(shape)
    sites = rows * columns
    if sites > MOST:
        raise ValueError(f"shape has {sites} sites; the states of {MOST} can be listed")
    bits = np.arange(2**sites, dtype=np.int32)[:, None] >> np.arange(sites) & 1
    return (2 * bits - 1).astype(np.int8).reshape(-1, rows, columns)


@_check.host
def density_of_states(*, shape: tuple[int, int]) -> Levels:
    """Energies E = -Σ s_i s_j, (n,), and the number of states of each, (n,), counted.

    shape is (rows, columns) as in `states`. The lattice is periodic: a side of 2 has
    each bond twice. Statistical mechanics follows:

        e, g = onsager.density_of_states(shape=(4, 4))
        statmech.heat_capacity(e, degeneracies=g, temperature=2.0)
    """
    s = states(shape=shape)
    bonds = s * (np.roll(s, -1, 1) + np.roll(s, -1, 2))
    energies, counts = np.unique(-bonds.sum((1, 2), np.int64), return_counts=True)
    return Levels(energies.astype(float), counts.astype(float))


def _sides(shape) -> tuple[int, int]:
    try:
        rows, columns = shape
    except (TypeError, ValueError):
        raise ValueError(f"shape must be (rows, columns), not {shape!r}") from None
    return _check.count("shape", rows), _check.count("shape", columns)


# --- finite lattices -----------------------------------------------------------------


@_check.pure(jit=True)
def log_partition(*, beta: Scalar, shape: Static[tuple[int, int]]) -> jax.Array:
    """ln Z = ln Σ_s e^(-βE(s)), (), of all states of a finite periodic lattice.

    ⟨E⟩ = -∂ ln Z/∂β and C = β² ∂² ln Z/∂β² are those of `jax.grad`. Z is half the sum
    of four products over momenta φ of a row, of 2 cosh(Mγ/2) and 2 sinh(Mγ/2), where
    cosh γ(φ) = cosh 2β coth 2β - cos φ.

    Args:
        beta: () β = J/T > 0; NaN elsewhere.
        shape: (M, n), rows and columns; any size.

    Raises:
        ValueError: a shape that is no pair of sizes.

    Source: Kaufman (1949).

    """
    m, n = _sides(shape)
    q = jnp.exp(-2 * jnp.where(beta > 0, beta, jnp.nan))
    rest = -jnp.expm1(-4 * beta)  # 1 - q²
    waves = jnp.asarray(np.sin(np.pi * np.arange(1, 2 * n) / (2 * n)) ** 2, q.dtype)
    # From 2 sinh²(γ/2) = (sinh 2β - 1)²/sinh 2β + 2 sin²(φ/2), which loses nothing near
    # T_c. Each factor takes its share of (2 sinh 2β)^(Mn/2): 2 sinh 2β e^γ = e^(4β) p².
    v = (rest - 2 * q) ** 2 / 4 + q * rest * waves
    p = jnp.sqrt(v) + jnp.sqrt(v + q * rest)
    decay = (q * rest / p**2) ** m  # e^(-Mγ)
    cosh = m * (2 * beta + jnp.log(p)) + jnp.log1p(decay)
    tanh = (1 - decay) / (1 + decay)
    # At φ = 0 γ = 2β + ln tanh β is negative above T_c: 2 cosh is aᴹ + bᴹ.
    a, b = m * (2 * beta + jnp.log(-jnp.expm1(-2 * beta))), m * jnp.log1p(q)
    odd, even = jnp.sum(cosh[::2]), jnp.sum(cosh[1::2]) + jnp.logaddexp(a, b)
    minus = jnp.prod(tanh[1::2]) * jnp.tanh((a - b) / 2)
    mixed = 1 + jnp.prod(tanh[::2]) + jnp.exp(even - odd) * (1 + minus)
    return odd + jnp.log(mixed / 2)


@_check.pure(jit=True)
def mean_energy(
    *, temperature: NonNegative, shape: Static[tuple[int, int]]
) -> jax.Array:
    """⟨E⟩ / N = -∂ ln Z/∂β / N, (), of a finite lattice: what a sampler should find.

    temperature is T > 0, () in units of J; shape is as in `log_partition`. Its
    derivative is the heat capacity of a site.
    """
    rows, columns = _sides(shape)
    slope = jax.grad(lambda beta: log_partition(beta=beta, shape=shape))
    return -slope(1 / temperature) / (rows * columns)


# --- the infinite lattice ------------------------------------------------------------


@_check.pure(jit=True)
def magnetisation(*, temperature: NonNegative) -> jax.Array:
    """|m| = (1 - sinh(2/T)^-4)^(1/8) below T_c, 0 above, ().

    temperature is T >= 0, () in units of J; NaN elsewhere. Source: Yang (1952).
    """
    q, rest, _, slope = _moduli(_temperature(temperature))
    ordered = slope > 0
    # 1 - sinh^-4 = κ' coth⁴: the root of 0 has no derivative.
    power = jnp.where(ordered, slope, 1) * ((1 + q**2) / rest) ** 4
    return jnp.where(ordered, power**0.125, 0 * jnp.abs(slope))


@_check.pure(jit=True)
def free_energy(*, temperature: NonNegative) -> jax.Array:
    """f = -T (ln(2 cosh 2β) + ∫_0^(π/2) ln((1 + √(1 - κ² sin²φ))/2) dφ/π), ().

    β = 1/T and κ = 2 sinh 2β / cosh² 2β. temperature is T >= 0, () in units of J; NaN
    elsewhere. -∂f/∂T = (u - f)/T is the entropy of a site. Source: Onsager (1944).
    """
    return _free_energy(_temperature(temperature))


@_check.pure(jit=True)
def energy(*, temperature: NonNegative) -> jax.Array:
    """u = -coth 2β (1 + (2/π) (2 tanh² 2β - 1) K(κ)), (), the mean energy of a site.

    K(κ) is the complete elliptic integral of modulus κ, as in `free_energy`;
    temperature is T >= 0, () in units of J; NaN elsewhere. Its derivative is
    `heat_capacity`. Source: Onsager (1944).
    """
    return _energy(_temperature(temperature))


@_check.pure(jit=True)
def heat_capacity(*, temperature: NonNegative) -> jax.Array:
    """c = (2/π) (β coth 2β)² (2K - 2E - (1 - κ') (π/2 + κ' K)), (), of a site.

    κ' = 2 tanh² 2β - 1; K and E are complete elliptic integrals of modulus κ, as in
    `free_energy`. It is infinite at T_c, where it grows as -(8/π) β_c² ln|T - T_c|.
    temperature is T >= 0, () in units of J; NaN elsewhere. Source: Onsager (1944).
    """
    return _heat_capacity(_temperature(temperature))


def _temperature(temperature):
    """T as a float; NaN where it is negative."""
    t = jnp.asarray(temperature, jnp.result_type(temperature, float))
    return jnp.where(t >= 0, t, jnp.nan)


def _moduli(t):
    """q = e^(-2β), 1 - q², κ and κ', the last with a sign: positive below T_c."""
    warm = t > COLD
    beta = 1 / jnp.where(warm, t, 1)
    q = jnp.where(warm, jnp.exp(-2 * beta), 0 * t)
    rest = jnp.where(warm, -jnp.expm1(-4 * beta), 1)
    kappa = 4 * q * rest / (1 + q**2) ** 2
    return q, rest, kappa, (rest - 2 * q) * (rest + 2 * q) / (1 + q**2) ** 2


def _elliptic(kappa, slope):
    """(2/π) K, 1 + (2/π) κ' K and (2/π) (K - E), by the arithmetic-geometric mean.

    Half the differences of the means, c, are followed by themselves: the small numbers
    that are left at high temperatures are sums of them.
    """
    k = jnp.abs(slope)
    gap = kappa**2 / (1 + k)  # 1 - |κ'|
    a, b, c = (1 + k) / 2, jnp.sqrt(k), gap / 2

    def halve(n, state):
        a, b, c, lost, squares = state
        a, b = (a + b) / 2, jnp.sqrt(a * b)
        c = c**2 / (4 * a)
        return a, b, c, lost - c, squares + 2.0**n * c**2

    # AGM - |κ'|, and Σ 2^(n-1) c².
    lost, squares = gap - c, kappa**2 / 2 + c**2
    state = a, b, c, lost, squares
    a, _, _, lost, squares = jax.lax.fori_loop(1, ROUNDS, halve, state)
    one = jnp.where(slope < 0, lost / a, 1 + k / a)
    return 1 / a, one, squares / a


@jax.custom_jvp
def _free_energy(t):
    q, _, kappa, slope = _moduli(t)
    root = jnp.sqrt(slope**2 + (kappa * jnp.asarray(SINES, t.dtype)) ** 2)
    integral = jnp.vdot(jnp.asarray(SHARES, t.dtype), jnp.log1p((root - 1) / 2))
    return -2 - t * (jnp.log1p(q**2) + integral)


@jax.custom_jvp
def _energy(t):
    q, rest, kappa, slope = _moduli(t)
    _, one, _ = _elliptic(kappa, slope)
    return -(1 + q**2) / rest * one


def _heat_capacity(t):
    q, rest, kappa, slope = _moduli(t)
    _, one, difference = _elliptic(kappa, slope)
    scale = (1 + q**2) / (rest * jnp.where(t > COLD, t, 1))
    c = scale**2 * (2 * difference - (1 - slope) * one)
    return jnp.where(slope == 0, jnp.inf, c)


@_free_energy.defjvp
@_check.precise
def _free_energy_jvp(primals, tangents):
    (t,), (d_t,) = primals, tangents
    f = _free_energy(t)
    entropy = (_energy(t) - f) / jnp.where(t == 0, 1, t)
    return f, -entropy * d_t


@_energy.defjvp
@_check.precise
def _energy_jvp(primals, tangents):
    return _energy(*primals), _heat_capacity(*primals) * tangents[0]


def _quadrature(count: int = 100, reach: float = 3.6):
    """Sines and weights of ∫_0^(π/2) dt/π by double exponential substitution.

    The nodes crowd towards 0, where the integrand has a kink at T_c.
    Source: Takahasi and Mori (1974).
    """
    x = np.linspace(-reach, reach, count)
    share = 1 / (1 + np.exp(-np.pi * np.sinh(x)))
    rise = np.pi * np.cosh(x) * share * (1 - share) * (x[1] - x[0])
    return np.sin(np.pi / 2 * share), rise / 2


SINES, SHARES = _quadrature()
