"""Statistical mechanics: one log-partition function; its derivatives are observables.

k_B = 1: a temperature is an energy, and an entropy a number of nats. Energies, (n,),
are those of n levels; `degeneracies`, (n,), say how many states each level has, 1 if
None; `jax.vmap` makes batches. At temperature 0 everything is its limit, ground state
or step; where a step has no derivative it is taken as 0.

Energies are measured from the ground state, in units of T, before anything is
exponentiated: nothing overflows, also in float32, and no unit of energy is too small.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from jaxml import _check
from jaxml._check import Array, Count, NonNegative, Positive, Rows, Scalar, Weights
from jaxml._units import unit_of, weights_or_ones
from jaxml.optimize._convex import by_newton
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.optimize._implicit import solution

__all__ = [
    "Params",
    "boltzmann",
    "bose_einstein",
    "chemical_potential",
    "entropy",
    "fermi_dirac",
    "free_energy",
    "gibbs",
    "grand_potential",
    "heat_capacity",
    "log_partition",
    "maximum_entropy",
    "mean_energy",
]

FAR = 1e4  # energy over T from which e^-x, and x e^-x, are 0 in every precision
RUNAWAY = 0.1  # change of some λ·f in a last step from which there is no minimum


class Params(NamedTuple):
    """A distribution of greatest entropy: pᵢ ∝ wᵢ e^(λ·fᵢ)."""

    # λ, Lagrange multipliers of the means of n features
    multipliers: Annotated[jax.Array, "n"]


# --- many particles: occupation of levels --------------------------------------------


@_check.pure(jit=True)
def fermi_dirac(
    energies: Array, *, chemical_potential: Scalar = 0.0, temperature: NonNegative = 1.0
) -> jax.Array:
    """f(E) = 1 / (e^((E - μ)/T) + 1), the mean occupation of a state of energy E.

    energies are of any shape, and so is what is returned; chemical_potential is μ, (),
    and temperature T, () >= 0. At T = 0 it is 1 below μ, 0 above and ½ at μ. NaN for
    T < 0 under jit. Source: Fermi (1926); Dirac (1926).
    """
    d, t = energies - chemical_potential, _temperature(temperature, energies)
    e = jnp.exp(-_in_units(jnp.where(d < 0, -d, d), t))
    return jnp.where(d < 0, 1, e) / (1 + e)


@_check.pure(jit=True)
def bose_einstein(
    energies: Array, *, chemical_potential: Scalar = 0.0, temperature: NonNegative = 1.0
) -> jax.Array:
    """n(E) = 1 / (e^((E - μ)/T) - 1), the mean number of bosons in a state of energy E.

    Arguments as in `fermi_dirac`: energies of any shape, chemical_potential μ and
    temperature T >= 0, (). Infinite at E = μ, NaN below. Source: Bose (1924).
    """
    d, t = energies - chemical_potential, _temperature(temperature, energies)
    x = _in_units(jnp.where(d < 0, jnp.nan, d), t)
    return jnp.exp(-x) / -jnp.expm1(-x)


@_check.pure(jit=True)
def grand_potential(
    energies: Annotated[Array, "n"],
    *,
    chemical_potential: Scalar = 0.0,
    temperature: NonNegative = 1.0,
    degeneracies: Annotated[Array, "n", "[0, inf)"] | None = None,
) -> jax.Array:
    """Ω = -T Σ gᵢ ln(1 + e^((μ - Eᵢ)/T)), (), of fermions.

    Its derivatives are the mean number of particles N = -∂Ω/∂μ, the entropy
    S = -∂Ω/∂T and the occupations gᵢ f(Eᵢ) = ∂Ω/∂Eᵢ.

    Args:
        energies: (n,) E.
        chemical_potential: () μ.
        temperature: () T >= 0; at 0 Ω is Σ gᵢ min(Eᵢ - μ, 0).
        degeneracies: (n,) g; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    d, t = energies - chemical_potential, _temperature(temperature, energies)
    # ln(1 + e^-x) = -x + ln(1 + e^x): each side of μ has the form that loses nothing,
    # and every derivative is the same from both sides. At T = 0 there is a kink.
    below = jnp.where(t == 0, jnp.minimum(d, 0), jnp.where(d < 0, d, 0))
    x = _in_units(jnp.where(d < 0, -d, d), t)
    each = below - t * jnp.log1p(jnp.exp(-x))
    return jnp.sum(_states(degeneracies, energies) * each)


@_check.pure(jit=True)
def chemical_potential(
    energies: Annotated[Array, "n"],
    *,
    particles: Positive,
    temperature: NonNegative = 1.0,
    degeneracies: Annotated[Array, "n", "[0, inf)"] | None = None,
) -> jax.Array:
    """The μ, (), at which Σ gᵢ f(Eᵢ) = N: the Fermi level of N fermions.

    Solved for δ = (μ - μ₀)/T, μ₀ the level at T = 0, by Newton's method in a bracket,
    as ln(electrons above μ₀) = ln(holes below): nothing underflows in a wide gap.

    Args:
        energies: (n,) E, in any order.
        particles: () N, 0 < N < Σ g; NaN elsewhere, where no finite μ exists.
        temperature: () T >= 0. At 0 μ is the energy of the level that is filled in
            part, or the middle between the last full and the first empty one.
        degeneracies: (n,) g; 1 if None.

    Returns:
        μ, with derivatives by the implicit function theorem.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    g, t = _states(degeneracies, energies), _temperature(temperature, energies)
    n = jnp.asarray(particles, energies.dtype)
    valid = (n > 0) & (n < jnp.sum(g)) & jnp.isfinite(energies).all()
    return jnp.where(valid, _fermi_level(energies, g, n, t), jnp.nan)


@jax.custom_jvp
def _fermi_level(energies, g, n, t):
    last, next_, _, offset = _solve(energies, g, n, t)
    return (last + next_) / 2 + t * offset


@_fermi_level.defjvp
@_check.precise
def _fermi_level_jvp(primals, tangents):
    """Σ f dg + Σ g f' (dE - dμ - x dT)/T = dN, of which dμ; -f' = f (1 - f)."""
    energies, g, n, t = primals
    d_energies, d_g, d_n, d_t = tangents
    mu = _fermi_level(*primals)
    last, next_, unit, offset = _solve(*primals)
    unit = jnp.where(t >= unit, t, unit)
    # The value of δ has more digits than μ; its own derivative is that of μ.
    from_mu = (mu - (last + next_) / 2) / unit
    offset += from_mu - jax.lax.stop_gradient(from_mu)
    half, above, beyond = _gaps(energies, last, next_, unit)
    side = jnp.where(above, 1, -1)
    few, many = _occupation(half, beyond, side * offset)
    w = g * few * many
    # Σ w x: as Σ side g few = 0 but for h = 0, Σ side w h is what few² leaves of it.
    squares = jnp.vdot(side * g * few, 1 - many)
    tilt = jnp.vdot(w, side * beyond) - half * squares
    most = jnp.finfo(w.dtype).max
    # A level in a wide gap moves beyond all bounds with N; 0 · ∞ is not wanted.
    per_particle = jnp.minimum(jnp.exp(half) / jnp.sum(w), most)
    per_particle = jnp.minimum(t * per_particle, most)
    f = jnp.where(above, 1 - many, many)
    d_mu = (jnp.vdot(w, d_energies) - tilt * d_t) / jnp.sum(w) + offset * d_t
    return mu, d_mu + per_particle * (d_n - jnp.vdot(f, d_g))


def _gaps(energies, last, next_, unit):
    """With E = μ₀ ± (h + beyond) unit: h, whether E is above μ₀, and beyond >= 0."""
    above = energies >= next_
    beyond = jnp.where(above, energies - next_, last - energies) / unit
    return (next_ - last) / (2 * unit), above, beyond


def _occupation(half, beyond, offset):
    """e^h f, and 1 - f, of levels above; for those below, holes stand for electrons."""
    many = jax.nn.log_sigmoid(half + beyond - offset)
    return jnp.exp(offset - beyond + many), jnp.exp(many)


def _solve(energies, g, n, t):
    """The energies between which μ₀ is, the unit, and δ = (μ - μ₀)/unit.

    The unit is T, and for T → 0 something that is small against all distances.
    """
    energies, g, n, t = jax.lax.stop_gradient((energies, g, n, t))
    order = jnp.argsort(energies)
    energies, g = energies[order], g[order]
    filled = jnp.cumsum(g)
    last, next_ = energies[jnp.argmax(filled >= n)], energies[jnp.argmax(filled > n)]
    eps = float(jnp.finfo(g.dtype).eps)
    unit = jnp.maximum(t, 1e-6 * eps * (energies[-1] - energies[0]))
    unit = jnp.where(unit == 0, 1, unit)
    half, _, beyond = _gaps(energies, last, next_, unit)
    full = filled <= n
    left = n - jnp.max(jnp.where(full, filled, 0))  # in the level that is not full

    def excess(offset):
        """ln(electrons in other levels) - ln(left + holes in the full ones)."""
        y = half + beyond
        electrons = offset - beyond + jax.nn.log_sigmoid(y - offset)
        holes = -offset - beyond + jax.nn.log_sigmoid(y + offset)
        holes = jnp.append(jnp.where(full, jnp.log(g) + holes, -jnp.inf), jnp.log(left))
        electrons = jnp.where(full, -jnp.inf, jnp.log(g) + electrons)
        return logsumexp(electrons) - logsumexp(holes)

    def step(state):
        offset, low, high = state
        value, slope = jax.value_and_grad(excess)(offset)
        low = jnp.where(value < 0, offset, low)
        high = jnp.where(value < 0, high, offset)
        new = offset - value / slope
        new = jnp.where((new > low) & (new < high), new, (low + high) / 2)
        residual = jnp.abs(new - offset) / jnp.maximum(1, jnp.abs(offset))
        return (new, low, high), Progress(jnp.abs(value), residual)

    # Were all levels the lowest or the highest, μ would be these; 1 is for rounding.
    logit = jnp.log(n) - jnp.log(filled[-1] - n)
    lowest, highest = -half - beyond[0], half + beyond[-1]
    start = jnp.zeros_like(n), lowest + logit - 1, highest + logit + 1
    result = iterate(step, start, tol=4 * eps, max_iter=200, history_length=1)
    return last, next_, unit, result.params[0]


# --- one system: the canonical ensemble ----------------------------------------------


@_check.pure(jit=True)
def log_partition(
    energies: Annotated[Array, "n"],
    *,
    beta: Scalar = 1.0,
    degeneracies: Annotated[Array, "n", "[0, inf)"] | None = None,
) -> jax.Array:
    """ln Z = ln Σ gᵢ e^(-βEᵢ), (), the function whose derivatives are the observables.

    ⟨E⟩ = -∂ ln Z/∂β, var E = ∂² ln Z/∂β², pᵢ = -∂ ln Z/∂(βEᵢ).

    Args:
        energies: (n,) E.
        beta: () β = 1/T, of either sign.
        degeneracies: (n,) g; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    return logsumexp(-beta * energies, b=_states(degeneracies, energies))


@_check.pure(jit=True)
def boltzmann(
    energies: Annotated[Array, "n"],
    *,
    temperature: NonNegative = 1.0,
    degeneracies: Annotated[Array, "n", "[0, inf)"] | None = None,
) -> jax.Array:
    """pᵢ = gᵢ e^(-Eᵢ/T) / Z, (n,), the softmax of -E/T.

    Its Jacobian in the logits -E/T is diag(p) - ppᵀ, a covariance: fluctuations are
    responses.

    Args:
        energies: (n,) E.
        temperature: () T >= 0; at 0 the states of the lowest level are equally likely.
        degeneracies: (n,) g; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    g = _states(degeneracies, energies)
    w = g * jnp.exp(-_above_ground(energies, g, temperature))
    return w / jnp.sum(w)


@_check.pure(jit=True)
def free_energy(
    energies: Annotated[Array, "n"],
    *,
    temperature: NonNegative = 1.0,
    degeneracies: Annotated[Array, "n", "[0, inf)"] | None = None,
) -> jax.Array:
    """F = -T ln Z = U - T S, (), with ∂F/∂Eᵢ = pᵢ and ∂F/∂T = -S.

    Arguments as in `boltzmann`: energies, (n,), temperature, (), and degeneracies,
    (n,). At T = 0 it is the energy of the ground state.
    """
    ground, log_z, _, _ = _canonical(energies, temperature, degeneracies)
    return ground - _temperature(temperature, energies) * log_z


@_check.pure(jit=True)
def mean_energy(
    energies: Annotated[Array, "n"],
    *,
    temperature: NonNegative = 1.0,
    degeneracies: Annotated[Array, "n", "[0, inf)"] | None = None,
) -> jax.Array:
    """U = Σ pᵢ Eᵢ = -∂ ln Z/∂β, ().

    Arguments as in `boltzmann`: energies, (n,), temperature, (), and degeneracies,
    (n,).
    """
    ground, _, mean, _ = _canonical(energies, temperature, degeneracies)
    return ground + _temperature(temperature, energies) * mean


@_check.pure(jit=True)
def entropy(
    energies: Annotated[Array, "n"],
    *,
    temperature: NonNegative = 1.0,
    degeneracies: Annotated[Array, "n", "[0, inf)"] | None = None,
) -> jax.Array:
    """S = ln Z - β ∂ ln Z/∂β = -∂F/∂T = -Σ pᵢ ln(pᵢ/gᵢ), (), in nats.

    Arguments as in `boltzmann`: energies, (n,), temperature, (), and degeneracies,
    (n,). At T = 0 it is the logarithm of the number of ground states.
    """
    _, log_z, mean, _ = _canonical(energies, temperature, degeneracies)
    return log_z + mean


@_check.pure(jit=True)
def heat_capacity(
    energies: Annotated[Array, "n"],
    *,
    temperature: NonNegative = 1.0,
    degeneracies: Annotated[Array, "n", "[0, inf)"] | None = None,
) -> jax.Array:
    """C = ∂U/∂T = β² ∂² ln Z/∂β² = var(E)/T², ().

    Arguments as in `boltzmann`: energies, (n,), temperature, (), and degeneracies,
    (n,). 0 at T = 0.
    """
    _, _, _, variance = _canonical(energies, temperature, degeneracies)
    return variance


def _canonical(energies, temperature, degeneracies):
    """The ground state's energy; ln Z, ⟨x⟩ and var x for x = (E - ground)/T."""
    g = _states(degeneracies, energies)
    x = _above_ground(energies, g, temperature)

    def log_z(scale, origin):
        return log_partition(x - origin, beta=scale, degeneracies=g)

    one = jnp.ones((), x.dtype)
    first = jax.grad(log_z)
    mean = -first(one, 0 * one)
    # About the mean, so that the difference of squares loses no digits.
    variance = jax.grad(first)(one, jax.lax.stop_gradient(mean))
    t = _temperature(temperature, energies)
    lowest = _ground(energies, g)
    # At T = 0 no x moves with the energies: there the ground state itself does.
    p = jax.lax.stop_gradient(boltzmann(energies, temperature=t, degeneracies=g))
    lowest = jnp.where(t == 0, jnp.vdot(p, energies), lowest)
    return lowest, log_z(one, 0 * one), mean, variance


def _above_ground(energies, g, temperature):
    """x = (E - E₀)/T >= 0, (n,), at most FAR; 0 for levels without states."""
    t = _temperature(temperature, energies)
    return _in_units(jnp.where(g == 0, 0, energies - _ground(energies, g)), t)


def _ground(energies, g):
    """The lowest energy of a level that has states; a constant for derivatives."""
    return jax.lax.stop_gradient(jnp.where(g == 0, jnp.inf, energies).min())


def _temperature(temperature, energies):
    """T as an array of the dtype of the energies; NaN where it is negative."""
    t = jnp.asarray(temperature, energies.dtype)
    return jnp.where(t >= 0, t, jnp.nan)


def _states(degeneracies, energies):
    if degeneracies is None:
        return jnp.ones_like(energies)
    return jnp.where(degeneracies >= 0, degeneracies, jnp.nan)


@jax.custom_jvp
def _in_units(d, t):
    """min(d/T, FAR), for d and T >= 0; at T = 0 it is 0 for d = 0, FAR for others."""
    return jnp.where(d > FAR * t, FAR, d / jnp.where(t == 0, 1, t))


@_in_units.defjvp
def _in_units_jvp(primals, tangents):
    # Not by 1/T², which overflows in float32 where energies are in joules.
    (d, t), (d_d, d_t) = primals, tangents
    x = _in_units(d, t)
    moves = ~(d > FAR * t) & (t != 0)
    return x, jnp.where(moves, (d_d - x * d_t) / jnp.where(t == 0, 1, t), 0)


# --- maximum entropy -----------------------------------------------------------------


@_check.pure(jit=True)
def gibbs(
    params: Params, features: Rows, *, weights: Weights | None = None
) -> jax.Array:
    """pᵢ = wᵢ e^(λ·fᵢ) / Z, (m,), of all distributions the one of greatest entropy.

    Args:
        params: λ, (n,), as `maximum_entropy` finds them.
        features: (m, n) f, a row for each state.
        weights: (m,) w, how likely or how many states are where λ = 0; 1 if None.

    Raises:
        ValueError: params for another number of features.

    """
    multipliers = (params.multipliers, "n")
    _check.shapes(features=(features, "m n"), **{"params.multipliers": multipliers})
    z = features @ params.multipliers
    if weights is not None:  # a state that is not there is not the highest either
        z = jnp.where(weights == 0, -jnp.inf, z)
    w = jnp.exp(z - jax.lax.stop_gradient(z.max()))
    w = w if weights is None else w * jnp.where(weights >= 0, weights, jnp.nan)
    return w / jnp.sum(w)


@_check.fit
def maximum_entropy(
    features: Rows,
    targets: Annotated[Array, "n"],
    *,
    weights: Weights | None = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 100,
) -> Fit:
    """Maximise -Σ pᵢ ln(pᵢ/wᵢ) over p with Σ pᵢ fᵢ = μ, by the multipliers of these n.

    They minimise the dual function ln Σ wᵢ e^(λ·fᵢ) - λ·μ, which is convex; at its
    minimum it is the entropy. Newton's method; its Hessian is the covariance of f.

    Args:
        features: (m, n) f, a row for each state.
        targets: (n,) μ, the means that p shall have.
        weights: (m,) w, how likely (a prior) or how many (a degeneracy) states are
            where nothing is known; 1 if None.
        tol: () stop when Newton's decrement, the distance of ⟨f⟩ from μ in standard
            deviations, is at most tol.
        max_iter: the most steps.

    Returns:
        Fit with Params; cost is the entropy in nats, residual Newton's decrement. p is
        `gibbs(fit.params, features, weights=weights)`. Status UNBOUNDED where no p has
        such means, or only one that is 0 in places; SINGULAR where a feature is a
        combination of others. The multipliers have derivatives.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Jaynes (1957); Agmon, Alhassid and Levine (1979).

    """
    w = weights_or_ones(weights, features)
    unit = _unit(features - targets[None], w)
    data = features, targets, w, unit
    f, w = jax.lax.stop_gradient((_deviations(*data), w))

    def derivatives(theta):
        z = f @ theta
        value = logsumexp(z, b=w)
        p = w * jnp.exp(z - value)
        g = p @ f
        centred = f - g[None]
        weighted = (p[:, None] * centred).T
        return value, g, weighted @ centred

    result = by_newton(derivatives, jnp.zeros_like(targets), tol=tol, max_iter=max_iter)
    status = _bounded(f, w, result)
    theta, value = solution(_dual, result.params.theta, result.cost, status, data, {})
    return result._replace(params=Params(theta / unit), cost=value, status=status)


def _unit(deviations, w):
    """The power of two below the largest |f - μ| of each feature, (n,).

    In such units squares neither under- nor overflow, and no digit changes.
    """
    return unit_of(deviations, w, axis=0)


def _deviations(features, targets, w, unit):
    """(f - μ) / unit, (m, n), and 0 in states of weight 0."""
    f = (features - targets[None]) / unit[None]
    return jnp.where((w == 0)[:, None], 0, f)


def _dual(theta, features, targets, w, unit):
    f = _deviations(features, targets, w, jax.lax.stop_gradient(unit))
    return logsumexp(f @ theta, b=w)


def _bounded(f, w, result: Fit):
    """The status, UNBOUNDED where the dual function has no minimum."""
    z, moves = f @ result.params.theta, jnp.abs(f @ result.params.direction)
    highest = jnp.where(w > 0, z, -jnp.inf).max()
    lowest = jnp.where(w > 0, z, jnp.inf).min()
    # If no λ·(f - μ) is positive, to go on along λ lowers the dual for ever.
    unbounded = (highest <= 0) & (lowest < 0)
    # On the edge of what can be, the dual falls to a limit: the decrement vanishes, but
    # Newton's steps never cease to move some λ·f by about 1. Or the Hessian is singular
    # because some states have died out, and not because features are dependent.
    moving = (result.steps > 0) & (jnp.where(w > 0, moves, 0).max() > RUNAWAY)
    unbounded |= (result.status == Status.CONVERGED) & moving
    singular = result.status == Status.SINGULAR
    unbounded |= singular & (lowest - highest < jnp.log(jnp.finfo(z.dtype).eps) / 2)
    worst = jnp.maximum(result.status, Status.UNBOUNDED)
    worst = jnp.where(singular, Status.UNBOUNDED, worst)
    return jnp.where(unbounded, worst, result.status).astype(jnp.int32)
