"""Clustering as a phase transition: deterministic annealing (slides 2.3).

A row x is a system whose levels are k centres: the energy of a level is |x - y_k|², its
degeneracy p_k, the share of all rows that belong to it. At temperature T the row is in
it with Boltzmann's probability, and centres and shares are where the free energy of all
rows is least. When it is hot all centres are one; below T = 2 λ_max, twice the greatest
variance of a cluster, it splits, as a magnet chooses a direction. At T = 0 this is
`kmeans`; at T = 2σ² it is EM for a `mixture` of Gaussians of variance σ².
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxml import _check
from jaxml._check import Array, Count, NonNegative, Rows, Scalar, Weights
from jaxml._rows import each, mean, total
from jaxml._units import per_square, unit_of, weights_or_ones
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.physics import statmech
from jaxml.reduction._boltzmann import clusters, covariances, in_units, levels

__all__ = [
    "Observables",
    "Params",
    "Path",
    "cooling",
    "cost",
    "critical_temperature",
    "fit",
    "observables",
    "path",
    "predict",
    "probability",
    "step",
]

DISPLACEMENT = 0.1  # of its spread: how far from it the halves of a cluster begin
LEAST = 1e-6  # of F: what an exchange of clusters must gain


class Params(NamedTuple):
    """Centres, and how many rows belong to each."""

    centres: Annotated[jax.Array, "k n"]  # y
    # p, which sum to 1; 0 for a centre that is not in use
    shares: Annotated[jax.Array, "k"]


@_check.pure(jit=True)
def probability(params: Params, x: Rows, *, temperature: NonNegative) -> jax.Array:
    """P(k | xᵢ) = p_k e^(-|xᵢ - y_k|²/T) / Zᵢ, (m, k).

    Args:
        params: centres, (k, n), and shares, (k,).
        x: (m, n) rows.
        temperature: () T >= 0, in the square of x's unit; at 0 the nearest centre.

    Raises:
        ValueError: params for another number of columns, values not finite.

    """
    return _boltzmann(params, x, temperature, lambda result: result)


@_check.pure(jit=True)
def predict(params: Params, x: Rows, *, temperature: NonNegative) -> jax.Array:
    """argmax_k P(k | xᵢ), (m,) int32.

    params hold centres, (k, n), and shares, (k,); x, (m, n), and temperature as in
    `probability`, which raises the same.
    """
    label = lambda result: jnp.argmax(result, axis=1).astype(jnp.int32)
    return _boltzmann(params, x, temperature, label)


def _boltzmann(params, x, temperature, then):
    unit, params, temperature = _in_units(params, temperature)
    boltzmann = statmech.boltzmann
    return each(lambda x: then(levels(boltzmann, params, x / unit, temperature)), x)


@_check.pure(jit=True)
def cost(
    params: Params,
    x: Rows,
    *,
    temperature: NonNegative,
    weights: Weights | None = None,
) -> jax.Array:
    """F = -T Σ wᵢ ln Σ_k p_k e^(-|xᵢ - y_k|²/T) / Σ wᵢ, (): the free energy of a row.

    Its derivatives are the observables: ∂F/∂T = R of `observables`, F = D + T R.

    Args:
        params: centres, (k, n), and shares, (k,).
        x: (m, n) rows.
        temperature: () T >= 0, in the square of x's unit; at 0 F is J of `kmeans`.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: params for another number of columns, values not finite.

    """
    (energy,), unit = _means(params, x, weights, temperature, (statmech.free_energy,))
    return energy * unit * unit


class Observables(NamedTuple):
    """What it costs to tell where a row is, and how well that tells it."""

    free_energy: jax.Array  # () F = D + T R
    distortion: jax.Array  # () D = ⟨|x - y|²⟩
    rate: jax.Array  # () R = ⟨ln P(k | x)/p_k⟩, nats for each row


@_check.pure(jit=True)
def observables(
    params: Params,
    x: Rows,
    *,
    temperature: NonNegative,
    weights: Weights | None = None,
) -> Observables:
    """D = ⟨|x - y|²⟩ and R = ⟨ln P(k | x)/p_k⟩: a point of the rate-distortion curve.

    Along the minima of F its slope is dR/dD = -1/T. params, x, (m, n), temperature and
    weights, (m,), as in `cost`, which raises the same. Source: Rose (1998).
    """
    of = (statmech.free_energy, statmech.mean_energy, statmech.entropy)
    (energy, distortion, entropy), unit = _means(params, x, weights, temperature, of)
    return Observables(energy * unit * unit, distortion * unit * unit, -entropy)


@_check.pure(jit=True)
def critical_temperature(
    params: Params,
    x: Rows,
    *,
    temperature: NonNegative,
    weights: Weights | None = None,
) -> jax.Array:
    """T_k = 2 λ_max(C_k), (k,), of the covariance C_k of the rows, each of P(k | xᵢ).

    Below it cluster k is not a minimum of F but a saddle, and splits along the
    eigenvector. 0 for a centre that is not in use. params, x, (m, n), temperature and
    weights, (m,), as in `cost`, which raises the same. Source: Rose (1998).
    """
    w, unit = weights_or_ones(weights, x), unit_of(x, weights)
    params = params._replace(centres=params.centres / unit)
    result = clusters(
        params, x, w, per_square(temperature, unit), second=True, unit=unit
    )
    highest = jnp.linalg.eigvalsh(covariances(result))[:, -1]
    return 2 * jnp.maximum(highest, 0) * unit * unit


@_check.pure(jit=True)
def step(
    params: Params,
    x: Rows,
    *,
    temperature: NonNegative,
    weights: Weights | None = None,
) -> Params:
    """p_k = Σ wᵢ P(k | xᵢ) / Σ wᵢ and y_k = Σ wᵢ P(k | xᵢ) xᵢ / (p_k Σ wᵢ).

    F of `cost`, whose arguments these are, does not rise: params of centres, (k, n),
    and shares, (k,); x, (m, n); temperature and weights, (m,).
    """
    unit, params, temperature = _in_units(params, temperature)
    new = _step(params, x, weights_or_ones(weights, x), temperature, unit)[0]
    return new._replace(centres=new.centres * unit)


@_check.fit
def fit(
    params: Params,
    x: Rows,
    *,
    temperature: NonNegative,
    weights: Weights | None = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 1000,
) -> Fit:
    """Lower F of `cost` at one temperature from params, to a minimum near them.

    Args:
        params: centres, (k, n), and shares, (k,), to start from. The result depends on
            them in jumps: derivatives are cut off.
        x: (m, n) rows.
        temperature: () T >= 0, in the square of x's unit.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows.
        tol: () largest step of a centre, √(Σ_k p_k |Δy_k|²), in units of √F: F is at
            least the mean square of the distance from the centre.
        max_iter: most steps; near a critical temperature there are many.

    Returns:
        Fit with Params, and F at the penultimate iterate.

    Raises:
        ValueError: params for another number of columns, values not finite.

    Source: Rose, Gurewitz and Fox (1990); Rose (1998).

    """
    w, unit = weights_or_ones(weights, x), unit_of(x, weights)
    params = params._replace(centres=params.centres / unit)
    result = _minimum(params, x, w, per_square(temperature, unit), tol, max_iter, unit)
    params = result.params._replace(centres=result.params.centres * unit)
    cost, history = (a * unit * unit for a in (result.cost, result.history))
    result = result._replace(params=params, cost=cost, history=history)
    return jax.lax.stop_gradient(result)


def _minimum(params, x, w, temperature, tol, max_iter, unit) -> Fit:
    def advance(params):
        new, value = _step(params, x, w, temperature, unit)
        moved = jnp.sum((new.centres - params.centres) ** 2, axis=1)
        # Where F is 0 all rows lie on their centres.
        scale = jnp.where(value > 0, value, 1)
        return new, Progress(value, jnp.sqrt(jnp.vdot(new.shares, moved) / scale))

    return iterate(advance, params, tol=tol, max_iter=max_iter, history_length=1)


# --- the tree ------------------------------------------------------------------------


class Path(NamedTuple):
    """The clusters at each of s temperatures, and the tree that they grew on."""

    temperatures: jax.Array  # (s,) T, falling
    params: Params  # centres (s, k, n), shares (s, k)
    observables: Observables  # (s,) each: F, D, R
    critical: jax.Array  # (s, k) where each cluster splits; 0 for those not in use
    used: jax.Array  # (s,) int32, how many clusters there are
    parent: jax.Array  # (k,) int32, that from which each split last; itself, if none
    split: jax.Array  # (k,) its critical temperature then; 0 if it did not
    status: jax.Array  # (s,) int32, a Status


class _Tree(NamedTuple):
    params: Params
    parent: jax.Array
    split: jax.Array


class _Equilibrium(NamedTuple):
    """A tree whose centres are in equilibrium, and how stable they are."""

    tree: _Tree
    cost: jax.Array  # () F
    critical: jax.Array  # (k,)
    directions: jax.Array  # (k, n) from the centre to that of a half
    status: jax.Array  # () int32, the gravest so far


@_check.pure(jit=True)
def path(
    x: Rows,
    *,
    k: Count,
    temperatures: Annotated[Array, "s", "[0, inf)"] | None = None,
    count: Count = 60,
    ratio: Annotated[Scalar, "(0, 1)"] = 1e-3,
    weights: Weights | None = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 1000,
) -> Path:
    """Cool slowly from one cluster to k: each splits in two where it becomes unstable.

    At each temperature the centres settle. Then those below their critical temperature
    split, the one that is farthest below it first, along the eigenvector of C_k while
    there are centres left, and settle again. When there are none left, the two clusters
    that are cheapest to tell by one centre are merged to let the least stable one
    split, as often as F becomes smaller. Nothing is drawn: the tree depends on x alone.
    The last centres are a start for `kmeans`.

    Args:
        x: (m, n) rows.
        k: the most clusters.
        temperatures: (s,) T, falling; `cooling` of count and ratio if None.
        count: how many temperatures.
        ratio: () of the last to the first.
        weights: (m,) weights w of the rows; 1 if None.
        tol: () as in `fit`.
        max_iter: most steps between two splits.

    Returns:
        Path. Derivatives are cut off.

    Raises:
        ValueError: k > m, values not finite.

    Source: Rose (1998); exchanges: Ueda and Nakano (1998).

    """
    if k > len(x):
        raise ValueError(f"k must be at most m = {len(x)}, not {k}")
    x, temperatures, weights = jax.lax.stop_gradient((x, temperatures, weights))
    tol, w = jax.lax.stop_gradient(tol), weights_or_ones(weights, x)
    shift = mean(x, w)
    unit = unit_of(x - shift[None], w)
    x = in_units(x - shift[None], unit)
    if temperatures is None:
        temperatures = cooling(x, count=count, ratio=ratio, weights=weights)
    else:
        temperatures = per_square(temperatures, unit)
    temperatures = jax.lax.stop_gradient(temperatures)

    def equilibrate(tree, temperature, before):
        result = _minimum(tree.params, x, w, temperature, tol, max_iter, 1)
        critical, displacement = _modes(result.params, x, w, temperature)
        tree = tree._replace(params=result.params)
        status = jnp.maximum(before, result.status)
        return _Equilibrium(tree, result.cost, critical, displacement, status)

    def cool(tree, temperature):
        now = equilibrate(tree, temperature, jnp.int32(Status.CONVERGED))
        again = lambda tree, now: equilibrate(tree, temperature, now.status)
        now = _divided(again, now, temperature)
        now = _exchanged(again, now, temperature)
        seen = observables(now.tree.params, x, temperature=temperature, weights=w)
        return now.tree, (now.tree.params, seen, now.critical, now.status)

    index = jnp.arange(k, dtype=jnp.int32)
    start = _Tree(_single(x, k, w), index, jnp.zeros_like(x, shape=k))
    tree, (params, seen, critical, status) = jax.lax.scan(cool, start, temperatures)
    used = jnp.sum(params.shares > 0, axis=1, dtype=jnp.int32)
    falling = jnp.concatenate([jnp.ones(1, bool), jnp.diff(temperatures) <= 0])
    status = jnp.where(falling & (temperatures >= 0), status, Status.INVALID)
    status = status.astype(jnp.int32)
    params = params._replace(centres=params.centres * unit + shift[None, None])
    temperatures, critical, split, f, d = (
        a * unit * unit
        for a in (temperatures, critical, tree.split, seen.free_energy, seen.distortion)
    )
    seen = Observables(f, d, seen.rate)
    return Path(temperatures, params, seen, critical, used, tree.parent, split, status)


def _divided(equilibrate, now: _Equilibrium, temperature) -> _Equilibrium:
    """Split unstable clusters while there are centres that are not in use."""

    def possible(now):
        spare = (now.tree.params.shares == 0).any()
        return spare & (now.critical > temperature).any()

    def part(now):
        return equilibrate(_split(now, now.tree.params, jnp.argmax(now.critical)), now)

    return jax.lax.while_loop(possible, part, now)


def _exchanged(equilibrate, now: _Equilibrium, temperature) -> _Equilibrium:
    """Merge two clusters to split an unstable one, while that makes F smaller."""

    def step(state):
        now, _ = state
        unstable = now.critical > temperature
        old = jnp.argmax(jnp.where(unstable, now.tree.params.shares * now.critical, 0))
        new = equilibrate(_split(now, _merged(now.tree.params, old), old), now)
        better = new.cost < now.cost - LEAST * jnp.abs(now.cost)
        now = optax.tree.where(better, new, now)
        return now, better

    full = (now.tree.params.shares > 0).all() & (len(now.critical) > 2)
    start = now, full & (now.critical > temperature).any()
    return jax.lax.while_loop(lambda state: state[1], step, start)[0]


def _merged(params: Params, kept) -> Params:
    """Join the two clusters, other than kept, that lose least by it (Ward 1963)."""
    centres, shares = params
    k = len(shares)
    apart = jax.lax.map(lambda y: jnp.sum((centres - y[None]) ** 2, axis=1), centres)
    loss = shares[:, None] * shares[None] / (shares[:, None] + shares[None]) * apart
    number = jnp.arange(k)
    pair = (number[:, None] < number[None]) & (number != kept)[:, None]
    pair &= (number != kept)[None]
    i, j = jnp.divmod(jnp.argmin(jnp.where(pair, loss, jnp.inf)), k)
    both = shares[i] + shares[j]
    mean = (shares[i] * centres[i] + shares[j] * centres[j]) / both
    return Params(centres.at[i].set(mean), shares.at[i].set(both).at[j].set(0))


def _split(now: _Equilibrium, params: Params, old) -> _Tree:
    """Halve the cluster old; the second half takes the first free place."""
    centres, shares = params
    new, displacement = jnp.argmax(shares == 0), now.directions[old]
    half = 0.5 * shares[old]
    low, high = centres[old] - displacement, centres[old] + displacement
    return _Tree(
        Params(
            centres.at[old].set(low).at[new].set(high),
            shares.at[old].set(half).at[new].set(half),
        ),
        now.tree.parent.at[new].set(old.astype(jnp.int32)),
        now.tree.split.at[new].set(now.critical[old]),
    )


@_check.pure(jit=True)
def cooling(
    x: Rows,
    *,
    count: Count,
    ratio: Annotated[Scalar, "(0, 1)"] = 1e-3,
    weights: Weights | None = None,
) -> jax.Array:
    """T_j = 1.05 T_c ratio^(j/(count-1)), (count,), with T_c = 2 λ_max of all rows.

    Args:
        x: (m, n) rows.
        count: how many temperatures.
        ratio: () of the last to the first.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: a ratio outside (0, 1), values not finite.

    """
    first = (
        1.05
        * critical_temperature(
            _single(x, 1, weights), x, temperature=1.0, weights=weights
        )[0]
    )
    steps = jnp.arange(count, dtype=x.dtype) / max(count - 1, 1)
    return first * ratio**steps


def _single(x, k, weights) -> Params:
    """One cluster of all rows, and k - 1 that are not in use."""
    centre = mean(x, weights)
    shares = jnp.zeros_like(x, shape=k).at[0].set(1)
    return Params(jnp.broadcast_to(centre, (k, x.shape[1])), shares)


def _modes(params, x, w, temperature):
    """The critical temperatures, (k,), and how far to displace each cluster, (k, n)."""
    result = clusters(params, x, w, temperature, second=True)
    values, vectors = jnp.linalg.eigh(covariances(result))
    variance = jnp.maximum(values[:, -1], 0)
    direction = vectors[:, :, -1]
    # LAPACK's sign is arbitrary.
    largest = jnp.argmax(jnp.abs(direction), axis=1)[:, None]
    sign = jnp.sign(jnp.take_along_axis(direction, largest, axis=1))
    return 2 * variance, DISPLACEMENT * jnp.sqrt(variance)[:, None] * direction * sign


# --- sums over rows ------------------------------------------------------------------


def _means(params, x, weights, temperature, observables_):
    """Means over rows, with energies in units, and the root of this unit."""
    unit, params, temperature = _in_units(params, temperature)

    def sums(x, w):
        x = in_units(x, unit)
        result = [levels(each, params, x, temperature) for each in observables_]
        return [jnp.vdot(w, each) for each in result], jnp.sum(w)

    values, weight = total(sums, x, weights_or_ones(weights, x))
    return [value / weight for value in values], unit


def _in_units(params: Params, temperature):
    """A unit in which the squares of centres neither under- nor overflow; both in it.

    That of length is returned; temperatures are in its square.
    """
    unit = unit_of(params.centres)
    params = params._replace(centres=params.centres / unit)
    return unit, params, per_square(temperature, unit)


def _step(params: Params, x, w, temperature, unit):
    """New centres and shares, and F at those given; x alone is not in units yet."""
    result = clusters(params, x, w, temperature, unit=unit)
    weight = jnp.sum(w)
    counts = jnp.where(result.counts == 0, 1, result.counts)
    centres = params.centres + result.first / counts[:, None]
    return Params(centres, result.counts / weight), result.free_energy / weight
